//! Register tiles for sums of products: matmul, convolution, depthwise convolution.
//!
//! In: a nest with one reduce that sums a product. Out: the nest with its vector range, its unrolled rows and
//! vectors, and its loop order; or several, where a tile does not divide. The tile is the one with the
//! least estimated time in which the accumulators fit the registers: each step of the reduce loop costs the
//! largest of its multiply-adds, its loads, the latency of a dependent multiply-add, and of the weights that a long panel brings
//! from the second-level cache. Vector blocks are
//! outermost, so that the packed weights of one block stay in cache while all rows pass.

use super::cache::{self, Blocking, Roles};
use super::choices;
use super::chunk;
use super::nest::{AccessTo, Nest, Work};
use super::pad::pad_to;
use super::parts;
use crate::target::Facts;
use crate::uop::{Axis, Binary, Op, ReduceOp, UopId};

/// The product of a contraction.
struct Product {
    reduce: UopId,
    /// Operand that varies with the vector range.
    columns: UopId,
    /// The other operand.
    rows: UopId,
}

/// Tiles a nest; `None` when it is no contraction.
pub fn tile(work: &mut Work<'_>, nest: Nest, facts: &Facts) -> Option<Vec<Nest>> {
    let lanes = lanes(work, &nest, facts);
    let vector = choose_vector(work, &nest)?;
    let product = find_product(work, &nest, vector)?;
    if sums_along_lanes(work, &nest, vector, &product, lanes) {
        return None;
    }
    let roles = find_roles(work, &nest, &product);
    let blocking = cache::choose(work, &nest, &roles, lanes * PANEL, facts);
    let mut out = Vec::new();
    let mut waiting = Vec::new();
    let mut block = None;
    match blocking {
        Blocking::Chunks { range, by } => {
            let place = nest.order.iter().position(|&r| r == vector)?;
            match chunk::chunk(work, &nest, range, by) {
                Ok((rounds, last)) => {
                    let columns = last.order[place];
                    waiting.extend([(last, columns), (rounds, vector)]);
                }
                Err(_) => waiting.push((nest, vector)),
            }
        }
        Blocking::Rows(rows) => {
            block = Some(rows);
            waiting.push((nest, vector));
        }
        Blocking::None => waiting.push((nest, vector)),
    }
    while let Some((mut nest, mut vector)) = waiting.pop() {
        let mut extent = work.extent(vector);
        if extent < 2 {
            return None;
        }
        let mut width = lanes;
        if extent % lanes != 0 {
            let up = (extent + lanes - 1) / lanes * lanes;
            if let Some(wider) = (up * 3 <= extent * 4 || extent > lanes)
                .then(|| pad_to(work, &mut nest, vector, up))
                .flatten()
            {
                (vector, extent) = (wider, up);
            } else if extent > lanes {
                let (main, rest) = peel_at(work, &nest, vector, extent / lanes * lanes);
                // A single column has no vector along it: one along its sum, perhaps.
                if let Some((rest, range)) = rest {
                    if work.extent(range) >= 2 {
                        waiting.push((rest, range));
                    } else {
                        out.extend(super::vectors::vectorise(work, rest, facts));
                    }
                }
                waiting.extend(main);
                continue;
            } else {
                width = 1 << (63 - extent.leading_zeros() as i64);
                if extent != width {
                    let (main, rest) = peel_at(work, &nest, vector, width);
                    if let Some(rest) = rest {
                        if work.extent(rest.1) >= 2 {
                            waiting.push(rest);
                        } else {
                            out.extend(super::vectors::vectorise(work, rest.0, facts));
                        }
                    }
                    waiting.extend(main);
                    continue;
                }
            }
        }
        let (outer, inner) = work.split(&mut nest, vector, width, Axis::Vector);
        let outer = (extent > width).then_some(outer);
        out.extend(tile_rows(work, nest, outer, inner, block, facts));
    }
    Some(out)
}

/// Vector operations that adding up the lanes of one vector takes.
const ADD_LANES: i64 = 40;

