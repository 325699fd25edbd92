//! Half floats. In: mnemonic and operands. Out: handlers. Arithmetic is done in wider formats and rounded once.

use super::float::{exponent, fixup32, ldexp64, mantissa, max, min};
use super::lanes::{Args, Lane, Out, Src, finish16, one, three, two};
use super::rounding::{fma_odd, to_half};
use super::{FaultKind, Handler, LANES, Round, Wave};
use half::f16;

/// Rounding other than to nearest is not done for half floats.
fn check(w: &Wave) -> Result<(), FaultKind> {
    match w.mode.round64 {
        Round::Nearest => Ok(()),
        _ => Err(FaultKind::Unsupported(
            "half floats that do not round to nearest",
        )),
    }
}

/// An operation on one, done in double precision.
fn unary(args: Args, f: fn(f64) -> f64) -> Handler {
    one(args, move |x: f16| to_half(f(x.to_f64())))
}

/// A sum or product: single precision has enough bits for one more rounding to do no harm.
fn binary(args: Args, f: fn(f32, f32) -> f32) -> Handler {
    let op = two(args, move |a: f16, b: f16| {
        f16::from_f32(f(a.to_f32(), b.to_f32()))
    });
    Box::new(move |w, env| {
        check(w)?;
        op(w, env)
    })
}

/// `a * b + c` with the third operand where `at` says.
fn fused(args: Args, c: Src) -> Handler {
    let mut third = args;
    third.src[2] = c;
    if c == Src::V(args.dst) {
        // The result's own half is what it adds to.
        third.sel = args.sel & !4 | (args.sel >> 3 & 1) << 2;
        third.neg &= 3;
        third.abs &= 3;
    }
    Box::new(move |w, _| {
        check(w)?;
        let a = f16::get(w, &args, 0);
        let b = f16::get(w, &args, 1);
        let c = f16::get(w, &third, 2);
        let out = std::array::from_fn(|l| fma16(a[l], b[l], c[l]));
        f16::put(w, &args, &out);
        Ok(())
    })
}

/// `a * b + c`, rounded once: the product is exact as single float.
pub(crate) fn fma16(a: f16, b: f16, c: f16) -> f16 {
    to_half(fma_odd(a.to_f32(), b.to_f32(), c.to_f32()))
}

fn of(f: fn(f32, f32) -> f32) -> impl Fn(f16, f16) -> f16 {
    move |a, b| f16::from_f32(f(a.to_f32(), b.to_f32()))
}

pub(super) fn lower(name: &str, args: Args) -> Option<Handler> {
    let (low, high) = (of(min::<f32>), of(max::<f32>));
    Some(match name {
        "v_add_f16" => binary(args, |a, b| a + b),
        "v_sub_f16" => binary(args, |a, b| a - b),
        "v_subrev_f16" => binary(args, |a, b| b - a),
        "v_mul_f16" => binary(args, |a, b| a * b),
        "v_min_f16" => two(args, low),
        "v_max_f16" => two(args, high),
        "v_min3_f16" => three(args, move |a, b, c| low(low(a, b), c)),
        "v_max3_f16" => three(args, move |a, b, c| high(high(a, b), c)),
        "v_minmax_f16" => three(args, move |a, b, c| high(low(a, b), c)),
        "v_maxmin_f16" => three(args, move |a, b, c| low(high(a, b), c)),
        "v_med3_f16" => three(args, move |a: f16, b: f16, c: f16| {
            match a.is_nan() || b.is_nan() || c.is_nan() {
                true => low(low(a, b), c),
                false => high(low(a, b), low(high(a, b), c)),
            }
        }),
        "v_fma_f16" => fused(args, args.src[2]),
        "v_fmac_f16" => fused(args, Src::V(args.dst)),
        "v_fmamk_f16" | "v_fmaak_f16" => fused(args, args.src[2]),
        "v_rcp_f16" => unary(args, |x| 1.0 / x),
        "v_sqrt_f16" => unary(args, f64::sqrt),
        "v_rsq_f16" => unary(args, |x| 1.0 / x.sqrt()),
        "v_log_f16" => unary(args, f64::log2),
        "v_exp_f16" => unary(args, f64::exp2),
        "v_sin_f16" => unary(args, |x| ((x - x.floor()) * std::f64::consts::TAU).sin()),
        "v_cos_f16" => unary(args, |x| ((x - x.floor()) * std::f64::consts::TAU).cos()),
        "v_floor_f16" => unary(args, f64::floor),
        "v_ceil_f16" => unary(args, f64::ceil),
        "v_trunc_f16" => unary(args, f64::trunc),
        "v_rndne_f16" => unary(args, f64::round_ties_even),
        // Below one: the largest half float that is.
        "v_fract_f16" => unary(args, |x| (x - x.floor()).min(1.0 - 2f64.powi(-11))),
        "v_frexp_mant_f16" => unary(args, mantissa),
        "v_frexp_exp_i16_f16" => one(args, |x: f16| exponent(x.to_f64()) as i16),
        "v_ldexp_f16" => two(args, |x: f16, n: i16| {
            to_half(ldexp64(x.to_f64(), i32::from(n)))
        }),
        // The quotient comes with more bits than it has: only special numbers are decided here.
        "v_div_fixup_f16" => three(args, |q: f16, d: f16, n: f16| {
            f16::from_f32(fixup32(q.to_f32(), d.to_f32(), n.to_f32()))
        }),
        "v_dot2_f16_f16" => dot2(args),
        _ => return None,
    })
}

/// Two products of halves and a half.
fn dot2(args: Args) -> Handler {
    Box::new(move |w, _| {
        let a = args.raw(w, 0);
        let b = args.raw(w, 1);
        let c = f16::get(w, &args, 2);
        let half = |x: u32, n: u32| f16::from_bits((x >> (16 * n)) as u16);
        let out: [f16; LANES] = std::array::from_fn(|l| {
            let high = fma16(half(a[l], 1), half(b[l], 1), c[l]);
            finish16(w, &args, fma16(half(a[l], 0), half(b[l], 0), high))
        });
        f16::put(w, &args, &out);
        Ok(())
    })
}
