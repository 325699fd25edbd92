//! `--emit exe`: one static executable that needs nothing, not even libc.
//!
//! In: [`Built`]. Out: `NAME.tinyexe`: the replay program (compiled by this crate's build script),
//! kernels, and the bundle with manifest, tables and weights. After linking, the digest of the loaded
//! machine code is written into the bundle.

use crate::library::architecture;
use crate::toolchain::{temp_dir, write};
use crate::{CpuTarget, sources};
use std::path::Path;
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::emit::{bundle_object, is_identifier, seal, write_file};
use tinyc_compiler::program::Built;
use tinyc_compiler::target::EmittedFile;

/// Archive of the replay program for the architecture that tinyc itself was built for. Empty where
/// the build script cannot make one.
const REPLAY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libtinyc_replay.a"));

/// Flags of the link: no libc, no position independence (so that nothing is relocated at start and the
/// loaded bytes are those of the file), no symbols, no build id.
const LINK: &[&str] = &[
    "-static",
    "-nostdlib",
    "-no-pie",
    "-Wl,-e,_start",
    "-Wl,--gc-sections",
    "-Wl,--build-id=none",
    "-Wl,-z,norelro",
    "-Wl,-z,noexecstack",
    "-Wl,-s",
];

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
    let mut list = sources::kernels(built, target.renderer)?;
    list.push(sources::kernel_table(built, level));
    let compiler = target.compiler()?;
    let line = format!("cpu {}", level.name());
    let (objects, bundle) = rayon::join(
        || target.compile(&list),
        || bundle_object(built, &line, &compiler.describe(), architecture(level)),
    );
    let temp = temp_dir()?;
    let mut paths = Vec::new();
    let mut put = |name: &str, bytes: &[u8]| -> Result<()> {
        let path = temp.path().join(name);
        write(&path, bytes)?;
        paths.push(path);
        Ok(())
    };
    for object in objects? {
        put(&object.name, &object.bytes)?;
    }
    put("bundle.o", &bundle?)?;
    put("libtinyc_replay.a", REPLAY)?;
    let linked = temp.path().join("linked");
    compiler.link(&paths, LINK, &linked)?;
    let mut file = std::fs::read(&linked)
        .map_err(|e| Error::environment(format!("cannot read {}: {e}", linked.display())))?;
    seal(&mut file)?;
    let written = write_file(dir.join(format!("{name}.tinyexe")), &file)?;
    make_executable(&written.path)?;
    Ok(vec![written])
}

fn make_executable(path: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).map_err(|e| {
            Error::environment(format!("cannot make {} executable: {e}", path.display()))
        })?;
    }
    Ok(())
}
