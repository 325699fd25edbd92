//! The simulated driver, call by call: what it accepts, what it refuses and how, and what its queues do.
#![allow(clippy::unwrap_used, clippy::panic)]

mod driver;

use driver::*;
use tinyc_runtime::io::{Errno, KernelIo, Mmio};
use tinyc_simgpu::kfd::{Place, Settings, Simulated, Trace};
use tinyc_simgpu::memory::POISON;

const UNITS: u32 = 4;

fn settings() -> Settings {
    Settings {
        units: UNITS,
        ..Settings::default()
    }
}

fn queue(c: &mut Context) -> Ring {
    Ring::new(c, false, u64::from(UNITS))
}

#[test]
fn files_are_there_or_not() {
    let mut io = Simulated::new(settings());
    assert_eq!(io.open(c"/dev/kfd", 0), Err(Errno(22)));
    assert_eq!(io.open(c"/dev/nothing", 2), Err(Errno(2)));
    let nodes = c"/sys/devices/virtual/kfd/kfd/topology/nodes/1/gpu_id";
    let fd = io.open(nodes, 0).unwrap();
    let mut out = [0; 64];
    assert_eq!(io.read(fd, &mut out), Ok(6));
    assert_eq!(&out[..6], b"40250\n");
    assert_eq!(io.leaks().files.len(), 1);
    io.close(fd);
    io.close(fd);
    assert_eq!(io.violations().len(), 1);
    let without = |s: Settings| Simulated::new(s).open(c"/dev/kfd", 2);
    let base = settings();
    assert_eq!(
        without(Settings {
            driver: false,
            ..base.clone()
        }),
        Err(Errno(2))
    );
    assert_eq!(
        without(Settings {
            permitted: false,
            ..base.clone()
        }),
        Err(Errno(13))
    );
    let mut none = Simulated::new(Settings { gpu: false, ..base });
    assert_eq!(none.open(nodes, 0), Err(Errno(2)));
    assert_eq!(none.open(c"/dev/dri/renderD128", 2), Err(Errno(2)));
    let mut call = [0; 8];
    assert_eq!(
        unsafe { none.ioctl(tinyc_runtime::io::Fd(7), 0x8008_4B01, call.as_mut_ptr()) },
        Err(Errno(9))
    );
}

#[test]
fn requests_follow_the_version() {
    let mut c = Context::new(Settings {
        kfd_version: (1, 13),
        ..settings()
    });
    assert_eq!(c.request(0x25, &mut [0; 16]), Err(Errno(22)));
    let mut c = Context::new(settings());
    assert_eq!(c.request(0x25, &mut structure(&[0, 1])), Ok(0));
    assert_eq!(c.request(0x25, &mut structure(&[0, 1])), Err(Errno(16)));
    // A structure of another length, a number that is none.
    assert_eq!(c.request(0x01, &mut [0; 16]), Err(Errno(22)));
    assert_eq!(c.request(0x7F, &mut [0; 8]), Err(Errno(22)));
    let render = c.render;
    assert_eq!(
        unsafe { c.io.ioctl(render, 0x8008_4B01, [0u8; 8].as_mut_ptr()) },
        Err(Errno(25))
    );
}

#[test]
fn one_address_space_for_a_process() {
    let io = Simulated::new(settings());
    let (mut a, mut b) = (Context::open(&io), Context::open(&io));
    let va = a.reserve(4096);
    assert_eq!(
        a.alloc_at(va, 4096, SHARED),
        Err(Errno(19)),
        "before ACQUIRE_VM"
    );
    a.acquire().unwrap();
    a.acquire().unwrap();
    assert_eq!(b.acquire(), Err(Errno(16)));
    let mut shared = structure(&[pair(a.render.0 as u32, GPU)]);
    assert_eq!(b.request(0x15, &mut shared), Ok(0));
    assert_eq!(
        b.request(0x15, &mut structure(&[pair(a.render.0 as u32, 1)])),
        Err(Errno(22))
    );
}

