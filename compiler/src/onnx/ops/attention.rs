//! Attention and what belongs to it.
//!
//! In: queries, keys and values, `[B,H,S,D]` or `[B,S,H*D]`, masks and caches. Out: values weighted by how
//! well keys match queries, and the caches for the next call.
//!
//! Example: `Attention(q, k, v, is_causal=1)` lets each query see the keys up to its own place.

use super::super::import::Import;
use super::super::node::Node;
use super::super::tensor::require_dtype;
use super::matmul::matmul;
use super::{Row, row};
use crate::diag::{Error, Result};
use crate::graph::TensorId;
use crate::uop::{Binary, DType, ReduceOp, Unary};

const A23: &[&str] = &[
    "is_causal",
    "kv_num_heads",
    "q_num_heads",
    "qk_matmul_output_mode",
    "scale",
    "softcap",
    "softmax_precision",
];
const A25: &[&str] = &[
    "is_causal",
    "kv_num_heads",
    "left_window_size",
    "q_num_heads",
    "qk_matmul_output_mode",
    "right_window_size",
    "scale",
    "softcap",
    "softmax_precision",
];
const ROTARY: &[&str] = &["interleaved", "num_heads", "rotary_embedding_dim"];
const LINEAR: &[&str] = &[
    "chunk_size",
    "kv_num_heads",
    "q_num_heads",
    "scale",
    "update_rule",
];

pub(super) const ROWS: &[Row] = &[
    row("Attention", 23, 3..=6, A23, attention),
    row("Attention", 24, 3..=7, A23, attention),
    row("Attention", 25, 3..=7, A25, attention),
    row("RotaryEmbedding", 23, 3..=4, ROTARY, rotary),
    row("LinearAttention", 27, 3..=6, LINEAR, linear_attention),
];

/// `[B,S,H*D]` as `[B,H,S,D]`.
fn split_heads(c: &mut Import<'_>, x: TensorId, heads: i64) -> Result<TensorId> {
    let dims = c.dims(x)?;
    match dims[..] {
        [b, s, hidden] if heads > 0 && hidden % heads == 0 => {
            let x = c.reshape(x, &[b, s, heads, hidden / heads])?;
            c.permute(x, &[0, 2, 1, 3])
        }
        _ => Err(Error::model(format!(
            "shape {dims:?} cannot be split into {heads} heads"
        ))),
    }
}

/// `[B,H,S,D]` as `[B,S,H*D]`.
fn join_heads(c: &mut Import<'_>, x: TensorId) -> Result<TensorId> {
    let dims = c.dims(x)?;
    let x = c.permute(x, &[0, 2, 1, 3])?;
    c.reshape(x, &[dims[0], dims[2], dims[1] * dims[3]])
}

/// Repeats each head of axis 1.
fn repeat_heads(c: &mut Import<'_>, x: TensorId, times: i64) -> Result<TensorId> {
    if times == 1 {
        return Ok(x);
    }
    let mut dims = c.dims(x)?;
    let mut wide = dims.clone();
    wide.insert(2, 1);
    let x = c.reshape(x, &wide)?;
    wide[2] = times;
    let x = c.broadcast(x, &wide)?;
    dims[1] *= times;
    c.reshape(x, &dims)
}

/// 0 where allowed, minus infinity elsewhere.
fn bias_of(c: &mut Import<'_>, allowed: TensorId, dtype: DType) -> Result<TensorId> {
    let zero = c.number(0.0, dtype)?;
    let never = c.number(f64::NEG_INFINITY, dtype)?;
    c.select(allowed, zero, never)
}

