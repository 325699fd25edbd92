//! Matrix instructions for sums of products of halves.
//!
//! In: a nest of a target with matrix instructions. Out: two loops and steps of the sum marked `Matrix`, by [`Opt::TensorCore`];
//! `codegen` makes instructions of them (`lower_matrix`). What a group computes beside are blocks of such tiles: a wave has some of them
//! in registers, and the waves of a group share the factors in its memory (`stage`).
//!
//! Example: a 1024x1024 product of halves becomes 8 x 8 groups of 4 waves with 4 x 4 tiles of 16 x 16 each.

use super::nest::{Nest, Work};
use super::opts::Opt;
use super::products::{Block, Product, Sizes, attempt, find, seconds};
use super::stage::factors;
use super::workgroups::{covered, flatten_many, split_into};
use crate::target::{Facts, Gpu, MatrixTile};
use crate::uop::{Axis, Binary, DType, FreeRanges, Op, UopId};

/// How much faster than other products matrix instructions are, about.
const FASTER: f64 = 2.0;

/// Marks the loops of a sum of products of halves and spreads the others over groups; false where instructions do not fit.
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
    let dtype = work.g.ty(product.factors[0]).scalar;
    let same = work.g.ty(product.factors[1]).scalar == dtype;
    let suits = |t: &&MatrixTile| {
        let [rows, columns, depth] = t.shape.map(i64::from);
        let room = |extent: i64, size: i64| (extent + size - 1) / size * size * 3 <= extent * 4;
        t.factors == dtype
            && same
            && widened(work, nest)
            && room(sizes.rows, rows)
            && room(sizes.columns, columns)
            && sizes.steps % depth == 0
    };
    let Some(tile) = gpu.matrix_tiles.iter().find(suits) else {
        return false;
    };
    if work.choices.simple {
        return false;
    }
    let block = Block::given(work).unwrap_or_else(|| choose(sizes, tile, facts, gpu));
    attempt(work, nest, |work, nest| {
        share(work, nest, product, tile, block)
    })
}

fn share(
    work: &mut Work<'_>,
    nest: &mut Nest,
    product: Product,
    tile: &MatrixTile,
    block: Block,
) -> Option<()> {
    let mut groups = product.both.clone();
    flatten_many(work, nest, &product.rows).ok()?;
    flatten_many(work, nest, &product.columns).ok()?;
    flatten_many(work, nest, &product.steps).ok()?;
    let shape = tile.shape.map(i64::from);
    let [rows, columns, steps] = tensor_core(work, nest, shape).ok()?;
    let sides = [
        (rows, block.each.0, block.count.0),
        (columns, block.each.1, block.count.1),
    ];
    for (range, tiles, waves) in sides {
        let Some(range) = range else { continue };
        let range = covered(work, nest, range, tiles * waves)?;
        let Some(range) = split_into(work, nest, range, tiles, Axis::Unroll) else {
            continue;
        };
        groups.extend(match waves {
            1 => Some(range),
            _ => split_into(work, nest, range, waves, Axis::Local),
        });
    }
    let together = block.count.0 * block.count.1 > 1;
    if let Some(range) = steps.filter(|_| together) {
        let each = [4, 2]
            .into_iter()
            .find(|by| work.extent(range) % by == 0 && by * shape[2] <= 32);
        let at = match each {
            Some(by) => split_into(work, nest, range, by, Axis::Unroll),
            None => Some(range),
        };
        for &slot in at.iter().flat_map(|_| &product.slots) {
            work.staged.push((nest.number, slot, at?));
        }
    }
    for range in groups {
        work.set_axis(nest, range, Axis::Parallel);
    }
    Some(())
}

/// Cuts rows, columns and steps of a nest's product into what one instruction multiplies. Gives the ranges over instructions.
///
/// # Errors
/// Why there is no such product.
pub fn tensor_core(
    work: &mut Work<'_>,
    nest: &mut Nest,
    shape: [i64; 3],
) -> Result<[Option<UopId>; 3], String> {
    let mut loops = work.loops(nest);
    loops.retain(|&r| work.axis(r) == Axis::Loop);
    let none = "there is no sum of products of halves with rows and columns of its own";
    let product = find(work, nest, &loops).ok_or(none)?;
    let (Some(&row), Some(&column)) = (product.rows.last(), product.columns.last()) else {
        return Err(none.into());
    };
    if shape.iter().any(|&s| s < 1)
        || !widened(work, nest)
        || product
            .factors
            .iter()
            .any(|&f| work.g.ty(f).scalar.size() != 2)
    {
        return Err(none.into());
    }
    let depth = product
        .steps
        .iter()
        .copied()
        .rfind(|&r| work.extent(r) % shape[2] == 0);
    let depth = depth.ok_or_else(|| format!("the steps are no multiple of {}", shape[2]))?;
    let logged = work.log.len();
    let mut outer = [None; 3];
    for (n, (range, size)) in [row, column, depth].into_iter().zip(shape).enumerate() {
        let range = covered(work, nest, range, size).ok_or("a loop cannot be rounded up")?;
        outer[n] = split_into(work, nest, range, size, Axis::Matrix);
    }
    // What this took is one choice.
    work.log.truncate(logged);
    work.log.push(Opt::TensorCore {
        nest: nest.number,
        shape: shape.map(|s| s as u32),
    });
    Ok(outer)
}

