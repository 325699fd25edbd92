//! Memory that processor and device see at the same address.
//!
//! In: a kind of memory and a size. Out: [`Block`]: an address that both use, until [`free`]. Addresses are reserved first, then filled, so that no
//! other mapping of the process can come between.

use crate::abi::{self, AllocMemory, FreeMemory, MapMemory};
use crate::driver::call;
use tinyc_runtime::io::{Errno, Fd, KernelIo};

const PROT_NONE: i32 = 0;
const PROT_READ_WRITE: i32 = 3;
const MAP_SHARED: i32 = 1;
const MAP_PRIVATE: i32 = 2;
const MAP_FIXED: i32 = 0x10;
const MAP_ANONYMOUS: i32 = 0x20;
const MAP_NORESERVE: i32 = 0x4000;

/// Pages of processor and device.
pub const PAGE: u64 = 4096;
/// Larger blocks are made of these, which the device's page tables like.
const HUGE_PAGE: u64 = 2 << 20;

/// The device that memory is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gpu {
    /// `/dev/kfd`.
    pub kfd: Fd,
    /// Its render node.
    pub render: Fd,
    /// The driver's number.
    pub id: u32,
}

/// Kinds of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Memory of the device that only it sees.
    Device,
    /// The same, with machine code.
    DeviceCode,
    /// Memory of the device that the processor writes through the bus: only where all of it is mapped there (large BAR).
    Shared,
    /// The same, with machine code.
    SharedCode,
    /// Memory of the host; the device keeps it in its caches until it releases them.
    Host,
    /// Memory of the host that the device does not cache: pointers, signals, command packets.
    Coherent,
}

impl Class {
    fn flags(self) -> u32 {
        let kind = match self {
            Class::Device => abi::VRAM,
            Class::DeviceCode => abi::VRAM | abi::EXECUTABLE,
            Class::Shared => abi::VRAM | abi::PUBLIC,
            Class::SharedCode => abi::VRAM | abi::PUBLIC | abi::EXECUTABLE,
            Class::Host => abi::GTT,
            Class::Coherent => abi::GTT | abi::COHERENT | abi::UNCACHED | abi::EXECUTABLE,
        };
        kind | abi::WRITABLE | abi::NO_SUBSTITUTE
    }

    fn visible(self) -> bool {
        !matches!(self, Class::Device | Class::DeviceCode)
    }
}

/// A piece of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// For both.
    pub address: u64,
    /// Whole pages.
    pub bytes: u64,
    /// The driver's number.
    pub handle: u64,
    /// Whether the addresses were reserved for it; the caller's memory has its own.
    reserved: bool,
}

/// Allocates exactly so many bytes, rounded up to pages; large ones for the device to huge pages.
pub fn allocate<I: KernelIo>(
    io: &mut I,
    gpu: &Gpu,
    class: Class,
    bytes: u64,
) -> Result<Block, Errno> {
    let unit = match class {
        Class::Device | Class::Shared if bytes >= 4 * HUGE_PAGE => HUGE_PAGE,
        _ => PAGE,
    };
    let bytes = bytes.max(1).checked_next_multiple_of(unit);
    let bytes = bytes.ok_or(Errno::NO_MEMORY)?;
    exactly(io, gpu, class, bytes)
}

/// Allocates so many bytes, whole pages: what queues want the driver compares.
pub fn exactly<I: KernelIo>(
    io: &mut I,
    gpu: &Gpu,
    class: Class,
    bytes: u64,
) -> Result<Block, Errno> {
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let address = unsafe { io.mmap(0, bytes, PROT_NONE, flags, None, 0) }?;
    let mut block = Block {
        address,
        bytes,
        handle: 0,
        reserved: true,
    };
    match fill(io, gpu, class, &mut block) {
        Ok(()) => Ok(block),
        Err(errno) => {
            unreserve(io, &block);
            Err(errno)
        }
    }
}

fn fill<I: KernelIo>(io: &mut I, gpu: &Gpu, class: Class, block: &mut Block) -> Result<(), Errno> {
    let mut request = AllocMemory {
        va_addr: block.address,
        size: block.bytes,
        gpu_id: gpu.id,
        flags: class.flags(),
        ..AllocMemory::default()
    };
    call(io, gpu.kfd, abi::ALLOC_MEMORY, &mut request)?;
    block.handle = request.handle;
    let result = show(io, gpu, class, block, request.mmap_offset);
    if result.is_err() {
        release(io, gpu, block.handle);
    }
    result
}

