//! A model on a device: its memory, its stream, its runs.
//!
//! In: a bundle and an object that makes system calls. Out: [`Model`]. After [`Model::open`] nothing allocates, and a run that is done within the
//! polling time makes no system call: it writes two words of the timeline, the addresses of inputs and outputs that changed, four words of the
//! ring, the write pointer and the doorbell.
//!
//! ```no_run
//! # use tinyc_replay_amd::{Error, Linux, Model, Options};
//! # fn f(bytes: &[u8], image: &[u8], scores: &mut [u8]) -> Result<(), Error> {
//! let bundle = tinyc_runtime::read(bytes)?;
//! let mut model = Model::open(bundle, Linux, Options::default())?;
//! model.write_input(0, image)?;
//! model.run()?;
//! model.read_output(0, scores)?;
//! # Ok(())
//! # }
//! ```

use crate::device::{Device, Options};
use crate::error::Error;
use crate::load::{Memory, load};
use crate::memory;
use crate::needs::Needs;
use crate::tensors::{ALIGNMENT, Region, Tensor, Tensors};
use core::mem::ManuallyDrop;
use core::time::Duration;
use tinyc_runtime::io::{KernelIo, Mmio};
use tinyc_runtime::patch::{Patch, Patches, Place, symbol};
use tinyc_runtime::symbols::Symbols;
use tinyc_runtime::{Bundle, Kind, Program, bundle};

/// A run that was submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// A model that is open. Dropping it closes it.
pub struct Model<'a, I: KernelIo + Mmio> {
    io: ManuallyDrop<I>,
    core: Core<'a>,
}

/// What the artifact says, read and checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Artifact<'a> {
    pub bundle: Bundle<'a>,
    pub program: Program<'a>,
    pub needs: Needs,
    pub image: &'a [u8],
    pub stream: &'a [u8],
    pub kernargs: &'a [u8],
    pub weights: &'a [u8],
    pub patches: Patches<'a>,
    pub symbols: Symbols<'a>,
}

impl<'a> Artifact<'a> {
    fn read(bundle: Bundle<'a>) -> Result<Artifact<'a>, Error> {
        let section = |kind| bundle.section(kind).map(|s: bundle::Section<'a>| s.bytes);
        let needs = Needs::read(section(Kind::Needs)?).ok_or(Error::Damaged("needs"))?;
        let (image, stream) = (section(Kind::Image)?, section(Kind::Stream)?);
        let (kernargs, weights) = (section(Kind::Kernargs)?, section(Kind::Weights)?);
        let program = bundle.program()?;
        let sizes = [stream, kernargs, image].map(|s| s.len() as u64);
        let same = needs.code_bytes == sizes[2]
            && needs.kernarg_bytes == sizes[1]
            && needs.stream_words * 4 == sizes[0]
            && needs.weight_bytes == weights.len() as u64
            && needs.arena_bytes == program.arena_bytes;
        if !same || stream.is_empty() {
            return Err(Error::Damaged("needs"));
        }
        Ok(Artifact {
            bundle,
            program,
            needs,
            image,
            stream,
            kernargs,
            weights,
            patches: Patches::open(section(Kind::Patches)?, sizes)?,
            symbols: Symbols::open(section(Kind::Symbols)?, needs.stream_words, sizes[2])?,
        })
    }
}

/// All but the object that makes system calls.
struct Core<'a> {
    artifact: Artifact<'a>,
    device: Device,
    memory: Memory,
    tensors: Tensors,
    options: Options,
    /// Runs submitted, runs known to be done.
    submitted: u64,
    done: u64,
}

impl<'a, I: KernelIo + Mmio> Model<'a, I> {
    /// Opens the device and loads the model. What a failure leaves behind is given back; the object is dropped then.
    pub fn open(bundle: Bundle<'a>, mut io: I, options: Options) -> Result<Self, Error> {
        let core = Core::open(bundle, &mut io, options)?;
        Ok(Model {
            io: ManuallyDrop::new(io),
            core,
        })
    }

    /// Closes the model and gives the object back. A run that is under way ends.
    pub fn close(self) -> I {
        let mut model = ManuallyDrop::new(self);
        let Model { io, core } = &mut *model;
        core.close(&mut **io);
        // SAFETY: the model is not used again, and its `drop` does not run.
        unsafe { ManuallyDrop::take(&mut model.io) }
    }

    /// The object that makes system calls.
    pub fn io(&mut self) -> &mut I {
        &mut self.io
    }

    /// The artifact's launches, inputs and outputs.
    pub fn program(&self) -> &Program<'a> {
        &self.core.artifact.program
    }

