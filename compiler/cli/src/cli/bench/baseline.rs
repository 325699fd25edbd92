//! Figures of another run, and whether something became slower since.
//!
//! In: medians of rounds, now and then. Out: [`Comparison`]s, the file of `--save`, tables.
//!
//! A model is slower only when all of the interval of its change lies above the threshold, as measured and also after
//! allowing for a machine that is slower than it was; and when a second measurement says the same. What is faster is
//! only said.

use super::candidate::Candidate;
use super::write;
use crate::cli::output::time;
use crate::cli::statistics::{Interval, bootstrap, bootstrap_ratio, median};
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::path::Path;
use tinyc_compiler::diag::{Error, Result};

/// Version of the file.
const FORMAT: u32 = 1;
/// Relative difference of the calibration that is worth a note.
const MACHINE_DIFFERS: f64 = 0.05;

/// What `--save` writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// Version of the file.
    pub format: u32,
    /// Version of tinyc.
    pub tinyc: String,
    /// Name of the processor.
    pub processor: String,
    /// Processors that the system has.
    pub processors: usize,
    /// Threads that the models ran on.
    pub threads: u16,
    /// Milliseconds of a fixed piece of work, in each round.
    pub calibration_ms: Vec<f64>,
    /// Models.
    pub results: Vec<SavedResult>,
}

/// One model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedResult {
    /// As it was named on the command line.
    pub name: String,
    /// Median of all runs.
    pub median_ms: f64,
    /// Median of each round.
    pub rounds_ms: Vec<f64>,
}

/// What became of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// By more than the threshold, certainly.
    Slower,
    /// By more than the threshold, certainly.
    Faster,
    /// By less than the threshold, certainly.
    Same,
    /// The interval holds the threshold.
    Unclear,
    /// The baseline has no such model.
    New,
}

/// One model against what it was.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Name of the model.
    pub name: String,
    /// Milliseconds before.
    pub before_ms: Option<f64>,
    /// Milliseconds now.
    pub now_ms: f64,
    /// Time now over time before.
    pub ratio: Option<Interval>,
    /// The same over what the calibration took, for a baseline of another day.
    pub ratio_to_machine: Option<Interval>,
    /// What that means.
    pub verdict: Verdict,
}

impl Saved {
    /// Figures of this run.
    pub fn of(candidates: &[Candidate], calibration_ms: Vec<f64>, threads: u16) -> Saved {
        Saved {
            format: FORMAT,
            tinyc: env!("CARGO_PKG_VERSION").to_string(),
            processor: processor(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            threads,
            calibration_ms,
            results: candidates
                .iter()
                .map(|c| SavedResult {
                    name: c.name.clone(),
                    median_ms: median(&c.times_ms()),
                    rounds_ms: c.medians_ms(),
                })
                .collect(),
        }
    }

    /// Reads a file.
    pub fn read(path: &Path) -> Result<Saved> {
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|e| Error::model(format!("cannot read {shown}: {e}")))?;
        Saved::parse(&text).map_err(|e| {
            Error::model(format!("{shown}: {e}")).help("write one with 'tinyc bench --save FILE'")
        })
    }

    fn parse(text: &str) -> std::result::Result<Saved, String> {
        let saved: Saved = serde_json::from_str(text).map_err(|e| e.to_string())?;
        if saved.format != FORMAT {
            return Err(format!(
                "format {}, this tinyc reads {FORMAT}",
                saved.format
            ));
        }
        let sound = |list: &[f64]| list.iter().all(|t| t.is_finite() && *t > 0.0);
        match saved.results.iter().find(|r| !sound(&r.rounds_ms)) {
            Some(r) => Err(format!("'{}' has times that are no times", r.name)),
            None if !sound(&saved.calibration_ms) => {
                Err("the calibration has times that are no times".to_string())
            }
            None => Ok(saved),
        }
    }

