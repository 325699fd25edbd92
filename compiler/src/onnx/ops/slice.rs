//! Parts of tensors, and tensors with more around them.
//!
//! In: one tensor and places, as attributes (old opsets) or as inputs whose values are known. Out: a
//! part of it, or it inside of something larger.
//!
//! Example: `Slice(x, starts=[-1], ends=[-9], axes=[0], steps=[-2])` reads backwards.

use super::super::import::Import;
use super::super::node::{Node, axes, axis};
use super::{Row, row};
use crate::diag::{Error, Result};
use crate::graph::TensorId;
use crate::uop::{Binary, DType};

pub(super) const ROWS: &[Row] = &[
    row(
        "Slice",
        1,
        1..=1,
        &["axes", "ends", "starts"],
        slice_attributes,
    ),
    row("Slice", 10, 3..=5, &[], slice),
    row("Split", 2, 1..=1, &["axis", "split"], split),
    row("Split", 13, 1..=2, &["axis"], split),
    row("Split", 18, 1..=2, &["axis", "num_outputs"], split),
    row("Pad", 2, 1..=1, &["mode", "pads", "value"], pad_attributes),
    row("Pad", 11, 2..=3, &["mode"], pad),
    row("Pad", 18, 2..=4, &["mode"], pad),
    row("CenterCropPad", 18, 2..=2, &["axes"], center_crop_pad),
];

fn slice_attributes(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let starts = n.ints("starts")?;
    let starts = n.required("starts", starts)?;
    let ends = n.ints("ends")?;
    let ends = n.required("ends", ends)?;
    let axes = n.ints("axes")?;
    Ok(vec![slice_of(c, n.input(0)?, &starts, &ends, axes, None)?])
}

fn slice(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let starts = c.ints(n, 1, "the starts")?;
    let ends = c.ints(n, 2, "the ends")?;
    let axes = match n.optional(3) {
        Some(_) => Some(c.ints(n, 3, "the axes")?),
        None => None,
    };
    let steps = match n.optional(4) {
        Some(_) => Some(c.ints(n, 4, "the steps")?),
        None => None,
    };
    Ok(vec![slice_of(c, n.input(0)?, &starts, &ends, axes, steps)?])
}

fn slice_of(
    c: &mut Import<'_>,
    x: TensorId,
    starts: &[i64],
    ends: &[i64],
    list: Option<Vec<i64>>,
    steps: Option<Vec<i64>>,
) -> Result<TensorId> {
    let dims = c.dims(x)?;
    let list = list.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), list.len(), steps.len()] != [starts.len(); 3] {
        return Err(Error::model(format!(
            "starts {starts:?}, ends {ends:?}, axes {list:?} and steps {steps:?} differ in length"
        )));
    }
    axes(&list, dims.len())?;
    let mut from = vec![0; dims.len()];
    let mut sizes = dims.clone();
    let mut by = vec![1; dims.len()];
    let mut flipped = Vec::new();
    for (i, &a) in list.iter().enumerate() {
        let a = axis(a, dims.len())?;
        let d = dims[a];
        let wrap = |v: i64| if v < 0 { v.saturating_add(d) } else { v };
        let step = steps[i];
        let (start, end) = (wrap(starts[i]), wrap(ends[i]));
        if step > 0 {
            let (start, end) = (start.clamp(0, d), end.clamp(0, d));
            let span = (end - start).max(0);
            sizes[a] = if span == 0 { 0 } else { (span - 1) / step + 1 };
            from[a] = start;
            by[a] = if sizes[a] <= 1 { 1 } else { step };
        } else if step < 0 {
            // A start before the first element is the first element, as the definition says.
            let (start, end) = (start.min(d - 1).max(0), end.clamp(-1, d - 1));
            let span = if d == 0 { 0 } else { (start - end).max(0) };
            let step = step.saturating_neg();
            sizes[a] = if span == 0 { 0 } else { (span - 1) / step + 1 };
            // The same elements seen from the other end.
            from[a] = if span == 0 { 0 } else { d - 1 - start };
            by[a] = if sizes[a] <= 1 { 1 } else { step };
            flipped.push(a);
        } else {
            return Err(Error::model("the step of a slice is 0"));
        }
        if sizes[a] == 0 {
            from[a] = 0;
        }
    }
    let x = if flipped.is_empty() {
        x
    } else {
        flipped.sort_unstable();
        c.flip(x, &flipped)?
    };
    c.slice(x, &from, &sizes, &by)
}

