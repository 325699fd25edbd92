//! Normalisations.
//!
//! In: a tensor, scales and biases. Out: the tensor with mean 0 and variance 1 over some axes, then
//! scaled and shifted.
//!
//! Example: `LayerNormalization(x[1,128,768], axis=-1)` normalises each of 128 rows.

use super::super::import::Import;
use super::super::node::{Node, axes, axis};
use super::{Row, row};
use crate::diag::{Error, Result};
use crate::graph::{Op, TensorId};
use crate::uop::{Binary, DType, ReduceOp, Unary};

pub(super) const ROWS: &[Row] = &[
    row(
        "BatchNormalization",
        7,
        5..=5,
        &["epsilon", "momentum", "spatial"],
        batch_norm,
    ),
    row(
        "BatchNormalization",
        9,
        5..=5,
        &["epsilon", "momentum"],
        batch_norm,
    ),
    row(
        "BatchNormalization",
        14,
        5..=5,
        &["epsilon", "momentum", "training_mode"],
        batch_norm,
    ),
    row(
        "InstanceNormalization",
        6,
        3..=3,
        &["epsilon"],
        instance_norm,
    ),
    row(
        "GroupNormalization",
        18,
        3..=3,
        &["epsilon", "num_groups"],
        group_norm,
    ),
    row(
        "GroupNormalization",
        21,
        3..=3,
        &["epsilon", "num_groups", "stash_type"],
        group_norm,
    ),
    row(
        "LayerNormalization",
        17,
        2..=3,
        &["axis", "epsilon", "stash_type"],
        layer_norm,
    ),
    row(
        "RMSNormalization",
        23,
        2..=2,
        &["axis", "epsilon", "stash_type"],
        rms_norm,
    ),
    row(
        "MeanVarianceNormalization",
        9,
        1..=1,
        &["axes"],
        mean_variance,
    ),
    row("LRN", 1, 1..=1, &["alpha", "beta", "bias", "size"], lrn),
    row("LpNormalization", 1, 1..=1, &["axis", "p"], lp_norm),
];

/// A vector of channels laid along axis 1 of a tensor.
fn per_channel(c: &mut Import<'_>, v: TensorId, x: &[i64]) -> Result<TensorId> {
    let channels = x.get(1).copied().unwrap_or(1);
    if c.dims(v)? != [channels] {
        return Err(Error::model(format!(
            "a parameter has shape {:?}, expected [{channels}]",
            c.shape(v)
        )));
    }
    let mut shape = vec![1; x.len().max(2)];
    shape[1] = channels;
    shape.truncate(x.len().max(2));
    c.reshape(v, &shape)
}

fn batch_norm(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let dims = c.dims(x)?;
    if dims.is_empty() {
        return Err(Error::model("a scalar has no channels"));
    }
    if !n.flag("spatial", true)? {
        return Err(Error::unsupported(
            "statistics for each element (spatial=0)",
        ));
    }
    let training = n.flag("training_mode", false)?;
    let epsilon = n.float_or("epsilon", 1e-5)?;
    let dtype = c.dtype(x);
    // A vector has one channel in axis 1, as a matrix of one column.
    let (x, shape) = if dims.len() == 1 {
        (c.reshape(x, &[dims[0], 1])?, vec![dims[0], 1])
    } else {
        (x, dims.clone())
    };
    let mut parameter = Vec::new();
    for i in 1..5 {
        let v = n.input(i)?;
        let v = per_channel(c, v, &shape)?;
        parameter.push(v);
    }
    let [scale, bias, mean, variance] = parameter[..] else {
        return Err(Error::bug("four parameters"));
    };
    let wide = c.dtype(mean);
    if !training {
        if n.wants(1) {
            return Err(Error::unsupported("running statistics without training"));
        }
        // Per channel and so constant: a * x + b.
        let stable = c.add_number(variance, epsilon)?;
        let deviation = c.unary(Unary::Sqrt, stable)?;
        let scale = c.cast(scale, wide)?;
        let bias = c.cast(bias, wide)?;
        let a = c.div(scale, deviation)?;
        let shift = c.mul(mean, a)?;
        let b = c.sub(bias, shift)?;
        let (a, b) = (c.cast(a, dtype)?, c.cast(b, dtype)?);
        let scaled = c.mul(x, a)?;
        let y = c.add(scaled, b)?;
        return Ok(vec![c.reshape(y, &dims)?]);
    }
    let over: Vec<usize> = (0..shape.len()).filter(|&a| a != 1).collect();
    let v = c.cast(x, wide)?;
    let now = c.mean(v, &over, true)?;
    let centred = c.sub(v, now)?;
    let square = c.mul(centred, centred)?;
    let spread = c.mean(square, &over, true)?;
    let stable = c.add_number(spread, epsilon)?;
    let deviation = c.unary(Unary::Sqrt, stable)?;
    let unit = c.div(centred, deviation)?;
    let scale = c.cast(scale, wide)?;
    let bias = c.cast(bias, wide)?;
    let scaled = c.mul(unit, scale)?;
    let y = c.add(scaled, bias)?;
    let y = c.cast(y, dtype)?;
    let mut out = vec![c.reshape(y, &dims)?];
    let momentum = n.float_or("momentum", 0.9)?;
    for (old, new) in [(mean, now), (variance, spread)] {
        let kept = c.mul_number(old, momentum)?;
        let fresh = c.mul_number(new, 1.0 - momentum)?;
        let sum = c.add(kept, fresh)?;
        let channels = shape[1];
        out.push(c.reshape(sum, &[channels])?);
    }
    Ok(out)
}

