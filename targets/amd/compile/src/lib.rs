//! AMD target of tinyc: kernels as C through clang, code objects, launches.
//!
//! In: [`Built`]. Out: a [`Model`]: machine code of every kernel, and what is launched in which order with which arguments.
//! See `targets/amd/README.md` for what is odd about these devices.

mod chip;
mod code_object;
mod executable;
mod host;
mod library;
mod session;
pub mod stream;
mod sweep;
mod toolchain;

pub use chip::Chip;
pub use code_object::{CodeObject, Descriptor, Image};
pub use host::HostSession;
pub use session::DeviceSession;

use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use stream::Network;
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::emit::{Dispatches, dispatches};
use tinyc_compiler::program::groups;
use tinyc_compiler::program::{Built, LinearKernel};
use tinyc_compiler::target::{Cache, Emit, EmittedFile, Facts, Gpu, Resources, Session, Target};
use tinyc_replay_amd::Linux;
use toolchain::Toolchain;

/// Definitions of the names that generated kernels call.
const DEVICE: &str = include_str!("../c/device.h");

/// What the command line chooses.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// C compiler; found when `None`.
    pub cc: Option<PathBuf>,
    /// Directory of compiled objects that later compilations take up; `None` keeps nothing.
    pub cache: Option<PathBuf>,
    /// Models are loaded as kernels compiled for this machine, which checks them without a device.
    pub on_host: bool,
}

/// A model for a device.
#[derive(Debug, Clone)]
pub struct Model {
    /// Machine code, one for each kernel of the program.
    pub code: Vec<CodeObject>,
    /// What is launched.
    pub dispatches: Dispatches,
    /// Bytes of the weights, which [`tinyc_compiler::emit::pack_all`] writes.
    pub weight_bytes: u64,
    /// Bytes of the arena.
    pub arena_bytes: u64,
}

/// Opens a bundle on a device.
type OpenBundle = dyn Fn(Vec<u8>) -> Result<Box<dyn Session>> + Send + Sync;

/// The AMD target for one chip.
pub struct AmdTarget {
    chip: Chip,
    facts: Facts,
    gpu: Gpu,
    options: Options,
    toolchain: OnceLock<Result<Toolchain>>,
    open: Box<OpenBundle>,
}

impl AmdTarget {
    /// The target for a chip. Does not look for a compiler yet.
    ///
    /// # Errors
    /// Bug when the target file is damaged.
    pub fn new(chip: Chip, options: Options) -> Result<AmdTarget> {
        let facts = chip.facts()?;
        let gpu = facts.gpu.clone();
        Ok(AmdTarget {
            chip,
            gpu: gpu.ok_or_else(|| Error::bug("a chip without work-groups"))?,
            facts,
            options,
            toolchain: OnceLock::new(),
            open: Box::new(open_here),
        })
    }

    /// Runs models on another device than this machine's own: `open` gets their bundles.
    #[must_use]
    pub fn on(
        mut self,
        open: impl Fn(Vec<u8>) -> Result<Box<dyn Session>> + Send + Sync + 'static,
    ) -> AmdTarget {
        self.open = Box::new(open);
        self.options.on_host = false;
        self
    }

    fn compiler(&self) -> Result<&Toolchain> {
        let find = || {
            let cache = Cache::new(self.options.cache.clone());
            Toolchain::find(self.chip, self.options.cc.as_deref(), cache)
        };
        let found = self.toolchain.get_or_init(find);
        found.as_ref().map_err(Clone::clone)
    }

    /// Compiles one kernel.
    ///
    /// # Errors
    /// Bug when the compiler refuses it; Environment when there is no compiler.
    pub fn compile(&self, kernel: &LinearKernel) -> Result<CodeObject> {
        let threads = groups::threads(&kernel.uops, &kernel.list)?.count as u32;
        let text = format!("{DEVICE}{}", self.render(kernel)?);
        let bytes = self.compiler()?.compile(&text, threads)?;
        let code = CodeObject::read(&kernel.name, bytes, threads, self.chip, &self.gpu)?;
        let room = self.gpu.group_memory_bytes;
        if code.descriptor.group_bytes > room || threads > self.gpu.group_threads {
            return Err(Error::bug(format!(
                "kernel '{}' wants {threads} threads and {} bytes of shared memory in a group, the device has {} and {room}",
                kernel.name, code.descriptor.group_bytes, self.gpu.group_threads
            )));
        }
        if u64::from(code.descriptor.kernarg_bytes) != 8 * kernel.params.len() as u64 {
            return Err(Error::bug(format!(
                "kernel '{}' wants {} bytes of arguments for {} buffers",
                kernel.name,
                code.descriptor.kernarg_bytes,
                kernel.params.len()
            )));
        }
        Ok(code)
    }

    /// Compiles a model.
    ///
    /// # Errors
    /// As [`AmdTarget::compile`].
    pub fn build(&self, built: &Built) -> Result<Model> {
        self.compiler()?;
        let code = built.linear.par_iter().map(|k| self.compile(k));
        let code = code.collect::<Result<Vec<_>>>()?;
        Ok(Model {
            code,
            dispatches: dispatches(built)?,
            weight_bytes: built.plan.weight_bytes,
            arena_bytes: built.plan.arena_bytes,
        })
    }

    /// Compiles C for the machine that tinyc was built for: the functions of a library.
    fn compile_glue(&self, text: &str) -> Result<Vec<u8>> {
        self.compiler()?.compile_glue(text)
    }

    /// The command stream of a model.
    ///
    /// # Errors
    /// As [`stream::Network::build`].
    pub fn network(&self, model: &Model) -> Result<Network> {
        Network::build(model, &self.chip.generation()?, self.gpu.wave_lanes)
    }
}

/// Looks at the timeline before a wait asks the driver.
const POLLS: u32 = 1 << 20;

/// Opens a bundle on this machine's device.
fn open_here(bundle: Vec<u8>) -> Result<Box<dyn Session>> {
    let session = DeviceSession::new(bundle, Linux, POLLS);
    Ok(Box::new(session.map_err(|e| {
        e.help("run it on a machine that has the device, or on the simulated one with --simulate")
    })?))
}

impl AmdTarget {
    /// What artifacts carry and devices load: a whole bundle.
    ///
    /// # Errors
    /// As [`AmdTarget::compile`] and [`Network::build`].
    pub fn bundle(&self, built: &Built) -> Result<Vec<u8>> {
        executable::whole_bundle(self, built)
    }
}

impl Target for AmdTarget {
    fn name(&self) -> &str {
        self.chip.target()
    }

    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn render(&self, kernel: &LinearKernel) -> Result<String> {
        tinyc_compiler::render::c_groups::render(kernel)
    }

    fn emit(&self, built: &Built, what: Emit, dir: &Path) -> Result<Vec<EmittedFile>> {
        match what {
            Emit::Exe => executable::emit(self, built, dir),
            Emit::Lib => library::emit(self, built, dir),
        }
    }

    fn load(&self, built: &Built, _: usize) -> Result<Box<dyn Session>> {
        if !self.options.on_host {
            return (self.open)(self.bundle(built)?);
        }
        let texts = built.linear.iter().map(|k| self.render(k));
        let texts = texts.collect::<Result<Vec<_>>>()?;
        let session = HostSession::new(built, &texts, &self.gpu, self.compiler()?)?;
        Ok(Box::new(session))
    }

    fn resources(&self, kernel: &LinearKernel) -> Result<Option<Resources>> {
        let code = self.compile(kernel)?;
        Ok(Some(code.resources()))
    }

    fn toolchain(&self) -> Result<String> {
        Ok(self.compiler()?.describe())
    }
}
