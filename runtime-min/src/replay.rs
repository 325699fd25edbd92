//! The replay loop: every launch of a program, in order, on a [`Device`].
//!
//! A device that computes where it is called (a CPU) is one worker among several: each worker replays
//! the whole program, and the barriers keep them together. A device that takes commands has one worker.

use crate::program::{Launch, Place, Program};

/// What executes launches.
pub trait Device {
    /// Why a launch did not happen.
    type Error;
    /// Starts a kernel on buffers.
    fn launch(
        &mut self,
        launch: &Launch,
        arguments: impl Iterator<Item = Place>,
    ) -> Result<(), Self::Error>;
    /// Returns when all earlier launches are done.
    fn barrier(&mut self) -> Result<(), Self::Error>;
}

/// Replays a program once.
pub fn replay<D: Device>(program: &Program<'_>, device: &mut D) -> Result<(), D::Error> {
    for launch in program.launches() {
        device.launch(&launch, program.arguments(&launch))?;
        if launch.barrier() {
            device.barrier()?;
        }
    }
    Ok(())
}
