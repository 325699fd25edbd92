//! Optimised kernels to linear instruction lists.
//!
//! In: a [`Kernel`] whose ranges carry their axes. Out: a [`LinearKernel`]. The passes, in order:
//!
//! 1. `lower-layouts`: one physical index an access, proved in bounds;
//! 2. `unroll`: copies for `Unroll` ranges;
//! 3. `vectorise`: lanes for `Vector` ranges;
//! 4. `lower-transcendentals`: exponentials, logarithms, sines ... as polynomials;
//! 5. `linearise`: loops, registers, order.
//!
//! Example: see `linearise`.

mod flops;
mod linearise;
mod lower_layouts;
mod lower_transcendentals;
mod special_functions;
mod unroll;
mod vectorise;

pub use lower_layouts::Proofs;

use crate::diag::Result;
use crate::program::{Kernel, LinearKernel, LinearParam};
use crate::target::Facts;
use crate::uop::{Axis, Op, UopId, simplify_kernel};

/// Names of the passes in order.
pub const PASSES: [&str; 5] = [
    "lower-layouts",
    "unroll",
    "vectorise",
    "lower-transcendentals",
    "linearise",
];

/// Lowers one kernel.
///
/// # Errors
/// Bug when the kernel breaks an invariant of its stage.
pub fn lower(kernel: &Kernel, _facts: &Facts) -> Result<LinearKernel> {
    let mut g = kernel.uops.clone();
    let sink = simplify_kernel(&mut g, kernel.sink);
    let (sink, _proofs) = lower_layouts::lower_layouts(&mut g, sink, &kernel.params)?;
    let stores: Vec<UopId> = g.src(sink).to_vec();
    let mut nests: Vec<Vec<UopId>> = Vec::new();
    let mut parallel = 1;
    for store in stores {
        let shared: i64 = crate::uop::FreeRanges::new()
            .of(&g, store)
            .iter()
            .filter(|&&r| {
                matches!(
                    g.op(r),
                    Op::Range {
                        axis: Axis::Parallel,
                        ..
                    }
                )
            })
            .map(|&r| g.extent(r).unwrap_or(1))
            .product();
        parallel = parallel.max(shared);
        let mut nest = Vec::new();
        for copy in unroll::expand_unroll(&mut g, store) {
            for vector in vectorise::vectorise(&mut g, copy) {
                nest.push(lower_transcendentals::lower_transcendentals(&mut g, vector));
            }
        }
        nests.push(nest);
    }
    let mut linear = linearise::Linear::new(&mut g);
    for nest in &nests {
        linear.nest(nest)?;
    }
    let list = linear.list;
    Ok(LinearKernel {
        name: kernel.name.clone(),
        uops: g,
        list,
        params: kernel
            .params
            .iter()
            .map(|p| LinearParam {
                dtype: p.dtype,
                elements: p.layout.elements(),
                access: p.access,
            })
            .collect(),
        parallel,
        flops: flops::count_flops(kernel),
        origins: kernel.origins.clone(),
    })
}
