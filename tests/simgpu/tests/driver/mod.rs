//! A small runtime that does what drivers of GPUs do, call by call: what tests of the simulated driver start from.
#![allow(dead_code)]

use tinyc_runtime::io::{Errno, Fd, KernelIo, Mmio};
use tinyc_simgpu::kfd::{Settings, Simulated};

pub const VRAM: u32 = 1;
pub const GTT: u32 = 2;
pub const USERPTR: u32 = 4;
pub const PUBLIC: u32 = 1 << 29;
pub const EXECUTABLE: u32 = 1 << 30;
pub const WRITABLE: u32 = 1 << 31;
pub const COHERENT: u32 = 3 << 25;
/// What rings, pointers and signals lie in.
pub const SHARED: u32 = GTT | COHERENT | WRITABLE | EXECUTABLE;

pub const FIXED: i32 = libc::MAP_FIXED | libc::MAP_SHARED;
pub const RESERVE: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
pub const BOTH: i32 = libc::PROT_READ | libc::PROT_WRITE;
pub const GPU: u32 = 0x9D3A;

/// A structure of words.
pub fn structure(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

pub fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

pub fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// A context.
pub struct Context {
    pub io: Simulated,
    pub kfd: Fd,
    pub render: Fd,
}

#[derive(Clone, Copy, Debug)]
pub struct Memory {
    pub at: u64,
    pub len: u64,
    pub handle: u64,
}

impl Context {
    pub fn open(io: &Simulated) -> Context {
        let mut io = io.clone();
        let kfd = io.open(c"/dev/kfd", 2).unwrap();
        let render = io.open(c"/dev/dri/renderD128", 2).unwrap();
        Context { io, kfd, render }
    }

    pub fn new(settings: Settings) -> Context {
        let mut c = Context::open(&Simulated::new(settings));
        c.acquire().unwrap();
        c
    }

    pub fn request(&mut self, nr: u32, bytes: &mut [u8]) -> Result<i32, Errno> {
        let request = 3 << 30 | (bytes.len() as u32) << 16 | 0x4B << 8 | nr;
        unsafe { self.io.ioctl(self.kfd, request, bytes.as_mut_ptr()) }
    }

    pub fn acquire(&mut self) -> Result<i32, Errno> {
        let mut a = structure(&[pair(self.render.0 as u32, GPU)]);
        self.request(0x15, &mut a)
    }

    pub fn reserve(&mut self, len: u64) -> u64 {
        unsafe { self.io.mmap(0, len, 0, RESERVE, None, 0) }.unwrap()
    }

    pub fn alloc_at(&mut self, va: u64, len: u64, flags: u32) -> Result<(u64, u64), Errno> {
        let mut a = structure(&[va, len, 0, 0, pair(GPU, flags)]);
        self.request(0x16, &mut a)?;
        Ok((word(&a, 16), word(&a, 24)))
    }

    pub fn map_gpu(&mut self, handle: u64) -> Result<i32, Errno> {
        let list = [GPU];
        let mut a = structure(&[handle, list.as_ptr() as u64, pair(1, 0)]);
        self.request(0x18, &mut a)
    }

    pub fn unmap_gpu(&mut self, handle: u64) -> Result<i32, Errno> {
        let list = [GPU];
        let mut a = structure(&[handle, list.as_ptr() as u64, pair(1, 0)]);
        self.request(0x19, &mut a)
    }

    pub fn free(&mut self, handle: u64) -> Result<i32, Errno> {
        self.request(0x17, &mut structure(&[handle]))
    }

    /// Memory that both see.
    pub fn memory(&mut self, len: u64, flags: u32) -> Memory {
        let at = self.reserve(len);
        let (handle, offset) = self.alloc_at(at, len, flags).unwrap();
        let host = flags & VRAM == 0 || flags & PUBLIC != 0;
        if host {
            let render = Some(self.render);
            let mapped = unsafe { self.io.mmap(at, len, BOTH, FIXED, render, offset) };
            assert_eq!(mapped, Ok(at));
        }
        self.map_gpu(handle).unwrap();
        Memory { at, len, handle }
    }

    pub fn give_back(&mut self, m: Memory) {
        self.unmap_gpu(m.handle).unwrap();
        self.free(m.handle).unwrap();
        unsafe { self.io.munmap(m.at, m.len) }.unwrap();
    }

    pub fn event(&mut self, kind: u32, page: u64) -> Result<u32, Errno> {
        let mut a = structure(&[page, pair(0, kind), pair(1, 0), 0]);
        self.request(0x08, &mut a)?;
        Ok(word(&a, 24) as u32)
    }

    /// Waits for any of the events; which words their entries hold afterwards, or nothing after so many milliseconds.
    pub fn wait(&mut self, events: &[u32], timeout: u32) -> Option<Vec<[u32; 8]>> {
        let mut list = vec![0u32; 12 * events.len()];
        for (n, id) in events.iter().enumerate() {
            list[12 * n + 10] = *id;
        }
        let count = pair(events.len() as u32, 0);
        let mut a = structure(&[list.as_mut_ptr() as u64, count, pair(timeout, 0)]);
        self.request(0x0C, &mut a).unwrap();
        let done = word(&a, 16) >> 32 == 0;
        let entry = |c: &[u32]| c[..8].try_into().unwrap();
        done.then(|| list.chunks(12).map(entry).collect())
    }

    pub fn close(mut self) {
        self.io.close(self.kfd);
        self.io.close(self.render);
    }
}

/// A queue and what it needs.
pub struct Ring {
    pub id: u32,
    pub ring: Memory,
    pub pointers: Memory,
    pub eop: Memory,
    pub save: Memory,
    pub doorbells: u64,
    pub doorbell: u64,
    pub write: u64,
    pub aql: bool,
}

/// Sizes of save areas for so many compute units of gfx11: all, the list of waves, the allocation.
pub fn save_sizes(units: u64) -> (u64, u64, u64) {
    let page = |n: u64| n.next_multiple_of(4096);
    let control = page(12 * 32 * units + 48);
    let save = page(units * 0x75000) + control;
    (
        save,
        control,
        page(save + (32 * 32 * units).next_multiple_of(64)),
    )
}

pub const RING: u64 = 4096;

impl Ring {
    pub fn words(
        ring: Memory,
        pointers: Memory,
        eop: Memory,
        save: Memory,
        aql: bool,
        units: u64,
    ) -> Vec<u64> {
        let (size, control, _) = save_sizes(units);
        let kind = if aql { 2 } else { 0 };
        vec![
            ring.at,
            pointers.at + 0x38,
            pointers.at + 0x80,
            0,
            pair(RING as u32, GPU),
            pair(kind, 100),
            pair(7, 0),
            eop.at,
            4096,
            save.at,
            pair(size as u32, control as u32),
        ]
    }

    pub fn new(c: &mut Context, aql: bool, units: u64) -> Ring {
        let ring = c.memory(RING, SHARED);
        let pointers = c.memory(4096, SHARED);
        let eop = c.memory(4096, VRAM | WRITABLE);
        let save = c.memory(save_sizes(units).2, GTT | WRITABLE);
        let mut a = structure(&Ring::words(ring, pointers, eop, save, aql, units));
        c.request(0x02, &mut a).unwrap();
        let (offset, id) = (word(&a, 24), (word(&a, 48) >> 32) as u32);
        let page = offset & !0x1FFF;
        let at = unsafe {
            c.io.mmap(0, 0x2000, BOTH, libc::MAP_SHARED, Some(c.kfd), page)
        };
        let doorbells = at.unwrap();
        Ring {
            id,
            ring,
            pointers,
            eop,
            save,
            doorbells,
            doorbell: doorbells + (offset & 0x1FFF),
            write: 0,
            aql,
        }
    }

    /// Puts words into the ring and moves the write pointer.
    pub fn put(&mut self, c: &mut Context, words: &[u32]) {
        for (n, word) in (self.write_word()..).zip(words) {
            unsafe { c.io.store32(self.ring.at + n * 4 % RING, *word) };
        }
        self.write += match self.aql {
            true => words.len() as u64 / 16,
            false => words.len() as u64,
        };
        unsafe { c.io.store64(self.pointers.at + 0x38, self.write) };
    }

    fn write_word(&self) -> u64 {
        if self.aql {
            self.write * 16
        } else {
            self.write
        }
    }

    /// Announces what was put.
    pub fn ring(&mut self, c: &mut Context) {
        let value = if self.aql { self.write - 1 } else { self.write };
        unsafe { c.io.store64(self.doorbell, value) };
    }

    pub fn submit(&mut self, c: &mut Context, words: &[u32]) {
        self.put(c, words);
        c.io.fence();
        self.ring(c);
    }

    pub fn close(self, c: &mut Context) {
        let mut a = structure(&[u64::from(self.id)]);
        c.request(0x03, &mut a).unwrap();
        for m in [self.ring, self.pointers, self.eop, self.save] {
            c.give_back(m);
        }
        unsafe { c.io.munmap(self.doorbells, 0x2000) }.unwrap();
    }
}

/// A packet of type 3.
pub fn packet(op: u32, body: &[u32]) -> Vec<u32> {
    let mut out = vec![3 << 30 | (body.len() as u32 - 1) << 16 | op << 8];
    out.extend(body);
    out
}

pub fn low_high(address: u64) -> [u32; 2] {
    [address as u32, (address >> 32) as u32]
}

/// Stores a value, and wakes an event when there is one.
pub fn release(address: u64, value: u64, event: Option<u32>) -> Vec<u32> {
    let [low, high] = low_high(address);
    let interrupt = if event.is_some() { 2 << 24 } else { 0 };
    packet(
        0x49,
        &[
            0x14 | 5 << 8 | 1 << 21,
            2 << 29 | interrupt,
            low,
            high,
            value as u32,
            (value >> 32) as u32,
            event.unwrap_or(0),
        ],
    )
}

/// Waits for a word of memory to be at least so large.
pub fn wait_for(address: u64, value: u32) -> Vec<u32> {
    let [low, high] = low_high(address);
    packet(0x3C, &[5 | 1 << 4, low, high, value, u32::MAX, 4])
}

/// Flushes the host's data path.
pub fn flush_host() -> Vec<u32> {
    packet(0x3C, &[3 | 1 << 6, 0xE26, 0xE27, u32::MAX, u32::MAX, 4])
}

pub fn copy(from: u64, to: u64) -> Vec<u32> {
    let [a, b] = low_high(from);
    let [c, d] = low_high(to);
    packet(0x40, &[1 | 5 << 8 | 1 << 20, a, b, c, d])
}

pub fn indirect(address: u64, words: u32) -> Vec<u32> {
    let [low, high] = low_high(address);
    packet(0x3F, &[low, high, words | 1 << 23])
}
