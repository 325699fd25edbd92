//! Rules on Index arithmetic and comparison: linear forms, divisibility and intervals.
//!
//! In: operands that are simplified. Out: the canonical sum; a quotient, remainder, extremum or comparison that is
//! decided or has fewer parts. The work is done by the linear forms of `uop::symbolic`.
//!
//! Example: `(floordiv (add (mul a 16) b) 16) => a where 0<=b<16`.

use super::super::arena::UopId;
use super::super::ops::Binary;
use super::engine::Env;
use super::rules;

/// The value of a divisor.
fn divisor(g: &Env<'_>, id: UopId) -> Option<i64> {
    g.as_int(id).filter(|&n| n > 0)
}

rules! { pub INDEX [Index];
    /// (add (mul x 3) x) => (mul x 4)
    /// (add (add x 2) 3) => (add x 5)
    /// (add (floormod x 7) (mul (floordiv x 7) 7)) => x
    /// (add (floormod (floordiv x 3) 5) (mul (floordiv x 15) 5)) => (floordiv x 3)
    fn sum_add(g, Add(a, b)) { g.sum(Binary::Add, a, b) }
    /// (sub x x) => 0
    /// (sub (add x y) x) => y
    /// (sub x 2) => (add x -2)
    fn sum_sub(g, Sub(a, b)) { g.sum(Binary::Sub, a, b) }
    /// (mul (mul x 2) 3) => (mul x 6)
    /// (mul 3 x) => (mul x 3)
    /// (mul (add x 2) 3) => (add (mul x 3) 6)
    fn sum_mul(g, Mul(a, b)) { g.sum(Binary::Mul, a, b) }
    /// (floordiv (add (mul a 16) b) 16) => a where 0<=b<16
    /// (floordiv x 16) => 0 where 0<=x<16
    /// (floordiv x 16) => -1 where -16<=x<0
    /// (floordiv (floordiv x 3) 4) => (floordiv x 12)
    /// (floordiv (floormod x 12) 4) => (floormod (floordiv x 4) 3)
    /// (floordiv (add (mul a 8) b) 16) => (floordiv a 2) where 0<=b<8
    fn div_linear(g, FloorDiv(a, n)) { let n = divisor(g, n)?; g.div(a, n) }
    /// (floormod (add (mul a 16) b) 16) => b where 0<=b<16
    /// (floormod x 16) => (add x -16) where 16<=x<32
    /// (floormod (floormod x 12) 4) => (floormod x 4)
    /// (floormod (add (mul a 16) x) 16) => (floormod x 16)
    /// (floormod (mul x 4) 12) => (mul (floormod x 3) 4)
    fn mod_linear(g, FloorMod(a, n)) { let n = divisor(g, n)?; g.rem(a, n) }
    /// (max x x) => x
    /// (max x y) => x where 5<=x<9 0<=y<5
    /// (max x 0) => x where 0<=x<4
    fn max_decided(g, Max(a, b)) { g.extremum(Binary::Max, a, b) }
    /// (min x x) => x
    /// (min x y) => y where 5<=x<9 0<=y<5
    /// (min (add x 1) x) => x
    fn min_decided(g, Min(a, b)) { g.extremum(Binary::Min, a, b) }
    /// (lt x 4) => true where 0<=x<4
    /// (lt x x) => false
    /// (lt (add x 3) 10) => (lt x 7)
    /// (lt (mul x 4) 9) => (lt x 3)
    /// (lt (add (mul a 16) b) 32) => (lt a 2) where 0<=b<16
    /// (lt 15 (add (mul a 16) b)) => (lt 0 a) where 0<=b<16
    fn lt_decided(g, Lt(a, b)) { g.compare(Binary::Lt, a, b) }
    /// (le x 3) => true where 0<=x<4
    /// (le x 3) => (lt x 4)
    /// (le 3 x) => (lt 2 x)
    fn le_decided(g, Le(a, b)) { g.compare(Binary::Le, a, b) }
    /// (eq x 4) => false where 0<=x<4
    /// (eq x x) => true
    /// (eq (mul x 2) 3) => false
    fn eq_decided(g, Eq(a, b)) { g.compare(Binary::Eq, a, b) }
    /// (ne x 4) => true where 0<=x<4
    /// (ne x x) => false
    fn ne_decided(g, Ne(a, b)) { g.compare(Binary::Ne, a, b) }
}
