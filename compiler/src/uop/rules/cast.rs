//! Conversions between integer types, Index included, that keep the value: they move towards the leaves and vanish.
//!
//! In: a conversion whose operand's interval fits the new type. Out: fewer conversions, or the same ones nearer to
//! the loads, so that the arithmetic above is Index arithmetic. U64 has no exact interval and stays as it is.
//!
//! Example: `(cast.index (cast.i64 x)) => (cast.index x) where x:i32`.

use super::super::arena::UopId;
use super::super::dtype::{DType, Type};
use super::super::ops::{Binary, Op};
use super::engine::{Env, fits, is_plain};
use super::rules;

rules! { pub CAST [Bool, I8, I16, I32, I64, U8, U16, U32, U64, F16, BF16, F32, F64, Index];
    /// (cast.i32 x) => x where x:i32
    fn cast_same(g, Cast(x)) { (g.ty(x) == g.ty).then_some(x) }
    /// (cast.index 5:i32) => 5
    /// (cast.u8 5:i64) => 5:u8
    fn cast_constant(g, Cast(x)) {
        let value = g.as_int(x).filter(|_| keeps_value(g, x))?;
        let to = g.ty.scalar;
        Some(g.int(to, value))
    }
    /// (cast.index (cast.i64 x)) => (cast.index x) where x:i32
    /// (cast.i32 (cast.index x)) => x where x:i32
    /// (cast.i32 (cast.i16 x)) => (cast.i32 x) where x:i64 0<=x<100
    fn cast_cast(g, Cast(x)) {
        let (op, between) = (g.op(x), g.ty(x).scalar);
        if op != Op::Cast || !keeps_value(g, x) {
            return None;
        }
        // The value survives the second conversion; where it survives the first too, that is not needed.
        let inner = g.src(x)[0];
        if !is_plain(g.ty(inner)) || g.ty(inner).scalar == DType::U64 || !fits(g.interval(inner), between) {
            return None;
        }
        if g.ty(inner) == g.ty {
            return Some(inner);
        }
        let to = g.ty;
        Some(g.add_node(Op::Cast, to, [inner]))
    }
    /// (cast.index (add x y)) => (add (cast.index x) (cast.index y)) where x:i32 y:i32 0<=x<9 0<=y<9
    /// (cast.index (sub x y)) => (sub (cast.index x) (cast.index y)) where x:i32 y:i32 0<=x<9 0<=y<9
    /// (cast.index (mul x y)) => (mul (cast.index x) (cast.index y)) where x:i32 y:i32 0<=x<9 0<=y<9
    /// (cast.index (max x y)) => (max (cast.index x) (cast.index y)) where x:i32 y:i32
    /// (cast.index (min x y)) => (min (cast.index x) (cast.index y)) where x:i32 y:i32
    fn cast_arithmetic(g, Cast(n)) {
        let Op::Binary(op @ (Binary::Add | Binary::Sub | Binary::Mul | Binary::Max | Binary::Min)) = g.op(n) else {
            return None;
        };
        if g.ty != Type::INDEX || !keeps_value(g, n) {
            return None;
        }
        let (x, y) = (g.src(n)[0], g.src(n)[1]);
        let (low, high) = exact(op, g.interval(x), g.interval(y))?;
        let whole = g.ty(n).scalar.int_bounds()?;
        // Only where the narrow arithmetic cannot have wrapped.
        if low < whole.0.into() || high > whole.1.into() {
            return None;
        }
        let (x, y) = (g.cast(x, DType::Index), g.cast(y, DType::Index));
        Some(g.add_node(Op::Binary(op), Type::INDEX, [x, y]))
    }
}

/// True when a conversion to the type of the node keeps every value that `x` can have.
fn keeps_value(g: &mut Env<'_>, x: UopId) -> bool {
    let (from, to) = (g.ty(x), g.ty);
    is_plain(from) && is_plain(to) && from.scalar != DType::U64 && fits(g.interval(x), to.scalar)
}

/// Interval of an operation in unbounded integers.
fn exact(op: Binary, a: (i64, i64), b: (i64, i64)) -> Option<(i128, i128)> {
    let (a, b) = (
        (i128::from(a.0), i128::from(a.1)),
        (i128::from(b.0), i128::from(b.1)),
    );
    Some(match op {
        Binary::Add => (a.0 + b.0, a.1 + b.1),
        Binary::Sub => (a.0 - b.1, a.1 - b.0),
        Binary::Mul => {
            let all = [a.0 * b.0, a.0 * b.1, a.1 * b.0, a.1 * b.1];
            (all.into_iter().min()?, all.into_iter().max()?)
        }
        Binary::Max => (a.0.max(b.0), a.1.max(b.1)),
        Binary::Min => (a.0.min(b.0), a.1.min(b.1)),
        _ => return None,
    })
}
