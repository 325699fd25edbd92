//! How each kernel runs: vectors, register tiles, loop order, threads, weight layouts.
//!
//! In: a scheduled [`Kernel`] and a target's [`Facts`]. Out: the same kernel with its ranges cut and marked,
//! and packed weights. For each nest (store) `blocks` splits at channel blocks, then
//! `contraction` tiles sums of products and `vectors` everything else; `join` lets its parts share loops, `parallel` marks what threads
//! share, and `weights` packs. Nests that hand each other rows in scratch parameters are tiled in common blocks of rows (`rows`), and
//! `contract` leaves such a parameter the room of a block. Nothing but ranges and the layouts of weights and scratch changes. All numbers come from the facts.
//!
//! Example: a 128x768x768 matmul for 16-lane vectors and 32 registers becomes 16 x 16 tiles of 8 rows by 3 vectors.

mod apply;
mod blocks;
mod cache;
mod choices;
mod chunk;
mod contract;
mod contraction;
mod flatten;
mod formulas;
mod join;
mod limits;
mod matrix;
mod nest;
mod opts;
mod pad;
mod parallel;
mod parts;
mod products;
mod rows;
mod stage;
mod vectors;
mod weights;
mod workgroups;

use crate::diag::{Error, Kind, Result};
use crate::program::Kernel;
use crate::program::rows::choose_rows;
use crate::target::Facts;
use crate::uop::{Op, UopId, Uops, import, substitute};
pub use apply::apply;
pub use choices::{Blocks, Choices};
use nest::{Nest, Work};
pub use opts::{At, Opt, parse_opts, print_opts};
use rustc_hash::FxHashMap;

/// What the heuristics chose for a kernel.
#[derive(Debug, Clone)]
pub struct Chosen {
    /// The optimised kernel.
    pub kernel: Kernel,
    /// [`apply`] of these to the scheduled kernel gives it again.
    pub opts: Vec<Opt>,
    /// Why the first choice was given up, where it was.
    pub refused: Option<String>,
}

/// Chooses by heuristic.
///
/// # Errors
/// Bug when a pass breaks the kernel.
pub fn choose(kernel: &Kernel, facts: &Facts) -> Result<Chosen> {
    // What `apply` refuses, and what a work-group has no room for, is given up step by step: blocks, tiles and shared loops, then everything.
    let less = Choices {
        blocks: Some(Blocks::Whole),
        apart: true,
        simple: true,
        ..Choices::default()
    };
    let mut refused = None;
    for choices in [Choices::default(), less] {
        match optimise_with(kernel, facts, &choices) {
            Ok((kernel, opts)) => {
                return Ok(Chosen {
                    kernel,
                    opts,
                    refused,
                });
            }
            Err(e) if e.kind == Kind::Usage => refused = refused.or(Some(e.message)),
            Err(e) => return Err(e),
        }
    }
    Ok(Chosen {
        kernel: apply(kernel, &[])?,
        opts: Vec::new(),
        refused,
    })
}

/// [`choose`], without the reasons.
///
/// # Errors
/// Bug when a pass breaks the kernel.
pub fn optimise(kernel: &Kernel, facts: &Facts) -> Result<(Kernel, Vec<Opt>)> {
    choose(kernel, facts).map(|chosen| (chosen.kernel, chosen.opts))
}

/// Chooses by heuristic what `choices` leave open.
///
/// # Errors
/// Usage when the choices give a kernel that is not legal; Bug when a pass breaks it.
pub fn optimise_with(
    kernel: &Kernel,
    facts: &Facts,
    choices: &Choices,
) -> Result<(Kernel, Vec<Opt>)> {
    let (mut work, nests) = Work::open(kernel);
    work.choices = *choices;
    if let Some(gpu) = &facts.gpu {
        return spread_all(kernel, work, nests, facts, gpu);
    }
    let shared = choose_rows(kernel, rows::room(facts) / rows::LEAST)
        .filter(|_| nests.iter().all(|nest| runs(&work, nest)));
    if let Some(rows) = shared {
        let groups = rows::tile(&mut work, nests, &rows, facts);
        return finish_groups(kernel, work, &groups);
    }
    let mut groups: Vec<join::Group> = Vec::new();
    for nest in nests {
        if !runs(&work, &nest) {
            groups.push(join::Group {
                depth: nest.order.len(),
                nests: vec![nest],
                depths: Vec::new(),
            });
            continue;
        }
        for nest in blocks::split_blocks(&mut work, nest) {
            let mark = work.mark();
            let nests = match contraction::tile(&mut work, nest.clone(), facts) {
                Some(nests) => nests,
                None => {
                    work.back_to(mark);
                    vectors::vectorise(&mut work, nest, facts)
                }
            };
            let mut grouped = match choices.apart {
                true => join::apart(nests),
                false => join::group(&work, nests),
            };
            parallel::share(&mut work, &mut grouped, facts);
            groups.extend(grouped);
        }
    }
    groups.sort_by_key(|g| g.nests[0].number);
    finish_groups(kernel, work, &groups)
}

