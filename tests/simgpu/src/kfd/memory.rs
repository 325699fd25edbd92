//! Loads, stores and fences of the host. In: addresses of mappings. Out: bytes; doorbells that ring.

use super::machine::{Machine, RegionKind};
use super::{Place, Trace};
use crate::memory::POISON;

/// Packets that the device may get done while the host looks once.
const STEPS: u64 = 6;

impl Machine {
    /// What the host may touch at a range, and whether it may write; nothing outside of mappings.
    fn hit(&self, address: u64, len: u64, write: bool) -> Option<RegionKind> {
        let end = address.checked_add(len)?;
        let found = self.regions.range(..=address).next_back();
        if let Some((from, r)) = found
            && end <= from + r.len
            && r.kind != RegionKind::Reserved
            && (r.writable || !write)
        {
            return Some(r.kind);
        }
        let user = |b: &&super::buffers::Buffer| b.user && b.va <= address && end <= b.va + b.len;
        let found = self.buffers.iter().find(|(_, b)| user(b));
        found.map(|(handle, _)| RegionKind::Buffer(*handle))
    }

    /// # Safety
    /// The range is mapped by this object or is registered memory that lives.
    pub unsafe fn load(&mut self, address: u64, out: &mut [u8]) {
        let Some(kind) = self.hit(address, out.len() as u64, false) else {
            self.violation(format!(
                "a load of {} bytes at {address:#x}, where nothing is mapped",
                out.len()
            ));
            out.chunks_mut(4)
                .for_each(|c| c.copy_from_slice(&POISON.to_le_bytes()[..c.len()]));
            return;
        };
        if matches!(kind, RegionKind::Buffer(_)) {
            self.poll();
        }
        // `hit` found the range in a mapping that may be read.
        unsafe { std::ptr::copy_nonoverlapping(address as *const u8, out.as_mut_ptr(), out.len()) };
    }

    /// # Safety
    /// As for [`Machine::load`].
    pub unsafe fn store(&mut self, address: u64, bytes: &[u8]) {
        let len = bytes.len() as u64;
        let Some(kind) = self.hit(address, len, true) else {
            self.violation(format!(
                "a store of {len} bytes at {address:#x}, where nothing is mapped for that"
            ));
            return;
        };
        let place = self.place(kind, address);
        self.trace.push(Trace::Store {
            address,
            bytes: len,
            place,
        });
        // `hit` found the range in a mapping that may be written.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len()) };
        match kind {
            RegionKind::Doorbells => self.doorbell(address, bytes),
            RegionKind::Buffer(_) => self.unfenced = true,
            _ => {}
        }
    }

    fn place(&self, kind: RegionKind, address: u64) -> Place {
        match kind {
            RegionKind::Doorbells => Place::Doorbell,
            RegionKind::Buffer(handle) => {
                let of = |q: &&super::queues::HwQueue| q.buffers.contains(&handle);
                match self.queues.iter().find(of) {
                    Some(q) if q.in_ring(address) => Place::Ring,
                    Some(q) if q.in_pointers(address) => Place::Pointers,
                    _ => Place::Buffer,
                }
            }
            _ => Place::Host,
        }
    }

    /// What the host stored before becomes visible to the device: at once where its caches are not asked, after a flush of
    /// the host's data path in the device's own memory.
    pub fn fence(&mut self) {
        self.trace.push(Trace::Fence);
        self.unfenced = false;
        if !self.settings.shadow {
            return;
        }
        for b in self.buffers.values().filter(|b| b.mapped) {
            for (at, bytes) in self.device.memory.host_wrote(b.va) {
                match b.posted() {
                    true => self.device.memory.post(at, bytes),
                    false => self.device.memory.land(at, &bytes),
                }
            }
        }
    }

    /// The host looks at memory or rests: the device goes on a little.
    pub fn poll(&mut self) {
        if self.settings.lazy || self.queues.is_empty() {
            return;
        }
        let steps = self.draw.below(STEPS);
        self.pump(steps);
    }
}
