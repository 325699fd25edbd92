//! Convolution, transposed convolution, matrix product and pooling as loops over their definition.

use super::elementwise::max;
use super::movement::strides;
use super::value::{Data, Value};
use crate::diag::{Error, Result};
use crate::graph::ops::{Conv, ConvTranspose, Matrix, Pool, PoolKind};
use rayon::prelude::*;

fn floats(v: &Value) -> Result<&[f64]> {
    v.as_floats()
        .ok_or_else(|| Error::bug("a convolution of integers"))
}

/// Index `n` of a shape as coordinates.
fn coordinates(mut n: i64, shape: &[i64]) -> Vec<i64> {
    let mut out = vec![0; shape.len()];
    for d in (0..shape.len()).rev() {
        out[d] = n % shape[d];
        n /= shape[d];
    }
    out
}

/// All coordinates of a shape in row-major order.
fn all(shape: &[i64]) -> Vec<Vec<i64>> {
    (0..shape.iter().product())
        .map(|n| coordinates(n, shape))
        .collect()
}

pub fn conv(src: &[&Value], a: &Conv, shape: &[i64]) -> Result<Value> {
    let (x, w) = (floats(src[0])?, floats(src[1])?);
    let bias = src.get(2).map(|b| floats(b)).transpose()?;
    let (xd, wd) = (&src[0].shape, &src[1].shape);
    let (xs, ws) = (strides(xd), strides(wd));
    let taps = all(&wd[2..]);
    let own = (wd[0] / a.groups).max(1);
    let count: i64 = shape.iter().product();
    let out = (0..count)
        .into_par_iter()
        .map(|n| {
            let o = coordinates(n, shape);
            let group = o[1] / own;
            let mut sum = 0.0;
            for k in &taps {
                let mut place = o[0] * xs[0] + group * wd[1] * xs[1];
                let mut tap = o[1] * ws[0];
                let mut inside = true;
                for d in 0..k.len() {
                    let i = o[d + 2] * a.strides[d] + k[d] * a.dilations[d] - a.pads[d].0;
                    inside &= (0..xd[d + 2]).contains(&i);
                    place += i * xs[d + 2];
                    tap += k[d] * ws[d + 2];
                }
                if inside {
                    for c in 0..wd[1] {
                        sum += x[(place + c * xs[1]) as usize] * w[(tap + c * ws[1]) as usize];
                    }
                }
            }
            sum + bias.map_or(0.0, |b| b[o[1] as usize])
        })
        .collect();
    Ok(Value::floats(src[0].dtype, shape, out))
}

pub fn transform(x: &Value, axis: usize, matrix: &Matrix, shape: &[i64]) -> Result<Value> {
    let v = floats(x)?;
    let (from, to) = (strides(&x.shape), strides(shape));
    let count: i64 = shape.iter().product();
    let element = |n: i64| {
        let row = n / to[axis] % shape[axis];
        let outer = n / (to[axis] * shape[axis]) * from[axis] * x.shape[axis];
        let first = outer + n % to[axis];
        let terms = matrix.row(row as usize).enumerate().filter(|t| t.1 != 0.0);
        terms
            .map(|(c, m)| m * v[(first + c as i64 * from[axis]) as usize])
            .sum::<f64>()
    };
    let out = (0..count).into_par_iter().map(element).collect();
    Ok(Value::floats(x.dtype, shape, out))
}

pub fn conv_transpose(src: &[&Value], a: &ConvTranspose, shape: &[i64]) -> Result<Value> {
    // The definition as a scatter: every input element adds a scaled kernel.
    let (x, w) = (floats(src[0])?, floats(src[1])?);
    let bias = src.get(2).map(|b| floats(b)).transpose()?;
    let (xd, wd) = (&src[0].shape, &src[1].shape);
    let (ws, os) = (strides(wd), strides(shape));
    let taps = all(&wd[2..]);
    let each = (wd[0] / a.groups).max(1);
    let count = shape.iter().product::<i64>().max(0) as usize;
    let mut out = vec![0.0; count];
    for (n, &value) in x.iter().enumerate() {
        let i = coordinates(n as i64, xd);
        let group = i[1] / each;
        for k in &taps {
            let mut place = i[0] * os[0] + group * wd[1] * os[1];
            let mut tap = i[1] * ws[0];
            let mut inside = true;
            for d in 0..k.len() {
                let o = i[d + 2] * a.strides[d] + k[d] * a.dilations[d] - a.pads[d].0;
                inside &= (0..shape[d + 2]).contains(&o);
                place += o * os[d + 2];
                tap += k[d] * ws[d + 2];
            }
            if inside {
                for m in 0..wd[1] {
                    out[(place + m * os[1]) as usize] += value * w[(tap + m * ws[1]) as usize];
                }
            }
        }
    }
    if let Some(b) = bias {
        let inner = os[1].max(1) as usize;
        for (n, o) in out.iter_mut().enumerate() {
            *o += b[n / inner % b.len()];
        }
    }
    Ok(Value::floats(src[0].dtype, shape, out))
}

