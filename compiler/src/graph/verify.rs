//! Verifier of graphs: run between passes in debug builds.
//!
//! In: a graph. Out: nothing, or an error (a bug) that names the first tensor that breaks an invariant:
//! sources come first, inputs, weights and outputs exist, and every shape and type is what inference says.

use super::infer::{check_shaped, infer};
use super::ops::Op;
use super::tensor::{Graph, Shape, Tensor};
use crate::diag::{Error, Kind, Result};

/// Checks all invariants of a graph.
pub fn verify(graph: &Graph) -> Result<()> {
    for (n, t) in graph.tensors.iter().enumerate() {
        verify_tensor(graph, n, t).map_err(|e| {
            // A symbolic dimension is no bug: it keeps its kind.
            let kind = match e.kind {
                Kind::Unsupported => Kind::Unsupported,
                _ => Kind::Bug,
            };
            Error::new(kind, format!("tensor {n} ({:?}): {}", t.op, e.message)).at(&t.origin)
        })?;
    }
    for (i, (name, id)) in graph.inputs.iter().enumerate() {
        let fits = graph
            .tensors
            .get(id.0 as usize)
            .is_some_and(|t| t.op == Op::Input(i as u32));
        if !fits {
            return Err(Error::bug(format!("input '{name}' is no input")));
        }
    }
    for (name, id) in &graph.outputs {
        if id.0 as usize >= graph.tensors.len() {
            return Err(Error::bug(format!("output '{name}' does not exist")));
        }
    }
    Ok(())
}

fn verify_tensor(graph: &Graph, n: usize, t: &Tensor) -> Result<()> {
    if let Some(late) = t.src.iter().find(|s| s.0 as usize >= n) {
        return Err(Error::bug(format!("source {} comes later", late.0)));
    }
    let src: Vec<&Tensor> = t.src.iter().map(|&s| graph.tensor(s)).collect();
    match &t.op {
        Op::Input(i) if graph.inputs.len() <= *i as usize => {
            return Err(Error::bug(format!("input {i} does not exist")));
        }
        Op::Weight(w) => {
            let fits = graph.weights.get(*w as usize).is_some_and(|w| {
                let bytes = w.shape.iter().product::<i64>() * w.dtype.size() as i64;
                w.dtype == t.dtype
                    && Shape::known(&w.shape) == t.shape
                    && w.bytes.len() as i64 == bytes
            });
            if !fits {
                return Err(Error::bug(format!("weight {w} does not fit")));
            }
        }
        _ => {}
    }
    match &t.op {
        Op::Input(_)
        | Op::Weight(_)
        | Op::Full(_)
        | Op::Iota
        | Op::Reshape
        | Op::Expand
        | Op::Slice { .. } => check_shaped(&t.op, &src, &t.shape, t.dtype)?,
        op => {
            let (shape, dtype) = infer(op, &src)?;
            if (&shape, dtype) != (&t.shape, t.dtype) {
                return Err(Error::bug(format!(
                    "is {} of {}, inferred {dtype} of {shape}",
                    t.dtype, t.shape
                )));
            }
        }
    }
    if t.channels.is_some_and(|c| c as usize >= t.shape.rank()) {
        return Err(Error::bug("its channel axis does not exist"));
    }
    Ok(())
}
