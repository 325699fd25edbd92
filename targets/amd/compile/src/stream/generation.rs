//! What differs between generations of chips in a command stream: numbers from the table `[stream]` of a chip's file, and the
//! forms of the packets that tell caches.
//!
//! In: `targets/amd/CHIP.toml`. Out: a [`Generation`], which writes the barrier at the start, the acquire between launches, and
//! the signal at the end.
//!
//! | | gfx11 | gfx12 | gfx9 |
//! |---|---|---|---|
//! | COMPUTE_PGM_RSRC3 | 0x228 | 0x228 | 0x22D |
//! | ACQUIRE_MEM | 7 words, GCR_CNTL last | the same | 6 words, CP_COHER_CNTL first |
//! | RELEASE_MEM | GCR bits 12 to 22 | the same, and one that stores nothing before it | TC_WB 15, TC_NC 19 |
//! | queue | PM4 | PM4 | AQL, whose packet holds an INDIRECT_BUFFER |

use super::packets::{Packet, Store, Value, Words};
use serde::Deserialize;
use tinyc_replay_amd::Queue;

/// Whose forms ACQUIRE_MEM and RELEASE_MEM have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Caches {
    /// Caches of gfx10 and later, told by GCR_CNTL.
    Gcr,
    /// Caches of gfx9, told by CP_COHER_CNTL.
    Coher,
}

/// What a queue takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueKind {
    /// Command packets.
    Pm4,
    /// Packets of 64 bytes that may point to command packets.
    Aql,
}

/// The table `[stream]` of a chip's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generation {
    /// As the driver names the chip.
    pub gfx_target_version: u32,
    /// Kind of queue.
    pub queue: QueueKind,
    /// Offset of COMPUTE_PGM_RSRC3.
    pub rsrc3: u32,
    /// Bits that every kernel sets in COMPUTE_PGM_RSRC1.
    pub rsrc1_bits: u32,
    /// How caches are told.
    pub caches: Caches,
    /// A release that stores nothing precedes one that stores: the latter may be early.
    pub double_release: bool,
    /// Registers that flush what the host wrote: one that asks, one that answers.
    pub host_flush: [u32; 2],
    /// Bytes in which the memory that a work-group shares is given out.
    pub group_memory_step: u32,
}

/// Bits of GCR_CNTL in ACQUIRE_MEM.
mod gcr {
    pub const GLI_INV: u32 = 1;
    pub const GLM: u32 = 1 << 4 | 1 << 5;
    pub const GLK: u32 = 1 << 6 | 1 << 7;
    pub const GLV_INV: u32 = 1 << 8;
    pub const GL1_INV: u32 = 1 << 9;
    pub const GL2: u32 = 1 << 14 | 1 << 15;
    /// In RELEASE_MEM: all caches are written back and forget, one after the other.
    pub const RELEASE: u32 = 3 << 12 | 1 << 14 | 1 << 15 | 3 << 20 | 1 << 22;
}

/// Bits of CP_COHER_CNTL in ACQUIRE_MEM.
mod coher {
    pub const TC_WB: u32 = 1 << 18;
    pub const TCL1: u32 = 1 << 22;
    pub const TC: u32 = 1 << 23;
    pub const KCACHE: u32 = 1 << 27;
    pub const ICACHE: u32 = 1 << 29;
    /// In RELEASE_MEM: the second-level cache is written back, lines that bypass it too.
    pub const RELEASE: u32 = 1 << 15 | 1 << 19;
    pub const POLL: u32 = 0xA;
}

/// All of memory, in units of 256 bytes.
const EVERYTHING: [u32; 4] = [u32::MAX, 0x00FF_FFFF, 0, 0];

impl Generation {
    /// As artifacts name the kind of queue.
    pub fn queue(&self) -> Queue {
        match self.queue {
            QueueKind::Pm4 => Queue::Pm4,
            QueueKind::Aql => Queue::Aql,
        }
    }

    /// An acquire between launches: what the one before stored is in the second-level cache, those nearer forget.
    pub fn acquire_near(&self) -> Packet {
        self.acquire(
            gcr::GLM | gcr::GLK | gcr::GLV_INV | gcr::GL1_INV,
            coher::TCL1 | coher::KCACHE,
        )
    }

    /// An acquire of everything: what the host wrote, code too, is seen.
    pub fn acquire_all(&self) -> Packet {
        self.acquire(
            gcr::GLI_INV | gcr::GLM | gcr::GLK | gcr::GLV_INV | gcr::GL1_INV | gcr::GL2,
            coher::ICACHE | coher::KCACHE | coher::TCL1 | coher::TC | coher::TC_WB,
        )
    }

    fn acquire(&self, gcr: u32, coher: u32) -> Packet {
        let [size, size_high, base, base_high] = EVERYTHING;
        Packet::Acquire(match self.caches {
            Caches::Gcr => vec![0, size, size_high, base, base_high, 0, gcr],
            Caches::Coher => vec![coher, size, size_high, base, base_high, coher::POLL],
        })
    }

    /// Stores that come when all before is done and written back: the timeline's value, then the event with its interrupt.
    pub fn signal(&self, timeline: (Value, Value), event: (Value, Value), out: &mut Words) {
        let caches = match self.caches {
            Caches::Gcr => gcr::RELEASE,
            Caches::Coher => coher::RELEASE,
        };
        if self.double_release {
            out.packet(&Packet::Release(caches, Store::Nothing, None));
        }
        let store = Store::Wide(timeline.0, timeline.1);
        out.packet(&Packet::Release(caches, store, None));
        let store = Store::Word(event.0, event.1);
        out.packet(&Packet::Release(0, store, Some(event.1)));
    }
}
