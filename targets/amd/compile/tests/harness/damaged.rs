//! What damage needs: small models as networks, a runtime whose calls go wrong in one way, and what became of a run.

use super::{build, ready};
use std::ffi::CStr;
use std::time::Duration;
use tinyc_compiler::emit::{Provenance, bundle};
use tinyc_compiler::graph::{Builder, Graph};
use tinyc_compiler::program::Built;
use tinyc_compiler::uop::DType;
use tinyc_replay_amd::{Model, Options};
use tinyc_runtime::bundle::Kind;
use tinyc_runtime::io::{Errno, Fd, KernelIo, Mmio, ProcessWords};
use tinyc_simgpu::kfd::{Settings, Simulated};
use tinyc_target_amd::Chip;
use tinyc_target_amd::stream::Network;

/// A model and what it computes when nothing is damaged.
pub struct Case {
    pub name: &'static str,
    pub network: Network,
    built: Built,
    inputs: [Vec<u8>; 2],
    expected: [Vec<u8>; 2],
}

/// Kernels that need what others computed; filters in the weights.
fn chain() -> Graph {
    let mut b = Builder::new("chain");
    let mut y = b.input("x", DType::F32, &[1, 4, 9, 9]).unwrap();
    for (n, stride) in [(0, 1), (1, 2), (2, 1)] {
        let values: Vec<f32> = (0..4 * 4 * 9)
            .map(|i| ((i * 7 + n) % 11) as f32 / 8.0 - 0.5)
            .collect();
        let w = b.floats(&format!("w{n}"), &[4, 4, 3, 3], &values).unwrap();
        y = b.conv2d(y, w, None, stride, 1, 1).unwrap();
        y = b.relu(y).unwrap();
    }
    b.output("y", y);
    b.finish()
}

/// Rows that a work-group sums up together, through local memory.
fn rows() -> Graph {
    let mut b = Builder::new("rows");
    let x = b.input("x", DType::F32, &[3, 1024]).unwrap();
    let y = b.softmax(x, 1).unwrap();
    let values: Vec<f32> = (0..1024 * 5).map(|i| (i % 13) as f32 - 6.0).collect();
    let w = b.floats("w", &[1024, 5], &values).unwrap();
    let y = b.matmul(y, w).unwrap();
    b.output("y", y);
    b.finish()
}

/// The models, where there is a compiler.
pub fn cases() -> Option<Vec<Case>> {
    let target = ready(Chip::Gfx1100)?;
    let case = |(name, graph, private): (&'static str, Graph, u32)| {
        let built = build(graph, &target);
        let mut model = target.build(&built).unwrap();
        if private > 0 {
            // As a kernel says whose values do not fit into registers.
            for code in &mut model.code {
                code.descriptor.private_bytes = private;
                code.descriptor.rsrc[1] |= 1;
            }
        }
        let network = target.network(&model).unwrap();
        let input = |seed: f32| -> Vec<u8> {
            let values = (0..built.program.inputs[0].elements()).map(|i| (i as f32 * seed).sin());
            values.flat_map(f32::to_le_bytes).collect()
        };
        let mut case = Case {
            name,
            inputs: [input(0.37), input(0.91)],
            expected: Default::default(),
            network,
            built,
        };
        case.expected = case
            .compute(&case.bundle(&case.network), Tamper::Nothing, 0)
            .unwrap();
        case
    };
    let all = [
        ("chain", chain(), 0),
        ("rows", rows(), 0),
        ("private", chain(), 64),
    ];
    Some(all.map(case).into())
}

fn settings(seed: u64, copies: bool) -> Settings {
    Settings {
        seed,
        shadow: true,
        // Whoever polls such a device waits in vain, so that an event that is missing shows. Copies raise none.
        lazy: seed % 2 == 1 && !copies,
        large_bar: !copies,
        units: 2,
        limit: 20_000_000,
        ..Settings::default()
    }
}

impl Case {
    /// The bundle of a network that may be damaged.
    pub fn bundle(&self, network: &Network) -> Vec<u8> {
        self.bundle_of(network.sections())
    }

    /// The bundle of sections that may be damaged.
    pub fn bundle_of(&self, sections: Vec<(Kind, Vec<u8>)>) -> Vec<u8> {
        let provenance = Provenance {
            target: "damage".to_string(),
            toolchain: String::new(),
            licences: Vec::new(),
            code: Vec::new(),
            more: Vec::new(),
        };
        bundle(&self.built, &provenance, sections).unwrap()
    }

