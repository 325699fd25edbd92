//! The table of targets: the only place in the project that names them.

use std::path::PathBuf;
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::target::{Facts, Target};
use tinyc_target_amd::{AmdTarget, Chip};
use tinyc_target_cpu::{CpuTarget, Level, SlowKernel};

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
    /// Compile every kernel anew (default: objects are kept in $TINYC_CACHE or the user's cache folder)
    #[arg(long)]
    pub no_cache: bool,
    /// Leave what 'tinyc tune' found alone
    #[arg(long)]
    pub no_tuning: bool,
    /// Compute every convolution as it is defined (default: Winograd's algorithm where it is faster; it rounds a little more)
    #[arg(long)]
    pub no_winograd: bool,
}

impl Default for TargetArgs {
    fn default() -> TargetArgs {
        TargetArgs {
            target: "cpu".to_string(),
            cpu: "native".to_string(),
            cc: None,
            no_cache: false,
            no_tuning: false,
            no_winograd: false,
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

/// An AMD chip.
pub fn amd(chip: Chip, args: &TargetArgs) -> Result<AmdTarget> {
    let options = tinyc_target_amd::Options {
        cc: args.cc.clone(),
        cache: cache_dir(args),
        on_host: std::env::var_os("TINYC_KERNELS_ON_HOST").is_some_and(|v| !v.is_empty()),
    };
    AmdTarget::new(chip, options)
}

/// All targets.
pub const TARGETS: &[Entry] = &[
    Entry {
        name: "cpu",
        about: "machine code through a C compiler (clang or gcc), SIMD, threads",
        files: || Level::ALL.into_iter().map(Level::facts).collect(),
        open: |args| {
            Ok(Box::new(CpuTarget::new(tinyc_target_cpu::Options {
                cpu: args.cpu.clone(),
                cc: args.cc.clone(),
                cache: cache_dir(args),
                slow: slow_kernel()?,
                no_winograd: args.no_winograd,
            })?))
        },
    },
    Entry {
        name: Chip::Gfx1100.target(),
        about: "RDNA 3 code objects through clang",
        files: || Ok(vec![Chip::Gfx1100.facts()?]),
        open: |args| Ok(Box::new(amd(Chip::Gfx1100, args)?)),
    },
    Entry {
        name: Chip::Gfx1201.target(),
        about: "RDNA 4 code objects through clang",
        files: || Ok(vec![Chip::Gfx1201.facts()?]),
        open: |args| Ok(Box::new(amd(Chip::Gfx1201, args)?)),
    },
    Entry {
        name: Chip::Gfx942.target(),
        about: "CDNA 3 code objects through clang",
        files: || Ok(vec![Chip::Gfx942.facts()?]),
        open: |args| Ok(Box::new(amd(Chip::Gfx942, args)?)),
    },
];

/// The kernel that a test slows down.
fn slow_kernel() -> Result<Option<SlowKernel>> {
    match std::env::var("TINYC_SLOW_KERNEL") {
        Ok(text) if !text.is_empty() => SlowKernel::parse(&text).map(Some),
        _ => Ok(None),
    }
}

/// Where compiled objects are kept: `TINYC_CACHE` (empty for nowhere), else `tinyc` in the user's cache folder.
fn cache_dir(args: &TargetArgs) -> Option<PathBuf> {
    if args.no_cache {
        return None;
    }
    cache_root()
}

/// The user's cache folder for tinyc.
pub fn cache_root() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|v| !v.is_empty());
    if std::env::var_os("TINYC_CACHE").is_some() {
        return set("TINYC_CACHE").map(PathBuf::from);
    }
    let base = set("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    Some(base.join("tinyc"))
}

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
