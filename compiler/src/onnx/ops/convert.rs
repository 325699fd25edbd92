//! Conversions between element types.
//!
//! In: one tensor. Out: one tensor of its shape and another type.
//!
//! Example: `Cast(x, to=INT32)` truncates towards zero.

use super::super::import::Import;
use super::super::node::Node;
use super::super::tensor::require_dtype;
use super::{Row, row};
use crate::diag::{Error, Result};
use crate::graph::{Op, TensorId};
use crate::uop::DType;

pub(super) const ROWS: &[Row] = &[
    row("Cast", 6, 1..=1, &["to"], cast),
    row("Cast", 19, 1..=1, &["to", "saturate"], cast),
    row("Cast", 24, 1..=1, &["to", "saturate", "round_mode"], cast),
    row("CastLike", 15, 2..=2, &[], cast_like),
    row("CastLike", 19, 2..=2, &["saturate"], cast_like),
    row(
        "CastLike",
        24,
        2..=2,
        &["saturate", "round_mode"],
        cast_like,
    ),
    row("BitCast", 26, 1..=1, &["to"], bit_cast),
    row("Identity", 1, 1..=1, &[], |_, n| Ok(vec![n.input(0)?])),
    row("Dropout", 7, 1..=1, &["ratio"], dropout),
    row("Dropout", 12, 1..=3, &["seed"], dropout),
];

/// `saturate` and `round_mode` matter for 8-bit floats only, which have no type here.
fn cast(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let to = n.int("to")?;
    let to = require_dtype(n.required("to", to)? as i32, "attribute 'to'")?;
    Ok(vec![convert(c, n.input(0)?, to)?])
}

fn convert(c: &mut Import<'_>, x: TensorId, to: DType) -> Result<TensorId> {
    let from = c.dtype(x);
    // ONNX leaves a float that does not fit an integer undefined; the customary answer for small
    // integers is what a conversion by way of a wider integer gives.
    if from.is_float() && to.is_int() && to.size() < 4 {
        let wide = c.cast(x, DType::I32)?;
        return c.cast(wide, to);
    }
    c.cast(x, to)
}

fn cast_like(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let to = c.dtype(n.input(1)?);
    Ok(vec![convert(c, n.input(0)?, to)?])
}

fn bit_cast(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let to = n.int("to")?;
    let to = require_dtype(n.required("to", to)? as i32, "attribute 'to'")?;
    if to.size() != c.dtype(x).size() {
        return Err(Error::model(format!(
            "a bit cast from {} to {to} changes the size",
            c.dtype(x)
        )));
    }
    if to == c.dtype(x) {
        return Ok(vec![x]);
    }
    // A Bool is a byte of 0 or 1: its bits are its value.
    if to == DType::Bool || c.dtype(x) == DType::Bool {
        return Ok(vec![c.cast(x, to)?]);
    }
    Ok(vec![c.push(Op::Bitcast(to), &[x])?])
}

/// Inference does nothing; training with a ratio of zero does nothing either.
fn dropout(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    if n.optional(2).is_some() {
        let training = c.ints(n, 2, "the training mode")?;
        if training.first().is_some_and(|&t| t != 0) {
            let ratio = match n.optional(1) {
                Some(_) => c.numbers(n, 1, "the ratio")?.first().copied(),
                None => Some(0.5),
            };
            if ratio != Some(0.0) {
                return Err(Error::unsupported("dropout in training mode is random")
                    .help("export the model for inference"));
            }
        }
    }
    let mut out = vec![x];
    if n.wants(1) {
        let yes = c.integer(1, DType::Bool)?;
        let dims = c.dims(x)?;
        out.push(c.broadcast(yes, &dims)?);
    }
    Ok(out)
}
