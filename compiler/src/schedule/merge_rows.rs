//! Merges kernels that hand each other rows of a tensor that had better stay in cache.
//!
//! In: a program. Out: one in which such kernels are one kernel of several nests, and the tensor between them is a scratch parameter:
//! `opt` lets the nests share the loops over rows, so that a few rows of it exist at a time and stay in cache.
//!
//! Example: attention. The scores of a head are as long as the square of the sequence; scores, softmax and the weighted sum of
//! values become one kernel, which holds the scores of a block of rows.

use super::kernel_name;
use crate::program::rows::choose_rows;
use crate::program::{Access, BufferId, BufferKind, Kernel, Param, Program};
use crate::target::Facts;
use crate::uop::{Binary, FreeRanges, Op, UopId, Uops, import, substitute};
use rustc_hash::FxHashMap;

/// Nests that one kernel may have.
const MOST_NESTS: usize = 8;

/// Merges where it pays.
pub fn merge_rows(program: &mut Program, facts: &Facts) {
    let mut gone = vec![false; program.steps.len()];
    while let Some((steps, merged)) = find(program, &gone, facts) {
        let Some((&last, before)) = steps.split_last() else {
            break;
        };
        program.steps[last].args = merged.1;
        let mut all = Vec::new();
        for &step in &steps {
            for origin in std::mem::take(&mut program.steps[step].origins) {
                if !all.contains(&origin) {
                    all.push(origin);
                }
            }
        }
        for &step in before {
            gone[step] = true;
        }
        let number = program.steps[last].kernel;
        let mut kernel = merged.0;
        kernel.name = kernel_name(number, &all);
        kernel.origins.clone_from(&all);
        program.steps[last].origins = all;
        program.kernels[number] = kernel;
    }
    // Every kernel has one step here.
    let mut kernels = Vec::new();
    let mut steps = Vec::new();
    for (step, _) in std::mem::take(&mut program.steps)
        .into_iter()
        .zip(gone)
        .filter(|(_, gone)| !gone)
    {
        kernels.push(program.kernels[step.kernel].clone());
        let mut step = step;
        step.kernel = kernels.len() - 1;
        steps.push(step);
    }
    program.kernels = kernels;
    program.steps = steps;
}

type Merged = (Kernel, Vec<BufferId>);

/// The next steps to merge, in order.
fn find(program: &Program, gone: &[bool], facts: &Facts) -> Option<(Vec<usize>, Merged)> {
    let mut writers: FxHashMap<BufferId, Vec<usize>> = FxHashMap::default();
    let mut readers: FxHashMap<BufferId, Vec<usize>> = FxHashMap::default();
    for (n, step) in program.steps.iter().enumerate().filter(|&(n, _)| !gone[n]) {
        if let Some((choice, _)) = step.condition {
            readers.entry(choice).or_default().push(n);
        }
        for (&arg, param) in step.args.iter().zip(&program.kernels[step.kernel].params) {
            match param.access {
                Access::Read => readers.entry(arg).or_default().push(n),
                Access::Write => writers.entry(arg).or_default().push(n),
                Access::ReadWrite => {
                    readers.entry(arg).or_default().push(n);
                    writers.entry(arg).or_default().push(n);
                }
                Access::Scratch => {}
            }
        }
    }
    let one = |list: &FxHashMap<BufferId, Vec<usize>>, id: BufferId| match list.get(&id)?[..] {
        [step] => Some(step),
        _ => None,
    };
    for (b, step) in program.steps.iter().enumerate().filter(|&(n, _)| !gone[n]) {
        for &between in &step.args {
            let buffer = program.buffer(between);
            let (Some(a), Some(all)) = (one(&writers, between), readers.get(&between)) else {
                continue;
            };
            let internal = matches!(buffer.kind, BufferKind::Internal);
            if !internal || a >= b || buffer.bytes() < facts.l1_bytes || all.last() != Some(&b) {
                continue;
            }
            // Another reader may come with them when `b` is all that its result is for (the sums of the exponentials of attention).
            let (mut steps, mut scratch) = (vec![a], vec![between]);
            for &other in &all[..all.len() - 1] {
                let results = writes(program, other);
                let [result] = results[..] else { continue };
                let only = one(&writers, result) == Some(other) && one(&readers, result) == Some(b);
                if only && matches!(program.buffer(result).kind, BufferKind::Internal) {
                    steps.push(other);
                    scratch.push(result);
                }
            }
            steps.push(b);
            let alike = |&s: &usize| program.steps[s].condition == step.condition;
            if steps.len() != all.len() + 1
                || !steps.iter().all(alike)
                || !is_large(program, &steps, between, facts)
            {
                continue;
            }
            let merged = merge(program, &steps, &scratch);
            if merged.0.uops.src(merged.0.sink).len() <= MOST_NESTS && fits(&merged.0, facts) {
                return Some((steps, merged));
            }
        }
    }
    None
}

/// Buffers that a step writes and others may read.
fn writes(program: &Program, step: usize) -> Vec<BufferId> {
    let step = &program.steps[step];
    let params = &program.kernels[step.kernel].params;
    let written = |p: &Param| matches!(p.access, Access::Write | Access::ReadWrite);
    let args = step.args.iter().zip(params);
    args.filter(|(_, p)| written(p)).map(|(&a, _)| a).collect()
}