/// True when the only sum of a nest multiplies single floats, both of them conversions of halves: sums of halves themselves round otherwise.
fn widened(work: &Work<'_>, nest: &Nest) -> bool {
    let g = &work.g;
    let [reduce] = work.reduces(nest)[..] else {
        return false;
    };
    let value = g.src(reduce)[0];
    let single = DType::F32.scalar();
    let half = |&id: &UopId| {
        let from = g.src(id).first().map(|&s| g.ty(s).scalar);
        g.op(id) == Op::Cast && g.ty(id) == single && matches!(from, Some(DType::F16 | DType::BF16))
    };
    g.op(value) == Op::Binary(Binary::Mul) && g.ty(value) == single && g.src(value).iter().all(half)
}

/// The block with the least estimated time.
fn choose(sizes: Sizes, tile: &MatrixTile, facts: &Facts, gpu: &Gpu) -> Block {
    let [rows, columns, depth] = tile.shape.map(i64::from);
    let wave = i64::from(gpu.wave_lanes);
    let mut best = None;
    for tiles in [(1, 1), (2, 2), (4, 2), (2, 4), (4, 4)] {
        for waves in [(1, 1), (1, 2), (2, 1), (2, 2), (4, 2), (2, 4)] {
            let block = Block {
                each: tiles,
                count: waves,
            };
            let sums = tiles.0 * tiles.1 * rows * columns / wave;
            let held = (tiles.0 * rows + tiles.1 * columns) * depth / (wave * 2) * 2;
            let threads = waves.0 * waves.1 * wave;
            if (sums + held * 2 + 40) > i64::from(gpu.thread_registers)
                || threads > i64::from(gpu.group_threads).min(256)
            {
                continue;
            }
            let time = estimate(sizes, block, tile, facts, gpu);
            if best.is_none_or(|(least, _)| time < least) {
                best = Some((time, block));
            }
        }
    }
    best.map_or(
        Block {
            each: (1, 1),
            count: (1, 1),
        },
        |b| b.1,
    )
}

/// Seconds of a block.
fn estimate(sizes: Sizes, block: Block, tile: &MatrixTile, facts: &Facts, gpu: &Gpu) -> f64 {
    let [rows, columns, _] = tile.shape.map(i64::from);
    let ceil = |a: i64, b: i64| ((a + b - 1) / b) as f64;
    let (down, across) = (rows * block.each.0, columns * block.each.1);
    let (all_down, all_across) = (down * block.count.0, across * block.count.1);
    let groups = ceil(sizes.rows, all_down) * ceil(sizes.columns, all_across) * sizes.batch as f64;
    let waves = (block.count.0 * block.count.1) as f64;
    let lanes = f64::from(gpu.wave_lanes);
    let steps = sizes.steps as f64;
    // Per lane: products of a step, and the bytes of its rows and columns, which come through the caches when they are not shared.
    let products = (down * across) as f64 / lanes / FASTER;
    let loads = (down + across) as f64 / lanes * if waves > 1.0 { 0.5 } else { 1.0 };
    let bytes = groups * steps * (all_down + all_across) as f64 * 2.0;
    let threads = groups * waves * lanes;
    seconds(
        threads,
        (products + loads) * steps,
        products * steps,
        bytes,
        facts,
        gpu,
    )
}

/// What `apply` asks of `Matrix` ranges.
pub fn check(work: &Work<'_>, nest: &Nest) -> Result<(), String> {
    let matrix = |r: &&UopId| work.axis(**r) == Axis::Matrix;
    let all: Vec<UopId> = nest.order.iter().filter(matrix).copied().collect();
    if all.is_empty() {
        return Ok(());
    }
    let no = || {
        Err(
            "matrix ranges are a row, a column and the depth of a sum of products of halves"
                .to_string(),
        )
    };
    let loops = work.loops(nest);
    let mine: Vec<UopId> = all.iter().copied().filter(|r| loops.contains(r)).collect();
    let reduces: Vec<UopId> = work
        .reduces(nest)
        .into_iter()
        .filter(|&r| work.g.src(r)[1..].iter().any(|r| all.contains(r)))
        .collect();
    let ([row, column], [reduce], 3) = (&mine[..], &reduces[..], all.len()) else {
        return no();
    };
    let [a, b] = factors(work, *reduce)[..] else {
        return no();
    };
    let mut free = FreeRanges::new();
    let mut only = |x: UopId, y: UopId| {
        free.contains(&work.g, a, x)
            && !free.contains(&work.g, b, x)
            && free.contains(&work.g, b, y)
            && !free.contains(&work.g, a, y)
    };
    if !only(*row, *column) && !only(*column, *row) {
        return no();
    }
    Ok(())
}
