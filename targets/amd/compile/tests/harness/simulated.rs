//! A target whose models run on the simulated device.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::emit::pack_all;
use tinyc_compiler::program::{Built, LinearKernel};
use tinyc_compiler::target::{Emit, EmittedFile, Facts, Session, Target};
use tinyc_simgpu::code_object::CodeObject;
use tinyc_simgpu::device::{Device, Loaded};
use tinyc_simgpu::wave::Counters;
use tinyc_target_amd::{AmdTarget, Model};

/// The AMD target, whose models run on the simulated device.
pub struct Simulated {
    target: AmdTarget,
    counters: Shared,
}

/// What each launch did, by the name of its kernel.
type Shared = Arc<Mutex<Vec<(String, Counters)>>>;

impl Simulated {
    pub fn new(target: AmdTarget) -> Simulated {
        Simulated {
            target,
            counters: Shared::default(),
        }
    }

    /// What launches did since the last call.
    pub fn take_counters(&self) -> Vec<(String, Counters)> {
        std::mem::take(&mut *self.counters.lock().unwrap())
    }
}

impl Target for Simulated {
    fn name(&self) -> &str {
        self.target.name()
    }
    fn facts(&self) -> &Facts {
        self.target.facts()
    }
    fn render(&self, kernel: &LinearKernel) -> Result<String> {
        self.target.render(kernel)
    }
    fn emit(&self, built: &Built, what: Emit, dir: &Path) -> Result<Vec<EmittedFile>> {
        self.target.emit(built, what, dir)
    }
    fn load(&self, built: &Built, _: usize) -> Result<Box<dyn Session>> {
        let model = self.target.build(built)?;
        let mut device = Device::new(1);
        let code = model.code.iter().map(|code| {
            let parsed = CodeObject::parse(&code.bytes).map_err(|e| Error::bug(e.to_string()))?;
            device.load(&parsed).map_err(|e| Error::bug(e.to_string()))
        });
        let code = code.collect::<Result<Vec<_>>>()?;
        let program = &built.program;
        let io = program.inputs.iter().chain(&program.outputs);
        let mut packed = vec![0; model.weight_bytes as usize];
        pack_all(built, &mut packed)?;
        let mut bytes = vec![model.arena_bytes as usize, packed.len()];
        bytes.extend(io.map(|io| io.bytes()));
        let bases: Vec<u64> = bytes.iter().map(|&b| device.memory.map(b.max(1))).collect();
        let weights = device.memory.write(bases[1], &packed);
        weights.map_err(|e| Error::bug(e.to_string()))?;
        device.memory.protect(bases[1]);
        Ok(Box::new(SimulatedSession {
            device,
            model,
            code,
            bases,
            counters: self.counters.clone(),
        }))
    }
    fn toolchain(&self) -> Result<String> {
        self.target.toolchain()
    }
}

struct SimulatedSession {
    device: Device,
    model: Model,
    code: Vec<Loaded>,
    bases: Vec<u64>,
    counters: Shared,
}

impl Session for SimulatedSession {
    fn run(&mut self, inputs: &[&[u8]], outputs: &mut [&mut [u8]]) -> Result<()> {
        let memory = &self.device.memory;
        for (bytes, &base) in inputs.iter().zip(&self.bases[2..]) {
            memory.write(base, bytes).unwrap();
        }
        let start = Instant::now();
        let mut instructions = 0;
        let launches = self.model.dispatches.launches.clone();
        for step in &launches.steps {
            let args = &launches.args[step.first as usize..][..step.count as usize];
            let addresses = args.iter().flat_map(|&arg| {
                let place = launches.places[arg as usize];
                (self.bases[place.base as usize] + place.offset).to_le_bytes()
            });
            let kernel = step.kernel as usize;
            let addresses: Vec<u8> = addresses.collect();
            let arguments = self.device.arguments(&addresses).unwrap();
            let grid = self.model.dispatches.grids[kernel];
            let name = &self.model.code[kernel].name;
            let (groups, threads) = ([grid.groups, 1, 1], [grid.threads, 1, 1]);
            let code = &self.code[kernel];
            let counters = self.device.dispatch(code, name, groups, threads, arguments);
            let counters = counters.map_err(|e| Error::bug(e.to_string()))?;
            instructions += counters.total();
            let mut all = self.counters.lock().unwrap();
            all.push((name.clone(), counters));
        }
        let seconds = start.elapsed().as_secs_f64();
        println!("  {instructions} instructions in {seconds:.1} s");
        let first = 2 + inputs.len();
        for (out, &base) in outputs.iter_mut().zip(&self.bases[first..]) {
            self.device.memory.read(base, out).unwrap();
        }
        Ok(())
    }
    fn profile(&mut self, _: &[&[u8]], _: &mut [&mut [u8]]) -> Result<Vec<f64>> {
        Err(Error::unsupported("no times"))
    }
}
