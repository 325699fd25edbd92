//! `--emit lib`: objects of a model, in the order of the archive, handed to `emit`.
//!
//! In: [`Built`]. Out: the files of a static library. What needs the level's instructions (kernels) is
//! in objects of its own; the entry, the launch loop, the processor check and the pool are compiled for
//! the architecture's baseline, so that a processor without them reaches the error code.

use crate::level::Level;
use crate::toolchain::Source;
use crate::{CpuTarget, sources};
use object::Architecture;
use std::path::Path;
use tinyc_compiler::diag::Result;
use tinyc_compiler::emit::{interface, weights_object, write_library};
use tinyc_compiler::program::Built;
use tinyc_compiler::target::EmittedFile;

/// System libraries that a program links beside ours.
const LIBS: &[&str] = &["m", "pthread"];

/// Writes the library of a model into `dir`.
pub fn emit(target: &CpuTarget, built: &Built, dir: &Path) -> Result<Vec<EmittedFile>> {
    let level = target.level();
    let interface = interface(built, &format!("cpu {}", level.name()), LIBS)?;
    let name = &built.program.name;
    let list = sources(target, built)?;
    let (objects, weights) = rayon::join(
        || target.compile(&list),
        || weights_object(built, architecture(level)),
    );
    let mut members: Vec<(String, Vec<u8>)> =
        objects?.into_iter().map(|o| (o.name, o.bytes)).collect();
    members.push((format!("{name}_weights.o"), weights?));
    write_library(dir, &interface, &members)
}

/// All C sources of a library: kernels, launch loop, processor check, pool, interface.
pub fn sources(target: &CpuTarget, built: &Built) -> Result<Vec<Source>> {
    let level = target.level();
    let interface = interface(built, &format!("cpu {}", level.name()), LIBS)?;
    let mut list = sources::kernels(target, built)?;
    list.push(sources::replay(built)?);
    list.push(sources::cpu_check(built, level));
    list.push(sources::pool(built));
    list.push(Source {
        name: format!("{}_api.c", built.program.name),
        text: interface.header()? + &interface.api_source()?,
        level: false,
    });
    Ok(list)
}

/// As the `object` crate names the level's architecture.
fn architecture(level: Level) -> Architecture {
    match level {
        Level::Neon => Architecture::Aarch64,
        _ => Architecture::X86_64,
    }
}
