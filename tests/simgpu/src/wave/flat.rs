//! Memory by address: FLAT, GLOBAL, SCRATCH. In: instruction. Out: handlers that check every lane's access: global memory
//! against live mappings, local memory against the work-group's, private memory against the lane's.

use super::lds::{self, Widen, data, lanes, load_of, put, store_of};
use super::{FaultKind, Handler, LANES, PRIVATE_BASE, SHARED_BASE, Surroundings, Wave};
use crate::isa::{Family, Field, Inst, Kind, NULL};

/// Where a lane's bytes are.
#[derive(Clone, Copy)]
enum Place {
    Global(u64),
    Local(u64),
    Private(u64),
}

/// How addresses are made.
#[derive(Clone, Copy)]
struct Address {
    family: Family,
    /// The lane's register, if it has one.
    vector: Option<usize>,
    /// The scalar register, if there is one.
    scalar: Option<usize>,
    constant: i64,
}

impl Address {
    fn of(i: &Inst) -> Result<Address, &'static str> {
        if !i.op.srcs.contains(&Kind::Addr) {
            return Err("addresses made of lane numbers");
        }
        let scalar = i.get(Field::Saddr);
        let off = i.layout.family == Family::Scratch && i.get(Field::Sve) == 0;
        Ok(Address {
            family: i.layout.family,
            vector: (!off).then_some(i.get(Field::Addr) as usize),
            scalar: (scalar != NULL).then_some(scalar as usize),
            constant: i64::from(i.flat_offset()),
        })
    }

    /// Addresses of all lanes.
    fn all(&self, w: &Wave) -> [u64; LANES] {
        let narrow = |r: usize| w.v[r].map(u64::from);
        let wide = |r: usize| {
            let (low, high) = (&w.v[r], &w.v[r + 1]);
            std::array::from_fn(|l| u64::from(low[l]) | u64::from(high[l]) << 32)
        };
        let (lane, base) = match (self.family, self.vector, self.scalar) {
            (Family::Scratch, v, s) => (
                v.map_or([0; LANES], narrow),
                s.map_or(0, |s| u64::from(w.s[s])),
            ),
            (_, Some(v), Some(s)) => (narrow(v), u64::from(w.s[s]) | u64::from(w.s[s + 1]) << 32),
            (_, Some(v), None) => (wide(v), 0),
            (_, None, _) => ([0; LANES], 0),
        };
        let base = base.wrapping_add_signed(self.constant);
        let private = self.family == Family::Scratch;
        // Private addresses have 32 bits.
        let mask = if private {
            u64::from(u32::MAX)
        } else {
            u64::MAX
        };
        lane.map(|a| a.wrapping_add(base) & mask)
    }

    /// What an address means.
    #[inline]
    fn place(&self, address: u64) -> Place {
        match self.family {
            Family::Scratch => Place::Private(address),
            Family::Flat => match address & 0xFFFF_FFFF_0000_0000 {
                SHARED_BASE => Place::Local(address & u64::from(u32::MAX)),
                PRIVATE_BASE => Place::Private(address & u64::from(u32::MAX)),
                _ => Place::Global(address),
            },
            _ => Place::Global(address),
        }
    }
}

/// Where a lane's private bytes are in the wave's.
fn private(w: &Wave, offset: u64, bytes: usize, lane: usize) -> Result<usize, FaultKind> {
    let end = offset.saturating_add(bytes as u64);
    if end > w.scratch_lane as u64 {
        return Err(FaultKind::Scratch {
            lane,
            offset,
            bytes,
            size: w.scratch_lane,
        });
    }
    Ok(lane * w.scratch_lane + offset as usize)
}

#[inline]
fn load<const N: usize>(
    w: &Wave,
    env: &Surroundings<'_>,
    place: Place,
    lane: usize,
) -> Result<[u8; N], FaultKind> {
    match place {
        Place::Global(address) => env
            .memory
            .load::<N>(address)
            .map_err(|bad| FaultKind::Address { lane, bad }),
        Place::Local(offset) => lds::load(env.lds, offset, lane),
        Place::Private(offset) => {
            let at = private(w, offset, N, lane)?;
            let bytes = w.scratch.get(at..).and_then(|b| b.first_chunk::<N>());
            bytes
                .copied()
                .ok_or(FaultKind::Unsupported("private memory"))
        }
    }
}

