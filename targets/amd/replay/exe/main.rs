//! Entry point of a `.tinyexe` for these devices: a program without libc. The build script of `tinyc-target-amd` compiles and
//! links it once; the compiler appends bundles to it.
#![no_std]
#![no_main]

use core::arch::global_asm;
use core::ffi::{CStr, c_char};
use tinyc_executable::command::fail;
use tinyc_executable::{own, sys};
use tinyc_replay_amd::{Linux, command};

unsafe extern "C" {
    /// Defined by the linker script: where the bundle's segment starts.
    static __start_tinyc_bundle: u8;
    /// Defined by the linker: the executable's own header, in memory.
    static __ehdr_start: u8;
}

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call tinyc_start",
    "ud2",
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, #0",
    "mov x30, #0",
    "mov x0, sp",
    "and sp, x0, #-16",
    "bl tinyc_start",
    "brk #1",
);

/// Where the process starts: `stack` points at the argument count, then the arguments.
#[unsafe(no_mangle)]
extern "C" fn tinyc_start(stack: *const usize) -> ! {
    // SAFETY: the System V ABI puts the argument count here, the argument pointers after it.
    let arguments =
        unsafe { core::slice::from_raw_parts(stack.add(1).cast::<*const c_char>(), *stack) };
    // SAFETY: each is a string that ends with zero and lives as long as the process.
    let texts = arguments
        .iter()
        .skip(1)
        .map(|&a| unsafe { CStr::from_ptr(a) });
    // SAFETY: the linker script puts both where they belong; nothing has written to a segment yet.
    let bundle =
        unsafe { own::bundle(&raw const __start_tinyc_bundle, &raw const __ehdr_start, true) };
    sys::exit(command::main(bundle, texts, Linux))
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    sys::exit(fail(70, &["internal error"]))
}
