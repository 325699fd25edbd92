//! Stores a row that a reduce and its reader would both compute.
//!
//! In: a program. Out: one in which a kernel that sums an expensive expression along a row and needs each of its values again keeps
//! the row in a scratch parameter: a nest of its own writes it, the sum and the rest read it.
//!
//! Example: `softmax` needs `exp(x - max)` for the sum and for the quotient; it is computed once.

use crate::program::{Access, Buffer, BufferId, BufferKind, Kernel, Layout, Param, Program};
use crate::target::Facts;
use crate::uop::{Axis, DType, FreeRanges, Op, Unary, UopId, Uops, substitute};
use rustc_hash::FxHashMap;

/// A row shorter than this is computed again: it hardly fills a vector.
const SHORTEST: i64 = 8;

/// A row worth storing.
struct Row {
    reduce: UopId,
    /// The range of the reduce.
    along: UopId,
    /// The loop over which the same value is needed again.
    again: UopId,
    /// The value along the reduce's range, and along the loop.
    inside: UopId,
    outside: UopId,
    /// Other loops that the value depends on, outermost first.
    outer: Vec<UopId>,
}

/// Stores such rows of all kernels.
pub fn store_rows(program: &mut Program, facts: &Facts) {
    for step in 0..program.steps.len() {
        let kernel = &mut program.kernels[program.steps[step].kernel];
        let Some(layout) = store_row(kernel, facts) else {
            continue;
        };
        let name = kernel
            .origins
            .last()
            .map_or_else(String::new, |o| o.tensor.to_string());
        program.buffers.push(Buffer {
            name,
            dtype: DType::F32,
            layout,
            kind: BufferKind::Internal,
        });
        let id = BufferId(program.buffers.len() as u32 - 1);
        program.steps[step].args.push(id);
    }
}

/// Rewrites one kernel; returns the layout of the new parameter.
fn store_row(kernel: &mut Kernel, facts: &Facts) -> Option<Layout> {
    let &[store] = kernel.uops.src(kernel.sink) else {
        return None;
    };
    let row = find(&mut kernel.uops, store)?;
    let g = &mut kernel.uops;
    let extent = |g: &Uops, r: UopId| g.extent(r).unwrap_or(1);
    let slot = kernel.params.len() as u32;
    let buffer = g.param(slot, DType::F32);

    let mut shape: Vec<i64> = row.outer.iter().map(|&r| extent(g, r)).collect();
    shape.push(extent(g, row.along));
    let mut layout = Layout::row_major(&shape);
    let lanes = i64::from(facts.lanes(4)).max(1);
    if let Some(last) = layout.axes.last_mut() {
        last.extent = (last.extent + lanes - 1) / lanes * lanes;
    }

    // The nest that writes it, over ranges of its own.
    let mut next = 1 + g
        .toposort(&[store])
        .into_iter()
        .filter_map(|r| match g.op(r) {
            Op::Range { id, .. } => Some(id),
            _ => None,
        })
        .max()
        .unwrap_or(0);
    let mut fresh = |g: &mut Uops, r: UopId| {
        let n = g.src(r)[0];
        next += 1;
        g.range(next - 1, n, Axis::Loop)
    };
    let mut copies = FxHashMap::default();
    let mut index = Vec::new();
    let inner: Vec<UopId> = g
        .toposort(&[row.inside])
        .into_iter()
        .filter(|&r| matches!(g.op(r), Op::Range { .. }))
        .collect();
    for &r in row.outer.iter().chain([&row.along]) {
        let copy = fresh(g, r);
        copies.insert(r, copy);
        index.push(copy);
    }
    for r in inner {
        copies.entry(r).or_insert_with(|| fresh(g, r));
    }
    let value = substitute(g, row.inside, &copies);
    let first = g.store(buffer, value, &index);

    // Who needed it reads it.
    let mut at = row.outer.clone();
    at.push(row.along);
    let inside = g.load(buffer, &at);
    let Op::Reduce(op) = g.op(row.reduce) else {
        return None;
    };
    let reduce = g.reduce(op, inside, &[row.along]);
    at.pop();
    at.push(row.again);
    let outside = g.load(buffer, &at);
    let map = FxHashMap::from_iter([(row.reduce, reduce), (row.outside, outside)]);
    let second = substitute(g, store, &map);
    kernel.sink = g.sink(&[first, second]);
    kernel.params.push(Param {
        dtype: DType::F32,
        layout: layout.clone(),
        access: Access::Scratch,
        weight: false,
    });
    Some(layout)
}

