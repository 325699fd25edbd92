//! Gathers and scatters. Negative indices count from the end; a gather clamps, a scatter drops what is
//! out of range.

use super::elementwise::{combine_float, combine_int};
use super::movement::{strides, take};
use super::value::{Data, Value, round_to, wrap_to};
use crate::diag::{Error, Result};
use crate::uop::ReduceOp;

fn ints(v: &Value) -> Result<&[i64]> {
    v.as_ints()
        .ok_or_else(|| Error::bug("indices are no integers"))
}

/// Index in `0..n`; `None` where there is no element at all.
fn clamp(i: i64, n: i64) -> Result<usize> {
    if n == 0 {
        return Err(Error::model("a gather from an axis without elements"));
    }
    let at = if i < 0 { i.saturating_add(n) } else { i };
    Ok(at.clamp(0, n - 1) as usize)
}

pub fn gather(data: &Value, index: &Value, axis: usize, shape: &[i64]) -> Result<Value> {
    let outer: i64 = data.shape[..axis].iter().product();
    let n = data.shape[axis];
    let inner: i64 = data.shape[axis + 1..].iter().product();
    let mut places = Vec::new();
    for o in 0..outer as usize {
        for &i in ints(index)? {
            if inner == 0 {
                continue;
            }
            let row = (o * n as usize + clamp(i, n)?) * inner as usize;
            places.extend(row..row + inner as usize);
        }
    }
    Ok(take(data, shape, &places))
}

pub fn gather_elements(data: &Value, index: &Value, axis: usize) -> Result<Value> {
    let (from, s) = (strides(&index.shape), strides(&data.shape));
    let mut places = Vec::with_capacity(index.len());
    for (n, &i) in ints(index)?.iter().enumerate() {
        let mut place = clamp(i, data.shape[axis])? * s[axis] as usize;
        for d in 0..data.shape.len() {
            if d != axis {
                place += (n as i64 / from[d] % index.shape[d] * s[d]) as usize;
            }
        }
        places.push(place);
    }
    Ok(take(data, &index.shape, &places))
}

pub fn scatter(
    data: &Value,
    index: &Value,
    updates: &Value,
    op: Option<ReduceOp>,
) -> Result<Value> {
    let mut out = data.clone();
    let (rows, inner) = (data.shape[0], data.shape[1] as usize);
    for (m, &i) in ints(index)?.iter().enumerate() {
        let row = if i < 0 { i.saturating_add(rows) } else { i };
        if !(0..rows).contains(&row) {
            continue;
        }
        for k in 0..inner {
            let (to, from) = (row as usize * inner + k, m * inner + k);
            match (&mut out.data, &updates.data) {
                (Data::Float(o), Data::Float(u)) => {
                    let v = op.map_or(u[from], |op| combine_float(op, o[to], u[from]));
                    o[to] = round_to(data.dtype, v);
                }
                (Data::Int(o), Data::Int(u)) => {
                    let unsigned = data.dtype.is_unsigned();
                    let v = op.map_or(u[from], |op| combine_int(op, unsigned, o[to], u[from]));
                    o[to] = wrap_to(data.dtype, v);
                }
                _ => return Err(Error::bug("a scatter of values of different kinds")),
            }
        }
    }
    Ok(out)
}
