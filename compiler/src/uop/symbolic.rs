//! Simplifies Index and Bool expressions, alone or inside a kernel.
//!
//! In: a node. Out: an equal node, smaller or the same. Sums become a canonical linear form; quotients and
//! remainders are taken apart by divisibility and by intervals (`(a*c + b) / c -> a` for `0 <= b < c`);
//! comparisons are decided by intervals or get their constant on one side. Everything rounds towards minus
//! infinity, so negative numerators are right. The same node always gives the same result.
//!
//! Example: `(r0*16 + r1) % 16` with `r1` in 0..16 is `r1`.

use super::arena::{Sources, UopId, Uops};
use super::bounds::Bounds;
use super::dtype::{DType, Type};
use super::linear::{Linear, gcd};
use super::ops::{Binary, Op};
use rustc_hash::FxHashMap;

/// Simplifies one expression.
pub fn simplify(g: &mut Uops, id: UopId) -> UopId {
    Simplifier::default().run(g, id)
}

/// Simplifies all index expressions and conditions of a kernel.
pub fn simplify_kernel(g: &mut Uops, sink: UopId) -> UopId {
    simplify(g, sink)
}

/// Remembers what is simplified already; valid while its arena only grows.
#[derive(Debug, Default)]
pub struct Simplifier {
    bounds: Bounds,
    done: FxHashMap<UopId, UopId>,
}

impl Simplifier {
    /// Simplifies `id` and all below it.
    pub fn run(&mut self, g: &mut Uops, id: UopId) -> UopId {
        if let Some(&known) = self.done.get(&id) {
            return known;
        }
        let mut stack = vec![id];
        while let Some(&top) = stack.last() {
            if self.done.contains_key(&top) {
                stack.pop();
                continue;
            }
            let waiting: Vec<UopId> = g
                .src(top)
                .iter()
                .copied()
                .filter(|s| !self.done.contains_key(s))
                .collect();
            if waiting.is_empty() {
                let new = self.node(g, top);
                self.done.insert(top, new);
                self.done.insert(new, new);
                stack.pop();
            } else {
                stack.extend(waiting);
            }
        }
        self.done[&id]
    }

    /// One node whose sources are simplified.
    fn node(&mut self, g: &mut Uops, id: UopId) -> UopId {
        let node = g.get(id).clone();
        let src: Sources = node.src.iter().map(|s| self.done[s]).collect();
        match node.op {
            Op::Binary(op) => self.binary(g, op, src[0], src[1]),
            Op::Where => g.select(src[0], src[1], src[2]),
            Op::Cast => self.cast(g, src[0], node.ty),
            Op::Load { gated: true } => match g.as_int(src[1]) {
                Some(0) => src[2],
                Some(_) => {
                    let rest: Sources = [src[0]]
                        .into_iter()
                        .chain(src[3..].iter().copied())
                        .collect();
                    g.add_node(Op::Load { gated: false }, node.ty, rest)
                }
                None => g.add_node(node.op, node.ty, src),
            },
            Op::Store { gated: true } if g.as_int(src[2]) == Some(1) => {
                let rest: Sources = src[..2].iter().chain(&src[3..]).copied().collect();
                g.add_node(Op::Store { gated: false }, node.ty, rest)
            }
            op => g.add_node(op, node.ty, src),
        }
    }

    fn binary(&mut self, g: &mut Uops, op: Binary, a: UopId, b: UopId) -> UopId {
        let ty = g.ty(a);
        if ty == Type::INDEX {
            let found = match op {
                Binary::Add | Binary::Sub | Binary::Mul => self.sum(g, op, a, b),
                Binary::FloorDiv => g
                    .as_int(b)
                    .filter(|&n| n > 0)
                    .and_then(|n| self.div(g, a, n)),
                Binary::FloorMod => g
                    .as_int(b)
                    .filter(|&n| n > 0)
                    .and_then(|n| self.rem(g, a, n)),
                Binary::Max | Binary::Min => self.extremum(g, op, a, b),
                op if op.is_compare() => self.compare(g, op, a, b),
                _ => None,
            };
            if let Some(found) = found {
                return found;
            }
        }
        if ty == Type::BOOL && a == b && matches!(op, Binary::And | Binary::Or) {
            return a;
        }
        g.binary(op, a, b)
    }

