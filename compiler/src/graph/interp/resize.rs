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
                let at = source(a, axis, i as f64, from as f64, to as f64, scale, rank);
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

/// Coordinate in the input (ONNX `Resize`, `coordinate_transformation_mode`).
fn source(a: &Resize, axis: usize, i: f64, from: f64, to: f64, scale: f64, rank: usize) -> f64 {
    let half = (i + 0.5) / scale - 0.5;
    match a.coordinates {
        Coordinates::HalfPixel => half,
        Coordinates::PytorchHalfPixel if to <= 1.0 => 0.0,
        Coordinates::PytorchHalfPixel => half,
        Coordinates::HalfPixelSymmetric => from / 2.0 * (1.0 - to / (scale * from)) + half,
        Coordinates::AlignCorners if to <= 1.0 => 0.0,
        Coordinates::AlignCorners => i * (from - 1.0) / (to - 1.0),
        Coordinates::Asymmetric => i / scale,
        Coordinates::CropAndResize => {
            let start = f64::from_bits(a.roi[axis]);
            let end = f64::from_bits(a.roi[rank + axis]);
            if to > 1.0 {
                (start + i * (end - start) / (to - 1.0)) * (from - 1.0)
            } else {
                0.5 * (start + end) * (from - 1.0)
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
