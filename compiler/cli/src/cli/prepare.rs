//! From command-line arguments to a compiled model.
//!
//! In: a model's name, `--dim` and `--const`, and (for `run` and `verify`) the data at hand, which binds
//! dimensions that the model leaves open and inputs whose value decides a shape. Out: a graph ready to
//! compile, and what was bound.

use super::output;
use super::progress::Progress;
use super::source::{self, Declared};
use super::tensor_files;
use std::path::{Path, PathBuf};
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::driver::{self, Compiled, Options, Outcome};
use tinyc_compiler::graph::Graph;
use tinyc_compiler::program::{Meta, Weight};
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
}

impl Prepared {
    /// Reads a model and binds what the arguments and the data say.
    pub fn open(
        model: &str,
        name: Option<&str>,
        bind: &BindArgs,
        data: &[Weight],
    ) -> Result<Prepared> {
        let mut constants = bind
            .constants
            .iter()
            .map(|c| read_constant(c))
            .collect::<Result<Vec<_>>>()?;
        let mut dims = bind.dims.clone();
        if !data.is_empty() {
            let declared = source::declared(model)?;
            bind_data(&declared, data, &mut dims, &mut constants);
        }
        let source = source::load(model, &dims, &constants)?;
        for warning in &source.warnings {
            output::note(&format!("warning: {warning}"));
        }
        let bound: Vec<String> = constants.iter().map(|c| c.name.clone()).collect();
        let mut options: Vec<String> = dims.iter().map(|d| format!("dim.{d}")).collect();
        options.extend(bound.iter().map(|b| format!("const.{b}")));
        Ok(Prepared {
            name: driver::identifier(name.unwrap_or(&stem(model))),
            graph: source.graph,
            meta: Meta {
                model_sha256: source.sha256,
                options,
                bound: bound.clone(),
            },
            bound,
        })
    }

    /// Adds an option to the manifest.
    pub fn note_option(&mut self, option: String) {
        self.meta.options.push(option);
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

/// Binds dimensions that the model leaves open and inputs needed by value from data.
fn bind_data(
    declared: &[Declared],
    data: &[Weight],
    dims: &mut Vec<String>,
    constants: &mut Vec<Weight>,
) {
    for input in declared {
        let Some(array) = data.iter().find(|a| a.name == input.name) else {
            continue;
        };
        if input.by_value {
            if !constants.iter().any(|c| c.name == input.name) {
                constants.push(array.clone());
            }
            continue;
        }
        if array.shape.len() != input.dims.len() {
            continue; // reported when the array is fed
        }
        for (axis, (declared, &given)) in input.dims.iter().zip(&array.shape).enumerate() {
            let key = format!("{}:{axis}=", input.name);
            if declared.is_none() && !dims.iter().any(|d| d.starts_with(&key)) {
                dims.push(format!("{key}{given}"));
            }
        }
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
    use tinyc_compiler::program::Bytes;
    use tinyc_compiler::uop::DType;

    fn array(name: &str, shape: &[i64]) -> Weight {
        Weight {
            name: name.into(),
            dtype: DType::F32,
            shape: shape.to_vec(),
            bytes: Bytes::new(Vec::new()),
        }
    }

    #[test]
    fn names_come_from_the_file() {
        assert_eq!(stem("a/face-det.onnx"), "face-det");
        assert_eq!(stem("builtin:mnist"), "mnist");
    }

    #[test]
    fn data_binds_open_dims_and_values() {
        let input = |name: &str, dims: &[Option<i64>], by_value| Declared {
            name: name.into(),
            dtype: DType::F32,
            dims: dims.to_vec(),
            by_value,
        };
        let declared = [
            input("x", &[None, Some(3), None], false),
            input("shape", &[Some(2)], true),
        ];
        let data = [array("x", &[2, 3, 8]), array("shape", &[2])];
        let (mut dims, mut constants) = (vec!["x:2=8".to_string()], Vec::new());
        bind_data(&declared, &data, &mut dims, &mut constants);
        assert_eq!(dims, ["x:2=8", "x:0=2"]);
        assert_eq!(constants.len(), 1);
        assert_eq!(constants[0].name, "shape");
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
