//! Tidies the ranges of a fresh kernel: splits them where indices divide, then numbers them.
//!
//! In: a kernel's DAG with ranges in order of creation. Out: an arena that holds just the reachable
//! nodes, its ranges numbered in nest order: first those that an inner reduce depends on (a row before
//! the columns, so that a softmax's maximum is computed once a row), then the other loops, then reduce
//! ranges. Equal kernels come out equal node by node, which is how they are found.
//!
//! Example: a store over `c` in 0..768 that loads `x[c / 64, c % 64]` becomes one over `h` in 0..12 and
//! `d` in 0..64 that loads `x[h, d]`.

use crate::diag::Result;
use crate::uop::{Axis, Binary, Op, Sources, UopId, Uops, simplify_kernel};
use rustc_hash::{FxHashMap, FxHashSet};

/// Splits ranges, then renumbers into a fresh arena. Returns it with its sink.
///
/// # Errors
/// Bug when rewrite rules go round in circles.
pub fn tidy_ranges(mut g: Uops, mut sink: UopId) -> Result<(Uops, UopId)> {
    for _ in 0..4 {
        sink = simplify_kernel(&mut g, sink)?;
        let cuts = find_cuts(&g, sink);
        if cuts.is_empty() {
            break;
        }
        sink = split(&mut g, sink, &cuts);
    }
    Ok(renumber(&g, sink))
}

/// For each range, the divisors that its index expressions use, as a chain that divides its extent.
fn find_cuts(g: &Uops, sink: UopId) -> Vec<(UopId, Vec<i64>)> {
    let mut cuts: FxHashMap<UopId, Vec<i64>> = FxHashMap::default();
    for id in g.toposort(&[sink]) {
        let Op::Binary(op @ (Binary::FloorDiv | Binary::FloorMod)) = g.op(id) else {
            continue;
        };
        let (a, Some(c)) = (g.src(id)[0], g.as_int(g.src(id)[1])) else {
            continue;
        };
        if matches!(g.op(a), Op::Range { .. }) {
            cuts.entry(a).or_default().push(c);
        } else if op == Binary::FloorMod
            && g.op(a) == Op::Binary(Binary::FloorDiv)
            && matches!(g.op(g.src(a)[0]), Op::Range { .. })
            && let Some(d) = g.as_int(g.src(a)[1])
            && let Some(both) = c.checked_mul(d)
        {
            cuts.entry(g.src(a)[0]).or_default().extend([d, both]);
        }
    }
    let mut out: Vec<(UopId, Vec<i64>)> = Vec::new();
    for (range, mut divisors) in cuts {
        let (
            Some(extent),
            Op::Range {
                axis: Axis::Loop, ..
            },
        ) = (g.extent(range), g.op(range))
        else {
            continue;
        };
        divisors.sort_unstable();
        divisors.dedup();
        let mut chain: Vec<i64> = Vec::new();
        for d in divisors {
            if d > 1 && d < extent && extent % d == 0 && d % chain.last().copied().unwrap_or(1) == 0
            {
                chain.push(d);
            }
        }
        if !chain.is_empty() {
            out.push((range, chain));
        }
    }
    out.sort_unstable();
    out
}

