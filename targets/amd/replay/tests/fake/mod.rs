//! A kernel and a device that are just enough: files, requests and mappings are counted, any call can be made to fail, and a doorbell runs a
//! stream of four words (signal address, value to wait for, value to signal).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
#![allow(dead_code)]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CStr;
use std::rc::Rc;
use tinyc_replay_amd::Linux;
use tinyc_replay_amd::abi::*;
use tinyc_replay_amd::needs::{Needs, Queue};
use tinyc_runtime::io::{Errno, Fd, KernelIo, Mmio, ProcessWords};
use tinyc_runtime::patch::{Patch, Place, UNPATCHED, symbol};
use tinyc_runtime::sha256::Sha256;
use tinyc_runtime::symbols::{KernelAt, LaunchAt};

/// What the machine has.
#[derive(Clone)]
pub struct Machine {
    pub gfx: u32,
    pub version: (u32, u32),
    pub large_bar: bool,
    pub permitted: bool,
    pub driver: bool,
    pub gpus: u32,
}

impl Default for Machine {
    fn default() -> Self {
        Machine {
            gfx: 110_000,
            version: (1, 17),
            large_bar: true,
            permitted: true,
            driver: true,
            gpus: 1,
        }
    }
}

/// How the device answers a doorbell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    Runs,
    Hangs,
    Faults(u64),
    Resets,
}

pub struct State {
    machine: Machine,
    /// Calls so far, and the one that fails.
    pub calls: u64,
    pub fails: Option<(u64, i32)>,
    /// System calls made, by name.
    pub log: Vec<String>,
    files: BTreeMap<i32, String>,
    next_fd: i32,
    mappings: BTreeMap<u64, u64>,
    /// Handle: address, bytes, flags, mapped.
    blocks: BTreeMap<u64, (u64, u64, u32, bool)>,
    next_handle: u64,
    vm: Option<i32>,
    page: Option<u64>,
    events: BTreeMap<u32, u32>,
    queues: BTreeMap<u32, CreateQueue>,
    doorbells: Option<u64>,
    pub stores: Vec<(u64, u64)>,
    pub answer: Answer,
    /// The launch that has begun when it goes wrong, counted from 1.
    pub launch: u32,
    /// Streams that ran: address, waited for, signalled.
    pub runs: Vec<(u64, u32, u32)>,
    read: u64,
    pending: Option<Answer>,
    pub reads: Vec<(u64, Vec<u8>)>,
}

/// A context's way to the machine; clones share it.
#[derive(Clone)]
pub struct Fake(pub Rc<RefCell<State>>, Rc<ProcessWords>);

const GPU_ID: u32 = 0x5A5A;
const DOORBELL_AT: u64 = 0x48;

impl Fake {
    pub fn new(machine: Machine) -> Fake {
        let state = State {
            machine,
            calls: 0,
            fails: None,
            log: vec![],
            files: BTreeMap::new(),
            next_fd: 100,
            mappings: BTreeMap::new(),
            blocks: BTreeMap::new(),
            next_handle: 1,
            vm: None,
            page: None,
            events: BTreeMap::new(),
            queues: BTreeMap::new(),
            doorbells: None,
            stores: vec![],
            answer: Answer::Runs,
            launch: 0,
            runs: vec![],
            read: 0,
            pending: None,
            reads: vec![],
        };
        Fake(Rc::new(RefCell::new(state)), Rc::default())
    }

    /// What is left, but for what a process keeps: its render node and page of mailboxes.
    pub fn left(&self) -> Vec<String> {
        let s = self.0.borrow();
        let mut out = Vec::new();
        let files = s.files.iter().filter(|(fd, _)| Some(**fd) != s.vm);
        out.extend(files.map(|(_, f)| f.clone()));
        let page = s.page.and_then(|h| s.blocks.get(&h)).map(|b| b.0);
        let mappings = s.mappings.iter().filter(|(at, _)| Some(**at) != page);
        out.extend(mappings.map(|(at, n)| format!("mapping {at:#x} {n}")));
        let blocks = s.blocks.iter().filter(|(h, _)| Some(**h) != s.page);
        out.extend(blocks.map(|(h, b)| format!("block {h} of {} bytes", b.1)));
        out.extend(s.events.keys().map(|e| format!("event {e}")));
        out.extend(s.queues.keys().map(|q| format!("queue {q}")));
        out
    }

