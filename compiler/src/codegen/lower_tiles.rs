//! Stores by all threads of a work-group for what they share.
//!
//! In: stores with one physical index, whose `Tile` nodes say what stands where in the memory of a work-group. Out: the same with
//! `Filled` nodes: each thread loads and stores its part, in pieces as wide as one load of the target where both sides are contiguous.
//! Runs after `lower_matrix`, which makes threads of columns, and before `unroll`, which makes a store of each element.
//!
//! Neighbouring threads take neighbouring pieces of the buffer that is copied. Which those are the strides of the load's index tell. Where
//! their stores would meet in one bank of the memory, pieces are narrower or lie along the tile.
//!
//! Example: a tile of 8 x 64 floats, for 128 threads that load 16 bytes each, is one piece of 4 floats a thread.

use crate::diag::Result;
use crate::program::Kernel;
use crate::target::{Facts, Gpu};
use crate::uop::{Axis, Binary, FreeRanges, Linear, Op, Simplifier, Type, UopId, Uops, substitute};
use rustc_hash::FxHashMap;

/// The pass.
pub fn lower_tiles(mut kernel: Kernel, facts: &Facts) -> Result<Kernel> {
    let g = &mut kernel.uops;
    let all = g.toposort(&[kernel.sink]);
    if !all.iter().any(|&id| matches!(g.op(id), Op::Tile { .. })) {
        return Ok(kernel);
    }
    let mut next = all.iter().map(|&id| number(g, id)).max().unwrap_or(0);
    kernel.sink = super::each_nest(g, kernel.sink, |g, store| {
        let mut threads: Vec<UopId> = FreeRanges::new().of(g, store).to_vec();
        threads.retain(|&r| is_thread(g, r));
        threads.sort_by_key(|&r| number(g, r));
        let mut map = FxHashMap::default();
        for id in g.toposort(&[store]) {
            if let Op::Tile { .. } = g.op(id) {
                let filled = fill(g, id, &threads, facts.gpu.as_ref(), &mut next);
                map.insert(id, filled);
            }
        }
        substitute(g, store, &map)
    });
    Ok(kernel)
}

/// The stores of one tile.
fn fill(g: &mut Uops, tile: UopId, threads: &[UopId], gpu: Option<&Gpu>, next: &mut u32) -> UopId {
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
    let count: i64 = threads.iter().map(|&r| g.extent(r).unwrap_or(1)).product();
    let Pieces { digits, piece } =
        pieces(g, gpu, ranges, place, node.ty.scalar.size() as i64, count);
    let total: i64 = digits.iter().map(|d| d.extent).product();
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
    let mut map: FxHashMap<UopId, UopId> = FxHashMap::default();
    let mut below = total;
    for (n, part) in digits.iter().enumerate() {
        below /= part.extent;
        let mut digit = g.div_const(flat, below);
        if n > 0 {
            digit = g.mod_const(digit, part.extent);
        }
        let digit = g.mul_const(digit, part.step);
        let sum = match map.get(&part.range) {
            Some(&other) => g.add(other, digit),
            None => digit,
        };
        map.insert(part.range, sum);
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

/// How a tile is taken apart: digits of the number of an element, the last of which is that of a piece, which one thread copies at once.
struct Pieces {
    digits: Vec<Digit>,
    piece: i64,
}

/// A part of a range.
#[derive(Clone, Copy)]
struct Digit {
    range: UopId,
    step: i64,
    extent: i64,
}

/// The widest pieces that all threads have the same number of and whose stores meet in no bank; else those with the least conflicts.
/// Neighbouring threads take neighbouring pieces of the buffer, or, where that has conflicts, of the tile.
fn pieces(
    g: &Uops,
    gpu: Option<&Gpu>,
    near: Vec<Source>,
    place: UopId,
    size: i64,
    threads: i64,
) -> Pieces {
    let whole = |r: &UopId| g.extent(*r).unwrap_or(1);
    let strides = Linear::of(g, place).map_or(Vec::new(), |f| f.terms);
    let in_tile = |r: &UopId| strides.iter().find(|t| t.0 == *r).map_or(0, |t| t.1);
    let contiguous = near.last().filter(|d| d.stride == Some(1)).map(|d| d.range);
    let by_buffer: Vec<UopId> = near.iter().map(|d| d.range).collect();
    let mut by_tile = by_buffer.clone();
    by_tile.sort_by_key(|r| std::cmp::Reverse(in_tile(r)));
    let total: i64 = by_buffer.iter().map(whole).product();
    let inner = contiguous.map_or(1, |r| whole(&r));
    let widest = gpu.map_or(4, |gpu| i64::from(gpu.load_bytes)) / size;
    let digits = |order: &[UopId], piece: i64| -> Vec<Digit> {
        let mut out = Vec::new();
        for &range in order {
            let step = if Some(range) == contiguous { piece } else { 1 };
            out.push(Digit {
                range,
                step,
                extent: whole(&range) / step,
            });
        }
        out.extend(contiguous.map(|range| Digit {
            range,
            step: 1,
            extent: piece,
        }));
        out.retain(|d| d.extent > 1);
        out
    };
    let mut best: Option<((bool, i64), Pieces)> = None;
    let mut piece = widest.max(1);
    while piece > 0 {
        for order in [&by_buffer, &by_tile] {
            if inner % piece == 0 {
                let found = Pieces {
                    digits: digits(order, piece),
                    piece,
                };
                let uneven = total / piece % threads != 0;
                let lost = gpu.map_or(0, |gpu| conflicts(&found, &in_tile, size, gpu));
                if best.as_ref().is_none_or(|b| (uneven, lost) < b.0) {
                    best = Some(((uneven, lost), found));
                }
            }
        }
        piece /= 2;
    }
    best.map_or(
        Pieces {
            digits: digits(&by_buffer, 1),
            piece: 1,
        },
        |b| b.1,
    )
}

/// Words of one bank beyond the first that the threads of a wave want when they store the first elements of their pieces.
fn conflicts(pieces: &Pieces, stride: &dyn Fn(&UopId) -> i64, size: i64, gpu: &Gpu) -> i64 {
    let banks = i64::from(gpu.group_memory_banks.max(1));
    let mut words: Vec<(i64, i64)> = Vec::new();
    // Neighbours of a tile are stored together: a piece is then as wide as it is in the buffer.
    let along = pieces.digits.last().is_some_and(|d| stride(&d.range) == 1);
    let wide = if along { pieces.piece * size } else { size };
    let lanes = (banks * 4 / wide.max(4)).min(i64::from(gpu.wave_lanes));
    for lane in 0..lanes {
        let mut rest = lane * pieces.piece;
        let mut at = 0;
        for digit in pieces.digits.iter().rev() {
            at += rest % digit.extent * digit.step * stride(&digit.range);
            rest /= digit.extent;
        }
        for word in 0..(wide + 3) / 4 {
            let word = at * size / 4 + word;
            words.push((word % banks, word));
        }
    }
    words.sort_unstable();
    words.dedup();
    let most = (0..banks).map(|b| words.iter().filter(|w| w.0 == b).count() as i64);
    most.max().unwrap_or(1) - 1
}

/// A range of a tile and the elements that one of its steps moves in the buffer that is copied.
struct Source {
    range: UopId,
    stride: Option<i64>,
}

/// Ranges by stride, the smallest last. Those without a fixed stride come before those with one, in their own order.
fn from_far_to_near(g: &Uops, value: UopId, ranges: &[UopId]) -> Vec<Source> {
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
    let mut out: Vec<Source> = ranges
        .iter()
        .map(|&range| Source {
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