fn attention(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let (mut q, mut k, mut v) = (n.input(0)?, n.input(1)?, n.input(2)?);
    let dtype = c.dtype(q);
    let flat = c.rank(q) == 3;
    if flat {
        let heads = n.int("q_num_heads")?;
        let heads = n.required("q_num_heads", heads)?;
        let kv = n.int("kv_num_heads")?;
        let kv = n.required("kv_num_heads", kv)?;
        q = split_heads(c, q, heads)?;
        k = split_heads(c, k, kv)?;
        v = split_heads(c, v, kv)?;
    }
    if let Some(past) = n.optional(4) {
        k = c.concat(&[past, k], 2)?;
    }
    if let Some(past) = n.optional(5) {
        v = c.concat(&[past, v], 2)?;
    }
    let (present_key, present_value) = (k, v);
    let (dq, dk, dv) = (c.dims(q)?, c.dims(k)?, c.dims(v)?);
    let fits = [dq.len(), dk.len(), dv.len()] == [4; 3]
        && dk[1] > 0
        && dq[1] % dk[1] == 0
        && dk[1] == dv[1]
        && dk[2] == dv[2];
    if !fits {
        return Err(Error::model(format!(
            "queries {dq:?}, keys {dk:?} and values {dv:?} do not fit"
        )));
    }
    let (rows, columns) = (dq[2], dk[2]);
    k = repeat_heads(c, k, dq[1] / dk[1])?;
    v = repeat_heads(c, v, dq[1] / dk[1])?;
    let scale = match n.float("scale")? {
        Some(s) if s != 0.0 => f64::from(s),
        _ => 1.0 / (dq[3].max(1) as f64).sqrt(),
    };
    // Half of the scale on each side, as the definition has it: halves overflow later.
    let root = scale.abs().sqrt();
    let sq = c.mul_number(q, if scale < 0.0 { -root } else { root })?;
    let sk = c.mul_number(k, root)?;
    let sk = c.permute(sk, &[0, 1, 3, 2])?;
    let mut scores = matmul(c, sq, sk)?;
    let mode = n.int("qk_matmul_output_mode")?.unwrap_or(0);
    let mut shown = scores;
    let softcap = n.float_or("softcap", 0.0)?;
    if softcap > 0.0 {
        let small = c.div_number(scores, softcap)?;
        let t = c.unary(Unary::Tanh, small)?;
        scores = c.mul_number(t, softcap)?;
        shown = scores;
    }
    let bias = mask(c, n, dtype, (rows, columns))?;
    if let Some(bias) = bias {
        scores = c.add(scores, bias)?;
    }
    if mode == 2 {
        shown = scores;
    }
    let wide = match n.int("softmax_precision")? {
        Some(t) if t != 0 => require_dtype(t as i32, "attribute 'softmax_precision'")?,
        _ => dtype,
    };
    let scores = c.cast(scores, wide)?;
    let p = match bias {
        None => c.push(crate::graph::Op::Softmax(3), &[scores])?,
        Some(bias) => guarded_softmax(c, scores, bias)?,
    };
    let p = c.cast(p, dtype)?;
    if mode == 3 {
        shown = p;
    }
    let mut y = matmul(c, p, v)?;
    if flat {
        y = join_heads(c, y)?;
    }
    Ok(vec![y, present_key, present_value, shown])
}

/// Softmax in which a row that may see nothing is zero, not NaN.
fn guarded_softmax(c: &mut Import<'_>, scores: TensorId, bias: TensorId) -> Result<TensorId> {
    let dtype = c.dtype(scores);
    let zero = c.number(0.0, dtype)?;
    let one = c.number(1.0, dtype)?;
    let never = c.number(f64::NEG_INFINITY, dtype)?;
    let top = c.reduce(ReduceOp::Max, scores, &[3], true)?;
    let empty = c.binary(Binary::Eq, top, never)?;
    let top = c.select(empty, zero, top)?;
    let moved = c.sub(scores, top)?;
    let e = c.unary(Unary::Exp, moved)?;
    let sum = c.reduce(ReduceOp::Sum, e, &[3], true)?;
    let none = c.binary(Binary::Eq, sum, zero)?;
    let sum = c.select(none, one, sum)?;
    let p = c.div(e, sum)?;
    // What the mask forbids entirely stays forbidden, whatever the scores are.
    let last = c.rank(bias) - 1;
    let best = c.reduce(ReduceOp::Max, bias, &[last], true)?;
    let never = c.number(f64::NEG_INFINITY, c.dtype(bias))?;
    let blind = c.binary(Binary::Eq, best, never)?;
    c.select(blind, zero, p)
}