    fn enter(&self, name: &str) -> Result<(), Errno> {
        let mut s = self.0.borrow_mut();
        s.calls += 1;
        s.log.push(name.to_string());
        match s.fails {
            Some((n, errno)) if n == s.calls => Err(Errno(errno)),
            _ => Ok(()),
        }
    }
}

fn properties(m: &Machine) -> String {
    format!(
        "simd_count 192\nsimd_per_cu 2\narray_count 12\nsimd_arrays_per_engine 2\nmax_slots_scratch_cu 32\n\
         lds_size_in_kb 64\ngfx_target_version {}\ndrm_render_minor 130\nnum_xcc 1\n",
        m.gfx
    )
}

impl KernelIo for Fake {
    fn process(&self) -> &ProcessWords {
        &self.1
    }

    fn open(&mut self, path: &CStr, _: i32) -> Result<Fd, Errno> {
        let path = path.to_str().unwrap().to_string();
        self.enter(&format!("open {path}"))?;
        let mut s = self.0.borrow_mut();
        let nodes = tinyc_replay_amd::topology::NODES;
        let node = path
            .strip_prefix(nodes)
            .map(|r| r.split('/').next().unwrap());
        let there = match node {
            Some(n) => n.parse::<u32>().unwrap() <= s.machine.gpus,
            None => s.machine.driver && (path == "/dev/kfd" || path == "/dev/dri/renderD130"),
        };
        if !there {
            return Err(Errno::NO_ENTRY);
        }
        if node.is_none() && !s.machine.permitted {
            return Err(Errno::ACCESS);
        }
        s.next_fd += 1;
        let fd = s.next_fd;
        s.files.insert(fd, path);
        Ok(Fd(fd))
    }

    fn close(&mut self, fd: Fd) {
        let mut s = self.0.borrow_mut();
        assert!(s.files.remove(&fd.0).is_some(), "closed twice");
    }

    fn read(&mut self, fd: Fd, out: &mut [u8]) -> Result<usize, Errno> {
        self.enter("read")?;
        let s = self.0.borrow();
        let path = &s.files[&fd.0];
        let text = match (path.contains("/0/"), path.ends_with("gpu_id")) {
            (true, true) => "0\n".to_string(),
            (false, true) => format!("{GPU_ID}\n"),
            _ => properties(&s.machine),
        };
        out[..text.len()].copy_from_slice(text.as_bytes());
        Ok(text.len())
    }

