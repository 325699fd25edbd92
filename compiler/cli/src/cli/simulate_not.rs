//! A build without the simulated device: there is nothing to choose, and nothing is simulated.

use super::registry::{self, TargetArgs};
use tinyc_compiler::diag::Result;
use tinyc_compiler::target::Target;

/// No arguments.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SimulateArgs {}

/// Opens the target that the arguments name.
pub fn open(target: &TargetArgs, _: &SimulateArgs) -> Result<Box<dyn Target>> {
    registry::open(target)
}