fn unit_norm(c: &mut Import<'_>, x: TensorId, axis: usize, epsilon: f64) -> Result<TensorId> {
    let op = Op::LayerNorm {
        axis,
        epsilon: epsilon.to_bits(),
    };
    c.push(op, &[x])
}

fn instance_norm(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let dims = c.dims(x)?;
    if dims.len() < 3 {
        return Err(Error::model(format!("shape {dims:?} has no spatial axes")));
    }
    let epsilon = n.float_or("epsilon", 1e-5)?;
    let flat = c.reshape(x, &[dims[0], dims[1], dims[2..].iter().product()])?;
    let unit = unit_norm(c, flat, 2, epsilon)?;
    let unit = c.reshape(unit, &dims)?;
    let scale = per_channel(c, n.input(1)?, &dims)?;
    let bias = per_channel(c, n.input(2)?, &dims)?;
    let scaled = c.mul(unit, scale)?;
    Ok(vec![c.add(scaled, bias)?])
}

fn group_norm(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let dims = c.dims(x)?;
    let groups = n.int("num_groups")?;
    let groups = n.required("num_groups", groups)?;
    if dims.len() < 3 || groups < 1 || dims[1] % groups != 0 {
        return Err(Error::model(format!(
            "shape {dims:?} cannot be split into {groups} groups of channels"
        )));
    }
    let epsilon = n.float_or("epsilon", 1e-5)?;
    let dtype = c.dtype(x);
    let wide = stash(n, dtype)?;
    let inner: i64 = dims[1..].iter().product::<i64>() / groups;
    let v = c.cast(x, wide)?;
    let flat = c.reshape(v, &[dims[0], groups, inner])?;
    let unit = unit_norm(c, flat, 2, epsilon)?;
    let (scale, bias) = (n.input(1)?, n.input(2)?);
    if n.opset < 21 {
        // One number for each group.
        let unit = c.cast(unit, dtype)?;
        let shape = [1, groups, 1];
        let scale = c.reshape(scale, &shape)?;
        let bias = c.reshape(bias, &shape)?;
        let scaled = c.mul(unit, scale)?;
        let y = c.add(scaled, bias)?;
        return Ok(vec![c.reshape(y, &dims)?]);
    }
    let unit = c.reshape(unit, &dims)?;
    let unit = c.cast(unit, dtype)?;
    let scale = per_channel(c, scale, &dims)?;
    let bias = per_channel(c, bias, &dims)?;
    let scaled = c.mul(unit, scale)?;
    Ok(vec![c.add(scaled, bias)?])
}

/// The type in which a normalisation computes its statistics.
fn stash(n: &Node<'_>, dtype: DType) -> Result<DType> {
    match n.int("stash_type")? {
        // The default is float; what is wider already stays.
        None | Some(1) if dtype.size() < 4 => Ok(DType::F32),
        Some(11) => Ok(DType::F64),
        _ => Ok(dtype),
    }
}

