//! Running sums, the largest elements, and where they are.

use crate::diag::{Error, Result};
use crate::graph::builder::Builder;
use crate::graph::interp::number_bits;
use crate::graph::ops::Op;
use crate::graph::tensor::TensorId;
use crate::uop::{Binary, DType, ReduceOp, Unary};

/// Longest axis for methods that compare every element with every other.
const LONGEST: i64 = 1 << 16;
/// Longest axis whose running sum is not built from those of its blocks.
const ONE_BLOCK: i64 = 64;
/// Shortest axis whose largest elements are looked for in blocks first.
const MANY: i64 = 1 << 10;

fn check(n: i64, what: &str) -> Result<()> {
    if n > LONGEST {
        return Err(Error::unsupported(format!(
            "{what} over an axis of {n} elements (at most {LONGEST})"
        )));
    }
    Ok(())
}

/// Running sum along an axis.
pub fn cum_sum(
    b: &mut Builder,
    x: TensorId,
    axis: usize,
    exclusive: bool,
    reverse: bool,
) -> Result<TensorId> {
    if b.dims(x)?[axis] == 0 {
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
    let v = running_sum(b, v, axis, exclusive)?;
    flip(b, v)
}

/// A sum over the window that ends at each element; for a long axis, over the window inside of the element's
/// block, plus the running sum of the blocks before.
fn running_sum(b: &mut Builder, x: TensorId, axis: usize, exclusive: bool) -> Result<TensorId> {
    let dims = b.dims(x)?;
    let n = dims[axis];
    if n > ONE_BLOCK {
        let size = 1i64 << ((63 - n.leading_zeros()).div_ceil(2));
        let count = (n - 1) / size + 1;
        let mut pads = vec![(0, 0); dims.len()];
        pads[axis] = (0, count * size - n);
        let v = b.pad(x, &pads, 0.0)?;
        let mut split = dims.clone();
        split[axis] = size;
        split.insert(axis, count);
        let v = b.reshape(v, &split)?;
        let sums = b.reduce(ReduceOp::Sum, v, &[axis + 1], true)?;
        let before = running_sum(b, sums, axis, true)?;
        let before = b.expand(before, &split)?;
        let inside = running_sum(b, v, axis + 1, exclusive)?;
        let v = b.push(Op::Binary(Binary::Add), &[before, inside])?;
        let mut joined = dims;
        joined[axis] = count * size;
        let v = b.reshape(v, &joined)?;
        return b.slice(v, axis, 0, n);
    }
    let mut pads = vec![(0, 0); dims.len()];
    pads[axis] = (if exclusive { n } else { n - 1 }, 0);
    let v = b.pad(x, &pads, 0.0)?;
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
    b.reduce(ReduceOp::Sum, v, &[axis + 1], false)
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

/// The k largest (or smallest) in order, equal ones by index. NaN is larger than all.
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
    let y = top_of_rows(b, x, k, largest, indices)?;
    let mut back: Vec<usize> = (0..rank - 1).collect();
    back.insert(axis, rank - 1);
    b.permute(y, &back)
}

/// Along the last axis. Of a long one, first the k largest of each block, then those of what is left.
fn top_of_rows(
    b: &mut Builder,
    x: TensorId,
    k: i64,
    largest: bool,
    indices: bool,
) -> Result<TensorId> {
    let dims = b.dims(x)?;
    let last = dims.len() - 1;
    let n = dims[last];
    let size = (k.max(1) as u64)
        .saturating_mul(4)
        .max(64)
        .next_power_of_two() as i64;
    if n < MANY || size > n / 4 {
        check(n, "the largest elements")?;
        return compare_all(b, x, k, largest, indices);
    }
    // What fills the last block comes after all else, and loses to its equals.
    let count = (n - 1) / size + 1;
    let dtype = b.dtype(x);
    let worst = match (dtype.is_float(), largest) {
        (true, true) => number_bits(dtype, f64::NEG_INFINITY),
        (true, false) => number_bits(dtype, f64::NAN),
        (false, true) if dtype.is_unsigned() => 0,
        (false, false) if dtype == DType::U64 => u64::MAX,
        (false, _) => dtype
            .int_bounds()
            .map_or(0, |(low, high)| (if largest { low } else { high }) as u64),
    };
    let mut pads = vec![(0, 0); dims.len()];
    pads[last] = (0, count * size - n);
    let value = worst;
    let v = if pads[last].1 == 0 {
        x
    } else {
        b.push(Op::Pad { pads, value }, &[x])?
    };
    let with = |tail: &[i64]| -> Vec<i64> { dims[..last].iter().chain(tail).copied().collect() };
    let v = b.reshape(v, &with(&[count, size]))?;
    let values = compare_all(b, v, k, largest, false)?;
    let values = b.reshape(values, &with(&[count * k]))?;
    if !indices {
        return top_of_rows(b, values, k, largest, false);
    }
    let places = compare_all(b, v, k, largest, true)?;
    let shape = with(&[count, k]);
    let block = along(b, count, last, &shape, DType::I64)?;
    let wide = b.full(DType::I64, &shape, size as f64)?;
    let start = b.push(Op::Binary(Binary::Mul), &[block, wide])?;
    let places = b.push(Op::Binary(Binary::Add), &[start, places])?;
    let places = b.reshape(places, &with(&[count * k]))?;
    let chosen = top_of_rows(b, values, k, largest, true)?;
    b.push(Op::GatherElements(last), &[places, chosen])
}

/// Along the last axis: the place of an element in the result is the number of elements before it; result r is the
/// sum over elements of place r, of which there is one.
fn compare_all(
    b: &mut Builder,
    x: TensorId,
    k: i64,
    largest: bool,
    indices: bool,
) -> Result<TensorId> {
    let dims = b.dims(x)?;
    let rank = dims.len();
    let n = dims[rank - 1];
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
    let mut before = b.push(Op::Binary(Binary::Lt), &[low, high])?;
    let mut equal = b.push(Op::Binary(Binary::Eq), &[mine, other])?;
    if b.dtype(x).is_float() {
        let low_nan = b.push(Op::Binary(Binary::Ne), &[low, low])?;
        let high_nan = b.push(Op::Binary(Binary::Ne), &[high, high])?;
        let both = b.push(Op::Binary(Binary::And), &[low_nan, high_nan])?;
        equal = b.push(Op::Binary(Binary::Or), &[equal, both])?;
        // A number is below NaN.
        let only = b.push(Op::Binary(Binary::Xor), &[high_nan, both])?;
        before = b.push(Op::Binary(Binary::Or), &[before, only])?;
    }
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
    b.reduce(ReduceOp::Sum, kept, &[rank], false)
}
