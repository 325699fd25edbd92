//! Convolutions.
//!
//! In: an image `[N,C,spatial..]`, weights and perhaps a bias. Out: an image. Every way to say padding
//! becomes explicit numbers here; negative padding crops the input first.
//!
//! Example: `Conv(x[1,3,224,224], w[64,3,7,7], strides=[2,2], pads=[3,3,3,3])` is `[1,64,112,112]`.

use super::super::import::Import;
use super::super::node::Node;
use super::{Row, row};
use crate::diag::{Error, Result};
use crate::graph::{Conv, ConvTranspose, Op, TensorId};
use crate::uop::DType;

const CONV: &[&str] = &[
    "auto_pad",
    "dilations",
    "group",
    "kernel_shape",
    "pads",
    "strides",
];
const TRANSPOSED: &[&str] = &[
    "auto_pad",
    "dilations",
    "group",
    "kernel_shape",
    "output_padding",
    "output_shape",
    "pads",
    "strides",
];

pub(super) const ROWS: &[Row] = &[
    row("Conv", 1, 2..=3, CONV, conv),
    row("ConvTranspose", 1, 2..=3, TRANSPOSED, conv_transpose),
    row("ConvInteger", 10, 2..=4, CONV, conv_integer),
    row(
        "CausalConvWithState",
        27,
        2..=4,
        &["activation"],
        causal_conv,
    ),
];

/// How padding is chosen.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum AutoPad {
    Explicit,
    SameUpper,
    SameLower,
    Valid,
}

pub(super) fn auto_pad(n: &Node<'_>) -> Result<AutoPad> {
    n.choice(
        "auto_pad",
        &[
            ("NOTSET", AutoPad::Explicit),
            ("SAME_UPPER", AutoPad::SameUpper),
            ("SAME_LOWER", AutoPad::SameLower),
            ("VALID", AutoPad::Valid),
        ],
    )
}

/// A list with one positive entry for each spatial axis.
pub(super) fn spatial_list(n: &Node<'_>, name: &str, spatial: usize) -> Result<Vec<i64>> {
    let list = n.ints(name)?.unwrap_or_else(|| vec![1; spatial]);
    if list.len() != spatial || list.iter().any(|&v| !(1..=1 << 31).contains(&v)) {
        return Err(Error::model(format!(
            "attribute '{name}' is {list:?}: expected {spatial} positive numbers"
        )));
    }
    Ok(list)
}

/// Low and high padding from `pads`, or none.
pub(super) fn explicit_pads(n: &Node<'_>, spatial: usize) -> Result<Vec<(i64, i64)>> {
    let pads = n.ints("pads")?.unwrap_or_else(|| vec![0; 2 * spatial]);
    if pads.len() != 2 * spatial || pads.iter().any(|p| p.unsigned_abs() > 1 << 31) {
        return Err(Error::model(format!(
            "attribute 'pads' is {pads:?}: expected {} numbers",
            2 * spatial
        )));
    }
    Ok((0..spatial).map(|i| (pads[i], pads[i + spatial])).collect())
}

/// Padding of a window that slides over an axis.
pub(super) fn window_pads(
    n: &Node<'_>,
    extents: &[i64],
    kernel: &[i64],
    strides: &[i64],
    dilations: &[i64],
) -> Result<Vec<(i64, i64)>> {
    let mode = auto_pad(n)?;
    if mode == AutoPad::Explicit {
        return explicit_pads(n, extents.len());
    }
    Ok((0..extents.len())
        .map(|i| {
            if mode == AutoPad::Valid {
                return (0, 0);
            }
            let span = (kernel[i] - 1)
                .saturating_mul(dilations[i])
                .saturating_add(1);
            let out = (extents[i] + strides[i] - 1) / strides[i];
            let reach = (out - 1).saturating_mul(strides[i]).saturating_add(span);
            let total = (reach - extents[i]).max(0);
            match mode {
                AutoPad::SameUpper => (total / 2, total - total / 2),
                _ => (total - total / 2, total / 2),
            }
        })
        .collect())
}

