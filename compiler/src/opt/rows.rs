//! Kernels whose nests share rows: blocks of rows, each nest tiled inside a block.
//!
//! In: the nests of a kernel with scratch parameters and the loops that all of them share ([`choose_rows`]). Out: groups of nests
//! joined at those loops: the shared loops that only count (heads, batches) and pieces of the rows for threads, then blocks of rows,
//! one after another, then what each nest does in a block. A block is as many rows as the second-level cache holds of all
//! scratch parameters.
//!
//! Example: attention over 1,500 rows in blocks of 12: scores, exponentials and weighted sums of 12 rows, then of the next 12.
//!
//! [`choose_rows`]: crate::program::rows::choose_rows

use super::join::Group;
use super::nest::{Nest, Work};
use super::{blocks, contraction, vectors};
use crate::program::Access;
use crate::target::Facts;
use crate::uop::{Axis, UopId};

/// Rows that a block has at least room for.
pub const LEAST: i64 = 2;
/// Rows of a block at most: more do not make the tiles better.
const MOST: i64 = 48;
/// Pieces for threads, at least where there are that many blocks.
const PIECES: i64 = 16;

/// Bytes of the second-level cache that a block's scratch may fill.
pub fn room(facts: &Facts) -> i64 {
    facts.l2_bytes as i64 / 4
}

/// Tiles and groups the nests. `rows[c][n]` is the range of shared loop `c` in nest `n`.
pub fn tile(
    work: &mut Work<'_>,
    nests: Vec<Nest>,
    rows: &[Vec<UopId>],
    facts: &Facts,
) -> Vec<Group> {
    let longest = rows.len() - 1;
    let extent = work.extent(rows[longest][0]);
    let all: i64 = rows.iter().map(|r| work.extent(r[0])).product();
    let scratch: i64 = work
        .params
        .iter()
        .filter(|p| p.access == Access::Scratch)
        .map(|p| p.layout.elements() * p.dtype.size() as i64)
        .sum();
    let mut most = (room(facts) / (scratch / all).max(1)).clamp(1, MOST);
    let parallel = size(work, &nests) >= facts.parallel_threshold as f64;
    if parallel {
        most = most.min((all / PIECES).max(4));
    }
    // Rows that lie next to each other in memory become vectors: a block holds whole ones.
    let lanes = i64::from(facts.lanes(4));
    let vectors = extent % lanes == 0
        && nests.iter().zip(&rows[longest]).any(|(nest, &row)| {
            let accesses = work.accesses(nest.store);
            let mut stores = accesses.iter().filter(|a| a.store);
            stores.any(|a| work.lane_stride(a, row, lanes) == Some(1))
        });
    let (block, whole) = match vectors {
        true => {
            let most = (most / lanes).max(1);
            let fitting = (1..=most).rev().find(|n| extent % (n * lanes) == 0);
            (fitting.unwrap_or(1) * lanes, extent)
        }
        false => choose_block(extent, most),
    };
    let mut parts = Vec::new();
    if whole < extent {
        let (mut main, mut rest) = (Vec::new(), Vec::new());
        let (mut main_rows, mut rest_rows) = (Vec::new(), Vec::new());
        for (n, nest) in nests.iter().enumerate() {
            let mine: Vec<UopId> = rows.iter().map(|r| r[n]).collect();
            let places: Vec<Option<usize>> = mine
                .iter()
                .map(|r| nest.order.iter().position(|o| o == r))
                .collect();
            let gone = extent - whole == 1;
            let (a, b) = work.peel(nest, mine[longest], whole);
            let at = |nest: &Nest, c: usize, dropped: bool| -> Option<UopId> {
                let place = places[c]?;
                let cut = places[longest]?;
                match (dropped, place.cmp(&cut)) {
                    (true, std::cmp::Ordering::Equal) => None,
                    (true, std::cmp::Ordering::Greater) => nest.order.get(place - 1).copied(),
                    _ => nest.order.get(place).copied(),
                }
            };
            main_rows.push(
                (0..rows.len())
                    .filter_map(|c| at(&a, c, false))
                    .collect::<Vec<_>>(),
            );
            rest_rows.push(
                (0..rows.len())
                    .filter_map(|c| at(&b, c, gone))
                    .collect::<Vec<_>>(),
            );
            main.push(a);
            rest.push(b);
        }
        parts.push((main, main_rows, longest, block));
        let size = extent - whole;
        parts.push((rest, rest_rows, longest, size));
    } else {
        let mine = (0..nests.len())
            .map(|n| rows.iter().map(|r| r[n]).collect())
            .collect();
        parts.push((nests, mine, longest, block));
    }
    let mut groups = Vec::new();
    for (nests, rows, longest, block) in parts {
        groups.push(tile_part(
            work, nests, &rows, longest, block, parallel, facts,
        ));
    }
    groups
}

