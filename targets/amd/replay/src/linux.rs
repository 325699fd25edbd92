//! The real kernel: raw system calls of Linux on x86-64 and AArch64, volatile accesses.
//!
//! In: calls of [`KernelIo`] and [`Mmio`]. Out: what the kernel and the hardware answer. No libc.

use core::arch::asm;
use tinyc_runtime::io::{Errno, Fd, KernelIo, Mmio, ProcessWords};

/// The kernel that this process runs on. All values are the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Linux;

#[cfg(target_arch = "x86_64")]
mod number {
    pub const CLOSE: usize = 3;
    pub const MMAP: usize = 9;
    pub const MUNMAP: usize = 11;
    pub const IOCTL: usize = 16;
    pub const PREAD: usize = 17;
    pub const OPENAT: usize = 257;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub const CLOSE: usize = 57;
    pub const MMAP: usize = 222;
    pub const MUNMAP: usize = 215;
    pub const IOCTL: usize = 29;
    pub const PREAD: usize = 67;
    pub const OPENAT: usize = 56;
}

/// One system call.
///
/// # Safety
/// The arguments must be what the call expects: pointers valid for as long and as far as it uses them.
unsafe fn call(n: usize, a: [usize; 6]) -> Result<usize, Errno> {
    let result: isize;
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the ABI of `syscall`: number in rax, arguments in these registers, rcx and r11 lost.
    unsafe {
        asm!("syscall", inlateout("rax") n as isize => result, in("rdi") a[0], in("rsi") a[1],
            in("rdx") a[2], in("r10") a[3], in("r8") a[4], in("r9") a[5],
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the ABI of `svc 0`: number in x8, arguments in x0 to x5, result in x0.
    unsafe {
        asm!("svc 0", in("x8") n, inlateout("x0") a[0] as isize => result, in("x1") a[1],
            in("x2") a[2], in("x3") a[3], in("x4") a[4], in("x5") a[5], options(nostack));
    }
    match result {
        -4095..0 => Err(Errno(-result as i32)),
        n => Ok(n as usize),
    }
}

// A common symbol: archives of several models in one program have it once, and so share what the driver gives to a process once. Shared libraries
// that export it share it too.
core::arch::global_asm!(".comm tinyc_amd_process_v1, 64, 64");

unsafe extern "C" {
    static tinyc_amd_process_v1: ProcessWords;
}

const AT_FDCWD: usize = -100isize as usize;

impl KernelIo for Linux {
    fn process(&self) -> &ProcessWords {
        // SAFETY: 64 zeroed bytes that live as long as the program and are only used as these words.
        unsafe { &tinyc_amd_process_v1 }
    }

    fn open(&mut self, path: &core::ffi::CStr, flags: i32) -> Result<Fd, Errno> {
        let arguments = [AT_FDCWD, path.as_ptr().addr(), flags as usize, 0, 0, 0];
        // SAFETY: the path is valid and ends with zero.
        unsafe { call(number::OPENAT, arguments) }.map(|fd| Fd(fd as i32))
    }

    fn close(&mut self, fd: Fd) {
        // SAFETY: takes a number. An error leaves nothing to be done.
        let _ = unsafe { call(number::CLOSE, [fd.0 as usize, 0, 0, 0, 0, 0]) };
    }

    fn read(&mut self, fd: Fd, out: &mut [u8]) -> Result<usize, Errno> {
        let mut count = 0;
        while let Some(rest) = out.get_mut(count..).filter(|r| !r.is_empty()) {
            let arguments = [
                fd.0 as usize,
                rest.as_mut_ptr().expose_provenance(),
                rest.len(),
                count,
                0,
                0,
            ];
            // SAFETY: the slice is valid for its length.
            match unsafe { call(number::PREAD, arguments) } {
                Ok(0) => break,
                Ok(n) => count += n,
                Err(Errno::INTERRUPTED) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(count)
    }

    unsafe fn ioctl(&mut self, fd: Fd, request: u32, arg: *mut u8) -> Result<i32, Errno> {
        let arguments = [
            fd.0 as usize,
            request as usize,
            arg.expose_provenance(),
            0,
            0,
            0,
        ];
        // SAFETY: the caller's promise.
        unsafe { call(number::IOCTL, arguments) }.map(|n| n as i32)
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
        let arguments = [
            address as usize,
            bytes as usize,
            prot as usize,
            flags as usize,
            fd.map_or(-1, |fd| fd.0 as isize) as usize,
            offset as usize,
        ];
        // SAFETY: the caller's promise.
        unsafe { call(number::MMAP, arguments) }.map(|at| at as u64)
    }

    unsafe fn munmap(&mut self, address: u64, bytes: u64) -> Result<(), Errno> {
        let arguments = [address as usize, bytes as usize, 0, 0, 0, 0];
        // SAFETY: the caller's promise.
        unsafe { call(number::MUNMAP, arguments) }.map(|_| ())
    }
}

fn at<T>(address: u64) -> *mut T {
    core::ptr::with_exposed_provenance_mut(address as usize)
}

impl Mmio for Linux {
    unsafe fn load32(&mut self, address: u64) -> u32 {
        // SAFETY: the caller's promise.
        unsafe { at::<u32>(address).read_volatile() }
    }

    unsafe fn load64(&mut self, address: u64) -> u64 {
        // SAFETY: the caller's promise.
        unsafe { at::<u64>(address).read_volatile() }
    }

    unsafe fn store32(&mut self, address: u64, value: u32) {
        // SAFETY: the caller's promise.
        unsafe { at::<u32>(address).write_volatile(value) }
    }

    unsafe fn store64(&mut self, address: u64, value: u64) {
        // SAFETY: the caller's promise.
        unsafe { at::<u64>(address).write_volatile(value) }
    }

    fn fence(&mut self) {
        // Device memory is write-combining: an ordinary fence of the language orders only what caches keep coherent.
        #[cfg(target_arch = "x86_64")]
        // SAFETY: an instruction without operands.
        unsafe {
            asm!("mfence", options(nostack, preserves_flags));
        }
        #[cfg(target_arch = "aarch64")]
        // SAFETY: an instruction without operands.
        unsafe {
            asm!("dsb sy", options(nostack, preserves_flags));
        }
    }

    fn relax(&mut self) {
        core::hint::spin_loop();
    }

    unsafe fn copy_to(&mut self, address: u64, bytes: &[u8]) {
        // SAFETY: the caller's promise; the device's memory and Rust's do not overlap.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), at(address), bytes.len()) };
        // The compiler may not move later stores to the device before it.
        core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
    }

    unsafe fn copy_from(&mut self, address: u64, out: &mut [u8]) {
        core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::SeqCst);
        // SAFETY: the caller's promise; the device's memory and Rust's do not overlap.
        unsafe { core::ptr::copy_nonoverlapping(at(address), out.as_mut_ptr(), out.len()) };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn files_and_memory_of_this_process() {
        let mut io = Linux;
        assert_eq!(io.open(c"/no/such/file", 0), Err(Errno::NO_ENTRY));
        let fd = io.open(c"/proc/self/comm", 0).unwrap();
        let mut name = [0; 64];
        let count = io.read(fd, &mut name).unwrap();
        assert!(count > 1 && name[count - 1] == b'\n');
        // SAFETY: not a driver: refused.
        let refused = unsafe { io.ioctl(fd, 0x8008_4B01, core::ptr::null_mut()) };
        assert_eq!(refused, Err(Errno(25)));
        io.close(fd);
        assert_eq!(io.read(fd, &mut name), Err(Errno(9)));
        // SAFETY: a mapping of our own.
        unsafe {
            let at = io.mmap(0, 4096, 3, 0x22, None, 0).unwrap();
            io.store64(at + 8, 0x1122_3344_5566_7788);
            io.fence();
            assert_eq!(io.load32(at + 8), 0x5566_7788);
            assert_eq!(io.load64(at), 0);
            io.copy_to(at, b"abcd");
            let mut out = [0; 5];
            io.copy_from(at, &mut out);
            assert_eq!(&out, b"abcd\0");
            io.munmap(at, 4096).unwrap();
        }
    }

    #[test]
    fn process_words_are_one() {
        let words = Linux.process();
        assert_eq!(words.len(), 8);
        assert!(core::ptr::eq(words, { Linux }.process()));
    }
}
