//! Losses: they end training graphs, and evaluation graphs that report one.
//!
//! In: scores or log probabilities `[N,C,..]`, class numbers `[N,..]`, perhaps a weight for each class. Out:
//! the loss of each element, or its sum or weighted mean.
//!
//! Example: `SoftmaxCrossEntropyLoss(x, t)` is the mean of `-LogSoftmax(x)` at the classes `t`.

use super::super::import::Import;
use super::super::node::Node;
use super::{Row, row};
use crate::diag::{Error, Result};
use crate::graph::{Op, TensorId};
use crate::uop::{Binary, DType, ReduceOp, Unary};

const ATTRIBUTES: &[&str] = &["ignore_index", "reduction"];

pub(super) const ROWS: &[Row] = &[
    row(
        "NegativeLogLikelihoodLoss",
        12,
        2..=3,
        ATTRIBUTES,
        |c, n| {
            let x = n.input(0)?;
            Ok(vec![likelihood(c, n, x)?])
        },
    ),
    row("SoftmaxCrossEntropyLoss", 12, 2..=3, ATTRIBUTES, |c, n| {
        let log = c.push(Op::LogSoftmax(1), &[n.input(0)?])?;
        Ok(vec![likelihood(c, n, log)?, log])
    }),
];

#[derive(Clone, Copy)]
enum Reduction {
    Mean,
    Sum,
    None,
}

fn likelihood(c: &mut Import<'_>, n: &Node<'_>, log: TensorId) -> Result<TensorId> {
    let target = n.input(1)?;
    let dims = c.dims(log)?;
    let shape = c.dims(target)?;
    let fits = dims.len() >= 2 && shape.len() + 1 == dims.len() && {
        let mut rest = dims.clone();
        rest.remove(1);
        rest == shape
    };
    if !fits {
        return Err(Error::model(format!(
            "classes of shape {shape:?} do not fit scores of shape {dims:?}"
        )));
    }
    let reductions = [
        ("mean", Reduction::Mean),
        ("sum", Reduction::Sum),
        ("none", Reduction::None),
    ];
    let reduction = n.choice("reduction", &reductions)?;
    let dtype = c.dtype(log);
    let target = c.cast(target, DType::I64)?;
    let zero = c.number(0.0, dtype)?;
    // An ignored element counts nothing; its class may be no class at all.
    let ignored = match n.int("ignore_index")? {
        None => None,
        Some(i) => {
            let i = c.integer(i, DType::I64)?;
            Some(c.binary(Binary::Eq, target, i)?)
        }
    };
    let mut class = target;
    if let Some(ignored) = ignored {
        let first = c.integer(0, DType::I64)?;
        class = c.select(ignored, first, class)?;
    }
    let at = c.unsqueeze(class, 1)?;
    let picked = c.gather_elements(log, at, 1)?;
    let picked = c.reshape(picked, &shape)?;
    let mut loss = c.unary(Unary::Neg, picked)?;
    let mut weight = None;
    if let Some(w) = n.optional(2) {
        if c.dims(w)? != [dims[1]] {
            return Err(Error::model(format!(
                "class weights have shape {:?}, expected [{}]",
                c.shape(w),
                dims[1]
            )));
        }
        let w = c.gather(w, class, 0)?;
        loss = c.mul(loss, w)?;
        weight = Some(w);
    }
    if let Some(ignored) = ignored {
        loss = c.select(ignored, zero, loss)?;
        let one = c.number(1.0, dtype)?;
        let w = c.select(ignored, zero, weight.unwrap_or(one))?;
        weight = Some(w);
    }
    let all: Vec<usize> = (0..shape.len()).collect();
    match reduction {
        Reduction::None => Ok(loss),
        Reduction::Sum => c.reduce(ReduceOp::Sum, loss, &all, false),
        Reduction::Mean => match weight {
            None => c.mean(loss, &all, false),
            Some(w) => {
                let w = c.broadcast(w, &shape)?;
                let sum = c.reduce(ReduceOp::Sum, loss, &all, false)?;
                let total = c.reduce(ReduceOp::Sum, w, &all, false)?;
                c.div(sum, total)
            }
        },
    }
}
