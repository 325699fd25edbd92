//! What every queue has, whoever reads it: a ring, a page of pointers, a doorbell.
//!
//! In: what CREATE_QUEUE wants besides. Out: a ring that the device reads up to where [`Channel::announce`] says. Positions count in units of the
//! queue: words for command packets, packets of 64 bytes for AQL, bytes for copies.

use crate::abi::{self, CreateQueue, DestroyQueue, queue_page};
use crate::driver::call;
use crate::error::Error;
use crate::memory::{self, Block, Class, Gpu, PAGE};
use tinyc_runtime::io::{Errno, KernelIo, Mmio};

/// Doorbells of a process on one GPU.
const DOORBELL_BYTES: u64 = 0x2000;
const PROT_READ_WRITE: i32 = 3;
const MAP_SHARED: i32 = 1;
/// Name of the step in errors.
const STEP: &str = "a queue";

/// Ring, pointers, doorbell.
#[derive(Debug, Default)]
pub(crate) struct Channel {
    ring: Option<Block>,
    pointers: Option<Block>,
    id: Option<u32>,
    /// Mapping of the doorbells.
    doorbells: Option<u64>,
    doorbell: u64,
}

impl Channel {
    /// Makes ring and pointers, zeroed but for the ring; their addresses. What was made before a failure is in `self`.
    pub fn allocate<I: KernelIo + Mmio>(
        &mut self,
        io: &mut I,
        gpu: &Gpu,
        ring_bytes: u64,
    ) -> Result<(u64, u64), Error> {
        let make = |io: &mut I, bytes| {
            memory::exactly(io, gpu, Class::Coherent, bytes).map_err(Error::step(STEP, bytes))
        };
        let ring = *self.ring.insert(make(io, ring_bytes)?);
        let pointers = *self.pointers.insert(make(io, PAGE)?);
        for offset in (0..queue_page::BYTES).step_by(8) {
            // SAFETY: the page is mapped for writing, fresh, and longer.
            unsafe { io.store64(pointers.address + offset, 0) };
        }
        Ok((ring.address, pointers.address))
    }

    /// Makes the queue, once there are ring and pointers, and maps its doorbell.
    pub fn create<I: KernelIo>(
        &mut self,
        io: &mut I,
        gpu: &Gpu,
        more: CreateQueue,
    ) -> Result<(), Error> {
        let (Some(ring), Some(pointers)) = (self.ring, self.pointers) else {
            return Err(Error::System(Errno::INVALID, STEP));
        };
        let mut request = CreateQueue {
            ring_base_address: ring.address,
            write_pointer_address: pointers.address + queue_page::WRITE_POINTER,
            read_pointer_address: pointers.address + queue_page::READ_POINTER,
            ring_size: ring.bytes as u32,
            gpu_id: gpu.id,
            queue_percentage: abi::QUEUE_PERCENTAGE,
            queue_priority: abi::QUEUE_PRIORITY,
            ..more
        };
        call(io, gpu.kfd, abi::CREATE_QUEUE, &mut request).map_err(Error::step(STEP, 0))?;
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
        let start = mapped.map_err(Error::step(STEP, 0))?;
        self.doorbells = Some(start);
        self.doorbell = start + inside / 8 * 8;
        Ok(())
    }

    /// Address of the ring, once it is made.
    pub fn ring(&self) -> Option<u64> {
        self.ring.map(|b| b.address)
    }

    /// Tells the device how far the ring is filled. What was stored before is visible to it.
    pub fn announce<I: Mmio>(&self, io: &mut I, written: u64, bell: u64) {
        let (Some(page), Some(_)) = (self.pointers, self.doorbells) else {
            return;
        };
        // SAFETY: the page and the doorbell are mapped, and both addresses are multiples of 8.
        unsafe {
            io.store64(page.address + queue_page::WRITE_POINTER, written);
            io.fence();
            io.store64(self.doorbell, bell);
        }
    }

    /// Ends the queue, whatever runs in it: the device uses none of its memory any more.
    pub fn end<I: KernelIo>(&mut self, io: &mut I, gpu: &Gpu) {
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
    }

    /// Gives ring and pointers back. The queue has ended.
    pub fn free<I: KernelIo>(&mut self, io: &mut I, gpu: &Gpu) {
        memory::free_all(io, gpu, &mut [&mut self.pointers, &mut self.ring]);
    }
}
