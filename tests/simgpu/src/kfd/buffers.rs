//! Allocations of the device. In: structures of ALLOC, MAP, UNMAP, FREE. Out: memory that the device sees, with a view of
//! the host's own in shadow mode.

use super::abi::{Args, errno, memory};
use super::machine::Machine;
use super::process::{self, Pages};
use super::sysfs::GPU_ID;
use crate::memory::POISON;
use std::os::fd::OwnedFd;
use tinyc_runtime::io::Errno;

/// An allocation.
pub(super) struct Buffer {
    /// Where the device sees it.
    pub va: u64,
    pub len: u64,
    pub flags: u32,
    /// What mmap of the render node wants for it.
    pub offset: u64,
    /// Whether it is memory of the caller.
    pub user: bool,
    /// Whether the device sees it now.
    pub mapped: bool,
    /// Queues that use it.
    pub queues: u32,
    /// The bytes, when they are the driver's.
    file: Option<OwnedFd>,
    /// The host's view, always there.
    host: HostView,
    /// The device's view and what both last agreed on, in shadow mode.
    shadow: Option<[Pages; 2]>,
}

/// The bytes that the host sees.
enum HostView {
    Own(Pages),
    User(u64),
}

/// Larger allocations are not poisoned: only their ends are ever touched.
const MOST_POISON: u64 = 256 << 20;
/// End of the addresses that processes have.
const END: u64 = 1 << 47;
/// Where offsets for mmap start.
const FIRST_OFFSET: u64 = 1 << 32;

impl Buffer {
    /// The file to map.
    pub fn file(&self) -> Option<&OwnedFd> {
        self.file.as_ref()
    }

    /// Whether the host may map it.
    pub fn host_may_map(&self) -> bool {
        !self.user && (self.flags & memory::VRAM == 0 || self.flags & memory::PUBLIC != 0)
    }

    /// Whether what the host writes goes through the host's data path.
    pub fn posted(&self) -> bool {
        self.flags & memory::VRAM != 0
    }

    fn host(&self) -> *mut u8 {
        match &self.host {
            HostView::Own(pages) => pages.at(),
            HostView::User(at) => *at as *mut u8,
        }
    }

    /// What the device reads and writes.
    fn device(&self) -> *mut u8 {
        self.shadow.as_ref().map_or(self.host(), |[d, _]| d.at())
    }
}

/// The number of an allocation in its handle.
fn handle(number: u64) -> u64 {
    u64::from(GPU_ID) << 32 | number
}

impl Machine {
    /// ALLOC_MEMORY_OF_GPU.
    pub fn alloc(&mut self, a: &mut Args) -> Result<(), Errno> {
        let (va, len, gpu, flags) = (a.u64(0), a.u64(8), a.u32(32), a.u32(36));
        let user = flags & memory::USERPTR != 0;
        if gpu != GPU_ID || len == 0 {
            return Err(errno::INVALID);
        }
        if self.vm.is_none() {
            return Err(errno::NO_DEVICE);
        }
        let domain = flags & memory::DOMAINS;
        let one = [memory::VRAM, memory::GTT, memory::USERPTR].contains(&domain);
        if !one || flags & !memory::KNOWN != 0 {
            return Err(errno::INVALID);
        }
        let public = memory::VRAM | memory::PUBLIC;
        if flags & public == public && !self.settings.large_bar {
            return Err(errno::INVALID);
        }
        let aligned = va.is_multiple_of(4096) && len.is_multiple_of(4096);
        if !aligned || va == 0 || va.saturating_add(len) > END {
            return Err(errno::INVALID);
        }
        let used: u64 = self
            .buffers
            .values()
            .filter(|b| b.posted())
            .map(|b| b.len)
            .sum();
        if domain == memory::VRAM && used + len > self.settings.vram_bytes {
            return Err(errno::NO_MEMORY);
        }
        let from = a.u64(24);
        if user && (from == 0 || !from.is_multiple_of(4096)) {
            return Err(errno::INVALID);
        }
        let number = self.next_buffer;
        let buffer = self.make(va, len, flags, user.then_some(from), number);
        let buffer = buffer.ok_or(errno::NO_MEMORY)?;
        self.next_buffer += 1;
        a.set64(16, handle(number));
        if !user {
            a.set64(24, buffer.offset);
        }
        self.buffers.insert(handle(number), buffer);
        Ok(())
    }

