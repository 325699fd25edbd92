//! Matrix instructions for sums of products of halves.
//!
//! In: a nest of a target with matrix instructions. Out: two loops of 16 and 16 steps of the sum marked `Matrix`; `codegen` makes
//! instructions of them (`lower_matrix`). Each wave computes up to 2 by 2 such tiles.
//!
//! Example: a 1024x1024 product of halves becomes 32 x 32 groups of one wave with 2 x 2 tiles.

use super::nest::{Nest, Work};
use super::workgroups::{covered, flatten_many, split_into};
use crate::target::Gpu;
use crate::uop::{Axis, Binary, DType, FreeRanges, Op, ReduceOp, UopId};

/// Rows, columns and depth of an instruction.
const SIZE: i64 = 16;

/// What an instruction would multiply.
struct Product {
    /// Loop of the first factor.
    row: UopId,
    /// Loop of the second factor.
    column: UopId,
    /// Range of the sum.
    depth: UopId,
}

/// Marks the loops of a sum of products of halves and spreads the others over groups; false where instructions do not fit.
pub fn multiply(work: &mut Work<'_>, nest: &mut Nest, gpu: &Gpu, loops: &[UopId]) -> bool {
    let fits = |t: &&crate::target::MatrixTile| {
        t.factors == DType::F16 && t.sum == DType::F32 && t.shape == [SIZE as u32; 3]
    };
    if gpu.wave_lanes != 32 || !gpu.matrix_tiles.iter().any(|t| fits(&t)) {
        return false;
    }
    let Some(product) = find(work, nest, loops) else {
        return false;
    };
    let mut rest: Vec<UopId> = loops.to_vec();
    rest.retain(|&r| r != product.row && r != product.column);
    for range in [product.row, product.column] {
        let tiles = (work.extent(range) + SIZE - 1) / SIZE;
        let each = if tiles % 2 == 0 { 2 } else { 1 };
        let Some(range) = covered(work, nest, range, SIZE * each) else {
            return false;
        };
        let outer = split_into(work, nest, range, SIZE, Axis::Matrix);
        if let Some(outer) = outer
            && each > 1
        {
            rest.extend(split_into(work, nest, outer, each, Axis::Unroll));
        } else {
            rest.extend(outer);
        }
    }
    split_into(work, nest, product.depth, SIZE, Axis::Matrix);
    if !rest.is_empty()
        && let Ok(flat) = flatten_many(work, nest, &rest)
    {
        work.set_axis(nest, flat, Axis::Parallel);
    }
    true
}

/// The only reduce of a nest, when it is a sum of products of halves whose factors have a loop of their own each.
fn find(work: &Work<'_>, nest: &Nest, loops: &[UopId]) -> Option<Product> {
    let [reduce] = work.reduces(nest)[..] else {
        return None;
    };
    let (a, b) = halves(work, reduce)?;
    let mut free = FreeRanges::new();
    let (of_a, of_b) = (free.of(&work.g, a), free.of(&work.g, b));
    let own = |mine: &[UopId], other: &[UopId]| {
        let one = |r: &&UopId| mine.contains(r) && !other.contains(r);
        loops.iter().rev().find(one).copied()
    };
    let (x, y) = (own(&of_a, &of_b)?, own(&of_b, &of_a)?);
    // Neighbouring threads store neighbouring columns.
    let later = |r: UopId| loops.iter().position(|&l| l == r);
    let (row, column) = if later(x) < later(y) { (x, y) } else { (y, x) };
    let small = |r: UopId| {
        let extent = work.extent(r);
        (extent + SIZE - 1) / SIZE * SIZE * 3 > extent * 4
    };
    if small(row) || small(column) {
        return None;
    }
    let depth = work.g.src(reduce)[1..]
        .iter()
        .copied()
        .filter(|&r| work.axis(r) == Axis::Loop && work.extent(r) % SIZE == 0)
        .max_by_key(|&r| work.extent(r))?;
    let both = of_a.contains(&depth) && of_b.contains(&depth);
    both.then_some(Product { row, column, depth })
}

/// The halves that a sum multiplies.
fn halves(work: &Work<'_>, reduce: UopId) -> Option<(UopId, UopId)> {
    let g = &work.g;
    let half = |id: UopId| {
        let from = *g.src(id).first()?;
        (g.op(id) == Op::Cast && g.ty(from) == DType::F16.scalar()).then_some(from)
    };
    let value = g.src(reduce)[0];
    let product = g.op(reduce) == Op::Reduce(ReduceOp::Sum)
        && g.op(value) == Op::Binary(Binary::Mul)
        && g.ty(value) == DType::F32.scalar();
    if !product {
        return None;
    }
    Some((half(g.src(value)[0])?, half(g.src(value)[1])?))
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
    let Some((a, b)) = halves(work, *reduce) else {
        return no();
    };
    let mut free = FreeRanges::new();
    let mut only = |x: UopId, y: UopId| {
        free.contains(&work.g, a, x)
            && !free.contains(&work.g, b, x)
            && free.contains(&work.g, b, y)
            && !free.contains(&work.g, a, y)
    };
    if all.iter().any(|&r| work.extent(r) != SIZE) || !only(*row, *column) && !only(*column, *row) {
        return no();
    }
    Ok(())
}
