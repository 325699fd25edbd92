//! Local memory of a work-group: DS. In: instruction. Out: handlers. Every access is checked against the work-group's size;
//! lanes that meet in a bank are counted.

use super::flat::atomic;
use super::{Counters, FaultKind, Handler, LANES, Wave};
use crate::isa::{Field, Inst, Kind};

/// Banks of four bytes.
const BANKS: u64 = 32;

/// Bytes at an offset, or the fault of the lane.
#[inline]
pub(super) fn load<const N: usize>(
    lds: &[u8],
    offset: u64,
    lane: usize,
) -> Result<[u8; N], FaultKind> {
    usize::try_from(offset)
        .ok()
        .and_then(|at| lds.get(at..)?.first_chunk::<N>().copied())
        .ok_or_else(|| fault(lds, offset, N, lane))
}

/// Stores bytes at an offset.
pub(super) fn store(
    lds: &mut [u8],
    offset: u64,
    bytes: &[u8],
    lane: usize,
) -> Result<(), FaultKind> {
    let at = usize::try_from(offset).unwrap_or(usize::MAX);
    let end = at.saturating_add(bytes.len());
    match lds.get_mut(at..end) {
        Some(into) => into.copy_from_slice(bytes),
        None => return Err(fault(lds, offset, bytes.len(), lane)),
    }
    Ok(())
}

fn fault(lds: &[u8], offset: u64, bytes: usize, lane: usize) -> FaultKind {
    FaultKind::Lds {
        lane,
        offset,
        bytes,
        size: lds.len(),
    }
}

/// Counts cycles that were lost because lanes of one pass wanted different words of one bank. As many lanes share a pass
/// as fill all banks.
fn count(counters: &mut Counters, exec: u32, offsets: &[u64; LANES], bytes: usize) {
    counters.lds += (exec.count_ones() as usize * bytes) as u64;
    let words = bytes.div_ceil(4);
    let lanes = (BANKS as usize / words).min(LANES);
    let mut at = 0;
    while at < LANES {
        if apart(exec, offsets, at..(at + lanes).min(LANES), words as u64) {
            at += lanes;
            continue;
        }
        let mut seen = [[u64::MAX; 4]; BANKS as usize];
        let mut depth = [0usize; BANKS as usize];
        let group = (at..(at + lanes).min(LANES)).filter(|l| exec >> l & 1 != 0);
        for lane in group {
            for word in 0..words as u64 {
                let word = offsets[lane] / 4 + word;
                let bank = (word % BANKS) as usize;
                let known = &mut seen[bank];
                let held = depth[bank].min(4);
                if !known[..held].contains(&word) {
                    known[held.min(3)] = word;
                    depth[bank] += 1;
                }
            }
        }
        let deepest = depth.iter().copied().max().unwrap_or(0);
        counters.conflicts += deepest.saturating_sub(1) as u64;
        at += lanes;
    }
}

/// Whether no bank has to give more than one word: what most accesses do, found out fast.
#[inline]
fn apart(exec: u32, offsets: &[u64; LANES], group: std::ops::Range<usize>, words: u64) -> bool {
    let mut used = 0u32;
    let mut held = [0; BANKS as usize];
    for lane in group {
        if exec >> lane & 1 == 0 {
            continue;
        }
        for n in 0..words {
            let word = offsets[lane] / 4 + n;
            let bank = (word % BANKS) as usize;
            if used >> bank & 1 == 0 {
                used |= 1 << bank;
                held[bank] = word;
            } else if held[bank] != word {
                return false;
            }
        }
    }
    true
}

/// Offsets of all lanes.
fn offsets(w: &Wave, addr: Option<usize>, constant: u64) -> [u64; LANES] {
    match addr {
        // The sum wraps in 32 bits: what lies past the end is no other place.
        Some(r) => w.v[r].map(|a| u64::from(a) + constant),
        None => std::array::from_fn(|lane| constant + 4 * lane as u64),
    }
}

/// What a load does with its bytes.
#[derive(Clone, Copy)]
pub(super) enum Widen {
    /// Whole registers.
    Words,
    /// A byte or two, extended without sign.
    Unsigned,
    /// The same with sign.
    Signed,
    /// The lower half of the register, extended as told.
    Low(bool),
    /// The upper half.
    High(bool),
}

