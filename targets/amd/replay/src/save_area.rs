//! Where the waves of a queue are saved when the driver takes the device away from it.
//!
//! In: a node. Out: the sizes that CREATE_QUEUE wants. Linux 6.12 and newer refuse a queue whose sizes are not exactly those of `kfd_queue.c`;
//! later ones publish two of them, which then count.

use crate::topology::Node;

/// Bytes that debuggers want for a wave.
const DEBUG_BYTES: u32 = 32;
/// Scalar registers, group memory and hardware registers of a compute unit.
const UNIT_BYTES: u32 = 0x4000 + 0x10000 + 0x1000;
/// The header of the area and the end of its control stack.
const CONTROL_HEADER: u32 = 40 + 8;
const PAGE: u32 = 4096;

/// Sizes of a save area.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaveArea {
    /// Bytes of the control stack, which lies at the start.
    pub control_bytes: u32,
    /// Bytes of all but what debuggers want, of one die.
    pub bytes: u32,
    /// Bytes to allocate, for all dies.
    pub allocation: u64,
}

/// Bytes of vector registers of a compute unit.
fn vector_bytes(gfx: u32) -> u32 {
    match gfx {
        90_008 | 90_010 | 90_402 | 90_500 => 0x80000,
        110_000 | 110_001 | 120_000 | 120_001 => 0x60000,
        _ => 0x40000,
    }
}

impl SaveArea {
    /// Sizes for a node.
    pub fn of(node: &Node) -> SaveArea {
        let gfx = node.gfx_target_version;
        let units = node.units();
        let (waves, wave_bytes) = match gfx < 100_100 {
            true => ((units * 40).min(node.engines() * 512), 8),
            false => (units * 32, 12),
        };
        let mut control = (waves * wave_bytes + CONTROL_HEADER).next_multiple_of(PAGE);
        if gfx / 10_000 == 10 {
            // The hardware of RDNA 1 and 2 takes no more.
            control = control.min(0x7000);
        }
        let group = match gfx {
            90_500 => (node.lds_kb << 10).saturating_sub(0x10000),
            _ => 0,
        };
        let data = (units * (vector_bytes(gfx) + UNIT_BYTES + group)).next_multiple_of(PAGE);
        let control_bytes = node.control_bytes.unwrap_or(control);
        let bytes = node.save_bytes.unwrap_or(data + control_bytes);
        let debug = (waves * DEBUG_BYTES).next_multiple_of(64);
        let all = (u64::from(bytes) + u64::from(debug)) * u64::from(node.xcc);
        SaveArea {
            control_bytes,
            bytes,
            allocation: all.next_multiple_of(u64::from(PAGE)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn radeon_7900_xtx() {
        let node = Node {
            gfx_target_version: 110_000,
            simd_count: 192,
            simd_per_cu: 2,
            array_count: 12,
            arrays_per_engine: 2,
            xcc: 1,
            ..Node::default()
        };
        let area = SaveArea::of(&node);
        assert_eq!(area.control_bytes, 40_960);
        assert_eq!(area.bytes, 96 * 0x75000 + 40_960);
        assert_eq!(area.allocation, u64::from(area.bytes) + 98_304);
        let published = SaveArea::of(&Node {
            save_bytes: Some(0x100_0000),
            control_bytes: Some(0x8000),
            ..node
        });
        assert_eq!(published.control_bytes, 0x8000);
        assert_eq!(published.bytes, 0x100_0000);
        let rdna2 = SaveArea::of(&Node {
            gfx_target_version: 100_300,
            ..node
        });
        assert_eq!(rdna2.control_bytes, 0x7000);
    }

    #[test]
    fn instinct_mi300x() {
        let node = Node {
            gfx_target_version: 90_402,
            simd_count: 304 * 4,
            simd_per_cu: 4,
            array_count: 32,
            arrays_per_engine: 1,
            xcc: 8,
            ..Node::default()
        };
        assert_eq!(node.units(), 38);
        let area = SaveArea::of(&node);
        assert_eq!(area.control_bytes, 12_288);
        assert_eq!(area.bytes, 38 * 0x95000 + 12_288);
        let debug = 38 * 40 * 32;
        let all = (u64::from(area.bytes) + debug) * 8;
        assert_eq!(area.allocation, all.next_multiple_of(4096));
    }
}
