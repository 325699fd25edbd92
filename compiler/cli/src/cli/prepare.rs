//! From command-line arguments to a compiled model.
//!
//! In: a model's name, `--dim` and `--const`, and (for `run` and `verify`) the data at hand, which binds
//! dimensions that the model leaves open and inputs whose value decides a shape. Out: a graph ready to
//! compile, and what was bound.

use super::output;
use super::progress::Progress;
use super::source::{self, Bindings};
use super::tensor_files;
use super::tuning::{self, BeamArgs};
use std::path::{Path, PathBuf};
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::driver::{self, Compiled, Options, Outcome, Tuned};
use tinyc_compiler::graph::Graph;
use tinyc_compiler::program::{Meta, Weight};
use tinyc_compiler::search::Recipes;
use tinyc_compiler::target::Target;

/// What is fixed at compile time.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct BindArgs {
    /// Fix a dimension, by its name in the model or by input and axis (repeatable)
    #[arg(long = "dim", value_name = "NAME=N|INPUT:AXIS=N")]
    pub dims: Vec<String>,
    /// Make an input a constant with the value in a file (repeatable)
    #[arg(long = "const", value_name = "INPUT=FILE.npy")]
    pub constants: Vec<String>,
}

/// For those who look into the compiler.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PassArgs {
    /// Write what each pass changed into numbered files
    #[arg(long, value_name = "DIR")]
    pub dump_dir: Option<PathBuf>,
    /// Stop after a pass
    #[arg(long, value_name = "PASS")]
    pub stop_after: Option<String>,
    /// Rewrites that rules may make in each kernel, to find a wrong one by halving (see docs/rules.md)
    #[arg(long, value_name = "N")]
    pub fuel: Option<u64>,
    /// Print the time of each pass
    #[arg(long)]
    pub time_passes: bool,
}

/// A model that is ready to compile.
pub struct Prepared {
    /// Name of the artifact.
    pub name: String,
    /// Inputs that were bound as constants.
    pub bound: Vec<String>,
    graph: Graph,
    meta: Meta,
    recipes: Recipes,
}

impl Prepared {
    /// Reads a model and binds what the arguments and the data say.
    pub fn open(
        model: &str,
        name: Option<&str>,
        bind: &BindArgs,
        data: &[Weight],
    ) -> Result<Prepared> {
        let bindings = Bindings {
            dims: bind.dims.clone(),
            constants: bind
                .constants
                .iter()
                .map(|c| read_constant(c))
                .collect::<Result<_>>()?,
            data: data.to_vec(),
        };
        let source = source::load(model, &bindings)?;
        for warning in &source.warnings {
            output::note(&format!("warning: {warning}"));
        }
        let mut options: Vec<String> = bind.dims.iter().map(|d| format!("dim.{d}")).collect();
        options.extend(source.bound.iter().map(|b| format!("const.{b}")));
        Ok(Prepared {
            name: driver::identifier(name.unwrap_or(&stem(model))),
            graph: source.graph,
            meta: Meta {
                model_sha256: source.sha256,
                options,
                bound: source.bound.clone(),
                kernels: Vec::new(),
            },
            bound: source.bound,
            recipes: Recipes::default(),
        })
    }

    /// The graph as imported.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Adds an option to the manifest.
    pub fn note_option(&mut self, option: String) {
        self.meta.options.push(option);
    }

    /// The graph, and the options of its compilation as far as they are known.
    pub fn into_parts(self) -> (Graph, Options) {
        let options = Options {
            name: self.name,
            recipes: self.recipes,
            meta: self.meta,
            ..Options::default()
        };
        (self.graph, options)
    }

    /// Searches faster choices, and compiles with them.
    pub fn tune(&mut self, target: &dyn Target, beam: u8, args: &BeamArgs) -> Result<Tuned> {
        let options = Options::named(&self.name);
        let tuned = tuning::search(self.graph.clone(), target, &options, beam, args)?;
        self.recipes = tuned.recipes.clone();
        Ok(tuned)
    }

    /// Compiles with choices that are known already.
    pub fn use_recipes(&mut self, recipes: Recipes) {
        self.recipes = recipes;
    }

    /// Compiles.
    pub fn compile(self, target: &dyn Target, passes: &PassArgs) -> Result<Compiled> {
        match self.compile_until(target, passes)? {
            Outcome::Finished(compiled) => Ok(*compiled),
            Outcome::Stopped(_) => Err(Error::usage("--stop-after leaves nothing to go on with")),
        }
    }

    /// Compiles as far as `--stop-after` says.
    pub fn compile_until(self, target: &dyn Target, passes: &PassArgs) -> Result<Outcome> {
        let options = Options {
            name: self.name,
            dump_dir: passes.dump_dir.clone(),
            stop_after: passes.stop_after.clone(),
            fuel: passes.fuel,
            recipes: self.recipes,
            meta: self.meta,
        };
        let mut progress = Progress::new();
        let outcome = driver::compile_until(self.graph, target, &options, &mut progress)?;
        progress.finish();
        if passes.time_passes {
            let report = match &outcome {
                Outcome::Finished(compiled) => &compiled.report,
                Outcome::Stopped(report) => report,
            };
            for stage in &report.times {
                output::note(&format!(
                    "{:10.3} s  {}",
                    stage.time.as_secs_f64(),
                    stage.pass
                ));
            }
            output::note(&format!("{:10.3} s  total", report.total().as_secs_f64()));
        }
        Ok(outcome)
    }
}

/// `INPUT=FILE.npy` as an array of that name.
fn read_constant(text: &str) -> Result<Weight> {
    let Some((name, path)) = text.split_once('=') else {
        return Err(Error::usage(format!(
            "--const {text}: expected INPUT=FILE.npy"
        )));
    };
    let arrays = tensor_files::read(Path::new(path))?;
    let [array] = &arrays[..] else {
        return Err(Error::usage(format!(
            "--const {text}: the file holds {} arrays, expected one",
            arrays.len()
        )));
    };
    Ok(Weight {
        name: name.to_string(),
        ..array.clone()
    })
}

/// `models/face-det.onnx` gives `face-det`; `builtin:mnist` gives `mnist`.
fn stem(model: &str) -> String {
    let name = model.strip_prefix("builtin:").unwrap_or(model);
    Path::new(name)
        .file_stem()
        .map(|s| s.to_string_lossy().into_owned())
        .unwrap_or_else(|| "model".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_file() {
        assert_eq!(stem("a/face-det.onnx"), "face-det");
        assert_eq!(stem("builtin:mnist"), "mnist");
    }

    #[test]
    fn a_constant_needs_a_name() {
        assert!(
            read_constant("x.npy")
                .unwrap_err()
                .message
                .contains("INPUT=FILE")
        );
    }
}
