//! Copies by a copy engine (SDMA): the processor fills one half of a staging buffer while the engine copies the other.
//!
//! In: bytes and an address. Out: the bytes there, after two packets for each part: a linear copy out of the staging buffer, and a fence, which
//! writes the part's number into the timeline of uploads once everything before it is done. Positions in the ring, write pointer and doorbell
//! count bytes.
//!
//! ```text
//! COPY   1                    bytes - 1   0   from (low, high)   to (low, high)
//! FENCE  5 | caching << 16    address (low, high)   value
//! ```
//!
//! The compute queue sees the bytes without a packet of its own. The engine writes memory itself (CDNA) or through the second-level cache
//! (RDNA), and the fence comes after its writes; the processor submits no stream before it has seen the last fence. What caches of the compute
//! units, the instruction cache and, on CDNA, the second-level cache may hold of these addresses from before is forgotten by the first acquire of
//! every stream, which names all of them. No older dirty line can come to lie over the bytes: every stream ends with a write-back.
//!
//! Sources: the forms of packets and the limits of a copy from Linux's `vega10_sdma_pkt_open.h` and `sdma_v6_0_0_pkt_open.h` (MIT licence) with
//! `sdma_v4_4_2.c` and `sdma_v6_0.c`, which set the fence's caching on RDNA alone; what CREATE_QUEUE wants from `kfd_queue.c` (ring and pointers;
//! no EOP buffer, no save area) and `kfd_device_queue_manager.c` (ENOMEM when all queues are taken); positions in bytes from tinygrad's
//! `ops_amd.py`.

use crate::abi::{self, CreateQueue};
use crate::channel::Channel;
use crate::device::{Device, Options};
use crate::error::Error;
use crate::memory::{self, Block, Class, Gpu, PAGE};
use tinyc_runtime::io::{KernelIo, Mmio};

/// Bytes of the staging buffer; one copy takes half of it, which is less than any engine's limit (4 MiB before SDMA 5).
const STAGING_BYTES: u64 = 1 << 20;
const HALF: usize = (STAGING_BYTES / 2) as usize;
/// Bytes of the ring: it holds far more than the two parts that may be under way.
const RING_BYTES: u64 = PAGE;
/// COPY, linear.
const COPY: u32 = 1;
/// FENCE.
const FENCE: u32 = 5;
/// On RDNA: the fence's value is written past caches (MTYPE 3, in bits 16 to 18). CDNA has no such field.
const FENCE_UNCACHED: u32 = 3 << 16;
/// Words of a copy and its fence.
const WORDS: usize = 11;
const BYTES: u64 = WORDS as u64 * 4;
/// A word that is a packet, which does nothing.
const NOP: u32 = 0;

/// A queue of a copy engine and what it copies from.
#[derive(Debug)]
pub(super) struct Engine {
    channel: Channel,
    staging: Option<Block>,
    /// Bytes of the ring that were filled since the start.
    written: u64,
    /// Parts that were announced: the value of the last fence.
    count: u32,
    fence: u32,
}

impl Engine {
    /// Makes buffer and queue. Nothing when one of them cannot be made: queues of copy engines are few, and all processes share them.
    pub fn open<I: KernelIo + Mmio>(io: &mut I, device: &Device) -> Option<Engine> {
        let gpu = device.gpu();
        let mut engine = Engine {
            channel: Channel::default(),
            staging: None,
            written: 0,
            // SAFETY: the address is in the page of signals.
            count: unsafe { io.load32(device.uploads()) },
            fence: match device.node().is_gfx9() {
                true => FENCE,
                false => FENCE | FENCE_UNCACHED,
            },
        };
        match engine.make(io, gpu) {
            Ok(()) => Some(engine),
            Err(_) => {
                engine.close(io, gpu);
                None
            }
        }
    }

    fn make<I: KernelIo + Mmio>(&mut self, io: &mut I, gpu: &Gpu) -> Result<(), Error> {
        let staging = memory::exactly(io, gpu, Class::Coherent, STAGING_BYTES);
        self.staging = Some(staging.map_err(Error::step("uploading", STAGING_BYTES))?);
        self.channel.allocate(io, gpu, RING_BYTES)?;
        io.fence();
        let request = CreateQueue {
            queue_type: abi::QUEUE_SDMA,
            ..CreateQueue::default()
        };
        self.channel.create(io, gpu, request)
    }

    /// Hands all bytes to the engine; at most two parts are under way.
    pub fn copy<I: KernelIo + Mmio>(
        &mut self,
        io: &mut I,
        device: &mut Device,
        mut address: u64,
        bytes: &[u8],
        options: &Options,
    ) -> Result<(), Error> {
        let Some(staging) = self.staging else {
            return Ok(());
        };
        for part in bytes.chunks(HALF) {
            // The part before the last one was copied out of the half that is filled now.
            self.wait(io, device, self.count.saturating_sub(1), options)?;
            self.count += 1;
            let from = staging.address + u64::from(self.count % 2) * HALF as u64;
            // SAFETY: the half is mapped for writing and as long as the longest part; the engine is done with it.
            unsafe { io.copy_to(from, part) };
            let signal = device.uploads();
            self.submit(
                io,
                [
                    COPY,
                    part.len() as u32 - 1,
                    0,
                    from as u32,
                    (from >> 32) as u32,
                    address as u32,
                    (address >> 32) as u32,
                    self.fence,
                    signal as u32,
                    (signal >> 32) as u32,
                    self.count,
                ],
            );
            address += part.len() as u64;
        }
        Ok(())
    }

    /// Writes packets into the ring, behind what fills its end where they would wrap, and announces them.
    fn submit<I: Mmio>(&mut self, io: &mut I, packets: [u32; WORDS]) {
        let Some(ring) = self.channel.ring() else {
            return;
        };
        let left = RING_BYTES - self.written % RING_BYTES;
        let skip = if left < BYTES { left as usize / 4 } else { 0 };
        for word in core::iter::repeat_n(NOP, skip).chain(packets) {
            // SAFETY: positions are multiples of 4, and below the ring's length.
            unsafe { io.store32(ring + self.written % RING_BYTES, word) };
            self.written += 4;
        }
        self.channel.announce(io, self.written, self.written);
    }

    fn wait<I: KernelIo + Mmio>(
        &self,
        io: &mut I,
        device: &mut Device,
        part: u32,
        options: &Options,
    ) -> Result<(), Error> {
        device.wait_for(io, device.uploads(), part, options.polls, options.limit)
    }

    /// Waits for the last part.
    pub fn finish<I: KernelIo + Mmio>(
        &mut self,
        io: &mut I,
        device: &mut Device,
        options: &Options,
    ) -> Result<(), Error> {
        self.wait(io, device, self.count, options)
    }

    /// Ends the queue, whatever it copies, then gives its memory back.
    pub fn close<I: KernelIo>(mut self, io: &mut I, gpu: &Gpu) {
        self.channel.end(io, gpu);
        memory::free_all(io, gpu, &mut [&mut self.staging]);
        self.channel.free(io, gpu);
    }
}
