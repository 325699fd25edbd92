//! `--emit lib`: a static library that drives the GPU by itself, for C and Rust.
//!
//! In: [`Built`]. Out: `libNAME.a` with three objects: the replay code, which was compiled when tinyc was built and shows `tinyc_amd_*` alone; the
//! bundle as data; functions `NAME_*` between them. Header, crate and build-system files around it. Several such libraries in one program share
//! the replay code and what the driver gives to a process once.

use crate::AmdTarget;
use object::Architecture;
use std::path::Path;
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::emit::{
    Templates, data_object_with_end, interface, write_file, write_library_with,
};
use tinyc_compiler::program::Built;
use tinyc_compiler::target::{EmittedFile, Target};

/// The replay code for the machine that tinyc itself was built for. Empty where the build script cannot make it.
const REPLAY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/replay.o"));
/// What all models have in common.
const HEADER: &str = include_str!("../../replay/c/tinyc_amd.h");
const TEMPLATES: Templates<'_> = Templates {
    header: include_str!("../templates/library.h.tera"),
    code: include_str!("../templates/library.rs.tera"),
};
const SOURCE: &str = include_str!("../templates/library.c.tera");

/// Writes the library of a model into `dir`.
///
/// # Errors
/// As compiling and building the stream; Usage for a name that is none; Environment when the folder cannot be written.
pub fn emit(target: &AmdTarget, built: &Built, dir: &Path) -> Result<Vec<EmittedFile>> {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => Architecture::X86_64,
        "aarch64" => Architecture::Aarch64,
        _ => Architecture::Unknown,
    };
    if REPLAY.is_empty() || architecture == Architecture::Unknown {
        return Err(
            Error::unsupported("--emit lib is not possible with this build of tinyc")
                .help("build tinyc on Linux on x86-64 or AArch64, with ld and objcopy installed"),
        );
    }
    let interface = interface(built, &target.name().replace('-', " "), &[])?;
    let name = &interface.name;
    let bundle = target.bundle(built)?;
    let data = data_object_with_end(&format!("{name}_bundle"), architecture, &bundle)?;
    drop(bundle);
    let source = format!(
        "{}{HEADER}{}",
        interface.render("header.h", TEMPLATES.header)?,
        interface.render("api.c", SOURCE)?
    );
    let members = [
        (format!("{name}_api.o"), target.compile_glue(&source)?),
        (format!("{name}_bundle.o"), data),
        ("tinyc_replay_amd.o".to_string(), REPLAY.to_vec()),
    ];
    let mut files = write_library_with(dir, &interface, &members, &TEMPLATES)?;
    files.push(write_file(dir.join("tinyc_amd.h"), HEADER.as_bytes())?);
    Ok(files)
}
