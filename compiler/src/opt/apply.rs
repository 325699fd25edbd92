//! Applies opts, chosen by the heuristic, by a search or by hand.
//!
//! In: a scheduled [`Kernel`] and a list of [`Opt`]s. Out: the kernel with its ranges rewritten. An opt that is not
//! legal is an error value that says why; the heuristic's own list is always legal and gives back its kernel.

use super::nest::{Nest, Work};
use super::opts::{At, Opt};
use super::{finish, weights};
use crate::diag::{Error, Result};
use crate::program::Kernel;
use crate::uop::{Axis, FreeRanges, UopId};

/// Applies a list of opts to a scheduled kernel.
///
/// # Errors
/// Usage when an opt is not legal.
pub fn apply(kernel: &Kernel, opts: &[Opt]) -> Result<Kernel> {
    let (mut work, mut nests) = Work::open(kernel);
    let mut packs = Vec::new();
    for opt in opts {
        let done = match opt {
            Opt::Pack { slot, nest } if (*slot as usize) < kernel.params.len() => {
                packs.push((*slot, *nest));
                Ok(())
            }
            opt => apply_one(&mut work, &mut nests, opt),
        };
        done.map_err(|why| Error::usage(format!("kernel '{}': {opt}: {why}", kernel.name)))?;
    }
    for nest in &nests {
        check_nest(&work, nest)
            .map_err(|why| Error::usage(format!("kernel '{}': {why}", kernel.name)))?;
    }
    super::join::check(&work, &nests)
        .map_err(|why| Error::usage(format!("kernel '{}': {why}", kernel.name)))?;
    let mut params = kernel.params.clone();
    for (slot, number) in packs {
        let nest = nests
            .iter()
            .find(|n| n.number == number)
            .ok_or_else(|| Error::usage(format!("there is no nest {number}")))?;
        weights::pack(&work, nest, slot, &mut params)?;
    }
    weights::make_room(&work, &nests, &mut params);
    super::contract::contract(&work, &nests, &mut params);
    finish(kernel, work.g, &nests, params)
}

/// Why an opt is not legal.
type Legal<T = ()> = std::result::Result<T, String>;

fn apply_one(work: &mut Work<'_>, nests: &mut Vec<Nest>, opt: &Opt) -> Legal {
    match opt {
        Opt::Split { axis, by, into } => {
            let (n, range) = find(work, nests, *axis)?;
            if *by < 1 || work.extent(range) % by != 0 {
                return Err(format!("{by} does not divide {}", work.extent(range)));
            }
            may_become(work, &nests[n], range, *into)?;
            work.split(&mut nests[n], range, *by, *into);
        }
        Opt::Become { axis, into } => {
            let (n, range) = find(work, nests, *axis)?;
            may_become(work, &nests[n], range, *into)?;
            work.set_axis(&mut nests[n], range, *into);
        }
        Opt::Peel { axis, at } => {
            let (n, range) = find(work, nests, *axis)?;
            if !work.loops(&nests[n]).contains(&range) {
                return Err("a reduce runs over the range".into());
            }
            if *at < 1 || *at >= work.extent(range) {
                return Err(format!("{at} is not inside 0..{}", work.extent(range)));
            }
            let (main, rest) = work.peel(&nests[n], range, *at);
            nests[n] = main;
            nests.insert(n + 1, rest);
        }
        Opt::PadTo { axis, to } => {
            let (n, range) = find(work, nests, *axis)?;
            if super::pad::pad_to(work, &mut nests[n], range, *to).is_none() {
                return Err("there is no padding for it".into());
            }
        }
        Opt::Flatten { nest, ranges } => {
            let n = number(nests, *nest)?;
            let mut all = Vec::new();
            for &range in ranges {
                all.push(find(work, nests, At { nest: *nest, range })?.1);
            }
            super::flatten::flatten(work, &mut nests[n], &all)?;
        }
        Opt::Cover { axis, to } => {
            let (n, range) = find(work, nests, *axis)?;
            super::flatten::cover(work, &mut nests[n], range, *to)?;
        }
        Opt::Lanes { axis, by } => {
            let (n, range) = find(work, nests, *axis)?;
            let reduce = reduce_over(work, &nests[n], range)?;
            let has = |r: &UopId| work.axis(*r) == Axis::Vector;
            if *by < 2 || work.extent(range) < *by || work.g.src(reduce)[1..].iter().any(has) {
                return Err("the reduce is too short or has lanes already".into());
            }
            work.lanes(&mut nests[n], reduce, range, *by);
        }
        Opt::Parts { axis, by } => {
            let (n, range) = find(work, nests, *axis)?;
            let reduce = reduce_over(work, &nests[n], range)?;
            if *by < 2 || work.extent(range) % by != 0 || work.axis(range) != Axis::Loop {
                return Err(format!("the range has no {by} parts"));
            }
            super::parts::split(work, &mut nests[n], reduce, range, *by);
        }
        Opt::Chunk { axis, by } => {
            let (n, range) = find(work, nests, *axis)?;
            let (rounds, last) = super::chunk::chunk(work, &nests[n], range, *by)?;
            nests[n] = rounds;
            nests.insert(n + 1, last);
        }
        Opt::Join { nest, with, depth } => {
            let (a, b) = (number(nests, *with)?, number(nests, *nest)?);
            super::join::join(work, nests, a, b, *depth as usize)?;
        }
        Opt::Order { nest, ranges } => {
            let n = number(nests, *nest)?;
            let mut order = Vec::new();
            for &range in ranges {
                order.push(find(work, nests, At { nest: *nest, range })?.1);
            }
            let (mut a, mut b) = (order.clone(), nests[n].order.clone());
            let serial = |order: &[UopId]| -> Vec<UopId> {
                let is = |r: &&UopId| work.axis(**r) == Axis::Serial;
                order.iter().filter(is).copied().collect()
            };
            if serial(&a) != serial(&b) {
                return Err("it changes the order of serial ranges".into());
            }
            a.sort_unstable();
            b.sort_unstable();
            if a != b {
                return Err("it does not name each range once".into());
            }
            nests[n].order = order;
        }
        Opt::Pack { slot, .. } => return Err(format!("there is no parameter {slot}")),
        Opt::Stage { slot, at } => {
            let (n, range) = find(work, nests, *at)?;
            super::stage::stage(work, &mut nests[n], *slot, range)?;
        }
        Opt::TensorCore { nest, shape } => {
            let n = number(nests, *nest)?;
            super::matrix::tensor_core(work, &mut nests[n], shape.map(i64::from))?;
        }
    }
    Ok(())
}

