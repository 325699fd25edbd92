//! The machine that contexts share. In: files, ranges of addresses. Out: descriptors, mappings of this process. What is
//! open and mapped is written down, so that what was not given back shows.

use super::abi::{DOORBELL_BYTES, MMAP_DOORBELL, MMAP_GPU_SHIFT, errno};
use super::buffers::Buffer;
use super::events::Events;
use super::queues::HwQueue;
use super::sysfs::{self, GPU_ID, RENDER_MINOR};
use super::{Launched, Leaks, Settings, Trace, process};
use crate::device::Device;
use crate::draw::Draw;
use std::collections::BTreeMap;
use tinyc_runtime::io::{Errno, Fd};

/// An open file.
pub(super) struct File {
    pub path: String,
    pub kind: FileKind,
}

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    Driver,
    Render,
    Text(String),
}

/// What is mapped at a range of this process's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RegionKind {
    /// Addresses that nothing may touch.
    Reserved,
    /// Memory of the process.
    Plain,
    /// An allocation of the device.
    Buffer(u64),
    /// Doorbells.
    Doorbells,
}

/// A range of this process's addresses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Region {
    pub len: u64,
    pub kind: RegionKind,
    pub writable: bool,
}

/// All state.
pub(super) struct Machine {
    pub settings: Settings,
    pub device: Device,
    pub draw: Draw,
    pub files: BTreeMap<i32, File>,
    next_fd: i32,
    pub regions: BTreeMap<u64, Region>,
    pub buffers: BTreeMap<u64, Buffer>,
    pub next_buffer: u64,
    /// The open file of the render node whose address space the device uses.
    pub vm: Option<i32>,
    pub events: Events,
    pub queues: Vec<HwQueue>,
    pub next_queue: u32,
    pub runtime_enabled: bool,
    /// Stores of the host since the last fence.
    pub unfenced: bool,
    pub trace: Vec<Trace>,
    pub launched: Vec<Launched>,
    pub fault: Option<String>,
    pub violations: Vec<String>,
    pub waited: u64,
}

/// Access modes and the bit that keeps a descriptor from programs that are started.
const ACCESS_MODE: i32 = 3;
const READ_WRITE: i32 = 2;
/// The first descriptor: none of this process's own.
const FIRST_FD: i32 = 1000;
/// Most that is remembered of what was not right.
const MOST_VIOLATIONS: usize = 100;

impl Machine {
    pub fn new(settings: Settings) -> Machine {
        let mut device = Device::new(settings.seed);
        device.limit = settings.limit;
        if settings.shadow {
            device.memory.track();
        }
        Machine {
            draw: Draw::new(settings.seed ^ 0x5EED),
            settings,
            device,
            files: BTreeMap::new(),
            next_fd: FIRST_FD,
            regions: BTreeMap::new(),
            buffers: BTreeMap::new(),
            next_buffer: 1,
            vm: None,
            events: Events::default(),
            queues: Vec::new(),
            next_queue: 0,
            runtime_enabled: false,
            unfenced: false,
            trace: Vec::new(),
            launched: Vec::new(),
            fault: None,
            violations: Vec::new(),
            waited: 0,
        }
    }

    /// Notes a system call.
    pub fn call<T>(&mut self, name: &'static str, what: String, result: &Result<T, Errno>) {
        let error = result.as_ref().err().map(|e| e.0);
        self.trace.push(Trace::Call { name, what, error });
    }

    /// Notes what nobody may rely on.
    pub fn violation(&mut self, what: String) {
        if self.violations.len() < MOST_VIOLATIONS {
            self.violations.push(what);
        }
    }

