//! Linear form of an Index expression: a sum of terms times coefficients, plus a constant.
//!
//! In: an Index node whose sources are simplified. Out: [`Linear`], and back. Terms are nodes that are
//! no sum themselves: ranges, quotients, remainders, minima, loads.

use super::arena::{UopId, Uops};
use super::bounds::Bounds;
use super::dtype::Type;
use super::ops::{Binary, Op};

/// `sum(coefficient * term) + constant`; terms ascend, coefficients are not zero.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Linear {
    /// Terms with coefficients.
    pub terms: Vec<(UopId, i64)>,
    /// What is left.
    pub constant: i64,
}

impl Linear {
    /// A constant.
    pub fn number(constant: i64) -> Linear {
        Linear {
            terms: Vec::new(),
            constant,
        }
    }

    /// Reads a node; `None` when a coefficient overflows.
    pub fn of(g: &Uops, id: UopId) -> Option<Linear> {
        let mut out = Linear::default();
        let mut stack = vec![(id, 1i64)];
        while let Some((id, scale)) = stack.pop() {
            let node = g.get(id);
            if let Some(value) = g.as_int(id) {
                out.constant = out.constant.checked_add(value.checked_mul(scale)?)?;
                continue;
            }
            match node.op {
                Op::Binary(Binary::Add) if node.ty == Type::INDEX => {
                    stack.extend([(node.src[0], scale), (node.src[1], scale)])
                }
                Op::Binary(Binary::Sub) if node.ty == Type::INDEX => {
                    stack.extend([(node.src[0], scale), (node.src[1], scale.checked_neg()?)]);
                }
                Op::Binary(Binary::Mul) if node.ty == Type::INDEX => {
                    match (g.as_int(node.src[0]), g.as_int(node.src[1])) {
                        (Some(c), _) => stack.push((node.src[1], scale.checked_mul(c)?)),
                        (_, Some(c)) => stack.push((node.src[0], scale.checked_mul(c)?)),
                        _ => out.terms.push((id, scale)),
                    }
                }
                _ => out.terms.push((id, scale)),
            }
        }
        out.tidy()
    }

    /// Sorts and merges equal terms.
    fn tidy(mut self) -> Option<Linear> {
        self.terms.sort_unstable();
        let mut merged: Vec<(UopId, i64)> = Vec::with_capacity(self.terms.len());
        for (term, c) in self.terms {
            match merged.last_mut() {
                Some(last) if last.0 == term => last.1 = last.1.checked_add(c)?,
                _ => merged.push((term, c)),
            }
        }
        merged.retain(|t| t.1 != 0);
        Some(Linear {
            terms: merged,
            constant: self.constant,
        })
    }

    /// Sum of two forms.
    pub fn plus(&self, other: &Linear) -> Option<Linear> {
        let mut terms = self.terms.clone();
        terms.extend(&other.terms);
        Linear {
            terms,
            constant: self.constant.checked_add(other.constant)?,
        }
        .tidy()
    }

    /// All coefficients and the constant times `by`.
    pub fn times(&self, by: i64) -> Option<Linear> {
        let terms = self
            .terms
            .iter()
            .map(|&(t, c)| Some((t, c.checked_mul(by)?)))
            .collect::<Option<Vec<_>>>()?;
        Linear {
            terms,
            constant: self.constant.checked_mul(by)?,
        }
        .tidy()
    }

    /// Builds the node again, in canonical order.
    pub fn build(&self, g: &mut Uops) -> UopId {
        let mut sum: Option<UopId> = None;
        for &(term, c) in &self.terms {
            let scaled = g.mul_const(term, c);
            sum = Some(sum.map_or(scaled, |s| g.add(s, scaled)));
        }
        match sum {
            Some(sum) => g.add_const(sum, self.constant),
            None => g.index(self.constant),
        }
    }

    /// Interval of the form, saturating.
    pub fn bounds(&self, g: &Uops, bounds: &mut Bounds) -> (i64, i64) {
        let (mut low, mut high) = (i128::from(self.constant), i128::from(self.constant));
        for &(term, c) in &self.terms {
            let (a, b) = bounds.of(g, term);
            let (x, y) = (i128::from(a) * i128::from(c), i128::from(b) * i128::from(c));
            low += x.min(y);
            high += x.max(y);
        }
        let fit = |v: i128| v.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        (fit(low), fit(high))
    }
}

/// Greatest common divisor, not negative.
pub fn gcd(a: i64, b: i64) -> i64 {
    let (mut a, mut b) = (a.unsigned_abs(), b.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    i64::try_from(a).unwrap_or(1)
}