    /// Results of two runs, or what was noticed.
    fn compute(&self, bundle: &[u8], tamper: Tamper, seed: u64) -> Result<[Vec<u8>; 2], String> {
        let device = Simulated::new(settings(seed, tamper.is_of_copies()));
        let io = Tampered::new(device.clone(), tamper);
        let text = |e: tinyc_replay_amd::Error| match device.fault() {
            Some(fault) => format!("{e} ({fault})"),
            None => e.to_string(),
        };
        let options = Options {
            polls: if seed % 2 == 1 { 20 } else { 2000 },
            limit: Duration::from_secs(1),
            ..Options::default()
        };
        let read = tinyc_runtime::read(bundle).map_err(|e| e.to_string())?;
        let mut model = Model::open(read, io, options).map_err(text)?;
        model.io().armed = true;
        let mut out: [Vec<u8>; 2] = Default::default();
        for (input, out) in self.inputs.iter().zip(&mut out) {
            model.write_input(0, input).map_err(text)?;
            model.run().map_err(text)?;
            out.resize(self.built.program.outputs[0].bytes(), 0);
            model.read_output(0, out).map_err(text)?;
        }
        device.settle();
        model.close();
        let leaks = device.leaks();
        let all = [
            device.fault(),
            device.violations().first().cloned(),
            (device.waited() > 0).then(|| "a wait without an end".to_string()),
            (!leaks.is_empty()).then(|| format!("left behind: {leaks:?}")),
        ];
        match all.into_iter().flatten().next() {
            Some(noticed) => Err(noticed),
            None => Ok(out),
        }
    }

    /// What was noticed of the damage with any of some seeds; nothing when all went as if there were none.
    pub fn noticed(&self, bundle: &[u8], tamper: Tamper) -> Option<String> {
        let seeds = match tamper.is_of_copies() {
            true => COPY_SEEDS,
            false => SEEDS,
        };
        (0..seeds).find_map(|seed| match self.compute(bundle, tamper, seed) {
            Err(noticed) => Some(noticed),
            Ok(out) if out != self.expected => Some("another result".to_string()),
            Ok(_) => None,
        })
    }
}

/// Orders that are tried; more for copies, of which a small model has two.
const SEEDS: u64 = 6;
const COPY_SEEDS: u64 = 48;

/// A way in which a runtime goes wrong, once the model is open or all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tamper {
    Nothing,
    /// No fence is a fence.
    Fences,
    /// The value of a doorbell is off.
    Doorbell(i64),
    /// Nothing is rung.
    Silent,
    /// The next doorbell is rung.
    Elsewhere,
    /// A doorbell is half as wide.
    Narrow,
    /// The write pointer stays, or is off.
    Pointer(Option<i64>),
    /// A word of the jump in the ring is not written.
    Jump(u64),
    /// The n-th word that a run patches is not written.
    Patch(usize),
    /// The input is not written, or half of it.
    Input(usize),
    /// The timeline seems to be reached at once.
    Early,
    /// A request of the driver (its number) has another value in a field of 4 bytes: old or new handed over.
    Field {
        request: u32,
        at: usize,
        add: u32,
        after: bool,
    },
    /// A request is not made, and taken as done.
    Skipped(u32),
    /// A call is not made: descriptors stay open, mappings stay.
    Close,
    Unmap,
    /// The offset of mappings of the driver's files is off.
    Offset(u64),
    /// Files are opened for reading.
    ReadOnly,
    /// Weights and code travel through a copy engine, and nothing is wrong.
    Copies,
    /// So do they, and a word of each copy and its fence is off.
    CopyWord(u64, u32),
    /// Words from the first to the last of each copy and its fence do nothing.
    CopyWithout(u64, u64),
    /// The copy queue's doorbell, or its write pointer, or both, count words.
    CopyUnits {
        bell: bool,
        pointer: bool,
    },
    /// The copy queue's doorbell is not rung.
    CopySilent,
    /// No fence is a fence while copies are handed over.
    CopyFences,
    /// Copies seem to be done, until so many were handed over.
    CopyEarly(u32),
    /// The copy queue stays.
    CopyLeft,
}

