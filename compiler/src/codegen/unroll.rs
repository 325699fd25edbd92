//! Copies for `Unroll` ranges.
//!
//! In: a store with one physical index. Out: one store for each combination of its unrolled loops; reduces over
//! unrolled ranges become sums (maxima ...) of copies, left to right, inside what remains of the reduce. Ranges
//! are replaced by constants, so that copies share every node that does not differ: hash-consing makes register
//! tiles.

use crate::diag::{Error, Result};
use crate::uop::{Axis, Binary, FreeRanges, Op, ReduceOp, Simplifier, UopId, Uops, substitute};
use rustc_hash::FxHashMap;

/// How two values of a reduce are combined.
pub fn combine(op: ReduceOp) -> Binary {
    match op {
        ReduceOp::Sum => Binary::Add,
        ReduceOp::Prod => Binary::Mul,
        ReduceOp::Max => Binary::Max,
        ReduceOp::Min => Binary::Min,
        ReduceOp::All => Binary::And,
        ReduceOp::Any => Binary::Or,
    }
}

/// Most copies of a store or of what a reduce combines: more is not meant.
const MOST_COPIES: i64 = 1 << 14;

/// Expands one store.
pub fn expand_unroll(g: &mut Uops, store: UopId) -> Result<Vec<UopId>> {
    let store = expand_reduces(g, store)?;
    let free = FreeRanges::new().of(g, store);
    let mut ranges: Vec<UopId> = free.iter().copied().filter(|&r| is_unroll(g, r)).collect();
    ranges.sort_by_key(|&r| match g.op(r) {
        Op::Range { id, .. } => id,
        _ => 0,
    });
    check_copies(g, &ranges)?;
    let mut stores = vec![store];
    for range in ranges {
        let extent = g.extent(range).unwrap_or(1);
        let mut next = Vec::with_capacity(stores.len() * extent as usize);
        let mut simplifier = Simplifier::default();
        for store in stores {
            for n in 0..extent {
                let n = g.index(n);
                let copy = substitute(g, store, &FxHashMap::from_iter([(range, n)]));
                next.push(simplifier.run(g, copy));
            }
        }
        stores = next;
    }
    Ok(stores)
}

/// Refuses more than [`MOST_COPIES`].
fn check_copies(g: &Uops, ranges: &[UopId]) -> Result<()> {
    let extents = ranges.iter().map(|&r| g.extent(r).unwrap_or(1));
    let copies = extents.fold(1i64, i64::saturating_mul);
    if copies > MOST_COPIES {
        let what = format!("{copies} copies by unrolled ranges, at most {MOST_COPIES} are made");
        return Err(Error::bug(what));
    }
    Ok(())
}

/// Most lanes that a vector may have.
const MOST_LANES: i64 = 64;

/// Unrolled ranges, loops of one iteration, and vector ranges that cannot be lanes.
fn is_unroll(g: &Uops, range: UopId) -> bool {
    let Op::Range { axis, .. } = g.op(range) else {
        return false;
    };
    let extent = g.extent(range);
    match axis {
        Axis::Unroll => true,
        Axis::Vector => {
            extent.is_some_and(|e| !(2..=MOST_LANES).contains(&e) || !(e as u64).is_power_of_two())
        }
        Axis::Loop => extent == Some(1),
        _ => false,
    }
}

/// Ranges of a reduce to copy. Lanes of the store around it win over lanes of its own.
fn is_copied(g: &Uops, free: &mut FreeRanges, reduce: UopId, range: UopId) -> bool {
    let is_vector = |g: &Uops, r: UopId| {
        matches!(
            g.op(r),
            Op::Range {
                axis: Axis::Vector,
                ..
            }
        )
    };
    is_unroll(g, range)
        || is_vector(g, range)
            && (free
                .of(g, reduce)
                .iter()
                .any(|&r| is_vector(g, r) && !is_unroll(g, r))
                || g.src(reduce)[1..]
                    .iter()
                    .any(|&r| r < range && is_vector(g, r) && !is_unroll(g, r)))
}

/// Unrolled reduce ranges, innermost reduces first.
fn expand_reduces(g: &mut Uops, root: UopId) -> Result<UopId> {
    let mut root = root;
    let mut free = FreeRanges::new();
    loop {
        let found = g.toposort(&[root]).into_iter().find(|&id| {
            matches!(g.op(id), Op::Reduce(_))
                && g.src(id)[1..]
                    .iter()
                    .any(|&r| is_copied(g, &mut free, id, r))
        });
        let Some(id) = found else {
            return Ok(root);
        };
        let node = g.get(id).clone();
        let Op::Reduce(op) = node.op else {
            return Ok(root);
        };
        let (unrolled, kept): (Vec<UopId>, Vec<UopId>) = node.src[1..]
            .iter()
            .partition(|&&r| is_copied(g, &mut free, id, r));
        check_copies(g, &unrolled)?;
        let mut values = vec![node.src[0]];
        for range in unrolled {
            let extent = g.extent(range).unwrap_or(1);
            let mut next = Vec::new();
            for value in values {
                for n in 0..extent {
                    let n = g.index(n);
                    next.push(substitute(g, value, &FxHashMap::from_iter([(range, n)])));
                }
            }
            values = next;
        }
        let mut values = values.into_iter();
        let Some(first) = values.next() else {
            return Ok(root);
        };
        let sum = values.fold(first, |a, b| g.binary(combine(op), a, b));
        let replaced = g.reduce(op, sum, &kept);
        root = substitute(g, root, &FxHashMap::from_iter([(id, replaced)]));
    }
}
