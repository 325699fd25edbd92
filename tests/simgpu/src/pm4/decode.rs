//! From words to packets. Strict: what has no meaning here is an error.

use super::registers::{HDP_FLUSH, name_in};
use super::{
    Compare, Generation, Packet, PacketError, SENTINEL, Store, Wait, coher, flush, flush9, gcr,
};

/// Opcodes.
const NOP: u32 = 0x10;
const DISPATCH_DIRECT: u32 = 0x15;
const WRITE_DATA: u32 = 0x37;
const WAIT_REG_MEM: u32 = 0x3C;
const INDIRECT_BUFFER: u32 = 0x3F;
const COPY_DATA: u32 = 0x40;
const EVENT_WRITE: u32 = 0x46;
const RELEASE_MEM: u32 = 0x49;
const ACQUIRE_MEM: u32 = 0x58;
const SET_SH_REG: u32 = 0x76;
const SET_UCONFIG_REG: u32 = 0x79;

/// Length of a NOP that has no body.
const NO_BODY: u32 = 0x3FFF;
/// Longest indirect buffer.
const MAX_INDIRECT: u32 = 1 << 20;
/// The event that a release waits for, and its index.
const RELEASE_EVENT: u32 = 0x14 | 5 << 8;
/// The event that waits for kernels, and its index.
const CS_PARTIAL_FLUSH: u32 = 7 | 4 << 8;
/// What an initiator may and must hold: compute shader, start at zero; waves of 32, where there are such.
const INITIATOR: u32 = 1 | 1 << 2;
const WAVE32: u32 = 1 << 15;

