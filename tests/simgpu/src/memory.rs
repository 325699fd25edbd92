//! Memory that the device sees: mappings of addresses to bytes of this process.
//!
//! In: addresses of instructions and packets. Out: bytes, or a [`BadAddress`] when they lie outside of every live
//! mapping. Fresh memory holds [`POISON`], so that what was never written shows in results.

use std::cell::Cell;

/// What fresh memory and registers hold: not a number as single or half float, far away as address.
pub const POISON: u32 = 0xFFFB_FFFD;

/// An access outside of all mappings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("address {address:#x}, {bytes} bytes: not in any live mapping{}", if *.write { " that may be written" } else { "" })]
pub struct BadAddress {
    /// The first byte.
    pub address: u64,
    /// How many.
    pub bytes: usize,
    /// Whether it was a store.
    pub write: bool,
}

/// A range of addresses and where its bytes are.
struct Mapping {
    start: u64,
    len: u64,
    writable: bool,
    bytes: *mut u8,
    /// The bytes themselves when they belong to the device.
    owned: Option<Box<[u64]>>,
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
        });
        true
    }

    fn insert(&mut self, mapping: Mapping) {
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
            if offset < m.len && m.len - offset >= bytes as u64 && (m.writable || !write) {
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
        };
        let after = self.mappings.partition_point(|m| m.start <= address);
        let at = after.checked_sub(1).ok_or(bad)?;
        let m = &self.mappings[at];
        let offset = address - m.start;
        if offset >= m.len || m.len - offset < bytes as u64 || (write && !m.writable) {
            return Err(bad);
        }
        self.last.set(at);
        Ok(m.bytes.wrapping_add(offset as usize))
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
