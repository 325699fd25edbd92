//! Reference interpreter: evaluates every primitive and composite in plain Rust with f64 accumulation.
//!
//! In: a graph and values of its inputs. Out: values of its outputs. Floats are computed in f64 and rounded
//! to their type after each operation. Composites are naive loops of their own and not their decompositions,
//! so that each can be checked against the other. It folds constants and is the oracle of tests.
//!
//! Example: `evaluate(&graph, &[x])` of `Relu` on `[-1, 2]` gives `[0, 2]`.

mod contraction;
mod elementwise;
mod indexing;
mod movement;
mod order;
mod resize;
mod special;
mod value;

pub use resize::position;
pub use value::{Data, Value, number_bits, round_to, wrap_to};

use super::ops::Op;
use super::tensor::{Graph, TensorId};
use crate::diag::{Error, Result};

/// Most elements of a result: a reference need not run out of memory.
const MOST: i64 = 1 << 31;

/// Values of the outputs from values of the inputs, both in the graph's order.
pub fn evaluate(graph: &Graph, inputs: &[Value]) -> Result<Vec<Value>> {
    let mut last = vec![0usize; graph.tensors.len()];
    for (n, t) in graph.tensors.iter().enumerate() {
        for s in &t.src {
            last[s.0 as usize] = n;
        }
    }
    for (_, id) in &graph.outputs {
        last[id.0 as usize] = usize::MAX;
    }
    let mut values: Vec<Option<Value>> = vec![None; graph.tensors.len()];
    for n in 0..graph.tensors.len() {
        if last[n] == 0 {
            continue;
        }
        let t = &graph.tensors[n];
        let value = match t.op {
            Op::Input(i) => {
                let given = inputs
                    .get(i as usize)
                    .ok_or_else(|| Error::usage(format!("input {i} has no value")).at(&t.origin))?;
                let dims = graph.dims(TensorId(n as u32))?;
                if given.shape != dims || given.dtype != t.dtype {
                    return Err(Error::usage(format!(
                        "input {i} is {} of shape {:?}, expected {} of {}",
                        given.dtype, given.shape, t.dtype, t.shape
                    ))
                    .at(&t.origin));
                }
                given.clone()
            }
            _ => {
                let src: Option<Vec<&Value>> = t
                    .src
                    .iter()
                    .map(|s| values[s.0 as usize].as_ref())
                    .collect();
                let src = src.ok_or_else(|| Error::bug("a source comes late").at(&t.origin))?;
                evaluate_tensor(graph, TensorId(n as u32), &src)?
            }
        };
        values[n] = Some(value);
        for s in &t.src {
            if last[s.0 as usize] == n {
                values[s.0 as usize] = None;
            }
        }
    }
    graph
        .outputs
        .iter()
        .map(|(name, id)| {
            values[id.0 as usize]
                .clone()
                .ok_or_else(|| Error::bug(format!("output '{name}' was not computed")))
        })
        .collect()
}

/// Value of one tensor from the values of its sources.
pub fn evaluate_tensor(graph: &Graph, id: TensorId, src: &[&Value]) -> Result<Value> {
    let t = graph.tensor(id);
    let shape = graph.dims(id)?;
    let fail = |e: Error| e.at(&t.origin);
    if shape.iter().product::<i64>() > MOST {
        return Err(fail(Error::unsupported(format!(
            "{} is too large to interpret",
            t.shape
        ))));
    }
    let value = match &t.op {
        Op::Input(_) => Err(Error::bug("an input has no value of its own")),
        Op::Full(bits) => Ok(Value::full(t.dtype, &shape, *bits)),
        Op::Weight(n) => Value::from_weight(&graph.weights[*n as usize]),
        Op::Iota => {
            let n = shape.first().copied().unwrap_or(0);
            Ok(if t.dtype.is_float() {
                Value::floats(t.dtype, &shape, (0..n).map(|i| i as f64).collect())
            } else {
                Value::ints(t.dtype, &shape, (0..n).collect())
            })
        }
        Op::Unary(op) => elementwise::unary(*op, src[0]),
        Op::Binary(op) => elementwise::binary(*op, src[0], src[1]),
        Op::Where => elementwise::select(src[0], src[1], src[2]),
        Op::Cast(d) => Ok(elementwise::cast(src[0], *d)),
        Op::Bitcast(d) => {
            let mut bits = src[0].clone();
            bits = Value::from_bytes(*d, &shape, &bits.to_bytes())?;
            Ok(bits)
        }
        Op::Reduce { op, axes } => Ok(movement::reduce(*op, src[0], axes, &shape)),
        Op::Reshape => Ok(Value {
            shape: shape.clone(),
            ..src[0].clone()
        }),
        Op::Permute(perm) => Ok(movement::permute(src[0], perm, &shape)),
        Op::Expand => Ok(movement::expand(src[0], &shape)),
        Op::Pad { pads, value } => Ok(movement::pad(src[0], pads, *value, &shape)),
        Op::Slice { starts, steps } => Ok(movement::slice(src[0], starts, steps, &shape)),
        Op::Flip(axes) => Ok(movement::flip(src[0], axes)),
        Op::Window {
            axis,
            stride,
            dilation,
            ..
        } => Ok(movement::window(src[0], *axis, *stride, *dilation, &shape)),
        Op::Transform { axis, matrix } => contraction::transform(src[0], *axis, matrix, &shape),
        Op::Concat(axis) => Ok(movement::concat(src, *axis, &shape)),
        Op::Gather(axis) => indexing::gather(src[0], src[1], *axis, &shape),
        Op::GatherElements(axis) => indexing::gather_elements(src[0], src[1], *axis),
        Op::Scatter(op) => indexing::scatter(src[0], src[1], src[2], *op),
        Op::Conv(a) => contraction::conv(src, a, &shape),
        Op::ConvTranspose(a) => contraction::conv_transpose(src, a, &shape),
        Op::MatMul => Ok(contraction::matmul(src[0], src[1], &shape)),
        Op::Pool(a) => Ok(contraction::pool(src[0], a, &shape)),
        Op::Softmax(axis) => Ok(order::softmax(src[0], *axis, false)),
        Op::LogSoftmax(axis) => Ok(order::softmax(src[0], *axis, true)),
        Op::LayerNorm { axis, epsilon } => {
            Ok(order::layer_norm(src, *axis, f64::from_bits(*epsilon)))
        }
        Op::Resize(a) => Ok(resize::resize(src[0], a)),
        Op::CumSum {
            axis,
            exclusive,
            reverse,
        } => Ok(order::cum_sum(src[0], *axis, *exclusive, *reverse)),
        Op::TopK {
            axis,
            k,
            largest,
            indices,
        } => Ok(order::top_k(src[0], *axis, *k, *largest, *indices)),
        Op::ArgReduce {
            axis,
            largest,
            last,
        } => Ok(order::arg_reduce(src[0], *axis, *largest, *last)),
    }
    .map_err(fail)?;
    if value.shape != shape || value.dtype != t.dtype {
        return Err(fail(Error::bug(format!(
            "{:?} gave {} of {:?}, inferred was {} of {}",
            t.op, value.dtype, value.shape, t.dtype, t.shape
        ))));
    }
    Ok(value)
}
