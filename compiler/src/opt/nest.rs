//! One loop nest of a kernel, and the ways to cut its ranges.
//!
//! A [`Nest`] is a store with its ranges in order, outermost first, reduce ranges included. Cutting a range
//! substitutes an expression over new ranges for it; nothing else changes, so every cut keeps the
//! kernel's meaning. Nests of one kernel share no range.
//!
//! Example: `split(r of 0..64, by 16)` replaces `r` by `outer*16 + inner`.

use super::choices::Choices;
use super::opts::{At, Opt};
use crate::program::{Kernel, Layout, Param};
use crate::uop::{
    Axis, Binary, FreeRanges, Linear, Op, ReduceOp, UopId, Uops, gcd, simplify, substitute,
};
use rustc_hash::{FxHashMap, FxHashSet};

/// A store and its ranges.
#[derive(Debug, Clone)]
pub struct Nest {
    /// Its number, as [`Opt`]s name it.
    pub number: u32,
    /// Nests of one family are parts of the same loops: none needs what another stores.
    pub family: u32,
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
    /// Next nest number.
    pub nests: u32,
    /// Numbers of nests in the order in which they run.
    places: Vec<u32>,
    /// What a search decided.
    pub choices: Choices,
    /// What is to be staged when every nest has its order: nest, parameter, range.
    pub staged: Vec<(u32, u32, UopId)>,
    /// What was done, in order.
    pub log: Vec<Opt>,
}

/// A state that [`Work::back_to`] returns to.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    next: u32,
    nests: u32,
    log: usize,
}

impl<'a> Work<'a> {
    /// Opens a kernel: one nest a store.
    pub fn open(kernel: &'a Kernel) -> (Work<'a>, Vec<Nest>) {
        let g = kernel.uops.clone();
        let id = |g: &Uops, r: UopId| match g.op(r) {
            Op::Range { id, .. } => id,
            _ => 0,
        };
        let mut nests: Vec<Nest> = Vec::new();
        let (mut next, mut shared) = (0, false);
        let mut taken: FxHashSet<UopId> = FxHashSet::default();
        for store in g.src(kernel.sink).to_vec() {
            let mut order: Vec<UopId> = g
                .toposort(&[store])
                .into_iter()
                .filter(|&r| matches!(g.op(r), Op::Range { .. }))
                .collect();
            order.sort_by_key(|&r| id(&g, r));
            next = next.max(order.last().map_or(0, |&r| id(&g, r) + 1));
            shared |= order.iter().any(|&r| !taken.insert(r));
            nests.push(Nest {
                number: nests.len() as u32,
                family: nests.len() as u32,
                store,
                order,
            });
        }
        let mut work = Work {
            params: &kernel.params,
            next,
            nests: nests.len() as u32,
            places: (0..nests.len() as u32).collect(),
            choices: Choices::default(),
            staged: Vec::new(),
            log: Vec::new(),
            g,
        };
        // Whoever wrote the kernel may have used a range twice; cut nests share none.
        for nest in nests.iter_mut().skip(1).filter(|_| shared) {
            let copies: FxHashMap<UopId, UopId> = nest
                .order
                .iter()
                .map(|&r| {
                    let (op, extent) = (work.g.op(r), work.g.src(r)[0]);
                    let axis = match op {
                        Op::Range { axis, .. } => axis,
                        _ => Axis::Loop,
                    };
                    let number = work.next;
                    work.next += 1;
                    (r, work.g.range(number, extent, axis))
                })
                .collect();
            nest.store = substitute(&mut work.g, nest.store, &copies);
            for r in &mut nest.order {
                *r = copies[r];
            }
        }
        (work, nests)
    }

