//! Movement that cancels or changes nothing goes.
//!
//! In: a graph. Out: one in which nobody reads a reshape to the same shape, a permutation that keeps the order, an empty slice, flip,
//! pad, expansion or cast; a reshape of a reshape, a permutation of a permutation, a flip of the same flip and a cast that
//! follows one that lost nothing read the first source. Ids stay; what nothing reads any more is for `remove_dead`.
//!
//! Example: `transpose(transpose(x, [0,2,1]), [0,2,1])` is `x`.

use super::ops::Op;
use super::tensor::{Graph, Tensor, TensorId};
use crate::diag::Result;
use crate::uop::DType;

/// Simplifies all movement.
pub fn simplify_movement(graph: &Graph) -> Result<Graph> {
    let mut out = graph.clone();
    let mut same: Vec<TensorId> = Vec::with_capacity(out.tensors.len());
    for n in 0..out.tensors.len() {
        for k in 0..out.tensors[n].src.len() {
            let s = out.tensors[n].src[k];
            out.tensors[n].src[k] = same[s.0 as usize];
        }
        // Each step reads something further up, so this ends.
        while let Some(t) = shorten(&out, n) {
            out.tensors[n] = t;
        }
        let t = &out.tensors[n];
        let id = TensorId(n as u32);
        same.push(match t.src.first() {
            Some(&s) if changes_nothing(t, out.tensor(s)) => {
                let hint = t.channels;
                let source = &mut out.tensors[s.0 as usize];
                source.channels = source.channels.or(hint);
                s
            }
            _ => id,
        });
    }
    Ok(out)
}

/// The tensor made from its source's source in one step; `None` when there is no such step.
fn shorten(graph: &Graph, n: usize) -> Option<Tensor> {
    let t = &graph.tensors[n];
    let source = graph.tensor(*t.src.first()?);
    let first = *source.src.first()?;
    let op = match (&t.op, &source.op) {
        // Tiles that were put together to an image stay one.
        (Op::Reshape, Op::Reshape)
            if source.channels.is_some() && graph.tensor(first).channels.is_none() =>
        {
            return None;
        }
        (Op::Reshape, Op::Reshape) => Op::Reshape,
        (Op::Permute(outer), Op::Permute(inner)) => {
            Op::Permute(outer.iter().map(|&o| inner[o]).collect())
        }
        (Op::Flip(a), Op::Flip(b)) if a == b => Op::Flip(Vec::new()),
        (Op::Cast(to), Op::Cast(_)) if keeps(graph.tensor(first).dtype, source.dtype) => {
            Op::Cast(*to)
        }
        _ => return None,
    };
    let mut new = t.clone();
    new.op = op;
    new.src[0] = first;
    Some(new)
}

/// True when every value of `from` has its exact like in `to`, so that a cast through `to` may be left out.
fn keeps(from: DType, to: DType) -> bool {
    use DType::*;
    from == to
        || matches!(
            (from, to),
            (F16 | BF16, F32 | F64)
                | (F32, F64)
                | (Bool, I8 | I16 | I32 | I64 | U8 | U16 | U32 | U64)
                | (I8, I16 | I32 | I64)
                | (I16, I32 | I64)
                | (I32, I64)
                | (U8, U16 | U32 | U64 | I16 | I32 | I64)
                | (U16, U32 | U64 | I32 | I64)
                | (U32, U64 | I64)
        )
}

fn changes_nothing(t: &Tensor, source: &Tensor) -> bool {
    if t.shape != source.shape || t.dtype != source.dtype {
        return false;
    }
    match &t.op {
        Op::Reshape | Op::Expand | Op::Cast(_) | Op::Bitcast(_) => true,
        Op::Permute(perm) => perm.iter().enumerate().all(|(i, &p)| i == p),
        Op::Flip(axes) => axes.is_empty(),
        Op::Pad { pads, .. } => pads.iter().all(|&p| p == (0, 0)),
        // The same shape leaves no room for another start, or for steps but on a single element.
        Op::Slice { starts, .. } => starts.iter().all(|&s| s == 0),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::graph::Builder;
    use crate::uop::Unary;

    /// What the last tensor of a chain reads in the end, when `build` makes the chain from an input of 2x3x4.
    fn source(build: impl Fn(&mut Builder, TensorId) -> TensorId) -> (Graph, TensorId, TensorId) {
        let mut b = Builder::new("t");
        let x = b.input("x", DType::F32, &[2, 3, 4]).unwrap();
        let y = build(&mut b, x);
        let end = b.unary(Unary::Exp, y).unwrap();
        b.output("y", end);
        let graph = simplify_movement(&b.finish()).unwrap();
        let read = graph.tensor(end).src[0];
        (graph, x, read)
    }

    #[test]
    fn what_cancels_goes() {
        let (_, x, read) = source(|b, x| {
            let y = b.permute(x, &[1, 2, 0]).unwrap();
            let y = b.permute(y, &[2, 0, 1]).unwrap();
            let y = b.reshape(y, &[6, 4]).unwrap();
            let y = b.reshape(y, &[2, 3, 4]).unwrap();
            let y = b.push(Op::Flip(vec![1]), &[y]).unwrap();
            let y = b.push(Op::Flip(vec![1]), &[y]).unwrap();
            let y = b.cast(y, DType::F64).unwrap();
            b.cast(y, DType::F32).unwrap()
        });
        assert_eq!(read, x);
    }

    #[test]
    fn what_moves_or_rounds_stays() {
        let (graph, x, read) = source(|b, x| {
            let y = b.permute(x, &[1, 2, 0]).unwrap();
            b.permute(y, &[1, 2, 0]).unwrap()
        });
        assert_eq!(graph.tensor(read).op, Op::Permute(vec![2, 0, 1]));
        assert_eq!(graph.tensor(read).src[..], [x]);
        let (_, x, read) = source(|b, x| {
            let y = b.cast(x, DType::F16).unwrap();
            b.cast(y, DType::F32).unwrap()
        });
        assert_ne!(read, x);
    }
}
