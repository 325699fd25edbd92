//! The table of targets: the only place in the project that names them.

use std::path::PathBuf;
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::target::{Facts, Target};
use tinyc_target_cpu::{CpuTarget, Level};

/// What the command line chooses about a target.
#[derive(Debug, Clone, clap::Args)]
pub struct TargetArgs {
    /// What to compile for (see 'tinyc targets')
    #[arg(long, value_name = "NAME", default_value = "cpu")]
    pub target: String,
    /// CPU to compile for: native, x86-64-v2, x86-64-v3 or x86-64-v4
    #[arg(long, value_name = "CPU", default_value = "native")]
    pub cpu: String,
    /// C compiler (default: $CC, or clang, gcc or cc from the path)
    #[arg(long, value_name = "PATH")]
    pub cc: Option<PathBuf>,
}

impl Default for TargetArgs {
    fn default() -> TargetArgs {
        TargetArgs {
            target: "cpu".to_string(),
            cpu: "native".to_string(),
            cc: None,
        }
    }
}

/// One target.
pub struct Entry {
    /// Name on the command line.
    pub name: &'static str,
    /// One line for `tinyc targets`.
    pub about: &'static str,
    /// Its target files, by name.
    pub files: fn() -> Result<Vec<Facts>>,
    /// Opens it.
    open: fn(&TargetArgs) -> Result<Box<dyn Target>>,
}

/// All targets.
pub const TARGETS: &[Entry] = &[Entry {
    name: "cpu",
    about: "machine code through a C compiler (clang or gcc), SIMD, threads",
    files: || Level::ALL.into_iter().map(Level::facts).collect(),
    open: |args| {
        Ok(Box::new(CpuTarget::new(tinyc_target_cpu::Options {
            cpu: args.cpu.clone(),
            cc: args.cc.clone(),
            cache: None,
        })?))
    },
}];

/// Opens the target that the arguments name.
pub fn open(args: &TargetArgs) -> Result<Box<dyn Target>> {
    let entry = TARGETS
        .iter()
        .find(|t| t.name == args.target)
        .ok_or_else(|| {
            let names: Vec<_> = TARGETS.iter().map(|t| t.name).collect();
            Error::usage(format!("there is no target '{}'", args.target))
                .help(format!("targets: {}", names.join(", ")))
        })?;
    (entry.open)(args)
}
