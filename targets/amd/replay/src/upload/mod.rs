//! Copies to memory of the device that the processor cannot reach: machines without a large BAR.
//!
//! In: bytes and an address. Out: the bytes there. A copy engine does it where the driver has a queue left for one ([`engine`]); otherwise the
//! command processor of the compute queue, out of packets that hold the data ([`packets`]). Either is there while a model's memory is filled and
//! gone afterwards. Both count in the timeline of uploads, which the processor polls.

mod engine;
mod packets;

use crate::device::{Device, Options};
use crate::error::Error;
use engine::Engine;
use packets::Packets;
use tinyc_runtime::io::{KernelIo, Mmio};

/// A way to memory that the processor does not see.
#[derive(Debug)]
pub(crate) struct Upload(Way);

#[derive(Debug)]
enum Way {
    Engine(Engine),
    Packets(Packets),
}

impl Upload {
    /// Makes the queue, or the buffer. Close it in any case.
    pub fn open<I: KernelIo + Mmio>(io: &mut I, device: &Device) -> Result<Upload, Error> {
        if let Some(engine) = Engine::open(io, device) {
            return Ok(Upload(Way::Engine(engine)));
        }
        Packets::open(io, device).map(|packets| Upload(Way::Packets(packets)))
    }

    /// Copies bytes. The last of them may be under way until [`Upload::finish`].
    pub fn copy<I: KernelIo + Mmio>(
        &mut self,
        io: &mut I,
        device: &mut Device,
        address: u64,
        bytes: &[u8],
        options: &Options,
    ) -> Result<(), Error> {
        match &mut self.0 {
            Way::Engine(engine) => engine.copy(io, device, address, bytes, options),
            Way::Packets(packets) => packets.copy(io, device, address, bytes, options),
        }
    }

    /// Waits until all bytes are there.
    pub fn finish<I: KernelIo + Mmio>(
        &mut self,
        io: &mut I,
        device: &mut Device,
        options: &Options,
    ) -> Result<(), Error> {
        match &mut self.0 {
            Way::Engine(engine) => engine.finish(io, device, options),
            Way::Packets(_) => Ok(()),
        }
    }

    /// Gives everything back. After a failure, the device's compute queue has ended before.
    pub fn close<I: KernelIo>(self, io: &mut I, device: &Device) {
        match self.0 {
            Way::Engine(engine) => engine.close(io, device.gpu()),
            Way::Packets(packets) => packets.close(io, device),
        }
    }
}
