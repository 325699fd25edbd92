//! Activation functions.
//!
//! In: one tensor of floats and the function's numbers. Out: one tensor of its shape. All are written
//! as elementwise primitives, so that they fuse into whatever makes their input.
//!
//! Example: `HardSwish(x) = x * max(0, min(1, x/6 + 1/2))`.

use super::super::import::Import;
use super::super::node::{Node, axis};
use super::{Row, row};
use crate::diag::{Error, Result};
use crate::graph::{Op, TensorId};
use crate::uop::{Binary, DType, Unary};

pub(super) const ROWS: &[Row] = &[
    row("Relu", 6, 1..=1, &[], relu),
    row("Sigmoid", 6, 1..=1, &[], |c, n| {
        Ok(vec![sigmoid(c, n.input(0)?)?])
    }),
    row("LeakyRelu", 6, 1..=1, &["alpha"], leaky_relu),
    row("PRelu", 7, 2..=2, &[], prelu),
    row("Elu", 6, 1..=1, &["alpha"], elu),
    row("Celu", 12, 1..=1, &["alpha"], celu),
    row("Selu", 6, 1..=1, &["alpha", "gamma"], selu),
    row("ThresholdedRelu", 10, 1..=1, &["alpha"], thresholded_relu),
    row("HardSigmoid", 6, 1..=1, &["alpha", "beta"], hard_sigmoid),
    row("HardSwish", 14, 1..=1, &[], hard_swish),
    row("Softplus", 1, 1..=1, &[], |c, n| {
        Ok(vec![softplus(c, n.input(0)?)?])
    }),
    row("Softsign", 1, 1..=1, &[], softsign),
    row("Mish", 18, 1..=1, &[], mish),
    row("Gelu", 20, 1..=1, &["approximate"], gelu),
    row("Swish", 24, 1..=1, &["alpha"], swish),
    row("SwiGLU", 28, 2..=2, &["alpha"], swiglu),
    row("Shrink", 9, 1..=1, &["bias", "lambd"], shrink),
    row("Softmax", 1, 1..=1, &["axis"], |c, n| flat(c, n, softmax)),
    row("Softmax", 13, 1..=1, &["axis"], |c, n| along(c, n, softmax)),
    row("LogSoftmax", 1, 1..=1, &["axis"], |c, n| {
        flat(c, n, log_softmax)
    }),
    row("LogSoftmax", 13, 1..=1, &["axis"], |c, n| {
        along(c, n, log_softmax)
    }),
    row("Hardmax", 1, 1..=1, &["axis"], |c, n| flat(c, n, hardmax)),
    row("Hardmax", 13, 1..=1, &["axis"], |c, n| along(c, n, hardmax)),
];

/// The only input, which must be floats.
fn floats(c: &Import<'_>, n: &Node<'_>) -> Result<TensorId> {
    let x = n.input(0)?;
    if c.dtype(x).is_float() {
        return Ok(x);
    }
    Err(Error::model(format!(
        "expected floats, found {}",
        c.dtype(x)
    )))
}

fn relu(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let zero = c.number(0.0, c.dtype(x))?;
    Ok(vec![c.binary(Binary::Max, x, zero)?])
}

/// 1 / (1 + exp(-x))
pub(super) fn sigmoid(c: &mut Import<'_>, x: TensorId) -> Result<TensorId> {
    let negative = c.unary(Unary::Neg, x)?;
    let e = c.unary(Unary::Exp, negative)?;
    let sum = c.add_number(e, 1.0)?;
    let one = c.number(1.0, c.dtype(x))?;
    c.div(one, sum)
}

/// log(1 + exp(x)), without overflow.
pub(super) fn softplus(c: &mut Import<'_>, x: TensorId) -> Result<TensorId> {
    let zero = c.number(0.0, c.dtype(x))?;
    let positive = c.binary(Binary::Max, x, zero)?;
    let size = c.unary(Unary::Abs, x)?;
    let down = c.unary(Unary::Neg, size)?;
    let e = c.unary(Unary::Exp, down)?;
    let sum = c.add_number(e, 1.0)?;
    let log = c.unary(Unary::Log, sum)?;
    c.add(positive, log)
}

/// `negative` where x < 0, x elsewhere.
fn where_negative(c: &mut Import<'_>, x: TensorId, negative: TensorId) -> Result<TensorId> {
    let zero = c.number(0.0, c.dtype(x))?;
    let below = c.lt(x, zero)?;
    c.select(below, negative, x)
}

