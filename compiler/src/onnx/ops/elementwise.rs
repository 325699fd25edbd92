//! Arithmetic, comparison and logic, element by element.
//!
//! In: tensors that broadcast together. Out: one tensor. Functions without a primitive of their own
//! (`Asinh` ...) are written in terms of those that have one, in the form that loses least near zero.
//!
//! Example: `Mod(a, b, fmod=0)` of integers is `FloorMod`.

use super::super::import::Import;
use super::super::node::Node;
use super::{ANY, Row, row};
use crate::diag::{Error, Result};
use crate::graph::TensorId;
use crate::uop::{Binary, DType, Unary};

pub(super) const ROWS: &[Row] = &[
    row("Abs", 6, 1..=1, &[], |c, n| unary(c, n, Unary::Abs)),
    row("Neg", 6, 1..=1, &[], |c, n| unary(c, n, Unary::Neg)),
    row("Sqrt", 6, 1..=1, &[], |c, n| unary(c, n, Unary::Sqrt)),
    row("Exp", 6, 1..=1, &[], |c, n| unary(c, n, Unary::Exp)),
    row("Log", 6, 1..=1, &[], |c, n| unary(c, n, Unary::Log)),
    row("Sin", 7, 1..=1, &[], |c, n| unary(c, n, Unary::Sin)),
    row("Cos", 7, 1..=1, &[], |c, n| unary(c, n, Unary::Cos)),
    row("Tan", 7, 1..=1, &[], |c, n| unary(c, n, Unary::Tan)),
    row("Atan", 7, 1..=1, &[], |c, n| unary(c, n, Unary::Atan)),
    row("Tanh", 6, 1..=1, &[], |c, n| unary(c, n, Unary::Tanh)),
    row("Erf", 9, 1..=1, &[], |c, n| unary(c, n, Unary::Erf)),
    row("Floor", 6, 1..=1, &[], |c, n| unary(c, n, Unary::Floor)),
    row("Ceil", 6, 1..=1, &[], |c, n| unary(c, n, Unary::Ceil)),
    row("Round", 11, 1..=1, &[], |c, n| unary(c, n, Unary::Round)),
    row("IsNaN", 9, 1..=1, &[], |c, n| unary(c, n, Unary::IsNan)),
    row("BitwiseNot", 18, 1..=1, &[], |c, n| unary(c, n, Unary::Not)),
    row("Not", 1, 1..=1, &[], not),
    row("Reciprocal", 6, 1..=1, &[], reciprocal),
    row("Sign", 9, 1..=1, &[], sign),
    row(
        "IsInf",
        10,
        1..=1,
        &["detect_negative", "detect_positive"],
        is_inf,
    ),
    row("Asin", 7, 1..=1, &[], asin),
    row("Acos", 7, 1..=1, &[], acos),
    row("Sinh", 9, 1..=1, &[], sinh),
    row("Cosh", 9, 1..=1, &[], cosh),
    row("Asinh", 9, 1..=1, &[], asinh),
    row("Acosh", 9, 1..=1, &[], acosh),
    row("Atanh", 9, 1..=1, &[], atanh),
    row("Add", 7, 2..=2, &[], |c, n| binary(c, n, Binary::Add)),
    row("Sub", 7, 2..=2, &[], |c, n| binary(c, n, Binary::Sub)),
    row("Mul", 7, 2..=2, &[], |c, n| binary(c, n, Binary::Mul)),
    row("Div", 7, 2..=2, &[], |c, n| binary(c, n, Binary::Div)),
    row("Pow", 7, 2..=2, &[], pow),
    row("Mod", 10, 2..=2, &["fmod"], modulo),
    row("Max", 6, 1..=ANY, &[], |c, n| variadic(c, n, Binary::Max)),
    row("Min", 6, 1..=ANY, &[], |c, n| variadic(c, n, Binary::Min)),
    row("Sum", 6, 1..=ANY, &[], |c, n| variadic(c, n, Binary::Add)),
    row("Mean", 6, 1..=ANY, &[], mean),
    row("And", 7, 2..=2, &[], |c, n| logic(c, n, Binary::And)),
    row("Or", 7, 2..=2, &[], |c, n| logic(c, n, Binary::Or)),
    row("Xor", 7, 2..=2, &[], |c, n| logic(c, n, Binary::Xor)),
    row("BitwiseAnd", 18, 2..=2, &[], |c, n| {
        bitwise(c, n, Binary::And)
    }),
    row("BitwiseOr", 18, 2..=2, &[], |c, n| {
        bitwise(c, n, Binary::Or)
    }),
    row("BitwiseXor", 18, 2..=2, &[], |c, n| {
        bitwise(c, n, Binary::Xor)
    }),
    row("BitShift", 11, 2..=2, &["direction"], bit_shift),
    row("Equal", 7, 2..=2, &[], |c, n| binary(c, n, Binary::Eq)),
    row("Less", 7, 2..=2, &[], |c, n| binary(c, n, Binary::Lt)),
    row("LessOrEqual", 12, 2..=2, &[], |c, n| {
        binary(c, n, Binary::Le)
    }),
    row("Greater", 7, 2..=2, &[], |c, n| flipped(c, n, Binary::Lt)),
    row("GreaterOrEqual", 12, 2..=2, &[], |c, n| {
        flipped(c, n, Binary::Le)
    }),
    row("Where", 9, 3..=3, &[], select),
    row("Clip", 6, 1..=1, &["min", "max"], clip_attributes),
    row("Clip", 11, 1..=3, &[], clip),
];

