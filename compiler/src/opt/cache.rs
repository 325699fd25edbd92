//! How a contraction is blocked so that its operands stay in the second-level cache.
//!
//! In: a matmul-like nest with its vector range. Out: one of three ways, the one that moves the fewest bytes past that cache:
//!
//! - as it is: the row operand passes once for each panel of columns (free when it fits);
//! - [`Blocking::Chunks`]: the sum in chunks, of which the row operand's part fits; results come and go once a chunk;
//! - [`Blocking::Rows`]: blocks of rows that fit; the weights pass once for each.
//!
//! A convolution sums over taps too: the chunks are of its channels, and the weights of one panel have to stay in that cache as well,
//! because they pass once for each tile of pixels.
//!
//! Example: 197 rows of 3,072 values are 2.4 MB, passed for each of 16 panels. In chunks of 768 they pass once, and
//! 0.6 MB of results pass four times.

use super::choices::Blocks;
use super::nest::{Nest, Work};
use crate::target::Facts;
use crate::uop::{Axis, UopId};

/// Part of the second-level cache that the row operand may fill: panels of weights and results need room too.
const SHARE: f64 = 0.6;
/// Part of it that the weights of one panel may fill.
const PANEL_SHARE: f64 = 0.5;
/// Pixels of a tile of a convolution, about.
const TILE_ROWS: f64 = 8.0;
/// A chunk shorter than this makes the tile's loads and stores of results count.
const SHORTEST: i64 = 192;

/// A way to run a contraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocking {
    /// As it is.
    None,
    /// The sum over `range` in chunks of `by`.
    Chunks {
        /// Range of the reduce.
        range: UopId,
        /// Extent of a chunk.
        by: i64,
    },
    /// Blocks of at most so many rows.
    Rows(i64),
}

/// What a contraction looks like: its loops by role.
pub struct Roles {
    /// Loops that only the row operand depends on.
    pub rows: Vec<UopId>,
    /// Loops that only the column operand depends on.
    pub columns: Vec<UopId>,
    /// Ranges of the reduce.
    pub reduce: Vec<UopId>,
}

/// Chooses. `panel` is the number of columns that the tile takes at once.
pub fn choose(work: &Work<'_>, nest: &Nest, roles: &Roles, panel: i64, facts: &Facts) -> Blocking {
    let extent = |list: &[UopId]| -> f64 { list.iter().map(|&r| work.extent(r) as f64).product() };
    // The channels of a convolution, whose other ranges are taps.
    let Some(&range) = roles.reduce.iter().max_by_key(|&&r| work.extent(r)) else {
        return Blocking::None;
    };
    if nest.order.iter().any(|&r| work.axis(r) != Axis::Loop) {
        return Blocking::None;
    }
    match work.choices.blocks {
        Some(Blocks::Whole) => return Blocking::None,
        Some(Blocks::Chunks(by)) => return Blocking::Chunks { range, by },
        Some(Blocks::Rows(rows)) => return Blocking::Rows(rows),
        None => {}
    }
    let (m, n, k) = (
        extent(&roles.rows),
        extent(&roles.columns),
        work.extent(range) as f64,
    );
    let size = 4.0;
    let (a, b, c) = (m * k * size, n * k * size, m * n * size);
    let room = SHARE * facts.l2_bytes as f64;
    let panels = (n / panel as f64).ceil();
    if roles.reduce.len() > 1 {
        let taps = extent(&roles.reduce) / k;
        let tiles = (m / TILE_ROWS).ceil();
        let cost = |by: i64| {
            let part = by as f64 * size;
            let input = if m * part <= room { a } else { panels * a };
            let fits = panel as f64 * part * taps <= PANEL_SHARE * facts.l2_bytes as f64;
            let weights = taps * if fits { b } else { tiles * b };
            input + weights + 2.0 * (k / by as f64 - 1.0) * c
        };
        let block = i64::from(facts.channel_block).max(1);
        let parts = (1..work.extent(range) / block).map(|n| n * block);
        let best = parts
            .filter(|by| work.extent(range) % by == 0 && (*by as f64) * taps >= SHORTEST as f64)
            .min_by(|&a, &b| cost(a).total_cmp(&cost(b)).then(b.cmp(&a)));
        return match best {
            Some(by) if cost(by) < 0.8 * cost(work.extent(range)) => Blocking::Chunks { range, by },
            _ => Blocking::None,
        };
    }
    if a <= room || panels < 3.0 {
        return Blocking::None;
    }
    let mut best = (0.8 * (panels * a + b), Blocking::None);
    let chunk = (SHORTEST..work.extent(range))
        .rev()
        .find(|by| work.extent(range) % by == 0 && m * *by as f64 * size <= room);
    if let Some(by) = chunk {
        let rounds = k / by as f64;
        let cost = a + b + 2.0 * (rounds - 1.0) * c;
        if cost < best.0 {
            best = (cost, Blocking::Chunks { range, by });
        }
    }
    let rows = (room / (k * size)).floor();
    if rows >= 16.0 {
        let cost = a + (m / rows).ceil() * b;
        if cost < best.0 {
            best = (cost, Blocking::Rows(rows as i64));
        }
    }
    best.1
}
