//! `tinyc targets`: targets, the chips they have files for, and the toolchain found.

use super::exit::Exit;
use super::output;
use super::registry::{self, TARGETS, TargetArgs};
use serde::Serialize;
use std::fmt::Write;
use tinyc_compiler::diag::Result;
use tinyc_compiler::target::Facts;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    about: &'static str,
    /// File that 'native' means here; missing when this host cannot run the target.
    native: Option<String>,
    toolchain: Result<String, String>,
    files: Vec<Facts>,
}

pub fn run(args: Args) -> Result<Exit> {
    let rows = TARGETS
        .iter()
        .map(|entry| {
            let opened = registry::open(&TargetArgs {
                target: entry.name.to_string(),
                ..TargetArgs::default()
            });
            Ok(Row {
                name: entry.name,
                about: entry.about,
                native: opened.as_ref().ok().map(|t| t.facts().name.clone()),
                toolchain: opened
                    .and_then(|t| t.toolchain())
                    .map_err(|e| e.to_string()),
                files: (entry.files)()?,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    if args.json {
        output::json(&rows)?;
        return Ok(Exit::Success);
    }
    let mut text = String::new();
    for row in &rows {
        let toolchain = match &row.toolchain {
            Ok(found) => found.clone(),
            Err(error) => format!("missing: {error}"),
        };
        let _ = writeln!(text, "{}  {}", row.name, row.about);
        let _ = writeln!(text, "  toolchain  {toolchain}");
        for f in &row.files {
            let native = if row.native.as_ref() == Some(&f.name) {
                "  (this machine)"
            } else {
                ""
            };
            let _ = writeln!(
                text,
                "  {:<14} {:>3}-byte vectors, {} registers, {:.0} GFLOP/s a core{native}",
                f.name, f.vector_bytes, f.vector_registers, f.peak_gflops
            );
        }
    }
    output::print(&text)?;
    Ok(Exit::Success)
}
