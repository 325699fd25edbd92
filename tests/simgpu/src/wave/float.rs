//! Single and double floats: sums, products, extremes, roundings, the steps of division, transcendental functions.
//! In: mnemonic and operands. Out: handlers.
//!
//! Transcendental results are correctly rounded, nearer than the hardware's. Those of single floats take and give no
//! subnormal numbers, as the hardware's do.

use super::lanes::{Args, Lane, Out, Src, flush32, one, three, two};
use super::rounding::{fma_directed, fma32, fma64};
use super::{FaultKind, Handler, LANES, Round, VCC};

/// What single and double floats have in common.
pub(crate) trait Float: Lane + Out + PartialOrd {
    fn is_nan(self) -> bool;
    fn is_signalling(self) -> bool;
    fn quiet(self) -> Self;
    fn is_negative(self) -> bool;
}

macro_rules! float {
    ($float:ty, $quiet:expr) => {
        impl Float for $float {
            #[inline]
            fn is_nan(self) -> bool {
                <$float>::is_nan(self)
            }
            #[inline]
            fn is_signalling(self) -> bool {
                <$float>::is_nan(self) && self.to_bits() & $quiet == 0
            }
            #[inline]
            fn quiet(self) -> Self {
                <$float>::from_bits(self.to_bits() | $quiet)
            }
            #[inline]
            fn is_negative(self) -> bool {
                self.is_sign_negative()
            }
        }
    };
}
float!(f32, 1 << 22);
float!(f64, 1 << 51);

/// The smaller one. A number wins against what is none; -0 is smaller than +0.
#[inline]
pub(crate) fn min<T: Float>(a: T, b: T) -> T {
    if a.is_nan() || b.is_nan() {
        return number(a, b);
    }
    if a < b || (a == b && a.is_negative()) {
        a
    } else {
        b
    }
}

/// The larger one, likewise.
#[inline]
pub(crate) fn max<T: Float>(a: T, b: T) -> T {
    if a.is_nan() || b.is_nan() {
        return number(a, b);
    }
    if a > b || (a == b && !a.is_negative()) {
        a
    } else {
        b
    }
}

/// Of two of which one is not a number: signalling ones go through quieted, else the number.
fn number<T: Float>(a: T, b: T) -> T {
    if a.is_signalling() {
        a.quiet()
    } else if b.is_signalling() {
        b.quiet()
    } else if a.is_nan() {
        b
    } else {
        a
    }
}

/// The middle one of three; the smallest when one is not a number.
#[inline]
fn med<T: Float>(a: T, b: T, c: T) -> T {
    if a.is_nan() || b.is_nan() || c.is_nan() {
        return min(min(a, b), c);
    }
    max(min(a, b), min(max(a, b), c))
}

/// `a * b + c` of single floats as the mode rounds.
fn fused(args: Args, pick: fn(&super::Wave, &Args) -> [[f32; LANES]; 3]) -> Handler {
    Box::new(move |w, _| {
        let [a, b, c] = pick(w, &args);
        let out = match w.mode.round32 {
            Round::Nearest => fma32(&a, &b, &c),
            round => std::array::from_fn(|l| fma_directed(a[l], b[l], c[l], round)),
        };
        f32::put(w, &args, &out);
        Ok(())
    })
}

/// A sum or product of single floats: exact as a fused operation when not rounded to nearest.
fn rounded(args: Args, near: fn(f32, f32) -> f32, terms: fn(f32, f32) -> [f32; 3]) -> Handler {
    Box::new(move |w, _| {
        let a = f32::get(w, &args, 0);
        let b = f32::get(w, &args, 1);
        let round = w.mode.round32;
        let mut out = [0.0; LANES];
        for l in 0..LANES {
            out[l] = near(a[l], b[l]);
        }
        if round != Round::Nearest {
            out = std::array::from_fn(|l| {
                let [x, y, z] = terms(a[l], b[l]);
                fma_directed(x, y, z, round)
            });
        }
        f32::put(w, &args, &out);
        Ok(())
    })
}

/// Doubles round to nearest only.
fn doubles<const N: usize>(
    args: Args,
    f: impl Fn([&[f64; LANES]; N]) -> [f64; LANES] + Send + Sync + 'static,
) -> Handler {
    Box::new(move |w, _| {
        if w.mode.round64 != Round::Nearest {
            return Err(FaultKind::Unsupported(
                "doubles that do not round to nearest",
            ));
        }
        let values: [_; N] = std::array::from_fn(|n| f64::get(w, &args, n));
        let out = f(std::array::from_fn(|n| &values[n]));
        f64::put(w, &args, &out);
        Ok(())
    })
}

