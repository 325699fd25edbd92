//! A table of functions for C around any object of Rust that stands for a kernel: a simulated device behind a static library.
//!
//! In: an object. Out: [`Table`].

use crate::c_api::Table;
use core::ffi::{CStr, c_char, c_void};
use tinyc_runtime::io::{Errno, Fd, KernelIo, Mmio};

/// The table of an object, which has to live and stay where it is as long as contexts use the table.
pub fn table_of<T: KernelIo + Mmio>(object: &mut T) -> Table {
    Table {
        process: object.process(),
        context: core::ptr::from_mut(object).cast(),
        open: open::<T>,
        close: close::<T>,
        read: read::<T>,
        ioctl: ioctl::<T>,
        mmap: mmap::<T>,
        munmap: munmap::<T>,
        load32: load32::<T>,
        load64: load64::<T>,
        store32: store32::<T>,
        store64: store64::<T>,
        fence: fence::<T>,
        relax: relax::<T>,
        copy_to: copy_to::<T>,
        copy_from: copy_from::<T>,
    }
}

/// The object behind a context.
///
/// # Safety
/// The pointer is the one of [`table_of`], and nobody else uses the object during the call.
unsafe fn object<'a, T>(context: *mut c_void) -> &'a mut T {
    // SAFETY: the caller's promise.
    unsafe { &mut *context.cast::<T>() }
}

fn number<T>(result: Result<T, Errno>, value: impl FnOnce(T) -> i64) -> i64 {
    result.map_or_else(|e| -i64::from(e.0), value)
}

// SAFETY of all below: contexts pass the table's own pointer, one thread at a time, and keep the promises of the function that is called.

unsafe extern "C" fn open<T: KernelIo>(c: *mut c_void, path: *const c_char, flags: i32) -> i32 {
    // SAFETY: see above; the path ends with zero.
    let (io, path) = unsafe { (object::<T>(c), CStr::from_ptr(path)) };
    number(io.open(path, flags), |fd| i64::from(fd.0)) as i32
}

unsafe extern "C" fn close<T: KernelIo>(c: *mut c_void, fd: i32) {
    // SAFETY: see above.
    unsafe { object::<T>(c) }.close(Fd(fd));
}

unsafe extern "C" fn read<T: KernelIo>(c: *mut c_void, fd: i32, out: *mut u8, bytes: u64) -> i64 {
    // SAFETY: see above; the buffer is the caller's.
    let (io, out) = unsafe {
        (
            object::<T>(c),
            core::slice::from_raw_parts_mut(out, bytes as usize),
        )
    };
    number(io.read(Fd(fd), out), |n| n as i64)
}

unsafe extern "C" fn ioctl<T: KernelIo>(
    c: *mut c_void,
    fd: i32,
    request: u32,
    arg: *mut u8,
) -> i32 {
    // SAFETY: see above.
    number(
        unsafe { object::<T>(c).ioctl(Fd(fd), request, arg) },
        i64::from,
    ) as i32
}

unsafe extern "C" fn mmap<T: KernelIo>(
    c: *mut c_void,
    address: u64,
    bytes: u64,
    prot: i32,
    flags: i32,
    fd: i32,
    offset: u64,
) -> i64 {
    let fd = (fd >= 0).then_some(Fd(fd));
    // SAFETY: see above.
    let at = unsafe { object::<T>(c).mmap(address, bytes, prot, flags, fd, offset) };
    number(at, |at| at as i64)
}

unsafe extern "C" fn munmap<T: KernelIo>(c: *mut c_void, address: u64, bytes: u64) -> i32 {
    // SAFETY: see above.
    number(unsafe { object::<T>(c).munmap(address, bytes) }, |()| 0) as i32
}

unsafe extern "C" fn load32<T: Mmio>(c: *mut c_void, address: u64) -> u32 {
    // SAFETY: see above.
    unsafe { object::<T>(c).load32(address) }
}

unsafe extern "C" fn load64<T: Mmio>(c: *mut c_void, address: u64) -> u64 {
    // SAFETY: see above.
    unsafe { object::<T>(c).load64(address) }
}

unsafe extern "C" fn store32<T: Mmio>(c: *mut c_void, address: u64, value: u32) {
    // SAFETY: see above.
    unsafe { object::<T>(c).store32(address, value) }
}

unsafe extern "C" fn store64<T: Mmio>(c: *mut c_void, address: u64, value: u64) {
    // SAFETY: see above.
    unsafe { object::<T>(c).store64(address, value) }
}

unsafe extern "C" fn fence<T: Mmio>(c: *mut c_void) {
    // SAFETY: see above.
    unsafe { object::<T>(c) }.fence();
}

unsafe extern "C" fn relax<T: Mmio>(c: *mut c_void) {
    // SAFETY: see above.
    unsafe { object::<T>(c) }.relax();
}

unsafe extern "C" fn copy_to<T: Mmio>(c: *mut c_void, address: u64, from: *const u8, bytes: u64) {
    // SAFETY: see above; the bytes are the caller's.
    unsafe { object::<T>(c).copy_to(address, core::slice::from_raw_parts(from, bytes as usize)) }
}

unsafe extern "C" fn copy_from<T: Mmio>(c: *mut c_void, address: u64, to: *mut u8, bytes: u64) {
    // SAFETY: see above; the buffer is the caller's.
    unsafe {
        object::<T>(c).copy_from(address, core::slice::from_raw_parts_mut(to, bytes as usize))
    }
}
