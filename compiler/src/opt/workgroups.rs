//! Spreads a nest over work-groups of threads.
//!
//! In: a nest, for a target with work-groups. Out: the same with its loops `Parallel` (over groups) and `Local` (over the threads of
//! one), register tiles unrolled, and long reduces of few outputs `Group` (over the threads of one).
//!
//! Neighbouring threads take neighbouring elements of what is stored. Three shapes:
//! - rows that all threads of a group reduce together, then the elements that need the results (softmax, layer norm);
//! - a reduce for each output, by all threads of a group or a part of them (few outputs, long reduces);
//! - a thread for each output or each register tile of outputs (everything else). Where an operand is the same for all threads along the
//!   stored row, such as the weights of a convolution, the loops that it depends on count groups and tiles, not threads.
//!
//! Example: a 64x3136 output of a convolution becomes 8 tiles of 8 channels by 13 groups of 256 pixels.

use super::flatten::{cover, flatten};
use super::join::separates;
use super::nest::{AccessTo, Nest, Work};
use crate::target::{Facts, Gpu};
use crate::uop::{Axis, FreeRanges, UopId};

/// A reduce shorter than this is done again by each thread that wants it.
const SHORT: i64 = 16;
/// A reduce shorter than this is not spread over threads.
const LONG: i64 = 64;
/// Rows of a register tile at most.
const TILE_ROWS: i64 = 8;
/// Columns of a register tile at most.
const TILE_COLUMNS: i64 = 4;
/// Steps of a sum that are unrolled.
const STEPS: i64 = 4;
/// Elements of a row that one thread reduces, where rows are long enough.
const ROW_ELEMENTS: i64 = 8;
/// Threads of a group, where there is a choice.
const THREADS: i64 = 256;

/// A reduce of a nest.
struct Sum {
    /// Its own ranges.
    own: Vec<UopId>,
    /// Ranges that it depends on.
    around: Vec<UopId>,
    /// Iterations.
    trips: i64,
}

/// Spreads one nest.
pub fn spread(work: &mut Work<'_>, nest: &mut Nest, facts: &Facts, gpu: &Gpu) {
    let loops = spread_loops(work, nest);
    if loops.is_empty() {
        return;
    }
    let sums = sums(work, nest);
    let heavy: Vec<&Sum> = sums.iter().filter(|s| s.trips >= SHORT).collect();
    let (outer, inner): (Vec<UopId>, Vec<UopId>) = loops
        .iter()
        .partition(|&&r| heavy.iter().all(|s| s.around.contains(&r)));
    if !inner.is_empty() && !sums_nest(&heavy) {
        rows(work, nest, gpu, &outer, &inner);
    } else if let Some(lanes) = group_lanes(work, gpu, &loops, &heavy) {
        reduce_together(work, nest, gpu, &loops, lanes);
    } else if !super::matrix::multiply(work, nest, facts, gpu, &loops)
        && !super::products::multiply(work, nest, facts, gpu, &loops)
    {
        outputs(work, nest, gpu, &loops);
    }
    put_in_order(work, nest);
}

/// Loops whose iterations may run in any order, outermost first.
fn spread_loops(work: &Work<'_>, nest: &Nest) -> Vec<UopId> {
    let serial = nest.order.iter().any(|&r| work.axis(r) == Axis::Serial);
    let store = work.accesses(nest.store).into_iter().find(|a| a.store);
    // Between iterations that run in order each thread keeps to its own elements.
    let own = |r: UopId| match &store {
        Some(s) if serial => separates(work, r, &s.index, r, &s.index),
        _ => true,
    };
    let mut loops = work.loops(nest);
    loops.retain(|&r| work.axis(r) == Axis::Loop && work.extent(r) > 1 && own(r));
    loops
}

fn sums(work: &Work<'_>, nest: &Nest) -> Vec<Sum> {
    let mut free = FreeRanges::new();
    let reduces = work.reduces(nest);
    reduces
        .into_iter()
        .map(|id| {
            let own: Vec<UopId> = work.g.src(id)[1..].to_vec();
            let extents = own.iter().map(|&r| work.extent(r));
            let trips = extents.fold(1, i64::saturating_mul);
            Sum {
                around: free.of(&work.g, id).to_vec(),
                trips,
                own,
            }
        })
        .collect()
}

/// True when a reduce runs inside of another one.
fn sums_nest(sums: &[&Sum]) -> bool {
    let inside = |a: &Sum, b: &Sum| a.around.iter().any(|r| b.own.contains(r));
    sums.iter().any(|a| sums.iter().any(|b| inside(a, b)))
}

