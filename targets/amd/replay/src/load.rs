//! A model's memory on a device, filled when it is opened.
//!
//! In: an artifact and a device. Out: [`Memory`], with addresses written into stream, arguments and machine code, and [`Tensors`].

use crate::device::{Device, Options};
use crate::error::Error;
use crate::memory::{self, Block, Class, Gpu, PAGE};
use crate::model::Artifact;
use crate::tensors::Tensors;
use crate::upload::Upload;
use tinyc_runtime::io::{Errno, KernelIo, Mmio};
use tinyc_runtime::patch::{Place, symbol, unpatched};

/// Tensors start at multiples of this.
const ALIGN: u64 = 256;

/// Blocks of a model, in the order in which they are made.
#[derive(Debug, Default)]
pub struct Memory {
    image: Option<Block>,
    weights: Option<Block>,
    arena: Option<Block>,
    kernargs: Option<Block>,
    stream: Option<Block>,
    inputs: Option<Block>,
    outputs: Option<Block>,
    /// Processor and device write all of the device's memory.
    large_bar: bool,
}

impl Memory {
    /// Address of the stream.
    pub fn stream(&self) -> u64 {
        start(self.stream)
    }

    /// Address of the arguments.
    pub fn kernargs(&self) -> u64 {
        start(self.kernargs)
    }

    /// Gives everything back. The queue has ended.
    pub fn close<I: KernelIo>(&mut self, io: &mut I, gpu: &Gpu) {
        memory::free_all(
            io,
            gpu,
            &mut [
                &mut self.outputs,
                &mut self.inputs,
                &mut self.stream,
                &mut self.kernargs,
                &mut self.arena,
                &mut self.weights,
                &mut self.image,
            ],
        );
    }

    fn open<I: KernelIo>(
        &mut self,
        io: &mut I,
        gpu: &Gpu,
        artifact: &Artifact<'_>,
        [inputs, outputs]: [u64; 2],
    ) -> Result<(), Error> {
        let needs = &artifact.needs;
        let code = needs.code_bytes;
        self.image = Some(match memory::allocate(io, gpu, Class::SharedCode, code) {
            Ok(block) => {
                self.large_bar = true;
                block
            }
            // What a driver says that cannot show all memory to the processor.
            Err(Errno::INVALID | Errno::NO_MEMORY) => {
                memory::allocate(io, gpu, Class::DeviceCode, code)
                    .map_err(Error::step("machine code", code))?
            }
            Err(errno) => return Err(Error::step("machine code", code)(errno)),
        });
        // What the processor fills once, and what it writes before runs.
        let (once, often) = match self.large_bar {
            true => (Class::Shared, Class::Shared),
            false => (Class::Device, Class::Host),
        };
        let mut make = |class, bytes, what| {
            let block = memory::allocate(io, gpu, class, bytes);
            block.map(Some).map_err(Error::step(what, bytes))
        };
        self.weights = make(once, needs.weight_bytes, "weights")?;
        self.arena = make(Class::Device, needs.arena_bytes, "the arena")?;
        self.kernargs = make(often, needs.kernarg_bytes, "arguments")?;
        self.stream = make(
            Class::Coherent,
            needs.stream_words * 4,
            "the command stream",
        )?;
        self.inputs = make(often, inputs, "inputs")?;
        // Reading device memory over the bus is slow; writing host memory is not.
        self.outputs = make(Class::Host, outputs, "outputs")?;
        Ok(())
    }
}

fn start(block: Option<Block>) -> u64 {
    block.map_or(0, |b| b.address)
}

/// Makes and fills a model's memory.
pub(crate) fn load<I: KernelIo + Mmio>(
    io: &mut I,
    device: &mut Device,
    artifact: &Artifact<'_>,
    options: &Options,
) -> Result<(Memory, Tensors), Error> {
    let mut memory = Memory::default();
    let count = artifact.program.inputs as usize + artifact.program.outputs as usize;
    let mut tensors =
        Tensors::open(io, count).map_err(Error::step("the table of tensors", PAGE))?;
    let gpu = *device.gpu();
    let result = layout(artifact, &mut tensors)
        .and_then(|sizes| memory.open(io, &gpu, artifact, sizes))
        .and_then(|()| {
            place(artifact, &memory, &mut tensors);
            fill(io, device, artifact, &memory, &tensors, options)
        });
    match result {
        Ok(()) => Ok((memory, tensors)),
        Err(error) => {
            device.stop(io);
            memory.close(io, &gpu);
            tensors.close(io);
            Err(error)
        }
    }
}

/// Offsets of all tensors in the blocks of inputs and outputs; the bytes of the blocks.
fn layout(artifact: &Artifact<'_>, tensors: &mut Tensors) -> Result<[u64; 2], Error> {
    let inputs = artifact.program.inputs;
    let mut sizes = [0u64; 2];
    for (n, tensor) in (0..).zip(tensors.all_mut()) {
        let bytes = artifact.program.tensor(n).map(|t| t.bytes);
        tensor.bytes = bytes.ok_or(Error::Damaged("tensors"))?;
        let [input, output] = &mut sizes;
        let end = if n < inputs { input } else { output };
        tensor.own = *end;
        *end = end
            .checked_add(tensor.bytes)
            .and_then(|e| e.checked_next_multiple_of(ALIGN))
            .ok_or(Error::Damaged("tensors"))?;
    }
    Ok(sizes)
}

/// Offsets become addresses.
fn place(artifact: &Artifact<'_>, memory: &Memory, tensors: &mut Tensors) {
    let inputs = artifact.program.inputs as usize;
    for (n, tensor) in tensors.all_mut().iter_mut().enumerate() {
        let block = if n < inputs {
            memory.inputs
        } else {
            memory.outputs
        };
        tensor.own += start(block);
        tensor.bound = tensor.own;
        tensor.patched = tensor.own;
    }
}