    unsafe fn ioctl(&mut self, fd: Fd, request: u32, arg: *mut u8) -> Result<i32, Errno> {
        self.enter(&format!("ioctl {:#x}", request & 0xFF))?;
        let mut guard = self.0.borrow_mut();
        let s = &mut *guard;
        assert_eq!(s.files.get(&fd.0).map(String::as_str), Some("/dev/kfd"));
        macro_rules! argument {
            ($t:ty) => {
                // SAFETY: the number of the request names this structure.
                unsafe { &mut *arg.cast::<$t>() }
            };
        }
        match request {
            GET_VERSION => {
                let a = argument!(Version);
                (a.major, a.minor) = s.machine.version;
            }
            ACQUIRE_VM => {
                let a = argument!(AcquireVm);
                match s.vm {
                    Some(vm) if vm != a.drm_fd as i32 => return Err(Errno(16)),
                    _ => s.vm = Some(a.drm_fd as i32),
                }
            }
            RUNTIME_ENABLE => assert!(s.machine.version.1 >= 14),
            ALLOC_MEMORY => {
                let a = argument!(AllocMemory);
                assert!(
                    a.va_addr.is_multiple_of(4096) && a.size.is_multiple_of(4096) && a.size > 0
                );
                if a.flags & (VRAM | PUBLIC) == VRAM | PUBLIC && !s.machine.large_bar {
                    return Err(Errno::INVALID);
                }
                a.handle = s.next_handle;
                s.next_handle += 1;
                a.mmap_offset = a.handle << 32;
                s.blocks
                    .insert(a.handle, (a.va_addr, a.size, a.flags, false));
            }
            MAP_MEMORY => {
                let a = argument!(MapMemory);
                let block = s.blocks.get_mut(&a.handle).expect("a block");
                assert!(!block.3, "mapped twice");
                block.3 = true;
                a.n_success = 1;
            }
            UNMAP_MEMORY => {
                let a = argument!(MapMemory);
                let block = s.blocks.get_mut(&a.handle).expect("a block");
                let used = |q: &CreateQueue| {
                    [
                        q.ring_base_address,
                        q.eop_buffer_address,
                        q.ctx_save_restore_address,
                    ]
                    .contains(&block.0)
                };
                if s.queues.values().any(used) {
                    return Err(Errno(16));
                }
                block.3 = false;
            }
            FREE_MEMORY => {
                let a = argument!(FreeMemory);
                assert!(Some(a.handle) != s.page, "the page stays");
                if s.blocks[&a.handle].3 {
                    return Err(Errno(16));
                }
                s.blocks.remove(&a.handle);
            }
            CREATE_EVENT => {
                let a = argument!(CreateEvent);
                if a.event_page_offset != 0 {
                    if s.page.is_some() {
                        return Err(Errno::INVALID);
                    }
                    s.page = Some(a.event_page_offset);
                }
                a.event_id = (1..).find(|e| !s.events.contains_key(e)).unwrap();
                a.event_slot_index = a.event_id;
                s.events.insert(a.event_id, a.event_type);
            }
            DESTROY_EVENT => {
                let a = argument!(DestroyEvent);
                assert!(s.events.remove(&a.event_id).is_some());
            }
            WAIT_EVENTS => {
                let a = argument!(WaitEvents);
                // SAFETY: the caller's list.
                let list = unsafe {
                    std::slice::from_raw_parts_mut(
                        a.events as *mut EventData,
                        a.num_events as usize,
                    )
                };
                a.wait_result = WAIT_TIMEOUT;
                for entry in list {
                    let kind = s.events[&entry.event_id];
                    match (kind, s.pending) {
                        (EVENT_MEMORY, Some(Answer::Faults(va))) => {
                            entry.memory = MemoryException {
                                not_present: 1,
                                va,
                                gpu_id: GPU_ID,
                                ..MemoryException::default()
                            };
                            a.wait_result = WAIT_COMPLETE;
                        }
                        (EVENT_HW_EXCEPTION, Some(Answer::Resets)) => {
                            entry.memory.no_execute = 1;
                            entry.memory.imprecise = GPU_ID;
                            a.wait_result = WAIT_COMPLETE;
                        }
                        _ => {}
                    }
                }
            }
            CREATE_QUEUE => {
                let a = argument!(CreateQueue);
                if a.queue_type == QUEUE_SDMA {
                    // All queues of copy engines are taken: the simulated GPU has some.
                    return Err(Errno(12));
                }
                for at in [
                    a.ring_base_address,
                    a.eop_buffer_address,
                    a.ctx_save_restore_address,
                ] {
                    assert!(s.blocks.values().any(|b| b.0 == at && b.3), "{at:#x}");
                }
                a.queue_id = 7;
                a.doorbell_offset = 0x8000_0000_0000_0000 | DOORBELL_AT;
                s.queues.insert(7, *a);
                s.read = 0;
            }
            DESTROY_QUEUE => {
                let a = argument!(DestroyQueue);
                assert!(s.queues.remove(&a.queue_id).is_some());
            }
            other => panic!("request {other:#x}"),
        }
        Ok(0)
    }

    unsafe fn mmap(
        &mut self,
        address: u64,
        bytes: u64,
        _: i32,
        flags: i32,
        fd: Option<Fd>,
        offset: u64,
    ) -> Result<u64, Errno> {
        self.enter("mmap")?;
        let mut s = self.0.borrow_mut();
        let (private, fixed, none) = (0x22, 0x10, -1i32);
        let _ = none;
        let flags = private | flags & fixed | flags & 0x4000;
        // SAFETY: anonymous memory, over a reservation where the caller says so.
        let at = unsafe { Linux.mmap(address, bytes, 3, flags, None, 0) }?;
        if let Some(fd) = fd {
            match s.files[&fd.0].as_str() {
                "/dev/kfd" => {
                    assert_eq!((offset, bytes), (0x8000_0000_0000_0000, 0x2000));
                    s.doorbells = Some(at);
                }
                _ => assert_eq!(s.blocks[&(offset >> 32)].1, bytes),
            }
        }
        s.mappings.insert(at, bytes);
        Ok(at)
    }

