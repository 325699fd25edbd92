//! Constants and tensors made from numbers.
//!
//! In: attributes, or inputs whose values are known. Out: a constant or a generated tensor.
//!
//! Example: `Range(0, 10, 2)` is `[0, 2, 4, 6, 8]`.

use super::super::import::Import;
use super::super::node::Node;
use super::super::tensor;
use super::{Row, row};
use crate::diag::{Error, Result};
use crate::graph::TensorId;
use crate::uop::{Binary, DType};

const CONSTANT: &[&str] = &[
    "value",
    "sparse_value",
    "value_float",
    "value_floats",
    "value_int",
    "value_ints",
    "value_string",
    "value_strings",
];

pub(super) const ROWS: &[Row] = &[
    row("Constant", 1, 0..=0, CONSTANT, constant),
    row("ConstantOfShape", 9, 1..=1, &["value"], constant_of_shape),
    row("Range", 11, 3..=3, &["stash_type"], range),
    row("EyeLike", 9, 1..=1, &["dtype", "k"], eye_like),
    row("OneHot", 9, 3..=3, &["axis"], one_hot),
    row("Trilu", 14, 1..=2, &["upper"], trilu),
];

fn constant(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let given = n.attributes.len();
    if given != 1 {
        return Err(Error::model(format!(
            "a constant has one value, this one has {given}"
        )));
    }
    if let Some(t) = n.tensor("value")? {
        let mut weight = tensor::weight(t, c.files)?;
        if weight.name.is_empty() {
            weight.name = n.outputs.first().cloned().unwrap_or_default();
        }
        return Ok(vec![c.b.weight(weight)?]);
    }
    if let Some(v) = n.float("value_float")? {
        return Ok(vec![c.constant_f64(&[f64::from(v)], &[], DType::F32)?]);
    }
    if let Some(v) = n.floats("value_floats")? {
        let values: Vec<f64> = v.iter().map(|&x| f64::from(x)).collect();
        return Ok(vec![c.constant_f64(
            &values,
            &[values.len() as i64],
            DType::F32,
        )?]);
    }
    if let Some(v) = n.int("value_int")? {
        return Ok(vec![c.constant_i64(&[v], &[])?]);
    }
    if let Some(v) = n.ints("value_ints")? {
        return Ok(vec![c.constant_i64(&v, &[v.len() as i64])?]);
    }
    let sparse = n
        .attribute("sparse_value")
        .and_then(|a| a.sparse_tensor.as_ref());
    if let Some(sparse) = sparse {
        let weight = tensor::sparse_weight(sparse, c.files)?;
        return Ok(vec![c.b.weight(weight)?]);
    }
    Err(Error::unsupported("constants of strings are not supported"))
}

fn constant_of_shape(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let dims = c.ints(n, 0, "the shape")?;
    let one = match n.tensor("value")? {
        None => c.number(0.0, DType::F32)?,
        Some(t) => {
            let weight = tensor::weight(t, c.files)?;
            if weight.shape.iter().product::<i64>() != 1 {
                return Err(Error::model(format!(
                    "attribute 'value' has shape {:?}, expected one element",
                    weight.shape
                )));
            }
            let id = c.b.weight(weight)?;
            c.scalar_of(id)?
        }
    };
    Ok(vec![c.broadcast(one, &dims)?])
}

