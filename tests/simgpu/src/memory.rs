//! Memory that the device sees: mappings of addresses to bytes of this process.
//!
//! In: addresses of instructions and packets. Out: bytes, or a [`BadAddress`] when they lie outside of every live
//! mapping. Fresh memory holds [`POISON`], so that what was never written shows in results.

use crate::mirror::Mirror;
use std::cell::{Cell, RefCell};

/// What fresh memory and registers hold: not a number as single or half float, far away as address.
pub const POISON: u32 = 0xFFFB_FFFD;

/// An access that has no right answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("address {address:#x}, {bytes} bytes: {}", why(*.write, *.stale))]
pub struct BadAddress {
    /// The first byte.
    pub address: u64,
    /// How many.
    pub bytes: usize,
    /// Whether it was a store.
    pub write: bool,
    /// Whether the place is there, but a cache may still hold what it was before another kernel wrote it.
    pub stale: bool,
}

fn why(write: bool, stale: bool) -> &'static str {
    match (stale, write) {
        (true, _) => "a kernel or another engine wrote it, and caches were not told",
        (_, true) => "not in any live mapping that may be written",
        _ => "not in any live mapping",
    }
}

/// What is known of a line of memory that kernels wrote, a bit each: by the kernel that runs, by one before and not yet
/// visible to others, not yet visible to the host; by a copy engine, behind the back of the second-level cache.
const NEW: u8 = 1;
const STALE: u8 = 2;
const DIRTY: u8 = 4;
const BEHIND: u8 = 8;
/// Bytes of a line.
const LINE: u64 = 64;

/// A range of addresses and where its bytes are.
struct Mapping {
    start: u64,
    len: u64,
    writable: bool,
    bytes: *mut u8,
    /// The bytes themselves when they belong to the device.
    owned: Option<Box<[u64]>>,
    /// What is known of each line, once that is asked for.
    lines: Vec<Cell<u8>>,
    /// The host's view of it, when that is another one.
    mirror: Option<Mirror>,
}

/// All live mappings.
#[derive(Default)]
pub struct Memory {
    /// In the order of addresses.
    mappings: Vec<Mapping>,
    /// The one that was used last.
    last: Cell<usize>,
    /// Where the next mapping of the device's own bytes goes.
    next: u64,
    /// Whether lines are followed through the caches.
    tracking: bool,
    /// Whether a kernel runs: what the host does in between does not go through the caches.
    running: Cell<bool>,
    /// Lines that are new, stale, dirty, written behind the cache: addresses.
    marked: [RefCell<Vec<u64>>; 4],
    /// What the host wrote and what is still in its data path.
    posted: RefCell<Vec<(u64, Vec<u8>)>>,
}

/// The first address of the device's own memory, and the gap between mappings: an access past the end hits nothing.
const OWN: u64 = 0x7A00_0000_0000;
const GAP: u64 = 1 << 20;

// The pointers are to bytes that the mapping owns or that the caller of `map_host` keeps alive.
unsafe impl Send for Memory {}

impl Memory {
    /// Nothing is mapped.
    pub fn new() -> Memory {
        Memory {
            next: OWN,
            ..Memory::default()
        }
    }

    /// Maps fresh bytes, poisoned, and returns their address.
    pub fn map(&mut self, len: usize) -> u64 {
        let words = len.div_ceil(8).max(1);
        let poison = u64::from(POISON) << 32 | u64::from(POISON);
        let mut owned = vec![poison; words].into_boxed_slice();
        let start = self.next;
        self.next += (len as u64).next_multiple_of(4096) + GAP;
        self.insert(Mapping {
            start,
            len: len as u64,
            writable: true,
            bytes: owned.as_mut_ptr().cast(),
            owned: Some(owned),
            lines: Vec::new(),
            mirror: None,
        });
        start
    }

