//! The tuning database on disk, and searches on the command line.
//!
//! In: `--beam`, `--beam-budget`, the environment. Out: recipes for a compilation. The file is `$TINYC_TUNING`, else `tuning.jsonl` in
//! the cache folder; it is only ever added to, a line at once, so that several searches may share it.

use super::output;
use super::progress::Progress;
use super::registry::{self, TargetArgs};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::driver::{self, Options, Tune, Tuned};
use tinyc_compiler::graph::Graph;
use tinyc_compiler::search::{Database, Recipes, Record, read_results};
use tinyc_compiler::target::Target;

/// How far and how long a search goes.
#[derive(Debug, Clone, clap::Args)]
pub struct BeamArgs {
    /// Search faster choices by measuring: the number of candidates that each round goes on from
    #[arg(long, value_name = "N", conflicts_with = "no_tuning", value_parser = clap::value_parser!(u8).range(1..))]
    pub beam: Option<u8>,
    /// Time for the search: 90s, 15m, 1h
    #[arg(long, value_name = "T", default_value = "15m", value_parser = duration)]
    pub beam_budget: Duration,
    /// Search also kernels that were searched before
    #[arg(long)]
    pub again: bool,
}

/// `90s`, `15m`, `1.5h`.
fn duration(text: &str) -> std::result::Result<Duration, String> {
    let wrong = || format!("'{text}' is no time: expected 90s, 15m or 1h");
    let unit = match text.chars().last() {
        Some('s') => 1.0,
        Some('m') => 60.0,
        Some('h') => 3600.0,
        _ => return Err(wrong()),
    };
    let number: f64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    Duration::try_from_secs_f64(number * unit)
        .ok()
        .filter(|d| !d.is_zero() && d.as_secs() <= 30 * 24 * 3600)
        .ok_or_else(wrong)
}

/// The database's file; `None` when there is no place for it.
pub fn path() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("TINYC_TUNING") {
        return Some(path).filter(|p| !p.is_empty()).map(PathBuf::from);
    }
    Some(registry::cache_root()?.join("tuning.jsonl"))
}

/// Reads a database; one that is not there is empty.
pub fn read(path: &Path) -> Result<Database> {
    let text = match std::fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => {
            return Err(Error::model(format!("{}: {e}", path.display())));
        }
    };
    let database = read_results(&text);
    if database.damaged > 0 {
        output::note(&format!(
            "warning: {}: {} lines are no tuning records",
            path.display(),
            database.damaged
        ));
    }
    Ok(database)
}

/// The user's database.
pub fn database() -> Result<Database> {
    path().map_or_else(|| Ok(Database::default()), |p| read(&p))
}

/// Adds records. Each is one write, so that searches at the same time do not mix their lines.
pub fn append(path: &Path, records: &[Record]) -> Result<()> {
    let failed =
        |e: std::io::Error| Error::environment(format!("cannot write {}: {e}", path.display()));
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    let mut file = std::fs::File::options()
        .append(true)
        .create(true)
        .open(path)
        .map_err(failed)?;
    for record in records {
        file.write_all(record.line()?.as_bytes()).map_err(failed)?;
    }
    Ok(())
}

/// What the user's database knows for a target, unless it is to be left alone.
pub fn known(args: &TargetArgs, target: &dyn Target) -> Result<Recipes> {
    if args.no_tuning {
        return Ok(Recipes::default());
    }
    Ok(database()?.recipes(target.name(), &target.facts().name))
}

/// Set by Ctrl-C.
fn interrupted() -> &'static AtomicBool {
    static STOP: AtomicBool = AtomicBool::new(false);
    static HANDLER: OnceLock<()> = OnceLock::new();
    HANDLER.get_or_init(|| {
        let _ = ctrlc::set_handler(|| {
            // The second time is meant.
            if STOP.swap(true, Ordering::Relaxed) {
                std::process::exit(130);
            }
            output::note("interrupted: the search ends and what it found is kept");
        });
    });
    &STOP
}

/// Searches the kernels of a graph and keeps the results.
pub fn search(
    graph: Graph,
    target: &dyn Target,
    options: &Options,
    beam: u8,
    args: &BeamArgs,
) -> Result<Tuned> {
    let file = path();
    if file.is_none() {
        output::note("warning: the results are not kept: no cache folder and no TINYC_TUNING");
    }
    let known = database()?;
    let how = Tune {
        beam: beam.into(),
        budget: args.beam_budget,
        known: &known,
        again: args.again,
        stop: interrupted(),
    };
    let mut keep = |record: &Record| match &file {
        Some(path) => append(path, std::slice::from_ref(record)),
        None => Ok(()),
    };
    let mut progress = Progress::new();
    let tuned = driver::tune(graph, target, options, &how, &mut keep, &mut progress)?;
    progress.finish();
    Ok(tuned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(duration("90s").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("15m").unwrap(), Duration::from_secs(900));
        assert_eq!(duration("0.5h").unwrap(), Duration::from_secs(1800));
        for text in ["", "15", "m", "-3s", "0s", "infs", "NaNm", "1e30h", "5ü"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