/// Crops where padding is negative; what is left to pad is not.
pub(super) fn crop(
    c: &mut Import<'_>,
    mut x: TensorId,
    pads: &mut [(i64, i64)],
) -> Result<TensorId> {
    for (i, (low, high)) in pads.iter_mut().enumerate() {
        let d = c.dims(x)?[i + 2];
        let (cut_low, cut_high) = ((-*low).max(0), (-*high).max(0));
        if cut_low + cut_high > d {
            return Err(Error::model(format!(
                "negative padding crops more than the {d} elements of axis {}",
                i + 2
            )));
        }
        if cut_low + cut_high > 0 {
            x = c.slice_axis(x, i + 2, cut_low, d - cut_low - cut_high)?;
            *low = (*low).max(0);
            *high = (*high).max(0);
        }
    }
    Ok(x)
}

/// Window, strides, dilations and groups.
type Parameters = (Vec<i64>, Vec<i64>, Vec<i64>, i64);

/// Those of a convolution with weights `w`.
fn parameters(c: &Import<'_>, n: &Node<'_>, x: TensorId, w: TensorId) -> Result<Parameters> {
    let (dx, dw) = (c.dims(x)?, c.dims(w)?);
    if dx.len() < 3 || dw.len() != dx.len() {
        return Err(Error::model(format!(
            "convolution of {dx:?} with weights {dw:?}"
        )));
    }
    let spatial = dx.len() - 2;
    let kernel = dw[2..].to_vec();
    if let Some(said) = n.ints("kernel_shape")?
        && said != kernel
    {
        return Err(Error::model(format!(
            "attribute 'kernel_shape' is {said:?}, the weights have {kernel:?}"
        )));
    }
    let groups = n.int("group")?.unwrap_or(1);
    if groups < 1 {
        return Err(Error::model(format!("attribute 'group' is {groups}")));
    }
    let strides = spatial_list(n, "strides", spatial)?;
    let dilations = spatial_list(n, "dilations", spatial)?;
    Ok((kernel, strides, dilations, groups))
}

/// A convolution of `x` with `w`, its attributes those of `n`.
pub(super) fn conv_of(
    c: &mut Import<'_>,
    n: &Node<'_>,
    x: TensorId,
    w: TensorId,
    bias: Option<TensorId>,
) -> Result<TensorId> {
    let (kernel, strides, dilations, groups) = parameters(c, n, x, w)?;
    let extents = c.dims(x)?[2..].to_vec();
    let mut pads = window_pads(n, &extents, &kernel, &strides, &dilations)?;
    let x = crop(c, x, &mut pads)?;
    let op = Op::Conv(Conv {
        strides,
        dilations,
        pads,
        groups,
    });
    let src: Vec<TensorId> = [x, w].into_iter().chain(bias).collect();
    c.push(op, &src)
}

fn conv(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    Ok(vec![conv_of(
        c,
        n,
        n.input(0)?,
        n.input(1)?,
        n.optional(2),
    )?])
}

fn conv_transpose(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let (x, w) = (n.input(0)?, n.input(1)?);
    let (kernel, strides, dilations, groups) = parameters(c, n, x, w)?;
    let extents = c.dims(x)?[2..].to_vec();
    let spatial = extents.len();
    let extra = n
        .ints("output_padding")?
        .unwrap_or_else(|| vec![0; spatial]);
    if extra.len() != spatial || extra.iter().any(|e| !(0..1 << 31).contains(e)) {
        return Err(Error::model(format!(
            "attribute 'output_padding' is {extra:?}"
        )));
    }
    let mode = auto_pad(n)?;
    let wanted = match n.ints("output_shape")? {
        // Some exporters give the whole shape.
        Some(s) if s.len() == spatial + 2 => Some(s[2..].to_vec()),
        Some(s) if s.len() == spatial => Some(s),
        Some(s) => {
            return Err(Error::model(format!("attribute 'output_shape' is {s:?}")));
        }
        None if matches!(mode, AutoPad::SameUpper | AutoPad::SameLower) => Some(
            extents
                .iter()
                .zip(&strides)
                .map(|(e, s)| e.saturating_mul(*s))
                .collect(),
        ),
        None => None,
    };
    let pads = match wanted {
        None if mode == AutoPad::Valid => vec![(0, 0); spatial],
        None => explicit_pads(n, spatial)?,
        Some(wanted) => (0..spatial)
            .map(|i| {
                let span = (kernel[i] - 1)
                    .saturating_mul(dilations[i])
                    .saturating_add(1);
                let full = (extents[i] - 1)
                    .saturating_mul(strides[i])
                    .saturating_add(span)
                    .saturating_add(extra[i]);
                let total = full.saturating_sub(wanted[i]);
                if total < 0 {
                    (0, total)
                } else if mode == AutoPad::SameUpper {
                    (total / 2, total - total / 2)
                } else {
                    (total - total / 2, total / 2)
                }
            })
            .collect(),
    };
    let pads = pads
        .into_iter()
        .zip(&extra)
        .map(|((low, high), e)| (low, high - e))
        .collect();
    let op = Op::ConvTranspose(ConvTranspose {
        strides,
        dilations,
        pads,
        groups,
    });
    let src: Vec<TensorId> = [x, w].into_iter().chain(n.optional(2)).collect();
    Ok(vec![c.push(op, &src)?])
}