/// Bytes and extension of a load by the end of its name.
pub(super) fn load_of(name: &str) -> Option<(usize, Widen)> {
    Some(match name {
        "u8" => (1, Widen::Unsigned),
        "i8" => (1, Widen::Signed),
        "u16" => (2, Widen::Unsigned),
        "i16" => (2, Widen::Signed),
        "b32" => (4, Widen::Words),
        "b64" => (8, Widen::Words),
        "b96" => (12, Widen::Words),
        "b128" => (16, Widen::Words),
        "u8_d16" | "d16_u8" => (1, Widen::Low(false)),
        "i8_d16" | "d16_i8" => (1, Widen::Low(true)),
        "u16_d16" | "d16_b16" => (2, Widen::Low(false)),
        "u8_d16_hi" | "d16_hi_u8" => (1, Widen::High(false)),
        "i8_d16_hi" | "d16_hi_i8" => (1, Widen::High(true)),
        "u16_d16_hi" | "d16_hi_b16" => (2, Widen::High(false)),
        _ => return None,
    })
}

/// Bytes of a store by the end of its name, and whether they are the upper half.
pub(super) fn store_of(name: &str) -> Option<(usize, bool)> {
    Some(match name {
        "b8" => (1, false),
        "b16" => (2, false),
        "b32" => (4, false),
        "b64" => (8, false),
        "b96" => (12, false),
        "b128" => (16, false),
        "b8_d16_hi" | "d16_hi_b8" => (1, true),
        "b16_d16_hi" | "d16_hi_b16" => (2, true),
        _ => return None,
    })
}

/// Puts loaded bytes into the registers of a lane.
#[inline]
pub(super) fn put(w: &mut Wave, dst: usize, lane: usize, bytes: &[u8], widen: Widen) {
    let narrow = |signed: bool| match (bytes, signed) {
        ([b], false) => u32::from(*b),
        ([b], true) => *b as i8 as u32,
        ([a, b, ..], false) => u32::from(u16::from_le_bytes([*a, *b])),
        ([a, b, ..], true) => i16::from_le_bytes([*a, *b]) as u32,
        _ => 0,
    };
    match widen {
        Widen::Words => {
            for (n, word) in bytes.chunks_exact(4).enumerate() {
                w.v[dst + n][lane] = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
            }
        }
        Widen::Unsigned => w.v[dst][lane] = narrow(false),
        Widen::Signed => w.v[dst][lane] = narrow(true),
        Widen::Low(signed) => {
            let old = w.v[dst][lane];
            w.v[dst][lane] = old & 0xFFFF_0000 | narrow(signed) & 0xFFFF;
        }
        Widen::High(signed) => {
            let old = w.v[dst][lane];
            w.v[dst][lane] = old & 0xFFFF | narrow(signed) << 16;
        }
    }
}

/// The bytes that a lane stores.
#[inline]
pub(super) fn data(w: &Wave, register: usize, lane: usize, bytes: usize, upper: bool) -> [u8; 16] {
    let mut out = [0; 16];
    for n in 0..bytes.div_ceil(4) {
        let word = w.v[register + n][lane] >> if upper { 16 } else { 0 };
        out[4 * n..4 * n + 4].copy_from_slice(&word.to_le_bytes());
    }
    out
}

/// The active lanes.
pub(super) fn lanes(exec: u32) -> impl Iterator<Item = usize> {
    (0..LANES).filter(move |l| exec >> l & 1 != 0)
}

fn load_bytes(lds: &[u8], offset: u64, bytes: usize, lane: usize) -> Result<[u8; 16], FaultKind> {
    let mut out = [0; 16];
    match bytes {
        4 => out[..4].copy_from_slice(&load::<4>(lds, offset, lane)?),
        8 => out[..8].copy_from_slice(&load::<8>(lds, offset, lane)?),
        16 => out = load::<16>(lds, offset, lane)?,
        12 => out[..12].copy_from_slice(&load::<12>(lds, offset, lane)?),
        2 => out[..2].copy_from_slice(&load::<2>(lds, offset, lane)?),
        _ => out[..1].copy_from_slice(&load::<1>(lds, offset, lane)?),
    }
    Ok(out)
}

