//! Resize: one axis after another, each a weighted sum of gathered samples.
//!
//! Positions and weights are computed here, in f64, as the ONNX operator's definition gives them; what is left at
//! run time is gathers with constant indices. Whole-number nearest scaling needs not even that: it is a repetition. Along contiguous rows
//! the outputs of a block share their samples: each is gathered once, and multiplied by a vector of weights.

use crate::diag::{Error, Result};
use crate::graph::builder::Builder;
use crate::graph::interp::{Value, position};
use crate::graph::ops::{Coordinates, Op, Resize, ResizeMode};
use crate::graph::tensor::TensorId;
use crate::uop::{Binary, DType, ReduceOp};

/// Longest axis that is resized: its positions and weights are constants.
const MAX_SIDE: i64 = 1 << 20;

/// Most samples that one output blends: each is a few operations of the graph.
const MAX_TAPS: usize = 256;

/// Outputs of a block of a row.
const BLOCK: usize = 16;

/// Most samples that the outputs of a block share.
const MAX_SHARED: i64 = 14;

/// Resizes all axes that change. `planar`: the rows of the result will be contiguous.
pub fn resize(b: &mut Builder, a: &Resize, x: TensorId, planar: bool) -> Result<TensorId> {
    let original = b.dims(x)?;
    let dtype = b.dtype(x);
    let blends = matches!(a.mode, ResizeMode::Linear | ResizeMode::Cubic(_));
    let mut y = if blends && !matches!(dtype, DType::F32 | DType::F64) {
        b.cast(x, DType::F32)?
    } else {
        x
    };
    let mut outside: Vec<(usize, Vec<bool>)> = Vec::new();
    for axis in 0..original.len() {
        let (from, to) = (original[axis], a.sizes[axis]);
        let scale = f64::from_bits(a.scales[axis]);
        if from == to && scale == 1.0 && a.coordinates != Coordinates::CropAndResize {
            continue;
        }
        if from.max(to) > MAX_SIDE {
            return Err(Error::unsupported(format!(
                "axis {axis} resized from {from} to {to} elements"
            )));
        }
        let positions: Vec<f64> = (0..to)
            .map(|i| {
                position(
                    a,
                    axis,
                    i as f64,
                    from as f64,
                    to as f64,
                    scale,
                    original.len(),
                )
            })
            .collect();
        if a.coordinates == Coordinates::CropAndResize {
            let out: Vec<bool> = positions
                .iter()
                .map(|&p| p < 0.0 || p > (from - 1) as f64)
                .collect();
            if out.iter().any(|&o| o) {
                outside.push((axis, out));
            }
        }
        let rows = planar && axis > 1 && axis + 1 == original.len();
        y = axis_samples(b, a, y, axis, scale, &positions, rows)?;
    }
    let mut dims = b.dims(y)?;
    for (axis, out) in outside {
        let flags: Vec<i64> = out.iter().map(|&o| i64::from(o)).collect();
        let mask = b.integers(&[flags.len() as i64], &flags)?;
        let mask = b.cast(mask, DType::Bool)?;
        let mut shape = vec![1; dims.len()];
        shape[axis] = dims[axis];
        let mask = b.reshape(mask, &shape)?;
        let mask = b.expand(mask, &dims)?;
        let fill = b.full(
            b.dtype(y),
            &dims,
            f64::from(f32::from_bits(a.extrapolation)),
        )?;
        y = b.select(mask, fill, y)?;
        dims = b.dims(y)?;
    }
    if b.dtype(y) != dtype {
        y = b.cast(y, dtype)?;
    }
    Ok(y)
}

