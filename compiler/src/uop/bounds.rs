//! Interval analysis: the least and largest value that an integer, Index or Bool node can have.
//!
//! In: a node. Out: `(low, high)`, inclusive, which holds for every value of the ranges and variables
//! below it. What cannot be known (a load) has the bounds of its type. Results are remembered in the
//! table, which stays valid while the arena only grows.

use super::arena::{UopId, Uops};
use super::dtype::DType;
use super::ops::{Binary, Op, Unary};
use rustc_hash::FxHashMap;

/// Side table of intervals.
#[derive(Debug, Default, Clone)]
pub struct Bounds {
    known: FxHashMap<UopId, (i64, i64)>,
}

impl Bounds {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Interval of a node. Floats have all of `i64`, which says nothing.
    pub fn of(&mut self, g: &Uops, id: UopId) -> (i64, i64) {
        if let Some(&known) = self.known.get(&id) {
            return known;
        }
        // Sources first, without recursion: expressions can be deep.
        let mut stack = vec![id];
        while let Some(&top) = stack.last() {
            if self.known.contains_key(&top) {
                stack.pop();
                continue;
            }
            let waiting: Vec<UopId> = match g.op(top) {
                Op::Load { .. } | Op::Param { .. } | Op::Local { .. } | Op::Const(_) => Vec::new(),
                _ => g
                    .src(top)
                    .iter()
                    .copied()
                    .filter(|s| !self.known.contains_key(s))
                    .collect(),
            };
            if waiting.is_empty() {
                let found = self.compute(g, top);
                self.known.insert(top, found);
                stack.pop();
            } else {
                stack.extend(waiting);
            }
        }
        self.known[&id]
    }

    /// Narrows what is known of a node: for code below a condition.
    pub fn assume(&mut self, id: UopId, low: i64, high: i64) {
        let old = self.known.get(&id).copied().unwrap_or((i64::MIN, i64::MAX));
        self.known.insert(id, (old.0.max(low), old.1.min(high)));
    }

    fn compute(&self, g: &Uops, id: UopId) -> (i64, i64) {
        let node = g.get(id);
        let whole = node.ty.scalar.int_bounds().unwrap_or((i64::MIN, i64::MAX));
        let at = |n: usize| self.known[&node.src[n]];
        let found: Option<(i128, i128)> = match node.op {
            Op::Const(_) => g.as_int(id).map(|v| (i128::from(v), i128::from(v))),
            Op::Lanes(start) => Some((
                i128::from(start),
                i128::from(start) + i128::from(node.ty.lanes) - 1,
            )),
            Op::Var { min, max, .. } => Some((i128::from(min), i128::from(max))),
            Op::Range { .. } => Some((0, (i128::from(at(0).1) - 1).max(0))),
            Op::Where => {
                let ((a, b), (c, d)) = (at(1), at(2));
                Some((i128::from(a.min(c)), i128::from(b.max(d))))
            }
            Op::Cast if !g.ty(node.src[0]).scalar.is_float() => {
                let (a, b) = at(0);
                (node.ty.scalar != DType::Bool && a >= whole.0 && b <= whole.1)
                    .then_some((i128::from(a), i128::from(b)))
            }
            Op::Splat | Op::Lane(_) => Some((i128::from(at(0).0), i128::from(at(0).1))),
            Op::Unary(Unary::Neg) if node.ty.scalar.is_int() => {
                Some((-i128::from(at(0).1), -i128::from(at(0).0)))
            }
            Op::Unary(Unary::Abs) if node.ty.scalar.is_int() => {
                let (a, b) = (i128::from(at(0).0), i128::from(at(0).1));
                Some((
                    if a > 0 {
                        a
                    } else if b < 0 {
                        -b
                    } else {
                        0
                    },
                    a.abs().max(b.abs()),
                ))
            }
            Op::Binary(op) if !g.ty(node.src[0]).scalar.is_float() => binary(op, at(0), at(1)),
            _ => None,
        };
        match found {
            Some((a, b)) if node.ty.scalar == DType::Index => (
                a.clamp(i64::MIN.into(), i64::MAX.into()) as i64,
                b.clamp(i64::MIN.into(), i64::MAX.into()) as i64,
            ),
            // Other integers wrap: outside the type's range nothing is known.
            Some((a, b)) if a >= i128::from(whole.0) && b <= i128::from(whole.1) => {
                (a as i64, b as i64)
            }
            _ => whole,
        }
    }
}

fn binary(op: Binary, a: (i64, i64), b: (i64, i64)) -> Option<(i128, i128)> {
    let (a, b) = (
        (i128::from(a.0), i128::from(a.1)),
        (i128::from(b.0), i128::from(b.1)),
    );
    let corners = |f: &dyn Fn(i128, i128) -> i128| {
        let all = [f(a.0, b.0), f(a.0, b.1), f(a.1, b.0), f(a.1, b.1)];
        (
            all.into_iter().min().unwrap_or(0),
            all.into_iter().max().unwrap_or(0),
        )
    };
    let truth = |yes: bool, no: bool| {
        Some(if yes {
            (1, 1)
        } else if no {
            (0, 0)
        } else {
            (0, 1)
        })
    };
    match op {
        Binary::Add => Some((a.0 + b.0, a.1 + b.1)),
        Binary::Sub => Some((a.0 - b.1, a.1 - b.0)),
        Binary::Mul => Some(corners(&|x, y| x * y)),
        Binary::FloorDiv if b.0 > 0 => Some(corners(&i128::div_euclid)),
        Binary::FloorMod if b.0 > 0 => Some(
            if b.0 == b.1 && a.0.div_euclid(b.0) == a.1.div_euclid(b.0) {
                (a.0.rem_euclid(b.0), a.1.rem_euclid(b.0))
            } else {
                (0, b.1 - 1)
            },
        ),
        Binary::Max => Some((a.0.max(b.0), a.1.max(b.1))),
        Binary::Min => Some((a.0.min(b.0), a.1.min(b.1))),
        Binary::Lt => truth(a.1 < b.0, a.0 >= b.1),
        Binary::Le => truth(a.1 <= b.0, a.0 > b.1),
        Binary::Eq => truth(
            a.0 == a.1 && b.0 == b.1 && a.0 == b.0,
            a.1 < b.0 || b.1 < a.0,
        ),
        Binary::Ne => truth(
            a.1 < b.0 || b.1 < a.0,
            a.0 == a.1 && b.0 == b.1 && a.0 == b.0,
        ),
        Binary::And if a.0 >= 0 && b.0 >= 0 => Some((
            if a.0 == 1 && b.0 == 1 && a.1 == 1 && b.1 == 1 {
                1
            } else {
                0
            },
            a.1.min(b.1),
        )),
        Binary::Or if a.0 >= 0 && b.0 >= 0 && a.1 <= 1 && b.1 <= 1 => {
            Some((a.0.max(b.0), a.1.max(b.1)))
        }
        _ => None,
    }
}
