//! Computes at compile time what depends on constants only.
//!
//! In: a graph. Out: one in which elementwise operations, casts, gathers, concatenations and reduces of
//! constants are constants, by the reference interpreter. A large constant never grows: a result above
//! [`SMALL`] bytes must not be larger than its largest source, and what repeats a constant (`Expand`, `Window`) is not stored: an
//! operation on it and another constant is.
//! Ids stay; tensors that nothing reads any more are left for `schedule` to skip.
//!
//! Example: `scale / sqrt(variance + epsilon)` of a batch normalisation is one vector.

use super::interp::{Data, Value, evaluate_tensor};
use super::ops::Op;
use super::remove_dead::needed;
use super::tensor::{Graph, Tensor, TensorId};
use crate::diag::Result;

/// Bytes up to which a result may be larger than its sources.
const SMALL: i64 = 64 << 10;
/// Bytes above which nothing is computed: compile time matters more.
const LARGE: i64 = 64 << 20;

/// Folds constants.
pub fn fold_constants(graph: &Graph) -> Result<Graph> {
    let mut out = graph.clone();
    for (n, _) in needed(graph).into_iter().enumerate().filter(|n| n.1) {
        let id = TensorId(n as u32);
        if let Some(bits) = uniform(&out, id) {
            replace(&mut out.tensors[n], Op::Full(bits));
            continue;
        }
        if !pays(&out, id) {
            continue;
        }
        let src: Result<Vec<Value>> = out.tensors[n]
            .src
            .iter()
            .map(|&s| constant(&out, s))
            .collect();
        let src = src?;
        let refs: Vec<&Value> = src.iter().collect();
        let value = evaluate_tensor(&out, id, &refs)?;
        let op = match all_equal(&value) {
            Some(bits) => Op::Full(bits),
            None => {
                let name = out.tensors[n].origin.tensor.to_string();
                out.weights.push(value.to_weight(&name));
                Op::Weight(out.weights.len() as u32 - 1)
            }
        };
        replace(&mut out.tensors[n], op);
    }
    Ok(out)
}

fn replace(t: &mut Tensor, op: Op) {
    t.op = op;
    t.src.clear();
}

fn is_leaf(op: &Op) -> bool {
    matches!(op, Op::Weight(_) | Op::Full(_) | Op::Iota)
}

/// Something constant that an operation can be computed from: a leaf, or a repeated one.
fn is_constant(graph: &Graph, id: TensorId) -> bool {
    let t = graph.tensor(id);
    is_leaf(&t.op) || t.op == Op::Expand && is_leaf(&graph.tensor(t.src[0]).op)
}

fn constant(graph: &Graph, id: TensorId) -> Result<Value> {
    let src = &graph.tensor(id).src;
    let src: Result<Vec<Value>> = src.iter().map(|&s| constant(graph, s)).collect();
    let src = src?;
    evaluate_tensor(graph, id, &src.iter().collect::<Vec<_>>())
}

fn bytes(graph: &Graph, id: TensorId) -> Option<i64> {
    let t = graph.tensor(id);
    let dims = t.shape.dims()?;
    Some(dims.iter().product::<i64>() * t.dtype.size() as i64)
}

/// Bits of the one number that a tensor consists of, when its sources say so without looking at elements.
fn uniform(graph: &Graph, id: TensorId) -> Option<u64> {
    let t = graph.tensor(id);
    let elementwise = matches!(
        t.op,
        Op::Unary(_) | Op::Binary(_) | Op::Where | Op::Cast(_) | Op::Bitcast(_)
    );
    let movement = matches!(
        t.op,
        Op::Reshape
            | Op::Expand
            | Op::Permute(_)
            | Op::Slice { .. }
            | Op::Flip(_)
            | Op::Window { .. }
            | Op::Concat(_)
    );
    if t.src.is_empty() || !(elementwise || movement) {
        return None;
    }
    let bits: Option<Vec<u64>> = (t.src.iter())
        .map(|&s| match graph.tensor(s).op {
            Op::Full(bits) => Some(bits),
            _ => None,
        })
        .collect();
    let bits = bits?;
    if movement {
        return bits.iter().all(|b| *b == bits[0]).then_some(bits[0]);
    }
    // One element stands for all.
    let one: Vec<Value> = (t.src.iter().zip(&bits))
        .map(|(&s, &b)| Value::full(graph.tensor(s).dtype, &[], b))
        .collect();
    let mut small = Graph::default();
    for (n, v) in one.iter().enumerate() {
        let mut source = graph.tensor(t.src[n]).clone();
        source.shape = Default::default();
        source.dtype = v.dtype;
        small.tensors.push(source);
    }
    let mut result = t.clone();
    result.shape = Default::default();
    small.tensors.push(result);
    let refs: Vec<&Value> = one.iter().collect();
    let at = TensorId(one.len() as u32);
    all_equal(&evaluate_tensor(&small, at, &refs).ok()?)
}