#[inline]
fn store<const N: usize>(
    w: &mut Wave,
    env: &mut Surroundings<'_>,
    place: Place,
    lane: usize,
    value: [u8; N],
) -> Result<(), FaultKind> {
    match place {
        Place::Global(address) => env
            .memory
            .store::<N>(address, value)
            .map_err(|bad| FaultKind::Address { lane, bad }),
        Place::Local(offset) => lds::store(env.lds, offset, &value, lane),
        Place::Private(offset) => {
            let at = private(w, offset, N, lane)?;
            w.scratch[at..at + N].copy_from_slice(&value);
            Ok(())
        }
    }
}

/// Counts what goes through global memory.
fn is_global(family: Family) -> bool {
    family != Family::Scratch
}

fn loads<const N: usize>(a: Address, dst: usize, widen: Widen) -> Handler {
    Box::new(move |w, env| {
        let at = a.all(w);
        let exec = w.exec();
        for lane in lanes(exec) {
            let value = load::<N>(w, env, a.place(at[lane]), lane)?;
            put(w, dst, lane, &value, widen);
        }
        if is_global(a.family) {
            env.counters.loaded += u64::from(exec.count_ones()) * N as u64;
        }
        Ok(())
    })
}

fn stores<const N: usize>(a: Address, register: usize, upper: bool) -> Handler {
    Box::new(move |w, env| {
        let at = a.all(w);
        let exec = w.exec();
        for lane in lanes(exec) {
            let mut value = [0; N];
            value.copy_from_slice(&data(w, register, lane, N, upper)[..N]);
            store::<N>(w, env, a.place(at[lane]), lane, value)?;
        }
        if is_global(a.family) {
            env.counters.stored += u64::from(exec.count_ones()) * N as u64;
        }
        Ok(())
    })
}

/// What an atomic operation makes of the old value, its operand and what it expects.
type Change = fn(u64, u64, u64) -> u64;

fn single(f: fn(f32, f32) -> f32, old: u64, value: u64) -> u64 {
    u64::from(f(f32::from_bits(old as u32), f32::from_bits(value as u32)).to_bits())
}

/// Atomic operations by the end of their names. Of 32-bit values the upper half of the result does not count.
pub(super) fn atomic(name: &str) -> Option<Change> {
    Some(match name {
        "swap_b32" | "swap_b64" | "storexchg_b32" | "storexchg_b64" => |_, v, _| v,
        "cmpswap_b32" | "cmpstore_b32" => |old, v, e| if old as u32 == e as u32 { v } else { old },
        "cmpswap_b64" | "cmpstore_b64" => |old, v, e| if old == e { v } else { old },
        "add_u32" | "add_u64" => |old, v, _| old.wrapping_add(v),
        "sub_u32" | "sub_u64" => |old, v, _| old.wrapping_sub(v),
        "rsub_u32" | "rsub_u64" => |old, v, _| v.wrapping_sub(old),
        "csub_u32" => |old, v, _| u64::from((old as u32).saturating_sub(v as u32)),
        "min_i32" => |old, v, _| (old as i32).min(v as i32) as u64,
        "max_i32" => |old, v, _| (old as i32).max(v as i32) as u64,
        "min_u32" => |old, v, _| u64::from((old as u32).min(v as u32)),
        "max_u32" => |old, v, _| u64::from((old as u32).max(v as u32)),
        "min_i64" => |old, v, _| (old as i64).min(v as i64) as u64,
        "max_i64" => |old, v, _| (old as i64).max(v as i64) as u64,
        "min_u64" => |old, v, _| old.min(v),
        "max_u64" => |old, v, _| old.max(v),
        "and_b32" | "and_b64" => |old, v, _| old & v,
        "or_b32" | "or_b64" => |old, v, _| old | v,
        "xor_b32" | "xor_b64" => |old, v, _| old ^ v,
        "inc_u32" => |old, v, _| if old as u32 >= v as u32 { 0 } else { old + 1 },
        "dec_u32" => |old, v, _| match old as u32 == 0 || old as u32 > v as u32 {
            true => v,
            false => old - 1,
        },
        "inc_u64" => |old, v, _| if old >= v { 0 } else { old + 1 },
        "dec_u64" => |old, v, _| if old == 0 || old > v { v } else { old - 1 },
        "add_f32" => |old, v, _| single(|a, b| a + b, old, v),
        "min_f32" => |old, v, _| single(super::float::min, old, v),
        "max_f32" => |old, v, _| single(super::float::max, old, v),
        "cmpswap_f32" => |old, v, e| match f32::from_bits(old as u32) == f32::from_bits(e as u32) {
            true => v,
            false => old,
        },
        _ => return None,
    })
}

