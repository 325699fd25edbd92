//! The program of a `.tinyexe` for these devices.
//!
//! In: the executable's bundle, its arguments, an object that makes system calls. Out: an exit code; results on standard output,
//! errors on standard error. The command line is that of `tinyc-executable`.
//!
//! Example: `resnet18.tinyexe --run in.npz -o out.npz` on a machine without a GPU ends with 5 and says what is missing.

use crate::{Error, Model, Options};
use core::ffi::CStr;
use core::fmt::Write;
use tinyc_executable::Runner;
use tinyc_executable::bench::fill_inputs;
use tinyc_executable::command::{self, Action, fail, refuse};
use tinyc_executable::output::{Output, STDERR};
use tinyc_runtime::io::{KernelIo, Mmio};
use tinyc_runtime::{Bundle, Program, bundle};

const HELP: &str = "usage: MODEL.tinyexe --info [--json]
       MODEL.tinyexe --run IN.npz -o OUT.npz
       MODEL.tinyexe --bench [--seconds S] [--json]

The model runs on an AMD GPU through the kernel's driver (/dev/kfd); nothing
else is needed. IN is a .npz file with one uncompressed array for each input, or
a .npy file for a model with one input. OUT is a .npz file, or .npy for one
output. Exit codes: 0 success, 2 usage, 4 bad input or damaged file, 5 GPU,
driver, memory or file missing, 70 internal error.
";

/// A model whose tensors the processor reaches.
struct OnDevice<'a, I: KernelIo + Mmio> {
    model: Model<'a, I>,
}

impl<'a, I: KernelIo + Mmio> Runner<'a> for OnDevice<'a, I> {
    fn program(&self) -> Program<'a> {
        *self.model.program()
    }

    fn tensor(&mut self, index: u32) -> &mut [u8] {
        let inputs = self.model.program().inputs;
        let place = match index.checked_sub(inputs) {
            None => self.model.input(index),
            Some(output) => self.model.output(output),
        };
        match place {
            // SAFETY: the model's own buffer, mapped for as long as the model is open; no run is under way (`&mut self`, and
            // `run` waits for its end).
            Ok((address, bytes)) if bytes > 0 => unsafe {
                core::slice::from_raw_parts_mut(address as *mut u8, bytes as usize)
            },
            _ => &mut [],
        }
    }

    fn run(&mut self) -> Result<(), i32> {
        self.model.run().map_err(|e| explain(&e, Some(&self.model)))
    }
}

/// Prints an error, with the kernel that it is about. Returns its exit code.
fn explain<I: KernelIo + Mmio>(error: &Error, model: Option<&Model<'_, I>>) -> i32 {
    let mut out = Output::new(STDERR);
    let _ = write!(out, "error: {error}");
    let launch = match error {
        Error::Fault { launch, .. } | Error::Hang { launch } => *launch,
        _ => None,
    };
    if let Some(kernel) = launch.and_then(|n| model?.kernel(n)) {
        let _ = write!(out, " (kernel {kernel})");
    }
    out.text("\n");
    let _ = out.finish();
    error.exit_code()
}

/// The whole program.
pub fn main<'a>(
    bundle: Result<Bundle<'static>, bundle::Error>,
    arguments: impl Iterator<Item = &'a CStr>,
    io: impl KernelIo + Mmio,
) -> i32 {
    let request = match command::parse(arguments) {
        Ok(request) => request,
        Err(message) => return fail(2, &[message, "; --help explains"]),
    };
    if request.action == Action::Help {
        return command::help(HELP);
    }
    if request.action == Action::Serve || request.threads != 1 {
        return fail(
            2,
            &["a GPU has no --serve and no --threads; --help explains"],
        );
    }
    let bundle = match bundle {
        Ok(bundle) => bundle,
        Err(e) => return refuse(e),
    };
    if request.action == Action::Info {
        return match request.json {
            true => command::info_json(&bundle),
            false => command::info(&bundle),
        };
    }
    let model = match Model::open(bundle, io, Options::default()) {
        Ok(model) => model,
        Err(e) => return explain::<crate::Linux>(&e, None),
    };
    let mut device = OnDevice { model };
    match request.action {
        Action::Run(input, output) => command::run(&mut device, input, output),
        _ => {
            fill_inputs(&mut device);
            command::bench(&mut device, &bundle, &request)
        }
    }
}
