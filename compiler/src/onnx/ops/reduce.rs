//! Reductions.
//!
//! In: one tensor, axes as attribute (old opsets) or as an input whose value is known. Out: the tensor
//! with those axes reduced to 1, or gone.
//!
//! Example: `ReduceLogSumExp(x, axes=[1])` subtracts the largest element first, so it does not overflow.

use super::super::import::Import;
use super::super::node::{Node, axes};
use super::{Row, row};
use crate::diag::{Error, Result};
use crate::graph::TensorId;
use crate::uop::{Binary, DType, ReduceOp, Unary};

const OLD: &[&str] = &["axes", "keepdims"];
const NEW: &[&str] = &["keepdims", "noop_with_empty_axes"];

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Sum,
    Mean,
    Prod,
    Max,
    Min,
    L1,
    L2,
    LogSum,
    LogSumExp,
    SumSquare,
}

pub(super) const ROWS: &[Row] = &[
    row("ReduceSum", 1, 1..=1, OLD, |c, n| reduce(c, n, Kind::Sum)),
    row("ReduceSum", 13, 1..=2, NEW, |c, n| reduce(c, n, Kind::Sum)),
    row("ReduceMean", 1, 1..=1, OLD, |c, n| reduce(c, n, Kind::Mean)),
    row("ReduceMean", 18, 1..=2, NEW, |c, n| {
        reduce(c, n, Kind::Mean)
    }),
    row("ReduceProd", 1, 1..=1, OLD, |c, n| reduce(c, n, Kind::Prod)),
    row("ReduceProd", 18, 1..=2, NEW, |c, n| {
        reduce(c, n, Kind::Prod)
    }),
    row("ReduceMax", 1, 1..=1, OLD, |c, n| reduce(c, n, Kind::Max)),
    row("ReduceMax", 18, 1..=2, NEW, |c, n| reduce(c, n, Kind::Max)),
    row("ReduceMin", 1, 1..=1, OLD, |c, n| reduce(c, n, Kind::Min)),
    row("ReduceMin", 18, 1..=2, NEW, |c, n| reduce(c, n, Kind::Min)),
    row("ReduceL1", 1, 1..=1, OLD, |c, n| reduce(c, n, Kind::L1)),
    row("ReduceL1", 18, 1..=2, NEW, |c, n| reduce(c, n, Kind::L1)),
    row("ReduceL2", 1, 1..=1, OLD, |c, n| reduce(c, n, Kind::L2)),
    row("ReduceL2", 18, 1..=2, NEW, |c, n| reduce(c, n, Kind::L2)),
    row("ReduceLogSum", 1, 1..=1, OLD, |c, n| {
        reduce(c, n, Kind::LogSum)
    }),
    row("ReduceLogSum", 18, 1..=2, NEW, |c, n| {
        reduce(c, n, Kind::LogSum)
    }),
    row("ReduceLogSumExp", 1, 1..=1, OLD, |c, n| {
        reduce(c, n, Kind::LogSumExp)
    }),
    row("ReduceLogSumExp", 18, 1..=2, NEW, |c, n| {
        reduce(c, n, Kind::LogSumExp)
    }),
    row("ReduceSumSquare", 1, 1..=1, OLD, |c, n| {
        reduce(c, n, Kind::SumSquare)
    }),
    row("ReduceSumSquare", 18, 1..=2, NEW, |c, n| {
        reduce(c, n, Kind::SumSquare)
    }),
];

fn reduce(c: &mut Import<'_>, n: &Node<'_>, kind: Kind) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let rank = c.rank(x);
    let keep = n.flag("keepdims", true)?;
    let list = match n.ints("axes")? {
        Some(list) => list,
        None if n.optional(1).is_some() => c.ints(n, 1, "the axes")?,
        None => Vec::new(),
    };
    let over = match axes(&list, rank)? {
        a if !a.is_empty() => a,
        _ if n.flag("noop_with_empty_axes", false)? => Vec::new(),
        _ => (0..rank).collect(),
    };
    Ok(vec![reduce_of(c, x, &over, keep, kind)?])
}

