//! Queues. In: structures of CREATE_QUEUE and DESTROY_QUEUE, doorbells. Out: packets that run, one at a time, of any queue.

use super::Launched;
use super::abi::{Args, DOORBELL_BYTES, MMAP_DOORBELL, MMAP_GPU_SHIFT, errno, queue};
use super::machine::{Machine, RegionKind};
use super::sysfs::{GPU_ID, Shape};
use crate::pm4::{Packet, Progress, Queue, StreamFault};
use tinyc_runtime::io::Errno;

/// Who reads a queue, and what.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Command processor: words.
    Pm4,
    /// Command processor: packets of 64 bytes.
    Aql,
    /// Copy engine: bytes.
    Copies,
}

/// A queue of the hardware.
pub(super) struct HwQueue {
    pub id: u32,
    kind: Kind,
    pub ring: u64,
    /// Bytes of the ring.
    pub len: u64,
    read_pointer: u64,
    write_pointer: u64,
    /// Where its doorbell is in the page.
    doorbell: u64,
    /// Allocations that it uses.
    pub buffers: Vec<u64>,
    /// Units (words of PM4, packets of AQL, bytes of copies) that were read, are being executed, were announced.
    pub read: u64,
    pub fetched: u64,
    pub announced: u64,
    pm4: Queue,
    /// A fault ended it.
    dead: bool,
    /// The last step found a wait that is not over.
    blocked: bool,
}

/// Where a process's doorbells start for compute queues: not at the start of the page; and for copy engines.
const FIRST_DOORBELL: u64 = 0x40;
const FIRST_COPY_DOORBELL: u64 = 0x800;
/// Most queues of a process.
const MOST_QUEUES: usize = 64;
const MIN_RING: u64 = 1024;
const EOP_BYTES: u64 = 4096;
/// Bytes of an AQL packet.
const AQL_BYTES: u64 = 64;
/// Types of AQL packets: one that is not valid, one of the vendor's.
const AQL_INVALID: u32 = 1;
const AQL_VENDOR: u32 = 0;
/// A vendor's packet that holds a packet of PM4, and what its count of words has to be.
const AQL_PM4: u32 = 1;
const AQL_PM4_COUNT: u32 = 10;

impl HwQueue {
    pub fn in_ring(&self, address: u64) -> bool {
        (self.ring..self.ring + self.len).contains(&address)
    }

    pub fn in_pointers(&self, address: u64) -> bool {
        let pages = [self.read_pointer >> 12, self.write_pointer >> 12];
        pages.contains(&(address >> 12))
    }

    /// Bytes of a unit.
    fn unit(&self) -> u64 {
        match self.kind {
            Kind::Pm4 => 4,
            Kind::Aql => AQL_BYTES,
            Kind::Copies => 1,
        }
    }

    fn idle(&self) -> bool {
        self.dead || (self.read == self.announced && self.fetched == self.announced)
    }
}

impl Machine {
    /// CREATE_QUEUE.
    pub fn create_queue(&mut self, a: &mut Args) -> Result<(), Errno> {
        let (ring, write, read) = (a.u64(0), a.u64(8), a.u64(16));
        let (len, gpu, kind) = (u64::from(a.u32(32)), a.u32(36), a.u32(40));
        let (percent, priority) = (a.u32(44), a.u32(48));
        let (eop, eop_len) = (a.u64(56), a.u64(64));
        let (save, save_len, control) = (a.u64(72), a.u32(80), a.u32(84));
        if gpu != GPU_ID || self.vm.is_none() {
            return Err(errno::INVALID);
        }
        if percent > 100 || percent == 0 || priority > 15 {
            return Err(errno::INVALID);
        }
        let kind = match kind {
            queue::COMPUTE => Kind::Pm4,
            queue::COMPUTE_AQL => Kind::Aql,
            queue::SDMA => Kind::Copies,
            _ => return Err(errno::INVALID),
        };
        let copies = kind == Kind::Copies;
        if ring == 0 || !len.is_power_of_two() || len < MIN_RING {
            return Err(errno::INVALID);
        }
        if !write.is_multiple_of(8) || !read.is_multiple_of(8) || write == read {
            return Err(errno::INVALID);
        }
        let shape = Shape::of(&self.settings);
        if copies {
            // The driver does not look at these, so nobody knows what they would mean.
            if [eop, eop_len, save] != [0; 3] || [save_len, control] != [0; 2] {
                self.violation("a copy queue with buffers of a compute queue".to_string());
            }
        } else if eop_len != EOP_BYTES
            || save_len != shape.save_bytes()
            || control != shape.control_bytes()
        {
            return Err(errno::INVALID);
        }
        let taken = self.queues.iter().filter(|q| q.kind == Kind::Copies);
        if self.queues.len() >= MOST_QUEUES || copies && taken.count() >= self.settings.copy_queues
        {
            return Err(errno::NO_MEMORY);
        }
        let mut buffers = vec![
            self.exactly(ring, len)?,
            self.exactly(write, 4096)?,
            self.exactly(read, 4096)?,
        ];
        let mut starts = vec![ring];
        if !copies {
            buffers.push(self.exactly(eop, EOP_BYTES)?);
            buffers.push(self.exactly(save, shape.save_allocation())?);
            starts.extend([eop, save]);
        }
        // The driver asks for the starts of these, not for some place in them.
        if starts.iter().any(|at| !at.is_multiple_of(4096)) {
            return Err(errno::INVALID);
        }
        for handle in &buffers {
            if let Some(b) = self.buffers.get_mut(handle) {
                b.queues += 1;
            }
        }
        let id = self.next_queue;
        self.next_queue += 1;
        let first = match copies {
            true => FIRST_COPY_DOORBELL,
            false => FIRST_DOORBELL,
        };
        let free = |at: &u64| self.queues.iter().all(|q| q.doorbell != *at);
        let doorbell = (first..).step_by(8).find(free).ok_or(errno::NO_MEMORY)?;
        // The driver starts both at zero.
        for at in [read, write] {
            let _ = self.device.memory.write_past(at, &[0; 8]);
        }
        let seed = self.draw.bits();
        self.queues.push(HwQueue {
            id,
            kind,
            ring,
            len,
            read_pointer: read,
            write_pointer: write,
            doorbell,
            buffers,
            read: 0,
            fetched: 0,
            announced: 0,
            pm4: Queue::new(seed),
            dead: false,
            blocked: false,
        });
        a.set64(
            24,
            MMAP_DOORBELL | u64::from(GPU_ID) << MMAP_GPU_SHIFT | doorbell,
        );
        a.set32(52, id);
        Ok(())
    }

