//! `tinyc profile`: where the time of a model goes, by kernel, by launch or by node.
//!
//! Every launch is timed alone in many runs on one thread; a figure is the median of its runs, so a disturbance of the
//! machine does not land on one kernel. Equal kernels share a row.
//!
//! | file | in | out |
//! |---|---|---|
//! | `rows` | times of launches | figures by kernel and launch, their table |
//! | `nodes` | times, the graph | time by node of the model |
//! | `events` | a session | cycles, instructions, cache misses |
//! | `trace` | times | Chrome and Perfetto JSON |
//! | `page` | all of it | one HTML file |
//! | `simulated` | a model or artifact for a GPU | what its kernels do on the simulated device |

mod events;
mod nodes;
mod page;
mod rows;
#[cfg(feature = "simulate")]
mod simulated;
mod trace;

use super::exit::Exit;
use super::output;
use super::prepare::{BindArgs, PassArgs, Prepared};
use super::registry::{self, TargetArgs};
use super::simulate::SimulateArgs;
use super::statistics::median;
use super::tuning;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::driver::Random;
use tinyc_compiler::target::Session;

/// Seed of the random inputs.
const SEED: u64 = 0;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// ONNX file or builtin:NAME; with --simulate also a .tinyexe
    model: String,
    /// Seconds to run
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    seconds: f64,
    /// What a row of the table is
    #[arg(
        long,
        value_enum,
        default_value = "kernel",
        conflicts_with = "launches"
    )]
    by: By,
    /// One row for each launch, in the order in which they run (--by launch)
    #[arg(long)]
    launches: bool,
    /// Write a page with roofline, memory plan, nodes and kernels
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write a trace for chrome://tracing or ui.perfetto.dev
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Count cycles, instructions and cache misses, where the system lets us
    #[arg(long)]
    events: bool,
    #[command(flatten)]
    bind: BindArgs,
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    simulate: SimulateArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum By {
    /// Equal kernels together, the largest first
    Kernel,
    /// Each launch, in the order in which they run
    Launch,
    /// Each node of the model: a kernel's time is divided among its nodes
    Node,
}

pub fn run(args: Args) -> Result<Exit> {
    if !(args.seconds > 0.0 && args.seconds <= 3600.0) {
        return Err(Error::usage("--seconds must be above 0 and at most 3600"));
    }
    #[cfg(feature = "simulate")]
    if args.simulate.simulate {
        return simulated::run(&args);
    }
    let target = registry::open(&args.target)?;
    let mut prepared = Prepared::open(&args.model, None, &args.bind, &[])?;
    prepared.use_recipes(tuning::known(&args.target, &*target)?);
    let costs = nodes::costs(prepared.graph());
    let compiled = prepared.compile(&*target, &PassArgs::default())?;
    let built = &compiled.built;
    let mut session = target.load(built, 1)?;
    let mut random = Random::new(SEED);
    let inputs: Vec<_> = built
        .program
        .inputs
        .iter()
        .map(|io| random.tensor(io))
        .collect();
    let inputs: Vec<&[u8]> = inputs.iter().map(|w| &*w.bytes).collect();
    let mut outputs: Vec<Vec<u8>> = built
        .program
        .outputs
        .iter()
        .map(|io| vec![0; io.bytes()])
        .collect();
    let mut outputs: Vec<&mut [u8]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
    let limit = Duration::from_secs_f64(args.seconds);
    let steps = built.program.steps.len();
    let (seconds, runs) = measure(&mut *session, &inputs, &mut outputs, steps, limit)?;
    let events = match args.events {
        true => Some(events::count(&mut *session, &inputs, &mut outputs)?),
        false => None,
    };
    let facts = target.facts();
    let roofline =
        |flops: f64, bytes: f64| (flops / (facts.peak_gflops * 1e9)).max(facts.move_seconds(bytes));
    let by_launch = args.launches || args.by == By::Launch;
    let rows = rows::rows(built, &seconds, by_launch, roofline);
    let nodes = nodes::nodes(built, &seconds, &costs, facts);
    if let Some(path) = &args.trace {
        write(path, &trace::trace(built, &seconds).to_string())?;
    }
    if let Some(path) = &args.html {
        let kernels = rows::rows(built, &seconds, false, roofline);
        let page = page::Page::new(&page::Figures {
            model: &args.model,
            built,
            rows: &kernels,
            nodes: &nodes,
            costs: &costs,
            facts,
            runs,
        });
        write(path, &page.html()?)?;
    }
    if args.json {
        let (counted, refused) = match &events {
            Some(Ok(events)) => (Some(events), None),
            Some(Err(why)) => (None, Some(why)),
            None => (None, None),
        };
        output::json(&serde_json::json!({
            "model": args.model,
            "runs": runs,
            "ms": seconds.iter().sum::<f64>() * 1e3,
            "peak_gflops": facts.peak_gflops,
            "memory_gb_s": facts.memory_gb_s,
            "kernels": rows,
            "nodes": nodes,
            "events": counted,
            "events_refused": refused,
        }))?;
        return Ok(Exit::Success);
    }
    output::print(&match args.by {
        By::Node => nodes::table(&nodes, runs),
        _ => rows::table(&rows, runs),
    })?;
    let steps = built.program.steps.iter().zip(&seconds);
    let left_out = steps
        .filter(|(step, s)| rows::is_left_out(step, **s))
        .count();
    if left_out > 0 {
        output::line(&format!(
            "{left_out} launches belong to branches that these inputs do not take"
        ))?;
    }
    match events {
        Some(Ok(events)) => output::print(&format!("\n{}", events.table(built, &rows)))?,
        Some(Err(why)) => output::line(&format!("no events counted: {why}"))?,
        None => {}
    }
    Ok(Exit::Success)
}

/// Median seconds of each launch, and how many runs there were.
fn measure(
    session: &mut dyn Session,
    inputs: &[&[u8]],
    outputs: &mut [&mut [u8]],
    steps: usize,
    limit: Duration,
) -> Result<(Vec<f64>, usize)> {
    session.run(inputs, outputs)?;
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); steps];
    let start = Instant::now();
    while times.first().is_some_and(|t| t.len() < 3) || start.elapsed() < limit {
        let seconds = session.profile(inputs, outputs)?;
        for (list, s) in times.iter_mut().zip(seconds) {
            list.push(s);
        }
        if times.is_empty() {
            break;
        }
    }
    let runs = times.first().map_or(0, Vec::len);
    Ok((times.iter().map(|t| median(t)).collect(), runs))
}

/// Writes a text file.
fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text)
        .map_err(|e| Error::environment(format!("cannot write {}: {e}", path.display())))
}
