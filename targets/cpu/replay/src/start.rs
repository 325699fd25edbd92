//! Entry point of the executable and what the compiler expects of a C library: memory functions,
//! a panic handler. Only here does the program meet the linker's symbols.

use crate::command::{self, Action, fail, refuse};
use crate::machine::Machine;
use crate::team::Team;
use crate::{Kernel, sys};
use core::arch::global_asm;
use core::ffi::{CStr, c_char};
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering::SeqCst};
use tinyc_runtime::sha256::Sha256;
use tinyc_runtime::{Bundle, Error, elf};

unsafe extern "C" {
    /// Defined by the linker script: where the bundle's segment starts.
    static __start_tinyc_bundle: u8;
    /// Defined by the linker: the executable's own header, in memory.
    static __ehdr_start: u8;
    /// The model's kernels.
    static tinyc_kernels: Kernel;
    static tinyc_kernel_count: u32;
    /// Nonzero when the processor lacks instructions.
    fn tinyc_cpu_lacks() -> i32;
    /// Starts a thread on a new stack; defined below.
    fn tinyc_spawn(stack_top: *mut u8) -> isize;
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
    // clone(VM|FS|FILES|SIGHAND|THREAD|SYSVSEM, stack): the child calls tinyc_thread on its own stack.
    ".globl tinyc_spawn",
    "tinyc_spawn:",
    "mov rsi, rdi",
    "mov edi, 0x50f00",
    "xor edx, edx",
    "xor r10d, r10d",
    "xor r8d, r8d",
    "mov eax, 56",
    "syscall",
    "test eax, eax",
    "jnz 2f",
    "xor ebp, ebp",
    "call tinyc_thread",
    "ud2",
    "2: ret",
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
    // clone(VM|FS|FILES|SIGHAND|THREAD|SYSVSEM, stack): the child calls tinyc_thread on its own stack.
    ".globl tinyc_spawn",
    "tinyc_spawn:",
    "mov x1, x0",
    "mov w0, #0x0f00",
    "movk w0, #0x5, lsl #16",
    "mov x2, #0",
    "mov x3, #0",
    "mov x4, #0",
    "mov x8, #220",
    "svc #0",
    "cbnz x0, 2f",
    "mov x29, #0",
    "bl tinyc_thread",
    "brk #1",
    "2: ret",
);

static TEAM: Team = Team::new();
/// The machine, for the threads.
static MACHINE: AtomicPtr<Machine<'static>> = AtomicPtr::new(core::ptr::null_mut());
/// Number of the next thread.
static NEXT_WORKER: AtomicU32 = AtomicU32::new(1);
/// Stack of a thread; pages that are never touched cost nothing.
const STACK_BYTES: usize = 8 << 20;

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
    sys::exit(main(texts))
}

/// Where a thread starts.
#[unsafe(no_mangle)]
extern "C" fn tinyc_thread() -> ! {
    let worker = NEXT_WORKER.fetch_add(1, SeqCst);
    // SAFETY: `main` stores the machine before it starts threads and keeps it until the process ends.
    match unsafe { MACHINE.load(SeqCst).as_ref() } {
        Some(machine) => machine.serve(worker),
        None => sys::exit(70),
    }
}

fn main<'a>(arguments: impl Iterator<Item = &'a CStr>) -> i32 {
    let request = match command::parse(arguments) {
        Ok(request) => request,
        Err(message) => return fail(2, &[message, "; --help explains"]),
    };
    if request.action == Action::Help {
        return command::help();
    }
    // Who asks for single launches has read the file before: its start is not to take seconds.
    let bundle = match open(request.action != Action::Serve) {
        Ok(bundle) => bundle,
        Err(e) => return refuse(e),
    };
    if request.action == Action::Info {
        return if request.json {
            command::info_json(&bundle)
        } else {
            command::info(&bundle)
        };
    }
    let program = match bundle.program() {
        Ok(program) => program,
        Err(e) => return refuse(e),
    };
    // SAFETY: reads the processor's description.
    if unsafe { tinyc_cpu_lacks() } != 0 {
        let target = bundle.value("target").unwrap_or("");
        return fail(
            5,
            &[
                "this processor lacks instructions that the model was compiled for: ",
                target,
            ],
        );
    }
    // SAFETY: the table has this many entries and never changes.
    let kernels = unsafe {
        core::slice::from_raw_parts(&raw const tinyc_kernels, tinyc_kernel_count as usize)
    };
    TEAM.set_workers(request.threads);
    let mut weights = command::weights(&bundle);
    if request.action == Action::Serve {
        // Pages of a file are where they were in every earlier process. In memory of its own each process has others, so
        // that an unlucky place is not taken for a slow kernel.
        weights = match sys::memory(weights.len()) {
            Ok(copy) => {
                for (to, from) in copy.iter_mut().zip(weights) {
                    *to = *from;
                }
                copy
            }
            Err(e) => return fail(5, &["memory for the model: ", e.message()]),
        };
    }
    let mut machine = match Machine::new(program, weights, kernels, &TEAM) {
        Ok(Some(machine)) => machine,
        Ok(None) => return fail(70, &["kernels and program do not belong together"]),
        Err(e) => return fail(5, &["memory for the model: ", e.message()]),
    };
    // The copy that the threads read. Its fields are plain references: the copies agree.
    let mut shared = machine;
    MACHINE.store(&raw mut shared, SeqCst);
    for _ in 1..request.threads {
        let Ok(stack) = sys::memory(STACK_BYTES) else {
            sys::exit(fail(5, &["memory for threads"]));
        };
        // SAFETY: the new thread owns this stack, whose end is aligned to a page.
        if unsafe { tinyc_spawn(stack.as_mut_ptr_range().end) } < 0 {
            sys::exit(fail(5, &["cannot start threads"]));
        }
    }
    let code = match request.action {
        Action::Run(input, output) => command::run(&mut machine, input, output),
        Action::Serve => command::serve(&mut machine),
        _ => command::bench(&mut machine, &bundle, &request),
    };
    // Threads read `shared` until here; from now on only the end of the process follows.
    sys::exit(code)
}

