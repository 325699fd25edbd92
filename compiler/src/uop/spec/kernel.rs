//! Kernels: a sink of stores, or of nests that are sinks of stores; ranges with ids of their own.

use super::{Fault, node};
use crate::uop::{Op, UopId, Uops};
use rustc_hash::FxHashMap;

/// What is wrong with a kernel at any stage before the linear list.
pub fn find_kernel_fault(g: &Uops, sink: UopId) -> Option<Fault> {
    let fault = |id: UopId, what: &str| Some(Fault::new(id, what));
    if g.op(sink) != Op::Sink {
        return fault(sink, "the root is no sink");
    }
    let mut ranges: FxHashMap<u32, UopId> = FxHashMap::default();
    for id in g.toposort(&[sink]) {
        if let Err(what) = node::check(g, id) {
            return fault(id, &what);
        }
        match g.op(id) {
            Op::Range { id: number, .. } if ranges.insert(number, id).is_some() => {
                return fault(id, "another range has its number");
            }
            Op::Acc { .. }
            | Op::Assign
            | Op::Read(_)
            | Op::GroupFold { .. }
            | Op::Prefetch { .. }
            | Op::Barrier
            | Op::Loop
            | Op::EndLoop
            | Op::If
            | Op::EndIf => return fault(id, "it belongs into a linear list"),
            Op::Sink
                if id != sink
                    && (!g.src(sink).contains(&id)
                        || g.src(id).iter().any(|&s| g.op(s) == Op::Sink)) =>
            {
                return fault(id, "a nest that does not stand in the root");
            }
            Op::Sink
                if id == sink
                    && g.src(id)
                        .iter()
                        .any(|&s| matches!(g.op(s), Op::Range { .. })) =>
            {
                return fault(id, "a range that stands in no nest");
            }
            _ => {}
        }
        if let Some(&store) = g
            .src(id)
            .iter()
            .find(|&&s| !matches!(g.op(id), Op::Sink | Op::Filled) && g.ty(s).lanes == 0)
        {
            return fault(store, "its value is used, but it has none");
        }
    }
    None
}

/// What is wrong with a kernel before codegen: besides, it has scalars only and one nest a store.
pub fn find_scheduled_fault(g: &Uops, sink: UopId) -> Option<Fault> {
    find_kernel_fault(g, sink).or_else(|| {
        g.toposort(&[sink]).into_iter().find_map(|id| {
            let nest = g.op(id) == Op::Sink && id != sink;
            (nest || g.ty(id).lanes > 1).then(|| Fault::new(id, "it appears in codegen only"))
        })
    })
}
