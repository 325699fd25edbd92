//! A queue of the hardware: a ring, a page of pointers, a doorbell.
//!
//! In: indirect buffers. Out: packets in the ring that point to them. A PM4 queue counts words and takes INDIRECT_BUFFER; an AQL queue counts
//! packets of 64 bytes and takes the same four words inside of a packet of the vendor's.

use crate::abi::{self, CreateQueue, queue_page};
use crate::channel::Channel;
use crate::error::Error;
use crate::memory::{self, Block, Class, Gpu};
use crate::needs;
use crate::save_area::SaveArea;
use crate::scratch::Scratch;
use crate::topology::Node;
use tinyc_runtime::io::{KernelIo, Mmio};

/// Bytes of a ring. A submission takes 16 of them, or 64, and only one is under way: the ring never fills up, and no packet wraps.
pub const RING_BYTES: u64 = 1 << 16;
/// The driver takes no other size on any chip that this runtime knows.
const EOP_BYTES: u64 = 4096;

/// PM4: type 3, INDIRECT_BUFFER, three words follow.
const INDIRECT_BUFFER: u32 = 3 << 30 | 2 << 16 | 0x3F << 8;
/// The buffer's length is valid.
const INDIRECT_VALID: u32 = 1 << 23;
/// AQL: a packet of the vendor's; it waits for earlier ones; acquires and releases for the whole system; it holds PM4.
const AQL_HEADER: u32 = 1 << 8 | 2 << 9 | 2 << 11 | 1 << 16;
/// AQL: no packet yet.
const AQL_INVALID: u32 = 1;
/// AQL: words behind this one in the packet.
const AQL_REST: u32 = 10;
const AQL_BYTES: u64 = 64;

/// A queue.
#[derive(Debug, Default)]
pub struct Queue {
    kind: needs::Queue,
    channel: Channel,
    eop: Option<Block>,
    save: Option<Block>,
    /// Words, or packets, written since the start.
    written: u64,
}

impl Queue {
    /// Makes the queue. What was made before a failure is in `self` and goes with [`Queue::close`].
    pub fn open<I: KernelIo + Mmio>(
        &mut self,
        io: &mut I,
        gpu: &Gpu,
        node: &Node,
        kind: needs::Queue,
        scratch: (&Scratch, u64),
    ) -> Result<(), Error> {
        self.kind = kind;
        let area = SaveArea::of(node);
        let make = |io: &mut I, bytes| {
            memory::exactly(io, gpu, Class::Device, bytes).map_err(Error::step("a queue", bytes))
        };
        let (ring, page) = self.channel.allocate(io, gpu, RING_BYTES)?;
        let eop = *self.eop.insert(make(io, EOP_BYTES)?);
        let save = *self.save.insert(make(io, area.allocation)?);
        if kind == needs::Queue::Aql {
            prepare(io, node, scratch, ring, page);
        }
        io.fence();
        let request = CreateQueue {
            queue_type: match kind {
                needs::Queue::Pm4 => abi::QUEUE_COMPUTE,
                needs::Queue::Aql => abi::QUEUE_COMPUTE_AQL,
            },
            eop_buffer_address: eop.address,
            eop_buffer_size: EOP_BYTES,
            ctx_save_restore_address: save.address,
            ctx_save_restore_size: area.bytes,
            ctl_stack_size: area.control_bytes,
            ..CreateQueue::default()
        };
        self.channel.create(io, gpu, request)
    }

    /// Gives an indirect buffer to the device: at most 16 words in the ring, the write pointer, the doorbell.
    pub fn submit<I: Mmio>(&mut self, io: &mut I, address: u64, words: u32) {
        let Some(ring) = self.channel.ring() else {
            return;
        };
        let jump = [
            INDIRECT_BUFFER,
            address as u32,
            (address >> 32) as u32,
            words | INDIRECT_VALID,
        ];
        let bell = match self.kind {
            needs::Queue::Pm4 => {
                let at = ring + self.written * 4 % RING_BYTES;
                for (n, word) in (0..).zip(jump) {
                    // SAFETY: the ring's length is a multiple of the four words, so that they are all inside.
                    unsafe { io.store32(at + n * 4, word) };
                }
                self.written += 4;
                self.written
            }
            needs::Queue::Aql => {
                let at = ring + self.written * AQL_BYTES % RING_BYTES;
                let body = jump.into_iter().chain([AQL_REST]);
                for (n, word) in (1..16).zip(body.chain(core::iter::repeat(0))) {
                    // SAFETY: a packet of 16 words inside of the ring.
                    unsafe { io.store32(at + n * 4, word) };
                }
                // The header comes last: with it the packet is valid.
                io.fence();
                // SAFETY: as above.
                unsafe { io.store32(at, AQL_HEADER) };
                self.written += 1;
                self.written - 1
            }
        };
        self.channel.announce(io, self.written, bell);
    }

    /// Ends the queue, whatever runs in it, and gives its memory back.
    pub fn close<I: KernelIo>(&mut self, io: &mut I, gpu: &Gpu) {
        self.channel.end(io, gpu);
        memory::free_all(io, gpu, &mut [&mut self.save, &mut self.eop]);
        self.channel.free(io, gpu);
    }
}

/// Fills the ring of an AQL queue with packets that are none, and what firmware reads of the page of pointers. Flat addresses of group and private
/// memory are not used by our kernels' packets, which set their registers themselves.
fn prepare<I: Mmio>(io: &mut I, node: &Node, scratch: (&Scratch, u64), ring: u64, page: u64) {
    let (sizes, memory) = scratch;
    let units = node.units() * node.xcc;
    let words = [
        (queue_page::PACKETS, (RING_BYTES / AQL_BYTES) as u32),
        (queue_page::MAX_UNIT, units.saturating_sub(1)),
        (queue_page::MAX_WAVE, node.scratch_slots.saturating_sub(1)),
        (
            queue_page::READ_POINTER_OFFSET,
            queue_page::READ_POINTER as u32,
        ),
        (queue_page::TMPRING_SIZE, sizes.tmpring),
        (queue_page::SCRATCH_LANE_BYTES, sizes.thread_bytes),
        (queue_page::PROPERTIES, queue_page::IS_PTR64),
    ];
    // SAFETY: both blocks are mapped for writing, all addresses are inside and aligned.
    unsafe {
        for packet in (0..RING_BYTES).step_by(AQL_BYTES as usize) {
            io.store32(ring + packet, AQL_INVALID);
        }
        io.store64(page + queue_page::RING, ring);
        io.store64(page + queue_page::SCRATCH, memory);
        for (offset, word) in words {
            io.store32(page + offset, word);
        }
    }
}
