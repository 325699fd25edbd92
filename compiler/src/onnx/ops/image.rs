//! Sampling images at computed places.
//!
//! In: an image and a grid of places, or what a grid is made from. Out: the image sampled there.
//!
//! Example: `GridSample(x[N,C,H,W], grid[N,h,w,2])` is `[N,C,h,w]`; the grid's last axis is (x, y) in -1..1.

use super::super::import::Import;
use super::super::node::Node;
use super::conv::{explicit_pads, spatial_list};
use super::matmul::matmul;
use super::{Row, row};
use crate::diag::{Error, Result};
use crate::graph::{ConvTranspose, Op, TensorId};
use crate::uop::{Binary, DType, Unary};

pub(super) const ROWS: &[Row] = &[
    row(
        "GridSample",
        16,
        2..=2,
        &["align_corners", "mode", "padding_mode"],
        grid_sample,
    ),
    row("AffineGrid", 20, 2..=2, &["align_corners"], affine_grid),
    row(
        "Col2Im",
        18,
        3..=3,
        &["dilations", "pads", "strides"],
        col2im,
    ),
];

/// Longest side of a grid: its coordinates are constants.
const MAX_SIDE: i64 = 1 << 20;

/// Centres of `n` pixels in -1..1.
fn centres(n: i64, align: bool) -> Vec<f64> {
    (0..n)
        .map(|i| match (align, n) {
            (true, 1) => -1.0,
            (true, _) => -1.0 + 2.0 * i as f64 / (n - 1) as f64,
            (false, _) => (2.0 * i as f64 + 1.0) / n as f64 - 1.0,
        })
        .collect()
}

fn affine_grid(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let theta = n.input(0)?;
    let size = c.ints(n, 1, "the size")?;
    let align = n.flag("align_corners", false)?;
    let s = size.len().saturating_sub(2);
    let k = s as i64;
    if !(2..=3).contains(&s) || c.dims(theta)? != [size[0], k, k + 1] {
        return Err(Error::model(format!(
            "matrices of shape {:?} do not fit size {size:?}",
            c.shape(theta)
        )));
    }
    let dtype = c.dtype(theta);
    let spatial = &size[2..];
    let count = super::super::tensor::elements(spatial, "the grid")? as i64;
    if let Some(long) = spatial.iter().find(|&&n| n > MAX_SIDE) {
        return Err(Error::unsupported(format!(
            "a grid of {long} points along a side"
        )));
    }
    // Rows x, y, (z,) 1 of every pixel.
    let mut rows = Vec::new();
    for axis in (0..s).rev() {
        let mut shape = vec![1; s];
        shape[axis] = spatial[axis];
        let v = c.constant_f64(&centres(spatial[axis], align), &shape, dtype)?;
        let v = c.broadcast(v, spatial)?;
        rows.push(c.reshape(v, &[1, count])?);
    }
    let one = c.number(1.0, dtype)?;
    rows.push(c.broadcast(one, &[1, count])?);
    let points = c.concat(&rows, 0)?;
    let moved = matmul(c, theta, points)?;
    let moved = c.permute(moved, &[0, 2, 1])?;
    let mut out = vec![size[0]];
    out.extend(spatial);
    out.push(k);
    Ok(vec![c.reshape(moved, &out)?])
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Nearest,
    Linear,
    Cubic,
}

#[derive(Clone, Copy, PartialEq)]
enum Outside {
    Zeros,
    Border,
    Reflection,
}

/// Folds a coordinate back into low..high, as between two mirrors.
fn reflect(c: &mut Import<'_>, x: TensorId, low: f64, high: f64) -> Result<TensorId> {
    let range = high - low;
    if range <= 0.0 {
        let v = c.number(low, c.dtype(x))?;
        let dims = c.dims(x)?;
        return c.broadcast(v, &dims);
    }
    let from = c.add_number(x, -low)?;
    let turns = c.div_number(from, 2.0 * range)?;
    let turns = c.unary(Unary::Floor, turns)?;
    let whole = c.mul_number(turns, 2.0 * range)?;
    let rest = c.sub(from, whole)?;
    let back = c.number_minus(2.0 * range, rest)?;
    let near = c.binary(Binary::Min, rest, back)?;
    c.add_number(near, low)
}

fn clamp(c: &mut Import<'_>, x: TensorId, low: f64, high: f64) -> Result<TensorId> {
    let dtype = c.dtype(x);
    let low = c.number(low, dtype)?;
    let high = c.number(high, dtype)?;
    let x = c.binary(Binary::Max, x, low)?;
    c.binary(Binary::Min, x, high)
}

/// Places along one axis: the element, its weight, and whether it lies inside.
struct Tap {
    index: TensorId,
    weight: Option<TensorId>,
    inside: Option<TensorId>,
}

