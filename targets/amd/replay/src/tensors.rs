//! Where inputs and outputs are, and which memory of the caller the device sees.
//!
//! In: sizes, addresses. Out: a table in memory of its own, made when a model is opened; nothing allocates later.

use crate::error::Error;
use crate::memory::{self, Block};
use tinyc_runtime::io::{Errno, KernelIo};

/// Regions of the caller's memory at the same time.
pub const REGIONS: usize = 64;
/// Kernels load 16 bytes at once.
pub const ALIGNMENT: u64 = 16;

/// An input or output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tensor {
    /// Bytes.
    pub bytes: u64,
    /// The device's own buffer.
    pub own: u64,
    /// The buffer that the next run uses.
    pub bound: u64,
    /// The buffer that the stream names now.
    pub patched: u64,
}

/// The caller's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// As the caller gave it.
    pub start: u64,
    /// As the caller gave it.
    pub bytes: u64,
    /// What was mapped.
    pub block: Block,
}

/// The table.
#[derive(Debug)]
pub struct Tensors {
    at: u64,
    bytes: u64,
    count: usize,
    regions: [Option<Region>; REGIONS],
}

impl Tensors {
    /// A table of so many tensors, all zero.
    pub fn open<I: KernelIo>(io: &mut I, count: usize) -> Result<Tensors, Errno> {
        let bytes = (count.max(1) * size_of::<Tensor>()) as u64;
        Ok(Tensors {
            at: memory::plain(io, bytes)?,
            bytes,
            count,
            regions: [None; REGIONS],
        })
    }

    /// Gives the table back. Its regions are given back before.
    pub fn close<I: KernelIo>(&mut self, io: &mut I) {
        self.count = 0;
        if self.at != 0 {
            // SAFETY: the mapping is this table's; `count` is 0, so that nothing reads it any more.
            let _ = unsafe { io.munmap(self.at, self.bytes) };
            self.at = 0;
        }
    }

    /// All tensors: inputs first.
    pub fn all(&self) -> &[Tensor] {
        let at = core::ptr::with_exposed_provenance::<Tensor>(self.at as usize);
        match self.count {
            0 => &[],
            // SAFETY: the mapping is this long, aligned to a page, was zeroed by the kernel, belongs to this table alone and lives until `close`.
            count => unsafe { core::slice::from_raw_parts(at, count) },
        }
    }

    /// All tensors, to be changed.
    pub fn all_mut(&mut self) -> &mut [Tensor] {
        let at = core::ptr::with_exposed_provenance_mut::<Tensor>(self.at as usize);
        match self.count {
            0 => &mut [],
            // SAFETY: as in `all`; the table is borrowed as a whole.
            count => unsafe { core::slice::from_raw_parts_mut(at, count) },
        }
    }

    /// A tensor.
    pub fn get(&self, n: u32) -> Result<Tensor, Error> {
        let tensor = self.all().get(n as usize).copied();
        tensor.ok_or(Error::Argument(
            "there is no input or output of this number",
        ))
    }

    /// A place for a region that overlaps no other one, not even in its pages.
    pub fn vacant(&self, start: u64, bytes: u64) -> Result<usize, Error> {
        let end = start
            .checked_add(bytes)
            .filter(|_| start != 0 && bytes != 0);
        let end = end.ok_or(Error::Argument("an empty region cannot be registered"))?;
        let page = memory::PAGE;
        let (low, high) = (start / page * page, end.div_ceil(page) * page);
        let taken = |r: &Region| r.block.address < high && low < r.block.address + r.block.bytes;
        if self.regions.iter().flatten().any(taken) {
            return Err(Error::Argument(
                "a page of this region is registered already: register memory that shares pages as one region",
            ));
        }
        let free = self.regions.iter().position(Option::is_none);
        free.ok_or(Error::Argument("at most 64 regions are registered at once"))
    }

    /// Notes a region.
    pub fn put(&mut self, place: usize, region: Region) {
        if let Some(slot) = self.regions.get_mut(place) {
            *slot = Some(region);
        }
    }

    /// Takes the region that starts there, if no tensor is bound inside.
    pub fn take(&mut self, start: u64) -> Result<Region, Error> {
        let found = self
            .regions
            .iter()
            .position(|r| r.is_some_and(|r| r.start == start));
        let place = found.ok_or(Error::Argument("no region that starts there is registered"))?;
        let region = self.regions.get(place).copied().flatten();
        let region = region.ok_or(Error::Argument("no region that starts there is registered"))?;
        let inside = |t: &Tensor| t.bound >= region.start && t.bound < region.start + region.bytes;
        if self.all().iter().any(|t| t.bytes > 0 && inside(t)) {
            return Err(Error::Argument(
                "a tensor is bound to this region: bind it elsewhere first",
            ));
        }
        if let Some(slot) = self.regions.get_mut(place) {
            *slot = None;
        }
        Ok(region)
    }

    /// Takes any region.
    pub fn take_any(&mut self) -> Option<Region> {
        self.regions.iter_mut().find_map(Option::take)
    }

    /// Whether a range is in a registered region.
    pub fn covers(&self, start: u64, bytes: u64) -> bool {
        let Some(end) = start.checked_add(bytes) else {
            return false;
        };
        let inside = |r: &Region| start >= r.start && end <= r.start + r.bytes;
        self.regions.iter().flatten().any(inside)
    }
}