    /// Writes the file.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|e| Error::bug(format!("cannot write JSON: {e}")))?;
        write(path, &(text + "\n"))
    }

    /// What is not as it was when this was saved, in sentences.
    pub fn differences(&self, now: &Saved) -> Vec<String> {
        let mut out = Vec::new();
        if (&self.processor, self.processors) != (&now.processor, now.processors) {
            out.push(format!(
                "the baseline is of another machine: {} x {}, this one is {} x {}; use --against",
                self.processors, self.processor, now.processors, now.processor
            ));
        }
        if self.threads != now.threads {
            out.push(format!(
                "the baseline ran on {} threads, this run on {}",
                self.threads, now.threads
            ));
        }
        let machine = median(&now.calibration_ms) / median(&self.calibration_ms);
        if (machine - 1.0).abs() > MACHINE_DIFFERS {
            let (percent, what) = match machine > 1.0 {
                true => ((machine - 1.0) * 100.0, "slower"),
                false => ((1.0 / machine - 1.0) * 100.0, "faster"),
            };
            out.push(format!(
                "this machine is {percent:.0} % {what} than when the baseline was made: small changes cannot be \
                 told; compare with an executable of then in turns (--against OLD.tinyexe)"
            ));
        }
        out
    }
}

/// A model against the same one in a file.
pub fn against_file(
    before: &Saved,
    now: &Saved,
    name: &str,
    threshold: f64,
    miss: f64,
) -> Result<Comparison> {
    let find = |s: &Saved| s.results.iter().find(|r| r.name == name).cloned();
    let current = find(now).ok_or_else(|| Error::bug(format!("no figures of '{name}'")))?;
    let mut out = Comparison {
        name: name.to_string(),
        before_ms: None,
        now_ms: current.median_ms,
        ratio: None,
        ratio_to_machine: None,
        verdict: Verdict::New,
    };
    let Some(old) = find(before) else {
        return Ok(out);
    };
    let ratio = bootstrap_ratio(&old.rounds_ms, &current.rounds_ms, miss);
    let machine = median(&now.calibration_ms) / median(&before.calibration_ms);
    let to_machine = match machine.is_finite() {
        true => ratio.map(|r| r / machine),
        false => ratio,
    };
    out.before_ms = Some(old.median_ms);
    out.verdict = judge(&[ratio, to_machine], threshold);
    out.ratio = Some(ratio);
    out.ratio_to_machine = Some(to_machine);
    Ok(out)
}

/// A candidate against another one that took turns with it.
pub fn in_turns(before: &SavedResult, now: &SavedResult, threshold: f64, miss: f64) -> Comparison {
    let rounds = before.rounds_ms.iter().zip(&now.rounds_ms);
    let ratios: Vec<Vec<f64>> = rounds.map(|(a, b)| vec![b / a]).collect();
    let ratio = bootstrap(&ratios, miss);
    Comparison {
        name: format!("{} against {}", now.name, before.name),
        before_ms: Some(before.median_ms),
        now_ms: now.median_ms,
        ratio: Some(ratio),
        ratio_to_machine: None,
        verdict: judge(&[ratio], threshold),
    }
}

/// All intervals must say so.
fn judge(ratios: &[Interval], threshold: f64) -> Verdict {
    let (low, high) = (1.0 - threshold, 1.0 + threshold);
    if ratios.iter().all(|r| r.low > high) {
        Verdict::Slower
    } else if ratios.iter().all(|r| r.high < low) {
        Verdict::Faster
    } else if ratios.iter().all(|r| r.low >= low && r.high <= high) {
        Verdict::Same
    } else {
        Verdict::Unclear
    }
}

impl Comparison {
    /// Takes a second measurement: slower is only what was slower in both.
    pub fn confirm(&mut self, again: Comparison) {
        if self.verdict == Verdict::Slower && again.verdict != Verdict::Slower {
            *self = Comparison {
                verdict: Verdict::Unclear,
                ..again
            };
        }
    }

