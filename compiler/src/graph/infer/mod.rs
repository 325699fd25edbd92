//! Shape and type inference: an operation and its sources in, the result's shape and dtype out, or an
//! error that says what does not fit. `infer(Conv.., [x, w])` of `[1,3,8,8]` and `[4,3,3,3]` without
//! padding gives `[1,4,6,6]`.
//!
//! Operations whose shape is not a function of their sources (`Full`, `Iota`, `Reshape`, `Expand`,
//! `Slice`, `Input`, `Weight`) are checked by [`check_shaped`] instead.

mod axes;
mod shaped;

pub use axes::window_extent;
use shaped::something_to_take;
pub use shaped::{broadcast_shapes, check_shaped, transposed_extent};

use super::ops::{Op, PoolKind};
use super::tensor::{Dim, Shape, Tensor};
use crate::diag::{Error, Result};
use crate::uop::{Binary, DType, ReduceOp, Unary};

/// Shape and element type of a result.
pub type Typed = (Shape, DType);

/// Largest tensor in bytes that is taken seriously; beyond it the model is broken.
const MAX_BYTES: i64 = 1 << 42;

/// Elements of a shape; `None` when a dimension is symbolic. An error when the size is absurd.
pub fn elements(shape: &Shape, dtype: DType) -> Result<Option<i64>> {
    let mut total: i64 = 1;
    let mut known = true;
    // Zero extents make everything zero, but the others must still be sane.
    for d in &shape.0 {
        let extent = match d {
            Dim::Known(n) => *n,
            Dim::Symbolic { max, .. } => {
                known = false;
                *max
            }
        };
        if extent < 0 {
            return Err(Error::model(format!(
                "shape {shape} has a negative dimension"
            )));
        }
        total = total
            .checked_mul(extent.max(1))
            .filter(|t| {
                t.checked_mul(dtype.size() as i64)
                    .is_some_and(|b| b <= MAX_BYTES)
            })
            .ok_or_else(|| Error::model(format!("a tensor of shape {shape} is too large")))?;
    }
    if shape.0.contains(&Dim::Known(0)) {
        total = 0;
    }
    Ok(known.then_some(total))
}

fn known(t: &Tensor) -> Result<Vec<i64>> {
    t.shape.dims().ok_or_else(|| {
        Error::unsupported(format!("shape {} has a symbolic dimension here", t.shape))
            .help("bind it with --dim NAME=N")
    })
}

fn known_dim(t: &Tensor, axis: usize) -> Result<i64> {
    t.shape.0[axis].known().ok_or_else(|| {
        Error::unsupported(format!("axis {axis} of shape {} is symbolic", t.shape))
            .help("bind it with --dim NAME=N")
    })
}

fn arity(src: &[&Tensor], range: std::ops::RangeInclusive<usize>) -> Result<()> {
    if range.contains(&src.len()) {
        return Ok(());
    }
    Err(Error::model(format!(
        "expected {} to {} sources, found {}",
        range.start(),
        range.end(),
        src.len()
    )))
}

fn axis_of(t: &Tensor, axis: usize) -> Result<()> {
    if axis < t.shape.rank() {
        return Ok(());
    }
    Err(Error::model(format!(
        "axis {axis} does not exist in shape {}",
        t.shape
    )))
}

fn same_dtype(a: &Tensor, b: &Tensor) -> Result<()> {
    if a.dtype == b.dtype {
        return Ok(());
    }
    Err(Error::model(format!(
        "element types differ: {} and {}",
        a.dtype, b.dtype
    )))
}

fn floats(t: &Tensor) -> Result<()> {
    if t.dtype.is_float() {
        return Ok(());
    }
    Err(Error::model(format!(
        "expected a float type, found {}",
        t.dtype
    )))
}

fn integers(t: &Tensor) -> Result<()> {
    if matches!(t.dtype, DType::I32 | DType::I64) {
        return Ok(());
    }
    Err(Error::model(format!(
        "indices must be i32 or i64, found {}",
        t.dtype
    )))
}

fn numeric(t: &Tensor) -> Result<()> {
    if t.dtype != DType::Bool {
        return Ok(());
    }
    Err(Error::model("expected numbers, found bool"))
}