pub fn matmul(a: &Value, b: &Value, shape: &[i64]) -> Value {
    let (ra, rb, rank) = (a.shape.len(), b.shape.len(), shape.len());
    let k = a.shape[ra - 1];
    let (sa, sb) = (strides(&a.shape), strides(&b.shape));
    // Start of row and column of result n, batch axes broadcast.
    let start = |n: i64| {
        let o = coordinates(n, shape);
        let (mut pa, mut pb) = (o[rank - 2] * sa[ra - 2], o[rank - 1]);
        for (d, &at) in o.iter().enumerate().take(rank - 2) {
            if let Some(i) = (d + ra).checked_sub(rank)
                && a.shape[i] != 1
            {
                pa += at * sa[i];
            }
            if let Some(i) = (d + rb).checked_sub(rank)
                && b.shape[i] != 1
            {
                pb += at * sb[i];
            }
        }
        (pa, pb)
    };
    let step = sb[rb - 2];
    let count: i64 = shape.iter().product();
    match (&a.data, &b.data) {
        (Data::Float(x), Data::Float(y)) => {
            let out = (0..count).into_par_iter().map(|n| {
                let (pa, pb) = start(n);
                (0..k)
                    .map(|i| x[(pa + i) as usize] * y[(pb + i * step) as usize])
                    .sum()
            });
            Value::floats(a.dtype, shape, out.collect())
        }
        _ => {
            let (x, y) = (a.to_i64(), b.to_i64());
            let out = (0..count).into_par_iter().map(|n| {
                let (pa, pb) = start(n);
                (0..k).fold(0i64, |s, i| {
                    let p = x[(pa + i) as usize].wrapping_mul(y[(pb + i * step) as usize]);
                    s.wrapping_add(p)
                })
            });
            Value::ints(a.dtype, shape, out.collect())
        }
    }
}

pub fn pool(x: &Value, a: &Pool, shape: &[i64]) -> Value {
    let s = strides(&x.shape);
    let taps = all(&a.kernel);
    let spatial = a.kernel.len();
    // Places of the samples of result n, and how many count in the mean's divisor.
    let window = |n: i64, include_pad: bool| {
        let o = coordinates(n, shape);
        let mut places = Vec::with_capacity(taps.len());
        let mut counted = 0;
        for k in &taps {
            let mut place = o[0] * s[0] + o[1] * s[1];
            let (mut inside, mut declared) = (true, true);
            for d in 0..spatial {
                let i = o[d + 2] * a.strides[d] + k[d] * a.dilations[d] - a.pads[d].0;
                inside &= (0..x.shape[d + 2]).contains(&i);
                declared &= i < x.shape[d + 2] + a.declared_high[d];
                place += i * s[d + 2];
            }
            if inside {
                places.push(place as usize);
            }
            counted += (if include_pad { declared } else { inside }) as i64;
        }
        (places, counted)
    };
    let count: i64 = shape.iter().product();
    match &x.data {
        Data::Float(v) => {
            let out = (0..count).map(|n| match a.kind {
                PoolKind::Max => {
                    let (places, _) = window(n, false);
                    places.iter().fold(f64::NEG_INFINITY, |m, &p| max(m, v[p]))
                }
                PoolKind::Average { include_pad } => {
                    let (places, counted) = window(n, include_pad);
                    places.iter().map(|&p| v[p]).sum::<f64>() / counted as f64
                }
                PoolKind::Lp(e) => {
                    let (places, _) = window(n, false);
                    let sum: f64 = places.iter().map(|&p| v[p].abs().powi(e as i32)).sum();
                    sum.powf(1.0 / e as f64)
                }
            });
            Value::floats(x.dtype, shape, out.collect())
        }
        Data::Int(v) => {
            let low = x.dtype.int_bounds().map_or(0, |b| b.0);
            let unsigned = x.dtype.is_unsigned();
            let out = (0..count).map(|n| {
                let op = crate::uop::ReduceOp::Max;
                (window(n, false).0.iter()).fold(low, |m, &p| {
                    super::elementwise::combine_int(op, unsigned, m, v[p])
                })
            });
            Value::ints(x.dtype, shape, out.collect())
        }
    }
}
