//! What the compiler asks of a target: facts (numbers from a `target.toml`) and a few functions.
//!
//! The compiler never names a target. `compiler/cli` lists the targets in one table and hands one
//! down as `&dyn Target`.

mod cache;
mod gpu;
mod job;

use crate::diag::{Error, Result};
use crate::program::{Built, LinearKernel};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

pub use cache::Cache;
pub use gpu::{Gpu, MatrixTile};
pub use job::{Form, Job, Operand};

/// Numbers of one chip, read from `targets/NAME/*.toml`. Bytes, lanes and GB/s unless said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Name of the file without extension: `x86-64-v4`.
    pub name: String,
    /// Bytes of a vector register (64 for AVX-512). 4 when there is none.
    pub vector_bytes: u32,
    /// Vector registers that an inner loop may use.
    pub vector_registers: u32,
    /// The hardware multiplies a vector by a scalar from memory without a separate broadcast.
    pub broadcast_operand: bool,
    /// Fused multiply-add instructions exist.
    pub fma: bool,
    /// Independent multiply-adds needed in flight to hide latency (latency times units).
    pub fma_in_flight: u32,
    /// First-level data cache.
    pub l1_bytes: u64,
    /// Second-level cache.
    pub l2_bytes: u64,
    /// Last-level cache share of one core.
    pub l3_bytes: u64,
    /// Peak f32 GFLOP/s of one core.
    pub peak_gflops: f64,
    /// Memory read bandwidth of one core.
    pub memory_gb_s: f64,
    /// Threads worth using at most (cores); 0 asks the host.
    pub cores: u32,
    /// Alignment of every buffer in the arena.
    pub alignment: u32,
    /// Channels that one block of a channel-blocked activation holds; 1 for no blocking.
    pub channel_block: u32,
    /// Multiply-adds below which splitting a kernel over threads does not pay.
    pub parallel_threshold: u64,
    /// How far ahead of a reduce loop its weights are asked for; 0 where the hardware does it better alone.
    #[serde(default)]
    pub prefetch_bytes: u32,
    /// Work-groups of threads in place of loops and a few threads. The numbers above are then those of the whole device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<Gpu>,
    /// Convolutions of 3x3 taps may be computed by Winograd's algorithm where that is estimated to be faster.
    #[serde(default)]
    pub winograd: bool,
}

/// A CPU with 64-byte vectors and two cores, for examples and tests.
impl Default for Facts {
    fn default() -> Facts {
        Facts {
            name: "plain".into(),
            vector_bytes: 64,
            vector_registers: 32,
            broadcast_operand: true,
            fma: true,
            fma_in_flight: 8,
            l1_bytes: 32 << 10,
            l2_bytes: 1 << 20,
            l3_bytes: 8 << 20,
            peak_gflops: 100.0,
            memory_gb_s: 10.0,
            cores: 2,
            alignment: 64,
            channel_block: 16,
            parallel_threshold: 1 << 16,
            prefetch_bytes: 0,
            gpu: None,
            winograd: false,
        }
    }
}

impl Facts {
    /// Lanes of `bytes`-sized elements in one vector register, at least 1.
    pub fn lanes(&self, bytes: usize) -> u16 {
        (self.vector_bytes as usize / bytes).max(1) as u16
    }
    /// Seconds that moving `bytes` from memory takes.
    pub fn move_seconds(&self, bytes: f64) -> f64 {
        bytes / (self.memory_gb_s * 1e9)
    }
    /// Seconds that `flops` take at half of peak.
    pub fn compute_seconds(&self, flops: f64) -> f64 {
        flops / (self.peak_gflops * 0.5e9)
    }
}

/// What to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Emit {
    /// Static library, header, build-system files, Rust crate.
    Lib,
    /// One `.tinyexe`.
    Exe,
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EmittedFile {
    /// Where.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
}

/// Events that [`Session::count`] counts, in its order.
pub const EVENTS: [&str; 5] = [
    "cycles",
    "instructions",
    "L1 misses",
    "L2 misses",
    "L3 misses",
];

/// Counts of one step, by event; none for an event that this processor does not count.
pub type Counts = [Option<u64>; EVENTS.len()];

/// A compiled model loaded into this process. `run` reuses the arena of earlier calls.
pub trait Session: Send {
    /// Runs once. One slice for each program input and output, row-major, exactly as large as
    /// the program's `Io` says.
    fn run(&mut self, inputs: &[&[u8]], outputs: &mut [&mut [u8]]) -> Result<()>;
    /// Runs once without threads; gives the seconds of each step of the program.
    fn profile(&mut self, inputs: &[&[u8]], outputs: &mut [&mut [u8]]) -> Result<Vec<f64>>;
    /// Runs once without threads; gives the events of each step of the program, or says why they cannot be counted.
    fn count(
        &mut self,
        inputs: &[&[u8]],
        outputs: &mut [&mut [u8]],
    ) -> Result<std::result::Result<Vec<Counts>, String>> {
        let _ = (inputs, outputs);
        Ok(Err("this target counts no events".to_string()))
    }
}

/// What a kernel's machine code takes of a device with work-groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Resources {
    /// Registers of a thread.
    pub registers: u32,
    /// Waves that a compute unit holds.
    pub occupancy: u32,
    /// Threads of a work-group.
    pub threads: u32,
    /// Bytes of memory that a work-group shares.
    pub group_bytes: u32,
    /// Bytes of memory of each thread: what did not fit into registers.
    pub private_bytes: u32,
    /// Bytes of instructions.
    pub code_bytes: u32,
    /// Matrix instructions among them, where they are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matrix: Option<u32>,
}

/// A target: one folder under `targets/`.
pub trait Target: Send + Sync {
    /// Its name on the command line.
    fn name(&self) -> &str;
    /// Numbers of the chip compiled for.
    fn facts(&self) -> &Facts;
    /// Source text of one kernel (for dumps, snapshots and kernel diffs).
    fn render(&self, kernel: &LinearKernel) -> Result<String>;
    /// Writes artifacts into `dir`.
    fn emit(&self, built: &Built, what: Emit, dir: &Path) -> Result<Vec<EmittedFile>>;
    /// Compiles for this host and loads, to run with at most `threads` threads.
    fn load(&self, built: &Built, threads: usize) -> Result<Box<dyn Session>>;
    /// Writes a benchmark program for a machine of this kind that is elsewhere.
    fn emit_job(&self, job: &Job, dir: &Path) -> Result<EmittedFile> {
        let _ = (job, dir);
        Err(Error::unsupported(format!(
            "target {} has no benchmark programs",
            self.name()
        )))
    }
    /// What a kernel takes of the device; nothing where kernels do not share one.
    fn resources(&self, kernel: &LinearKernel) -> Result<Option<Resources>> {
        let _ = kernel;
        Ok(None)
    }
    /// One line for reports: compiler, version, flags.
    fn toolchain(&self) -> Result<String>;
}
