//! The device for C: contexts, runs, buffers, errors.
//!
//! In: a bundle in memory, and a table of functions where the kernel is not the real one. Out: functions `tinyc_amd_*`, for which the compiler
//! writes a header with the model's name. A context lies in memory of its own mapping: nothing calls `malloc`. One thread at a time uses a
//! context; several contexts may be open, of several archives too.
//!
//! Every function that returns a number returns 0, or one of [`code`]; [`tinyc_amd_error`] says more.

use crate::device::Options;
use crate::error::Error;
use crate::linux::Linux;
use crate::memory;
use crate::model::{Model, Ticket};
use core::ffi::{CStr, c_char, c_void};
use core::fmt::Write;
use core::time::Duration;
use tinyc_runtime::io::{Errno, Fd, KernelIo, Mmio, ProcessWords};

/// Functions that stand for a kernel: C's [`KernelIo`] and [`Mmio`]. Errors are negative error numbers, as system calls return them. The table, and
/// the words of the process, outlive every context.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Table {
    /// Given to every function.
    pub context: *mut c_void,
    /// 8 words, zero at first, the same for all contexts of one process of this kernel.
    pub process: *const ProcessWords,
    /// Path, flags: a descriptor.
    pub open: unsafe extern "C" fn(*mut c_void, *const c_char, i32) -> i32,
    /// A descriptor.
    pub close: unsafe extern "C" fn(*mut c_void, i32),
    /// A descriptor, where to, how many bytes: bytes read from the file's start.
    pub read: unsafe extern "C" fn(*mut c_void, i32, *mut u8, u64) -> i64,
    /// A descriptor, a request, its structure.
    pub ioctl: unsafe extern "C" fn(*mut c_void, i32, u32, *mut u8) -> i32,
    /// Address, bytes, protection, flags, descriptor or -1, offset: an address.
    pub mmap: unsafe extern "C" fn(*mut c_void, u64, u64, i32, i32, i32, u64) -> i64,
    /// Address, bytes.
    pub munmap: unsafe extern "C" fn(*mut c_void, u64, u64) -> i32,
    /// An address.
    pub load32: unsafe extern "C" fn(*mut c_void, u64) -> u32,
    /// An address.
    pub load64: unsafe extern "C" fn(*mut c_void, u64) -> u64,
    /// An address, a value.
    pub store32: unsafe extern "C" fn(*mut c_void, u64, u32),
    /// An address, a value.
    pub store64: unsafe extern "C" fn(*mut c_void, u64, u64),
    /// Stores before are visible to the device before stores after.
    pub fence: unsafe extern "C" fn(*mut c_void),
    /// A rest in a polling loop.
    pub relax: unsafe extern "C" fn(*mut c_void),
    /// An address, bytes to copy there.
    pub copy_to: unsafe extern "C" fn(*mut c_void, u64, *const u8, u64),
    /// An address, where to copy from there, bytes.
    pub copy_from: unsafe extern "C" fn(*mut c_void, u64, *mut u8, u64),
}

/// Results.
pub mod code {
    /// The caller asked for what is not possible.
    pub const ARGUMENT: i32 = 1;
    /// The artifact is damaged.
    pub const DAMAGED: i32 = 2;
    /// No driver, or no GPU.
    pub const NO_DEVICE: i32 = 3;
    /// This user may not open the device.
    pub const PERMISSION: i32 = 4;
    /// The driver is too old.
    pub const DRIVER: i32 = 5;
    /// The GPU is not the one that the model was compiled for.
    pub const WRONG_GPU: i32 = 6;
    /// Memory is not enough.
    pub const NO_MEMORY: i32 = 7;
    /// A kernel touched memory that is not there.
    pub const FAULT: i32 = 8;
    /// Not done in time: wait again, or close.
    pub const HANG: i32 = 9;
    /// The context is lost.
    pub const LOST: i32 = 10;
    /// The driver refused something.
    pub const REFUSED: i32 = 11;
}

