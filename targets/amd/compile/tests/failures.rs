//! Every system call of a model's life fails in turn, on the strict simulated driver: opening is refused or finds a way around, nothing is left
//! behind, nothing is done that the driver objects to, and the process can go on.
//!
//! Without clang for AMDGPU the test says that it skips.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod harness;

use harness::{build, negate, ready};
use std::ffi::CStr;
use tinyc_replay_amd::{Error, Model, Options};
use tinyc_runtime::io::{Errno, Fd, KernelIo, Mmio, ProcessWords};
use tinyc_simgpu::kfd::{Settings, Simulated};
use tinyc_target_amd::Chip;

/// The simulated driver, one of whose calls fails.
#[derive(Clone)]
struct Failing {
    inner: Simulated,
    calls: u32,
    /// Which call, with what.
    fails: Option<(u32, Errno)>,
    /// What the call was that failed.
    hit: std::rc::Rc<std::cell::Cell<Option<Call>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Open,
    Read,
    Ioctl(u32),
    Mmap,
    Munmap,
}

impl Failing {
    fn enter(&mut self, call: Call) -> Result<(), Errno> {
        self.calls += 1;
        match self.fails {
            Some((n, errno)) if n == self.calls => {
                self.hit.set(Some(call));
                Err(errno)
            }
            _ => Ok(()),
        }
    }
}

impl KernelIo for Failing {
    fn process(&self) -> &ProcessWords {
        self.inner.process()
    }
    fn open(&mut self, path: &CStr, flags: i32) -> Result<Fd, Errno> {
        self.enter(Call::Open)?;
        self.inner.open(path, flags)
    }
    fn close(&mut self, fd: Fd) {
        self.inner.close(fd);
    }
    fn read(&mut self, fd: Fd, out: &mut [u8]) -> Result<usize, Errno> {
        self.enter(Call::Read)?;
        self.inner.read(fd, out)
    }
    unsafe fn ioctl(&mut self, fd: Fd, request: u32, arg: *mut u8) -> Result<i32, Errno> {
        self.enter(Call::Ioctl(request & 0xFF))?;
        // As the caller promises.
        unsafe { self.inner.ioctl(fd, request, arg) }
    }
    unsafe fn mmap(
        &mut self,
        address: u64,
        bytes: u64,
        prot: i32,
        flags: i32,
        fd: Option<Fd>,
        offset: u64,
    ) -> Result<u64, Errno> {
        self.enter(Call::Mmap)?;
        // As the caller promises.
        unsafe { self.inner.mmap(address, bytes, prot, flags, fd, offset) }
    }
    unsafe fn munmap(&mut self, address: u64, bytes: u64) -> Result<(), Errno> {
        self.enter(Call::Munmap)?;
        // As the caller promises.
        unsafe { self.inner.munmap(address, bytes) }
    }
}

impl Mmio for Failing {
    unsafe fn load32(&mut self, address: u64) -> u32 {
        // As the caller promises, here and below.
        unsafe { self.inner.load32(address) }
    }
    unsafe fn load64(&mut self, address: u64) -> u64 {
        unsafe { self.inner.load64(address) }
    }
    unsafe fn store32(&mut self, address: u64, value: u32) {
        unsafe { self.inner.store32(address, value) }
    }
    unsafe fn store64(&mut self, address: u64, value: u64) {
        unsafe { self.inner.store64(address, value) }
    }
    fn fence(&mut self) {
        self.inner.fence();
    }
    fn relax(&mut self) {
        self.inner.relax();
    }
    unsafe fn copy_to(&mut self, address: u64, bytes: &[u8]) {
        unsafe { self.inner.copy_to(address, bytes) }
    }
    unsafe fn copy_from(&mut self, address: u64, out: &mut [u8]) {
        unsafe { self.inner.copy_from(address, out) }
    }
}

/// Opens, runs once, closes; how many calls it took.
fn live(bundle: &[u8], io: &Failing) -> Result<u32, Error> {
    let options = Options {
        polls: 20_000,
        ..Options::default()
    };
    let mut model = Model::open(tinyc_runtime::read(bundle).unwrap(), io.clone(), options)?;
    model.run()?;
    Ok(model.close().calls)
}

#[test]
fn every_call_may_fail() {
    let Some(target) = ready(Chip::Gfx1100) else {
        return;
    };
    let built = build(negate(), &target);
    let bundle = target.bundle(&built).unwrap();
    for large_bar in [true, false] {
        let machine = |fails| Failing {
            inner: Simulated::new(Settings {
                seed: 41,
                large_bar,
                units: 1,
                ..Settings::default()
            }),
            calls: 0,
            fails,
            hit: Default::default(),
        };
        let calls = live(&bundle, &machine(None)).unwrap();
        assert!(calls > 90, "{calls} calls: the test is blind");
        let mut refused = 0;
        for n in 1..=calls {
            // ENOMEM, EINVAL, EIO, EINTR: memory that is short, a driver of other habits, a lost device, a signal.
            for errno in [12, 22, 5, 4].map(Errno) {
                let io = machine(Some((n, errno)));
                let result = live(&bundle, &io);
                let call = io.hit.get().expect("a call failed");
                let text = format!("call {n} {call:?}, {errno}, large BAR {large_bar}: {result:?}");
                refused += u32::from(result.is_err());
                let leaks = io.inner.leaks();
                // DESTROY_QUEUE, DESTROY_EVENT, FREE, UNMAP and munmap that are refused leave what they were to take.
                let gives_back =
                    matches!(call, Call::Munmap | Call::Ioctl(0x03 | 0x09 | 0x17 | 0x19));
                // Requests that a signal interrupted are made again; munmap is never interrupted.
                if gives_back && (call == Call::Munmap || errno != Errno::INTERRUPTED) {
                    assert!(result.is_ok() || !large_bar, "{text}");
                    continue;
                }
                assert!(leaks.is_empty(), "{text}: {leaks:?}");
                assert!(
                    io.inner.violations().is_empty(),
                    "{text}: {:?}",
                    io.inner.violations()
                );
                let again = Failing {
                    inner: io.inner.clone(),
                    ..machine(None)
                };
                live(&bundle, &again).unwrap_or_else(|e| panic!("{text}, then {e}"));
                assert!(
                    io.inner.leaks().is_empty(),
                    "{text}, then {:?}",
                    io.inner.leaks()
                );
            }
        }
        assert!(refused > 100, "{refused} of the failures were noticed");
    }
}
