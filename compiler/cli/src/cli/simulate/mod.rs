//! `--simulate`: GPU code on the simulated device, behind the simulated kernel driver, through the replay code that real
//! devices get. For machines without a GPU, such as a CI's.
//!
//! | file | in | out |
//! |---|---|---|
//! | `session` | a bundle | a session, whose device watches what it is told |
//! | `artifact` | a `.tinyexe` | its inputs and outputs |
//! | `counters` | what kernels did | their table and JSON |

mod artifact;
mod counters;
mod session;

pub use artifact::Artifact;
pub use counters::Figures;

use super::registry::{self, TargetArgs};
use session::SimulatedSession;
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::target::Target;
use tinyc_simgpu::kfd::Settings;
use tinyc_target_amd::{AmdTarget, Chip};

/// What the command line says about the simulated device.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SimulateArgs {
    /// Run GPU code on a simulated device, instruction by instruction
    #[arg(long)]
    pub simulate: bool,
    /// Seed of the order in which waves and queues of the simulated device run
    #[arg(long, value_name = "N", default_value_t = 1, requires = "simulate")]
    pub seed: u64,
    /// Host and simulated device see stores of each other only after the right fences, flushes and releases (slower)
    #[arg(long, requires = "simulate")]
    pub shadow: bool,
}

/// Compute units of the simulated device: what queues and private memory are sized for.
const UNITS: u32 = 8;

impl SimulateArgs {
    fn settings(&self) -> Settings {
        Settings {
            seed: self.seed,
            shadow: self.shadow,
            units: UNITS,
            ..Settings::default()
        }
    }

    /// A session of a bundle, bare or in an executable.
    pub fn session(&self, bundle: Vec<u8>) -> Result<SimulatedSession> {
        SimulatedSession::new(bundle, self.settings())
    }
}

/// Opens the target that the arguments name, with sessions on the simulated device where that is asked for.
pub fn open(target: &TargetArgs, args: &SimulateArgs) -> Result<Box<dyn Target>> {
    match args.simulate {
        true => Ok(Box::new(simulated(target, args)?)),
        false => registry::open(target),
    }
}

/// The target that the arguments name, whose models run on the simulated device.
pub fn simulated(target: &TargetArgs, args: &SimulateArgs) -> Result<AmdTarget> {
    let known = Chip::Gfx1100.target();
    if target.target != known {
        return Err(Error::usage(format!(
            "the simulated device runs code of {known}, not of '{}'",
            target.target
        ))
        .help(format!("add --target {known}, or leave --simulate away")));
    }
    let args = args.clone();
    let target = registry::amd(Chip::Gfx1100, target)?;
    Ok(target.on(move |bundle| Ok(Box::new(args.session(bundle)?))))
}
