//! Conversions between types of numbers. In: mnemonic and operands. Out: handlers. Floats that do not fit an integer become
//! the nearest one that exists, what is not a number becomes zero.

use super::lanes::{Args, Src, one, three, two};
use super::rounding::{to_half, to_single};
use super::{FaultKind, Handler, LANES, Round};
use crate::wave::lanes::{Lane, Out};
use half::f16;

/// A wider number to a single float, as the mode rounds.
fn to_f32<A: Lane>(args: Args, f: fn(A) -> f64) -> Handler {
    Box::new(move |w, _| {
        let a = A::get(w, &args, 0);
        let round = w.mode.round32;
        let out = a.map(|x| to_single(f(x), round));
        f32::put(w, &args, &out);
        Ok(())
    })
}

/// To a half float; directions other than nearest are done by cutting off.
fn to_f16<A: Lane>(args: Args, f: fn(A) -> f64) -> Handler {
    Box::new(move |w, _| {
        let a = A::get(w, &args, 0);
        let out: [f16; LANES] = match w.mode.round64 {
            Round::Nearest => a.map(|x| to_half(f(x))),
            Round::Zero => a.map(|x| toward_zero(f(x) as f32)),
            _ => return Err(FaultKind::Unsupported("half floats rounded up or down")),
        };
        f16::put(w, &args, &out);
        Ok(())
    })
}

/// The half float nearest to zero from here.
pub(crate) fn toward_zero(x: f32) -> f16 {
    let near = f16::from_f32(x);
    if x.is_infinite() || x.is_nan() || near.to_f32().abs() <= x.abs() {
        return near;
    }
    f16::from_bits(near.to_bits() - 1)
}

/// A number between -1 and 1 as signed integer, or between 0 and 1 as unsigned one.
fn norm(x: f64, scale: f64, low: f64) -> u16 {
    let x = if x.is_nan() { 0.0 } else { x.clamp(low, 1.0) };
    (x * scale).round_ties_even() as i32 as u16
}

fn pack(a: u16, b: u16) -> u32 {
    u32::from(a) | u32::from(b) << 16
}

pub(super) fn lower(name: &str, args: Args) -> Option<Handler> {
    if let Some(byte) = name.strip_prefix("v_cvt_f32_ubyte") {
        let shift = byte.parse::<u32>().ok()? * 8;
        return Some(one(args, move |x: u32| (x >> shift & 0xFF) as f32));
    }
    Some(match name {
        "v_cvt_f32_i32" => to_f32(args, |x: i32| f64::from(x)),
        "v_cvt_f32_u32" => to_f32(args, |x: u32| f64::from(x)),
        "v_cvt_f32_f64" => to_f32(args, |x: f64| x),
        "v_cvt_f32_f16" => one(args, |x: f16| x.to_f32()),
        "v_cvt_f16_f32" => to_f16(args, |x: f32| f64::from(x)),
        "v_cvt_f16_u16" => to_f16(args, |x: u16| f64::from(x)),
        "v_cvt_f16_i16" => to_f16(args, |x: i16| f64::from(x)),
        "v_cvt_f64_f32" => one(args, |x: f32| f64::from(x)),
        "v_cvt_f64_i32" => one(args, |x: i32| f64::from(x)),
        "v_cvt_f64_u32" => one(args, |x: u32| f64::from(x)),
        "v_cvt_i32_f32" => one(args, |x: f32| x as i32),
        "v_cvt_u32_f32" => one(args, |x: f32| x as u32),
        "v_cvt_i32_f64" => one(args, |x: f64| x as i32),
        "v_cvt_u32_f64" => one(args, |x: f64| x as u32),
        "v_cvt_i16_f16" => one(args, |x: f16| x.to_f32() as i16),
        "v_cvt_u16_f16" => one(args, |x: f16| x.to_f32() as u16),
        "v_cvt_nearest_i32_f32" => one(args, |x: f32| (x + 0.5).floor() as i32),
        "v_cvt_floor_i32_f32" => one(args, |x: f32| x.floor() as i32),
        "v_cvt_off_f32_i4" => one(args, |x: u32| ((x as i32) << 28 >> 28) as f32 / 16.0),
        "v_cvt_pk_rtz_f16_f32" => two(args, |a: f32, b: f32| {
            pack(toward_zero(a).to_bits(), toward_zero(b).to_bits())
        }),
        "v_cvt_norm_i16_f16" => one(args, |x: f16| norm(x.to_f64(), 32767.0, -1.0)),
        "v_cvt_norm_u16_f16" => one(args, |x: f16| norm(x.to_f64(), 65535.0, 0.0)),
        "v_cvt_pk_norm_i16_f32" => two(args, |a: f32, b: f32| {
            pack(norm(a.into(), 32767.0, -1.0), norm(b.into(), 32767.0, -1.0))
        }),
        "v_cvt_pk_norm_u16_f32" => two(args, |a: f32, b: f32| {
            pack(norm(a.into(), 65535.0, 0.0), norm(b.into(), 65535.0, 0.0))
        }),
        "v_cvt_pk_norm_i16_f16" => two(args, |a: f16, b: f16| {
            pack(norm(a.into(), 32767.0, -1.0), norm(b.into(), 32767.0, -1.0))
        }),
        "v_cvt_pk_norm_u16_f16" => two(args, |a: f16, b: f16| {
            pack(norm(a.into(), 65535.0, 0.0), norm(b.into(), 65535.0, 0.0))
        }),
        "v_cvt_pk_i16_f32" => two(args, |a: f32, b: f32| {
            pack(a as i16 as u16, b as i16 as u16)
        }),
        "v_cvt_pk_u16_f32" => two(args, |a: f32, b: f32| pack(a as u16, b as u16)),
        "v_cvt_pk_u8_f32" => three(args, |a: f32, at: u32, into: u32| {
            let shift = 8 * (at & 3);
            let byte = a.round_ties_even() as u8;
            into & !(0xFF << shift) | u32::from(byte) << shift
        }),
        "v_mov_b16" if !matches!(args.src[0], Src::Moved) => one(args, |x: u16| x),
        _ => return None,
    })
}