fn split(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let dims = c.dims(x)?;
    let at = axis(n.int("axis")?.unwrap_or(0), dims.len())?;
    let count = match n.int("num_outputs")? {
        Some(k) if k as usize != n.outputs.len() => {
            return Err(Error::model(format!(
                "attribute 'num_outputs' is {k}, the node has {} outputs",
                n.outputs.len()
            )));
        }
        _ => n.outputs.len() as i64,
    };
    let parts = match n.ints("split")? {
        Some(parts) => Some(parts),
        None if n.optional(1).is_some() => Some(c.ints(n, 1, "the split")?),
        None => None,
    };
    let parts = match parts {
        Some(parts) => parts,
        None if n.opset < 18 && dims[at] % count.max(1) != 0 => {
            return Err(Error::model(format!(
                "axis {at} of shape {dims:?} cannot be split into {count} equal parts"
            )));
        }
        None => {
            let part = dims[at] / count.max(1) + i64::from(dims[at] % count.max(1) != 0);
            let mut left = dims[at];
            (0..count)
                .map(|_| {
                    let p = part.min(left);
                    left -= p;
                    p
                })
                .collect()
        }
    };
    let total = parts
        .iter()
        .try_fold(0i64, |s, &p| s.checked_add(p).filter(|_| p >= 0));
    if total != Some(dims[at]) || parts.len() as i64 != count {
        return Err(Error::model(format!(
            "split {parts:?} does not fit axis {at} of {dims:?} and {count} outputs"
        )));
    }
    let mut start = 0;
    let mut out = Vec::new();
    for p in parts {
        out.push(c.slice_axis(x, at, start, p)?);
        start += p;
    }
    Ok(out)
}

fn pad_attributes(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let pads = n.ints("pads")?;
    let pads = n.required("pads", pads)?;
    let value = c.number(n.float_or("value", 0.0)?, c.dtype(x))?;
    pad_of(c, n, x, &pads, None, Some(value))
}

fn pad(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let pads = c.ints(n, 1, "the padding")?;
    let list = match n.optional(3) {
        Some(_) => Some(c.ints(n, 3, "the axes")?),
        None => None,
    };
    pad_of(c, n, n.input(0)?, &pads, list, n.optional(2))
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Constant,
    Reflect,
    Edge,
    Wrap,
}

fn pad_of(
    c: &mut Import<'_>,
    n: &Node<'_>,
    x: TensorId,
    pads: &[i64],
    list: Option<Vec<i64>>,
    value: Option<TensorId>,
) -> Result<Vec<TensorId>> {
    let modes = [
        ("constant", Mode::Constant),
        ("reflect", Mode::Reflect),
        ("edge", Mode::Edge),
        ("wrap", Mode::Wrap),
    ];
    let mode = n.choice("mode", &modes)?;
    let dims = c.dims(x)?;
    let list = list.unwrap_or_else(|| (0..dims.len() as i64).collect());
    axes(&list, dims.len())?;
    if pads.len() != 2 * list.len() {
        return Err(Error::model(format!(
            "padding {pads:?} does not fit axes {list:?} of shape {dims:?}"
        )));
    }
    let mut around = vec![(0i64, 0i64); dims.len()];
    for (i, &a) in list.iter().enumerate() {
        around[axis(a, dims.len())?] = (pads[i], pads[i + list.len()]);
    }
    for (&(low, high), &d) in around.iter().zip(&dims) {
        let total = d.checked_add(low).and_then(|t| t.checked_add(high));
        if !total.is_some_and(|t| (0..1 << 40).contains(&t)) || low.unsigned_abs() > 1 << 40 {
            return Err(Error::model(format!(
                "padding {pads:?} does not fit shape {dims:?}"
            )));
        }
    }
    if mode != Mode::Constant {
        let mut x = x;
        for (a, &sides) in around.iter().enumerate() {
            if sides != (0, 0) {
                x = pad_by_index(c, x, a, sides, mode)?;
            }
        }
        return Ok(vec![x]);
    }
    let value = match value {
        None => c.number(0.0, c.dtype(x))?,
        Some(v) if c.elements(v)? == 1 => c.scalar_of(v)?,
        Some(v) => {
            return Err(Error::model(format!(
                "the constant value has shape {:?}, expected a scalar",
                c.shape(v)
            )));
        }
    };
    Ok(vec![c.pad(x, &around, value)?])
}

