//! `tinyc profile --simulate`: what a GPU's kernels do in one run, counted by the simulated device.
//!
//! In: a model or a `.tinyexe`. Out: instructions by class, bytes, bank conflicts, by kernel.

use super::{Args, By, SEED};
use crate::cli::exit::Exit;
use crate::cli::prepare::{PassArgs, Prepared};
use crate::cli::simulate::{self, Artifact, Figures};
use crate::cli::{output, source, tuning};
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::driver::Random;
use tinyc_compiler::target::Session;

pub fn run(args: &Args) -> Result<Exit> {
    if args.html.is_some()
        || args.trace.is_some()
        || args.events
        || args.launches
        || args.by != By::Kernel
    {
        return Err(Error::usage(
            "--simulate counts what kernels do; there are no times for --html, --trace, --events, --launches and --by",
        ));
    }
    let artifact = match source::is_executable(&args.model) {
        true => Artifact::open(&args.model)?,
        false => {
            let target = simulate::simulated(&args.target, &args.simulate)?;
            let mut prepared = Prepared::open(&args.model, None, &args.bind, &[])?;
            prepared.use_recipes(tuning::known(&args.target, &target)?);
            let compiled = prepared.compile(&target, &PassArgs::default())?;
            Artifact::of(target.bundle(&compiled.built)?)?
        }
    };
    let mut random = Random::new(SEED);
    let inputs = artifact.inputs.iter().map(|io| random.tensor(io));
    let inputs: Vec<_> = inputs.collect();
    let inputs: Vec<&[u8]> = inputs.iter().map(|w| &*w.bytes).collect();
    let outputs = artifact.outputs.iter().map(|io| vec![0; io.bytes()]);
    let mut outputs: Vec<Vec<u8>> = outputs.collect();
    let mut outputs: Vec<&mut [u8]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
    let mut session = args.simulate.session(artifact.bytes)?;
    session.run(&inputs, &mut outputs)?;
    let launched = session.launched();
    let figures = Figures::new(&launched, &artifact.launches, &artifact.kernels);
    match args.json {
        true => output::json(&serde_json::json!({
            "model": args.model,
            "seed": args.simulate.seed,
            "kernels": figures.kernels,
            "total": figures.total,
        }))?,
        false => output::print(&figures.table())?,
    }
    Ok(Exit::Success)
}
