//! Events of the driver: a run is done, memory was touched that is not there, the device had to be reset.
//!
//! In: a device. Out: three events, one of which the device itself raises; and what a wait for them found.

use crate::abi::{self, CreateEvent, DestroyEvent, EventData, WaitEvents};
use crate::driver::call;
use crate::error::Error;
use crate::memory::Gpu;
use crate::process::{self, Mailbox};
use tinyc_runtime::io::{Errno, KernelIo};

/// Events of a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Events {
    signal: Option<Mailbox>,
    memory: Option<u32>,
    hardware: Option<u32>,
}

/// What ended a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// An event that says nothing more: look at the timeline.
    Signal,
    /// Nothing in this time.
    Timeout,
    /// A fault at an address.
    Fault(u64),
    /// A reset because nothing went on.
    Hang,
    /// Another reset.
    Reset,
}

impl Events {
    /// Makes the events. What was made before a failure is in `self` and goes with [`Events::close`].
    pub fn open<I: KernelIo>(&mut self, io: &mut I, gpu: &Gpu, slot: usize) -> Result<(), Error> {
        let refused = Error::step("an event", abi::EVENT_PAGE_BYTES);
        self.signal = process::signal_event(io, gpu, slot).map_err(&refused)?;
        self.memory = Some(create(io, gpu, abi::EVENT_MEMORY).map_err(&refused)?);
        self.hardware = Some(create(io, gpu, abi::EVENT_HW_EXCEPTION).map_err(&refused)?);
        Ok(())
    }

    /// Gives the events back.
    pub fn close<I: KernelIo>(&mut self, io: &mut I, gpu: &Gpu) {
        let signal = self.signal.take().map(|m| m.event);
        for event in [self.hardware.take(), self.memory.take(), signal]
            .into_iter()
            .flatten()
        {
            let mut request = DestroyEvent {
                event_id: event,
                pad: 0,
            };
            // The driver destroys what is left when the process ends.
            let _ = call(io, gpu.kfd, abi::DESTROY_EVENT, &mut request);
        }
    }

    /// Number of the event that the device raises, and the address of its mailbox.
    pub fn mailbox(&self) -> Option<(u32, u64)> {
        self.signal.map(|m| (m.event, m.address))
    }

    /// Waits for any of the events, so many milliseconds at most.
    pub fn wait<I: KernelIo>(
        &self,
        io: &mut I,
        gpu: &Gpu,
        milliseconds: u32,
    ) -> Result<Woken, Errno> {
        let entry = |event: Option<u32>| EventData {
            event_id: event.unwrap_or(0),
            ..EventData::default()
        };
        let mut list = [
            entry(self.memory),
            entry(self.hardware),
            entry(self.signal.map(|m| m.event)),
        ];
        let mut request = WaitEvents {
            events: list.as_mut_ptr().expose_provenance() as u64,
            num_events: if self.signal.is_some() { 3 } else { 2 },
            wait_for_all: 0,
            timeout: milliseconds,
            wait_result: abi::WAIT_TIMEOUT,
        };
        call(io, gpu.kfd, abi::WAIT_EVENTS, &mut request)?;
        let [memory, hardware, _] = list;
        // The driver fills in the data of events that were raised; the number of the device is never 0.
        if memory.memory.gpu_id != 0 {
            return Ok(Woken::Fault(memory.memory.va));
        }
        let reset = hardware.hardware();
        if reset.gpu_id != 0 {
            return Ok(match reset.reset_cause {
                0 if reset.memory_lost == 0 => Woken::Hang,
                _ => Woken::Reset,
            });
        }
        match request.wait_result {
            abi::WAIT_COMPLETE => Ok(Woken::Signal),
            abi::WAIT_TIMEOUT => Ok(Woken::Timeout),
            _ => Err(Errno::DEVICE),
        }
    }
}

fn create<I: KernelIo>(io: &mut I, gpu: &Gpu, kind: u32) -> Result<u32, Errno> {
    let mut request = CreateEvent {
        event_type: kind,
        ..CreateEvent::default()
    };
    call(io, gpu.kfd, abi::CREATE_EVENT, &mut request)?;
    Ok(request.event_id)
}
