//! A simulated kernel driver (KFD): what a runtime that drives an AMD GPU by itself is tested on.
//!
//! In: system calls and stores to doorbells, through the traits of `tinyc_runtime::io`. Out: what the driver of Linux
//! 6.12 answers, and what the device ([`crate::device`], [`crate::pm4`], [`crate::sdma`]) does when a doorbell rings. Addresses are real
//! ones of this process, so that pointers may be handed out. Several contexts share one machine: clone the object.
//!
//! The driver is as strict as the real one, and stricter where the real one lets mistakes pass: [`Simulated::violations`].
//! In shadow mode host and device see different bytes until a fence, a flush of the host's data path or a release carries
//! them over. Queues go on in an order that the seed decides, one packet at a time: when a doorbell rings, at polled loads,
//! at rests, in WAIT_EVENTS. Time is simulated; a wait that never ends is a timeout at once.
//!
//! ```
//! use tinyc_runtime::io::KernelIo;
//! use tinyc_simgpu::kfd::{Settings, Simulated};
//! let mut io = Simulated::new(Settings::default());
//! let fd = io.open(c"/dev/kfd", 0o2).expect("the driver is there");
//! let mut version = [0u8; 8];
//! // The structure is as long as the request says.
//! unsafe { io.ioctl(fd, 0x8008_4B01, version.as_mut_ptr()) }.expect("GET_VERSION");
//! assert_eq!(version, [1, 0, 0, 0, 17, 0, 0, 0]);
//! io.close(fd);
//! assert!(io.leaks().is_empty());
//! ```

mod abi;
mod buffers;
mod engines;
mod events;
mod machine;
mod memory;
mod process;
mod queues;
mod requests;
mod sysfs;

use crate::wave::Counters;
use machine::Machine;
use std::ffi::CStr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard};
use tinyc_runtime::io::{Errno, Fd, KernelIo, Mmio};

/// Chips that the driver can pretend to have. Kernels run on gfx1100 alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chip {
    /// RDNA 3.
    Gfx1100,
    /// RDNA 4.
    Gfx1201,
    /// CDNA 3.
    Gfx942,
}

/// What the machine is like.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Decides all orders.
    pub seed: u64,
    /// Host and device see different bytes until they are carried over.
    pub shadow: bool,
    /// The host can map all of the device's memory.
    pub large_bar: bool,
    /// Queues of copy engines that other processes leave over.
    pub copy_queues: usize,
    /// Version of the driver.
    pub kfd_version: (u32, u32),
    /// The chip.
    pub chip: Chip,
    /// Its compute units.
    pub units: u32,
    /// Bytes of its memory.
    pub vram_bytes: u64,
    /// Whether the driver is loaded.
    pub driver: bool,
    /// Whether there is a GPU.
    pub gpu: bool,
    /// Whether this user may open the devices.
    pub permitted: bool,
    /// Whether the topology says how large save areas are, as newer kernels do.
    pub publish_sizes: bool,
    /// The device goes on in WAIT_EVENTS alone: whoever polls waits in vain.
    pub lazy: bool,
    /// Instructions after which a dispatch hangs for ever.
    pub limit: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            seed: 1,
            shadow: false,
            large_bar: true,
            copy_queues: 12,
            kfd_version: (1, 17),
            chip: Chip::Gfx1100,
            units: 96,
            vram_bytes: 24 << 30,
            driver: true,
            gpu: true,
            permitted: true,
            publish_sizes: false,
            lazy: false,
            limit: 50_000_000_000,
        }
    }
}

/// One thing that a context did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trace {
    /// A system call: its name and what it was about.
    Call {
        /// `open`, `close`, `read`, `ioctl`, `mmap`, `munmap`.
        name: &'static str,
        /// A path, a request.
        what: String,
        /// The error, if there was one.
        error: Option<i32>,
    },
    /// A store of the host.
    Store {
        /// Where.
        address: u64,
        /// How many bytes.
        bytes: u64,
        /// What is there.
        place: Place,
    },
    /// A fence.
    Fence,
}

/// What a store of the host hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The ring of a queue.
    Ring,
    /// The page of a queue's read and write pointers.
    Pointers,
    /// A doorbell.
    Doorbell,
    /// Another allocation of the device, or memory of the caller that is registered.
    Buffer,
    /// Memory that the device does not see.
    Host,
}

/// What was not given back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaks {
    /// Paths of open files.
    pub files: Vec<String>,
    /// Starts and lengths of mappings of this process.
    pub mappings: Vec<(u64, u64)>,
    /// Addresses and lengths of allocations.
    pub allocations: Vec<(u64, u64)>,
    /// Queues.
    pub queues: usize,
    /// Events.
    pub events: usize,
}

impl Leaks {
    /// Whether all was given back.
    pub fn is_empty(&self) -> bool {
        *self == Leaks::default()
    }
}

/// A kernel that ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launched {
    /// Number of the queue.
    pub queue: u32,
    /// Address of its first instruction.
    pub entry: u64,
    /// What it did.
    pub counters: Counters,
}

/// A context's way to the simulated machine. Clones share it.
#[derive(Clone)]
pub struct Simulated {
    machine: Arc<Mutex<Machine>>,
    process: Arc<[AtomicU64; 8]>,
}

