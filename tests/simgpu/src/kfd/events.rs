//! Events. In: structures of CREATE_EVENT, DESTROY_EVENT, SET, RESET, WAIT_EVENTS; interrupts, faults. Out: who wakes, with
//! what data.
//!
//! Signal events have a mailbox in the event page: an interrupt wakes nobody unless the mailbox was written before it.

use super::abi::{Args, errno, event};
use super::machine::Machine;
use super::sysfs::GPU_ID;
use crate::memory::BadAddress;
use std::collections::BTreeMap;
use tinyc_runtime::io::Errno;

/// What a fault tells.
#[derive(Clone, Copy, Debug, Default)]
struct Data {
    /// The first 32 bytes of an entry of the list that a wait takes.
    words: [u32; 8],
}

/// An event.
#[derive(Clone, Copy, Debug)]
struct Event {
    kind: u32,
    auto_reset: bool,
    signalled: bool,
    data: Data,
}

/// All events of the process.
#[derive(Default)]
pub(super) struct Events {
    all: BTreeMap<u32, Event>,
    /// Handle and address of the page of mailboxes.
    page: Option<(u64, u64)>,
}

impl Events {
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// The handle of the event page.
    pub fn page(&self) -> Option<u64> {
        self.page.map(|(handle, _)| handle)
    }
}

/// Number of mailboxes.
const SLOTS: u32 = 4096;
/// What a mailbox holds that nobody wrote.
const UNSIGNALLED: u64 = u64::MAX;
/// The first number of an event without mailbox.
const FIRST_OTHER: u32 = 0x4000_0000;
/// Most events of one wait.
const MOST_WAITED: u32 = SLOTS;
/// Results of a wait.
const COMPLETE: u32 = 0;
const TIMEOUT: u32 = 1;
/// What a wait without end costs, in simulated milliseconds.
const FOR_EVER: u64 = 1 << 32;

impl Machine {
    /// CREATE_EVENT.
    pub fn create_event(&mut self, a: &mut Args) -> Result<(), Errno> {
        let (page, kind, auto_reset) = (a.u64(0), a.u32(12), a.u32(16));
        if page != 0 {
            self.set_page(page)?;
        }
        let id = match kind {
            event::SIGNAL => {
                // Without a page the driver would make one that this device cannot write.
                if self.events.page.is_none() {
                    return Err(errno::INVALID);
                }
                let free = (1..SLOTS).find(|id| !self.events.all.contains_key(id));
                free.ok_or(errno::NO_MEMORY)?
            }
            event::HW_EXCEPTION | event::MEMORY => {
                let free = (FIRST_OTHER..).find(|id| !self.events.all.contains_key(id));
                free.ok_or(errno::NO_MEMORY)?
            }
            _ => return Err(errno::INVALID),
        };
        self.events.all.insert(
            id,
            Event {
                kind,
                auto_reset: auto_reset != 0,
                signalled: false,
                data: Data::default(),
            },
        );
        a.set64(0, 0);
        a.set32(8, if kind == event::SIGNAL { id } else { 0 });
        a.set32(24, id);
        a.set32(28, if kind == event::SIGNAL { id } else { 0 });
        Ok(())
    }

    fn set_page(&mut self, handle: u64) -> Result<(), Errno> {
        if self.events.page.is_some() {
            return Err(errno::INVALID);
        }
        let b = self.buffers.get(&handle).ok_or(errno::INVALID)?;
        if b.len < u64::from(SLOTS) * 8 || b.posted() || b.user {
            return Err(errno::INVALID);
        }
        if !b.mapped {
            self.violation("an event page that is not mapped to the device".to_string());
            return Err(errno::INVALID);
        }
        let b = &self.buffers[&handle];
        let (va, len) = (b.va, b.len as usize);
        // The driver writes it itself.
        let _ = self.device.memory.write_past(va, &vec![0xFF; len]);
        self.events.page = Some((handle, va));
        Ok(())
    }

    /// DESTROY_EVENT.
    pub fn destroy_event(&mut self, a: &Args) -> Result<(), Errno> {
        let found = self.events.all.remove(&a.u32(0));
        found.map(|_| ()).ok_or(errno::INVALID)
    }