/// Copies of what is patched, in memory of the process.
struct Staging {
    at: u64,
    bytes: u64,
}

impl Staging {
    fn open<I: KernelIo>(io: &mut I, artifact: &Artifact<'_>) -> Result<Staging, Error> {
        let parts = [artifact.stream, artifact.kernargs, artifact.image];
        let bytes = parts.iter().map(|p| p.len() as u64).sum::<u64>().max(1);
        let at = memory::plain(io, bytes).map_err(Error::step("patching", bytes))?;
        Ok(Staging { at, bytes })
    }

    /// Stream, arguments, image.
    fn sections(&mut self, artifact: &Artifact<'_>) -> [&mut [u8]; 3] {
        let at = core::ptr::with_exposed_provenance_mut::<u8>(self.at as usize);
        // SAFETY: the mapping is this long, new, zeroed, and reached through this object alone, which is borrowed as long.
        let all = unsafe { core::slice::from_raw_parts_mut(at, self.bytes as usize) };
        let (stream, rest) = all
            .split_at_mut_checked(artifact.stream.len())
            .unwrap_or((&mut [], &mut []));
        let (kernargs, rest) = rest
            .split_at_mut_checked(artifact.kernargs.len())
            .unwrap_or((&mut [], &mut []));
        let image = rest.get_mut(..artifact.image.len()).unwrap_or(&mut []);
        [stream, kernargs, image]
    }

    fn close<I: KernelIo>(self, io: &mut I) {
        // SAFETY: the mapping is this object's, which ends.
        let _ = unsafe { io.munmap(self.at, self.bytes) };
    }
}

fn fill<I: KernelIo + Mmio>(
    io: &mut I,
    device: &mut Device,
    artifact: &Artifact<'_>,
    memory: &Memory,
    tensors: &Tensors,
    options: &Options,
) -> Result<(), Error> {
    let mut staging = Staging::open(io, artifact)?;
    let mut sections = staging.sections(artifact);
    let result = relocate(&mut sections, device, artifact, memory, tensors).and_then(|()| {
        let [stream, kernargs, image] = sections;
        // SAFETY: the blocks are mapped and at least as long; nothing runs.
        unsafe {
            io.copy_to(memory.stream(), stream);
            io.copy_to(memory.kernargs(), kernargs);
        }
        copy_once(io, device, artifact, memory, image, options)
    });
    staging.close(io);
    result
}

/// Writes all addresses into the copies.
fn relocate(
    sections: &mut [&mut [u8]; 3],
    device: &Device,
    artifact: &Artifact<'_>,
    memory: &Memory,
    tensors: &Tensors,
) -> Result<(), Error> {
    let templates = [artifact.stream, artifact.kernargs, artifact.image];
    for (to, from) in sections.iter_mut().zip(templates) {
        if to.len() != from.len() {
            return Err(Error::Damaged("stream"));
        }
        to.copy_from_slice(from);
    }
    let patches = &artifact.patches;
    if patches.run().any(|p| p.place == Place::Image) {
        // Kernels may run while other code is written.
        return Err(Error::Damaged("patches"));
    }
    let (event, mailbox) = device.mailbox();
    let (scratch, tmpring) = device.scratch();
    let value = |s: u32| {
        Some(match s {
            symbol::ARENA => start(memory.arena),
            symbol::WEIGHTS => start(memory.weights),
            symbol::IMAGE => start(memory.image),
            symbol::KERNARGS => memory.kernargs(),
            symbol::STREAM => memory.stream(),
            symbol::SCRATCH => scratch,
            symbol::SIGNAL => device.timeline(),
            symbol::MAILBOX => mailbox,
            symbol::EVENT => u64::from(event),
            symbol::WAIT => u64::from(device.value()),
            symbol::DONE => u64::from(device.value()) + 1,
            symbol::SCRATCH_SIZE => u64::from(tmpring),
            symbol::PROGRESS => device.progress(),
            n => tensors.get(n.checked_sub(symbol::IO)?).ok()?.own,
        })
    };
    let unknown = |_| Error::Damaged("patches");
    patches.apply_link(sections, value).map_err(unknown)?;
    patches.apply_run(sections, value).map_err(unknown)?;
    let [stream, kernargs, _] = sections;
    if unpatched(stream).is_some() {
        return Err(Error::Damaged("stream"));
    }
    if unpatched(kernargs).is_some() {
        return Err(Error::Damaged("arguments"));
    }
    Ok(())
}

/// Machine code and weights: never changed again.
fn copy_once<I: KernelIo + Mmio>(
    io: &mut I,
    device: &mut Device,
    artifact: &Artifact<'_>,
    memory: &Memory,
    image: &[u8],
    options: &Options,
) -> Result<(), Error> {
    let parts = [
        (start(memory.image), image),
        (start(memory.weights), artifact.weights),
    ];
    if memory.large_bar {
        for (to, bytes) in parts {
            // SAFETY: the blocks are mapped and at least as long; nothing runs. The stream's first packets flush the path that the bytes take.
            unsafe { io.copy_to(to, bytes) };
        }
        io.fence();
        return Ok(());
    }
    let mut upload = Upload::open(io, device)?;
    let result = parts
        .into_iter()
        .try_for_each(|(to, bytes)| upload.copy(io, device, to, bytes, options))
        .and_then(|()| upload.finish(io, device, options));
    if result.is_err() {
        // The device may still read the buffer.
        device.stop(io);
    }
    upload.close(io, device);
    result
}
