//! Rules on integers of fixed width, which wrap; and conversions between them, Index included.
//!
//! In: integer operands. Out: fewer of them. A conversion moves towards the leaves only where intervals show that
//! neither it nor the arithmetic below it wraps.
//!
//! Example: `(cast.index (cast.i64 x)) => (cast.index x) where x:i32`.

use super::super::ops::{Op, Unary};
use super::rules;

rules! { pub INTEGER [I8, I16, I32, I64, U8, U16, U32, U64];
    /// (add x 0) => x
    fn int_add_zero(g, Add(x, c)) { g.is_int(c, 0).then_some(x) }
    /// (add 0 x) => x
    fn int_zero_add(g, Add(c, x)) { g.is_int(c, 0).then_some(x) }
    /// (sub x 0) => x
    fn int_sub_zero(g, Sub(x, c)) { g.is_int(c, 0).then_some(x) }
    /// (mul x 1) => x
    fn int_mul_one(g, Mul(x, c)) { g.is_int(c, 1).then_some(x) }
    /// (mul 1 x) => x
    fn int_one_mul(g, Mul(c, x)) { g.is_int(c, 1).then_some(x) }
    /// (div x 1) => x
    fn int_div_one(g, Div(x, c)) { g.is_int(c, 1).then_some(x) }
    /// (max x x) => x
    fn int_max_same(_, Max(a, b)) { (a == b).then_some(a) }
    /// (min x x) => x
    fn int_min_same(_, Min(a, b)) { (a == b).then_some(a) }
    /// (and x x) => x
    fn int_and_same(_, And(a, b)) { (a == b).then_some(a) }
    /// (or x x) => x
    fn int_or_same(_, Or(a, b)) { (a == b).then_some(a) }
    /// (or x 0) => x
    fn int_or_zero(g, Or(x, c)) { g.is_int(c, 0).then_some(x) }
    /// (xor x 0) => x
    fn int_xor_zero(g, Xor(x, c)) { g.is_int(c, 0).then_some(x) }
    /// (shl x 0) => x
    fn shl_zero(g, Shl(x, c)) { g.is_int(c, 0).then_some(x) }
    /// (shr x 0) => x
    fn shr_zero(g, Shr(x, c)) { g.is_int(c, 0).then_some(x) }
    /// (neg (neg x)) => x
    fn int_neg_neg(g, Neg(n)) { (g.op(n) == Op::Unary(Unary::Neg)).then(|| g.src(n)[0]) }
    /// (not (not x)) => x
    fn int_not_not(g, Not(n)) { (g.op(n) == Op::Unary(Unary::Not)).then(|| g.src(n)[0]) }
}