#[test]
fn memory_is_allocated_and_mapped_by_the_rules() {
    let mut c = Context::new(settings());
    let va = c.reserve(1 << 20);
    for (address, len, flags) in [
        (va, 0, SHARED),
        (va + 1, 4096, SHARED),
        (va, 100, SHARED),
        (0, 4096, SHARED),
        (1 << 47, 4096, SHARED),
        (va, 4096, WRITABLE),
        (va, 4096, SHARED | VRAM),
        (va, 4096, SHARED | 1 << 10),
        (va, 4096, USERPTR | WRITABLE),
    ] {
        assert_eq!(
            c.alloc_at(address, len, flags),
            Err(Errno(22)),
            "{address:#x} {len} {flags:#x}"
        );
    }
    let (handle, offset) = c.alloc_at(va, 8192, SHARED).unwrap();
    assert_eq!(c.map_gpu(handle + 1), Err(Errno(22)));
    assert_eq!(c.map_gpu(handle), Ok(0));
    assert_eq!(c.map_gpu(handle), Err(Errno(22)), "twice");
    let (other, _) = c.alloc_at(va + 4096, 4096, SHARED).unwrap();
    assert_eq!(c.map_gpu(other), Err(Errno(22)), "over another");
    assert_eq!(c.free(handle), Err(Errno(16)), "while it is mapped");
    let render = Some(c.render);
    let mut map = |len, flags, offset| unsafe { c.io.mmap(va, len, BOTH, flags, render, offset) };
    assert_eq!(map(4096, FIXED, offset), Err(Errno(22)), "a part");
    assert_eq!(
        map(8192, libc::MAP_PRIVATE | libc::MAP_FIXED, offset),
        Err(Errno(22))
    );
    assert_eq!(map(8192, FIXED, offset + 4096), Err(Errno(22)));
    assert_eq!(map(8192, FIXED, offset), Ok(va));
    unsafe {
        assert_eq!(c.io.load32(va), POISON);
        c.io.store32(va + 8188, 5);
        assert_eq!(c.io.load32(va + 8188), 5);
        assert!(c.io.violations().is_empty());
        c.io.store32(va + 8192, 5);
        assert_eq!(c.io.load32(va + 8192), POISON);
    }
    assert_eq!(c.io.violations().len(), 2);
    // Not over what nobody reserved.
    assert_eq!(
        unsafe {
            c.io.mmap(0x1000_0000, 4096, BOTH, RESERVE | libc::MAP_FIXED, None, 0)
        },
        Err(Errno(22))
    );
    c.unmap_gpu(handle).unwrap();
    assert_eq!(c.map_gpu(other), Ok(0));
    c.unmap_gpu(other).unwrap();
    c.free(other).unwrap();
    c.free(handle).unwrap();
    assert_eq!(c.free(handle), Err(Errno(22)));
    assert!(!c.io.leaks().is_empty());
    unsafe { c.io.munmap(va, 1 << 20) }.unwrap();
    let io = c.io.clone();
    c.close();
    assert!(io.leaks().is_empty(), "{:?}", io.leaks());
}

#[test]
fn video_memory_has_its_rules() {
    let mut c = Context::new(Settings {
        large_bar: false,
        vram_bytes: 8192,
        ..settings()
    });
    let va = c.reserve(1 << 16);
    assert_eq!(
        c.alloc_at(va, 4096, VRAM | PUBLIC | WRITABLE),
        Err(Errno(22))
    );
    let (_, offset) = c.alloc_at(va, 8192, VRAM | WRITABLE).unwrap();
    let render = Some(c.render);
    let mapped = unsafe { c.io.mmap(va, 8192, BOTH, FIXED, render, offset) };
    assert_eq!(mapped, Err(Errno(1)));
    assert_eq!(c.alloc_at(va + 8192, 4096, VRAM | WRITABLE), Err(Errno(12)));
    let mut available = structure(&[0, u64::from(GPU)]);
    c.request(0x23, &mut available).unwrap();
    assert_eq!(word(&available, 0), 0);
}

