//! One loop nest of a kernel, and the ways to cut its ranges.
//!
//! A [`Nest`] is a store with its ranges in order, outermost first, reduce ranges included. Cutting a range
//! substitutes an expression over new ranges for it; nothing else changes, so every cut keeps the
//! kernel's meaning. Nests of one kernel share no range.
//!
//! Example: `split(r of 0..64, by 16)` replaces `r` by `outer*16 + inner`.

use crate::program::{Layout, Param};
use crate::uop::{Axis, FreeRanges, Linear, Op, UopId, Uops, simplify, substitute};
use rustc_hash::FxHashMap;

/// A store and its ranges.
#[derive(Debug, Clone)]
pub struct Nest {
    /// The store.
    pub store: UopId,
    /// Its ranges, outermost first: loops, then what reduces run over.
    pub order: Vec<UopId>,
}

/// A load or store of a nest: parameter slot and logical index.
#[derive(Debug, Clone)]
pub struct AccessTo {
    /// Parameter.
    pub slot: u32,
    /// One expression a dimension.
    pub index: Vec<UopId>,
    /// Has a gate.
    pub gated: bool,
    /// It is the store.
    pub store: bool,
}

/// The kernel being optimised: its arena and a counter for fresh ranges.
pub struct Work<'a> {
    /// Nodes.
    pub g: Uops,
    /// Parameters.
    pub params: &'a [Param],
    /// Next range id.
    pub next: u32,
}

impl Work<'_> {
    /// A new range.
    pub fn fresh(&mut self, extent: i64, axis: Axis) -> UopId {
        let n = self.g.index(extent);
        let id = self.next;
        self.next += 1;
        self.g.range(id, n, axis)
    }

    /// Extent of a range; 1 when it is not constant.
    pub fn extent(&self, range: UopId) -> i64 {
        self.g.extent(range).unwrap_or(1)
    }

    /// Replaces ranges in a nest and simplifies it.
    pub fn replace(&mut self, nest: &mut Nest, map: &FxHashMap<UopId, UopId>) {
        let store = substitute(&mut self.g, nest.store, map);
        nest.store = simplify(&mut self.g, store);
    }

    /// `range -> outer*by + inner`. The extent must divide. Returns (outer, inner); the order holds the
    /// outer one in place and the inner one at the end.
    pub fn split(&mut self, nest: &mut Nest, range: UopId, by: i64, inner: Axis) -> (UopId, UopId) {
        let extent = self.extent(range);
        debug_assert_eq!(extent % by, 0);
        let inner = self.fresh(by, inner);
        let outer = self.fresh(extent / by, Axis::Loop);
        let zero = self.g.index(0);
        let base = if extent == by {
            zero
        } else {
            self.g.mul_const(outer, by)
        };
        let sum = self.g.add(base, inner);
        self.replace(nest, &FxHashMap::from_iter([(range, sum)]));
        if let Some(at) = nest.order.iter().position(|&r| r == range) {
            nest.order[at] = outer;
        }
        if extent == by {
            nest.order.retain(|&r| r != outer);
        }
        nest.order.push(inner);
        (outer, inner)
    }

    /// Gives a range another axis. Returns the new range.
    pub fn set_axis(&mut self, nest: &mut Nest, range: UopId, axis: Axis) -> UopId {
        let extent = self.extent(range);
        let new = self.fresh(extent, axis);
        self.replace(nest, &FxHashMap::from_iter([(range, new)]));
        for r in &mut nest.order {
            if *r == range {
                *r = new;
            }
        }
        new
    }

    /// Cuts a loop (not a reduce range) in two nests: `0..at` and `at..extent`. No range is shared.
    pub fn peel(&mut self, nest: &Nest, range: UopId, at: i64) -> (Nest, Nest) {
        let extent = self.extent(range);
        let mut main = nest.clone();
        let mut rest = nest.clone();
        let mut map = FxHashMap::default();
        for r in &nest.order {
            if *r == range {
                continue;
            }
            let axis = self.axis(*r);
            let e = self.extent(*r);
            let copy = self.fresh(e, axis);
            map.insert(*r, copy);
        }
        let axis = self.axis(range);
        let first = self.fresh(at, axis);
        let tail = if extent - at == 1 {
            None
        } else {
            Some(self.fresh(extent - at, axis))
        };
        let shifted = match tail {
            Some(t) => self.g.add_const(t, at),
            None => self.g.index(at),
        };
        map.insert(range, shifted);
        self.replace(&mut rest, &map);
        rest.order = nest
            .order
            .iter()
            .filter_map(|r| {
                if *r == range {
                    tail
                } else {
                    map.get(r).copied()
                }
            })
            .collect();
        self.replace(&mut main, &FxHashMap::from_iter([(range, first)]));
        for r in &mut main.order {
            if *r == range {
                *r = first;
            }
        }
        (main, rest)
    }

    /// Axis of a range.
    pub fn axis(&self, range: UopId) -> Axis {
        match self.g.op(range) {
            Op::Range { axis, .. } => axis,
            _ => Axis::Loop,
        }
    }

    /// Ranges that the store itself runs over, in order.
    pub fn loops(&self, nest: &Nest) -> Vec<UopId> {
        let free = FreeRanges::new().of(&self.g, nest.store);
        nest.order
            .iter()
            .copied()
            .filter(|r| free.contains(r))
            .collect()
    }

    /// Reduce nodes of the nest.
    pub fn reduces(&self, nest: &Nest) -> Vec<UopId> {
        self.g
            .toposort(&[nest.store])
            .into_iter()
            .filter(|&id| matches!(self.g.op(id), Op::Reduce(_)))
            .collect()
    }

    /// All loads of a DAG and, when it is one, the store.
    pub fn accesses(&self, root: UopId) -> Vec<AccessTo> {
        let mut out = Vec::new();
        for id in self.g.toposort(&[root]) {
            let node = self.g.get(id);
            let (gated, store) = match node.op {
                Op::Load { gated } => (gated, false),
                Op::Store { gated } => (gated, true),
                _ => continue,
            };
            let Op::Param { slot } = self.g.op(node.src[0]) else {
                continue;
            };
            let skip = 1 + usize::from(store) + if gated { 1 + usize::from(!store) } else { 0 };
            out.push(AccessTo {
                slot,
                index: node.src[skip..].to_vec(),
                gated,
                store,
            });
        }
        out
    }

    /// Elements that one step of `range` moves in memory; `None` when it is not a fixed stride.
    pub fn stride(&self, access: &AccessTo, range: UopId) -> Option<i64> {
        let layout = &self.params[access.slot as usize].layout;
        stride_in(&self.g, layout, &access.index, range)
    }

    /// How `range` enters each index dimension: its coefficient, `None` where it is not linear.
    pub fn coefficient(&self, index: UopId, range: UopId) -> Option<i64> {
        let form = Linear::of(&self.g, index)?;
        let mut coefficient = 0;
        for (term, c) in form.terms {
            if term == range {
                coefficient = c;
            } else if FreeRanges::new().of(&self.g, term).contains(&range) {
                return None;
            }
        }
        Some(coefficient)
    }

    /// True when a DAG depends on a range.
    pub fn depends(&self, id: UopId, range: UopId) -> bool {
        FreeRanges::new().of(&self.g, id).contains(&range)
    }
}