    /// Maps bytes of somebody else at an address of the caller's choice; `false` when something is there.
    ///
    /// # Safety
    /// The bytes stay valid until [`Memory::unmap`], and nobody holds a reference to them while the device runs.
    pub unsafe fn map_host(
        &mut self,
        start: u64,
        bytes: *mut u8,
        len: usize,
        writable: bool,
    ) -> bool {
        let end = start.saturating_add(len as u64);
        if self
            .mappings
            .iter()
            .any(|m| m.start < end && start < m.start + m.len)
        {
            return false;
        }
        self.insert(Mapping {
            start,
            len: len as u64,
            writable,
            bytes,
            owned: None,
            lines: Vec::new(),
            mirror: None,
        });
        true
    }

    fn insert(&mut self, mut mapping: Mapping) {
        if self.tracking {
            mapping.lines = vec![Cell::new(0); mapping.len.div_ceil(LINE) as usize];
        }
        let at = self.mappings.partition_point(|m| m.start < mapping.start);
        self.mappings.insert(at, mapping);
    }

    /// Ends the mapping that starts here; `false` when there is none.
    pub fn unmap(&mut self, start: u64) -> bool {
        let before = self.mappings.len();
        self.mappings.retain(|m| m.start != start);
        self.last.set(0);
        self.mappings.len() != before
    }

    /// Addresses and lengths of all mappings.
    pub fn mappings(&self) -> impl Iterator<Item = (u64, u64)> {
        self.mappings.iter().map(|m| (m.start, m.len))
    }

    /// Where so many bytes are.
    #[inline]
    fn find(&self, address: u64, bytes: usize, write: bool) -> Result<*mut u8, BadAddress> {
        if let Some(m) = self.mappings.get(self.last.get()) {
            let offset = address.wrapping_sub(m.start);
            if offset < m.len
                && m.len - offset >= bytes as u64
                && (m.writable || !write)
                && !self.tracking
            {
                return Ok(m.bytes.wrapping_add(offset as usize));
            }
        }
        self.search(address, bytes, write)
    }

    #[cold]
    fn search(&self, address: u64, bytes: usize, write: bool) -> Result<*mut u8, BadAddress> {
        let bad = BadAddress {
            address,
            bytes,
            write,
            stale: false,
        };
        let after = self.mappings.partition_point(|m| m.start <= address);
        let at = after.checked_sub(1).ok_or(bad)?;
        let m = &self.mappings[at];
        let offset = address - m.start;
        if offset >= m.len || m.len - offset < bytes as u64 || (write && !m.writable) {
            return Err(bad);
        }
        self.last.set(at);
        if self.tracking && self.running.get() {
            self.follow(m, offset, bad)?;
        }
        Ok(m.bytes.wrapping_add(offset as usize))
    }

    /// Notes a store, and refuses a load of what caches may not have.
    fn follow(&self, m: &Mapping, offset: u64, access: BadAddress) -> Result<(), BadAddress> {
        let last = (offset + access.bytes as u64 - 1) / LINE;
        for line in offset / LINE..=last {
            let Some(known) = m.lines.get(line as usize) else {
                continue;
            };
            if access.write {
                if known.get() & NEW == 0 {
                    known.set(known.get() | NEW);
                    self.marked[0].borrow_mut().push(m.start + line * LINE);
                }
            } else if known.get() & (STALE | BEHIND) != 0 {
                return Err(BadAddress {
                    stale: true,
                    ..access
                });
            }
        }
        Ok(())
    }

    /// From now on, lines are followed through the caches: what one kernel wrote, another may load only after
    /// [`Memory::forget_stale`].
    pub fn track(&mut self) {
        self.tracking = true;
        for m in &mut self.mappings {
            m.lines = vec![Cell::new(0); m.len.div_ceil(LINE) as usize];
        }
    }