fn axis_samples(
    b: &mut Builder,
    a: &Resize,
    x: TensorId,
    axis: usize,
    scale: f64,
    positions: &[f64],
    rows: bool,
) -> Result<TensorId> {
    let from = b.dims(x)?[axis];
    let clamp = |p: f64| (p as i64).clamp(0, from - 1);
    let nearest = |p: f64| -> i64 {
        clamp(match a.mode {
            ResizeMode::NearestRoundPreferFloor => (p - 0.5).ceil(),
            ResizeMode::NearestRoundPreferCeil => (p + 0.5).floor(),
            ResizeMode::NearestFloor => p.floor(),
            _ => p.ceil(),
        })
    };
    if !matches!(a.mode, ResizeMode::Linear | ResizeMode::Cubic(_)) {
        let index: Vec<i64> = positions.iter().map(|&p| nearest(p)).collect();
        return take(b, x, axis, from, &index);
    }
    // Taps of each output: index and weight.
    let taps: Vec<Vec<(i64, f64)>> = positions
        .iter()
        .map(|&p| weights(a, p, from, scale))
        .collect();
    let count = taps.iter().map(Vec::len).max().unwrap_or(0);
    if count > MAX_TAPS {
        return Err(Error::unsupported(format!(
            "axis {axis} resized from {from} to {} elements with antialias",
            positions.len()
        )));
    }
    if rows && let Some(blocks) = Blocks::of(&taps, from) {
        return blocks.sum(b, x, axis, from, taps.len() as i64);
    }
    let mut sum: Option<TensorId> = None;
    for t in 0..count {
        let index: Vec<i64> = taps
            .iter()
            .map(|l| l.get(t).map_or(0, |v| v.0.clamp(0, from - 1)))
            .collect();
        let weight: Vec<f64> = taps.iter().map(|l| l.get(t).map_or(0.0, |v| v.1)).collect();
        if weight.iter().all(|&w| w == 0.0) {
            continue;
        }
        let sample = take(b, x, axis, from, &index)?;
        let dims = b.dims(sample)?;
        let scaled = if weight.iter().all(|&w| w == 1.0) {
            sample
        } else {
            let w = Value::floats(b.dtype(sample), &[weight.len() as i64], weight);
            let w = b.weight(w.to_weight(""))?;
            let mut shape = vec![1; dims.len()];
            shape[axis] = dims[axis];
            let w = b.reshape(w, &shape)?;
            let w = b.expand(w, &dims)?;
            b.push(Op::Binary(Binary::Mul), &[sample, w])?
        };
        sum = Some(match sum {
            None => scaled,
            Some(s) => b.push(Op::Binary(Binary::Add), &[s, scaled])?,
        });
    }
    match sum {
        Some(s) => Ok(s),
        None => take(b, x, axis, from, &vec![0; positions.len()]),
    }
}

/// A row in blocks of outputs, each with the first of the samples that it shares and their weights, `[blocks, outputs, samples]`.
struct Blocks {
    first: Vec<i64>,
    shared: i64,
    weights: Vec<f64>,
}

impl Blocks {
    /// The blocks of a row, if they are few samples wide.
    fn of(taps: &[Vec<(i64, f64)>], from: i64) -> Option<Blocks> {
        let near = |t: &(i64, f64)| t.0.clamp(0, from - 1);
        let used = |l: &[Vec<(i64, f64)>]| -> Option<(i64, i64)> {
            let all = || l.iter().flatten().filter(|t| t.1 != 0.0).map(near);
            all().min().zip(all().max())
        };
        let spans: Option<Vec<(i64, i64)>> = taps.chunks(BLOCK).map(used).collect();
        let spans = spans?;
        let shared = spans.iter().map(|s| s.1 - s.0 + 1).max()?;
        if taps.len() < 2 * BLOCK || shared > MAX_SHARED || shared > from {
            return None;
        }
        let first: Vec<i64> = spans.iter().map(|s| s.0.min(from - shared)).collect();
        let mut weights = vec![0.0; first.len() * BLOCK * shared as usize];
        for (output, l) in taps.iter().enumerate() {
            for t in l {
                let sample = near(t) - first[output / BLOCK];
                if t.1 != 0.0 {
                    weights[output * shared as usize + sample as usize] += t.1;
                }
            }
        }
        Some(Blocks {
            first,
            shared,
            weights,
        })
    }

