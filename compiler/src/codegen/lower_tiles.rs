//! Stores by all threads of a work-group for what they share.
//!
//! In: stores with one physical index, whose `Tile` nodes say what stands where in the memory of a work-group. Out: the same with
//! `Filled` nodes: each thread loads and stores its part, in pieces as wide as one load of the target where both sides are contiguous.
//! Runs after `lower_matrix`, which makes threads of columns, and before `unroll`, which makes a store of each element.
//!
//! Neighbouring threads take neighbouring pieces of the buffer that is copied. Which those are the strides of the load's index tell.
//!
//! Example: a tile of 8 x 64 floats, for 128 threads that load 16 bytes each, is one piece of 4 floats a thread.

use crate::diag::Result;
use crate::program::Kernel;
use crate::target::Facts;
use crate::uop::{
    Axis, Binary, FreeRanges, Linear, Op, Simplifier, Type, UopId, Uops, substitute,
};
use rustc_hash::FxHashMap;

/// The pass.
pub fn lower_tiles(mut kernel: Kernel, facts: &Facts) -> Result<Kernel> {
    let g = &mut kernel.uops;
    let all = g.toposort(&[kernel.sink]);
    if !all.iter().any(|&id| matches!(g.op(id), Op::Tile { .. })) {
        return Ok(kernel);
    }
    let load_bytes = facts.gpu.as_ref().map_or(4, |gpu| gpu.load_bytes);
    let mut next = all.iter().map(|&id| number(g, id)).max().unwrap_or(0);
    kernel.sink = super::each_nest(g, kernel.sink, |g, store| {
        let mut threads: Vec<UopId> = FreeRanges::new().of(g, store).to_vec();
        threads.retain(|&r| is_thread(g, r));
        threads.sort_by_key(|&r| number(g, r));
        let mut map = FxHashMap::default();
        for id in g.toposort(&[store]) {
            if let Op::Tile { .. } = g.op(id) {
                let filled = fill(g, id, &threads, load_bytes, &mut next);
                map.insert(id, filled);
            }
        }
        substitute(g, store, &map)
    });
    Ok(kernel)
}

/// The stores of one tile.
fn fill(g: &mut Uops, tile: UopId, threads: &[UopId], load_bytes: u32, next: &mut u32) -> UopId {
    let node = g.get(tile).clone();
    let Op::Tile { id, len } = node.op else {
        return tile;
    };
    let (value, place) = (node.src[0], node.src[1]);
    let mut fresh = |g: &mut Uops, extent: i64, axis: Axis| {
        *next += 1;
        let extent = g.index(extent);
        g.range(*next, extent, axis)
    };
    let ranges = from_far_to_near(g, value, &node.src[2..]);
    let extents: Vec<i64> = ranges.iter().map(|r| g.extent(r.range).unwrap_or(1)).collect();
    let total: i64 = extents.iter().product();
    let count: i64 = threads.iter().map(|&r| g.extent(r).unwrap_or(1)).product();
    // A piece: neighbouring elements of the buffer that one thread loads at once.
    let widest = i64::from(load_bytes) / node.ty.scalar.size() as i64;
    let near = ranges.last().filter(|r| r.stride == Some(1));
    let piece = near.map_or(1, |_| {
        let inner = extents.last().copied().unwrap_or(1);
        let sizes = std::iter::successors(Some(widest.max(1)), |&p| (p > 1).then_some(p / 2));
        let sizes = sizes.filter(|p| inner % p == 0);
        // All threads load the same number of pieces, or at least one each.
        let even = sizes.clone().find(|p| total / p % count == 0);
        even.or_else(|| sizes.clone().find(|p| total / p >= count))
            .or(sizes.min())
            .unwrap_or(1)
    });
    let pieces = total / piece;
    let mut thread = g.index(0);
    for &r in threads {
        let extent = g.extent(r).unwrap_or(1);
        thread = g.mul_const(thread, extent);
        thread = g.add(thread, r);
    }
    let rounds = (pieces + count - 1) / count;
    let mut number = thread;
    if rounds > 1 {
        let round = fresh(g, rounds, Axis::Unroll);
        let first = g.mul_const(round, count);
        number = g.add(first, thread);
    }
    let mut gate = None;
    if pieces % count != 0 {
        let (last, end) = (g.index(pieces - 1), g.index(pieces));
        gate = Some(g.binary(Binary::Lt, number, end));
        number = g.binary(Binary::Min, number, last);
    }
    let mut flat = g.mul_const(number, piece);
    if piece > 1 {
        let element = fresh(g, piece, Axis::Unroll);
        flat = g.add(flat, element);
    }
    let mut map = FxHashMap::default();
    let mut below = total;
    for (n, (r, &extent)) in ranges.iter().zip(&extents).enumerate() {
        below /= extent;
        let mut digit = g.div_const(flat, below);
        if n > 0 {
            digit = g.mod_const(digit, extent);
        }
        map.insert(r.range, digit);
    }
    let value = substitute(g, value, &map);
    let place = substitute(g, place, &map);
    let memory = g.add_node(Op::Local { id, len }, node.ty, []);
    let mut src = vec![memory, value];
    src.extend(gate);
    src.push(place);
    let gated = gate.is_some();
    let store = g.add_node(Op::Store { gated }, Type::VOID, src);
    let store = Simplifier::default().run(g, store);
    g.add_node(Op::Filled, node.ty, [memory, store])
}

/// A range of a tile and the elements that one of its steps moves in the buffer that is copied.
struct Digit {
    range: UopId,
    stride: Option<i64>,
}

/// Ranges by stride, the smallest last. Those without a fixed stride come before those with one, in their own order.
fn from_far_to_near(g: &Uops, value: UopId, ranges: &[UopId]) -> Vec<Digit> {
    let load = g
        .toposort(&[value])
        .into_iter()
        .rev()
        .find(|&id| matches!(g.op(id), Op::Load { .. }) && is_param(g, g.src(id)[0]));
    let form = load.and_then(|id| Linear::of(g, *g.src(id).last()?));
    let mut free = FreeRanges::new();
    let stride = |free: &mut FreeRanges, range: UopId| {
        let form = form.as_ref()?;
        let mut own = form.terms.iter().filter(|t| free.contains(g, t.0, range));
        match (own.next(), own.next()) {
            (Some(&(term, c)), None) if term == range => Some(c.abs()),
            (None, _) => Some(0),
            _ => None,
        }
    };
    let mut out: Vec<Digit> = ranges
        .iter()
        .map(|&range| Digit {
            range,
            stride: stride(&mut free, range),
        })
        .collect();
    out.sort_by_key(|d| std::cmp::Reverse(d.stride.unwrap_or(i64::MAX)));
    out
}

fn is_param(g: &Uops, id: UopId) -> bool {
    matches!(g.op(id), Op::Param { .. })
}

fn is_thread(g: &Uops, range: UopId) -> bool {
    let axis = Axis::Local;
    matches!(g.op(range), Op::Range { axis: a, .. } if a == axis)
}

fn number(g: &Uops, range: UopId) -> u32 {
    match g.op(range) {
        Op::Range { id, .. } => id,
        _ => 0,
    }
}
