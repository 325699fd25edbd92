//! Vectors for everything that is no contraction: elementwise nests, pools, softmax, layer norm, copies.
//!
//! In: a nest. Out: nests whose contiguous loop is a vector, and whose reduces over a contiguous axis are
//! too. A partial last vector becomes a nest (or a second reduce) of its own.

use super::formulas::unroll_formulas;
use super::nest::{AccessTo, Nest, Work};
use super::pad::pad_to;
use crate::target::Facts;
use crate::uop::{Axis, Op, UopId};

/// Vectors of a window from which on it is better summed along itself than for every second column at once.
const LONG_WINDOW: i64 = 4;

/// Sums of lanes that are computed at once: each takes a register.
const MOST_RESULTS: i64 = 16;

/// Vectorises a nest.
pub fn vectorise(work: &mut Work<'_>, nest: Nest, facts: &Facts) -> Vec<Nest> {
    let parts = unroll_formulas(work, nest);
    let vectorised = parts
        .into_iter()
        .map(|part| vectorise_part(work, part, facts));
    vectorised.flatten().collect()
}

fn vectorise_part(work: &mut Work<'_>, mut nest: Nest, facts: &Facts) -> Vec<Nest> {
    vectorise_reduces(work, &mut nest, facts);
    let lanes = lanes(work, &nest, facts);
    let Some(range) = choose(work, &nest) else {
        unroll_results(work, &mut nest);
        return vec![nest];
    };
    let mut waiting = vec![(nest, range)];
    let mut out = Vec::new();
    while let Some((mut nest, mut range)) = waiting.pop() {
        let mut extent = work.extent(range);
        let mut width = lanes;
        if extent % lanes != 0 {
            let up = (extent + lanes - 1) / lanes * lanes;
            let padded = (up * 3 <= extent * 4)
                .then(|| pad_to(work, &mut nest, range, up))
                .flatten();
            if let Some(wider) = padded {
                (range, extent) = (wider, up);
            } else {
                let at = if extent > lanes {
                    extent / lanes * lanes
                } else {
                    1 << (63 - extent.leading_zeros() as i64)
                };
                if at == extent {
                    width = at;
                } else {
                    let place = nest.order.iter().position(|&r| r == range).unwrap_or(0);
                    let (main, rest) = work.peel(&nest, range, at);
                    if extent - at >= 2 {
                        let again = rest.order[place];
                        waiting.push((rest, again));
                    } else {
                        out.push(rest);
                    }
                    let again = main.order[place];
                    waiting.push((main, again));
                    continue;
                }
            }
        }
        work.split(&mut nest, range, width, Axis::Vector);
        unroll_windows(work, &mut nest);
        unroll_results(work, &mut nest);
        order(work, &mut nest);
        out.push(nest);
    }
    out
}

fn lanes(work: &Work<'_>, nest: &Nest, facts: &Facts) -> i64 {
    let value = work.g.src(nest.store)[1];
    let whole = i64::from(facts.lanes(work.g.ty(value).scalar.size().max(4)));
    work.choices.lanes.map_or(whole, |l| l.clamp(1, whole))
}