fn wide(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// A requirement on a packet.
fn need(holds: bool, why: impl Into<String>) -> Result<(), String> {
    holds.then_some(()).ok_or(why.into())
}

/// An address of GPU memory: 48 bits, a multiple of `align`.
fn address(low: u32, high: u32, align: u64) -> Result<u64, String> {
    let address = wide(low, high);
    need(
        address < 1 << 48,
        format!("address {address:#x} has more than 48 bits"),
    )?;
    need(
        address.is_multiple_of(align),
        format!("address {address:#x} is no multiple of {align}"),
    )?;
    need(address != 0, "address zero")?;
    Ok(address)
}

impl Packet {
    /// The packet of RDNA 3 at the start of `words`, and how many of them it takes.
    pub fn decode(words: &[u32]) -> Result<(Packet, usize), PacketError> {
        Packet::decode_as(words, Generation::Gfx11)
    }

    /// The packet at the start of `words`, and how many of them it takes.
    pub fn decode_as(
        words: &[u32],
        generation: Generation,
    ) -> Result<(Packet, usize), PacketError> {
        let header = words.first().copied().unwrap_or(0);
        let fail = |why: String| PacketError { header, why };
        if words.is_empty() {
            return Err(fail("the stream ends".to_string()));
        }
        if header >> 30 != 3 {
            return Err(fail("no packet of type 3".to_string()));
        }
        let op = header >> 8 & 0xFF;
        let count = header >> 16 & 0x3FFF;
        if header & 0xFF != 0 {
            return Err(fail("predicate or reserved bits in the header".to_string()));
        }
        if op == NOP && count == NO_BODY {
            return Ok((Packet::Nop(1), 1));
        }
        let len = count as usize + 2;
        let body = words
            .get(1..len)
            .ok_or_else(|| fail(format!("{len} words announced, {} left", words.len())))?;
        if op != NOP && body.contains(&SENTINEL) {
            return Err(fail("a word that was never patched".to_string()));
        }
        let packet = decode_body(op, body, len, generation).map_err(fail)?;
        Ok((packet, len))
    }

    /// All packets of a stream, with the place of each.
    pub fn decode_all(
        words: &[u32],
        generation: Generation,
    ) -> Result<Vec<(usize, Packet)>, (usize, PacketError)> {
        let mut out = Vec::new();
        let mut at = 0;
        while at < words.len() {
            let (packet, len) = Packet::decode_as(&words[at..], generation).map_err(|e| (at, e))?;
            out.push((at, packet));
            at += len;
        }
        Ok(out)
    }
}

fn decode_body(op: u32, b: &[u32], len: usize, generation: Generation) -> Result<Packet, String> {
    let gfx9 = generation == Generation::Gfx9;
    let length = |n: usize| need(b.len() == n, format!("{} words, {n} expected", b.len()));
    match op {
        NOP => Ok(Packet::Nop(len)),
        DISPATCH_DIRECT => {
            length(4)?;
            need(b[..3].iter().all(|g| *g != 0), "no work-groups")?;
            let expected = INITIATOR | if gfx9 { 0 } else { WAVE32 };
            need(
                b[3] == expected,
                format!("initiator {:#x}, {expected:#x} expected", b[3]),
            )?;
            Ok(Packet::Dispatch {
                groups: [b[0], b[1], b[2]],
                initiator: b[3],
            })
        }
        EVENT_WRITE => {
            length(1)?;
            need(b[0] == CS_PARTIAL_FLUSH, format!("event {:#x}", b[0]))?;
            Ok(Packet::PartialFlush)
        }
        SET_SH_REG => {
            need(b.len() > 1, "no register")?;
            for n in 0..b.len() as u32 - 1 {
                let offset = b[0].wrapping_add(n);
                need(
                    name_in(offset, generation).is_some(),
                    format!("register {offset:#x} may not be written"),
                )?;
            }
            Ok(Packet::SetShReg(b[0], b[1..].to_vec()))
        }
        // Nothing there is needed to run kernels.
        SET_UCONFIG_REG => Err(format!(
            "configuration register {:#x} may not be written",
            b[0]
        )),
        ACQUIRE_MEM if gfx9 => acquire_coher(b, length(6)),
        ACQUIRE_MEM => acquire(b, length(7)),
        RELEASE_MEM => release(
            b,
            length(7),
            if gfx9 { flush9::KNOWN } else { flush::KNOWN },
        ),
        WAIT_REG_MEM => wait(b, length(6)),
        WRITE_DATA => {
            need(b.len() > 3, "no data")?;
            // To memory, every word to the next place, confirmed.
            let known = 5 << 8 | 1 << 20;
            need(
                b[0] == known || b[0] == 5 << 8,
                format!("control {:#x}", b[0]),
            )?;
            Ok(Packet::Write {
                address: address(b[1], b[2], 4)?,
                data: b[3..].to_vec(),
            })
        }
        COPY_DATA => {
            length(5)?;
            let (from, to) = (b[0] & 0xF, b[0] >> 8 & 0xF);
            let wide = b[0] >> 16 & 1 != 0;
            let known = 0xF | 0xF << 8 | 1 << 16 | 1 << 20;
            need(b[0] & !known == 0, format!("control {:#x}", b[0]))?;
            need(
                [1, 2, 9].contains(&from),
                format!("copies from place {from}"),
            )?;
            need([1, 2, 5].contains(&to), format!("copies to place {to}"))?;
            let align = if wide { 8 } else { 4 };
            let clock = from == 9;
            Ok(Packet::Copy {
                from: match clock {
                    true => None,
                    false => Some(address(b[1], b[2], align)?),
                },
                to: address(b[3], b[4], align)?,
                wide,
            })
        }
        INDIRECT_BUFFER => {
            length(3)?;
            let words = b[2] & (MAX_INDIRECT - 1);
            need(
                b[2] & !(MAX_INDIRECT - 1) == 1 << 23,
                format!("flags {:#x}", b[2]),
            )?;
            need(words != 0, "an empty indirect buffer")?;
            Ok(Packet::Indirect {
                address: address(b[0], b[1], 4)?,
                words,
            })
        }
        _ => Err(format!("opcode {op:#x} is not known")),
    }
}

fn acquire(b: &[u32], length: Result<(), String>) -> Result<Packet, String> {
    length?;
    need(
        b[0] == 0,
        "coherence bits, which this generation does not have",
    )?;
    need(b[5] == 0, "an interval of polling")?;
    need(b[6] & !gcr::KNOWN == 0, format!("cache bits {:#x}", b[6]))?;
    let (size, base) = (wide(b[1], b[2]), wide(b[3], b[4]));
    need(size != 0, "an empty range")?;
    Ok(Packet::Acquire {
        gcr: b[6],
        base: base << 8,
        size: size.saturating_mul(256),
    })
}

fn acquire_coher(b: &[u32], length: Result<(), String>) -> Result<Packet, String> {
    length?;
    need(b[0] & !coher::KNOWN == 0, format!("cache bits {:#x}", b[0]))?;
    need(b[5] == 0xA, format!("an interval of polling of {}", b[5]))?;
    let (size, base) = (wide(b[1], b[2]), wide(b[3], b[4]));
    need(size != 0, "an empty range")?;
    Ok(Packet::AcquireCoher {
        coher: b[0],
        base: base << 8,
        size: size.saturating_mul(256),
    })
}

fn release(b: &[u32], length: Result<(), String>, caches: u32) -> Result<Packet, String> {
    length?;
    need(
        b[0] & 0xFFF == RELEASE_EVENT,
        format!("event {:#x}", b[0] & 0xFFF),
    )?;
    need(
        b[0] & !0xFFF & !caches == 0,
        format!("cache bits {:#x}", b[0]),
    )?;
    let (interrupt, data) = (b[1] >> 24 & 7, b[1] >> 29);
    need(
        b[1] & !(7 << 24 | 7 << 29) == 0,
        format!("destination {:#x}", b[1]),
    )?;
    let (store, align) = match data {
        0 => (Store::Nothing, 1),
        1 => (Store::Low, 4),
        2 => (Store::Both, 8),
        3 => (Store::Clock, 8),
        _ => return Err(format!("data {data}")),
    };
    need(
        [0, 2].contains(&interrupt),
        format!("interrupt {interrupt}"),
    )?;
    Ok(Packet::Release {
        flush: b[0] & !0xFFF,
        store,
        address: match store {
            Store::Nothing => wide(b[2], b[3]),
            _ => address(b[2], b[3], align)?,
        },
        value: wide(b[4], b[5]),
        interrupt: (interrupt == 2).then_some(b[6]),
    })
}

fn wait(b: &[u32], length: Result<(), String>) -> Result<Packet, String> {
    length?;
    let (function, space, operation) = (b[0] & 7, b[0] >> 4 & 3, b[0] >> 6 & 3);
    need(
        b[0] & !(7 | 3 << 4 | 3 << 6) == 0,
        format!("control {:#x}", b[0]),
    )?;
    need(b[5] & !0xFFFF == 0, "an interval of polling above 16 bits")?;
    match (space, operation) {
        (1, 0) => Ok(Packet::Wait(Wait::Memory {
            address: address(b[1], b[2], 4)?,
            compare: match function {
                0 => Compare::Always,
                1 => Compare::Less,
                2 => Compare::LessEqual,
                3 => Compare::Equal,
                4 => Compare::NotEqual,
                5 => Compare::GreaterEqual,
                6 => Compare::Greater,
                _ => return Err("comparison 7".to_string()),
            },
            reference: b[3],
            mask: b[4],
        })),
        (0, 1) => {
            need(
                (b[1], b[2]) == HDP_FLUSH,
                format!("registers {:#x} and {:#x}", b[1], b[2]),
            )?;
            need(function == 3, "a wait that is not for equality")?;
            Ok(Packet::Wait(Wait::Registers {
                request: b[1],
                done: b[2],
                reference: b[3],
                mask: b[4],
            }))
        }
        _ => Err(format!("space {space}, operation {operation}")),
    }
}