/// True when it pays to keep a tensor out of memory: it is larger than what else goes in and comes out on each side, or it does not
/// fit beside that into the second-level cache while all weights do.
fn is_large(program: &Program, steps: &[usize], between: BufferId, facts: &Facts) -> bool {
    let bytes = program.buffer(between).bytes();
    let mut weights = 0;
    let mut larger = true;
    for &n in steps {
        let mut others = 0;
        let step = &program.steps[n];
        for (&arg, param) in step.args.iter().zip(&program.kernels[step.kernel].params) {
            let size = program.buffer(arg).bytes();
            if arg == between || param.access == Access::Scratch {
                continue;
            }
            others += size;
            if param.weight {
                weights += size;
            }
        }
        larger &= others <= bytes + bytes / 2;
    }
    let (few, some) = (facts.l1_bytes / 8, facts.l2_bytes / 2);
    larger && weights <= few || bytes >= facts.l2_bytes / 4 && weights > few && weights <= some
}

/// True when some loops are shared and a row of all scratch tensors is small.
fn fits(kernel: &Kernel, facts: &Facts) -> bool {
    let Some(rows) = choose_rows(kernel, facts.l2_bytes as i64 / 8) else {
        return false;
    };
    let shared: i64 = rows
        .iter()
        .map(|r| kernel.uops.extent(r[0]).unwrap_or(1))
        .product();
    shared >= 16 && !alternates(kernel, &rows) && again(kernel, &rows) <= facts.l2_bytes
}

/// True when a shared loop decides between formulas, as the elements of a tile do (Winograd): unrolled, all of them share their parts, and
/// each block of rows would compute them all for one.
fn alternates(kernel: &Kernel, rows: &[Vec<UopId>]) -> bool {
    let g = &kernel.uops;
    let mut free = FreeRanges::new();
    g.toposort(&[kernel.sink]).into_iter().any(|id| {
        matches!(g.op(id), Op::Binary(Binary::Eq))
            && g.as_int(g.src(id)[1]).is_some()
            && (free.of(g, g.src(id)[0]).iter()).any(|r| rows.iter().any(|c| c.contains(r)))
    })
}

/// Bytes that every block of rows reads again: of what does not depend on the longest shared loop, the part that belongs to one
/// iteration of the others.
fn again(kernel: &Kernel, rows: &[Vec<UopId>]) -> u64 {
    let g = &kernel.uops;
    let mut free = FreeRanges::new();
    let extent = |c: &Vec<UopId>| g.extent(c[0]).unwrap_or(1);
    let longest = rows.iter().max_by_key(|c| extent(c));
    let mut total = 0;
    for (slot, param) in kernel.params.iter().enumerate() {
        if param.access != Access::Read {
            continue;
        }
        let loads: Vec<UopId> = g
            .toposort(&[kernel.sink])
            .into_iter()
            .filter(|&id| {
                let from = || g.op(g.src(id)[0]);
                matches!(g.op(id), Op::Load { .. })
                    && matches!(from(), Op::Param { slot: s } if s as usize == slot)
            })
            .collect();
        let mut with = |c: &Vec<UopId>| {
            loads
                .iter()
                .any(|&l| free.of(g, l).iter().any(|r| c.contains(r)))
        };
        if longest.is_some_and(&mut with) {
            continue;
        }
        let parts: i64 = rows.iter().filter(|c| with(c)).map(extent).product();
        let bytes = param.layout.elements().unsigned_abs() * param.dtype.size() as u64;
        total += bytes / parts.unsigned_abs().max(1);
    }
    total
}

/// The steps' nests in their order, the buffers of `scratch` only between them.
fn merge(program: &Program, steps: &[usize], scratch: &[BufferId]) -> Merged {
    let first = &program.steps[steps[0]];
    let mut kernel = program.kernels[first.kernel].clone();
    let mut args = first.args.clone();
    for &step in &steps[1..] {
        let step = &program.steps[step];
        append(
            &mut kernel,
            &mut args,
            &program.kernels[step.kernel],
            &step.args,
        );
    }
    for (arg, param) in args.iter().zip(&mut kernel.params) {
        if scratch.contains(arg) {
            param.access = Access::Scratch;
        }
    }
    (kernel, args)
}

/// Adds the nests of a kernel with arguments `others` behind those of another with `args`.
fn append(ka: &mut Kernel, args: &mut Vec<BufferId>, kb: &Kernel, others: &[BufferId]) {
    let mut slots = Vec::new();
    for (&arg, param) in others.iter().zip(&kb.params) {
        let known = args.iter().position(|&x| x == arg);
        slots.push(known.unwrap_or(args.len()) as u32);
        if known.is_none() {
            args.push(arg);
            ka.params.push(param.clone());
        }
    }
    let mut g: Uops = ka.uops.clone();
    let top = g
        .toposort(&[ka.sink])
        .into_iter()
        .filter_map(|r| match g.op(r) {
            Op::Range { id, .. } => Some(id + 1),
            _ => None,
        })
        .max()
        .unwrap_or(0);
    let sink = import(&mut g, &kb.uops, kb.sink);
    let mut map = FxHashMap::default();
    for id in g.toposort(&[sink]) {
        let node = g.get(id).clone();
        match node.op {
            Op::Param { slot } => {
                let to = g.add_node(
                    Op::Param {
                        slot: slots[slot as usize],
                    },
                    node.ty,
                    [],
                );
                map.insert(id, to);
            }
            Op::Range { id: number, axis } => {
                let to = g.range(number + top, node.src[0], axis);
                map.insert(id, to);
            }
            _ => {}
        }
    }
    let sink = substitute(&mut g, sink, &map);
    let mut stores = g.src(ka.sink).to_vec();
    stores.extend(g.src(sink).to_vec());
    ka.sink = g.sink(&stores);
    ka.name.clone_from(&kb.name);
    ka.uops = g;
}
