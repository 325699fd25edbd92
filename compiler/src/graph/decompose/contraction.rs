//! Sums of products: convolution, transposed convolution, matrix product.

use crate::diag::Result;
use crate::graph::builder::Builder;
use crate::graph::ops::{Conv, ConvTranspose, Op};
use crate::graph::tensor::TensorId;
use crate::uop::{Binary, DType, ReduceOp};

/// `out[n,g,m,o..] = sum over c, k.. of x[n,g,c,o*stride + k*dilation..] * w[g,m,c,k..]`, plus bias.
pub fn conv(b: &mut Builder, a: &Conv, src: &[TensorId]) -> Result<TensorId> {
    let (mut x, mut w) = (src[0], src[1]);
    b.set_image(x);
    let mut pads = vec![(0, 0), (0, 0)];
    for (i, &pad) in a.pads.iter().enumerate() {
        let axis = 2 + i;
        let (extent, taps) = (b.dims(x)?[axis], b.dims(w)?[axis]);
        let (first, last) = live_taps(extent, taps, a.strides[i], a.dilations[i], pad);
        w = b.slice(w, axis, first, last - first + 1)?;
        let low = pad.0 - first * a.dilations[i];
        let high = pad.1 - (taps - 1 - last) * a.dilations[i];
        let cut = ((-low).max(0), (-high).max(0));
        x = b.slice(x, axis, cut.0, extent - cut.0 - cut.1)?;
        pads.push((low.max(0), high.max(0)));
    }
    let padded = b.pad(x, &pads, 0.0)?;
    let y = windows_times(b, padded, w, &a.strides, &a.dilations, a.groups)?;
    add_bias(b, y, src.get(2).copied())
}

/// First and last tap of a window that meets anything but zeros around an axis; all where none does. Taps 24 apart on an image of 10
/// columns leave the one in the middle.
fn live_taps(
    extent: i64,
    taps: i64,
    stride: i64,
    dilation: i64,
    (low, high): (i64, i64),
) -> (i64, i64) {
    let span = (taps - 1) * dilation;
    let last_window = (extent + low + high - span - 1).div_euclid(stride) * stride;
    let is_live = |&t: &i64| {
        let at = t * dilation - low;
        at < extent && at + last_window >= 0
    };
    let first = (0..taps).find(is_live);
    let last = (0..taps).rev().find(is_live);
    first.zip(last).unwrap_or((0, taps - 1))
}

fn add_bias(b: &mut Builder, y: TensorId, bias: Option<TensorId>) -> Result<TensorId> {
    let Some(bias) = bias else { return Ok(y) };
    let dims = b.dims(y)?;
    let mut shape = vec![1; dims.len()];
    shape[1] = dims[1];
    let bias = b.reshape(bias, &shape)?;
    let bias = b.expand(bias, &dims)?;
    let sum = b.push(Op::Binary(Binary::Add), &[y, bias])?;
    b.set_channels(sum, Some(1));
    Ok(sum)
}

/// Halves are multiplied and added as f32, and rounded once.
fn sum_of_products(b: &mut Builder, x: TensorId, y: TensorId, axes: &[usize]) -> Result<TensorId> {
    let dtype = b.dtype(x);
    let (mut x, mut y) = (x, y);
    if matches!(dtype, DType::F16 | DType::BF16) {
        x = b.cast(x, DType::F32)?;
        y = b.cast(y, DType::F32)?;
    }
    let product = b.push(Op::Binary(Binary::Mul), &[x, y])?;
    let sum = b.reduce(ReduceOp::Sum, product, axes, false)?;
    b.cast(sum, dtype)
}