fn unary(c: &mut Import<'_>, n: &Node<'_>, op: Unary) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let dtype = c.dtype(x);
    // Rounding an integer, or the size of an unsigned one, changes nothing.
    let identity = match op {
        Unary::Abs => dtype.is_unsigned(),
        Unary::Floor | Unary::Ceil | Unary::Round => dtype.is_int(),
        _ => false,
    };
    if identity {
        return Ok(vec![x]);
    }
    // A few operators take integers where the primitive takes floats only.
    Ok(vec![c.unary(op, x)?])
}

fn binary(c: &mut Import<'_>, n: &Node<'_>, op: Binary) -> Result<Vec<TensorId>> {
    Ok(vec![c.binary(op, n.input(0)?, n.input(1)?)?])
}

fn flipped(c: &mut Import<'_>, n: &Node<'_>, op: Binary) -> Result<Vec<TensorId>> {
    Ok(vec![c.binary(op, n.input(1)?, n.input(0)?)?])
}

fn of_type(c: &Import<'_>, x: TensorId, bool_wanted: bool) -> Result<()> {
    let dtype = c.dtype(x);
    let fits = if bool_wanted {
        dtype == DType::Bool
    } else {
        dtype.is_int()
    };
    if fits {
        return Ok(());
    }
    let want = if bool_wanted { "bool" } else { "integers" };
    Err(Error::model(format!("expected {want}, found {dtype}")))
}

fn not(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    of_type(c, n.input(0)?, true)?;
    unary(c, n, Unary::Not)
}

fn logic(c: &mut Import<'_>, n: &Node<'_>, op: Binary) -> Result<Vec<TensorId>> {
    of_type(c, n.input(0)?, true)?;
    binary(c, n, op)
}

fn bitwise(c: &mut Import<'_>, n: &Node<'_>, op: Binary) -> Result<Vec<TensorId>> {
    of_type(c, n.input(0)?, false)?;
    binary(c, n, op)
}

fn variadic(c: &mut Import<'_>, n: &Node<'_>, op: Binary) -> Result<Vec<TensorId>> {
    let inputs = n.variadic()?;
    let mut out = inputs[0];
    for &x in &inputs[1..] {
        out = c.binary(op, out, x)?;
    }
    Ok(vec![out])
}

