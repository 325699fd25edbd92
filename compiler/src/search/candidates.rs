//! Other ways to build a kernel.
//!
//! In: a scheduled kernel and a [`Point`], a way to build it. Out: the points around it, and for each the [`Candidate`]: recipe,
//! optimised kernel, linear list, estimated time. A point that is not legal, or whose code would be far longer than the
//! heuristics', has no candidate.
//!
//! Points are of two kinds. Most differ in one of the heuristics' own [`Choices`]: the tile, the width of vectors, the
//! blocks. The others are edits of a list of opts: two loops change places, another size of a split, loops no longer joined.

use super::cost;
use super::recipe::Recipe;
use crate::codegen;
use crate::diag::{Error, Result};
use crate::opt::{self, Blocks, Choices, Opt};
use crate::program::text::print_linear;
use crate::program::verify::{verify_kernel, verify_linear, verify_scheduled};
use crate::program::{Kernel, LinearKernel};
use crate::target::{Facts, Gpu};
use crate::uop::Axis;
use rustc_hash::FxHashMap;
use sha2::{Digest, Sha256};

/// A way to build a kernel.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Point {
    /// What is decided instead of the heuristics.
    pub choices: Choices,
    /// Distance of prefetches in bytes.
    pub prefetch: Option<u32>,
    /// Opts in place of the heuristics and the choices.
    pub opts: Option<Vec<Opt>>,
}

/// A kernel built at a point.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Where.
    pub point: Point,
    /// What gives the same again.
    pub recipe: Recipe,
    /// The optimised kernel.
    pub kernel: Kernel,
    /// Its list.
    pub linear: LinearKernel,
    /// Estimated cycles.
    pub cost: f64,
    /// Hash of the list: candidates that share it are the same code.
    pub code: [u8; 32],
}

/// Lines that a list may have however short the heuristics' is.
const SHORT: usize = 1500;

impl Point {
    /// Builds the kernel. `longest` is the number of lines that its list may have.
    ///
    /// # Errors
    /// Usage when the point is not legal or too long; Bug when a pass breaks the kernel.
    pub fn build(&self, kernel: &Kernel, facts: &Facts, longest: usize) -> Result<Candidate> {
        let (done, opts) = match &self.opts {
            Some(opts) => (opt::apply(kernel, opts)?, opts.clone()),
            None => opt::optimise_with(kernel, facts, &self.choices)?,
        };
        verify_scheduled(&done)?;
        let recipe = Recipe {
            opts,
            prefetch: self.prefetch,
            tuned: true,
        };
        let facts = recipe.facts(facts);
        verify_kernel(&done)?;
        let linear = codegen::lower(&done, &facts)?;
        if linear.list.len() > longest {
            return Err(Error::usage(format!(
                "{} lines, at most {longest}",
                linear.list.len()
            )));
        }
        verify_linear(&linear)?;
        Ok(Candidate {
            point: self.clone(),
            recipe,
            cost: cost::cycles(&linear, &facts),
            code: Sha256::digest(print_linear(&linear)).into(),
            kernel: done,
            linear,
        })
    }

    /// The points around this one, with what is different about them. `opts` are those that it has.
    pub fn neighbours(&self, opts: &[Opt], facts: &Facts) -> Vec<(Kind, Point)> {
        let mut out = Vec::new();
        if self.opts.is_none() {
            for (kind, choices) in other_choices(&self.choices, facts) {
                let point = Point {
                    choices,
                    ..self.clone()
                };
                out.push((kind, point));
            }
        }
        let workers = facts.gpu.is_none();
        for ahead in [0, 1, 2, 4, 8, 16].map(|k| Some(k << 10)) {
            if workers && ahead != self.prefetch && ahead != Some(facts.prefetch_bytes) {
                let point = Point {
                    prefetch: ahead,
                    ..self.clone()
                };
                out.push((Kind::Prefetch, point));
            }
        }
        for (kind, edited) in edits(opts) {
            let point = Point {
                choices: Choices::default(),
                prefetch: self.prefetch,
                opts: Some(edited),
            };
            out.push((kind, point));
        }
        out
    }
}

/// What is different about a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The register tile.
    Tile,
    /// Lanes of a vector, or the loop that it runs along.
    Vector,
    /// Blocks for the second-level cache.
    Blocks,
    /// Steps and taps that are unrolled.
    Unroll,
    /// Loop order.
    Order,
    /// Loops that are shared or not.
    Join,
    /// Distance of prefetches.
    Prefetch,
    /// Size of a split.
    Split,
}

impl Kind {
    /// How many of its kind are tried for each one of another.
    fn weight(self) -> usize {
        match self {
            Kind::Tile | Kind::Order => 3,
            Kind::Unroll | Kind::Split => 2,
            _ => 1,
        }
    }
}

