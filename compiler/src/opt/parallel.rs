//! Which loops threads share.
//!
//! In: a group of finished nests. Out: the nests with their outermost common loops `Parallel`, enough of them to keep many threads
//! even, none when the work is too small; or loops further inside, where workers then fetch less from each other and from memory. The choice does not depend on the number of threads, and neither
//! does any result. Shared loops become one, so a reduce that depends on some of them only would be done again in
//! each iteration of the others: such a loop stays inside.

use super::join::{Group, separates};
use super::nest::{Nest, Work};
use crate::target::Facts;
use crate::uop::{Axis, FreeRanges, UopId};

/// Pieces that a kernel is cut into, at most about this many times two.
const PIECES: i64 = 64;
/// Pieces below which an inner loop is not shared in place of an outer one.
const FEW: i64 = 8;

/// Marks loops that all nests of a group share. The groups are parts of one nest: what only some of them read does not count, so that those
/// of the same loops are divided alike.
pub fn share(work: &mut Work<'_>, groups: &mut [Group], facts: &Facts) {
    let slots = |g: &Group| -> Vec<u32> {
        let accesses = g.nests.iter().flat_map(|n| work.accesses(n.store));
        accesses.map(|a| a.slot).collect()
    };
    let each: Vec<Vec<u32>> = groups.iter().map(slots).collect();
    let common: Vec<u32> = (0..work.params.len() as u32)
        .filter(|slot| each.iter().all(|slots| slots.contains(slot)))
        .collect();
    for group in groups {
        share_group(work, group, &common, facts);
    }
}

fn share_group(work: &mut Work<'_>, group: &mut Group, slots: &[u32], facts: &Facts) {
    let nest = &group.nests[0];
    let serial = |r: &UopId| work.axis(*r) == Axis::Serial;
    let rounds = nest.order.iter().take_while(|r| serial(r)).count();
    let store = work.accesses(nest.store).into_iter().find(|a| a.store);
    // Iterations that must run in order are not shared, but loops inside them are where each keeps to its own elements.
    let own = |r: UopId| match &store {
        Some(s) if rounds > 0 => separates(work, r, &s.index, r, &s.index),
        _ => true,
    };
    if nest.order[rounds..].iter().any(serial) {
        return;
    }
    let size = |nest: &Nest| -> f64 { nest.order.iter().map(|&r| work.extent(r) as f64).product() };
    if group.nests.iter().map(size).sum::<f64>() < facts.parallel_threshold as f64 {
        return;
    }
    let loops = work.loops(nest);
    let mut free = FreeRanges::new();
    let around: Vec<_> = work
        .reduces(nest)
        .into_iter()
        .map(|r| free.of(&work.g, r))
        .collect();
    // Loops that may be shared, from the outermost one on.
    let mut candidates: Vec<usize> = Vec::new();
    for (at, &r) in nest.order.iter().enumerate().take(group.depth).skip(rounds) {
        let again = around
            .iter()
            .any(|a| !a.contains(&r) && candidates.iter().any(|&c| a.contains(&nest.order[c])));
        if work.axis(r) != Axis::Loop || !loops.contains(&r) || !own(r) || again {
            break;
        }
        candidates.push(at);
    }
    let most = work.choices.pieces.unwrap_or(PIECES);
    let mut chosen: &[usize] = &[];
    let mut least = f64::INFINITY;
    for first in 0..candidates.len() {
        let mut pieces = 1;
        let from = &candidates[first..];
        let enough = from.iter().position(|&at| {
            pieces *= work.extent(nest.order[at]);
            pieces >= most
        });
        let cost = remote(work, nest, slots, &candidates, first);
        if first == 0 || pieces >= FEW && cost < least {
            chosen = &from[..enough.map_or(from.len(), |n| n + 1)];
            least = cost;
        }
    }
    let chosen = chosen.to_vec();
    for nest in &mut group.nests {
        for &at in &chosen {
            let range = nest.order[at];
            work.set_axis(nest, range, Axis::Parallel);
        }
    }
}

/// Bytes that each of two workers fetches from afar when the loops from candidate `first` on are shared and those before it are not:
/// weights that it needs, and of other data what the other worker has in its cache. Kernels of one model agree best on rows: the
/// longest stride of the store that counts no channels.
fn remote(work: &Work<'_>, nest: &Nest, slots: &[u32], candidates: &[usize], first: usize) -> f64 {
    let accesses = work.accesses(nest.store);
    let Some(store) = accesses.iter().find(|a| a.store) else {
        return 0.0;
    };
    let stride = |at: usize| -> i64 {
        let range = nest.order[at];
        let layout = &work.params[store.slot as usize].layout;
        let blocked = |dim: usize| layout.axes.iter().any(|a| a.dim == dim && a.div > 1);
        let mut dims = store.index.iter().enumerate();
        let channels = dims.any(|(dim, &i)| blocked(dim) && work.depends(i, range));
        let stride = if channels {
            None
        } else {
            work.stride(store, range)
        };
        stride.map_or(0, i64::abs)
    };
    let mine = stride(candidates[first]);
    let is_row = mine > 0 && candidates.iter().all(|&c| stride(c) <= mine);
    let range = nest.order[candidates[first]];
    let mut total = 0.0;
    for &slot in slots {
        let param = &work.params[slot as usize];
        let mine = || accesses.iter().filter(|a| a.slot == slot);
        let bytes = (param.layout.elements() * param.dtype.size() as i64) as f64;
        let depends = mine().any(|a| a.index.iter().any(|&i| work.depends(i, range)));
        total += match (param.weight, depends, is_row) {
            (true, true, _) => bytes / 2.0,
            (true, false, _) => bytes,
            (false, true, true) => 0.0,
            (false, _, _) => bytes / 2.0,
        };
    }
    total
}
