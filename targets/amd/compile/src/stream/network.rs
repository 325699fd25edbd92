//! The command stream of a whole model.
//!
//! In: [`Model`] and the chip's [`Generation`]. Out: a [`Network`]: stream, arguments, machine code, patches, places of launches
//! and kernels, and what the device must have.
//!
//! ```text
//! wait until the timeline has reached the value before
//! flush what the host wrote, acquire everything, progress = 0
//! for each launch: acquire (but before the first), progress = its number, registers, dispatch, wait for its end
//! release: the timeline's value; release: the event and its interrupt
//! ```

use super::dispatch::{self, Launch};
use super::generation::Generation;
use super::kernargs;
use super::packets::{Class, Fixup, Packet, Value, Words};
use super::registers::Registers;
use crate::Model;
use tinyc_compiler::diag::{Error, Result};
use tinyc_replay_amd::Needs;
use tinyc_replay_amd::needs::MAX_STREAM_WORDS;
use tinyc_runtime::bundle::Kind;
use tinyc_runtime::patch::{Patch, UNPATCHED, symbol};
use tinyc_runtime::symbols::{KernelAt, LaunchAt};

/// Alignment of machine code.
const CODE_ALIGN: usize = 256;

/// A model as a device takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// What the device must be and have.
    pub needs: Needs,
    /// Words of the stream; fields of classes link and run hold [`UNPATCHED`].
    pub stream: Vec<u32>,
    /// Arguments of all launches; fields likewise.
    pub kernargs: Vec<u32>,
    /// Machine code of all kernels.
    pub image: Vec<u8>,
    /// Patches of all three classes, by ascending place. Constant ones are applied.
    pub fixups: Vec<Fixup>,
    /// Where each launch is in the stream.
    pub launches: Vec<LaunchAt>,
    /// Where each kernel is in the image.
    pub kernels: Vec<KernelAt>,
}

impl Network {
    /// Builds the stream of a model.
    ///
    /// # Errors
    /// Unsupported when the stream is longer than a device takes; Bug when code objects and launches do not fit together.
    pub fn build(model: &Model, generation: &Generation, wave_lanes: u32) -> Result<Network> {
        let (image, kernels) = image(model)?;
        let mut arguments = Words::default();
        let steps = &model.dispatches.launches.steps;
        let offsets = kernargs::write(&model.dispatches.launches, &mut arguments)?;
        let scratch = most(model, |d| d.private_bytes);
        let mut out = Words::default();
        let mut registers = Registers::default();
        dispatch::begin(scratch > 0, &mut registers);
        begin(generation, &mut out);
        let mut launches = Vec::new();
        for (n, (step, &arguments)) in steps.iter().zip(&offsets).enumerate() {
            let kernel = step.kernel as usize;
            let parts = (
                model.code.get(kernel),
                kernels.get(kernel),
                model.dispatches.grids.get(kernel),
            );
            let (Some(code), Some(at), Some(&grid)) = parts else {
                return Err(Error::bug("a launch without its kernel"));
            };
            launches.push(LaunchAt {
                kernel: step.kernel,
                word: out.words.len() as u32,
            });
            if n > 0 {
                out.packet(&generation.acquire_near());
            }
            progress(n as u32 + 1, &mut out);
            let launch = Launch {
                code,
                entry: at.entry,
                grid,
                arguments,
            };
            // A kernel over nothing has nothing to do, and devices refuse it.
            if grid.groups > 0 {
                dispatch::write(&launch, generation, &mut registers, &mut out)?;
            }
        }
        end(generation, &mut out);
        if out.words.len() as u64 >= MAX_STREAM_WORDS {
            return Err(Error::unsupported(format!(
                "{} launches make a command stream of {} words, a device takes fewer than {MAX_STREAM_WORDS}",
                steps.len(),
                out.words.len()
            )));
        }
        let needs = Needs {
            gfx_target_version: generation.gfx_target_version,
            queue: generation.queue(),
            wave_lanes,
            scratch_bytes: scratch,
            group_bytes: most(model, |d| d.group_bytes),
            code_bytes: image.len() as u64,
            kernarg_bytes: arguments.words.len() as u64 * 4,
            stream_words: out.words.len() as u64,
            weight_bytes: model.weight_bytes,
            arena_bytes: model.arena_bytes,
            ..Needs::default()
        };
        settle(&mut out)?;
        settle(&mut arguments)?;
        out.fixups.append(&mut arguments.fixups);
        Ok(Network {
            needs,
            stream: out.words,
            kernargs: arguments.words,
            image,
            fixups: out.fixups,
            launches,
            kernels,
        })
    }

    /// How many patches have a class.
    pub fn count(&self, class: Class) -> usize {
        self.of(class).count()
    }

    fn of(&self, class: Class) -> impl Iterator<Item = &Patch> {
        let fixups = self.fixups.iter();
        fixups.filter(move |f| f.class == class).map(|f| &f.patch)
    }

