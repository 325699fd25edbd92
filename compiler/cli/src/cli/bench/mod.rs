//! `tinyc bench`: models and artifacts side by side.
//!
//! Machines are shared and noisy, so everything is timed in short rounds that take turns: only
//! figures of one interleaved run compare. `--against` does that; `--baseline` compares with figures of another day, and
//! with how fast the machine was then.
//!
//! | file | in | out |
//! |---|---|---|
//! | `candidate` | a model or `.tinyexe` | times of rounds |
//! | `calibration` | | time of a fixed piece of work |
//! | `baseline` | rounds of both sides | changes, verdicts, the file of `--save`, Markdown |

mod baseline;
mod calibration;
mod candidate;

use super::blame::share;
use super::exit::Exit;
use super::output;
use super::prepare::BindArgs;
use super::registry::{self, TargetArgs};
use super::statistics::quantile;
use baseline::{Comparison, Saved, Verdict};
use candidate::Candidate;
use serde::Serialize;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tinyc_compiler::diag::{Error, Result};

/// Turns that each candidate gets.
const ROUNDS: u32 = 20;

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
    /// Compare with figures that --save wrote
    #[arg(long, value_name = "FILE", conflicts_with = "against")]
    baseline: Option<PathBuf>,
    /// Write the figures, for a later --baseline
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Compare with another model or .tinyexe, in turns (once, or once for each model)
    #[arg(long, value_name = "MODEL")]
    against: Vec<String>,
    /// Change that counts, as 5% or 0.05
    #[arg(long, value_name = "SHARE", default_value = "5%", value_parser = share)]
    threshold: f64,
    /// Write the comparison as a Markdown table
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
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
    if args.markdown.is_some() && args.baseline.is_none() && args.against.is_empty() {
        return Err(Error::usage(
            "--markdown shows a comparison: it needs --baseline or --against",
        ));
    }
    if !matches!(args.against.len(), 0 | 1) && args.against.len() != args.models.len() {
        return Err(Error::usage(format!(
            "{} models and {} of --against: give it once, or once for each model",
            args.models.len(),
            args.against.len()
        )));
    }
    let before = args.baseline.as_deref().map(Saved::read).transpose()?;
    let target = registry::open(&args.target)?;
    let mut candidates = args
        .models
        .iter()
        .chain(&args.against)
        .map(|m| Candidate::open(m, &args, &*target))
        .collect::<Result<Vec<_>>>()?;
    for c in &mut candidates {
        c.warm_up()?;
    }
    let slice = Duration::from_secs_f64(args.seconds / f64::from(ROUNDS));
    let calibration = rounds(&mut candidates, slice)?;
    let now = Saved::of(&candidates, calibration, args.threads);
    let mut changes = compare(&args, before.as_ref(), &now)?;
    if changes.iter().any(|c| c.verdict == Verdict::Slower) {
        // Once more, with nothing of the first time in it.
        candidates.iter_mut().for_each(|c| c.rounds_ms.clear());
        let calibration = rounds(&mut candidates, slice)?;
        let again = Saved::of(&candidates, calibration, args.threads);
        let again = compare(&args, before.as_ref(), &again)?;
        for (change, again) in changes.iter_mut().zip(again) {
            change.confirm(again);
        }
    }
    if let Some(path) = &args.save {
        now.write(path)?;
    }
    let notes = before.map_or(Vec::new(), |b| b.differences(&now));
    if let Some(path) = &args.markdown {
        write(path, &baseline::markdown(&changes, &notes, args.threshold))?;
    }
    let peak = target.facts().peak_gflops * f64::from(args.threads);
    let figures: Vec<Figures> = candidates.iter().map(|c| Figures::of(c, peak)).collect();
    if args.json {
        output::json(&serde_json::json!({
            "results": figures,
            "changes": changes,
            "notes": notes,
        }))?;
    } else {
        let mut text = table(&figures);
        text.push_str(&baseline::table(&changes));
        for note in &notes {
            let _ = writeln!(text, "note: {note}");
        }
        output::print(&text)?;
    }
    Ok(match changes.iter().any(|c| c.verdict == Verdict::Slower) {
        true => Exit::Differs,
        false => Exit::Success,
    })
}

/// All rounds of all candidates in turns; the times of the calibration.
fn rounds(candidates: &mut [Candidate], slice: Duration) -> Result<Vec<f64>> {
    let mut calibration = Vec::new();
    for round in 0..ROUNDS {
        calibration.push(calibration::measure_ms());
        // Who comes first changes: a rhythm of the machine is not to hit the same one always.
        for at in 0..candidates.len() {
            let at = (at + round as usize) % candidates.len();
            candidates[at].take_turn(slice)?;
        }
    }
    Ok(calibration)
}

/// Changes of the models against what was asked for: nothing, a file, or other candidates.
fn compare(args: &Args, before: Option<&Saved>, now: &Saved) -> Result<Vec<Comparison>> {
    let count = args.models.len();
    let misses = 0.05 / count as f64;
    if let Some(before) = before {
        let results = now.results.iter().take(count);
        return results
            .map(|r| baseline::against_file(before, now, &r.name, args.threshold, misses))
            .collect();
    }
    let others = now.results.get(count..).unwrap_or(&[]);
    let results = now.results.iter().take(count).enumerate();
    Ok(results
        .filter_map(|(n, r)| {
            let other = others.get(n).or_else(|| others.first())?;
            Some(baseline::in_turns(other, r, args.threshold, misses))
        })
        .collect())
}

/// Writes a text file.
fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text)
        .map_err(|e| Error::environment(format!("cannot write {}: {e}", path.display())))
}

impl Figures {
    fn of(candidate: &Candidate, peak: f64) -> Figures {
        let mut times = candidate.times_ms();
        times.sort_by(f64::total_cmp);
        let median_ms = quantile(&times, 0.5);
        let gflop_s = candidate.flops.map(|f| f as f64 / (median_ms * 1e6));
        Figures {
            name: candidate.name.clone(),
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
    use super::candidate::Runner;
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
            rounds_ms: vec![vec![3.0], vec![1.0, 2.0]],
        };
        let f = Figures::of(&c, 10.0);
        assert_eq!((f.median_ms, f.min_ms, f.runs), (2.0, 1.0, 3));
        assert_eq!(f.gflop_s, Some(1.0));
        assert_eq!(f.share_of_peak, Some(0.1));
        insta::assert_snapshot!(table(&[f]));
    }
}
