//! Optimised kernels to linear instruction lists.
//!
//! In: a [`Kernel`] whose ranges carry their axes. Out: a [`LinearKernel`]. The passes, in order:
//!
//! 1. `simplify-kernel`: index arithmetic in its shortest form;
//! 2. `lower-layouts`: one physical index an access, proved in bounds;
//! 3. `unroll`: copies for `Unroll` ranges;
//! 4. `vectorise`: lanes for `Vector` ranges;
//! 5. `lower-transcendentals`: exponentials, logarithms, sines ... as polynomials;
//! 6. `linearise`: loops, registers, order, and weights asked for ahead (`insert_prefetches`).
//!
//! All but the last go from kernel to kernel, so what stands between two of them can be printed, verified and
//! run. From `lower-layouts` on buffers have one dimension; from `unroll` on the sink may hold sinks: each is a nest,
//! stores that share their loops.
//!
//! Example: see `linearise`.

mod flops;
mod insert_prefetches;
mod linearise;
mod lower_layouts;
mod lower_transcendentals;
mod special_functions;
mod unroll;
mod vectorise;

pub use flops::count_flops;

use crate::diag::{Error, Result};
use crate::program::{Kernel, LinearKernel, LinearParam};
use crate::target::Facts;
use crate::uop::{Axis, FreeRanges, Op, UopId, Uops};

/// A pass from kernel to kernel.
pub type Pass = fn(Kernel, &Facts) -> Result<Kernel>;

/// Passes from kernel to kernel, in order.
pub const KERNEL_PASSES: &[(&str, Pass)] = &[
    ("simplify-kernel", simplify_kernel),
    ("lower-layouts", lower_layouts::lower_layouts),
    ("unroll", |k, _| each_store(k, unroll::expand_unroll)),
    ("vectorise", |k, _| {
        each_store(k, |g, store| Ok(vectorise::vectorise(g, store)))
    }),
    ("lower-transcendentals", |k, _| {
        each_store(k, |g, store| {
            Ok(vec![lower_transcendentals::lower_transcendentals(g, store)])
        })
    }),
];

/// The last pass, from a kernel to a list.
pub const LAST_PASS: &str = "linearise";

/// What a pass gives.
#[derive(Debug, Clone)]
pub enum Lowered {
    /// For the next pass.
    Kernel(Kernel),
    /// For `render`.
    List(LinearKernel),
}

/// Runs one pass. Passes run in any order as far as each finds what it needs.
///
/// # Errors
/// Usage when there is no such pass; Bug when the kernel breaks an invariant of its stage.
pub fn run_pass(name: &str, kernel: Kernel, facts: &Facts) -> Result<Lowered> {
    if name == LAST_PASS {
        return linearise(kernel, facts).map(Lowered::List);
    }
    match KERNEL_PASSES.iter().find(|p| p.0 == name) {
        Some((_, pass)) => pass(kernel, facts).map(Lowered::Kernel),
        None => Err(Error::usage(format!("there is no pass '{name}'"))),
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
    let mut list = linearise(lowered, facts)?;
    list.flops = count_flops(kernel);
    Ok(list)
}

fn simplify_kernel(mut kernel: Kernel, _: &Facts) -> Result<Kernel> {
    kernel.sink = crate::uop::simplify_kernel(&mut kernel.uops, kernel.sink);
    Ok(kernel)
}

/// Stores of each nest: a sink among the sink's sources is a nest, a store is one of its own.
fn nests(g: &Uops, sink: UopId) -> Vec<Vec<UopId>> {
    let nest = |&id: &UopId| match g.op(id) {
        Op::Sink => g.src(id).to_vec(),
        _ => vec![id],
    };
    g.src(sink).iter().map(nest).collect()
}

/// Replaces every store by others, which stay in its nest.
fn each_store(
    mut kernel: Kernel,
    mut pass: impl FnMut(&mut Uops, UopId) -> Result<Vec<UopId>>,
) -> Result<Kernel> {
    let g = &mut kernel.uops;
    let mut roots = Vec::new();
    for nest in nests(g, kernel.sink) {
        let mut stores = Vec::with_capacity(nest.len());
        for store in nest {
            stores.extend(pass(g, store)?);
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

/// The last pass. Operations are counted on what it finds; who has the kernel as it was before all passes sets the
/// exact number, as [`lower`] does.
///
/// # Errors
/// Bug when the kernel breaks an invariant of its stage.
pub fn linearise(kernel: Kernel, facts: &Facts) -> Result<LinearKernel> {
    let flops = count_flops(&kernel);
    let mut g = kernel.uops;
    let nests = nests(&g, kernel.sink);
    let parallel = nests.iter().map(|nest| shared(&g, nest)).max().unwrap_or(1);
    let mut linear = linearise::Linear::new(&mut g);
    for nest in &nests {
        linear.nest(nest)?;
    }
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
    let list = insert_prefetches::insert_prefetches(&mut g, list, &params, facts);
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
