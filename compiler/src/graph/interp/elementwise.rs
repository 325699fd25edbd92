//! Elementwise operations: the meaning of `uop::Unary`, `uop::Binary` and `Cast` on whole tensors.

use super::special::erf;
use super::value::{Data, Value};
use crate::diag::{Error, Result};
use crate::uop::{Binary, DType, ReduceOp, Unary};

fn mismatch(what: impl std::fmt::Debug) -> Error {
    Error::bug(format!("{what:?} of values of different kinds"))
}

/// One-source arithmetic.
pub fn unary(op: Unary, a: &Value) -> Result<Value> {
    match &a.data {
        Data::Float(v) if op == Unary::IsNan => Ok(Value::ints(
            DType::Bool,
            &a.shape,
            v.iter().map(|x| x.is_nan() as i64).collect(),
        )),
        Data::Float(v) => {
            let f: fn(f64) -> f64 = match op {
                Unary::Neg => |x| -x,
                Unary::Abs => f64::abs,
                Unary::Sqrt => f64::sqrt,
                Unary::Exp => f64::exp,
                Unary::Exp2 => f64::exp2,
                Unary::Log => f64::ln,
                Unary::Log2 => f64::log2,
                Unary::Sin => f64::sin,
                Unary::Cos => f64::cos,
                Unary::Tan => f64::tan,
                Unary::Atan => f64::atan,
                Unary::Tanh => f64::tanh,
                Unary::Erf => erf,
                Unary::Floor => f64::floor,
                Unary::Ceil => f64::ceil,
                Unary::Trunc => f64::trunc,
                Unary::Round => f64::round_ties_even,
                Unary::Not | Unary::IsNan => return Err(mismatch(op)),
            };
            Ok(Value::floats(
                a.dtype,
                &a.shape,
                v.iter().map(|&x| f(x)).collect(),
            ))
        }
        Data::Int(v) => {
            let f: fn(i64) -> i64 = match op {
                Unary::Neg => i64::wrapping_neg,
                Unary::Abs if a.dtype.is_unsigned() => |x| x,
                Unary::Abs => i64::wrapping_abs,
                Unary::Not if a.dtype == DType::Bool => |x| (x == 0) as i64,
                Unary::Not => |x| !x,
                _ => return Err(mismatch(op)),
            };
            Ok(Value::ints(
                a.dtype,
                &a.shape,
                v.iter().map(|&x| f(x)).collect(),
            ))
        }
    }
}

/// Larger of two, NaN if either is.
pub fn max(x: f64, y: f64) -> f64 {
    if x.is_nan() || x > y { x } else { y }
}

/// Smaller of two, NaN if either is.
pub fn min(x: f64, y: f64) -> f64 {
    if x.is_nan() || x < y { x } else { y }
}

/// Floats of one operation.
fn float(op: Binary, x: f64, y: f64) -> f64 {
    match op {
        Binary::Add => x + y,
        Binary::Sub => x - y,
        Binary::Mul => x * y,
        Binary::Div => x / y,
        Binary::Rem => x % y,
        Binary::FloorDiv => (x / y).floor(),
        Binary::FloorMod => {
            let r = x % y;
            if r != 0.0 && (r < 0.0) != (y < 0.0) {
                r + y
            } else {
                r
            }
        }
        Binary::Max => max(x, y),
        Binary::Min => min(x, y),
        Binary::Pow => x.powf(y),
        _ => f64::NAN,
    }
}

fn float_compare(op: Binary, x: f64, y: f64) -> bool {
    match op {
        Binary::Lt => x < y,
        Binary::Le => x <= y,
        Binary::Eq => x == y,
        _ => x != y,
    }
}

/// Integers of one operation, not yet wrapped.
fn int(op: Binary, unsigned: bool, bits: u32, x: i64, y: i64) -> i64 {
    let (ux, uy) = (x as u64, y as u64);
    match op {
        Binary::Add => x.wrapping_add(y),
        Binary::Sub => x.wrapping_sub(y),
        Binary::Mul => x.wrapping_mul(y),
        Binary::Div | Binary::Rem | Binary::FloorDiv | Binary::FloorMod if y == 0 => 0,
        Binary::Div | Binary::FloorDiv if unsigned => (ux / uy) as i64,
        Binary::Rem | Binary::FloorMod if unsigned => (ux % uy) as i64,
        Binary::Div => x.wrapping_div(y),
        Binary::Rem => x.wrapping_rem(y),
        Binary::FloorDiv => {
            let q = x.wrapping_div(y);
            q - (x.wrapping_rem(y) != 0 && (x < 0) != (y < 0)) as i64
        }
        Binary::FloorMod => {
            let r = x.wrapping_rem(y);
            if r != 0 && (r < 0) != (y < 0) {
                r + y
            } else {
                r
            }
        }
        Binary::Max if unsigned => ux.max(uy) as i64,
        Binary::Min if unsigned => ux.min(uy) as i64,
        Binary::Max => x.max(y),
        Binary::Min => x.min(y),
        Binary::And => x & y,
        Binary::Or => x | y,
        Binary::Xor => x ^ y,
        Binary::Shl if uy < bits as u64 => x << uy,
        Binary::Shr if uy < bits as u64 && unsigned => (ux >> uy) as i64,
        Binary::Shr if uy < bits as u64 => x >> uy,
        Binary::Shr if !unsigned && x < 0 => -1,
        Binary::Lt if unsigned => (ux < uy) as i64,
        Binary::Le if unsigned => (ux <= uy) as i64,
        Binary::Lt => (x < y) as i64,
        Binary::Le => (x <= y) as i64,
        Binary::Eq => (x == y) as i64,
        Binary::Ne => (x != y) as i64,
        Binary::Pow | Binary::Shl | Binary::Shr => 0,
    }
}