    /// SET_EVENT and RESET_EVENT: of signal events alone.
    pub fn set_event(&mut self, a: &Args, signalled: bool) -> Result<(), Errno> {
        match self.events.all.get_mut(&a.u32(0)) {
            Some(e) if e.kind == event::SIGNAL => {
                e.signalled = signalled;
                Ok(())
            }
            _ => Err(errno::INVALID),
        }
    }

    /// An interrupt with the number of an event.
    pub fn interrupt(&mut self, id: u32) {
        // The driver keeps this number for command processors that name no event.
        if id == 0 {
            return;
        }
        let slot = self.events.page.map(|(_, va)| va + 8 * u64::from(id));
        let known = self
            .events
            .all
            .get(&id)
            .is_some_and(|e| e.kind == event::SIGNAL);
        let Some(slot) = slot.filter(|_| known) else {
            self.violation(format!("an interrupt with {id}, which is no signal event"));
            return;
        };
        let mailbox = self.device.memory.load_coherent::<8>(slot);
        if mailbox.map_or(UNSIGNALLED, u64::from_le_bytes) == UNSIGNALLED {
            self.violation(format!(
                "an interrupt of event {id} whose mailbox was not written"
            ));
            return;
        }
        let _ = self
            .device
            .memory
            .write_past(slot, &UNSIGNALLED.to_le_bytes());
        if let Some(e) = self.events.all.get_mut(&id) {
            e.signalled = true;
        }
    }

    /// The device touched what is not there: all events for it learn where.
    pub fn memory_exception(&mut self, bad: BadAddress) {
        let page = bad.address & !0xFFF;
        let there = self.device.memory.load_coherent::<1>(bad.address).is_ok();
        let mut words = [0; 8];
        words[0] = u32::from(!there);
        words[1] = u32::from(there && bad.write);
        words[4] = page as u32;
        words[5] = (page >> 32) as u32;
        words[6] = GPU_ID;
        self.raise(event::MEMORY, words);
    }

    /// The device cannot go on: all events for that learn it.
    pub fn hardware_exception(&mut self) {
        // Another kind of reset than of the whole device, because of a hang, memory kept.
        self.raise(event::HW_EXCEPTION, [1, 0, 0, GPU_ID, 0, 0, 0, 0]);
    }

    fn raise(&mut self, kind: u32, words: [u32; 8]) {
        for e in self.events.all.values_mut().filter(|e| e.kind == kind) {
            e.signalled = true;
            e.data = Data { words };
        }
    }

    /// WAIT_EVENTS: lets the device go on until the wait is over or nothing moves.
    ///
    /// # Safety
    /// The list is where the structure says.
    pub unsafe fn wait_events(&mut self, a: &mut Args) -> Result<(), Errno> {
        let (list, count, all, timeout) = (a.u64(0), a.u32(8), a.u32(12) != 0, a.u32(16));
        if count == 0 || count > MOST_WAITED || list == 0 {
            return Err(errno::INVALID);
        }
        let entry = |n: u32| list + u64::from(n) * event::DATA_BYTES;
        // The caller's list, entry by entry: the number of the event comes after the data and a pointer.
        let ids: Vec<u32> = (0..count)
            .map(|n| unsafe { ((entry(n) + 40) as *const u32).read_unaligned() })
            .collect();
        if ids.iter().any(|id| !self.events.all.contains_key(id)) {
            return Err(errno::INVALID);
        }
        let over = |m: &Machine| {
            let mut set = ids.iter().map(|id| m.events.all[id].signalled);
            if all { set.all(|s| s) } else { set.any(|s| s) }
        };
        while !over(self) && timeout > 0 {
            if !self.pump(64) {
                break;
            }
        }
        if !over(self) {
            self.waited += match timeout {
                u32::MAX => FOR_EVER,
                ms => u64::from(ms),
            };
            a.set32(20, TIMEOUT);
            return Ok(());
        }
        for (n, id) in (0..count).zip(&ids) {
            let Some(e) = self.events.all.get_mut(id).filter(|e| e.signalled) else {
                continue;
            };
            if e.kind != event::SIGNAL {
                for (k, word) in (0..).zip(e.data.words) {
                    // Inside of the entry.
                    unsafe { ((entry(n) + 4 * k) as *mut u32).write_unaligned(word) };
                }
            }
            if e.auto_reset {
                e.signalled = false;
            }
        }
        a.set32(20, COMPLETE);
        Ok(())
    }
}
