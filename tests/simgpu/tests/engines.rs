//! Queues of copy engines behind the simulated driver: what they take, what they refuse, when a copy is visible.
#![allow(clippy::unwrap_used, clippy::panic)]

mod driver;

use driver::*;
use tinyc_runtime::io::{Errno, KernelIo, Mmio};
use tinyc_simgpu::kfd::{Chip, Settings, Simulated};

/// A queue and what it needs.
struct Copies {
    id: u64,
    ring: Memory,
    pointers: Memory,
    doorbells: u64,
    doorbell: u64,
    write: u64,
}

fn words(ring: Memory, pointers: Memory) -> Vec<u64> {
    let (write, read) = (pointers.at + 0x38, pointers.at + 0x80);
    let mut words = vec![ring.at, write, read, 0, pair(RING as u32, GPU)];
    words.extend([pair(1, 100), pair(7, 0), 0, 0, 0, 0]);
    words
}

impl Copies {
    fn new(c: &mut Context) -> Copies {
        let (ring, pointers) = (c.memory(RING, SHARED), c.memory(4096, SHARED));
        let mut a = structure(&words(ring, pointers));
        c.request(0x02, &mut a).unwrap();
        let offset = word(&a, 24);
        let page = offset & !0x1FFF;
        let at = unsafe {
            c.io.mmap(0, 0x2000, BOTH, libc::MAP_SHARED, Some(c.kfd), page)
        };
        let doorbells = at.unwrap();
        Copies {
            id: word(&a, 48) >> 32,
            ring,
            pointers,
            doorbells,
            doorbell: doorbells + (offset & 0x1FFF),
            write: 0,
        }
    }

    /// Puts words into the ring and announces them.
    fn submit(&mut self, c: &mut Context, packets: &[u32]) {
        for word in packets {
            unsafe { c.io.store32(self.ring.at + self.write % RING, *word) };
            self.write += 4;
        }
        self.announce(c, self.write);
    }

    fn announce(&mut self, c: &mut Context, value: u64) {
        unsafe { c.io.store64(self.pointers.at + 0x38, value) };
        c.io.fence();
        unsafe { c.io.store64(self.doorbell, value) };
    }

    fn close(self, c: &mut Context) {
        c.request(0x03, &mut structure(&[self.id])).unwrap();
        c.give_back(self.ring);
        c.give_back(self.pointers);
        unsafe { c.io.munmap(self.doorbells, 0x2000) }.unwrap();
    }
}

fn copy_bytes(from: u64, to: u64, bytes: u32) -> Vec<u32> {
    let ([a, b], [c, d]) = (low_high(from), low_high(to));
    vec![1, bytes - 1, 0, a, b, c, d]
}

fn fence(at: u64, value: u32) -> Vec<u32> {
    let [low, high] = low_high(at);
    vec![5 | 3 << 16, low, high, value]
}

fn settings(seed: u64) -> Settings {
    Settings {
        seed,
        shadow: true,
        units: 1,
        ..Settings::default()
    }
}

fn reached(c: &mut Context, at: u64, value: u32) -> bool {
    (0..1000).any(|_| unsafe { c.io.load32(at) } == value)
}

#[test]
fn copies_and_fences_run() {
    for seed in 0..8 {
        let mut c = Context::new(settings(seed));
        let mut q = Copies::new(&mut c);
        let from = c.memory(4096, SHARED);
        let to = c.memory(4096, VRAM | WRITABLE);
        let signal = c.memory(4096, SHARED);
        unsafe { c.io.store32(signal.at, 0) };
        // More than the ring holds: no packet wraps, the end is filled.
        for round in 1..300u32 {
            unsafe { c.io.store32(from.at + 8, round) };
            let both = [copy_bytes(from.at, to.at, 13), fence(signal.at, round)].concat();
            let left = (RING - q.write % RING) / 4;
            let mut all = vec![0; if left < 11 { left as usize } else { 0 }];
            all.extend(both);
            q.submit(&mut c, &all);
            assert!(reached(&mut c, signal.at, round), "{:?}", c.io.fault());
            let mut out = [0; 8];
            assert!(c.io.peek(to.at + 8, &mut out));
            assert_eq!(out[..5], [&round.to_le_bytes()[..], &[0xFD]].concat());
            assert_eq!(unsafe { c.io.load64(q.pointers.at + 0x80) }, q.write);
        }
        assert_eq!(c.io.violations(), [""; 0]);
        assert_eq!(c.io.leaks().queues, 1);
        q.close(&mut c);
        [from, to, signal].into_iter().for_each(|m| c.give_back(m));
        let io = c.io.clone();
        c.close();
        assert!(io.leaks().is_empty(), "{:?}", io.leaks());
    }
}

/// A fault, or a violation, that something leads to.
fn wrong(body: impl Fn(&mut Context, &mut Copies, [Memory; 2])) -> String {
    let mut c = Context::new(settings(3));
    let mut q = Copies::new(&mut c);
    let [a, b] = [(); 2].map(|()| c.memory(4096, SHARED));
    body(&mut c, &mut q, [a, b]);
    c.io.settle();
    let violation = c.io.violations().first().cloned();
    violation.or(c.io.fault()).unwrap_or_default()
}

