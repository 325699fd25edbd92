//! Reading and writing at computed indices.
//!
//! In: data, indices and updates. Out: what lies there, or the data with the updates written.
//!
//! Example: `GatherND(x[2,3,4], i[5,2])` reads five rows of 4.

use super::super::import::Import;
use super::super::node::{Node, axis};
use super::{Row, row};
use crate::diag::{Error, Result};
use crate::graph::{Op, TensorId};
use crate::uop::{Binary, DType, ReduceOp};

pub(super) const ROWS: &[Row] = &[
    row("Gather", 1, 2..=2, &["axis"], gather),
    row("GatherElements", 11, 2..=2, &["axis"], gather_elements),
    row("GatherND", 11, 2..=2, &["batch_dims"], gather_nd),
    row("Scatter", 9, 3..=3, &["axis"], scatter_elements),
    row("ScatterElements", 11, 3..=3, &["axis"], scatter_elements),
    row(
        "ScatterElements",
        16,
        3..=3,
        &["axis", "reduction"],
        scatter_elements,
    ),
    row("ScatterND", 11, 3..=3, &[], scatter_nd),
    row("ScatterND", 16, 3..=3, &["reduction"], scatter_nd),
    row("Compress", 9, 2..=2, &["axis"], compress),
    row("NonZero", 9, 1..=1, &[], non_zero),
    row(
        "TensorScatter",
        24,
        2..=3,
        &["axis", "mode"],
        tensor_scatter,
    ),
];

/// Indices as the primitives take them.
fn index(c: &mut Import<'_>, x: TensorId) -> Result<TensorId> {
    match c.dtype(x) {
        DType::I32 | DType::I64 => Ok(x),
        other => Err(Error::model(format!(
            "indices must be int32 or int64, found {other}"
        ))),
    }
}

fn gather(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let at = axis(n.int("axis")?.unwrap_or(0), c.rank(x))?;
    let i = index(c, n.input(1)?)?;
    Ok(vec![c.gather(x, i, at)?])
}

fn gather_elements(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let at = axis(n.int("axis")?.unwrap_or(0), c.rank(x))?;
    let i = index(c, n.input(1)?)?;
    Ok(vec![c.gather_elements(x, i, at)?])
}

/// One linear row number for each index tuple of `indices[.., k]`, over data whose leading dimensions
/// are `dims` (k of them). Negative indices count from the end. Gives I64 of shape `[rows]`.
fn linear(c: &mut Import<'_>, indices: TensorId, dims: &[i64]) -> Result<TensorId> {
    let shape = c.dims(indices)?;
    let k = dims.len();
    let rows: i64 = shape[..shape.len() - 1].iter().product();
    let indices = c.cast(indices, DType::I64)?;
    let flat = c.reshape(indices, &[rows, k as i64])?;
    let zero = c.integer(0, DType::I64)?;
    let mut sum = None;
    for (i, &d) in dims.iter().enumerate() {
        let column = c.slice_axis(flat, 1, i as i64, 1)?;
        let column = c.reshape(column, &[rows])?;
        let extent = c.integer(d, DType::I64)?;
        let below = c.lt(column, zero)?;
        let wrapped = c.add(column, extent)?;
        let column = c.select(below, wrapped, column)?;
        sum = Some(match sum {
            None => column,
            Some(s) => {
                let scaled = c.mul(s, extent)?;
                c.add(scaled, column)?
            }
        });
    }
    match sum {
        Some(s) => Ok(s),
        None => c.broadcast(zero, &[rows]),
    }
}

/// Dimensions of an index tensor of tuples, and the tuple's length.
fn tuples(
    c: &Import<'_>,
    data: TensorId,
    indices: TensorId,
    batch: usize,
) -> Result<(Vec<i64>, usize)> {
    let (data, shape) = (c.dims(data)?, c.dims(indices)?);
    let k = shape.last().copied().unwrap_or(0);
    let fits = k >= 1
        && batch < shape.len()
        && batch + k as usize <= data.len()
        && data.get(..batch) == shape.get(..batch);
    if !fits {
        return Err(Error::model(format!(
            "index tuples of shape {shape:?} do not fit data {data:?} with {batch} batch dimensions"
        )));
    }
    Ok((shape, k as usize))
}

