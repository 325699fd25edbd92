//! Numbers in few bits.
//!
//! In: integers with a scale and a zero point, or floats to be rounded to them. Out: the other. Products
//! of bytes are formed in doubles, where they are exact.
//!
//! Example: `DequantizeLinear(x, s, z)` is `(x - z) * s`.

use super::super::import::Import;
use super::super::node::{Node, axis};
use super::super::tensor::require_dtype;
use super::conv::{along, centred, conv_of};
use super::matmul::matmul;
use super::{Row, row};
use crate::diag::{Error, Result};
use crate::graph::TensorId;
use crate::uop::{Binary, DType, ReduceOp, Unary};

const CONV: &[&str] = &[
    "auto_pad",
    "dilations",
    "group",
    "kernel_shape",
    "pads",
    "strides",
];
const Q21: &[&str] = &["axis", "block_size", "output_dtype", "saturate"];
const Q23: &[&str] = &[
    "axis",
    "block_size",
    "output_dtype",
    "precision",
    "saturate",
];

pub(super) const ROWS: &[Row] = &[
    row("QuantizeLinear", 10, 2..=3, &[], quantize),
    row("QuantizeLinear", 13, 2..=3, &["axis"], quantize),
    row("QuantizeLinear", 19, 2..=3, &["axis", "saturate"], quantize),
    row("QuantizeLinear", 21, 2..=3, Q21, quantize),
    row("QuantizeLinear", 23, 2..=3, Q23, quantize),
    row("DequantizeLinear", 10, 2..=3, &[], dequantize),
    row("DequantizeLinear", 13, 2..=3, &["axis"], dequantize),
    row(
        "DequantizeLinear",
        21,
        2..=3,
        &["axis", "block_size"],
        dequantize,
    ),
    row(
        "DequantizeLinear",
        23,
        2..=3,
        &["axis", "block_size", "output_dtype"],
        dequantize,
    ),
    row("DynamicQuantizeLinear", 11, 1..=1, &[], dynamic),
    row("MatMulInteger", 10, 2..=4, &[], matmul_integer),
    row("QLinearMatMul", 10, 8..=8, &[], qlinear_matmul),
    row("QLinearConv", 10, 8..=9, CONV, qlinear_conv),
];

/// A scale or zero point in the shape of `x`: a scalar, a vector along an axis, or one number a block.
fn spread(c: &mut Import<'_>, n: &Node<'_>, v: TensorId, x: TensorId) -> Result<TensorId> {
    let dims = c.dims(x)?;
    let shape = c.dims(v)?;
    let block = n.int("block_size")?.unwrap_or(0);
    if c.elements(v)? == 1 && block == 0 {
        return c.scalar_of(v);
    }
    let at = axis(n.int("axis")?.unwrap_or(1), dims.len())?;
    if shape.len() == 1 && block == 0 {
        if shape[0] != dims[at] {
            return Err(Error::model(format!(
                "{} scales for axis {at} of shape {dims:?}",
                shape[0]
            )));
        }
        return along(c, v, at, dims.len());
    }
    let fits = block > 0
        && shape.len() == dims.len()
        && (0..dims.len()).all(|i| i == at || shape[i] == dims[i])
        && shape[at]
            .checked_mul(block)
            .is_some_and(|t| t >= dims[at] && t - dims[at] < block);
    if !fits {
        return Err(Error::model(format!(
            "scales {shape:?} in blocks of {block} along axis {at} do not fit shape {dims:?}"
        )));
    }
    let mut wide = shape.clone();
    wide.insert(at + 1, 1);
    let v = c.reshape(v, &wide)?;
    wide[at + 1] = block;
    let v = c.broadcast(v, &wide)?;
    let mut whole = shape;
    whole[at] *= block;
    let v = c.reshape(v, &whole)?;
    c.slice_axis(v, at, 0, dims[at])
}

/// Rounds to an integer type, saturating, after the zero point is added.
fn round_to(
    c: &mut Import<'_>,
    x: TensorId,
    zero_point: Option<TensorId>,
    to: DType,
) -> Result<TensorId> {
    let rounded = c.unary(Unary::Round, x)?;
    let wide = c.dtype(rounded);
    let shifted = match zero_point {
        None => rounded,
        Some(z) => {
            let z = c.cast(z, wide)?;
            c.add(rounded, z)?
        }
    };
    let Some((low, high)) = to.int_bounds() else {
        return Err(Error::unsupported(format!("quantization to {to}")));
    };
    let low = c.number(low as f64, wide)?;
    let high = c.number(high as f64, wide)?;
    let y = c.binary(Binary::Max, shifted, low)?;
    let y = c.binary(Binary::Min, y, high)?;
    let y = c.cast(y, DType::I32)?;
    c.cast(y, to)
}