fn number(error: &Error) -> i32 {
    match error {
        Error::Argument(_) => code::ARGUMENT,
        Error::Damaged(_) | Error::Bundle(_) => code::DAMAGED,
        Error::NoDevice | Error::NoGpu => code::NO_DEVICE,
        Error::Permission(_) => code::PERMISSION,
        Error::DriverTooOld(..) => code::DRIVER,
        Error::WrongGpu { .. } | Error::Dies(_) => code::WRONG_GPU,
        Error::NoMemory { .. } => code::NO_MEMORY,
        Error::Fault { .. } => code::FAULT,
        Error::Hang { .. } => code::HANG,
        Error::Lost => code::LOST,
        Error::System(..) | Error::Topology(_) => code::REFUSED,
    }
}

/// The real kernel or a table.
#[derive(Debug, Clone, Copy)]
enum Io {
    Linux(Linux),
    Table(Table),
}

fn result(n: i64) -> Result<i64, Errno> {
    match n {
        -4095..0 => Err(Errno(-n as i32)),
        n => Ok(n),
    }
}

impl KernelIo for Io {
    fn process(&self) -> &ProcessWords {
        match self {
            Io::Linux(linux) => linux.process(),
            // SAFETY: the caller of `tinyc_amd_open` promised words that outlive the context.
            Io::Table(t) => unsafe { &*t.process },
        }
    }

    fn open(&mut self, path: &CStr, flags: i32) -> Result<Fd, Errno> {
        match self {
            Io::Linux(linux) => linux.open(path, flags),
            // SAFETY: the table's functions take what `Table` says; the path ends with zero.
            Io::Table(t) => result(i64::from(unsafe {
                (t.open)(t.context, path.as_ptr(), flags)
            }))
            .map(|fd| Fd(fd as i32)),
        }
    }

    fn close(&mut self, fd: Fd) {
        match self {
            Io::Linux(linux) => linux.close(fd),
            // SAFETY: as in `open`.
            Io::Table(t) => unsafe { (t.close)(t.context, fd.0) },
        }
    }

    fn read(&mut self, fd: Fd, out: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Io::Linux(linux) => linux.read(fd, out),
            Io::Table(t) => {
                // SAFETY: as in `open`; the slice is valid for its length.
                let n = unsafe { (t.read)(t.context, fd.0, out.as_mut_ptr(), out.len() as u64) };
                result(n).map(|n| n as usize)
            }
        }
    }

    unsafe fn ioctl(&mut self, fd: Fd, request: u32, arg: *mut u8) -> Result<i32, Errno> {
        match self {
            // SAFETY: the caller's promise, for both.
            Io::Linux(linux) => unsafe { linux.ioctl(fd, request, arg) },
            Io::Table(t) => {
                // SAFETY: as above.
                let n = unsafe { (t.ioctl)(t.context, fd.0, request, arg) };
                result(i64::from(n)).map(|n| n as i32)
            }
        }
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
        match self {
            // SAFETY: the caller's promise, for both.
            Io::Linux(linux) => unsafe { linux.mmap(address, bytes, prot, flags, fd, offset) },
            Io::Table(t) => {
                let fd = fd.map_or(-1, |fd| fd.0);
                // SAFETY: as above.
                let at = unsafe { (t.mmap)(t.context, address, bytes, prot, flags, fd, offset) };
                result(at).map(|at| at as u64)
            }
        }
    }

    unsafe fn munmap(&mut self, address: u64, bytes: u64) -> Result<(), Errno> {
        match self {
            // SAFETY: the caller's promise, for both.
            Io::Linux(linux) => unsafe { linux.munmap(address, bytes) },
            Io::Table(t) => {
                // SAFETY: as above.
                let n = unsafe { (t.munmap)(t.context, address, bytes) };
                result(i64::from(n)).map(|_| ())
            }
        }
    }
}