fn mean(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let count = n.inputs.len() as f64;
    let sum = variadic(c, n, Binary::Add)?[0];
    Ok(vec![c.div_number(sum, count)?])
}

fn reciprocal(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let one = c.number(1.0, c.dtype(x))?;
    Ok(vec![c.div(one, x)?])
}

fn sign(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let dtype = c.dtype(x);
    let zero = c.number(0.0, dtype)?;
    let one = c.number(1.0, dtype)?;
    let above = c.lt(zero, x)?;
    let mut out = c.select(above, one, zero)?;
    if !dtype.is_unsigned() {
        let minus = c.number(-1.0, dtype)?;
        let below = c.lt(x, zero)?;
        out = c.select(below, minus, out)?;
    }
    if dtype.is_float() {
        let nan = c.unary(Unary::IsNan, x)?;
        out = c.select(nan, x, out)?;
    }
    Ok(vec![out])
}

fn is_inf(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let dtype = c.dtype(x);
    if !dtype.is_float() {
        return Err(Error::model(format!("expected floats, found {dtype}")));
    }
    let mut found = Vec::new();
    for (name, value) in [
        ("detect_positive", f64::INFINITY),
        ("detect_negative", f64::NEG_INFINITY),
    ] {
        if n.flag(name, true)? {
            let inf = c.number(value, dtype)?;
            found.push(c.binary(Binary::Eq, x, inf)?);
        }
    }
    Ok(vec![match found[..] {
        [a, b] => c.binary(Binary::Or, a, b)?,
        [a] => a,
        _ => {
            let no = c.integer(0, DType::Bool)?;
            let dims = c.dims(x)?;
            c.broadcast(no, &dims)?
        }
    }])
}

/// `coefficients[k] * x^(2k+1)`, summed: an odd series around zero.
fn odd_series(c: &mut Import<'_>, x: TensorId, coefficients: &[f64]) -> Result<TensorId> {
    let square = c.mul(x, x)?;
    let mut sum = c.number(0.0, c.dtype(x))?;
    for &k in coefficients.iter().rev() {
        sum = c.mul(sum, square)?;
        sum = c.add_number(sum, k)?;
    }
    c.mul(sum, x)
}

/// `near` where |x| < limit, `far` elsewhere.
fn by_size(
    c: &mut Import<'_>,
    x: TensorId,
    limit: f64,
    near: TensorId,
    far: TensorId,
) -> Result<TensorId> {
    let size = c.unary(Unary::Abs, x)?;
    let limit = c.number(limit, c.dtype(x))?;
    let small = c.lt(size, limit)?;
    c.select(small, near, far)
}

fn asin(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    // atan(x / sqrt((1-x)(1+x))): at the ends the quotient is infinite, which is right.
    let below = c.number_minus(1.0, x)?;
    let above = c.add_number(x, 1.0)?;
    let product = c.mul(below, above)?;
    let root = c.unary(Unary::Sqrt, product)?;
    let quotient = c.div(x, root)?;
    Ok(vec![c.unary(Unary::Atan, quotient)?])
}

fn acos(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    // 2 atan(sqrt((1-x) / (1+x))) does not cancel near 1.
    let below = c.number_minus(1.0, x)?;
    let above = c.add_number(x, 1.0)?;
    let quotient = c.div(below, above)?;
    let root = c.unary(Unary::Sqrt, quotient)?;
    let half = c.unary(Unary::Atan, root)?;
    Ok(vec![c.mul_number(half, 2.0)?])
}

/// exp(x) and exp(-x), each halved.
fn half_exponentials(c: &mut Import<'_>, x: TensorId) -> Result<(TensorId, TensorId)> {
    let up = c.unary(Unary::Exp, x)?;
    let negative = c.unary(Unary::Neg, x)?;
    let down = c.unary(Unary::Exp, negative)?;
    Ok((c.mul_number(up, 0.5)?, c.mul_number(down, 0.5)?))
}

