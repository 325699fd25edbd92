//! What the driver ties to a process rather than to a context: the address space of each GPU and the page of mailboxes. Neither can be replaced
//! or given back before the process ends, so contexts share them through [`KernelIo::process`].
//!
//! ```text
//! word 0     lock
//! word 1, 2  address and handle of the page of mailboxes; 0 when there is none
//! word 3     bit n: the GPU of word 4 + n sees the page
//! word 4..8  a GPU: its number << 32 | descriptor of its render node + 1
//! ```
//!
//! In: a node. Out: a render node whose address space is this process's; a mailbox page. A process must open its models after a `fork`, not before.

use crate::abi::{self, AcquireVm, CreateEvent};
use crate::driver::call;
use crate::error::Error;
use crate::memory::{self, Block, Class, Gpu};
use crate::topology::{Node, Path};
use core::sync::atomic::Ordering::SeqCst;
use tinyc_runtime::io::{Errno, Fd, KernelIo};

const LOCK: usize = 0;
const PAGE_ADDRESS: usize = 1;
const PAGE_HANDLE: usize = 2;
const PAGE_SEEN: usize = 3;
const FIRST_GPU: usize = 4;
const GPUS: usize = 4;
/// O_RDWR | O_CLOEXEC.
pub(crate) const READ_WRITE: i32 = 0o2_000_002;
/// EBUSY: the address space is another descriptor's.
const BUSY: Errno = Errno(16);
/// Descriptors of the process that are tried then.
const MAX_DESCRIPTOR: i32 = 1024;

fn word<I: KernelIo>(io: &I, n: usize) -> u64 {
    io.process().get(n).map_or(0, |w| w.load(SeqCst))
}

fn set<I: KernelIo>(io: &I, n: usize, value: u64) {
    if let Some(word) = io.process().get(n) {
        word.store(value, SeqCst);
    }
}

/// Runs something that no other context of the process runs meanwhile.
fn locked<I: KernelIo, T>(io: &mut I, body: impl FnOnce(&mut I) -> T) -> T {
    while let Some(lock) = io.process().get(LOCK)
        && lock.compare_exchange(0, 1, SeqCst, SeqCst).is_err()
    {
        core::hint::spin_loop();
    }
    let result = body(io);
    set(io, LOCK, 0);
    result
}

/// The process's address space on a GPU: its render node, and which of the words it has.
pub(crate) fn acquire<I: KernelIo>(io: &mut I, kfd: Fd, node: &Node) -> Result<(Fd, usize), Error> {
    locked(io, |io| {
        let mut free = None;
        for slot in 0..GPUS {
            let known = word(io, FIRST_GPU + slot);
            if known == 0 {
                free = free.or(Some(slot));
            } else if known >> 32 == u64::from(node.gpu_id) {
                return Ok((Fd((known as u32).wrapping_sub(1) as i32), slot));
            }
        }
        let slot = free.ok_or(Error::Argument(
            "a process uses at most four GPUs through this runtime",
        ))?;
        let fd = open_space(io, kfd, node)?;
        let value = u64::from(node.gpu_id) << 32 | (fd.0 as u32).wrapping_add(1) as u64;
        set(io, FIRST_GPU + slot, value);
        Ok((fd, slot))
    })
}

fn open_space<I: KernelIo>(io: &mut I, kfd: Fd, node: &Node) -> Result<Fd, Error> {
    let path = Path::new("/dev/dri/renderD").number(node.render_minor);
    let fd = io
        .open(path.get(), READ_WRITE)
        .map_err(|errno| match errno {
            Errno::ACCESS | Errno::NOT_PERMITTED => Error::Permission("/dev/dri/renderD*"),
            errno => Error::System(errno, "opening /dev/dri/renderD*"),
        })?;
    let acquire = |io: &mut I, fd: Fd| {
        let mut request = AcquireVm {
            drm_fd: fd.0 as u32,
            gpu_id: node.gpu_id,
        };
        call(io, kfd, abi::ACQUIRE_VM, &mut request)
    };
    match acquire(io, fd) {
        Ok(()) => return Ok(fd),
        Err(BUSY) => {}
        Err(errno) => {
            io.close(fd);
            return Err(Error::System(errno, "an address space"));
        }
    }
    io.close(fd);
    // Another runtime of this process was first. Its descriptor is one of those below, and asking for it again does nothing.
    (3..MAX_DESCRIPTOR)
        .map(Fd)
        .find(|other| acquire(io, *other).is_ok())
        .ok_or(Error::System(BUSY, "an address space"))
}

/// The mailbox of a new signal event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mailbox {
    /// Number of the event.
    pub event: u32,
    /// Address that the device writes.
    pub address: u64,
}

/// Makes a signal event. Nothing when another runtime of this process has a page of mailboxes whose address is not known here.
pub(crate) fn signal_event<I: KernelIo>(
    io: &mut I,
    gpu: &Gpu,
    slot: usize,
) -> Result<Option<Mailbox>, Errno> {
    locked(io, |io| {
        let mut request = CreateEvent {
            event_type: abi::EVENT_SIGNAL,
            auto_reset: 1,
            ..CreateEvent::default()
        };
        let seen = word(io, PAGE_SEEN);
        if word(io, PAGE_HANDLE) != 0 {
            if seen >> slot & 1 == 0 {
                memory::map(io, gpu, word(io, PAGE_HANDLE))?;
                set(io, PAGE_SEEN, seen | 1 << slot);
            }
            call(io, gpu.kfd, abi::CREATE_EVENT, &mut request)?;
        } else {
            let page: Block = memory::exactly(io, gpu, Class::Coherent, abi::EVENT_PAGE_BYTES)?;
            request.event_page_offset = page.handle;
            match call(io, gpu.kfd, abi::CREATE_EVENT, &mut request) {
                Ok(()) => {
                    set(io, PAGE_ADDRESS, page.address);
                    set(io, PAGE_HANDLE, page.handle);
                    set(io, PAGE_SEEN, 1 << slot);
                }
                Err(errno) => {
                    memory::free(io, gpu, &page);
                    return match errno {
                        Errno::INVALID => Ok(None),
                        errno => Err(errno),
                    };
                }
            }
        }
        let offset = u64::from(request.event_slot_index) * 8;
        if offset >= abi::EVENT_PAGE_BYTES {
            return Err(Errno::INVALID);
        }
        Ok(Some(Mailbox {
            event: request.event_id,
            address: word(io, PAGE_ADDRESS) + offset,
        }))
    })
}
