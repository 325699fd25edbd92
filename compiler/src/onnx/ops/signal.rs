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
use crate::uop::DType;
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

/// Longest transform: its matrix has this many rows and columns.
const MAX_LENGTH: i64 = 4096;

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
    let length = one(c, n, 1, "the length")?.unwrap_or(c.dims(x)?[at]);
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

/// Over the axis before the last, which holds real and perhaps imaginary parts.
fn transform(
    c: &mut Import<'_>,
    x: TensorId,
    length: i64,
    inverse: bool,
    onesided: bool,
) -> Result<TensorId> {
    let dims = c.dims(x)?;
    let rank = dims.len();
    let (have, parts) = (dims[rank - 2], dims[rank - 1]);
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
    if onesided && inverse {
        return Err(Error::unsupported(
            "the inverse transform of half a spectrum",
        ));
    }
    let dtype = c.dtype(x);
    let used = have.min(length);
    let bins = if onesided { length / 2 + 1 } else { length };
    let mut cos = Vec::new();
    let mut sin = Vec::new();
    let scale = if inverse { 1.0 / length as f64 } else { 1.0 };
    let sign = if inverse { 1.0 } else { -1.0 };
    for i in 0..used {
        for k in 0..bins {
            // Reduced first: the angle stays small and exact.
            let t = 2.0 * PI * ((i * k) % length) as f64 / length as f64;
            cos.push(t.cos() * scale);
            sin.push(sign * t.sin() * scale);
        }
    }
    let cos = c.constant_f64(&cos, &[used, bins], dtype)?;
    let sin = c.constant_f64(&sin, &[used, bins], dtype)?;
    let x = c.slice_axis(x, rank - 2, 0, used)?;
    let mut row = dims[..rank - 2].to_vec();
    row.extend([1, used]);
    let re = c.slice_axis(x, rank - 1, 0, 1)?;
    let re = c.reshape(re, &row)?;
    let mut out_re = matmul(c, re, cos)?;
    let mut out_im = matmul(c, re, sin)?;
    if parts == 2 {
        let im = c.slice_axis(x, rank - 1, 1, 1)?;
        let im = c.reshape(im, &row)?;
        let a = matmul(c, im, sin)?;
        out_re = c.sub(out_re, a)?;
        let b = matmul(c, im, cos)?;
        out_im = c.add(out_im, b)?;
    }
    let mut column = dims[..rank - 2].to_vec();
    column.extend([bins, 1]);
    let re = c.reshape(out_re, &column)?;
    let im = c.reshape(out_im, &column)?;
    c.concat(&[re, im], rank - 1)
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
    Ok(vec![transform(c, frames, length, false, onesided)?])
}
