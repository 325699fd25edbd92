//! Static library with everything around it: header, pkg-config, CMake, Rust crate.
//!
//! In: the interface and the target's objects. Out: files in a folder:
//!
//! ```text
//! libNAME.a  NAME.h  NAME.pc  NAMEConfig.cmake  NAME-rs/{Cargo.toml,build.rs,src/lib.rs}
//! ```

use super::interface::Interface;
use super::objects::write_archive;
use crate::diag::{Error, Result};
use crate::target::EmittedFile;
use std::path::{Path, PathBuf};

/// Templates of what shows how a model is called.
#[derive(Debug, Clone, Copy)]
pub struct Templates<'a> {
    /// `NAME.h`.
    pub header: &'a str,
    /// The crate's `src/lib.rs`.
    pub code: &'a str,
}

/// A model as functions that compute where they are called.
const CALLED: Templates<'_> = Templates {
    header: include_str!("../../../templates/header.h.tera"),
    code: include_str!("../../../templates/crate/lib.rs.tera"),
};

/// Writes the library and its companions into `dir`. `members` are the archive's, in order.
pub fn write_library(
    dir: &Path,
    interface: &Interface,
    members: &[(String, Vec<u8>)],
) -> Result<Vec<EmittedFile>> {
    write_library_with(dir, interface, members, &CALLED)
}

/// The same with a target's own header and crate: devices are opened and waited for.
pub fn write_library_with(
    dir: &Path,
    interface: &Interface,
    members: &[(String, Vec<u8>)],
    templates: &Templates<'_>,
) -> Result<Vec<EmittedFile>> {
    let name = &interface.name;
    let mut files = Vec::new();
    let archive = dir.join(format!("lib{name}.a"));
    std::fs::create_dir_all(dir).map_err(|e| cannot_write(dir, &e))?;
    let mut out = std::io::BufWriter::new(
        std::fs::File::create(&archive).map_err(|e| cannot_write(&archive, &e))?,
    );
    write_archive(&mut out, members)?;
    let out = out
        .into_inner()
        .map_err(|e| cannot_write(&archive, e.error()))?;
    let bytes = out
        .metadata()
        .map_err(|e| cannot_write(&archive, &e))?
        .len();
    files.push(EmittedFile {
        path: archive,
        bytes,
    });

    let template = |path: String, text: &str| -> Result<(PathBuf, String)> {
        let rendered = interface.render(&path, text)?;
        Ok((dir.join(path), rendered))
    };
    let texts = [
        template(format!("{name}.h"), templates.header)?,
        template(
            format!("{name}.pc"),
            include_str!("../../../templates/model.pc.tera"),
        )?,
        template(
            format!("{name}Config.cmake"),
            include_str!("../../../templates/config.cmake.tera"),
        )?,
        template(
            format!("{name}-rs/Cargo.toml"),
            include_str!("../../../templates/crate/Cargo.toml.tera"),
        )?,
        template(
            format!("{name}-rs/build.rs"),
            include_str!("../../../templates/crate/build.rs.tera"),
        )?,
        template(format!("{name}-rs/src/lib.rs"), templates.code)?,
    ];
    for (path, text) in texts {
        files.push(write_file(path, text.as_bytes())?);
    }
    Ok(files)
}

/// Writes one file, making its folder.
pub fn write_file(path: PathBuf, bytes: &[u8]) -> Result<EmittedFile> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|e| cannot_write(parent, &e))?;
    }
    std::fs::write(&path, bytes).map_err(|e| cannot_write(&path, &e))?;
    Ok(EmittedFile {
        path,
        bytes: bytes.len() as u64,
    })
}

fn cannot_write(path: &Path, e: &std::io::Error) -> Error {
    Error::environment(format!("cannot write {}: {e}", path.display()))
}
