//! Splits ranges at the channel blocks of the layouts they index, so that no division is left.
//!
//! In: a nest. Out: one or two nests. A loop that does not divide is rounded up into padding where that is
//! legal, else its last, partial block becomes a nest of its own.

use super::nest::{Nest, Work};
use super::pad::pad_to;
use crate::uop::{Axis, Linear, UopId, gcd};

/// Splits until every blocked index is made of digits.
pub fn split_blocks(work: &mut Work<'_>, nest: Nest) -> Vec<Nest> {
    let mut waiting = vec![nest];
    let mut done = Vec::new();
    while let Some(mut nest) = waiting.pop() {
        let Some((range, block)) = find(work, &nest) else {
            done.push(nest);
            continue;
        };
        let extent = work.extent(range);
        if !work.loops(&nest).contains(&range) {
            let by = gcd(extent, block);
            let old = nest.order.iter().position(|&r| r == range);
            let (outer, inner) = work.split(&mut nest, range, by, Axis::Loop);
            keep_together(&mut nest, old, outer, inner);
            waiting.push(nest);
            continue;
        }
        let (mut range, mut extent) = (range, extent);
        if extent % block != 0 {
            let up = (extent + block - 1) / block * block;
            match pad_to(work, &mut nest, range, up) {
                Some(wider) => (range, extent) = (wider, up),
                None if extent > block => {
                    let (main, rest) = work.peel(&nest, range, extent / block * block);
                    waiting.push(rest);
                    waiting.push(main);
                    continue;
                }
                None => {}
            }
        }
        if extent % block == 0 {
            let old = nest.order.iter().position(|&r| r == range);
            let (outer, inner) = work.split(&mut nest, range, block, Axis::Loop);
            keep_together(&mut nest, old, outer, inner);
        }
        waiting.push(nest);
    }
    done
}

/// Puts the inner range right after the outer one.
pub(super) fn keep_together(nest: &mut Nest, at: Option<usize>, outer: UopId, inner: UopId) {
    let Some(at) = at else { return };
    nest.order.retain(|&r| r != inner);
    let after = usize::from(nest.order.get(at) == Some(&outer));
    nest.order.insert((at + after).min(nest.order.len()), inner);
}

/// A range that walks over several blocks of one dimension.
fn find(work: &Work<'_>, nest: &Nest) -> Option<(UopId, i64)> {
    for access in work.accesses(nest.store) {
        let param = &work.params[access.slot as usize];
        if param.weight {
            continue;
        }
        for axis in param.layout.axes.iter().filter(|a| a.div > 1) {
            let index = access.index[axis.dim];
            let Some(form) = Linear::of(&work.g, index) else {
                continue;
            };
            for (term, c) in form.terms {
                if !nest.order.contains(&term)
                    || c.abs() >= axis.div
                    || axis.div % c != 0
                    || form.constant % axis.div != 0
                {
                    continue;
                }
                let block = axis.div / c.abs();
                let extent = work.extent(term);
                let is_loop = work.loops(nest).contains(&term);
                let useful = if is_loop {
                    extent > block || extent < block && could_pad(work, nest, term, block)
                } else {
                    extent > block && gcd(extent, block) >= 4 && gcd(extent, block) < extent
                };
                if useful && work.axis(term) == Axis::Loop && extent != block {
                    return Some((term, block));
                }
            }
        }
    }
    None
}

fn could_pad(work: &Work<'_>, nest: &Nest, range: UopId, to: i64) -> bool {
    let mut trial = work.trial();
    let mut nest = nest.clone();
    pad_to(&mut trial, &mut nest, range, to).is_some()
}
