//! Running sums, the largest elements, and where they are.

use crate::diag::{Error, Result};
use crate::graph::builder::Builder;
use crate::graph::ops::Op;
use crate::graph::tensor::TensorId;
use crate::uop::{Binary, DType, ReduceOp, Unary};

/// Longest axis for methods that compare every element with every other.
const LONGEST: i64 = 1 << 14;

fn check(n: i64, what: &str) -> Result<()> {
    if n > LONGEST {
        return Err(Error::unsupported(format!(
            "{what} over an axis of {n} elements (at most {LONGEST})"
        )));
    }
    Ok(())
}

/// A sum over the window that ends at each element.
pub fn cum_sum(
    b: &mut Builder,
    x: TensorId,
    axis: usize,
    exclusive: bool,
    reverse: bool,
) -> Result<TensorId> {
    let dims = b.dims(x)?;
    let n = dims[axis];
    check(n, "a running sum")?;
    if n == 0 {
        return Ok(x);
    }
    let flip = |b: &mut Builder, v: TensorId| {
        if reverse {
            b.push(Op::Flip(vec![axis]), &[v])
        } else {
            Ok(v)
        }
    };
    let v = flip(b, x)?;
    let mut pads = vec![(0, 0); dims.len()];
    pads[axis] = (if exclusive { n } else { n - 1 }, 0);
    let v = b.pad(v, &pads, 0.0)?;
    let length = b.dims(v)?[axis];
    let v = b.slice(v, axis, 0, length - i64::from(exclusive))?;
    let v = b.push(
        Op::Window {
            axis,
            size: n,
            stride: 1,
            dilation: 1,
        },
        &[v],
    )?;
    let v = b.reduce(ReduceOp::Sum, v, &[axis + 1], false)?;
    flip(b, v)
}

/// Index of the largest (or smallest) element; NaN is larger than all, as in numpy.
pub fn arg_reduce(
    b: &mut Builder,
    x: TensorId,
    axis: usize,
    largest: bool,
    last: bool,
) -> Result<TensorId> {
    let dims = b.dims(x)?;
    let n = dims[axis];
    let best = b.reduce(
        if largest {
            ReduceOp::Max
        } else {
            ReduceOp::Min
        },
        x,
        &[axis],
        true,
    )?;
    let best = b.expand(best, &dims)?;
    let mut hit = b.push(Op::Binary(Binary::Eq), &[x, best])?;
    if b.dtype(x).is_float() {
        let nan = b.unary(Unary::IsNan, x)?;
        hit = b.push(Op::Binary(Binary::Or), &[hit, nan])?;
    }
    let place = along(b, n, axis, &dims, DType::I64)?;
    let none = b.full(DType::I64, &dims, if last { -1.0 } else { n as f64 })?;
    let place = b.select(hit, place, none)?;
    b.reduce(
        if last { ReduceOp::Max } else { ReduceOp::Min },
        place,
        &[axis],
        false,
    )
}

/// 0, 1, 2 ... along one axis of a shape.
fn along(b: &mut Builder, n: i64, axis: usize, dims: &[i64], dtype: DType) -> Result<TensorId> {
    let iota = b.iota(n, dtype)?;
    let mut shape = vec![1; dims.len()];
    shape[axis] = n;
    let iota = b.reshape(iota, &shape)?;
    b.expand(iota, dims)
}

/// The k largest in order. The rank of an element is the number of elements before it; result r is the sum over
/// elements of rank r, of which there is one.
pub fn top_k(
    b: &mut Builder,
    x: TensorId,
    axis: usize,
    k: i64,
    largest: bool,
    indices: bool,
) -> Result<TensorId> {
    let rank = b.dims(x)?.len();
    let mut perm: Vec<usize> = (0..rank).filter(|&a| a != axis).collect();
    perm.push(axis);
    let x = b.permute(x, &perm)?;
    let dims = b.dims(x)?;
    let n = dims[rank - 1];
    check(n, "the largest elements")?;
    let outer = &dims[..rank - 1];
    let with = |tail: &[i64]| -> Vec<i64> { outer.iter().chain(tail).copied().collect() };
    let square = with(&[n, n]);
    let mine = b.reshape(x, &with(&[n, 1]))?;
    let mine = b.expand(mine, &square)?;
    let other = b.reshape(x, &with(&[1, n]))?;
    let other = b.expand(other, &square)?;
    let (low, high) = if largest {
        (mine, other)
    } else {
        (other, mine)
    };
    let before = b.push(Op::Binary(Binary::Lt), &[low, high])?;
    let equal = b.push(Op::Binary(Binary::Eq), &[mine, other])?;
    let i = along(b, n, rank - 1, &square, DType::I32)?;
    let j = along(b, n, rank, &square, DType::I32)?;
    let earlier = b.push(Op::Binary(Binary::Lt), &[j, i])?;
    let tie = b.push(Op::Binary(Binary::And), &[equal, earlier])?;
    let counts = b.push(Op::Binary(Binary::Or), &[before, tie])?;
    let counts = b.cast(counts, DType::I32)?;
    let place = b.reduce(ReduceOp::Sum, counts, &[rank], false)?;
    // Result r takes the element whose place is r.
    let wide = with(&[k, n]);
    let place = b.reshape(place, &with(&[1, n]))?;
    let place = b.expand(place, &wide)?;
    let r = along(b, k, rank - 1, &wide, DType::I32)?;
    let chosen = b.push(Op::Binary(Binary::Eq), &[place, r])?;
    let value = if indices {
        along(b, n, rank, &wide, DType::I64)?
    } else {
        let v = b.reshape(x, &with(&[1, n]))?;
        b.expand(v, &wide)?
    };
    let zero = b.full(b.dtype(value), &wide, 0.0)?;
    let kept = b.select(chosen, value, zero)?;
    let y = b.reduce(ReduceOp::Sum, kept, &[rank], false)?;
    let mut back: Vec<usize> = (0..rank - 1).collect();
    back.insert(axis, rank - 1);
    b.permute(y, &back)
}
