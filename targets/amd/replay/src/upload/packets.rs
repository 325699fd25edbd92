//! Copies inside of command packets, for when every queue of a copy engine is taken.
//!
//! In: bytes and an address. Out: the bytes there, written by the device's own command processor: the data travel inside WRITE_DATA packets of
//! indirect buffers. Slower than a copy engine and free of its differences between chips.

use crate::device::{Device, Options};
use crate::error::Error;
use crate::memory::{self, Block, Class};
use tinyc_runtime::io::{KernelIo, Mmio};

/// Bytes of the indirect buffer.
const BUFFER_BYTES: u64 = 1 << 20;
/// Data of one packet; its length has 14 bits.
const PACKET_BYTES: usize = 32 << 10;
/// Packets in a buffer: their headers and the release behind them fit too.
const MOST: usize = 31;
/// WRITE_DATA, without its length.
const WRITE_DATA: u32 = 3 << 30 | 0x37 << 8;
/// To memory, every word to the next place, confirmed.
const TO_MEMORY: u32 = 5 << 8 | 1 << 20;
/// RELEASE_MEM of 8 words: everything before is in memory.
const RELEASE_MEM: u32 = 3 << 30 | 6 << 16 | 0x49 << 8;
/// The event at the end of all work.
const END_OF_PIPE: u32 = 0x14 | 5 << 8;
/// Caches are written back. RDNA: metadata, then the second level, in sequence. CDNA: the second level.
const FLUSH: u32 = 1 << 12 | 1 << 13 | 1 << 14 | 1 << 15 | 1 << 20 | 1 << 21 | 1 << 22;
const FLUSH_GFX9: u32 = 1 << 15 | 1 << 17;
/// The value has 64 bits.
const DATA_64: u32 = 2 << 29;

/// An indirect buffer that is filled and run again and again.
#[derive(Debug)]
pub(super) struct Packets {
    buffer: Block,
    /// Buffers submitted so far.
    count: u32,
}

impl Packets {
    /// Makes the buffer. Close it in any case.
    pub fn open<I: KernelIo + Mmio>(io: &mut I, device: &Device) -> Result<Packets, Error> {
        let buffer = memory::exactly(io, device.gpu(), Class::Coherent, BUFFER_BYTES)
            .map_err(Error::step("uploading", BUFFER_BYTES))?;
        // SAFETY: the address is in the page of signals.
        let count = unsafe { io.load32(device.uploads()) };
        Ok(Packets { buffer, count })
    }

    /// Copies bytes; the last word is filled up with zeros.
    pub fn copy<I: KernelIo + Mmio>(
        &mut self,
        io: &mut I,
        device: &mut Device,
        mut address: u64,
        bytes: &[u8],
        options: &Options,
    ) -> Result<(), Error> {
        for part in bytes.chunks(PACKET_BYTES * MOST) {
            let mut at = self.buffer.address;
            let mut put = |io: &mut I, words: &[u32]| {
                for word in words {
                    // SAFETY: 31 packets of 8,196 words and 8 more stay below the buffer's 262,144.
                    unsafe { io.store32(at, *word) };
                    at += 4;
                }
            };
            for packet in part.chunks(PACKET_BYTES) {
                let (words, rest) = packet.as_chunks::<4>();
                let mut last = [0; 4];
                for (to, from) in last.iter_mut().zip(rest) {
                    *to = *from;
                }
                let count = packet.len().div_ceil(4) as u32;
                let head = [
                    WRITE_DATA | (count + 2) << 16,
                    TO_MEMORY,
                    address as u32,
                    (address >> 32) as u32,
                ];
                put(io, &head);
                for word in words {
                    put(io, &[u32::from_le_bytes(*word)]);
                }
                if !rest.is_empty() {
                    put(io, &[u32::from_le_bytes(last)]);
                }
                address += u64::from(count) * 4;
            }
            self.count += 1;
            let signal = device.uploads();
            let flush = match device.node().is_gfx9() {
                true => FLUSH_GFX9,
                false => FLUSH,
            };
            let end = [
                RELEASE_MEM,
                END_OF_PIPE | flush,
                DATA_64,
                signal as u32,
                (signal >> 32) as u32,
                self.count,
                0,
                0,
            ];
            put(io, &end);
            let words = ((at - self.buffer.address) / 4) as u32;
            device.submit(io, self.buffer.address, words);
            device.wait_for(io, signal, self.count, options.polls, options.limit)?;
        }
        Ok(())
    }

    /// Gives the buffer back. The device does not read it any more.
    pub fn close<I: KernelIo>(self, io: &mut I, device: &Device) {
        memory::free(io, device.gpu(), &self.buffer);
    }
}