/// Loops in the order in which the list opens them: groups, threads of rows, serial rounds, what is left; ranges of reduces last.
fn put_in_order(work: &Work<'_>, nest: &mut Nest) {
    let loops = work.loops(nest);
    let key = |r: &UopId| match (work.axis(*r), loops.contains(r)) {
        (Axis::Parallel, _) => 0,
        (Axis::Local, _) => 1,
        (Axis::Serial, _) | (Axis::Matrix, true) => 2,
        (Axis::Unroll | Axis::Vector, true) => 4,
        (_, true) => 3,
        (Axis::Group, false) => 5,
        (Axis::Unroll | Axis::Vector | Axis::Matrix, false) => 7,
        (_, false) => 6,
    };
    nest.order.sort_by_key(key);
}

/// Rows over groups; the threads of a group share the row's reduces, then its elements.
fn rows(work: &mut Work<'_>, nest: &mut Nest, gpu: &Gpu, outer: &[UopId], inner: &[UopId]) {
    let elements: i64 = inner.iter().map(|&r| work.extent(r)).product();
    let row_sums: Vec<Sum> = sums(work, nest)
        .into_iter()
        .filter(|s| s.trips >= SHORT && !s.around.iter().any(|r| inner.contains(r)))
        .collect();
    let longest = row_sums.iter().map(|s| s.trips).max().unwrap_or(1);
    // Some elements for each thread: a wave alone needs no barrier.
    let wave = i64::from(gpu.wave_lanes);
    let most = work
        .choices
        .threads
        .map_or(THREADS, |t| next_power(t.max(wave)));
    let threads = next_power(elements.max(longest) / ROW_ELEMENTS).clamp(wave, most);
    for sum in &row_sums {
        spread_reduce(work, nest, &sum.own, threads);
    }
    if !outer.is_empty()
        && let Ok(flat) = flatten_many(work, nest, outer)
    {
        work.set_axis(nest, flat, Axis::Parallel);
    }
    if let Ok(flat) = flatten_many(work, nest, inner) {
        locals(work, nest, flat, threads);
    }
}

/// Makes the ranges of a reduce one and gives each of so many threads an equal part. Ranges that are longer than that and divide stay.
fn spread_reduce(work: &mut Work<'_>, nest: &mut Nest, own: &[UopId], threads: i64) {
    // Another reduce over the same ranges was spread with them.
    let own: Vec<UopId> = own
        .iter()
        .copied()
        .filter(|r| nest.order.contains(r) && work.axis(*r) == Axis::Loop)
        .collect();
    let fitting = own
        .iter()
        .copied()
        .rev()
        .find(|&r| work.extent(r) % threads == 0);
    let range = match fitting {
        Some(range) => Some(range),
        None => flatten_many(work, nest, &own).ok(),
    };
    let Some(range) = range.and_then(|r| covered(work, nest, r, threads)) else {
        return;
    };
    split_into(work, nest, range, threads, Axis::Group);
}

/// Threads that share each reduce, when there are too few outputs to keep the device busy.
fn group_lanes(work: &Work<'_>, gpu: &Gpu, loops: &[UopId], heavy: &[&Sum]) -> Option<i64> {
    let outputs: i64 = loops.iter().map(|&r| work.extent(r)).product();
    let trips = heavy.iter().map(|s| s.trips).min()?;
    if trips < LONG || outputs >= gpu.busy_threads() || sums_nest(heavy) {
        return None;
    }
    let wanted = gpu.busy_threads() / outputs.max(1);
    let lanes = next_power(wanted).min(next_power(trips / 4)).min(THREADS);
    (lanes >= 8).then_some(lanes.max(16))
}

/// A reduce for each output, by `lanes` threads each.
fn reduce_together(work: &mut Work<'_>, nest: &mut Nest, gpu: &Gpu, loops: &[UopId], lanes: i64) {
    for sum in sums(work, nest) {
        if sum.trips >= SHORT {
            spread_reduce(work, nest, &sum.own, lanes);
        }
    }
    let Ok(flat) = flatten_many(work, nest, loops) else {
        return;
    };
    let wave = i64::from(gpu.wave_lanes);
    let rows = (wave / lanes).max(1);
    if rows == 1 {
        work.set_axis(nest, flat, Axis::Parallel);
        return;
    }
    locals(work, nest, flat, rows);
}