fn atomics<const N: usize>(i: &Inst, a: Address, f: Change) -> Handler {
    let compares = i.op.name.contains("cmpswap");
    let register = i.get(Field::Data0) as usize;
    let dst = i.get(Field::Vdst) as usize;
    let returns = i.returns();
    let words = N / 4;
    let value = move |w: &Wave, lane: usize, at: usize| {
        let low = u64::from(w.v[register + at][lane]);
        match words {
            1 => low,
            _ => low | u64::from(w.v[register + at + 1][lane]) << 32,
        }
    };
    Box::new(move |w, env| {
        let at = a.all(w);
        for lane in lanes(w.exec()) {
            if !at[lane].is_multiple_of(N as u64) {
                return Err(FaultKind::Alignment {
                    lane,
                    address: at[lane],
                    align: N as u64,
                });
            }
            let place = a.place(at[lane]);
            // Atomic operations happen behind the caches.
            let old = match place {
                Place::Global(address) => env
                    .memory
                    .load_coherent::<N>(address)
                    .map_err(|bad| FaultKind::Address { lane, bad })?,
                _ => load::<N>(w, env, place, lane)?,
            };
            let mut eight = [0; 8];
            eight[..N].copy_from_slice(&old);
            let first = value(w, lane, 0);
            let second = if compares { value(w, lane, words) } else { 0 };
            let new = f(u64::from_le_bytes(eight), first, second).to_le_bytes();
            let mut bytes = [0; N];
            bytes.copy_from_slice(&new[..N]);
            store::<N>(w, env, place, lane, bytes)?;
            if returns {
                put(w, dst, lane, &old, Widen::Words);
            }
            env.counters.loaded += N as u64;
            env.counters.stored += N as u64;
        }
        Ok(())
    })
}

pub(super) fn lower(i: &Inst) -> Result<Handler, &'static str> {
    let a = Address::of(i)?;
    let (_, name) = i.op.name.split_once('_').ok_or("no such operation")?;
    let dst = i.get(Field::Vdst) as usize;
    if let Some((bytes, widen)) = name.strip_prefix("load_").and_then(load_of) {
        return Ok(match bytes {
            1 => loads::<1>(a, dst, widen),
            2 => loads::<2>(a, dst, widen),
            4 => loads::<4>(a, dst, widen),
            8 => loads::<8>(a, dst, widen),
            12 => loads::<12>(a, dst, widen),
            _ => loads::<16>(a, dst, widen),
        });
    }
    let register = i.get(Field::Data0) as usize;
    if let Some((bytes, upper)) = name.strip_prefix("store_").and_then(store_of) {
        return Ok(match bytes {
            1 => stores::<1>(a, register, upper),
            2 => stores::<2>(a, register, upper),
            4 => stores::<4>(a, register, upper),
            8 => stores::<8>(a, register, upper),
            12 => stores::<12>(a, register, upper),
            _ => stores::<16>(a, register, upper),
        });
    }
    let f = name.strip_prefix("atomic_").and_then(atomic);
    let f = f.ok_or("an operation on memory that is not simulated")?;
    Ok(match name.ends_with("64") {
        true => atomics::<8>(i, a, f),
        false => atomics::<4>(i, a, f),
    })
}
