//! What constructors fold too: constants and the identities of 0 and 1 on Index and Bool.
//!
//! In: operands of which one is constant. Out: an operand or a constant. Constructors apply these without fuel.
//!
//! Example: `(mul x 1) => x`.

use super::super::arena::fold_index;
use super::super::ops::Binary;
use super::rules;

/// The constant of two constants, in the type of the operation.
fn fold(
    g: &mut super::Env<'_>,
    op: Binary,
    a: super::UopId,
    b: super::UopId,
) -> Option<super::UopId> {
    let value = fold_index(op, g.as_int(a)?, g.as_int(b)?)?;
    Some(if op.is_compare() {
        g.bool(value != 0)
    } else {
        g.index(value)
    })
}

rules! { pub TRIVIAL [Index];
    /// (add 2 3) => 5
    fn add_constants(g, Add(a, b)) { fold(g, Binary::Add, a, b) }
    /// (add 0 x) => x
    fn zero_add(g, Add(c, x)) { g.is_int(c, 0).then_some(x) }
    /// (add x 0) => x
    fn add_zero(g, Add(x, c)) { g.is_int(c, 0).then_some(x) }
    /// (sub 2 3) => -1
    fn sub_constants(g, Sub(a, b)) { fold(g, Binary::Sub, a, b) }
    /// (sub x 0) => x
    fn sub_zero(g, Sub(x, c)) { g.is_int(c, 0).then_some(x) }
    /// (mul 2 3) => 6
    fn mul_constants(g, Mul(a, b)) { fold(g, Binary::Mul, a, b) }
    /// (mul 1 x) => x
    fn one_mul(g, Mul(c, x)) { g.is_int(c, 1).then_some(x) }
    /// (mul x 1) => x
    fn mul_one(g, Mul(x, c)) { g.is_int(c, 1).then_some(x) }
    /// (mul x 0) => 0
    /// (mul 0 x) => 0
    fn mul_zero(g, Mul(a, b)) { (g.is_int(a, 0) || g.is_int(b, 0)).then(|| g.index(0)) }
    /// (floordiv -7 2) => -4
    fn div_constants(g, FloorDiv(a, b)) { fold(g, Binary::FloorDiv, a, b) }
    /// (floordiv x 1) => x
    fn div_one(g, FloorDiv(x, c)) { g.is_int(c, 1).then_some(x) }
    /// (floormod -7 2) => 1
    fn mod_constants(g, FloorMod(a, b)) { fold(g, Binary::FloorMod, a, b) }
    /// (floormod x 1) => 0
    fn mod_one(g, FloorMod(_, c)) { g.is_int(c, 1).then(|| g.index(0)) }
    /// (max 2 3) => 3
    fn max_constants(g, Max(a, b)) { fold(g, Binary::Max, a, b) }
    /// (min 2 3) => 2
    fn min_constants(g, Min(a, b)) { fold(g, Binary::Min, a, b) }
    /// (lt 2 3) => true
    fn lt_constants(g, Lt(a, b)) { fold(g, Binary::Lt, a, b) }
    /// (le 3 2) => false
    fn le_constants(g, Le(a, b)) { fold(g, Binary::Le, a, b) }
    /// (eq 2 3) => false
    fn eq_constants(g, Eq(a, b)) { fold(g, Binary::Eq, a, b) }
    /// (ne 2 3) => true
    fn ne_constants(g, Ne(a, b)) { fold(g, Binary::Ne, a, b) }
}

rules! { pub TRIVIAL_BOOL [Bool];
    /// (and true x) => x
    fn true_and(g, And(c, x)) { g.is_int(c, 1).then_some(x) }
    /// (and x true) => x
    fn and_true(g, And(x, c)) { g.is_int(c, 1).then_some(x) }
    /// (and x false) => false
    /// (and false x) => false
    fn and_false(g, And(a, b)) { (g.is_int(a, 0) || g.is_int(b, 0)).then(|| g.bool(false)) }
    /// (or false x) => x
    fn false_or(g, Or(c, x)) { g.is_int(c, 0).then_some(x) }
    /// (or x false) => x
    fn or_false(g, Or(x, c)) { g.is_int(c, 0).then_some(x) }
    /// (or x true) => true
    /// (or true x) => true
    fn or_true(g, Or(a, b)) { (g.is_int(a, 1) || g.is_int(b, 1)).then(|| g.bool(true)) }
}
