//! Signals: windows and Fourier transforms.
//!
//! In: samples, or a size that is known. Out: spectra, or a window. A transform is a matrix product with
//! constant cosines and sines.
//!
//! Example: `HannWindow(4)` is `[0, 1/2, 1, 1/2]`.

use super::super::import::Import;
use super::super::node::{Node, axis};
use super::super::tensor::require_dtype;
use super::matmul::matmul;
use super::{Row, row};
use crate::diag::{Error, Result};
use crate::graph::{Op, TensorId};
use crate::uop::{DType, Unary};
use std::f64::consts::PI;

const WINDOW: &[&str] = &["output_datatype", "periodic"];

pub(super) const ROWS: &[Row] = &[
    row("HannWindow", 17, 1..=1, WINDOW, |c, n| {
        window(c, n, [0.5, 0.5, 0.0])
    }),
    row("HammingWindow", 17, 1..=1, WINDOW, |c, n| {
        window(c, n, [25.0 / 46.0, 21.0 / 46.0, 0.0])
    }),
    row("BlackmanWindow", 17, 1..=1, WINDOW, |c, n| {
        window(c, n, [0.42, 0.5, 0.08])
    }),
    row("DFT", 17, 1..=2, &["axis", "inverse", "onesided"], dft),
    row("DFT", 20, 1..=3, &["inverse", "onesided"], dft),
    row("STFT", 17, 2..=4, &["onesided"], stft),
];

/// Longest transform.
const MAX_LENGTH: i64 = 1 << 20;
/// Longest transform that is one matrix product: its matrix has this many rows and columns.
const MAX_PRIME: i64 = 4096;
/// Shorter ones are not split.
const SMALL_LENGTH: i64 = 4;

/// `a0 - a1 cos(2 pi i / n) + a2 cos(4 pi i / n)`
fn window(c: &mut Import<'_>, n: &Node<'_>, a: [f64; 3]) -> Result<Vec<TensorId>> {
    let size = match c.ints(n, 0, "the size")?[..] {
        [s] if (0..1 << 24).contains(&s) => s,
        _ => return Err(Error::model("the size of a window must be one number")),
    };
    let periodic = n.flag("periodic", true)?;
    let dtype = require_dtype(
        n.int("output_datatype")?.unwrap_or(1) as i32,
        "attribute 'output_datatype'",
    )?;
    let period = if periodic { size } else { size - 1 }.max(1) as f64;
    let values: Vec<f64> = (0..size)
        .map(|i| {
            let t = 2.0 * PI * i as f64 / period;
            a[0] - a[1] * t.cos() + a[2] * (2.0 * t).cos()
        })
        .collect();
    let wide = if dtype.is_float() { dtype } else { DType::F32 };
    let out = c.constant_f64(&values, &[size], wide)?;
    Ok(vec![c.cast(out, dtype)?])
}

fn one(c: &mut Import<'_>, n: &Node<'_>, i: usize, what: &str) -> Result<Option<i64>> {
    if n.optional(i).is_none() {
        return Ok(None);
    }
    match c.ints(n, i, what)?[..] {
        [v] => Ok(Some(v)),
        _ => Err(Error::model(format!("{what} must be one number"))),
    }
}

fn dft(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let rank = c.rank(x);
    let at = match n.int("axis")? {
        Some(a) => a,
        None if n.opset < 20 => 1,
        None => one(c, n, 2, "the axis")?.unwrap_or(-2),
    };
    let at = axis(at, rank)?;
    if rank < 2 || at == rank - 1 {
        return Err(Error::model(format!(
            "axis {at} of shape {:?} cannot be transformed",
            c.shape(x)
        )));
    }
    let inverse = n.flag("inverse", false)?;
    let onesided = n.flag("onesided", false)?;
    let length = one(c, n, 1, "the length")?;
    // The transformed axis moves last but one, so that a matrix can follow.
    let mut perm: Vec<usize> = (0..rank).filter(|&a| a != at && a != rank - 1).collect();
    perm.extend([at, rank - 1]);
    let moved = c.permute(x, &perm)?;
    let y = transform(c, moved, length, inverse, onesided)?;
    let mut back = vec![0; rank];
    for (i, &p) in perm.iter().enumerate() {
        back[p] = i;
    }
    Ok(vec![c.permute(y, &back)?])
}