fn quantize(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let said = match n.int("output_dtype")? {
        None | Some(0) => None,
        Some(t) => Some(require_dtype(t as i32, "attribute 'output_dtype'")?),
    };
    let to = match n.optional(2) {
        Some(z) => c.dtype(z),
        None => said.unwrap_or(DType::U8),
    };
    let wide = match n.int("precision")? {
        None | Some(0) => DType::F32,
        Some(t) => require_dtype(t as i32, "attribute 'precision'")?,
    };
    let scale = spread(c, n, n.input(1)?, x)?;
    let scale = c.cast(scale, wide)?;
    let v = c.cast(x, wide)?;
    let scaled = c.div(v, scale)?;
    // Adding a zero point to a half would round again.
    let scaled = if wide.size() < 4 {
        c.cast(scaled, DType::F32)?
    } else {
        scaled
    };
    let z = match n.optional(2) {
        None => None,
        Some(z) => Some(spread(c, n, z, x)?),
    };
    Ok(vec![round_to(c, scaled, z, to)?])
}

fn dequantize(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let (x, scale) = (n.input(0)?, n.input(1)?);
    let to = match n.int("output_dtype")? {
        None | Some(0) => c.dtype(scale),
        Some(t) => require_dtype(t as i32, "attribute 'output_dtype'")?,
    };
    let scale = spread(c, n, scale, x)?;
    // The difference is an integer of up to 33 bits, which doubles hold.
    let exact = if c.dtype(x).size() < 4 {
        DType::F32
    } else {
        DType::F64
    };
    let mut v = c.cast(x, exact)?;
    if let Some(z) = n.optional(2) {
        let z = spread(c, n, z, x)?;
        let z = c.cast(z, exact)?;
        v = c.sub(v, z)?;
    }
    let v = c.cast(v, DType::F32)?;
    let scale = c.cast(scale, DType::F32)?;
    let y = c.mul(v, scale)?;
    Ok(vec![c.cast(y, to)?])
}

fn dynamic(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let all: Vec<usize> = (0..c.rank(x)).collect();
    let zero = c.number(0.0, DType::F32)?;
    let top = c.reduce(ReduceOp::Max, x, &all, false)?;
    let top = c.binary(Binary::Max, top, zero)?;
    let bottom = c.reduce(ReduceOp::Min, x, &all, false)?;
    let bottom = c.binary(Binary::Min, bottom, zero)?;
    let span = c.sub(top, bottom)?;
    let scale = c.div_number(span, 255.0)?;
    let place = c.div(bottom, scale)?;
    let place = c.unary(Unary::Neg, place)?;
    let point = round_to(c, place, None, DType::U8)?;
    let scaled = c.div(x, scale)?;
    let y = round_to(c, scaled, Some(point), DType::U8)?;
    Ok(vec![y, scale, point])
}

/// Zero points of the rows of a matrix: one a row, laid along the second axis from the end.
fn rows(c: &mut Import<'_>, z: Option<TensorId>, x: TensorId) -> Result<Option<TensorId>> {
    let Some(z) = z else { return Ok(None) };
    let rank = c.rank(x);
    if c.rank(z) == 1 && rank >= 2 {
        return along(c, z, rank - 2, rank).map(Some);
    }
    Ok(Some(z))
}

fn matmul_integer(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let (a, b) = (n.input(0)?, n.input(1)?);
    let za = rows(c, n.optional(2), a)?;
    let a = centred(c, a, za, 0)?;
    let last = c.rank(b).saturating_sub(1);
    let b = centred(c, b, n.optional(3), last)?;
    let y = matmul(c, a, b)?;
    Ok(vec![c.cast(y, DType::I32)?])
}

fn qlinear_matmul(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let (a, b) = (n.input(0)?, n.input(3)?);
    let rank = c.rank(a);
    let za = rows(c, n.optional(2), a)?;
    let x = centred(c, a, za, 0)?;
    let last = c.rank(b).saturating_sub(1);
    let y = centred(c, b, n.optional(5), last)?;
    let product = matmul(c, x, y)?;
    let sa = rows(c, n.optional(1), a)?;
    let sa = sa.ok_or_else(|| Error::model("input 1 is missing"))?;
    let sa = along(c, sa, rank.saturating_sub(2), rank)?;
    let sb = along(c, n.input(4)?, last, c.rank(b))?;
    let sy = n.input(6)?;
    let sy = along(c, sy, rank.saturating_sub(2), rank)?;
    let mut out = product;
    for (s, up) in [(sa, true), (sb, true), (sy, false)] {
        let s = c.cast(s, DType::F64)?;
        out = if up { c.mul(out, s)? } else { c.div(out, s)? };
    }
    let z = n.input(7)?;
    let to = c.dtype(z);
    let z = along(c, z, rank.saturating_sub(2), rank)?;
    Ok(vec![round_to(c, out, Some(z), to)?])
}

fn qlinear_conv(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = centred(c, n.input(0)?, n.optional(2), 1)?;
    let w = centred(c, n.input(3)?, n.optional(5), 0)?;
    let bias = match n.optional(8) {
        None => None,
        Some(b) => Some(c.cast(b, DType::F64)?),
    };
    let y = conv_of(c, n, x, w, bias)?;
    let rank = c.rank(y);
    let mut out = y;
    for (i, up) in [(1, true), (4, true), (6, false)] {
        let s = along(c, n.input(i)?, 1, rank)?;
        let s = c.cast(s, DType::F64)?;
        out = if up { c.mul(out, s)? } else { c.div(out, s)? };
    }
    let z = n.input(7)?;
    let to = c.dtype(z);
    let z = c.scalar_of(z)?;
    Ok(vec![round_to(c, out, Some(z), to)?])
}
