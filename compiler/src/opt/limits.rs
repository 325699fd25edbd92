//! What a work-group may take of a device.
//!
//! In: an optimised kernel, and the target's numbers. Out: nothing, or what is too much. Heuristics and searches give such choices up; the
//! registers that a compiler will need are estimated where blocks are chosen (`products`, `matrix`).

use crate::diag::{Error, Result};
use crate::program::Kernel;
use crate::target::Gpu;
use crate::uop::{Axis, FreeRanges, Op, UopId};

/// Checks threads and memory of the work-groups of a kernel.
///
/// # Errors
/// Usage, with the limit.
pub fn check(kernel: &Kernel, gpu: &Gpu) -> Result<()> {
    let g = &kernel.uops;
    let mut free = FreeRanges::new();
    for &store in g.src(kernel.sink) {
        let below = g.toposort(&[store]);
        let extent = |ranges: &mut dyn Iterator<Item = UopId>| -> i64 {
            let all = ranges.map(|r| g.extent(r).unwrap_or(1));
            all.fold(1, i64::saturating_mul)
        };
        let is = |r: UopId, axis: Axis| matches!(g.op(r), Op::Range { axis: a, .. } if a == axis);
        let loops = free.of(g, store);
        let mut threads = extent(&mut loops.iter().copied().filter(|&r| is(r, Axis::Local)));
        if loops.iter().any(|&r| is(r, Axis::Matrix)) {
            threads = threads.saturating_mul(i64::from(gpu.wave_lanes));
        }
        let mut bytes = 0i64;
        for &id in &below {
            match g.op(id) {
                Op::Reduce(_) => {
                    let own = g.src(id)[1..].iter().copied();
                    let around = free.of(g, id);
                    let outer = around.iter().copied().filter(|&r| is(r, Axis::Local));
                    let shared = extent(&mut own.filter(|&r| is(r, Axis::Group)));
                    if shared > 1 {
                        threads =
                            threads.max(extent(&mut outer.into_iter()).saturating_mul(shared));
                        bytes = bytes.max(threads.saturating_mul(8));
                    }
                }
                Op::Tile { len, .. } => {
                    let size = g.ty(id).scalar.size() as i64;
                    bytes = bytes.saturating_add(i64::from(len).saturating_mul(size));
                }
                _ => {}
            }
        }
        for (what, wanted, room) in [
            ("threads", threads, gpu.group_threads),
            ("bytes of memory", bytes, gpu.group_memory_bytes),
        ] {
            if wanted > i64::from(room) {
                return Err(Error::usage(format!(
                    "kernel '{}': work-groups of {wanted} {what}, the target has {room}",
                    kernel.name
                )));
            }
        }
    }
    Ok(())
}