    /// Changes the marks of all lines that have `from`.
    fn remark(&self, from: usize, remove: u8, add: u8) -> Vec<u64> {
        let all = self.marked[from].take();
        for &address in &all {
            let after = self.mappings.partition_point(|m| m.start <= address);
            let m = after.checked_sub(1).and_then(|n| self.mappings.get(n));
            let line = m.and_then(|m| m.lines.get(((address - m.start) / LINE) as usize));
            if let Some(line) = line {
                line.set(line.get() & !remove | add);
            }
        }
        all
    }

    /// A kernel begins.
    pub(crate) fn begin(&self) {
        self.running.set(true);
    }

    /// A kernel has ended: what it stored is new no more.
    pub(crate) fn settle(&self) {
        self.running.set(false);
        let lines = self.remark(0, NEW, STALE | DIRTY);
        self.marked[1].borrow_mut().extend(&lines);
        self.marked[2].borrow_mut().extend(&lines);
    }

    /// Caches forget: later kernels load what earlier ones stored.
    pub fn forget_stale(&self) {
        self.remark(1, STALE, 0);
    }

    /// The second level forgets too: later kernels load what copy engines stored.
    pub fn forget_behind(&self) {
        self.remark(3, BEHIND, 0);
    }

    /// A copy engine copies: from memory as it is, which results in caches have not reached, to memory, of which caches know nothing.
    pub fn copy_behind(&self, from: u64, to: u64, len: usize) -> Result<(), BadAddress> {
        let mut bytes = vec![0; len];
        self.read(from, &mut bytes)?;
        let dirty = |m: &Mapping, line: u64| {
            m.lines
                .get(line as usize)
                .is_some_and(|known| known.get() & DIRTY != 0)
        };
        if let Some((m, offset)) = self.mapping(from)
            && (offset / LINE..(offset + len as u64).div_ceil(LINE)).any(|line| dirty(m, line))
        {
            return Err(BadAddress {
                address: from,
                bytes: len,
                write: false,
                stale: true,
            });
        }
        self.write_past(to, &bytes)?;
        if let Some((m, offset)) = self.mapping(to) {
            for line in offset / LINE..(offset + len as u64).div_ceil(LINE) {
                if let Some(known) = m.lines.get(line as usize) {
                    known.set(known.get() | BEHIND);
                    self.marked[3].borrow_mut().push(m.start + line * LINE);
                }
            }
        }
        Ok(())
    }

    /// Caches are written back: the host sees what kernels stored.
    pub fn write_back(&self) {
        for address in self.remark(2, DIRTY, 0) {
            if let Some((m, offset)) = self.mapping(address)
                && let Some(mirror) = &m.mirror
            {
                let len = LINE.min(m.len - offset);
                // Three copies of one length; the line is inside.
                unsafe { mirror.show(m.bytes, offset as usize, len as usize) };
            }
        }
    }

    /// The mapping that holds an address, and where in it.
    fn mapping(&self, address: u64) -> Option<(&Mapping, u64)> {
        let after = self.mappings.partition_point(|m| m.start <= address);
        let m = self.mappings.get(after.checked_sub(1)?)?;
        let offset = address - m.start;
        (offset < m.len).then_some((m, offset))
    }

    /// From now on, the host has a view of its own of the mapping that starts here; `base` is what both last agreed on.
    /// `false` when there is no such mapping.
    ///
    /// # Safety
    /// As for [`Memory::map_host`], for both; they are as long as the mapping.
    pub unsafe fn mirror(&mut self, start: u64, host: *mut u8, base: *mut u8) -> bool {
        let found = self.mappings.iter_mut().find(|m| m.start == start);
        found.is_some_and(|m| {
            m.mirror = Some(Mirror { host, base });
            true
        })
    }

    /// What the host wrote in its view since both last agreed, in pieces; they agree on it now, but the device does not
    /// have it yet.
    pub fn host_wrote(&self, start: u64) -> Vec<(u64, Vec<u8>)> {
        let found = self.mapping(start);
        let Some((m, mirror)) = found.and_then(|(m, _)| Some((m, m.mirror.as_ref()?))) else {
            return Vec::new();
        };
        // Both copies are as long as the mapping.
        let pieces = unsafe { mirror.wrote(m.len as usize) };
        let at = |(offset, bytes)| (m.start + offset as u64, bytes);
        pieces.into_iter().map(at).collect()
    }

