//! Operators that give another shape to the same elements, and those that read shapes.
//!
//! In: one tensor and a shape or axes, as attribute or as an input whose value is known. Out: the same
//! elements in the same order.
//!
//! Example: `Reshape(x[2,3,4], [0,-1])` is `[2,12]`.

use super::super::import::Import;
use super::super::node::{Node, axes, axis};
use super::{Row, row};
use crate::diag::{Error, Result};
use crate::graph::TensorId;

pub(super) const ROWS: &[Row] = &[
    row("Reshape", 5, 2..=2, &[], reshape),
    row("Reshape", 14, 2..=2, &["allowzero"], reshape),
    row("Flatten", 1, 1..=1, &["axis"], flatten),
    row("Squeeze", 1, 1..=1, &["axes"], squeeze),
    row("Squeeze", 13, 1..=2, &[], squeeze),
    row("Unsqueeze", 1, 1..=1, &["axes"], unsqueeze),
    row("Unsqueeze", 13, 2..=2, &[], unsqueeze),
    row("Shape", 1, 1..=1, &[], shape),
    row("Shape", 15, 1..=1, &["start", "end"], shape),
    row("Size", 1, 1..=1, &[], size),
    row("Expand", 8, 2..=2, &[], expand),
    row("Tile", 6, 2..=2, &[], tile),
];

fn reshape(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let from = c.dims(x)?;
    let mut to = c.ints(n, 1, "the shape")?;
    let wanted = to.clone();
    let allow_zero = n.flag("allowzero", false)?;
    let bad = || Error::model(format!("cannot reshape {from:?} to {wanted:?}"));
    if !allow_zero {
        for (i, d) in to.iter_mut().enumerate().filter(|(_, d)| **d == 0) {
            *d = *from.get(i).ok_or_else(bad)?;
        }
    }
    let open: Vec<usize> = (0..to.len()).filter(|&i| to[i] == -1).collect();
    let known = to
        .iter()
        .filter(|&&d| d != -1)
        .try_fold(1i64, |p, &d| p.checked_mul(d).filter(|_| d >= 0))
        .ok_or_else(bad)?;
    let total: i64 = from.iter().product();
    match open[..] {
        [] if known == total => {}
        [i] if known > 0 && total % known == 0 => to[i] = total / known,
        _ => return Err(bad()),
    }
    Ok(vec![c.reshape(x, &to)?])
}

fn flatten(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let dims = c.dims(x)?;
    let at = n.int("axis")?.unwrap_or(1);
    let at = if at == dims.len() as i64 {
        dims.len()
    } else {
        axis(at, dims.len())?
    };
    let to = [dims[..at].iter().product(), dims[at..].iter().product()];
    Ok(vec![c.reshape(x, &to)?])
}

/// Axes of an attribute (old opsets) or of input 1.
fn axes_of(c: &mut Import<'_>, n: &Node<'_>) -> Result<Option<Vec<i64>>> {
    if let Some(axes) = n.ints("axes")? {
        return Ok(Some(axes));
    }
    match n.optional(1) {
        Some(_) => c.ints(n, 1, "the axes").map(Some),
        None => Ok(None),
    }
}

fn squeeze(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let dims = c.dims(x)?;
    let gone = match axes_of(c, n)? {
        Some(list) => axes(&list, dims.len())?,
        None => (0..dims.len()).filter(|&i| dims[i] == 1).collect(),
    };
    if let Some(&i) = gone.iter().find(|&&i| dims[i] != 1) {
        return Err(Error::model(format!(
            "axis {i} of shape {dims:?} is not 1: it cannot be squeezed"
        )));
    }
    let to: Vec<i64> = (0..dims.len())
        .filter(|i| !gone.contains(i))
        .map(|i| dims[i])
        .collect();
    Ok(vec![c.reshape(x, &to)?])
}

fn unsqueeze(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let dims = c.dims(x)?;
    let list = axes_of(c, n)?.ok_or_else(|| Error::model("the axes are missing"))?;
    let rank = dims.len() + list.len();
    let new = axes(&list, rank)?;
    let mut old = dims.iter();
    let to: Vec<i64> = (0..rank)
        .map(|i| {
            if new.contains(&i) {
                1
            } else {
                old.next().copied().unwrap_or(1)
            }
        })
        .collect();
    Ok(vec![c.reshape(x, &to)?])
}

fn shape(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let dims = c.dims(n.input(0)?)?;
    let rank = dims.len() as i64;
    let place = |v: i64| {
        let v = if v < 0 { v.saturating_add(rank) } else { v };
        v.clamp(0, rank) as usize
    };
    let start = place(n.int("start")?.unwrap_or(0));
    let end = place(n.int("end")?.unwrap_or(rank));
    let part = dims.get(start..end).unwrap_or(&[]);
    Ok(vec![c.constant_i64(part, &[part.len() as i64])?])
}

fn size(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let count = c.elements(n.input(0)?)?;
    Ok(vec![c.constant_i64(&[count], &[])?])
}

fn expand(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let from = c.dims(x)?;
    let shape = c.ints(n, 1, "the shape")?;
    // Broadcasting goes both ways: an extent of 1 in the wanted shape keeps the input's.
    let rank = from.len().max(shape.len());
    let at = |s: &[i64], i: usize| (i + s.len()).checked_sub(rank).map_or(1, |j| s[j]);
    let to: Vec<i64> = (0..rank)
        .map(|i| match (at(&from, i), at(&shape, i)) {
            (a, 1) => a,
            (_, b) => b,
        })
        .collect();
    Ok(vec![c.broadcast(x, &to)?])
}

fn tile(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let dims = c.dims(x)?;
    let repeats = c.ints(n, 1, "the repeats")?;
    if repeats.len() != dims.len() || repeats.iter().any(|&r| r < 0) {
        return Err(Error::model(format!(
            "repeats {repeats:?} do not fit shape {dims:?}"
        )));
    }
    // Each repeated axis gets an outer axis of extent 1, which is expanded and merged.
    let mut split = Vec::new();
    let mut wide = Vec::new();
    let mut merged = Vec::new();
    for (&d, &r) in dims.iter().zip(&repeats) {
        split.extend([1, d]);
        wide.extend([r, d]);
        merged.push(d.checked_mul(r).ok_or_else(|| {
            Error::model(format!("repeats {repeats:?} of shape {dims:?} overflow"))
        })?);
    }
    let x = c.reshape(x, &split)?;
    let x = c.broadcast(x, &wide)?;
    Ok(vec![c.reshape(x, &merged)?])
}
