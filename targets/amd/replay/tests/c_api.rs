//! The functions for C, called as C would call them, on a kernel behind a table.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use fake::{Answer, Fake, Machine, bundle};
use std::ffi::{CStr, c_char, c_void};
use std::ptr::null_mut;
use tinyc_replay_amd::c_api::*;
use tinyc_runtime::io::{Errno, Fd, KernelIo, Mmio};

/// The object behind a table's context.
fn fake<'a>(context: *mut c_void) -> &'a mut Fake {
    // SAFETY: `table` puts a fake there that outlives the contexts of its test.
    unsafe { &mut *context.cast::<Fake>() }
}

fn number<T>(result: Result<T, Errno>, value: impl FnOnce(T) -> i64) -> i64 {
    result.map_or_else(|e| -i64::from(e.0), value)
}

unsafe extern "C" fn open(c: *mut c_void, path: *const c_char, flags: i32) -> i32 {
    // SAFETY: the path ends with zero.
    let path = unsafe { CStr::from_ptr(path) };
    number(fake(c).open(path, flags), |fd| i64::from(fd.0)) as i32
}
unsafe extern "C" fn close(c: *mut c_void, fd: i32) {
    fake(c).close(Fd(fd));
}
unsafe extern "C" fn read(c: *mut c_void, fd: i32, out: *mut u8, bytes: u64) -> i64 {
    // SAFETY: the caller's buffer.
    let out = unsafe { std::slice::from_raw_parts_mut(out, bytes as usize) };
    number(fake(c).read(Fd(fd), out), |n| n as i64)
}
unsafe extern "C" fn ioctl(c: *mut c_void, fd: i32, request: u32, arg: *mut u8) -> i32 {
    // SAFETY: the caller's promise.
    number(unsafe { fake(c).ioctl(Fd(fd), request, arg) }, i64::from) as i32
}
unsafe extern "C" fn mmap(
    c: *mut c_void,
    address: u64,
    bytes: u64,
    prot: i32,
    flags: i32,
    fd: i32,
    offset: u64,
) -> i64 {
    let fd = (fd >= 0).then_some(Fd(fd));
    // SAFETY: the caller's promise.
    let at = unsafe { fake(c).mmap(address, bytes, prot, flags, fd, offset) };
    number(at, |at| at as i64)
}
unsafe extern "C" fn munmap(c: *mut c_void, address: u64, bytes: u64) -> i32 {
    // SAFETY: the caller's promise.
    number(unsafe { fake(c).munmap(address, bytes) }, |()| 0) as i32
}
unsafe extern "C" fn load32(c: *mut c_void, address: u64) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { fake(c).load32(address) }
}
unsafe extern "C" fn load64(c: *mut c_void, address: u64) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { fake(c).load64(address) }
}
unsafe extern "C" fn store32(c: *mut c_void, address: u64, value: u32) {
    // SAFETY: the caller's promise.
    unsafe { fake(c).store32(address, value) }
}
unsafe extern "C" fn store64(c: *mut c_void, address: u64, value: u64) {
    // SAFETY: the caller's promise.
    unsafe { fake(c).store64(address, value) }
}
unsafe extern "C" fn fence(c: *mut c_void) {
    fake(c).fence();
}
unsafe extern "C" fn relax(c: *mut c_void) {
    fake(c).relax();
}
unsafe extern "C" fn copy_to(c: *mut c_void, address: u64, from: *const u8, bytes: u64) {
    // SAFETY: the caller's promise.
    unsafe { fake(c).copy_to(address, std::slice::from_raw_parts(from, bytes as usize)) }
}
unsafe extern "C" fn copy_from(c: *mut c_void, address: u64, to: *mut u8, bytes: u64) {
    // SAFETY: the caller's promise.
    unsafe { fake(c).copy_from(address, std::slice::from_raw_parts_mut(to, bytes as usize)) }
}

fn table(fake: &mut Fake) -> Table {
    Table {
        process: fake.process(),
        context: std::ptr::from_mut(fake).cast(),
        open,
        close,
        read,
        ioctl,
        mmap,
        munmap,
        load32,
        load64,
        store32,
        store64,
        fence,
        relax,
        copy_to,
        copy_from,
    }
}

fn text(context: *mut Context) -> String {
    // SAFETY: null or open; the text ends with zero.
    let text = unsafe { CStr::from_ptr(tinyc_amd_error(context)) };
    text.to_str().unwrap().to_string()
}