/// Puts those with the least estimated time first, of every kind some: the estimate tells tiles apart, but not orders.
pub fn rank(candidates: Vec<(Kind, Candidate)>) -> Vec<Candidate> {
    let mut sorted = candidates;
    sorted.sort_by(|a, b| a.1.cost.total_cmp(&b.1.cost));
    let mut counts: FxHashMap<Kind, usize> = FxHashMap::default();
    let mut ranked: Vec<(usize, Candidate)> = sorted
        .into_iter()
        .map(|(kind, candidate)| {
            let n = counts.entry(kind).or_default();
            *n += 1;
            ((*n - 1) / kind.weight(), candidate)
        })
        .collect();
    // Stable: the cheaper ones of each turn stay in front.
    ranked.sort_by_key(|r| r.0);
    ranked.into_iter().map(|r| r.1).collect()
}

/// Lines that candidates' lists may have.
pub fn longest(heuristic: &LinearKernel) -> usize {
    (4 * heuristic.list.len()).max(SHORT)
}

/// Choices that differ in one thing.
fn other_choices(from: &Choices, facts: &Facts) -> Vec<(Kind, Choices)> {
    let mut out = Vec::new();
    let mut add = |kind, choices: Choices| {
        if choices != *from {
            out.push((kind, choices));
        }
    };
    if let Some(gpu) = &facts.gpu {
        for (kind, choices) in for_groups(from, gpu) {
            add(kind, choices);
        }
        return out;
    }
    for tile in tiles(from.tile, facts) {
        add(
            Kind::Tile,
            Choices {
                tile: Some(tile),
                ..*from
            },
        );
    }
    let whole = i64::from(facts.lanes(4));
    for lanes in [whole / 2, whole / 4].into_iter().filter(|&l| l > 1) {
        add(
            Kind::Vector,
            Choices {
                lanes: Some(lanes),
                ..*from
            },
        );
    }
    let chunks = [64, 96, 128, 192, 256, 384, 512, 768, 1024].map(Blocks::Chunks);
    let rows = [16, 32, 64, 128, 256].map(Blocks::Rows);
    for blocks in [Blocks::Whole].into_iter().chain(chunks).chain(rows) {
        add(
            Kind::Blocks,
            Choices {
                blocks: Some(blocks),
                ..*from
            },
        );
    }
    for steps in [1, 2, 4, 8] {
        add(
            Kind::Unroll,
            Choices {
                steps: Some(steps),
                ..*from
            },
        );
    }
    for taps in [1, 3, 9, 25, 49] {
        add(
            Kind::Unroll,
            Choices {
                taps: Some(taps),
                ..*from
            },
        );
    }
    add(
        Kind::Order,
        Choices {
            rows_first: !from.rows_first,
            ..*from
        },
    );
    add(
        Kind::Vector,
        Choices {
            other_vector: !from.other_vector,
            ..*from
        },
    );
    add(
        Kind::Join,
        Choices {
            apart: !from.apart,
            ..*from
        },
    );
    out
}

/// Choices of work-groups: blocks of products, threads, neither tiles nor matrix instructions.
fn for_groups(from: &Choices, gpu: &Gpu) -> Vec<(Kind, Choices)> {
    let mut out = Vec::new();
    // Of a thread, then threads; or tiles of matrix instructions, then waves.
    let outputs = [(8, 8), (8, 4), (4, 8), (4, 4), (2, 4), (2, 2)];
    let wave = i64::from(gpu.wave_lanes);
    let threads = [(4, 8), (8, 8), (8, 16), (16, 8), (16, 16)];
    let threads = threads.map(|(r, c)| (r, c * wave / 32));
    let waves = [(1, 2), (2, 1), (2, 2), (2, 4)];
    for (down, across) in outputs {
        for (rows, columns) in threads.into_iter().chain(waves) {
            let choices = Choices {
                block: Some([down, across, rows, columns]),
                ..*from
            };
            out.push((Kind::Tile, choices));
        }
    }
    for threads in [1, 2, 4, 8, 16].map(|waves| waves * i64::from(gpu.wave_lanes)) {
        let choices = Choices {
            threads: Some(threads),
            ..*from
        };
        out.push((Kind::Blocks, choices));
    }
    let choices = Choices {
        simple: !from.simple,
        ..*from
    };
    out.push((Kind::Join, choices));
    out
}

