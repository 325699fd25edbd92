//! Rebuilds a DAG with some nodes replaced, and copies DAGs between arenas.
//!
//! In: roots and a map from nodes to replacements. Out: the new roots in the same arena. Folding
//! constructors are used, so `r*16 + 0` becomes `r*16` on the way. A `Reduce` (or `Tile`) whose range is replaced by an
//! expression gets the ranges of that expression in its place: splitting a range is one substitution.

use super::arena::{Sources, UopId, Uops};
use super::ops::Op;
use rustc_hash::FxHashMap;

/// Replaces nodes below `root`.
pub fn substitute(g: &mut Uops, root: UopId, map: &FxHashMap<UopId, UopId>) -> UopId {
    substitute_all(g, &[root], map)[0]
}

/// Replaces nodes below several roots, sharing the work.
pub fn substitute_all(g: &mut Uops, roots: &[UopId], map: &FxHashMap<UopId, UopId>) -> Vec<UopId> {
    let mut new: FxHashMap<UopId, UopId> = FxHashMap::default();
    for id in g.toposort(roots) {
        if let Some(&to) = map.get(&id) {
            new.insert(id, to);
            continue;
        }
        let node = g.get(id).clone();
        if node.src.iter().all(|s| new[s] == *s) {
            new.insert(id, id);
            continue;
        }
        let mut src = Sources::new();
        for (n, old) in node.src.iter().enumerate() {
            let to = new[old];
            let bound = match node.op {
                Op::Reduce(_) => n > 0,
                Op::Tile { .. } => n > 1,
                _ => false,
            };
            if bound && to != *old {
                // Several ranges may become digits of one.
                for r in g.toposort(&[to]) {
                    if matches!(g.op(r), Op::Range { .. }) && !src[1..].contains(&r) {
                        src.push(r);
                    }
                }
            } else {
                src.push(to);
            }
        }
        let to = rebuild(g, node.op, node.ty, src);
        new.insert(id, to);
    }
    roots.iter().map(|r| new[r]).collect()
}

/// Adds a node through the folding constructors.
pub fn rebuild(g: &mut Uops, op: Op, ty: super::Type, src: Sources) -> UopId {
    match op {
        Op::Binary(op) => g.binary(op, src[0], src[1]),
        Op::Where => g.select(src[0], src[1], src[2]),
        Op::Load { gated: true } if ty.lanes == 1 => {
            g.load_gated(src[0], src[1], src[2], &src[3..])
        }
        Op::Element if g.as_int(src[1]).is_some() => {
            let lane = g.as_int(src[1]).unwrap_or(0) as u16;
            g.add_node(Op::Lane(lane), ty, [src[0]])
        }
        // Every range became a constant: one value is left.
        Op::Reduce(_) if src.len() == 1 => src[0],
        op => g.add_node(op, ty, src),
    }
}

/// Copies the DAG below `root` from one arena into another.
pub fn import(to: &mut Uops, from: &Uops, root: UopId) -> UopId {
    let mut new: FxHashMap<UopId, UopId> = FxHashMap::default();
    for id in from.toposort(&[root]) {
        let node = from.get(id);
        let src: Sources = node.src.iter().map(|s| new[s]).collect();
        new.insert(id, to.add_node(node.op, node.ty, src));
    }
    new[&root]
}
