//! Values that are known while a model is imported: shapes, axes and what is computed from them.
//!
//! In: a graph and a tensor. Out: its value, when it does not depend on any input, is small, and takes
//! only primitives to compute. Exporters compute shapes with long chains of small integer operations;
//! all of them end here. Large constants are folded later, by `graph`.
//!
//! Example: `Concat(Slice(Shape(x), 0, 1), [-1])` is `[1, -1]`.

use crate::graph::interp::{Data, Value};
use crate::graph::{Graph, Op, TensorId};
use crate::uop::{Binary, DType, ReduceOp, Unary};
use std::collections::HashMap;
use std::sync::Arc;

/// Largest value that is computed here, in elements.
const LIMIT: i64 = 1 << 16;

type Values = HashMap<TensorId, Option<Arc<Value>>>;

/// See the module.
pub(super) fn value(graph: &Graph, id: TensorId, values: &mut Values) -> Option<Arc<Value>> {
    // Without recursion: chains of operations can be as long as the model is deep.
    let mut stack = vec![id];
    while let Some(&top) = stack.last() {
        if values.contains_key(&top) {
            stack.pop();
            continue;
        }
        let t = graph.tensor(top);
        let small = t
            .shape
            .dims()
            .is_some_and(|d| d.iter().product::<i64>() <= LIMIT);
        if !small || matches!(t.op, Op::Input(_)) {
            values.insert(top, None);
            continue;
        }
        let open: Vec<TensorId> = t
            .src
            .iter()
            .copied()
            .filter(|s| !values.contains_key(s))
            .collect();
        if !open.is_empty() {
            stack.extend(open);
            continue;
        }
        let sources: Option<Vec<Arc<Value>>> = t
            .src
            .iter()
            .map(|s| values.get(s).cloned().flatten())
            .collect();
        let found = sources.and_then(|s| evaluate(graph, top, &s)).map(Arc::new);
        values.insert(top, found);
    }
    values.get(&id).cloned().flatten()
}

/// Row-major strides.
fn strides(shape: &[i64]) -> Vec<i64> {
    let mut out = vec![1; shape.len()];
    for i in (0..shape.len().saturating_sub(1)).rev() {
        out[i] = out[i + 1] * shape[i + 1];
    }
    out
}

/// Calls `f` with every index of a shape, in row-major order.
fn each_index(shape: &[i64], mut f: impl FnMut(&[i64])) {
    let count: i64 = shape.iter().product();
    let mut index = vec![0; shape.len()];
    for _ in 0..count {
        f(&index);
        for a in (0..shape.len()).rev() {
            index[a] += 1;
            if index[a] < shape[a] {
                break;
            }
            index[a] = 0;
        }
    }
}

/// A value whose element at `index` is the source's element at `from(index)`; `None` there means `fill`.
fn moved(
    source: &Value,
    shape: &[i64],
    fill: u64,
    mut from: impl FnMut(&[i64]) -> Option<i64>,
) -> Value {
    let mut places = Vec::new();
    each_index(shape, |i| places.push(from(i)));
    take(source, shape, fill, &places)
}

fn take(source: &Value, shape: &[i64], fill: u64, places: &[Option<i64>]) -> Value {
    let data = match &source.data {
        Data::Float(v) => Data::Float(
            places
                .iter()
                .map(|p| p.map_or(f64::from_bits(fill), |p| v[p as usize]))
                .collect(),
        ),
        Data::Int(v) => Data::Int(
            places
                .iter()
                .map(|p| p.map_or(fill as i64, |p| v[p as usize]))
                .collect(),
        ),
    };
    Value {
        dtype: source.dtype,
        shape: shape.to_vec(),
        data,
    }
}

fn dot(index: &[i64], strides: &[i64]) -> i64 {
    index.iter().zip(strides).map(|(i, s)| i * s).sum()
}

