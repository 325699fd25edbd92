//! Candidates of one kernel, compiled and timed alone.
//!
//! In: a launch of the scheduled program. Out: [`Trial`], which loads candidates as programs of their own through the target. Operands are
//! as in the model: the kernel's weights and everything else have left the second-level cache since the last run (a sweep
//! over other memory takes care of it, unless the whole model fits), then activations that fit it are read, as if they had
//! just been computed.

use super::random::Random;
use crate::codegen;
use crate::diag::{Error, Result};
use crate::emit;
use crate::opt;
use crate::program::element::to_f64;
use crate::program::{
    Access, Buffer, BufferId, BufferKind, Built, Bytes, Io, Kernel, Layout, LinearKernel, Meta,
    Param, Program, Step, Weight,
};
use crate::search::{Candidate, Evaluate, Output, Recipe, Runner};
use crate::target::{Facts, Session, Target};
use crate::uop::{Axis, DType, ReduceOp, Uops};
use memmap2::MmapMut;
use rayon::prelude::*;
use std::cell::RefCell;
use std::rc::Rc;

/// Seed of activations.
const SEED: u64 = 0;
/// A launch shorter than this is timed several times in a turn.
const SHORT: f64 = 100e-6;

/// A launch longer than this hardly depends on what ran before it.
const LONG: f64 = 2e-3;

/// Asked whether the search shall end, and told how many candidates were timed.
pub trait Watch {
    /// True when it shall end.
    fn stop(&self) -> bool;
    /// So many more were timed.
    fn tried(&mut self, count: usize);
    /// A candidate failed.
    fn failed(&mut self, recipe: &Recipe, why: &Error);
}

/// One kernel with operands.
pub struct Trial<'a> {
    target: &'a dyn Target,
    watch: &'a mut dyn Watch,
    weights: Vec<Option<Weight>>,
    activations: Rc<Vec<Room>>,
    outputs: Rc<RefCell<Vec<Room>>>,
    masks: Rc<Vec<(DType, Vec<u8>)>>,
    helpers: Vec<(Kernel, LinearKernel)>,
}

