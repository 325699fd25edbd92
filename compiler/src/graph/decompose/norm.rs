//! Softmax and layer normalisation.

use super::contraction::matmul;
use crate::diag::Result;
use crate::graph::builder::Builder;
use crate::graph::ops::Op;
use crate::graph::tensor::TensorId;
use crate::uop::{Binary, DType, ReduceOp, Unary};

/// Half-precision tensors as f32, and what to go back to.
fn widen(b: &mut Builder, x: TensorId) -> Result<(TensorId, DType)> {
    let dtype = b.dtype(x);
    let wide = if matches!(dtype, DType::F16 | DType::BF16) {
        b.cast(x, DType::F32)?
    } else {
        x
    };
    Ok((wide, dtype))
}

/// x - max, its exponential, and the sum of these.
fn exponentials(b: &mut Builder, x: TensorId, axis: usize) -> Result<[TensorId; 3]> {
    let dims = b.dims(x)?;
    let max = b.reduce(ReduceOp::Max, x, &[axis], true)?;
    let max = b.expand(max, &dims)?;
    let d = b.push(Op::Binary(Binary::Sub), &[x, max])?;
    let e = b.unary(Unary::Exp, d)?;
    let sum = b.reduce(ReduceOp::Sum, e, &[axis], true)?;
    Ok([d, e, sum])
}

/// `softmax(x) * values` over the last axis of `x`: the product with the exponentials is divided by their sum, which takes fewer divisions where
/// a row of `x` is longer than a row of `values`.
pub fn softmax_times(b: &mut Builder, x: TensorId, values: TensorId) -> Result<TensorId> {
    let axis = b.dims(x)?.len() - 1;
    let [_, e, sum] = exponentials(b, x, axis)?;
    let y = matmul(b, e, values)?;
    let dims = b.dims(y)?;
    let sum = b.broadcast_to(sum, &dims)?;
    b.push(Op::Binary(Binary::Div), &[y, sum])
}

/// exp(x - max) / sum, or its logarithm.
pub fn softmax(b: &mut Builder, x: TensorId, axis: usize, log: bool) -> Result<TensorId> {
    let (x, dtype) = widen(b, x)?;
    let dims = b.dims(x)?;
    let [d, e, sum] = exponentials(b, x, axis)?;
    let y = if log {
        let l = b.unary(Unary::Log, sum)?;
        let l = b.expand(l, &dims)?;
        b.push(Op::Binary(Binary::Sub), &[d, l])?
    } else {
        let sum = b.expand(sum, &dims)?;
        b.push(Op::Binary(Binary::Div), &[e, sum])?
    };
    b.cast(y, dtype)
}

/// (x - mean) / sqrt(variance + epsilon) * scale + bias.
pub fn layer_norm(
    b: &mut Builder,
    src: &[TensorId],
    axis: usize,
    epsilon: f64,
) -> Result<TensorId> {
    let (x, dtype) = widen(b, src[0])?;
    let dims = b.dims(x)?;
    let axes: Vec<usize> = (axis..dims.len()).collect();
    let mean = b.mean(x, &axes)?;
    let mean = b.expand(mean, &dims)?;
    let d = b.push(Op::Binary(Binary::Sub), &[x, mean])?;
    let square = b.push(Op::Binary(Binary::Mul), &[d, d])?;
    let variance = b.mean(square, &axes)?;
    let variance = b.with_number(Binary::Add, variance, epsilon)?;
    let root = b.unary(Unary::Sqrt, variance)?;
    let ones = b.dims(root)?;
    let one = b.full(b.dtype(root), &ones, 1.0)?;
    let inverse = b.push(Op::Binary(Binary::Div), &[one, root])?;
    let inverse = b.expand(inverse, &dims)?;
    let mut y = b.push(Op::Binary(Binary::Mul), &[d, inverse])?;
    y = b.cast(y, dtype)?;
    if let Some(&scale) = src.get(1) {
        y = b.mul(y, scale)?;
    }
    if let Some(&bias) = src.get(2) {
        y = b.add(y, bias)?;
    }
    Ok(y)
}