    fn verdict_text(&self) -> &'static str {
        match self.verdict {
            Verdict::Slower => "SLOWER",
            Verdict::Faster => "faster",
            Verdict::Same => "same",
            Verdict::Unclear => "no clear change",
            Verdict::New => "new",
        }
    }

    fn change_text(&self) -> String {
        let percent = |r: f64| format!("{:+.1} %", (r - 1.0) * 100.0);
        self.ratio.map_or("-".to_string(), |r| {
            format!(
                "{} ({} to {})",
                percent(r.middle),
                percent(r.low),
                percent(r.high)
            )
        })
    }
}

/// Lines for people; nothing when there is nothing to compare.
pub fn table(changes: &[Comparison]) -> String {
    let mut out = String::new();
    for c in changes {
        let before = c.before_ms.map_or("-".to_string(), time);
        let _ = writeln!(
            out,
            "{}: {before} -> {}, {}: {}",
            c.name,
            time(c.now_ms),
            c.change_text(),
            c.verdict_text()
        );
    }
    out
}

/// A table for a pull request.
pub fn markdown(changes: &[Comparison], notes: &[String], threshold: f64) -> String {
    let mut out = String::from("| model | before | now | change | |\n|---|---:|---:|---:|---|\n");
    for c in changes {
        let name = c.name.replace('|', "\\|");
        let before = c.before_ms.map_or("-".to_string(), time);
        let verdict = match c.verdict {
            Verdict::Slower => "**slower**",
            _ => c.verdict_text(),
        };
        let _ = writeln!(
            out,
            "| `{name}` | {before} | {} | {} | {verdict} |",
            time(c.now_ms),
            c.change_text()
        );
    }
    let _ = writeln!(
        out,
        "\nMedians and 95 % intervals. *Slower* is what is certainly slower by more than {} % in two measurements.",
        threshold * 100.0
    );
    for note in notes {
        let _ = writeln!(out, "\n> {note}");
    }
    out
}

