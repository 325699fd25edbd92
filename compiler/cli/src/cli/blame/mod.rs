//! `tinyc blame OLD NEW`: which kernel of two executables moved, by how much, why, and where results part.
//!
//! | file | in | out |
//! |---|---|---|
//! | `artifact` | a `.tinyexe` | kernels, launches |
//! | `matching` | launches of both | what belongs together |
//! | `server` | requests | times and bytes of single launches |
//! | `timing` | matched launches | ratios with intervals, verdicts |
//! | `difference` | matched launches | where results part, in ulp |
//! | `report` | all of that | text, JSON |

mod artifact;
mod difference;
mod matching;
mod report;
mod server;
mod timing;

use super::exit::Exit;
use super::output;
use super::progress::Progress;
use artifact::Artifact;
use report::Report;
use std::time::Duration;
use timing::Plan;
use tinyc_compiler::diag::{Error, Result};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The .tinyexe to compare with
    old: String,
    /// The .tinyexe that may have become slower
    new: String,
    /// Change of a kernel's time that counts, as 3% or 0.03
    #[arg(long, value_name = "SHARE", default_value = "3%", value_parser = share)]
    threshold: f64,
    /// Kernels below this share of the time are not compared
    #[arg(long, value_name = "SHARE", default_value = "0.1%", value_parser = share)]
    min_share: f64,
    /// Seconds after which what is not decided stays so
    #[arg(long, value_name = "S", default_value_t = 90.0)]
    seconds: f64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `3%` or `0.03`.
pub fn share(text: &str) -> std::result::Result<f64, String> {
    let (number, unit) = match text.strip_suffix('%') {
        Some(number) => (number, 0.01),
        None => (text, 1.0),
    };
    match number.trim().parse::<f64>() {
        Ok(n) if (0.0..1.0).contains(&(n * unit)) => Ok(n * unit),
        _ => Err("expected a share such as 3% or 0.03, below 100%".to_string()),
    }
}

pub fn run(args: Args) -> Result<Exit> {
    if !(args.seconds > 0.0 && args.seconds <= 86400.0) {
        return Err(Error::usage("--seconds must be above 0 and at most 86400"));
    }
    let (old, new) = (Artifact::open(&args.old)?, Artifact::open(&args.new)?);
    if old.inputs != new.inputs {
        return Err(Error::usage(format!(
            "the two take different inputs: {} against {}",
            old.inputs.join(", "),
            new.inputs.join(", ")
        )));
    }
    let regions = matching::regions(&old, &new);
    let mut progress = Progress::new();
    progress.say("results");
    let parting = difference::compare(&old, &new, &regions)?;
    let plan = Plan {
        threshold: args.threshold,
        min_share: args.min_share,
        limit: Duration::from_secs_f64(args.seconds),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
    };
    let groups = timing::time(&old, &new, &regions, plan, |text| progress.say(text))?;
    progress.finish();
    let report = Report::new(&old, &new, &regions, &groups, parting, args.threshold);
    if args.json {
        output::json(&report)?;
    } else {
        output::print(&report.text())?;
    }
    Ok(match report.moved().is_empty() {
        true => Exit::Success,
        false => Exit::Differs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read() {
        assert_eq!(share("3%"), Ok(0.03));
        assert_eq!(share("0.5 %"), Ok(0.005));
        assert_eq!(share("0.03"), Ok(0.03));
        for wrong in ["", "%", "x", "-1%", "100%", "1.5", "nan"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