    fn make(
        &self,
        va: u64,
        len: u64,
        flags: u32,
        user: Option<u64>,
        number: u64,
    ) -> Option<Buffer> {
        let bytes = len as usize;
        let poison = |pages: &Pages| {
            if len <= MOST_POISON {
                pages.fill(POISON);
            }
        };
        let (file, host) = match user {
            Some(at) => (None, HostView::User(at)),
            None => {
                let file = process::file(bytes)?;
                let pages = Pages::of(&file, bytes)?;
                poison(&pages);
                (Some(file), HostView::Own(pages))
            }
        };
        let shadow = match self.settings.shadow {
            true => {
                let views = [Pages::fresh(bytes)?, Pages::fresh(bytes)?];
                views.iter().for_each(poison);
                Some(views)
            }
            false => None,
        };
        Some(Buffer {
            va,
            len,
            flags,
            offset: FIRST_OFFSET + number * (1 << 36),
            user: user.is_some(),
            mapped: false,
            queues: 0,
            file,
            host,
            shadow,
        })
    }

    /// The list of devices of a MAP or UNMAP names this one.
    ///
    /// # Safety
    /// The list is where the structure says.
    unsafe fn devices(a: &Args) -> Result<(), Errno> {
        let (list, count, done) = (a.u64(8), a.u32(16), a.u32(20));
        if count != 1 || list == 0 || done > count {
            return Err(errno::INVALID);
        }
        // The caller's list of one number.
        let gpu = unsafe { (list as *const u32).read_unaligned() };
        match gpu == GPU_ID {
            true => Ok(()),
            false => Err(errno::INVALID),
        }
    }

    /// MAP_MEMORY_TO_GPU.
    ///
    /// # Safety
    /// Pointers in the structure are valid.
    pub unsafe fn map(&mut self, a: &mut Args) -> Result<(), Errno> {
        // As the caller promises.
        unsafe { Machine::devices(a)? };
        let writable = |b: &Buffer| b.flags & memory::WRITABLE != 0;
        let b = self.buffers.get_mut(&a.u64(0)).ok_or(errno::INVALID)?;
        if b.mapped {
            return Err(errno::INVALID);
        }
        // The views live as long as the allocation, which outlives the mapping.
        let new = unsafe {
            self.device
                .memory
                .map_host(b.va, b.device(), b.len as usize, writable(b))
        };
        if !new {
            return Err(errno::INVALID);
        }
        if let Some([_, base]) = &b.shadow {
            // As above.
            unsafe { self.device.memory.mirror(b.va, b.host(), base.at()) };
        }
        b.mapped = true;
        a.set32(20, 1);
        Ok(())
    }

    /// UNMAP_MEMORY_FROM_GPU.
    ///
    /// # Safety
    /// Pointers in the structure are valid.
    pub unsafe fn unmap(&mut self, a: &mut Args) -> Result<(), Errno> {
        // As the caller promises.
        unsafe { Machine::devices(a)? };
        let b = self.buffers.get_mut(&a.u64(0)).ok_or(errno::INVALID)?;
        if b.queues > 0 {
            return Err(errno::BUSY);
        }
        if b.mapped {
            self.device.memory.unmap(b.va);
        }
        b.mapped = false;
        a.set32(20, 1);
        Ok(())
    }

    /// FREE_MEMORY_OF_GPU.
    pub fn free(&mut self, a: &Args) -> Result<(), Errno> {
        let handle = a.u64(0);
        let b = self.buffers.get(&handle).ok_or(errno::INVALID)?;
        if self.events.page() == Some(handle) {
            return Err(errno::PERM);
        }
        if b.mapped || b.queues > 0 {
            return Err(errno::BUSY);
        }
        self.buffers.remove(&handle);
        Ok(())
    }

    /// The allocation that starts at an address, has a length, and is mapped: what a queue needs.
    pub fn exactly(&mut self, va: u64, len: u64) -> Result<u64, Errno> {
        let page = va & !0xFFF;
        let fits = |b: &Buffer| b.va == page && b.len == len && b.mapped;
        let found = self.buffers.iter().find(|(_, b)| fits(b));
        found.map(|(h, _)| *h).ok_or(errno::INVALID)
    }
}
