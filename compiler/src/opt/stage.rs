//! Tiles of a product's factors in the memory of a work-group.
//!
//! In: a nest whose loops run over the threads of work-groups, a parameter that a factor of its sum of products reads, and a range `at` of
//! that sum. Out: the same with the factor read from a `Tile`, which is filled in each iteration of `at`. What varies inside of it are the
//! threads, unrolled copies, and ranges of the sum that come after it; those are the digits of a place in the tile.
//!
//! Steps of the sum are the rows of a tile, so that the values that one thread multiplies in one step stand together; for matrix
//! instructions it is the other way round. A row takes an odd number of 16 bytes: as many rows as there are banks for 16 bytes lie in
//! different banks, wherever a row begins.
//!
//! Example: in a product of 64 x 64 tiles with `at` over 32 blocks of 8 steps, the left tile has 8 rows of 64 + 4 floats.

use super::nest::{Nest, Work};
use super::opts::Opt;
use crate::uop::{Axis, Binary, FreeRanges, Op, ReduceOp, UopId, substitute};
use rustc_hash::FxHashMap;

/// Bytes that one access to the memory of a group moves at most; tiles are aligned to it.
const PIECE: i64 = 16;

/// Stages what is read of a parameter.
///
/// # Errors
/// Why it is not legal.
pub fn stage(work: &mut Work<'_>, nest: &mut Nest, slot: u32, at: UopId) -> Result<(), String> {
    let reduces = work.reduces(nest);
    let mut mine = reduces
        .iter()
        .filter(|&&r| work.g.src(r)[1..].contains(&at));
    let (Some(&reduce), None) = (mine.next(), mine.next()) else {
        return Err("not exactly one reduce runs over the range".into());
    };
    if work.axis(at) != Axis::Loop {
        return Err("the range is no plain loop".into());
    }
    let found: Vec<UopId> = factors(work, reduce)
        .into_iter()
        .filter(|&f| work.accesses(f).iter().any(|a| a.slot == slot))
        .collect();
    if found.is_empty() {
        return Err(format!(
            "no factor of a sum of products reads parameter {slot} there"
        ));
    }
    let axis = work.at(nest, at);
    work.log.push(Opt::Stage { slot, at: axis });
    for factor in found {
        stage_factor(work, nest, reduce, factor, at)?;
    }
    Ok(())
}

/// The factors of the products that a reduce adds, as they stand in memory: conversions from narrower types come after.
pub fn factors(work: &Work<'_>, reduce: UopId) -> Vec<UopId> {
    let g = &work.g;
    let value = g.src(reduce)[0];
    let product = g.op(reduce) == Op::Reduce(ReduceOp::Sum)
        && g.op(value) == Op::Binary(Binary::Mul)
        && g.ty(value).scalar.is_float();
    if !product {
        return Vec::new();
    }
    let stored = |&factor: &UopId| {
        let mut id = factor;
        while g.op(id) == Op::Cast
            && let from = g.src(id)[0]
            && g.ty(from).scalar.size() < g.ty(id).scalar.size()
        {
            id = from;
        }
        id
    };
    g.src(value).iter().map(stored).collect()
}

fn stage_factor(
    work: &mut Work<'_>,
    nest: &mut Nest,
    reduce: UopId,
    factor: UopId,
    at: UopId,
) -> Result<(), String> {
    let inside = |id: &UopId| matches!(work.g.op(*id), Op::Reduce(_) | Op::Tile { .. });
    if work.g.toposort(&[factor]).iter().any(inside) {
        return Err("the factor is a sum or staged already".into());
    }
    let place = |r: UopId| nest.order.iter().position(|&o| o == r);
    let own = work.g.src(reduce)[1..].to_vec();
    let free = FreeRanges::new().of(&work.g, factor);
    let (mut steps, mut others) = (Vec::new(), Vec::new());
    for &r in free.iter() {
        match work.axis(r) {
            Axis::Parallel => continue,
            Axis::Loop | Axis::Serial if place(r) <= place(at) => continue,
            Axis::Local | Axis::Unroll | Axis::Matrix | Axis::Loop => {}
            other => {
                return Err(format!(
                    "a {other:?} range of the factor is no part of a tile"
                ));
            }
        }
        match own.contains(&r) {
            true => steps.push(r),
            false => others.push(r),
        }
    }
    let order = |r: &UopId| {
        let kind = match work.axis(*r) {
            Axis::Loop | Axis::Local => 0,
            Axis::Matrix => 2,
            _ => 1,
        };
        (kind, place(*r))
    };
    steps.sort_by_key(order);
    others.sort_by_key(order);
    let matrix = steps.iter().any(|&r| work.axis(r) == Axis::Matrix);
    let (rows, columns) = match matrix {
        true => (others, steps),
        false => (steps, others),
    };
    let ty = work.g.ty(factor);
    let size = ty.scalar.size() as i64;
    let mut dims: Vec<(UopId, i64)> = Vec::new();
    let mut stride = 1i64;
    for &r in columns.iter().rev() {
        dims.push((r, stride));
        stride = stride.saturating_mul(work.extent(r));
    }
    if !rows.is_empty() {
        let pieces = (stride.saturating_mul(size) + PIECE - 1) / PIECE;
        stride = (pieces | 1).saturating_mul(PIECE) / size;
    }
    for &r in rows.iter().rev() {
        dims.push((r, stride));
        stride = stride.saturating_mul(work.extent(r));
    }
    dims.reverse();
    let Some(len) = u32::try_from(stride).ok().filter(|_| !dims.is_empty()) else {
        return Err("the tile is empty or too large".into());
    };
    let mut map = FxHashMap::default();
    let (mut read, mut write) = (work.g.index(0), work.g.index(0));
    let id = work.next;
    let mut copies = Vec::new();
    for (range, stride) in dims {
        let extent = work.extent(range);
        let copy = work.fresh(extent, Axis::Loop);
        let g = &mut work.g;
        let (from, to) = (g.mul_const(range, stride), g.mul_const(copy, stride));
        (read, write) = (g.add(read, from), g.add(write, to));
        map.insert(range, copy);
        copies.push(copy);
    }
    let g = &mut work.g;
    let value = substitute(g, factor, &map);
    let mut src = vec![value, write];
    src.extend(&copies);
    let tile = g.add_node(Op::Tile { id, len }, ty, src);
    let load = g.add_node(Op::Load { gated: false }, ty, [tile, read]);
    nest.order.extend(copies);
    work.replace(nest, &FxHashMap::from_iter([(factor, load)]));
    Ok(())
}

/// What `apply` asks of a nest with tiles: it has threads that fill them, and no reduce is spread over threads.
pub fn check(work: &Work<'_>, nest: &Nest) -> Result<(), String> {
    let all = work.g.toposort(&[nest.store]);
    if !all
        .iter()
        .any(|&id| matches!(work.g.op(id), Op::Tile { .. }))
    {
        return Ok(());
    }
    let has = |axis: Axis| nest.order.iter().any(|&r| work.axis(r) == axis);
    if !has(Axis::Local) && !has(Axis::Matrix) || has(Axis::Group) || has(Axis::Vector) {
        return Err(
            "tiles are for nests over threads of work-groups, without shared reduces".into(),
        );
    }
    Ok(())
}
