//! Moves constants at compile time: reshapes, permutations, flips and slices of weights.
//!
//! In: a graph. Out: one in which such an operation on a constant is a constant, where it is no larger than its
//! source. Run before and after `decompose`; nothing is computed, so nothing is rounded.
//!
//! Example: the transposed weight of a `Gemm` with `transB` is stored transposed.

use super::ops::Op;
use super::remove_dead::needed;
use super::tensor::Graph;
use crate::diag::Result;
use crate::program::{Bytes, Weight};

/// Folds movement of weights. Ids stay; tensors that nothing reads any more are left for `schedule` to skip.
pub fn fold(graph: &Graph) -> Result<Graph> {
    let mut out = graph.clone();
    for (n, _) in needed(graph).into_iter().enumerate().filter(|n| n.1) {
        let t = &out.tensors[n];
        let Some(&source) = t.src.first() else {
            continue;
        };
        let Op::Weight(w) = out.tensor(source).op else {
            continue;
        };
        let Some(to) = t.shape.dims() else { continue };
        let from = out.weights[w as usize].shape.clone();
        let bytes = match &t.op {
            Op::Reshape => Some(out.weights[w as usize].bytes.clone()),
            Op::Permute(perm) => {
                let strides = strides(&from);
                let mine: Vec<i64> = perm.iter().map(|&p| strides[p]).collect();
                Some(gather(&out.weights[w as usize], &to, &mine, 0))
            }
            Op::Flip(axes) => {
                let mut strides = strides(&from);
                let mut start = 0;
                for &a in axes {
                    start += strides[a] * (from[a] - 1).max(0);
                    strides[a] = -strides[a];
                }
                Some(gather(&out.weights[w as usize], &to, &strides, start))
            }
            Op::Slice { starts, steps } => {
                let strides = strides(&from);
                let start = starts.iter().zip(&strides).map(|(a, b)| a * b).sum();
                let mine: Vec<i64> = steps.iter().zip(&strides).map(|(a, b)| a * b).collect();
                Some(gather(&out.weights[w as usize], &to, &mine, start))
            }
            _ => None,
        };
        let Some(bytes) = bytes else { continue };
        let old = &out.weights[w as usize];
        let weight = Weight {
            name: old.name.clone(),
            dtype: old.dtype,
            shape: to,
            bytes,
        };
        let id = out.weights.len() as u32;
        out.weights.push(weight);
        let t = &mut out.tensors[n];
        t.op = Op::Weight(id);
        t.src.clear();
    }
    Ok(out)
}

fn strides(dims: &[i64]) -> Vec<i64> {
    let mut out = vec![1; dims.len()];
    for i in (0..dims.len().saturating_sub(1)).rev() {
        out[i] = out[i + 1] * dims[i + 1];
    }
    out
}

/// Elements of a weight at `start + sum(index * stride)`.
fn gather(weight: &Weight, dims: &[i64], strides: &[i64], start: i64) -> Bytes {
    let size = weight.dtype.size();
    let count: i64 = dims.iter().product();
    let mut out = Vec::with_capacity(count.max(0) as usize * size);
    let mut index = vec![0i64; dims.len()];
    let mut at = start;
    for _ in 0..count {
        let begin = at as usize * size;
        out.extend_from_slice(&weight.bytes[begin..begin + size]);
        for d in (0..dims.len()).rev() {
            index[d] += 1;
            at += strides[d];
            if index[d] < dims[d] {
                break;
            }
            at -= strides[d] * dims[d];
            index[d] = 0;
        }
    }
    Bytes::new(out)
}