/// Registers and constants of an instruction.
struct Place {
    addr: Option<usize>,
    data: [usize; 2],
    dst: usize,
    offset: u64,
    /// The two constants of instructions with two addresses.
    pair: [u64; 2],
}

pub(super) fn lower(i: &Inst) -> Result<Handler, &'static str> {
    let name = i.op.name.as_str();
    let field = |f| i.get(f) as usize;
    let (low, high) = (
        u64::from(i.get(Field::Offset)),
        u64::from(i.get(Field::Offset1)),
    );
    let place = Place {
        addr: i.op.srcs.contains(&Kind::Addr).then(|| field(Field::Addr)),
        data: [field(Field::Data0), field(Field::Data1)],
        dst: field(Field::Vdst),
        offset: low | high << 8,
        pair: [low, high],
    };
    if name.contains("2addr") {
        return two_addresses(name, place).ok_or("an exchange at two addresses");
    }
    if name.starts_with("ds_swizzle") || name.contains("permute") {
        return Ok(across(name, place));
    }
    let name = name.strip_prefix("ds_").unwrap_or(name);
    if name.ends_with("addtid_b32") {
        return Err("addresses made of lane numbers");
    }
    if let Some((bytes, widen)) = name.strip_prefix("load_").and_then(load_of) {
        return Ok(match bytes {
            1 => loads::<1>(place, widen),
            2 => loads::<2>(place, widen),
            4 => loads::<4>(place, widen),
            8 => loads::<8>(place, widen),
            12 => loads::<12>(place, widen),
            _ => loads::<16>(place, widen),
        });
    }
    if let Some((bytes, upper)) = name.strip_prefix("store_").and_then(store_of) {
        return Ok(Box::new(move |w, env| {
            let at = offsets(w, place.addr, place.offset);
            let exec = w.exec();
            for lane in lanes(exec) {
                let value = data(w, place.data[0], lane, bytes, upper);
                store(env.lds, at[lane], &value[..bytes], lane)?;
            }
            count(env.counters, exec, &at, bytes);
            Ok(())
        }));
    }
    read_modify_write(i, name, place)
}

fn loads<const N: usize>(place: Place, widen: Widen) -> Handler {
    Box::new(move |w, env| {
        let at = offsets(w, place.addr, place.offset);
        let exec = w.exec();
        for lane in lanes(exec) {
            let value = load::<N>(env.lds, at[lane], lane)?;
            put(w, place.dst, lane, &value, widen);
        }
        count(env.counters, exec, &at, N);
        Ok(())
    })
}

/// Two loads or stores, whose constants count elements, or 64 of them.
fn two_addresses(name: &str, place: Place) -> Option<Handler> {
    let bytes = if name.ends_with("b64") { 8 } else { 4 };
    let stride = if name.contains("stride64") { 64 } else { 1 } * bytes as u64;
    let pair = place.pair.map(|p| p * stride);
    let words = bytes / 4;
    if name.starts_with("ds_load") {
        return Some(match words {
            1 => two_loads::<4>(place, pair),
            _ => two_loads::<8>(place, pair),
        });
    }
    name.starts_with("ds_store_").then(|| -> Handler {
        Box::new(move |w, env| {
            let exec = w.exec();
            for (n, p) in pair.into_iter().enumerate() {
                let at = offsets(w, place.addr, p);
                for lane in lanes(exec) {
                    let value = data(w, place.data[n], lane, bytes, false);
                    store(env.lds, at[lane], &value[..bytes], lane)?;
                }
                count(env.counters, exec, &at, bytes);
            }
            Ok(())
        })
    })
}

fn two_loads<const N: usize>(place: Place, pair: [u64; 2]) -> Handler {
    Box::new(move |w, env| {
        let exec = w.exec();
        // The address register may be one of the results.
        let at = pair.map(|p| offsets(w, place.addr, p));
        for (n, at) in at.iter().enumerate() {
            for lane in lanes(exec) {
                let value = load::<N>(env.lds, at[lane], lane)?;
                put(w, place.dst + n * N / 4, lane, &value, Widen::Words);
            }
            count(env.counters, exec, at, N);
        }
        Ok(())
    })
}