/// A transcendental function of single floats.
fn transcendental(args: Args, f: fn(f64) -> f64) -> Handler {
    one(args, move |x: f32| flush32(f(f64::from(flush32(x))) as f32))
}

/// Sine or cosine of turns. Beyond 256 turns the hardware gives up.
fn turns(x: f64, f: fn(f64) -> f64, beyond: f64) -> f64 {
    if x.is_infinite() {
        f64::NAN
    } else if x.abs() > 256.0 {
        beyond
    } else {
        f((x - x.floor()) * std::f64::consts::TAU)
    }
}

/// Scales by a power of two, rounded once.
pub(crate) fn ldexp32(x: f32, n: i32) -> f32 {
    (f64::from(x) * 2f64.powi(n.clamp(-400, 400))) as f32
}

pub(crate) fn ldexp64(x: f64, n: i32) -> f64 {
    let mut n = n.clamp(-3000, 3000);
    let mut x = x;
    while n > 1000 {
        x *= 2f64.powi(1000);
        n -= 1000;
    }
    // Downwards in steps that keep all bits until the last.
    while n < -900 {
        x *= 2f64.powi(-900);
        n += 900;
        if x != 0.0 && x.abs() < 1e-250 {
            break;
        }
    }
    if n < -1000 {
        return x * 0.0;
    }
    x * 2f64.powi(n)
}

/// Exponent of a number `m * 2^e` with `m` from one half to one; zero for what is none.
pub(crate) fn exponent(x: f64) -> i32 {
    if x == 0.0 || !x.is_finite() {
        return 0;
    }
    let bits = x.to_bits() >> 52 & 0x7FF;
    match bits {
        0 => exponent(x * 2f64.powi(64)) - 64,
        _ => bits as i32 - 1022,
    }
}

pub(crate) fn mantissa(x: f64) -> f64 {
    if x == 0.0 || !x.is_finite() {
        return x;
    }
    ldexp64(x, -exponent(x))
}

/// The part behind the point, below one.
fn fract32(x: f32) -> f32 {
    (x - x.floor()).min(1.0f32.next_down())
}

fn fract64(x: f64) -> f64 {
    (x - x.floor()).min(1.0f64.next_down())
}

/// A product in which zero wins.
pub(crate) fn mul_dx9(a: f32, b: f32) -> f32 {
    if a == 0.0 || b == 0.0 { 0.0 } else { a * b }
}

/// A comparison-like result for each lane beside the vector: the first step of division.
fn div_scale<T: Float>(args: Args, f: fn(T, T, T) -> (T, bool)) -> Handler {
    Box::new(move |w, _| {
        let a = T::get(w, &args, 0);
        let b = T::get(w, &args, 1);
        let c = T::get(w, &args, 2);
        let mut out = a;
        let mut mask = 0;
        for l in 0..LANES {
            let (x, scaled) = f(a[l], b[l], c[l]);
            out[l] = x;
            mask |= u32::from(scaled) << l;
        }
        let exec = w.exec();
        T::put(w, &args, &out);
        w.set_s(args.sdst, mask & exec);
        Ok(())
    })
}

/// The last step but one: the sum, scaled back in lanes of VCC. Large quotients were scaled down, small ones up.
fn div_fmas<T: Float>(args: Args, plain: fn(T, T, T) -> T, scaled: fn(T, T, T) -> T) -> Handler {
    Box::new(move |w, _| {
        let a = T::get(w, &args, 0);
        let b = T::get(w, &args, 1);
        let c = T::get(w, &args, 2);
        let vcc = w.s[VCC];
        let mut out = a;
        for l in 0..LANES {
            let f = if vcc >> l & 1 != 0 { scaled } else { plain };
            out[l] = f(a[l], b[l], c[l]);
        }
        T::put(w, &args, &out);
        Ok(())
    })
}

fn biased32(x: f32) -> i32 {
    (x.to_bits() >> 23 & 0xFF) as i32
}

fn biased64(x: f64) -> i32 {
    (x.to_bits() >> 52 & 0x7FF) as i32
}

