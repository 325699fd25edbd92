//! A queue that executes packets on the device.
//!
//! In: words, at first or in indirect buffers of the device's memory. Out: changed memory, interrupts, counters of each
//! kernel; or a [`StreamFault`] that names the packet. A dispatch runs no sooner than something waits for it, and those
//! that nothing separates run in any order, so that a missing wait shows.

use super::registers::{
    NUM_THREAD, PGM, RESOURCE_LIMITS, RESTART, RSRC1, RSRC2, RSRC3, SCRATCH_BASE, START,
    STATISTICS, TMPRING_SIZE, USER_DATA, name,
};
use super::{Packet, PacketError, Store, Wait, flush, gcr};
use crate::device::{Device, Fault, Launch};
use crate::draw::Draw;
use crate::memory::{BadAddress, POISON};
use crate::wave::Counters;
use std::collections::HashMap;

/// Why a stream cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("word {at} of the stream at {base:#x}: {packet}: {why}")]
pub struct StreamFault {
    /// Where the stream starts.
    pub base: u64,
    /// Word of the packet.
    pub at: usize,
    /// The packet.
    pub packet: String,
    /// What is wrong with it.
    pub why: String,
    /// The access that hit nothing, when that is what is wrong: hardware reports its address.
    pub bad: Option<BadAddress>,
}

/// What is wrong with a packet, before it is known which.
struct Why {
    text: String,
    bad: Option<BadAddress>,
}

impl From<String> for Why {
    fn from(text: String) -> Why {
        Why { text, bad: None }
    }
}

impl From<&str> for Why {
    fn from(text: &str) -> Why {
        text.to_string().into()
    }
}

impl From<BadAddress> for Why {
    fn from(bad: BadAddress) -> Why {
        Why {
            text: bad.to_string(),
            bad: Some(bad),
        }
    }
}

impl From<Fault> for Why {
    fn from(fault: Fault) -> Why {
        Why {
            bad: fault.address(),
            text: fault.to_string(),
        }
    }
}

/// A place that is not there, and what is needed there.
fn place(bad: BadAddress, what: &str) -> Why {
    Why {
        text: format!("{what}: {bad}"),
        bad: Some(bad),
    }
}

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A packet was executed.
    Ran,
    /// A wait is not over.
    Blocked,
    /// There are no more packets.
    Done,
}

/// Words that are executed, and how far.
struct Frame {
    base: u64,
    words: Vec<u32>,
    at: usize,
}

/// Deepest nesting of indirect buffers.
const DEPTH: usize = 2;
/// The bit that code of this generation has to set against a fault of saved waves.
const PRIVILEGED: u32 = 1 << 20;

/// A compute queue.
pub struct Queue {
    /// Registers that were written.
    registers: HashMap<u32, u32>,
    frames: Vec<Frame>,
    pending: Vec<Launch>,
    draw: Draw,
    clock: u64,
    /// Whether caches were told since the host may have written.
    acquired: bool,
    /// Whether the host's data path was flushed since.
    flushed: bool,
    /// Whether kernels of this queue ran since it wrote caches back.
    unwritten: bool,
    /// Names of kernels by the address of their first instruction.
    pub names: HashMap<u64, String>,
    /// Interrupts, in order.
    pub interrupts: Vec<u32>,
    /// What was done, launch by launch in the order of the packets.
    pub counters: Vec<(String, Counters)>,
}

impl Queue {
    /// A queue without packets. The seed decides the order of dispatches that nothing separates.
    pub fn new(seed: u64) -> Queue {
        Queue {
            registers: HashMap::new(),
            frames: Vec::new(),
            pending: Vec::new(),
            draw: Draw::new(seed),
            clock: 1,
            acquired: false,
            flushed: false,
            unwritten: false,
            names: HashMap::new(),
            interrupts: Vec::new(),
            counters: Vec::new(),
        }
    }

    /// Adds words behind those that wait.
    pub fn push(&mut self, base: u64, words: &[u32]) {
        self.frames.insert(
            0,
            Frame {
                base,
                words: words.to_vec(),
                at: 0,
            },
        );
    }

    /// Executes until nothing is left or a wait is not over.
    pub fn run(&mut self, device: &mut Device) -> Result<Progress, StreamFault> {
        loop {
            match self.step(device)? {
                Progress::Ran => {}
                other => return Ok(other),
            }
        }
    }