/// `x - zero_point` as doubles, in which sums of products of bytes are exact.
pub(super) fn centred(
    c: &mut Import<'_>,
    x: TensorId,
    zero_point: Option<TensorId>,
    axis: usize,
) -> Result<TensorId> {
    let wide = c.cast(x, DType::F64)?;
    let Some(z) = zero_point else {
        return Ok(wide);
    };
    let z = c.cast(z, DType::F64)?;
    let z = along(c, z, axis, c.rank(x))?;
    c.sub(wide, z)
}

/// A scalar as it is; a vector laid along one axis.
pub(super) fn along(c: &mut Import<'_>, v: TensorId, axis: usize, rank: usize) -> Result<TensorId> {
    let dims = c.dims(v)?;
    match dims[..] {
        [] | [1] => c.scalar_of(v),
        [d] => {
            let mut shape = vec![1; rank];
            let Some(at) = shape.get_mut(axis) else {
                return Err(Error::model(format!(
                    "a vector of {d} numbers for axis {axis} of a tensor with {rank} axes"
                )));
            };
            *at = d;
            c.reshape(v, &shape)
        }
        _ => Ok(v),
    }
}

fn conv_integer(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let x = centred(c, n.input(0)?, n.optional(2), 1)?;
    let w = centred(c, n.input(1)?, n.optional(3), 0)?;
    let y = conv_of(c, n, x, w, None)?;
    Ok(vec![c.cast(y, DType::I32)?])
}

/// A depthwise convolution in time that sees the past through a state: `[N,C,T]` after `[N,C,K-1]`.
fn causal_conv(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let (x, w) = (n.input(0)?, n.input(1)?);
    let (dx, dw) = (c.dims(x)?, c.dims(w)?);
    let (&[batch, channels, _], &[wc, 1, k]) = (&dx[..], &dw[..]) else {
        return Err(Error::unsupported(format!(
            "causal convolution of {dx:?} with weights {dw:?}"
        )));
    };
    if wc != channels || k < 1 {
        return Err(Error::model(format!(
            "{channels} channels do not fit weights {dw:?}"
        )));
    }
    let swish = n.choice(
        "activation",
        &[
            ("none", false),
            ("silu", true),
            ("swish", true),
            ("", false),
        ],
    )?;
    let zero = c.number(0.0, c.dtype(x))?;
    let past = match n.optional(3) {
        Some(p) => p,
        None => c.broadcast(zero, &[batch, channels, k - 1])?,
    };
    let joined = c.concat(&[past, x], 2)?;
    let op = Op::Conv(Conv {
        strides: vec![1],
        dilations: vec![1],
        pads: vec![(0, 0)],
        groups: channels,
    });
    let src: Vec<TensorId> = [joined, w].into_iter().chain(n.optional(2)).collect();
    let mut y = c.push(op, &src)?;
    if swish {
        // As the definition has it: halves are widened for the activation.
        let dtype = c.dtype(y);
        if matches!(dtype, DType::F16 | DType::BF16) {
            y = c.cast(y, DType::F32)?;
        }
        let s = super::activation::sigmoid(c, y)?;
        y = c.mul(y, s)?;
        y = c.cast(y, dtype)?;
    }
    let total = c.dims(joined)?[2];
    let state = c.slice_axis(joined, 2, total - (k - 1), k - 1)?;
    Ok(vec![y, state])
}
