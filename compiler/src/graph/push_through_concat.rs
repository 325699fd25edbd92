//! Arithmetic moves from behind a concatenation to its parts.
//!
//! In: a graph of primitives. Out: one in which arithmetic on a concatenation, with itself or with constants, is done on the parts
//! before they are joined, where nobody else reads the concatenation or a part. What makes a part then ends with that arithmetic and
//! stores its result in place; behind the concatenation it would choose between the parts for each element.
//!
//! Example: the class token before the patches of a vision transformer, plus position embeddings: the patches' convolution ends with
//! the sum.

use super::builder::Builder;
use super::ops::Op;
use super::tensor::{Graph, TensorId};
use crate::diag::Result;
use rustc_hash::FxHashMap;

/// Parts above which each arithmetic operation would make too many small ones.
const MOST_PARTS: usize = 8;

/// A concatenation in the new graph.
struct Joined {
    axis: usize,
    parts: Vec<TensorId>,
}

/// Moves arithmetic to the parts of concatenations.
pub fn push_through_concat(graph: &Graph) -> Result<Graph> {
    let uses = count_uses(graph);
    let once = |id: &TensorId| uses[id.0 as usize] == 1;
    let mut b = Builder::new(&graph.name);
    let mut new: Vec<TensorId> = Vec::with_capacity(graph.tensors.len());
    let mut joined: FxHashMap<TensorId, Joined> = FxHashMap::default();
    let mut inputs = Vec::new();
    for (name, id) in &graph.inputs {
        b.set_origin(graph.tensor(*id).origin.clone());
        inputs.push(b.input(name, graph.tensor(*id).dtype, &graph.dims(*id)?)?);
    }
    for (n, t) in graph.tensors.iter().enumerate() {
        b.set_origin(t.origin.clone());
        let id = TensorId(n as u32);
        let src: Vec<TensorId> = t.src.iter().map(|s| new[s.0 as usize]).collect();
        let arithmetic = matches!(
            t.op,
            Op::Unary(_) | Op::Binary(_) | Op::Cast(_) | Op::Bitcast(_) | Op::Where
        );
        let at = src.iter().position(|s| joined.contains_key(s));
        let movable = arithmetic
            && t.src.iter().enumerate().all(|(k, s)| {
                let in_parts = joined.contains_key(&src[k]);
                in_parts && Some(k) == at && once(s) || !in_parts && is_constant(&b, src[k])
            });
        let to = match (&t.op, at) {
            (op, Some(k)) if movable => {
                let Joined { axis, parts } = &joined[&src[k]];
                let axis = *axis;
                let mut start = 0;
                let mut made = Vec::with_capacity(parts.len());
                for &part in parts {
                    let len = b.dims(part)?[axis];
                    let mut from = src.clone();
                    for (m, s) in from.iter_mut().enumerate() {
                        *s = if m == k {
                            part
                        } else {
                            b.slice(*s, axis, start, len)?
                        };
                    }
                    made.push(b.push(op.clone(), &from)?);
                    start += len;
                }
                let to = b.push(Op::Concat(axis), &made)?;
                joined.insert(to, Joined { axis, parts: made });
                to
            }
            (Op::Input(i), _) => inputs[*i as usize],
            (Op::Weight(w), _) => b.weight(graph.weights[*w as usize].clone())?,
            (Op::Full(_) | Op::Iota | Op::Reshape | Op::Expand | Op::Slice { .. }, _) => {
                b.shaped(t.op.clone(), &src, &graph.dims(id)?, t.dtype)?
            }
            (op, _) => b.push(op.clone(), &src)?,
        };
        if let Op::Concat(axis) = t.op {
            let few = (2..=MOST_PARTS).contains(&src.len());
            if few
                && t.src
                    .iter()
                    .all(|s| once(s) || is_constant(&b, new[s.0 as usize]))
            {
                joined.insert(to, Joined { axis, parts: src });
            }
        }
        if t.channels.is_some() {
            b.set_channels(to, t.channels);
        }
        new.push(to);
    }
    for (name, id) in &graph.outputs {
        b.output(name, new[id.0 as usize]);
    }
    Ok(b.finish())
}

/// How often each tensor is read; being an output counts.
fn count_uses(graph: &Graph) -> Vec<u32> {
    let mut uses = vec![0; graph.tensors.len()];
    let ends = graph.outputs.iter().map(|o| &o.1);
    for s in graph.tensors.iter().flat_map(|t| &t.src).chain(ends) {
        uses[s.0 as usize] += 1;
    }
    uses
}

/// True for weights, numbers and what movement makes of them.
fn is_constant(b: &Builder, id: TensorId) -> bool {
    let t = b.graph().tensor(id);
    match &t.op {
        Op::Weight(_) | Op::Full(_) => true,
        Op::Reshape | Op::Expand | Op::Permute(_) | Op::Slice { .. } => is_constant(b, t.src[0]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::uop::{DType, Unary};

    fn last(share: bool) -> (Graph, Op) {
        let mut b = Builder::new("t");
        let x = b.input("x", DType::F32, &[2, 3]).unwrap();
        let first = b.unary(Unary::Exp, x).unwrap();
        let token = b.floats("token", &[2, 1], &[1.0, 2.0]).unwrap();
        let all = b.push(Op::Concat(1), &[token, first]).unwrap();
        let shift = b.floats("shift", &[2, 4], &[0.5; 8]).unwrap();
        let y = b.add(all, shift).unwrap();
        let y = b.unary(Unary::Neg, y).unwrap();
        b.output("y", y);
        if share {
            b.output("z", first);
        }
        let graph = push_through_concat(&b.finish()).unwrap();
        let op = graph.tensor(graph.outputs[0].1).op.clone();
        (graph, op)
    }

    #[test]
    fn sums_move_to_the_parts() {
        let (graph, op) = last(false);
        assert_eq!(op, Op::Concat(1));
        let parts = &graph.tensor(graph.outputs[0].1).src;
        assert_eq!(parts.len(), 2);
        for &part in parts {
            assert_eq!(graph.tensor(part).op, Op::Unary(Unary::Neg));
        }
    }

    #[test]
    fn shared_parts_stay_as_they_are() {
        assert_eq!(last(true).1, Op::Unary(Unary::Neg));
    }
}
