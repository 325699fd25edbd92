//! `tinyc inspect`: what is inside a model (once compiled) or a `.tinyexe`.

use super::exit::Exit;
use super::output::{bytes, flops};
use super::prepare::{BindArgs, PassArgs, Prepared};
use super::registry::{self, TargetArgs};
use super::run::executable_path;
use super::{output, source};
use rayon::prelude::*;
use serde::Serialize;
use std::fmt::Write;
use std::process::Command;
use tinyc_compiler::diag::{Error, Kind, Result};
use tinyc_compiler::emit::{code_hash, identity_lines};
use tinyc_compiler::program::{BufferKind, Built, Io};
use tinyc_compiler::target::{Resources, Target};
use tinyc_runtime::identity::Identity;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// ONNX file, builtin:NAME or .tinyexe
    model: String,
    #[command(flatten)]
    bind: BindArgs,
    #[command(flatten)]
    target: TargetArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print the command stream of a .tinyexe for a GPU, packet by packet
    #[cfg(feature = "simulate")]
    #[arg(long)]
    stream: bool,
}

pub fn run(args: Args) -> Result<Exit> {
    #[cfg(feature = "simulate")]
    if args.stream {
        return inspect_stream(&args);
    }
    if source::is_executable(&args.model) {
        return inspect_executable(&args);
    }
    let target = registry::open(&args.target)?;
    let compiled = Prepared::open(&args.model, None, &args.bind, &[])?
        .compile(&*target, &PassArgs::default())?;
    let view = View::of(&compiled.built, &*target)?;
    if args.json {
        output::json(&view)?;
    } else {
        output::print(&view.text())?;
    }
    Ok(Exit::Success)
}

/// The commands that a device is given.
#[cfg(feature = "simulate")]
fn inspect_stream(args: &Args) -> Result<Exit> {
    let name = &args.model;
    if !source::is_executable(name) {
        return Err(Error::usage(format!("{name} is no .tinyexe"))
            .help("compile it with --emit exe and a --target that has a command stream"));
    }
    let bytes =
        std::fs::read(name).map_err(|e| Error::environment(format!("cannot read {name}: {e}")))?;
    let bundle = tinyc_runtime::read(&bytes).map_err(|e| Error::model(format!("{name}: {e}")))?;
    let view = super::stream::view(&bundle, name)?;
    match args.json {
        true => output::json(&view)?,
        false => output::print(&view.text())?,
    }
    Ok(Exit::Success)
}

/// The file checks itself and tells about itself.
fn inspect_executable(args: &Args) -> Result<Exit> {
    let mut command = Command::new(executable_path(&args.model));
    command.arg("--info");
    if args.json {
        command.arg("--json");
    }
    let out = command
        .output()
        .map_err(|e| Error::environment(format!("cannot run {}: {e}", args.model)))?;
    if !out.status.success() {
        return Err(Error::model(format!(
            "{}: {}",
            args.model,
            String::from_utf8_lossy(&out.stderr).trim()
        )));
    }
    output::print(&String::from_utf8_lossy(&out.stdout))?;
    Ok(Exit::Success)
}

#[derive(Debug, Serialize)]
struct View {
    name: String,
    model_sha256: String,
    inputs: Vec<IoView>,
    outputs: Vec<IoView>,
    weight_bytes: u64,
    arena_bytes: u64,
    arena_lower_bound: u64,
    kernels: Vec<KernelView>,
    buffers: Vec<BufferView>,
}

#[derive(Debug, Serialize)]
struct IoView {
    name: String,
    dtype: &'static str,
    shape: Vec<i64>,
}

