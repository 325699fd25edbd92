//! `tinyc bench`: models and artifacts side by side.
//!
//! Machines are shared and noisy, so everything is timed in short rounds that take turns: only
//! figures of one interleaved run compare.

use super::compile::total_flops;
use super::exit::Exit;
use super::prepare::{BindArgs, PassArgs, Prepared};
use super::registry::{self, TargetArgs};
use super::run::executable_path;
use super::statistics::quantile;
use super::tuning;
use super::{output, source};
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::process::Command;
use std::time::{Duration, Instant};
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::driver::Random;
use tinyc_compiler::program::Weight;
use tinyc_compiler::target::{Session, Target};

/// Turns that each candidate gets.
const ROUNDS: u32 = 10;
/// Seed of the random inputs.
const SEED: u64 = 0;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// ONNX files, builtin:NAME or .tinyexe
    #[arg(required = true)]
    models: Vec<String>,
    /// Most threads to run on
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    /// Seconds to spend on each, warm-up not included
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    seconds: f64,
    #[command(flatten)]
    bind: BindArgs,
    #[command(flatten)]
    target: TargetArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Figures of one candidate.
#[derive(Debug, Serialize)]
struct Figures {
    name: String,
    median_ms: f64,
    min_ms: f64,
    max_ms: f64,
    /// Distance of the quartiles over the median.
    spread: f64,
    runs: usize,
    gflop_s: Option<f64>,
    share_of_peak: Option<f64>,
}

pub fn run(args: Args) -> Result<Exit> {
    if !(args.seconds > 0.0 && args.seconds <= 3600.0) {
        return Err(Error::usage("--seconds must be above 0 and at most 3600"));
    }
    let target = registry::open(&args.target)?;
    let mut candidates = args
        .models
        .iter()
        .map(|m| Candidate::open(m, &args, &*target))
        .collect::<Result<Vec<_>>>()?;
    for c in &mut candidates {
        c.warm_up()?;
    }
    let slice = Duration::from_secs_f64(args.seconds / f64::from(ROUNDS));
    for _ in 0..ROUNDS {
        for c in &mut candidates {
            c.take_turn(slice)?;
        }
    }
    let peak = target.facts().peak_gflops * f64::from(args.threads);
    let figures: Vec<Figures> = candidates.iter().map(|c| c.figures(peak)).collect();
    if args.json {
        output::json(&serde_json::json!({ "results": figures }))?;
    } else {
        output::print(&table(&figures))?;
    }
    Ok(Exit::Success)
}

struct Candidate {
    name: String,
    runner: Runner,
    flops: Option<u64>,
    times_ms: Vec<f64>,
}

enum Runner {
    Loaded {
        session: Box<dyn Session>,
        inputs: Vec<Weight>,
        outputs: Vec<Vec<u8>>,
    },
    Executable {
        model: String,
        threads: u16,
    },
}

/// What `NAME.tinyexe --bench --json` prints.
#[derive(Deserialize)]
struct ExecutableFigures {
    times_ms: Vec<f64>,
    flops: Option<u64>,
}

impl Candidate {
    fn open(model: &str, args: &Args, target: &dyn Target) -> Result<Candidate> {
        if source::is_executable(model) {
            return Ok(Candidate {
                name: model.to_string(),
                runner: Runner::Executable {
                    model: model.to_string(),
                    threads: args.threads,
                },
                flops: None,
                times_ms: Vec::new(),
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
            times_ms: Vec::new(),
        })
    }

    /// Runs until caches and clocks have settled; the times do not count.
    fn warm_up(&mut self) -> Result<()> {
        self.take_turn(Duration::from_millis(300))?;
        self.times_ms.clear();
        Ok(())
    }

    /// Runs for a while, at least once.
    fn take_turn(&mut self, slice: Duration) -> Result<()> {
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
                    self.times_ms.push(one.elapsed().as_secs_f64() * 1e3);
                    if start.elapsed() >= slice {
                        return Ok(());
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
                self.times_ms.extend(figures.times_ms);
                Ok(())
            }
        }
    }

    fn figures(&self, peak: f64) -> Figures {
        let mut times = self.times_ms.clone();
        times.sort_by(f64::total_cmp);
        let median_ms = quantile(&times, 0.5);
        let gflop_s = self.flops.map(|f| f as f64 / (median_ms * 1e6));
        Figures {
            name: self.name.clone(),
            median_ms,
            min_ms: quantile(&times, 0.0),
            max_ms: quantile(&times, 1.0),
            spread: (quantile(&times, 0.75) - quantile(&times, 0.25)) / median_ms,
            runs: times.len(),
            gflop_s,
            share_of_peak: gflop_s.map(|g| g / peak),
        }
    }
}

fn table(figures: &[Figures]) -> String {
    let width = figures
        .iter()
        .map(|f| f.name.len())
        .max()
        .unwrap_or(0)
        .max(4);
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{:<width$}  {:>10}  {:>10}  {:>7}  {:>6}  {:>9}  {:>7}",
        "name", "median ms", "min ms", "spread", "runs", "GFLOP/s", "of peak"
    );
    for f in figures {
        let or_dash = |v: Option<String>| v.unwrap_or_else(|| "-".to_string());
        let _ = writeln!(
            out,
            "{:<width$}  {:>10.3}  {:>10.3}  {:>5.1} %  {:>6}  {:>9}  {:>7}",
            f.name,
            f.median_ms,
            f.min_ms,
            f.spread * 100.0,
            f.runs,
            or_dash(f.gflop_s.map(|g| format!("{g:.1}"))),
            or_dash(f.share_of_peak.map(|s| format!("{:.0} %", s * 100.0)))
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_consistent() {
        let c = Candidate {
            name: "m".into(),
            runner: Runner::Executable {
                model: "m".into(),
                threads: 1,
            },
            flops: Some(2_000_000),
            times_ms: vec![3.0, 1.0, 2.0],
        };
        let f = c.figures(10.0);
        assert_eq!((f.median_ms, f.min_ms, f.runs), (2.0, 1.0, 3));
        assert_eq!(f.gflop_s, Some(1.0));
        assert_eq!(f.share_of_peak, Some(0.1));
        insta::assert_snapshot!(table(&[f]));
    }
}
