//! Softmax and layer normalisation.

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

/// exp(x - max) / sum, or its logarithm.
pub fn softmax(b: &mut Builder, x: TensorId, axis: usize, log: bool) -> Result<TensorId> {
    let (x, dtype) = widen(b, x)?;
    let dims = b.dims(x)?;
    let max = b.reduce(ReduceOp::Max, x, &[axis], true)?;
    let max = b.expand(max, &dims)?;
    let d = b.push(Op::Binary(Binary::Sub), &[x, max])?;
    let e = b.unary(Unary::Exp, d)?;
    let sum = b.reduce(ReduceOp::Sum, e, &[axis], true)?;
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
