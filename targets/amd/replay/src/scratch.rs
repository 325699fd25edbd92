//! Private memory of threads: registers that a kernel could not keep.
//!
//! In: bytes of a thread, the largest of all kernels, and a node. Out: how much memory, and the word `COMPUTE_TMPRING_SIZE` that divides it.

use crate::topology::Node;

/// The hardware counts a wave as 64 threads, whatever it runs.
const LANES: u64 = 64;

/// Memory for all waves that can run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scratch {
    /// Bytes to allocate; 0 when no kernel needs any.
    pub bytes: u64,
    /// Waves in bits 0 to 11, size of a wave above.
    pub tmpring: u32,
    /// Bytes of a thread, rounded up.
    pub thread_bytes: u32,
}

impl Scratch {
    /// Memory for threads of so many bytes. Nothing when a wave needs more than the register's field holds.
    pub fn of(thread_bytes: u32, node: &Node) -> Option<Scratch> {
        if thread_bytes == 0 {
            return Some(Scratch::default());
        }
        // Unit of a wave's size, and bits of its field.
        let (unit, bits) = match node.gfx_target_version / 10_000 {
            ..=10 => (1024, 13),
            11 => (256, 15),
            _ => (256, 18),
        };
        let thread = u64::from(thread_bytes).next_multiple_of(unit / LANES);
        let wave = thread * LANES / unit;
        let slots = u64::from(node.scratch_slots) * u64::from(node.units());
        // RDNA divides the waves between its engines, CDNA does not.
        let waves = match node.gfx_target_version >= 110_000 {
            true => slots / u64::from(node.engines()),
            false => slots,
        };
        let fits = wave < 1 << bits;
        fits.then_some(Scratch {
            bytes: thread * LANES * slots * u64::from(node.xcc),
            tmpring: waves.min(0xFFF) as u32 | (wave as u32) << 12,
            thread_bytes: thread as u32,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn node(gfx: u32, simd_per_cu: u32, arrays: [u32; 2], xcc: u32) -> Node {
        Node {
            gfx_target_version: gfx,
            simd_count: 96 * simd_per_cu * xcc,
            simd_per_cu,
            array_count: arrays[0],
            arrays_per_engine: arrays[1],
            scratch_slots: 32,
            xcc,
            ..Node::default()
        }
    }

    #[test]
    fn divided_between_engines() {
        let s = Scratch::of(18, &node(110_000, 2, [12, 2], 1)).unwrap();
        // 20 bytes a thread are 5 units of 256 bytes a wave; 3072 waves on 6 engines.
        assert_eq!(s.thread_bytes, 20);
        assert_eq!(s.bytes, 20 * 64 * 32 * 96);
        assert_eq!(s.tmpring, 512 | 5 << 12);
        let s = Scratch::of(18, &node(90_402, 4, [32, 1], 8)).unwrap();
        assert_eq!(s.thread_bytes, 32);
        assert_eq!(s.bytes, 32 * 64 * 32 * 96 * 8);
        assert_eq!(s.tmpring, 3072 | 2 << 12);
    }

    #[test]
    fn none_and_too_much() {
        let node = node(110_000, 2, [12, 2], 1);
        assert_eq!(Scratch::of(0, &node), Some(Scratch::default()));
        assert!(Scratch::of(4 * 0x7FFF, &node).is_some());
        assert_eq!(Scratch::of(4 * 0x8000, &node), None);
    }
}