/// The loop that is contiguous where it is stored and in most loads, if long enough; else one that is contiguous in all loads of a
/// reduce, as channels of a block are, or takes every second element: what comes out of the reduce is then stored lane by lane.
fn choose(work: &Work<'_>, nest: &Nest) -> Option<UopId> {
    let accesses = work.accesses(nest.store);
    let store = accesses.iter().find(|a| a.store)?;
    let loads: Vec<&AccessTo> = accesses.iter().filter(|a| !a.store).collect();
    let reduces = work.reduces(nest);
    let mut best: Option<((bool, i64), UopId)> = None;
    for range in work.loops(nest) {
        if work.axis(range) != Axis::Loop || work.extent(range) < 2 {
            continue;
        }
        // A value has one vector range: not this one where a reduce has its own.
        let below: Vec<UopId> = reduces
            .iter()
            .copied()
            .filter(|&r| work.depends(r, range))
            .collect();
        let own = |&r: &UopId| work.axis(r) == Axis::Vector;
        if below.iter().any(|&r| work.g.src(r)[1..].iter().any(own)) {
            continue;
        }
        let (mut contiguous, mut paired, mut scattered) = (0, 0, 0);
        for load in &loads {
            match work.stride(load, range) {
                Some(1) => contiguous += 1,
                Some(0) => {}
                _ if work.params[load.slot as usize].weight => {}
                // Every second element comes out of two vectors.
                Some(2) => paired += 1,
                _ => scattered += 1,
            }
        }
        let stored = work.stride(store, range) == Some(1);
        let lanes_only = !below.is_empty() && contiguous + paired > 0 && scattered == 0;
        // Under a reduce, scattered loads cost their whole extent.
        let slow = scattered > 0 && contiguous + paired == 0 && !reduces.is_empty();
        if !stored && !lanes_only || slow {
            continue;
        }
        let score = contiguous * 8 + paired * 4 - scattered + work.extent(range).min(64);
        if best.is_none_or(|b| (stored, score) > b.0) {
            best = Some(((stored, score), range));
        }
    }
    best.map(|b| b.1)
}

/// Reduces over an axis that is contiguous in their loads, and that nothing else vectorises better.
fn vectorise_reduces(work: &mut Work<'_>, nest: &mut Nest, facts: &Facts) {
    for _ in 0..8 {
        let Some((reduce, range, lanes)) = find_reduce(work, nest, facts) else {
            return;
        };
        work.lanes(nest, reduce, range, lanes);
    }
}

fn find_reduce(work: &Work<'_>, nest: &Nest, facts: &Facts) -> Option<(UopId, UopId, i64)> {
    let accesses = work.accesses(nest.store);
    let store = accesses.iter().find(|a| a.store)?;
    for reduce in work.reduces(nest) {
        let node = work.g.get(reduce);
        let lanes = i64::from(facts.lanes(node.ty.scalar.size().max(4)));
        if node.ty.lanes != 1 || node.src[1..].iter().any(|&r| work.axis(r) == Axis::Vector) {
            continue;
        }
        if !work.g.ty(node.src[0]).scalar.is_float() {
            continue;
        }
        // A loop around it that is contiguous in store and loads is the better vector.
        let loads: Vec<AccessTo> = work
            .accesses(node.src[0])
            .into_iter()
            .filter(|a| !a.store)
            .collect();
        let outer = |most: i64| {
            work.loops(nest).into_iter().any(|r| {
                work.depends(reduce, r)
                    && work.extent(r) >= 4
                    && work.stride(store, r) == Some(1)
                    && loads.iter().all(|a| {
                        work.stride(a, r).is_some_and(|s| (0..=most).contains(&s))
                            || work.params[a.slot as usize].weight
                    })
            })
        };
        let (beside, every_second) = (outer(1), outer(2));
        // Another reduce below would run anew for each lane.
        let nested = work.g.toposort(&[node.src[0]]).into_iter().any(|id| {
            matches!(work.g.op(id), Op::Reduce(_))
                && node.src[1..].iter().any(|&r| work.depends(id, r))
        });
        if beside || nested {
            continue;
        }
        for &range in &node.src[1..] {
            let extent = work.extent(range);
            let long = extent >= LONG_WINDOW * lanes || !every_second;
            if work.axis(range) != Axis::Loop || extent < 4 || !long {
                continue;
            }
            // A short axis fills part of a vector.
            let lanes = lanes.min(1 << (63 - extent.leading_zeros()));
            let (mut good, mut bad) = (0, 0);
            for load in &loads {
                match work.lane_stride(load, range, lanes) {
                    Some(1) => good += 1,
                    Some(0) => {}
                    _ if work.params[load.slot as usize].weight => {}
                    _ => bad += 1,
                }
            }
            if good > 0 && bad == 0 {
                return Some((reduce, range, lanes));
            }
        }
    }
    None
}

