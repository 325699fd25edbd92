//! The verifier of kernels with their parameters: `uop::spec` plus what needs the parameters.
//!
//! In: a [`Kernel`] before any pass of codegen or between two, or a [`LinearKernel`]. Out: nothing, or the guilty node.
//!
//! Every parameter node has its row and type; an access has one index a dimension; a value outside a reduce does
//! not use the reduce's range; no access without a gate surely leaves its buffer. Sure means that its index is a sum
//! of ranges times constants, whose ends are reached; what is less clear gets a guard from `lower-layouts`.

use super::{Kernel, Layout, LinearKernel};
use crate::diag::Result;
use crate::uop::spec::{Fault, find_kernel_fault, find_list_fault, find_scheduled_fault};
use crate::uop::{Bounds, FreeRanges, Linear, Op, UopId, Uops};

/// Verifies a kernel.
///
/// # Errors
/// Bug, with the guilty node.
pub fn verify_kernel(kernel: &Kernel) -> Result<()> {
    find_fault(kernel).map_or(Ok(()), |f| Err(f.error(&kernel.uops, "kernel IR")))
}

/// Verifies a kernel before codegen: besides, it has scalars only and one nest a store.
///
/// # Errors
/// Bug, with the guilty node.
pub fn verify_scheduled(kernel: &Kernel) -> Result<()> {
    let fault = find_scheduled_fault(&kernel.uops, kernel.sink).or_else(|| find_fault(kernel));
    fault.map_or(Ok(()), |f| Err(f.error(&kernel.uops, "kernel IR")))
}

/// Verifies a linear kernel.
///
/// # Errors
/// Bug, with the guilty node.
pub fn verify_linear(kernel: &LinearKernel) -> Result<()> {
    let g = &kernel.uops;
    let mut fault = find_list_fault(g, &kernel.list);
    if fault.is_none() {
        fault = g.toposort(&kernel.list).into_iter().find_map(|id| {
            let Op::Param { slot } = g.op(id) else {
                return None;
            };
            let param = kernel.params.get(slot as usize);
            let right = param.is_some_and(|p| p.dtype.scalar() == g.ty(id));
            (!right).then(|| Fault::new(id, "there is no such parameter"))
        });
    }
    fault.map_or(Ok(()), |f| Err(f.error(g, "linear list")))
}

/// What is wrong with a kernel, if anything.
pub fn find_fault(kernel: &Kernel) -> Option<Fault> {
    let g = &kernel.uops;
    if let Some(fault) = find_kernel_fault(g, kernel.sink) {
        return Some(fault);
    }
    let mut bounds = Bounds::new();
    for id in g.toposort(&[kernel.sink]) {
        if let Op::Param { slot } = g.op(id) {
            let param = kernel.params.get(slot as usize);
            if param.is_none_or(|p| p.dtype.scalar() != g.ty(id)) {
                return Some(Fault::new(id, "there is no such parameter"));
            }
        }
        if let Some(fault) = access_fault(kernel, &mut bounds, id) {
            return Some(fault);
        }
    }
    leaking_range(g, kernel.sink)
}

/// An access with the wrong rank, or one that leaves its buffer.
fn access_fault(kernel: &Kernel, bounds: &mut Bounds, id: UopId) -> Option<Fault> {
    let g = &kernel.uops;
    let (first, gated) = match g.op(id) {
        Op::Load { gated } => (if gated { 3 } else { 1 }, gated),
        Op::Store { gated } => (if gated { 3 } else { 2 }, gated),
        _ => return None,
    };
    let Op::Param { slot } = g.op(g.src(id)[0]) else {
        return None;
    };
    let layout = &kernel.params.get(slot as usize)?.layout;
    let index = &g.src(id)[first..];
    if index.len() != layout.shape.len() {
        let what = format!(
            "{} indices to a buffer of rank {}",
            index.len(),
            layout.shape.len()
        );
        return Some(Fault::new(id, &what));
    }
    if gated {
        return None;
    }
    let value = if first == 2 { g.src(id)[1] } else { id };
    let more = i64::from(g.ty(value).lanes) - 1;
    for (dim, &i) in index.iter().enumerate() {
        let Some((low, high)) = sure_interval(g, bounds, i) else {
            continue;
        };
        let (least, most) = room(layout, dim);
        // Lanes of a vector go on in the last dimension.
        let more = if dim + 1 == index.len() { more } else { 0 };
        if low < least || high + more > most {
            let what = format!(
                "index {dim} is in {low}..={}, its dimension in {least}..={most}",
                high + more
            );
            return Some(Fault::new(id, &what));
        }
    }
    None
}

/// Both ends of an index that reaches them.
fn sure_interval(g: &Uops, bounds: &mut Bounds, index: UopId) -> Option<(i64, i64)> {
    let form = Linear::of(g, index)?;
    let plain = |&(term, _): &(UopId, i64)| g.extent(term).is_some_and(|e| e > 0);
    form.terms.iter().all(plain).then(|| form.bounds(g, bounds))
}

/// Logical indices that have memory: halo and padding included.
fn room(layout: &Layout, dim: usize) -> (i64, i64) {
    let (low, _) = layout.halo_of(dim);
    (-low, layout.reach(dim) - low - 1)
}

/// A range that one reduce of a store runs over and that is also a loop of the store.
fn leaking_range(g: &Uops, sink: UopId) -> Option<Fault> {
    let mut free = FreeRanges::new();
    let mut roots = g.src(sink).to_vec();
    while let Some(root) = roots.pop() {
        if g.op(root) == Op::Sink {
            roots.extend(g.src(root));
            continue;
        }
        let loops = free.of(g, root);
        let leaks = |id: &UopId| {
            matches!(g.op(*id), Op::Reduce(_)) && g.src(*id)[1..].iter().any(|r| loops.contains(r))
        };
        if let Some(reduce) = g.toposort(&[root]).into_iter().find(leaks) {
            let what = "the store uses a range outside of the reduce that runs over it";
            return Some(Fault::new(reduce, what));
        }
    }
    None
}