/// Two-source arithmetic on one shape.
pub fn binary(op: Binary, a: &Value, b: &Value) -> Result<Value> {
    match (&a.data, &b.data) {
        (Data::Float(x), Data::Float(y)) => {
            let pairs = x.iter().zip(y);
            Ok(if op.is_compare() {
                let v = pairs.map(|(&p, &q)| float_compare(op, p, q) as i64);
                Value::ints(DType::Bool, &a.shape, v.collect())
            } else {
                let v = pairs.map(|(&p, &q)| float(op, p, q));
                Value::floats(a.dtype, &a.shape, v.collect())
            })
        }
        (Data::Int(x), Data::Int(y)) => {
            let (unsigned, bits) = (a.dtype.is_unsigned(), a.dtype.size() as u32 * 8);
            let v = (x.iter().zip(y)).map(|(&p, &q)| int(op, unsigned, bits, p, q));
            let dtype = if op.is_compare() {
                DType::Bool
            } else {
                a.dtype
            };
            Ok(Value::ints(dtype, &a.shape, v.collect()))
        }
        _ => Err(mismatch(op)),
    }
}

/// Combines two elements of a reduce.
pub fn combine_float(op: ReduceOp, x: f64, y: f64) -> f64 {
    match op {
        ReduceOp::Sum => x + y,
        ReduceOp::Prod => x * y,
        ReduceOp::Max => max(x, y),
        ReduceOp::Min => min(x, y),
        ReduceOp::All => (x != 0.0 && y != 0.0) as u8 as f64,
        ReduceOp::Any => (x != 0.0 || y != 0.0) as u8 as f64,
    }
}

/// Combines two integers of a reduce.
pub fn combine_int(op: ReduceOp, unsigned: bool, x: i64, y: i64) -> i64 {
    let binary = match op {
        ReduceOp::Sum => Binary::Add,
        ReduceOp::Prod => Binary::Mul,
        ReduceOp::Max => Binary::Max,
        ReduceOp::Min => Binary::Min,
        ReduceOp::All => Binary::And,
        ReduceOp::Any => Binary::Or,
    };
    int(binary, unsigned, 64, x, y)
}

/// What a reduce of no elements gives, as a float.
pub fn neutral_float(op: ReduceOp) -> f64 {
    match op {
        ReduceOp::Sum | ReduceOp::Any => 0.0,
        ReduceOp::Prod | ReduceOp::All => 1.0,
        ReduceOp::Max => f64::NEG_INFINITY,
        ReduceOp::Min => f64::INFINITY,
    }
}

/// What a reduce of no elements gives, as an integer of a type.
pub fn neutral_int(op: ReduceOp, dtype: DType) -> i64 {
    let (low, high) = dtype.int_bounds().unwrap_or((0, 1));
    match op {
        ReduceOp::Sum | ReduceOp::Any => 0,
        ReduceOp::Prod | ReduceOp::All => 1,
        ReduceOp::Max => low,
        // All bits set is the largest U64.
        ReduceOp::Min if dtype == DType::U64 => -1,
        ReduceOp::Min => high,
    }
}

/// condition ? a : b.
pub fn select(condition: &Value, a: &Value, b: &Value) -> Result<Value> {
    let Data::Int(c) = &condition.data else {
        return Err(mismatch("Where"));
    };
    let data = match (&a.data, &b.data) {
        (Data::Float(x), Data::Float(y)) => Data::Float(
            (c.iter().zip(x).zip(y))
                .map(|((&c, &x), &y)| if c != 0 { x } else { y })
                .collect(),
        ),
        (Data::Int(x), Data::Int(y)) => Data::Int(
            (c.iter().zip(x).zip(y))
                .map(|((&c, &x), &y)| if c != 0 { x } else { y })
                .collect(),
        ),
        _ => return Err(mismatch("Where")),
    };
    Ok(Value {
        dtype: a.dtype,
        shape: a.shape.clone(),
        data,
    })
}

/// Value conversion: float to integer truncates and saturates, NaN gives 0; to Bool is `!= 0`.
pub fn cast(a: &Value, to: DType) -> Value {
    if to.is_float() {
        return Value::floats(to, &a.shape, a.to_f64());
    }
    let data: Vec<i64> = match &a.data {
        Data::Int(v) if to == DType::Bool => v.iter().map(|&x| (x != 0) as i64).collect(),
        Data::Int(v) => v.clone(),
        Data::Float(v) if to == DType::Bool => v.iter().map(|&x| (x != 0.0) as i64).collect(),
        Data::Float(v) if to == DType::U64 => v.iter().map(|&x| x as u64 as i64).collect(),
        Data::Float(v) => {
            let (low, high) = to.int_bounds().unwrap_or((i64::MIN, i64::MAX));
            v.iter().map(|&x| (x as i64).clamp(low, high)).collect()
        }
    };
    Value::ints(to, &a.shape, data)
}
