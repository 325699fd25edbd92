//! Pooling: a reduce over windows.

use crate::diag::{Error, Result};
use crate::graph::builder::Builder;
use crate::graph::interp::Value;
use crate::graph::ops::{Op, Pool, PoolKind};
use crate::graph::tensor::TensorId;
use crate::uop::{Binary, ReduceOp, Unary};

/// Most samples along the axes that are counted for the divisor of a mean.
const MAX_COUNTED: i64 = 1 << 26;

/// Maximum, mean or norm of each window.
pub fn pool(b: &mut Builder, a: &Pool, x: TensorId) -> Result<TensorId> {
    let dtype = b.dtype(x);
    let lowest = if dtype.is_float() {
        f64::NEG_INFINITY
    } else {
        dtype.int_bounds().map_or(0.0, |w| w.0 as f64)
    };
    let y = match a.kind {
        PoolKind::Max => windows(b, a, x, ReduceOp::Max, lowest)?,
        PoolKind::Average { include_pad } => {
            let sum = windows(b, a, x, ReduceOp::Sum, 0.0)?;
            divide(b, a, x, sum, include_pad)?
        }
        PoolKind::Lp(p) => {
            let size = b.unary(Unary::Abs, x)?;
            let raised = match p {
                1 => size,
                2 => b.push(Op::Binary(Binary::Mul), &[x, x])?,
                _ => b.with_number(Binary::Pow, size, p as f64)?,
            };
            let sum = windows(b, a, raised, ReduceOp::Sum, 0.0)?;
            match p {
                1 => sum,
                2 => b.unary(Unary::Sqrt, sum)?,
                _ => b.with_number(Binary::Pow, sum, 1.0 / p as f64)?,
            }
        }
    };
    b.set_channels(y, Some(1));
    Ok(y)
}

fn windows(b: &mut Builder, a: &Pool, x: TensorId, op: ReduceOp, outside: f64) -> Result<TensorId> {
    let mut pads = vec![(0, 0), (0, 0)];
    pads.extend(&a.pads);
    let mut v = b.pad(x, &pads, outside)?;
    for i in 0..a.kernel.len() {
        v = b.push(
            Op::Window {
                axis: 2 + 2 * i,
                size: a.kernel[i],
                stride: a.strides[i],
                dilation: a.dilations[i],
            },
            &[v],
        )?;
    }
    let axes: Vec<usize> = (0..a.kernel.len()).map(|i| 3 + 2 * i).collect();
    let y = b.reduce(op, v, &axes, false)?;
    b.set_channels(y, Some(1));
    Ok(y)
}

/// Divides by the number of samples: one number where all windows have as many.
fn divide(
    b: &mut Builder,
    a: &Pool,
    x: TensorId,
    sum: TensorId,
    include_pad: bool,
) -> Result<TensorId> {
    let (from, to) = (b.dims(x)?, b.dims(sum)?);
    let work: i64 = (0..a.kernel.len())
        .map(|i| to[2 + i].saturating_mul(a.kernel[i]))
        .fold(0, i64::saturating_add);
    if work > MAX_COUNTED {
        return Err(Error::unsupported(format!(
            "a mean over windows {:?} of shape {to:?}",
            a.kernel
        )));
    }
    let counts: Vec<Vec<i64>> = (0..a.kernel.len())
        .map(|i| {
            let (low, high) = if include_pad {
                (-a.pads[i].0, from[2 + i] + a.declared_high[i])
            } else {
                (0, from[2 + i])
            };
            (0..to[2 + i])
                .map(|o| {
                    let first = o * a.strides[i] - a.pads[i].0;
                    (0..a.kernel[i])
                        .filter(|k| (low..high).contains(&(first + k * a.dilations[i])))
                        .count()
                        .max(1) as i64
                })
                .collect()
        })
        .collect();
    let mut y = sum;
    let mut common = 1.0;
    for (i, count) in counts.iter().enumerate() {
        let Some(&first) = count.first() else {
            continue;
        };
        if count.iter().all(|&c| c == first) {
            common *= first as f64;
            continue;
        }
        let values = count.iter().map(|&c| 1.0 / c as f64).collect();
        let w = Value::floats(b.dtype(y), &[count.len() as i64], values);
        let w = b.weight(w.to_weight(""))?;
        let mut shape = vec![1; to.len()];
        shape[2 + i] = to[2 + i];
        let w = b.reshape(w, &shape)?;
        let w = b.expand(w, &to)?;
        y = b.push(Op::Binary(Binary::Mul), &[y, w])?;
    }
    if common == 1.0 {
        return Ok(y);
    }
    b.with_number(Binary::Div, y, common)
}