    /// DESTROY_QUEUE.
    pub fn destroy_queue(&mut self, a: &Args) -> Result<(), Errno> {
        let id = a.u32(0);
        let at = self.queues.iter().position(|q| q.id == id);
        let q = self.queues.remove(at.ok_or(errno::INVALID)?);
        for handle in &q.buffers {
            if let Some(b) = self.buffers.get_mut(handle) {
                b.queues -= 1;
            }
        }
        Ok(())
    }

    /// A store to the page of doorbells.
    pub fn doorbell(&mut self, address: u64, bytes: &[u8]) {
        let start = self.regions.range(..=address).next_back();
        let page = start.filter(|(_, r)| r.kind == RegionKind::Doorbells);
        let offset = page.map_or(DOORBELL_BYTES, |(from, _)| address - from);
        let Ok(bytes) = <[u8; 8]>::try_from(bytes) else {
            self.violation("a doorbell that is not one store of 8 bytes".to_string());
            return;
        };
        if self.unfenced {
            self.violation("a doorbell before a fence".to_string());
        }
        let Some(at) = self.queues.iter().position(|q| q.doorbell == offset) else {
            self.violation(format!("a doorbell at {offset:#x}, which is no queue's"));
            return;
        };
        let value = u64::from_le_bytes(bytes);
        if let Err(why) = self.announce(at, value) {
            let id = self.queues[at].id;
            self.stop(at, format!("queue {id}, doorbell {value:#x}: {why}"));
            self.hardware_exception();
        }
        if !self.settings.lazy {
            let steps = self.draw.below(3);
            self.pump(steps);
        }
    }

    /// Takes the new end of what is to be executed.
    fn announce(&mut self, at: usize, value: u64) -> Result<(), String> {
        let q = &self.queues[at];
        let end = match q.kind {
            Kind::Aql => value.wrapping_add(1),
            Kind::Pm4 | Kind::Copies => value,
        };
        let units = q.len / q.unit();
        if end < q.announced {
            return Err(format!("{} was announced before", q.announced));
        }
        if end - q.read > units {
            return Err(format!("{} units in a ring of {units}", end - q.read));
        }
        let pointer = self.device.memory.load_coherent::<8>(q.write_pointer);
        let pointer = pointer.map(u64::from_le_bytes).map_err(|e| e.to_string())?;
        if pointer != end {
            return Err(format!("the write pointer in memory is {pointer:#x}"));
        }
        self.queues[at].announced = end;
        self.queues[at].blocked = false;
        Ok(())
    }

    /// A queue goes on no more.
    fn stop(&mut self, at: usize, why: String) {
        self.queues[at].dead = true;
        self.fault.get_or_insert(why);
    }

    /// Executes up to so many packets, each of any queue; whether anything moved.
    pub fn pump(&mut self, steps: u64) -> bool {
        let mut moved = false;
        self.queues.iter_mut().for_each(|q| q.blocked = false);
        for _ in 0..steps {
            let ready = |q: &&usize| !self.queues[**q].idle() && !self.queues[**q].blocked;
            let all: Vec<usize> = (0..self.queues.len()).collect();
            let ready: Vec<usize> = all.iter().filter(ready).copied().collect();
            if ready.is_empty() {
                break;
            }
            let at = ready[self.draw.below(ready.len() as u64) as usize];
            if self.step(at) {
                moved = true;
                // What ran may be what others wait for.
                self.queues.iter_mut().for_each(|q| q.blocked = false);
            } else {
                self.queues[at].blocked = true;
            }
        }
        moved
    }