/// alpha * (exp(x * inner) - 1)
fn exponential(c: &mut Import<'_>, x: TensorId, inner: f64, alpha: f64) -> Result<TensorId> {
    let x = if inner == 1.0 {
        x
    } else {
        c.mul_number(x, inner)?
    };
    // Halves are widened: exp(x) - 1 near 0 has few digits left of exp(x).
    let dtype = c.dtype(x);
    let narrow = matches!(dtype, DType::F16 | DType::BF16);
    let wide = if narrow { c.cast(x, DType::F32)? } else { x };
    let e = c.unary(Unary::Exp, wide)?;
    let e = c.add_number(e, -1.0)?;
    let e = c.cast(e, dtype)?;
    if alpha == 1.0 {
        Ok(e)
    } else {
        c.mul_number(e, alpha)
    }
}

fn leaky_relu(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = floats(c, n)?;
    let scaled = c.mul_number(x, n.float_or("alpha", 0.01)?)?;
    Ok(vec![where_negative(c, x, scaled)?])
}

fn prelu(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let (x, slope) = (n.input(0)?, n.input(1)?);
    let scaled = c.mul(x, slope)?;
    if c.dims(scaled)? != c.dims(x)? {
        return Err(Error::model(format!(
            "the slope's shape {:?} does not fit {:?}",
            c.shape(slope),
            c.shape(x)
        )));
    }
    Ok(vec![where_negative(c, x, scaled)?])
}

fn elu(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = floats(c, n)?;
    let e = exponential(c, x, 1.0, n.float_or("alpha", 1.0)?)?;
    Ok(vec![where_negative(c, x, e)?])
}

fn celu(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = floats(c, n)?;
    let alpha = n.float_or("alpha", 1.0)?;
    let e = exponential(c, x, 1.0 / alpha, alpha)?;
    Ok(vec![where_negative(c, x, e)?])
}

fn selu(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = floats(c, n)?;
    let alpha = n.float_or("alpha", 1.673_263_2)?;
    let gamma = n.float_or("gamma", 1.050_701)?;
    let e = exponential(c, x, 1.0, alpha)?;
    let y = where_negative(c, x, e)?;
    Ok(vec![c.mul_number(y, gamma)?])
}

fn thresholded_relu(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = floats(c, n)?;
    let alpha = c.number(n.float_or("alpha", 1.0)?, c.dtype(x))?;
    let zero = c.number(0.0, c.dtype(x))?;
    let above = c.lt(alpha, x)?;
    Ok(vec![c.select(above, x, zero)?])
}

/// max(0, min(1, alpha * x + beta))
pub(super) fn hard_sigmoid_of(
    c: &mut Import<'_>,
    x: TensorId,
    alpha: f64,
    beta: f64,
) -> Result<TensorId> {
    let scaled = c.mul_number(x, alpha)?;
    let line = c.add_number(scaled, beta)?;
    let one = c.number(1.0, c.dtype(x))?;
    let zero = c.number(0.0, c.dtype(x))?;
    let below = c.binary(Binary::Min, line, one)?;
    c.binary(Binary::Max, below, zero)
}

fn hard_sigmoid(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = floats(c, n)?;
    let (alpha, beta) = (n.float_or("alpha", 0.2)?, n.float_or("beta", 0.5)?);
    Ok(vec![hard_sigmoid_of(c, x, alpha, beta)?])
}

fn hard_swish(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = floats(c, n)?;
    let s = hard_sigmoid_of(c, x, 1.0 / 6.0, 0.5)?;
    Ok(vec![c.mul(x, s)?])
}

fn softsign(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = floats(c, n)?;
    let size = c.unary(Unary::Abs, x)?;
    let sum = c.add_number(size, 1.0)?;
    Ok(vec![c.div(x, sum)?])
}

fn mish(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = floats(c, n)?;
    let s = softplus(c, x)?;
    let t = c.unary(Unary::Tanh, s)?;
    Ok(vec![c.mul(x, t)?])
}