// SAFETY of all below: the caller's promise is the promise of the function that is called.
impl Mmio for Io {
    unsafe fn load32(&mut self, address: u64) -> u32 {
        match self {
            // SAFETY: see above.
            Io::Linux(linux) => unsafe { linux.load32(address) },
            // SAFETY: see above.
            Io::Table(t) => unsafe { (t.load32)(t.context, address) },
        }
    }

    unsafe fn load64(&mut self, address: u64) -> u64 {
        match self {
            // SAFETY: see above.
            Io::Linux(linux) => unsafe { linux.load64(address) },
            // SAFETY: see above.
            Io::Table(t) => unsafe { (t.load64)(t.context, address) },
        }
    }

    unsafe fn store32(&mut self, address: u64, value: u32) {
        match self {
            // SAFETY: see above.
            Io::Linux(linux) => unsafe { linux.store32(address, value) },
            // SAFETY: see above.
            Io::Table(t) => unsafe { (t.store32)(t.context, address, value) },
        }
    }

    unsafe fn store64(&mut self, address: u64, value: u64) {
        match self {
            // SAFETY: see above.
            Io::Linux(linux) => unsafe { linux.store64(address, value) },
            // SAFETY: see above.
            Io::Table(t) => unsafe { (t.store64)(t.context, address, value) },
        }
    }

    fn fence(&mut self) {
        match self {
            Io::Linux(linux) => linux.fence(),
            // SAFETY: the table's functions take what `Table` says.
            Io::Table(t) => unsafe { (t.fence)(t.context) },
        }
    }

    fn relax(&mut self) {
        match self {
            Io::Linux(linux) => linux.relax(),
            // SAFETY: as in `fence`.
            Io::Table(t) => unsafe { (t.relax)(t.context) },
        }
    }

    unsafe fn copy_to(&mut self, address: u64, bytes: &[u8]) {
        match self {
            // SAFETY: see above.
            Io::Linux(linux) => unsafe { linux.copy_to(address, bytes) },
            // SAFETY: see above; the slice is valid for its length.
            Io::Table(t) => unsafe {
                (t.copy_to)(t.context, address, bytes.as_ptr(), bytes.len() as u64);
            },
        }
    }

    unsafe fn copy_from(&mut self, address: u64, out: &mut [u8]) {
        match self {
            // SAFETY: see above.
            Io::Linux(linux) => unsafe { linux.copy_from(address, out) },
            // SAFETY: see above; the slice is valid for its length.
            Io::Table(t) => unsafe {
                (t.copy_from)(t.context, address, out.as_mut_ptr(), out.len() as u64);
            },
        }
    }
}

/// Text that ends with zero; what does not fit is left out.
struct Text {
    bytes: [u8; 512],
    len: usize,
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let room = self.bytes.len() - 1;
        let to = self.bytes.get_mut(self.len..room).unwrap_or(&mut []);
        let count = to.len().min(text.len());
        for (to, from) in to.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        self.len += count;
        Ok(())
    }
}

/// What a pointer of the caller points to.
pub struct Context {
    model: Option<Model<'static, Io>>,
    io: Io,
    error: Text,
}

impl Context {
    /// Notes an error and returns its number.
    fn fail(&mut self, error: Error) -> i32 {
        let launch = match error {
            Error::Fault { launch, .. } | Error::Hang { launch } => launch,
            _ => None,
        };
        let model = self.model.as_ref();
        let kernel = launch.and_then(|l| model.and_then(|m| m.kernel(l)));
        self.error = Text {
            bytes: [0; 512],
            len: 0,
        };
        // Texts do not fail to be written: `Text` leaves out what does not fit.
        let _ = write!(self.error, "{error}");
        if let Some(kernel) = kernel {
            let _ = write!(self.error, " (kernel {kernel})");
        }
        number(&error)
    }

