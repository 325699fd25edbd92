//! Packed, mixed and dot operations: VOP3P. In: instruction. Out: handlers.

use super::float::{max, min};
use super::half_float::fma16;
use super::lanes::{Args, Out, Src, finish16, flush32};
use super::lower::{args, source};
use super::rounding::{fma_directed, fma_odd};
use super::{Handler, LANES, Lanes, Wave, move_lanes};
use crate::isa::{Inst, Kind};
use half::{bf16, f16};

/// One of the two halves of a register.
fn half(x: u32, upper: bool) -> u16 {
    (x >> (16 * u32::from(upper))) as u16
}

/// The halves of operand `n` that go into the lower and the upper half of the result; signs as the instruction says.
fn halves(w: &Wave, args: &Args, n: usize, float: bool) -> ([u16; LANES], [u16; LANES]) {
    let bits = args.raw(w, n);
    let pick = |sel: u32, neg: u32| {
        let upper = sel >> n & 1 != 0;
        let flip = if float && neg >> n & 1 != 0 {
            0x8000
        } else {
            0
        };
        bits.map(|b| half(b, upper) ^ flip)
    };
    (pick(args.sel, args.neg), pick(args.sel_hi, args.neg_hi))
}

/// An operation on each half.
fn each(
    args: Args,
    n: usize,
    float: bool,
    f: impl Fn(u16, u16, u16) -> u16 + Send + Sync + 'static,
) -> Handler {
    Box::new(move |w, _| {
        let none = ([0; LANES], [0; LANES]);
        let a = halves(w, &args, 0, float);
        let b = halves(w, &args, 1, float);
        let c = if n == 3 {
            halves(w, &args, 2, float)
        } else {
            none
        };
        let mut out: Lanes = std::array::from_fn(|l| {
            let low = f(a.0[l], b.0[l], c.0[l]);
            let high = f(a.1[l], b.1[l], c.1[l]);
            u32::from(low) | u32::from(high) << 16
        });
        if float {
            let finish = |x: u16| finish16(w, &args, f16::from_bits(x)).to_bits();
            out = out
                .map(|x| u32::from(finish(x as u16)) | u32::from(finish((x >> 16) as u16)) << 16);
        }
        w.set_v(args.dst, &out);
        Ok(())
    })
}

fn floats(args: Args, n: usize, f: fn(f16, f16, f16) -> f16) -> Handler {
    each(args, n, true, move |a, b, c| {
        f(f16::from_bits(a), f16::from_bits(b), f16::from_bits(c)).to_bits()
    })
}

fn single(f: fn(f32, f32) -> f32, a: f16, b: f16) -> f16 {
    f16::from_f32(f(a.to_f32(), b.to_f32()))
}

/// Dot products of bytes or half bytes; signs of both operands by bits of `neg`.
fn dot_ints(args: Args, width: u32, signed: bool) -> Handler {
    let count = 32 / width;
    let signs = [signed && args.neg & 1 != 0, signed && args.neg & 2 != 0];
    let part = move |x: u32, at: u32, signed: bool| -> i64 {
        let up = x << (32 - width - at * width);
        match signed {
            true => i64::from(up as i32 >> (32 - width)),
            false => i64::from(up >> (32 - width)),
        }
    };
    Box::new(move |w, _| {
        let (a, b, c) = (args.raw(w, 0), args.raw(w, 1), args.raw(w, 2));
        let out: Lanes = std::array::from_fn(|l| {
            let products = (0..count).map(|n| part(a[l], n, signs[0]) * part(b[l], n, signs[1]));
            let start = if signed {
                i64::from(c[l] as i32)
            } else {
                i64::from(c[l])
            };
            let sum = start + products.sum::<i64>();
            match (args.clamp, signed) {
                (false, _) => sum as u32,
                (true, true) => sum.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as u32,
                (true, false) => sum.clamp(0, i64::from(u32::MAX)) as u32,
            }
        });
        w.set_v(args.dst, &out);
        Ok(())
    })
}

/// Two products of half floats added to a single one.
fn dot_floats(args: Args, widen: fn(u16) -> f32) -> Handler {
    Box::new(move |w, _| {
        let a = halves(w, &args, 0, true);
        let b = halves(w, &args, 1, true);
        let flip = (args.neg >> 2 & 1) << 31;
        let c = args.raw(w, 2).map(|x| f32::from_bits(x ^ flip));
        let out = std::array::from_fn(|l| {
            let low = f64::from(widen(a.0[l])) * f64::from(widen(b.0[l]));
            let high = f64::from(widen(a.1[l])) * f64::from(widen(b.1[l]));
            (low + high + f64::from(c[l])) as f32
        });
        let plain = Args { neg: 0, ..args };
        f32::put(w, &plain, &out);
        Ok(())
    })
}

/// An operand of a mixed operation: a single float, or one half of a register made one.
fn mixed(w: &Wave, args: &Args, n: usize) -> [f32; LANES] {
    let bits = args.raw(w, n);
    let halves = args.sel_hi >> n & 1 != 0;
    let upper = args.sel >> n & 1 != 0;
    let flush = w.mode.flush_in32;
    let values = bits.map(|b| match halves {
        true => f16::from_bits(half(b, upper)).to_f32(),
        false if flush => flush32(f32::from_bits(b)),
        false => f32::from_bits(b),
    });
    // What negates upper halves elsewhere takes the sign away here.
    let keep = if args.neg_hi >> n & 1 != 0 {
        u32::MAX >> 1
    } else {
        u32::MAX
    };
    let flip = (args.neg >> n & 1) << 31;
    values.map(|x| f32::from_bits(x.to_bits() & keep ^ flip))
}