/// True for few columns that do not lie side by side in the result, with terms that do in what is multiplied: a convolution from blocks of
/// channels to three. Lanes are terms of a sum then, which `vectors` sees to.
fn sums_along_lanes(
    work: &Work<'_>,
    nest: &Nest,
    vector: UopId,
    product: &Product,
    lanes: i64,
) -> bool {
    let columns = work.extent(vector);
    let accesses = work.accesses(nest.store);
    let beside = accesses
        .iter()
        .any(|a| a.store && work.stride(a, vector) == Some(1));
    if 2 * columns > lanes || beside && columns >= 4 || work.choices.other_vector {
        return false;
    }
    let ranges = &work.g.src(product.reduce)[1..];
    let terms: i64 = ranges.iter().map(|&r| work.extent(r)).product();
    let loads = work.accesses(product.rows);
    let widest = ranges.iter().filter_map(|&r| {
        let fit = lanes.min(1 << (63 - work.extent(r).max(1).leading_zeros()));
        let side_by_side = |a: &AccessTo| {
            !work.params[a.slot as usize].weight && work.lane_stride(a, r, fit) == Some(1)
        };
        (fit >= 4 && loads.iter().all(side_by_side)).then_some(fit)
    });
    let Some(widest) = widest.max() else {
        return false;
    };
    let along = columns * (terms / widest + ADD_LANES);
    // Vectors of powers of two, one after the other.
    let across = i64::from(columns.count_ones()) * terms;
    along < across
}

/// Peels and finds the range again on both sides (none when a side is a single element).
#[allow(clippy::type_complexity)]
fn peel_at(
    work: &mut Work<'_>,
    nest: &Nest,
    range: UopId,
    at: i64,
) -> (Option<(Nest, UopId)>, Option<(Nest, UopId)>) {
    let place = nest.order.iter().position(|&r| r == range).unwrap_or(0);
    let extent = work.extent(range);
    let (main, rest) = work.peel(nest, range, at);
    let first = main.order[place];
    let second = if extent - at > 1 {
        rest.order[place]
    } else {
        work.g.index(0)
    };
    (Some((main, first)), Some((rest, second)))
}

fn lanes(work: &Work<'_>, nest: &Nest, facts: &Facts) -> i64 {
    let value = work.g.src(nest.store)[1];
    let bytes = work.g.ty(value).scalar.size().max(4);
    let whole = i64::from(facts.lanes(bytes));
    work.choices.lanes.map_or(whole, |l| l.clamp(1, whole))
}

/// The output loop that becomes the vector: contiguous where it is stored, and in one operand contiguous or
/// free (a weight). The operand must vary with it.
fn choose_vector(work: &Work<'_>, nest: &Nest) -> Option<UopId> {
    let loops = work.loops(nest);
    let accesses = work.accesses(nest.store);
    let store = accesses.iter().find(|a| a.store)?;
    let mut best: Option<(i64, UopId)> = None;
    for range in loops {
        if work.axis(range) != Axis::Loop || work.extent(range) < 2 {
            continue;
        }
        let Some(product) = find_product(work, nest, range) else {
            continue;
        };
        let columns = work.accesses(product.columns);
        let fits = columns.iter().filter(|a| varies(work, a, range)).all(|a| {
            !a.gated && (work.params[a.slot as usize].weight || work.stride(a, range) == Some(1))
        });
        let rows = work.accesses(product.rows);
        let even = rows
            .iter()
            .filter(|a| varies(work, a, range))
            .all(|a| work.params[a.slot as usize].weight || work.stride(a, range) == Some(1));
        if !fits || !even {
            continue;
        }
        let stored = work.stride(store, range);
        let score = if stored == Some(1) { 1_000_000 } else { 0 } + work.extent(range).min(4096);
        let score = if work.choices.other_vector {
            -score
        } else {
            score
        };
        if best.is_none_or(|b| score > b.0) {
            best = Some((score, range));
        }
    }
    best.map(|b| b.1)
}

fn varies(work: &Work<'_>, access: &AccessTo, range: UopId) -> bool {
    access.index.iter().any(|&i| work.depends(i, range))
}