fn sinh(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let (up, down) = half_exponentials(c, x)?;
    let far = c.sub(up, down)?;
    let near = odd_series(
        c,
        x,
        &[1.0, 1.0 / 6.0, 1.0 / 120.0, 1.0 / 5040.0, 1.0 / 362_880.0],
    )?;
    Ok(vec![by_size(c, x, 0.5, near, far)?])
}

fn cosh(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let (up, down) = half_exponentials(c, n.input(0)?)?;
    Ok(vec![c.add(up, down)?])
}

fn asinh(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let size = c.unary(Unary::Abs, x)?;
    // log(|x| + sqrt(x^2 + 1)); where the square would overflow, log(2|x|).
    let square = c.mul(size, size)?;
    let plus = c.add_number(square, 1.0)?;
    let root = c.unary(Unary::Sqrt, plus)?;
    let sum = c.add(size, root)?;
    let log = c.unary(Unary::Log, sum)?;
    let plain = c.unary(Unary::Log, size)?;
    let huge = c.add_number(plain, std::f64::consts::LN_2)?;
    let limit = if c.dtype(x) == DType::F16 { 200.0 } else { 1e9 };
    let positive = by_size(c, x, limit, log, huge)?;
    let negative = c.unary(Unary::Neg, positive)?;
    let zero = c.number(0.0, c.dtype(x))?;
    let below = c.lt(x, zero)?;
    let far = c.select(below, negative, positive)?;
    let near = odd_series(
        c,
        x,
        &[1.0, -1.0 / 6.0, 3.0 / 40.0, -15.0 / 336.0, 105.0 / 3456.0],
    )?;
    Ok(vec![by_size(c, x, 0.125, near, far)?])
}

fn acosh(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    // The two roots apart do not overflow where x^2 - 1 would.
    let below = c.add_number(x, -1.0)?;
    let above = c.add_number(x, 1.0)?;
    let below = c.unary(Unary::Sqrt, below)?;
    let above = c.unary(Unary::Sqrt, above)?;
    let root = c.mul(below, above)?;
    let sum = c.add(x, root)?;
    Ok(vec![c.unary(Unary::Log, sum)?])
}

fn atanh(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let above = c.add_number(x, 1.0)?;
    let below = c.number_minus(1.0, x)?;
    let quotient = c.div(above, below)?;
    let log = c.unary(Unary::Log, quotient)?;
    let far = c.mul_number(log, 0.5)?;
    let near = odd_series(c, x, &[1.0, 1.0 / 3.0, 1.0 / 5.0, 1.0 / 7.0, 1.0 / 9.0])?;
    Ok(vec![by_size(c, x, 0.125, near, far)?])
}

fn pow(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let (base, exponent) = (n.input(0)?, n.input(1)?);
    // Small constant powers are products: exact, and far cheaper.
    if let Some(values) = c.const_numbers(exponent)
        && let [e] = values[..]
        && c.rank(exponent) <= c.rank(base)
        && (1.0..=4.0).contains(&e)
        && e.fract() == 0.0
    {
        let square = |c: &mut Import<'_>| c.mul(base, base);
        let out = match e as i64 {
            1 => base,
            2 => square(c)?,
            3 => {
                let s = square(c)?;
                c.mul(s, base)?
            }
            _ => {
                let s = square(c)?;
                c.mul(s, s)?
            }
        };
        return Ok(vec![out]);
    }
    let dtype = c.dtype(base);
    if dtype == DType::Bool || c.dtype(exponent) == DType::Bool {
        return Err(Error::model("expected numbers, found bool"));
    }
    if dtype.is_float() && c.dtype(exponent) == dtype {
        return Ok(vec![c.binary(Binary::Pow, base, exponent)?]);
    }
    // Types may differ: the result has the type of the base. Doubles hold all products that matter.
    let wide = if dtype.is_int() || c.dtype(exponent).size() == 8 {
        DType::F64
    } else {
        dtype
    };
    let b = c.cast(base, wide)?;
    let e = c.cast(exponent, wide)?;
    let mut power = c.binary(Binary::Pow, b, e)?;
    if dtype.is_int() {
        // A power that is whole must not be truncated to the number below it.
        let whole = c.unary(Unary::Round, power)?;
        let distance = c.sub(power, whole)?;
        let distance = c.unary(Unary::Abs, distance)?;
        let size = c.unary(Unary::Abs, whole)?;
        let limit = c.mul_number(size, 1e-6)?;
        let near = c.binary(Binary::Le, distance, limit)?;
        power = c.select(near, whole, power)?;
    }
    Ok(vec![c.cast(power, dtype)?])
}

