//! Rules on floats: only those that are exact for NaN, infinities and both zeros.
//!
//! In: float operands. Out: fewer of them. `x + 0.0` stays: it is `0.0` for `x = -0.0`; so does `x * 0.0`.
//!
//! Example: `(mul x 1.0) => x`.

use super::super::ops::{Op, Unary};
use super::rules;

rules! { pub FLOAT [F16, BF16, F32, F64];
    /// (add x -0.0) => x
    fn float_add_zero(g, Add(x, c)) { g.is_float(c, -0.0).then_some(x) }
    /// (sub x 0.0) => x
    fn float_sub_zero(g, Sub(x, c)) { g.is_float(c, 0.0).then_some(x) }
    /// (mul x 1.0) => x
    fn float_mul_one(g, Mul(x, c)) { g.is_float(c, 1.0).then_some(x) }
    /// (mul 1.0 x) => x
    fn float_one_mul(g, Mul(c, x)) { g.is_float(c, 1.0).then_some(x) }
    /// (div x 1.0) => x
    fn float_div_one(g, Div(x, c)) { g.is_float(c, 1.0).then_some(x) }
    /// (max x x) => x
    fn float_max_same(_, Max(a, b)) { (a == b).then_some(a) }
    /// (min x x) => x
    fn float_min_same(_, Min(a, b)) { (a == b).then_some(a) }
    /// (neg (neg x)) => x
    fn float_neg_neg(g, Neg(n)) { (g.op(n) == Op::Unary(Unary::Neg)).then(|| g.src(n)[0]) }
}
