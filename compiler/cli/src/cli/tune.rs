//! `tinyc tune`: searches for a model, and what earlier ones found.
//!
//! `tinyc tune MODEL` searches and keeps the results where later compilations find them. `show` lists them, `export` writes those
//! of this version into a file that can be handed on, `merge` takes such files up.

use super::exit::Exit;
use super::output;
use super::prepare::{BindArgs, Prepared};
use super::progress::Progress;
use super::registry::{self, TargetArgs};
use super::tuning::{self, BeamArgs};
use std::fmt::Write;
use std::path::PathBuf;
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::driver::{Tuned, emit_jobs};
use tinyc_compiler::opt::print_opts;
use tinyc_compiler::search::{Database, Found, Record, VERSION};

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// ONNX file, or builtin:NAME
    model: Option<String>,
    #[command(flatten)]
    beam: BeamArgs,
    /// Search elsewhere: write benchmark programs, one for each shard of a kernel's candidates, and manifest.json
    #[arg(long, value_name = "DIR")]
    emit_jobs: Option<PathBuf>,
    #[command(flatten)]
    bind: BindArgs,
    #[command(flatten)]
    target: TargetArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List what is known
    Show {
        /// Database to read (default: the user's)
        file: Option<PathBuf>,
        /// Also the recipes
        #[arg(long)]
        opts: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write what is known into a file
    Export {
        /// File to write
        file: PathBuf,
    },
    /// Take up what others found
    Merge {
        /// Files that `tinyc tune export` or benchmark programs wrote
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
}

/// Width of a search when `--beam` is left out.
const BEAM: u8 = 4;

pub fn run(args: Args) -> Result<Exit> {
    match (&args.what, &args.model) {
        (Some(What::Show { file, opts, json }), _) => {
            let all = match file {
                Some(path) => read(path)?,
                None => tuning::database()?,
            };
            let records: Vec<&Record> = all.records().collect();
            if *json {
                output::json(&records)?;
            } else {
                output::print(&table(&records, *opts))?;
            }
        }
        (Some(What::Export { file }), _) => export(file)?,
        (Some(What::Merge { files }), _) => merge(files)?,
        (None, Some(model)) => search(model, &args)?,
        (None, None) => {
            return Err(Error::usage("tune what?")
                .help("tinyc tune MODEL, tinyc tune show, tinyc tune export FILE, tinyc tune merge FILE..."));
        }
    }
    Ok(Exit::Success)
}

fn search(model: &str, args: &Args) -> Result<()> {
    let target = registry::open(&args.target)?;
    let prepared = Prepared::open(model, None, &args.bind, &[])?;
    let (graph, options) = prepared.into_parts();
    let beam = args.beam.beam.unwrap_or(BEAM);
    if let Some(dir) = &args.emit_jobs {
        let mut progress = Progress::new();
        let manifest = emit_jobs(graph, &*target, &options, beam.into(), dir, &mut progress)?;
        progress.finish();
        if args.json {
            return output::json(&manifest);
        }
        let candidates: usize = manifest.jobs.iter().map(|j| j.candidates).sum();
        let (jobs, dir) = (manifest.jobs.len(), dir.display());
        return output::line(&format!(
            "{jobs} programs with {candidates} candidates in {dir}; then: tinyc tune merge {dir}/results*"
        ));
    }
    let tuned = tuning::search(graph, &*target, &options, beam, &args.beam)?;
    if args.json {
        output::json(&serde_json::json!({
            "model": model,
            "kernels": tuned.kernels,
            "tried": tuned.tried,
            "failed": tuned.failed,
            "ratio": tuned.ratio,
            "records": tuned.records,
        }))
    } else {
        output::print(&report(&tuned))
    }
}

/// What a search found, for people.
pub fn report(tuned: &Tuned) -> String {
    let mut out = table(&tuned.records.iter().collect::<Vec<_>>(), false);
    let better = tuned.records.iter().filter(|r| r.found == Found::Better);
    let _ = writeln!(
        out,
        "{} of {} kernels searched, {} faster; {} candidates timed, {} failed; all kernels together take {:.1} % of their time before",
        tuned.records.len(),
        tuned.kernels,
        better.count(),
        tuned.tried,
        tuned.failed,
        tuned.ratio * 100.0
    );
    out
}

fn table(records: &[&Record], opts: bool) -> String {
    let width = records.iter().map(|r| r.name.len()).max().unwrap_or(0);
    let width = width.clamp(6, 48);
    let mut out = format!(
        "{:<12}  {:<width$}  {:<12}  {:<9}  {:>10}  {:>8}  search\n",
        "hash", "kernel", "chip", "tinyc", "ms", "of time"
    );
    for r in records {
        let name: String = r.name.chars().take(width).collect();
        let hash: String = r.kernel.chars().take(12).collect();
        let _ = writeln!(
            out,
            "{hash:<12}  {name:<width$}  {:<12}  {:<9}  {:>10.4}  {:>6.1} %  beam {}{}",
            r.chip,
            r.tinyc,
            r.seconds * 1e3,
            r.ratio * 100.0,
            r.beam,
            if r.complete { "" } else { ", cut short" }
        );
        if opts && r.found == Found::Better {
            let _ = writeln!(out, "    {}", print_opts(&r.recipe.opts));
            if let Some(bytes) = r.recipe.prefetch {
                let _ = writeln!(out, "    prefetch {bytes}");
            }
        }
    }
    out
}

/// Reads a database that must be there.
fn read(path: &std::path::Path) -> Result<Database> {
    if !path.is_file() {
        return Err(Error::model(format!("{}: no such file", path.display())));
    }
    tuning::read(path)
}

fn export(file: &std::path::Path) -> Result<()> {
    let all = tuning::database()?;
    let mut text = String::new();
    let mut count = 0;
    for record in all.records().filter(|r| r.tinyc == VERSION) {
        text.push_str(&record.line()?);
        count += 1;
    }
    std::fs::write(file, text)
        .map_err(|e| Error::environment(format!("cannot write {}: {e}", file.display())))?;
    output::line(&format!("{count} kernels in {}", file.display()))
}

fn merge(files: &[PathBuf]) -> Result<()> {
    let Some(path) = tuning::path() else {
        return Err(Error::usage("there is no tuning database to merge into")
            .help("set TINYC_TUNING to a file"));
    };
    for file in files {
        let (ours, theirs) = (tuning::read(&path)?, read(file)?);
        let news = ours.news(&theirs);
        let all = theirs.records().count();
        tuning::append(&path, &news)?;
        output::line(&format!(
            "{}: {all} kernels, {} new or better",
            file.display(),
            news.len()
        ))?;
    }
    Ok(())
}
