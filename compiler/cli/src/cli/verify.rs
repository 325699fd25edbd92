//! `tinyc verify`: compiled code against expected outputs.

use super::compare::{Bars, Comparison, compare};
use super::exit::Exit;
use super::prepare::{BindArgs, PassArgs, Prepared};
use super::registry::TargetArgs;
use super::simulate::{self, SimulateArgs};
use super::tuning;
use super::{feed, output, source, tensor_files};
use serde::Serialize;
use std::path::{Path, PathBuf};
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::driver::Compiled;
use tinyc_compiler::program::Weight;
use tinyc_compiler::target::{Session, Target};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// ONNX file or builtin:NAME
    model: String,
    /// Input arrays by name (.npz) or the one input (.npy)
    #[arg(
        long,
        value_name = "FILE",
        requires = "expect",
        required_unless_present = "data"
    )]
    inputs: Option<PathBuf>,
    /// Expected outputs by name (.npz) or the one output (.npy)
    #[arg(long, value_name = "FILE", requires = "inputs")]
    expect: Option<PathBuf>,
    /// Folder of ONNX test data: input_0.pb, output_0.pb, ... (repeatable)
    #[arg(long, value_name = "DIR", conflicts_with_all = ["inputs", "expect"])]
    data: Vec<PathBuf>,
    /// Relative tolerance of numpy.allclose, instead of the default bars; at least two units in the last place of a half type
    #[arg(long, value_name = "R")]
    rtol: Option<f64>,
    /// Absolute tolerance of numpy.allclose, instead of the default bars
    #[arg(long, value_name = "A")]
    atol: Option<f64>,
    #[command(flatten)]
    bind: BindArgs,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    simulate: SimulateArgs,
    /// Most threads to run on
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    threads: u16,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Inputs and expected outputs of one run.
struct Case {
    label: String,
    inputs: Vec<Weight>,
    expected: Expected,
}

enum Expected {
    Named(Vec<Weight>),
    InOrder(Vec<Weight>),
}

#[derive(Serialize)]
struct Checked {
    data: String,
    bound: Vec<String>,
    outputs: Vec<Comparison>,
}

/// A compiled model, and what had to be constant for it.
struct Loaded {
    constants: Vec<Weight>,
    shapes: Vec<Vec<i64>>,
    bound: Vec<String>,
    compiled: Compiled,
    session: Box<dyn Session>,
}

pub fn run(args: Args) -> Result<Exit> {
    for (flag, value) in [("--rtol", args.rtol), ("--atol", args.atol)] {
        if value.is_some_and(|v| v.is_nan() || v < 0.0) {
            return Err(Error::usage(format!("{flag} must not be negative")));
        }
    }
    let target = simulate::open(&args.target, &args.simulate)?;
    let cases = read_cases(&args)?;
    let mut loaded: Option<Loaded> = None;
    let mut checked = Vec::new();
    for case in &cases {
        if !loaded.as_ref().is_some_and(|l| l.fits(case)) {
            loaded = Some(load(&args, &*target, case)?);
        }
        let Some(loaded) = &mut loaded else { continue };
        let outputs = feed::run(
            &mut *loaded.session,
            &loaded.compiled.built.program,
            &case.inputs,
            &loaded.bound,
        )?;
        let bars = Bars {
            rtol: args.rtol,
            atol: args.atol,
        };
        checked.push(Checked {
            data: case.label.clone(),
            bound: loaded.bound.clone(),
            outputs: compare_all(case, &outputs, bars)?,
        });
    }
    if args.json {
        output::json(&serde_json::json!({ "results": checked }))?;
    } else {
        print(&checked)?;
    }
    let passed = checked.iter().all(|c| c.outputs.iter().all(|o| o.passed));
    Ok(if passed { Exit::Success } else { Exit::Differs })
}

fn read_cases(args: &Args) -> Result<Vec<Case>> {
    if let (Some(inputs), Some(expect)) = (&args.inputs, &args.expect) {
        return Ok(vec![Case {
            label: String::new(),
            inputs: tensor_files::read(inputs)?,
            expected: Expected::Named(tensor_files::read(expect)?),
        }]);
    }
    let names = source::input_names(&args.model)?;
    args.data.iter().map(|dir| read_case(dir, &names)).collect()
}