/// Padding whose elements come from the tensor itself: a gather at constant indices.
fn pad_by_index(
    c: &mut Import<'_>,
    x: TensorId,
    at: usize,
    (low, high): (i64, i64),
    mode: Mode,
) -> Result<TensorId> {
    let d = c.dims(x)?[at];
    if d == 0 {
        return Err(Error::model("nothing can be repeated around an empty axis"));
    }
    if d + low + high > 1 << 24 {
        return Err(Error::unsupported("padding of more than 2^24 elements"));
    }
    let index: Vec<i64> = (-low..d + high)
        .map(|i| match mode {
            Mode::Edge | Mode::Constant => i.clamp(0, d - 1),
            Mode::Wrap => i.rem_euclid(d),
            Mode::Reflect if d == 1 => 0,
            Mode::Reflect => {
                let k = i.rem_euclid(2 * (d - 1));
                k.min(2 * (d - 1) - k)
            }
        })
        .collect();
    let index = c.constant_i64(&index, &[index.len() as i64])?;
    c.gather(x, index, at)
}

fn center_crop_pad(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let mut x = n.input(0)?;
    let dims = c.dims(x)?;
    let to = c.ints(n, 1, "the shape")?;
    let list = n
        .ints("axes")?
        .unwrap_or_else(|| (0..dims.len() as i64).collect());
    axes(&list, dims.len())?;
    if to.len() != list.len() || to.iter().any(|&t| t < 0) {
        return Err(Error::model(format!(
            "shape {to:?} does not fit axes {list:?} of {dims:?}"
        )));
    }
    let mut around = vec![(0, 0); dims.len()];
    for (&a, &t) in list.iter().zip(&to) {
        let a = axis(a, dims.len())?;
        let d = dims[a];
        if t < d {
            x = c.slice_axis(x, a, (d - t) / 2, t)?;
        } else {
            let low = (t - d) / 2;
            around[a] = (low, t - d - low);
        }
    }
    let zero = c.number(0.0, c.dtype(x))?;
    Ok(vec![c.pad(x, &around, zero)?])
}

/// Padding with a value that is known only at run time: zeros, then the value where nothing was.
pub(in crate::onnx) fn pad_with(
    c: &mut Import<'_>,
    x: TensorId,
    around: &[(i64, i64)],
    value: TensorId,
) -> Result<TensorId> {
    let dims = c.dims(x)?;
    let rank = dims.len();
    let zero = c.number(0.0, c.dtype(x))?;
    let padded = c.pad(x, around, zero)?;
    let out = c.dims(padded)?;
    let mut inside: Option<TensorId> = None;
    for a in (0..rank).filter(|&a| around[a] != (0, 0)) {
        let place = c.iota_along(out[a], DType::I64, a, rank)?;
        let first = c.integer(around[a].0, DType::I64)?;
        let end = c.integer(around[a].0 + dims[a], DType::I64)?;
        let after = c.binary(Binary::Le, first, place)?;
        let before = c.lt(place, end)?;
        let here = c.binary(Binary::And, after, before)?;
        inside = Some(match inside {
            None => here,
            Some(other) => c.binary(Binary::And, other, here)?,
        });
    }
    match inside {
        None => Ok(padded),
        Some(inside) => c.select(inside, padded, value),
    }
}
