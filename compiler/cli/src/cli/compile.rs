//! `tinyc compile`: a model into artifacts.

use super::exit::Exit;
use super::lock::LockArgs;
use super::output::{self, bytes, flops, seconds};
use super::prepare::{BindArgs, PassArgs, Prepared};
use super::progress::Progress;
use super::registry::{self, TargetArgs};
use super::tune;
use super::tuning::{self, BeamArgs};
use rayon::prelude::*;
use serde::Serialize;
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Instant;
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::driver::{Compiled, Outcome};
use tinyc_compiler::graph::Winograd;
use tinyc_compiler::target::{Emit, EmittedFile, Resources, Target};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// ONNX file, or builtin:NAME
    model: String,
    /// What to write
    #[arg(long, value_enum, value_delimiter = ',', default_value = "lib")]
    emit: Vec<EmitArg>,
    /// Folder to write into
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    output: PathBuf,
    /// Name of the artifact (default: the model file's)
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    bind: BindArgs,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    lock: LockArgs,
    #[command(flatten)]
    beam: BeamArgs,
    /// Threads that the artifact uses unless its caller says otherwise
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    passes: PassArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum EmitArg {
    /// Static library, C header, build-system files, Rust crate
    Lib,
    /// One executable file, NAME.tinyexe
    Exe,
}

impl From<EmitArg> for Emit {
    fn from(arg: EmitArg) -> Emit {
        match arg {
            EmitArg::Lib => Emit::Lib,
            EmitArg::Exe => Emit::Exe,
        }
    }
}

pub fn run(mut args: Args) -> Result<Exit> {
    let lock = args.lock.read(&mut args.target)?;
    let target = registry::open(&args.target)?;
    let start = Instant::now();
    let mut prepared = Prepared::open(&args.model, args.name.as_deref(), &args.bind, &[])?;
    prepared.note_option(format!("cpu={}", target.facts().name));
    prepared.note_option(format!("threads={}", args.threads));
    let import = start.elapsed();
    match (&lock, args.beam.beam) {
        (Some(_), Some(_)) => {
            return Err(Error::usage(
                "--locked builds without a search: leave out --beam",
            ));
        }
        (Some(lock), None) => prepared.use_recipes(args.lock.recipes(lock, &*target)?),
        (None, Some(beam)) => {
            let tuned = prepared.tune(&*target, beam, &args.beam)?;
            output::note(tune::report(&tuned).trim_end());
        }
        (None, None) => prepared.use_recipes(tuning::known(&args.target, &*target)?),
    }
    let compiled = match prepared.compile_until(&*target, &args.passes)? {
        Outcome::Finished(compiled) => compiled,
        Outcome::Stopped(_) => return Ok(Exit::Success),
    };
    args.lock.write(&compiled.report, &*target)?;
    let dir = &args.output;
    std::fs::create_dir_all(dir)
        .map_err(|e| Error::environment(format!("cannot create {}: {e}", dir.display())))?;
    let mut summary = Summary::of(&compiled, &*target);
    summary.stage("import", import.as_secs_f64());
    for stage in &compiled.report.times {
        summary.stage(stage.pass, stage.time.as_secs_f64());
    }
    let mut progress = Progress::new();
    for (arg, name) in [(EmitArg::Lib, "emit lib"), (EmitArg::Exe, "emit exe")] {
        if !args.emit.contains(&arg) {
            continue;
        }
        progress.say(name);
        let start = Instant::now();
        summary
            .files
            .extend(target.emit(&compiled.built, arg.into(), dir)?);
        summary.stage(name, start.elapsed().as_secs_f64());
    }
    progress.finish();
    summary.toolchain = target.toolchain()?;
    // Objects are at hand: they were compiled just now.
    let kernels = compiled.built.linear.par_iter();
    let resources = kernels.map(|k| target.resources(k));
    summary.resources = resources
        .filter_map(Result::transpose)
        .collect::<Result<_>>()?;
    summary.seconds = start.elapsed().as_secs_f64();
    if args.json {
        output::json(&summary)?;
    } else {
        output::print(&summary.table())?;
    }
    Ok(Exit::Success)
}

/// What the final table says.
#[derive(Debug, Serialize)]
struct Summary {
    name: String,
    target: String,
    chip: String,
    toolchain: String,
    kernels: usize,
    /// Distinct kernels of the schedule whose choices a search found, and all of them.
    tuned: (usize, usize),
    launches: usize,
    flops: u64,
    winograd: Option<WinogradSummary>,
    /// Kernels for which the first choice was given up, and why.
    warnings: Vec<String>,
    weight_bytes: u64,
    arena_bytes: u64,
    arena_lower_bound: u64,
    /// Of each kernel, for devices with work-groups.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resources: Vec<Resources>,
    files: Vec<EmittedFile>,
    seconds: f64,
    stages: Vec<(String, f64)>,
}

impl Summary {
    fn of(compiled: &Compiled, target: &dyn Target) -> Summary {
        let built = &compiled.built;
        Summary {
            name: built.program.name.clone(),
            target: target.name().to_string(),
            chip: target.facts().name.clone(),
            toolchain: String::new(),
            kernels: built.linear.len(),
            tuned: (compiled.report.tuned(), compiled.report.kernels.len()),
            launches: built.program.steps.len(),
            flops: total_flops(compiled),
            winograd: WinogradSummary::of(&compiled.report.winograd),
            warnings: compiled.report.warnings.clone(),
            weight_bytes: built.plan.weight_bytes,
            arena_bytes: built.plan.arena_bytes,
            arena_lower_bound: built.plan.arena_lower_bound,
            resources: Vec::new(),
            files: Vec::new(),
            seconds: 0.0,
            stages: Vec::new(),
        }
    }

