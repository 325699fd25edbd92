//! Sums and products with one rounding. In: operands of 32 lanes. Out: results as IEEE 754 has them, in any direction.
//!
//! To the nearest, the host's own instructions do it, fused ones where it has them. Other directions are rare: there the
//! result is made in double precision, rounded to odd so that a second rounding does no harm.

use super::{LANES, Round};
use half::f16;

macro_rules! fused {
    ($name:ident, $fast:ident, $float:ty) => {
        /// `a * b + c` of all lanes.
        #[inline]
        pub(crate) fn $name(
            a: &[$float; LANES],
            b: &[$float; LANES],
            c: &[$float; LANES],
        ) -> [$float; LANES] {
            #[cfg(target_arch = "x86_64")]
            if std::arch::is_x86_feature_detected!("fma") {
                // The processor has what the function needs: it was asked.
                return unsafe { $fast(a, b, c) };
            }
            std::array::from_fn(|l| a[l].mul_add(b[l], c[l]))
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx,fma")]
        fn $fast(a: &[$float; LANES], b: &[$float; LANES], c: &[$float; LANES]) -> [$float; LANES] {
            let mut out = [0.0; LANES];
            for l in 0..LANES {
                out[l] = a[l].mul_add(b[l], c[l]);
            }
            out
        }
    };
}
fused!(fma32, fma32_fast, f32);
fused!(fma64, fma64_fast, f64);

/// Rounds a double to single precision in a direction. When the double is itself rounded, it has to be to odd.
pub(crate) fn to_single(x: f64, round: Round) -> f32 {
    let near = x as f32;
    if round == Round::Nearest || f64::from(near) == x || x.is_nan() {
        return near;
    }
    let too_large = f64::from(near) > x;
    let wants_smaller = match round {
        Round::Up => false,
        Round::Down => true,
        _ => x > 0.0,
    };
    match (too_large, wants_smaller) {
        (true, true) => near.next_down(),
        (false, false) => near.next_up(),
        _ => near,
    }
}

/// The half float nearest to a double. The way goes through a single float rounded to odd, so that it rounds once.
pub(crate) fn to_half(x: f64) -> f16 {
    let near = x as f32;
    if f64::from(near) == x || x.is_nan() || near.is_infinite() {
        return f16::from_f32(near);
    }
    let below = match f64::from(near).abs() > x.abs() {
        true => near.to_bits() - 1,
        false => near.to_bits(),
    };
    f16::from_f32(f32::from_bits(below | 1))
}

/// `a * b + c` in double precision, rounded to odd: the last bit says that something was lost.
pub(crate) fn fma_odd(a: f32, b: f32, c: f32) -> f64 {
    let product = f64::from(a) * f64::from(b);
    let c = f64::from(c);
    let sum = product + c;
    if !sum.is_finite() {
        return sum;
    }
    // What the sum lost.
    let back = sum - product;
    let lost = (product - (sum - back)) + (c - back);
    if lost == 0.0 || sum.to_bits() & 1 != 0 {
        return sum;
    }
    if (lost > 0.0) == (sum > 0.0) {
        f64::from_bits(sum.to_bits() + 1)
    } else {
        f64::from_bits(sum.to_bits() - 1)
    }
}

/// `a * b + c` in single precision, rounded in a direction.
pub(crate) fn fma_directed(a: f32, b: f32, c: f32, round: Round) -> f32 {
    let exact = fma_odd(a, b, c);
    if exact == 0.0 && round == Round::Down {
        // Opposite numbers sum to minus zero downwards.
        let product = a * b;
        return if product == 0.0 && c == 0.0 && product.is_sign_positive() && c.is_sign_positive() {
            0.0
        } else {
            -0.0
        };
    }
    to_single(exact, round)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions() {
        let third = fma_odd(1.0, 1.0, 2f32.powi(-60));
        assert_eq!(to_single(third, Round::Nearest), 1.0);
        assert_eq!(to_single(third, Round::Up), 1.0f32.next_up());
        assert_eq!(to_single(third, Round::Down), 1.0);
        assert_eq!(to_single(-third, Round::Down), (-1.0f32).next_down());
        assert_eq!(to_single(-third, Round::Zero), -1.0);
        assert_eq!(
            fma_directed(1.0, 1.0, -1.0, Round::Down).to_bits(),
            (-0.0f32).to_bits()
        );
        assert_eq!(to_single(1e300, Round::Zero), f32::MAX);
    }

    #[test]
    fn lanes_are_fused() {
        let a = [1.0 + f32::EPSILON; LANES];
        let c = [-1.0; LANES];
        let expected = (1.0 + f32::EPSILON).mul_add(1.0 + f32::EPSILON, -1.0);
        assert_eq!(fma32(&a, &a, &c), [expected; LANES]);
    }
}