    /// One packet of a queue; whether it moved.
    fn step(&mut self, at: usize) -> bool {
        if self.queues[at].kind == Kind::Copies {
            if let Err(fault) = self.copy_step(at) {
                self.broken(at, &fault);
            }
            return true;
        }
        if self.queues[at].fetched == self.queues[at].read
            && let Err(why) = self.fetch(at)
        {
            let id = self.queues[at].id;
            self.stop(at, format!("queue {id}: {why}"));
            self.hardware_exception();
            return true;
        }
        let q = &mut self.queues[at];
        let (id, ran) = (q.id, q.pm4.step(&mut self.device));
        let launched: Vec<Launched> = q
            .pm4
            .counters
            .drain(..)
            .map(|(name, counters)| Launched {
                queue: id,
                entry: entry(&name),
                counters,
            })
            .collect();
        let interrupts: Vec<u32> = q.pm4.interrupts.drain(..).collect();
        self.launched.extend(launched);
        for interrupt in interrupts {
            self.interrupt(interrupt);
        }
        match ran {
            Ok(Progress::Ran) => true,
            Ok(Progress::Blocked) => false,
            Ok(Progress::Done) => {
                self.retire(at);
                true
            }
            Err(fault) => {
                self.broken(at, &fault);
                true
            }
        }
    }

    /// Reads what was announced.
    fn fetch(&mut self, at: usize) -> Result<(), String> {
        let q = &mut self.queues[at];
        let memory = &self.device.memory;
        let word = |n: u64| {
            let at = q.ring + n % (q.len / 4) * 4;
            let word = memory.load_coherent::<4>(at).map_err(|e| e.to_string())?;
            Ok::<u32, String>(u32::from_le_bytes(word))
        };
        if q.kind == Kind::Pm4 {
            let words = (q.read..q.announced)
                .map(word)
                .collect::<Result<Vec<u32>, String>>()?;
            q.pm4.push(q.ring + q.read * 4 % q.len, &words);
            q.fetched = q.announced;
            return Ok(());
        }
        let words = (q.read * 16..q.read * 16 + 16).map(word);
        let words = words.collect::<Result<Vec<u32>, String>>()?;
        let inner = aql(&words)?;
        q.pm4.push(q.ring + q.read * AQL_BYTES % q.len, inner);
        q.fetched = q.read + 1;
        Ok(())
    }

    /// What was fetched is done.
    pub fn retire(&mut self, at: usize) {
        let q = &mut self.queues[at];
        if q.kind == Kind::Aql {
            // The hardware marks what it has read.
            let header = q.ring + q.read * AQL_BYTES % q.len;
            let _ = self
                .device
                .memory
                .write_past(header, &AQL_INVALID.to_le_bytes()[..2]);
        }
        q.read = q.fetched;
        let read = q.read.to_le_bytes();
        let _ = self.device.memory.write_past(q.read_pointer, &read);
    }

    /// A packet or a kernel did what it must not.
    fn broken(&mut self, at: usize, fault: &StreamFault) {
        let id = self.queues[at].id;
        self.stop(at, format!("queue {id}: {fault}"));
        match fault.bad {
            // Nobody is told of what a cache holds: results are wrong on hardware.
            Some(bad) if !bad.stale => self.memory_exception(bad),
            _ => self.hardware_exception(),
        }
    }
}

/// The packet of PM4 in a vendor's packet of AQL.
fn aql(words: &[u32]) -> Result<&[u32], String> {
    let (kind, vendor) = (words[0] & 0xFF, words[0] >> 16);
    let fail = |why: String| Err(format!("AQL packet {:#010x}: {why}", words[0]));
    if kind != AQL_VENDOR || vendor != AQL_PM4 {
        return fail(format!("type {kind}, vendor's format {vendor}"));
    }
    if words[5] != AQL_PM4_COUNT {
        return fail(format!("{} words remain, not {AQL_PM4_COUNT}", words[5]));
    }
    if words[6..14].iter().any(|w| *w != 0) {
        return fail("reserved words".to_string());
    }
    if words[14..16] != [0, 0] {
        return fail("a completion signal, which is not simulated".to_string());
    }
    let inner = &words[1..5];
    match Packet::decode(inner) {
        Ok((Packet::Indirect { .. }, 4)) => Ok(inner),
        Ok((other, _)) => fail(format!("holds {other}")),
        Err(e) => fail(e.to_string()),
    }
}

/// The address in the name that a kernel without a name has.
fn entry(name: &str) -> u64 {
    let digits = name.strip_prefix("at 0x").unwrap_or_default();
    u64::from_str_radix(digits, 16).unwrap_or_default()
}