fn range(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let dtype = c.dtype(n.input(0)?);
    if dtype == DType::Bool {
        return Err(Error::model("a range of bool"));
    }
    let mut values = [0.0; 3];
    for (i, name) in ["the start", "the limit", "the delta"].iter().enumerate() {
        let v = c.numbers(n, i, name)?;
        let [v] = v[..] else {
            return Err(Error::model(format!("{name} of a range must be a scalar")));
        };
        values[i] = v;
    }
    let [start, limit, delta] = values;
    if delta == 0.0 {
        return Err(Error::model("the delta of a range is 0"));
    }
    let count = ((limit - start) / delta).ceil().max(0.0);
    if count.is_nan() || count > 1e9 {
        return Err(Error::model(format!("a range of {count} elements")));
    }
    // Halves cannot count far: run in the next wider type.
    let wide = match dtype {
        DType::F16 | DType::BF16 => DType::F32,
        other => other,
    };
    let step = c.iota(count as i64, wide)?;
    let (start, delta) = if dtype.is_int() {
        (
            c.integer(start as i64, wide)?,
            c.integer(delta as i64, wide)?,
        )
    } else {
        (c.number(start, wide)?, c.number(delta, wide)?)
    };
    let scaled = c.mul(step, delta)?;
    let out = c.add(scaled, start)?;
    Ok(vec![c.cast(out, dtype)?])
}

fn eye_like(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let dims = c.dims(x)?;
    let [rows, columns] = dims[..] else {
        return Err(Error::model(format!(
            "expected a matrix, found shape {dims:?}"
        )));
    };
    let dtype = match n.int("dtype")? {
        None => c.dtype(x),
        Some(t) => tensor::require_dtype(t as i32, "attribute 'dtype'")?,
    };
    let k = n.int("k")?.unwrap_or(0);
    let row = c.iota_along(rows, DType::I64, 0, 2)?;
    let column = c.iota_along(columns, DType::I64, 1, 2)?;
    let k = c.integer(k, DType::I64)?;
    let diagonal = c.add(row, k)?;
    let hit = c.binary(Binary::Eq, diagonal, column)?;
    Ok(vec![c.cast(hit, dtype)?])
}

fn one_hot(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let (indices, values) = (n.input(0)?, n.input(2)?);
    let depth = c.numbers(n, 1, "the depth")?;
    let [depth] = depth[..] else {
        return Err(Error::model("the depth must be one number"));
    };
    let depth = depth as i64;
    if c.dims(values)? != [2] || depth < 1 {
        return Err(Error::model(format!(
            "expected two values and a depth of at least 1, found values {:?} and depth {depth}",
            c.shape(values)
        )));
    }
    let rank = c.rank(indices) + 1;
    let axis = super::super::node::axis(n.int("axis")?.unwrap_or(-1), rank)?;
    let indices = c.cast(indices, DType::I64)?;
    let zero = c.integer(0, DType::I64)?;
    let count = c.integer(depth, DType::I64)?;
    let wrapped = c.add(indices, count)?;
    let below = c.lt(indices, zero)?;
    let at = c.select(below, wrapped, indices)?;
    let at = c.unsqueeze(at, axis)?;
    let place = c.iota_along(depth, DType::I64, axis, rank)?;
    let hit = c.binary(Binary::Eq, at, place)?;
    let off = c.slice_axis(values, 0, 0, 1)?;
    let on = c.slice_axis(values, 0, 1, 1)?;
    let off = c.scalar_of(off)?;
    let on = c.scalar_of(on)?;
    Ok(vec![c.select(hit, on, off)?])
}

fn trilu(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let upper = n.flag("upper", true)?;
    let dims = c.dims(x)?;
    let rank = dims.len();
    if rank < 2 {
        return Err(Error::model(format!(
            "expected matrices, found shape {dims:?}"
        )));
    }
    let row = c.iota_along(dims[rank - 2], DType::I64, 0, 2)?;
    let column = c.iota_along(dims[rank - 1], DType::I64, 1, 2)?;
    let diagonal = match n.optional(1) {
        None => row,
        Some(k) => {
            let k = c.scalar_of(k)?;
            let k = c.cast(k, DType::I64)?;
            c.add(row, k)?
        }
    };
    let keep = if upper {
        c.binary(Binary::Le, diagonal, column)?
    } else {
        c.binary(Binary::Le, column, diagonal)?
    };
    let zero = c.number(0.0, c.dtype(x))?;
    Ok(vec![c.select(keep, x, zero)?])
}