    /// Does something with the model and turns its result into a number.
    fn with(&mut self, body: impl FnOnce(&mut Model<'static, Io>) -> Result<(), Error>) -> i32 {
        let result = match self.model.as_mut() {
            Some(model) => body(model),
            None => Err(Error::Argument("the model is not open")),
        };
        match result {
            Ok(()) => 0,
            Err(error) => self.fail(error),
        }
    }
}

/// The context behind a pointer.
///
/// # Safety
/// The pointer is null or came from [`tinyc_amd_open`], is not closed, and no other thread uses it now.
unsafe fn context<'c>(pointer: *mut Context) -> Option<&'c mut Context> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_mut() }
}

/// Opens a model. `io` may be null: the real kernel.
///
/// # Safety
/// `bundle` points to so many bytes that stay and do not change until the context is closed; so do table and words of `io`; `out` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tinyc_amd_open(
    bundle: *const u8,
    bytes: u64,
    io: *const Table,
    out: *mut *mut Context,
) -> i32 {
    if bundle.is_null() || out.is_null() {
        return code::ARGUMENT;
    }
    // SAFETY: the caller's promise.
    unsafe { out.write(core::ptr::null_mut()) };
    // SAFETY: the caller's promise.
    let mut io = match unsafe { io.as_ref() } {
        Some(table) => Io::Table(*table),
        None => Io::Linux(Linux),
    };
    let Ok(at) = memory::plain(&mut io, size_of::<Context>() as u64) else {
        return code::NO_MEMORY;
    };
    let pointer = core::ptr::with_exposed_provenance_mut::<Context>(at as usize);
    // SAFETY: the caller's promise.
    let bytes = unsafe { core::slice::from_raw_parts(bundle, bytes as usize) };
    let opened = tinyc_runtime::read(bytes)
        .map_err(Error::Bundle)
        .and_then(|bundle| Model::open(bundle, io, Options::default()));
    let (model, error) = match opened {
        Ok(model) => (Some(model), None),
        Err(error) => (None, Some(error)),
    };
    let error_text = Text {
        bytes: [0; 512],
        len: 0,
    };
    // SAFETY: a new mapping that is large enough, aligned to a page; `out` as promised.
    unsafe {
        pointer.write(Context {
            model,
            io,
            error: error_text,
        });
        out.write(pointer);
    }
    // SAFETY: written above; nobody else has the pointer yet.
    match (error, unsafe { context(pointer) }) {
        (Some(error), Some(context)) => context.fail(error),
        _ => 0,
    }
}

/// Closes a model and gives back all that it had. Null does nothing.
///
/// # Safety
/// The pointer is null or came from [`tinyc_amd_open`], and is used by nobody any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tinyc_amd_close(pointer: *mut Context) {
    if pointer.is_null() {
        return;
    }
    // SAFETY: the caller's promise: the context is there, and this is its end.
    let Context { model, mut io, .. } = unsafe { pointer.read() };
    drop(model);
    let at = pointer.expose_provenance() as u64;
    // SAFETY: the mapping was made for this context, which was moved out of it.
    let _ = unsafe { io.munmap(at, size_of::<Context>() as u64) };
}

/// Starts a run; waits for the one before if it is not done. Writes a number for [`tinyc_amd_wait`].
///
/// # Safety
/// As for all functions with a context: null or open, used by one thread at a time. `ticket` may be written, or is null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tinyc_amd_submit(pointer: *mut Context, ticket: *mut u64) -> i32 {
    // SAFETY: the caller's promise.
    let Some(context) = (unsafe { context(pointer) }) else {
        return code::ARGUMENT;
    };
    let mut number = 0;
    let result = context.with(|m| m.submit().map(|t| number = t.0));
    if !ticket.is_null() {
        // SAFETY: the caller's promise.
        unsafe { ticket.write(number) };
    }
    result
}

/// Waits for a run, at most so many milliseconds beyond the time of polling.
///
/// # Safety
/// As for [`tinyc_amd_submit`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tinyc_amd_wait(
    pointer: *mut Context,
    ticket: u64,
    milliseconds: u64,
) -> i32 {
    let limit = Duration::from_millis(milliseconds);
    // SAFETY: the caller's promise.
    unsafe { context(pointer) }.map_or(code::ARGUMENT, |c| {
        c.with(|m| m.wait(Ticket(ticket), limit))
    })
}