/// Where lane `lane` of a swizzle looks.
fn swizzled(offset: u32, lane: usize) -> usize {
    let lane = lane as u32;
    let from = match offset & 0x8000 {
        0 => lane & (offset & 31) & 31 | (offset >> 5 & 31),
        _ => return (lane & !3 | offset >> (2 * (lane & 3)) & 3) as usize,
    };
    (from ^ (offset >> 10 & 31)) as usize
}

/// Movements of lanes that go through the hardware of local memory and touch none of it.
fn across(name: &str, place: Place) -> Handler {
    let push = name == "ds_permute_b32";
    let swizzle = name == "ds_swizzle_b32";
    Box::new(move |w, _| {
        let exec = w.exec();
        let lane_of = |w: &Wave, lane: usize| {
            let at = place.addr.map_or(0, |r| u64::from(w.v[r][lane])) + place.offset;
            (at / 4) as usize % LANES
        };
        let mut out = [0; LANES];
        if push {
            for lane in lanes(exec) {
                out[lane_of(w, lane)] = w.v[place.data[0]][lane];
            }
        } else {
            for (lane, value) in out.iter_mut().enumerate() {
                let (from, register) = match swizzle {
                    true => (swizzled(place.offset as u32, lane), place.addr.unwrap_or(0)),
                    false => (lane_of(w, lane), place.data[0]),
                };
                // Inactive lanes give zero.
                *value = if exec >> from & 1 != 0 {
                    w.v[register][from]
                } else {
                    0
                };
            }
        }
        w.set_v(place.dst, &out);
        Ok(())
    })
}

fn read_modify_write(i: &Inst, name: &str, place: Place) -> Result<Handler, &'static str> {
    let returns = name.contains("_rtn");
    let name = name.replace("_rtn", "");
    let wide = name.ends_with("64");
    let compares = name.starts_with("cmpstore");
    let f = atomic(&name).ok_or("an operation on local memory that is not simulated")?;
    if i.op.srcs.len() == 3 && !compares {
        return Err("an operation on local memory with two operands");
    }
    let bytes = if wide { 8 } else { 4 };
    Ok(Box::new(move |w, env| {
        let at = offsets(w, place.addr, place.offset);
        let exec = w.exec();
        let value = |w: &Wave, register: usize, lane: usize| {
            let bytes_of = data(w, register, lane, bytes, false);
            u64::from_le_bytes([
                bytes_of[0],
                bytes_of[1],
                bytes_of[2],
                bytes_of[3],
                bytes_of[4],
                bytes_of[5],
                bytes_of[6],
                bytes_of[7],
            ])
        };
        for lane in lanes(exec) {
            if !at[lane].is_multiple_of(bytes as u64) {
                return Err(FaultKind::Alignment {
                    lane,
                    address: at[lane],
                    align: bytes as u64,
                });
            }
            let old = load_bytes(env.lds, at[lane], bytes, lane)?;
            let mut eight = [0; 8];
            eight[..bytes].copy_from_slice(&old[..bytes]);
            // A comparison has the new value first, what it expects second.
            let first = value(w, place.data[0], lane);
            let second = if compares {
                value(w, place.data[1], lane)
            } else {
                0
            };
            let new = f(u64::from_le_bytes(eight), first, second);
            store(env.lds, at[lane], &new.to_le_bytes()[..bytes], lane)?;
            if returns {
                put(w, place.dst, lane, &old[..bytes], Widen::Words);
            }
        }
        count(env.counters, exec, &at, bytes);
        Ok(())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conflicts(bytes: usize, f: impl Fn(u64) -> u64) -> u64 {
        let mut counters = Counters::default();
        let at = std::array::from_fn(|l| f(l as u64));
        count(&mut counters, u32::MAX, &at, bytes);
        counters.conflicts
    }

    #[test]
    fn conflicts_of_banks() {
        assert_eq!(conflicts(4, |l| 4 * l), 0);
        assert_eq!(conflicts(4, |_| 64), 0);
        assert_eq!(conflicts(4, |l| 8 * l), 1);
        assert_eq!(conflicts(4, |l| 128 * l), 31);
        assert_eq!(conflicts(16, |l| 16 * l), 0);
        assert_eq!(conflicts(16, |l| 128 * l), 28);
    }
}
