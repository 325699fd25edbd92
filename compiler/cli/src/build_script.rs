//! The library for build scripts: compile into `OUT_DIR`, tell cargo to link.

use crate::cli::lock::LockArgs;
use crate::cli::prepare::{BindArgs, PassArgs, Prepared};
use crate::cli::registry::{self, TargetArgs};
use std::io::Write;
use std::path::{Path, PathBuf};
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::target::{Emit, EmittedFile};

/// Starts the compilation of a model file.
pub fn compile(model: impl AsRef<Path>) -> Compile {
    Compile {
        model: model.as_ref().to_path_buf(),
        name: None,
        bind: BindArgs::default(),
        target: TargetArgs::default(),
        lock: LockArgs::default(),
    }
}

/// A compilation that [`compile`] started; [`Compile::link`] does it.
#[derive(Debug, Clone)]
#[must_use = "call link()"]
pub struct Compile {
    model: PathBuf,
    name: Option<String>,
    bind: BindArgs,
    target: TargetArgs,
    lock: LockArgs,
}

impl Compile {
    /// Names the library; else it is named after the file.
    pub fn name(mut self, name: impl Into<String>) -> Compile {
        self.name = Some(name.into());
        self
    }
    /// Fixes a dimension: `("batch", 1)` or `("input:0", 1)`.
    pub fn dim(mut self, dim: &str, size: i64) -> Compile {
        self.bind.dims.push(format!("{dim}={size}"));
        self
    }
    /// Makes an input a constant with the value in an `.npy` file.
    pub fn constant(mut self, input: &str, file: impl AsRef<Path>) -> Compile {
        self.bind
            .constants
            .push(format!("{input}={}", file.as_ref().display()));
        self
    }
    /// CPU to compile for (default: the one that builds): `x86-64-v3`.
    pub fn cpu(mut self, cpu: impl Into<String>) -> Compile {
        self.target.cpu = cpu.into();
        self
    }
    /// Builds with the choices of a lockfile, which `tinyc compile --lock` wrote, and with nothing else.
    pub fn locked(mut self, file: impl AsRef<Path>) -> Compile {
        self.lock = LockArgs {
            lock: Some(file.as_ref().to_path_buf()),
            locked: true,
        };
        self
    }
    /// Compiles into a folder and gives the files.
    pub fn build(&self, dir: &Path) -> Result<Vec<EmittedFile>> {
        let mut chosen = self.target.clone();
        let lock = self.lock.read(&mut chosen)?;
        let target = registry::open(&chosen)?;
        let model = self.model.to_string_lossy();
        let mut prepared = Prepared::open(&model, self.name.as_deref(), &self.bind, &[])?;
        if let Some(lock) = &lock {
            prepared.use_recipes(self.lock.recipes(lock, &*target)?);
        }
        let compiled = prepared.compile(&*target, &PassArgs::default())?;
        target.emit(&compiled.built, Emit::Lib, dir)
    }
    /// Compiles into `OUT_DIR` and tells cargo to link the library and when to compile again.
    pub fn link(&self) -> Result<Vec<EmittedFile>> {
        let dir = std::env::var_os("OUT_DIR")
            .map(PathBuf::from)
            .ok_or_else(|| {
                Error::usage("OUT_DIR is not set").help("call link() from a build script")
            })?;
        let files = self.build(&dir)?;
        let mut directives = directives(&self.model, &dir, &files);
        if let Some(lock) = &self.lock.lock {
            directives.push_str(&format!("cargo::rerun-if-changed={}\n", lock.display()));
        }
        std::io::stdout()
            .lock()
            .write_all(directives.as_bytes())
            .map_err(|e| Error::environment(format!("cannot write to cargo: {e}")))?;
        Ok(files)
    }
}

/// What cargo is told.
fn directives(model: &Path, dir: &Path, files: &[EmittedFile]) -> String {
    let mut out = format!(
        "cargo::rerun-if-changed={}\ncargo::rustc-link-search=native={}\n",
        model.display(),
        dir.display()
    );
    for file in files {
        let name = file.path.file_name().and_then(|n| n.to_str()).unwrap_or("");
        if let Some(lib) = name.strip_prefix("lib").and_then(|n| n.strip_suffix(".a")) {
            out.push_str(&format!("cargo::rustc-link-lib=static={lib}\n"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_is_told_to_link() {
        let file = |path: &str| EmittedFile {
            path: path.into(),
            bytes: 1,
        };
        let text = directives(
            Path::new("m.onnx"),
            Path::new("/out"),
            &[file("/out/libm.a"), file("/out/m.h")],
        );
        assert_eq!(
            text,
            "cargo::rerun-if-changed=m.onnx\ncargo::rustc-link-search=native=/out\ncargo::rustc-link-lib=static=m\n"
        );
    }

    #[test]
    fn link_needs_a_build_script() {
        if std::env::var_os("OUT_DIR").is_none() {
            assert!(compile("m.onnx").link().is_err());
        }
    }
}
