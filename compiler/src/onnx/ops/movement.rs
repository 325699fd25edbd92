//! Operators that move elements: transpose, concatenate, and blocks between depth and space.
//!
//! In: tensors. Out: their elements at other places.
//!
//! Example: `DepthToSpace(x[1,8,2,3], blocksize=2)` is `[1,2,4,6]`.

use super::super::import::Import;
use super::super::node::{Node, axis};
use super::{ANY, Row, row};
use crate::diag::{Error, Result};
use crate::graph::TensorId;
use crate::uop::DType;

pub(super) const ROWS: &[Row] = &[
    row("Transpose", 1, 1..=1, &["perm"], transpose),
    row("Concat", 4, 1..=ANY, &["axis"], concat),
    row("DepthToSpace", 1, 1..=1, &["blocksize"], depth_to_space),
    row(
        "DepthToSpace",
        11,
        1..=1,
        &["blocksize", "mode"],
        depth_to_space,
    ),
    row("SpaceToDepth", 1, 1..=1, &["blocksize"], space_to_depth),
    row(
        "SpaceToDepth",
        28,
        1..=1,
        &["blocksize", "mode"],
        space_to_depth,
    ),
    row(
        "ReverseSequence",
        10,
        2..=2,
        &["batch_axis", "time_axis"],
        reverse_sequence,
    ),
];

fn transpose(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let rank = c.rank(x);
    let perm = match n.ints("perm")? {
        None => (0..rank).rev().collect(),
        Some(list) => list
            .iter()
            .map(|&a| axis(a, rank))
            .collect::<Result<Vec<_>>>()?,
    };
    Ok(vec![c.permute(x, &perm)?])
}

fn concat(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let inputs = n.variadic()?;
    let at = n.int("axis")?;
    let at = axis(n.required("axis", at)?, c.rank(inputs[0]))?;
    Ok(vec![c.concat(&inputs, at)?])
}

/// Batch, channels, height and width of an image, and the block size.
fn blocks(c: &Import<'_>, n: &Node<'_>) -> Result<([i64; 4], i64)> {
    let dims = c.dims(n.input(0)?)?;
    let block = n.int("blocksize")?;
    let block = n.required("blocksize", block)?;
    match dims[..] {
        [b, ch, h, w] if (1..=1 << 20).contains(&block) => Ok(([b, ch, h, w], block)),
        _ => Err(Error::model(format!(
            "shape {dims:?} and block size {block}: expected [N,C,H,W] and a positive size"
        ))),
    }
}

fn depth_to_space(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let ([b, ch, h, w], s) = blocks(c, n)?;
    if ch % (s * s) != 0 {
        return Err(Error::model(format!(
            "{ch} channels cannot be split into blocks of {s} x {s}"
        )));
    }
    let d = ch / (s * s);
    let columns_first = n.choice("mode", &[("DCR", false), ("CRD", true)])?;
    let (split, perm) = if columns_first {
        ([b, d, s, s, h, w], [0, 1, 4, 2, 5, 3])
    } else {
        ([b, s, s, d, h, w], [0, 3, 4, 1, 5, 2])
    };
    let x = c.reshape(n.input(0)?, &split)?;
    let x = c.permute(x, &perm)?;
    Ok(vec![c.reshape(x, &[b, d, h * s, w * s])?])
}

fn space_to_depth(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let ([b, ch, h, w], s) = blocks(c, n)?;
    if h % s != 0 || w % s != 0 {
        return Err(Error::model(format!(
            "an image of {h} x {w} cannot be split into blocks of {s} x {s}"
        )));
    }
    let columns_first = n.choice("mode", &[("DCR", false), ("CRD", true)])?;
    let x = c.reshape(n.input(0)?, &[b, ch, h / s, s, w / s, s])?;
    let perm = if columns_first {
        [0, 1, 3, 5, 2, 4]
    } else {
        [0, 3, 5, 1, 2, 4]
    };
    let x = c.permute(x, &perm)?;
    Ok(vec![c.reshape(x, &[b, ch * s * s, h / s, w / s])?])
}

/// Reverses the first `len` elements of each sequence: a gather at `len - 1 - i` there, at `i` after.
fn reverse_sequence(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let (x, lens) = (n.input(0)?, n.input(1)?);
    let dims = c.dims(x)?;
    let rank = dims.len();
    let batch = axis(n.int("batch_axis")?.unwrap_or(1), rank)?;
    let time = axis(n.int("time_axis")?.unwrap_or(0), rank)?;
    if batch == time || c.dims(lens)? != [dims[batch]] {
        return Err(Error::model(format!(
            "shape {dims:?} with batch axis {batch} and time axis {time} does not fit lengths {:?}",
            c.shape(lens)
        )));
    }
    let mut along = vec![1; rank];
    along[batch] = dims[batch];
    let lens = c.cast(lens, DType::I64)?;
    let lens = c.reshape(lens, &along)?;
    let place = c.iota_along(dims[time], DType::I64, time, rank)?;
    let last = c.add_number(lens, -1.0)?;
    let mirrored = c.sub(last, place)?;
    let inside = c.lt(place, lens)?;
    let index = c.select(inside, mirrored, place)?;
    let index = c.broadcast(index, &dims)?;
    Ok(vec![c.gather_elements(x, index, time)?])
}