/// The sum of all masks, as numbers to add to the scores.
fn mask(
    c: &mut Import<'_>,
    n: &Node<'_>,
    dtype: DType,
    (rows, columns): (i64, i64),
) -> Result<Option<TensorId>> {
    let mut bias = None;
    let join = |c: &mut Import<'_>, old: Option<TensorId>, new: TensorId| match old {
        None => Ok(Some(new)),
        Some(old) => c.add(old, new).map(Some),
    };
    if let Some(given) = n.optional(3) {
        let mut m = given;
        if c.dtype(m) == DType::Bool {
            m = bias_of(c, m, dtype)?;
        }
        let dims = c.dims(m)?;
        let missing = columns - dims.last().copied().unwrap_or(columns);
        if missing > 0 && dims.last() != Some(&1) {
            let mut around = vec![(0, 0); dims.len()];
            around[dims.len() - 1] = (0, missing);
            let never = c.number(f64::NEG_INFINITY, dtype)?;
            m = c.pad(m, &around, never)?;
        }
        let m = if c.rank(m) < 2 {
            c.broadcast(m, &[rows, columns])?
        } else {
            m
        };
        bias = join(c, bias, m)?;
    }
    // How far the keys of the past shift the diagonal.
    let lens = match n.optional(6) {
        None => None,
        Some(l) => {
            let b = c.elements(l)?;
            let l = c.cast(l, DType::I64)?;
            Some(c.reshape(l, &[b, 1, 1, 1])?)
        }
    };
    let offset = match (n.optional(4), lens) {
        (Some(past), _) => {
            let past = c.dims(past)?[2];
            c.integer(past, DType::I64)?
        }
        (None, Some(lens)) => c.add_number(lens, -(rows as f64))?,
        (None, None) => c.integer(0, DType::I64)?,
    };
    let i = c.iota_along(rows, DType::I64, 0, 2)?;
    let j = c.iota_along(columns, DType::I64, 1, 2)?;
    let place = c.add(i, offset)?;
    if n.flag("is_causal", false)? {
        let allowed = c.binary(Binary::Le, j, place)?;
        let m = bias_of(c, allowed, dtype)?;
        bias = join(c, bias, m)?;
    }
    for (name, left) in [("left_window_size", true), ("right_window_size", false)] {
        let size = n.int(name)?.unwrap_or(-1);
        if size < 0 {
            continue;
        }
        let distance = if left {
            c.sub(place, j)?
        } else {
            c.sub(j, place)?
        };
        let size = c.integer(size, DType::I64)?;
        let allowed = c.binary(Binary::Le, distance, size)?;
        let m = bias_of(c, allowed, dtype)?;
        bias = join(c, bias, m)?;
    }
    if let Some(lens) = lens {
        let allowed = c.lt(j, lens)?;
        let m = bias_of(c, allowed, dtype)?;
        bias = join(c, bias, m)?;
    }
    Ok(bias)
}

/// Rotates pairs of a head's elements by angles that grow with the position.
fn rotary(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let input = n.input(0)?;
    let flat = c.rank(input) == 3;
    // [B,H,S,D]
    let x = if flat {
        let heads = n.int("num_heads")?;
        let heads = n.required("num_heads", heads)?;
        split_heads(c, input, heads)?
    } else {
        input
    };
    let dims = c.dims(x)?;
    if dims.len() != 4 {
        return Err(Error::model(format!(
            "shape {dims:?}: expected rank 3 or 4"
        )));
    }
    let head = dims[3];
    let part = match n.int("rotary_embedding_dim")? {
        None | Some(0) => head,
        Some(d) if (0..=head).contains(&d) => d,
        Some(d) => {
            return Err(Error::model(format!(
                "attribute 'rotary_embedding_dim' is {d}"
            )));
        }
    };
    if part % 2 != 0 {
        return Err(Error::model(format!(
            "{part} elements cannot be rotated in pairs"
        )));
    }
    let half = part / 2;
    let mut angles = Vec::new();
    for i in 1..3 {
        let mut cache = n.input(i)?;
        if let Some(ids) = n.optional(3) {
            cache = c.gather(cache, ids, 0)?;
        }
        if c.dims(cache)?.last() != Some(&half) || c.rank(cache) > 3 {
            return Err(Error::model(format!(
                "a cache of shape {:?} does not fit {half} pairs",
                c.shape(cache)
            )));
        }
        // [B,S,half] -> [B,1,S,half]
        let rank = c.rank(cache);
        angles.push(if rank == 3 {
            c.unsqueeze(cache, 1)?
        } else {
            cache
        });
    }
    let (cos, sin) = (angles[0], angles[1]);
    let turn = c.slice_axis(x, 3, 0, part)?;
    let rest = c.slice_axis(x, 3, part, head - part)?;
    let interleaved = n.flag("interleaved", false)?;
    let [b, h, s, _] = dims[..] else {
        return Err(Error::bug("rank 4"));
    };
    let (x1, x2) = if interleaved {
        let pairs = c.reshape(turn, &[b, h, s, half, 2])?;
        let a = c.slice_axis(pairs, 4, 0, 1)?;
        let z = c.slice_axis(pairs, 4, 1, 1)?;
        (
            c.reshape(a, &[b, h, s, half])?,
            c.reshape(z, &[b, h, s, half])?,
        )
    } else {
        (
            c.slice_axis(turn, 3, 0, half)?,
            c.slice_axis(turn, 3, half, half)?,
        )
    };
    let (cx1, sx2) = (c.mul(x1, cos)?, c.mul(x2, sin)?);
    let real = c.sub(cx1, sx2)?;
    let (sx1, cx2) = (c.mul(x1, sin)?, c.mul(x2, cos)?);
    let imaginary = c.add(sx1, cx2)?;
    let turned = if interleaved {
        let r = c.unsqueeze(real, 4)?;
        let i = c.unsqueeze(imaginary, 4)?;
        let both = c.concat(&[r, i], 4)?;
        c.reshape(both, &[b, h, s, part])?
    } else {
        c.concat(&[real, imaginary], 3)?
    };
    let y = if part < head {
        c.concat(&[turned, rest], 3)?
    } else {
        turned
    };
    Ok(vec![if flat { join_heads(c, y)? } else { y }])
}