#[test]
fn what_engines_do_not_take_is_a_fault() {
    let has = |text: &str, part: &str| assert!(text.contains(part), "{text}");
    let far = 0x7FFF_0000_0000;
    has(
        &wrong(|c, q, [a, _]| q.submit(c, &copy_bytes(a.at, far, 8))),
        "not in any live mapping that may be written",
    );
    has(
        &wrong(|c, q, [a, b]| q.submit(c, &copy_bytes(a.at + 4090, b.at, 8))),
        "not in any live mapping",
    );
    has(&wrong(|c, q, _| q.submit(c, &fence(far, 8))), "FENCE");
    has(&wrong(|c, q, _| q.submit(c, &[8])), "opcode 0x8");
    has(
        &wrong(|c, q, [a, b]| q.submit(c, &copy_bytes(a.at, b.at, 8)[..6])),
        "7 words, of which 6 are there",
    );
    has(
        &wrong(|c, q, [a, b]| {
            q.submit(c, &[0; RING as usize / 4 - 3]);
            c.io.settle();
            q.submit(c, &copy_bytes(a.at, b.at, 8));
        }),
        "7 words, of which 3 are there",
    );
    has(
        &wrong(|c, q, _| {
            q.submit(c, &[0; 8]);
            c.io.settle();
            q.announce(c, 8);
        }),
        "was announced before",
    );
    has(
        &wrong(|c, q, _| q.announce(c, RING + 4)),
        "units in a ring of 4096",
    );
    has(
        &wrong(|c, q, [a, b]| {
            for (n, word) in (0..).zip(copy_bytes(a.at, b.at, 8)) {
                unsafe { c.io.store32(q.ring.at + 4 * n, word) };
            }
            unsafe {
                c.io.store64(q.pointers.at + 0x38, 28);
                c.io.store64(q.doorbell, 28);
            }
        }),
        "a doorbell before a fence",
    );
}

/// A kernel's or the command processor's view of what an engine wrote is a matter of caches; the host sees it at once.
#[test]
fn hosts_see_copies() {
    let mut c = Context::new(settings(5));
    let mut q = Copies::new(&mut c);
    let [a, b] = [(); 2].map(|()| c.memory(4096, SHARED));
    unsafe { c.io.store64(a.at, 77) };
    let both = [copy_bytes(a.at, b.at, 8), fence(b.at + 64, 1)].concat();
    q.submit(&mut c, &both);
    assert!(reached(&mut c, b.at + 64, 1));
    assert_eq!(unsafe { c.io.load64(b.at) }, 77);
}

#[test]
fn queues_of_engines_are_few() {
    let mut c = Context::new(Settings {
        copy_queues: 1,
        ..settings(1)
    });
    let first = Copies::new(&mut c);
    let (ring, pointers) = (c.memory(RING, SHARED), c.memory(4096, SHARED));
    let make = |c: &mut Context| c.request(0x02, &mut structure(&words(ring, pointers)));
    assert_eq!(make(&mut c), Err(Errno(12)));
    first.close(&mut c);
    let mut elsewhere = words(ring, pointers);
    elsewhere[0] += 4096;
    assert_eq!(
        c.request(0x02, &mut structure(&elsewhere)),
        Err(Errno(22)),
        "a ring that is not there"
    );
    assert!(make(&mut c).is_ok());
    let mut none = Context::new(Settings {
        copy_queues: 0,
        ..settings(1)
    });
    let (ring, pointers) = (none.memory(RING, SHARED), none.memory(4096, SHARED));
    let refused = none.request(0x02, &mut structure(&words(ring, pointers)));
    assert_eq!(refused, Err(Errno(12)));
}

/// CDNA's fences have no field for caching, RDNA's need it.
#[test]
fn generations_differ_in_fences() {
    for (chip, header, runs) in [
        (Chip::Gfx1100, 5 | 3 << 16, true),
        (Chip::Gfx1201, 5 | 3 << 16, true),
        (Chip::Gfx1201, 5, false),
        (Chip::Gfx942, 5, true),
        (Chip::Gfx942, 5 | 3 << 16, false),
    ] {
        let mut c = Context::new(Settings {
            chip,
            ..settings(2)
        });
        let mut q = Copies::new(&mut c);
        let signal = c.memory(4096, SHARED);
        let [low, high] = low_high(signal.at);
        q.submit(&mut c, &[header, low, high, 9]);
        c.io.settle();
        assert_eq!(c.io.fault().is_none(), runs, "{chip:?} {header:#x}");
        assert_eq!(unsafe { c.io.load32(signal.at) } == 9, runs);
    }
}

/// Machines that are clones share queues: two contexts of one process.
#[test]
fn contexts_have_queues_of_their_own() {
    let io = Simulated::new(settings(9));
    let (mut a, mut b) = (Context::open(&io), Context::open(&io));
    a.acquire().unwrap();
    let (x, y) = (Copies::new(&mut a), Copies::new(&mut b));
    assert_ne!(x.doorbell - x.doorbells, y.doorbell - y.doorbells);
    assert_eq!(io.leaks().queues, 2);
    x.close(&mut a);
    y.close(&mut b);
    a.close();
    b.close();
    assert!(io.leaks().is_empty(), "{:?}", io.leaks());
}
