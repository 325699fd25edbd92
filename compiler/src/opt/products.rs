//! Products of large matrices by work-groups that share tiles of the factors.
//!
//! In: a nest with one sum of products, for a target with work-groups. Out: the same with a block of rows by columns for each group, a
//! register tile for each thread, and both factors staged in the memory of the group (`stage`). Convolutions are such products: their
//! channels out are rows, their pixels columns, their channels in and taps steps.
//!
//! The block is the one with the least estimated time; where that is no better than without tiles the nest is left to others. All numbers
//! come from the target file.
//!
//! Example: 1024 x 1024 x 1024 becomes 16 x 8 groups of 128 threads with 8 x 4 outputs each.

use super::nest::{Nest, Work};
use super::stage::factors;
use super::workgroups::{covered, flatten_many, split_into};
use crate::target::{Facts, Gpu};
use crate::uop::{Axis, FreeRanges, UopId};

/// Steps of the sum for which a tile is filled.
const STEPS: [i64; 2] = [8, 4];
/// Fewest rows, columns and steps that are worth sharing.
const LEAST: i64 = 16;
/// How much faster than memory the caches are that all groups share.
const CACHE: f64 = 3.0;
/// Threads that keep a processor of work-groups busy.
const BUSY: f64 = 64.0;

/// A product: loops of the first factor, of the second, of both, and of the sum.
pub struct Product {
    /// Loops of one factor.
    pub rows: Vec<UopId>,
    /// Loops of the other: neighbours in memory among them.
    pub columns: Vec<UopId>,
    /// Loops of both, or of neither.
    pub both: Vec<UopId>,
    /// What the sum runs over.
    pub steps: Vec<UopId>,
    /// The factors, as they stand in memory.
    pub factors: [UopId; 2],
    /// Slots that the factors read.
    pub slots: Vec<u32>,
}

impl Product {
    /// Its sizes.
    pub fn sizes(&self, work: &Work<'_>) -> Sizes {
        let extents = |ranges: &[UopId]| -> i64 {
            let all = ranges.iter().map(|&r| work.extent(r));
            all.fold(1, i64::saturating_mul)
        };
        Sizes {
            rows: extents(&self.rows),
            columns: extents(&self.columns),
            steps: extents(&self.steps),
            batch: extents(&self.both),
        }
    }
}

/// How a group shares its block, down and across.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// What one has in registers: outputs of a thread, or tiles of a wave.
    pub each: (i64, i64),
    /// How many there are: threads, or waves.
    pub count: (i64, i64),
}

impl Block {
    /// The block that a search asks for, where it makes sense.
    pub fn given(work: &Work<'_>) -> Option<Block> {
        let sizes = work.choices.block?;
        let [down, across, rows, columns] = sizes;
        (sizes.into_iter().min() > Some(0)).then_some(Block {
            each: (down, across),
            count: (rows, columns),
        })
    }
}

/// Changes a nest, or leaves it as it was. True where it is changed.
pub fn attempt(
    work: &mut Work<'_>,
    nest: &mut Nest,
    change: impl FnOnce(&mut Work<'_>, &mut Nest) -> Option<()>,
) -> bool {
    let (mark, before) = (work.mark(), nest.clone());
    let done = change(work, nest).is_some();
    if !done {
        work.back_to(mark);
        *nest = before;
    }
    done
}

/// Sizes of a product.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Rows.
    pub rows: i64,
    /// Columns.
    pub columns: i64,
    /// Steps of the sum.
    pub steps: i64,
    /// Products of this size.
    pub batch: i64,
}

/// Shares tiles; false where that does not fit or does not pay.
pub fn multiply(
    work: &mut Work<'_>,
    nest: &mut Nest,
    facts: &Facts,
    gpu: &Gpu,
    loops: &[UopId],
) -> bool {
    let Some(product) = find(work, nest, loops) else {
        return false;
    };
    let sizes = product.sizes(work);
    let Some(&step) = STEPS.iter().find(|&s| sizes.steps % s == 0) else {
        return false;
    };
    let chosen = Block::given(work).or_else(|| choose(sizes, facts, gpu));
    let Some(block) = chosen.filter(|_| !work.choices.simple) else {
        return false;
    };
    attempt(work, nest, |work, nest| {
        share(work, nest, &product, block, step)
    })
}

