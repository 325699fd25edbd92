//! Where the process starts, and what happens on a panic.
//!
//! In: the stack as the kernel leaves it. Out: the arguments, for the replay program's `tinyc_main`; the process ends with
//! the exit code that comes back.
//!
//! ```ignore
//! #[unsafe(no_mangle)]
//! fn tinyc_main(arguments: Arguments) -> i32 {
//!     my_program(own::bundle(true), arguments)
//! }
//! ```

use crate::command::fail;
use crate::sys;
use core::arch::global_asm;
use core::ffi::{CStr, c_char};

unsafe extern "Rust" {
    /// Every replay program defines it: arguments in, exit code out.
    safe fn tinyc_main(arguments: Arguments) -> i32;
}

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {start}",
    "ud2",
    start = sym start,
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, #0",
    "mov x30, #0",
    "mov x0, sp",
    "and sp, x0, #-16",
    "bl {start}",
    "brk #1",
    start = sym start,
);

/// `stack` points at the argument count, then the arguments.
extern "C" fn start(stack: *const usize) -> ! {
    // SAFETY: the System V ABI puts the argument count here, the argument pointers after it.
    let all = unsafe { core::slice::from_raw_parts(stack.add(1).cast::<*const c_char>(), *stack) };
    let mut arguments = Arguments { left: all.iter() };
    // The program's name.
    let _ = arguments.next();
    sys::exit(tinyc_main(arguments))
}

/// The arguments of the process, without the program's name.
#[derive(Debug, Clone)]
pub struct Arguments {
    left: core::slice::Iter<'static, *const c_char>,
}

impl Iterator for Arguments {
    type Item = &'static CStr;

    fn next(&mut self) -> Option<&'static CStr> {
        // SAFETY: each is a string that ends with zero and lives as long as the process.
        self.left.next().map(|&a| unsafe { CStr::from_ptr(a) })
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    sys::exit(fail(70, &["internal error"]))
}