/// All tiles that the registers hold (a few more: the compiler may know a way), or those next to one.
fn tiles(from: Option<(i64, i64)>, facts: &Facts) -> Vec<(i64, i64)> {
    let most = i64::from(facts.vector_registers);
    let fits = |&(r, u): &(i64, i64)| r >= 1 && u >= 1 && r <= 32 && u <= 16 && r * u <= most;
    let near: Vec<(i64, i64)> = match from {
        Some((r, u)) => [(1, 0), (2, 0), (0, 1), (1, 1), (-1, 1)]
            .into_iter()
            .flat_map(|(a, b)| [(r + a, u + b), (r - a, u - b)])
            .chain([(2 * r, u), (r, 2 * u), (r / 2, u), (r, u / 2)])
            .collect(),
        None => (1..=8)
            .flat_map(|u| (1..=32).map(move |r| (r, u)))
            .filter(|(r, u)| r * u * 3 >= most || *r <= 4 && *u <= 4)
            .collect(),
    };
    near.into_iter().filter(fits).collect()
}

/// Lists that differ in one place.
fn edits(opts: &[Opt]) -> Vec<(Kind, Vec<Opt>)> {
    let mut out = Vec::new();
    // Nests with few loops fill margins: their order does not matter.
    let deepest = opts.iter().map(|opt| match opt {
        Opt::Order { ranges, .. } => ranges.len(),
        _ => 0,
    });
    let deep = deepest.max().unwrap_or(0).saturating_sub(3);
    for (at, opt) in opts.iter().enumerate() {
        let mut put = |kind, new: Option<Opt>| {
            let mut list = opts.to_vec();
            match new {
                Some(new) => list[at] = new,
                None => drop(list.remove(at)),
            }
            out.push((kind, list));
        };
        match opt {
            Opt::Order { nest, ranges } if ranges.len() >= deep => {
                for place in 1..ranges.len() {
                    let mut ranges = ranges.clone();
                    ranges.swap(place - 1, place);
                    put(
                        Kind::Order,
                        Some(Opt::Order {
                            nest: *nest,
                            ranges,
                        }),
                    );
                }
            }
            Opt::Join { .. } | Opt::Stage { .. } => put(Kind::Join, None),
            Opt::Split { axis, by, into } if *into != Axis::Vector => {
                for by in [by / 2, by * 2, by - 1, by + 1, by * 3] {
                    if by > 1 {
                        put(
                            Kind::Split,
                            Some(Opt::Split {
                                axis: *axis,
                                by,
                                into: *into,
                            }),
                        );
                    }
                }
            }
            Opt::Chunk { axis, by } => {
                for by in [by / 2, by * 2] {
                    put(Kind::Blocks, Some(Opt::Chunk { axis: *axis, by }));
                }
            }
            _ => {}
        }
    }
    out
}

#[cfg(test)]
pub mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::program::{Access, Layout, Param};
    use crate::uop::{DType, ReduceOp, Uops};
    use std::collections::HashSet;

    /// `y[i,j] = sum k: x[i,k] * w[k,j]`.
    pub fn matmul(m: i64, k: i64, n: i64) -> Kernel {
        let mut g = Uops::new();
        let range = |g: &mut Uops, id, extent| {
            let n = g.index(extent);
            g.range(id, n, Axis::Loop)
        };
        let (i, j, r) = (
            range(&mut g, 0, m),
            range(&mut g, 1, n),
            range(&mut g, 2, k),
        );
        let [x, w, y] = [0, 1, 2].map(|slot| g.param(slot, DType::F32));
        let (a, b) = (g.load(x, &[i, r]), g.load(w, &[r, j]));
        let product = g.mul(a, b);
        let sum = g.reduce(ReduceOp::Sum, product, &[r]);
        let store = g.store(y, sum, &[i, j]);
        let param = |shape: [i64; 2], access, weight| Param {
            dtype: DType::F32,
            layout: Layout::row_major(&shape),
            access,
            weight,
        };
        Kernel {
            name: "matmul".into(),
            sink: g.sink(&[store]),
            uops: g,
            params: vec![
                param([m, k], Access::Read, false),
                param([k, n], Access::Read, true),
                param([m, n], Access::Write, false),
            ],
            origins: Vec::new(),
        }
    }

    #[test]
    fn points_lead_to_many_kernels_and_recipes_give_them_again() {
        let (kernel, facts) = (matmul(60, 64, 96), Facts::default());
        let start = Point::default();
        let heuristic = start.build(&kernel, &facts, usize::MAX).unwrap();
        let longest = longest(&heuristic.linear);
        let mut seen = HashSet::from([heuristic.code]);
        let mut edited = 0;
        for (_, point) in start.neighbours(&heuristic.recipe.opts, &facts) {
            let Ok(candidate) = point.build(&kernel, &facts, longest) else {
                continue;
            };
            edited += usize::from(point.opts.is_some());
            seen.insert(candidate.code);
            let again = candidate.recipe.apply(&kernel).unwrap();
            let facts = candidate.recipe.facts(&facts);
            let again = codegen::lower(&again, &facts).unwrap();
            assert_eq!(
                print_linear(&again),
                print_linear(&candidate.linear),
                "{point:?}"
            );
        }
        assert!(seen.len() > 30 && edited > 3, "{} {edited}", seen.len());
    }
}