impl<'a> Trial<'a> {
    /// A trial of the kernel of `step`. `footprint` is the bytes that a run of the model touches.
    ///
    /// # Errors
    /// Unsupported when the kernel changes a buffer in place.
    pub fn new(
        program: &Program,
        step: &Step,
        footprint: u64,
        target: &'a dyn Target,
        watch: &'a mut dyn Watch,
    ) -> Result<Trial<'a>> {
        let kernel = &program.kernels[step.kernel];
        let facts = target.facts();
        let (mut weights, mut activations, mut masks) = (Vec::new(), Vec::new(), Vec::new());
        let mut helpers = Vec::new();
        let room = 4 * facts.l2_bytes;
        if footprint > facts.l2_bytes / 2 {
            helpers.push(reader(footprint.min(room), facts)?);
        }
        let mut outputs = Vec::new();
        let mut random = Random::new(SEED);
        for (param, &arg) in kernel.params.iter().zip(&step.args) {
            let buffer = program.buffer(arg);
            let mut weight = None;
            match (&buffer.kind, param.access) {
                (BufferKind::Weight(w), Access::Read) => weight = Some(w.clone()),
                (_, Access::Read) => {
                    let bytes = in_layout(&random.tensor(&io("x", param)), &param.layout)?;
                    if bytes.len() as u64 <= facts.l2_bytes / 2 && !helpers.is_empty() {
                        helpers.push(reader(bytes.len() as u64, facts)?);
                    }
                    activations.push(Room::holding(&bytes)?);
                }
                (_, Access::Write) => {
                    let size = io("y", param).bytes();
                    let mut ones = random.tensor(&io("y", param));
                    ones.bytes = Bytes::new(vec![0xff; size]);
                    let mask = in_layout(&ones, &param.layout)?;
                    outputs.push(Room::holding(&mask)?);
                    masks.push((param.dtype, mask));
                }
                (_, Access::Scratch) => {}
                (_, Access::ReadWrite) => {
                    return Err(Error::unsupported("the kernel changes a buffer in place"));
                }
            }
            weights.push(weight);
        }
        Ok(Trial {
            target,
            watch,
            weights,
            activations: Rc::new(activations),
            outputs: Rc::new(RefCell::new(outputs)),
            masks: Rc::new(masks),
            helpers,
        })
    }

    /// A program of one candidate: the sweep, the readers of activations, the candidate.
    fn built(&self, candidate: &Candidate) -> Result<Built> {
        let mut program = Program {
            name: "trial".into(),
            kernels: Vec::new(),
            buffers: Vec::new(),
            steps: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        };
        let flat = |param: &Param, kind| Buffer {
            name: "b".into(),
            dtype: param.dtype,
            layout: Layout::row_major(&[param.layout.elements()]),
            kind,
        };
        let mut args = Vec::new();
        for (param, weight) in candidate.kernel.params.iter().zip(&self.weights) {
            let id = BufferId(program.buffers.len() as u32);
            args.push(id);
            let tensor = Io {
                shape: vec![param.layout.elements()],
                buffer: id,
                ..io("b", param)
            };
            program.buffers.push(match (weight, param.access) {
                (Some(weight), _) => Buffer {
                    layout: param.layout.clone(),
                    ..flat(param, BufferKind::Weight(weight.clone()))
                },
                (None, Access::Read) => {
                    program.inputs.push(tensor);
                    flat(param, BufferKind::Input(program.inputs.len() as u32 - 1))
                }
                (None, Access::Scratch) => flat(param, BufferKind::Internal),
                (None, _) => {
                    program.outputs.push(tensor);
                    flat(param, BufferKind::Output(program.outputs.len() as u32 - 1))
                }
            });
        }
        let inputs: Vec<Io> = program.inputs.clone();
        let mut linear = Vec::new();
        for (n, (kernel, list)) in self.helpers.iter().enumerate() {
            // The first sweeps; the others read the activations that are small enough, in order.
            let bytes = |p: &Param| p.layout.elements() as usize * p.dtype.size();
            let wanted = bytes(&kernel.params[0]);
            let read = self.helpers[1..n.max(1)]
                .iter()
                .filter(|h| bytes(&h.0.params[0]) == wanted)
                .count();
            let same = inputs.iter().filter(|io| io.bytes() / 4 * 4 == wanted);
            let known = same.map(|io| io.buffer).nth(read);
            let internal = |program: &mut Program, slot: usize| {
                let id = BufferId(program.buffers.len() as u32);
                let buffer = flat(&kernel.params[slot], BufferKind::Internal);
                program.buffers.push(buffer);
                id
            };
            let source = match known {
                Some(id) if n > 0 => id,
                _ => internal(&mut program, 0),
            };
            let sum = internal(&mut program, 1);
            program.steps.push(Step {
                kernel: n,
                args: vec![source, sum],
                origins: Vec::new(),
                condition: None,
            });
            program.kernels.push(renamed(kernel, n));
            let mut list = list.clone();
            list.name = format!("helper{n}");
            linear.push(list);
        }
        program.steps.push(Step {
            kernel: program.kernels.len(),
            args,
            origins: Vec::new(),
            condition: None,
        });
        let mut list = candidate.linear.clone();
        list.name = "candidate".into();
        list.origins.clear();
        linear.push(list);
        program.kernels.push(candidate.kernel.clone());
        let plan = crate::plan::plan(&program, self.target.facts())?;
        Ok(Built {
            program,
            linear,
            plan,
            meta: Meta::default(),
        })
    }
}

impl Evaluate for Trial<'_> {
    fn load(&mut self, candidates: &[&Candidate]) -> Vec<Result<Box<dyn Runner>>> {
        let target = self.target;
        let built: Vec<Result<Built>> = candidates.iter().map(|c| self.built(c)).collect();
        let loaded: Vec<Result<Box<dyn Session>>> = built
            .into_par_iter()
            .map(|built| target.load(&built?, 1))
            .collect();
        loaded
            .into_iter()
            .map(|session| {
                let mut runner = Loaded {
                    session: session?,
                    activations: self.activations.clone(),
                    masks: self.masks.clone(),
                    outputs: self.outputs.clone(),
                    repeats: 1,
                };
                // The first runs find pages and caches as no later one does.
                let mut least = runner.once()?;
                if least < LONG {
                    least = least.min(runner.once()?).min(runner.once()?);
                }
                runner.repeats = (SHORT / least.max(1e-9)).clamp(1.0, 9.0) as usize;
                Ok(Box::new(runner) as Box<dyn Runner>)
            })
            .collect()
    }
    fn stop(&self) -> bool {
        self.watch.stop()
    }
    fn failed(&mut self, recipe: &Recipe, why: &Error) {
        self.watch.failed(recipe, why);
    }
    fn tried(&mut self, count: usize) {
        self.watch.tried(count);
    }
}