/// Replaces each range by the digits that its cuts make: `r -> hi*d + lo`.
fn split(g: &mut Uops, sink: UopId, cuts: &[(UopId, Vec<i64>)]) -> UopId {
    let mut next = 1 + g
        .toposort(&[sink])
        .iter()
        .filter_map(|&id| match g.op(id) {
            Op::Range { id, .. } => Some(id),
            _ => None,
        })
        .max()
        .unwrap_or(0);
    let mut digits: FxHashMap<UopId, (UopId, Vec<UopId>)> = FxHashMap::default();
    for (range, chain) in cuts {
        let Some(extent) = g.extent(*range) else {
            continue;
        };
        let mut bounds = vec![1];
        bounds.extend(chain);
        bounds.push(extent);
        let mut sum = g.index(0);
        let mut parts = Vec::new();
        for pair in bounds.windows(2).rev() {
            let n = g.index(pair[1] / pair[0]);
            let digit = g.range(next, n, Axis::Loop);
            next += 1;
            let scaled = g.mul_const(digit, pair[0]);
            sum = g.add(sum, scaled);
            parts.push(digit);
        }
        digits.insert(*range, (sum, parts));
    }
    let mut new: FxHashMap<UopId, UopId> = FxHashMap::default();
    for id in g.toposort(&[sink]) {
        if let Some((sum, _)) = digits.get(&id) {
            new.insert(id, *sum);
            continue;
        }
        let node = g.get(id).clone();
        let is_reduce = matches!(node.op, Op::Reduce(_));
        let mut src = Sources::new();
        for (n, old) in node.src.iter().enumerate() {
            match digits.get(old) {
                Some((_, parts)) if is_reduce && n > 0 => src.extend(parts.iter().copied()),
                _ => src.push(new[old]),
            }
        }
        let replaced = match node.op {
            Op::Binary(op) => g.binary(op, src[0], src[1]),
            op => g.add_node(op, node.ty, src),
        };
        new.insert(id, replaced);
    }
    new[&sink]
}

/// Copies what is reachable into a fresh arena with ranges numbered in nest order.
fn renumber(g: &Uops, sink: UopId) -> (Uops, UopId) {
    let order = g.toposort(&[sink]);
    let mut free: FxHashMap<UopId, FxHashSet<UopId>> = FxHashMap::default();
    let mut reduced: FxHashSet<UopId> = FxHashSet::default();
    let mut before: FxHashSet<UopId> = FxHashSet::default();
    let mut serial: FxHashSet<UopId> = FxHashSet::default();
    for &id in &order {
        let mut mine: FxHashSet<UopId> = FxHashSet::default();
        for s in g.src(id) {
            mine.extend(free[s].iter().copied());
        }
        match g.op(id) {
            Op::Range { axis, .. } => {
                mine.insert(id);
                if axis == Axis::Serial {
                    serial.insert(id);
                }
            }
            Op::Reduce(_) => {
                for r in &g.src(id)[1..] {
                    mine.remove(r);
                    reduced.insert(*r);
                }
            }
            _ => {}
        }
        free.insert(id, mine);
    }
    // A reduce that does not need all loops of its nest must lie outside the rest.
    for &store in g.src(sink) {
        let loops = &free[&store];
        for &id in &g.toposort(&[store]) {
            if matches!(g.op(id), Op::Reduce(_)) && free[&id].len() < loops.len() {
                before.extend(free[&id].intersection(loops).copied());
            }
        }
    }
    let key = |r: &UopId| {
        let created = match g.op(*r) {
            Op::Range { id, .. } => id,
            _ => 0,
        };
        (
            reduced.contains(r),
            !serial.contains(r),
            !before.contains(r),
            created,
        )
    };
    let mut ranges: Vec<UopId> = order
        .iter()
        .copied()
        .filter(|&id| matches!(g.op(id), Op::Range { .. }))
        .collect();
    ranges.sort_by_key(key);
    let number: FxHashMap<UopId, u32> = ranges
        .iter()
        .enumerate()
        .map(|(n, &r)| (r, n as u32))
        .collect();
    let mut out = Uops::new();
    out.continue_from(g);
    let mut new: FxHashMap<UopId, UopId> = FxHashMap::default();
    for id in order {
        let node = g.get(id);
        let src: Sources = node.src.iter().map(|s| new[s]).collect();
        let op = match node.op {
            Op::Range { axis, .. } => Op::Range {
                id: number[&id],
                axis,
            },
            op => op,
        };
        new.insert(id, out.add_node(op, node.ty, src));
    }
    (out, new[&sink])
}