/// Over the axis before the last; the last holds real and perhaps imaginary parts.
fn transform(
    c: &mut Import<'_>,
    x: TensorId,
    length: Option<i64>,
    inverse: bool,
    onesided: bool,
) -> Result<TensorId> {
    let dims = c.dims(x)?;
    let rank = dims.len();
    let (have, parts) = (dims[rank - 2], dims[rank - 1]);
    let half = onesided && inverse;
    let length = length.unwrap_or(if half { 2 * (have - 1) } else { have });
    if !(1..=2).contains(&parts) || length < 1 {
        return Err(Error::model(format!(
            "a transform of {length} of shape {dims:?}"
        )));
    }
    if length > MAX_LENGTH {
        return Err(Error::unsupported(format!(
            "a transform of {length} elements"
        )));
    }
    // Real and imaginary part, each cut or filled with zeros to what is transformed.
    let wanted = if half { length / 2 + 1 } else { length };
    let used = have.min(wanted);
    let mut row = dims[..rank - 2].to_vec();
    row.push(used);
    let mut around = vec![(0, 0); row.len()];
    around[rank - 2].1 = wanted - used;
    let zero = c.number(0.0, c.dtype(x))?;
    let x = c.slice_axis(x, rank - 2, 0, used)?;
    let part = |c: &mut Import<'_>, k: i64| -> Result<TensorId> {
        let v = c.slice_axis(x, rank - 1, k, 1)?;
        let v = c.reshape(v, &row)?;
        c.pad(v, &around, zero)
    };
    let re = part(c, 0)?;
    let im = if parts == 2 { Some(part(c, 1)?) } else { None };
    let sides = if half {
        vec![from_half(c, re, im, length)?]
    } else {
        let real = im.is_none();
        let (re, im) = fourier(c, re, im, length, if inverse { 1.0 } else { -1.0 })?;
        if real {
            mirrored(c, re, im)?
        } else {
            vec![re, im]
        }
    };
    let mut out = Vec::new();
    for mut v in sides {
        if inverse {
            v = c.mul_number(v, 1.0 / length as f64)?;
        }
        if onesided && !inverse {
            v = c.slice_axis(v, rank - 2, 0, length / 2 + 1)?;
        }
        out.push(c.unsqueeze(v, rank - 1)?);
    }
    c.concat(&out, rank - 1)
}

/// Cosines and sines of `2 pi i k / n`, times a weight for each row.
fn waves(
    c: &mut Import<'_>,
    (rows, columns, n): (i64, i64, i64),
    dtype: DType,
    weight: impl Fn(i64) -> f64,
) -> Result<(TensorId, TensorId)> {
    let mut cos = Vec::with_capacity((rows * columns) as usize);
    let mut sin = Vec::with_capacity((rows * columns) as usize);
    for i in 0..rows {
        for k in 0..columns {
            // Reduced first: the angle stays small and exact.
            let t = 2.0 * PI * ((i * k) % n) as f64 / n as f64;
            cos.push(t.cos() * weight(i));
            sin.push(t.sin() * weight(i));
        }
    }
    let shape = [rows, columns];
    Ok((
        c.constant_f64(&cos, &shape, dtype)?,
        c.constant_f64(&sin, &shape, dtype)?,
    ))
}

/// The last axis times a matrix.
fn times(c: &mut Import<'_>, x: TensorId, matrix: TensorId) -> Result<TensorId> {
    let mut dims = c.dims(x)?;
    let rank = dims.len();
    let x = c.unsqueeze(x, rank - 1)?;
    let y = matmul(c, x, matrix)?;
    dims[rank - 1] = c.dims(matrix)?[1];
    c.reshape(y, &dims)
}

/// `sum over j of x[j] exp(sign 2 pi i j k / n)` along the last axis. Composite lengths are split in two after Cooley
/// and Tukey (1965), which takes fewer operations and rounds less; prime ones are a matrix product.
fn fourier(
    c: &mut Import<'_>,
    re: TensorId,
    im: Option<TensorId>,
    n: i64,
    sign: f64,
) -> Result<(TensorId, TensorId)> {
    let dtype = c.dtype(re);
    let outer = (2..)
        .take_while(|d| d * d <= n)
        .filter(|d| n % d == 0)
        .last();
    let Some(outer) = outer.filter(|_| n > SMALL_LENGTH) else {
        if n > MAX_PRIME {
            return Err(Error::unsupported(format!(
                "a transform with the prime factor {n}"
            )));
        }
        let (cos, sin) = waves(c, (n, n, n), dtype, |_| 1.0)?;
        let sin = if sign < 0.0 {
            c.unary(Unary::Neg, sin)?
        } else {
            sin
        };
        let mut out_re = times(c, re, cos)?;
        let mut out_im = times(c, re, sin)?;
        if let Some(im) = im {
            let a = times(c, im, sin)?;
            out_re = c.sub(out_re, a)?;
            let b = times(c, im, cos)?;
            out_im = c.add(out_im, b)?;
        }
        return Ok((out_re, out_im));
    };
    let inner = n / outer;
    let dims = c.dims(re)?;
    let last = dims.len() - 1;
    // Element j = a * inner + b; first over a.
    let mut split = dims[..last].to_vec();
    split.extend([outer, inner]);
    let mut swap: Vec<usize> = (0..=last + 1).collect();
    swap.swap(last, last + 1);
    let apart = |c: &mut Import<'_>, v: TensorId| -> Result<TensorId> {
        let v = c.reshape(v, &split)?;
        c.permute(v, &swap)
    };
    let re = apart(c, re)?;
    let im = im.map(|v| apart(c, v)).transpose()?;
    let (re, im) = fourier(c, re, im, outer, sign)?;
    let (re, im) = (c.permute(re, &swap)?, c.permute(im, &swap)?);
    let (cos, sin) = waves(c, (outer, inner, n), dtype, |_| 1.0)?;
    let sin = if sign < 0.0 {
        c.unary(Unary::Neg, sin)?
    } else {
        sin
    };
    let (rc, is) = (c.mul(re, cos)?, c.mul(im, sin)?);
    let (rs, ic) = (c.mul(re, sin)?, c.mul(im, cos)?);
    let (re, im) = (c.sub(rc, is)?, c.add(rs, ic)?);
    let (re, im) = fourier(c, re, Some(im), inner, sign)?;
    // Bin k = p + outer * q, found at [p, q].
    let (re, im) = (c.permute(re, &swap)?, c.permute(im, &swap)?);
    Ok((c.reshape(re, &dims)?, c.reshape(im, &dims)?))
}