fn share(
    work: &mut Work<'_>,
    nest: &mut Nest,
    product: &Product,
    block: Block,
    step: i64,
) -> Option<()> {
    let mut groups = product.both.clone();
    let sides = [
        (&product.rows, block.each.0, block.count.0),
        (&product.columns, block.each.1, block.count.1),
    ];
    for (ranges, unroll, threads) in sides {
        let range = flatten_many(work, nest, ranges).ok()?;
        // Neighbours that one thread computes stay neighbours where the length allows it.
        let whole = work.extent(range) % unroll == 0;
        let range = match whole {
            true => range,
            false => covered(work, nest, range, unroll * threads)?,
        };
        let Some(range) = split_into(work, nest, range, unroll, Axis::Unroll) else {
            continue;
        };
        let range = covered(work, nest, range, threads)?;
        groups.extend(split_into(work, nest, range, threads, Axis::Local));
    }
    let steps = flatten_many(work, nest, &product.steps).ok()?;
    let at = split_into(work, nest, steps, step, Axis::Loop)?;
    for range in groups {
        work.set_axis(nest, range, Axis::Parallel);
    }
    for &slot in &product.slots {
        work.staged.push((nest.number, slot, at));
    }
    Some(())
}

/// The only reduce of a nest, when it is a sum of products whose factors have loops of their own.
pub fn find(work: &Work<'_>, nest: &Nest, loops: &[UopId]) -> Option<Product> {
    let [reduce] = work.reduces(nest)[..] else {
        return None;
    };
    let [a, b] = factors(work, reduce)[..] else {
        return None;
    };
    let mut free = FreeRanges::new();
    let (of_a, of_b) = (free.of(&work.g, a), free.of(&work.g, b));
    let side = |mine: &[UopId], other: &[UopId]| -> Vec<UopId> {
        let own = |r: &&UopId| mine.contains(r) && !other.contains(r);
        loops.iter().filter(own).copied().collect()
    };
    let (mut rows, mut columns) = (side(&of_a, &of_b), side(&of_b, &of_a));
    let store = work.accesses(nest.store).into_iter().find(|a| a.store)?;
    let contiguous = |r: &UopId| work.stride(&store, *r) == Some(1);
    if rows.iter().any(contiguous) {
        std::mem::swap(&mut rows, &mut columns);
    }
    let steps = work.g.src(reduce)[1..].to_vec();
    if rows.is_empty() || columns.is_empty() || steps.iter().any(|&r| work.axis(r) != Axis::Loop) {
        return None;
    }
    let both = loops
        .iter()
        .filter(|r| !rows.contains(r) && !columns.contains(r));
    let both = both.copied().collect();
    // Each factor reads one buffer at each step; what it reads besides is small.
    let mut slots = Vec::new();
    for factor in [a, b] {
        let reads = work.accesses(factor);
        let widest = reads.iter().max_by_key(|r| {
            let used = |s: &&UopId| r.index.iter().any(|&i| work.depends(i, **s));
            steps.iter().filter(used).count()
        })?;
        if !slots.contains(&widest.slot) {
            slots.push(widest.slot);
        }
    }
    Some(Product {
        rows,
        columns,
        both,
        steps,
        factors: [a, b],
        slots,
    })
}

