//! Several ranges as the digits of one, and ranges rounded up, so that work-groups of any size divide them.
//!
//! In: ranges of a nest: loops of the store, or ranges of one reduce. Out: `flatten` gives one range in their place, whose digits
//! they become. `cover` gives a longer range in the place of one: what is beyond the end computes the last iteration again, and is not
//! stored (a loop) or adds nothing (a reduce).
//!
//! Example: loops of 7 and 7 become one of 49 and, covered to 64, two waves of 32 threads.

use super::nest::{Nest, Work};
use super::opts::Opt;
use crate::uop::{Axis, Binary, DType, Op, ReduceOp, Type, UopId, Uops, substitute};
use rustc_hash::FxHashMap;

/// Why it cannot be done.
type Legal<T> = Result<T, String>;

/// One plain loop whose digits the given ones become, the first the highest. It stands where the first stood.
pub fn flatten(work: &mut Work<'_>, nest: &mut Nest, ranges: &[UopId]) -> Legal<UopId> {
    let &[first, ..] = ranges else {
        return Err("there is nothing to flatten".into());
    };
    let loops = work.loops(nest);
    let of_store = loops.contains(&first);
    let owner = owners(work, nest, first);
    for (n, &range) in ranges.iter().enumerate() {
        if work.axis(range) != Axis::Loop || ranges[..n].contains(&range) {
            return Err("only plain loops, each once, are flattened".into());
        }
        if loops.contains(&range) != of_store || owners(work, nest, range) != owner {
            return Err("the ranges do not belong together".into());
        }
    }
    let extents: Vec<i64> = ranges.iter().map(|&r| work.extent(r)).collect();
    let total = extents.iter().try_fold(1i64, |t, &e| t.checked_mul(e));
    let Some(total) = total.filter(|&t| t > 0) else {
        return Err("the ranges are empty or too long".into());
    };
    work.log.push(Opt::Flatten {
        nest: nest.number,
        ranges: ranges.iter().map(|&r| work.at(nest, r).range).collect(),
    });
    let flat = work.fresh(total, Axis::Loop);
    let mut map = FxHashMap::default();
    let mut below = total;
    for (n, (&range, &extent)) in ranges.iter().zip(&extents).enumerate() {
        below /= extent;
        let mut digit = work.g.div_const(flat, below);
        if n > 0 {
            digit = work.g.mod_const(digit, extent);
        }
        map.insert(range, digit);
    }
    work.replace(nest, &map);
    for r in &mut nest.order {
        if *r == first {
            *r = flat;
        }
    }
    nest.order.retain(|r| !map.contains_key(r));
    Ok(flat)
}

/// Reduces that run over a range.
fn owners(work: &Work<'_>, nest: &Nest, range: UopId) -> Vec<UopId> {
    let mut all = work.reduces(nest);
    all.retain(|&r| work.g.src(r)[1..].contains(&range));
    all
}

/// A range of `to` iterations in the place of a shorter one.
pub fn cover(work: &mut Work<'_>, nest: &mut Nest, range: UopId, to: i64) -> Legal<UopId> {
    let extent = work.extent(range);
    if work.axis(range) != Axis::Loop || to <= extent || extent < 1 {
        return Err("it covers only plain loops, by longer ones".into());
    }
    let own = owners(work, nest, range);
    let axis = work.at(nest, range);
    work.log.push(Opt::Cover { axis, to });
    let long = work.fresh(to, Axis::Loop);
    let g = &mut work.g;
    let (last, end) = (g.index(extent - 1), g.index(extent));
    let inside = g.binary(Binary::Lt, long, end);
    let place = g.binary(Binary::Min, long, last);
    let map = FxHashMap::from_iter([(range, place)]);
    if own.is_empty() {
        work.replace(nest, &map);
        let node = work.g.get(nest.store).clone();
        let Op::Store { gated } = node.op else {
            return Err("the nest is no store".into());
        };
        let mut src: Vec<UopId> = node.src.to_vec();
        if gated {
            src[2] = work.g.and(src[2], inside);
        } else {
            src.insert(2, inside);
        }
        let op = Op::Store { gated: true };
        nest.store = work.g.add_node(op, Type::VOID, src);
    } else {
        let mut covered = FxHashMap::default();
        for &reduce in &own {
            let node = g.get(reduce).clone();
            let Op::Reduce(op) = node.op else {
                return Err("it is no reduce".into());
            };
            if g.toposort(&[node.src[0]]).iter().any(|r| own.contains(r)) {
                return Err("a reduce over the range is inside of another".into());
            }
            let value = substitute(g, node.src[0], &map);
            let nothing = neutral(g, op, node.ty);
            let value = g.select(inside, value, nothing);
            let longer = |&r: &UopId| if r == range { long } else { r };
            let ranges: Vec<UopId> = node.src[1..].iter().map(longer).collect();
            covered.insert(reduce, g.reduce(op, value, &ranges));
        }
        work.replace(nest, &covered);
    }
    for r in &mut nest.order {
        if *r == range {
            *r = long;
        }
    }
    Ok(long)
}

/// What a reduce does not notice.
fn neutral(g: &mut Uops, op: ReduceOp, ty: Type) -> UopId {
    let dtype = ty.scalar;
    let bits = match (op, dtype.int_bounds()) {
        (ReduceOp::Sum | ReduceOp::Any, None) => 0f64.to_bits(),
        (ReduceOp::Prod | ReduceOp::All, None) => 1f64.to_bits(),
        (ReduceOp::Max, None) => f64::NEG_INFINITY.to_bits(),
        (ReduceOp::Min, None) => f64::INFINITY.to_bits(),
        (ReduceOp::Sum | ReduceOp::Any, Some(_)) => 0,
        (ReduceOp::Prod | ReduceOp::All, Some(_)) => 1,
        (ReduceOp::Max, Some((low, _))) => low as u64,
        (ReduceOp::Min, Some(_)) if dtype == DType::U64 => u64::MAX,
        (ReduceOp::Min, Some((_, high))) => high as u64,
    };
    g.constant(ty, bits)
}