/// The one contraction of a nest, its operands named by whether they vary with `range`.
fn find_product(work: &Work<'_>, nest: &Nest, range: UopId) -> Option<Product> {
    let reduces = work.reduces(nest);
    let [reduce] = reduces[..] else { return None };
    if work.g.op(reduce) != Op::Reduce(ReduceOp::Sum) {
        return None;
    }
    let mut product = work.g.src(reduce)[0];
    while work.g.op(product) == Op::Cast {
        product = work.g.src(product)[0];
    }
    if work.g.op(product) != Op::Binary(Binary::Mul) {
        return None;
    }
    let (a, b) = (work.g.src(product)[0], work.g.src(product)[1]);
    if a == b {
        return None;
    }
    let weight = |id: UopId| {
        work.accesses(id)
            .iter()
            .any(|x| work.params[x.slot as usize].weight)
    };
    match (work.depends(a, range), work.depends(b, range)) {
        (true, false) => Some(Product {
            reduce,
            columns: a,
            rows: b,
        }),
        (false, true) => Some(Product {
            reduce,
            columns: b,
            rows: a,
        }),
        (true, true) if weight(a) => Some(Product {
            reduce,
            columns: a,
            rows: b,
        }),
        (true, true) if weight(b) => Some(Product {
            reduce,
            columns: b,
            rows: a,
        }),
        _ => None,
    }
}

/// Vectors of a usual tile, to estimate how many panels there are.
const PANEL: i64 = 3;

fn find_roles(work: &Work<'_>, nest: &Nest, product: &Product) -> Roles {
    let only = |one: UopId, other: UopId| -> Vec<UopId> {
        let mut loops = work.loops(nest);
        loops.retain(|&r| work.depends(one, r) && !work.depends(other, r));
        loops
    };
    Roles {
        rows: only(product.rows, product.columns),
        columns: only(product.columns, product.rows),
        reduce: work.g.src(product.reduce)[1..].to_vec(),
    }
}

/// Chooses rows and vectors of the tile, unrolls them, orders the loops.
fn tile_rows(
    work: &mut Work<'_>,
    nest: Nest,
    outer: Option<UopId>,
    lane: UopId,
    block: Option<i64>,
    facts: &Facts,
) -> Vec<Nest> {
    let Some(product) = find_product(work, &nest, lane) else {
        return vec![nest];
    };
    let loops: Vec<UopId> = work
        .loops(&nest)
        .into_iter()
        .filter(|&r| r != lane && work.axis(r) == Axis::Loop)
        .collect();
    let depthwise = work.depends(product.rows, lane);
    // More vectors: the rest of the vector's own range, or another range of the same operand alone.
    let columns_only: Vec<UopId> = loops
        .iter()
        .copied()
        .filter(|&r| work.depends(product.columns, r) && !work.depends(product.rows, r))
        .collect();
    let more = outer
        .filter(|&o| !depthwise && columns_only.contains(&o))
        .or_else(|| {
            if depthwise {
                None
            } else {
                columns_only.iter().copied().max_by_key(|&r| work.extent(r))
            }
        });
    let rows_only: Vec<UopId> = loops
        .iter()
        .copied()
        .filter(|&r| work.depends(product.rows, r) && !work.depends(product.columns, r))
        .collect();
    let row_accesses = work.accesses(product.rows);
    // The row range that moves least in memory: neighbouring columns of an image, rows of a matrix.
    let row = rows_only
        .iter()
        .copied()
        .filter(|&r| work.extent(r) > 1)
        .min_by_key(|&r| {
            let stride = row_accesses
                .first()
                .and_then(|a| work.stride(a, r))
                .unwrap_or(i64::MAX);
            (work.extent(r) < 4, stride)
        });
    let rows = row.map_or(1, |r| work.extent(r));
    let vectors = more.map_or(1, |r| work.extent(r));
    let (r, u) = match work.choices.tile {
        Some((r, u)) => (r.clamp(1, rows), u.clamp(1, vectors)),
        None => {
            let steps = work.g.src(product.reduce)[1..].iter();
            let steps = steps.map(|&r| work.extent(r)).product();
            choose_tile(rows, vectors, steps, depthwise, facts)
        }
    };

    let mut out = Vec::new();
    let mut waiting = vec![(nest, row, more, lane)];
    while let Some((mut nest, row, more, lane)) = waiting.pop() {
        // Parts that do not divide become nests of their own, with their own tile.
        let cut = [(row, r), (more, u)].into_iter().find_map(|(range, by)| {
            let range = range?;
            let extent = work.extent(range);
            (extent > by && extent % by != 0).then_some((range, extent / by * by))
        });
        if let Some((range, at)) = cut {
            let places: Vec<Option<usize>> = [row, more, Some(lane)]
                .iter()
                .map(|x| x.and_then(|x| nest.order.iter().position(|&o| o == x)))
                .collect();
            let single = work.extent(range) - at == 1;
            let gone = nest.order.iter().position(|&o| o == range);
            let (main, rest) = work.peel(&nest, range, at);
            let find = |nest: &Nest, n: usize, dropped: Option<usize>| -> Option<UopId> {
                let place = places[n]?;
                match dropped {
                    Some(d) if place == d => None,
                    Some(d) if place > d => nest.order.get(place - 1).copied(),
                    _ => nest.order.get(place).copied(),
                }
            };
            let dropped = if single { gone } else { None };
            for (nest, dropped) in [(rest, dropped), (main, None)] {
                let (a, b, c) = (
                    find(&nest, 0, dropped),
                    find(&nest, 1, dropped),
                    find(&nest, 2, dropped),
                );
                if let Some(c) = c {
                    waiting.push((nest, a, b, c));
                } else {
                    out.push(nest);
                }
            }
            continue;
        }
        let mut unrolled = Vec::new();
        let mut blocks = None;
        for (range, by) in [(row, r), (more, u)] {
            let Some(range) = range else { continue };
            let by = by.min(work.extent(range));
            let mut outer = range;
            if by > 1 {
                let (tiles, inner) = work.split(&mut nest, range, by, Axis::Unroll);
                unrolled.push(inner);
                outer = tiles;
            }
            let tiles = work.extent(range) / by;
            if let Some(most) = block.filter(|_| Some(range) == row) {
                let in_block = (1..tiles).rev().find(|n| tiles % n == 0 && n * by <= most);
                if let Some(n) = in_block {
                    blocks = Some(work.split(&mut nest, outer, n, Axis::Loop).0);
                }
            }
        }
        order(work, &mut nest, lane, &unrolled, blocks, facts);
        out.push(nest);
    }
    out
}