/// One run from start to end.
///
/// # Safety
/// As for [`tinyc_amd_submit`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tinyc_amd_run(pointer: *mut Context) -> i32 {
    // SAFETY: the caller's promise.
    unsafe { context(pointer) }.map_or(code::ARGUMENT, |c| c.with(Model::run))
}

/// A buffer of the device's, or null; its size.
///
/// # Safety
/// As for [`tinyc_amd_submit`]; `bytes` may be written, or is null.
unsafe fn buffer(
    pointer: *mut Context,
    bytes: *mut u64,
    which: impl FnOnce(&mut Model<'static, Io>) -> Result<(u64, u64), Error>,
) -> *mut c_void {
    let mut found = (0, 0);
    // SAFETY: the caller's promise.
    if let Some(context) = unsafe { context(pointer) } {
        context.with(|m| which(m).map(|f| found = f));
    }
    if !bytes.is_null() {
        // SAFETY: the caller's promise.
        unsafe { bytes.write(found.1) };
    }
    core::ptr::with_exposed_provenance_mut(found.0 as usize)
}

/// An input's own buffer, to be written while nothing runs; null when there is none of this number.
///
/// # Safety
/// As for [`tinyc_amd_submit`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tinyc_amd_input(
    pointer: *mut Context,
    n: u32,
    bytes: *mut u64,
) -> *mut c_void {
    // SAFETY: the caller's promise.
    unsafe { buffer(pointer, bytes, |m| m.input(n)) }
}

/// An output's own buffer, to be read while nothing runs; null when there is none of this number.
///
/// # Safety
/// As for [`tinyc_amd_submit`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tinyc_amd_output(
    pointer: *mut Context,
    n: u32,
    bytes: *mut u64,
) -> *mut c_void {
    // SAFETY: the caller's promise.
    unsafe { buffer(pointer, bytes, |m| m.output(n)) }
}

/// Lets the device use memory of the caller, until it is unregistered or the model is closed.
///
/// # Safety
/// As for [`tinyc_amd_submit`]; the range is memory of this process and stays so long.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tinyc_amd_register(
    pointer: *mut Context,
    memory: *mut c_void,
    bytes: u64,
) -> i32 {
    let at = memory.expose_provenance() as u64;
    // SAFETY: the caller's promise, for both.
    unsafe { context(pointer) }.map_or(code::ARGUMENT, |c| {
        c.with(|m| unsafe { m.register(at, bytes) })
    })
}

/// Ends what [`tinyc_amd_register`] began.
///
/// # Safety
/// As for [`tinyc_amd_submit`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tinyc_amd_unregister(pointer: *mut Context, memory: *mut c_void) -> i32 {
    let at = memory.addr() as u64;
    // SAFETY: the caller's promise.
    unsafe { context(pointer) }.map_or(code::ARGUMENT, |c| c.with(|m| m.unregister(at)))
}

/// Lets the next runs use registered memory for a tensor (inputs first, then outputs); null: its own buffer again.
///
/// # Safety
/// As for [`tinyc_amd_submit`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tinyc_amd_bind(
    pointer: *mut Context,
    tensor: u32,
    memory: *mut c_void,
) -> i32 {
    let at = (!memory.is_null()).then(|| memory.addr() as u64);
    // SAFETY: the caller's promise.
    unsafe { context(pointer) }.map_or(code::ARGUMENT, |c| c.with(|m| m.bind(tensor, at)))
}

/// The last error's text, until the next call with this context; empty when there was none.
///
/// # Safety
/// As for [`tinyc_amd_submit`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tinyc_amd_error(pointer: *mut Context) -> *const c_char {
    // SAFETY: the caller's promise.
    match unsafe { context(pointer) } {
        Some(context) => context.error.bytes.as_ptr().cast(),
        None => c"no context: not enough memory".as_ptr(),
    }
}