fn evaluate(graph: &Graph, id: TensorId, src: &[Arc<Value>]) -> Option<Value> {
    let t = graph.tensor(id);
    let shape = t.shape.dims()?;
    let dtype = t.dtype;
    let a = src.first();
    Some(match &t.op {
        Op::Full(bits) => Value::full(dtype, &shape, *bits),
        Op::Weight(n) => Value::from_weight(graph.weights.get(*n as usize)?).ok()?,
        Op::Iota if dtype.is_float() => {
            Value::floats(dtype, &shape, (0..shape[0]).map(|i| i as f64).collect())
        }
        Op::Iota => Value::ints(dtype, &shape, (0..shape[0]).collect()),
        Op::Reshape => Value {
            shape,
            ..a?.as_ref().clone()
        },
        Op::Unary(u) => unary(*u, a?, dtype)?,
        Op::Binary(b) => binary(*b, a?, src.get(1)?, dtype)?,
        Op::Where => {
            let condition = a?.as_ints()?;
            let (yes, no) = (src.get(1)?, src.get(2)?);
            match (&yes.data, &no.data) {
                (Data::Int(y), Data::Int(n)) => Value::ints(
                    dtype,
                    &shape,
                    (0..condition.len())
                        .map(|i| if condition[i] != 0 { y[i] } else { n[i] })
                        .collect(),
                ),
                (Data::Float(y), Data::Float(n)) => Value::floats(
                    dtype,
                    &shape,
                    (0..condition.len())
                        .map(|i| if condition[i] != 0 { y[i] } else { n[i] })
                        .collect(),
                ),
                _ => return None,
            }
        }
        Op::Cast(to) => cast(a?, *to),
        Op::Permute(perm) => {
            let s = strides(&a?.shape);
            moved(a?, &shape, 0, |i| {
                Some(i.iter().zip(perm).map(|(x, &p)| x * s[p]).sum())
            })
        }
        Op::Expand => {
            let from = &a?.shape;
            let mut s = strides(from);
            for (k, d) in from.iter().enumerate() {
                if *d == 1 {
                    s[k] = 0;
                }
            }
            moved(a?, &shape, 0, |i| Some(dot(i, &s)))
        }
        Op::Slice { starts, steps } => {
            let s = strides(&a?.shape);
            moved(a?, &shape, 0, |i| {
                Some(
                    (0..i.len())
                        .map(|k| (starts[k] + i[k] * steps[k]) * s[k])
                        .sum(),
                )
            })
        }
        Op::Flip(axes) => {
            let s = strides(&shape);
            moved(a?, &shape, 0, |i| {
                let at = |k: usize| {
                    if axes.contains(&k) {
                        shape[k] - 1 - i[k]
                    } else {
                        i[k]
                    }
                };
                Some((0..i.len()).map(|k| at(k) * s[k]).sum())
            })
        }
        Op::Pad { pads, value } => {
            let from = &a?.shape;
            let s = strides(from);
            moved(a?, &shape, *value, |i| {
                let mut place = 0;
                for k in 0..i.len() {
                    let x = i[k] - pads[k].0;
                    if !(0..from[k]).contains(&x) {
                        return None;
                    }
                    place += x * s[k];
                }
                Some(place)
            })
        }
        Op::Concat(axis) => concat(src, *axis, &shape)?,
        Op::Gather(axis) => {
            let (data, index) = (a?, src.get(1)?);
            let at = index.as_ints()?;
            let rank = index.shape.len();
            let s = strides(&data.shape);
            let si = strides(&index.shape);
            let extent = data.shape[*axis];
            if extent == 0 {
                return None;
            }
            moved(data, &shape, 0, |i| {
                let k = at[dot(&i[*axis..*axis + rank], &si) as usize];
                let k = if k < 0 { k.saturating_add(extent) } else { k };
                let outer = dot(&i[..*axis], &s);
                let inner = dot(&i[axis + rank..], &s[axis + 1..]);
                Some(outer + k.clamp(0, extent - 1) * s[*axis] + inner)
            })
        }
        Op::Reduce { op, axes } => reduce(*op, axes, a?, &shape)?,
        _ => return None,
    })
}