fn windows_times(
    b: &mut Builder,
    x: TensorId,
    w: TensorId,
    strides: &[i64],
    dilations: &[i64],
    groups: i64,
) -> Result<TensorId> {
    let (xd, wd) = (b.dims(x)?, b.dims(w)?);
    let spatial = xd.len() - 2;
    let mut v = x;
    for i in 0..spatial {
        v = b.push(
            Op::Window {
                axis: 2 + 2 * i,
                size: wd[2 + i],
                stride: strides[i],
                dilation: dilations[i],
            },
            &[v],
        )?;
    }
    let vd = b.dims(v)?;
    let (n, m, each, own) = (xd[0], wd[0], wd[1], wd[0] / groups);
    let out: Vec<i64> = (0..spatial).map(|i| vd[2 + 2 * i]).collect();
    let kernel = &wd[2..];
    let mut grouped = vec![n, groups, each];
    grouped.extend(&vd[2..]);
    let v = b.reshape(v, &grouped)?;
    let mut perm = vec![0, 1];
    perm.extend((0..spatial).map(|i| 3 + 2 * i));
    perm.push(2);
    perm.extend((0..spatial).map(|i| 4 + 2 * i));
    let v = b.permute(v, &perm)?;
    let shape = |first: &[i64], outputs: &[i64]| -> Vec<i64> {
        first
            .iter()
            .chain(outputs)
            .chain([&each])
            .chain(kernel)
            .copied()
            .collect()
    };
    let ones = vec![1; spatial];
    let full = shape(&[n, groups, own], &out);
    let v = b.reshape(v, &shape(&[n, groups, 1], &out))?;
    let v = b.expand(v, &full)?;
    let w = b.reshape(w, &shape(&[1, groups, own], &ones))?;
    let w = b.expand(w, &full)?;
    let axes: Vec<usize> = (3 + spatial..4 + 2 * spatial).collect();
    let sum = sum_of_products(b, v, w, &axes)?;
    b.set_channels(
        sum,
        if groups == 1 {
            Some(2)
        } else if own == 1 {
            Some(1)
        } else {
            None
        },
    );
    let mut shape = vec![n, m];
    shape.extend(&out);
    let y = b.reshape(sum, &shape)?;
    b.set_channels(y, Some(1));
    Ok(y)
}

/// A transposed convolution with stride `s` as one convolution without: tap `s * t + r` reaches the outputs of phase `r` only, so each
/// phase is a group of output channels, and no product with a zero is computed. Phases are put side by side afterwards. Only dilated
/// taps with a stride put zeros between the elements of x first.
pub fn conv_transpose(b: &mut Builder, a: &ConvTranspose, src: &[TensorId]) -> Result<TensorId> {
    let (mut x, w) = (src[0], src[1]);
    let wd = b.dims(w)?;
    let spatial = wd.len() - 2;
    let (c, own) = (wd[0], wd[1]);
    let mut strides = a.strides.clone();
    for (i, stride) in strides.iter_mut().enumerate() {
        if *stride > 1 && a.dilations[i] > 1 {
            x = spread(b, x, 2 + i, *stride)?;
            *stride = 1;
        }
    }
    let s = &strides;
    let taps: Vec<i64> = (0..spatial)
        .map(|i| (wd[2 + i] + s[i] - 1).div_euclid(s[i]))
        .collect();

    let mut pads = vec![(0, 0); 2 + spatial];
    let mut shape = vec![a.groups, c / a.groups, own];
    for i in 0..spatial {
        pads[2 + i].1 = s[i] * taps[i] - wd[2 + i];
        shape.extend([taps[i], s[i]]);
    }
    let w = b.pad(w, &pads, 0.0)?;
    let mut w = b.reshape(w, &shape)?;
    let tap_axes: Vec<usize> = (0..spatial).map(|i| 3 + 2 * i).collect();
    if !tap_axes.is_empty() {
        w = b.push(Op::Flip(tap_axes.clone()), &[w])?;
    }
    let mut perm = vec![0];
    perm.extend((0..spatial).map(|i| 4 + 2 * i));
    perm.extend([2, 1]);
    perm.extend(tap_axes);
    let w = b.permute(w, &perm)?;
    let phases: i64 = s.iter().product();
    let mut shape = vec![a.groups * phases * own, c / a.groups];
    shape.extend(&taps);
    let w = b.reshape(w, &shape)?;

    // Outputs `s * m + r - pad` of all `m` from the first to the last that are wanted.
    let mut wanted = Vec::new();
    for i in 0..spatial {
        let (pad, length) = (a.pads[i].0, b.dims(x)?[2 + i]);
        let reach = a.dilations[i] * (wd[2 + i] - 1);
        let out = (length - 1) * s[i] + reach + 1 - pad - a.pads[i].1;
        let first = pad.div_euclid(s[i]);
        let last = (pad + out - 1).div_euclid(s[i]);
        let low = a.dilations[i] * (taps[i] - 1) - first;
        let high = last - (length - 1);
        let (cut_low, cut_high) = ((-low).max(0), (-high).max(0));
        x = b.slice(x, 2 + i, cut_low, length - cut_low - cut_high)?;
        let mut pads = vec![(0, 0); 2 + spatial];
        pads[2 + i] = (low.max(0), high.max(0));
        x = b.pad(x, &pads, 0.0)?;
        wanted.push((pad - s[i] * first, out));
    }
    let ones = vec![1; spatial];
    let z = windows_times(b, x, w, &ones, &a.dilations, a.groups)?;

    let zd = b.dims(z)?;
    let mut shape = vec![zd[0], a.groups];
    shape.extend(s);
    shape.push(own);
    shape.extend(&zd[2..]);
    let z = b.reshape(z, &shape)?;
    let mut perm = vec![0, 1, 2 + spatial];
    perm.extend((0..spatial).flat_map(|i| [3 + spatial + i, 2 + i]));
    let z = b.permute(z, &perm)?;
    let mut shape = vec![zd[0], a.groups * own];
    shape.extend((0..spatial).map(|i| zd[2 + i] * s[i]));
    let mut y = b.reshape(z, &shape)?;
    for (i, (start, length)) in wanted.into_iter().enumerate() {
        y = b.slice(y, 2 + i, start, length)?;
    }
    b.set_channels(y, Some(1));
    add_bias(b, y, src.get(2).copied())
}

