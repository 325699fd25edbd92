//! A session on the simulated device. In: a bundle. Out: results, and what the device complains of.

use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::target::Session;
use tinyc_simgpu::kfd::{Launched, Settings, Simulated};
use tinyc_target_amd::DeviceSession;

/// A model that is open on a simulated device of its own.
pub struct SimulatedSession {
    session: DeviceSession<Simulated>,
    device: Simulated,
}

/// Looks at memory before a wait asks the driver: the simulated device is done after a few.
const POLLS: u32 = 1000;

impl SimulatedSession {
    /// Opens a model.
    pub fn new(bundle: Vec<u8>, settings: Settings) -> Result<SimulatedSession> {
        let device = Simulated::new(settings);
        let session = DeviceSession::new(bundle, device.clone(), POLLS)?;
        Ok(SimulatedSession { session, device })
    }

    /// Kernels that ran since this was last asked, in the order of their launches.
    pub fn launched(&self) -> Vec<Launched> {
        self.device.take_launched()
    }
}

impl Session for SimulatedSession {
    fn run(&mut self, inputs: &[&[u8]], outputs: &mut [&mut [u8]]) -> Result<()> {
        let result = self.session.run(inputs, outputs);
        let why = self.device.fault();
        let result = result.map_err(|e| match why {
            Some(why) => e.help(format!("the simulated device says: {why}")),
            None => e,
        });
        result?;
        match self.device.violations().first() {
            Some(first) => Err(Error::bug(format!("the simulated device saw {first}"))),
            None => Ok(()),
        }
    }

    fn profile(&mut self, inputs: &[&[u8]], outputs: &mut [&mut [u8]]) -> Result<Vec<f64>> {
        self.session.profile(inputs, outputs)
    }
}