    /// Name of the kernel of a launch.
    pub fn kernel(&self, launch: u32) -> Option<&'a str> {
        let artifact = &self.core.artifact;
        let kernel = artifact.symbols.launch(launch)?.kernel;
        artifact.bundle.kernels().nth(kernel as usize)
    }

    /// Address and bytes of an input's own buffer, which the processor may write while nothing runs.
    pub fn input(&self, n: u32) -> Result<(u64, u64), Error> {
        let inputs = self.core.artifact.program.inputs;
        let tensor = self.core.tensors.get(n.min(inputs))?;
        match n < inputs {
            true => Ok((tensor.own, tensor.bytes)),
            false => Err(Error::Argument("there is no input of this number")),
        }
    }

    /// Address and bytes of an output's own buffer, which the processor may read while nothing runs.
    pub fn output(&self, n: u32) -> Result<(u64, u64), Error> {
        let tensor = self.core.output(n)?;
        Ok((tensor.own, tensor.bytes))
    }

    /// Writes an input's own buffer, all of it.
    pub fn write_input(&mut self, n: u32, bytes: &[u8]) -> Result<(), Error> {
        let (address, size) = self.input(n)?;
        self.core.idle(&mut *self.io)?;
        if bytes.len() as u64 != size {
            return Err(Error::Argument("the input has another size"));
        }
        // SAFETY: the buffer is this long and mapped; nothing runs.
        unsafe { self.io.copy_to(address, bytes) };
        Ok(())
    }

    /// Reads an output's own buffer, all of it.
    pub fn read_output(&mut self, n: u32, out: &mut [u8]) -> Result<(), Error> {
        let (address, size) = self.output(n)?;
        self.core.idle(&mut *self.io)?;
        if out.len() as u64 != size {
            return Err(Error::Argument("the output has another size"));
        }
        // SAFETY: the buffer is this long and mapped; nothing runs.
        unsafe { self.io.copy_from(address, out) };
        Ok(())
    }

    /// Lets the device use memory of the caller, who keeps it until [`Model::unregister`] or the end of the model, and has nothing of Rust's in it
    /// that a run changes.
    ///
    /// # Safety
    /// The range is memory of this process, stays mapped as long, and nothing but the device writes it while a run is under way.
    pub unsafe fn register(&mut self, address: u64, bytes: u64) -> Result<(), Error> {
        let place = self.core.tensors.vacant(address, bytes)?;
        let gpu = *self.core.device.gpu();
        let block = memory::register(&mut *self.io, &gpu, address, bytes)
            .map_err(Error::step("registering the caller's memory", bytes))?;
        let region = Region {
            start: address,
            bytes,
            block,
        };
        self.core.tensors.put(place, region);
        Ok(())
    }

    /// Ends what [`Model::register`] began. No tensor may be bound there, nothing may run.
    pub fn unregister(&mut self, address: u64) -> Result<(), Error> {
        self.core.idle(&mut *self.io)?;
        let region = self.core.tensors.take(address)?;
        let gpu = *self.core.device.gpu();
        memory::free(&mut *self.io, &gpu, &region.block);
        Ok(())
    }

    /// Lets the next runs use memory of the caller for a tensor (inputs first, then outputs), or its own buffer again.
    pub fn bind(&mut self, n: u32, address: Option<u64>) -> Result<(), Error> {
        let tensor = self.core.tensors.get(n)?;
        let address = address.unwrap_or(tensor.own);
        if address != tensor.own {
            if !address.is_multiple_of(ALIGNMENT) {
                return Err(Error::Argument("tensors start at multiples of 16 bytes"));
            }
            if !self.core.tensors.covers(address, tensor.bytes) {
                return Err(Error::Argument(
                    "the tensor's memory is not registered: register it first",
                ));
            }
        }
        if let Some(tensor) = self.core.tensors.all_mut().get_mut(n as usize) {
            tensor.bound = address;
        }
        Ok(())
    }

    /// Starts a run. Waits for the one before, if that is not done yet.
    pub fn submit(&mut self) -> Result<Ticket, Error> {
        self.core.submit(&mut *self.io)
    }

    /// Waits for a run, at most so long beyond the polling time.
    pub fn wait(&mut self, ticket: Ticket, limit: Duration) -> Result<(), Error> {
        self.core.wait(&mut *self.io, ticket, limit)
    }

    /// One run from start to end.
    pub fn run(&mut self) -> Result<(), Error> {
        let limit = self.core.options.limit;
        let ticket = self.submit()?;
        self.wait(ticket, limit)
    }
}

impl<I: KernelIo + Mmio> Drop for Model<'_, I> {
    fn drop(&mut self) {
        self.core.close(&mut *self.io);
        // SAFETY: this is the end of the model, and `close` has not taken the object: it forgets the model.
        unsafe { ManuallyDrop::drop(&mut self.io) }
    }
}