/// `by - 1` zeros between the elements along an axis.
fn spread(b: &mut Builder, x: TensorId, axis: usize, by: i64) -> Result<TensorId> {
    let dims = b.dims(x)?;
    let mut apart = dims.clone();
    apart.insert(axis + 1, 1);
    let v = b.reshape(x, &apart)?;
    let mut pads = vec![(0, 0); apart.len()];
    pads[axis + 1] = (0, by - 1);
    let v = b.pad(v, &pads, 0.0)?;
    let mut joined = dims.clone();
    joined[axis] *= by;
    let v = b.reshape(v, &joined)?;
    b.slice(v, axis, 0, (dims[axis] - 1) * by + 1)
}

/// `out[.., m, n] = sum over k of a[.., m, k] * b[.., k, n]`, batch axes broadcast.
pub fn matmul(b: &mut Builder, x: TensorId, y: TensorId) -> Result<TensorId> {
    let (xd, yd) = (b.dims(x)?, b.dims(y)?);
    let (xr, yr) = (xd.len(), yd.len());
    let (m, k, n) = (xd[xr - 2], xd[xr - 1], yd[yr - 1]);
    let batch_rank = xr.max(yr) - 2;
    let side = |dims: &[i64]| -> Vec<i64> {
        let mut out = vec![1; batch_rank - (dims.len() - 2)];
        out.extend(&dims[..dims.len() - 2]);
        out
    };
    let (xb, yb) = (side(&xd), side(&yd));
    let batch: Vec<i64> = xb
        .iter()
        .zip(&yb)
        .map(|(&p, &q)| if p == 1 { q } else { p })
        .collect();
    let mut full = batch.clone();
    full.extend([m, n, k]);
    let mut shape = xb;
    shape.extend([m, 1, k]);
    let x = b.reshape(x, &shape)?;
    let x = b.expand(x, &full)?;
    let mut perm: Vec<usize> = (0..yr).collect();
    perm.swap(yr - 2, yr - 1);
    let y = b.permute(y, &perm)?;
    let mut shape = yb;
    shape.extend([1, n, k]);
    let y = b.reshape(y, &shape)?;
    let y = b.expand(y, &full)?;
    sum_of_products(b, x, y, &[batch_rank + 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_that_meet_zeros_only_are_left_out() {
        assert_eq!(live_taps(10, 3, 1, 24, (24, 24)), (1, 1));
        assert_eq!(live_taps(10, 3, 1, 9, (9, 9)), (0, 2));
        assert_eq!(live_taps(14, 3, 2, 1, (1, 1)), (0, 2));
        assert_eq!(live_taps(2, 5, 1, 2, (6, 2)), (3, 3));
        assert_eq!(live_taps(1, 3, 1, 1, (1, 1)), (1, 1));
    }
}
