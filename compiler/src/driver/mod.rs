//! The driver: the one visible list of passes, from a graph to a built program.
//!
//! In: a [`Graph`], a [`Target`], [`Options`]. Out: [`Compiled`]: the program with its machine
//! kernels and memory plan, and a [`Report`] of the time each stage took. The order of everything
//! stands in `pipeline.rs`; what happens to single kernels in `kernels.rs`. Targets and `emit` take over
//! from there.
//!
//! ```no_run
//! use tinyc_compiler::driver::{compile, Options, Silent};
//! # fn f(graph: tinyc_compiler::graph::Graph, target: &dyn tinyc_compiler::target::Target) -> tinyc_compiler::diag::Result<()> {
//! let compiled = compile(graph, target, &Options::named("mnist"), &mut Silent)?;
//! println!("{} kernels", compiled.built.linear.len());
//! # Ok(())
//! # }
//! ```

mod dump;
#[cfg(test)]
mod equivalence;
mod fingerprint;
mod jobs;
mod kernels;
mod options;
mod pipeline;
mod progress;
mod random;
pub mod replay;
mod trial;
mod tune;

pub use crate::codegen::Lowered;
pub use fingerprint::{fingerprint, kernel_hash};
pub use jobs::{JobEntry, JobManifest, emit_jobs};
pub use kernels::{kernel_passes, run_pass};
pub use options::{Options, identifier};
pub use pipeline::{Compiled, Outcome, compile, compile_until, passes};
pub use progress::{Progress, Report, Silent, StageTime};
pub use random::Random;
pub use tune::{Tune, Tuned, tune};

#[cfg(doc)]
use crate::{graph::Graph, target::Target};