    /// Executes one packet.
    pub fn step(&mut self, device: &mut Device) -> Result<Progress, StreamFault> {
        while self.frames.last().is_some_and(|f| f.at >= f.words.len()) {
            self.frames.pop();
        }
        let Some(frame) = self.frames.last() else {
            return Ok(Progress::Done);
        };
        let (base, at) = (frame.base, frame.at);
        let (packet, len) =
            Packet::decode(&frame.words[at..]).map_err(|e: PacketError| StreamFault {
                base,
                at,
                packet: format!("{:#010x}", e.header),
                why: e.why,
                bad: None,
            })?;
        let progress = self
            .execute(&packet, device)
            .map_err(|Why { text, bad }| StreamFault {
                base,
                at,
                packet: packet.to_string(),
                why: text,
                bad,
            })?;
        if progress == Progress::Blocked {
            return Ok(progress);
        }
        self.clock += 1;
        // An indirect buffer lies on top of the frame it was called from.
        let called = matches!(packet, Packet::Indirect { .. });
        let frame = self.frames.len() - 1 - usize::from(called);
        self.frames[frame].at += len;
        Ok(progress)
    }

    fn execute(&mut self, packet: &Packet, device: &mut Device) -> Result<Progress, Why> {
        match packet {
            Packet::Nop(_) => {}
            Packet::SetShReg(offset, values) => {
                for (n, value) in (*offset..).zip(values) {
                    self.registers.insert(n, *value);
                }
            }
            Packet::SetUconfigReg(..) => return Err("configuration registers".into()),
            Packet::Dispatch { groups, .. } => {
                let launch = self.launch(*groups, device)?;
                self.pending.push(launch);
            }
            Packet::PartialFlush => self.flush(device)?,
            Packet::AcquireCoher { .. } => {
                return Err("a form of another generation".to_string().into());
            }
            Packet::Acquire { gcr, base, size } => self.acquire(*gcr, *base, *size, device)?,
            Packet::Release {
                flush,
                store,
                address,
                value,
                interrupt,
            } => {
                self.flush(device)?;
                if flush & flush::GL2_WB != 0 {
                    device.memory.write_back();
                    self.unwritten = false;
                }
                let dirty = device.memory.dirty();
                // Lines that kernels of other queues stored are those queues' matter.
                if *store != Store::Nothing && self.unwritten && dirty > 0 {
                    return Err(
                        format!("{dirty} lines of results were not written back before").into(),
                    );
                }
                match store {
                    Store::Nothing => {}
                    Store::Low => device
                        .memory
                        .write_past(*address, &(*value as u32).to_le_bytes())?,
                    Store::Both => device.memory.write_past(*address, &value.to_le_bytes())?,
                    Store::Clock => device
                        .memory
                        .write_past(*address, &self.clock.to_le_bytes())?,
                }
                self.interrupts.extend(interrupt);
            }
            Packet::Wait(Wait::Memory {
                address,
                compare,
                reference,
                mask,
            }) => {
                let value = device.memory.load_coherent::<4>(*address)?;
                if !compare.holds(u32::from_le_bytes(value) & mask, *reference) {
                    return Ok(Progress::Blocked);
                }
                // Somebody else has written since: caches and the host's data path know nothing of it.
                self.acquired = false;
                self.flushed = false;
            }
            Packet::Wait(Wait::Registers { .. }) => {
                device.memory.arrive();
                self.flushed = true;
                // What arrives now was not there when caches forgot.
                self.acquired = false;
            }
            Packet::Write { address, data } => {
                let bytes: Vec<u8> = data.iter().flat_map(|w| w.to_le_bytes()).collect();
                device.memory.write_past(*address, &bytes)?;
            }
            Packet::Copy { from, to, wide } => {
                let bytes = match from {
                    Some(from) if *wide => device.memory.load_coherent::<8>(*from)?,
                    Some(from) => {
                        let low = device.memory.load_coherent::<4>(*from)?;
                        let mut both = [0; 8];
                        both[..4].copy_from_slice(&low);
                        both
                    }
                    None => self.clock.to_le_bytes(),
                };
                let n = if *wide { 8 } else { 4 };
                device.memory.write_past(*to, &bytes[..n])?;
            }
            Packet::Indirect { address, words } => {
                if self.frames.len() > DEPTH {
                    return Err("indirect buffers inside of each other".into());
                }
                let mut bytes = vec![0; *words as usize * 4];
                device.memory.read(*address, &mut bytes)?;
                let words = bytes.chunks_exact(4);
                let words = words.map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
                self.frames.push(Frame {
                    base: *address,
                    words: words.collect(),
                    at: 0,
                });
            }
        }
        Ok(Progress::Ran)
    }