    /// A copy to try things on.
    pub fn trial(&self) -> Work<'a> {
        Work {
            g: self.g.clone(),
            params: self.params,
            next: self.next,
            nests: self.nests,
            places: self.places.clone(),
            choices: self.choices,
            staged: Vec::new(),
            log: Vec::new(),
        }
    }

    /// The number of a new nest that runs right after another.
    pub fn nest_after(&mut self, other: u32) -> u32 {
        let at = self.place(other) + 1;
        self.places.insert(at.min(self.places.len()), self.nests);
        self.nests += 1;
        self.nests - 1
    }

    /// Where a nest stands in the order in which nests run.
    pub fn place(&self, number: u32) -> usize {
        let at = self.places.iter().position(|&n| n == number);
        at.unwrap_or(self.places.len())
    }

    /// The state now.
    pub fn mark(&self) -> Mark {
        Mark {
            next: self.next,
            nests: self.nests,
            log: self.log.len(),
        }
    }

    /// Forgets what was done since; nests made since must not be used.
    pub fn back_to(&mut self, mark: Mark) {
        self.next = mark.next;
        self.nests = mark.nests;
        self.places.retain(|&n| n < mark.nests);
        self.log.truncate(mark.log);
    }

    /// The name of a range in opts.
    pub fn at(&self, nest: &Nest, range: UopId) -> At {
        let range = match self.g.op(range) {
            Op::Range { id, .. } => id,
            _ => u32::MAX,
        };
        At {
            nest: nest.number,
            range,
        }
    }

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
        let axis = self.at(nest, range);
        self.log.push(Opt::Split {
            axis,
            by,
            into: inner,
        });
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
        let at = self.at(nest, range);
        self.log.push(Opt::Become {
            axis: at,
            into: axis,
        });
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
        let axis = self.at(nest, range);
        self.log.push(Opt::Peel { axis, at });
        rest.number = self.nest_after(nest.number);
        let mut map = FxHashMap::default();
        // By age, so that the new ids do not depend on the order chosen so far.
        let mut ranges = nest.order.clone();
        ranges.sort_by_key(|&r| self.at(nest, r));
        for r in &ranges {
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

    /// A reduce over `range` keeps one partial result a lane; what is left over becomes a second reduce.
    pub fn lanes(&mut self, nest: &mut Nest, reduce: UopId, range: UopId, lanes: i64) {
        let extent = self.extent(range);
        let node = self.g.get(reduce).clone();
        let Op::Reduce(op) = node.op else { return };
        let axis = self.at(nest, range);
        self.log.push(Opt::Lanes { axis, by: lanes });
        let whole = extent / lanes * lanes;
        let lane = self.fresh(lanes, Axis::Vector);
        let zero = self.g.index(0);
        let mut main_ranges: Vec<UopId> = node.src[1..]
            .iter()
            .copied()
            .filter(|&r| r != range)
            .collect();
        let base = if whole > lanes {
            let outer = self.fresh(whole / lanes, Axis::Loop);
            main_ranges.push(outer);
            nest.order.push(outer);
            self.g.mul_const(outer, lanes)
        } else {
            zero
        };
        main_ranges.push(lane);
        let at = self.g.add(base, lane);
        let value = substitute(
            &mut self.g,
            node.src[0],
            &FxHashMap::from_iter([(range, at)]),
        );
        let mut result = self.g.reduce(op, value, &main_ranges);
        if extent > whole {
            let mut ranges = Vec::new();
            let mut map = FxHashMap::default();
            for &r in &node.src[1..] {
                if r == range {
                    continue;
                }
                let e = self.extent(r);
                let copy = self.fresh(e, Axis::Loop);
                map.insert(r, copy);
                ranges.push(copy);
            }
            let place = if extent - whole > 1 {
                let rest = self.fresh(extent - whole, Axis::Loop);
                ranges.push(rest);
                self.g.add_const(rest, whole)
            } else {
                self.g.index(whole)
            };
            map.insert(range, place);
            let value = substitute(&mut self.g, node.src[0], &map);
            let tail = self.g.reduce(op, value, &ranges);
            nest.order.extend(ranges);
            result = self.g.binary(combine(op), result, tail);
        }
        nest.order.retain(|&r| r != range);
        nest.order.push(lane);
        let store = substitute(
            &mut self.g,
            nest.store,
            &FxHashMap::from_iter([(reduce, result)]),
        );
        nest.store = simplify(&mut self.g, store);
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

    /// The stride of the lanes when `range` is cut into vectors of `lanes`: as [`Work::stride`], but also where only each vector
    /// stays inside one block of the layout.
    pub fn lane_stride(&self, access: &AccessTo, range: UopId, lanes: i64) -> Option<i64> {
        if let Some(stride) = self.stride(access, range) {
            return Some(stride);
        }
        let mut trial = self.trial();
        let outer = trial.fresh((self.extent(range) / lanes).max(1), Axis::Loop);
        let lane = trial.fresh(lanes, Axis::Vector);
        let first = trial.g.mul_const(outer, lanes);
        let place = trial.g.add(first, lane);
        let map = FxHashMap::from_iter([(range, place)]);
        let index: Vec<UopId> = access
            .index
            .iter()
            .map(|&i| {
                let cut = substitute(&mut trial.g, i, &map);
                simplify(&mut trial.g, cut)
            })
            .collect();
        let layout = &self.params[access.slot as usize].layout;
        stride_in(&trial.g, layout, &index, lane)
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

fn combine(op: ReduceOp) -> Binary {
    match op {
        ReduceOp::Sum => Binary::Add,
        ReduceOp::Prod => Binary::Mul,
        ReduceOp::Max => Binary::Max,
        ReduceOp::Min => Binary::Min,
        ReduceOp::All => Binary::And,
        ReduceOp::Any => Binary::Or,
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
    // A low digit below multiples of some part of the block: 8 channels of a half of 16.
    let mut step = gcd(block, form.constant.abs());
    let mut reach = 0;
    for &(term, c) in &form.terms {
        if term == range {
            reach = c * (g.extent(range).unwrap_or(1) - 1);
        } else {
            step = gcd(step, c.abs());
        }
    }
    if (0..step).contains(&reach) {
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
