//! Comparison of an output with what was expected.
//!
//! In: two tensors and [`Bars`]. Out: a [`Comparison`]: largest absolute error and where, relative
//! norm, and whether it passes. NaN passes only where NaN is expected; infinities must be equal.
//! Integers and Bools are exact unless a tolerance is given.
//!
//! Without tolerances two bars hold for floats: relative norm `|got-want| / |want|` at most 1e-4, and
//! no element off by more than 1 % of the largest expected magnitude (one wild element of a large
//! tensor hardly moves a norm). With `--rtol`/`--atol` the test is numpy's `allclose`; and a tensor whose
//! values are all within ten times `atol`, which an absolute tolerance would wave through, must also
//! have a relative norm of at most 1e-3 (or `rtol`, when that is larger). A tolerance finer than what a half type can
//! hold asks for the same roundings in the same order, so for f16 and bf16 it is at least two units in the last place.

use serde::Serialize;
use tinyc_compiler::program::Weight;
use tinyc_compiler::program::element::{to_f64, unflatten};
use tinyc_compiler::uop::DType;

/// Largest relative norm that passes when no tolerance is given.
const NORM_BAR: f64 = 1e-4;
/// Largest error of one element, relative to the largest expected magnitude.
const ELEMENT_BAR: f64 = 1e-2;
/// Largest relative norm of a tensor that `atol` would hide.
const TINY_BAR: f64 = 1e-3;
/// What counts as zero when all zeros are expected.
const ZERO_BAR: f64 = 1e-7;

/// Tolerances that the user gave.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bars {
    /// Relative, numpy's default 1e-5 when only the other is given.
    pub rtol: Option<f64>,
    /// Absolute, numpy's default 1e-8 when only the other is given.
    pub atol: Option<f64>,
}

/// How one output compares.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// Name of the output.
    pub name: String,
    /// Whether it passes.
    pub passed: bool,
    /// Largest absolute error of finite elements.
    pub max_abs: f64,
    /// Norm of the error over the norm of what was expected.
    pub relative_norm: f64,
    /// Index of the worst element; `None` when all are equal.
    pub worst: Option<Vec<i64>>,
    /// Worst element's value.
    pub got: f64,
    /// Worst element's expected value.
    pub expected: f64,
    /// Why it does not pass.
    pub reason: Option<String>,
}

/// Compares; shapes and dtypes first.
pub fn compare(name: &str, got: &Weight, want: &Weight, bars: Bars) -> Comparison {
    let mut out = Comparison {
        name: name.to_string(),
        passed: false,
        max_abs: 0.0,
        relative_norm: 0.0,
        worst: None,
        got: 0.0,
        expected: 0.0,
        reason: None,
    };
    if got.dtype != want.dtype || got.shape != want.shape {
        out.reason = Some(format!(
            "is {}{:?}, expected {}{:?}",
            got.dtype, got.shape, want.dtype, want.shape
        ));
        out.relative_norm = f64::INFINITY;
        return out;
    }
    let s = Statistics::of(got, want, bars);
    out.max_abs = s.max_abs;
    out.relative_norm = s.relative_norm();
    if let Some(i) = s.worst {
        out.worst = Some(unflatten(i, &want.shape));
        out.got = to_f64(got.dtype, &got.bytes, i);
        out.expected = to_f64(want.dtype, &want.bytes, i);
    }
    out.reason = s.judge(want.dtype, bars);
    out.passed = out.reason.is_none();
    out
}

/// One pass over both tensors.
#[derive(Default)]
struct Statistics {
    max_abs: f64,
    worst: Option<usize>,
    error_squares: f64,
    want_squares: f64,
    want_max: f64,
    /// Elements that are NaN or infinite on one side, or differ in that.
    not_finite: usize,
    /// Elements with different bytes that are also different values.
    different: usize,
    /// Elements outside `atol + rtol*|want|`.
    outside: usize,
}