/// The spectrum of a real signal: the upper half is the conjugate of the lower, and what is its own conjugate has no
/// imaginary part, to the last digit.
fn mirrored(c: &mut Import<'_>, re: TensorId, im: TensorId) -> Result<Vec<TensorId>> {
    let last = c.rank(re) - 1;
    let n = c.dims(re)?[last];
    let pairs = (n - 1) / 2;
    let own = n - 1 - 2 * pairs;
    let low = c.slice_axis(re, last, 1, pairs)?;
    let high = c.flip(low, &[last])?;
    let centre = c.slice_axis(re, last, 1 + pairs, own)?;
    let first = c.slice_axis(re, last, 0, 1)?;
    let re = c.concat(&[first, low, centre, high], last)?;
    let low = c.slice_axis(im, last, 1, pairs)?;
    let high = c.flip(low, &[last])?;
    let high = c.unary(Unary::Neg, high)?;
    let mut dims = c.dims(re)?;
    dims[last] = 1;
    let zero = c.number(0.0, c.dtype(re))?;
    let first = c.broadcast(zero, &dims)?;
    dims[last] = own;
    let centre = c.broadcast(zero, &dims)?;
    let im = c.concat(&[first, low, centre, high], last)?;
    Ok(vec![re, im])
}

/// The real signal of `n` elements whose spectrum is the given bins and their conjugates.
fn from_half(c: &mut Import<'_>, re: TensorId, im: Option<TensorId>, n: i64) -> Result<TensorId> {
    if n > MAX_PRIME {
        return Err(Error::unsupported(format!(
            "the inverse transform of half a spectrum to {n} elements"
        )));
    }
    let bins = n / 2 + 1;
    let twice = |k: i64| if k == 0 || 2 * k == n { 1.0 } else { 2.0 };
    let (cos, sin) = waves(c, (bins, n, n), c.dtype(re), twice)?;
    let y = times(c, re, cos)?;
    match im {
        None => Ok(y),
        Some(im) => {
            let odd = times(c, im, sin)?;
            c.sub(y, odd)
        }
    }
}

fn stft(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let dims = c.dims(x)?;
    let (batch, samples, parts) = match dims[..] {
        [b, l] => (b, l, 1),
        [b, l, p] => (b, l, p),
        _ => return Err(Error::model(format!("a signal of shape {dims:?}"))),
    };
    let step = one(c, n, 1, "the step")?.unwrap_or(0);
    let length = match (one(c, n, 3, "the frame length")?, n.optional(2)) {
        (Some(l), _) => l,
        (None, Some(w)) => c.elements(w)?,
        (None, None) => return Err(Error::model("neither a window nor a frame length")),
    };
    if step < 1 || length < 1 || length > samples {
        return Err(Error::model(format!(
            "frames of {length} every {step} of {samples} samples"
        )));
    }
    let x = c.reshape(x, &[batch, samples, parts])?;
    let op = Op::Window {
        axis: 1,
        size: length,
        stride: step,
        dilation: 1,
    };
    let mut frames = c.push(op, &[x])?;
    if let Some(w) = n.optional(2) {
        if c.dims(w)? != [length] {
            return Err(Error::model(format!("a window of shape {:?}", c.shape(w))));
        }
        let w = c.reshape(w, &[length, 1])?;
        frames = c.mul(frames, w)?;
    }
    let onesided = n.flag("onesided", true)?;
    Ok(vec![transform(c, frames, Some(length), false, onesided)?])
}
