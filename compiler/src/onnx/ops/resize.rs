//! Resizing images.
//!
//! In: a tensor, and sizes or scales whose values are known. Out: the tensor resampled along its axes.
//!
//! Example: `Resize(x[1,3,8,8], scales=[1,1,2,2], mode=linear)` is `[1,3,16,16]`.

use super::super::import::Import;
use super::super::node::{Node, axis};
use super::{Row, row};
use crate::diag::{Error, Result};
use crate::graph::{Coordinates, Op, Resize, ResizeMode, TensorId};

const R11: &[&str] = &[
    "coordinate_transformation_mode",
    "cubic_coeff_a",
    "exclude_outside",
    "extrapolation_value",
    "mode",
    "nearest_mode",
];
const R18: &[&str] = &[
    "antialias",
    "axes",
    "coordinate_transformation_mode",
    "cubic_coeff_a",
    "exclude_outside",
    "extrapolation_value",
    "keep_aspect_ratio_policy",
    "mode",
    "nearest_mode",
];

pub(super) const ROWS: &[Row] = &[
    row("Upsample", 7, 1..=1, &["mode", "scales"], upsample),
    row("Upsample", 9, 2..=2, &["mode"], upsample),
    row("Resize", 10, 2..=2, &["mode"], upsample),
    row("Resize", 11, 1..=4, R11, resize),
    row("Resize", 18, 1..=4, R18, resize),
];

fn scaled(d: i64, scale: f64) -> Result<i64> {
    let size = (d as f64 * scale).floor();
    if !(scale > 0.0 && size < 1e12) {
        return Err(Error::model(format!(
            "axis of {d} elements scaled by {scale}"
        )));
    }
    Ok(size as i64)
}

/// Before opset 11: output pixel i lies at i / scale, and nearest rounds down.
fn upsample(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let dims = c.dims(x)?;
    let scales: Vec<f64> = match n.floats("scales")? {
        Some(s) => s.into_iter().map(f64::from).collect(),
        None => c.numbers(n, 1, "the scales")?,
    };
    if scales.len() != dims.len() {
        return Err(Error::model(format!(
            "scales {scales:?} do not fit shape {dims:?}"
        )));
    }
    let modes = [
        ("nearest", ResizeMode::NearestFloor),
        ("linear", ResizeMode::Linear),
        ("bilinear", ResizeMode::Linear),
    ];
    let sizes = dims
        .iter()
        .zip(&scales)
        .map(|(&d, &s)| scaled(d, s))
        .collect::<Result<_>>()?;
    let op = Resize {
        mode: n.choice("mode", &modes)?,
        coordinates: Coordinates::Asymmetric,
        sizes,
        scales: scales.iter().map(|s| s.to_bits()).collect(),
        roi: Vec::new(),
        exclude_outside: false,
        antialias: false,
        extrapolation: 0,
    };
    Ok(vec![c.push(Op::Resize(op), &[x])?])
}

