//! `tinyc run`: a model or `.tinyexe` on arrays from a file.

use super::exit::Exit;
use super::prepare::{BindArgs, PassArgs, Prepared};
use super::registry::TargetArgs;
use super::simulate::{self, SimulateArgs};
use super::tuning;
use super::{feed, output, source, tensor_files};
use std::path::{Path, PathBuf};
use std::process::Command;
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::program::Weight;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// ONNX file, builtin:NAME or .tinyexe
    model: String,
    /// Arrays by input name (.npz), or the one input (.npy)
    #[arg(long, value_name = "FILE")]
    inputs: PathBuf,
    /// File for the outputs, .npz (or .npy for a single output)
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    bind: BindArgs,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    simulate: SimulateArgs,
    /// Most threads to run on
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
}

pub fn run(args: Args) -> Result<Exit> {
    let arrays = tensor_files::read(&args.inputs)?;
    #[cfg(feature = "simulate")]
    if args.simulate.simulate && source::is_executable(&args.model) {
        return run_simulated(&args, &arrays);
    }
    if source::is_executable(&args.model) {
        return run_executable(&args, &arrays);
    }
    let target = simulate::open(&args.target, &args.simulate)?;
    let mut prepared = Prepared::open(&args.model, None, &args.bind, &arrays)?;
    prepared.use_recipes(tuning::known(&args.target, &*target)?);
    let bound = prepared.bound.clone();
    if !bound.is_empty() {
        output::note(&format!("bound as constants: {}", bound.join(", ")));
    }
    let compiled = prepared.compile(&*target, &PassArgs::default())?;
    let mut session = target.load(&compiled.built, args.threads.into())?;
    let outputs = feed::run(&mut *session, &compiled.built.program, &arrays, &bound)?;
    written(&args, &outputs)
}

fn written(args: &Args, outputs: &[Weight]) -> Result<Exit> {
    tensor_files::write(&args.output, outputs)?;
    for o in outputs {
        output::line(&format!("{}  {}{:?}", o.name, o.dtype, o.shape))?;
    }
    Ok(Exit::Success)
}

/// An artifact for a GPU, on the simulated one.
#[cfg(feature = "simulate")]
fn run_simulated(args: &Args, arrays: &[Weight]) -> Result<Exit> {
    let artifact = simulate::Artifact::open(&args.model)?;
    let mut session = args.simulate.session(artifact.bytes)?;
    let ios = (&artifact.inputs[..], &artifact.outputs[..]);
    let outputs = feed::run_on(&mut session, ios, arrays, &[])?;
    written(args, &outputs)
}

/// An executable reads uncompressed `.npz` only: hand it one.
fn run_executable(args: &Args, arrays: &[Weight]) -> Result<Exit> {
    let dir = tempfile::tempdir()
        .map_err(|e| Error::environment(format!("cannot make a temporary folder: {e}")))?;
    let single = matches!(arrays, [a] if a.name.is_empty());
    let inputs = dir.path().join(if single { "in.npy" } else { "in.npz" });
    tensor_files::write(&inputs, arrays)?;
    let status = Command::new(executable_path(&args.model))
        .arg("--run")
        .arg(&inputs)
        .arg("-o")
        .arg(&args.output)
        .arg("--threads")
        .arg(args.threads.to_string())
        .status()
        .map_err(|e| Error::environment(format!("cannot run {}: {e}", args.model)))?;
    match status.code() {
        Some(0) => Ok(Exit::Success),
        // It said itself what this machine lacks.
        Some(5) => Err(
            Error::environment(format!("{} cannot run here", args.model))
                .help("an artifact for a GPU also runs on the simulated one: --simulate"),
        ),
        Some(code) => Err(Error::model(format!(
            "{} ended with exit code {code}",
            args.model
        ))),
        None => Err(Error::bug(format!("{} was killed: {status}", args.model))),
    }
}

/// `m.tinyexe` in this folder needs `./` to be run.
pub fn executable_path(model: &str) -> PathBuf {
    let path = Path::new(model);
    if path.components().count() == 1 {
        Path::new(".").join(path)
    } else {
        path.to_path_buf()
    }
}
