//! `tinyc opt`: passes over one kernel in text form.
//!
//! In: a `.uop` file, such as `--dump-dir` writes. Out: the kernel after the passes, or the target's source of it. The
//! kernel is verified when it is read and after every pass.

use super::exit::Exit;
use super::output;
use super::registry::{self, TargetArgs};
use std::path::{Path, PathBuf};
use tinyc_compiler::codegen;
use tinyc_compiler::diag::{Error, Kind, Result};
use tinyc_compiler::driver::{Lowered, kernel_passes, run_pass};
use tinyc_compiler::opt::{apply, parse_opts};
use tinyc_compiler::program::text::{parse_kernel_lines, parse_linear, print_kernel, print_linear};
use tinyc_compiler::program::verify::{find_fault, verify_kernel, verify_linear};
use tinyc_compiler::uop::text::node_text;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Kernel in text form (.uop)
    file: PathBuf,
    /// Passes to run, in order: opt, simplify-kernel, lower-layouts, lower-matrix, lower-tiles,
    /// unroll, vectorise, join-loads, join-stores, lower-transcendentals, linearise, insert-prefetches
    #[arg(long, value_delimiter = ',', value_name = "PASS,...")]
    pass: Vec<String>,
    /// Choices to apply before the passes, such as 'split(0.1,16,vector)'
    #[arg(long, value_name = "OPTS")]
    opts: Option<String>,
    /// Print the target's source of the kernel, after whatever passes are left
    #[arg(long)]
    render: bool,
    /// File to write instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    target: TargetArgs,
}

pub fn run(args: Args) -> Result<Exit> {
    for pass in &args.pass {
        if !kernel_passes().contains(&pass.as_str()) {
            return Err(Error::usage(format!("there is no pass '{pass}'"))
                .help(format!("passes: {}", kernel_passes().join(", "))));
        }
    }
    let target = registry::open(&args.target)?;
    let facts = target.facts();
    let mut state = read(&args.file)?;
    if let Some(opts) = &args.opts {
        state = match state {
            Lowered::Kernel(kernel) => Lowered::Kernel(apply(&kernel, &parse_opts(opts)?)?),
            Lowered::List(_) => {
                return Err(Error::usage("--opts needs a kernel, not a linear list"));
            }
        };
    }
    for pass in &args.pass {
        state = run_pass(pass, state, facts)?;
        match &state {
            Lowered::Kernel(kernel) => verify_kernel(kernel),
            Lowered::List(list) => verify_linear(list),
        }
        .map_err(|e| Error::bug(format!("after pass '{pass}': {}", e.message)))?;
    }
    let text = match state {
        Lowered::Kernel(kernel) if args.render => {
            target.render(&codegen::lower(&kernel, facts)?)?
        }
        Lowered::List(list) if args.render => target.render(&list)?,
        Lowered::Kernel(kernel) => print_kernel(&kernel),
        Lowered::List(list) => print_linear(&list),
    };
    match &args.output {
        Some(path) => std::fs::write(path, text)
            .map_err(|e| Error::environment(format!("cannot write {}: {e}", path.display())))?,
        None => output::print(&text)?,
    }
    Ok(Exit::Success)
}

/// Reads and verifies a kernel or a list.
fn read(path: &Path) -> Result<Lowered> {
    let named = |what: &str| Error::model(format!("{}: {what}", path.display()));
    let bytes = std::fs::read(path).map_err(|e| named(&e.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| named("this is no text"))?;
    parse(&text).map_err(|e| match e.kind {
        Kind::Model | Kind::Bug => named(&e.message),
        _ => e,
    })
}

fn parse(text: &str) -> Result<Lowered> {
    let mut lines = text.lines().map(str::trim_start);
    if lines.any(|l| l.starts_with("linear ")) {
        let list = parse_linear(text)?;
        verify_linear(&list)?;
        return Ok(Lowered::List(list));
    }
    let (kernel, lines) = parse_kernel_lines(text)?;
    if let Some(fault) = find_fault(&kernel) {
        let line = lines.get(&fault.node).copied().unwrap_or(1);
        let node = node_text(&kernel.uops, fault.node);
        return Err(Error::model(format!(
            "line {line}: {}: `{node}`",
            fault.what
        )));
    }
    Ok(Lowered::Kernel(kernel))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const GOOD: &str = "kernel k
param f32 [8] read
param f32 [8] write
%0 = range 0 loop 8 : index
%1 = param 0 : f32
%2 = load %1, %0 : f32
%3 = param 1 : f32
%4 = store %3, %2, %0
%5 = sink %4
";

    fn fails(text: &str) -> Error {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k.uop");
        std::fs::write(&path, text).unwrap();
        let error = read(&path).unwrap_err();
        assert_eq!(error.kind, Kind::Model, "{error}");
        error
    }

    #[test]
    fn bad_text_names_line_and_column() {
        for (from, to, place) in [
            ("%2, %0", "%2, %9", "line 8, column 20"),
            ("load %1", "loda %1", "line 6, column 6"),
            ("[8] write", "[8] wrote", "line 3, column 15"),
            ("loop 8", "loop 9", "line 6"),
            ("kernel k", "kernal k", "line 1, column 1"),
        ] {
            let e = fails(&GOOD.replacen(from, to, 1));
            assert!(e.message.contains(place), "{from}: {}", e.message);
        }
    }
}
