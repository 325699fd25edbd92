//! Computes equal things once.
//!
//! In: a graph. Out: one in which no tensor reads one of two equal tensors but the first: same operation and attributes,
//! same sources, same shape and type. Constants are equal when their bytes are. Ids stay; what nothing reads any more is for
//! `remove_dead`. Outputs keep their tensors.
//!
//! Example: two `exp(x)` of an unrolled network become one.

use super::ops::Op;
use super::tensor::{Graph, Shape, TensorId};
use crate::diag::Result;
use crate::uop::DType;
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

/// Lets every tensor read the first of equal ones.
pub fn eliminate_common(graph: &Graph) -> Result<Graph> {
    type Key = (Op, SmallVec<[TensorId; 4]>, Shape, DType, Option<u8>);
    let mut out = graph.clone();
    let weights = first_weights(graph);
    let mut first: FxHashMap<Key, TensorId> = FxHashMap::default();
    let mut same: Vec<TensorId> = Vec::with_capacity(out.tensors.len());
    for (n, t) in out.tensors.iter_mut().enumerate() {
        for s in &mut t.src {
            *s = same[s.0 as usize];
        }
        let id = TensorId(n as u32);
        if let Op::Weight(w) = &mut t.op {
            *w = weights[*w as usize];
        }
        if matches!(t.op, Op::Input(_)) {
            same.push(id);
            continue;
        }
        let key = (
            t.op.clone(),
            t.src.clone(),
            t.shape.clone(),
            t.dtype,
            t.channels,
        );
        same.push(*first.entry(key).or_insert(id));
    }
    Ok(out)
}

/// For each weight the first one with the same type, shape and bytes.
fn first_weights(graph: &Graph) -> Vec<u32> {
    let mut found: FxHashMap<(DType, &[i64]), Vec<u32>> = FxHashMap::default();
    let mut out = Vec::with_capacity(graph.weights.len());
    for (n, weight) in graph.weights.iter().enumerate() {
        let alike = found.entry((weight.dtype, &weight.shape)).or_default();
        let known = alike
            .iter()
            .copied()
            .find(|&w| graph.weights[w as usize].same_data(weight));
        if known.is_none() {
            alike.push(n as u32);
        }
        out.push(known.unwrap_or(n as u32));
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::graph::Builder;
    use crate::uop::{Binary, Unary};

    #[test]
    fn equal_tensors_are_read_once() {
        let mut b = Builder::new("t");
        let x = b.input("x", DType::F32, &[2]).unwrap();
        let (one, two) = (
            b.floats("a", &[2], &[1.0, 2.0]).unwrap(),
            b.floats("b", &[2], &[1.0, 2.0]).unwrap(),
        );
        let p = b.push(Op::Binary(Binary::Mul), &[x, one]).unwrap();
        let q = b.push(Op::Binary(Binary::Mul), &[x, two]).unwrap();
        let r = b.push(Op::Binary(Binary::Mul), &[two, x]).unwrap();
        let e = b.unary(Unary::Exp, q).unwrap();
        let sum = b.push(Op::Binary(Binary::Add), &[e, r]).unwrap();
        b.output("y", sum);
        let graph = eliminate_common(&b.finish()).unwrap();
        assert_eq!(graph.tensor(e).src[..], [p]);
        // No commutativity: another order is another tensor.
        assert_eq!(graph.tensor(sum).src[..], [e, r]);
    }

    #[test]
    fn weights_of_other_shape_stay_apart() {
        let mut b = Builder::new("t");
        let one = b.floats("a", &[2], &[1.0, 2.0]).unwrap();
        let two = b.floats("b", &[1, 2], &[1.0, 2.0]).unwrap();
        let e = b.unary(Unary::Exp, one).unwrap();
        let f = b.unary(Unary::Exp, two).unwrap();
        b.output("e", e);
        b.output("f", f);
        let graph = eliminate_common(&b.finish()).unwrap();
        assert_eq!(graph.tensor(f).src[..], [two]);
    }
}
