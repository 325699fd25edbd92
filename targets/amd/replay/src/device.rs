//! A context on one GPU: driver, address space, queue, events, scratch, timeline.
//!
//! In: what an artifact needs. Out: a device that takes one indirect buffer after the other and says when each is done. The timeline is a value of
//! 32 bits in memory that the device raises; it starts again long before its sign bit would matter.

use crate::abi::{self, RuntimeEnable, Version};
use crate::driver::call;
use crate::error::{Error, OLDEST_DRIVER};
use crate::events::{Events, Woken};
use crate::memory::{self, Block, Class, Gpu, PAGE};
use crate::needs::Needs;
use crate::process::{self, READ_WRITE};
use crate::queue::Queue;
use crate::scratch::Scratch;
use crate::topology::{self, Node};
use core::time::Duration;
use tinyc_runtime::io::{Errno, Fd, KernelIo, Mmio};

/// How a model is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Which of several GPUs of the right kind.
    pub gpu: u32,
    /// Looks at the timeline before a wait asks the driver to wake it: a look and a rest take some tens of nanoseconds.
    pub polls: u32,
    /// Longest wait where a call has no limit of its own.
    pub limit: Duration,
    /// First value of the timeline: tests start shortly before it wraps.
    pub timeline: u32,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            gpu: 0,
            polls: 1 << 20,
            limit: Duration::from_secs(60),
            timeline: 0,
        }
    }
}

/// The timeline starts again behind this value. Devices compare 32 bits.
pub const LAST_VALUE: u32 = 0x7FFF_FFF0;
/// First version of the driver's interface with RUNTIME_ENABLE.
const RUNTIME_ENABLE_SINCE: u32 = 14;
/// Longest time between two looks at faults, in milliseconds.
const STEP: u32 = 200;
/// Waits that end without a reason count as a millisecond after so many.
const SPURIOUS: u32 = 256;

/// Places in the page of signals: the timeline (value, time), the progress of a run, the timeline of uploads, a mailbox for want of a better one.
const TIMELINE: u64 = 0;
const PROGRESS: u64 = 64;
const UPLOADS: u64 = 128;
const SPARE: u64 = 192;

/// A context.
#[derive(Debug)]
pub struct Device {
    gpu: Gpu,
    node: Node,
    events: Events,
    signals: Option<Block>,
    scratch: Option<Block>,
    sizes: Scratch,
    queue: Queue,
    /// Value that the last submission signals.
    value: u32,
    /// What ended the context.
    end: Option<Error>,
}

impl Device {
    /// Opens the driver and makes a queue on a GPU that fits. What a failure leaves behind is given back.
    pub fn open<I: KernelIo + Mmio>(
        io: &mut I,
        needs: &Needs,
        options: &Options,
    ) -> Result<Device, Error> {
        let kfd = io.open(c"/dev/kfd", READ_WRITE).map_err(|e| match e {
            Errno::NO_ENTRY | Errno::NO_DEVICE => Error::NoDevice,
            Errno::ACCESS | Errno::NOT_PERMITTED => Error::Permission("/dev/kfd"),
            errno => Error::System(errno, "opening /dev/kfd"),
        })?;
        let found = identify(io, kfd, needs, options);
        let (node, render, slot) = found.inspect_err(|_| io.close(kfd))?;
        let mut device = Device {
            gpu: Gpu {
                kfd,
                render,
                id: node.gpu_id,
            },
            node,
            events: Events::default(),
            signals: None,
            scratch: None,
            sizes: Scratch::default(),
            queue: Queue::default(),
            value: options.timeline.min(LAST_VALUE),
            end: None,
        };
        match device.fill(io, needs, slot) {
            Ok(()) => Ok(device),
            Err(error) => {
                device.close(io);
                Err(error)
            }
        }
    }