fn gather_nd(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let (x, indices) = (n.input(0)?, index(c, n.input(1)?)?);
    let dims = c.dims(x)?;
    let batch = n.int("batch_dims")?.unwrap_or(0);
    let batch = usize::try_from(batch)
        .map_err(|_| Error::model(format!("attribute 'batch_dims' is {batch}")))?;
    let (shape, k) = tuples(c, x, indices, batch)?;
    let outer: i64 = dims[..batch].iter().product();
    let middle: i64 = dims[batch..batch + k].iter().product();
    let inner: i64 = dims[batch + k..].iter().product();
    let rows: i64 = shape[batch..shape.len() - 1].iter().product();
    let mut at = linear(c, indices, &dims[batch..batch + k])?;
    if batch > 0 {
        // Each batch reads from its own part of the flattened data.
        let first = c.iota_along(outer, DType::I64, 0, 2)?;
        let first = c.mul_number(first, middle as f64)?;
        let grid = c.reshape(at, &[outer, rows])?;
        let sum = c.add(grid, first)?;
        at = c.reshape(sum, &[outer * rows])?;
    }
    let flat = c.reshape(x, &[outer * middle, inner])?;
    let read = c.gather(flat, at, 0)?;
    let mut out = shape[..shape.len() - 1].to_vec();
    out.extend(&dims[batch + k..]);
    Ok(vec![c.reshape(read, &out)?])
}

fn reduction(n: &Node<'_>) -> Result<Option<ReduceOp>> {
    n.choice(
        "reduction",
        &[
            ("none", None),
            ("add", Some(ReduceOp::Sum)),
            ("mul", Some(ReduceOp::Prod)),
            ("max", Some(ReduceOp::Max)),
            ("min", Some(ReduceOp::Min)),
        ],
    )
}

fn scatter_nd(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let (x, indices, updates) = (n.input(0)?, index(c, n.input(1)?)?, n.input(2)?);
    let dims = c.dims(x)?;
    let (shape, k) = tuples(c, x, indices, 0)?;
    let mut want = shape[..shape.len() - 1].to_vec();
    want.extend(&dims[k..]);
    if c.dims(updates)? != want {
        return Err(Error::model(format!(
            "updates have shape {:?}, expected {want:?}",
            c.shape(updates)
        )));
    }
    let rows: i64 = shape[..shape.len() - 1].iter().product();
    let inner: i64 = dims[k..].iter().product();
    let outer: i64 = dims[..k].iter().product();
    let at = linear(c, indices, &dims[..k])?;
    let flat = c.reshape(x, &[outer, inner])?;
    let updates = c.reshape(updates, &[rows, inner])?;
    let out = c.push(Op::Scatter(reduction(n)?), &[flat, at, updates])?;
    Ok(vec![c.reshape(out, &dims)?])
}

/// Every element is one update of one row: its place in the flattened data is its own place, with the
/// coordinate along the axis replaced by the index.
fn scatter_elements(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let (x, indices, updates) = (n.input(0)?, index(c, n.input(1)?)?, n.input(2)?);
    let dims = c.dims(x)?;
    let rank = dims.len();
    let at = axis(n.int("axis")?.unwrap_or(0), rank)?;
    let shape = c.dims(indices)?;
    let fits = shape.len() == rank
        && c.dims(updates)? == shape
        && (0..rank).all(|i| i == at || shape[i] <= dims[i]);
    if !fits {
        return Err(Error::model(format!(
            "indices {shape:?} and updates {:?} do not fit data {dims:?}",
            c.shape(updates)
        )));
    }
    let indices = c.cast(indices, DType::I64)?;
    let zero = c.integer(0, DType::I64)?;
    let extent = c.integer(dims[at], DType::I64)?;
    let below = c.lt(indices, zero)?;
    let wrapped = c.add(indices, extent)?;
    let indices = c.select(below, wrapped, indices)?;
    let mut sum = c.broadcast(zero, &shape)?;
    let mut stride = 1i64;
    for i in (0..rank).rev() {
        let coordinate = if i == at {
            indices
        } else {
            c.iota_along(shape[i], DType::I64, i, rank)?
        };
        let scale = c.integer(stride, DType::I64)?;
        let scaled = c.mul(coordinate, scale)?;
        sum = c.add(sum, scaled)?;
        stride *= dims[i];
    }
    let count: i64 = shape.iter().product();
    let total: i64 = dims.iter().product();
    let flat = c.reshape(x, &[total, 1])?;
    let rows = c.reshape(sum, &[count])?;
    let updates = c.reshape(updates, &[count, 1])?;
    let out = c.push(Op::Scatter(reduction(n)?), &[flat, rows, updates])?;
    Ok(vec![c.reshape(out, &dims)?])
}