fn gelu(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = floats(c, n)?;
    let tanh = n.choice("approximate", &[("none", false), ("tanh", true)])?;
    let inner = if tanh {
        let square = c.mul(x, x)?;
        let cube = c.mul(square, x)?;
        let cube = c.mul_number(cube, 0.044_715)?;
        let sum = c.add(x, cube)?;
        let scaled = c.mul_number(sum, (2.0 / std::f64::consts::PI).sqrt())?;
        c.unary(Unary::Tanh, scaled)?
    } else {
        let scaled = c.mul_number(x, std::f64::consts::FRAC_1_SQRT_2)?;
        c.unary(Unary::Erf, scaled)?
    };
    let half = c.mul_number(x, 0.5)?;
    let sum = c.add_number(inner, 1.0)?;
    Ok(vec![c.mul(half, sum)?])
}

/// x * sigmoid(alpha * x)
fn swish_of(c: &mut Import<'_>, x: TensorId, alpha: f64) -> Result<TensorId> {
    let inner = if alpha == 1.0 {
        x
    } else {
        c.mul_number(x, alpha)?
    };
    let s = sigmoid(c, inner)?;
    c.mul(x, s)
}

fn swish(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = floats(c, n)?;
    Ok(vec![swish_of(c, x, n.float_or("alpha", 1.0)?)?])
}

fn swiglu(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = floats(c, n)?;
    let gate = swish_of(c, x, n.float_or("alpha", 1.0)?)?;
    Ok(vec![c.mul(gate, n.input(1)?)?])
}

fn shrink(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let dtype = c.dtype(x);
    let (bias, lambda) = (n.float_or("bias", 0.0)?, n.float_or("lambd", 0.5)?);
    let wide = if dtype.is_float() { dtype } else { DType::F64 };
    let v = c.cast(x, wide)?;
    let zero = c.number(0.0, wide)?;
    let high = c.number(lambda, wide)?;
    let low = c.number(-lambda, wide)?;
    let above = c.lt(high, v)?;
    let below = c.lt(v, low)?;
    let less = c.add_number(v, -bias)?;
    let more = c.add_number(v, bias)?;
    let out = c.select(above, less, zero)?;
    let out = c.select(below, more, out)?;
    Ok(vec![c.cast(out, dtype)?])
}

type Along = fn(&mut Import<'_>, TensorId, usize) -> Result<TensorId>;

fn softmax(c: &mut Import<'_>, x: TensorId, axis: usize) -> Result<TensorId> {
    c.push(Op::Softmax(axis), &[x])
}

fn log_softmax(c: &mut Import<'_>, x: TensorId, axis: usize) -> Result<TensorId> {
    c.push(Op::LogSoftmax(axis), &[x])
}

/// 1 at the first largest element, 0 elsewhere.
fn hardmax(c: &mut Import<'_>, x: TensorId, axis: usize) -> Result<TensorId> {
    let dims = c.dims(x)?;
    let op = Op::ArgReduce {
        axis,
        largest: true,
        last: false,
    };
    let best = c.push(op, &[x])?;
    let best = c.unsqueeze(best, axis)?;
    let place = c.iota_along(dims[axis], DType::I64, axis, dims.len())?;
    let hit = c.binary(Binary::Eq, place, best)?;
    let hit = c.broadcast(hit, &dims)?;
    c.cast(hit, c.dtype(x))
}

/// Since opset 13: over one axis, the last by default.
fn along(c: &mut Import<'_>, n: &Node<'_>, f: Along) -> Result<Vec<TensorId>> {
    let x = floats(c, n)?;
    let axis = axis(n.int("axis")?.unwrap_or(-1), c.rank(x))?;
    Ok(vec![f(c, x, axis)?])
}

/// Before opset 13: over all axes from `axis` on, together.
fn flat(c: &mut Import<'_>, n: &Node<'_>, f: Along) -> Result<Vec<TensorId>> {
    let x = floats(c, n)?;
    let dims = c.dims(x)?;
    let first = n.int("axis")?.unwrap_or(1);
    let first = if first == dims.len() as i64 {
        dims.len()
    } else {
        axis(first, dims.len())?
    };
    // Over the last axis alone both meanings agree, and no reshape stands in the way of fusion.
    let tail = &dims[first..];
    if let Some(only) = (first..dims.len()).find(|&a| dims[a] != 1)
        && tail.iter().filter(|&&d| d != 1).count() == 1
    {
        return Ok(vec![f(c, x, only)?]);
    }
    let inner: i64 = tail.iter().product();
    let outer: i64 = dims[..first].iter().product();
    let flat = c.reshape(x, &[outer, inner])?;
    let y = f(c, flat, 1)?;
    Ok(vec![c.reshape(y, &dims)?])
}
