//! Comparisons: a mask of lanes from two operands. In: mnemonic and operands. Out: handlers that write a scalar register,
//! or EXEC for `v_cmpx`.

use super::lanes::{Args, Lane};
use super::{EXEC, Handler, LANES};
use half::f16;

/// Writes the mask of active lanes for which `f` holds.
fn compare<A: Lane, B: Lane>(
    args: Args,
    to_exec: bool,
    f: impl Fn(A, B) -> bool + Send + Sync + 'static,
) -> Handler {
    let dst = if to_exec { EXEC } else { args.dst };
    Box::new(move |w, _| {
        let a = A::get(w, &args, 0);
        let b = B::get(w, &args, 1);
        let mut mask = 0;
        for l in 0..LANES {
            mask |= u32::from(f(a[l], b[l])) << l;
        }
        let mask = mask & w.exec();
        w.set_s(dst, mask);
        Ok(())
    })
}

fn ints<T: Lane + Ord>(args: Args, x: bool, how: &str) -> Option<Handler> {
    Some(match how {
        "f" => compare(args, x, |_: T, _: T| false),
        "lt" => compare(args, x, |a: T, b: T| a < b),
        "eq" => compare(args, x, |a: T, b: T| a == b),
        "le" => compare(args, x, |a: T, b: T| a <= b),
        "gt" => compare(args, x, |a: T, b: T| a > b),
        "ne" => compare(args, x, |a: T, b: T| a != b),
        "ge" => compare(args, x, |a: T, b: T| a >= b),
        "t" => compare(args, x, |_: T, _: T| true),
        _ => return None,
    })
}

fn floats<T: Lane + PartialOrd>(args: Args, x: bool, how: &str) -> Option<Handler> {
    // Neither greater nor less nor equal: one of them is not a number.
    fn unordered<T: PartialOrd>(a: &T, b: &T) -> bool {
        a.partial_cmp(b).is_none()
    }
    Some(match how {
        "f" => compare(args, x, |_: T, _: T| false),
        "lt" => compare(args, x, |a: T, b: T| a < b),
        "eq" => compare(args, x, |a: T, b: T| a == b),
        "le" => compare(args, x, |a: T, b: T| a <= b),
        "gt" => compare(args, x, |a: T, b: T| a > b),
        "lg" => compare(args, x, |a: T, b: T| a != b && !unordered(&a, &b)),
        "ge" => compare(args, x, |a: T, b: T| a >= b),
        "o" => compare(args, x, |a: T, b: T| !unordered(&a, &b)),
        "u" => compare(args, x, |a: T, b: T| unordered(&a, &b)),
        "nge" => compare(args, x, |a: T, b: T| a < b || unordered(&a, &b)),
        "nlg" => compare(args, x, |a: T, b: T| a == b || unordered(&a, &b)),
        "ngt" => compare(args, x, |a: T, b: T| a <= b || unordered(&a, &b)),
        "nle" => compare(args, x, |a: T, b: T| a > b || unordered(&a, &b)),
        "neq" => compare(args, x, |a: T, b: T| a != b),
        "nlt" => compare(args, x, |a: T, b: T| a >= b || unordered(&a, &b)),
        "t" => compare(args, x, |_: T, _: T| true),
        _ => return None,
    })
}

/// Bits of `v_cmp_class`: the kind of number that a float is. Widths of exponent and mantissa tell the formats apart.
fn class(bits: u64, exponent: u32, mantissa: u32) -> u32 {
    let negative = bits >> (exponent + mantissa) & 1 != 0;
    let e = bits >> mantissa & ((1 << exponent) - 1);
    let m = bits & ((1 << mantissa) - 1);
    let quiet = m >> (mantissa - 1) != 0;
    let top = (1 << exponent) - 1;
    let bit = match (e, m) {
        (0, 0) => {
            if negative {
                5
            } else {
                6
            }
        }
        (0, _) => {
            if negative {
                4
            } else {
                7
            }
        }
        (e, 0) if e == top => {
            if negative {
                2
            } else {
                9
            }
        }
        (e, _) if e == top => u32::from(quiet),
        _ => {
            if negative {
                3
            } else {
                8
            }
        }
    };
    1 << bit
}

pub(super) fn lower(name: &str, args: Args) -> Option<Handler> {
    let (x, rest) = match name.strip_prefix("v_cmpx_") {
        Some(rest) => (true, rest),
        None => (false, name.strip_prefix("v_cmp_")?),
    };
    let (how, ty) = rest.rsplit_once('_')?;
    Some(match (how, ty) {
        ("class", "f32") => compare(args, x, |a: f32, m: u32| {
            class(u64::from(a.to_bits()), 8, 23) & m != 0
        }),
        ("class", "f64") => compare(args, x, |a: f64, m: u32| {
            class(a.to_bits(), 11, 52) & m != 0
        }),
        ("class", "f16") => compare(args, x, |a: f16, m: u32| {
            class(u64::from(a.to_bits()), 5, 10) & m != 0
        }),
        (_, "f16") => floats::<f16>(args, x, how)?,
        (_, "f32") => floats::<f32>(args, x, how)?,
        (_, "f64") => floats::<f64>(args, x, how)?,
        (_, "i16") => ints::<i16>(args, x, how)?,
        (_, "u16") => ints::<u16>(args, x, how)?,
        (_, "i32") => ints::<i32>(args, x, how)?,
        (_, "u32") => ints::<u32>(args, x, how)?,
        (_, "i64") => ints::<i64>(args, x, how)?,
        (_, "u64") => ints::<u64>(args, x, how)?,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes() {
        let of = |x: f32| class(u64::from(x.to_bits()), 8, 23);
        assert_eq!(of(f32::from_bits(0x7F80_0001)), 1);
        assert_eq!(of(f32::NAN), 2);
        assert_eq!(of(f32::NEG_INFINITY), 4);
        assert_eq!(of(-1.0), 8);
        assert_eq!(of(-1e-40), 16);
        assert_eq!(of(-0.0), 32);
        assert_eq!(of(0.0), 64);
        assert_eq!(of(1e-40), 128);
        assert_eq!(of(1.0), 256);
        assert_eq!(of(f32::INFINITY), 512);
    }
}