fn compress(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let condition = c.ints(n, 1, "the condition")?;
    let (x, at) = match n.int("axis")? {
        Some(a) => (x, axis(a, c.rank(x))?),
        None => {
            let total = c.elements(x)?;
            (c.reshape(x, &[total])?, 0)
        }
    };
    let chosen: Vec<i64> = (0..condition.len() as i64)
        .filter(|&i| condition[i as usize] != 0)
        .collect();
    let extent = c.dims(x)?[at];
    if chosen.last().is_some_and(|&i| i >= extent) {
        return Err(Error::model(format!(
            "the condition chooses beyond the {extent} elements of axis {at}"
        )));
    }
    let chosen = c.constant_i64(&chosen, &[chosen.len() as i64])?;
    Ok(vec![c.gather(x, chosen, at)?])
}

/// The number of results depends on the data, so the data must be known.
fn non_zero(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let dims = c.dims(x)?;
    let Some(values) = c.const_numbers(x) else {
        return Err(Error::unsupported(
            "the number of non-zero elements depends on data that is not known when the model is compiled",
        ));
    };
    let mut coordinates: Vec<Vec<i64>> = vec![Vec::new(); dims.len()];
    for (i, _) in values.iter().enumerate().filter(|(_, v)| **v != 0.0) {
        let mut rest = i as i64;
        for (k, d) in dims.iter().enumerate().rev() {
            coordinates[k].push(rest % d);
            rest /= d;
        }
    }
    let count = values.iter().filter(|v| **v != 0.0).count() as i64;
    let flat: Vec<i64> = coordinates.concat();
    Ok(vec![c.constant_i64(&flat, &[dims.len() as i64, count])?])
}

/// Writes `update` into the cache of each batch from a run-time position on: each element of the cache
/// reads the update when its place lies inside of it.
fn tensor_scatter(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let (cache, update) = (n.input(0)?, n.input(1)?);
    let dims = c.dims(cache)?;
    let rank = dims.len();
    let at = axis(n.int("axis")?.unwrap_or(-2), rank)?;
    let circular = n.choice("mode", &[("linear", false), ("circular", true)])?;
    let shape = c.dims(update)?;
    let fits = at > 0
        && shape.len() == rank
        && (0..rank).all(|i| {
            if i == at {
                shape[i] <= dims[i]
            } else {
                shape[i] == dims[i]
            }
        });
    if !fits {
        return Err(Error::model(format!(
            "the update {shape:?} does not fit the cache {dims:?} along axis {at}"
        )));
    }
    if shape[at] == 0 {
        return Ok(vec![cache]);
    }
    let first = match n.optional(2) {
        None => c.integer(0, DType::I64)?,
        Some(i) => {
            let mut along = vec![1; rank];
            along[0] = dims[0];
            let i = c.cast(i, DType::I64)?;
            c.reshape(i, &along)?
        }
    };
    let place = c.iota_along(dims[at], DType::I64, at, rank)?;
    let mut offset = c.sub(place, first)?;
    if circular {
        let extent = c.integer(dims[at], DType::I64)?;
        offset = c.binary(Binary::FloorMod, offset, extent)?;
    }
    let zero = c.integer(0, DType::I64)?;
    let length = c.integer(shape[at], DType::I64)?;
    let last = c.integer(shape[at] - 1, DType::I64)?;
    let after = c.binary(Binary::Le, zero, offset)?;
    let before = c.lt(offset, length)?;
    let inside = c.binary(Binary::And, after, before)?;
    let low = c.binary(Binary::Max, offset, zero)?;
    let safe = c.binary(Binary::Min, low, last)?;
    let safe = c.broadcast(safe, &dims)?;
    let read = c.gather_elements(update, safe, at)?;
    Ok(vec![c.select(inside, read, cache)?])
}