fn reduce_of(
    c: &mut Import<'_>,
    x: TensorId,
    over: &[usize],
    keep: bool,
    kind: Kind,
) -> Result<TensorId> {
    let dtype = c.dtype(x);
    let plain = |c: &mut Import<'_>, op: ReduceOp, x: TensorId| {
        if over.is_empty() {
            Ok(x)
        } else {
            c.reduce(op, x, over, keep)
        }
    };
    if dtype == DType::Bool {
        return match kind {
            Kind::Max => plain(c, ReduceOp::Any, x),
            Kind::Min => plain(c, ReduceOp::All, x),
            _ => Err(Error::model("expected numbers, found bool")),
        };
    }
    match kind {
        Kind::Sum => plain(c, ReduceOp::Sum, x),
        Kind::Prod => plain(c, ReduceOp::Prod, x),
        Kind::Max => plain(c, ReduceOp::Max, x),
        Kind::Min => plain(c, ReduceOp::Min, x),
        Kind::Mean => {
            let dims = c.dims(x)?;
            let count: i64 = over.iter().map(|&a| dims[a]).product();
            let sum = plain(c, ReduceOp::Sum, x)?;
            c.div_number(sum, count as f64)
        }
        Kind::L1 => {
            let size = if dtype.is_unsigned() {
                x
            } else {
                c.unary(Unary::Abs, x)?
            };
            plain(c, ReduceOp::Sum, size)
        }
        Kind::SumSquare => {
            let square = c.mul(x, x)?;
            plain(c, ReduceOp::Sum, square)
        }
        Kind::L2 => {
            let square = c.mul(x, x)?;
            let sum = plain(c, ReduceOp::Sum, square)?;
            in_floats(c, sum, Unary::Sqrt)
        }
        Kind::LogSum => {
            let sum = plain(c, ReduceOp::Sum, x)?;
            in_floats(c, sum, Unary::Log)
        }
        Kind::LogSumExp => {
            let wide = if dtype.is_float() { dtype } else { DType::F64 };
            let v = c.cast(x, wide)?;
            let y = log_sum_exp(c, v, over, keep)?;
            c.cast(y, dtype)
        }
    }
}

/// A function of floats, of whatever type.
fn in_floats(c: &mut Import<'_>, x: TensorId, op: Unary) -> Result<TensorId> {
    let dtype = c.dtype(x);
    if dtype.is_float() {
        return c.unary(op, x);
    }
    let wide = c.cast(x, DType::F64)?;
    let y = c.unary(op, wide)?;
    c.cast(y, dtype)
}

fn log_sum_exp(c: &mut Import<'_>, x: TensorId, over: &[usize], keep: bool) -> Result<TensorId> {
    if over.is_empty() {
        // Of one element: log(exp(x)) is x.
        return Ok(x);
    }
    let dtype = c.dtype(x);
    let dims = c.dims(x)?;
    if over.iter().any(|&a| dims[a] == 0) {
        let sum = c.reduce(ReduceOp::Sum, x, over, keep)?;
        return c.unary(Unary::Log, sum);
    }
    let top = c.reduce(ReduceOp::Max, x, over, true)?;
    // An infinite maximum must not give inf - inf.
    let size = c.unary(Unary::Abs, top)?;
    let inf = c.number(f64::INFINITY, dtype)?;
    let finite = c.binary(Binary::Lt, size, inf)?;
    let zero = c.number(0.0, dtype)?;
    let shift = c.select(finite, top, zero)?;
    let moved = c.sub(x, shift)?;
    let e = c.unary(Unary::Exp, moved)?;
    let sum = c.reduce(ReduceOp::Sum, e, over, true)?;
    let log = c.unary(Unary::Log, sum)?;
    let out = c.add(log, shift)?;
    if keep {
        return Ok(out);
    }
    let rest: Vec<i64> = (0..dims.len())
        .filter(|a| !over.contains(a))
        .map(|a| dims[a])
        .collect();
    c.reshape(out, &rest)
}