/// Memory as a model's: it begins at a page, in huge pages where there are any. All candidates of a trial use the same, so that
/// where it lies favours none.
struct Room(MmapMut);

impl Room {
    fn holding(bytes: &[u8]) -> Result<Room> {
        let none = |e| Error::environment(format!("no memory for {} bytes: {e}", bytes.len()));
        let mut map = MmapMut::map_anon(bytes.len().max(1)).map_err(none)?;
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        map[..bytes.len()].copy_from_slice(bytes);
        Ok(Room(map))
    }
}

struct Loaded {
    session: Box<dyn Session>,
    activations: Rc<Vec<Room>>,
    outputs: Rc<RefCell<Vec<Room>>>,
    masks: Rc<Vec<(DType, Vec<u8>)>>,
    repeats: usize,
}

impl Loaded {
    fn once(&mut self) -> Result<f64> {
        let inputs: Vec<&[u8]> = self.activations.iter().map(|r| &r.0[..]).collect();
        let mut outputs = self.outputs.borrow_mut();
        let mut outputs: Vec<&mut [u8]> = outputs.iter_mut().map(|r| &mut r.0[..]).collect();
        let seconds = self.session.profile(&inputs, &mut outputs)?;
        seconds
            .last()
            .copied()
            .ok_or_else(|| Error::bug("a candidate without a launch"))
    }
}

impl Runner for Loaded {
    fn time(&mut self) -> Result<f64> {
        let times = (0..self.repeats)
            .map(|_| self.once())
            .collect::<Result<Vec<_>>>()?;
        Ok(crate::search::median(&times))
    }

    fn outputs(&mut self) -> Result<Vec<Output>> {
        // What is not written is seen.
        for room in self.outputs.borrow_mut().iter_mut() {
            room.0.fill(0xff);
        }
        self.once()?;
        let read = |(room, (dtype, mask)): (&Room, &(DType, Vec<u8>))| Output {
            dtype: *dtype,
            values: (0..mask.len() / dtype.size())
                .filter(|i| mask[i * dtype.size()] != 0)
                .map(|i| to_f64(*dtype, &room.0, i))
                .collect(),
        };
        Ok(self
            .outputs
            .borrow()
            .iter()
            .zip(&*self.masks)
            .map(read)
            .collect())
    }
}

/// A parameter's logical tensor.
fn io(name: &str, param: &Param) -> Io {
    Io {
        name: name.into(),
        dtype: param.dtype,
        shape: param.layout.shape.clone(),
        buffer: BufferId(0),
    }
}

/// A tensor's bytes as they lie in memory; padding is zero.
fn in_layout(tensor: &Weight, layout: &Layout) -> Result<Vec<u8>> {
    let mut out = vec![0; layout.elements() as usize * tensor.dtype.size()];
    emit::pack(tensor, layout, &mut out)?;
    Ok(out)
}

fn renamed(kernel: &Kernel, n: usize) -> Kernel {
    Kernel {
        name: format!("helper{n}"),
        ..kernel.clone()
    }
}

/// A kernel that reads so many bytes, as numbers.
fn reader(bytes: u64, facts: &Facts) -> Result<(Kernel, LinearKernel)> {
    let elements = (bytes / 4).max(1) as i64;
    let mut g = Uops::new();
    let (n, one) = (g.index(elements), g.index(0));
    let i = g.range(0, n, Axis::Loop);
    let (x, y) = (g.param(0, DType::F32), g.param(1, DType::F32));
    let value = g.load(x, &[i]);
    let sum = g.reduce(ReduceOp::Sum, value, &[i]);
    let store = g.store(y, sum, &[one]);
    let param = |elements, access| Param {
        dtype: DType::F32,
        layout: Layout::row_major(&[elements]),
        access,
        weight: false,
    };
    let kernel = Kernel {
        name: "reader".into(),
        sink: g.sink(&[store]),
        uops: g,
        params: vec![param(elements, Access::Read), param(1, Access::Write)],
        origins: Vec::new(),
    };
    let (done, _) = opt::optimise(&kernel, facts)?;
    let list = codegen::lower(&done, facts)?;
    Ok((done, list))
}
