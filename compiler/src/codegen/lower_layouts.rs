//! Logical indices to physical ones; proves every access in bounds.
//!
//! In: an optimised kernel, whose loads and stores have one index for each logical dimension. Out: the same with
//! exactly one index, in elements from the start of the buffer. Each digit of a layout is
//! `(index + halo) / div % extent`; the simplifier removes what the opts made exact. Runs first because all that
//! follows reasons about one index. An index is in bounds when its interval, narrowed by the gate, lies in the
//! physical extent of its dimension; one that cannot be shown gets a guard.

use crate::diag::{Error, Result};
use crate::program::{Kernel, Layout, Param};
use crate::target::Facts;
use crate::uop::{Binary, Bounds, FreeRanges, Linear, Op, Simplifier, Sources, Type, UopId, Uops};
use rustc_hash::FxHashMap;

/// The pass.
pub fn lower_layouts(mut kernel: Kernel, _: &Facts) -> Result<Kernel> {
    kernel.sink = lower_accesses(&mut kernel.uops, kernel.sink, &kernel.params)?;
    for param in &mut kernel.params {
        param.layout = Layout::row_major(&[param.layout.elements()]);
    }
    Ok(kernel)
}

/// Rewrites all accesses below `sink`. Returns the new sink.
fn lower_accesses(g: &mut Uops, sink: UopId, params: &[Param]) -> Result<UopId> {
    let mut new: FxHashMap<UopId, UopId> = FxHashMap::default();
    let mut simplifier = Simplifier::default();
    let mut bounds = Bounds::new();
    for id in g.toposort(&[sink]) {
        let node = g.get(id).clone();
        let src: Sources = node.src.iter().map(|s| new[s]).collect();
        let (store, mut gated) = match node.op {
            // Memory of work-groups has places already.
            Op::Load { .. } | Op::Store { .. } if !matches!(g.op(src[0]), Op::Param { .. }) => {
                let to = crate::uop::rebuild(g, node.op, node.ty, src);
                new.insert(id, to);
                continue;
            }
            Op::Load { gated } => (false, gated),
            Op::Store { gated } => (true, gated),
            _ => {
                let to = crate::uop::rebuild(g, node.op, node.ty, src);
                new.insert(id, to);
                continue;
            }
        };
        let Op::Param { slot } = g.op(src[0]) else {
            return Err(Error::bug("an access to something that is no parameter"));
        };
        let Some(layout) = params.get(slot as usize).map(|p| &p.layout) else {
            return Err(Error::bug(format!("there is no parameter {slot}")));
        };
        let fixed = 1 + usize::from(store);
        let first = fixed + if gated { 1 + usize::from(!store) } else { 0 };
        let index = &src[first..];
        if index.len() != layout.shape.len() {
            return Err(Error::bug(format!(
                "an access with {} indices to a buffer of rank {}",
                index.len(),
                layout.shape.len()
            )));
        }
        let gate = gated.then(|| src[if store { 2 } else { 1 }]);
        let mut guard = gate;
        let mut safe = true;
        for (dim, &i) in index.iter().enumerate() {
            let (low, high) = interval(g, &mut bounds, i, gate);
            let (least, most) = room(layout, dim);
            if low < least || high > most {
                safe = false;
                let (a, b) = (g.index(least), g.index(most));
                let above = g.binary(Binary::Le, a, i);
                let below = g.binary(Binary::Le, i, b);
                let inside = g.and(above, below);
                guard = Some(guard.map_or(inside, |x| g.and(x, inside)));
            }
        }
        gated |= !safe;
        let place = physical(g, layout, index);
        let place = simplifier.run(g, place);
        let mut out: Sources = src[..fixed].into();
        if gated && let Some(guard) = guard {
            let guard = simplifier.run(g, guard);
            out.push(guard);
            if !store {
                let alternative = if node.op == (Op::Load { gated: true }) {
                    src[2]
                } else {
                    g.number(node.ty.scalar, 0.0)
                };
                out.push(alternative);
            }
        }
        out.push(place);
        let op = if store {
            Op::Store { gated }
        } else {
            Op::Load { gated }
        };
        let ty = if store { Type::VOID } else { node.ty };
        new.insert(id, g.add_node(op, ty, out));
    }
    // Iterations that use the same elements of a scratch parameter stay: what they read there differs.
    let mut free = FreeRanges::new();
    let mut nests = Vec::new();
    for &nest in g.src(sink).to_vec().iter() {
        let before = free.of(g, nest);
        let to = new[&nest];
        let after = free.of(g, to);
        let lost: Vec<UopId> = before
            .iter()
            .copied()
            .filter(|&r| g.extent(r) != Some(1) && !after.contains(&new[&r]))
            .map(|r| new[&r])
            .collect();
        if lost.is_empty() {
            nests.push(to);
            continue;
        }
        let mut all = match g.op(to) {
            Op::Sink => g.src(to).to_vec(),
            _ => vec![to],
        };
        all.extend(lost);
        nests.push(g.sink(&all));
    }
    Ok(g.sink(&nests))
}