    unsafe fn munmap(&mut self, address: u64, bytes: u64) -> Result<(), Errno> {
        let mut s = self.0.borrow_mut();
        assert_eq!(s.mappings.remove(&address), Some(bytes), "{address:#x}");
        // SAFETY: the caller's promise.
        unsafe { Linux.munmap(address, bytes) }
    }
}

impl Fake {
    fn ring(&self, bell: u64) {
        let mut guard = self.0.borrow_mut();
        let s = &mut *guard;
        let queue = *s.queues.values().next().unwrap();
        // SAFETY: all of these are mapped, or the test ends here.
        let word = |at: u64| unsafe { Linux.load32(at) };
        assert_eq!(word(queue.write_pointer_address), bell as u32);
        while s.read < bell {
            let at = queue.ring_base_address + s.read * 4 % u64::from(queue.ring_size);
            assert_eq!(word(at), 0xC002_3F00);
            let address = u64::from(word(at + 4)) | u64::from(word(at + 8)) << 32;
            let words = word(at + 12);
            assert_eq!(words >> 20, 8);
            s.read += 4;
            let body: Vec<u32> = (0..u64::from(words & 0xF_FFFF))
                .map(|n| word(address + n * 4))
                .collect();
            // The page of signals starts at a page: its address has none of the opcode's bits.
            if body[0] & 0xFFF == 0x700 {
                upload(&body);
                continue;
            }
            let signal = u64::from(body[0]) | u64::from(body[1]) << 32;
            if s.answer != Answer::Runs {
                s.pending = Some(s.answer);
                // SAFETY: the page of signals; the number of the launch is there.
                unsafe { Linux.store32(signal + 64, s.launch) };
                continue;
            }
            assert!(word(signal) >= body[2], "the wait is never over");
            s.runs.push((address, body[2], body[3]));
            // SAFETY: the signal is mapped.
            unsafe { Linux.store64(signal, u64::from(body[3])) };
        }
    }
}

/// WRITE_DATA packets and a release.
fn upload(mut body: &[u32]) {
    while let Some(header) = body.first() {
        let len = (header >> 16 & 0x3FFF) as usize + 2;
        // SAFETY: the addresses are mapped, or the test ends here.
        unsafe {
            match header >> 8 & 0xFF {
                0x37 => {
                    let at = u64::from(body[2]) | u64::from(body[3]) << 32;
                    for (n, word) in (0..).zip(&body[4..len]) {
                        Linux.store32(at + n * 4, *word);
                    }
                }
                0x49 => {
                    let at = u64::from(body[3]) | u64::from(body[4]) << 32;
                    Linux.store64(at, u64::from(body[5]));
                }
                other => panic!("packet {other:#x}"),
            }
        }
        body = &body[len..];
    }
}

impl Mmio for Fake {
    unsafe fn load32(&mut self, address: u64) -> u32 {
        // SAFETY: the caller's promise.
        unsafe { Linux.load32(address) }
    }
    unsafe fn load64(&mut self, address: u64) -> u64 {
        // SAFETY: the caller's promise.
        unsafe { Linux.load64(address) }
    }
    unsafe fn store32(&mut self, address: u64, value: u32) {
        self.0.borrow_mut().stores.push((address, u64::from(value)));
        // SAFETY: the caller's promise.
        unsafe { Linux.store32(address, value) }
    }
    unsafe fn store64(&mut self, address: u64, value: u64) {
        self.0.borrow_mut().stores.push((address, value));
        // SAFETY: the caller's promise.
        unsafe { Linux.store64(address, value) };
        let bell = self.0.borrow().doorbells.map(|d| d + DOORBELL_AT);
        if bell == Some(address) {
            self.ring(value);
        }
    }
    fn fence(&mut self) {}
    fn relax(&mut self) {}
    unsafe fn copy_to(&mut self, address: u64, bytes: &[u8]) {
        // SAFETY: the caller's promise.
        unsafe { Linux.copy_to(address, bytes) }
    }
    unsafe fn copy_from(&mut self, address: u64, out: &mut [u8]) {
        // SAFETY: the caller's promise.
        unsafe { Linux.copy_from(address, out) }
    }
}

