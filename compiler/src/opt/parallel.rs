//! Which loops threads share.
//!
//! In: a group of finished nests. Out: the nests with their outermost common loops `Parallel`, enough of them to keep many threads
//! even, none when the work is too small. The choice does not depend on the number of threads, and neither
//! does any result. Shared loops become one, so a reduce that depends on some of them only would be done again in
//! each iteration of the others: such a loop stays inside.

use super::join::{Group, separates};
use super::nest::{Nest, Work};
use crate::target::Facts;
use crate::uop::{Axis, FreeRanges, UopId};

/// Pieces that a kernel is cut into, at most about this many times two.
const PIECES: i64 = 64;

/// Marks loops that all nests of a group share.
pub fn share(work: &mut Work<'_>, group: &mut Group, facts: &Facts) {
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
    let mut pieces = 1;
    let mut chosen: Vec<usize> = Vec::new();
    for (at, &r) in nest.order.iter().enumerate().take(group.depth).skip(rounds) {
        if pieces >= work.choices.pieces.unwrap_or(PIECES)
            || work.axis(r) != Axis::Loop
            || !loops.contains(&r)
            || !own(r)
        {
            break;
        }
        let again = around
            .iter()
            .any(|a| !a.contains(&r) && chosen.iter().any(|&c| a.contains(&nest.order[c])));
        if again {
            break;
        }
        pieces *= work.extent(r);
        chosen.push(at);
    }
    for nest in &mut group.nests {
        for &at in &chosen {
            let range = nest.order[at];
            work.set_axis(nest, range, Axis::Parallel);
        }
    }
}
