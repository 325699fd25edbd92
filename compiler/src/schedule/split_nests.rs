//! A kernel of its own for each nest.
//!
//! In: a program for a target with work-groups. Out: one whose kernels have one store each, in the same order. Groups run in any order,
//! so only a launch of its own makes sure that a nest finds what an earlier one wrote.
//!
//! Example: a concatenation of three parts becomes three launches, each of which fills its part of the buffer.

use crate::program::{Access, Kernel, Program, Step};
use crate::uop::{Op, UopId, Uops, import, substitute};
use rustc_hash::FxHashMap;

/// Splits all kernels of several nests. Every kernel has one step here.
pub fn split_nests(program: &mut Program) {
    let mut kernels = Vec::new();
    let mut steps = Vec::new();
    for step in std::mem::take(&mut program.steps) {
        let kernel = &program.kernels[step.kernel];
        let stores = kernel.uops.src(kernel.sink).to_vec();
        if stores.len() < 2 {
            kernels.push(kernel.clone());
            steps.push(Step {
                kernel: kernels.len() - 1,
                ..step
            });
            continue;
        }
        for (part, store) in stores.into_iter().enumerate() {
            let (one, slots) = single(kernel, store, part);
            kernels.push(one);
            steps.push(Step {
                kernel: kernels.len() - 1,
                args: slots.iter().map(|&slot| step.args[slot as usize]).collect(),
                origins: step.origins.clone(),
                condition: step.condition,
            });
        }
    }
    program.kernels = kernels;
    program.steps = steps;
}

/// A kernel of one of the stores, and the parameters that it keeps.
fn single(kernel: &Kernel, store: UopId, part: usize) -> (Kernel, Vec<u32>) {
    let from = &kernel.uops;
    let below = from.toposort(&[store]);
    let mut slots: Vec<u32> = below
        .iter()
        .filter_map(|&id| match from.op(id) {
            Op::Param { slot } => Some(slot),
            _ => None,
        })
        .collect();
    slots.sort_unstable();
    slots.dedup();
    let mut g = Uops::new();
    g.continue_from(from);
    let root = import(&mut g, from, store);
    let mut map = FxHashMap::default();
    for id in g.toposort(&[root]) {
        let Op::Param { slot } = g.op(id) else {
            continue;
        };
        let new = slots.iter().position(|&s| s == slot).unwrap_or(0) as u32;
        let ty = g.ty(id);
        let to = g.add_node(Op::Param { slot: new }, ty, []);
        map.insert(id, to);
    }
    let root = substitute(&mut g, root, &map);
    let written = match g.op(g.src(root)[0]) {
        Op::Param { slot } => slot,
        _ => 0,
    };
    let loads = |slot: u32| {
        g.toposort(&[root]).into_iter().any(|id| {
            matches!(g.op(id), Op::Load { .. }) && g.op(g.src(id)[0]) == Op::Param { slot }
        })
    };
    let params = slots
        .iter()
        .enumerate()
        .map(|(n, &slot)| {
            let n = n as u32;
            let mut param = kernel.params[slot as usize].clone();
            param.access = match (n == written, loads(n)) {
                (true, true) => Access::ReadWrite,
                (true, false) => Access::Write,
                _ => Access::Read,
            };
            param
        })
        .collect();
    let sink = g.sink(&[root]);
    let kernel = Kernel {
        name: format!("{}_{part}", kernel.name),
        uops: g,
        sink,
        params,
        origins: kernel.origins.clone(),
    };
    (kernel, slots)
}
