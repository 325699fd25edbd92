//! Graph to kernels: where loops and buffers live.
//!
//! In: a [`Graph`] of primitives with known shapes, and a target's [`Facts`]. Out: a [`Program`]: kernels
//! (one UOp DAG each), buffers with layouts, steps in data-flow order. Precondition: no composites
//! (`graph::decompose` ran). There are no views: `movement` rewrites indices, `buffers` decides by cost
//! what is stored, `layouts` picks the physical order, `nests` writes the expression of each stored
//! tensor, `ranges` tidies its loops.
//!
//! Example: `softmax([8, 128])` becomes one kernel with one store over `row` and `column`, whose value
//! holds two reduces that depend on `row` only.

mod buffers;
mod conditions;
mod layouts;
mod merge_rows;
mod movement;
mod nests;
mod planar;
mod ranges;
mod split_nests;
mod store_rows;
mod transforms;
mod work;

use crate::diag::{Error, Origin, Result};
use crate::graph::{Graph, Op, TensorId};
use crate::program::{
    Access, Buffer, BufferId, BufferKind, Io, Kernel, Layout, Param, Program, Step,
};
use crate::target::Facts;
use crate::uop::{DType, Node, Op as U};
use buffers::{Buffers, choose_buffers};
use conditions::{Condition, conditions};
use nests::Nests;
use rustc_hash::FxHashMap;

/// Memory that a kernel reads or writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Slot {
    Input(u32),
    Output(u32),
    Weight(u32),
    Stored(TensorId),
}

/// What all nests look up.
struct Scheduler<'a> {
    graph: &'a Graph,
    dims: Vec<Vec<i64>>,
    buffers: Buffers,
    layouts: FxHashMap<TensorId, Layout>,
    /// Weights of one element, as constants.
    numbers: Vec<Option<u64>>,
}

impl Scheduler<'_> {
    fn dims(&self, id: TensorId) -> &[i64] {
        &self.dims[id.0 as usize]
    }
    /// What is stored of a tensor: no further than it is read.
    fn stored_dims(&self, id: TensorId) -> &[i64] {
        let read = self.buffers.read.get(&id);
        read.map_or_else(|| self.dims(id), Vec::as_slice)
    }
    fn in_memory(&self, id: TensorId) -> bool {
        self.buffers.stored.contains(&id)
    }
    fn number(&self, weight: u32) -> Option<u64> {
        self.numbers[weight as usize]
    }
    fn layout(&self, id: TensorId) -> Layout {
        self.layouts
            .get(&id)
            .cloned()
            .unwrap_or_else(|| Layout::row_major(self.dims(id)))
    }
    fn slot_dtype(&self, slot: Slot) -> DType {
        match slot {
            Slot::Input(n) => self.graph.tensor(self.graph.inputs[n as usize].1).dtype,
            Slot::Output(n) => self.graph.tensor(self.graph.outputs[n as usize].1).dtype,
            Slot::Weight(n) => self.graph.weights[n as usize].dtype,
            Slot::Stored(id) => self.graph.tensor(id).dtype,
        }
    }
    fn slot_layout(&self, slot: Slot) -> Layout {
        match slot {
            Slot::Input(n) => Layout::row_major(self.dims(self.graph.inputs[n as usize].1)),
            Slot::Output(n) => Layout::row_major(self.dims(self.graph.outputs[n as usize].1)),
            Slot::Weight(n) => Layout::row_major(&self.graph.weights[n as usize].shape),
            Slot::Stored(id) => self.layout(id),
        }
    }
}

/// Schedules a graph of primitives. `name` becomes the program's name.
///
/// # Errors
/// Unsupported when a shape is symbolic; Bug when a composite is left.
pub fn schedule(graph: &Graph, facts: &Facts, name: &str) -> Result<Program> {
    // Expressions nest as deep as a chain of operators is long: walk them on a stack that has room.
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .stack_size(1 << 29)
            .spawn_scoped(scope, || schedule_here(graph, facts, name))
            .map_err(|e| Error::environment(format!("cannot start a thread: {e}")))?
            .join()
            .unwrap_or_else(|_| Err(Error::bug("the scheduler panicked")))
    })
}

