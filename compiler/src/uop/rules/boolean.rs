//! Rules on conditions.
//!
//! In: Bool operands. Out: fewer of them.
//!
//! Example: `(and x x) => x`.

use super::super::ops::{Op, Unary};
use super::rules;

rules! { pub BOOLEAN [Bool];
    /// (and x x) => x
    fn and_same(_, And(a, b)) { (a == b).then_some(a) }
    /// (or x x) => x
    fn or_same(_, Or(a, b)) { (a == b).then_some(a) }
    /// (xor x x) => false
    fn xor_same(g, Xor(a, b)) { (a == b).then(|| g.bool(false)) }
    /// (xor x false) => x
    fn xor_false(g, Xor(x, c)) { g.is_int(c, 0).then_some(x) }
    /// (not true) => false
    /// (not false) => true
    fn not_constant(g, Not(c)) { let value = g.as_int(c)?; Some(g.bool(value == 0)) }
    /// (not (not x)) => x
    fn not_not(g, Not(n)) { (g.op(n) == Op::Unary(Unary::Not)).then(|| g.src(n)[0]) }
    /// (where c true false) => c
    fn where_is_condition(g, Where(c, a, b)) { (g.is_int(a, 1) && g.is_int(b, 0)).then_some(c) }
}