fn concat(src: &[Arc<Value>], axis: usize, shape: &[i64]) -> Option<Value> {
    let first = src.first()?;
    let inner: i64 = shape[axis + 1..].iter().product();
    let outer: i64 = shape[..axis].iter().product();
    let mut floats = Vec::new();
    let mut ints = Vec::new();
    for o in 0..outer {
        for part in src {
            let n = part.shape[axis] * inner;
            let range = (o * n) as usize..((o + 1) * n) as usize;
            match &part.data {
                Data::Float(v) => floats.extend_from_slice(v.get(range)?),
                Data::Int(v) => ints.extend_from_slice(v.get(range)?),
            }
        }
    }
    Some(Value {
        dtype: first.dtype,
        shape: shape.to_vec(),
        data: match first.data {
            Data::Float(_) => Data::Float(floats),
            Data::Int(_) => Data::Int(ints),
        },
    })
}

fn cast(a: &Value, to: DType) -> Value {
    if to == DType::Bool {
        let v = a
            .to_f64()
            .into_iter()
            .map(|x| i64::from(x != 0.0))
            .collect();
        return Value::ints(to, &a.shape, v);
    }
    if to.is_float() {
        return Value::floats(to, &a.shape, a.to_f64());
    }
    let clamp = |x: i64| match (to.int_bounds(), &a.data) {
        // Floats saturate, integers wrap.
        (Some((low, high)), Data::Float(_)) => x.clamp(low, high),
        _ => x,
    };
    Value::ints(to, &a.shape, a.to_i64().into_iter().map(clamp).collect())
}

fn unary(op: Unary, a: &Value, dtype: DType) -> Option<Value> {
    Some(match &a.data {
        Data::Int(v) => {
            let f = |x: i64| match op {
                Unary::Neg => Some(x.wrapping_neg()),
                Unary::Abs => Some(x.wrapping_abs()),
                Unary::Not if a.dtype == DType::Bool => Some(1 - x),
                Unary::Not => Some(!x),
                _ => None,
            };
            Value::ints(
                dtype,
                &a.shape,
                v.iter().map(|&x| f(x)).collect::<Option<_>>()?,
            )
        }
        Data::Float(v) if op == Unary::IsNan => Value::ints(
            dtype,
            &a.shape,
            v.iter().map(|x| i64::from(x.is_nan())).collect(),
        ),
        Data::Float(v) => {
            let f = |x: f64| match op {
                Unary::Neg => Some(-x),
                Unary::Abs => Some(x.abs()),
                Unary::Sqrt => Some(x.sqrt()),
                Unary::Exp => Some(x.exp()),
                Unary::Log => Some(x.ln()),
                Unary::Floor => Some(x.floor()),
                Unary::Ceil => Some(x.ceil()),
                Unary::Trunc => Some(x.trunc()),
                Unary::Round => Some(x.round_ties_even()),
                _ => None,
            };
            Value::floats(
                dtype,
                &a.shape,
                v.iter().map(|&x| f(x)).collect::<Option<_>>()?,
            )
        }
    })
}