fn whole(place: Place, symbol: u32, offset: u64, width: u8) -> Patch {
    Patch {
        place,
        symbol,
        offset,
        addend: 0,
        mask: u64::MAX >> (64 - u32::from(width) * 8),
        width,
        shift: 0,
        lsb: 0,
    }
}

/// A model of one input (8 bytes) and one output (16 bytes), whose stream is what the device above understands.
pub fn bundle(change: impl Fn(u32, &mut Vec<u8>)) -> Vec<u8> {
    let words = |w: &[u32]| w.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
    let mut tensors = words(&[1, 1]);
    for (name, extent) in [("x", 2u64), ("y", 4)] {
        tensors.extend(words(&[11, 1, 1, 0]));
        tensors.extend(extent.to_le_bytes());
        tensors.extend(name.bytes().chain([0; 7]));
    }
    let mut program = 4096u64.to_le_bytes().to_vec();
    program.extend(0u64.to_le_bytes());
    program.extend(words(&[1, 0, 0, 1, 0, 0, 0, 0]));
    let stream = words(&[UNPATCHED; 4]);
    let kernargs = words(&[UNPATCHED; 8]);
    let image = vec![0xBF; 300];
    let weights = vec![7u8; 70_001];
    let needs = Needs {
        gfx_target_version: 110_000,
        queue: Queue::Pm4,
        scratch_bytes: 16,
        code_bytes: image.len() as u64,
        kernarg_bytes: kernargs.len() as u64,
        stream_words: 4,
        weight_bytes: weights.len() as u64,
        arena_bytes: 4096,
        ..Needs::default()
    };
    let link = [
        whole(Place::Stream, symbol::SIGNAL, 0, 8),
        whole(Place::Kernargs, symbol::WEIGHTS, 16, 8),
        whole(Place::Kernargs, symbol::ARENA, 24, 8),
    ];
    let run = [
        whole(Place::Stream, symbol::WAIT, 8, 4),
        whole(Place::Stream, symbol::DONE, 12, 4),
        whole(Place::Kernargs, symbol::IO, 0, 8),
        whole(Place::Kernargs, symbol::IO + 1, 8, 8),
    ];
    let mut patches = words(&[link.len() as u32, run.len() as u32]);
    patches.extend(link.iter().chain(&run).flat_map(Patch::encode));
    patches.extend(words(&[0, 1, 2, 3]));
    let mut symbols = words(&[1, 1]);
    symbols.extend(LaunchAt { kernel: 0, word: 0 }.encode());
    let kernel = KernelAt {
        start: 0,
        bytes: 300,
        entry: 0,
    };
    symbols.extend(kernel.encode());
    let mut sections = [
        (1, b"target=amd-gfx1100\n".to_vec()),
        (2, program),
        (3, tensors),
        (4, b"add_1\n".to_vec()),
        (6, weights),
        (9, needs.encode().to_vec()),
        (10, image),
        (11, stream),
        (12, kernargs),
        (13, patches),
        (14, symbols),
    ];
    for (kind, bytes) in &mut sections {
        change(*kind, bytes);
    }
    container(&sections)
}

fn container(sections: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut table = Vec::new();
    let mut body = Vec::new();
    let start = 64 * (sections.len() + 1);
    for (kind, bytes) in sections {
        table.extend(kind.to_le_bytes());
        table.extend([0; 4]);
        table.extend(((start + body.len()) as u64).to_le_bytes());
        table.extend((bytes.len() as u64).to_le_bytes());
        table.extend([0; 8]);
        table.extend(Sha256::digest(bytes));
        body.extend(bytes);
        body.resize(body.len().next_multiple_of(64), 0);
    }
    let mut out = b"tinycbdl".to_vec();
    out.extend(1u32.to_le_bytes());
    out.extend((sections.len() as u32).to_le_bytes());
    out.extend(((start + body.len()) as u64).to_le_bytes());
    out.extend([0; 8]);
    let mut hash = Sha256::new();
    hash.update(&out);
    hash.update(&table);
    out.extend(hash.finish());
    out.extend(table);
    out.extend(body);
    out
}

/// Names of system calls that a closure makes.
pub fn calls_of(fake: &Fake, body: impl FnOnce()) -> BTreeSet<String> {
    fake.0.borrow_mut().log.clear();
    body();
    fake.0.borrow().log.iter().cloned().collect()
}
