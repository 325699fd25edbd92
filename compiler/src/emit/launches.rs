//! Flattens the steps and the memory plan into the tables that a replay loop walks.
//!
//! In: [`Built`]. Out: [`Launches`]: for each step a kernel and a run of buffer numbers, for each
//! buffer a base and an offset. Everything is checked here, once, so that replay needs no test:
//! kernel numbers, argument counts, offsets inside the arena, the weights and the caller's tensors.
//!
//! Example: a step `k0(input 0, arena+64)` becomes `Launch { kernel: 0, first: 0, count: 2, .. }` with
//! `args = [0, 1]`, and the places are base 2 at 0 and base 0 at 64.

use crate::diag::{Error, Result};
use crate::program::{Built, Place};
use tinyc_runtime::program::{BARRIER, CHOICE_SHIFT, CONDITIONAL, PARALLEL, WANTED};

/// One launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launch {
    /// Index into the program's kernels.
    pub kernel: u32,
    /// First of its arguments in [`Launches::args`].
    pub first: u32,
    /// How many.
    pub count: u32,
    /// More than one worker has something to do.
    pub parallel: bool,
    /// All workers must have finished before the next launch starts.
    pub barrier: bool,
    /// Number of a buffer of one truth value, and what it must be for the launch to be needed.
    pub condition: Option<(u32, bool)>,
}

impl Launch {
    /// The flags of a launch as replay loops read them (`tinyc_runtime::program`).
    pub fn flags(&self) -> u32 {
        let flag = |set: bool, flag: u32| if set { flag } else { 0 };
        let condition = self.condition.map_or(0, |(buffer, wanted)| {
            CONDITIONAL | flag(wanted, WANTED) | buffer << CHOICE_SHIFT
        });
        flag(self.parallel, PARALLEL) | flag(self.barrier, BARRIER) | condition
    }
}

/// Where a buffer is. Base 0 is the arena, 1 the weights, then each input, then each output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Placed {
    /// Which memory.
    pub base: u32,
    /// Bytes from its start.
    pub offset: u64,
    /// Bytes of the buffer; 0 for one that no launch uses.
    pub bytes: u64,
}

/// Flat tables of a program.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Launches {
    /// Launches in order.
    pub steps: Vec<Launch>,
    /// Buffer numbers, by launch.
    pub args: Vec<u32>,
    /// For each buffer.
    pub places: Vec<Placed>,
    /// Largest `count`.
    pub max_args: usize,
    /// Number of bases.
    pub bases: usize,
}