fn binary(op: Binary, a: &Value, b: &Value, dtype: DType) -> Option<Value> {
    if let (Data::Float(x), Data::Float(y)) = (&a.data, &b.data) {
        if op.is_compare() {
            let f = |x: f64, y: f64| match op {
                Binary::Lt => x < y,
                Binary::Le => x <= y,
                Binary::Eq => x == y,
                _ => x != y,
            };
            let v = x.iter().zip(y).map(|(&x, &y)| i64::from(f(x, y))).collect();
            return Some(Value::ints(dtype, &a.shape, v));
        }
        let f = |x: f64, y: f64| {
            Some(match op {
                Binary::Add => x + y,
                Binary::Sub => x - y,
                Binary::Mul => x * y,
                Binary::Div => x / y,
                Binary::Rem => x % y,
                Binary::Pow => x.powf(y),
                Binary::Max if x.is_nan() || y.is_nan() => f64::NAN,
                Binary::Min if x.is_nan() || y.is_nan() => f64::NAN,
                Binary::Max => x.max(y),
                Binary::Min => x.min(y),
                _ => return None,
            })
        };
        let v = x
            .iter()
            .zip(y)
            .map(|(&x, &y)| f(x, y))
            .collect::<Option<_>>()?;
        return Some(Value::floats(dtype, &a.shape, v));
    }
    let (x, y) = (a.as_ints()?, b.as_ints()?);
    // Values of U64 above i64::MAX do not occur in shapes.
    if a.dtype == DType::U64 && x.iter().chain(y).any(|&v| v < 0) {
        return None;
    }
    let f = |x: i64, y: i64| {
        Some(match op {
            Binary::Add => x.wrapping_add(y),
            Binary::Sub => x.wrapping_sub(y),
            Binary::Mul => x.wrapping_mul(y),
            Binary::Div if y == 0 => 0,
            Binary::Div => x.wrapping_div(y),
            Binary::Rem if y == 0 => 0,
            Binary::Rem => x.wrapping_rem(y),
            Binary::FloorDiv | Binary::FloorMod if y == 0 => 0,
            Binary::FloorDiv => x.wrapping_sub(floor_mod(x, y)).wrapping_div(y),
            Binary::FloorMod => floor_mod(x, y),
            Binary::Max => x.max(y),
            Binary::Min => x.min(y),
            Binary::And => x & y,
            Binary::Or => x | y,
            Binary::Xor => x ^ y,
            Binary::Lt => i64::from(x < y),
            Binary::Le => i64::from(x <= y),
            Binary::Eq => i64::from(x == y),
            Binary::Ne => i64::from(x != y),
            Binary::Pow | Binary::Shl | Binary::Shr => return None,
        })
    };
    let v = x
        .iter()
        .zip(y)
        .map(|(&x, &y)| f(x, y))
        .collect::<Option<_>>()?;
    Some(Value::ints(dtype, &a.shape, v))
}

fn floor_mod(x: i64, y: i64) -> i64 {
    let r = x.wrapping_rem(y);
    if r != 0 && (r < 0) != (y < 0) {
        r + y
    } else {
        r
    }
}

fn reduce(op: ReduceOp, axes: &[usize], a: &Value, shape: &[i64]) -> Option<Value> {
    let kept: Vec<usize> = (0..a.shape.len()).filter(|k| !axes.contains(k)).collect();
    let s = strides(shape);
    let count = shape.iter().product::<i64>() as usize;
    let mut places = Vec::new();
    each_index(&a.shape, |i| {
        places.push(kept.iter().zip(&s).map(|(&k, s)| i[k] * s).sum::<i64>() as usize);
    });
    if places.len() != a.len() || count == 0 || a.is_empty() {
        return None;
    }
    match &a.data {
        Data::Float(v) => {
            let mut out = vec![None; count];
            for (&p, &x) in places.iter().zip(v) {
                out[p] = Some(match (out[p], op) {
                    (None, _) => x,
                    (Some(y), ReduceOp::Sum) => x + y,
                    (Some(y), ReduceOp::Prod) => x * y,
                    (Some(y), _) if x.is_nan() || f64::is_nan(y) => f64::NAN,
                    (Some(y), ReduceOp::Max) => x.max(y),
                    (Some(y), ReduceOp::Min) => x.min(y),
                    _ => return None,
                });
            }
            Some(Value::floats(
                a.dtype,
                shape,
                out.into_iter().collect::<Option<_>>()?,
            ))
        }
        Data::Int(v) => {
            let mut out: Vec<Option<i64>> = vec![None; count];
            for (&p, &x) in places.iter().zip(v) {
                out[p] = Some(match (out[p], op) {
                    (None, _) => x,
                    (Some(y), ReduceOp::Sum) => x.wrapping_add(y),
                    (Some(y), ReduceOp::Prod) => x.wrapping_mul(y),
                    (Some(y), ReduceOp::Max) => x.max(y),
                    (Some(y), ReduceOp::Min) => x.min(y),
                    (Some(y), ReduceOp::All) => x & y,
                    (Some(y), ReduceOp::Any) => x | y,
                });
            }
            Some(Value::ints(
                a.dtype,
                shape,
                out.into_iter().collect::<Option<_>>()?,
            ))
        }
    }
}