    fn fill<I: KernelIo + Mmio>(
        &mut self,
        io: &mut I,
        needs: &Needs,
        slot: usize,
    ) -> Result<(), Error> {
        let gpu = self.gpu;
        let signals = memory::exactly(io, &gpu, Class::Coherent, PAGE)
            .map_err(Error::step("signals", PAGE))?;
        self.signals = Some(signals);
        for offset in (0..PAGE).step_by(8) {
            // SAFETY: the block is mapped and this long.
            unsafe { io.store64(signals.address + offset, 0) };
        }
        self.set_timeline(io);
        self.events.open(io, &gpu, slot)?;
        self.sizes = Scratch::of(needs.scratch_bytes, &self.node).ok_or(Error::NoMemory {
            bytes: u64::from(needs.scratch_bytes),
            what: "one thread's own memory",
        })?;
        let bytes = self.sizes.bytes;
        if bytes > 0 {
            let block = memory::allocate(io, &gpu, Class::Device, bytes)
                .map_err(Error::step("the threads' own memory", bytes))?;
            self.scratch = Some(block);
        }
        let at = self.scratch.map_or(0, |b| b.address);
        self.queue
            .open(io, &gpu, &self.node, needs.queue, (&self.sizes, at))
    }

    /// Ends the queue with whatever runs in it: memory that it used may be given back then.
    pub fn stop<I: KernelIo>(&mut self, io: &mut I) {
        let gpu = self.gpu;
        self.queue.close(io, &gpu);
    }

    /// Gives everything back in reverse order.
    pub fn close<I: KernelIo>(&mut self, io: &mut I) {
        let gpu = self.gpu;
        self.stop(io);
        memory::free_all(io, &gpu, &mut [&mut self.scratch]);
        self.events.close(io, &gpu);
        memory::free_all(io, &gpu, &mut [&mut self.signals]);
        io.close(gpu.kfd);
    }

    /// The device that memory is for.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// The chip.
    pub fn node(&self) -> &Node {
        &self.node
    }

    fn signal(&self, offset: u64) -> u64 {
        // A device that is open has the page.
        self.signals.map_or(0, |b| b.address + offset)
    }

    /// Address of the timeline.
    pub fn timeline(&self) -> u64 {
        self.signal(TIMELINE)
    }

    /// Address of the number of the launch at hand.
    pub fn progress(&self) -> u64 {
        self.signal(PROGRESS)
    }

    /// Number of the event that a run raises, and the address that it writes before.
    pub fn mailbox(&self) -> (u32, u64) {
        self.events.mailbox().unwrap_or((0, self.signal(SPARE)))
    }

    /// Address of the threads' own memory, 0 when no kernel needs any, and the word that divides it.
    pub fn scratch(&self) -> (u64, u32) {
        (self.scratch.map_or(0, |b| b.address), self.sizes.tmpring)
    }

    /// Value that the last submission signals.
    pub fn value(&self) -> u32 {
        self.value
    }

    /// Whether a kernel went wrong.
    pub fn ended(&self) -> Result<(), Error> {
        match self.end {
            Some(_) => Err(Error::Lost),
            None => Ok(()),
        }
    }

    fn set_timeline<I: Mmio>(&mut self, io: &mut I) {
        // SAFETY: the page of signals is mapped; nothing runs that would write it.
        unsafe { io.store64(self.timeline(), u64::from(self.value)) };
        io.fence();
    }

    /// The value that the next submission waits for, and the one that it signals. Call when the last submission is done.
    pub fn advance<I: Mmio>(&mut self, io: &mut I) -> (u32, u32) {
        if self.value >= LAST_VALUE {
            self.value = 0;
            self.set_timeline(io);
        }
        let last = self.value;
        self.value += 1;
        (last, self.value)
    }

    /// Gives an indirect buffer to the device.
    pub fn submit<I: Mmio>(&mut self, io: &mut I, address: u64, words: u32) {
        self.queue.submit(io, address, words);
    }

    /// Whether the last submission is done.
    pub fn done<I: Mmio>(&self, io: &mut I) -> bool {
        // SAFETY: the page of signals is mapped.
        let value = unsafe { io.load32(self.timeline()) };
        value >= self.value
    }