/// Bytes of weights that a cycle brings from the second-level cache while a tile computes.
const PANEL_BYTES: f64 = 20.0;

/// Rows and vectors with the least estimated time over the whole extent.
fn choose_tile(rows: i64, vectors: i64, steps: i64, depthwise: bool, facts: &Facts) -> (i64, i64) {
    let registers = i64::from(facts.vector_registers);
    let mut best = (f64::INFINITY, 1, 1);
    for u in 1..=vectors.min(8) {
        for r in 1..=rows.min(16) {
            let scratch = if depthwise {
                r.min(4) + 1
            } else {
                u + i64::from(!facts.broadcast_operand || u > 1)
            };
            if r * u + scratch > registers {
                continue;
            }
            let step = |r: i64, u: i64| -> f64 {
                let multiply = (r * u) as f64 / 2.0;
                let loads = if depthwise {
                    (r + 1) as f64 / 2.0
                } else {
                    (r + u) as f64 / 2.0
                };
                let latency = f64::from(facts.fma_in_flight) / 2.0;
                // A long panel of weights comes from the second-level cache for each tile.
                let panel = (u * steps) as u64 * u64::from(facts.vector_bytes);
                let weights = match !depthwise && panel > facts.l1_bytes {
                    true => u as f64 * f64::from(facts.vector_bytes) / PANEL_BYTES,
                    false => 0.0,
                };
                multiply.max(loads).max(latency).max(weights) + 0.75
            };
            let mut time = 0.0;
            for (uu, nu) in [(u, vectors / u), (vectors % u, 1)] {
                for (rr, nr) in [(r, rows / r), (rows % r, 1)] {
                    if uu > 0 && rr > 0 {
                        time += step(rr, uu) * (nu * nr) as f64;
                    }
                }
            }
            if time < best.0 * 0.999 {
                best = (time, r, u);
            }
        }
    }
    (best.1, best.2)
}