#[test]
fn a_model_runs_on_a_table() {
    let mut fake = Fake::new(Machine::default());
    let table = table(&mut fake);
    let bytes = bundle(|_, _| ());
    let mut context = null_mut();
    // SAFETY: all pointers live until the context is closed.
    unsafe {
        assert_eq!(
            tinyc_amd_open(bytes.as_ptr(), bytes.len() as u64, &table, &mut context),
            0
        );
        let mut size = 0;
        let input = tinyc_amd_input(context, 0, &mut size);
        assert!(!input.is_null());
        assert_eq!(size, 8);
        assert!(tinyc_amd_input(context, 1, &mut size).is_null());
        assert_eq!(
            (size, text(context).as_str()),
            (0, "there is no input of this number")
        );
        assert!(!tinyc_amd_output(context, 0, null_mut()).is_null());
        let mut ticket = 0;
        assert_eq!(tinyc_amd_submit(context, &mut ticket), 0);
        assert_eq!(ticket, 1);
        assert_eq!(tinyc_amd_wait(context, ticket, 0), 0);
        assert_eq!(tinyc_amd_wait(context, ticket + 1, 0), code::ARGUMENT);
        assert_eq!(tinyc_amd_run(context), 0);
        let mut memory = vec![0u8; 8192];
        let start = memory.as_mut_ptr().cast();
        assert_eq!(tinyc_amd_bind(context, 0, start), code::ARGUMENT);
        assert_eq!(tinyc_amd_register(context, start, 8192), 0);
        let aligned = start.wrapping_add(start.align_offset(16));
        assert_eq!(tinyc_amd_bind(context, 0, aligned), 0);
        assert_eq!(tinyc_amd_run(context), 0);
        assert_eq!(tinyc_amd_unregister(context, start), code::ARGUMENT);
        assert_eq!(tinyc_amd_bind(context, 0, null_mut()), 0);
        assert_eq!(tinyc_amd_unregister(context, start), 0);
        tinyc_amd_close(context);
        tinyc_amd_close(null_mut());
        assert_eq!(tinyc_amd_run(null_mut()), code::ARGUMENT);
    }
    assert_eq!(fake.left(), [""; 0]);
    assert_eq!(fake.0.borrow().runs.len(), 3);
}

#[test]
fn errors_have_numbers_and_texts() {
    let bytes = bundle(|_, _| ());
    for (machine, number, part) in [
        (
            Machine {
                driver: false,
                ..Machine::default()
            },
            code::NO_DEVICE,
            "modprobe amdgpu",
        ),
        (
            Machine {
                permitted: false,
                ..Machine::default()
            },
            code::PERMISSION,
            "groups 'render' and 'video'",
        ),
        (
            Machine {
                gfx: 120_001,
                ..Machine::default()
            },
            code::WRONG_GPU,
            "--target amd-gfx1201",
        ),
    ] {
        let mut fake = Fake::new(machine);
        let table = table(&mut fake);
        let mut context = null_mut();
        // SAFETY: all pointers live until the context is closed.
        unsafe {
            let code = tinyc_amd_open(bytes.as_ptr(), bytes.len() as u64, &table, &mut context);
            assert_eq!(code, number);
            assert!(text(context).contains(part), "{}", text(context));
            assert_eq!(tinyc_amd_run(context), code::ARGUMENT);
            tinyc_amd_close(context);
        }
        assert_eq!(fake.left(), [""; 0]);
    }
    let mut fake = Fake::new(Machine::default());
    let table = table(&mut fake);
    let mut context = null_mut();
    // SAFETY: as above.
    unsafe {
        assert_eq!(
            tinyc_amd_open(bytes.as_ptr(), 100, &table, &mut context),
            code::DAMAGED
        );
        tinyc_amd_close(context);
        assert_eq!(
            tinyc_amd_open(bytes.as_ptr(), bytes.len() as u64, &table, &mut context),
            0
        );
        fake.0.borrow_mut().answer = Answer::Faults(0x1_2000);
        // The device stops in its first launch.
        fake.0.borrow_mut().launch = 1;
        let mut ticket = 0;
        assert_eq!(tinyc_amd_submit(context, &mut ticket), 0);
        assert_eq!(tinyc_amd_wait(context, ticket, 10), code::FAULT);
        assert_eq!(
            text(context),
            "memory fault at 0x12000 in launch 0: the context is lost; open the model again (kernel add_1)"
        );
        assert_eq!(tinyc_amd_submit(context, &mut ticket), code::LOST);
        tinyc_amd_close(context);
    }
    assert_eq!(fake.left(), [""; 0]);
}