fn check_unary(op: Unary, a: &Tensor) -> Result<()> {
    match op {
        Unary::Neg | Unary::Abs => numeric(a),
        Unary::Not if a.dtype.is_float() => Err(Error::model(format!(
            "expected bool or integers, found {}",
            a.dtype
        ))),
        Unary::Not => Ok(()),
        _ => floats(a),
    }
}

fn check_binary(op: Binary, a: &Tensor) -> Result<()> {
    match op {
        Binary::Pow => floats(a),
        Binary::And | Binary::Or | Binary::Xor if a.dtype.is_float() => Err(Error::model(format!(
            "expected bool or integers, found {}",
            a.dtype
        ))),
        Binary::Shl | Binary::Shr | Binary::FloorDiv | Binary::FloorMod if !a.dtype.is_int() => {
            Err(Error::model(format!(
                "expected integers, found {}",
                a.dtype
            )))
        }
        Binary::And | Binary::Or | Binary::Xor | Binary::Eq | Binary::Ne => Ok(()),
        _ => numeric(a),
    }
}

/// Output extents of a convolution or pooling.
fn windows(
    x: &Tensor,
    kernel: &[i64],
    strides: &[i64],
    dilations: &[i64],
    pads: &[(i64, i64)],
) -> Result<Vec<i64>> {
    let spatial = x.shape.rank().saturating_sub(2);
    if [kernel.len(), strides.len(), dilations.len(), pads.len()] != [spatial; 4] {
        return Err(Error::model(format!(
            "kernel {kernel:?}, strides {strides:?}, dilations {dilations:?} and pads {pads:?} \
             must have one entry for each spatial axis of {}",
            x.shape
        )));
    }
    (0..spatial)
        .map(|i| {
            let (low, high) = pads[i];
            if low < 0 || high < 0 {
                return Err(Error::unsupported(format!("negative padding {pads:?}")));
            }
            let extent = known_dim(x, i + 2)?
                .checked_add(low)
                .and_then(|e| e.checked_add(high))
                .ok_or_else(|| Error::model("padding is too large"))?;
            window_extent(extent, kernel[i], strides[i], dilations[i])
        })
        .collect()
}

fn channels_fit(x: i64, weight: i64, groups: i64) -> Result<()> {
    if groups >= 1 && weight.checked_mul(groups) == Some(x) {
        return Ok(());
    }
    Err(Error::model(format!(
        "{x} input channels do not fit weights for {weight} channels in each of {groups} groups"
    )))
}

/// Checks that a bias is a vector of `channels`.
fn bias_fits(src: &[&Tensor], channels: i64) -> Result<()> {
    match src.get(2) {
        Some(b) if known(b)? != [channels] => Err(Error::model(format!(
            "bias has shape {}, expected [{channels}]",
            b.shape
        ))),
        Some(b) => same_dtype(src[0], b),
        None => Ok(()),
    }
}

/// Shape and dtype of `op` on `src`.
pub fn infer(op: &Op, src: &[&Tensor]) -> Result<Typed> {
    let typed = infer_unchecked(op, src)?;
    elements(&typed.0, typed.1)?;
    Ok(typed)
}

