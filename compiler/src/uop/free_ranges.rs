//! Free ranges: the loops that a value depends on.
//!
//! In: a node. Out: the ids of the `Range` nodes below it that no `Reduce`, `Tile` or `Filled` on the way binds, ascending by
//! arena id. A store's free ranges are its loop nest; a value is computed in the innermost loop among its
//! free ranges.

use super::arena::{UopId, Uops};
use super::ops::{Axis, Op};
use rustc_hash::FxHashMap;
use std::rc::Rc;

/// Side table of free ranges. Valid while its arena only grows.
#[derive(Debug, Default, Clone)]
pub struct FreeRanges {
    known: FxHashMap<UopId, Rc<[UopId]>>,
}

impl FreeRanges {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Free ranges of a node, ascending, each once.
    pub fn of(&mut self, g: &Uops, id: UopId) -> Rc<[UopId]> {
        if let Some(known) = self.known.get(&id) {
            return known.clone();
        }
        let mut stack = vec![id];
        while let Some(&top) = stack.last() {
            if self.known.contains_key(&top) {
                stack.pop();
                continue;
            }
            let waiting: Vec<UopId> = g
                .src(top)
                .iter()
                .copied()
                .filter(|s| !self.known.contains_key(s))
                .collect();
            if !waiting.is_empty() {
                stack.extend(waiting);
                continue;
            }
            let mut all: Vec<UopId> = g
                .src(top)
                .iter()
                .flat_map(|s| self.known[s].iter().copied())
                .collect();
            match g.op(top) {
                Op::Range { .. } => all.push(top),
                Op::Reduce(_) => all.retain(|r| !g.src(top)[1..].contains(r)),
                // Copies of its stores are its own.
                Op::Filled => all.retain(|&r| {
                    let axis = Axis::Unroll;
                    !matches!(g.op(r), Op::Range { axis: a, .. } if a == axis)
                }),
                Op::Tile { .. } => all.retain(|r| !g.src(top)[2..].contains(r)),
                _ => {}
            }
            all.sort_unstable();
            all.dedup();
            self.known.insert(top, all.into());
            stack.pop();
        }
        self.known[&id].clone()
    }

    /// True when `id` depends on `range`.
    pub fn contains(&mut self, g: &Uops, id: UopId, range: UopId) -> bool {
        self.of(g, id).binary_search(&range).is_ok()
    }
}