fn show<I: KernelIo>(
    io: &mut I,
    gpu: &Gpu,
    class: Class,
    block: &Block,
    offset: u64,
) -> Result<(), Errno> {
    if class.visible() {
        let flags = MAP_SHARED | MAP_FIXED;
        // SAFETY: the range was reserved for this block and is used by nothing yet.
        let at = unsafe {
            io.mmap(
                block.address,
                block.bytes,
                PROT_READ_WRITE,
                flags,
                Some(gpu.render),
                offset,
            )
        }?;
        if at != block.address {
            return Err(Errno::NO_MEMORY);
        }
    }
    map(io, gpu, block.handle)
}

/// Makes the device see it.
pub fn map<I: KernelIo>(io: &mut I, gpu: &Gpu, handle: u64) -> Result<(), Errno> {
    match seen(io, gpu, handle, abi::MAP_MEMORY)? {
        1 => Ok(()),
        _ => {
            // What it mapped it can take away; what it did not it refuses, which is as well.
            hide(io, gpu, handle);
            Err(Errno::DEVICE)
        }
    }
}

fn hide<I: KernelIo>(io: &mut I, gpu: &Gpu, handle: u64) {
    // Nothing can be done about a refusal: the driver frees what is left when the process ends.
    let _ = seen(io, gpu, handle, abi::UNMAP_MEMORY);
}

/// Maps or unmaps memory for the one device; for how many the driver did it.
fn seen<I: KernelIo>(io: &mut I, gpu: &Gpu, handle: u64, what: u32) -> Result<u32, Errno> {
    let ids = [gpu.id];
    let mut request = MapMemory {
        handle,
        device_ids: ids.as_ptr().expose_provenance() as u64,
        n_devices: 1,
        n_success: 0,
    };
    call(io, gpu.kfd, what, &mut request)?;
    Ok(request.n_success)
}

fn release<I: KernelIo>(io: &mut I, gpu: &Gpu, handle: u64) {
    // As in `hide`.
    let _ = call(io, gpu.kfd, abi::FREE_MEMORY, &mut FreeMemory { handle });
}

fn unreserve<I: KernelIo>(io: &mut I, block: &Block) {
    if block.reserved {
        // SAFETY: the block's owner gives it up; the device does not see it any more.
        let _ = unsafe { io.munmap(block.address, block.bytes) };
    }
}

/// Makes the device see memory that the caller has: whole pages around it.
pub fn register<I: KernelIo>(
    io: &mut I,
    gpu: &Gpu,
    address: u64,
    bytes: u64,
) -> Result<Block, Errno> {
    let start = address / PAGE * PAGE;
    let end = address.checked_add(bytes).ok_or(Errno::INVALID)?;
    let end = end.checked_next_multiple_of(PAGE).ok_or(Errno::INVALID)?;
    let mut request = AllocMemory {
        va_addr: start,
        size: end - start,
        mmap_offset: start,
        gpu_id: gpu.id,
        flags: abi::USERPTR | abi::WRITABLE | abi::NO_SUBSTITUTE,
        ..AllocMemory::default()
    };
    call(io, gpu.kfd, abi::ALLOC_MEMORY, &mut request)?;
    if let Err(errno) = map(io, gpu, request.handle) {
        release(io, gpu, request.handle);
        return Err(errno);
    }
    Ok(Block {
        address: start,
        bytes: end - start,
        handle: request.handle,
        reserved: false,
    })
}

/// Gives a block back. Device and processor have stopped using it.
pub fn free<I: KernelIo>(io: &mut I, gpu: &Gpu, block: &Block) {
    hide(io, gpu, block.handle);
    release(io, gpu, block.handle);
    unreserve(io, block);
}

/// Gives back what an option holds.
pub fn free_all<I: KernelIo>(io: &mut I, gpu: &Gpu, blocks: &mut [&mut Option<Block>]) {
    for block in blocks {
        if let Some(block) = block.take() {
            free(io, gpu, &block);
        }
    }
}

/// Memory of the process that the device does not see, zeroed.
pub fn plain<I: KernelIo>(io: &mut I, bytes: u64) -> Result<u64, Errno> {
    // SAFETY: a new mapping at an address of the kernel's choice.
    unsafe {
        io.mmap(
            0,
            bytes,
            PROT_READ_WRITE,
            MAP_PRIVATE | MAP_ANONYMOUS,
            None,
            0,
        )
    }
}
