//! System calls of Linux on x86-64 and AArch64: numbers, the instruction, safe wrappers.
//!
//! In: arguments. Out: `Ok` or the error number. Nothing here allocates.

use core::arch::asm;
use core::sync::atomic::AtomicU32;

/// An error number of the kernel: 2 is ENOENT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// What it means, for the ones a user meets.
    pub fn message(self) -> &'static str {
        match self.0 {
            2 => "no such file or directory",
            12 => "not enough memory",
            13 => "permission denied",
            17 => "file exists",
            20 => "not a directory",
            21 => "is a directory",
            27 => "file too large",
            28 => "no space left on device",
            30 => "read-only file system",
            32 => "broken pipe",
            _ => "system error",
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod number {
    pub const READ: usize = 0;
    pub const WRITE: usize = 1;
    pub const MMAP: usize = 9;
    pub const FUTEX: usize = 202;
    pub const CLOCK_GETTIME: usize = 228;
    pub const EXIT_GROUP: usize = 231;
    pub const OPENAT: usize = 257;
    pub const LSEEK: usize = 8;
    pub const MADVISE: usize = 28;
    pub const SCHED_SETAFFINITY: usize = 203;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub const READ: usize = 63;
    pub const WRITE: usize = 64;
    pub const MMAP: usize = 222;
    pub const FUTEX: usize = 98;
    pub const CLOCK_GETTIME: usize = 113;
    pub const EXIT_GROUP: usize = 94;
    pub const OPENAT: usize = 56;
    pub const LSEEK: usize = 62;
    pub const MADVISE: usize = 233;
    pub const SCHED_SETAFFINITY: usize = 122;
}

/// One system call.
///
/// # Safety
/// The arguments must be what the call expects: pointers valid for as long and as far as it uses them.
#[cfg(target_arch = "x86_64")]
unsafe fn call(n: usize, a: [usize; 6]) -> Result<usize, Errno> {
    let result: isize;
    // SAFETY: the ABI of `syscall`: number in rax, arguments in these registers, rcx and r11 lost.
    unsafe {
        asm!("syscall", inlateout("rax") n as isize => result, in("rdi") a[0], in("rsi") a[1],
            in("rdx") a[2], in("r10") a[3], in("r8") a[4], in("r9") a[5],
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    check(result)
}

/// One system call.
///
/// # Safety
/// The arguments must be what the call expects: pointers valid for as long and as far as it uses them.
#[cfg(target_arch = "aarch64")]
unsafe fn call(n: usize, a: [usize; 6]) -> Result<usize, Errno> {
    let result: isize;
    // SAFETY: the ABI of `svc 0`: number in x8, arguments in x0 to x5, result in x0.
    unsafe {
        asm!("svc 0", in("x8") n, inlateout("x0") a[0] as isize => result, in("x1") a[1],
            in("x2") a[2], in("x3") a[3], in("x4") a[4], in("x5") a[5], options(nostack));
    }
    check(result)
}

fn check(result: isize) -> Result<usize, Errno> {
    if (-4095..0).contains(&result) {
        Err(Errno(-result as i32))
    } else {
        Ok(result as usize)
    }
}

const AT_FDCWD: usize = -100isize as usize;

/// A file descriptor that stays open until the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fd(pub usize);

/// Opens a file to read. The path ends with a zero byte.
pub fn open(path: &core::ffi::CStr) -> Result<Fd, Errno> {
    const READ_ONLY_CLOEXEC: usize = 0o2000000;
    // SAFETY: the path is valid and ends with zero.
    let fd = unsafe {
        call(
            number::OPENAT,
            [AT_FDCWD, path.as_ptr() as usize, READ_ONLY_CLOEXEC, 0, 0, 0],
        )
    };
    fd.map(Fd)
}

/// Makes or empties a file to write.
pub fn create(path: &core::ffi::CStr) -> Result<Fd, Errno> {
    const WRITE_CREATE_TRUNCATE_CLOEXEC: usize = 0o2001101;
    let arguments = [
        AT_FDCWD,
        path.as_ptr() as usize,
        WRITE_CREATE_TRUNCATE_CLOEXEC,
        0o644,
        0,
        0,
    ];
    // SAFETY: the path is valid and ends with zero.
    unsafe { call(number::OPENAT, arguments) }.map(Fd)
}

/// Writes all bytes.
pub fn write(fd: Fd, mut bytes: &[u8]) -> Result<(), Errno> {
    const INTERRUPTED: Errno = Errno(4);
    while !bytes.is_empty() {
        // SAFETY: the slice is valid for its length.
        match unsafe {
            call(
                number::WRITE,
                [fd.0, bytes.as_ptr() as usize, bytes.len(), 0, 0, 0],
            )
        } {
            Ok(n) => bytes = bytes.get(n..).unwrap_or(&[]),
            Err(INTERRUPTED) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Reads until the bytes are full; false when the end comes first.
pub fn read(fd: Fd, mut bytes: &mut [u8]) -> Result<bool, Errno> {
    const INTERRUPTED: Errno = Errno(4);
    while !bytes.is_empty() {
        // SAFETY: the slice is valid for its length.
        match unsafe {
            call(
                number::READ,
                [fd.0, bytes.as_mut_ptr() as usize, bytes.len(), 0, 0, 0],
            )
        } {
            Ok(0) => return Ok(false),
            Ok(n) => bytes = bytes.get_mut(n..).unwrap_or(&mut []),
            Err(INTERRUPTED) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(true)
}

/// Keeps this thread on one processor, where the system lets it.
pub fn stay_on(processor: u32) {
    let mut mask = [0u64; 16];
    if let Some(word) = mask.get_mut(processor as usize / 64) {
        *word = 1 << (processor % 64);
        // SAFETY: 0 is this thread; the mask is valid for the size given.
        let _ = unsafe {
            call(
                number::SCHED_SETAFFINITY,
                [0, size_of_val(&mask), mask.as_ptr() as usize, 0, 0, 0],
            )
        };
    }
}

/// A whole file as memory. It stays mapped until the process ends.
pub fn map_file(fd: Fd) -> Result<&'static [u8], Errno> {
    const END: usize = 2;
    // SAFETY: takes numbers only.
    let size = unsafe { call(number::LSEEK, [fd.0, 0, END, 0, 0, 0]) }?;
    if size == 0 {
        return Ok(&[]);
    }
    const READ: usize = 1;
    const PRIVATE: usize = 2;
    // SAFETY: a new mapping at an address that the system picks.
    let at = unsafe { call(number::MMAP, [0, size, READ, PRIVATE, fd.0, 0]) }?;
    // SAFETY: the mapping has `size` bytes and is never undone. A file that another process cuts short
    // meanwhile ends this one with SIGBUS; nothing can prevent that.
    Ok(unsafe { core::slice::from_raw_parts(at as *const u8, size) })
}

/// Zeroed memory, page-aligned, that stays until the process ends. In huge pages where the system has
/// them: kernels walk the arena in large strides.
pub fn memory(bytes: usize) -> Result<&'static mut [u8], Errno> {
    if bytes == 0 {
        return Ok(&mut []);
    }
    const READ_WRITE: usize = 3;
    const PRIVATE_ANONYMOUS: usize = 0x22;
    let arguments = [0, bytes, READ_WRITE, PRIVATE_ANONYMOUS, usize::MAX, 0];
    // SAFETY: a new mapping at an address that the system picks.
    let at = unsafe { call(number::MMAP, arguments) }?;
    const HUGE_PAGE: usize = 14;
    // SAFETY: advice about our own mapping. Refusing it does no harm.
    let _ = unsafe { call(number::MADVISE, [at, bytes, HUGE_PAGE, 0, 0, 0]) };
    // SAFETY: the mapping has `bytes` zeroed bytes, is new and is never undone.
    Ok(unsafe { core::slice::from_raw_parts_mut(at as *mut u8, bytes) })
}

/// Nanoseconds of the monotonic clock.
pub fn nanoseconds() -> u64 {
    const MONOTONIC: usize = 1;
    let mut time = [0u64; 2];
    // SAFETY: two words, as `struct timespec` of 64-bit systems has.
    let done = unsafe {
        call(
            number::CLOCK_GETTIME,
            [MONOTONIC, time.as_mut_ptr() as usize, 0, 0, 0, 0],
        )
    };
    if done.is_err() {
        return 0;
    }
    time[0].wrapping_mul(1_000_000_000).wrapping_add(time[1])
}

/// Sleeps while `*word` is `value`; may wake early.
pub fn sleep_while(word: &AtomicU32, value: u32) {
    const WAIT_PRIVATE: usize = 128;
    // SAFETY: the word is valid; no time limit.
    let _ = unsafe {
        call(
            number::FUTEX,
            [
                word.as_ptr() as usize,
                WAIT_PRIVATE,
                value as usize,
                0,
                0,
                0,
            ],
        )
    };
}

/// Wakes everyone who sleeps on `word`.
pub fn wake(word: &AtomicU32) {
    const WAKE_PRIVATE: usize = 129;
    // SAFETY: the word is valid.
    let _ = unsafe {
        call(
            number::FUTEX,
            [
                word.as_ptr() as usize,
                WAKE_PRIVATE,
                i32::MAX as usize,
                0,
                0,
                0,
            ],
        )
    };
}

/// Ends the process.
pub fn exit(code: i32) -> ! {
    loop {
        // SAFETY: does not return.
        let _ = unsafe { call(number::EXIT_GROUP, [code as usize, 0, 0, 0, 0, 0]) };
    }
}