fn all_equal(value: &Value) -> Option<u64> {
    match &value.data {
        Data::Float(v) => {
            let first = v.first()?.to_bits();
            let same = v.iter().all(|x| x.to_bits() == first);
            // NaNs have one form as constants.
            let first = f64::from_bits(first);
            let canonical = if first.is_nan() { f64::NAN } else { first };
            same.then_some(canonical.to_bits())
        }
        Data::Int(v) => {
            let first = *v.first()?;
            v.iter().all(|&x| x == first).then_some(first as u64)
        }
    }
}

/// True when all sources are constants and the result is worth storing.
fn pays(graph: &Graph, id: TensorId) -> bool {
    let t = graph.tensor(id);
    let computes = matches!(
        t.op,
        Op::Unary(_)
            | Op::Binary(_)
            | Op::Where
            | Op::Cast(_)
            | Op::Bitcast(_)
            | Op::Reduce { .. }
            | Op::Concat(_)
            | Op::Gather(_)
            | Op::GatherElements(_)
            | Op::Reshape
            | Op::Permute(_)
            | Op::Slice { .. }
            | Op::Flip(_)
    );
    if !computes || t.src.is_empty() || !t.src.iter().all(|&s| is_constant(graph, s)) {
        return false;
    }
    let Some(result) = bytes(graph, id) else {
        return false;
    };
    let stored = |&s: &TensorId| match graph.tensor(s).op {
        Op::Weight(_) => bytes(graph, s).unwrap_or(0),
        _ => 0,
    };
    let work: i64 = t.src.iter().map(|s| bytes(graph, *s).unwrap_or(0)).sum();
    let source = t.src.iter().map(stored).max().unwrap_or(0);
    result > 0 && work.max(result) <= LARGE && result <= source.max(SMALL)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::graph::Builder;
    use crate::uop::{Binary, DType, Unary};

    #[test]
    fn batch_norm_factor_is_one_vector() {
        let mut b = Builder::new("t");
        let x = b.input("x", DType::F32, &[2, 2]).unwrap();
        let variance = b.floats("v", &[2], &[3.0, 8.0]).unwrap();
        let sum = b.with_number(Binary::Add, variance, 1.0).unwrap();
        let root = b.unary(Unary::Sqrt, sum).unwrap();
        let y = b.mul(x, root).unwrap();
        b.output("y", y);
        let graph = fold_constants(&b.finish()).unwrap();
        let Op::Weight(w) = graph.tensor(root).op else {
            unreachable!("not folded: {:?}", graph.tensor(root).op)
        };
        let value = Value::from_weight(&graph.weights[w as usize]).unwrap();
        assert_eq!(value.to_f64(), [2.0, 3.0]);
        // The repetition over rows stays.
        let expand = graph.tensor(y).src[1];
        assert_eq!(graph.tensor(expand).op, Op::Expand);
    }

    #[test]
    fn numbers_fold_to_numbers() {
        let mut b = Builder::new("t");
        let a = b.full(DType::F32, &[1000, 1000], 2.0).unwrap();
        let y = b.with_number(Binary::Mul, a, 3.0).unwrap();
        let y = b.cast(y, DType::I64).unwrap();
        b.output("y", y);
        let graph = fold_constants(&b.finish()).unwrap();
        assert_eq!(graph.tensor(y).op, Op::Full(6));
        assert!(graph.weights.is_empty());
    }
}
