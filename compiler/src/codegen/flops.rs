//! Counts the arithmetic of a kernel.
//!
//! In: an optimised kernel, before unrolling. Out: floating-point operations of one launch; a multiply and an
//! add are two. Values count once for each iteration of the loops they depend on.

use crate::program::Kernel;
use crate::uop::{FreeRanges, Op};

/// Operations of one launch.
pub fn count_flops(kernel: &Kernel) -> u64 {
    let g = &kernel.uops;
    let mut free = FreeRanges::new();
    let mut total = 0f64;
    for id in g.toposort(&[kernel.sink]) {
        let node = g.get(id);
        if !node.ty.scalar.is_float() {
            continue;
        }
        let over = match node.op {
            Op::Unary(_) | Op::Binary(_) => free.of(g, id),
            Op::Reduce(_) => free.of(g, node.src[0]),
            _ => continue,
        };
        total += over
            .iter()
            .map(|&r| g.extent(r).unwrap_or(1) as f64)
            .product::<f64>();
    }
    total as u64
}
