//! Estimated time of a linear list, to leave out candidates that cannot win.
//!
//! In: a [`LinearKernel`] and the target's [`Facts`]. Out: cycles, about. Each loop body costs what is most of its arithmetic, its
//! loads, its stores and the latency of the sum that it adds to, times its iterations; registers beyond the target's are
//! stored and loaded again. Caches are not looked at: candidates for the same kernel differ less in them than the estimate errs.
//!
//! Example: a tile of 8 rows by 3 vectors costs 12 cycles a step, one of 1 row by 1 vector costs 4 for a 24th of the work.

use crate::program::LinearKernel;
use crate::target::Facts;
use crate::uop::{Op, Uops};

/// Cycles between the start of a multiply-add and the start of one that needs it.
const LATENCY: f64 = 4.0;
/// Loads of a work-group's memory that take as long as one of a buffer.
const FAR: f64 = 4.0;
/// Operations that fit into the time of waiting for the other threads of a work-group.
const BARRIER: f64 = 32.0;
/// Counting and jumping.
const LOOP: f64 = 1.0;

/// What one run of a body does, without the loops in it.
#[derive(Default)]
struct Body {
    times: f64,
    arithmetic: f64,
    loads: f64,
    stores: f64,
    sums: f64,
    index: f64,
}

impl Body {
    fn cycles(&self, registers: f64) -> f64 {
        let spilled = 2.0 * (self.sums - registers).max(0.0);
        let latency = if self.sums > 0.0 { LATENCY } else { 0.0 };
        let arithmetic = self.arithmetic / 2.0 + self.index / 8.0;
        let memory = ((self.loads + spilled) / 2.0).max(self.stores + spilled / 2.0);
        self.times * (arithmetic.max(memory).max(latency) + LOOP)
    }
}

/// Cycles of one run, about.
pub fn cycles(kernel: &LinearKernel, facts: &Facts) -> f64 {
    let g = &kernel.uops;
    let registers = f64::from(facts.vector_registers);
    let new = |times| Body {
        times,
        ..Body::default()
    };
    let mut total = 0.0;
    let mut open = vec![new(1.0)];
    for &id in &kernel.list {
        let node = g.get(id);
        // A vector wider than the registers is several operations.
        let bytes = node.ty.scalar.size() as f64 * f64::from(node.ty.lanes.max(1));
        let parts = (bytes / f64::from(facts.vector_bytes)).ceil().max(1.0);
        let times = open.last().map_or(1.0, |b| b.times);
        let Some(body) = open.last_mut() else { break };
        match node.op {
            Op::Loop => open.push(new(times * iterations(g, node.src[0]))),
            Op::EndLoop => {
                total += open.pop().map_or(0.0, |b| b.cycles(registers));
            }
            // A work-group's own memory answers sooner than buffers do.
            Op::Load { .. } if facts.gpu.is_some() => {
                let far = matches!(g.op(node.src[0]), Op::Param { .. });
                body.loads += if far { FAR * parts } else { parts };
            }
            Op::Load { .. } => body.loads += parts,
            Op::Matrix { depth, .. } => body.arithmetic += f64::from(depth) * parts,
            Op::Barrier => body.index += BARRIER,
            Op::Store { .. } => body.stores += 1.0,
            Op::Assign => body.sums += parts,
            Op::Prefetch { .. } => body.loads += 1.0,
            Op::Unary(_)
            | Op::Binary(_)
            | Op::MulAdd
            | Op::Where
            | Op::Cast
            | Op::Zip { .. }
            | Op::Unzip { .. }
            | Op::Fold(_) => {
                if node.ty.scalar.is_float() {
                    body.arithmetic += parts;
                } else {
                    body.index += parts;
                }
            }
            Op::Stack | Op::Lane(_) => body.arithmetic += f64::from(node.ty.lanes.max(1)),
            _ => {}
        }
    }
    total + open.iter().map(|b| b.cycles(registers)).sum::<f64>()
}

fn iterations(g: &Uops, range: crate::uop::UopId) -> f64 {
    g.extent(range).unwrap_or(1) as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::codegen::lower;
    use crate::opt::{Choices, optimise_with};
    use crate::search::candidates::tests::matmul;

    #[test]
    fn large_tiles_are_cheaper_and_spilling_ones_are_not() {
        let (kernel, facts) = (matmul(64, 64, 96), Facts::default());
        let cost = |rows, vectors| {
            let choices = Choices {
                tile: Some((rows, vectors)),
                ..Choices::default()
            };
            let (done, _) = optimise_with(&kernel, &facts, &choices).unwrap();
            cycles(&lower(&done, &facts).unwrap(), &facts)
        };
        assert!(cost(8, 3) * 3.0 < cost(1, 1));
        assert!(cost(8, 3) < cost(16, 6));
    }
}