/// Computes several results of a vectorised reduce at once: one alone waits for each of its own additions.
fn unroll_results(work: &mut Work<'_>, nest: &mut Nest) {
    let vectorised: Vec<UopId> = work
        .reduces(nest)
        .into_iter()
        .filter(|&r| {
            work.g.src(r)[1..]
                .iter()
                .any(|&x| work.axis(x) == Axis::Vector)
        })
        .collect();
    let Some(range) = work.loops(nest).into_iter().rev().find(|&r| {
        work.axis(r) == Axis::Loop
            && work.extent(r) > 1
            && !vectorised.is_empty()
            && vectorised.iter().all(|&v| work.depends(v, r))
    }) else {
        return;
    };
    let extent = work.extent(range);
    // Few results of the same inputs and other weights: each input is loaded once for all of them.
    let shared = work.loops(nest).into_iter().find(|&r| {
        let few = (2..=MOST_RESULTS / 2).contains(&work.extent(r));
        let other = r != range && work.axis(r) == Axis::Loop;
        few && other && vectorised.iter().all(|&v| by_weights_only(work, v, r))
    });
    let results = shared.map_or(1, |r| work.extent(r));
    let fits = |by: &i64| extent % by == 0 && by * results <= MOST_RESULTS;
    if let Some(by) = [4, 3, 2].into_iter().find(fits) {
        if let Some(shared) = shared {
            work.set_axis(nest, shared, Axis::Unroll);
        }
        work.split(nest, range, by, Axis::Unroll);
    }
}

/// True when a reduce varies with a loop, but only through weights.
fn by_weights_only(work: &Work<'_>, reduce: UopId, range: UopId) -> bool {
    let varies = |a: &AccessTo| a.index.iter().any(|&i| work.depends(i, range));
    let loads = work.accesses(work.g.src(reduce)[0]);
    work.depends(reduce, range)
        && loads
            .iter()
            .all(|a| work.params[a.slot as usize].weight || !varies(a))
}

/// Small reduces inside a vector (a pooling window) are unrolled.
fn unroll_windows(work: &mut Work<'_>, nest: &mut Nest) {
    for reduce in work.reduces(nest) {
        let ranges: Vec<UopId> = work.g.src(reduce)[1..].to_vec();
        let taps: i64 = ranges.iter().map(|&r| work.extent(r)).product();
        if taps <= work.choices.taps.unwrap_or(16) {
            for r in ranges {
                if work.axis(r) == Axis::Loop {
                    work.set_axis(nest, r, Axis::Unroll);
                }
            }
            return; // the arena changed; one window a nest is what occurs
        }
    }
}

/// Keeps rows outside, then the store's order in memory; vectors last.
fn order(work: &Work<'_>, nest: &mut Nest) {
    let loops = work.loops(nest);
    let accesses = work.accesses(nest.store);
    let Some(store) = accesses.iter().find(|a| a.store) else {
        return;
    };
    let mut hoisted: Vec<UopId> = Vec::new();
    for reduce in work.reduces(nest) {
        let mine: Vec<UopId> = loops
            .iter()
            .copied()
            .filter(|&r| work.depends(reduce, r))
            .collect();
        if mine.len() < loops.len() {
            hoisted.extend(mine);
        }
    }
    let mut keyed: Vec<((u8, i64, usize), UopId)> = nest
        .order
        .iter()
        .enumerate()
        .map(|(n, &r)| {
            let class = match work.axis(r) {
                Axis::Serial | Axis::Parallel => 0,
                Axis::Vector => 9,
                Axis::Unroll => 8,
                _ if !loops.contains(&r) => 6,
                _ if hoisted.contains(&r) => 1,
                _ => 2,
            };
            let stride = if class != 0 && loops.contains(&r) {
                work.stride(store, r).map_or(i64::MIN, |s| -s.abs())
            } else {
                0
            };
            ((class, stride, n), r)
        })
        .collect();
    keyed.sort_unstable_by_key(|k| k.0);
    nest.order = keyed.into_iter().map(|k| k.1).collect();
}