impl Tamper {
    fn is_of_copies(self) -> bool {
        matches!(
            self,
            Tamper::Copies
                | Tamper::CopyWord(..)
                | Tamper::CopyWithout(..)
                | Tamper::CopyUnits { .. }
                | Tamper::CopySilent
                | Tamper::CopyFences
                | Tamper::CopyEarly(_)
                | Tamper::CopyLeft
        )
    }
}

/// Where a queue's parts are.
#[derive(Clone, Copy, Default)]
struct Parts {
    ring: u64,
    ring_bytes: u64,
    pointer: u64,
    doorbells: u64,
}

/// Words of a copy and its fence.
const COPY_WORDS: u64 = 11;
/// Type of a copy engine's queue, and the request that makes one.
const SDMA: u32 = 1;
const CREATE_QUEUE: u32 = 0x02;
const DESTROY_QUEUE: u32 = 0x03;

/// A runtime's way to the machine, with one thing wrong.
pub struct Tampered {
    io: Simulated,
    what: Tamper,
    /// Whether the model is open.
    pub armed: bool,
    /// Of the compute queue, of the copy queue, and which of them was made last.
    queues: [Parts; 2],
    last: usize,
    /// Stores to buffers since the last doorbell.
    stores: usize,
    /// Copies that were handed over.
    copies: u32,
}

impl Tampered {
    pub fn new(io: Simulated, what: Tamper) -> Tampered {
        Tampered {
            io,
            what,
            armed: false,
            queues: Default::default(),
            last: 0,
            stores: 0,
            copies: 0,
        }
    }

    /// What becomes of a store for the copy queue; nothing when it does not happen.
    fn change_copy(&mut self, address: u64, value: u64) -> Option<(u64, u64)> {
        let q = self.queues[SDMA as usize];
        let same = Some((address, value));
        let words = Some((address, value / 4));
        if address.wrapping_sub(q.doorbells) < 0x2000 {
            self.copies += 1;
            return match self.what {
                Tamper::CopyUnits { bell: true, .. } => words,
                Tamper::CopySilent => None,
                _ => same,
            };
        }
        if address == q.pointer {
            return match self.what {
                Tamper::CopyUnits { pointer: true, .. } => words,
                _ => same,
            };
        }
        let offset = address.wrapping_sub(q.ring);
        if offset < q.ring_bytes {
            let word = offset / 4 % COPY_WORDS;
            return match self.what {
                Tamper::CopyWord(n, add) if n == word => {
                    Some((address, u64::from((value as u32).wrapping_add(add))))
                }
                Tamper::CopyWithout(first, last) if (first..=last).contains(&word) => {
                    Some((address, 0))
                }
                _ => same,
            };
        }
        same
    }

    /// What becomes of a store; nothing when it does not happen.
    fn change(&mut self, address: u64, value: u64) -> Option<(u64, u64)> {
        let same = Some((address, value));
        if !self.armed {
            return self.change_copy(address, value);
        }
        let q = self.queues[0];
        if address.wrapping_sub(q.doorbells) < 0x2000 {
            self.stores = 0;
            return match self.what {
                Tamper::Doorbell(add) => Some((address, value.wrapping_add_signed(add))),
                Tamper::Silent => None,
                Tamper::Elsewhere => Some((address + 8, value)),
                _ => same,
            };
        }
        if address == q.pointer {
            return match self.what {
                Tamper::Pointer(add) => add.map(|add| (address, value.wrapping_add_signed(add))),
                _ => same,
            };
        }
        if address.wrapping_sub(q.ring) < q.ring_bytes {
            let word = address / 4 % 4;
            return (self.what != Tamper::Jump(word)).then_some((address, value));
        }
        self.stores += 1;
        (self.what != Tamper::Patch(self.stores - 1)).then_some((address, value))
    }
}

impl KernelIo for Tampered {
    fn process(&self) -> &ProcessWords {
        self.io.process()
    }

    fn open(&mut self, path: &CStr, flags: i32) -> Result<Fd, Errno> {
        let read_only = self.what == Tamper::ReadOnly && path.to_bytes().starts_with(b"/dev");
        self.io
            .open(path, if read_only { flags & !3 } else { flags })
    }

    fn close(&mut self, fd: Fd) {
        if self.what != Tamper::Close {
            self.io.close(fd);
        }
    }

    fn read(&mut self, fd: Fd, out: &mut [u8]) -> Result<usize, Errno> {
        self.io.read(fd, out)
    }