fn schedule_here(graph: &Graph, facts: &Facts, name: &str) -> Result<Program> {
    let dims: Vec<Vec<i64>> = (0..graph.tensors.len())
        .map(|n| graph.dims(TensorId(n as u32)))
        .collect::<Result<_>>()?;
    // Commands for a device are written before anybody knows the choices.
    let conditions = match facts.gpu {
        Some(_) => vec![None; graph.tensors.len()],
        None => conditions(graph, &dims),
    };
    let buffers = choose_buffers(graph, &dims, &conditions, facts)?;
    let layouts = buffers
        .stored
        .iter()
        .map(|&id| {
            let all = &dims[id.0 as usize];
            let stored = buffers.read.get(&id).unwrap_or(all);
            let layout = layouts::choose_layout(graph, id, stored, &buffers, facts);
            let checked = layout.check();
            checked
                .map_err(|why| Error::bug(format!("layout of tensor {}: {why}", id.0)))
                .map(|()| (id, layout))
        })
        .collect::<Result<_>>()?;
    let numbers = graph
        .weights
        .iter()
        .map(|w| single_number(w.dtype, &w.shape, &w.bytes))
        .collect();
    let scheduler = Scheduler {
        graph,
        dims,
        buffers,
        layouts,
        numbers,
    };

    let mut roots: Vec<(TensorId, Slot)> = scheduler
        .buffers
        .stored
        .iter()
        .map(|&id| (id, Slot::Stored(id)))
        .collect();
    roots.sort_unstable_by_key(|r| r.0);
    // Outputs last among equals: their tensor may be stored as well.
    roots.extend(
        graph
            .outputs
            .iter()
            .enumerate()
            .map(|(n, o)| (o.1, Slot::Output(n as u32))),
    );
    roots.sort_by_key(|r| r.0);

    let mut program = Assembly::new(&scheduler, name);
    for (id, target) in roots {
        if scheduler.dims(id).contains(&0) {
            continue;
        }
        let mut nests = Nests::new(&scheduler);
        nests.compute(id, target)?;
        let needed = match target {
            Slot::Stored(id) => conditions[id.0 as usize],
            _ => None,
        };
        program.add(nests, needed)?;
        if let (Op::Scatter(op), Slot::Stored(_)) = (&graph.tensor(id).op, target)
            && !scheduler.dims(graph.tensor(id).src[2]).contains(&0)
        {
            let mut nests = Nests::new(&scheduler);
            nests.scatter(id, *op)?;
            program.add(nests, needed)?;
        }
    }
    let mut program = program.finish();
    if facts.gpu.is_some() {
        split_nests::split_nests(&mut program);
    } else {
        store_rows::store_rows(&mut program, facts);
        merge_rows::merge_rows(&mut program, facts);
    }
    Ok(program)
}

/// Bits of a constant of one element, as the kernel IR writes them.
fn single_number(dtype: DType, shape: &[i64], bytes: &[u8]) -> Option<u64> {
    if shape.iter().product::<i64>() != 1 || bytes.len() != dtype.size() {
        return None;
    }
    let mut raw = [0u8; 8];
    raw[..bytes.len()].copy_from_slice(bytes);
    let bits = u64::from_le_bytes(raw);
    let float = |x: f64| (if x.is_nan() { f64::NAN } else { x }).to_bits();
    Some(match dtype {
        DType::F32 => float(f64::from(f32::from_bits(bits as u32))),
        DType::F64 => float(f64::from_bits(bits)),
        DType::F16 => float(half::f16::from_bits(bits as u16).to_f64()),
        DType::BF16 => float(half::bf16::from_bits(bits as u16).to_f64()),
        DType::I8 => bits as u8 as i8 as i64 as u64,
        DType::I16 => bits as u16 as i16 as i64 as u64,
        DType::I32 => bits as u32 as i32 as i64 as u64,
        _ => bits,
    })
}

/// The program as it grows.
struct Assembly<'a> {
    scheduler: &'a Scheduler<'a>,
    program: Program,
    buffers: FxHashMap<Slot, BufferId>,
}

impl<'a> Assembly<'a> {
    fn new(scheduler: &'a Scheduler<'a>, name: &str) -> Self {
        let mut assembly = Assembly {
            scheduler,
            program: Program {
                name: name.to_string(),
                kernels: Vec::new(),
                buffers: Vec::new(),
                steps: Vec::new(),
                inputs: Vec::new(),
                outputs: Vec::new(),
            },
            buffers: FxHashMap::default(),
        };
        let graph = scheduler.graph;
        for (n, (name, id)) in graph.inputs.iter().enumerate() {
            let io = assembly.io(name, *id, Slot::Input(n as u32));
            assembly.program.inputs.push(io);
        }
        for (n, (name, id)) in graph.outputs.iter().enumerate() {
            let io = assembly.io(name, *id, Slot::Output(n as u32));
            assembly.program.outputs.push(io);
        }
        assembly
    }