/// Loop order: chunks and blocks of rows, what both operands vary with, vector blocks, rows, then the reduce in the order in which the
/// row operand lies in memory, then the tile.
fn order(
    work: &mut Work<'_>,
    nest: &mut Nest,
    lane: UopId,
    unrolled: &[UopId],
    blocks: Option<UopId>,
    facts: &Facts,
) {
    let Some(product) = find_product(work, nest, lane) else {
        return;
    };
    let loops = work.loops(nest);
    let depthwise = work.depends(product.rows, lane);
    let row_accesses = work.accesses(product.rows);
    let stride = |work: &Work<'_>, r: UopId| {
        row_accesses
            .iter()
            .find(|a| varies(work, a, r))
            .and_then(|a| work.stride(a, r))
            .map_or(i64::MAX, i64::abs)
    };
    let reduce_ranges: Vec<UopId> = work.g.src(product.reduce)[1..].to_vec();
    let columns = if work.choices.rows_first { 3 } else { 1 };
    // Neighbouring columns of a planar image: a tile's loads for two taps of a row overlap, those for two rows do not.
    let planar = unrolled
        .iter()
        .any(|&r| work.depends(product.rows, r) && stride(work, r) <= 4);
    let next_tap = |work: &Work<'_>, r: UopId| planar && !depthwise && stride(work, r) == 1;
    let taps: i64 = reduce_ranges.iter().map(|&r| work.extent(r)).product();
    let few_taps = depthwise && taps <= 25;
    let wide = |work: &Work<'_>, r: UopId| {
        let others = loops.iter().filter(|&&o| {
            o != r && work.depends(product.rows, o) && !work.depends(product.columns, o)
        });
        few_taps && others.map(|&o| stride(work, o)).min() < Some(stride(work, r))
    };
    let reach = reduce_ranges
        .iter()
        .map(|&r| stride(work, r))
        .filter(|&s| s > 1)
        .min()
        .unwrap_or(1);
    let mut keyed: Vec<((u8, i64, usize), UopId)> = Vec::new();
    for (n, &r) in nest.order.iter().enumerate() {
        let key = if matches!(work.axis(r), Axis::Serial | Axis::Parallel) || Some(r) == blocks {
            (0, -2, n)
        } else if r == lane {
            (9, 0, n)
        } else if unrolled.contains(&r) {
            (8, 0, n)
        } else if reduce_ranges.contains(&r) {
            let near = next_tap(work, r);
            (6, -(if near { reach + 1 } else { stride(work, r) }), n)
        } else if loops.contains(&r) {
            match (
                work.depends(product.rows, r),
                work.depends(product.columns, r),
            ) {
                (true, true) | (false, false) => (0, 0, n),
                (false, true) => (columns, 0, n),
                // Rows of a depthwise convolution outside of channel blocks: what they read is still in cache.
                (true, false) if wide(work, r) => (0, -1, n),
                (true, false) => (2, -stride(work, r), n),
            }
        } else {
            (7, 0, n)
        };
        keyed.push((key, r));
    }
    keyed.sort_unstable_by_key(|k| k.0);
    nest.order = keyed.into_iter().map(|k| k.1).collect();
    if !depthwise {
        choices::unroll_steps(work, nest, &reduce_ranges);
        let results = unrolled.iter().map(|&r| work.extent(r)).product();
        let columns = unrolled
            .iter()
            .filter(|&&r| work.depends(product.columns, r));
        let vectors = columns.map(|&r| work.extent(r)).product();
        // The reduce may be another node by now.
        if let Some(product) = find_product(work, nest, lane) {
            parts::choose(work, nest, product.reduce, results, vectors, facts);
        }
    } else {
        // Few taps: unrolled, so that weights and neighbouring columns stay in registers.
        let taps: i64 = reduce_ranges.iter().map(|&r| work.extent(r)).product();
        let mut ranges = reduce_ranges;
        ranges.sort_by_key(|&r| nest.order.iter().position(|&o| o == r));
        let unroll: Vec<UopId> = if taps <= 9 {
            ranges
        } else {
            ranges
                .last()
                .copied()
                .into_iter()
                .filter(|&r| work.extent(r) <= 9)
                .collect()
        };
        for r in unroll {
            work.set_axis(nest, r, Axis::Unroll);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(registers: u32) -> Facts {
        Facts {
            vector_registers: registers,
            broadcast_operand: registers > 16,
            ..Facts::default()
        }
    }

    #[test]
    fn tiles_fill_the_registers_and_divide() {
        for registers in [16, 32] {
            let facts = facts(registers);
            for (rows, vectors) in [
                (112, 4),
                (56, 4),
                (28, 8),
                (14, 16),
                (7, 32),
                (128, 48),
                (197, 12),
                (1, 63),
            ] {
                let (r, u) = choose_tile(rows, vectors, 64, false, &facts);
                assert!(
                    r * u + u <= i64::from(registers),
                    "{rows}x{vectors}: {r}x{u}"
                );
                assert!(r * u >= 6.min(rows * vectors), "{rows}x{vectors}: {r}x{u}");
            }
        }
        assert_eq!(choose_tile(56, 4, 64, false, &facts(32)).0, 14);
    }
}