    /// Bytes that the host wrote reach the device.
    pub fn land(&self, address: u64, bytes: &[u8]) {
        if let Some((m, offset)) = self.mapping(address) {
            let len = bytes.len().min((m.len - offset) as usize);
            // The range was cut to the mapping.
            unsafe {
                let to = m.bytes.wrapping_add(offset as usize);
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, len);
            }
        }
    }

    /// Bytes that the host wrote are in its data path: they reach the device with [`Memory::arrive`].
    pub fn post(&self, address: u64, bytes: Vec<u8>) {
        self.posted.borrow_mut().push((address, bytes));
    }

    /// The host's data path is flushed.
    pub fn arrive(&self) {
        for (address, bytes) in self.posted.take() {
            self.land(address, &bytes);
        }
    }

    /// How many lines the host does not see yet.
    pub fn dirty(&self) -> usize {
        self.marked[2].borrow().len()
    }

    /// Loads `N` bytes past the caches, as atomic operations do.
    pub fn load_coherent<const N: usize>(&self, address: u64) -> Result<[u8; N], BadAddress> {
        let bad = BadAddress {
            address,
            bytes: N,
            write: false,
            stale: false,
        };
        let after = self.mappings.partition_point(|m| m.start <= address);
        let m = after
            .checked_sub(1)
            .and_then(|n| self.mappings.get(n))
            .ok_or(bad)?;
        let offset = address - m.start;
        if offset >= m.len || m.len - offset < N as u64 {
            return Err(bad);
        }
        // The range was checked just now.
        Ok(unsafe {
            m.bytes
                .wrapping_add(offset as usize)
                .cast::<[u8; N]>()
                .read_unaligned()
        })
    }

    /// Loads `N` bytes.
    #[inline]
    pub fn load<const N: usize>(&self, address: u64) -> Result<[u8; N], BadAddress> {
        let at = self.find(address, N, false)?;
        // `find` checked that so many bytes are mapped.
        Ok(unsafe { at.cast::<[u8; N]>().read_unaligned() })
    }

    /// Stores `N` bytes.
    #[inline]
    pub fn store<const N: usize>(&self, address: u64, value: [u8; N]) -> Result<(), BadAddress> {
        let at = self.find(address, N, true)?;
        // `find` checked that so many bytes are mapped and may be written.
        unsafe { at.cast::<[u8; N]>().write_unaligned(value) };
        Ok(())
    }

    /// Loads a word.
    #[inline]
    pub fn load_u32(&self, address: u64) -> Result<u32, BadAddress> {
        self.load(address).map(u32::from_le_bytes)
    }

    /// Stores a word.
    #[inline]
    pub fn store_u32(&self, address: u64, value: u32) -> Result<(), BadAddress> {
        self.store(address, value.to_le_bytes())
    }

    /// Copies bytes out.
    pub fn read(&self, address: u64, out: &mut [u8]) -> Result<(), BadAddress> {
        if out.is_empty() {
            return Ok(());
        }
        let at = self.find(address, out.len(), false)?;
        // `find` checked the whole range; the destination is a reference, so it cannot overlap.
        unsafe { std::ptr::copy_nonoverlapping(at, out.as_mut_ptr(), out.len()) };
        Ok(())
    }

    /// Copies bytes in.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), BadAddress> {
        if bytes.is_empty() {
            return Ok(());
        }
        let at = self.find(address, bytes.len(), true)?;
        // As in `read`.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at, bytes.len()) };
        Ok(())
    }

    /// Copies bytes in, past the caches: what the command processor stores is seen by everybody.
    pub fn write_past(&self, address: u64, bytes: &[u8]) -> Result<(), BadAddress> {
        self.write(address, bytes)?;
        if let Some((m, offset)) = self.mapping(address)
            && let Some(mirror) = &m.mirror
        {
            // `write` checked that the range is inside.
            unsafe { mirror.show(m.bytes, offset as usize, bytes.len()) };
        }
        Ok(())
    }

    /// Forbids stores to the mapping that starts here: code.
    pub fn protect(&mut self, start: u64) {
        for m in self.mappings.iter_mut().filter(|m| m.start == start) {
            m.writable = false;
        }
    }

    /// Whether the device keeps the bytes at this address itself.
    pub fn owns(&self, address: u64) -> bool {
        self.mappings
            .iter()
            .any(|m| m.owned.is_some() && address >= m.start && address - m.start < m.len)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn accesses_stay_inside_mappings() {
        let mut memory = Memory::new();
        let a = memory.map(16);
        let b = memory.map(4);
        assert_eq!(memory.load_u32(a).unwrap(), POISON);
        memory.store_u32(a + 12, 7).unwrap();
        assert_eq!(memory.load_u32(a + 12).unwrap(), 7);
        assert!(memory.load_u32(a + 13).is_err());
        assert!(memory.load_u32(b + 1).is_err());
        assert!(memory.load_u32(0).is_err());
        assert!(memory.store_u32(u64::MAX - 1, 0).is_err());
        memory.protect(b);
        assert!(memory.store_u32(b, 0).is_err());
        assert!(memory.load_u32(b).is_ok());
        assert!(memory.unmap(a));
        assert!(memory.load_u32(a).is_err());
    }

    #[test]
    fn lines_are_followed_through_caches() {
        let mut memory = Memory::new();
        memory.track();
        let a = memory.map(256);
        memory.begin();
        memory.store_u32(a + 64, 1).unwrap();
        assert_eq!(memory.load_u32(a + 64).unwrap(), 1);
        memory.settle();
        memory.begin();
        assert!(memory.load_u32(a).is_ok());
        assert!(memory.load_u32(a + 100).unwrap_err().stale);
        assert!(memory.load_coherent::<4>(a + 100).is_ok());
        assert_eq!(memory.dirty(), 1);
        memory.forget_stale();
        assert!(memory.load_u32(a + 100).is_ok());
        memory.write_back();
        assert_eq!(memory.dirty(), 0);
    }

    #[test]
    fn copies_go_behind_the_caches() {
        let mut memory = Memory::new();
        memory.track();
        let a = memory.map(256);
        let b = memory.map(256);
        memory.write(a, &[7; 70]).unwrap();
        memory.copy_behind(a, b, 70).unwrap();
        memory.begin();
        memory.forget_stale();
        assert!(memory.load_u32(b + 64).unwrap_err().stale);
        assert!(memory.load_u32(b + 128).is_ok());
        memory.forget_behind();
        assert_eq!(memory.load_u32(b + 64), Ok(0x0707_0707));
        memory.store_u32(a, 1).unwrap();
        memory.settle();
        assert!(memory.copy_behind(a, b, 4).unwrap_err().stale);
        memory.write_back();
        memory.copy_behind(a, b, 4).unwrap();
        assert!(memory.copy_behind(a, b + 255, 2).unwrap_err().write);
    }

    #[test]
    fn bytes_of_the_host_are_seen() {
        let mut memory = Memory::new();
        let mut bytes = [1u8, 2, 3, 4];
        // The array outlives the mapping and is not looked at while the device writes.
        assert!(unsafe { memory.map_host(0x1000, bytes.as_mut_ptr(), 4, true) });
        assert!(!unsafe { memory.map_host(0x1003, bytes.as_mut_ptr(), 1, true) });
        assert_eq!(memory.load_u32(0x1000).unwrap(), 0x0403_0201);
        memory.write(0x1001, &[9]).unwrap();
        memory.unmap(0x1000);
        assert_eq!(bytes, [1, 9, 3, 4]);
    }
}
