//! Drops what no output needs.
//!
//! In: a graph. Out: the same outputs from the tensors that they need, renumbered, and the weights that these read. Inputs stay:
//! they are the model's interface.
//!
//! Example: the source of a folded constant goes, and with it the memory that its copy took.

use super::ops::Op;
use super::tensor::{Graph, TensorId};
use crate::diag::Result;

/// Whether each tensor is an input, an output or something that an output needs.
pub(super) fn needed(graph: &Graph) -> Vec<bool> {
    let mut needed = vec![false; graph.tensors.len()];
    let ends = graph.outputs.iter().chain(&graph.inputs);
    for (_, id) in ends {
        needed[id.0 as usize] = true;
    }
    for n in (0..graph.tensors.len()).rev() {
        if needed[n] {
            for s in &graph.tensors[n].src {
                needed[s.0 as usize] = true;
            }
        }
    }
    needed
}

/// Drops tensors and weights that nothing needs.
pub fn remove_dead(graph: &Graph) -> Result<Graph> {
    let needed = needed(graph);
    let mut out = Graph {
        name: graph.name.clone(),
        ..Graph::default()
    };
    let mut new = vec![TensorId(0); graph.tensors.len()];
    let mut weights: Vec<Option<u32>> = vec![None; graph.weights.len()];
    for (n, t) in graph.tensors.iter().enumerate().filter(|&(n, _)| needed[n]) {
        let mut t = t.clone();
        for s in &mut t.src {
            *s = new[s.0 as usize];
        }
        if let Op::Weight(w) = &mut t.op {
            let slot = &mut weights[*w as usize];
            *w = *slot.get_or_insert_with(|| {
                out.weights.push(graph.weights[*w as usize].clone());
                out.weights.len() as u32 - 1
            });
        }
        new[n] = TensorId(out.tensors.len() as u32);
        out.tensors.push(t);
    }
    let rename = |list: &[(String, TensorId)]| {
        list.iter()
            .map(|(name, id)| (name.clone(), new[id.0 as usize]))
            .collect()
    };
    out.inputs = rename(&graph.inputs);
    out.outputs = rename(&graph.outputs);
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::graph::Builder;
    use crate::uop::{Binary, DType, Unary};

    #[test]
    fn only_what_outputs_need_is_left() {
        let mut b = Builder::new("t");
        let unused = b.input("unused", DType::F32, &[3]).unwrap();
        b.floats("gone", &[3], &[0.0, 1.0, 2.0]).unwrap();
        let x = b.input("x", DType::F32, &[3]).unwrap();
        let w = b.floats("w", &[3], &[3.0, 4.0, 5.0]).unwrap();
        b.unary(Unary::Exp, x).unwrap();
        let y = b.push(Op::Binary(Binary::Add), &[x, w]).unwrap();
        b.output("y", y);
        let graph = remove_dead(&b.finish()).unwrap();
        assert_eq!(graph.tensors.len(), 4);
        assert_eq!(graph.weights.len(), 1);
        assert_eq!(graph.weights[0].name, "w");
        assert_eq!(graph.inputs[0], ("unused".to_string(), unused));
        let y = graph.tensor(graph.outputs[0].1);
        assert_eq!(y.op, Op::Binary(Binary::Add));
        assert_eq!(graph.tensor(y.src[1]).op, Op::Weight(0));
    }
}