/// Logical indices that have memory: halo and padding included.
fn room(layout: &Layout, dim: usize) -> (i64, i64) {
    let (low, _) = layout.halo_of(dim);
    let top = layout.reach(dim);
    (-low, top - low - 1)
}

/// Interval of an index where a gate holds.
fn interval(g: &Uops, bounds: &mut Bounds, index: UopId, gate: Option<UopId>) -> (i64, i64) {
    let (mut low, mut high) = bounds.of(g, index);
    let Some(form) = Linear::of(g, index) else {
        return (low, high);
    };
    let mut waiting: Vec<UopId> = gate.into_iter().collect();
    while let Some(condition) = waiting.pop() {
        let node = g.get(condition);
        let Op::Binary(op) = node.op else { continue };
        match op {
            Binary::And => waiting.extend(node.src.iter().copied()),
            Binary::Lt | Binary::Le if g.ty(node.src[0]) == Type::INDEX => {
                // left - right < 0 (or <= 0): whatever of it is a constant away from the index narrows it.
                let (Some(left), Some(right)) =
                    (Linear::of(g, node.src[0]), Linear::of(g, node.src[1]))
                else {
                    continue;
                };
                let slack = i64::from(op == Binary::Lt);
                if right.terms.is_empty()
                    && let Some(c) = left
                        .times(-1)
                        .and_then(|l| form.plus(&l))
                        .filter(|d| d.terms.is_empty())
                {
                    high = high.min(right.constant - slack + c.constant);
                }
                if left.terms.is_empty()
                    && let Some(c) = right
                        .times(-1)
                        .and_then(|r| form.plus(&r))
                        .filter(|d| d.terms.is_empty())
                {
                    low = low.max(left.constant + slack + c.constant);
                }
            }
            _ => {}
        }
    }
    (low, high)
}

/// Place in elements.
fn physical(g: &mut Uops, layout: &Layout, index: &[UopId]) -> UopId {
    let mut sum = g.index(0);
    for (n, (axis, stride)) in layout.axes.iter().zip(layout.strides()).enumerate() {
        if axis.extent == 1 {
            continue;
        }
        let (low, _) = layout.halo_of(axis.dim);
        let shifted = g.add_const(index[axis.dim], low);
        let mut digit = g.div_const(shifted, axis.div);
        // The digit of the largest divisor takes what is left, where it has room for it.
        let short = axis.div.saturating_mul(axis.extent) < layout.shape[axis.dim] + low;
        let inner = short
            || layout
                .axes
                .iter()
                .enumerate()
                .any(|(m, a)| m != n && a.dim == axis.dim && a.div > axis.div);
        if inner {
            digit = g.mod_const(digit, axis.extent);
        }
        let scaled = g.mul_const(digit, stride);
        sum = g.add(sum, scaled);
    }
    sum
}
