//! Entry point of the executable and what the compiler expects of a C library: memory functions,
//! a panic handler. Only here does the program meet the linker's symbols.

use crate::Kernel;
use crate::machine::Machine;
use crate::serve;
use crate::team::Team;
use core::arch::global_asm;
use core::ffi::{CStr, c_char};
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering::SeqCst};
use tinyc_executable::command::{self, Action, fail, refuse};
use tinyc_executable::{own, sys};
use tinyc_runtime::{Bundle, Error};

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

const HELP: &str = "usage: MODEL.tinyexe --info [--json]
       MODEL.tinyexe --run IN.npz -o OUT.npz [--threads N]
       MODEL.tinyexe --bench [--threads N] [--seconds S] [--json]
       MODEL.tinyexe --serve (for 'tinyc blame')

IN is a .npz file with one uncompressed array for each input, or a .npy file
for a model with one input. OUT is a .npz file, or .npy for one output.
Exit codes: 0 success, 2 usage, 4 bad input or damaged file, 5 processor,
memory or file missing, 70 internal error.
";

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
        return command::help(HELP);
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
        Action::Serve => serve::run(&mut machine),
        _ => command::bench(&mut machine, &bundle, &request),
    };
    // Threads read `shared` until here; from now on only the end of the process follows.
    sys::exit(code)
}

/// The bundle of this executable, with every digest checked when `checked`.
fn open(checked: bool) -> Result<Bundle<'static>, Error> {
    // SAFETY: the linker script puts both where they belong; nothing has written to a segment yet.
    unsafe {
        own::bundle(
            &raw const __start_tinyc_bundle,
            &raw const __ehdr_start,
            checked,
        )
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    sys::exit(fail(70, &["internal error"]))
}
