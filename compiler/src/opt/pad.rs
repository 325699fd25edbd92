//! Rounds a loop up where memory has room: the extra iterations write into padding.
//!
//! In: a nest, one of its loops and the wished extent. Out: true when it was done. Legal when no reduce runs
//! over the loop, nothing is gated, every access that depends on it stays inside the physical extent of
//! its buffer, and all that the extra iterations store lies beyond the logical extent; stores must have no halo there. Weights have free layouts and always have room.

use super::nest::{Nest, Work};
use super::opts::Opt;
use crate::uop::{Axis, Bounds, UopId};
use rustc_hash::FxHashMap;

/// Rounds `range` up to `to`; returns the new range, or `None` when it is not legal.
pub fn pad_to(work: &mut Work<'_>, nest: &mut Nest, range: UopId, to: i64) -> Option<UopId> {
    if work.axis(range) != Axis::Loop
        || to < work.extent(range)
        || !work.loops(nest).contains(&range)
    {
        return None;
    }
    let mark = work.mark();
    let done = widen(work, nest, range, to);
    match done {
        Some(_) => {
            let axis = work.at(nest, range);
            work.log.push(Opt::PadTo { axis, to });
        }
        None => work.back_to(mark),
    }
    done
}

fn widen(work: &mut Work<'_>, nest: &mut Nest, range: UopId, to: i64) -> Option<UopId> {
    let wider = work.fresh(to, Axis::Loop);
    let mut trial = nest.clone();
    work.replace(&mut trial, &FxHashMap::from_iter([(range, wider)]));
    let extra = work.fresh(to - work.extent(range), Axis::Loop);
    let beyond = work.g.add_const(extra, work.extent(range));
    let mut last = nest.clone();
    work.replace(&mut last, &FxHashMap::from_iter([(range, beyond)]));
    let mut bounds = Bounds::new();
    if to > work.extent(range) {
        let store = work.accesses(last.store).into_iter().find(|a| a.store)?;
        let shape = &work.params[store.slot as usize].layout.shape;
        let out = |(&i, &n): (&UopId, &i64)| bounds.of(&work.g, i).0 >= n;
        if !store.index.iter().zip(shape).any(out) {
            return None;
        }
    }
    for access in work.accesses(trial.store) {
        let layout = &work.params[access.slot as usize].layout;
        for (dim, &index) in access.index.iter().enumerate() {
            if !work.depends(index, wider) {
                continue;
            }
            if access.gated {
                return None;
            }
            if work.params[access.slot as usize].weight {
                // Its layout will be made of the digits of this index.
                work.coefficient(index, wider)?;
                continue;
            }
            let (low, high) = layout.halo_of(dim);
            if access.store && (low, high) != (0, 0) {
                return None;
            }
            let top = layout
                .axes
                .iter()
                .filter(|a| a.dim == dim)
                .map(|a| a.div * a.extent)
                .max()
                .unwrap_or(1);
            let (least, most) = bounds.of(&work.g, index);
            if least < -low || most + low >= top {
                return None;
            }
        }
    }
    for r in &mut trial.order {
        if *r == range {
            *r = wider;
        }
    }
    *nest = trial;
    Some(wider)
}
