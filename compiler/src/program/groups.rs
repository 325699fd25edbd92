//! Work-groups of a linear list: how many threads it wants, and which digit of the thread's number each range is.
//!
//! In: a list whose loops may be `Parallel` (spread over work-groups), `Local` (over the threads of one) and `Group` (a reduce's, over
//! the threads of one). Out: [`Threads`]. The ranges of threads that are open at a place are the digits of the thread's number, the
//! outermost the highest; what they leave over, the lowest digit, is idle there.
//!
//! Example: rows of 4 `Local`, then a reduce over 64 `Group`, then columns of 64 `Local`: 256 threads; row = thread/64, the
//! other two = thread%64.

use crate::diag::{Error, Result};
use crate::uop::{Axis, Op, UopId, Uops};
use rustc_hash::FxHashMap;

/// The threads of a work-group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Threads {
    /// How many.
    pub count: i64,
    /// For each range over threads what its digit counts: `thread / stride % extent`.
    pub strides: FxHashMap<UopId, i64>,
}

/// True for ranges over the threads of a work-group.
pub fn is_thread_range(g: &Uops, range: UopId) -> bool {
    matches!(
        g.op(range),
        Op::Range {
            axis: Axis::Local | Axis::Group,
            ..
        }
    )
}

/// Threads of a list.
///
/// # Errors
/// Bug when the ranges that are open somewhere do not divide the threads, or a reduce over threads has idle ones.
pub fn threads(g: &Uops, list: &[UopId]) -> Result<Threads> {
    let mut all: Vec<(UopId, i64)> = Vec::new();
    let mut open: Vec<i64> = vec![1];
    let mut count = 1i64;
    for &id in list {
        match g.op(id) {
            Op::Loop => {
                let range = g.src(id)[0];
                let mut product = open.last().copied().unwrap_or(1);
                if is_thread_range(g, range) {
                    product = product.saturating_mul(g.extent(range).unwrap_or(1));
                    all.push((range, product));
                    count = count.max(product);
                }
                open.push(product);
            }
            Op::EndLoop => {
                open.pop();
            }
            _ => {}
        }
    }
    let mut strides = FxHashMap::default();
    for (range, product) in all {
        if product == 0 || count % product != 0 {
            return Err(Error::bug(format!(
                "{product} threads of ranges do not divide a work-group of {count}"
            )));
        }
        let stride = count / product;
        if *strides.entry(range).or_insert(stride) != stride {
            return Err(Error::bug(
                "a range over threads is two digits of a thread's number",
            ));
        }
    }
    check_folds(g, list, count)?;
    Ok(Threads { count, strides })
}

/// A reduce over threads leaves none of them idle: its ranges are the lowest digits.
fn check_folds(g: &Uops, list: &[UopId], count: i64) -> Result<()> {
    let mut open: Vec<i64> = vec![1];
    for &id in list {
        let last = open.last().copied().unwrap_or(1);
        match g.op(id) {
            Op::Loop => {
                let range = g.src(id)[0];
                let extent = match is_thread_range(g, range) {
                    true => g.extent(range).unwrap_or(1),
                    false => 1,
                };
                open.push(last.saturating_mul(extent));
            }
            Op::EndLoop => {
                open.pop();
            }
            Op::GroupFold { threads, .. } if last.saturating_mul(i64::from(threads)) != count => {
                return Err(Error::bug(format!(
                    "a reduce over {threads} threads inside of {last} others, in a work-group of {count}"
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Work-groups of a list: iterations of its `Parallel` ranges.
pub fn groups(g: &Uops, list: &[UopId]) -> i64 {
    let ranges = list.iter().filter(|&&id| g.op(id) == Op::Loop);
    ranges
        .map(|&id| g.src(id)[0])
        .filter(|&r| {
            matches!(
                g.op(r),
                Op::Range {
                    axis: Axis::Parallel,
                    ..
                }
            )
        })
        .map(|r| g.extent(r).unwrap_or(1))
        .fold(1, i64::saturating_mul)
}
