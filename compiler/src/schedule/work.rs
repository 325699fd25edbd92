//! The cost function: what a tensor costs to compute again, element by element.
//!
//! In: a graph of primitives. Out: one [`Work`] a tensor, in *operations an element*, as if nothing
//! above it were stored, but for what surely will be (inputs, weights, contractions under a reduce).
//! `buffers` compares it with the price of storing and loading.

use super::movement::{below_views, is_movement};
use crate::graph::{Graph, Op, TensorId};
use crate::uop::{Binary, ReduceOp, Unary};

/// Operations that storing an element and finding it again costs, beside the loads.
pub const STORE: f64 = 2.0;
/// Operations a load costs.
pub const LOAD: f64 = 1.0;

/// What one tensor costs and contains when nothing below it is stored.
#[derive(Debug, Clone, Copy, Default)]
pub struct Work {
    /// Operations for each element.
    pub each: f64,
    /// Contains a reduce that runs anew for every element.
    pub reduces: bool,
    /// Contains a contraction (sum of products of two tensors: matmul, convolution) that runs anew for
    /// every element.
    pub contracts: bool,
    /// Contains a transform: formulas that alternate along some axes, but not along channels.
    pub transforms: bool,
    /// Reduces on top of each other, those that are computed once for many elements included.
    pub depth: u32,
}

/// Work of every tensor.
pub fn work(graph: &Graph, dims: &[Vec<i64>]) -> Vec<Work> {
    let mut readers = vec![0u32; graph.tensors.len()];
    for tensor in &graph.tensors {
        for s in &tensor.src {
            readers[s.0 as usize] += 1;
        }
    }
    // As a reader sees it: a contraction that several read is stored for sure, so it is a load.
    let stored = Work {
        each: LOAD,
        ..Work::default()
    };
    let mut seen: Vec<Work> = Vec::with_capacity(graph.tensors.len());
    let mut all: Vec<Work> = Vec::with_capacity(graph.tensors.len());
    for (id, tensor) in graph.tensors.iter().enumerate() {
        let source = |n: usize| seen[tensor.src[n].0 as usize];
        let count = |t: TensorId| dims[t.0 as usize].iter().product::<i64>().max(1) as f64;
        let mine = dims[id].iter().product::<i64>().max(1) as f64;
        let mut out =
            tensor
                .src
                .iter()
                .map(|&t| seen[t.0 as usize])
                .fold(Work::default(), |a, b| Work {
                    each: a.each + b.each,
                    reduces: a.reduces || b.reduces,
                    contracts: a.contracts || b.contracts,
                    transforms: a.transforms || b.transforms,
                    depth: a.depth.max(b.depth),
                });
        match &tensor.op {
            Op::Input(_) | Op::Weight(_) => out.each = LOAD,
            Op::Full(_) => out.each = 0.0,
            Op::Iota => out.each = 0.5,
            // What is the same along an axis is computed outside that axis' loop.
            Op::Expand => {
                out.each = source(0).each * (count(tensor.src[0]) / mine).min(1.0);
                let repeats = count(tensor.src[0]) < mine;
                out.reduces &= !repeats;
                out.contracts &= !repeats;
                out.transforms &= !repeats;
            }
            Op::Pad { .. } => out.each += 1.0,
            // Overlapping windows: what they repeat is stored.
            Op::Window { .. } if count(tensor.src[0]) < mine => {
                out.reduces = false;
                out.contracts = false;
                out.transforms = false;
            }
            op if is_movement(op) => {}
            Op::Unary(op) => out.each += unary_cost(*op),
            Op::Binary(Binary::Pow) => out.each += 20.0,
            Op::Binary(Binary::Div | Binary::Rem | Binary::FloorDiv | Binary::FloorMod) => {
                out.each += 4.0
            }
            Op::Binary(_) | Op::Where | Op::Cast(_) | Op::Bitcast(_) => out.each += 1.0,
            // Like a contraction it is computed once for each element, at the outermost level.
            Op::Transform { matrix, .. } => {
                let terms = matrix.bits.iter().filter(|&&b| b << 1 != 0).count();
                let shared = count(tensor.src[0]) / mine;
                out.each = source(0).each * shared + terms as f64 / matrix.rows().max(1) as f64;
                out.contracts = true;
                out.transforms = true;
            }
            Op::Concat(_) => {
                out.each = out.each / tensor.src.len().max(1) as f64 + tensor.src.len() as f64
            }
            Op::Gather(_) | Op::GatherElements(_) => out.each += 3.0,
            Op::Scatter(_) => out.each += 4.0,
            Op::Reduce { .. } => {
                let extent = count(tensor.src[0]) / mine;
                // A contraction below a reduce is always stored.
                let below = if source(0).contracts {
                    2.0
                } else {
                    source(0).each
                };
                out = Work {
                    each: extent * (below + 1.0),
                    reduces: true,
                    transforms: false,
                    contracts: is_contraction(graph, TensorId(id as u32)),
                    depth: source(0).depth + 1,
                };
            }
            // Composites never reach the scheduler.
            _ => {}
        }
        let shared = readers[id] > 1;
        seen.push(match out {
            _ if shared && (out.contracts || out.depth > 1) => stored,
            // What costs this much is stored when several read it, or is computed once for them.
            _ if shared && out.each > 6.0 => Work { each: LOAD, ..out },
            _ => out,
        });
        all.push(out);
    }
    all
}

/// True for a sum of products of two different tensors, neither of which is one number.
pub fn is_contraction(graph: &Graph, id: TensorId) -> bool {
    let tensor = graph.tensor(id);
    let Op::Reduce {
        op: ReduceOp::Sum, ..
    } = tensor.op
    else {
        return false;
    };
    let mut product = tensor.src[0];
    while matches!(
        graph.tensor(product).op,
        Op::Cast(_) | Op::Reshape | Op::Permute(_)
    ) {
        product = graph.tensor(product).src[0];
    }
    let product = graph.tensor(product);
    if product.op != Op::Binary(Binary::Mul) {
        return false;
    }
    let (a, b) = (
        below_views(graph, product.src[0]),
        below_views(graph, product.src[1]),
    );
    let number = |t: TensorId| matches!(graph.tensor(t).op, Op::Full(_));
    product.src[0] != product.src[1] && !number(a) && !number(b)
}

fn unary_cost(op: Unary) -> f64 {
    match op {
        Unary::Neg | Unary::Not | Unary::Abs | Unary::IsNan => 1.0,
        Unary::Floor | Unary::Ceil | Unary::Trunc | Unary::Round | Unary::Sqrt => 2.0,
        Unary::Exp | Unary::Exp2 | Unary::Log | Unary::Log2 => 8.0,
        Unary::Sin | Unary::Cos | Unary::Tan | Unary::Atan | Unary::Tanh | Unary::Erf => 16.0,
    }
}
