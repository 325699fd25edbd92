//! Pooling.
//!
//! In: an image `[N,C,spatial..]`. Out: a smaller image. Ceil mode becomes more padding at the high end,
//! as far as a window still starts inside of the input or its low padding.
//!
//! Example: `MaxPool(x[1,64,112,112], kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1])` is `[1,64,56,56]`.

use super::super::import::Import;
use super::super::node::Node;
use super::conv::{crop, explicit_pads, spatial_list, window_pads};
use super::{Row, row};
use crate::diag::{Error, Result};
use crate::graph::interp::number_bits;
use crate::graph::{Op, Pool, PoolKind, TensorId};
use crate::uop::{Binary, DType, ReduceOp, Unary};

const OLD: &[&str] = &["auto_pad", "kernel_shape", "pads", "strides"];
const AVERAGE: &[&str] = &[
    "auto_pad",
    "ceil_mode",
    "count_include_pad",
    "dilations",
    "kernel_shape",
    "pads",
    "strides",
];
const MAX: &[&str] = &[
    "auto_pad",
    "ceil_mode",
    "dilations",
    "kernel_shape",
    "pads",
    "storage_order",
    "strides",
];
const LP: &[&str] = &[
    "auto_pad",
    "ceil_mode",
    "dilations",
    "kernel_shape",
    "p",
    "pads",
    "strides",
];

pub(super) const ROWS: &[Row] = &[
    row(
        "AveragePool",
        7,
        1..=1,
        &[
            "auto_pad",
            "count_include_pad",
            "kernel_shape",
            "pads",
            "strides",
        ],
        average,
    ),
    row("AveragePool", 10, 1..=1, AVERAGE, average),
    row("MaxPool", 1, 1..=1, OLD, max),
    row("MaxPool", 8, 1..=1, MAX, max),
    row(
        "LpPool",
        2,
        1..=1,
        &["auto_pad", "kernel_shape", "p", "pads", "strides"],
        lp,
    ),
    row("LpPool", 18, 1..=1, LP, lp),
    row("GlobalAveragePool", 1, 1..=1, &[], |c, n| {
        global(c, n, Global::Average)
    }),
    row("GlobalMaxPool", 1, 1..=1, &[], |c, n| {
        global(c, n, Global::Max)
    }),
    row("GlobalLpPool", 2, 1..=1, &["p"], |c, n| {
        global(c, n, Global::Lp)
    }),
    row(
        "MaxUnpool",
        9,
        2..=3,
        &["kernel_shape", "pads", "strides"],
        max_unpool,
    ),
];

fn pool(c: &mut Import<'_>, n: &Node<'_>, kind: PoolKind) -> Result<Vec<TensorId>> {
    let (x, op) = windows_of(c, n, kind)?;
    Ok(vec![c.push(Op::Pool(op), &[x])?])
}

/// What is left of the input after cropping, and the windows over it.
fn windows_of(c: &mut Import<'_>, n: &Node<'_>, kind: PoolKind) -> Result<(TensorId, Pool)> {
    let x = n.input(0)?;
    let dims = c.dims(x)?;
    if dims.len() < 3 {
        return Err(Error::model(format!(
            "shape {dims:?}: expected a batch, channels and spatial axes"
        )));
    }
    let spatial = dims.len() - 2;
    if n.attribute("kernel_shape").is_none() {
        return Err(Error::model("attribute 'kernel_shape' is missing"));
    }
    let kernel = spatial_list(n, "kernel_shape", spatial)?;
    let strides = spatial_list(n, "strides", spatial)?;
    let dilations = spatial_list(n, "dilations", spatial)?;
    let mut pads = window_pads(n, &dims[2..], &kernel, &strides, &dilations)?;
    let x = crop(c, x, &mut pads)?;
    let dims = c.dims(x)?;
    let declared_high = pads.iter().map(|p| p.1).collect();
    if n.flag("ceil_mode", false)? {
        for (i, (low, high)) in pads.iter_mut().enumerate() {
            let d = dims[i + 2];
            let span = (kernel[i] - 1)
                .saturating_mul(dilations[i])
                .saturating_add(1);
            let room = d + *low + *high - span;
            if room < 0 {
                continue;
            }
            let mut out = (room + strides[i] - 1) / strides[i] + 1;
            if (out - 1).saturating_mul(strides[i]) >= d + *low {
                out -= 1;
            }
            let reach = (out - 1).saturating_mul(strides[i]).saturating_add(span);
            *high = (reach - d - *low).max(*high);
        }
    }
    let op = Pool {
        kind,
        kernel,
        strides,
        dilations,
        pads,
        declared_high,
    };
    Ok((x, op))
}

