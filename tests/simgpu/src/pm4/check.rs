//! Rules that a whole stream keeps, whatever its kernels do: for chips whose code is not executed here.
//!
//! In: packets in order. Out: how many dispatches there are, or the first rule that is broken:
//!
//! - a dispatch comes after a wait and an acquire of everything, and every register that it reads was written;
//! - between two dispatches lie the wait for the first and an acquire;
//! - at the end, all is written back before a value is stored; on gfx12 a release that stores nothing comes first;
//! - the last packet raises an interrupt.

use super::registers::{
    NUM_THREAD, PGM, RESOURCE_LIMITS, RESTART, RSRC1, RSRC2, RSRC3, SCRATCH_BASE, START,
    STATISTICS, TMPRING_SIZE, USER_DATA, common, name,
};
use super::{Generation, Packet, Store, Wait, coher, flush, flush9, gcr};
use std::collections::HashMap;

/// How much caches were told since something else wrote.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    /// Nothing.
    No,
    /// Those near the compute units.
    Near,
    /// All.
    All,
}

/// What was seen so far.
struct State {
    generation: Generation,
    registers: HashMap<u32, u32>,
    waited: bool,
    host_flushed: bool,
    /// Dispatches that nothing waited for.
    running: bool,
    /// What was told since the last dispatch, or since the host wrote.
    told: Told,
    dispatches: usize,
    released: bool,
    written_back: bool,
    interrupted: bool,
}

/// Checks a stream. The error names the packet's number.
pub fn stream(
    packets: impl IntoIterator<Item = Packet>,
    generation: Generation,
) -> Result<usize, (usize, String)> {
    let mut state = State {
        generation,
        registers: HashMap::new(),
        waited: false,
        host_flushed: false,
        running: false,
        told: Told::No,
        dispatches: 0,
        released: false,
        written_back: false,
        interrupted: false,
    };
    let mut count = 0;
    for (n, packet) in packets.into_iter().enumerate() {
        state
            .packet(&packet)
            .map_err(|why| (n, format!("{packet}: {why}")))?;
        count = n;
    }
    match (state.interrupted, state.running) {
        (true, false) => Ok(state.dispatches),
        (_, true) => Err((count, "a kernel still runs at the end".to_string())),
        (false, _) => Err((count, "no interrupt at the end".to_string())),
    }
}

impl State {
    fn packet(&mut self, packet: &Packet) -> Result<(), String> {
        if self.interrupted {
            return Err("a packet behind the interrupt".to_string());
        }
        match packet {
            Packet::SetShReg(first, values) => {
                for (offset, value) in (*first..).zip(values) {
                    let offset = common(offset, self.generation);
                    self.registers.insert(offset, *value);
                }
            }
            Packet::Wait(Wait::Memory { .. }) => {
                self.waited = true;
                self.told = Told::No;
            }
            Packet::Wait(Wait::Registers { .. }) => self.host_flushed = true,
            Packet::Acquire { gcr, base, size } => {
                let near = gcr & gcr::READ == gcr::READ;
                let all = near && gcr & gcr::GL2_INV != 0 && gcr & gcr::GLI_INV != 0;
                self.acquire(near, all, *base, *size)?;
            }
            Packet::AcquireCoher { coher, base, size } => {
                let near = coher & coher::READ == coher::READ;
                let all = near && coher & coher::TC != 0 && coher & coher::ICACHE != 0;
                self.acquire(near, all, *base, *size)?;
            }
            Packet::Dispatch { .. } => self.dispatch()?,
            Packet::PartialFlush => self.running = false,
            Packet::Release { .. } => self.release(packet)?,
            Packet::Write { .. } | Packet::Nop(_) => {}
            Packet::Indirect { .. } | Packet::Copy { .. } | Packet::SetUconfigReg(..) => {
                return Err("no packet of a network".to_string());
            }
        }
        Ok(())
    }

    fn acquire(&mut self, near: bool, all: bool, base: u64, size: u64) -> Result<(), String> {
        if base != 0 || size < 1 << 48 {
            return Err("an acquire of a part of memory".to_string());
        }
        // What still runs stores afterwards.
        if self.running {
            return Err("an acquire while a kernel runs".to_string());
        }
        let told = match (all, near) {
            (true, _) if self.host_flushed => Told::All,
            (true, _) | (_, true) => Told::Near,
            _ => Told::No,
        };
        self.told = self.told.max(told);
        Ok(())
    }

