//! A queue of the hardware: a ring, a page of pointers, a doorbell.
//!
//! In: indirect buffers. Out: packets in the ring that point to them. A PM4 queue counts words and takes INDIRECT_BUFFER; an AQL queue counts
//! packets of 64 bytes and takes the same four words inside of a packet of the vendor's.

use crate::abi::{self, CreateQueue, DestroyQueue, queue_page};
use crate::driver::call;
use crate::error::Error;
use crate::memory::{self, Block, Class, Gpu, PAGE};
use crate::needs;
use crate::save_area::SaveArea;
use crate::scratch::Scratch;
use crate::topology::Node;
use tinyc_runtime::io::{Errno, KernelIo, Mmio};

/// Bytes of a ring. A submission takes 16 of them, or 64, and only one is under way: the ring never fills up, and no packet wraps.
pub const RING_BYTES: u64 = 1 << 16;
/// The driver takes no other size on any chip that this runtime knows.
const EOP_BYTES: u64 = 4096;
/// Doorbells of a process on one GPU.
const DOORBELL_BYTES: u64 = 0x2000;
const PROT_READ_WRITE: i32 = 3;
const MAP_SHARED: i32 = 1;

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
    ring: Option<Block>,
    pointers: Option<Block>,
    eop: Option<Block>,
    save: Option<Block>,
    id: Option<u32>,
    /// Mapping of the doorbells.
    doorbells: Option<u64>,
    doorbell: u64,
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
        let step = |bytes| Error::step("a queue", bytes);
        let make =
            |io: &mut I, class, bytes| memory::exactly(io, gpu, class, bytes).map_err(step(bytes));
        let ring = *self.ring.insert(make(io, Class::Coherent, RING_BYTES)?);
        let pointers = *self.pointers.insert(make(io, Class::Coherent, PAGE)?);
        let eop = *self.eop.insert(make(io, Class::Device, EOP_BYTES)?);
        let save = *self.save.insert(make(io, Class::Device, area.allocation)?);
        self.prepare(io, node, scratch);
        let mut request = CreateQueue {
            ring_base_address: ring.address,
            write_pointer_address: pointers.address + queue_page::WRITE_POINTER,
            read_pointer_address: pointers.address + queue_page::READ_POINTER,
            ring_size: RING_BYTES as u32,
            gpu_id: gpu.id,
            queue_type: match kind {
                needs::Queue::Pm4 => abi::QUEUE_COMPUTE,
                needs::Queue::Aql => abi::QUEUE_COMPUTE_AQL,
            },
            queue_percentage: abi::QUEUE_PERCENTAGE,
            queue_priority: abi::QUEUE_PRIORITY,
            eop_buffer_address: eop.address,
            eop_buffer_size: EOP_BYTES,
            ctx_save_restore_address: save.address,
            ctx_save_restore_size: area.bytes,
            ctl_stack_size: area.control_bytes,
            ..CreateQueue::default()
        };
        call(io, gpu.kfd, abi::CREATE_QUEUE, &mut request).map_err(step(0))?;
        self.id = Some(request.queue_id);
        let inside = request.doorbell_offset % DOORBELL_BYTES;
        let offset = request.doorbell_offset - inside;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let mapped = unsafe {
            io.mmap(
                0,
                DOORBELL_BYTES,
                PROT_READ_WRITE,
                MAP_SHARED,
                Some(gpu.kfd),
                offset,
            )
        };
        let start = mapped.map_err(step(0))?;
        self.doorbells = Some(start);
        self.doorbell = start + inside / 8 * 8;
        Ok(())
    }

    /// Fills ring and page of pointers: fresh memory may hold anything.
    fn prepare<I: Mmio>(&self, io: &mut I, node: &Node, scratch: (&Scratch, u64)) {
        let (Some(ring), Some(page)) = (self.ring, self.pointers) else {
            return;
        };
        let at = page.address;
        let (sizes, memory) = scratch;
        let units = node.units() * node.xcc;
        // SAFETY: both blocks are mapped for writing, all addresses are inside and aligned.
        unsafe {
            for offset in (0..queue_page::BYTES).step_by(8) {
                io.store64(at + offset, 0);
            }
            if self.kind == needs::Queue::Aql {
                for packet in (0..ring.bytes).step_by(AQL_BYTES as usize) {
                    io.store32(ring.address + packet, AQL_INVALID);
                }
                // What firmware reads of the page. Flat addresses of group and private memory are not used by our kernels' packets, which
                // set their registers themselves.
                io.store64(at + queue_page::RING, ring.address);
                io.store32(at + queue_page::PACKETS, (ring.bytes / AQL_BYTES) as u32);
                io.store32(at + queue_page::MAX_UNIT, units.saturating_sub(1));
                io.store32(
                    at + queue_page::MAX_WAVE,
                    (node.scratch_slots).saturating_sub(1),
                );
                io.store32(
                    at + queue_page::READ_POINTER_OFFSET,
                    queue_page::READ_POINTER as u32,
                );
                io.store32(at + queue_page::TMPRING_SIZE, sizes.tmpring);
                io.store64(at + queue_page::SCRATCH, memory);
                io.store32(at + queue_page::SCRATCH_LANE_BYTES, sizes.thread_bytes);
                io.store32(at + queue_page::PROPERTIES, queue_page::IS_PTR64);
            }
        }
        io.fence();
    }

    /// Gives an indirect buffer to the device: at most 16 words in the ring, the write pointer, the doorbell.
    pub fn submit<I: Mmio>(&mut self, io: &mut I, address: u64, words: u32) {
        let (Some(ring), Some(page)) = (self.ring, self.pointers) else {
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
                let at = ring.address + self.written * 4 % RING_BYTES;
                for (n, word) in (0..).zip(jump) {
                    // SAFETY: the ring's length is a multiple of the four words, so that they are all inside.
                    unsafe { io.store32(at + n * 4, word) };
                }
                self.written += 4;
                self.written
            }
            needs::Queue::Aql => {
                let at = ring.address + self.written * AQL_BYTES % RING_BYTES;
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
        // SAFETY: the page and the doorbell are mapped, and both addresses are multiples of 8.
        unsafe {
            io.store64(page.address + queue_page::WRITE_POINTER, self.written);
            io.fence();
            io.store64(self.doorbell, bell);
        }
    }

    /// Ends the queue, whatever runs in it, and gives its memory back.
    pub fn close<I: KernelIo>(&mut self, io: &mut I, gpu: &Gpu) {
        if let Some(start) = self.doorbells.take() {
            // SAFETY: the mapping is this queue's, and nothing rings it any more.
            let _ = unsafe { io.munmap(start, DOORBELL_BYTES) };
        }
        if let Some(id) = self.id.take() {
            let mut request = DestroyQueue {
                queue_id: id,
                pad: 0,
            };
            // EIO comes from a device that was reset: the queue is gone then.
            let _: Result<(), Errno> = call(io, gpu.kfd, abi::DESTROY_QUEUE, &mut request);
        }
        memory::free_all(
            io,
            gpu,
            &mut [
                &mut self.save,
                &mut self.eop,
                &mut self.pointers,
                &mut self.ring,
            ],
        );
    }
}
