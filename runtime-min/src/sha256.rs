//! SHA-256 (FIPS 180-4): in portable Rust, and with the SHA extensions of x86-64 for long inputs.
//!
//! In: bytes in any pieces. Out: 32 bytes. Example: `Sha256::digest(b"abc")` starts with `ba 78 16 bf`.

const K: [u32; 64] = [
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
];

/// Running digest.
#[derive(Debug, Clone)]
pub struct Sha256 {
    state: [u32; 8],
    block: [u8; 64],
    filled: usize,
    total: u64,
}

impl Default for Sha256 {
    fn default() -> Self {
        Self::new()
    }
}

impl Sha256 {
    /// Digest of nothing so far.
    pub const fn new() -> Sha256 {
        Sha256 {
            state: [
                0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab,
                0x5be0cd19,
            ],
            block: [0; 64],
            filled: 0,
            total: 0,
        }
    }

    /// Digest of `bytes`.
    pub fn digest(bytes: &[u8]) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(bytes);
        hash.finish()
    }

    /// Adds bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.total = self.total.wrapping_add(bytes.len() as u64);
        if self.filled > 0 {
            let room = &mut self.block[self.filled.min(64)..];
            let n = room.len().min(bytes.len());
            let (head, tail) = bytes.split_at(n);
            for (to, from) in room.iter_mut().zip(head) {
                *to = *from;
            }
            self.filled += n;
            bytes = tail;
            if self.filled < 64 {
                return;
            }
            let block = self.block;
            self.compress(&block);
            self.filled = 0;
        }
        let (blocks, rest) = bytes.as_chunks::<64>();
        self.compress_all(blocks);
        for (to, from) in self.block.iter_mut().zip(rest) {
            *to = *from;
        }
        self.filled = rest.len();
    }

    /// The digest.
    pub fn finish(mut self) -> [u8; 32] {
        let bits = self.total.wrapping_mul(8);
        self.update(&[0x80]);
        while self.filled != 56 {
            self.update(&[0]);
        }
        self.update(&bits.to_be_bytes());
        let mut out = [0; 32];
        for (to, word) in out.as_chunks_mut::<4>().0.iter_mut().zip(self.state) {
            *to = word.to_be_bytes();
        }
        out
    }

    fn compress_all(&mut self, blocks: &[[u8; 64]]) {
        // Asking the processor takes microseconds on virtual machines.
        #[cfg(target_arch = "x86_64")]
        if blocks.len() > 1024 && extensions::exist() {
            // SAFETY: the processor has the instructions.
            self.state = unsafe { extensions::compress(self.state, blocks) };
            return;
        }
        for block in blocks {
            self.compress(block);
        }
    }

    fn compress(&mut self, block: &[u8; 64]) {
        let mut w = [0u32; 64];
        for (to, from) in w.iter_mut().zip(block.as_chunks::<4>().0) {
            *to = u32::from_be_bytes(*from);
        }
        for i in 16..64 {
            let (a, b) = (w[i - 15], w[i - 2]);
            let s0 = a.rotate_right(7) ^ a.rotate_right(18) ^ (a >> 3);
            let s1 = b.rotate_right(17) ^ b.rotate_right(19) ^ (b >> 10);
            w[i] = w[i - 16]
                .wrapping_add(s0)
                .wrapping_add(w[i - 7])
                .wrapping_add(s1);
        }
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = self.state;
        for i in 0..64 {
            let s1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
            let choice = (e & f) ^ (!e & g);
            let t1 = h
                .wrapping_add(s1)
                .wrapping_add(choice)
                .wrapping_add(K[i])
                .wrapping_add(w[i]);
            let s0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
            let majority = (a & b) ^ (a & c) ^ (b & c);
            let t2 = s0.wrapping_add(majority);
            (h, g, f, e) = (g, f, e, d.wrapping_add(t1));
            (d, c, b, a) = (c, b, a, t1.wrapping_add(t2));
        }
        for (s, v) in self.state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
            *s = s.wrapping_add(v);
        }
    }
}

/// The SHA extensions: Intel SDM volume 2, SHA256RNDS2, SHA256MSG1, SHA256MSG2.
#[cfg(target_arch = "x86_64")]
mod extensions {
    use super::K;
    use core::arch::x86_64::*;

