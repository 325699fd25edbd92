//! What a search may decide instead of the heuristics.
//!
//! In: nothing. Out: [`Choices`], whose default leaves everything to the heuristics. What does not make sense for a nest is
//! bent into shape (a tile larger than its loops) or left out (chunks that do not divide), so that every value gives a
//! legal kernel.
//!
//! Example: `Choices { tile: Some((8, 3)), ..Choices::default() }` takes tiles of 8 rows by 3 vectors.

use super::nest::{Nest, Work};
use crate::uop::{Axis, UopId};

/// How a contraction is blocked for the second-level cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Blocks {
    /// Not at all.
    Whole,
    /// The sum in chunks of so many steps.
    Chunks(i64),
    /// Blocks of at most so many rows.
    Rows(i64),
}

/// Decisions for one kernel. `None` and `false` are the heuristics'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Choices {
    /// Rows and vectors of a contraction's register tile.
    pub tile: Option<(i64, i64)>,
    /// Lanes of a vector.
    pub lanes: Option<i64>,
    /// The vector runs along the loop that the heuristics like least of those that are possible.
    pub other_vector: bool,
    /// Blocks for the second-level cache.
    pub blocks: Option<Blocks>,
    /// Rows of a contraction outside of its vector blocks.
    pub rows_first: bool,
    /// Steps of a contraction's innermost reduce loop that are unrolled.
    pub steps: Option<i64>,
    /// Parts of one product keep loops of their own.
    pub apart: bool,
    /// Most taps of a window that are unrolled.
    pub taps: Option<i64>,
    /// Neither tiles in the memory of work-groups nor matrix instructions.
    pub simple: bool,
    /// Block of a product for a work-group: rows and columns (or tiles of matrix instructions) of a thread (or wave), then threads (or
    /// waves) down and across.
    pub block: Option<[i64; 4]>,
    /// Threads of a work-group, where nothing else decides them.
    pub threads: Option<i64>,
    /// Pieces that threads share, about.
    pub pieces: Option<i64>,
}

impl Choices {
    /// True when everything is left to the heuristics.
    pub fn is_default(&self) -> bool {
        *self == Choices::default()
    }
}

/// Unrolls steps of the innermost plain range of a reduce, when [`Choices::steps`] says so and they divide. The unrolled
/// steps follow their loop in the order, where packed weights want them.
pub fn unroll_steps(work: &mut Work<'_>, nest: &mut Nest, reduce: &[UopId]) {
    let Some(by) = work.choices.steps.filter(|&by| by > 1) else {
        return;
    };
    let plain = |r: &UopId| reduce.contains(r) && work.axis(*r) == Axis::Loop;
    let Some(place) = nest.order.iter().rposition(plain) else {
        return;
    };
    let range = nest.order[place];
    let extent = work.extent(range);
    if extent % by != 0 {
        return;
    }
    let (_, inner) = work.split(nest, range, by, Axis::Unroll);
    nest.order.retain(|&r| r != inner);
    let after = place + usize::from(extent > by);
    nest.order.insert(after.min(nest.order.len()), inner);
}
