//! Artifacts for a device that is simulated. In: a `.tinyexe` file. Out: its inputs, outputs, kernels and bytes.

use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::program::{BufferId, Io};
use tinyc_compiler::uop::DType;
use tinyc_runtime::{Bundle, Kind};

/// An artifact that was read.
pub struct Artifact {
    /// The whole file.
    pub bytes: Vec<u8>,
    /// Inputs in order.
    pub inputs: Vec<Io>,
    /// Outputs in order.
    pub outputs: Vec<Io>,
    /// Names of kernels.
    pub kernels: Vec<String>,
    /// The kernel of each launch.
    pub launches: Vec<u32>,
}

impl Artifact {
    /// Reads a file.
    pub fn open(path: &str) -> Result<Artifact> {
        let bytes = std::fs::read(path)
            .map_err(|e| Error::environment(format!("cannot read {path}: {e}")))?;
        Artifact::of(bytes).map_err(|e| Error::model(format!("{path}: {}", e.message)))
    }

    /// Reads a bundle, bare or in an executable.
    pub fn of(bytes: Vec<u8>) -> Result<Artifact> {
        let wrong = |e: tinyc_runtime::Error| Error::model(e.to_string());
        let bundle = tinyc_runtime::read(&bytes).map_err(wrong)?;
        if bundle.section(Kind::Stream).is_err() {
            return Err(Error::model(
                "an artifact for this machine's processor, not for a device that is simulated",
            )
            .help("run it without --simulate"));
        }
        let program = bundle.program().map_err(wrong)?;
        let ios = ios(&bundle)?;
        let symbols = bundle.symbols().map_err(wrong)?;
        let launches = (0..symbols.launches()).filter_map(|n| symbols.launch(n));
        let launches = launches.map(|l| l.kernel).collect();
        let kernels = bundle.kernels().map(str::to_string).collect();
        let (inputs, outputs) = ios.split_at(program.inputs as usize);
        let (inputs, outputs) = (inputs.to_vec(), outputs.to_vec());
        Ok(Artifact {
            inputs,
            outputs,
            kernels,
            launches,
            bytes,
        })
    }
}

/// Inputs, then outputs.
fn ios(bundle: &Bundle<'_>) -> Result<Vec<Io>> {
    let damaged = || Error::model("the artifact's tensors are damaged");
    let program = bundle.program().map_err(|_| damaged())?;
    let count = program.inputs + program.outputs;
    let io = |n: u32| {
        let tensor = program.tensor(n).ok_or_else(damaged)?;
        let io = Io {
            name: tensor.name.to_string(),
            dtype: DType::parse(tensor.type_name()).ok_or_else(damaged)?,
            shape: tensor.dims().map(|d| d as i64).collect(),
            // There is no program that it would be part of.
            buffer: BufferId(n),
        };
        match io.bytes() as u64 == tensor.bytes {
            true => Ok(io),
            false => Err(damaged()),
        }
    };
    (0..count).map(io).collect()
}