fn grid_sample(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let (x, grid) = (n.input(0)?, n.input(1)?);
    let modes = [
        ("linear", Mode::Linear),
        ("bilinear", Mode::Linear),
        ("nearest", Mode::Nearest),
        ("cubic", Mode::Cubic),
        ("bicubic", Mode::Cubic),
    ];
    let mode = n.choice("mode", &modes)?;
    let kinds = [
        ("zeros", Outside::Zeros),
        ("border", Outside::Border),
        ("reflection", Outside::Reflection),
    ];
    let outside = n.choice("padding_mode", &kinds)?;
    let align = n.flag("align_corners", false)?;
    let (dx, dg) = (c.dims(x)?, c.dims(grid)?);
    let s = dx.len().saturating_sub(2);
    let fits =
        (1..=3).contains(&s) && dg.len() == dx.len() && dg[0] == dx[0] && dg[s + 1] == s as i64;
    if !fits || dx[2..].contains(&0) {
        return Err(Error::model(format!(
            "a grid of shape {dg:?} does not fit an image of shape {dx:?}"
        )));
    }
    if mode == Mode::Cubic && s != 2 {
        return Err(Error::unsupported(
            "cubic sampling of other than 2 dimensions",
        ));
    }
    let places: i64 = dg[1..=s].iter().product();
    let wide = if c.dtype(grid) == DType::F64 {
        DType::F64
    } else {
        DType::F32
    };
    let grid = c.cast(grid, wide)?;
    let flat = c.reshape(grid, &[dg[0], places, s as i64])?;
    let mut taps = Vec::new();
    for axis in 0..s {
        // The grid names the last axis first.
        let at = (s - 1 - axis) as i64;
        let g = c.slice_axis(flat, 2, at, 1)?;
        let g = c.reshape(g, &[dg[0], places])?;
        taps.push(taps_of(c, g, dx[2 + axis], mode, outside, align)?);
    }
    let volume: i64 = dx[2..].iter().product();
    let work = if c.dtype(x).is_float() && c.dtype(x).size() < 4 {
        DType::F32
    } else {
        c.dtype(x)
    };
    let data = c.cast(x, work)?;
    let data = c.reshape(data, &[dx[0], dx[1], volume])?;
    let zero = c.number(0.0, work)?;
    let mut sum = None;
    let count: usize = taps.iter().map(Vec::len).product();
    for k in 0..count {
        let mut rest = k;
        let mut place: Option<TensorId> = None;
        let mut weight: Option<TensorId> = None;
        let mut inside: Option<TensorId> = None;
        for (axis, list) in taps.iter().enumerate() {
            let tap = &list[rest % list.len()];
            rest /= list.len();
            place = Some(match place {
                None => tap.index,
                Some(p) => {
                    let extent = c.integer(dx[2 + axis], DType::I64)?;
                    let p = c.mul(p, extent)?;
                    c.add(p, tap.index)?
                }
            });
            weight = match (weight, tap.weight) {
                (Some(a), Some(b)) => Some(c.mul(a, b)?),
                (a, b) => a.or(b),
            };
            inside = match (inside, tap.inside) {
                (Some(a), Some(b)) => Some(c.binary(Binary::And, a, b)?),
                (a, b) => a.or(b),
            };
        }
        let place = place.ok_or_else(|| Error::bug("no axes"))?;
        let index = c.unsqueeze(place, 1)?;
        let index = c.broadcast(index, &[dx[0], dx[1], places])?;
        let mut v = c.gather_elements(data, index, 2)?;
        if let Some(inside) = inside {
            let inside = c.unsqueeze(inside, 1)?;
            v = c.select(inside, v, zero)?;
        }
        if let Some(w) = weight {
            let w = c.cast(w, work)?;
            let w = c.unsqueeze(w, 1)?;
            v = c.mul(v, w)?;
        }
        sum = Some(match sum {
            None => v,
            Some(s) => c.add(s, v)?,
        });
    }
    let y = sum.ok_or_else(|| Error::bug("no taps"))?;
    let mut out = vec![dx[0], dx[1]];
    out.extend(&dg[1..=s]);
    let y = c.reshape(y, &out)?;
    Ok(vec![c.cast(y, c.dtype(x))?])
}

