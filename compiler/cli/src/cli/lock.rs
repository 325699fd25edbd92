//! `--lock` and `--locked` of `tinyc compile`: the file with every choice of one build.
//!
//! `--lock FILE` writes it after a build. `--locked` reads it (from `--lock FILE`, or `tinyc.lock`) and builds exactly that:
//! nothing is chosen or measured, and what does not fit the file is an error.

use super::output;
use super::registry::TargetArgs;
use std::path::{Path, PathBuf};
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::driver::Report;
use tinyc_compiler::search::{Lock, Recipes};
use tinyc_compiler::target::Target;

/// The file that `--locked` reads when none is named.
const DEFAULT: &str = "tinyc.lock";

#[derive(Debug, Clone, Default, clap::Args)]
pub struct LockArgs {
    /// Write every choice of this build into a file; with --locked, the file to read
    #[arg(long, value_name = "FILE")]
    pub lock: Option<PathBuf>,
    /// Build with the choices of the lockfile (tinyc.lock, or that of --lock) and with nothing else
    #[arg(long)]
    pub locked: bool,
}

impl LockArgs {
    fn path(&self) -> &Path {
        self.lock.as_deref().unwrap_or(Path::new(DEFAULT))
    }

    /// Reads the lockfile, when it is to be obeyed. A chip that the arguments leave open becomes the file's.
    pub fn read(&self, target: &mut TargetArgs) -> Result<Option<Lock>> {
        if !self.locked {
            return Ok(None);
        }
        let path = self.path();
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|e| {
            Error::model(format!("{name}: {e}")).help("write it: tinyc compile MODEL --lock FILE")
        })?;
        let lock = Lock::parse(&text, &name)?;
        if lock.target != target.target {
            return Err(Error::usage(format!(
                "{name} is for target {}, not {}",
                lock.target, target.target
            )));
        }
        if target.cpu == TargetArgs::default().cpu {
            target.cpu.clone_from(&lock.chip);
        }
        Ok(Some(lock))
    }

    /// The recipes of a lockfile that was made for `target`.
    pub fn recipes(&self, lock: &Lock, target: &dyn Target) -> Result<Recipes> {
        let name = self.path().display().to_string();
        let chip = &target.facts().name;
        if lock.chip != *chip {
            return Err(Error::usage(format!(
                "{name} is for {}, not {chip}",
                lock.chip
            )));
        }
        let compiler = target.toolchain()?;
        if lock.compiler != compiler {
            output::note(&format!(
                "warning: {name} was written with another C compiler, so the bytes will differ: {}, now {compiler}",
                lock.compiler
            ));
        }
        Ok(lock.recipes(&name))
    }

    /// Writes the choices of a build, when asked to.
    pub fn write(&self, report: &Report, target: &dyn Target) -> Result<()> {
        let Some(path) = self.lock.as_deref().filter(|_| !self.locked) else {
            return Ok(());
        };
        let lock = Lock {
            target: target.name().to_string(),
            chip: target.facts().name.clone(),
            compiler: target.toolchain()?,
            kernels: report.kernels.clone(),
        };
        std::fs::write(path, lock.print()?)
            .map_err(|e| Error::environment(format!("cannot write {}: {e}", path.display())))
    }
}
