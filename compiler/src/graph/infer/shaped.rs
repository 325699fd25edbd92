//! Shapes that are given and not inferred: a reshape's, an expansion's, a constant's.
//!
//! In: an operation, its sources and the shape that it claims. Out: nothing, or what does not fit. `Reshape` of
//! `[2,3]` to `[6]` fits, to `[5]` it does not.

use super::{arity, elements, known_dim};
use crate::diag::{Error, Result};
use crate::graph::ops::Op;
use crate::graph::tensor::{Dim, Shape, Tensor};
use crate::uop::DType;

/// Numpy broadcasting of two shapes.
pub fn broadcast_shapes(a: &Shape, b: &Shape) -> Result<Shape> {
    let rank = a.rank().max(b.rank());
    let one = Dim::Known(1);
    let mut dims = Shape::default();
    for i in 0..rank {
        let of = |s: &Shape| {
            (i + s.rank())
                .checked_sub(rank)
                .map_or(one.clone(), |j| s.0[j].clone())
        };
        let (x, y) = (of(a), of(b));
        dims.0.push(if x == y || y == one {
            x
        } else if x == one {
            y
        } else {
            return Err(Error::model(format!(
                "shapes {a} and {b} cannot be broadcast together"
            )));
        });
    }
    Ok(dims)
}

/// Checks an operation whose shape is given and not inferred.
pub fn check_shaped(op: &Op, src: &[&Tensor], shape: &Shape, dtype: DType) -> Result<()> {
    let total = elements(shape, dtype)?;
    let leaf = matches!(op, Op::Input(_) | Op::Weight(_) | Op::Full(_) | Op::Iota);
    arity(src, if leaf { 0..=0 } else { 1..=1 })?;
    if !leaf && src[0].dtype != dtype {
        return Err(Error::bug(format!(
            "{op:?} changes the type from {} to {dtype}",
            src[0].dtype
        )));
    }
    match op {
        Op::Input(_) | Op::Weight(_) | Op::Full(_) => Ok(()),
        Op::Iota if shape.rank() == 1 && !matches!(dtype, DType::Bool) => Ok(()),
        Op::Iota => Err(Error::bug(format!("iota of shape {shape}"))),
        Op::Reshape => {
            let from = elements(&src[0].shape, dtype)?;
            match (from, total) {
                (Some(x), Some(y)) if x != y => Err(Error::model(format!(
                    "cannot reshape {} ({x} elements) to {shape} ({y} elements)",
                    src[0].shape
                ))),
                _ => Ok(()),
            }
        }
        Op::Expand => {
            let from = &src[0].shape;
            let fits = from.rank() == shape.rank()
                && (0..from.rank()).all(|i| from.0[i] == shape.0[i] || from.0[i] == Dim::Known(1));
            if fits {
                return Ok(());
            }
            Err(Error::model(format!("cannot expand {from} to {shape}")))
        }
        Op::Slice { starts, steps } => {
            let from = &src[0].shape;
            if [starts.len(), steps.len(), shape.rank()] != [from.rank(); 3] {
                return Err(Error::model(format!("cannot slice {from} to {shape}")));
            }
            for i in 0..from.rank() {
                if from.0[i] == shape.0[i] && starts[i] == 0 && steps[i] == 1 {
                    continue;
                }
                let (n, m) = (known_dim(src[0], i)?, shape.0[i].known());
                let fits = m.is_some_and(|m| {
                    starts[i] >= 0
                        && steps[i] >= 1
                        && (m == 0
                            || (m - 1)
                                .checked_mul(steps[i])
                                .and_then(|e| e.checked_add(starts[i]))
                                .is_some_and(|last| last < n))
                });
                if !fits {
                    return Err(Error::model(format!(
                        "a slice of {from} from {starts:?} by {steps:?} to {shape} leaves it"
                    )));
                }
            }
            Ok(())
        }
        _ => Err(Error::bug(format!("the shape of {op:?} is inferred"))),
    }
}

/// Extent of a full transposed convolution; `None` on overflow.
pub fn transposed_extent(input: i64, kernel: i64, stride: i64, dilation: i64) -> Option<i64> {
    if input == 0 || kernel == 0 {
        return Some(0);
    }
    (input - 1)
        .checked_mul(stride)?
        .checked_add((kernel - 1).checked_mul(dilation)?)?
        .checked_add(1)
}

/// An empty axis has no element for any index.
pub fn something_to_take(data: &Tensor, axis: usize, result: &Shape) -> Result<()> {
    let empty = |s: &Shape| s.0.contains(&Dim::Known(0));
    if data.shape.0.get(axis) == Some(&Dim::Known(0)) && !empty(result) {
        return Err(Error::model(format!(
            "elements are taken from axis {axis} of shape {}, which is empty",
            data.shape
        )));
    }
    Ok(())
}