#[derive(Debug, Serialize)]
struct KernelView {
    name: String,
    launches: usize,
    flops: u64,
    parallel: i64,
    /// Of the kernel before any choice was made; the same for equal layers of any model.
    hash: String,
    choice_hash: String,
    code_hash: String,
    bytes: u64,
    choice: String,
    /// For devices with work-groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<Resources>,
    nodes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct BufferView {
    name: String,
    kind: &'static str,
    bytes: u64,
    place: String,
}

impl View {
    fn of(built: &Built, target: &dyn Target) -> Result<View> {
        let io = |io: &Io| IoView {
            name: io.name.clone(),
            dtype: io.dtype.name(),
            shape: io.shape.clone(),
        };
        let program = &built.program;
        let code: Vec<String> = built
            .linear
            .par_iter()
            .map(|k| code_hash(target, k))
            .collect::<Result<_>>()?;
        let lines = identity_lines(built, &code);
        let resources: Vec<Option<Resources>> = built
            .linear
            .par_iter()
            .map(|k| match target.resources(k) {
                // What a kernel is can be told without its compiler.
                Err(e) if e.kind == Kind::Environment => Ok(None),
                result => result,
            })
            .collect::<Result<_>>()?;
        let kernels = built
            .linear
            .iter()
            .zip(lines.iter().zip(resources))
            .enumerate()
            .map(|(i, (k, (line, resources)))| {
                let identity = Identity::parse(line);
                let steps = program.steps.iter().filter(|s| s.kernel == i);
                let mut nodes: Vec<String> = steps
                    .clone()
                    .flat_map(|s| &s.origins)
                    .map(ToString::to_string)
                    .collect();
                nodes.dedup();
                KernelView {
                    name: k.name.clone(),
                    launches: steps.count(),
                    flops: k.flops,
                    parallel: k.parallel,
                    hash: identity.hash.to_string(),
                    choice_hash: identity.choice_hash.to_string(),
                    code_hash: identity.code_hash.to_string(),
                    bytes: identity.bytes,
                    choice: identity.choice.to_string(),
                    resources,
                    nodes,
                }
            })
            .collect();
        let buffers = program
            .buffers
            .iter()
            .zip(&built.plan.places)
            .map(|(b, place)| BufferView {
                name: b.name.clone(),
                kind: match b.kind {
                    BufferKind::Input(_) => "input",
                    BufferKind::Output(_) => "output",
                    BufferKind::Weight(_) => "weight",
                    BufferKind::Internal => "internal",
                },
                bytes: b.bytes(),
                place: format!("{place:?}"),
            })
            .collect();
        Ok(View {
            name: program.name.clone(),
            model_sha256: built.meta.model_sha256.clone(),
            inputs: program.inputs.iter().map(io).collect(),
            outputs: program.outputs.iter().map(io).collect(),
            weight_bytes: built.plan.weight_bytes,
            arena_bytes: built.plan.arena_bytes,
            arena_lower_bound: built.plan.arena_lower_bound,
            kernels,
            buffers,
        })
    }

    fn text(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "{}  sha256 {}", self.name, self.model_sha256);
        for (what, ios) in [("input", &self.inputs), ("output", &self.outputs)] {
            for io in ios {
                let _ = writeln!(out, "{what:<7} {} {}{:?}", io.name, io.dtype, io.shape);
            }
        }
        let _ = writeln!(
            out,
            "weights {}, arena {} (lower bound {})",
            bytes(self.weight_bytes),
            bytes(self.arena_bytes),
            bytes(self.arena_lower_bound)
        );
        let _ = writeln!(out, "\nkernels ({})", self.kernels.len());
        for k in &self.kernels {
            let more = match k.nodes.len() {
                0 | 1 => String::new(),
                n => format!(" and {} more", n - 1),
            };
            let taken = k.resources.map_or_else(String::new, |r| {
                format!("{:>4} registers, {:>2} waves  ", r.registers, r.occupancy)
            });
            let _ = writeln!(
                out,
                "  {:<32} x{:<4} {:>11}  {taken}{}{more}",
                k.name,
                k.launches,
                flops(k.flops),
                k.nodes.first().map_or("", String::as_str)
            );
        }
        let _ = writeln!(out, "\nbuffers in the arena");
        for b in self.buffers.iter().filter(|b| b.kind == "internal") {
            let _ = writeln!(out, "  {:>9}  {:<14} {}", bytes(b.bytes), b.place, b.name);
        }
        out
    }
}
