//! Optimised kernels to linear instruction lists.
//!
//! In: a [`Kernel`] whose ranges carry their axes. Out: a [`LinearKernel`]. The passes, in order:
//!
//! 1. `simplify-kernel`: index arithmetic in its shortest form;
//! 2. `lower-layouts`: one physical index an access, proved in bounds;
//! 3. `lower-matrix`: matrix instructions for `Matrix` ranges;
//! 4. `lower-tiles`: stores by all threads of a work-group for what they share;
//! 5. `unroll`: copies for `Unroll` ranges;
//! 6. `vectorise`: lanes for `Vector` ranges;
//! 7. `join-loads`: lanes two elements apart come out of vectors of memory;
//! 8. `join-stores`: lanes that go to places side by side are transposed in registers;
//! 9. `lower-transcendentals`: exponentials, logarithms, sines ... as polynomials;
//! 10. `linearise`: loops, registers, order;
//! 11. `insert-prefetches`: weights asked for ahead.
//!
//! Those before `linearise` go from kernel to kernel, that after it from list to list: what stands between two of them
//! can be printed and verified, and a kernel can be run. From `lower-layouts` on buffers have one dimension; from `unroll` on the sink may hold sinks: each is a nest,
//! stores that share their loops.
//!
//! Example: see `linearise`.

mod flops;
mod insert_prefetches;
mod join_loads;
mod join_stores;
mod linearise;
mod lower_layouts;
mod lower_matrix;
mod lower_tiles;
mod lower_transcendentals;
mod special_functions;
mod unroll;
mod vectorise;

pub use flops::count_flops;

use crate::diag::{Error, Result};
use crate::program::{Kernel, LinearKernel, LinearParam};
use crate::target::Facts;
use crate::uop::{Axis, FreeRanges, Op, UopId, Uops, substitute};
use rustc_hash::FxHashMap;

/// A pass from kernel to kernel.
pub type Pass = fn(Kernel, &Facts) -> Result<Kernel>;

/// Passes from kernel to kernel, in order.
pub const KERNEL_PASSES: &[(&str, Pass)] = &[
    ("simplify-kernel", simplify_kernel),
    ("lower-layouts", lower_layouts::lower_layouts),
    ("lower-matrix", lower_matrix::lower_matrix),
    ("lower-tiles", lower_tiles::lower_tiles),
    ("unroll", |k, _| each_store(k, unroll::expand_unroll)),
    ("vectorise", |k, _| {
        each_store(k, |g, store| Ok(vectorise::vectorise(g, store)))
    }),
    ("join-loads", join_loads::join_loads),
    ("join-stores", join_stores::join_stores),
    ("lower-transcendentals", |k, _| {
        each_store(k, |g, store| {
            Ok(vec![lower_transcendentals::lower_transcendentals(g, store)])
        })
    }),
];

/// The pass from a kernel to a list.
pub const LINEARISE: &str = "linearise";

/// A pass from list to list.
pub type ListPass = fn(LinearKernel, &Facts) -> Result<LinearKernel>;

/// Passes from list to list, in order.
pub const LIST_PASSES: &[(&str, ListPass)] =
    &[("insert-prefetches", insert_prefetches::insert_prefetches)];

/// What a pass gives.
#[derive(Debug, Clone)]
pub enum Lowered {
    /// Before `linearise`.
    Kernel(Kernel),
    /// From `linearise` on.
    List(LinearKernel),
}

/// Runs one pass. Passes run in any order as far as each finds what it needs.
///
/// # Errors
/// Usage when there is no such pass for this state; Bug when the kernel breaks an invariant of its stage.
pub fn run_pass(name: &str, state: Lowered, facts: &Facts) -> Result<Lowered> {
    let on_kernels = KERNEL_PASSES.iter().find(|p| p.0 == name);
    let on_lists = LIST_PASSES.iter().find(|p| p.0 == name);
    match (state, on_kernels, on_lists) {
        (Lowered::Kernel(k), Some((_, pass)), _) => pass(k, facts).map(Lowered::Kernel),
        (Lowered::Kernel(k), ..) if name == LINEARISE => linearise(k).map(Lowered::List),
        (Lowered::List(l), _, Some((_, pass))) => pass(l, facts).map(Lowered::List),
        (Lowered::Kernel(_), ..) => Err(Error::usage(format!(
            "there is no pass '{name}' of kernels"
        ))),
        (Lowered::List(_), ..) => Err(Error::usage(format!(
            "there is no pass '{name}' of linear lists"
        ))),
    }
}

