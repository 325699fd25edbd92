//! Linear lists: order, and loops and ifs that nest.

use super::{Fault, node};
use crate::uop::{Op, UopId, Uops};
use rustc_hash::{FxHashMap, FxHashSet};

/// What is wrong with a linear list.
pub fn find_list_fault(g: &Uops, list: &[UopId]) -> Option<Fault> {
    let fault = |id: UopId, what: &str| Some(Fault::new(id, what));
    for id in g.toposort(list) {
        if let Err(what) = node::check(g, id) {
            return fault(id, &what);
        }
        if matches!(
            g.op(id),
            Op::Reduce(_) | Op::Sink | Op::Tile { .. } | Op::Filled
        ) {
            return fault(id, "it has no place in a list");
        }
    }
    let listed: FxHashSet<UopId> = list.iter().copied().collect();
    let mut seen: FxHashSet<UopId> = FxHashSet::default();
    // Ranges of a value that stands in no line of its own: they must be open where it is used.
    let mut inline: FxHashMap<UopId, Vec<UopId>> = FxHashMap::default();
    for id in g.toposort(list) {
        let mut ranges: Vec<UopId> = match g.op(id) {
            Op::Range { .. } => vec![id],
            _ => g
                .src(id)
                .iter()
                .filter(|s| !listed.contains(s))
                .flat_map(|s| inline.get(s).cloned().unwrap_or_default())
                .collect(),
        };
        ranges.sort_unstable();
        ranges.dedup();
        inline.insert(id, ranges);
    }
    let first = first_nests(g, list);
    let mut nest = 0;
    let mut open: Vec<(UopId, bool)> = Vec::new();
    for &id in list {
        let mut below: Vec<UopId> = g.src(id).to_vec();
        while let Some(s) = below.pop() {
            if first.get(&s).is_none_or(|&f| f > nest) {
                below.extend(g.src(s));
            } else if !seen.contains(&s) {
                return fault(id, "a source comes later");
            }
        }
        seen.insert(id);
        match g.op(id) {
            Op::Loop => open.push((g.src(id)[0], true)),
            Op::If => open.push((id, false)),
            Op::EndLoop => match open.pop() {
                Some((range, true)) if range == g.src(id)[0] => {
                    nest += usize::from(open.is_empty())
                }
                _ => return fault(id, "it closes no loop that is innermost"),
            },
            Op::EndIf => match open.pop() {
                Some((_, false)) => {}
                _ => return fault(id, "it closes no guarded block"),
            },
            _ => {
                let closed = inline
                    .get(&id)
                    .and_then(|r| r.iter().find(|&&r| !open.contains(&(r, true))));
                if closed.is_some() {
                    return fault(id, "it uses a range whose loop is not open");
                }
            }
        }
    }
    let &(id, _) = open.last()?;
    fault(id, "a loop or guarded block stays open")
}

/// The first nest that lists each node, counted from 0. A nest ends with its outermost loop; what one nest writes where it is used
/// may stand in a line of its own in a later one.
fn first_nests(g: &Uops, list: &[UopId]) -> FxHashMap<UopId, usize> {
    let mut first = FxHashMap::default();
    let (mut nest, mut depth) = (0, 0usize);
    for &id in list {
        first.entry(id).or_insert(nest);
        match g.op(id) {
            Op::Loop | Op::If => depth += 1,
            Op::EndLoop | Op::EndIf => {
                depth = depth.saturating_sub(1);
                if depth == 0 && g.op(id) == Op::EndLoop {
                    nest += 1;
                }
            }
            _ => {}
        }
    }
    first
}