impl Statistics {
    fn of(got: &Weight, want: &Weight, bars: Bars) -> Statistics {
        let (rtol, atol) = (bars.rtol.unwrap_or(1e-5), bars.atol.unwrap_or(1e-8));
        let mut s = Statistics::default();
        let n = want.bytes.len() / want.dtype.size();
        for i in 0..n {
            let (g, w) = (
                to_f64(got.dtype, &got.bytes, i),
                to_f64(want.dtype, &want.bytes, i),
            );
            if g.is_nan() && w.is_nan() || g == w && same_integer(got, want, i) {
                if w.is_finite() {
                    s.want_squares += w * w;
                    s.want_max = s.want_max.max(w.abs());
                }
                continue;
            }
            s.different += 1;
            if !g.is_finite() || !w.is_finite() {
                if s.not_finite == 0 {
                    s.worst = Some(i);
                }
                s.not_finite += 1;
                continue;
            }
            // Two 64-bit integers that are one f64 differ by at least 1.
            let error = (g - w).abs().max(if g == w { 1.0 } else { 0.0 });
            s.error_squares += error * error;
            s.want_squares += w * w;
            s.want_max = s.want_max.max(w.abs());
            if error > (atol + rtol * w.abs()).max(last_places(want.dtype, w)) {
                s.outside += 1;
            }
            if error > s.max_abs {
                s.max_abs = error;
                if s.not_finite == 0 {
                    s.worst = Some(i);
                }
            }
        }
        s
    }

    fn relative_norm(&self) -> f64 {
        if self.not_finite > 0 {
            return f64::INFINITY;
        }
        if self.error_squares == 0.0 {
            return 0.0;
        }
        // Errors so small that their squares vanish still count through the largest one.
        (self.error_squares.sqrt() / self.want_squares.sqrt()).max(0.0)
    }

    /// Why it does not pass.
    fn judge(&self, dtype: DType, bars: Bars) -> Option<String> {
        if self.not_finite > 0 {
            return Some(format!(
                "{} elements are NaN or infinite on one side only",
                self.not_finite
            ));
        }
        if self.different == 0 {
            return None;
        }
        let norm = self.relative_norm();
        if bars.rtol.is_some() || bars.atol.is_some() {
            let atol = bars.atol.unwrap_or(1e-8);
            if self.outside > 0 {
                return Some(format!(
                    "{} elements are outside the tolerance",
                    self.outside
                ));
            }
            let tiny_bar = bars.rtol.unwrap_or(1e-5).max(TINY_BAR);
            let hidden = self.want_max > 0.0 && self.want_max <= 10.0 * atol && dtype.is_float();
            return (hidden && norm > tiny_bar).then(|| {
                format!(
                    "all expected values are within 10 times the absolute tolerance, and the relative norm is above {tiny_bar:.0e}"
                )
            });
        }
        if !dtype.is_float() {
            return Some(format!("{} elements differ", self.different));
        }
        if self.want_max == 0.0 {
            return (self.max_abs > ZERO_BAR).then(|| "only zeros were expected".to_string());
        }
        if norm > NORM_BAR {
            return Some(format!("relative norm is above {NORM_BAR:.0e}"));
        }
        (self.max_abs > ELEMENT_BAR * self.want_max).then(|| {
            "one element is off by more than 1 % of the largest expected magnitude".to_string()
        })
    }
}

/// Two units in the last place of a half type at `w`; 0 for other types.
fn last_places(dtype: DType, w: f64) -> f64 {
    let (digits, smallest) = match dtype {
        DType::F16 => (10, -14),
        DType::BF16 => (7, -126),
        _ => return 0.0,
    };
    let exponent = if w == 0.0 {
        smallest
    } else {
        w.abs().log2().floor() as i32
    };
    2.0 * 2f64.powi(exponent.max(smallest) - digits)
}

