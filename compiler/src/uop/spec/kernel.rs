//! Kernels before codegen: a sink of stores, scalars only, ranges with ids of their own.

use super::node;
use crate::diag::{Error, Result};
use crate::uop::text::node_text;
use crate::uop::{Op, UopId, Uops};
use rustc_hash::FxHashMap;

/// Verifies a scheduled or optimised kernel.
///
/// # Errors
/// Bug, with the guilty node.
pub fn verify_kernel(g: &Uops, sink: UopId) -> Result<()> {
    let bug = |id: UopId, what: &str| {
        Err(Error::bug(format!(
            "kernel IR: {what}: `{}`",
            node_text(g, id)
        )))
    };
    if g.op(sink) != Op::Sink {
        return bug(sink, "the root is no sink");
    }
    let mut ranges: FxHashMap<u32, UopId> = FxHashMap::default();
    for id in g.toposort(&[sink]) {
        if let Err(what) = node::check(g, id) {
            return bug(id, &what);
        }
        match g.op(id) {
            Op::Range { id: number, .. } if ranges.insert(number, id).is_some() => {
                return bug(id, "another range has its number");
            }
            Op::Acc { .. }
            | Op::Assign
            | Op::Read(_)
            | Op::Loop
            | Op::EndLoop
            | Op::If
            | Op::EndIf => return bug(id, "it belongs into a linear list"),
            Op::Sink if id != sink => return bug(id, "a sink below the sink"),
            _ if g.ty(id).lanes > 1 => return bug(id, "a vector before codegen"),
            _ => {}
        }
        if let Some(&store) = g
            .src(id)
            .iter()
            .find(|&&s| id != sink && g.ty(s).lanes == 0)
        {
            return bug(store, "its value is used, but it has none");
        }
    }
    Ok(())
}