    /// SHA (leaf 7, EBX 29), SSSE3 (leaf 1, ECX 9), SSE4.1 (leaf 1, ECX 19).
    // Older compilers call CPUID unsafe.
    #[allow(unused_unsafe)]
    pub fn exist() -> bool {
        // SAFETY: every x86-64 processor has CPUID and leaf 1.
        let (last, one) = unsafe { (__cpuid(0).eax, __cpuid(1).ecx) };
        if last < 7 {
            return false;
        }
        // SAFETY: leaf 7 exists.
        let seven = unsafe { __cpuid_count(7, 0).ebx };
        seven >> 29 & 1 == 1 && one >> 9 & 1 == 1 && one >> 19 & 1 == 1
    }

    fn word(w: [u32; 4]) -> __m128i {
        let [a, b, c, d] = w.map(u32::cast_signed);
        // SAFETY: SSE2 is part of x86-64.
        unsafe { _mm_set_epi32(d, c, b, a) }
    }

    fn words(v: __m128i) -> [u32; 4] {
        // SAFETY: both are 16 bytes of plain integers.
        unsafe { core::mem::transmute(v) }
    }

    /// Compresses whole blocks.
    #[target_feature(enable = "sha,ssse3,sse4.1")]
    pub fn compress(state: [u32; 8], blocks: &[[u8; 64]]) -> [u32; 8] {
        let [a, b, c, d, e, f, g, h] = state;
        // The instructions want the state as (A B E F) and (C D G H), highest first.
        let (mut abef, mut cdgh) = (word([f, e, b, a]), word([h, g, d, c]));
        for block in blocks {
            let mut m = [word([0; 4]); 4];
            for (to, from) in m.iter_mut().zip(block.as_chunks::<16>().0) {
                let mut w = [0; 4];
                for (to, from) in w.iter_mut().zip(from.as_chunks::<4>().0) {
                    *to = u32::from_be_bytes(*from);
                }
                *to = word(w);
            }
            let (abef_before, cdgh_before) = (abef, cdgh);
            for (i, k) in K.as_chunks::<4>().0.iter().enumerate() {
                if i >= 4 {
                    let [m0, m1, m2, m3] = m;
                    let sum =
                        _mm_add_epi32(_mm_sha256msg1_epu32(m0, m1), _mm_alignr_epi8::<4>(m3, m2));
                    m = [m1, m2, m3, _mm_sha256msg2_epu32(sum, m3)];
                }
                let now = if i < 4 { m[i & 3] } else { m[3] };
                let wk = _mm_add_epi32(now, word(*k));
                cdgh = _mm_sha256rnds2_epu32(cdgh, abef, wk);
                abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32::<0x0e>(wk));
            }
            abef = _mm_add_epi32(abef, abef_before);
            cdgh = _mm_add_epi32(cdgh, cdgh_before);
        }
        let ([f, e, b, a], [h, g, d, c]) = (words(abef), words(cdgh));
        [a, b, c, d, e, f, g, h]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn known_answers() {
        assert_eq!(
            hex(&Sha256::digest(b"abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(
            hex(&Sha256::digest(b"")),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(
            hex(&Sha256::digest(&[b'a'; 1_000_000])),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
        );
    }

    /// Both ways of compressing agree.
    #[test]
    fn long_inputs() {
        let bytes: Vec<u8> = (0..300_000u32).map(|i| (i * 7 + (i >> 8)) as u8).collect();
        let mut slow = Sha256::new();
        for piece in bytes.chunks(1000) {
            slow.update(piece);
        }
        assert_eq!(slow.finish(), Sha256::digest(&bytes));
    }

    #[test]
    fn pieces_do_not_matter() {
        let bytes: Vec<u8> = (0..1000u32).map(|i| (i * 7) as u8).collect();
        for cut in [0, 1, 55, 56, 63, 64, 65, 127, 128, 999] {
            let mut hash = Sha256::new();
            hash.update(&bytes[..cut]);
            hash.update(&bytes[cut..]);
            assert_eq!(hash.finish(), Sha256::digest(&bytes));
        }
    }
}