fn resize(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let dims = c.dims(x)?;
    let rank = dims.len();
    let nearest = [
        ("round_prefer_floor", ResizeMode::NearestRoundPreferFloor),
        ("round_prefer_ceil", ResizeMode::NearestRoundPreferCeil),
        ("floor", ResizeMode::NearestFloor),
        ("ceil", ResizeMode::NearestCeil),
    ];
    let nearest = n.choice("nearest_mode", &nearest)?;
    let a = n.float("cubic_coeff_a")?.unwrap_or(-0.75);
    let modes = [
        ("nearest", nearest),
        ("linear", ResizeMode::Linear),
        ("cubic", ResizeMode::Cubic(a.to_bits())),
    ];
    let mode = n.choice("mode", &modes)?;
    let coordinates = [
        ("half_pixel", Coordinates::HalfPixel),
        ("half_pixel_symmetric", Coordinates::HalfPixelSymmetric),
        ("pytorch_half_pixel", Coordinates::PytorchHalfPixel),
        ("align_corners", Coordinates::AlignCorners),
        ("asymmetric", Coordinates::Asymmetric),
        ("tf_crop_and_resize", Coordinates::CropAndResize),
        ("tf_half_pixel_for_nn", Coordinates::TfHalfPixel),
    ];
    let coordinates = n.choice("coordinate_transformation_mode", &coordinates)?;
    let over: Vec<usize> = match n.ints("axes")? {
        None => (0..rank).collect(),
        Some(list) => {
            super::super::node::axes(&list, rank)?;
            list.iter().map(|&v| axis(v, rank)).collect::<Result<_>>()?
        }
    };
    // An empty tensor stands for an input left out.
    let given = |c: &mut Import<'_>, i: usize, what: &str| -> Result<Option<Vec<f64>>> {
        match n.optional(i) {
            None => Ok(None),
            Some(v) if c.elements(v)? == 0 => Ok(None),
            Some(_) => c.numbers(n, i, what).map(Some),
        }
    };
    let scales = given(c, 2, "the scales")?;
    let sizes = given(c, 3, "the sizes")?;
    let roi = if coordinates == Coordinates::CropAndResize {
        given(c, 1, "the region")?
    } else {
        None
    };
    let fits = |v: &[f64], k: usize, what: &str| {
        if v.len() == k * over.len() {
            return Ok(());
        }
        Err(Error::model(format!(
            "{what} {v:?} do not fit {} axes of shape {dims:?}",
            over.len()
        )))
    };
    let mut out_sizes = dims.clone();
    let mut out_scales = vec![1.0f64; rank];
    match (scales, sizes) {
        (Some(scales), None) => {
            fits(&scales, 1, "the scales")?;
            for (&a, &s) in over.iter().zip(&scales) {
                out_scales[a] = s;
                out_sizes[a] = scaled(dims[a], s)?;
            }
        }
        (None, Some(sizes)) => {
            fits(&sizes, 1, "the sizes")?;
            let policies = [("stretch", 0), ("not_larger", 1), ("not_smaller", 2)];
            let policy = n.choice("keep_aspect_ratio_policy", &policies)?;
            let ratios = over.iter().zip(&sizes).map(|(&a, &s)| s / dims[a] as f64);
            let common = match policy {
                0 => None,
                1 => Some(ratios.fold(f64::INFINITY, f64::min)),
                _ => Some(ratios.fold(0.0, f64::max)),
            };
            for (&a, &s) in over.iter().zip(&sizes) {
                match common {
                    None => {
                        out_sizes[a] = s as i64;
                        out_scales[a] = s / dims[a] as f64;
                    }
                    Some(r) => {
                        out_sizes[a] = (r * dims[a] as f64 + 0.5).floor() as i64;
                        out_scales[a] = r;
                    }
                }
            }
        }
        (None, None) => return Err(Error::model("neither scales nor sizes are given")),
        (Some(_), Some(_)) => return Err(Error::model("both scales and sizes are given")),
    }
    let bad = dims
        .iter()
        .zip(&out_sizes)
        .any(|(&d, &s)| s < 0 || (d == 0 && s != 0));
    if bad || out_scales.iter().any(|s| s.is_nan() || *s <= 0.0) {
        return Err(Error::model(format!(
            "shape {dims:?} cannot be resized to {out_sizes:?}"
        )));
    }
    let mut region = Vec::new();
    if coordinates == Coordinates::CropAndResize {
        let roi = roi.ok_or_else(|| Error::model("the region (roi) is missing"))?;
        fits(&roi, 2, "the numbers of the region")?;
        let mut all = vec![0.0; rank];
        all.extend(vec![1.0; rank]);
        for (k, &a) in over.iter().enumerate() {
            all[a] = roi[k];
            all[rank + a] = roi[k + over.len()];
        }
        region = all.iter().map(|v: &f64| v.to_bits()).collect();
    }
    let op = Resize {
        mode,
        coordinates,
        sizes: out_sizes,
        scales: out_scales.iter().map(|s| s.to_bits()).collect(),
        roi: region,
        exclude_outside: n.flag("exclude_outside", false)?,
        antialias: n.flag("antialias", false)?,
        extrapolation: n.float("extrapolation_value")?.unwrap_or(0.0).to_bits(),
    };
    Ok(vec![c.push(Op::Resize(op), &[x])?])
}