    /// Sections of the bundle.
    pub fn sections(&self) -> Vec<(Kind, Vec<u8>)> {
        let bytes = |words: &[u32]| words.iter().flat_map(|w| w.to_le_bytes()).collect();
        vec![
            (Kind::Needs, self.needs.encode().to_vec()),
            (Kind::Image, self.image.clone()),
            (Kind::Stream, bytes(&self.stream)),
            (Kind::Kernargs, bytes(&self.kernargs)),
            (Kind::Patches, self.patches()),
            (Kind::Symbols, self.symbols()),
        ]
    }

    /// The section `patches`.
    fn patches(&self) -> Vec<u8> {
        let run: Vec<&Patch> = self.of(Class::Run).collect();
        let counts = [self.count(Class::Link) as u32, run.len() as u32];
        let mut out: Vec<u8> = counts.iter().flat_map(|n| n.to_le_bytes()).collect();
        let entries = self.of(Class::Link).chain(run.iter().copied());
        out.extend(entries.flat_map(Patch::encode));
        let mut index: Vec<usize> = (0..run.len()).collect();
        index.sort_by_key(|&n| (run[n].symbol, n));
        out.extend(index.iter().flat_map(|&n| (n as u32).to_le_bytes()));
        out
    }

    /// The section `symbols`.
    fn symbols(&self) -> Vec<u8> {
        let counts = [self.launches.len() as u32, self.kernels.len() as u32];
        let mut out: Vec<u8> = counts.iter().flat_map(|n| n.to_le_bytes()).collect();
        out.extend(self.launches.iter().flat_map(LaunchAt::encode));
        out.extend(self.kernels.iter().flat_map(KernelAt::encode));
        out
    }
}

/// All code, one behind the other.
fn image(model: &Model) -> Result<(Vec<u8>, Vec<KernelAt>)> {
    let mut bytes: Vec<u8> = Vec::new();
    let mut kernels = Vec::new();
    for code in &model.code {
        let image = code.image()?;
        bytes.resize(bytes.len().next_multiple_of(CODE_ALIGN), 0);
        let start = bytes.len() as u64;
        let entry = start + image.entry;
        if !entry.is_multiple_of(CODE_ALIGN as u64) {
            let name = &code.name;
            return Err(Error::bug(format!(
                "kernel '{name}' starts at {entry:#x}, no multiple of {CODE_ALIGN}"
            )));
        }
        kernels.push(KernelAt {
            start,
            bytes: image.bytes.len() as u64,
            entry,
        });
        bytes.extend(image.bytes);
    }
    // Instructions are fetched ahead of the last one.
    let end = (bytes.len() + CODE_ALIGN).next_multiple_of(CODE_ALIGN);
    bytes.resize(end, 0);
    Ok((bytes, kernels))
}

/// The largest of a number in the descriptors.
fn most(model: &Model, number: impl Fn(&crate::Descriptor) -> u32) -> u32 {
    let all = model.code.iter().map(|c| number(&c.descriptor));
    all.max().unwrap_or(0)
}

fn progress(number: u32, out: &mut Words) {
    let to = Value::address(symbol::PROGRESS, 0);
    out.packet(&Packet::Write(to, vec![Value::constant(number)]));
}

fn begin(generation: &Generation, out: &mut Words) {
    let timeline = Value::address(symbol::SIGNAL, 0);
    let before = Value::symbol(Class::Run, symbol::WAIT);
    out.packet(&Packet::WaitAtLeast(timeline, before));
    let [request, done] = generation.host_flush;
    out.packet(&Packet::FlushHost(request, done));
    out.packet(&generation.acquire_all());
    progress(0, out);
}

fn end(generation: &Generation, out: &mut Words) {
    let done = Value::symbol(Class::Run, symbol::DONE);
    let event = Value::symbol(Class::Link, symbol::EVENT);
    generation.signal(
        (Value::address(symbol::SIGNAL, 0), done),
        (Value::address(symbol::MAILBOX, 0), event),
        out,
    );
}

/// Fills constant fields in, and checks that only fields of the other classes still wait.
fn settle(section: &mut Words) -> Result<()> {
    let mut bytes: Vec<u8> = section.words.iter().flat_map(|w| w.to_le_bytes()).collect();
    let mut waiting = 0;
    for fixup in &section.fixups {
        if fixup.class != Class::Constant {
            waiting += usize::from(fixup.patch.width) / 4;
            continue;
        }
        let applied = fixup.patch.apply(&mut bytes, 0);
        applied.ok_or_else(|| Error::bug("a field lies outside its section"))?;
    }
    let words = bytes.as_chunks::<4>().0.iter();
    section.words = words.map(|b| u32::from_le_bytes(*b)).collect();
    let found = section.words.iter().filter(|w| **w == UNPATCHED).count();
    match found == waiting {
        true => Ok(()),
        false => Err(Error::bug(format!(
            "{found} words wait for a value, {waiting} have a patch"
        ))),
    }
}