/// Test data goes by position; a name that the model knows wins.
fn read_case(dir: &Path, names: &[String]) -> Result<Case> {
    let data = tensor_files::read_test_data(dir)?;
    if data.inputs.len() > names.len() {
        return Err(Error::model(format!(
            "{}: {} inputs for a model with {}",
            dir.display(),
            data.inputs.len(),
            names.len()
        )));
    }
    let inputs = data
        .inputs
        .into_iter()
        .zip(names)
        .map(|(array, by_position)| {
            let name = if names.contains(&array.name) {
                array.name.clone()
            } else {
                by_position.clone()
            };
            Weight { name, ..array }
        })
        .collect();
    Ok(Case {
        label: dir.display().to_string(),
        inputs,
        expected: Expected::InOrder(data.outputs),
    })
}

fn load(args: &Args, target: &dyn Target, case: &Case) -> Result<Loaded> {
    let mut prepared = Prepared::open(&args.model, None, &args.bind, &case.inputs)?;
    prepared.use_recipes(tuning::known(&args.target, target)?);
    let bound = prepared.bound.clone();
    let compiled = prepared.compile(target, &PassArgs::default())?;
    let session = target.load(&compiled.built, args.threads.into())?;
    Ok(Loaded {
        constants: case
            .inputs
            .iter()
            .filter(|a| bound.contains(&a.name))
            .cloned()
            .collect(),
        shapes: case.inputs.iter().map(|a| a.shape.clone()).collect(),
        bound,
        compiled,
        session,
    })
}

impl Loaded {
    /// Can run a case without compiling again: same shapes, same constants.
    fn fits(&self, case: &Case) -> bool {
        self.shapes.iter().eq(case.inputs.iter().map(|a| &a.shape))
            && self.constants.iter().all(|c| {
                case.inputs
                    .iter()
                    .any(|a| a.name == c.name && a.dtype == c.dtype && *a.bytes == *c.bytes)
            })
    }
}

fn compare_all(case: &Case, outputs: &[Weight], bars: Bars) -> Result<Vec<Comparison>> {
    let pairs: Vec<(&Weight, &Weight)> = match &case.expected {
        Expected::InOrder(expected) => {
            if expected.len() != outputs.len() {
                return Err(Error::model(format!(
                    "{}: {} outputs are expected, the model has {}",
                    case.label,
                    expected.len(),
                    outputs.len()
                )));
            }
            outputs.iter().zip(expected).collect()
        }
        Expected::Named(expected) => {
            let single = match (outputs, &expected[..]) {
                ([_], [e]) if e.name.is_empty() => Some(e),
                _ => None,
            };
            if let Some(unknown) = expected
                .iter()
                .find(|e| single.is_none() && !outputs.iter().any(|o| o.name == e.name))
            {
                return Err(Error::model(format!(
                    "the model has no output '{}'",
                    unknown.name
                )));
            }
            outputs
                .iter()
                .map(|o| {
                    single
                        .or_else(|| expected.iter().find(|e| e.name == o.name))
                        .map(|e| (o, e))
                        .ok_or_else(|| {
                            Error::model(format!("nothing is expected for output '{}'", o.name))
                        })
                })
                .collect::<Result<_>>()?
        }
    };
    Ok(pairs
        .into_iter()
        .map(|(got, want)| compare(&got.name, got, want, bars))
        .collect())
}

fn print(checked: &[Checked]) -> Result<()> {
    for c in checked {
        if !c.data.is_empty() {
            output::line(&c.data)?;
        }
        if !c.bound.is_empty() {
            output::line(&format!("bound as constants: {}", c.bound.join(", ")))?;
        }
        for o in &c.outputs {
            output::line(&row(o))?;
        }
    }
    Ok(())
}

fn row(o: &Comparison) -> String {
    let mut text = format!(
        "{}  {}  max abs error {:.3e}  relative norm {:.3e}",
        if o.passed { "ok  " } else { "FAIL" },
        o.name,
        o.max_abs,
        o.relative_norm
    );
    if let Some(at) = &o.worst {
        text.push_str(&format!("  at {at:?}: {} expected {}", o.got, o.expected));
    }
    if let Some(reason) = &o.reason {
        text.push_str(&format!("  ({reason})"));
    }
    text
}
