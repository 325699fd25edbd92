//! Movement and reduces. All movement is one walk over the result with a start and a stride for each axis.

use super::elementwise::{combine_float, combine_int, neutral_float, neutral_int};
use super::value::{Data, Value};
use crate::uop::ReduceOp;

/// Row-major strides.
pub fn strides(shape: &[i64]) -> Vec<i64> {
    let mut out = vec![1; shape.len()];
    for i in (0..shape.len().saturating_sub(1)).rev() {
        out[i] = out[i + 1] * shape[i + 1];
    }
    out
}

/// Calls `f` with `start + sum(index * step)` for every index of `shape` in row-major order.
pub fn walk(shape: &[i64], steps: &[i64], start: i64, mut f: impl FnMut(i64)) {
    let count: i64 = shape.iter().product();
    let mut index = vec![0i64; shape.len()];
    let mut at = start;
    for _ in 0..count.max(0) {
        f(at);
        for d in (0..shape.len()).rev() {
            index[d] += 1;
            at += steps[d];
            if index[d] < shape[d] {
                break;
            }
            at -= steps[d] * shape[d];
            index[d] = 0;
        }
    }
}

/// Elements of `a` at the places that a walk visits.
pub fn view(a: &Value, shape: &[i64], steps: &[i64], start: i64) -> Value {
    let mut places = Vec::with_capacity(shape.iter().product::<i64>().max(0) as usize);
    walk(shape, steps, start, |at| places.push(at as usize));
    take(a, shape, &places)
}

/// Elements of `a` at places.
pub fn take(a: &Value, shape: &[i64], places: &[usize]) -> Value {
    let data = match &a.data {
        Data::Float(v) => Data::Float(places.iter().map(|&p| v[p]).collect()),
        Data::Int(v) => Data::Int(places.iter().map(|&p| v[p]).collect()),
    };
    Value {
        dtype: a.dtype,
        shape: shape.to_vec(),
        data,
    }
}

/// Writes the elements of `a` in row-major order to places of `out`.
fn put(out: &mut Value, a: &Value, steps: &[i64], start: i64) {
    let mut n = 0;
    match (&mut out.data, &a.data) {
        (Data::Float(o), Data::Float(v)) => walk(&a.shape, steps, start, |at| {
            o[at as usize] = v[n];
            n += 1;
        }),
        (Data::Int(o), Data::Int(v)) => walk(&a.shape, steps, start, |at| {
            o[at as usize] = v[n];
            n += 1;
        }),
        _ => {}
    }
}

pub fn permute(a: &Value, perm: &[usize], shape: &[i64]) -> Value {
    let s = strides(&a.shape);
    let steps: Vec<i64> = perm.iter().map(|&p| s[p]).collect();
    view(a, shape, &steps, 0)
}

pub fn expand(a: &Value, shape: &[i64]) -> Value {
    let s = strides(&a.shape);
    let steps: Vec<i64> = (0..shape.len())
        .map(|i| if a.shape[i] == 1 { 0 } else { s[i] })
        .collect();
    view(a, shape, &steps, 0)
}

pub fn pad(a: &Value, pads: &[(i64, i64)], bits: u64, shape: &[i64]) -> Value {
    let mut out = Value::full(a.dtype, shape, bits);
    let s = strides(shape);
    let start = pads.iter().zip(&s).map(|(p, s)| p.0 * s).sum();
    put(&mut out, a, &s, start);
    out
}

pub fn slice(a: &Value, starts: &[i64], by: &[i64], shape: &[i64]) -> Value {
    let s = strides(&a.shape);
    let steps: Vec<i64> = s.iter().zip(by).map(|(s, b)| s * b).collect();
    let start = s.iter().zip(starts).map(|(s, b)| s * b).sum();
    view(a, shape, &steps, start)
}

pub fn flip(a: &Value, axes: &[usize]) -> Value {
    let mut s = strides(&a.shape);
    let mut start = 0;
    for &axis in axes {
        start += s[axis] * (a.shape[axis] - 1).max(0);
        s[axis] = -s[axis];
    }
    view(a, &a.shape, &s, start)
}

pub fn window(a: &Value, axis: usize, stride: i64, dilation: i64, shape: &[i64]) -> Value {
    let mut s = strides(&a.shape);
    let step = s[axis];
    s[axis] = step * stride;
    s.insert(axis + 1, step * dilation);
    view(a, shape, &s, 0)
}

pub fn concat(src: &[&Value], axis: usize, shape: &[i64]) -> Value {
    let mut out = Value::full(src[0].dtype, shape, 0);
    let s = strides(shape);
    let mut at = 0;
    for a in src {
        put(&mut out, a, &s, at * s[axis]);
        at += a.shape[axis];
    }
    out
}

pub fn reduce(op: ReduceOp, a: &Value, axes: &[usize], shape: &[i64]) -> Value {
    // Walk the source in order; the result's step along a reduced axis is 0.
    let mut steps = vec![0; a.shape.len()];
    let mut kept = strides(shape).into_iter();
    for (i, step) in steps.iter_mut().enumerate() {
        if !axes.contains(&i) {
            *step = kept.next().unwrap_or(0);
        }
    }
    let count = shape.iter().product::<i64>().max(0) as usize;
    let mut n = 0;
    match &a.data {
        Data::Float(v) => {
            let mut out = vec![neutral_float(op); count];
            walk(&a.shape, &steps, 0, |at| {
                let o = &mut out[at as usize];
                *o = combine_float(op, *o, v[n]);
                n += 1;
            });
            Value::floats(a.dtype, shape, out)
        }
        Data::Int(v) => {
            let mut out = vec![neutral_int(op, a.dtype); count];
            walk(&a.shape, &steps, 0, |at| {
                let o = &mut out[at as usize];
                *o = combine_int(op, a.dtype.is_unsigned(), *o, v[n]);
                n += 1;
            });
            Value::ints(a.dtype, shape, out)
        }
    }
}