fn size(work: &Work<'_>, nests: &[Nest]) -> f64 {
    nests
        .iter()
        .map(|n| {
            n.order
                .iter()
                .map(|&r| work.extent(r) as f64)
                .product::<f64>()
        })
        .sum()
}

/// Rows of a block, and how many rows are in whole blocks. The rest, if any, is a block of its own.
fn choose_block(extent: i64, most: i64) -> (i64, i64) {
    if extent <= most {
        return (extent, extent);
    }
    let least = (most / 2).max(1);
    let mut divide = (least..=most).rev().filter(|by| extent % by == 0);
    // An even number of blocks, for two workers.
    let even = divide.clone().find(|by| extent / by % 2 == 0);
    if let Some(by) = even.or_else(|| divide.next()) {
        return (by, extent);
    }
    // The rest should fill a register tile.
    let by = (least..=most)
        .rev()
        .max_by_key(|by| (extent % by).min(8))
        .unwrap_or(1);
    (by, extent / by * by)
}

/// One group: `rows[n]` are the shared ranges of nest `n`.
fn tile_part(
    work: &mut Work<'_>,
    nests: Vec<Nest>,
    rows: &[Vec<UopId>],
    longest: usize,
    block: i64,
    parallel: bool,
    facts: &Facts,
) -> Group {
    let depth_before = rows[0].len();
    let blocked = depth_before > longest && work.extent(rows[0][longest]) > block;
    let counted: i64 = rows[0]
        .iter()
        .enumerate()
        .filter(|&(c, _)| c != longest || depth_before <= longest)
        .map(|(_, &r)| work.extent(r))
        .product();
    let mut out: Vec<Nest> = Vec::new();
    let mut depth = 0;
    for (mut nest, mine) in nests.into_iter().zip(rows) {
        let mut shared = Vec::new();
        let mut steps = None;
        for (c, &range) in mine.iter().enumerate() {
            if c == longest && blocked {
                let at = nest.order.iter().position(|&r| r == range);
                let (outer, inner) = work.split(&mut nest, range, block, Axis::Loop);
                blocks::keep_together(&mut nest, at, outer, inner);
                let count = work.extent(outer);
                let pieces = (1..=count)
                    .find(|p| count % p == 0 && counted * p >= PIECES)
                    .unwrap_or(count);
                if parallel && pieces < count {
                    let (piece, step) = work.split(&mut nest, outer, count / pieces, Axis::Loop);
                    if pieces > 1 {
                        shared.push(piece);
                    }
                    steps = Some(step);
                } else if parallel {
                    shared.push(outer);
                } else {
                    steps = Some(outer);
                }
            } else if c != longest || mine.len() <= longest {
                shared.push(range);
            }
        }
        let mut first = Vec::new();
        for range in shared {
            let axis = if parallel {
                Axis::Parallel
            } else {
                Axis::Serial
            };
            first.push(work.set_axis(&mut nest, range, axis));
        }
        if let Some(step) = steps {
            first.push(work.set_axis(&mut nest, step, Axis::Serial));
        }
        nest.order.retain(|r| !first.contains(r));
        nest.order.splice(0..0, first.iter().copied());
        depth = first.len();
        let mut parts = Vec::new();
        for nest in blocks::split_blocks(work, nest) {
            let mark = work.mark();
            parts.extend(match contraction::tile(work, nest.clone(), facts) {
                Some(nests) => nests,
                None => {
                    work.back_to(mark);
                    vectors::vectorise(work, nest, facts)
                }
            });
        }
        // The first keeps the nest's number and place.
        parts.sort_by_key(|n| work.place(n.number));
        out.extend(parts);
    }
    let depths = vec![depth; out.len().saturating_sub(1)];
    Group {
        nests: out,
        depth,
        depths,
    }
}