#[test]
fn events_need_their_page() {
    let mut c = Context::new(settings());
    assert_eq!(c.event(0, 0), Err(Errno(22)), "no page");
    let small = c.memory(4096, SHARED);
    assert_eq!(c.event(0, small.handle), Err(Errno(22)));
    let page = c.memory(1 << 15, SHARED);
    let signal = c.event(0, page.handle).unwrap();
    assert_eq!(signal, 1);
    assert_eq!(unsafe { c.io.load64(page.at + 8) }, u64::MAX);
    assert_eq!(c.event(0, page.handle), Err(Errno(22)), "a second page");
    let other = c.event(0, 0).unwrap();
    let fault = c.event(8, 0).unwrap();
    assert_eq!(c.event(5, 0), Err(Errno(22)));
    assert!(fault >= 1 << 30);
    assert_eq!(c.wait(&[signal, other, fault], 250), None);
    assert_eq!(c.io.waited(), 250);
    c.request(0x0A, &mut structure(&[u64::from(other)]))
        .unwrap();
    assert!(c.wait(&[signal, other], 250).is_some());
    assert_eq!(c.wait(&[signal, other], 1), None, "it resets by itself");
    c.unmap_gpu(page.handle).unwrap();
    assert_eq!(
        c.free(page.handle),
        Err(Errno(1)),
        "the page stays for ever"
    );
    for id in [signal, other, fault] {
        c.request(0x09, &mut structure(&[u64::from(id)])).unwrap();
    }
    assert_eq!(
        c.request(0x09, &mut structure(&[u64::from(fault)])),
        Err(Errno(22))
    );
    c.give_back(small);
    let io = c.io.clone();
    c.close();
    assert!(io.leaks().is_empty(), "{:?}", io.leaks());
}

#[test]
fn queues_need_exact_buffers() {
    let mut c = Context::new(settings());
    let ring = c.memory(RING, SHARED);
    let pointers = c.memory(4096, SHARED);
    let eop = c.memory(4096, VRAM | WRITABLE);
    let units = u64::from(UNITS);
    let (size, control, allocation) = save_sizes(units);
    let save = c.memory(allocation, GTT | WRITABLE);
    let good = Ring::words(ring, pointers, eop, save, false, units);
    let change = |at: usize, value: u64| {
        let mut words = good.clone();
        words[at] = value;
        structure(&words)
    };
    let gpu = |len: u32| pair(len, GPU);
    for (what, mut words) in [
        ("ring elsewhere", change(0, ring.at + 4096)),
        ("ring of another size", change(4, gpu(2048))),
        ("ring that is no power of two", change(4, gpu(3000))),
        ("another device", change(4, pair(RING as u32, 1))),
        ("another kind", change(5, pair(3, 100))),
        ("more than all", change(5, pair(0, 101))),
        ("priority", change(6, pair(16, 0))),
        ("no end-of-pipe buffer", change(7, 0)),
        ("end-of-pipe size", change(8, 2048)),
        ("save area elsewhere", change(9, save.at + 4096)),
        (
            "save area smaller",
            change(10, pair(size as u32 - 4096, control as u32)),
        ),
        (
            "save area larger",
            change(10, pair(size as u32 + 4096, control as u32)),
        ),
        (
            "list of waves",
            change(10, pair(size as u32, control as u32 + 4096)),
        ),
        ("pointers elsewhere", change(1, ring.at + RING)),
    ] {
        assert_eq!(c.request(0x02, &mut words), Err(Errno(22)), "{what}");
    }
    // An allocation that is too large is refused too.
    let large = c.memory(allocation + 4096, GTT | WRITABLE);
    assert_eq!(c.request(0x02, &mut change(9, large.at)), Err(Errno(22)));
    c.give_back(large);
    let mut a = structure(&good);
    c.request(0x02, &mut a).unwrap();
    assert_eq!(
        c.unmap_gpu(ring.handle),
        Err(Errno(16)),
        "while the queue lives"
    );
    assert_eq!(c.request(0x25, &mut structure(&[0, 1])), Err(Errno(17)));
    let offset = word(&a, 24) & !0x1FFF;
    let kfd = Some(c.kfd);
    let mut map = |len, offset| unsafe { c.io.mmap(0, len, BOTH, libc::MAP_SHARED, kfd, offset) };
    assert_eq!(map(4096, offset), Err(Errno(22)));
    assert_eq!(map(0x2000, offset ^ 1 << 46), Err(Errno(22)));
    let doorbells = map(0x2000, offset).unwrap();
    unsafe { c.io.munmap(doorbells, 0x2000) }.unwrap();
    assert_eq!(c.io.leaks().queues, 1);
    c.request(0x03, &mut structure(&[word(&a, 48) >> 32]))
        .unwrap();
    assert_eq!(
        c.request(0x03, &mut structure(&[word(&a, 48) >> 32])),
        Err(Errno(22))
    );
    [ring, pointers, eop, save]
        .into_iter()
        .for_each(|m| c.give_back(m));
    let io = c.io.clone();
    c.close();
    assert!(io.leaks().is_empty(), "{:?}", io.leaks());
}

