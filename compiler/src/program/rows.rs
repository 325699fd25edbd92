//! Rows that all nests of a kernel have in common.
//!
//! In: a kernel whose nests hand tensors to each other in scratch parameters. Out: for each loop that they can share its range
//! in every nest. A loop can be shared when whatever an iteration reads of a scratch parameter was written in the same iteration.
//!
//! Example: `S[h,i,j] = ...`, then `T[h,i,j] = exp(S[h,i,j] - max_k S[h,i,k])`: heads and rows are shared, columns are not.

use super::{Access, Kernel};
use crate::uop::{Axis, FreeRanges, Op, UopId, Uops};
use rustc_hash::FxHashMap;

/// An access of a nest to a scratch parameter.
struct Touch {
    nest: usize,
    store: bool,
    gated: bool,
    index: Vec<UopId>,
}

/// For each loop to share, outermost first, its range in every nest: of those that can be shared, by the stride of what they count
/// in the largest scratch parameter, as few as leave at most `room` bytes of scratch to one iteration of all of them. The last of them
/// is the one to cut into blocks. `None` when the kernel has no scratch parameters or shares no loop.
pub fn choose_rows(kernel: &Kernel, room: i64) -> Option<Vec<Vec<UopId>>> {
    let g = &kernel.uops;
    let mut all: Vec<(i64, Vec<UopId>)> = shared_rows(kernel)?
        .into_iter()
        .filter_map(|c| Some((stride(kernel, c[0])?, c)))
        .collect();
    all.sort_by_key(|c| std::cmp::Reverse(c.0));
    let mut bytes: i64 = kernel
        .params
        .iter()
        .filter(|p| p.access == Access::Scratch)
        .map(|p| p.layout.elements().saturating_mul(p.dtype.size() as i64))
        .fold(0, i64::saturating_add);
    let mut rows = Vec::new();
    for (_, class) in all {
        bytes /= g.extent(class[0]).unwrap_or(1).max(1);
        rows.push(class);
        if bytes <= room {
            return Some(rows);
        }
    }
    None
}

/// Elements between two iterations of a range of the first nest in what it stores; `None` where the range is not the whole index of an
/// undivided dimension.
fn stride(kernel: &Kernel, range: UopId) -> Option<i64> {
    let g = &kernel.uops;
    let store = *g.src(kernel.sink).first()?;
    let (Op::Store { gated }, Op::Param { slot }) = (g.op(store), g.op(g.src(store)[0])) else {
        return None;
    };
    let index = &g.src(store)[2 + usize::from(gated)..];
    let dim = index.iter().position(|&i| i == range)?;
    let layout = &kernel.params.get(slot as usize)?.layout;
    let mut digits = layout
        .axes
        .iter()
        .zip(layout.strides())
        .filter(|(a, _)| a.dim == dim);
    match (digits.next(), digits.next()) {
        (Some((_, stride)), None) => Some(stride),
        _ => None,
    }
}

/// For each loop that all nests can share, in the first nest's order, its range in every nest.
fn shared_rows(kernel: &Kernel) -> Option<Vec<Vec<UopId>>> {
    let g = &kernel.uops;
    let stores = g.src(kernel.sink).to_vec();
    let mut free = FreeRanges::new();
    let loops: Vec<Vec<UopId>> = stores
        .iter()
        .map(|&s| free.of(g, s).iter().copied().collect())
        .collect();
    let is_row = |nest: usize, r: UopId| {
        matches!(
            g.op(r),
            Op::Range {
                axis: Axis::Loop,
                ..
            }
        ) && loops[nest].contains(&r)
            && g.extent(r).is_some()
    };
    let mut classes = Classes::default();
    let mut any = false;
    for (slot, _) in kernel
        .params
        .iter()
        .enumerate()
        .filter(|(_, p)| p.access == Access::Scratch)
    {
        any = true;
        let touches = touches(g, &stores, slot as u32);
        let mut writers = touches.iter().filter(|t| t.store);
        let (Some(writer), None) = (writers.next(), writers.next()) else {
            return None;
        };
        for reader in touches.iter().filter(|t| !t.store) {
            if reader.nest <= writer.nest || reader.gated || writer.gated {
                return None;
            }
            for (&w, &r) in writer.index.iter().zip(&reader.index) {
                let a = is_row(writer.nest, w).then_some((writer.nest, w));
                let b = is_row(reader.nest, r).then_some((reader.nest, r));
                match (a, b) {
                    (Some(a), Some(b)) if g.extent(w) == g.extent(r) => classes.join(a, b),
                    (a, b) => {
                        for x in [a, b].into_iter().flatten() {
                            classes.exclude(x);
                        }
                    }
                }
            }
        }
    }
    if !any {
        return None;
    }
    let mut first = loops[0].clone();
    first.sort_by_key(|&r| match g.op(r) {
        Op::Range { id, .. } => id,
        _ => u32::MAX,
    });
    let rows: Vec<Vec<UopId>> = first
        .into_iter()
        .filter_map(|r| classes.one_a_nest((0, r), stores.len()))
        .collect();
    (!rows.is_empty()).then_some(rows)
}

fn touches(g: &Uops, stores: &[UopId], wanted: u32) -> Vec<Touch> {
    let mut out = Vec::new();
    for (nest, &root) in stores.iter().enumerate() {
        for id in g.toposort(&[root]) {
            let (store, gated) = match g.op(id) {
                Op::Load { gated } => (false, gated),
                Op::Store { gated } => (true, gated),
                _ => continue,
            };
            let src = g.src(id);
            if !matches!(g.op(src[0]), Op::Param { slot } if slot == wanted) {
                continue;
            }
            let first = 1 + usize::from(store) + if gated { 1 + usize::from(!store) } else { 0 };
            out.push(Touch {
                nest,
                store,
                gated,
                index: src[first..].to_vec(),
            });
        }
    }
    out
}

/// Ranges of nests that must be one loop, by union.
#[derive(Default)]
struct Classes {
    parent: FxHashMap<(usize, UopId), (usize, UopId)>,
    excluded: Vec<(usize, UopId)>,
}

impl Classes {
    fn root(&self, mut x: (usize, UopId)) -> (usize, UopId) {
        while let Some(&up) = self.parent.get(&x) {
            x = up;
        }
        x
    }
    fn join(&mut self, a: (usize, UopId), b: (usize, UopId)) {
        let (a, b) = (self.root(a), self.root(b));
        if a != b {
            self.parent.insert(b, a);
        }
    }
    fn exclude(&mut self, x: (usize, UopId)) {
        self.excluded.push(x);
    }
    /// The members of the class of `x`, when there is exactly one in each nest and none is excluded.
    fn one_a_nest(&self, x: (usize, UopId), nests: usize) -> Option<Vec<UopId>> {
        let root = self.root(x);
        if self.excluded.iter().any(|&e| self.root(e) == root) {
            return None;
        }
        let mut members: Vec<(usize, UopId)> = self.parent.keys().copied().collect();
        members.push(root);
        members.retain(|&m| self.root(m) == root);
        members.sort_unstable();
        members.dedup();
        let whole = members.len() == nests && members.iter().enumerate().all(|(n, m)| m.0 == n);
        whole.then(|| members.into_iter().map(|m| m.1).collect())
    }
}