    fn sum(&mut self, g: &mut Uops, op: Binary, a: UopId, b: UopId) -> Option<UopId> {
        let (x, y) = (Linear::of(g, a)?, Linear::of(g, b)?);
        let mut form = match op {
            Binary::Add => x.plus(&y)?,
            Binary::Sub => x.plus(&y.times(-1)?)?,
            _ if x.terms.is_empty() => y.times(x.constant)?,
            _ if y.terms.is_empty() => x.times(y.constant)?,
            _ => return None,
        };
        while let Some(next) = recombine(g, &form) {
            form = next;
        }
        Some(form.build(g))
    }

    /// floor(a / n).
    fn div(&mut self, g: &mut Uops, a: UopId, n: i64) -> Option<UopId> {
        let form = Linear::of(g, a)?;
        let (out, rest) = split(&form, n);
        let (low, high) = rest.bounds(g, &mut self.bounds);
        if low.div_euclid(n) == high.div_euclid(n) {
            let mut out = out;
            out.constant = out.constant.checked_add(low.div_euclid(n))?;
            return Some(out.build(g));
        }
        let quotient = self.div_rest(g, rest, n)?;
        let form = out.plus(&Linear::of(g, quotient)?)?;
        Some(form.build(g))
    }

    /// floor(rest / n), where nothing divisible is left in `rest`.
    fn div_rest(&mut self, g: &mut Uops, rest: Linear, n: i64) -> Option<UopId> {
        if let Some((whole, d)) = self.coarse(g, &rest, n) {
            // rest = whole*d + b with 0 <= b < d, and d divides n.
            let node = whole.build(g);
            return self
                .div(g, node, n / d)
                .or_else(|| Some(g.div_const(node, n / d)));
        }
        if let ([(term, 1)], 0) = (&rest.terms[..], rest.constant) {
            let inner = g.get(*term).clone();
            if let Op::Binary(op @ (Binary::FloorDiv | Binary::FloorMod)) = inner.op
                && let Some(m) = g.as_int(inner.src[1]).filter(|&m| m > 0)
            {
                if op == Binary::FloorDiv {
                    let both = m.checked_mul(n)?;
                    return self
                        .div(g, inner.src[0], both)
                        .or_else(|| Some(g.div_const(inner.src[0], both)));
                }
                if m % n == 0 {
                    let quotient = self
                        .div(g, inner.src[0], n)
                        .unwrap_or_else(|| g.div_const(inner.src[0], n));
                    return self
                        .rem(g, quotient, m / n)
                        .or_else(|| Some(g.mod_const(quotient, m / n)));
                }
            }
        }
        let node = rest.build(g);
        Some(g.div_const(node, n))
    }

    /// a mod n.
    fn rem(&mut self, g: &mut Uops, a: UopId, n: i64) -> Option<UopId> {
        let form = Linear::of(g, a)?;
        let (_, rest) = split(&form, n);
        let (low, high) = rest.bounds(g, &mut self.bounds);
        if low.div_euclid(n) == high.div_euclid(n) {
            let mut rest = rest;
            rest.constant = rest
                .constant
                .checked_sub(low.div_euclid(n).checked_mul(n)?)?;
            return Some(rest.build(g));
        }
        if let Some((whole, d)) = self.coarse(g, &rest, n) {
            let back = whole.times(-d)?;
            let fine = rest.plus(&back)?;
            let node = whole.build(g);
            let digit = self
                .rem(g, node, n / d)
                .unwrap_or_else(|| g.mod_const(node, n / d));
            let sum = Linear::of(g, digit)?.times(d)?.plus(&fine)?;
            return Some(sum.build(g));
        }
        if let ([(term, 1)], 0) = (&rest.terms[..], rest.constant)
            && g.op(*term) == Op::Binary(Binary::FloorMod)
        {
            let (x, m) = (g.src(*term)[0], g.as_int(g.src(*term)[1])?);
            if m % n == 0 {
                return self.rem(g, x, n).or_else(|| Some(g.mod_const(x, n)));
            }
        }
        let node = rest.build(g);
        Some(g.mod_const(node, n))
    }

