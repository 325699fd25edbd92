//! Which loops threads share.
//!
//! In: a finished nest. Out: the nest with its outermost loops `Parallel`, enough of them to keep many threads
//! even, none when the work is too small. The choice does not depend on the number of threads, and neither
//! does any result. Shared loops become one, so a reduce that depends on some of them only would be done again in
//! each iteration of the others: such a loop stays inside.

use super::nest::{Nest, Work};
use crate::target::Facts;
use crate::uop::{Axis, FreeRanges, UopId};

/// Pieces that a kernel is cut into, at most about this many times two.
const PIECES: i64 = 64;

/// Marks loops.
pub fn share(work: &mut Work<'_>, nest: &mut Nest, facts: &Facts) {
    // Iterations that must run in order cannot be shared.
    if nest.order.iter().any(|&r| work.axis(r) == Axis::Serial) {
        return;
    }
    let loops = work.loops(nest);
    let total: f64 = nest.order.iter().map(|&r| work.extent(r) as f64).product();
    if total < facts.parallel_threshold as f64 {
        return;
    }
    let mut free = FreeRanges::new();
    let around: Vec<_> = work
        .reduces(nest)
        .into_iter()
        .map(|r| free.of(&work.g, r))
        .collect();
    let mut pieces = 1;
    let mut chosen: Vec<UopId> = Vec::new();
    for &r in &nest.order {
        if pieces >= PIECES || work.axis(r) != Axis::Loop || !loops.contains(&r) {
            break;
        }
        let again = around
            .iter()
            .any(|a| !a.contains(&r) && chosen.iter().any(|c| a.contains(c)));
        if again {
            break;
        }
        pieces *= work.extent(r);
        chosen.push(r);
    }
    for r in chosen {
        work.set_axis(nest, r, Axis::Parallel);
    }
}