fn find(g: &mut Uops, store: UopId) -> Option<Row> {
    let mut free = FreeRanges::new();
    let order = g.toposort(&[store]);
    let loops: Vec<UopId> = free.of(g, store).to_vec();
    if loops.iter().any(|&r| !is_plain(g, r)) {
        return None;
    }
    for &reduce in &order {
        if !matches!(g.op(reduce), Op::Reduce(_)) || g.ty(reduce).scalar != DType::F32 {
            continue;
        }
        let &[inside, along] = g.src(reduce) else {
            continue;
        };
        if !is_plain(g, along) || g.extent(along)? < SHORTEST || !is_dear(g, inside) {
            continue;
        }
        let around = free.of(g, inside);
        let mut outer: Vec<UopId> = around.iter().copied().filter(|&r| r != along).collect();
        outer.sort_by_key(|&r| match g.op(r) {
            Op::Range { id, .. } => id,
            _ => u32::MAX,
        });
        // Only a row that lies along the last dimension of what it reads is a row in memory.
        let last = |id: UopId| {
            !matches!(g.op(id), Op::Load { .. }) || runs_last(g, &mut FreeRanges::new(), id, along)
        };
        if outer.is_empty()
            || !outer.iter().all(|r| loops.contains(r))
            || !g.toposort(&[inside]).into_iter().all(last)
        {
            continue;
        }
        for &again in loops.iter().filter(|r| !around.contains(r)) {
            if g.extent(again) != g.extent(along) {
                continue;
            }
            let map = FxHashMap::from_iter([(along, again)]);
            let outside = substitute(g, inside, &map);
            if order.contains(&outside) {
                return Some(Row {
                    reduce,
                    along,
                    again,
                    inside,
                    outside,
                    outer,
                });
            }
        }
    }
    None
}

fn is_plain(g: &Uops, r: UopId) -> bool {
    matches!(
        g.op(r),
        Op::Range {
            axis: Axis::Loop,
            ..
        }
    ) && g.extent(r).is_some()
}

/// True when a load's last index that varies is `range` itself, or nothing in it varies with `range`.
fn runs_last(g: &Uops, free: &mut FreeRanges, load: UopId, range: UopId) -> bool {
    let first = if g.op(load) == (Op::Load { gated: true }) {
        3
    } else {
        1
    };
    let mut index = g.src(load)[first..].iter().rev();
    match index.find(|&&i| !free.of(g, i).is_empty()) {
        Some(&i) => i == range || !free.of(g, load).contains(&range),
        None => true,
    }
}

/// True for an expression with a function that costs more than a store and a load.
fn is_dear(g: &Uops, id: UopId) -> bool {
    let dear = |op| {
        matches!(
            op,
            Op::Unary(
                Unary::Exp | Unary::Exp2 | Unary::Tanh | Unary::Erf | Unary::Log | Unary::Log2
            )
        )
    };
    // What a reduce below computes is computed once for the row.
    let mut waiting = vec![id];
    while let Some(id) = waiting.pop() {
        if dear(g.op(id)) {
            return true;
        }
        if !matches!(g.op(id), Op::Reduce(_) | Op::Load { .. }) {
            waiting.extend(g.src(id));
        }
    }
    false
}