fn infer_unchecked(op: &Op, src: &[&Tensor]) -> Result<Typed> {
    match op {
        Op::Concat(_) => arity(src, 1..=usize::MAX)?,
        Op::Binary(_) | Op::Gather(_) | Op::GatherElements(_) | Op::MatMul => arity(src, 2..=2)?,
        Op::Where | Op::Scatter(_) => arity(src, 3..=3)?,
        Op::Conv(_) | Op::ConvTranspose(_) => arity(src, 2..=3)?,
        Op::LayerNorm { .. } => arity(src, 1..=3)?,
        _ => arity(src, 1..=1)?,
    }
    let a = src[0];
    Ok(match op {
        Op::Input(_)
        | Op::Weight(_)
        | Op::Full(_)
        | Op::Iota
        | Op::Reshape
        | Op::Expand
        | Op::Slice { .. } => {
            return Err(Error::bug(format!("{op:?} needs its shape given")));
        }
        Op::Unary(u) => {
            check_unary(*u, a)?;
            let dtype = if *u == Unary::IsNan {
                DType::Bool
            } else {
                a.dtype
            };
            (a.shape.clone(), dtype)
        }
        Op::Binary(b) => {
            same_dtype(a, src[1])?;
            check_binary(*b, a)?;
            same_shape(a, src[1])?;
            let dtype = if b.is_compare() { DType::Bool } else { a.dtype };
            (a.shape.clone(), dtype)
        }
        Op::Where => {
            if a.dtype != DType::Bool {
                return Err(Error::model(format!(
                    "the condition must be bool, found {}",
                    a.dtype
                )));
            }
            same_dtype(src[1], src[2])?;
            same_shape(a, src[1])?;
            same_shape(a, src[2])?;
            (a.shape.clone(), src[1].dtype)
        }
        Op::Cast(d) => (a.shape.clone(), *d),
        Op::Bitcast(d) if d.size() == a.dtype.size() => (a.shape.clone(), *d),
        Op::Bitcast(d) => {
            return Err(Error::model(format!(
                "a bit cast from {} to {d} changes the size",
                a.dtype
            )));
        }
        Op::Reduce { op, axes } => {
            let logical = matches!(op, ReduceOp::All | ReduceOp::Any);
            if logical != (a.dtype == DType::Bool) {
                return Err(Error::model(format!("cannot reduce {} by {op:?}", a.dtype)));
            }
            if axes.windows(2).any(|w| w[0] >= w[1]) {
                return Err(Error::model(format!(
                    "reduce axes {axes:?} are not ascending"
                )));
            }
            for &axis in axes {
                axis_of(a, axis)?;
            }
            let kept = a
                .shape
                .0
                .iter()
                .enumerate()
                .filter(|(i, _)| !axes.contains(i))
                .map(|(_, d)| d.clone())
                .collect();
            (Shape(kept), a.dtype)
        }
        Op::Permute(perm) => {
            let mut seen = vec![false; a.shape.rank()];
            let valid = perm.len() == seen.len()
                && perm
                    .iter()
                    .all(|&p| p < seen.len() && !std::mem::replace(&mut seen[p], true));
            if !valid {
                return Err(Error::model(format!(
                    "{perm:?} is no permutation of the axes of {}",
                    a.shape
                )));
            }
            let dims = perm.iter().map(|&p| a.shape.0[p].clone()).collect();
            (Shape(dims), a.dtype)
        }
        Op::Pad { pads, .. } => {
            if pads.len() != a.shape.rank() || pads.iter().any(|&(l, h)| l < 0 || h < 0) {
                return Err(Error::model(format!(
                    "pads {pads:?} do not fit shape {}",
                    a.shape
                )));
            }
            let mut dims = a.shape.clone();
            for (axis, &(low, high)) in pads.iter().enumerate() {
                if (low, high) != (0, 0) {
                    let extent = known_dim(a, axis)?
                        .checked_add(low)
                        .and_then(|e| e.checked_add(high))
                        .ok_or_else(|| Error::model("padding is too large"))?;
                    dims.0[axis] = Dim::Known(extent);
                }
            }
            (dims, a.dtype)
        }
        Op::Flip(axes) => {
            for &axis in axes {
                axis_of(a, axis)?;
            }
            (a.shape.clone(), a.dtype)
        }
        Op::Window {
            axis,
            size,
            stride,
            dilation,
        } => axes::window(a, *axis, [*size, *stride, *dilation])?,
        Op::Transform { axis, matrix } => axes::transform(a, *axis, matrix)?,
        Op::Concat(axis) => concat(*axis, src)?,
        Op::Gather(axis) => {
            axis_of(a, *axis)?;
            integers(src[1])?;
            let mut dims = Shape::default();
            dims.0.extend(a.shape.0[..*axis].iter().cloned());
            dims.0.extend(src[1].shape.0.iter().cloned());
            dims.0.extend(a.shape.0[axis + 1..].iter().cloned());
            something_to_take(a, *axis, &dims)?;
            (dims, a.dtype)
        }
        Op::GatherElements(axis) => {
            axis_of(a, *axis)?;
            integers(src[1])?;
            let (data, index) = (known(a)?, known(src[1])?);
            let fits = data.len() == index.len()
                && (0..data.len()).all(|i| i == *axis || index[i] <= data[i]);
            if !fits {
                return Err(Error::model(format!(
                    "indices of shape {} do not fit data of shape {}",
                    src[1].shape, a.shape
                )));
            }
            something_to_take(a, *axis, &src[1].shape)?;
            (src[1].shape.clone(), a.dtype)
        }
        Op::Scatter(_) => {
            integers(src[1])?;
            same_dtype(a, src[2])?;
            let (data, index, updates) = (known(a)?, known(src[1])?, known(src[2])?);
            if data.len() != 2 || index.len() != 1 || updates != [index[0], data[1]] {
                return Err(Error::model(format!(
                    "scatter of updates {} at indices {} does not fit data {}",
                    src[2].shape, src[1].shape, a.shape
                )));
            }
            (a.shape.clone(), a.dtype)
        }
        Op::Conv(c) => {
            floats(a)?;
            same_dtype(a, src[1])?;
            let w = known(src[1])?;
            if a.shape.rank() < 3 || w.len() != a.shape.rank() {
                return Err(Error::model(format!(
                    "convolution of {} with weights {}",
                    a.shape, src[1].shape
                )));
            }
            channels_fit(known_dim(a, 1)?, w[1], c.groups)?;
            if w[0] % c.groups != 0 {
                return Err(Error::model(format!(
                    "{} output channels cannot be split into {} groups",
                    w[0], c.groups
                )));
            }
            bias_fits(src, w[0])?;
            let out = windows(a, &w[2..], &c.strides, &c.dilations, &c.pads)?;
            (image(a, w[0], &out), a.dtype)
        }
        Op::ConvTranspose(c) => {
            floats(a)?;
            same_dtype(a, src[1])?;
            let w = known(src[1])?;
            let spatial = a.shape.rank().saturating_sub(2);
            if spatial < 1
                || w.len() != a.shape.rank()
                || [c.strides.len(), c.dilations.len(), c.pads.len()] != [spatial; 3]
            {
                return Err(Error::model(format!(
                    "transposed convolution of {} with weights {}",
                    a.shape, src[1].shape
                )));
            }
            if c.groups < 1 || known_dim(a, 1)? != w[0] || w[0] % c.groups != 0 {
                return Err(Error::model(format!(
                    "input {} and weights {} do not fit {} groups",
                    a.shape, src[1].shape, c.groups
                )));
            }
            let channels = w[1]
                .checked_mul(c.groups)
                .ok_or_else(|| Error::model("too many channels"))?;
            bias_fits(src, channels)?;
            let mut out = Vec::new();
            for i in 0..spatial {
                if c.strides[i] < 1 || c.dilations[i] < 1 {
                    return Err(Error::model("strides and dilations must be positive"));
                }
                let full =
                    transposed_extent(known_dim(a, i + 2)?, w[i + 2], c.strides[i], c.dilations[i]);
                let extent = full
                    .and_then(|e| e.checked_sub(c.pads[i].0))
                    .and_then(|e| e.checked_sub(c.pads[i].1))
                    .ok_or_else(|| Error::model("transposed convolution is too large"))?;
                out.push(extent.max(0));
            }
            (image(a, channels, &out), a.dtype)
        }
        Op::MatMul => {
            same_dtype(a, src[1])?;
            numeric(a)?;
            matmul(a, src[1])?
        }
        Op::Pool(p) => {
            if !matches!(p.kind, PoolKind::Max) {
                floats(a)?;
            }
            numeric(a)?;
            if a.shape.rank() < 3 || p.declared_high.len() + 2 != a.shape.rank() {
                return Err(Error::model(format!("pooling of shape {}", a.shape)));
            }
            let out = windows(a, &p.kernel, &p.strides, &p.dilations, &p.pads)?;
            let mut dims = a.shape.clone();
            for (d, e) in dims.0[2..].iter_mut().zip(out) {
                *d = Dim::Known(e);
            }
            (dims, a.dtype)
        }
        Op::Softmax(axis) | Op::LogSoftmax(axis) => {
            floats(a)?;
            axis_of(a, *axis)?;
            (a.shape.clone(), a.dtype)
        }
        Op::LayerNorm { axis, .. } => {
            floats(a)?;
            axis_of(a, *axis)?;
            for s in &src[1..] {
                same_dtype(a, s)?;
                if s.shape.0[..] != a.shape.0[*axis..] {
                    return Err(Error::model(format!(
                        "scale or bias of shape {} does not fit the normalised axes of {}",
                        s.shape, a.shape
                    )));
                }
            }
            (a.shape.clone(), a.dtype)
        }
        Op::Resize(r) => {
            numeric(a)?;
            let rank = known(a)?.len();
            if r.sizes.len() != rank || r.scales.len() != rank {
                return Err(Error::model(format!(
                    "sizes {:?} do not fit shape {}",
                    r.sizes, a.shape
                )));
            }
            (Shape::known(&r.sizes), a.dtype)
        }
        Op::CumSum { axis, .. } => {
            numeric(a)?;
            axis_of(a, *axis)?;
            (a.shape.clone(), a.dtype)
        }
        Op::TopK {
            axis, k, indices, ..
        } => {
            axis_of(a, *axis)?;
            let extent = known_dim(a, *axis)?;
            if *k < 0 || *k > extent {
                return Err(Error::model(format!(
                    "the {k} largest of {extent} elements do not exist"
                )));
            }
            let mut dims = a.shape.clone();
            dims.0[*axis] = Dim::Known(*k);
            (dims, if *indices { DType::I64 } else { a.dtype })
        }
        Op::ArgReduce { axis, .. } => {
            axis_of(a, *axis)?;
            if known_dim(a, *axis)? == 0 {
                return Err(Error::model("the largest of no elements does not exist"));
            }
            let mut dims = a.shape.clone();
            dims.0.remove(*axis);
            (dims, DType::I64)
        }
    })
}