fn layer_norm(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let dims = c.dims(x)?;
    let dtype = c.dtype(x);
    let at = axis(n.int("axis")?.unwrap_or(-1), dims.len())?;
    let epsilon = n.float_or("epsilon", 1e-5)?;
    let wide = stash(n, dtype)?;
    let v = c.cast(x, wide)?;
    let tail = &dims[at..];
    let mut src = vec![v];
    // Fused when types allow it: the operation takes scale and bias of the normalised axes' shape.
    let fused = wide == dtype;
    if fused {
        for i in 1..3 {
            if let Some(p) = n.optional(i) {
                if c.rank(p) > tail.len() {
                    return Err(Error::model(format!(
                        "a parameter of shape {:?} does not fit the normalised axes {tail:?}",
                        c.shape(p)
                    )));
                }
                src.push(c.broadcast(p, tail)?);
            }
        }
    }
    let op = Op::LayerNorm {
        axis: at,
        epsilon: epsilon.to_bits(),
    };
    let mut y = c.push(op, &src)?;
    if !fused {
        y = c.cast(y, dtype)?;
        y = c.mul(y, n.input(1)?)?;
        if let Some(b) = n.optional(2) {
            y = c.add(y, b)?;
        }
    }
    let mut out = vec![y];
    if n.wants(1) || n.wants(2) {
        let over: Vec<usize> = (at..dims.len()).collect();
        let mean = c.mean(v, &over, true)?;
        let centred = c.sub(v, mean)?;
        let square = c.mul(centred, centred)?;
        let variance = c.mean(square, &over, true)?;
        let stable = c.add_number(variance, epsilon)?;
        let deviation = c.unary(Unary::Sqrt, stable)?;
        let one = c.number(1.0, wide)?;
        out.push(mean);
        out.push(c.div(one, deviation)?);
    }
    Ok(out)
}

fn rms_norm(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let (x, scale) = (n.input(0)?, n.input(1)?);
    let rank = c.rank(x);
    let dtype = c.dtype(x);
    let at = axis(n.int("axis")?.unwrap_or(-1), rank)?;
    let epsilon = n.float_or("epsilon", 1e-5)?;
    let wide = stash(n, dtype)?;
    let over: Vec<usize> = (at..rank).collect();
    let v = c.cast(x, wide)?;
    let square = c.mul(v, v)?;
    let mean = c.mean(square, &over, true)?;
    let stable = c.add_number(mean, epsilon)?;
    let root = c.unary(Unary::Sqrt, stable)?;
    let unit = c.div(v, root)?;
    let unit = c.cast(unit, c.dtype(scale))?;
    Ok(vec![c.mul(unit, scale)?])
}

fn mean_variance(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let list = n.ints("axes")?.unwrap_or_else(|| vec![0, 2, 3]);
    let over = axes(&list, c.rank(x))?;
    let mean = c.mean(x, &over, true)?;
    let centred = c.sub(x, mean)?;
    let square = c.mul(centred, centred)?;
    let variance = c.mean(square, &over, true)?;
    let deviation = c.unary(Unary::Sqrt, variance)?;
    let stable = c.add_number(deviation, 1e-9)?;
    Ok(vec![c.div(centred, stable)?])
}

/// `x / (bias + alpha/size * sum of squares over neighbouring channels)^beta`
fn lrn(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let rank = c.rank(x);
    let size = n.int("size")?;
    let size = n.required("size", size)?;
    if rank < 2 || !(1..=1 << 20).contains(&size) {
        return Err(Error::model(format!(
            "a window of {size} channels on shape {:?}",
            c.shape(x)
        )));
    }
    let square = c.mul(x, x)?;
    let mut around = vec![(0, 0); rank];
    around[1] = ((size - 1) / 2, size - 1 - (size - 1) / 2);
    let zero = c.number(0.0, c.dtype(x))?;
    let padded = c.pad(square, &around, zero)?;
    let op = Op::Window {
        axis: 1,
        size,
        stride: 1,
        dilation: 1,
    };
    let windows = c.push(op, &[padded])?;
    let sum = c.reduce(ReduceOp::Sum, windows, &[2], false)?;
    let scaled = c.mul_number(sum, n.float_or("alpha", 1e-4)? / size as f64)?;
    let base = c.add_number(scaled, n.float_or("bias", 1.0)?)?;
    let beta = c.number(n.float_or("beta", 0.75)?, c.dtype(x))?;
    let divisor = c.binary(Binary::Pow, base, beta)?;
    Ok(vec![c.div(x, divisor)?])
}

fn lp_norm(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let at = axis(n.int("axis")?.unwrap_or(-1), c.rank(x))?;
    let norm = match n.int("p")?.unwrap_or(2) {
        1 => {
            let size = c.unary(Unary::Abs, x)?;
            c.reduce(ReduceOp::Sum, size, &[at], true)?
        }
        2 => {
            let square = c.mul(x, x)?;
            let sum = c.reduce(ReduceOp::Sum, square, &[at], true)?;
            c.unary(Unary::Sqrt, sum)?
        }
        p => {
            return Err(Error::model(format!(
                "attribute 'p' is {p}, expected 1 or 2"
            )));
        }
    };
    // A vector of zeros stays one.
    let zero = c.number(0.0, c.dtype(x))?;
    let one = c.number(1.0, c.dtype(x))?;
    let empty = c.binary(Binary::Eq, norm, zero)?;
    let divisor = c.select(empty, one, norm)?;
    Ok(vec![c.div(x, divisor)?])
}