    /// Makes caches forget. Only what has ended is seen afterwards, so kernels that still run are not covered.
    fn acquire(&mut self, bits: u32, base: u64, size: u64, device: &Device) -> Result<(), Why> {
        // A range that is not all of memory covers nothing for certain.
        if base != 0 || size < 1 << 48 {
            return Err("an acquire of a part of memory".into());
        }
        if bits & gcr::READ == gcr::READ {
            device.memory.forget_stale();
            if bits & gcr::GL2_INV != 0 {
                device.memory.forget_behind();
                self.acquired = true;
            }
        }
        if bits & gcr::GL2_WB != 0 {
            device.memory.write_back();
            self.unwritten = false;
        }
        Ok(())
    }

    /// Runs what is pending, in any order.
    fn flush(&mut self, device: &mut Device) -> Result<(), Why> {
        let mut pending: Vec<_> = std::mem::take(&mut self.pending)
            .into_iter()
            .enumerate()
            .collect();
        self.draw.shuffle(&mut pending);
        let mut done = Vec::new();
        for (n, launch) in pending {
            self.unwritten = true;
            let counters = device.run(&launch)?;
            self.clock += counters.total();
            done.push((n, (launch.name, counters)));
        }
        // In the order of the packets, whatever ran first.
        done.sort_by_key(|(n, _)| *n);
        self.counters.extend(done.into_iter().map(|(_, c)| c));
        Ok(())
    }

    /// A register's value; it has to have been written.
    fn register(&self, offset: u32) -> Result<u32, String> {
        let missing = || format!("{} was never written", name(offset).unwrap_or_default());
        self.registers.get(&offset).copied().ok_or_else(missing)
    }

    /// Three registers in a row that have to be zero.
    fn zero(&self, offset: u32, count: u32) -> Result<(), String> {
        for n in offset..offset + count {
            if self.register(n)? != 0 {
                return Err(format!("{} is not zero", name(n).unwrap_or_default()));
            }
        }
        Ok(())
    }

    /// What the registers start.
    fn launch(&self, groups: [u32; 3], device: &Device) -> Result<Launch, Why> {
        if !self.flushed {
            return Err("the host's data path was not flushed since the host wrote".into());
        }
        if !self.acquired {
            return Err("caches were not told of what the host wrote".into());
        }
        let wide = |offset: u32| -> Result<u64, String> {
            Ok(u64::from(self.register(offset)?) | u64::from(self.register(offset + 1)?) << 32)
        };
        let entry = wide(PGM)? << 8;
        device
            .memory
            .load_coherent::<4>(entry)
            .map_err(|e| place(e, "code"))?;
        self.zero(START, 3)?;
        self.zero(RESTART, 3)?;
        self.zero(STATISTICS, 2)?;
        self.register(RESOURCE_LIMITS)?;
        let rsrc = [
            self.register(RSRC1)?,
            self.register(RSRC2)?,
            self.register(RSRC3)?,
        ];
        if rsrc[0] & PRIVILEGED == 0 {
            return Err("COMPUTE_PGM_RSRC1 without the bit that saved waves need".into());
        }
        let mut threads = [0; 3];
        for (n, threads) in threads.iter_mut().enumerate() {
            *threads = self.register(NUM_THREAD + n as u32)?;
            if *threads >> 16 != 0 {
                return Err("partial work-groups".into());
            }
        }
        let scratch = self.scratch(rsrc[1], wide(SCRATCH_BASE)? << 8, device)?;
        let count = (rsrc[1] >> 1 & 31).min(16);
        let user = (0..count).map(|n| {
            self.registers
                .get(&(USER_DATA + n))
                .copied()
                .unwrap_or(POISON)
        });
        let name = self.names.get(&entry).cloned();
        Ok(Launch {
            name: name.unwrap_or_else(|| format!("at {entry:#x}")),
            entry,
            rsrc,
            user: user.collect(),
            groups,
            threads,
            lds: (rsrc[1] >> 15 & 0x1FF) as usize * 512,
            scratch,
        })
    }

    /// Bytes of private memory of a lane; there is memory for all waves that may run.
    fn scratch(&self, rsrc2: u32, base: u64, device: &Device) -> Result<usize, Why> {
        let ring = self.register(TMPRING_SIZE)?;
        let (waves, size) = (
            u64::from(ring & 0xFFF),
            u64::from(ring >> 12 & 0x7FFF) * 256,
        );
        if rsrc2 & 1 == 0 {
            return Ok(0);
        }
        if waves == 0 || size == 0 {
            return Err("private memory is used, its size is zero".into());
        }
        let last = base + waves * size - 1;
        for address in [base, last] {
            device
                .memory
                .load_coherent::<1>(address)
                .map_err(|e| place(e, "private memory"))?;
        }
        Ok(size as usize / 32)
    }
}
