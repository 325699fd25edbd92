//! Order and running sums along an axis.
//!
//! In: one tensor and an axis. Out: the largest elements, where they are, or sums so far.
//!
//! Example: `TopK([3,1,2], 2)` is `[3,2]` and `[0,2]`.

use super::super::import::Import;
use super::super::node::{Node, axis};
use super::{Row, row};
use crate::diag::{Error, Result};
use crate::graph::{Op, TensorId};
use crate::uop::{Binary, DType, ReduceOp};

pub(super) const ROWS: &[Row] = &[
    row("TopK", 1, 1..=1, &["axis", "k"], top_k),
    row("TopK", 10, 2..=2, &["axis"], top_k),
    row("TopK", 11, 2..=2, &["axis", "largest", "sorted"], top_k),
    row("ArgMax", 1, 1..=1, &["axis", "keepdims"], |c, n| {
        arg(c, n, true)
    }),
    row(
        "ArgMax",
        12,
        1..=1,
        &["axis", "keepdims", "select_last_index"],
        |c, n| arg(c, n, true),
    ),
    row("ArgMin", 1, 1..=1, &["axis", "keepdims"], |c, n| {
        arg(c, n, false)
    }),
    row(
        "ArgMin",
        12,
        1..=1,
        &["axis", "keepdims", "select_last_index"],
        |c, n| arg(c, n, false),
    ),
    row("CumSum", 11, 2..=2, &["exclusive", "reverse"], cum_sum),
    row("CumProd", 26, 2..=2, &["exclusive", "reverse"], cum_prod),
];

/// Longest axis of a running product, which multiplies all factors of each result.
const MAX_FACTORS: i64 = 1 << 14;

fn top_k(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let at = axis(n.int("axis")?.unwrap_or(-1), c.rank(x))?;
    let k = match n.int("k")? {
        Some(k) => k,
        None => match c.ints(n, 1, "the number of elements (K)")?[..] {
            [k] => k,
            _ => return Err(Error::model("K must be one number")),
        },
    };
    // Unsorted results may come in any order: sorted is one.
    let largest = n.flag("largest", true)?;
    let part = |indices| Op::TopK {
        axis: at,
        k,
        largest,
        indices,
    };
    let values = c.push(part(false), &[x])?;
    let mut out = vec![values];
    if n.wants(1) {
        out.push(c.push(part(true), &[x])?);
    }
    Ok(out)
}

fn arg(c: &mut Import<'_>, n: &Node<'_>, largest: bool) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let at = axis(n.int("axis")?.unwrap_or(0), c.rank(x))?;
    let op = Op::ArgReduce {
        axis: at,
        largest,
        last: n.flag("select_last_index", false)?,
    };
    let out = c.push(op, &[x])?;
    Ok(vec![if n.flag("keepdims", true)? {
        c.unsqueeze(out, at)?
    } else {
        out
    }])
}

fn axis_input(c: &mut Import<'_>, n: &Node<'_>) -> Result<usize> {
    match c.ints(n, 1, "the axis")?[..] {
        [a] => axis(a, c.rank(n.input(0)?)),
        _ => Err(Error::model("the axis must be one number")),
    }
}

fn cum_sum(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let op = Op::CumSum {
        axis: axis_input(c, n)?,
        exclusive: n.flag("exclusive", false)?,
        reverse: n.flag("reverse", false)?,
    };
    Ok(vec![c.push(op, &[n.input(0)?])?])
}

/// Products so far: `out[i] = prod over j of (j <= i ? x[j] : 1)`.
fn cum_prod(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let at = axis_input(c, n)?;
    let dims = c.dims(x)?;
    if dims[at] > MAX_FACTORS {
        return Err(Error::unsupported(format!(
            "a running product over an axis of {} elements",
            dims[at]
        )));
    }
    let exclusive = n.flag("exclusive", false)?;
    let reverse = n.flag("reverse", false)?;
    // Axes: .., i, j, .. where j runs over the input.
    let mut wide = dims.clone();
    wide.insert(at, dims[at]);
    let rows = c.unsqueeze(x, at)?;
    let i = c.iota_along(dims[at], DType::I64, at, wide.len())?;
    let j = c.iota_along(dims[at], DType::I64, at + 1, wide.len())?;
    let op = if exclusive { Binary::Lt } else { Binary::Le };
    let counts = if reverse {
        c.binary(op, i, j)?
    } else {
        c.binary(op, j, i)?
    };
    let one = c.number(1.0, c.dtype(x))?;
    let factors = c.select(counts, rows, one)?;
    let factors = c.broadcast(factors, &wide)?;
    Ok(vec![c.reduce(ReduceOp::Prod, factors, &[at + 1], false)?])
}
