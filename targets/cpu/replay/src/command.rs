//! The program of a `.tinyexe`: opens the model, starts threads, does what the arguments ask for. Only here does it meet the
//! model's kernels, which the compiler links with it.
//!
//! In: arguments. Out: an exit code; results on standard output, errors on standard error. The command line is that of
//! `tinyc-executable`, and `--serve`.
//!
//! Example: `resnet18.tinyexe --bench --threads 2`.

use crate::Kernel;
use crate::machine::Machine;
use crate::serve;
use crate::team::Team;
use core::arch::global_asm;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering::SeqCst};
use tinyc_executable::command::{self, Action, fail, refuse};
use tinyc_executable::start::Arguments;
use tinyc_executable::{own, sys};

unsafe extern "C" {
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
    // clone(VM|FS|FILES|SIGHAND|THREAD|SYSVSEM, stack): the child calls `thread` on its own stack.
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
    "call {thread}",
    "ud2",
    "2: ret",
    thread = sym thread,
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    // clone(VM|FS|FILES|SIGHAND|THREAD|SYSVSEM, stack): the child calls `thread` on its own stack.
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
    "bl {thread}",
    "brk #1",
    "2: ret",
    thread = sym thread,
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

/// Where a thread starts.
extern "C" fn thread() -> ! {
    let worker = NEXT_WORKER.fetch_add(1, SeqCst);
    // SAFETY: `tinyc_main` stores the machine before it starts threads and keeps it until the process ends.
    match unsafe { MACHINE.load(SeqCst).as_ref() } {
        Some(machine) => machine.serve(worker),
        None => sys::exit(70),
    }
}

/// Called by `tinyc_executable::start`.
#[unsafe(no_mangle)]
fn tinyc_main(arguments: Arguments) -> i32 {
    let request = match command::parse(arguments) {
        Ok(request) => request,
        Err(message) => return fail(2, &[message, "; --help explains"]),
    };
    if request.action == Action::Help {
        return command::help(HELP);
    }
    // Who asks for single launches has read the file before: its start is not to take seconds.
    let bundle = match own::bundle(request.action != Action::Serve) {
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