    /// Finds `d > 1` dividing `n` such that `rest = whole*d + b` with `0 <= b < d`.
    fn coarse(&mut self, g: &Uops, rest: &Linear, n: i64) -> Option<(Linear, i64)> {
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
            let (low, high) = fine.bounds(g, &mut self.bounds);
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

    fn extremum(&mut self, g: &mut Uops, op: Binary, a: UopId, b: UopId) -> Option<UopId> {
        if a == b {
            return Some(a);
        }
        let difference = Linear::of(g, a)?.plus(&Linear::of(g, b)?.times(-1)?)?;
        let (low, high) = difference.bounds(g, &mut self.bounds);
        let (first_is_more, first_is_less) = (low >= 0, high <= 0);
        match op {
            Binary::Max if first_is_more => Some(a),
            Binary::Max if first_is_less => Some(b),
            Binary::Min if first_is_less => Some(a),
            Binary::Min if first_is_more => Some(b),
            _ => None,
        }
    }

    fn compare(&mut self, g: &mut Uops, op: Binary, a: UopId, b: UopId) -> Option<UopId> {
        let mut d = Linear::of(g, a)?.plus(&Linear::of(g, b)?.times(-1)?)?;
        if op == Binary::Le {
            d.constant = d.constant.checked_sub(1)?; // a <= b is a - b - 1 < 0
        }
        let (low, high) = d.bounds(g, &mut self.bounds);
        let common = d.terms.iter().fold(0, |c, t| gcd(c, t.1)).max(1);
        match op {
            Binary::Lt | Binary::Le => {
                if high < 0 || low >= 0 {
                    return Some(g.bool(high < 0));
                }
                // sum + c < 0  <=>  sum/common <= floor((-c - 1) / common)
                let limit = d.constant.checked_neg()?.checked_sub(1)?.div_euclid(common);
                let terms: Vec<(UopId, i64)> =
                    d.terms.iter().map(|t| (t.0, t.1 / common)).collect();
                let flip = terms.first().is_some_and(|t| t.1 < 0);
                let sum = Linear { terms, constant: 0 };
                Some(if flip {
                    // -sum >= -limit  <=>  -limit - 1 < -sum
                    let (left, right) = (
                        g.index(limit.checked_neg()?.checked_sub(1)?),
                        sum.times(-1)?.build(g),
                    );
                    g.binary(Binary::Lt, left, right)
                } else {
                    let (left, right) = (sum.build(g), g.index(limit.checked_add(1)?));
                    g.binary(Binary::Lt, left, right)
                })
            }
            Binary::Eq | Binary::Ne => {
                let never = high < 0 || low > 0 || d.constant % common != 0;
                let always = low == 0 && high == 0;
                if never || always {
                    return Some(g.bool(always == (op == Binary::Eq)));
                }
                None
            }
            _ => None,
        }
    }

    /// Conversions between integer types that keep the value move inwards and vanish.
    fn cast(&mut self, g: &mut Uops, a: UopId, to: Type) -> UopId {
        let from = g.ty(a);
        if from == to {
            return a;
        }
        let plain = |t: Type| t.lanes == 1 && t.scalar.is_int();
        if !plain(from) || !plain(to) {
            return g.add_node(Op::Cast, to, [a]);
        }
        let fits = |b: (i64, i64), d: DType| {
            d != DType::U64 && d.int_bounds().is_some_and(|w| b.0 >= w.0 && b.1 <= w.1)
        };
        let range = self.bounds.of(g, a);
        if from.scalar == DType::U64 || !fits(range, to.scalar) {
            return g.add_node(Op::Cast, to, [a]);
        }
        if let Some(value) = g.as_int(a) {
            return g.int(to.scalar, value);
        }
        let node = g.get(a).clone();
        match node.op {
            // The value survived the first conversion, whose source had it too.
            Op::Cast if plain(g.ty(node.src[0])) && g.ty(node.src[0]).scalar != DType::U64 => {
                let inner = self.bounds.of(g, node.src[0]);
                if fits(inner, from.scalar) {
                    return self.cast(g, node.src[0], to);
                }
                g.add_node(Op::Cast, to, [a])
            }
            Op::Binary(
                op @ (Binary::Add | Binary::Sub | Binary::Mul | Binary::Max | Binary::Min),
            ) if to == Type::INDEX => {
                let sources = [
                    self.bounds.of(g, node.src[0]),
                    self.bounds.of(g, node.src[1]),
                ];
                let whole = from.scalar.int_bounds().unwrap_or((0, 0));
                // Only where the narrow arithmetic cannot have wrapped.
                let exact = exact(op, sources[0], sources[1]);
                if exact.is_some_and(|e| e.0 >= i128::from(whole.0) && e.1 <= i128::from(whole.1)) {
                    let x = self.cast(g, node.src[0], to);
                    let y = self.cast(g, node.src[1], to);
                    return self.binary(g, op, x, y);
                }
                g.add_node(Op::Cast, to, [a])
            }
            _ => g.add_node(Op::Cast, to, [a]),
        }
    }
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
