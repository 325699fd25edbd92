//! `--emit exe`: one static executable that needs nothing, not even libc.
//!
//! In: [`Built`]. Out: `NAME.tinyexe`: the replay program (compiled by this crate's build script),
//! kernels, and the bundle with manifest, tables and weights, which is appended after linking.

use crate::toolchain::{Object, temp_dir, write};
use crate::{CpuTarget, sources};
use object::{Object as _, ObjectSymbol};
use rayon::prelude::*;
use std::collections::HashSet;
use std::path::Path;
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::emit::{
    Provenance, SCRIPT, append, bundle, code_hash, is_identifier, write_executable,
};
use tinyc_compiler::program::Built;
use tinyc_compiler::target::EmittedFile;
use tinyc_replay_build::LINK;

/// Archive of the replay program for the architecture that tinyc itself was built for. Empty where
/// the build script cannot make one.
const REPLAY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libtinyc_replay.a"));

/// Writes the executable of a model into `dir`.
pub fn emit(target: &CpuTarget, built: &Built, dir: &Path) -> Result<Vec<EmittedFile>> {
    let name = &built.program.name;
    let level = target.level();
    if REPLAY.is_empty() || level.arch() != std::env::consts::ARCH {
        return Err(Error::unsupported(format!(
            "--emit exe for {} is not possible from this host",
            level.name()
        ))
        .help("use --emit lib, or run tinyc on a machine of that architecture"));
    }
    if !is_identifier(name) {
        return Err(Error::usage(format!("'{name}' cannot prefix symbols"))
            .help("give --name an identifier that is not a word of C, C++ or Rust"));
    }
    let mut list = sources::kernels(target, built)?;
    list.push(sources::kernel_table(built, level));
    let compiler = target.compiler()?;
    let objects = target.compile(&list)?;
    let mut licences = vec![
        "tinyc runtime: MIT OR Apache-2.0".to_string(),
        "Rust core: MIT OR Apache-2.0".to_string(),
    ];
    // Where the level has no instruction, such as for half floats before F16C, compilers call their
    // support library.
    let support = match needs_support(&objects)? {
        true => {
            licences
                .push("compiler support library (libgcc): GPL-3.0 WITH GCC-exception-3.1".into());
            Some(compiler.support_library()?)
        }
        false => None,
    };
    let provenance = Provenance {
        target: format!("cpu {}", level.name()),
        toolchain: compiler.describe(),
        licences,
        code: built
            .linear
            .par_iter()
            .map(|k| code_hash(target, k))
            .collect::<Result<_>>()?,
        more: Vec::new(),
    };
    let temp = temp_dir()?;
    let mut paths = Vec::new();
    let mut put = |name: &str, bytes: &[u8]| -> Result<()> {
        let path = temp.path().join(name);
        write(&path, bytes)?;
        paths.push(path);
        Ok(())
    };
    for object in objects {
        put(&object.name, &object.bytes)?;
    }
    put("libtinyc_replay.a", REPLAY)?;
    paths.extend(support);
    let script = temp.path().join("executable.ld");
    write(&script, SCRIPT.as_bytes())?;
    let script = format!("-Wl,-T,{}", script.display());
    let mut flags = LINK.to_vec();
    flags.push(&script);
    let linked = temp.path().join("linked");
    let (linked, bundle) = rayon::join(
        || {
            compiler.link(&paths, &flags, &linked)?;
            std::fs::read(&linked).map_err(|e| unreadable(&linked, &e))
        },
        || bundle(built, &provenance, Vec::new()),
    );
    let parts = append(linked?, bundle?)?;
    Ok(vec![write_executable(dir, name, &parts)?])
}

fn unreadable(path: &Path, e: &std::io::Error) -> Error {
    Error::environment(format!("cannot read {}: {e}", path.display()))
}

/// True when some function is neither a kernel nor one that the replay program has.
fn needs_support(objects: &[Object]) -> Result<bool> {
    let replay = ["memcpy", "memmove", "memset", "memcmp"];
    let mut defined = HashSet::new();
    let mut wanted = HashSet::new();
    for object in objects {
        let file = object::File::parse(&object.bytes[..])
            .map_err(|e| Error::bug(format!("{}: {e}", object.name)))?;
        for symbol in file.symbols() {
            let name = symbol.name().unwrap_or_default().to_string();
            if symbol.is_undefined() {
                wanted.insert(name);
            } else if symbol.is_global() {
                defined.insert(name);
            }
        }
    }
    let linkers = |n: &String| n.is_empty() || n == "_GLOBAL_OFFSET_TABLE_";
    Ok(wanted
        .difference(&defined)
        .any(|n| !linkers(n) && !replay.contains(&n.as_str())))
}
