//! When a tensor is needed at all: the branches of an `If`, of which a run uses one.
//!
//! In: a graph of primitives with its shapes. Out: for each tensor the [`Condition`] without which nobody looks at it, where work would be
//! saved. A tensor that is only used on one side of `Where`s whose choice is a single number, directly or through tensors of which the same
//! holds, is not needed when that number says otherwise. Its launch is then left out; what its buffer holds goes nowhere.
//!
//! Example: in `Where(c, MatMul(x, a), MatMul(x, b))` with `c` of one element, the first product is needed when `c` is true, the second when
//! it is false.

use super::movement::is_movement;
use super::work::is_contraction;
use crate::graph::{Graph, Op, TensorId};
use rustc_hash::{FxHashMap, FxHashSet};

/// A choice of one number for all elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Condition {
    /// A tensor of one truth value.
    pub choice: TensorId,
    /// What it must be.
    pub wanted: bool,
}

/// Multiplications that a choice must be able to save: a stored choice costs a launch of its own.
const WORTH: f64 = 65536.0;

/// Conditions of a tensor that are followed; more are nested branches of branches.
const MOST: usize = 8;

/// The condition of each tensor; the innermost of several. Choices that are made after a tensor are none of its conditions.
pub fn conditions(graph: &Graph, dims: &[Vec<i64>]) -> Vec<Option<Condition>> {
    let all = of_all_uses(graph, dims);
    let mut saved: FxHashMap<TensorId, f64> = FxHashMap::default();
    for (n, needed) in all.iter().enumerate() {
        let id = TensorId(n as u32);
        if needed.is_empty() || !is_contraction(graph, id) {
            continue;
        }
        let products: i64 = dims[graph.tensor(id).src[0].0 as usize].iter().product();
        for condition in needed {
            *saved.entry(condition.choice).or_default() += products as f64;
        }
    }
    let mut kept: FxHashSet<TensorId> = saved.keys().copied().collect();
    kept.retain(|choice| saved[choice] >= WORTH);
    let innermost = |(n, needed): (usize, Vec<Condition>)| {
        let mut known = needed.into_iter();
        known.rfind(|c| kept.contains(&c.choice) && (c.choice.0 as usize) < n)
    };
    all.into_iter().enumerate().map(innermost).collect()
}

/// For each tensor the conditions that all its uses have in common, outer ones first.
fn of_all_uses(graph: &Graph, dims: &[Vec<i64>]) -> Vec<Vec<Condition>> {
    let mut all: Vec<Option<Vec<Condition>>> = vec![None; graph.tensors.len()];
    for (_, id) in &graph.outputs {
        all[id.0 as usize] = Some(Vec::new());
    }
    for n in (0..graph.tensors.len()).rev() {
        let Some(mine) = all[n].clone() else {
            continue;
        };
        let tensor = graph.tensor(TensorId(n as u32));
        let choice = match tensor.op {
            Op::Where => choice(graph, dims, tensor.src[0]),
            _ => None,
        };
        for (operand, source) in tensor.src.iter().enumerate() {
            let mut use_ = mine.clone();
            if let Some(choice) = choice.filter(|_| operand > 0 && mine.len() < MOST) {
                use_.push(Condition {
                    choice,
                    wanted: operand == 1,
                });
            }
            match &mut all[source.0 as usize] {
                Some(known) => known.retain(|c| use_.contains(c)),
                none => *none = Some(use_),
            }
        }
    }
    all.into_iter().map(Option::unwrap_or_default).collect()
}

/// The one number of which a tensor of truth values consists.
fn choice(graph: &Graph, dims: &[Vec<i64>], mut id: TensorId) -> Option<TensorId> {
    while is_movement(&graph.tensor(id).op) && !matches!(graph.tensor(id).op, Op::Pad { .. }) {
        id = graph.tensor(id).src[0];
    }
    let single = dims[id.0 as usize].iter().product::<i64>() == 1;
    let known = matches!(graph.tensor(id).op, Op::Weight(_) | Op::Full(_));
    (single && !known).then_some(id)
}