macro_rules! division {
    ($scale:ident, $fixup:ident, $float:ty, $ldexp:ident, $biased:ident, $by:expr, $far:expr, $tiny:expr, $under:expr) => {
        /// Scales numerator `n` or denominator `d`, whichever `x` is, so that the steps of division neither overflow nor
        /// lose bits; tells whether the quotient has to be scaled back.
        fn $scale(x: $float, d: $float, n: $float) -> ($float, bool) {
            let subnormal = |v: $float| v != 0.0 && v.abs() < <$float>::MIN_POSITIVE;
            let (quotient, reciprocal) = (n / d, 1.0 / d);
            if n == 0.0 || d == 0.0 {
                (<$float>::NAN, false)
            } else if $biased(n) - $biased(d) >= $far {
                (if x == d { $ldexp(x, $by) } else { x }, true)
            } else if subnormal(d) {
                ($ldexp(x, $by), false)
            } else if subnormal(reciprocal) && subnormal(quotient) {
                (if x == d { $ldexp(x, -$by) } else { x }, true)
            } else if subnormal(reciprocal) {
                ($ldexp(x, -$by), false)
            } else if subnormal(quotient) {
                (if x == n { $ldexp(x, $by) } else { x }, true)
            } else if $biased(n) <= $tiny {
                ($ldexp(x, $by), false)
            } else {
                (x, false)
            }
        }

        /// The quotient of special numbers, where the steps do not give it.
        pub(crate) fn $fixup(q: $float, d: $float, n: $float) -> $float {
            let negative = d.is_sign_negative() != n.is_sign_negative();
            let sign = |x: $float| if negative { -x.abs() } else { x.abs() };
            if n.is_nan() {
                n.quiet()
            } else if d.is_nan() {
                d.quiet()
            } else if (n == 0.0 && d == 0.0) || (n.is_infinite() && d.is_infinite()) {
                -<$float>::NAN.abs()
            } else if d == 0.0 || n.is_infinite() {
                sign(<$float>::INFINITY)
            } else if d.is_infinite() || n == 0.0 {
                sign(0.0)
            } else if $biased(n) - $biased(d) < $under {
                sign(0.0)
            } else if q.is_nan() {
                // The steps of a quotient that is too large end in differences of infinities.
                sign(<$float>::INFINITY)
            } else {
                sign(q)
            }
        }
    };
}
division!(scale32, fixup32, f32, ldexp32, biased32, 64, 96, 23, -150);
division!(
    scale64, fixup64, f64, ldexp64, biased64, 128, 768, 53, -1075
);

/// The sum in double precision, scaled back and rounded once.
fn fmas_scaled32(a: f32, b: f32, c: f32) -> f32 {
    let by = if biased32(c) > 127 { 64 } else { -64 };
    (super::rounding::fma_odd(a, b, c) * 2f64.powi(by)) as f32
}

fn fmas_scaled64(a: f64, b: f64, c: f64) -> f64 {
    let by = if biased64(c) > 1023 { 128 } else { -128 };
    let sum = a.mul_add(b, c);
    let plain = ldexp64(sum, by);
    if plain.abs() >= f64::MIN_POSITIVE {
        return plain;
    }
    // Bits will be lost. Half way between two subnormal results, what the sum itself lost decides: the product is a small
    // correction of `c`, so that the difference below is exact.
    let lost = a.mul_add(b, c - sum);
    let back = ldexp64(plain, -by);
    let half = 2f64.powi(-1075 - by);
    if lost != 0.0 && (sum - back).abs() == half {
        let other = if lost > 0.0 { sum + half } else { sum - half };
        return ldexp64(other, by);
    }
    plain
}