/// True when every loop of a nest is known to run at least once: what is tiled.
fn runs(work: &Work<'_>, nest: &Nest) -> bool {
    let mut extents = nest.order.iter().map(|&r| work.g.extent(r));
    extents.all(|extent| extent.is_some_and(|e| e > 0))
}

/// Every nest over work-groups of threads.
fn spread_all(
    kernel: &Kernel,
    mut work: Work<'_>,
    mut nests: Vec<Nest>,
    facts: &Facts,
    gpu: &crate::target::Gpu,
) -> Result<(Kernel, Vec<Opt>)> {
    for nest in &mut nests {
        if runs(&work, nest) {
            workgroups::spread(&mut work, nest, facts, gpu);
        }
    }
    let done = finish_groups(kernel, work, &join::apart(nests))?;
    limits::check(&done.0, gpu)?;
    Ok(done)
}

/// Logs order, joins and packs of the groups, and applies the log.
fn finish_groups(
    kernel: &Kernel,
    mut work: Work<'_>,
    groups: &[join::Group],
) -> Result<(Kernel, Vec<Opt>)> {
    let mut done: Vec<Nest> = groups.iter().flat_map(|g| g.nests.clone()).collect();
    for nest in &done {
        let ranges = nest.order.iter().map(|&r| work.at(nest, r).range).collect();
        work.log.push(Opt::Order {
            nest: nest.number,
            ranges,
        });
    }
    for group in groups {
        join::record(&mut work, group);
    }
    for (number, slot, at) in std::mem::take(&mut work.staged) {
        if let Some(nest) = done.iter_mut().find(|n| n.number == number) {
            stage::stage(&mut work, nest, slot, at)
                .map_err(|why| Error::usage(format!("kernel '{}': {why}", kernel.name)))?;
        }
    }
    weights::choose_packs(&mut work, &done);
    let opts = work.log;
    Ok((apply(kernel, &opts)?, opts))
}

/// Numbers ranges in nest order and copies what is reachable into a fresh arena.
fn finish(
    kernel: &Kernel,
    mut g: Uops,
    nests: &[Nest],
    params: Vec<crate::program::Param>,
) -> Result<Kernel> {
    let mut stores = Vec::new();
    // Fresh numbers far above the old ones, then down: no two ranges ever share one.
    let mut number = 0;
    let mut out = Uops::new();
    out.continue_from(&g);
    let mut map: FxHashMap<UopId, UopId> = FxHashMap::default();
    for nest in nests {
        for &range in &nest.order {
            // Nests that are joined have loops in common.
            if map.contains_key(&range) {
                continue;
            }
            let Op::Range { axis, .. } = g.op(range) else {
                return Err(Error::bug(
                    "a nest's order holds something that is no range",
                ));
            };
            let extent = g.src(range)[0];
            let numbered = g.range(number + (1 << 24), extent, axis);
            number += 1;
            map.insert(range, numbered);
        }
        let store = substitute(&mut g, nest.store, &map);
        for id in g.toposort(&[store]) {
            if let Op::Range { id, .. } = g.op(id)
                && id < 1 << 24
            {
                return Err(Error::bug(format!(
                    "kernel '{}': range {id} is in no nest order",
                    kernel.name
                )));
            }
        }
        stores.push(store);
    }
    let sink = g.sink(&stores);
    let sink = import(&mut out, &g, sink);
    // Low numbers again.
    let mut low = Uops::new();
    low.continue_from(&g);
    let mut new: FxHashMap<UopId, UopId> = FxHashMap::default();
    for id in out.toposort(&[sink]) {
        let node = out.get(id);
        let op = match node.op {
            Op::Range { id, axis } => Op::Range {
                id: id - (1 << 24),
                axis,
            },
            op => op,
        };
        let src: Vec<UopId> = node.src.iter().map(|s| new[s]).collect();
        new.insert(id, low.add_node(op, node.ty, src));
    }
    Ok(Kernel {
        name: kernel.name.clone(),
        sink: new[&sink],
        uops: low,
        params,
        origins: kernel.origins.clone(),
    })
}
