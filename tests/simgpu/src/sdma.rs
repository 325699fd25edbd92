//! Packets of copy engines (SDMA): what a queue of one may hold, and no more.
//!
//! In: words. Out: [`Packet`]s, whose `Display` is a line of text; or why they are none: lengths, fields, bits that mean nothing here, addresses
//! that cannot be. Written down from the fields of Linux's `vega10_sdma_pkt_open.h` and `sdma_v6_0_0_pkt_open.h`.
//!
//! ```
//! use tinyc_simgpu::pm4::Generation;
//! use tinyc_simgpu::sdma::Packet;
//! let (packet, words) = Packet::decode(&[0x3_0005, 0x1000, 0, 7], Generation::Gfx11)?;
//! assert_eq!(packet.to_string(), "FENCE [0x1000]=0x7");
//! assert_eq!(words, 4);
//! # Ok::<(), tinyc_simgpu::pm4::PacketError>(())
//! ```

use crate::device::Device;
use crate::memory::BadAddress;
use crate::pm4::{Generation, PacketError, SENTINEL};
use std::fmt;

/// Opcodes.
const NOP: u32 = 0;
const COPY: u32 = 1;
const FENCE: u32 = 5;
/// Longest packet, in words.
pub const LONGEST: usize = 7;
/// Place and value of a fence's field for caching: past all of them, or the host may never see the value.
const CACHING: u32 = 16;
const UNCACHED: u32 = 3;

/// One packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet {
    /// Nothing, one word long.
    Nop,
    /// Copies bytes that lie in a row.
    Copy {
        /// From where.
        from: u64,
        /// To where.
        to: u64,
        /// How many.
        bytes: u64,
    },
    /// Stores a word when all before is done.
    Fence {
        /// Where.
        address: u64,
        /// What.
        value: u32,
    },
}

/// An address: 48 bits, not zero, a multiple of `align`.
fn address(low: u32, high: u32, align: u64) -> Result<u64, String> {
    let address = u64::from(low) | u64::from(high) << 32;
    match address != 0 && address < 1 << 48 && address.is_multiple_of(align) {
        true => Ok(address),
        false => Err(format!("address {address:#x}")),
    }
}

impl Packet {
    /// The packet at the start of `words`, and how many of them it takes.
    pub fn decode(words: &[u32], generation: Generation) -> Result<(Packet, usize), PacketError> {
        let header = words.first().copied().unwrap_or(u32::MAX);
        decode(header, words, generation).map_err(|why| PacketError { header, why })
    }

    /// Executes it.
    pub fn execute(&self, device: &Device) -> Result<(), BadAddress> {
        match *self {
            Packet::Nop => Ok(()),
            Packet::Copy { from, to, bytes } => device.memory.copy_behind(from, to, bytes as usize),
            Packet::Fence { address, value } => {
                device.memory.write_past(address, &value.to_le_bytes())
            }
        }
    }
}

fn decode(header: u32, words: &[u32], generation: Generation) -> Result<(Packet, usize), String> {
    let gfx9 = generation == Generation::Gfx9;
    let (op, rest) = (header & 0xFF, header >> 8);
    let len = match op {
        NOP => 1,
        COPY => LONGEST,
        FENCE => 4,
        _ => return Err(format!("opcode {op:#x} is not known")),
    };
    let expected = match op {
        FENCE if !gfx9 => UNCACHED << (CACHING - 8),
        _ => 0,
    };
    if rest != expected {
        return Err(format!(
            "{rest:#x} above the opcode, {expected:#x} expected"
        ));
    }
    let body = words
        .get(1..len)
        .ok_or_else(|| format!("{len} words, of which {} are there", words.len()))?;
    if body.contains(&SENTINEL) {
        return Err("a word that was never patched".to_string());
    }
    let packet = match *body {
        [count, swap, from, from_high, to, to_high] => {
            let most = if gfx9 { 1 << 22 } else { 1 << 30 };
            if count >= most {
                return Err(format!("{count} bytes and one more"));
            }
            if swap != 0 {
                return Err(format!("parameters {swap:#x}"));
            }
            Packet::Copy {
                from: address(from, from_high, 1)?,
                to: address(to, to_high, 1)?,
                bytes: u64::from(count) + 1,
            }
        }
        [at, high, value] => Packet::Fence {
            address: address(at, high, 4)?,
            value,
        },
        _ => Packet::Nop,
    };
    Ok((packet, len))
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Packet::Nop => f.write_str("NOP"),
            Packet::Copy { from, to, bytes } => {
                write!(f, "COPY [{to:#x}]=[{from:#x}] {bytes} bytes")
            }
            Packet::Fence { address, value } => write!(f, "FENCE [{address:#x}]={value:#x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const GOOD: [u32; 7] = [1, 0xFFF, 0, 0x1000, 1, 0x2000, 2];

    #[test]
    fn packets_are_read() {
        let read = |words: &[u32], generation| Packet::decode(words, generation);
        let copy = Packet::Copy {
            from: 0x1_0000_1000,
            to: 0x2_0000_2000,
            bytes: 4096,
        };
        for generation in [Generation::Gfx9, Generation::Gfx11, Generation::Gfx12] {
            assert_eq!(read(&GOOD, generation).unwrap(), (copy, 7));
            assert_eq!(read(&[0, 1], generation).unwrap(), (Packet::Nop, 1));
        }
        let fence = Packet::Fence {
            address: 0x1000,
            value: 9,
        };
        let old = read(&[5, 0x1000, 0, 9, 4], Generation::Gfx9);
        assert_eq!(old.unwrap(), (fence, 4));
        let new = read(&[5 | 3 << 16, 0x1000, 0, 9], Generation::Gfx12);
        assert_eq!(new.unwrap(), (fence, 4));
    }

    #[test]
    fn what_means_nothing_is_refused() {
        let refused = |words: &[u32], generation| Packet::decode(words, generation).is_err();
        for (at, value) in [
            (0, 2),
            (0, 1 | 4 << 8),
            (0, 1 | 1 << 18),
            (0, 1 | 1 << 31),
            (1, 1 << 30),
            (2, 1),
            (3, SENTINEL),
            (4, 1 << 16),
            (6, 1 << 16),
        ] {
            let mut words = GOOD;
            words[at] = value;
            assert!(refused(&words, Generation::Gfx11), "word {at}: {value:#x}");
        }
        let mut large = GOOD;
        large[1] = 1 << 22;
        assert!(refused(&large, Generation::Gfx9));
        assert!(!refused(&large, Generation::Gfx11));
        assert!(refused(&GOOD[..6], Generation::Gfx11));
        assert!(refused(&[], Generation::Gfx11));
        for (words, generation) in [
            ([5, 0x1000, 0, 9], Generation::Gfx11),
            ([5 | 3 << 16, 0x1000, 0, 9], Generation::Gfx9),
            ([5 | 3 << 16, 0x1002, 0, 9], Generation::Gfx11),
            ([5 | 3 << 16, 0, 0, 9], Generation::Gfx11),
        ] {
            assert!(refused(&words, generation), "{words:x?}");
        }
    }
}