pub(super) fn lower(name: &str, args: Args) -> Option<Handler> {
    if let Some(handler) = single(name, args) {
        return Some(handler);
    }
    Some(match name {
        "v_add_f64" => doubles(args, |[a, b]| std::array::from_fn(|l| a[l] + b[l])),
        "v_mul_f64" => doubles(args, |[a, b]| std::array::from_fn(|l| a[l] * b[l])),
        "v_fma_f64" => doubles(args, |[a, b, c]| fma64(a, b, c)),
        "v_min_f64" => two(args, min::<f64>),
        "v_max_f64" => two(args, max::<f64>),
        "v_trunc_f64" => one(args, f64::trunc),
        "v_ceil_f64" => one(args, f64::ceil),
        "v_floor_f64" => one(args, f64::floor),
        "v_rndne_f64" => one(args, f64::round_ties_even),
        "v_fract_f64" => one(args, fract64),
        "v_rcp_f64" => one(args, |x: f64| 1.0 / x),
        "v_rsq_f64" => one(args, |x: f64| 1.0 / x.sqrt()),
        "v_sqrt_f64" => one(args, f64::sqrt),
        "v_frexp_mant_f64" => one(args, mantissa),
        "v_frexp_exp_i32_f64" => one(args, exponent),
        "v_ldexp_f64" => two(args, |x: f64, n: i32| ldexp64(x, n)),
        "v_div_scale_f64" => div_scale(args, scale64),
        "v_div_fmas_f64" => div_fmas(args, f64::mul_add, fmas_scaled64),
        "v_div_fixup_f64" => three(args, fixup64),
        _ => return None,
    })
}

fn single(name: &str, args: Args) -> Option<Handler> {
    Some(match name {
        "v_add_f32" => rounded(args, |a, b| a + b, |a, b| [a, 1.0, b]),
        "v_sub_f32" => rounded(args, |a, b| a - b, |a, b| [a, 1.0, -b]),
        "v_subrev_f32" => rounded(args, |a, b| b - a, |a, b| [b, 1.0, -a]),
        "v_mul_f32" => rounded(args, |a, b| a * b, |a, b| [a, b, -0.0]),
        "v_mul_dx9_zero_f32" => two(args, mul_dx9),
        "v_fma_f32" => fused(args, |w, x| {
            [f32::get(w, x, 0), f32::get(w, x, 1), f32::get(w, x, 2)]
        }),
        "v_fmac_f32" => fused(args, |w, x| {
            [f32::get(w, x, 0), f32::get(w, x, 1), accumulator(w, x)]
        }),
        // The constant stands where the row has it: second for fmamk, third for fmaak.
        "v_fmamk_f32" | "v_fmaak_f32" => fused(args, |w, x| {
            [f32::get(w, x, 0), f32::get(w, x, 1), f32::get(w, x, 2)]
        }),
        "v_min_f32" => two(args, min::<f32>),
        "v_max_f32" => two(args, max::<f32>),
        "v_min3_f32" => three(args, |a: f32, b, c| min(min(a, b), c)),
        "v_max3_f32" => three(args, |a: f32, b, c| max(max(a, b), c)),
        "v_med3_f32" => three(args, med::<f32>),
        "v_minmax_f32" => three(args, |a: f32, b, c| max(min(a, b), c)),
        "v_maxmin_f32" => three(args, |a: f32, b, c| min(max(a, b), c)),
        "v_trunc_f32" => one(args, f32::trunc),
        "v_ceil_f32" => one(args, f32::ceil),
        "v_floor_f32" => one(args, f32::floor),
        "v_rndne_f32" => one(args, f32::round_ties_even),
        "v_fract_f32" => one(args, fract32),
        "v_exp_f32" => transcendental(args, f64::exp2),
        "v_log_f32" => transcendental(args, f64::log2),
        "v_rcp_f32" | "v_rcp_iflag_f32" => transcendental(args, |x| 1.0 / x),
        "v_rsq_f32" => transcendental(args, |x| 1.0 / x.sqrt()),
        "v_sqrt_f32" => transcendental(args, f64::sqrt),
        "v_sin_f32" => transcendental(args, |x| turns(x, f64::sin, 0.0)),
        "v_cos_f32" => transcendental(args, |x| turns(x, f64::cos, 1.0)),
        "v_frexp_mant_f32" => one(args, |x: f32| mantissa(f64::from(x)) as f32),
        "v_frexp_exp_i32_f32" => one(args, |x: f32| exponent(f64::from(x))),
        "v_ldexp_f32" => two(args, |x: f32, n: i32| ldexp32(x, n)),
        "v_div_scale_f32" => div_scale(args, scale32),
        "v_div_fmas_f32" => div_fmas(args, f32::mul_add, fmas_scaled32),
        "v_div_fixup_f32" => three(args, fixup32),
        _ => return None,
    })
}

/// The result's register as operand: what `v_fmac` adds to.
fn accumulator(w: &super::Wave, args: &Args) -> [f32; LANES] {
    let mut as_source = *args;
    as_source.src[2] = Src::V(args.dst);
    as_source.neg &= 3;
    as_source.abs &= 3;
    f32::get(w, &as_source, 2)
}