/// Lowers one kernel: all passes.
///
/// # Errors
/// Bug when the kernel breaks an invariant of its stage.
pub fn lower(kernel: &Kernel, facts: &Facts) -> Result<LinearKernel> {
    let mut lowered = kernel.clone();
    for (_, pass) in KERNEL_PASSES {
        lowered = pass(lowered, facts)?;
    }
    let mut list = linearise(lowered)?;
    list.flops = count_flops(kernel);
    for (_, pass) in LIST_PASSES {
        list = pass(list, facts)?;
    }
    Ok(list)
}

fn simplify_kernel(mut kernel: Kernel, _: &Facts) -> Result<Kernel> {
    kernel.sink = crate::uop::simplify_kernel(&mut kernel.uops, kernel.sink)?;
    Ok(kernel)
}

/// Stores of each nest, and ranges of loops that it needs besides: a sink among the sink's sources is a nest, a store is one of its own.
fn nests(g: &Uops, sink: UopId) -> Vec<Vec<UopId>> {
    let nest = |&id: &UopId| match g.op(id) {
        Op::Sink => g.src(id).to_vec(),
        _ => vec![id],
    };
    g.src(sink).iter().map(nest).collect()
}

/// Replaces every store by others, which stay in its nest. Stores that fill the memory of a work-group come before those that read it.
fn each_store(
    mut kernel: Kernel,
    mut pass: impl FnMut(&mut Uops, UopId) -> Result<Vec<UopId>>,
) -> Result<Kernel> {
    let g = &mut kernel.uops;
    let mut roots = Vec::new();
    kernel.sink = each_filling(g, kernel.sink, &mut pass)?;
    for nest in nests(g, kernel.sink) {
        let mut stores = Vec::with_capacity(nest.len());
        for store in nest {
            if matches!(g.op(store), Op::Range { .. }) {
                stores.push(store);
            } else {
                stores.extend(pass(g, store)?);
            }
        }
        match stores[..] {
            [] => {}
            [store] => roots.push(store),
            _ => roots.push(g.sink(&stores)),
        }
    }
    kernel.sink = g.sink(&roots);
    Ok(kernel)
}

/// Replaces every store by one other.
fn each_nest(g: &mut Uops, sink: UopId, mut pass: impl FnMut(&mut Uops, UopId) -> UopId) -> UopId {
    let mut map = FxHashMap::default();
    for store in nests(g, sink).into_iter().flatten() {
        if matches!(g.op(store), Op::Store { .. }) {
            map.insert(store, pass(g, store));
        }
    }
    substitute(g, sink, &map)
}

/// Replaces the stores below every `Filled` node. Returns the new root.
fn each_filling(
    g: &mut Uops,
    sink: UopId,
    pass: &mut impl FnMut(&mut Uops, UopId) -> Result<Vec<UopId>>,
) -> Result<UopId> {
    let mut map = FxHashMap::default();
    for id in g.toposort(&[sink]) {
        if g.op(id) != Op::Filled {
            continue;
        }
        let node = g.get(id).clone();
        let mut src = vec![node.src[0]];
        for &store in &node.src[1..] {
            src.extend(pass(g, store)?);
        }
        map.insert(id, g.add_node(node.op, node.ty, src));
    }
    if map.is_empty() {
        return Ok(sink);
    }
    Ok(substitute(g, sink, &map))
}

/// `linearise`. Operations are counted on what it finds; who has the kernel as it was before all passes sets the
/// exact number, as [`lower`] does.
///
/// # Errors
/// Bug when the kernel breaks an invariant of its stage.
pub fn linearise(kernel: Kernel) -> Result<LinearKernel> {
    let flops = count_flops(&kernel);
    let mut g = kernel.uops;
    let nests = nests(&g, kernel.sink);
    let parallel = nests.iter().map(|nest| shared(&g, nest)).max().unwrap_or(1);
    let mut linear = linearise::Linear::new(&mut g);
    linear.nests(&nests)?;
    let list = linear.list;
    let params: Vec<LinearParam> = kernel
        .params
        .iter()
        .map(|p| LinearParam {
            dtype: p.dtype,
            elements: p.layout.elements(),
            access: p.access,
        })
        .collect();
    Ok(LinearKernel {
        name: kernel.name,
        uops: g,
        list,
        params,
        parallel,
        flops,
        origins: kernel.origins,
    })
}

/// Iterations of a nest's parallel loops.
fn shared(g: &Uops, nest: &[UopId]) -> i64 {
    let mut free = FreeRanges::new();
    let mut ranges: Vec<UopId> = nest
        .iter()
        .flat_map(|&s| free.of(g, s).to_vec())
        .filter(|&r| {
            let axis = Axis::Parallel;
            matches!(g.op(r), Op::Range { axis: a, .. } if a == axis)
        })
        .collect();
    ranges.sort_unstable();
    ranges.dedup();
    ranges
        .iter()
        .map(|&r| g.extent(r).unwrap_or(1))
        .fold(1, i64::saturating_mul)
        .max(1)
}