    /// Sums the samples, each times its weights. What has no weight is left out: it may be no number.
    fn sum(
        self,
        b: &mut Builder,
        x: TensorId,
        axis: usize,
        from: i64,
        length: i64,
    ) -> Result<TensorId> {
        let blocks = self.first.len() as i64;
        let index: Vec<i64> = self
            .first
            .iter()
            .flat_map(|&f| f..f + self.shared)
            .collect();
        let samples = take(b, x, axis, from, &index)?;
        let mut shape = b.dims(x)?;
        shape.truncate(axis);
        let rows = shape.clone();
        shape.extend([blocks, 1, self.shared]);
        let samples = b.reshape(samples, &shape)?;
        shape[axis + 1] = BLOCK as i64;
        let samples = b.expand(samples, &shape)?;
        let mut ones = vec![1; axis];
        ones.extend(&shape[axis..]);
        let w = Value::floats(b.dtype(x), &ones, self.weights);
        let w = b.weight(w.to_weight(""))?;
        let none = b.with_number(Binary::Eq, w, 0.0)?;
        let (w, none) = (b.expand(w, &shape)?, b.expand(none, &shape)?);
        let product = b.push(Op::Binary(Binary::Mul), &[samples, w])?;
        let zero = b.full(b.dtype(x), &shape, 0.0)?;
        let terms = b.select(none, zero, product)?;
        let sums = b.reduce(ReduceOp::Sum, terms, &[axis + 2], false)?;
        let mut joined = rows;
        joined.push(blocks * BLOCK as i64);
        let sums = b.reshape(sums, &joined)?;
        b.slice(sums, axis, 0, length)
    }
}

/// Gathers along an axis; repetition and identity need no gather.
fn take(b: &mut Builder, x: TensorId, axis: usize, from: i64, index: &[i64]) -> Result<TensorId> {
    let to = index.len() as i64;
    if to == from && index.iter().enumerate().all(|(i, &v)| v == i as i64) {
        return Ok(x);
    }
    let times = if from > 0 { to / from } else { 0 };
    if times > 0
        && to == from * times
        && index
            .iter()
            .enumerate()
            .all(|(i, &v)| v == i as i64 / times)
    {
        let dims = b.dims(x)?;
        let mut apart = dims.clone();
        apart.insert(axis + 1, 1);
        let v = b.reshape(x, &apart)?;
        apart[axis + 1] = times;
        let v = b.expand(v, &apart)?;
        let mut joined = dims;
        joined[axis] = to;
        return b.reshape(v, &joined);
    }
    let index = b.integers(&[to], index)?;
    b.push(Op::Gather(axis), &[x, index])
}

/// Samples around a position and their weights.
fn weights(a: &Resize, p: f64, from: i64, scale: f64) -> Vec<(i64, f64)> {
    // A position on a sample counts as the end of the interval before it.
    let whole = p == p.floor();
    let (base, ratio) = if whole {
        (p as i64 - 1, 1.0)
    } else {
        (p.floor() as i64, p - p.floor())
    };
    let stretch = if a.antialias { scale.min(1.0) } else { 1.0 };
    let mut taps: Vec<(i64, f64)> = match a.mode {
        ResizeMode::Cubic(bits) => {
            let k = f64::from(f32::from_bits(bits));
            let start = (-2.0 / stretch).floor() as i64 + 1;
            (start..2 - start)
                .map(|i| (base + i, cubic(((i as f64) - ratio) * stretch, k)))
                .collect()
        }
        _ => {
            let start = (-1.0 / stretch).floor() as i64 + 1;
            (start..2 - start)
                .map(|i| {
                    (
                        base + i,
                        (1.0 - ((i as f64 - ratio) * stretch).abs()).clamp(0.0, 1.0),
                    )
                })
                .collect()
        }
    };
    if a.exclude_outside {
        for t in &mut taps {
            if t.0 < 0 || t.0 >= from {
                t.1 = 0.0;
            }
        }
    }
    if a.exclude_outside || stretch != 1.0 {
        let total: f64 = taps.iter().map(|t| t.1).sum();
        if total != 0.0 {
            for t in &mut taps {
                t.1 /= total;
            }
        }
    }
    taps
}

/// Keys' cubic convolution kernel (1981).
fn cubic(distance: f64, k: f64) -> f64 {
    let x = distance.abs();
    if x <= 1.0 {
        ((k + 2.0) * x - (k + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((k * x - 5.0 * k) * x + 8.0 * k) * x - 4.0 * k
    } else {
        0.0
    }
}