/// `a * b + c` of single and half floats. `upper` tells which half gets a half float as result.
fn mix(args: Args, upper: Option<bool>) -> Handler {
    Box::new(move |w, _| {
        let (a, b, c) = (mixed(w, &args, 0), mixed(w, &args, 1), mixed(w, &args, 2));
        let round = w.mode.round32;
        let out: [f32; LANES] = std::array::from_fn(|l| match round {
            super::Round::Nearest => fma_odd(a[l], b[l], c[l]) as f32,
            _ => fma_directed(a[l], b[l], c[l], round),
        });
        let plain = Args {
            neg: 0,
            sel: if upper == Some(true) { 8 } else { 0 },
            ..args
        };
        match upper {
            None => f32::put(w, &plain, &out),
            Some(_) => f16::put(w, &plain, &out.map(f16::from_f32)),
        }
        Ok(())
    })
}

/// Constants of mixed operations are single floats where the operand is one.
fn mix_args(i: &Inst) -> Result<Args, &'static str> {
    let mut args = args(i)?;
    for (n, code) in i.sources().into_iter().enumerate().take(3) {
        if args.sel_hi >> n & 1 == 0 && args.src[n] != Src::Moved {
            args.src[n] = source(code, Kind::F32, i.literal(), false)?;
        }
    }
    Ok(args)
}

pub(super) fn lower(i: &Inst) -> Result<Handler, &'static str> {
    if i.op.has("mix") {
        let args = mix_args(i)?;
        let upper = match i.op.name.as_str() {
            "v_fma_mix_f32" => None,
            name => Some(name == "v_fma_mixhi_f16"),
        };
        return Ok(move_lanes::wrap(i, mix(args, upper)));
    }
    let args = args(i)?;
    let handler = integers(&i.op.name, args).or_else(|| other(&i.op.name, args));
    let handler = handler.ok_or("an operation that is not simulated")?;
    Ok(move_lanes::wrap(i, handler))
}

/// The two packed operations that have a short encoding and add to their result.
pub(super) fn accumulate(name: &str, args: Args) -> Option<Handler> {
    let mut args = Args {
        sel: 0,
        sel_hi: 7,
        neg_hi: args.neg,
        ..args
    };
    args.src[2] = Src::V(args.dst);
    Some(match name {
        "v_pk_fmac_f16" => floats(args, 3, fma16),
        "v_dot2acc_f32_f16" => dot_floats(args, |x| f16::from_bits(x).to_f32()),
        _ => return None,
    })
}

fn other(name: &str, args: Args) -> Option<Handler> {
    Some(match name {
        "v_pk_fma_f16" => floats(args, 3, fma16),
        "v_pk_add_f16" => floats(args, 2, |a, b, _| single(|x, y| x + y, a, b)),
        "v_pk_mul_f16" => floats(args, 2, |a, b, _| single(|x, y| x * y, a, b)),
        "v_pk_min_f16" => floats(args, 2, |a, b, _| single(min, a, b)),
        "v_pk_max_f16" => floats(args, 2, |a, b, _| single(max, a, b)),
        "v_dot2_f32_f16" => dot_floats(args, |x| f16::from_bits(x).to_f32()),
        "v_dot2_f32_bf16" => dot_floats(args, |x| bf16::from_bits(x).to_f32()),
        "v_dot4_i32_iu8" => dot_ints(args, 8, true),
        "v_dot4_u32_u8" => dot_ints(args, 8, false),
        "v_dot8_i32_iu4" => dot_ints(args, 4, true),
        "v_dot8_u32_u4" => dot_ints(args, 4, false),
        _ => return None,
    })
}

fn integers(name: &str, args: Args) -> Option<Handler> {
    let f: fn(u16, u16, u16) -> u16 = match (name, args.clamp) {
        ("v_pk_add_u16", true) => |a, b, _| a.saturating_add(b),
        ("v_pk_sub_u16", true) => |a, b, _| a.saturating_sub(b),
        ("v_pk_add_i16", true) => |a, b, _| (a as i16).saturating_add(b as i16) as u16,
        ("v_pk_sub_i16", true) => |a, b, _| (a as i16).saturating_sub(b as i16) as u16,
        (_, true) => return None,
        ("v_pk_add_u16" | "v_pk_add_i16", _) => |a, b, _| a.wrapping_add(b),
        ("v_pk_sub_u16" | "v_pk_sub_i16", _) => |a, b, _| a.wrapping_sub(b),
        ("v_pk_mul_lo_u16", _) => |a, b, _| a.wrapping_mul(b),
        ("v_pk_mad_u16" | "v_pk_mad_i16", _) => |a, b, c| a.wrapping_mul(b).wrapping_add(c),
        ("v_pk_lshlrev_b16", _) => |a, b, _| b << (a & 15),
        ("v_pk_lshrrev_b16", _) => |a, b, _| b >> (a & 15),
        ("v_pk_ashrrev_i16", _) => |a, b, _| (b as i16 >> (a & 15)) as u16,
        ("v_pk_max_i16", _) => |a, b, _| (a as i16).max(b as i16) as u16,
        ("v_pk_min_i16", _) => |a, b, _| (a as i16).min(b as i16) as u16,
        ("v_pk_max_u16", _) => |a, b, _| a.max(b),
        ("v_pk_min_u16", _) => |a, b, _| a.min(b),
        _ => return None,
    };
    let operands = if name.contains("mad") { 3 } else { 2 };
    Some(each(args, operands, false, f))
}