/// A state that each step decays, corrects and reads.
fn linear_attention(c: &mut Import<'_>, n: &Node<'_>) -> Result<Vec<TensorId>> {
    let heads = n.int("q_num_heads")?;
    let heads = n.required("q_num_heads", heads)?;
    let kv = n.int("kv_num_heads")?;
    let kv = n.required("kv_num_heads", kv)?;
    if kv < 1 || heads < 1 || heads % kv != 0 {
        return Err(Error::model(format!(
            "{heads} heads of queries and {kv} of keys"
        )));
    }
    let rules = [
        ("gated_delta", (true, true)),
        ("linear", (false, false)),
        ("gated", (true, false)),
        ("delta", (false, true)),
    ];
    let (gated, delta) = n.choice("update_rule", &rules)?;
    let (query, key, value) = (n.input(0)?, n.input(1)?, n.input(2)?);
    let dtype = c.dtype(query);
    let mut parts = Vec::new();
    for (x, h) in [(query, heads), (key, kv), (value, kv)] {
        let x = split_heads(c, x, h)?;
        parts.push(c.cast(x, DType::F32)?);
    }
    let (q, k, v) = (parts[0], parts[1], parts[2]);
    let (batch, steps) = (c.dims(q)?[0], c.dims(q)?[2]);
    let (dk, dv) = (c.dims(k)?[3], c.dims(v)?[3]);
    if steps > 4096 {
        return Err(Error::unsupported(format!("a recurrence of {steps} steps")));
    }
    let heads_of = |c: &mut Import<'_>, i: usize, what: &str| -> Result<TensorId> {
        let x = n
            .optional(i)
            .ok_or_else(|| Error::model(format!("input {i} ({what}) is missing")))?;
        let last = c.dims(x)?.last().copied().unwrap_or(0);
        let h = if last == 1 { 1 } else { kv };
        let x = split_heads(c, x, h)?;
        c.cast(x, DType::F32)
    };
    let decay = if gated {
        Some(heads_of(c, 4, "the decay")?)
    } else {
        None
    };
    let beta = if delta {
        Some(heads_of(c, 5, "beta")?)
    } else {
        None
    };
    let (mut state, state_type) = match n.optional(3) {
        Some(s) => (c.cast(s, DType::F32)?, c.dtype(s)),
        None => {
            let zero = c.number(0.0, DType::F32)?;
            (c.broadcast(zero, &[batch, kv, dk, dv])?, dtype)
        }
    };
    let scale = match n.float("scale")? {
        Some(s) if s != 0.0 => f64::from(s),
        _ => 1.0 / (dk.max(1) as f64).sqrt(),
    };
    let mut rows = Vec::new();
    for t in 0..steps {
        // Rows of one step: [B,H,1,D].
        let qt = c.slice_axis(q, 2, t, 1)?;
        let kt = c.slice_axis(k, 2, t, 1)?;
        let mut vt = c.slice_axis(v, 2, t, 1)?;
        let column = c.permute(kt, &[0, 1, 3, 2])?;
        if let Some(decay) = decay {
            let g = c.slice_axis(decay, 2, t, 1)?;
            let g = c.permute(g, &[0, 1, 3, 2])?;
            let e = c.unary(Unary::Exp, g)?;
            state = c.mul(state, e)?;
        }
        if let Some(beta) = beta {
            let found = matmul(c, kt, state)?;
            let error = c.sub(vt, found)?;
            let b = c.slice_axis(beta, 2, t, 1)?;
            vt = c.mul(b, error)?;
        }
        let update = c.mul(column, vt)?;
        state = c.add(state, update)?;
        let read = repeat_heads(c, state, heads / kv)?;
        let o = matmul(c, qt, read)?;
        rows.push(c.mul_number(o, scale)?);
    }
    let y = c.concat(&rows, 2)?;
    let y = join_heads(c, y)?;
    Ok(vec![c.cast(y, dtype)?, c.cast(state, state_type)?])
}
