//! A long sum in chunks, so that what it reads stays in cache while all columns pass.
//!
//! In: a nest with one float sum. Out: two nests. The first runs over all chunks but the last, in order, and adds each to what
//! the output buffer holds; the second adds the last chunk and does the rest of the nest. Each output element
//! gets its parts in the same order whatever the other loops do.
//!
//! Example: `y[i,j] = relu(sum k<3072: x[i,k]*w[k,j])` in chunks of 768 becomes `for c<3: y[i,j] = (c > 0 ? y[i,j] : 0) +
//! sum k<768: x[i,c*768+k]*w[c*768+k,j]`, then `y[i,j] = relu(y[i,j] + sum k<768: x[i,2304+k]*w[2304+k,j])`.

use super::nest::{Nest, Work};
use super::opts::Opt;
use crate::uop::{Axis, Binary, Op, ReduceOp, UopId};
use rustc_hash::FxHashMap;

/// The reduce and its range's extent, or why the nest has no chunks of `by`.
fn find(work: &Work<'_>, nest: &Nest, range: UopId, by: i64) -> Result<UopId, &'static str> {
    let reduces = work.reduces(nest);
    let [reduce] = reduces[..] else {
        return Err("the nest has not exactly one reduce");
    };
    if work.g.op(reduce) != Op::Reduce(ReduceOp::Sum) || !work.g.ty(reduce).scalar.is_float() {
        return Err("the reduce is no sum of floats");
    }
    if !work.g.src(reduce)[1..].contains(&range) || work.axis(range) != Axis::Loop {
        return Err("the reduce does not run over the range");
    }
    if by < 1 || work.extent(range) % by != 0 || work.extent(range) <= by {
        return Err("the chunk does not divide the range");
    }
    if work.g.op(nest.store) != (Op::Store { gated: false }) {
        return Err("the store has a gate");
    }
    let buffer = work.g.src(nest.store)[0];
    if work.g.ty(buffer) != work.g.ty(reduce) {
        return Err("the output holds another type than the sum");
    }
    let accesses = work.accesses(nest.store);
    let own = accesses.iter().find(|a| a.store).map(|a| a.slot);
    if accesses.iter().any(|a| !a.store && Some(a.slot) == own) {
        return Err("the nest reads its output");
    }
    if nest.order.iter().any(|&r| work.axis(r) == Axis::Serial) {
        return Err("the nest has a serial range already");
    }
    // Every loop must tell elements of the output apart: the sum so far lives there.
    let store = accesses.iter().find(|a| a.store);
    let apart = work
        .loops(nest)
        .iter()
        .all(|&r| store.is_some_and(|s| super::join::separates(work, r, &s.index, r, &s.index)));
    if !apart {
        return Err("several iterations store the same element");
    }
    Ok(reduce)
}

/// Cuts a sum. Returns the nest of all chunks but the last, with the range of chunks outermost, and that of the last.
///
/// # Errors
/// Why it cannot be cut.
pub fn chunk(
    work: &mut Work<'_>,
    nest: &Nest,
    range: UopId,
    by: i64,
) -> Result<(Nest, Nest), &'static str> {
    let reduce = find(work, nest, range, by)?;
    let chunks = work.extent(range) / by;
    let axis = work.at(nest, range);
    work.log.push(Opt::Chunk { axis, by });
    let store = work.g.get(nest.store).clone();
    let (buffer, index) = (store.src[0], store.src[2..].to_vec());

    let mut rounds = nest.clone();
    let inner = work.fresh(by, Axis::Loop);
    let mut place = inner;
    let mut old = None;
    if chunks > 2 {
        let round = work.fresh(chunks - 1, Axis::Serial);
        let first = work.g.mul_const(round, by);
        place = work.g.add(first, inner);
        let zero = work.g.index(0);
        let later = work.g.binary(Binary::Lt, zero, round);
        let none = work.g.float(work.g.ty(reduce).scalar, 0.0);
        old = Some(work.g.load_gated(buffer, later, none, &index));
        rounds.order.insert(0, round);
    }
    let part = cut_reduce(work, reduce, range, place, inner);
    let sum = match old {
        Some(old) => work.g.add(old, part),
        None => part,
    };
    rounds.store = work.g.store(buffer, sum, &index);
    work.replace(&mut rounds, &FxHashMap::default());
    for r in &mut rounds.order {
        if *r == range {
            *r = inner;
        }
    }

    let mut last = nest.clone();
    last.number = work.nest_after(nest.number);
    last.family = last.number;
    let inner = work.fresh(by, Axis::Loop);
    let place = work.g.add_const(inner, (chunks - 1) * by);
    let part = cut_reduce(work, reduce, range, place, inner);
    let old = work.g.load(buffer, &index);
    let sum = work.g.add(old, part);
    let mut map = FxHashMap::from_iter([(reduce, sum)]);
    last.store = crate::uop::substitute(&mut work.g, nest.store, &map);
    // Nests share no range.
    map.clear();
    let mut order = vec![];
    let mut ranges: Vec<UopId> = nest.order.clone();
    ranges.sort_by_key(|&r| work.at(nest, r));
    for r in ranges {
        let copy = match r == range {
            true => inner,
            false => work.fresh(work.extent(r), work.axis(r)),
        };
        map.insert(r, copy);
    }
    for r in &nest.order {
        order.push(map[r]);
    }
    work.replace(&mut last, &map);
    last.order = order;
    Ok((rounds, last))
}

/// The same reduce over `inner` instead of `range`, which becomes `place`.
fn cut_reduce(
    work: &mut Work<'_>,
    reduce: UopId,
    range: UopId,
    place: UopId,
    inner: UopId,
) -> UopId {
    let node = work.g.get(reduce).clone();
    let map = FxHashMap::from_iter([(range, place)]);
    let value = crate::uop::substitute(&mut work.g, node.src[0], &map);
    let ranges: Vec<UopId> = node.src[1..]
        .iter()
        .map(|&r| if r == range { inner } else { r })
        .collect();
    work.g.reduce(ReduceOp::Sum, value, &ranges)
}
