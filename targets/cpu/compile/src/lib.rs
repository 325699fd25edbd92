//! CPU target of tinyc: C through the host's compiler, static libraries, `.tinyexe` files.
//!
//! In: [`Built`]. Out: files, or a model loaded into this process.
//! See `targets/cpu/README.md` for what is odd about CPUs.

mod executable;
mod job;
mod level;
mod library;
mod loader;
mod slow;
mod sources;
mod toolchain;

pub use level::Level;
pub use slow::SlowKernel;
pub use sources::Renderer;

use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::emit::pack_all;
use tinyc_compiler::program::{Built, LinearKernel};
use tinyc_compiler::target::{Cache, Emit, EmittedFile, Facts, Job, Session, Target};
use toolchain::{Object, Source, Toolchain};

/// What the command line chooses.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// `native`, `x86-64-v3`, ... Empty means `native`.
    pub cpu: String,
    /// C compiler; found when `None`.
    pub cc: Option<PathBuf>,
    /// Directory of compiled objects that later compilations take up; `None` keeps nothing.
    pub cache: Option<PathBuf>,
    /// A kernel that takes longer than it needs, for tests of tools that find such kernels.
    pub slow: Option<SlowKernel>,
    /// Computes every convolution as it is defined.
    pub no_winograd: bool,
}

/// The CPU target.
pub struct CpuTarget {
    level: Level,
    facts: Facts,
    options: Options,
    renderer: Renderer,
    toolchain: OnceLock<Result<Toolchain>>,
}

impl CpuTarget {
    /// The target for these options. Does not look for a compiler yet.
    pub fn new(options: Options) -> Result<CpuTarget> {
        let name = if options.cpu.is_empty() {
            "native"
        } else {
            &options.cpu
        };
        let level = Level::parse(name)?;
        let mut facts = level.facts()?;
        facts.winograd &= !options.no_winograd;
        Ok(CpuTarget {
            level,
            facts,
            options,
            renderer: render_c,
            toolchain: OnceLock::new(),
        })
    }

    /// The same target with another printer of kernels (tests use hand-written C).
    pub fn with_renderer(mut self, renderer: Renderer) -> CpuTarget {
        self.renderer = renderer;
        self
    }

    /// Level compiled for.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The C sources of a model's library, as (file name, text), to compile them with other flags, such
    /// as sanitizers. They need the object of the weights from the archive.
    pub fn sources(&self, built: &Built) -> Result<Vec<(String, String)>> {
        let list = library::sources(self, built)?;
        Ok(list.into_iter().map(|s| (s.name, s.text)).collect())
    }

    /// Prints a kernel under another name.
    fn render_as(&self, kernel: &LinearKernel, symbol: &str) -> Result<String> {
        let mut renamed = kernel.clone();
        renamed.name = symbol.to_string();
        let text = (self.renderer)(&renamed)?;
        Ok(match &self.options.slow {
            Some(slow) if slow.names(&kernel.name) => slow.slow_down(&text, symbol),
            _ => text,
        })
    }

    fn compiler(&self) -> Result<&Toolchain> {
        let found = self.toolchain.get_or_init(|| {
            let cache = Cache::new(self.options.cache.clone());
            Toolchain::find(self.level, self.options.cc.as_deref(), cache)
        });
        found.as_ref().map_err(Clone::clone)
    }

    fn compile(&self, sources: &[Source]) -> Result<Vec<Object>> {
        let compiler = self.compiler()?;
        sources.par_iter().map(|s| compiler.compile(s)).collect()
    }
}

/// Prints a kernel with the compiler's C printer.
fn render_c(kernel: &LinearKernel) -> Result<String> {
    tinyc_compiler::render::c::render(kernel)
}

impl Target for CpuTarget {
    fn name(&self) -> &str {
        "cpu"
    }

    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn render(&self, kernel: &LinearKernel) -> Result<String> {
        self.render_as(kernel, &kernel.name)
    }

    fn emit(&self, built: &Built, what: Emit, dir: &Path) -> Result<Vec<EmittedFile>> {
        match what {
            Emit::Lib => library::emit(self, built, dir),
            Emit::Exe => executable::emit(self, built, dir),
        }
    }

    fn load(&self, built: &Built, threads: usize) -> Result<Box<dyn Session>> {
        if !self.level.runs_here() {
            return Err(Error::usage(format!(
                "this host does not execute {} code",
                self.level.name()
            ))
            .help("leave out --cpu to compile for this host"));
        }
        let mut sources = sources::kernels(self, built)?;
        let mut replay = sources::replay(built)?;
        replay.text.insert_str(0, "#define _GNU_SOURCE\n");
        replay.text.push_str(include_str!("../c/loader.c"));
        replay.text.push_str(include_str!("../c/profile.c"));
        replay.text.push_str(include_str!("../c/count.c"));
        sources.extend([replay, sources::pool(built)]);
        let mut weights = loader::Pages::zeroed(built.plan.weight_bytes as usize)?;
        let (objects, packed) = rayon::join(
            || self.compile(&sources),
            || pack_all(built, weights.as_mut()),
        );
        packed?;
        loader::load(built, self.compiler()?, &objects?, weights, threads)
    }

    fn emit_job(&self, job: &Job, dir: &Path) -> Result<EmittedFile> {
        job::emit(self, job, dir)
    }

    fn toolchain(&self) -> Result<String> {
        Ok(self.compiler()?.describe())
    }
}
