//! The section `needs`: what an artifact asks of a device.
//!
//! ```text
//! 0   version u32, gfx_target_version u32, queue u32 (0 PM4, 1 AQL), lanes of a wave u32
//! 16  scratch bytes of a thread u32, group bytes u32
//! 24  code, kernel arguments (bytes u64), stream (words u64), weights, arena (bytes u64)
//! ```
//!
//! In: a section. Out: [`Needs`], or nothing when the numbers cannot be right.
//!
//! ```
//! # use tinyc_replay_amd::{Needs, Queue};
//! let needs = Needs { gfx_target_version: 110_000, stream_words: 100, ..Needs::default() };
//! assert_eq!(Needs::read(&needs.encode()), Some(needs));
//! ```

/// Version that this code reads and writes.
pub const VERSION: u32 = 1;
/// Bytes of the section.
pub const BYTES: usize = 64;
/// An indirect buffer stays below this many words: the field for its length has 20 bits.
pub const MAX_STREAM_WORDS: u64 = 1 << 20;
/// Local memory of a group on every chip that is known.
const MAX_GROUP_BYTES: u32 = 160 << 10;
/// More scratch of a thread than the compiler ever gives.
const MAX_SCRATCH_BYTES: u32 = 1 << 20;
/// More than any memory has.
const MAX_BYTES: u64 = 1 << 46;

/// What a queue takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Queue {
    /// Command packets.
    #[default]
    Pm4,
    /// Packets of 64 bytes, some of which point to command packets.
    Aql,
}

/// What the device must be and have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Version of this section.
    pub version: u32,
    /// As the driver names the chip: 110000 is gfx1100, 90402 is gfx942.
    pub gfx_target_version: u32,
    /// Kind of queue.
    pub queue: Queue,
    /// Threads of a wave: 32 or 64.
    pub wave_lanes: u32,
    /// Private memory of a thread, the largest of all kernels.
    pub scratch_bytes: u32,
    /// Memory of a work-group, the largest of all kernels.
    pub group_bytes: u32,
    /// Bytes of the section `image`.
    pub code_bytes: u64,
    /// Bytes of the section `kernargs`.
    pub kernarg_bytes: u64,
    /// Words of the section `stream`.
    pub stream_words: u64,
    /// Bytes of the section `weights`.
    pub weight_bytes: u64,
    /// Bytes of the arena.
    pub arena_bytes: u64,
}

impl Default for Needs {
    fn default() -> Self {
        Needs {
            version: VERSION,
            gfx_target_version: 0,
            queue: Queue::Pm4,
            wave_lanes: 32,
            scratch_bytes: 0,
            group_bytes: 0,
            code_bytes: 0,
            kernarg_bytes: 0,
            stream_words: 0,
            weight_bytes: 0,
            arena_bytes: 0,
        }
    }
}

impl Needs {
    /// The section's bytes.
    pub fn encode(&self) -> [u8; BYTES] {
        let small = [
            self.version,
            self.gfx_target_version,
            match self.queue {
                Queue::Pm4 => 0,
                Queue::Aql => 1,
            },
            self.wave_lanes,
            self.scratch_bytes,
            self.group_bytes,
        ];
        let large = [
            self.code_bytes,
            self.kernarg_bytes,
            self.stream_words,
            self.weight_bytes,
            self.arena_bytes,
        ];
        let mut out = [0; BYTES];
        let (low, high) = out.split_at_mut(24);
        for (to, word) in low.as_chunks_mut::<4>().0.iter_mut().zip(small) {
            *to = word.to_le_bytes();
        }
        for (to, word) in high.as_chunks_mut::<8>().0.iter_mut().zip(large) {
            *to = word.to_le_bytes();
        }
        out
    }

    /// Reads the section; nothing when it has another size or version, or numbers that no artifact has.
    pub fn read(bytes: &[u8]) -> Option<Needs> {
        let bytes: &[u8; BYTES] = bytes.try_into().ok()?;
        let (low, high) = bytes.split_at(24);
        let small = |i: usize| {
            low.as_chunks::<4>()
                .0
                .get(i)
                .map(|b| u32::from_le_bytes(*b))
        };
        let large = |i: usize| {
            high.as_chunks::<8>()
                .0
                .get(i)
                .map(|b| u64::from_le_bytes(*b))
        };
        let needs = Needs {
            version: small(0)?,
            gfx_target_version: small(1)?,
            queue: match small(2)? {
                0 => Queue::Pm4,
                1 => Queue::Aql,
                _ => return None,
            },
            wave_lanes: small(3)?,
            scratch_bytes: small(4)?,
            group_bytes: small(5)?,
            code_bytes: large(0)?,
            kernarg_bytes: large(1)?,
            stream_words: large(2)?,
            weight_bytes: large(3)?,
            arena_bytes: large(4)?,
        };
        let sound = needs.version == VERSION
            && matches!(needs.wave_lanes, 32 | 64)
            && needs.scratch_bytes <= MAX_SCRATCH_BYTES
            && needs.group_bytes <= MAX_GROUP_BYTES
            && needs.stream_words < MAX_STREAM_WORDS
            && [
                needs.code_bytes,
                needs.kernarg_bytes,
                needs.weight_bytes,
                needs.arena_bytes,
            ]
            .iter()
            .all(|b| *b <= MAX_BYTES);
        sound.then_some(needs)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn some() -> Needs {
        Needs {
            version: VERSION,
            gfx_target_version: 90_402,
            queue: Queue::Aql,
            wave_lanes: 64,
            scratch_bytes: 48,
            group_bytes: 65_536,
            code_bytes: 0x1_2345_6700,
            kernarg_bytes: 4096,
            stream_words: MAX_STREAM_WORDS - 1,
            weight_bytes: 1 << 33,
            arena_bytes: 7 << 20,
        }
    }

    #[test]
    fn reads_what_it_writes() {
        assert_eq!(Needs::read(&some().encode()), Some(some()));
        let default = Needs::default();
        assert_eq!(Needs::read(&default.encode()), Some(default));
    }

    #[test]
    fn layout_is_fixed() {
        let bytes = some().encode();
        assert_eq!(bytes[..4], [1, 0, 0, 0]);
        assert_eq!(bytes[4..8], 90_402u32.to_le_bytes());
        assert_eq!(bytes[24..32], 0x1_2345_6700u64.to_le_bytes());
        assert_eq!(bytes[56..], (7u64 << 20).to_le_bytes());
    }

    #[test]
    fn refuses_what_no_artifact_has() {
        let good = some().encode();
        assert_eq!(Needs::read(&good[..63]), None);
        assert_eq!(Needs::read(&[&good[..], &[0]].concat()), None);
        let with = |at: usize, value: u32| {
            let mut bytes = good;
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            Needs::read(&bytes)
        };
        for (at, value) in [
            (0, 2),
            (8, 2),
            (12, 16),
            (16, u32::MAX),
            (20, u32::MAX),
            (28, u32::MAX),
            (40, 1 << 20),
            (44, 1),
            (60, 1 << 20),
        ] {
            assert_eq!(with(at, value), None, "{at}");
        }
    }
}