fn average(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let include_pad = n.flag("count_include_pad", false)?;
    pool(c, n, PoolKind::Average { include_pad })
}

fn max(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    if n.wants(1) {
        return max_and_place(c, n);
    }
    pool(c, n, PoolKind::Max)
}

/// The maximum of each window and where in the whole tensor it stands: the first element that equals it.
fn max_and_place(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let (kept, a) = windows_of(c, n, PoolKind::Max)?;
    let dims = c.dims(x)?;
    if c.dims(kept)? != dims {
        return Err(Error::unsupported(
            "negative padding together with output 1 (the indices)",
        ));
    }
    let y = c.push(Op::Pool(a.clone()), &[x])?;
    let (rank, spatial) = (dims.len(), dims.len() - 2);
    let apart = |c: &mut Import<'_>, v: TensorId, outside: u64| -> Result<TensorId> {
        let mut pads = vec![(0, 0), (0, 0)];
        pads.extend(&a.pads);
        let value = outside;
        let mut v = c.push(Op::Pad { pads, value }, &[v])?;
        for i in 0..spatial {
            let op = Op::Window {
                axis: 2 + 2 * i,
                size: a.kernel[i],
                stride: a.strides[i],
                dilation: a.dilations[i],
            };
            v = c.push(op, &[v])?;
        }
        Ok(v)
    };
    // Elements of each window beside their maximum; what lies in the padding has no place.
    let dtype = c.dtype(x);
    let seen = apart(c, x, number_bits(dtype, 0.0))?;
    let wide = c.dims(seen)?;
    let mut column = c.dims(y)?;
    for i in 0..spatial {
        column.insert(3 + 2 * i, 1);
    }
    let best = c.reshape(y, &column)?;
    let best = c.broadcast(best, &wide)?;
    let mut hit = c.binary(Binary::Eq, seen, best)?;
    if dtype.is_float() {
        let nan = c.binary(Binary::Ne, seen, seen)?;
        hit = c.binary(Binary::Or, hit, nan)?;
    }
    // Storage order 1 counts the spatial axes from the first.
    let column_major = n.flag("storage_order", false)?;
    let mut place: Option<TensorId> = None;
    let mut step = 1i64;
    let axes: Vec<usize> = if column_major {
        (2..rank).chain([1, 0]).collect()
    } else {
        (0..rank).rev().collect()
    };
    for axis in axes {
        let along = c.iota_along(dims[axis], DType::I64, axis, rank)?;
        let by = c.integer(step, DType::I64)?;
        let along = c.mul(along, by)?;
        place = Some(match place {
            None => along,
            Some(sum) => c.add(sum, along)?,
        });
        step = step.saturating_mul(dims[axis]);
    }
    let Some(place) = place else {
        return Err(Error::bug("a pooled tensor without axes"));
    };
    let nowhere = i64::MAX;
    let place = apart(c, place, nowhere as u64)?;
    let none = c.integer(nowhere, DType::I64)?;
    let place = c.select(hit, place, none)?;
    let within: Vec<usize> = (0..spatial).map(|i| 3 + 2 * i).collect();
    let place = c.reduce(ReduceOp::Min, place, &within, false)?;
    Ok(vec![y, place])
}