/// The one reduce over a range.
fn reduce_over(work: &Work<'_>, nest: &Nest, range: UopId) -> Legal<UopId> {
    let mut mine = work.reduces(nest);
    mine.retain(|&r| work.g.src(r)[1..].contains(&range));
    match mine[..] {
        [reduce] => Ok(reduce),
        _ => Err("not exactly one reduce runs over the range".into()),
    }
}

fn number(nests: &[Nest], number: u32) -> Legal<usize> {
    nests
        .iter()
        .position(|n| n.number == number)
        .ok_or_else(|| format!("there is no nest {number}"))
}

fn find(work: &Work<'_>, nests: &[Nest], at: At) -> Legal<(usize, UopId)> {
    let n = number(nests, at.nest)?;
    let range = nests[n]
        .order
        .iter()
        .copied()
        .find(|&r| work.at(&nests[n], r) == at)
        .ok_or_else(|| format!("nest {} has no range {}", at.nest, at.range))?;
    if work.g.extent(range).is_none() {
        return Err("its extent is not constant".into());
    }
    Ok((n, range))
}

fn may_become(work: &Work<'_>, nest: &Nest, range: UopId, into: Axis) -> Legal {
    if work.axis(range) != Axis::Loop {
        return Err("the range is no plain loop".into());
    }
    match into {
        Axis::Loop | Axis::Unroll | Axis::Serial => Ok(()),
        Axis::Parallel if work.loops(nest).contains(&range) => Ok(()),
        Axis::Parallel => Err("a reduce runs over the range".into()),
        Axis::Vector => {
            let other = nest.order.iter().any(|&r| {
                work.axis(r) == Axis::Vector
                    && work.loops(nest).contains(&r) == work.loops(nest).contains(&range)
            });
            if other {
                return Err("the nest has a vector range already".into());
            }
            Ok(())
        }
        Axis::Local if work.loops(nest).contains(&range) => Ok(()),
        Axis::Local => Err("a reduce runs over the range".into()),
        Axis::Matrix => Err("tensorcore makes ranges of matrix instructions".into()),
        Axis::Group if !work.loops(nest).contains(&range) => Ok(()),
        Axis::Group => Err("no reduce runs over the range".into()),
    }
}

/// What no order may break: a loop around a reduce comes before the reduce's own loops, parallel loops follow each other.
fn check_nest(work: &Work<'_>, nest: &Nest) -> Legal {
    let place = |r: UopId| nest.order.iter().position(|&o| o == r);
    let looped = |r: UopId| {
        !matches!(
            work.axis(r),
            Axis::Unroll | Axis::Vector | Axis::Group | Axis::Matrix
        )
    };
    let mut free = FreeRanges::new();
    for reduce in work.reduces(nest) {
        let around = free.of(&work.g, reduce);
        for &own in &work.g.src(reduce)[1..] {
            for &r in around.iter().filter(|&&r| looped(r) && looped(own)) {
                if place(r) > place(own) {
                    return Err(format!(
                        "range {} is inside a reduce that depends on it",
                        work.at(nest, r)
                    ));
                }
            }
        }
    }
    let parallel = |r: &UopId| work.axis(*r) == Axis::Parallel;
    let mut shared = nest.order.iter().skip_while(|r| !parallel(r));
    let count = nest.order.iter().filter(|r| parallel(r)).count();
    if !shared.by_ref().take(count).all(parallel) {
        return Err(format!(
            "nest {}: parallel ranges follow each other",
            nest.number
        ));
    }
    super::matrix::check(work, nest)?;
    super::stage::check(work, nest)?;
    super::workgroups::check(work, nest)
}