/// Flattens a program.
pub fn launches(built: &Built) -> Result<Launches> {
    let program = &built.program;
    let plan = &built.plan;
    if program.kernels.len() != built.linear.len() || program.buffers.len() != plan.places.len() {
        return Err(Error::bug("kernels or buffers without code or place"));
    }
    let inputs = program.inputs.len() as u32;
    let mut flat = Launches {
        bases: 2 + program.inputs.len() + program.outputs.len(),
        ..Launches::default()
    };
    let mut used = vec![false; program.buffers.len()];
    for arg in program.steps.iter().flat_map(|s| s.buffers()) {
        let slot = used.get_mut(arg.0 as usize);
        *slot.ok_or_else(|| Error::bug("a step names no buffer"))? = true;
    }
    for ((buffer, place), used) in program.buffers.iter().zip(&plan.places).zip(used) {
        if !used {
            flat.places.push(Placed::default());
            continue;
        }
        let missing = || Error::bug(format!("buffer '{}' is at no such place", buffer.name));
        let (base, offset, room) = match *place {
            Place::Arena(at) => (0, at, plan.arena_bytes),
            Place::Weights(at) => (1, at, plan.weight_bytes),
            Place::Input(n) => {
                let io = program.inputs.get(n as usize).ok_or_else(missing)?;
                (2 + n, 0, io.bytes() as u64)
            }
            Place::Output(n) => {
                let io = program.outputs.get(n as usize).ok_or_else(missing)?;
                (2 + inputs + n, 0, io.bytes() as u64)
            }
        };
        if offset
            .checked_add(buffer.bytes())
            .is_none_or(|end| end > room)
        {
            return Err(Error::bug(format!(
                "buffer '{}' of {} bytes at {place:?} does not fit into {room} bytes",
                buffer.name,
                buffer.bytes()
            )));
        }
        flat.places.push(Placed {
            base,
            offset,
            bytes: buffer.bytes(),
        });
    }
    for step in &program.steps {
        let kernel = built
            .linear
            .get(step.kernel)
            .ok_or_else(|| Error::bug("a step names no kernel"))?;
        if kernel.params.len() != step.args.len() {
            return Err(Error::bug(format!(
                "kernel {} takes {} buffers, a step gives {}",
                kernel.name,
                kernel.params.len(),
                step.args.len()
            )));
        }
        for (param, arg) in kernel.params.iter().zip(&step.args) {
            let buffer = program
                .buffers
                .get(arg.0 as usize)
                .ok_or_else(|| Error::bug("a step names no buffer"))?;
            let needed = param.elements as u64 * param.dtype.size() as u64;
            if needed > buffer.bytes() {
                return Err(Error::bug(format!(
                    "kernel {} touches {needed} bytes of buffer '{}', which has {}",
                    kernel.name,
                    buffer.name,
                    buffer.bytes()
                )));
            }
        }
        flat.steps.push(Launch {
            kernel: step.kernel as u32,
            first: flat.args.len() as u32,
            count: step.args.len() as u32,
            parallel: kernel.parallel > 1,
            barrier: false,
            condition: step.condition.map(|(buffer, wanted)| (buffer.0, wanted)),
        });
        flat.max_args = flat.max_args.max(step.args.len());
        flat.args.extend(step.args.iter().map(|b| b.0));
    }
    // Two launches in a row that only worker 0 runs need no barrier between them.
    for i in 1..flat.steps.len() {
        flat.steps[i - 1].barrier = flat.steps[i - 1].parallel || flat.steps[i].parallel;
    }
    Ok(flat)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::program::{
        Access, Buffer, BufferId, BufferKind, Kernel, Layout, LinearKernel, LinearParam, Meta,
        Plan, Program, Step,
    };
    use crate::uop::{DType, Uops};

    fn bare(name: &str) -> Kernel {
        let mut uops = Uops::new();
        Kernel {
            name: name.into(),
            sink: uops.sink(&[]),
            uops,
            params: Vec::new(),
            origins: Vec::new(),
        }
    }

    /// A chain of launches over one arena buffer, parallel where `parallel` says.
    fn chain(parallel: &[bool]) -> Built {
        let kernel = |&p: &bool| LinearKernel {
            name: "k".into(),
            uops: Uops::new(),
            list: Vec::new(),
            params: vec![LinearParam {
                dtype: DType::F32,
                elements: 4,
                access: Access::ReadWrite,
            }],
            parallel: if p { 4 } else { 1 },
            flops: 0,
            origins: Vec::new(),
        };
        let linear: Vec<LinearKernel> = parallel.iter().map(kernel).collect();
        let step = |kernel| Step {
            kernel,
            args: vec![BufferId(0)],
            origins: Vec::new(),
            condition: None,
        };
        Built {
            program: Program {
                name: "m".into(),
                kernels: linear.iter().map(|k| bare(&k.name)).collect(),
                buffers: vec![Buffer {
                    name: "b".into(),
                    dtype: DType::F32,
                    layout: Layout::row_major(&[4]),
                    kind: BufferKind::Internal,
                }],
                steps: (0..linear.len()).map(step).collect(),
                inputs: Vec::new(),
                outputs: Vec::new(),
            },
            linear,
            plan: Plan {
                places: vec![Place::Arena(0)],
                arena_bytes: 16,
                arena_lower_bound: 16,
                weight_bytes: 0,
            },
            meta: Meta::default(),
        }
    }

    #[test]
    fn barriers_stand_where_workers_meet() {
        let flat = launches(&chain(&[false, false, true, true, false])).unwrap();
        let barriers: Vec<bool> = flat.steps.iter().map(|s| s.barrier).collect();
        assert_eq!(barriers, [false, true, true, true, false]);
        assert_eq!((flat.max_args, flat.bases), (1, 2));
    }

    #[test]
    fn contradictions_are_bugs() {
        let damage: [fn(&mut Built); 5] = [
            |b| b.plan.arena_bytes = 15,
            |b| b.plan.places[0] = Place::Input(0),
            |b| b.program.steps[0].kernel = 9,
            |b| b.program.steps[0].args.clear(),
            |b| b.linear[0].params[0].elements = 5,
        ];
        for change in damage {
            let mut built = chain(&[true]);
            change(&mut built);
            assert_eq!(launches(&built).unwrap_err().kind, crate::diag::Kind::Bug);
        }
    }
}