    pub fn open(&mut self, path: &str, flags: i32) -> Result<Fd, Errno> {
        let s = &self.settings;
        let device = |there: bool| match (there, s.permitted, flags & ACCESS_MODE == READ_WRITE) {
            (false, ..) => Err(errno::NO_ENTRY),
            (_, false, _) => Err(errno::ACCESS),
            // Nothing useful can be done with them otherwise.
            (_, _, false) => Err(errno::INVALID),
            _ => Ok(()),
        };
        let kind = if path == "/dev/kfd" {
            device(s.driver)?;
            FileKind::Driver
        } else if path == format!("/dev/dri/renderD{RENDER_MINOR}") {
            device(s.driver && s.gpu)?;
            FileKind::Render
        } else {
            let text = sysfs::text(path, s).filter(|_| s.driver);
            let text = text.ok_or(errno::NO_ENTRY)?;
            if flags & ACCESS_MODE != 0 {
                return Err(errno::ACCESS);
            }
            FileKind::Text(text)
        };
        let fd = self.next_fd;
        self.next_fd += 1;
        let path = path.to_string();
        self.files.insert(fd, File { path, kind });
        Ok(Fd(fd))
    }

    pub fn close(&mut self, fd: Fd) -> Result<(), Errno> {
        match self.files.remove(&fd.0) {
            Some(_) => Ok(()),
            None => {
                self.violation(format!("close of descriptor {}, which is not open", fd.0));
                Err(errno::BAD_FD)
            }
        }
    }

    pub fn read(&mut self, fd: Fd, out: &mut [u8]) -> Result<usize, Errno> {
        match self.files.get(&fd.0).map(|f| &f.kind) {
            Some(FileKind::Text(text)) => {
                let len = text.len().min(out.len());
                out[..len].copy_from_slice(&text.as_bytes()[..len]);
                Ok(len)
            }
            Some(_) => Err(errno::INVALID),
            None => Err(errno::BAD_FD),
        }
    }

    /// Whether every byte of a range is mapped by one of this process's mappings.
    fn covered(&self, start: u64, end: u64) -> bool {
        let mut at = start;
        while at < end {
            let found = self.regions.range(..=at).next_back();
            match found {
                Some((from, r)) if from + r.len > at => at = from + r.len,
                _ => return false,
            }
        }
        true
    }

    /// Takes a range out of the list of mappings.
    fn carve(&mut self, start: u64, end: u64) {
        let hit: Vec<(u64, Region)> = self
            .regions
            .range(..end)
            .filter(|(from, r)| *from + r.len > start)
            .map(|(from, r)| (*from, *r))
            .collect();
        for (from, r) in hit {
            self.regions.remove(&from);
            if from < start {
                let len = start - from;
                self.regions.insert(from, Region { len, ..r });
            }
            if from + r.len > end {
                let len = from + r.len - end;
                self.regions.insert(end, Region { len, ..r });
            }
        }
    }

    /// # Safety
    /// As for [`tinyc_runtime::io::KernelIo::mmap`].
    pub unsafe fn mmap(
        &mut self,
        address: u64,
        bytes: u64,
        prot: i32,
        flags: i32,
        fd: Option<Fd>,
        offset: u64,
    ) -> Result<u64, Errno> {
        let fixed = flags & libc::MAP_FIXED != 0;
        if bytes == 0 || !offset.is_multiple_of(4096) || (fixed && !address.is_multiple_of(4096)) {
            return Err(errno::INVALID);
        }
        let len = bytes.next_multiple_of(4096);
        if fixed && !self.covered(address, address.saturating_add(len)) {
            self.violation(format!(
                "a fixed mapping of {len} bytes at {address:#x} over what was not reserved"
            ));
            return Err(errno::INVALID);
        }
        let writable = prot & libc::PROT_WRITE != 0;
        let shared = flags & libc::MAP_TYPE == libc::MAP_SHARED;
        let kind = match fd {
            None if flags & libc::MAP_ANONYMOUS == 0 => return Err(errno::BAD_FD),
            None if prot == libc::PROT_NONE => RegionKind::Reserved,
            None => RegionKind::Plain,
            Some(_) if !shared => return Err(errno::INVALID),
            Some(fd) => match self.files.get(&fd.0).map(|f| &f.kind) {
                Some(FileKind::Render) => self.buffer_at(offset, bytes)?,
                Some(FileKind::Driver) => self.doorbells_at(offset, bytes)?,
                Some(FileKind::Text(_)) => return Err(errno::NO_DEVICE),
                None => return Err(errno::BAD_FD),
            },
        };
        let (file, flags) = match kind {
            RegionKind::Buffer(handle) => {
                let file = self.buffers.get(&handle).and_then(|b| b.file());
                (Some(file.ok_or(errno::INVALID)?), flags)
            }
            RegionKind::Doorbells => (
                None,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags & libc::MAP_FIXED,
            ),
            _ => (None, flags),
        };
        // Over nothing but what the caller reserved.
        let at = unsafe { process::map_at(address, len as usize, prot, flags, file) };
        let at = at.map_err(Errno)?;
        self.carve(at, at + len);
        self.regions.insert(
            at,
            Region {
                len,
                kind,
                writable,
            },
        );
        Ok(at)
    }

