//! Resize: one weight matrix for each axis, from the sampling kernel as a function of distance.

use super::movement::strides;
use super::value::Value;
use crate::graph::ops::{Coordinates, Resize, ResizeMode};

pub fn resize(x: &Value, a: &Resize) -> Value {
    let rank = x.shape.len();
    let mut shape = x.shape.clone();
    let mut v = x.to_f64();
    let mut outside = vec![Vec::new(); rank];
    for axis in 0..rank {
        let (from, to) = (shape[axis], a.sizes[axis]);
        let scale = f64::from_bits(a.scales[axis]);
        let untouched = from == to && scale == 1.0 && a.coordinates != Coordinates::CropAndResize;
        outside[axis] = vec![false; to as usize];
        if untouched {
            continue;
        }
        let inner = shape[axis + 1..].iter().product::<i64>() as usize;
        let outer = shape[..axis].iter().product::<i64>() as usize;
        let mut out = Vec::with_capacity(outer * to as usize * inner);
        let matrix: Vec<Vec<(usize, f64)>> = (0..to)
            .map(|i| {
                let at = position(a, axis, i as f64, from as f64, to as f64, scale, rank);
                if a.coordinates == Coordinates::CropAndResize {
                    outside[axis][i as usize] = at < 0.0 || at > (from - 1) as f64;
                }
                samples(a, at, from, scale)
            })
            .collect();
        for o in 0..outer {
            for row in &matrix {
                for k in 0..inner {
                    out.push(
                        row.iter()
                            .map(|&(i, w)| w * v[(o * from as usize + i) * inner + k])
                            .sum(),
                    );
                }
            }
        }
        v = out;
        shape[axis] = to;
    }
    let s = strides(&shape);
    let fill = f64::from(f32::from_bits(a.extrapolation));
    for (n, e) in v.iter_mut().enumerate() {
        let hit = (0..rank).any(|d| outside[d][(n as i64 / s[d] % shape[d]) as usize]);
        if hit {
            *e = fill;
        }
    }
    if x.dtype.is_float() {
        Value::floats(x.dtype, &shape, v)
    } else {
        let real = Value {
            dtype: crate::uop::DType::F64,
            shape,
            data: super::value::Data::Float(v),
        };
        super::elementwise::cast(&real, x.dtype)
    }
}

/// Where output `i` lies in the input (ONNX `Resize`, `coordinate_transformation_mode`). Nearest samples are chosen by a comparison, and models are made for runtimes
/// that compute it in f32: there each step is rounded so.
pub fn position(
    a: &Resize,
    axis: usize,
    i: f64,
    from: f64,
    to: f64,
    scale: f64,
    rank: usize,
) -> f64 {
    let nearest = !matches!(a.mode, ResizeMode::Linear | ResizeMode::Cubic(_));
    let r = |v: f64| if nearest { f64::from(v as f32) } else { v };
    let scale = r(scale);
    let half_pixel = || r(r((i + 0.5) / scale) - 0.5);
    match a.coordinates {
        Coordinates::HalfPixel => half_pixel(),
        Coordinates::PytorchHalfPixel if to > 1.0 => half_pixel(),
        Coordinates::PytorchHalfPixel => 0.0,
        Coordinates::TfHalfPixel => r((i + 0.5) / scale),
        Coordinates::HalfPixelSymmetric => {
            let adjustment = r(to / r(scale * from));
            let offset = r(r(from / 2.0) * r(1.0 - adjustment));
            r(r(offset + r((i + 0.5) / scale)) - 0.5)
        }
        // The resized length before it was rounded down.
        Coordinates::AlignCorners if to > 1.0 && r(scale * from) != 1.0 => {
            r(r(i * (from - 1.0)) / r(r(scale * from) - 1.0))
        }
        Coordinates::AlignCorners => 0.0,
        Coordinates::Asymmetric => r(i / scale),
        Coordinates::CropAndResize => {
            let at = |n: usize| a.roi.get(n).map_or(0.0, |&v| f64::from_bits(v));
            let (start, end) = (at(axis), at(rank + axis));
            if to > 1.0 {
                let step = r(r(r(end - start) * (from - 1.0)) / (to - 1.0));
                r(r(start * (from - 1.0)) + r(i * step))
            } else {
                r(0.5 * r(start + end) * (from - 1.0))
            }
        }
    }
}

/// Input elements and their weights for one coordinate; elements outside are the nearest inside.
fn samples(a: &Resize, at: f64, from: i64, scale: f64) -> Vec<(usize, f64)> {
    let clamp = |i: f64| (i as i64).clamp(0, from - 1) as usize;
    let (reach, cubic) = match a.mode {
        ResizeMode::NearestRoundPreferFloor => return vec![(clamp((at - 0.5).ceil()), 1.0)],
        ResizeMode::NearestRoundPreferCeil => return vec![(clamp((at + 0.5).floor()), 1.0)],
        ResizeMode::NearestFloor => return vec![(clamp(at.floor()), 1.0)],
        ResizeMode::NearestCeil => return vec![(clamp(at.ceil()), 1.0)],
        ResizeMode::Linear => (1.0, None),
        ResizeMode::Cubic(bits) => (2.0, Some(f64::from(f32::from_bits(bits)))),
    };
    let stretch = if a.antialias { scale.min(1.0) } else { 1.0 };
    let (mut i, last) = (
        (at - reach / stretch).ceil(),
        (at + reach / stretch).floor(),
    );
    let mut out = Vec::new();
    while i <= last {
        let distance = ((at - i) * stretch).abs();
        let inside = i >= 0.0 && i < from as f64;
        if inside || !a.exclude_outside {
            out.push((clamp(i), kernel(distance, cubic)));
        }
        i += 1.0;
    }
    if a.exclude_outside || stretch != 1.0 {
        let total: f64 = out.iter().map(|o| o.1).sum();
        if total != 0.0 {
            out.iter_mut().for_each(|o| o.1 /= total);
        }
    }
    out
}

/// Weight at a distance: a triangle, or Keys' cubic convolution kernel (1981).
fn kernel(d: f64, cubic: Option<f64>) -> f64 {
    match cubic {
        None => (1.0 - d).max(0.0),
        Some(k) if d <= 1.0 => (k + 2.0) * d.powi(3) - (k + 3.0) * d * d + 1.0,
        Some(k) if d < 2.0 => k * d.powi(3) - 5.0 * k * d * d + 8.0 * k * d - 4.0 * k,
        Some(_) => 0.0,
    }
}