/// Looks until a value is there; how often at most.
fn poll(c: &mut Context, address: u64, value: u64) -> bool {
    (0..1000).any(|_| unsafe { c.io.load64(address) } == value)
}

#[test]
fn doorbells_start_packets() {
    for shadow in [false, true] {
        let mut c = Context::new(Settings {
            shadow,
            ..settings()
        });
        let mut q = queue(&mut c);
        let signal = c.memory(4096, SHARED);
        // Longer than the ring together, so that packets wrap.
        c.io.take_trace();
        for round in 1..400u64 {
            q.submit(&mut c, &release(signal.at, round, None));
            assert!(
                poll(&mut c, signal.at, round),
                "round {round}, shadow {shadow}"
            );
        }
        let trace = c.io.take_trace();
        assert!(!trace.iter().any(|t| matches!(t, Trace::Call { .. })));
        let stores = |what: Place| {
            let of = |t: &&Trace| matches!(t, Trace::Store { place, .. } if *place == what);
            trace.iter().filter(of).count()
        };
        assert_eq!(stores(Place::Doorbell), 399);
        assert_eq!(stores(Place::Pointers), 399);
        assert_eq!(stores(Place::Ring), 399 * 8);
        let read = unsafe { c.io.load64(q.pointers.at + 0x80) };
        assert_eq!(read, 399 * 8);
        assert_eq!(c.io.fault(), None);
        assert!(c.io.violations().is_empty(), "{:?}", c.io.violations());
        q.close(&mut c);
        c.give_back(signal);
        let io = c.io.clone();
        c.close();
        assert!(io.leaks().is_empty(), "{:?}", io.leaks());
    }
}