    unsafe fn ioctl(&mut self, fd: Fd, request: u32, arg: *mut u8) -> Result<i32, Errno> {
        let number = request & 0xFF;
        if self.what == Tamper::Skipped(number) {
            return Ok(0);
        }
        if self.what == Tamper::CopyLeft && !self.armed && number == DESTROY_QUEUE {
            return Ok(0);
        }
        let field = |at: usize, add: u32| unsafe {
            // A field of the structure.
            let at = arg.add(at).cast::<u32>();
            at.write_unaligned(at.read_unaligned().wrapping_add(add));
        };
        let (mut before, mut behind) = (None, None);
        if let Tamper::Field {
            request,
            at,
            add,
            after,
        } = self.what
            && request == number
        {
            match after {
                true => behind = Some((at, add)),
                false => before = Some((at, add)),
            }
        }
        if let Some((at, add)) = before {
            field(at, add);
        }
        // As the caller promises.
        let result = unsafe { self.io.ioctl(fd, request, arg) };
        if let Some((at, add)) = behind {
            field(at, add);
        }
        if number == CREATE_QUEUE && result.is_ok() {
            // The structure of a new queue.
            unsafe {
                let kind = arg.add(40).cast::<u32>().read_unaligned();
                self.last = usize::from(kind == SDMA);
                self.queues[self.last] = Parts {
                    ring: arg.cast::<u64>().read_unaligned(),
                    pointer: arg.add(8).cast::<u64>().read_unaligned(),
                    ring_bytes: u64::from(arg.add(32).cast::<u32>().read_unaligned()),
                    doorbells: 0,
                };
            }
        }
        result
    }

    unsafe fn mmap(
        &mut self,
        address: u64,
        bytes: u64,
        prot: i32,
        flags: i32,
        fd: Option<Fd>,
        offset: u64,
    ) -> Result<u64, Errno> {
        let offset = match (self.what, fd) {
            (Tamper::Offset(add), Some(_)) => offset + add,
            _ => offset,
        };
        // As the caller promises.
        let at = unsafe { self.io.mmap(address, bytes, prot, flags, fd, offset) }?;
        if fd.is_some() && bytes == 0x2000 && address == 0 {
            self.queues[self.last].doorbells = at;
        }
        Ok(at)
    }

    unsafe fn munmap(&mut self, address: u64, bytes: u64) -> Result<(), Errno> {
        match self.what {
            Tamper::Unmap => Ok(()),
            // As the caller promises.
            _ => unsafe { self.io.munmap(address, bytes) },
        }
    }
}

impl Mmio for Tampered {
    unsafe fn load32(&mut self, address: u64) -> u32 {
        if self.armed && self.what == Tamper::Early {
            return 0x7000_0000;
        }
        if let Tamper::CopyEarly(until) = self.what
            && self.queues[SDMA as usize].ring != 0
            && !self.armed
            && self.copies < until
        {
            return 0x7000_0000;
        }
        // As the caller promises, here and below.
        unsafe { self.io.load32(address) }
    }

    unsafe fn load64(&mut self, address: u64) -> u64 {
        unsafe { self.io.load64(address) }
    }

    unsafe fn store32(&mut self, address: u64, value: u32) {
        if let Some((address, value)) = self.change(address, u64::from(value)) {
            unsafe { self.io.store32(address, value as u32) };
        }
    }

    unsafe fn store64(&mut self, address: u64, value: u64) {
        let doorbell = address.wrapping_sub(self.queues[0].doorbells) < 0x2000;
        if let Some((address, value)) = self.change(address, value) {
            match self.armed && doorbell && self.what == Tamper::Narrow {
                true => unsafe { self.io.store32(address, value as u32) },
                false => unsafe { self.io.store64(address, value) },
            }
        }
    }

    fn fence(&mut self) {
        let copies = self.queues[SDMA as usize].doorbells != 0 && !self.armed;
        match self.what {
            Tamper::Fences if self.armed => {}
            Tamper::CopyFences if copies => {}
            _ => self.io.fence(),
        }
    }

    fn relax(&mut self) {
        self.io.relax();
    }

    unsafe fn copy_to(&mut self, address: u64, bytes: &[u8]) {
        let bytes = match self.what {
            Tamper::Input(part) if self.armed => &bytes[..bytes.len() * part / 2],
            _ => bytes,
        };
        unsafe { self.io.copy_to(address, bytes) };
    }

    unsafe fn copy_from(&mut self, address: u64, out: &mut [u8]) {
        unsafe { self.io.copy_from(address, out) };
    }
}
