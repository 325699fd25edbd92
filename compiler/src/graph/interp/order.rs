//! Operations along lines of one axis: softmax, normalisation, running sums, sorting, places of extremes.

use super::movement::take;
use super::value::{Data, Value};
use crate::uop::DType;
use std::cmp::Ordering;

/// Places of the elements of every line along `axis`; lines in row-major order.
fn lines(shape: &[i64], axis: usize) -> Vec<Vec<usize>> {
    let outer: i64 = shape[..axis].iter().product();
    let inner: i64 = shape[axis + 1..].iter().product();
    let n = shape[axis];
    let mut out = Vec::new();
    for o in 0..outer {
        for i in 0..inner {
            out.push((0..n).map(|k| ((o * n + k) * inner + i) as usize).collect());
        }
    }
    out
}

pub fn softmax(x: &Value, axis: usize, log: bool) -> Value {
    let v = x.to_f64();
    let mut out = vec![0.0; v.len()];
    for line in lines(&x.shape, axis) {
        let top = line.iter().fold(f64::NEG_INFINITY, |m, &p| m.max(v[p]));
        let sum: f64 = line.iter().map(|&p| (v[p] - top).exp()).sum();
        for &p in &line {
            let d = v[p] - top;
            out[p] = if log { d - sum.ln() } else { d.exp() / sum };
        }
    }
    Value::floats(x.dtype, &x.shape, out)
}

pub fn layer_norm(src: &[&Value], axis: usize, epsilon: f64) -> Value {
    let x = src[0];
    let v = x.to_f64();
    let (scale, bias) = (
        src.get(1).map(|s| s.to_f64()),
        src.get(2).map(|s| s.to_f64()),
    );
    let inner = x.shape[axis..].iter().product::<i64>() as usize;
    let mut out = Vec::with_capacity(v.len());
    for row in v.chunks(inner.max(1)) {
        let mean = row.iter().sum::<f64>() / inner as f64;
        let variance = row.iter().map(|e| (e - mean).powi(2)).sum::<f64>() / inner as f64;
        for (i, e) in row.iter().enumerate() {
            let mut y = (e - mean) / (variance + epsilon).sqrt();
            y *= scale.as_ref().map_or(1.0, |s| s[i]);
            y += bias.as_ref().map_or(0.0, |s| s[i]);
            out.push(y);
        }
    }
    Value::floats(x.dtype, &x.shape, out)
}

pub fn cum_sum(x: &Value, axis: usize, exclusive: bool, reverse: bool) -> Value {
    let mut lines = lines(&x.shape, axis);
    if reverse {
        lines.iter_mut().for_each(|l| l.reverse());
    }
    match &x.data {
        Data::Float(v) => {
            let mut out = vec![0.0; v.len()];
            for line in lines {
                let mut sum = 0.0;
                for p in line {
                    let before = sum;
                    sum += v[p];
                    out[p] = if exclusive { before } else { sum };
                }
            }
            Value::floats(x.dtype, &x.shape, out)
        }
        Data::Int(v) => {
            let mut out = vec![0i64; v.len()];
            for line in lines {
                let mut sum = 0i64;
                for p in line {
                    let before = sum;
                    sum = sum.wrapping_add(v[p]);
                    out[p] = if exclusive { before } else { sum };
                }
            }
            Value::ints(x.dtype, &x.shape, out)
        }
    }
}

/// Order of two elements; NaN is larger than all.
fn order(x: &Value, p: usize, q: usize) -> Ordering {
    match &x.data {
        Data::Float(v) => v[p]
            .partial_cmp(&v[q])
            .unwrap_or_else(|| v[p].is_nan().cmp(&v[q].is_nan())),
        Data::Int(v) if x.dtype.is_unsigned() => (v[p] as u64).cmp(&(v[q] as u64)),
        Data::Int(v) => v[p].cmp(&v[q]),
    }
}

pub fn top_k(x: &Value, axis: usize, k: i64, largest: bool, indices: bool) -> Value {
    let mut shape = x.shape.clone();
    shape[axis] = k;
    let count = shape.iter().product::<i64>().max(0) as usize;
    let mut index = vec![0i64; count];
    let mut places = vec![0usize; count];
    for (line, to) in lines(&x.shape, axis).iter().zip(lines(&shape, axis)) {
        let mut ranked: Vec<usize> = (0..line.len()).collect();
        ranked.sort_by(|&i, &j| {
            let o = order(x, line[i], line[j]);
            (if largest { o.reverse() } else { o }).then(i.cmp(&j))
        });
        for (&i, &p) in ranked.iter().zip(&to) {
            index[p] = i as i64;
            places[p] = line[i];
        }
    }
    if indices {
        Value::ints(DType::I64, &shape, index)
    } else {
        take(x, &shape, &places)
    }
}

/// As numpy: the first NaN wins, be it the largest or the smallest that is asked for.
pub fn arg_reduce(x: &Value, axis: usize, largest: bool, last: bool) -> Value {
    let mut shape = x.shape.clone();
    shape.remove(axis);
    let nan = |p: usize| matches!(&x.data, Data::Float(v) if v[p].is_nan());
    let out = lines(&x.shape, axis)
        .iter()
        .map(|line| {
            let mut best = 0;
            for i in 1..line.len() {
                let (p, q) = (line[i], line[best]);
                let o = match (nan(p), nan(q)) {
                    (true, false) => Ordering::Greater,
                    (false, true) => Ordering::Less,
                    _ if largest => order(x, p, q),
                    _ => order(x, q, p),
                };
                if o == Ordering::Greater || (last && o == Ordering::Equal) {
                    best = i;
                }
            }
            best as i64
        })
        .collect();
    Value::ints(DType::I64, &shape, out)
}
