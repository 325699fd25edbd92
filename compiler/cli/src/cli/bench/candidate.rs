//! What is timed: a model compiled and loaded here, or an executable.
//!
//! In: a model's name. Out: [`Candidate`], which runs for a while in each round and keeps every time.

use super::Args;
use crate::cli::compile::total_flops;
use crate::cli::prepare::{PassArgs, Prepared};
use crate::cli::run::executable_path;
use crate::cli::statistics::median;
use crate::cli::{source, tuning};
use serde::Deserialize;
use std::process::Command;
use std::time::{Duration, Instant};
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::driver::Random;
use tinyc_compiler::program::Weight;
use tinyc_compiler::target::{Session, Target};

/// Seed of the random inputs.
const SEED: u64 = 0;

/// One of those that are compared.
pub struct Candidate {
    /// As the user named it.
    pub name: String,
    /// What runs.
    pub runner: Runner,
    /// Operations of one run, once they are known.
    pub flops: Option<u64>,
    /// Times of each round, in milliseconds.
    pub rounds_ms: Vec<Vec<f64>>,
}

/// How it runs.
pub enum Runner {
    /// In this process.
    Loaded {
        session: Box<dyn Session>,
        inputs: Vec<Weight>,
        outputs: Vec<Vec<u8>>,
    },
    /// In a process of its own in each round.
    Executable { model: String, threads: u16 },
}

/// What `NAME.tinyexe --bench --json` prints.
#[derive(Deserialize)]
struct ExecutableFigures {
    times_ms: Vec<f64>,
    flops: Option<u64>,
}

impl Candidate {
    /// Compiles a model, or finds an executable.
    pub fn open(model: &str, args: &Args, target: &dyn Target) -> Result<Candidate> {
        if source::is_executable(model) {
            return Ok(Candidate {
                name: model.to_string(),
                runner: Runner::Executable {
                    model: model.to_string(),
                    threads: args.threads,
                },
                flops: None,
                rounds_ms: Vec::new(),
            });
        }
        let mut prepared = Prepared::open(model, None, &args.bind, &[])?;
        prepared.use_recipes(tuning::known(&args.target, target)?);
        let compiled = prepared.compile(target, &PassArgs::default())?;
        let program = &compiled.built.program;
        let mut random = Random::new(SEED);
        Ok(Candidate {
            name: model.to_string(),
            runner: Runner::Loaded {
                session: target.load(&compiled.built, args.threads.into())?,
                inputs: program.inputs.iter().map(|io| random.tensor(io)).collect(),
                outputs: program
                    .outputs
                    .iter()
                    .map(|io| vec![0; io.bytes()])
                    .collect(),
            },
            flops: Some(total_flops(&compiled)),
            rounds_ms: Vec::new(),
        })
    }

    /// Runs until caches and clocks have settled; the times do not count.
    pub fn warm_up(&mut self) -> Result<()> {
        self.take_turn(Duration::from_millis(300))?;
        self.rounds_ms.clear();
        Ok(())
    }

    /// One round: runs for a while, at least once.
    pub fn take_turn(&mut self, slice: Duration) -> Result<()> {
        let mut times = Vec::new();
        match &mut self.runner {
            Runner::Loaded {
                session,
                inputs,
                outputs,
            } => {
                let inputs: Vec<&[u8]> = inputs.iter().map(|w| &*w.bytes).collect();
                let mut outputs: Vec<&mut [u8]> =
                    outputs.iter_mut().map(Vec::as_mut_slice).collect();
                let start = Instant::now();
                loop {
                    let one = Instant::now();
                    session.run(&inputs, &mut outputs)?;
                    times.push(one.elapsed().as_secs_f64() * 1e3);
                    if start.elapsed() >= slice {
                        break;
                    }
                }
            }
            Runner::Executable { model, threads } => {
                let out = Command::new(executable_path(model))
                    .args(["--bench", "--json", "--seconds"])
                    .arg(format!("{:.3}", slice.as_secs_f64()))
                    .arg("--threads")
                    .arg(threads.to_string())
                    .output()
                    .map_err(|e| Error::environment(format!("cannot run {model}: {e}")))?;
                if !out.status.success() {
                    return Err(Error::model(format!(
                        "{model}: {}",
                        String::from_utf8_lossy(&out.stderr).trim()
                    )));
                }
                let figures: ExecutableFigures = serde_json::from_slice(&out.stdout)
                    .map_err(|e| Error::model(format!("{model} --bench --json: {e}")))?;
                self.flops = figures.flops;
                times = figures.times_ms;
            }
        }
        self.rounds_ms.push(times);
        Ok(())
    }

    /// All times of all rounds.
    pub fn times_ms(&self) -> Vec<f64> {
        self.rounds_ms.concat()
    }

    /// Median of each round.
    pub fn medians_ms(&self) -> Vec<f64> {
        self.rounds_ms.iter().map(|r| median(r)).collect()
    }
}
