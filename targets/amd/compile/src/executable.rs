//! `--emit exe`: a static executable that drives the GPU by itself.
//!
//! In: a [`Model`] and its [`Network`]. Out: `NAME.tinyexe`: the replay program, linked when tinyc was built, with the bundle
//! appended. No linker is needed.
//!
//! | line of the manifest | says |
//! |---|---|
//! | `patches=120 constant, 33 link, 4 run` | patches of each class |
//! | `machine=k0 registers=96 occupancy=16 ...` | numbers of a kernel's machine code |

use crate::stream::{Class, Network};
use crate::{AmdTarget, Chip, CodeObject, Model};
use rayon::prelude::*;
use std::path::Path;
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::emit::{
    Provenance, append, bundle, code_hash, is_identifier, write_executable,
};
use tinyc_compiler::program::Built;
use tinyc_compiler::target::{EmittedFile, Target};

/// The replay program for the machine that tinyc itself was built for. Empty where the build script cannot make one.
const REPLAY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/replay"));

/// Writes the executable of a model into `dir`.
///
/// # Errors
/// As compiling and building the stream; Usage for a name that is none; Environment when the folder cannot be written.
pub fn emit(target: &AmdTarget, built: &Built, dir: &Path) -> Result<Vec<EmittedFile>> {
    let name = &built.program.name;
    if REPLAY.is_empty() {
        return Err(
            Error::unsupported("--emit exe is not possible from this host")
                .help("run tinyc on Linux on x86-64 or AArch64"),
        );
    }
    if !is_identifier(name) {
        return Err(Error::usage(format!("'{name}' cannot name an executable"))
            .help("give --name an identifier that is not a word of C, C++ or Rust"));
    }
    let bytes = whole_bundle(target, built)?;
    let parts = append(REPLAY.to_vec(), bytes)?;
    Ok(vec![write_executable(dir, name, &parts)?])
}

/// The bundle of a model, with all that the replay needs.
///
/// # Errors
/// As compiling and building the stream.
pub fn whole_bundle(target: &AmdTarget, built: &Built) -> Result<Vec<u8>> {
    let model = target.build(built)?;
    let network = target.network(&model)?;
    let code = built.linear.par_iter().map(|k| code_hash(target, k));
    let provenance = Provenance {
        target: target.name().replace('-', " "),
        toolchain: target.toolchain()?,
        licences: vec![
            "tinyc runtime: MIT OR Apache-2.0".to_string(),
            "Rust core: MIT OR Apache-2.0".to_string(),
        ],
        code: code.collect::<Result<_>>()?,
        more: facts(target.chip, &model, &network),
    };
    bundle(built, &provenance, network.sections())
}

/// Lines of the manifest.
fn facts(chip: Chip, model: &Model, network: &Network) -> Vec<(String, String)> {
    let count = |class| network.count(class);
    let patches = format!(
        "{} constant, {} link, {} run",
        count(Class::Constant),
        count(Class::Link),
        count(Class::Run)
    );
    let mut out = vec![("patches".to_string(), patches)];
    let kernels = model.code.iter().map(|code| machine(chip, code));
    out.extend(kernels.map(|line| ("machine".to_string(), line)));
    out
}

/// Numbers of a kernel's machine code: `k0 registers=96 occupancy=16 ...`.
fn machine(chip: Chip, code: &CodeObject) -> String {
    let r = code.resources();
    let mut line = format!(
        "{} registers={} occupancy={} threads={} group_bytes={} private_bytes={} code_bytes={}",
        code.name,
        r.registers,
        r.occupancy,
        r.threads,
        r.group_bytes,
        r.private_bytes,
        r.code_bytes,
    );
    if let Some(matrix) = r.matrix {
        let name = match chip {
            Chip::Gfx942 => "mfma",
            Chip::Gfx1100 | Chip::Gfx1201 => "wmma",
        };
        line.push_str(&format!(" {name}={matrix}"));
    }
    line
}