fn stride_in(g: &Uops, layout: &Layout, index: &[UopId], range: UopId) -> Option<i64> {
    let mut total = 0;
    let strides = layout.strides();
    for (dim, &i) in index.iter().enumerate() {
        let form = Linear::of(g, i)?;
        let mut c = 0;
        for (term, k) in &form.terms {
            if *term == range {
                c = *k;
            } else if FreeRanges::new().of(g, *term).contains(&range) {
                return None;
            }
        }
        if c == 0 {
            continue;
        }
        let extent = g.extent(range).unwrap_or(1);
        let digits: Vec<(usize, i64, i64)> = layout
            .axes
            .iter()
            .enumerate()
            .filter(|(_, a)| a.dim == dim)
            .map(|(n, a)| (n, a.div, a.extent))
            .collect();
        if digits.is_empty() {
            continue;
        }
        if let [(n, 1, _)] = digits[..] {
            total += c * strides[n];
            continue;
        }
        // Several digits: the step must stay inside one of them, over the whole range.
        let others_fine = |div: i64, next: i64| {
            c % div == 0
                && (next == i64::MAX || c.abs().checked_mul(extent).is_some_and(|e| e <= next))
        };
        let mut sorted = digits.clone();
        sorted.sort_unstable_by_key(|d| d.1);
        let mut found = None;
        for (n, &(axis, div, _)) in sorted.iter().enumerate() {
            let next = sorted.get(n + 1).map_or(i64::MAX, |d| d.1);
            if others_fine(div, next) && aligned(g, &form, range, next) {
                found = Some(c / div * strides[axis]);
                break;
            }
        }
        total += found?;
    }
    Some(total)
}

/// True when what is added to `range` never carries it over a multiple of `block`.
fn aligned(g: &Uops, form: &Linear, range: UopId, block: i64) -> bool {
    if block == i64::MAX {
        return true;
    }
    let low = Linear {
        terms: form
            .terms
            .iter()
            .copied()
            .filter(|&(t, c)| t == range || c % block != 0)
            .collect(),
        constant: form.constant.rem_euclid(block),
    };
    let (a, b) = low.bounds(g, &mut crate::uop::Bounds::new());
    a >= 0 && b < block
}
