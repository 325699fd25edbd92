//! Sums in several parts at once, where a tile is too small to keep the multiply-adds busy.
//!
//! In: a nest whose one reduce runs over a range. Out: the same with as many partial results as fill the pipeline: part `n`
//! takes every step that leaves `n` when divided by their number. Each has its own register, and they are combined after the loop.
//! Weights packed in this order are read as they lie.
//!
//! Example: ten outputs of a sum over 256 are one vector. One sum waits four cycles for each of its 256 steps; eight parts
//! of 32 steps wait for nothing.

use super::nest::{Nest, Work};
use crate::target::Facts;
use crate::uop::{Axis, Op, UopId};
use rustc_hash::FxHashMap;

/// Steps of a part, at least: combining the parts takes time too.
const SHORTEST: i64 = 4;

/// Chooses parts of a reduce whose tile has `results` registers and reads `vectors` vectors a step, and splits it. `None` when it
/// stays whole.
pub fn choose(
    work: &mut Work<'_>,
    nest: &mut Nest,
    reduce: UopId,
    results: i64,
    vectors: i64,
    facts: &Facts,
) -> Option<()> {
    let free = i64::from(facts.vector_registers) - vectors - 1;
    let wanted = i64::from(facts.fma_in_flight);
    let most = ((wanted + results - 1) / results).min(free / results);
    let ranges = &work.g.src(reduce)[1..];
    let steps: i64 = ranges.iter().map(|&r| work.extent(r)).product();
    let plain = |r: &&UopId| ranges.contains(r) && work.axis(**r) == Axis::Loop;
    let (range, by) = (2..=most).rev().find_map(|by| {
        let mut inner = nest.order.iter().rev().filter(plain);
        let range = inner.find(|&&r| work.extent(r) % by == 0)?;
        (steps >= SHORTEST * by).then_some((*range, by))
    })?;
    split(work, nest, reduce, range, by);
    Some(())
}

/// Splits a reduce into `by` parts along one of its ranges, whose extent they divide.
pub fn split(work: &mut Work<'_>, nest: &mut Nest, reduce: UopId, range: UopId, by: i64) {
    let extent = work.extent(range);
    let node = work.g.get(reduce).clone();
    let Op::Reduce(op) = node.op else { return };
    let axis = work.at(nest, range);
    work.log.push(super::Opt::Parts { axis, by });
    let part = work.fresh(by, Axis::Unroll);
    let steps = work.fresh(extent / by, Axis::Loop);
    let several = extent > by;
    let mut place = part;
    let mut kept: Vec<UopId> = node.src[1..]
        .iter()
        .copied()
        .filter(|&r| r != range)
        .collect();
    if several {
        let base = work.g.mul_const(steps, by);
        place = work.g.add(base, part);
        kept.push(steps);
    }
    let map = FxHashMap::from_iter([(range, place)]);
    let value = crate::uop::substitute(&mut work.g, node.src[0], &map);
    let each = work.g.reduce(op, value, &kept);
    let all = work.g.reduce(op, each, &[part]);
    work.replace(nest, &FxHashMap::from_iter([(reduce, all)]));
    if let Some(at) = nest.order.iter().position(|&r| r == range) {
        let new = [steps, part];
        nest.order
            .splice(at..=at, new[usize::from(!several)..].iter().copied());
    }
}
