//! What a `.tinyexe` says about its launches.
//!
//! In: a path. Out: [`Artifact`]: kernels with their hashes, launches with the model nodes they compute and the arguments they
//! write. Every digest of the file is checked here: the processes that are started later do not check again.

use serde::Serialize;
use std::path::PathBuf;
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::uop::DType;

/// One executable.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// As the user named it.
    pub path: PathBuf,
    /// Compiler and flags of the kernels.
    pub toolchain: String,
    /// Kernels in order.
    pub kernels: Vec<Kernel>,
    /// Launches in order.
    pub launches: Vec<Launch>,
    /// Inputs, then outputs, as `name type[shape]`.
    pub inputs: Vec<String>,
    /// See `inputs`.
    pub outputs: Vec<Output>,
}

/// One kernel.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Kernel {
    /// Its name in the artifact.
    pub name: String,
    /// Before any choice was made.
    pub hash: String,
    /// What was chosen.
    pub choice: String,
    /// Hash of the code.
    pub code_hash: String,
    /// Operations of one launch.
    pub flops: u64,
}

/// One launch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Launch {
    /// Index of its kernel.
    pub kernel: usize,
    /// Model nodes that it computes.
    pub nodes: String,
    /// Arguments that it changes.
    pub written: Vec<Written>,
}

/// An argument that a launch changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Which argument.
    pub argument: u32,
    /// Its element type, when it is known.
    pub dtype: Option<DType>,
    /// It is read too: what it held counts.
    pub read: bool,
    /// Its size.
    pub bytes: u64,
}

/// Where an output is written last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// `name type[shape]`.
    pub text: String,
    /// Its element type.
    pub dtype: Option<DType>,
    /// Launch and argument; none for an output that no launch writes.
    pub last: Option<(usize, u32)>,
}

impl Artifact {
    /// Reads an executable.
    pub fn open(path: &str) -> Result<Artifact> {
        let bytes =
            std::fs::read(path).map_err(|e| Error::model(format!("cannot read '{path}': {e}")))?;
        let broken = |e: tinyc_runtime::Error| {
            Error::model(format!("{path}: {e}"))
                .help("'tinyc blame' compares two files made by 'tinyc compile --emit exe'")
        };
        let bundle = tinyc_runtime::read(&bytes).map_err(broken)?;
        let program = bundle.program().map_err(broken)?;
        let identities: Vec<_> = bundle.identities().collect();
        if identities.len() != program.kernels as usize {
            return Err(Error::model(format!(
                "{path} does not say what its kernels are: compile it again with this version of tinyc"
            )));
        }
        let kernels = bundle
            .kernels()
            .zip(&identities)
            .map(|(name, i)| Kernel {
                name: name.to_string(),
                hash: i.hash.to_string(),
                choice: i.choice.to_string(),
                code_hash: i.code_hash.to_string(),
                flops: i.flops,
            })
            .collect();
        let described = |index: u32| {
            let tensor = program.tensor(index)?;
            let shape: Vec<u64> = tensor.dims().collect();
            let text = format!("{} {}{shape:?}", tensor.name, tensor.type_name());
            Some((text, dtype(tensor.type_name())))
        };
        let mut outputs: Vec<Output> = (program.inputs..program.inputs + program.outputs)
            .filter_map(described)
            .map(|(text, dtype)| Output {
                text,
                dtype,
                last: None,
            })
            .collect();
        let mut nodes = bundle.origins();
        let mut launches = Vec::new();
        for launch in program.launches() {
            let kernel = launch.kernel as usize;
            let params = identities.get(kernel).map(|i| i.params());
            let mut written = Vec::new();
            let params = params.into_iter().flatten();
            for ((argument, place), (access, name)) in
                (0u32..).zip(program.arguments(&launch)).zip(params)
            {
                if access == 'r' {
                    continue;
                }
                written.push(Written {
                    argument,
                    dtype: dtype(name),
                    read: access == 'x',
                    bytes: place.bytes,
                });
                let output = (place.base as usize).checked_sub(2 + program.inputs as usize);
                if let Some(output) = output.and_then(|o| outputs.get_mut(o)) {
                    output.last = Some((launches.len(), argument));
                }
            }
            launches.push(Launch {
                kernel,
                nodes: nodes.next().unwrap_or("").to_string(),
                written,
            });
        }
        let value = |key| bundle.value(key).unwrap_or("").to_string();
        Ok(Artifact {
            path: super::super::run::executable_path(path),
            toolchain: value("toolchain"),
            kernels,
            launches,
            inputs: (0..program.inputs)
                .filter_map(described)
                .map(|d| d.0)
                .collect(),
            outputs,
        })
    }
}

fn dtype(name: &str) -> Option<DType> {
    DType::STORABLE.into_iter().find(|d| d.name() == name)
}
