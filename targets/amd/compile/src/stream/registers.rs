//! Registers of the compute pipe, and which of them hold what.
//!
//! In: what a launch wants registers to hold. Out: packets for those that hold something else: a register keeps its value from
//! launch to launch, so most of them are written once.
//!
//! Example: two launches of one kernel differ in `COMPUTE_USER_DATA` only, and the second one writes only that.

use super::packets::{Packet, Value, Words};
use std::collections::BTreeMap;

/// Offsets from the start of the space that SET_SH_REG writes to.
pub mod offset {
    /// COMPUTE_START_X, Y, Z; then NUM_THREAD_X, Y, Z; then two that switch statistics on.
    pub const START: u32 = 0x204;
    /// COMPUTE_PGM_LO, HI: the first instruction, without its low 8 bits.
    pub const PGM: u32 = 0x20C;
    /// COMPUTE_DISPATCH_SCRATCH_BASE_LO, HI, without the low 8 bits.
    pub const SCRATCH_BASE: u32 = 0x210;
    /// COMPUTE_PGM_RSRC1, RSRC2.
    pub const RSRC1: u32 = 0x212;
    /// COMPUTE_RESOURCE_LIMITS.
    pub const RESOURCE_LIMITS: u32 = 0x215;
    /// COMPUTE_TMPRING_SIZE.
    pub const TMPRING_SIZE: u32 = 0x218;
    /// COMPUTE_RESTART_X, Y, Z. The register after them would switch thread traces on.
    pub const RESTART: u32 = 0x21B;
    /// COMPUTE_USER_DATA_0 to 15.
    pub const USER_DATA: u32 = 0x240;
}

/// One word of a value: which, and which half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Half(Value, usize);

/// What registers hold, and what they should.
#[derive(Debug, Clone, Default)]
pub struct Registers {
    held: BTreeMap<u32, Half>,
    wanted: BTreeMap<u32, Half>,
}

impl Registers {
    /// Registers from an offset on should hold these values.
    pub fn want(&mut self, mut offset: u32, values: &[Value]) {
        for value in values {
            for half in 0..value.words() {
                self.wanted.insert(offset, Half(*value, half));
                offset += 1;
            }
        }
    }

    /// Writes those that hold something else, neighbours in one packet.
    pub fn write(&mut self, out: &mut Words) {
        let mut run: Option<(u32, u32, Vec<Value>)> = None;
        for (&offset, &half) in &self.wanted {
            if self.held.get(&offset) == Some(&half) {
                continue;
            }
            self.held.insert(offset, half);
            let value = (half.1 == 0).then_some(half.0);
            match &mut run {
                Some((_, next, values)) if *next == offset => {
                    *next += 1;
                    values.extend(value);
                }
                _ => {
                    if let Some((first, _, values)) = run.take() {
                        out.packet(&Packet::SetSh(first, values));
                    }
                    run = Some((offset, offset + 1, value.into_iter().collect()));
                }
            }
        }
        if let Some((first, _, values)) = run {
            out.packet(&Packet::SetSh(first, values));
        }
        self.wanted.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Value::Fixed;

    #[test]
    fn what_is_held_is_not_written_again() {
        let (mut registers, mut out) = (Registers::default(), Words::default());
        let address = |n| Value::address(3, n);
        registers.want(0x240, &[address(0)]);
        registers.want(0x204, &[Fixed(1), Fixed(2), Fixed(3)]);
        registers.write(&mut out);
        assert_eq!(out.words[..5], [0xC003_7600, 0x204, 1, 2, 3]);
        assert_eq!(out.words[5..7], [0xC002_7600, 0x240]);
        let before = out.words.len();
        registers.want(0x240, &[address(0)]);
        registers.want(0x204, &[Fixed(1), Fixed(9), Fixed(3)]);
        registers.write(&mut out);
        assert_eq!(out.words[before..], [0xC001_7600, 0x205, 9]);
        registers.want(0x240, &[address(16)]);
        registers.write(&mut out);
        assert_eq!(out.fixups.len(), 2);
        assert_eq!(out.fixups[1].patch.offset, (before as u64 + 3 + 2) * 4);
    }
}
