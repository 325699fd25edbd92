//! Linear forms in index arithmetic: what the rules on Index call.
//!
//! In: an operation on Index and its simplified operands. Out: an equal node, or `None`. Sums become a canonical
//! linear form; quotients and remainders are taken apart by divisibility and by intervals (`(a*c + b) / c -> a` for
//! `0 <= b < c`); comparisons are decided by intervals or get their constant on one side. Everything rounds towards
//! minus infinity, so negative numerators are right. The same operands always give the same result.
//!
//! Example: `(r0*16 + r1) % 16` with `r1` in 0..16 is `r1`.

use super::arena::{UopId, Uops};
use super::linear::{Linear, gcd};
use super::ops::{Binary, Op};
use super::rules::{Engine, Env};
use crate::diag::{Error, Result};

/// Simplifies one expression with all rules.
pub fn simplify(g: &mut Uops, id: UopId) -> UopId {
    Engine::default().run(g, id)
}

/// Simplifies all index expressions and conditions of a kernel.
///
/// # Errors
/// Bug when rules go round in circles.
pub fn simplify_kernel(g: &mut Uops, sink: UopId) -> Result<UopId> {
    let sink = simplify(g, sink);
    match g.fault() {
        Some(rule) => Err(
            Error::bug(format!("the rewrite rule '{rule}' does not end"))
                .help("please report this with the model"),
        ),
        None => Ok(sink),
    }
}

impl Env<'_> {
    /// Sum, difference or product as a linear form.
    pub(super) fn sum(&mut self, op: Binary, a: UopId, b: UopId) -> Option<UopId> {
        let (x, y) = (Linear::of(self, a)?, Linear::of(self, b)?);
        let mut form = match op {
            Binary::Add => x.plus(&y)?,
            Binary::Sub => x.plus(&y.times(-1)?)?,
            _ if x.terms.is_empty() => y.times(x.constant)?,
            _ if y.terms.is_empty() => x.times(y.constant)?,
            _ => return None,
        };
        while let Some(next) = recombine(self, &form) {
            form = next;
        }
        Some(form.build(self))
    }

    /// floor(a / n).
    pub(super) fn div(&mut self, a: UopId, n: i64) -> Option<UopId> {
        let form = Linear::of(self, a)?;
        let (out, rest) = split(&form, n);
        let (low, high) = self.interval_of(&rest);
        if low.div_euclid(n) == high.div_euclid(n) {
            let mut out = out;
            out.constant = out.constant.checked_add(low.div_euclid(n))?;
            return Some(out.build(self));
        }
        let quotient = self.div_rest(rest, n)?;
        let form = out.plus(&Linear::of(self, quotient)?)?;
        Some(form.build(self))
    }

    /// floor(rest / n), where nothing divisible is left in `rest`.
    fn div_rest(&mut self, rest: Linear, n: i64) -> Option<UopId> {
        if let Some((whole, d)) = self.coarse(&rest, n) {
            // rest = whole*d + b with 0 <= b < d, and d divides n.
            let node = whole.build(self);
            return self
                .div(node, n / d)
                .or_else(|| Some(self.div_const(node, n / d)));
        }
        if let ([(term, 1)], 0) = (&rest.terms[..], rest.constant) {
            let inner = self.get(*term).clone();
            if let Op::Binary(op @ (Binary::FloorDiv | Binary::FloorMod)) = inner.op
                && let Some(m) = self.as_int(inner.src[1]).filter(|&m| m > 0)
            {
                if op == Binary::FloorDiv {
                    let both = m.checked_mul(n)?;
                    return self
                        .div(inner.src[0], both)
                        .or_else(|| Some(self.div_const(inner.src[0], both)));
                }
                if m % n == 0 {
                    let quotient = self
                        .div(inner.src[0], n)
                        .unwrap_or_else(|| self.div_const(inner.src[0], n));
                    return self
                        .rem(quotient, m / n)
                        .or_else(|| Some(self.mod_const(quotient, m / n)));
                }
            }
        }
        let node = rest.build(self);
        Some(self.div_const(node, n))
    }

    /// a mod n.
    pub(super) fn rem(&mut self, a: UopId, n: i64) -> Option<UopId> {
        let form = Linear::of(self, a)?;
        let (_, rest) = split(&form, n);
        let (low, high) = self.interval_of(&rest);
        if low.div_euclid(n) == high.div_euclid(n) {
            let mut rest = rest;
            rest.constant = rest
                .constant
                .checked_sub(low.div_euclid(n).checked_mul(n)?)?;
            return Some(rest.build(self));
        }
        if let Some((whole, d)) = self.coarse(&rest, n) {
            let back = whole.times(-d)?;
            let fine = rest.plus(&back)?;
            let node = whole.build(self);
            let digit = self
                .rem(node, n / d)
                .unwrap_or_else(|| self.mod_const(node, n / d));
            let sum = Linear::of(self, digit)?.times(d)?.plus(&fine)?;
            return Some(sum.build(self));
        }
        if let ([(term, 1)], 0) = (&rest.terms[..], rest.constant)
            && self.op(*term) == Op::Binary(Binary::FloorMod)
        {
            let (x, m) = (self.src(*term)[0], self.as_int(self.src(*term)[1])?);
            if m % n == 0 {
                return self.rem(x, n).or_else(|| Some(self.mod_const(x, n)));
            }
        }
        let node = rest.build(self);
        Some(self.mod_const(node, n))
    }

    /// Finds `d > 1` dividing `n` (any, when it is 0) such that `rest = whole*d + b` with `0 <= b < d`.
    fn coarse(&mut self, rest: &Linear, n: i64) -> Option<(Linear, i64)> {
        let mut divisors: Vec<i64> = rest
            .terms
            .iter()
            .map(|t| gcd(t.1, n))
            .filter(|&d| d > 1)
            .collect();
        divisors.sort_unstable_by(|a, b| b.cmp(a));
        divisors.dedup();
        for d in divisors {
            let fine = Linear {
                terms: rest
                    .terms
                    .iter()
                    .copied()
                    .filter(|t| t.1 % d != 0)
                    .collect(),
                constant: rest.constant.rem_euclid(d),
            };
            let (low, high) = self.interval_of(&fine);
            if low >= 0 && high < d {
                let whole = Linear {
                    terms: rest
                        .terms
                        .iter()
                        .filter(|t| t.1 % d == 0)
                        .map(|t| (t.0, t.1 / d))
                        .collect(),
                    constant: rest.constant.div_euclid(d),
                };
                return Some((whole, d));
            }
        }
        None
    }

    /// The operand that is always the larger or the smaller one.
    pub(super) fn extremum(&mut self, op: Binary, a: UopId, b: UopId) -> Option<UopId> {
        if a == b {
            return Some(a);
        }
        let difference = Linear::of(self, a)?.plus(&Linear::of(self, b)?.times(-1)?)?;
        let (low, high) = self.interval_of(&difference);
        let (first_is_more, first_is_less) = (low >= 0, high <= 0);
        match op {
            Binary::Max if first_is_more => Some(a),
            Binary::Max if first_is_less => Some(b),
            Binary::Min if first_is_less => Some(a),
            Binary::Min if first_is_more => Some(b),
            _ => None,
        }
    }

    /// Decided, or with its constant on one side.
    pub(super) fn compare(&mut self, op: Binary, a: UopId, b: UopId) -> Option<UopId> {
        let mut d = Linear::of(self, a)?.plus(&Linear::of(self, b)?.times(-1)?)?;
        if op == Binary::Le {
            d.constant = d.constant.checked_sub(1)?; // a <= b is a - b - 1 < 0
        }
        let (low, high) = self.interval_of(&d);
        let common = |d: &Linear| d.terms.iter().fold(0, |c, t| gcd(c, t.1)).max(1);
        match op {
            Binary::Lt | Binary::Le => {
                if high < 0 || low >= 0 {
                    return Some(self.bool(high < 0));
                }
                // whole*n + b < 0 with 0 <= b < n  <=>  whole < 0: all lanes of a block agree.
                if let Some((whole, _)) = self.coarse(&d, 0) {
                    d = whole;
                }
                let common = common(&d);
                // sum + c < 0  <=>  sum/common <= floor((-c - 1) / common)
                let limit = d.constant.checked_neg()?.checked_sub(1)?.div_euclid(common);
                let terms: Vec<(UopId, i64)> =
                    d.terms.iter().map(|t| (t.0, t.1 / common)).collect();
                let flip = terms.first().is_some_and(|t| t.1 < 0);
                let sum = Linear { terms, constant: 0 };
                Some(if flip {
                    // -sum >= -limit  <=>  -limit - 1 < -sum
                    let (left, right) = (
                        self.index(limit.checked_neg()?.checked_sub(1)?),
                        sum.times(-1)?.build(self),
                    );
                    self.binary(Binary::Lt, left, right)
                } else {
                    let (left, right) = (sum.build(self), self.index(limit.checked_add(1)?));
                    self.binary(Binary::Lt, left, right)
                })
            }
            Binary::Eq | Binary::Ne => {
                let never = high < 0 || low > 0 || d.constant % common(&d) != 0;
                let always = low == 0 && high == 0;
                if never || always {
                    return Some(self.bool(always == (op == Binary::Eq)));
                }
                None
            }
            _ => None,
        }
    }
}

