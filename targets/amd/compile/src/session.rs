//! Runs a model on a device through the replay code that artifacts carry.
//!
//! In: the bundle of a model and an object that makes system calls: the kernel's, or a simulated one's. Out: a [`Session`].
//! What goes wrong on the device is told by the kernel's name.

use std::time::Duration;
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::target::Session;
use tinyc_replay_amd::error::Error as ReplayError;
use tinyc_replay_amd::{Model, Options};
use tinyc_runtime::io::{KernelIo, Mmio};

/// A model that is open on a device.
pub struct DeviceSession<I: KernelIo + Mmio> {
    /// Borrows the bundle; gone before it.
    model: Option<Model<'static, I>>,
    /// The bundle's bytes, given back last.
    bundle: *mut [u8],
}

// The bytes belong to the session, as a box of them would.
unsafe impl<I: KernelIo + Mmio + Send> Send for DeviceSession<I> {}

/// Longest run.
const LIMIT: Duration = Duration::from_secs(600);

impl<I: KernelIo + Mmio> DeviceSession<I> {
    /// Opens a model. `polls` is how often a wait looks before it asks the driver.
    ///
    /// # Errors
    /// Environment when there is no device that fits; Model when the bundle is damaged.
    pub fn new(bundle: Vec<u8>, io: I, polls: u32) -> Result<DeviceSession<I>> {
        let bundle = Box::into_raw(bundle.into_boxed_slice());
        let mut session = DeviceSession {
            model: None,
            bundle,
        };
        // The box is not touched until the session, and the model with it, is dropped.
        let bytes: &'static [u8] = unsafe { &*bundle };
        let read = tinyc_runtime::read(bytes);
        let read = read.map_err(|e| Error::model(format!("the model's bundle: {e}")))?;
        let options = Options {
            polls,
            limit: LIMIT,
            ..Options::default()
        };
        let model = Model::open(read, io, options).map_err(|e| explain(&e, None))?;
        session.model = Some(model);
        Ok(session)
    }

    fn model(&mut self) -> Result<&mut Model<'static, I>> {
        let model = self.model.as_mut();
        model.ok_or_else(|| Error::bug("a session without a model"))
    }

    fn replay(
        model: &mut Model<'static, I>,
        inputs: &[&[u8]],
        outputs: &mut [&mut [u8]],
    ) -> std::result::Result<(), ReplayError> {
        for (n, bytes) in (0..).zip(inputs) {
            model.write_input(n, bytes)?;
        }
        model.run()?;
        for (n, out) in (0..).zip(outputs) {
            model.read_output(n, out)?;
        }
        Ok(())
    }
}

/// What a user reads.
fn explain(error: &ReplayError, kernel: Option<&str>) -> Error {
    let text = match kernel {
        Some(kernel) => format!("kernel '{kernel}': {error}"),
        None => error.to_string(),
    };
    match error.exit_code() {
        4 => Error::model(text),
        _ => Error::environment(text),
    }
}

impl<I: KernelIo + Mmio + Send> Session for DeviceSession<I> {
    fn run(&mut self, inputs: &[&[u8]], outputs: &mut [&mut [u8]]) -> Result<()> {
        let model = self.model()?;
        let program = model.program();
        if (program.inputs, program.outputs) != (inputs.len() as u32, outputs.len() as u32) {
            return Err(Error::usage("the number of inputs or outputs is another"));
        }
        Self::replay(model, inputs, outputs).map_err(|e| {
            let launch = match e {
                ReplayError::Fault { launch, .. } | ReplayError::Hang { launch } => launch,
                _ => None,
            };
            explain(&e, launch.and_then(|n| model.kernel(n)))
        })
    }

    fn profile(&mut self, _: &[&[u8]], _: &mut [&mut [u8]]) -> Result<Vec<f64>> {
        Err(
            Error::unsupported("kernels of one command stream have no times of their own")
                .help("count what they do on the simulated device: --simulate"),
        )
    }
}

impl<I: KernelIo + Mmio> Drop for DeviceSession<I> {
    fn drop(&mut self) {
        self.model = None;
        // Made by `Box::into_raw`; the model that borrowed it is closed.
        drop(unsafe { Box::from_raw(self.bundle) });
    }
}