/// Name of the processor, as far as the system tells.
fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|l| l.starts_with("model name"));
    let name = line.and_then(|l| l.split_once(':')).map(|l| l.1.trim());
    name.unwrap_or(std::env::consts::ARCH).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twenty rounds of resnet18 as they were measured on a busy machine with two processors.
    const ROUNDS: [f64; 20] = [
        14.21, 14.35, 14.19, 15.02, 14.27, 14.24, 16.88, 14.31, 14.22, 14.26, 14.40, 14.23, 14.29,
        14.95, 14.25, 14.33, 14.20, 14.28, 15.61, 14.30,
    ];
    /// The same an hour later.
    const LATER: [f64; 20] = [
        14.32, 14.25, 14.41, 14.27, 15.38, 14.30, 14.24, 14.36, 14.29, 17.02, 14.28, 14.33, 14.44,
        14.26, 14.31, 14.90, 14.35, 14.27, 14.29, 14.38,
    ];

    fn saved(rounds: &[f64], scale: f64, calibration: f64) -> Saved {
        let rounds_ms: Vec<f64> = rounds.iter().map(|r| r * scale).collect();
        Saved {
            format: FORMAT,
            tinyc: "0.1.0".into(),
            processor: "Xeon".into(),
            processors: 2,
            threads: 1,
            calibration_ms: vec![calibration, calibration * 1.01, calibration * 0.99],
            results: vec![SavedResult {
                name: "resnet18.onnx".into(),
                median_ms: median(&rounds_ms),
                rounds_ms,
            }],
        }
    }

    fn verdict(before: &Saved, now: &Saved) -> Verdict {
        let c = against_file(before, now, "resnet18.onnx", 0.05, 0.05).unwrap();
        c.verdict
    }

    #[test]
    fn noise_is_no_regression() {
        let (a, b) = (saved(&ROUNDS, 1.0, 1.0), saved(&LATER, 1.0, 1.0));
        assert_eq!(verdict(&a, &b), Verdict::Same);
        assert_eq!(verdict(&b, &a), Verdict::Same);
    }

    #[test]
    fn eight_percent_are_seen() {
        let (a, b) = (saved(&ROUNDS, 1.0, 1.0), saved(&LATER, 1.08, 1.0));
        assert_eq!(verdict(&a, &b), Verdict::Slower);
        assert_eq!(verdict(&b, &a), Verdict::Faster);
        assert_eq!(verdict(&a, &saved(&LATER, 1.05, 1.0)), Verdict::Unclear);
    }

    #[test]
    fn a_slow_machine_is_not_a_slow_model() {
        let (a, b) = (saved(&ROUNDS, 1.0, 1.0), saved(&LATER, 1.2, 1.2));
        assert_eq!(verdict(&a, &b), Verdict::Unclear);
        let notes = a.differences(&b);
        assert_eq!(notes.len(), 1);
        assert!(
            notes[0].contains("20 % slower") && notes[0].contains("--against"),
            "{notes:?}"
        );
        assert!(a.differences(&saved(&LATER, 1.0, 1.0)).is_empty());
        // Slower even so.
        assert_eq!(verdict(&a, &saved(&LATER, 1.35, 1.2)), Verdict::Slower);
    }

    #[test]
    fn a_second_measurement_must_agree() {
        let a = saved(&ROUNDS, 1.0, 1.0);
        let compare = |scale| {
            against_file(&a, &saved(&LATER, scale, 1.0), "resnet18.onnx", 0.05, 0.05).unwrap()
        };
        let mut first = compare(1.1);
        first.confirm(compare(1.01));
        assert_eq!(first.verdict, Verdict::Unclear);
        let mut first = compare(1.1);
        first.confirm(compare(1.1));
        assert_eq!(first.verdict, Verdict::Slower);
    }

    #[test]
    fn turns_cancel_what_both_have() {
        let drift = |r: &[f64]| -> Vec<f64> {
            let drifting = r.iter().enumerate();
            drifting.map(|(i, r)| r * (1.0 + i as f64 * 0.02)).collect()
        };
        let a = &saved(&drift(&ROUNDS), 1.0, 1.0).results[0];
        let b = &saved(&drift(&LATER), 1.08, 1.0).results[0];
        assert_eq!(in_turns(a, b, 0.05, 0.05).verdict, Verdict::Slower);
        let b = &saved(&drift(&LATER), 1.0, 1.0).results[0];
        assert_eq!(in_turns(a, b, 0.05, 0.05).verdict, Verdict::Same);
    }

    #[test]
    fn models_that_are_new_are_no_regression() {
        let mut a = saved(&ROUNDS, 1.0, 1.0);
        a.results[0].name = "other".into();
        assert_eq!(verdict(&a, &saved(&ROUNDS, 1.0, 1.0)), Verdict::New);
    }

    #[test]
    fn files_are_checked() {
        let good = saved(&ROUNDS, 1.0, 1.0);
        let text = serde_json::to_string(&good).unwrap();
        assert_eq!(Saved::parse(&text).unwrap(), good);
        for wrong in [
            "",
            "{}",
            &text.replace("\"format\":1", "\"format\":2"),
            &text.replace("14.21", "-1.0"),
            &text.replace("\"calibration_ms\":[1.0", "\"calibration_ms\":[0.0"),
        ] {
            assert!(Saved::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_markdown_reads_well() {
        let a = saved(&ROUNDS, 1.0, 1.0);
        let changes: Vec<Comparison> = [1.0, 1.08, 1.02]
            .iter()
            .map(|&s| {
                against_file(&a, &saved(&LATER, s, 1.0), "resnet18.onnx", 0.05, 0.05).unwrap()
            })
            .collect();
        let notes = a.differences(&saved(&LATER, 1.0, 1.3));
        insta::assert_snapshot!(markdown(&changes, &notes, 0.05));
        insta::assert_snapshot!(table(&changes));
    }
}