fn same_shape(a: &Tensor, b: &Tensor) -> Result<()> {
    if a.shape == b.shape {
        return Ok(());
    }
    Err(Error::model(format!(
        "shapes {} and {} differ",
        a.shape, b.shape
    )))
}

fn image(x: &Tensor, channels: i64, spatial: &[i64]) -> Shape {
    let mut dims = Shape::default();
    dims.0.push(x.shape.0[0].clone());
    dims.0.push(Dim::Known(channels));
    dims.0.extend(spatial.iter().map(|&e| Dim::Known(e)));
    dims
}

fn concat(axis: usize, src: &[&Tensor]) -> Result<Typed> {
    let a = src[0];
    axis_of(a, axis)?;
    let mut extent: i64 = 0;
    for s in src {
        same_dtype(a, s)?;
        let fits = s.shape.rank() == a.shape.rank()
            && (0..a.shape.rank()).all(|i| i == axis || s.shape.0[i] == a.shape.0[i]);
        if !fits {
            return Err(Error::model(format!(
                "cannot concatenate {} and {} along axis {axis}",
                a.shape, s.shape
            )));
        }
        extent = extent
            .checked_add(known_dim(s, axis)?)
            .ok_or_else(|| Error::model("concatenation is too large"))?;
    }
    let mut dims = a.shape.clone();
    dims.0[axis] = Dim::Known(extent);
    Ok((dims, a.dtype))
}

fn matmul(a: &Tensor, b: &Tensor) -> Result<Typed> {
    let error = || Error::model(format!("cannot multiply {} and {}", a.shape, b.shape));
    let (ra, rb) = (a.shape.rank(), b.shape.rank());
    if ra < 2 || rb < 2 || a.shape.0[ra - 1] != b.shape.0[rb - 2] {
        return Err(error());
    }
    let batch_a = Shape(a.shape.0[..ra - 2].iter().cloned().collect());
    let batch_b = Shape(b.shape.0[..rb - 2].iter().cloned().collect());
    let mut dims = broadcast_shapes(&batch_a, &batch_b).map_err(|_| error())?;
    dims.0.push(a.shape.0[ra - 2].clone());
    dims.0.push(b.shape.0[rb - 1].clone());
    Ok((dims, a.dtype))
}