fn lp(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let p = n.int("p")?.unwrap_or(2);
    if p < 1 {
        return Err(Error::model(format!("attribute 'p' is {p}")));
    }
    pool(c, n, PoolKind::Lp(p))
}

#[derive(Clone, Copy)]
enum Global {
    Average,
    Max,
    Lp,
}

fn global(c: &mut Import<'_>, n: &Node<'_>, kind: Global) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let rank = c.rank(x);
    if rank < 2 {
        return Err(Error::model(format!(
            "shape {:?} has no spatial axes",
            c.shape(x)
        )));
    }
    let axes: Vec<usize> = (2..rank).collect();
    Ok(vec![match kind {
        _ if axes.is_empty() => x,
        Global::Average => c.mean(x, &axes, true)?,
        Global::Max => c.reduce(ReduceOp::Max, x, &axes, true)?,
        Global::Lp => {
            let p = n.int("p")?.unwrap_or(2);
            let size = c.unary(Unary::Abs, x)?;
            match p {
                1 => c.reduce(ReduceOp::Sum, size, &axes, true)?,
                2 => {
                    let square = c.mul(x, x)?;
                    let sum = c.reduce(ReduceOp::Sum, square, &axes, true)?;
                    c.unary(Unary::Sqrt, sum)?
                }
                p if p > 2 => {
                    let e = c.number(p as f64, c.dtype(x))?;
                    let power = c.binary(Binary::Pow, size, e)?;
                    let sum = c.reduce(ReduceOp::Sum, power, &axes, true)?;
                    let e = c.number(1.0 / p as f64, c.dtype(x))?;
                    c.binary(Binary::Pow, sum, e)?
                }
                p => return Err(Error::model(format!("attribute 'p' is {p}"))),
            }
        }
    }])
}

/// Writes each value at its index in an image of zeros.
fn max_unpool(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let (x, indices) = (n.input(0)?, n.input(1)?);
    let dims = c.dims(x)?;
    if dims.len() < 3 || c.dims(indices)? != dims {
        return Err(Error::model(format!(
            "values {dims:?} and indices {:?} do not fit",
            c.shape(indices)
        )));
    }
    let spatial = dims.len() - 2;
    let kernel = spatial_list(n, "kernel_shape", spatial)?;
    let strides = spatial_list(n, "strides", spatial)?;
    let pads = explicit_pads(n, spatial)?;
    let mut shape = dims.clone();
    for i in 0..spatial {
        shape[i + 2] = (dims[i + 2] - 1)
            .saturating_mul(strides[i])
            .saturating_add(kernel[i])
            .saturating_sub(pads[i].0)
            .saturating_sub(pads[i].1)
            .max(0);
    }
    let total = super::super::tensor::elements(&shape, "the result")? as i64;
    let count = c.elements(x)?;
    let zero = c.number(0.0, c.dtype(x))?;
    let empty = c.broadcast(zero, &[total, 1])?;
    let rows = c.cast(indices, DType::I64)?;
    let rows = c.reshape(rows, &[count])?;
    let values = c.reshape(x, &[count, 1])?;
    let out = c.push(Op::Scatter(None), &[empty, rows, values])?;
    let out = c.reshape(out, &shape)?;
    if n.optional(2).is_none() {
        return Ok(vec![out]);
    }
    let wanted = c.ints(n, 2, "the output shape")?;
    let fits = wanted.len() == shape.len() && wanted.iter().zip(&shape).all(|(w, s)| w >= s);
    if !fits {
        return Err(Error::unsupported(format!(
            "an output shape {wanted:?} smaller than {shape:?}"
        )));
    }
    let around: Vec<(i64, i64)> = wanted.iter().zip(&shape).map(|(w, s)| (0, w - s)).collect();
    let zero = c.number(0.0, c.dtype(x))?;
    Ok(vec![c.pad(out, &around, zero)?])
}