fn taps_of(
    c: &mut Import<'_>,
    g: TensorId,
    n: i64,
    mode: Mode,
    outside: Outside,
    align: bool,
) -> Result<Vec<Tap>> {
    let last = (n - 1) as f64;
    let (low, high) = if align {
        (0.0, last)
    } else {
        (-0.5, last + 0.5)
    };
    let up = c.add_number(g, 1.0)?;
    let mut x = if align {
        c.mul_number(up, last / 2.0)?
    } else {
        let scaled = c.mul_number(up, n as f64 / 2.0)?;
        c.add_number(scaled, -0.5)?
    };
    if mode == Mode::Nearest {
        x = c.unary(Unary::Round, x)?;
    }
    // Taps of a cubic may lie outside however the coordinate is moved: there only they are.
    match outside {
        Outside::Border if mode != Mode::Cubic => x = clamp(c, x, 0.0, last)?,
        Outside::Reflection if mode != Mode::Cubic => x = reflect(c, x, low, high)?,
        _ => {}
    }
    let floor = c.unary(Unary::Floor, x)?;
    let part = c.sub(x, floor)?;
    let mut list: Vec<(f64, Option<TensorId>)> = Vec::new();
    match mode {
        Mode::Nearest => list.push((0.0, None)),
        Mode::Linear => {
            list.push((0.0, Some(c.number_minus(1.0, part)?)));
            list.push((1.0, Some(part)));
        }
        Mode::Cubic => {
            for k in [-1.0, 0.0, 1.0, 2.0] {
                // Distance from the tap.
                let d = c.number_minus(k, part)?;
                let d = c.unary(Unary::Abs, d)?;
                list.push((k, Some(keys(c, d, k == 0.0 || k == 1.0)?)));
            }
        }
    }
    let base = if mode == Mode::Nearest { x } else { floor };
    let mut taps = Vec::new();
    for (k, weight) in list {
        let mut place = if k == 0.0 {
            base
        } else {
            c.add_number(base, k)?
        };
        let mut inside = None;
        match outside {
            Outside::Zeros => {
                let first = c.number(0.0, c.dtype(place))?;
                let end = c.number(last, c.dtype(place))?;
                let a = c.binary(Binary::Le, first, place)?;
                let b = c.binary(Binary::Le, place, end)?;
                inside = Some(c.binary(Binary::And, a, b)?);
            }
            Outside::Border => {}
            Outside::Reflection => place = reflect(c, place, low, high)?,
        }
        let place = clamp(c, place, 0.0, last)?;
        taps.push(Tap {
            index: c.cast(place, DType::I64)?,
            weight,
            inside,
        });
    }
    Ok(taps)
}

/// Keys' cubic kernel with a = -0.75 at a distance below 1 (`near`) or between 1 and 2.
fn keys(c: &mut Import<'_>, d: TensorId, near: bool) -> Result<TensorId> {
    let a = -0.75;
    let coefficients = if near {
        [a + 2.0, -(a + 3.0), 0.0, 1.0]
    } else {
        [a, -5.0 * a, 8.0 * a, -4.0 * a]
    };
    let mut y = c.number(coefficients[0], c.dtype(d))?;
    for k in &coefficients[1..] {
        y = c.mul(y, d)?;
        y = c.add_number(y, *k)?;
    }
    Ok(y)
}

/// Sums overlapping blocks into an image: a transposed convolution that only places.
fn col2im(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = n.input(0)?;
    let image = c.ints(n, 1, "the image's shape")?;
    let block = c.ints(n, 2, "the block's shape")?;
    let s = image.len();
    let dims = c.dims(x)?;
    let sane =
        s >= 1 && block.len() == s && image.iter().chain(&block).all(|v| (1..1 << 24).contains(v));
    if !sane || dims.len() != 3 {
        return Err(Error::model(format!(
            "blocks {block:?} of {dims:?} do not fit an image of {image:?}"
        )));
    }
    let strides = spatial_list(n, "strides", s)?;
    let dilations = spatial_list(n, "dilations", s)?;
    let pads = explicit_pads(n, s)?;
    let size = super::super::tensor::elements(&block, "a block")? as i64;
    let mut counts = Vec::new();
    let mut cut = Vec::new();
    for i in 0..s {
        let span = (block[i] - 1)
            .saturating_mul(dilations[i])
            .saturating_add(1);
        let room = image[i] + pads[i].0 + pads[i].1 - span;
        if room < 0 {
            return Err(Error::model(format!(
                "blocks {block:?} are larger than the image {image:?}"
            )));
        }
        let count = room / strides[i] + 1;
        let full = (count - 1) * strides[i] + span;
        counts.push(count);
        cut.push((pads[i].0, full - pads[i].0 - image[i]));
    }
    let total: i64 = counts.iter().product();
    if dims[1] % size != 0 || dims[2] != total {
        return Err(Error::model(format!(
            "{dims:?} does not hold {total} blocks of {size} elements"
        )));
    }
    let channels = dims[1] / size;
    let mut shape = vec![dims[0] * channels, size];
    shape.extend(&counts);
    let x = c.reshape(x, &shape)?;
    let row = c.iota_along(size, DType::I64, 0, 2)?;
    let column = c.iota_along(size, DType::I64, 1, 2)?;
    let eye = c.binary(Binary::Eq, row, column)?;
    let eye = c.cast(eye, c.dtype(x))?;
    let mut kernel = vec![size, 1];
    kernel.extend(&block);
    let eye = c.reshape(eye, &kernel)?;
    let op = Op::ConvTranspose(ConvTranspose {
        strides,
        dilations,
        pads: cut,
        groups: 1,
    });
    let y = c.push(op, &[x, eye])?;
    let mut out = vec![dims[0], channels];
    out.extend(&image);
    Ok(vec![c.reshape(y, &out)?])
}