/// `form = n*out + rest`, with everything divisible in `out` and the constant of `rest` in `0..n`.
fn split(form: &Linear, n: i64) -> (Linear, Linear) {
    let out = Linear {
        terms: form
            .terms
            .iter()
            .filter(|t| t.1 % n == 0)
            .map(|t| (t.0, t.1 / n))
            .collect(),
        constant: form.constant.div_euclid(n),
    };
    let rest = Linear {
        terms: form
            .terms
            .iter()
            .copied()
            .filter(|t| t.1 % n != 0)
            .collect(),
        constant: form.constant.rem_euclid(n),
    };
    (out, rest)
}

/// `(x % n)*k + (x / n)*(k*n) -> x*k`, also where x is itself a quotient.
fn recombine(g: &mut Uops, form: &Linear) -> Option<Linear> {
    for &(term, k) in &form.terms {
        if g.op(term) != Op::Binary(Binary::FloorMod) {
            continue;
        }
        let x = g.src(term)[0];
        let Some(n) = g.as_int(g.src(term)[1]) else {
            continue;
        };
        let Some(wanted) = k.checked_mul(n) else {
            continue;
        };
        let partner = form.terms.iter().copied().find(|&(other, c)| {
            if c != wanted || g.op(other) != Op::Binary(Binary::FloorDiv) {
                return false;
            }
            let (y, Some(m)) = (g.src(other)[0], g.as_int(g.src(other)[1])) else {
                return false;
            };
            let direct = y == x && m == n;
            let nested = g.op(x) == Op::Binary(Binary::FloorDiv)
                && g.src(x)[0] == y
                && g.as_int(g.src(x)[1]).and_then(|a| a.checked_mul(n)) == Some(m);
            direct || nested
        });
        if let Some((other, _)) = partner {
            let rest = Linear {
                terms: form
                    .terms
                    .iter()
                    .copied()
                    .filter(|t| t.0 != term && t.0 != other)
                    .collect(),
                constant: form.constant,
            };
            return rest.plus(&Linear::of(g, x)?.times(k)?);
        }
    }
    None
}

#[cfg(test)]
#[path = "symbolic_tests.rs"]
mod tests;