impl<'a> Core<'a> {
    fn open<I: KernelIo + Mmio>(
        bundle: Bundle<'a>,
        io: &mut I,
        options: Options,
    ) -> Result<Core<'a>, Error> {
        let artifact = Artifact::read(bundle)?;
        let mut device = Device::open(io, &artifact.needs, &options)?;
        match load(io, &mut device, &artifact, &options) {
            Ok((memory, tensors)) => Ok(Core {
                artifact,
                device,
                memory,
                tensors,
                options,
                submitted: 0,
                done: 0,
            }),
            Err(error) => {
                device.close(io);
                Err(error)
            }
        }
    }

    fn close<I: KernelIo>(&mut self, io: &mut I) {
        let gpu = *self.device.gpu();
        // The queue goes first: what it runs may use all the rest.
        self.device.stop(io);
        while let Some(region) = self.tensors.take_any() {
            memory::free(io, &gpu, &region.block);
        }
        self.memory.close(io, &gpu);
        self.tensors.close(io);
        self.device.close(io);
    }

    fn output(&self, n: u32) -> Result<Tensor, Error> {
        let program = &self.artifact.program;
        match n < program.outputs {
            true => self.tensors.get(program.inputs + n),
            false => Err(Error::Argument("there is no output of this number")),
        }
    }

    /// Whether nothing runs.
    fn idle<I: Mmio>(&mut self, io: &mut I) -> Result<(), Error> {
        if self.done < self.submitted && self.device.done(io) {
            self.done = self.submitted;
        }
        match self.done == self.submitted {
            true => Ok(()),
            false => Err(Error::Argument("a run is under way: wait for it first")),
        }
    }

    fn submit<I: KernelIo + Mmio>(&mut self, io: &mut I) -> Result<Ticket, Error> {
        self.device.ended()?;
        // Stream and arguments are changed in place.
        self.wait(io, Ticket(self.submitted), self.options.limit)?;
        let (last, next) = self.device.advance(io);
        self.submitted += 1;
        self.patch(io, symbol::WAIT, u64::from(last));
        self.patch(io, symbol::DONE, u64::from(next));
        for n in 0..self.tensors.all().len() {
            let Some(tensor) = self.tensors.all().get(n).copied() else {
                break;
            };
            if tensor.bound != tensor.patched {
                self.patch(io, symbol::IO + n as u32, tensor.bound);
                if let Some(tensor) = self.tensors.all_mut().get_mut(n) {
                    tensor.patched = tensor.bound;
                }
            }
        }
        let words = self.artifact.needs.stream_words as u32;
        self.device.submit(io, self.memory.stream(), words);
        Ok(Ticket(self.submitted))
    }

    fn wait<I: KernelIo + Mmio>(
        &mut self,
        io: &mut I,
        ticket: Ticket,
        limit: Duration,
    ) -> Result<(), Error> {
        if ticket.0 > self.submitted {
            return Err(Error::Argument("this run was never submitted"));
        }
        if ticket.0 <= self.done {
            return Ok(());
        }
        self.device.wait(io, self.options.polls, limit)?;
        self.done = self.submitted;
        Ok(())
    }

    /// Applies the patches of one symbol where the device reads them.
    fn patch<I: Mmio>(&self, io: &mut I, symbol: u32, value: u64) {
        for patch in self.artifact.patches.of(symbol) {
            let start = match patch.place {
                Place::Stream => self.memory.stream(),
                Place::Kernargs => self.memory.kernargs(),
                // `load` refuses artifacts with such patches.
                Place::Image => continue,
            };
            store(io, start + patch.offset, &patch, value);
        }
    }
}

/// Writes one field. Reading it first takes long over the bus, and is only done where a part of it stays as it is.
fn store<I: Mmio>(io: &mut I, at: u64, patch: &Patch, value: u64) {
    let all = u64::MAX >> (64 - u32::from(patch.width.clamp(1, 8)) * 8);
    let whole = patch.mask << patch.lsb == all;
    // SAFETY: reading the patches checked that the field is inside of its section, at a multiple of 4, and 4 or 8 bytes long; both sections lie in
    // blocks that are mapped for the processor, at the start of a page. Nothing runs that would read them.
    unsafe {
        let load = |io: &mut I, at| u64::from(io.load32(at));
        if patch.width == 4 {
            let old = if whole { 0 } else { load(io, at) };
            io.store32(at, patch.value(old, value) as u32);
            return;
        }
        let old = match whole {
            true => 0,
            false => load(io, at) | load(io, at + 4) << 32,
        };
        let new = patch.value(old, value);
        match at.is_multiple_of(8) {
            true => io.store64(at, new),
            false => {
                io.store32(at, new as u32);
                io.store32(at + 4, (new >> 32) as u32);
            }
        }
    }
}