    /// Adds time to a stage; the import pass and the reading of the file are one.
    fn stage(&mut self, name: &str, seconds: f64) {
        match self.stages.iter_mut().find(|(n, _)| n == name) {
            Some((_, s)) => *s += seconds,
            None => self.stages.push((name.to_string(), seconds)),
        }
    }

    fn table(&self) -> String {
        let mut out = String::new();
        let ratio = match self.arena_lower_bound {
            0 => 1.0,
            bound => self.arena_bytes as f64 / bound as f64,
        };
        let _ = writeln!(out, "{} for {} ({})", self.name, self.target, self.chip);
        let mut row = |label: &str, text: String| {
            let _ = writeln!(out, "  {label:<10} {text}");
        };
        row("compiler", self.toolchain.clone());
        row(
            "kernels",
            format!("{} in {} launches", self.kernels, self.launches),
        );
        if let (tuned @ 1.., all) = self.tuned {
            row("tuned", format!("{tuned} of {all} kernels"));
        }
        row("work", flops(self.flops));
        if let Some(w) = &self.winograd {
            let what = format!(
                "{} convolutions, relative error at most {:.1e}",
                w.convolutions, w.error
            );
            row("winograd", what);
        }
        if let Some(text) = resources(&self.resources) {
            row("registers", text);
        }
        row("weights", bytes(self.weight_bytes));
        row(
            "arena",
            format!(
                "{} (lower bound {}, {ratio:.2}x)",
                bytes(self.arena_bytes),
                bytes(self.arena_lower_bound)
            ),
        );
        for (i, file) in self.files.iter().enumerate() {
            let label = if i == 0 { "files" } else { "" };
            row(
                label,
                format!("{:>8}  {}", bytes(file.bytes), file.path.display()),
            );
        }
        let mut stages: Vec<String> = Vec::new();
        for (name, time) in &self.stages {
            if *time >= 0.005 {
                stages.push(format!("{name} {time:.2}"));
            }
        }
        let total = seconds(std::time::Duration::from_secs_f64(self.seconds));
        row("seconds", format!("{total} ({})", stages.join(", ")));
        out
    }
}

/// Convolutions by Winograd's algorithm.
#[derive(Debug, Serialize)]
struct WinogradSummary {
    convolutions: usize,
    /// The largest error of one of them (norm over norm), on inputs between -1 and 1.
    error: f64,
}

impl WinogradSummary {
    fn of(chosen: &[Winograd]) -> Option<WinogradSummary> {
        let error = chosen.iter().map(|w| w.error).reduce(f64::max)?;
        let convolutions = chosen.len();
        Some(WinogradSummary {
            convolutions,
            error,
        })
    }
}

/// Operations of one run.
pub fn total_flops(compiled: &Compiled) -> u64 {
    let linear = &compiled.built.linear;
    compiled
        .built
        .program
        .steps
        .iter()
        .map(|s| linear.get(s.kernel).map_or(0, |k| k.flops))
        .sum()
}

/// `8 to 96 of a thread, 16 to 32 waves on a unit; 12 matrix instructions`.
fn resources(list: &[Resources]) -> Option<String> {
    let span = |number: fn(&Resources) -> u32| {
        let low = list.iter().map(number).min()?;
        let high = list.iter().map(number).max()?;
        Some(match low == high {
            true => low.to_string(),
            false => format!("{low} to {high}"),
        })
    };
    let (registers, waves) = (span(|r| r.registers)?, span(|r| r.occupancy)?);
    let mut text = format!("{registers} of a thread, {waves} waves on a unit");
    let spilled = list.iter().filter(|r| r.private_bytes > 0).count();
    if spilled > 0 {
        let _ = write!(text, "; kernels that do not fit into them: {spilled}");
    }
    let matrix: u32 = list.iter().filter_map(|r| r.matrix).sum();
    if matrix > 0 {
        let _ = write!(text, "; {matrix} matrix instructions");
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_readable() {
        let summary = Summary {
            name: "mnist".into(),
            target: "cpu".into(),
            chip: "x86-64-v4".into(),
            toolchain: "clang 19.1.7".into(),
            kernels: 7,
            tuned: (3, 7),
            launches: 9,
            flops: 4_800_000,
            winograd: Some(WinogradSummary {
                convolutions: 2,
                error: 8.31e-7,
            }),
            warnings: Vec::new(),
            weight_bytes: 26_140,
            arena_bytes: 40_000,
            arena_lower_bound: 38_000,
            resources: Vec::new(),
            files: vec![EmittedFile {
                path: "out/libmnist.a".into(),
                bytes: 81_200,
            }],
            seconds: 1.234,
            stages: vec![("schedule".into(), 0.001), ("emit lib".into(), 1.2)],
        };
        insta::assert_snapshot!(summary.table());
    }

    #[test]
    fn resources_are_summed_up() {
        let one = Resources {
            registers: 96,
            occupancy: 16,
            threads: 256,
            group_bytes: 1024,
            private_bytes: 0,
            code_bytes: 800,
            matrix: Some(12),
        };
        let other = Resources {
            registers: 8,
            private_bytes: 4,
            ..one
        };
        assert_eq!(
            resources(&[one, other]).as_deref(),
            Some(
                "8 to 96 of a thread, 16 waves on a unit; kernels that do not fit into them: 1; 24 matrix instructions"
            )
        );
        assert_eq!(resources(&[]), None);
    }
}