fn modulo(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let (a, b) = (n.input(0)?, n.input(1)?);
    if n.flag("fmod", false)? {
        return binary(c, n, Binary::Rem);
    }
    if c.dtype(a).is_float() {
        // Sign of the divisor: correct the remainder where the signs differ.
        let rest = c.binary(Binary::Rem, a, b)?;
        let zero = c.number(0.0, c.dtype(a))?;
        let shifted = c.add(rest, b)?;
        let below = c.lt(rest, zero)?;
        let divisor_below = c.lt(b, zero)?;
        let differ = c.binary(Binary::Xor, below, divisor_below)?;
        let whole = c.binary(Binary::Eq, rest, zero)?;
        let kept = c.select(differ, shifted, rest)?;
        return Ok(vec![c.select(whole, rest, kept)?]);
    }
    if c.dtype(a).is_unsigned() {
        return binary(c, n, Binary::Rem);
    }
    binary(c, n, Binary::FloorMod)
}

fn bit_shift(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let direction = n.string("direction")?;
    let op = match n.required("direction", direction)? {
        "LEFT" => Binary::Shl,
        "RIGHT" => Binary::Shr,
        other => {
            return Err(Error::model(format!(
                "attribute 'direction' is '{other}', expected LEFT or RIGHT"
            )));
        }
    };
    let (x, by) = (n.input(0)?, n.input(1)?);
    of_type(c, x, false)?;
    let dtype = c.dtype(x);
    // A shift by the width or more gives no bits (or only the sign).
    let bits = 8 * dtype.size() as i64;
    let last = c.integer(bits - 1, dtype)?;
    let within = c.binary(Binary::Min, by, last)?;
    let shifted = c.binary(op, x, within)?;
    if op == Binary::Shr && !dtype.is_unsigned() {
        return Ok(vec![shifted]);
    }
    let width = c.integer(bits, dtype)?;
    let fits = c.lt(by, width)?;
    let zero = c.integer(0, dtype)?;
    Ok(vec![c.select(fits, shifted, zero)?])
}

fn select(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    of_type(c, n.input(0)?, true)?;
    Ok(vec![c.select(n.input(0)?, n.input(1)?, n.input(2)?)?])
}

fn clip_attributes(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let mut x = n.input(0)?;
    if let Some(low) = n.float("min")? {
        let low = c.number(low.into(), c.dtype(x))?;
        x = c.binary(Binary::Max, x, low)?;
    }
    if let Some(high) = n.float("max")? {
        let high = c.number(high.into(), c.dtype(x))?;
        x = c.binary(Binary::Min, x, high)?;
    }
    Ok(vec![x])
}

fn clip(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let mut x = n.input(0)?;
    for (i, op) in [(1, Binary::Max), (2, Binary::Min)] {
        let Some(bound) = n.optional(i) else {
            continue;
        };
        if c.elements(bound)? != 1 {
            return Err(Error::model(format!(
                "input {i} (a bound) has shape {:?}, expected a scalar",
                c.shape(bound)
            )));
        }
        let bound = c.reshape(bound, &[])?;
        x = c.binary(op, x, bound)?;
    }
    Ok(vec![x])
}