    /// Which allocation an offset of the render node means.
    fn buffer_at(&self, offset: u64, bytes: u64) -> Result<RegionKind, Errno> {
        let found = self.buffers.iter().find(|(_, b)| b.offset == offset);
        let (handle, buffer) = found.ok_or(errno::INVALID)?;
        if bytes != buffer.len {
            return Err(errno::INVALID);
        }
        if !buffer.host_may_map() {
            return Err(errno::PERM);
        }
        Ok(RegionKind::Buffer(*handle))
    }

    /// Whether an offset of the driver's file means the doorbells.
    fn doorbells_at(&self, offset: u64, bytes: u64) -> Result<RegionKind, Errno> {
        let expected = MMAP_DOORBELL | u64::from(GPU_ID) << MMAP_GPU_SHIFT;
        match offset == expected && bytes == DOORBELL_BYTES && self.vm.is_some() {
            true => Ok(RegionKind::Doorbells),
            false => Err(errno::INVALID),
        }
    }

    /// # Safety
    /// As for [`tinyc_runtime::io::KernelIo::munmap`].
    pub unsafe fn munmap(&mut self, address: u64, bytes: u64) -> Result<(), Errno> {
        if bytes == 0 || !address.is_multiple_of(4096) {
            return Err(errno::INVALID);
        }
        let end = address.saturating_add(bytes.next_multiple_of(4096));
        if !self.covered(address, end) {
            self.violation(format!(
                "munmap of {bytes} bytes at {address:#x}, not all of which is mapped"
            ));
            return Err(errno::INVALID);
        }
        let user = |b: &&Buffer| b.user && b.va < end && address < b.va + b.len;
        if let Some(b) = self.buffers.values().find(user) {
            let what = format!("munmap of memory at {:#x} that is registered", b.va);
            self.violation(what);
        }
        self.carve(address, end);
        // Covered by mappings that this object made, and unused as the caller promises.
        unsafe { process::unmap(address, (end - address) as usize) };
        Ok(())
    }

    /// What was not given back. The page of mailboxes and the file whose address space the device uses belong to the
    /// process for good: the driver takes neither back.
    pub fn leaks(&self) -> Leaks {
        let page = self.events.page();
        let file = |fd: &i32| Some(*fd) != self.vm;
        let mapping = |r: &Region| page.is_none_or(|page| r.kind != RegionKind::Buffer(page));
        Leaks {
            files: (self.files.iter().filter(|(fd, _)| file(fd)))
                .map(|(_, f)| f.path.clone())
                .collect(),
            mappings: (self.regions.iter().filter(|(_, r)| mapping(r)))
                .map(|(at, r)| (*at, r.len))
                .collect(),
            allocations: (self.buffers.iter().filter(|(h, _)| Some(**h) != page))
                .map(|(_, b)| (b.va, b.len))
                .collect(),
            queues: self.queues.len(),
            events: self.events.count(),
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Views that the device has go with the allocations; these are the ones that contexts left behind.
        for (at, region) in std::mem::take(&mut self.regions) {
            // Nobody is left who could use them.
            unsafe { process::unmap(at, region.len as usize) };
        }
    }
}
