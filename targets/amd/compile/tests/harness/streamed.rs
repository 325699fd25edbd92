//! The AMD target, whose models run on the simulated queue: one indirect buffer, patched as a loader does it.

use std::path::Path;
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::emit::pack_all;
use tinyc_compiler::program::{Built, LinearKernel};
use tinyc_compiler::target::{Emit, EmittedFile, Facts, Session, Target};
use tinyc_runtime::bundle::Kind;
use tinyc_runtime::patch::{Patches, symbol, unpatched};
use tinyc_simgpu::device::Device;
use tinyc_simgpu::pm4::{Progress, Queue};
use tinyc_target_amd::AmdTarget;
use tinyc_target_amd::stream::Network;

/// The AMD target with sessions on the simulated queue; the number is the seed of its order.
pub struct Streamed(pub AmdTarget, pub u64);

impl Target for Streamed {
    fn name(&self) -> &str {
        self.0.name()
    }
    fn facts(&self) -> &Facts {
        self.0.facts()
    }
    fn render(&self, kernel: &LinearKernel) -> Result<String> {
        self.0.render(kernel)
    }
    fn emit(&self, built: &Built, what: Emit, dir: &Path) -> Result<Vec<EmittedFile>> {
        self.0.emit(built, what, dir)
    }
    fn load(&self, built: &Built, _: usize) -> Result<Box<dyn Session>> {
        Ok(Box::new(StreamSession::new(&self.0, built, self.1)?))
    }
    fn toolchain(&self) -> Result<String> {
        self.0.toolchain()
    }
}

/// A loaded network.
pub struct StreamSession {
    pub device: Device,
    pub queue: Queue,
    pub network: Network,
    /// Stream, arguments, image: with all patches.
    pub sections: [Vec<u8>; 3],
    patches: Vec<u8>,
    /// Addresses of symbols 0 to 12.
    values: [u64; 13],
    /// Addresses of inputs and outputs.
    pub io: Vec<u64>,
}

/// Waves that have private memory at once.
const WAVES: u64 = 8;

fn bug(e: impl std::fmt::Display) -> Error {
    Error::bug(e.to_string())
}

impl StreamSession {
    pub fn new(target: &AmdTarget, built: &Built, seed: u64) -> Result<StreamSession> {
        let model = target.build(built)?;
        let network = target.network(&model)?;
        let mut device = Device::new(seed);
        device.memory.track();
        let needs = network.needs;
        let part = |kind| {
            network
                .sections()
                .into_iter()
                .find(|s| s.0 == kind)
                .unwrap()
                .1
        };
        let mut sections = [Kind::Stream, Kind::Kernargs, Kind::Image].map(part);
        let patches = part(Kind::Patches);
        let mut map = |bytes: u64| device.memory.map(bytes.max(1) as usize);
        let wave = (u64::from(needs.scratch_bytes) * 32).next_multiple_of(256);
        let mut values = [0; 13];
        for (symbol, bytes) in [
            (symbol::ARENA, needs.arena_bytes),
            (symbol::WEIGHTS, needs.weight_bytes),
            (symbol::IMAGE, needs.code_bytes),
            (symbol::KERNARGS, needs.kernarg_bytes),
            (symbol::STREAM, needs.stream_words * 4),
            (symbol::SCRATCH, wave * WAVES),
            (symbol::SIGNAL, 16),
            (symbol::MAILBOX, 8),
            (symbol::PROGRESS, 4),
        ] {
            values[symbol as usize] = map(bytes);
        }
        values[symbol::EVENT as usize] = 5;
        values[symbol::SCRATCH_SIZE as usize] = (wave / 256) << 12 | WAVES;
        let all = built.program.inputs.iter().chain(&built.program.outputs);
        let io: Vec<u64> = all.map(|io| map(io.bytes() as u64)).collect();
        let checked =
            Patches::open(&patches, sections.each_ref().map(|s| s.len() as u64)).map_err(bug)?;
        let [a, b, c] = &mut sections;
        let link = |symbol: u32| values.get(symbol as usize).copied();
        checked.apply_link(&mut [a, b, c], link).map_err(bug)?;
        let at = |symbol: u32| values[symbol as usize];
        let mut weights = vec![0; model.weight_bytes as usize];
        pack_all(built, &mut weights)?;
        device
            .memory
            .write(at(symbol::WEIGHTS), &weights)
            .map_err(bug)?;
        device
            .memory
            .write(at(symbol::IMAGE), &sections[2])
            .map_err(bug)?;
        device
            .memory
            .write(at(symbol::SIGNAL), &[0; 16])
            .map_err(bug)?;
        device.memory.protect(at(symbol::WEIGHTS));
        device.memory.protect(at(symbol::IMAGE));
        let mut queue = Queue::new(seed);
        let entries = network.kernels.iter().map(|k| at(symbol::IMAGE) + k.entry);
        let names = model.code.iter().map(|c| c.name.clone());
        queue.names = entries.zip(names).collect();
        Ok(StreamSession {
            device,
            queue,
            network,
            sections,
            patches,
            values,
            io,
        })
    }

    pub fn value(&self, symbol: u32) -> u64 {
        self.values[symbol as usize]
    }

    /// Sets the value of a symbol: only its fields change.
    pub fn set(&mut self, symbol: u32, value: u64) {
        let sizes = self.sections.each_ref().map(|s| s.len() as u64);
        let patches = Patches::open(&self.patches, sizes).unwrap();
        let [a, b, c] = &mut self.sections;
        patches.apply_symbol(&mut [a, b, c], symbol, value);
    }

    /// Writes the stream to the device's memory and lets the queue execute it.
    pub fn submit(&mut self) -> Result<Progress> {
        for section in &self.sections[..2] {
            assert_eq!(unpatched(section), None);
        }
        let (stream, kernargs) = (self.value(symbol::STREAM), self.value(symbol::KERNARGS));
        self.device
            .memory
            .write(stream, &self.sections[0])
            .map_err(bug)?;
        self.device
            .memory
            .write(kernargs, &self.sections[1])
            .map_err(bug)?;
        let words = self.network.stream.len() as u32 | 1 << 23;
        let call = [0xC002_3F00, stream as u32, (stream >> 32) as u32, words];
        self.queue.push(0, &call);
        self.queue.run(&mut self.device).map_err(bug)
    }

    pub fn timeline(&self) -> u64 {
        let at = self.value(symbol::SIGNAL);
        u64::from_le_bytes(self.device.memory.load_coherent(at).unwrap())
    }
}

impl Session for StreamSession {
    fn run(&mut self, inputs: &[&[u8]], outputs: &mut [&mut [u8]]) -> Result<()> {
        for (bytes, &address) in inputs.iter().zip(&self.io) {
            self.device.memory.write(address, bytes).map_err(bug)?;
        }
        for (symbol, address) in (symbol::IO..).zip(self.io.clone()) {
            self.set(symbol, address);
        }
        let before = self.timeline();
        self.set(symbol::WAIT, before);
        self.set(symbol::DONE, before + 1);
        let progress = self.submit()?;
        if progress != Progress::Done || self.timeline() != before + 1 {
            return Err(bug("the stream did not end"));
        }
        for (out, &address) in outputs.iter_mut().zip(&self.io[inputs.len()..]) {
            self.device.memory.read(address, out).map_err(bug)?;
        }
        Ok(())
    }
    fn profile(&mut self, _: &[&[u8]], _: &mut [&mut [u8]]) -> Result<Vec<f64>> {
        Err(Error::unsupported("no times"))
    }
}
