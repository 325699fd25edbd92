//! The boundary to a kernel driver: every system call and every access to memory that hardware sees.
//!
//! In: requests of a replay device. Out: what the driver and the hardware answer. A replay device is generic over both traits, so the same code
//! drives a real card (raw system calls, volatile accesses) and a simulated one. In every mapping the processor's address is the device's address.
//!
//! ```
//! use tinyc_runtime::io::{Errno, Fd, KernelIo};
//! # #[derive(Default)]
//! # struct Nothing(tinyc_runtime::io::ProcessWords);
//! # impl KernelIo for Nothing {
//! #     fn process(&self) -> &tinyc_runtime::io::ProcessWords { &self.0 }
//! #     fn open(&mut self, _: &core::ffi::CStr, _: i32) -> Result<Fd, Errno> { Err(Errno::NO_ENTRY) }
//! #     fn close(&mut self, _: Fd) {}
//! #     fn read(&mut self, _: Fd, _: &mut [u8]) -> Result<usize, Errno> { Err(Errno(9)) }
//! #     unsafe fn ioctl(&mut self, _: Fd, _: u32, _: *mut u8) -> Result<i32, Errno> { Err(Errno(9)) }
//! #     unsafe fn mmap(&mut self, _: u64, _: u64, _: i32, _: i32, _: Option<Fd>, _: u64) -> Result<u64, Errno> { Err(Errno(12)) }
//! #     unsafe fn munmap(&mut self, _: u64, _: u64) -> Result<(), Errno> { Ok(()) }
//! # }
//! fn has_driver(io: &mut impl KernelIo) -> bool {
//!     io.open(c"/dev/kfd", 0).map(|fd| io.close(fd)).is_ok()
//! }
//! assert!(!has_driver(&mut Nothing::default()));
//! ```

/// An error number of the kernel, positive: 2 is ENOENT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    /// ENOENT: there is no such file.
    pub const NO_ENTRY: Errno = Errno(2);
    /// EINTR: a signal came first.
    pub const INTERRUPTED: Errno = Errno(4);
    /// ENOMEM: no memory of the kind asked for.
    pub const NO_MEMORY: Errno = Errno(12);
    /// EACCES: the file may not be opened.
    pub const ACCESS: Errno = Errno(13);
    /// EINVAL: an argument is refused.
    pub const INVALID: Errno = Errno(22);
    /// EPERM: the operation is not allowed.
    pub const NOT_PERMITTED: Errno = Errno(1);
    /// EIO: the device is lost.
    pub const DEVICE: Errno = Errno(5);
    /// ENODEV: there is no such device.
    pub const NO_DEVICE: Errno = Errno(19);
    /// ENOSPC: no place left.
    pub const NO_SPACE: Errno = Errno(28);
}

impl core::fmt::Display for Errno {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let text = match *self {
            Errno::NOT_PERMITTED => "operation not permitted",
            Errno::NO_ENTRY => "no such file",
            Errno::INTERRUPTED => "interrupted",
            Errno::DEVICE => "input/output error",
            Errno::NO_MEMORY => "not enough memory",
            Errno::ACCESS => "permission denied",
            Errno::NO_DEVICE => "no such device",
            Errno::INVALID => "invalid argument",
            Errno::NO_SPACE => "no space left",
            Errno(number) => return write!(f, "error {number}"),
        };
        f.write_str(text)
    }
}

/// A file descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fd(pub i32);

/// Words that live as long as the process; see [`KernelIo::process`].
pub type ProcessWords = [core::sync::atomic::AtomicU64; 8];

/// System calls. Numbers of flags and requests are Linux's.
pub trait KernelIo {
    /// Words that live as long as the process, zero at first, the same for all contexts that talk to this kernel. Drivers tie things to the process
    /// that contexts have to share: an address space, a page of mailboxes. What a word means is the replay device's matter.
    fn process(&self) -> &ProcessWords;

    /// Opens a file.
    fn open(&mut self, path: &core::ffi::CStr, flags: i32) -> Result<Fd, Errno>;

    /// Closes a descriptor.
    fn close(&mut self, fd: Fd);

    /// Reads a whole small file (sysfs) from its start; returns bytes read. A file that is longer than `out` is cut off.
    fn read(&mut self, fd: Fd, out: &mut [u8]) -> Result<usize, Errno>;

    /// A request to a driver.
    ///
    /// # Safety
    /// `arg` points to the structure that the request wants; pointers in it are valid for what the request does with them.
    unsafe fn ioctl(&mut self, fd: Fd, request: u32, arg: *mut u8) -> Result<i32, Errno>;

    /// Maps memory; address 0 lets the kernel choose.
    ///
    /// # Safety
    /// With `MAP_FIXED` the range is one that this caller reserved and that nothing uses.
    unsafe fn mmap(
        &mut self,
        address: u64,
        bytes: u64,
        prot: i32,
        flags: i32,
        fd: Option<Fd>,
        offset: u64,
    ) -> Result<u64, Errno>;

    /// Takes a mapping away.
    ///
    /// # Safety
    /// Nothing uses the range any more.
    unsafe fn munmap(&mut self, address: u64, bytes: u64) -> Result<(), Errno>;
}

/// Volatile access to memory that hardware sees. Addresses come from [`KernelIo::mmap`] of the same object, or are memory of the caller that was
/// registered with the driver.
pub trait Mmio {
    /// Reads 4 bytes.
    ///
    /// # Safety
    /// The address is mapped for reading and a multiple of 4.
    unsafe fn load32(&mut self, address: u64) -> u32;

    /// Reads 8 bytes at once.
    ///
    /// # Safety
    /// The address is mapped for reading and a multiple of 8.
    unsafe fn load64(&mut self, address: u64) -> u64;

    /// Writes 4 bytes.
    ///
    /// # Safety
    /// The address is mapped for writing and a multiple of 4; nothing of Rust's lives there.
    unsafe fn store32(&mut self, address: u64, value: u32);

    /// Writes 8 bytes at once.
    ///
    /// # Safety
    /// The address is mapped for writing and a multiple of 8; nothing of Rust's lives there.
    unsafe fn store64(&mut self, address: u64, value: u64);

    /// All stores before are visible to the device before all stores after.
    fn fence(&mut self);

    /// A short rest in a polling loop. A simulated device works here.
    fn relax(&mut self);

    /// Copies bytes to memory that the device sees.
    ///
    /// # Safety
    /// The range is mapped for writing; nothing of Rust's lives there.
    unsafe fn copy_to(&mut self, address: u64, bytes: &[u8]);

    /// Copies bytes from memory that the device sees.
    ///
    /// # Safety
    /// The range is mapped for reading.
    unsafe fn copy_from(&mut self, address: u64, out: &mut [u8]);
}