    fn dispatch(&mut self) -> Result<(), String> {
        let enough = if self.dispatches == 0 {
            Told::All
        } else {
            Told::Near
        };
        if !self.waited {
            return Err("no wait for the run before".to_string());
        }
        if self.running || self.told < enough {
            return Err("caches were not told of what was written before".to_string());
        }
        let rows = [
            (START, 3),
            (NUM_THREAD, 3),
            (STATISTICS, 2),
            (PGM, 2),
            (SCRATCH_BASE, 2),
            (RSRC1, 1),
            (RSRC2, 1),
            (RSRC3, 1),
            (RESOURCE_LIMITS, 1),
            (TMPRING_SIZE, 1),
            (RESTART, 3),
            (USER_DATA, 2),
        ];
        for (first, count) in rows {
            for offset in first..first + count {
                let missing = || format!("{} was never written", name(offset).unwrap_or_default());
                let value = self.registers.get(&offset).ok_or_else(missing)?;
                let zero = [START, STATISTICS, RESTART].contains(&first);
                if zero != (*value == 0) && (zero || first == NUM_THREAD) {
                    return Err(format!(
                        "{} is {value:#x}",
                        name(offset).unwrap_or_default()
                    ));
                }
            }
        }
        self.dispatches += 1;
        self.running = true;
        self.told = Told::No;
        Ok(())
    }

    fn release(&mut self, packet: &Packet) -> Result<(), String> {
        let Packet::Release {
            flush: bits,
            store,
            interrupt,
            ..
        } = packet
        else {
            return Ok(());
        };
        let back = match self.generation {
            Generation::Gfx9 => flush9::TC_WB,
            _ => flush::GL2_WB,
        };
        self.written_back |= bits & back != 0;
        if *store == Store::Nothing {
            self.released = true;
            return Ok(());
        }
        if !self.written_back {
            return Err("results were not written back before".to_string());
        }
        if self.generation == Generation::Gfx12 && !self.released {
            return Err("no release that stores nothing before it".to_string());
        }
        self.interrupted = interrupt.is_some();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn small(generation: Generation) -> Vec<Packet> {
        let acquire = |all: bool| match generation {
            Generation::Gfx9 => Packet::AcquireCoher {
                coher: if all { coher::KNOWN } else { coher::READ },
                base: 0,
                size: u64::MAX,
            },
            _ => Packet::Acquire {
                gcr: if all { gcr::KNOWN } else { gcr::READ },
                base: 0,
                size: u64::MAX,
            },
        };
        let rsrc3 = if generation == Generation::Gfx9 {
            0x22D
        } else {
            RSRC3
        };
        let release = |flush, store, interrupt| Packet::Release {
            flush,
            store,
            address: 8,
            value: 1,
            interrupt,
        };
        let dispatch = Packet::Dispatch {
            groups: [1; 3],
            initiator: 5,
        };
        let back = if generation == Generation::Gfx9 {
            flush9::TC_WB
        } else {
            flush::GL2_WB
        };
        vec![
            Packet::Wait(Wait::Memory {
                address: 8,
                compare: super::super::Compare::GreaterEqual,
                reference: 0,
                mask: !0,
            }),
            Packet::Wait(Wait::Registers {
                request: 0xE26,
                done: 0xE27,
                reference: !0,
                mask: !0,
            }),
            acquire(true),
            Packet::SetShReg(START, vec![0, 0, 0, 32, 1, 1, 0, 0, 1, 1]),
            Packet::SetShReg(SCRATCH_BASE, vec![0, 0, 1, 1, 0, 0]),
            Packet::SetShReg(TMPRING_SIZE, vec![0]),
            Packet::SetShReg(RESTART, vec![0; 3]),
            Packet::SetShReg(rsrc3, vec![0]),
            Packet::SetShReg(USER_DATA, vec![1, 1]),
            dispatch.clone(),
            Packet::PartialFlush,
            acquire(false),
            dispatch,
            Packet::PartialFlush,
            release(back, Store::Nothing, None),
            release(back, Store::Both, None),
            release(0, Store::Low, Some(1)),
        ]
    }

    #[test]
    fn every_packet_is_needed() {
        for generation in [Generation::Gfx9, Generation::Gfx11, Generation::Gfx12] {
            let packets = small(generation);
            assert_eq!(stream(packets.clone(), generation), Ok(2));
            for n in 0..packets.len() {
                let mut less = packets.clone();
                let packet = less.remove(n);
                // Others do the same as these: one release writes back, the other stores.
                let spare = matches!(packet, Packet::Release { .. }) && n + 1 < packets.len();
                let launch = matches!(packet, Packet::Dispatch { .. });
                let known = stream(less, generation);
                match generation {
                    Generation::Gfx12 if n == 14 => assert!(known.is_err()),
                    _ => assert_eq!(known.is_ok(), spare || launch, "{packet}: {known:?}"),
                }
            }
        }
    }
}