/// 64-bit integers can be different and yet one f64.
fn same_integer(got: &Weight, want: &Weight, i: usize) -> bool {
    if want.dtype.is_float() || want.dtype.size() < 8 {
        return true;
    }
    let range = i * 8..(i + 1) * 8;
    got.bytes.get(range.clone()) == want.bytes.get(range)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tinyc_compiler::program::Bytes;
    use tinyc_compiler::program::element::from_f64;

    fn tensor(dtype: DType, values: &[f64]) -> Weight {
        let bytes: Vec<u8> = values.iter().flat_map(|&v| from_f64(dtype, v)).collect();
        Weight {
            name: String::new(),
            dtype,
            shape: vec![values.len() as i64],
            bytes: Bytes::new(bytes),
        }
    }
    fn check(got: &[f64], want: &[f64], bars: Bars) -> Comparison {
        compare(
            "y",
            &tensor(DType::F32, got),
            &tensor(DType::F32, want),
            bars,
        )
    }
    const NONE: Bars = Bars {
        rtol: None,
        atol: None,
    };
    fn given(rtol: f64, atol: f64) -> Bars {
        Bars {
            rtol: Some(rtol),
            atol: Some(atol),
        }
    }

    #[test]
    fn nan_passes_only_where_expected() {
        let nan = f64::NAN;
        assert!(check(&[nan, 1.0], &[nan, 1.0], NONE).passed);
        assert!(!check(&[nan, 1.0], &[1.0, 1.0], NONE).passed);
        assert!(!check(&[1.0, 1.0], &[nan, 1.0], NONE).passed);
        assert!(!check(&[nan, 1.0], &[1.0, 1.0], given(10.0, 10.0)).passed);
    }

    #[test]
    fn infinities_must_be_equal() {
        let inf = f64::INFINITY;
        assert!(check(&[inf], &[inf], NONE).passed);
        assert!(!check(&[-inf], &[inf], NONE).passed);
        assert!(!check(&[3e38], &[inf], given(1.0, 1.0)).passed);
    }

    #[test]
    fn tiny_values_are_not_hidden() {
        assert!(!check(&[0.0, 0.0], &[1e-9, 2e-9], given(1e-3, 1e-7)).passed);
        assert!(!check(&[0.0, 0.0], &[1e-9, 2e-9], NONE).passed);
        assert!(check(&[1e-9, 2.00001e-9], &[1e-9, 2e-9], NONE).passed);
    }

    #[test]
    fn one_wild_element_fails() {
        let want: Vec<f64> = (0..1_000_000).map(|_| 1.0).collect();
        let mut got = want.clone();
        got[77] = 1.05;
        let c = check(&got, &want, NONE);
        assert!(c.relative_norm < 1e-4 && !c.passed);
        assert_eq!(c.worst, Some(vec![77]));
    }

    #[test]
    fn halves_have_two_units_in_the_last_place() {
        let check = |dtype, got: f64, want: f64| {
            let (got, want) = (tensor(dtype, &[got]), tensor(dtype, &[want]));
            compare("y", &got, &want, given(1e-3, 1e-7)).passed
        };
        assert!(check(DType::BF16, 0.71484375, 0.72265625));
        assert!(!check(DType::BF16, 0.7109375, 0.72265625));
        assert!(check(DType::F16, 0.494384765625, 0.494873046875));
        assert!(!check(DType::F16, 0.494384765625, 0.4951171875));
        assert!(!check(DType::F32, 0.71484375, 0.72265625));
    }

    #[test]
    fn all_zeros_expected() {
        assert!(check(&[1e-9], &[0.0], NONE).passed);
        assert!(!check(&[1e-3], &[0.0], NONE).passed);
    }

    #[test]
    fn integers_are_exact() {
        let a = tensor(DType::I64, &[1.0, 9.0]);
        assert!(compare("y", &a, &a, NONE).passed);
        assert!(!compare("y", &tensor(DType::I64, &[1.0, 8.0]), &a, NONE).passed);
        let big = |v: i64| Weight {
            bytes: Bytes::new(v.to_le_bytes().to_vec()),
            shape: vec![1],
            ..a.clone()
        };
        assert!(!compare("y", &big(1 << 60), &big((1 << 60) + 1), NONE).passed);
    }

    #[test]
    fn shapes_and_dtypes_count() {
        let c = compare(
            "y",
            &tensor(DType::F32, &[1.0]),
            &tensor(DType::F64, &[1.0]),
            NONE,
        );
        assert!(!c.passed && c.reason.is_some_and(|r| r.contains("f64[1]")));
    }
}