/// A thread for each output or register tile of outputs.
fn outputs(work: &mut Work<'_>, nest: &mut Nest, gpu: &Gpu, loops: &[UopId]) {
    let (rows, columns) = rows_and_columns(work, nest, loops);
    let (rows, columns) = tile(work, nest, gpu, rows, columns);
    if !rows.is_empty()
        && let Ok(flat) = flatten_many(work, nest, &rows)
    {
        work.set_axis(nest, flat, Axis::Parallel);
    }
    let others: i64 = rows.iter().map(|&r| work.extent(r)).product();
    if let Ok(flat) = flatten_many(work, nest, &columns) {
        let wave = i64::from(gpu.wave_lanes);
        let all = work.extent(flat);
        // Small groups where large ones would leave compute units without any.
        let most = work
            .choices
            .threads
            .map_or(THREADS, |t| round_up(t.max(1), wave));
        let mut threads = most.min(round_up(all, wave));
        while threads > wave
            && (others * ceil(all, threads) < i64::from(gpu.compute_units)
                || ceil(all, threads) * threads * 7 > all * 8 && threads > 2 * wave)
        {
            threads = round_up(threads / 2, wave);
        }
        locals(work, nest, flat, threads);
    }
}

/// Loops over which an operand changes that all threads along the stored row have in common, and the others.
fn rows_and_columns(work: &Work<'_>, nest: &Nest, loops: &[UopId]) -> (Vec<UopId>, Vec<UopId>) {
    let all = (Vec::new(), loops.to_vec());
    let accesses = work.accesses(nest.store);
    let Some(store) = accesses.iter().find(|a| a.store) else {
        return all;
    };
    let contiguous = |r: &&UopId| work.stride(store, **r) == Some(1);
    let Some(&row) = loops.iter().rev().find(contiguous).or(loops.last()) else {
        return all;
    };
    let reads = loads_in_reduces(work, nest);
    let shared: Vec<&AccessTo> = reads.iter().filter(|a| !uses(work, a, row)).collect();
    let (rows, columns): (Vec<UopId>, Vec<UopId>) = loops
        .iter()
        .partition(|&&r| shared.iter().any(|a| uses(work, a, r)));
    let width: i64 = columns.iter().map(|&r| work.extent(r)).product();
    if shared.is_empty() || width < 16 {
        return all;
    }
    (rows, columns)
}

fn uses(work: &Work<'_>, access: &AccessTo, range: UopId) -> bool {
    access.index.iter().any(|&i| work.depends(i, range))
}

/// What the reduces of a nest read.
fn loads_in_reduces(work: &Work<'_>, nest: &Nest) -> Vec<AccessTo> {
    let reduces = work.reduces(nest);
    reduces.iter().flat_map(|&r| work.accesses(r)).collect()
}

/// Cuts a register tile out of the loops; what is left of them.
fn tile(
    work: &mut Work<'_>,
    nest: &mut Nest,
    gpu: &Gpu,
    mut rows: Vec<UopId>,
    mut columns: Vec<UopId>,
) -> (Vec<UopId>, Vec<UopId>) {
    let reads = loads_in_reduces(work, nest);
    if reads.len() < 2 {
        return (rows, columns);
    }
    let mut threads: i64 = rows
        .iter()
        .chain(&columns)
        .map(|&r| work.extent(r))
        .product();
    let busy = gpu.busy_threads();
    let mut room = |by: i64| {
        let fits = threads / by >= busy;
        if fits {
            threads /= by;
        }
        fits
    };
    // Values that some operand has in common are loaded once.
    let reused = |work: &Work<'_>, r: UopId| reads.iter().any(|a| !uses(work, a, r));
    let last_row = rows.iter().rposition(|&r| reused(work, r));
    if let Some(at) = last_row {
        let extent = work.extent(rows[at]);
        // At most an eighth of the rows is padding, and none where the tile is hardly smaller without.
        let whole = |by: &i64| extent % by == 0;
        let nearly = |by: &i64| round_up(extent, *by) * 8 <= extent * 9;
        let by = (TILE_ROWS / 2 + 1..=TILE_ROWS)
            .rev()
            .find(|by| whole(by) && room(*by))
            .or_else(|| (2..=TILE_ROWS).rev().find(|by| nearly(by) && room(*by)));
        if let Some(by) = by
            && let Some(range) = covered(work, nest, rows[at], by)
        {
            match split_into(work, nest, range, by, Axis::Unroll) {
                Some(outer) => rows[at] = outer,
                None => {
                    rows.remove(at);
                }
            }
        }
    }
    if let Some(&last) = columns.last()
        && reused(work, last)
    {
        let extent = work.extent(last);
        let by = [TILE_COLUMNS, 2]
            .into_iter()
            .find(|&by| extent % by == 0 && room(by));
        if let Some(by) = by {
            columns.pop();
            columns.extend(split_into(work, nest, last, by, Axis::Unroll));
        }
    }
    unroll_steps(work, nest);
    (rows, columns)
}

