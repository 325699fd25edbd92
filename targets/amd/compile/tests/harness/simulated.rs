//! A target whose models run on the simulated device.

use std::sync::{Arc, Mutex};
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::target::Session;
use tinyc_runtime::Bundle;
use tinyc_simgpu::kfd::{Settings, Simulated};
use tinyc_simgpu::wave::Counters;
use tinyc_target_amd::{AmdTarget, DeviceSession};

/// What each launch did, by the name of its kernel.
pub type Launches = Arc<Mutex<Vec<(String, Counters)>>>;

/// The same target, whose models run on the simulated device behind the simulated driver, and what launches did.
pub fn simulated(target: AmdTarget) -> (AmdTarget, Launches) {
    let launches = Launches::default();
    let shared = launches.clone();
    let target = target.on(move |bundle| {
        let names = names(&tinyc_runtime::read(&bundle).unwrap());
        let device = Simulated::new(Settings::default());
        Ok(Box::new(Watched {
            session: DeviceSession::new(bundle, device.clone(), 1000)?,
            device,
            names,
            launches: shared.clone(),
        }))
    });
    (target, launches)
}

/// What launches did since the last call.
pub fn take(launches: &Launches) -> Vec<(String, Counters)> {
    std::mem::take(&mut *launches.lock().unwrap())
}

/// Names of the kernels that are launched, in order.
fn names(bundle: &Bundle<'_>) -> Vec<String> {
    let symbols = bundle.symbols().unwrap();
    let kernels: Vec<&str> = bundle.kernels().collect();
    let launches = (0..symbols.launches()).map(|n| symbols.launch(n).unwrap());
    launches
        .map(|l| kernels[l.kernel as usize].to_string())
        .collect()
}

struct Watched {
    session: DeviceSession<Simulated>,
    device: Simulated,
    names: Vec<String>,
    launches: Launches,
}

impl Session for Watched {
    fn run(&mut self, inputs: &[&[u8]], outputs: &mut [&mut [u8]]) -> Result<()> {
        let result = self.session.run(inputs, outputs);
        assert_eq!(self.device.fault(), None);
        assert_eq!(self.device.violations(), Vec::<String>::new());
        let launched = self.device.take_launched();
        assert_eq!(launched.len(), self.names.len());
        let named = self.names.iter().cloned().zip(launched);
        let mut all = self.launches.lock().unwrap();
        all.extend(named.map(|(name, l)| (name, l.counters)));
        result
    }
    fn profile(&mut self, _: &[&[u8]], _: &mut [&mut [u8]]) -> Result<Vec<f64>> {
        Err(Error::unsupported("no times"))
    }
}