    fn io(&mut self, name: &str, id: TensorId, slot: Slot) -> Io {
        let buffer = self.buffer(slot);
        let dtype = self.scheduler.graph.tensor(id).dtype;
        Io {
            name: name.to_string(),
            dtype,
            shape: self.scheduler.dims(id).to_vec(),
            buffer,
        }
    }

    fn buffer(&mut self, slot: Slot) -> BufferId {
        if let Some(&known) = self.buffers.get(&slot) {
            return known;
        }
        let graph = self.scheduler.graph;
        let (name, kind) = match slot {
            Slot::Input(n) => (graph.inputs[n as usize].0.clone(), BufferKind::Input(n)),
            Slot::Output(n) => (graph.outputs[n as usize].0.clone(), BufferKind::Output(n)),
            Slot::Weight(n) => {
                let weight = &graph.weights[n as usize];
                (weight.name.clone(), BufferKind::Weight(weight.clone()))
            }
            Slot::Stored(id) => (
                graph.tensor(id).origin.tensor.to_string(),
                BufferKind::Internal,
            ),
        };
        let id = BufferId(self.program.buffers.len() as u32);
        let layout = self.scheduler.slot_layout(slot);
        self.program.buffers.push(Buffer {
            name,
            dtype: self.scheduler.slot_dtype(slot),
            layout,
            kind,
        });
        self.buffers.insert(slot, id);
        id
    }

    /// Finishes a kernel and adds its launch, which is `needed` under a condition.
    fn add(&mut self, nests: Nests<'_>, needed: Option<Condition>) -> Result<()> {
        let Nests {
            mut g,
            slots,
            stores,
            mut origins,
            ..
        } = nests;
        let sink = g.sink(&stores);
        let (uops, sink) = ranges::tidy_ranges(g, sink)?;
        origins.sort_by_key(|o| o.0);
        origins.dedup_by(|a, b| a.1 == b.1);
        let origins: Vec<Origin> = origins.into_iter().map(|(_, o)| (*o).clone()).collect();
        let nodes: Vec<Node> = uops
            .toposort(&[sink])
            .into_iter()
            .map(|id| uops.get(id).clone())
            .collect();
        let params: Vec<Param> = slots
            .iter()
            .enumerate()
            .map(|(n, &slot)| Param {
                dtype: self.scheduler.slot_dtype(slot),
                layout: self.scheduler.slot_layout(slot),
                access: access(&nodes, n as u32, &uops),
                weight: matches!(slot, Slot::Weight(_)),
            })
            .collect();
        let args: Vec<BufferId> = slots.iter().map(|&slot| self.buffer(slot)).collect();
        let condition = needed.and_then(|c| {
            let slot = match self.scheduler.graph.tensor(c.choice).op {
                Op::Input(n) => Slot::Input(n),
                _ if self.scheduler.buffers.stored.contains(&c.choice) => Slot::Stored(c.choice),
                _ => return None,
            };
            Some((self.buffer(slot), c.wanted))
        });
        let kernel = self.program.kernels.len();
        let name = kernel_name(kernel, &origins);
        self.program.kernels.push(Kernel {
            name,
            uops,
            sink,
            params,
            origins: origins.clone(),
        });
        self.program.steps.push(Step {
            kernel,
            args,
            origins,
            condition,
        });
        Ok(())
    }

    fn finish(self) -> Program {
        self.program
    }
}

fn access(nodes: &[Node], slot: u32, uops: &crate::uop::Uops) -> Access {
    let uses = |store: bool| {
        nodes.iter().any(|n| {
            let right = if store {
                matches!(n.op, U::Store { .. })
            } else {
                matches!(n.op, U::Load { .. })
            };
            right && uops.op(n.src[0]) == U::Param { slot }
        })
    };
    match (uses(false), uses(true)) {
        (true, true) => Access::ReadWrite,
        (false, true) => Access::Write,
        _ => Access::Read,
    }
}

/// `k12_conv_add_relu`: a C identifier that tells what is inside.
fn kernel_name(number: usize, origins: &[Origin]) -> String {
    let mut name = format!("k{number}");
    let mut last = "";
    for origin in origins {
        let op = &*origin.op_type;
        if op.is_empty() || op == last || name.len() + op.len() > 48 {
            continue;
        }
        last = op;
        name.push('_');
        name.extend(op.chars().map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        }));
    }
    name
}

#[cfg(test)]
mod tests;