/// The bundle of this executable, with every digest checked when `checked`.
fn open(checked: bool) -> Result<Bundle<'static>, Error> {
    let start = &raw const __start_tinyc_bundle;
    // SAFETY: the header and the program headers are at the start of the first mapped page.
    let header = unsafe { core::slice::from_raw_parts(&raw const __ehdr_start, 4096) };
    let segments = (0..).map_while(|n| elf::segment(header, n)).flatten();
    let size = segments
        .filter(|s| s.address == start.addr() as u64)
        .map(|s| s.size)
        .next()
        .unwrap_or(0);
    // SAFETY: this segment is mapped read-only for as long as the process lives.
    let bytes = unsafe { core::slice::from_raw_parts(start, size as usize) };
    let bundle = Bundle::open(bytes)?;
    if !checked {
        return Ok(bundle);
    }
    bundle.verify()?;
    let hole = (start.addr() as u64, bundle.bytes().len() as u64);
    let mut code = Sha256::new();
    let (mut total, mut index) = (0u64, 0);
    while let Some(segment) = elf::segment(header, index) {
        index += 1;
        let Some(segment) = segment else { continue };
        for (address, size) in elf::outside(segment.address, segment.size, hole) {
            // SAFETY: a loaded segment is mapped at its address (the executable is not relocated).
            // Nothing has written to the writable ones yet.
            code.update(unsafe {
                core::slice::from_raw_parts(address as *const u8, size as usize)
            });
            total = total.wrapping_add(size);
        }
    }
    bundle.verify_code(total, code.finish())?;
    Ok(bundle)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    sys::exit(fail(70, &["internal error"]))
}

/// Copies `n` bytes between regions that do not overlap.
///
/// # Safety
/// As C's `memcpy`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    // SAFETY: the caller's promise; written without a call, which would be this function again.
    unsafe { forward(to, from, n) };
    to
}

/// Copies `n` bytes.
///
/// # Safety
/// As C's `memmove`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    if to.addr().wrapping_sub(from.addr()) >= n {
        // SAFETY: the destination does not start inside the source.
        unsafe { forward(to, from, n) };
    } else {
        let mut i = n;
        while i > 0 {
            i -= 1;
            // SAFETY: i < n. Volatile, so that the loop does not become a call of this function.
            unsafe { to.add(i).write_volatile(from.add(i).read_volatile()) };
        }
    }
    to
}

/// Fills `n` bytes.
///
/// # Safety
/// As C's `memset`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, n: usize) -> *mut u8 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the direction flag is clear by the ABI; writes exactly n bytes.
    unsafe {
        core::arch::asm!("rep stosb", inout("rcx") n => _, inout("rdi") to => _, in("al") value as u8,
            options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    for i in 0..n {
        // SAFETY: i < n. Volatile, so that the loop does not become a call of this function.
        unsafe { to.add(i).write_volatile(value as u8) };
    }
    to
}

/// Compares `n` bytes.
///
/// # Safety
/// As C's `memcmp`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
    for i in 0..n {
        // SAFETY: i < n. Volatile, so that the loop does not become a call of this function.
        let (x, y) = unsafe { (a.add(i).read_volatile(), b.add(i).read_volatile()) };
        if x != y {
            return i32::from(x) - i32::from(y);
        }
    }
    0
}

/// Compares `n` bytes for equality.
///
/// # Safety
/// As `bcmp`.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
    // SAFETY: the same promise.
    unsafe { memcmp(a, b, n) }
}

/// Length of a string.
///
/// # Safety
/// As C's `strlen`.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut n = 0;
    // SAFETY: the string ends with zero, so every byte up to it may be read.
    while unsafe { text.add(n).read_volatile() } != 0 {
        n += 1;
    }
    n
}

/// Ascending copy.
///
/// # Safety
/// Both regions have `n` bytes, and the destination does not start inside the source.
unsafe fn forward(to: *mut u8, from: *const u8, n: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the direction flag is clear by the ABI; moves exactly n bytes.
    unsafe {
        core::arch::asm!("rep movsb", inout("rcx") n => _, inout("rdi") to => _,
            inout("rsi") from => _, options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let mut i = 0;
        // Words first: tensors are copied here.
        while i + 8 <= n {
            // SAFETY: i + 8 <= n; unaligned volatile access goes by bytes of a word.
            unsafe {
                let word = from.add(i).cast::<u64>().read_unaligned();
                core::arch::asm!("str {0}, [{1}]", in(reg) word, in(reg) to.add(i), options(nostack));
            }
            i += 8;
        }
        while i < n {
            // SAFETY: i < n. Volatile, so that the loop does not become a call of memcpy.
            unsafe { to.add(i).write_volatile(from.add(i).read_volatile()) };
            i += 1;
        }
    }
}