/// The block with the least estimated time; `None` where tiles do not pay.
pub fn choose(sizes: Sizes, facts: &Facts, gpu: &Gpu) -> Option<Block> {
    if sizes.rows.min(sizes.columns).min(sizes.steps) < LEAST {
        return None;
    }
    let mut best: Option<(f64, Block)> = None;
    // Neighbouring threads read 16 bytes of a tile's row each: with more columns a thread they would meet in its banks.
    for unroll in [(8, 4), (4, 4)] {
        for rows in [1, 2, 3, 4, 5, 6, 7, 8, 12, 16] {
            for columns in [4, 8, 16, 32] {
                let threads = rows * columns;
                let block = Block {
                    each: unroll,
                    count: (rows, columns),
                };
                if threads % i64::from(gpu.wave_lanes) != 0 || !fits(block, gpu) {
                    continue;
                }
                let seconds = estimate(sizes, block, facts, gpu);
                if best.is_none_or(|b| seconds < b.0) {
                    best = Some((seconds, block));
                }
            }
        }
    }
    best.filter(|b| b.0 < apart(sizes, facts, gpu)).map(|b| b.1)
}

/// True when the threads, registers and memory of a block are within the target's limits.
fn fits(block: Block, gpu: &Gpu) -> bool {
    let (rows, columns) = (block.each.0 * block.count.0, block.each.1 * block.count.1);
    let threads = block.count.0 * block.count.1;
    let bytes = (rows + columns + 8) * STEPS[0] * 4;
    let registers = block.each.0 * block.each.1 + 2 * (block.each.0 + block.each.1) + 32;
    threads <= i64::from(gpu.group_threads).min(256)
        && bytes * 2 <= i64::from(gpu.group_memory_bytes)
        && registers <= i64::from(gpu.thread_registers)
        && registers * threads * 2 <= i64::from(gpu.unit_registers)
}

/// Seconds with tiles.
fn estimate(sizes: Sizes, block: Block, facts: &Facts, gpu: &Gpu) -> f64 {
    let ceil = |a: i64, b: i64| ((a + b - 1) / b) as f64;
    let (down, across) = block.each;
    let (rows, columns) = (down * block.count.0, across * block.count.1);
    let groups = ceil(sizes.rows, rows) * ceil(sizes.columns, columns) * sizes.batch as f64;
    let threads = (block.count.0 * block.count.1) as f64;
    let (steps, down, across) = (sizes.steps as f64, down as f64, across as f64);
    // Instructions of a thread for a step: products, loads of 16 bytes from the group's memory that take two turns each, and its part of
    // filling it.
    let filling = (rows + columns) as f64 / threads;
    let turns = down * across + (down + across) / 2.0 + filling * 1.5;
    let bytes = groups * steps * (rows + columns) as f64 * 4.0;
    seconds(
        groups * threads,
        turns * steps,
        down * across * steps,
        bytes,
        facts,
        gpu,
    )
}

/// Seconds when each thread loads what it multiplies: register tiles of 8 rows, which are the same for a whole wave, by 4 columns.
fn apart(sizes: Sizes, facts: &Facts, gpu: &Gpu) -> f64 {
    let (down, across) = (sizes.rows.min(8) as f64, 4.0);
    let outputs = (sizes.rows * sizes.columns * sizes.batch) as f64;
    let steps = sizes.steps as f64;
    let turns = down * across + down / 2.0 + across;
    let bytes = outputs * steps * 4.0 * (1.0 / down + 1.0 / (across * f64::from(gpu.wave_lanes)));
    let threads = outputs / (down * across);
    seconds(
        threads,
        turns * steps,
        down * across * steps,
        bytes,
        facts,
        gpu,
    )
}

/// Seconds of so many threads that take `turns` for `products` each and move so many bytes together.
pub fn seconds(
    threads: f64,
    turns: f64,
    products: f64,
    bytes: f64,
    facts: &Facts,
    gpu: &Gpu,
) -> f64 {
    let busy = (threads / (f64::from(gpu.compute_units) * BUSY)).min(1.0);
    let compute = 2.0 * threads * products / (facts.peak_gflops * 1e9 * busy) * (turns / products);
    let moving = facts.move_seconds(bytes) / CACHE;
    compute.max(moving) + compute.min(moving) / 4.0
}
