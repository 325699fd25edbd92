//! Queues of copy engines. In: what was announced. Out: packets of [`crate::sdma`] that run, one at a time.
//!
//! Positions count bytes. A packet lies whole before the end of the ring, and whole before what was announced.

use super::machine::Machine;
use super::sysfs::Shape;
use crate::pm4::{Generation, StreamFault};
use crate::sdma::{LONGEST, Packet};

impl Machine {
    /// One packet of a queue of copies.
    pub fn copy_step(&mut self, at: usize) -> Result<(), StreamFault> {
        let q = &self.queues[at];
        let (ring, start) = (q.ring, q.read % q.len);
        let fault = |packet: String, why: String, bad| StreamFault {
            base: ring,
            at: start as usize / 4,
            packet,
            why,
            bad,
        };
        let left = (q.announced - q.read).min(q.len - start) / 4;
        let words: Vec<u32> = (0..left.min(LONGEST as u64))
            .map(|n| self.device.memory.load_coherent(ring + start + 4 * n))
            .map(|word| word.map(u32::from_le_bytes))
            .collect::<Result<_, _>>()
            .map_err(|bad| fault("a packet".to_string(), bad.to_string(), Some(bad)))?;
        let target = Shape::of(&self.settings).target;
        let generation = Generation::of(target).unwrap_or(Generation::Gfx11);
        let (packet, len) = Packet::decode(&words, generation)
            .map_err(|e| fault(format!("{:#010x}", e.header), e.why, None))?;
        packet
            .execute(&self.device)
            .map_err(|bad| fault(packet.to_string(), bad.to_string(), Some(bad)))?;
        let q = &mut self.queues[at];
        q.fetched = q.read + 4 * len as u64;
        self.retire(at);
        Ok(())
    }
}