#[test]
fn packets_of_aql_hold_indirect_buffers() {
    let mut c = Context::new(settings());
    let mut q = Ring::new(&mut c, true, u64::from(UNITS));
    let signal = c.memory(4096, SHARED);
    let stream = c.memory(4096, SHARED);
    let words = release(signal.at, 77, None);
    for (n, w) in (0..).zip(&words) {
        unsafe { c.io.store32(stream.at + 4 * n, *w) };
    }
    let mut vendor = vec![1 << 16];
    vendor.extend(indirect(stream.at, words.len() as u32));
    vendor.extend([10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for _ in 0..100 {
        q.submit(&mut c, &vendor);
        c.io.settle();
        assert!(poll(&mut c, signal.at, 77));
        unsafe { c.io.store64(signal.at, 0) };
    }
    assert_eq!(c.io.fault(), None);
    vendor[5] = 9;
    q.submit(&mut c, &vendor);
    c.io.settle();
    assert!(c.io.fault().unwrap().contains("9 words remain"));
}

#[test]
fn what_is_wrong_with_a_doorbell_is_found() {
    let run = |damage: &dyn Fn(&mut Context, &mut Ring)| {
        let mut c = Context::new(settings());
        let mut q = queue(&mut c);
        damage(&mut c, &mut q);
        c.io.settle();
        (
            c.io.fault().unwrap_or_default(),
            c.io.violations().join("; "),
        )
    };
    let nops = [0xC000_1000, 0, 0xC000_1000, 0];
    let (fault, _) = run(&|c, q| {
        q.put(c, &nops);
        c.io.fence();
        unsafe { c.io.store64(q.doorbell, 3) };
    });
    assert!(fault.contains("write pointer"), "{fault}");
    let (fault, violations) = run(&|c, q| {
        q.put(c, &nops);
        q.ring(c);
    });
    assert_eq!(
        (fault.as_str(), violations.as_str()),
        ("", "a doorbell before a fence")
    );
    let (_, violations) = run(&|c, q| unsafe { c.io.store32(q.doorbell, 0) });
    assert!(violations.contains("8 bytes"), "{violations}");
    let (_, violations) = run(&|c, q| unsafe { c.io.store64(q.doorbell + 8, 0) });
    assert!(violations.contains("no queue's"), "{violations}");
    let (fault, _) = run(&|c, q| {
        q.write = 5000;
        q.put(c, &nops);
        c.io.fence();
        q.ring(c);
    });
    assert!(fault.contains("in a ring of 1024"), "{fault}");
    let (fault, _) = run(&|c, q| q.submit(c, &[0xBADC_0DED, 0]));
    assert!(fault.contains("no packet of type 3"), "{fault}");
}

/// A context with a page of events, one for signals, one for faults, one for what the hardware does.
fn with_events(settings: Settings) -> (Context, Ring, Memory, [u32; 3]) {
    let mut c = Context::new(settings);
    let q = queue(&mut c);
    let page = c.memory(1 << 15, SHARED);
    let signal = c.event(0, page.handle).unwrap();
    let fault = c.event(8, 0).unwrap();
    let hardware = c.event(3, 0).unwrap();
    (c, q, page, [signal, fault, hardware])
}

#[test]
fn interrupts_wake_those_whose_mailbox_was_written() {
    let (mut c, mut q, page, events) = with_events(Settings {
        lazy: true,
        ..settings()
    });
    let signal = events[0];
    let mailbox = page.at + 8 * u64::from(signal);
    let value = c.memory(4096, SHARED);
    let mut stream = release(value.at, 1, None);
    stream.extend(release(mailbox, u64::from(signal), Some(signal)));
    q.submit(&mut c, &stream);
    assert!(!poll(&mut c, value.at, 1), "a lazy device");
    assert!(c.wait(&events, 1000).is_some());
    assert!(poll(&mut c, value.at, 1));
    assert_eq!(c.wait(&events, 1000), None);
    assert!(c.io.violations().is_empty());
    // Without the mailbox, and of an event that is none.
    q.submit(&mut c, &release(value.at, 2, Some(signal)));
    assert_eq!(c.wait(&events, 1000), None);
    q.submit(&mut c, &release(mailbox, 2, Some(signal + 1)));
    assert_eq!(c.wait(&events, 1000), None);
    assert_eq!(c.io.violations().len(), 2, "{:?}", c.io.violations());
}

#[test]
fn faults_are_events_with_addresses() {
    let (mut c, mut q, _, events) = with_events(settings());
    let nowhere = c.reserve(4096);
    q.submit(&mut c, &release(nowhere + 0x18, 1, None));
    let data = c.wait(&events, 1000).unwrap();
    assert_eq!(
        data[1],
        [1, 0, 0, 0, nowhere as u32, (nowhere >> 32) as u32, GPU, 0]
    );
    assert_eq!(data[2], [0; 8]);
    assert!(c.io.fault().unwrap().contains("RELEASE_MEM"));
    // The queue is dead.
    q.submit(&mut c, &[0xC000_1000, 0]);
    assert_eq!(c.wait(&events, 1000), None);

    let (mut c, mut q, _, events) = with_events(settings());
    q.submit(&mut c, &[0xC000_9900, 0]);
    let data = c.wait(&events, 1000).unwrap();
    assert_eq!(data[1], [0; 8]);
    assert_eq!(data[2], [1, 0, 0, GPU, 0, 0, 0, 0]);
    assert!(c.io.fault().unwrap().contains("opcode 0x99"));
}

#[test]
fn a_hang_is_a_timeout() {
    let (mut c, mut q, page, events) = with_events(settings());
    q.submit(&mut c, &wait_for(page.at + 4096, 0));
    unsafe { c.io.store32(page.at + 4096, 0) };
    c.io.fence();
    c.io.settle();
    let value = c.memory(4096, SHARED);
    unsafe { c.io.store32(value.at, 0) };
    q.submit(&mut c, &wait_for(value.at, 1));
    assert_eq!(c.wait(&events, 5000), None);
    assert_eq!((c.io.waited(), c.io.fault()), (5000, None));
    unsafe { c.io.store32(value.at, 1) };
    c.io.fence();
    c.io.settle();
    assert_eq!(unsafe { c.io.load64(q.pointers.at + 0x80) }, q.write);
}

#[test]
fn queues_of_two_contexts_wait_for_each_other() {
    let io = Simulated::new(settings());
    let mut a = Context::open(&io);
    a.acquire().unwrap();
    let mut b = Context::open(&io);
    let mut shared = structure(&[pair(a.render.0 as u32, GPU)]);
    b.request(0x15, &mut shared).unwrap();
    let (mut p, mut q) = (queue(&mut a), queue(&mut b));
    let values = a.memory(4096, SHARED);
    unsafe {
        a.io.store64(values.at, 0);
        a.io.store64(values.at + 8, 0);
    }
    for round in 1..50 {
        // The first waits for the second, which waits for the first.
        let mut first = release(values.at, round, None);
        first.extend(wait_for(values.at + 8, round as u32));
        first.extend(release(values.at + 16, round, None));
        let mut second = wait_for(values.at, round as u32);
        second.extend(release(values.at + 8, round, None));
        p.submit(&mut a, &first);
        q.submit(&mut b, &second);
        assert!(poll(&mut b, values.at + 16, round));
    }
    assert_eq!(io.fault(), None);
    p.close(&mut a);
    q.close(&mut b);
    a.give_back(values);
    a.close();
    b.close();
    assert!(io.leaks().is_empty(), "{:?}", io.leaks());
}

#[test]
fn in_shadow_mode_nothing_is_seen_too_early() {
    let shadow = || Settings {
        shadow: true,
        ..settings()
    };
    let mut c = Context::new(shadow());
    let mut q = queue(&mut c);
    let signal = c.memory(4096, SHARED);
    let near = c.memory(4096, SHARED);
    let far = c.memory(4096, VRAM | PUBLIC | WRITABLE);
    let out = c.memory(4096, SHARED);
    unsafe {
        c.io.store32(near.at, 11);
        c.io.store32(far.at, 22);
    }
    let mut see = [0; 4];
    assert!(c.io.peek(near.at, &mut see));
    assert_eq!(u32::from_le_bytes(see), POISON, "before a fence");
    // The host's memory is seen after a fence, the device's after a flush.
    let mut stream = copy(near.at, out.at);
    stream.extend(copy(far.at, out.at + 4));
    stream.extend(flush_host());
    stream.extend(copy(far.at, out.at + 8));
    stream.extend(release(signal.at, 1, None));
    q.submit(&mut c, &stream);
    assert!(poll(&mut c, signal.at, 1));
    let seen = [0, 4, 8].map(|n| unsafe { c.io.load32(out.at + n) });
    assert_eq!(seen, [11, POISON, 22]);
    // What the host writes through a pointer counts as well.
    unsafe { (near.at as *mut u32).write_volatile(12) };
    c.io.fence();
    assert!(c.io.peek(near.at, &mut see));
    assert_eq!(u32::from_le_bytes(see), 12);
}

#[test]
fn memory_of_the_caller_is_registered() {
    for shadow in [false, true] {
        let mut c = Context::new(Settings {
            shadow,
            ..settings()
        });
        let mut q = queue(&mut c);
        let own = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            libc::mmap(std::ptr::null_mut(), 8192, BOTH, flags, -1, 0) as u64
        };
        let mut a = structure(&[own, 8192, 0, own, pair(GPU, USERPTR | WRITABLE | COHERENT)]);
        c.request(0x16, &mut a).unwrap();
        let handle = word(&a, 16);
        c.map_gpu(handle).unwrap();
        unsafe { (own as *mut u32).write_volatile(5) };
        let mut stream = copy(own, own + 4096);
        stream.extend(release(own + 8, 9, None));
        q.submit(&mut c, &stream);
        assert!(poll(&mut c, own + 8, 9));
        assert_eq!(unsafe { (own as *const u32).add(1024).read_volatile() }, 5);
        c.unmap_gpu(handle).unwrap();
        c.free(handle).unwrap();
        unsafe { libc::munmap(own as *mut _, 8192) };
        assert!(c.io.violations().is_empty());
    }
}