    /// Waits for the last submission.
    pub fn wait<I: KernelIo + Mmio>(
        &mut self,
        io: &mut I,
        polls: u32,
        limit: Duration,
    ) -> Result<(), Error> {
        self.wait_for(io, self.timeline(), self.value, polls, limit)
    }

    /// Uploads count in a timeline of their own, from 1 on. Its address.
    pub(crate) fn uploads(&self) -> u64 {
        self.signal(UPLOADS)
    }

    /// Waits until a value in memory is at least this one.
    pub(crate) fn wait_for<I: KernelIo + Mmio>(
        &mut self,
        io: &mut I,
        address: u64,
        value: u32,
        polls: u32,
        limit: Duration,
    ) -> Result<(), Error> {
        // SAFETY: the address is in the page of signals.
        let reached = |io: &mut I| unsafe { io.load32(address) } >= value;
        // No system call, and none even if the wait is over at once.
        for _ in 0..polls.max(1) {
            if reached(io) {
                return Ok(());
            }
            io.relax();
        }
        self.ended()?;
        let mut left = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX - 1);
        let mut spurious = 0;
        loop {
            // Without a signal event nothing ends the wait early, and uploads raise none.
            let step = match self.events.mailbox() {
                Some(_) if address == self.timeline() => left.min(STEP),
                _ => left.min(1),
            };
            let gpu = self.gpu;
            let woken = self.events.wait(io, &gpu, step);
            let spent = match woken {
                Ok(Woken::Timeout) => step,
                Ok(Woken::Signal) => {
                    spurious += 1;
                    u32::from(spurious % SPURIOUS == 0)
                }
                Ok(Woken::Fault(address)) => {
                    let launch = self.launch(io);
                    return self.fail(Error::Fault { address, launch });
                }
                Ok(Woken::Hang) => {
                    let launch = self.launch(io);
                    return self.fail(Error::Hang { launch });
                }
                Ok(Woken::Reset) | Err(Errno::DEVICE) => return self.fail(Error::Lost),
                Err(errno) => return Err(Error::System(errno, "a wait")),
            };
            if reached(io) {
                return Ok(());
            }
            if left == 0 || (spent >= left && woken == Ok(Woken::Timeout)) {
                let launch = self.launch(io);
                return Err(Error::Hang { launch });
            }
            left = left.saturating_sub(spent);
        }
    }

    fn fail(&mut self, error: Error) -> Result<(), Error> {
        self.end = Some(error);
        Err(error)
    }

    /// The launch that began last; the stream counts from 1.
    fn launch<I: Mmio>(&self, io: &mut I) -> Option<u32> {
        // SAFETY: the page of signals is mapped.
        unsafe { io.load32(self.progress()) }.checked_sub(1)
    }
}

/// The GPU to use: its node, its render node, and the word of the process that it has.
fn identify<I: KernelIo>(
    io: &mut I,
    kfd: Fd,
    needs: &Needs,
    options: &Options,
) -> Result<(Node, Fd, usize), Error> {
    let mut version = Version::default();
    call(io, kfd, abi::GET_VERSION, &mut version)
        .map_err(|e| Error::System(e, "saying its version"))?;
    let Version { major, minor } = version;
    if major != OLDEST_DRIVER.0 || minor < OLDEST_DRIVER.1 {
        return Err(Error::DriverTooOld(major, minor));
    }
    let node = topology::find(io, needs.gfx_target_version, options.gpu)?;
    if needs.group_bytes > node.lds_kb << 10 {
        return Err(Error::NoMemory {
            bytes: u64::from(needs.group_bytes),
            what: "a work-group",
        });
    }
    if node.xcc > 1 {
        // Every die would execute the stream, and none would wait for the others between launches.
        return Err(Error::Dies(node.xcc));
    }
    let (render, slot) = process::acquire(io, kfd, &node)?;
    if minor >= RUNTIME_ENABLE_SINCE {
        // Tells debuggers that this process lets them in no special way. A refusal changes nothing.
        let _ = call(io, kfd, abi::RUNTIME_ENABLE, &mut RuntimeEnable::default());
    }
    Ok((node, render, slot))
}