impl Simulated {
    /// A machine.
    pub fn new(settings: Settings) -> Simulated {
        Simulated {
            machine: Arc::new(Mutex::new(Machine::new(settings))),
            process: Arc::default(),
        }
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        // What panicked held no broken state that matters to a test that fails.
        self.machine.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// What contexts did since this was last taken.
    pub fn take_trace(&self) -> Vec<Trace> {
        std::mem::take(&mut self.machine().trace)
    }

    /// Kernels that ran since this was last taken, in the order of their packets.
    pub fn take_launched(&self) -> Vec<Launched> {
        std::mem::take(&mut self.machine().launched)
    }

    /// What was done, kernel by kernel: address of its first instruction, how often it ran, its counters together.
    pub fn counters(&self) -> Vec<(u64, u64, Counters)> {
        let mut out: Vec<(u64, u64, Counters)> = Vec::new();
        for launched in &self.machine().launched {
            match out.iter_mut().find(|(entry, ..)| *entry == launched.entry) {
                Some((_, runs, counters)) => {
                    *runs += 1;
                    counters.add(&launched.counters);
                }
                None => out.push((launched.entry, 1, launched.counters.clone())),
            }
        }
        out
    }

    /// Why the device stopped, if it did.
    pub fn fault(&self) -> Option<String> {
        self.machine().fault.clone()
    }

    /// What the real driver and device let pass, but nobody may rely on: stores outside of mappings, doorbells before a
    /// fence, interrupts without their mailbox.
    pub fn violations(&self) -> Vec<String> {
        self.machine().violations.clone()
    }

    /// What was not given back.
    pub fn leaks(&self) -> Leaks {
        self.machine().leaks()
    }

    /// Simulated milliseconds that were spent in waits without an end.
    pub fn waited(&self) -> u64 {
        self.machine().waited
    }

    /// Reads what the device sees at an address.
    pub fn peek(&self, address: u64, out: &mut [u8]) -> bool {
        self.machine().device.memory.read(address, out).is_ok()
    }

    /// Writes what the device sees at an address, past the host: damage for tests.
    pub fn poke(&self, address: u64, bytes: &[u8]) {
        self.machine().device.memory.land(address, bytes);
    }

    /// Addresses and lengths of all that is mapped for the device.
    pub fn mapped(&self) -> Vec<(u64, u64)> {
        self.machine().device.memory.mappings().collect()
    }

    /// Lets the device go on until nothing moves.
    pub fn settle(&self) {
        let mut machine = self.machine();
        while machine.pump(1 << 20) {}
    }
}

impl KernelIo for Simulated {
    fn open(&mut self, path: &CStr, flags: i32) -> Result<Fd, Errno> {
        let path = path.to_string_lossy().into_owned();
        let mut m = self.machine();
        let result = m.open(&path, flags);
        m.call("open", path, &result);
        result
    }

    fn close(&mut self, fd: Fd) {
        let mut m = self.machine();
        let result = m.close(fd);
        m.call("close", fd.0.to_string(), &result);
    }

    fn read(&mut self, fd: Fd, out: &mut [u8]) -> Result<usize, Errno> {
        let mut m = self.machine();
        let result = m.read(fd, out);
        m.call("read", fd.0.to_string(), &result);
        result
    }

    unsafe fn ioctl(&mut self, fd: Fd, request: u32, arg: *mut u8) -> Result<i32, Errno> {
        let mut m = self.machine();
        // As the caller promises.
        unsafe { m.ioctl(fd, request, arg) }
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
        let mut m = self.machine();
        // As the caller promises.
        let result = unsafe { m.mmap(address, bytes, prot, flags, fd, offset) };
        m.call("mmap", format!("{address:#x}, {bytes} bytes"), &result);
        result
    }

    unsafe fn munmap(&mut self, address: u64, bytes: u64) -> Result<(), Errno> {
        let mut m = self.machine();
        // As the caller promises.
        let result = unsafe { m.munmap(address, bytes) };
        m.call("munmap", format!("{address:#x}, {bytes} bytes"), &result);
        result
    }

    fn process(&self) -> &[AtomicU64; 8] {
        &self.process
    }
}

impl Mmio for Simulated {
    unsafe fn load32(&mut self, address: u64) -> u32 {
        let mut bytes = [0; 4];
        // As the caller promises.
        unsafe { self.machine().load(address, &mut bytes) };
        u32::from_le_bytes(bytes)
    }

    unsafe fn load64(&mut self, address: u64) -> u64 {
        let mut bytes = [0; 8];
        // As the caller promises.
        unsafe { self.machine().load(address, &mut bytes) };
        u64::from_le_bytes(bytes)
    }

    unsafe fn store32(&mut self, address: u64, value: u32) {
        // As the caller promises.
        unsafe { self.machine().store(address, &value.to_le_bytes()) };
    }

    unsafe fn store64(&mut self, address: u64, value: u64) {
        // As the caller promises.
        unsafe { self.machine().store(address, &value.to_le_bytes()) };
    }

    fn fence(&mut self) {
        self.machine().fence();
    }

    fn relax(&mut self) {
        self.machine().poll();
    }

    unsafe fn copy_to(&mut self, address: u64, bytes: &[u8]) {
        // As the caller promises.
        unsafe { self.machine().store(address, bytes) };
    }

    unsafe fn copy_from(&mut self, address: u64, out: &mut [u8]) {
        // As the caller promises.
        unsafe { self.machine().load(address, out) };
    }
}