/// Unrolls steps of a sum along which an operand is contiguous: its elements are loaded together.
fn unroll_steps(work: &mut Work<'_>, nest: &mut Nest) {
    let [reduce] = work.reduces(nest)[..] else {
        return;
    };
    let reads = work.accesses(reduce);
    let own = work.g.src(reduce)[1..].to_vec();
    let contiguous = |r: &&UopId| {
        let next = |a: &AccessTo| {
            !work.params[a.slot as usize].weight && !a.gated && work.stride(a, **r) == Some(1)
        };
        work.axis(**r) == Axis::Loop && work.extent(**r) % STEPS == 0 && reads.iter().any(next)
    };
    if let Some(&range) = own.iter().find(contiguous) {
        split_into(work, nest, range, STEPS, Axis::Unroll);
    }
}

/// One loop over groups and one over so many threads, in the place of a loop of any length.
fn locals(work: &mut Work<'_>, nest: &mut Nest, range: UopId, threads: i64) {
    let Some(range) = covered(work, nest, range, threads) else {
        return;
    };
    let groups = work.extent(range) / threads;
    let outer = split_into(work, nest, range, threads, Axis::Local);
    // A row's elements belong to the group that reduced it: its rounds stay loops.
    let parallel = |r: &UopId| work.axis(*r) == Axis::Parallel;
    let grouped = nest.order.iter().any(|&r| work.axis(r) == Axis::Group);
    if let Some(outer) = outer
        && groups > 1
        && !(grouped && nest.order.iter().any(parallel))
    {
        work.set_axis(nest, outer, Axis::Parallel);
    }
}

/// The range, or a longer one that `by` divides.
pub(super) fn covered(
    work: &mut Work<'_>,
    nest: &mut Nest,
    range: UopId,
    by: i64,
) -> Option<UopId> {
    let extent = work.extent(range);
    match extent % by {
        0 => Some(range),
        _ => cover(work, nest, range, round_up(extent, by)).ok(),
    }
}

/// Splits; the outer range, when there is one.
pub(super) fn split_into(
    work: &mut Work<'_>,
    nest: &mut Nest,
    range: UopId,
    by: i64,
    into: Axis,
) -> Option<UopId> {
    let whole = work.extent(range) == by;
    let (outer, _) = work.split(nest, range, by, into);
    (!whole).then_some(outer)
}

/// One range for several; a single one stays.
pub(super) fn flatten_many(
    work: &mut Work<'_>,
    nest: &mut Nest,
    ranges: &[UopId],
) -> Result<UopId, String> {
    match ranges {
        [range] => Ok(*range),
        _ => flatten(work, nest, ranges),
    }
}

/// What `apply` asks of ranges over threads: they are the digits of a thread's number, and reduces leave no thread idle.
pub fn check(work: &Work<'_>, nest: &Nest) -> Result<(), String> {
    let thread = |r: &UopId| matches!(work.axis(*r), Axis::Local | Axis::Group);
    let matrix = nest.order.iter().any(|&r| work.axis(r) == Axis::Matrix);
    if matrix && nest.order.iter().any(|&r| work.axis(r) == Axis::Group) {
        return Err("matrix instructions and a reduce over threads exclude each other".into());
    }
    if !nest.order.iter().any(thread) {
        return Ok(());
    }
    let loops = work.loops(nest);
    let mut free = FreeRanges::new();
    let local = |r: &&UopId| loops.contains(r) && work.axis(**r) == Axis::Local;
    let extents = |ranges: &mut dyn Iterator<Item = &UopId>| -> i64 {
        ranges.map(|&r| work.extent(r)).fold(1, i64::saturating_mul)
    };
    let mut wanted = vec![(extents(&mut nest.order.iter().filter(local)), false)];
    for reduce in work.reduces(nest) {
        let own = work.g.src(reduce)[1..].to_vec();
        let group = |r: &&UopId| work.axis(**r) == Axis::Group;
        let mine = extents(&mut own.iter().filter(group));
        if mine == 1 {
            continue;
        }
        if mine < 1 || mine & (mine - 1) != 0 {
            return Err(format!("{mine} threads of a reduce are no power of two"));
        }
        let around = free.of(&work.g, reduce);
        let last = nest.order.iter().rposition(|r| around.contains(r));
        let before = &nest.order[..last.map_or(0, |l| l + 1)];
        if before.iter().any(|r| group(&r)) {
            return Err("a reduce over threads is inside of another".into());
        }
        wanted.push((
            mine.saturating_mul(extents(&mut before.iter().filter(local))),
            true,
        ));
    }
    let threads = wanted.iter().map(|w| w.0).max().unwrap_or(1);
    for (count, whole) in wanted {
        if count < 1 || threads % count != 0 || whole && count != threads {
            return Err(format!("{count} threads of ranges in a group of {threads}"));
        }
    }
    Ok(())
}

fn next_power(n: i64) -> i64 {
    (n.max(1) as u64).next_power_of_two() as i64
}

fn ceil(a: i64, b: i64) -> i64 {
    (a + b - 1) / b
}

fn round_up(a: i64, b: i64) -> i64 {
    ceil(a, b) * b
}
