//! `tinyc profile`: where the time of a model goes, kernel by kernel.
//!
//! Every launch is timed alone in many runs on one thread; a figure is the median of its runs, so a disturbance of the
//! machine does not land on one kernel. Equal kernels share a row.

use super::exit::Exit;
use super::output;
use super::prepare::{BindArgs, PassArgs, Prepared};
use super::registry::{self, TargetArgs};
use super::statistics::median;
use super::tuning;
use serde::Serialize;
use std::fmt::Write;
use std::time::{Duration, Instant};
use tinyc_compiler::diag::{Error, Origin, Result};
use tinyc_compiler::driver::Random;
use tinyc_compiler::program::Built;

/// Seed of the random inputs.
const SEED: u64 = 0;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// ONNX file or builtin:NAME
    model: String,
    /// Seconds to run
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    seconds: f64,
    /// One row for each launch, in the order in which they run
    #[arg(long)]
    launches: bool,
    #[command(flatten)]
    bind: BindArgs,
    #[command(flatten)]
    target: TargetArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Figures of one kernel, or of one launch.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Row {
    /// Name of the kernel.
    kernel: String,
    /// Launches that the row sums up.
    launches: usize,
    /// Milliseconds of all of them in one run.
    ms: f64,
    /// Of the time of all kernels.
    share: f64,
    /// Operations of all launches, in 1e9.
    gflop: f64,
    /// Bytes of all buffers that they touch, in 1e6: each counted once a launch.
    mb: f64,
    gflop_s: f64,
    gb_s: f64,
    /// Time that the roofline of the target allows, over the time taken.
    share_of_roofline: f64,
    /// Model nodes of the first launch.
    nodes: Vec<String>,
}

pub fn run(args: Args) -> Result<Exit> {
    if !(args.seconds > 0.0 && args.seconds <= 3600.0) {
        return Err(Error::usage("--seconds must be above 0 and at most 3600"));
    }
    let target = registry::open(&args.target)?;
    let mut prepared = Prepared::open(&args.model, None, &args.bind, &[])?;
    prepared.use_recipes(tuning::known(&args.target, &*target)?);
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
    session.run(&inputs, &mut outputs)?;
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); built.program.steps.len()];
    let start = Instant::now();
    let limit = Duration::from_secs_f64(args.seconds);
    while times.first().is_some_and(|t| t.len() < 3) || start.elapsed() < limit {
        let seconds = session.profile(&inputs, &mut outputs)?;
        for (list, s) in times.iter_mut().zip(seconds) {
            list.push(s);
        }
        if times.is_empty() {
            break;
        }
    }
    let runs = times.first().map_or(0, Vec::len);
    let medians: Vec<f64> = times.iter().map(|t| median(t)).collect();
    let facts = target.facts();
    let rows = rows(built, &medians, args.launches, |flops, bytes| {
        (flops / (facts.peak_gflops * 1e9)).max(facts.move_seconds(bytes))
    });
    if args.json {
        output::json(&serde_json::json!({
            "model": args.model,
            "runs": runs,
            "ms": medians.iter().sum::<f64>() * 1e3,
            "kernels": rows,
        }))?;
    } else {
        output::print(&table(&rows, runs))?;
    }
    Ok(Exit::Success)
}

/// One row a kernel (largest first), or one a launch. `limit` gives the least seconds for operations and bytes of
/// a launch; bytes that fit the caches are still counted as moved.
fn rows(
    built: &Built,
    seconds: &[f64],
    by_launch: bool,
    limit: impl Fn(f64, f64) -> f64,
) -> Vec<Row> {
    let total: f64 = seconds.iter().sum();
    let mut rows: Vec<Row> = Vec::new();
    let mut limits: Vec<f64> = Vec::new();
    let mut row_of = vec![None; built.linear.len()];
    for (step, &s) in built.program.steps.iter().zip(seconds) {
        let Some(kernel) = built.linear.get(step.kernel) else {
            continue;
        };
        let bytes: f64 = step
            .args
            .iter()
            .map(|&b| built.program.buffer(b).bytes() as f64)
            .sum();
        let at = match row_of[step.kernel] {
            Some(at) if !by_launch => at,
            _ => {
                row_of[step.kernel] = Some(rows.len());
                limits.push(0.0);
                rows.push(Row {
                    kernel: kernel.name.clone(),
                    launches: 0,
                    ms: 0.0,
                    share: 0.0,
                    gflop: 0.0,
                    mb: 0.0,
                    gflop_s: 0.0,
                    gb_s: 0.0,
                    share_of_roofline: 0.0,
                    nodes: step.origins.iter().map(Origin::to_string).collect(),
                });
                rows.len() - 1
            }
        };
        let row = &mut rows[at];
        row.launches += 1;
        row.ms += s * 1e3;
        row.gflop += kernel.flops as f64 * 1e-9;
        row.mb += bytes * 1e-6;
        limits[at] += limit(kernel.flops as f64, bytes);
    }
    for (row, limit) in rows.iter_mut().zip(limits) {
        let s = row.ms * 1e-3;
        row.share = s / total;
        row.gflop_s = row.gflop / s;
        row.gb_s = row.mb * 1e-3 / s;
        row.share_of_roofline = limit / s;
    }
    if !by_launch {
        rows.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    }
    rows
}

fn table(rows: &[Row], runs: usize) -> String {
    let width = rows
        .iter()
        .map(|r| r.kernel.len())
        .max()
        .unwrap_or(0)
        .clamp(6, 56);
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{:<width$}  {:>6}  {:>9}  {:>6}  {:>8}  {:>8}  {:>7}  {:>7}",
        "kernel", "times", "ms", "share", "GFLOP/s", "MB", "GB/s", "of roof"
    );
    for r in rows {
        let name: String = r.kernel.chars().take(width).collect();
        let _ = writeln!(
            out,
            "{name:<width$}  {:>6}  {:>9.4}  {:>4.1} %  {:>8.1}  {:>8.2}  {:>7.1}  {:>5.0} %",
            r.launches,
            r.ms,
            r.share * 100.0,
            r.gflop_s,
            r.mb,
            r.gb_s,
            r.share_of_roofline * 100.0
        );
    }
    let total: f64 = rows.iter().map(|r| r.ms).sum();
    let gflop: f64 = rows.iter().map(|r| r.gflop).sum();
    let _ = writeln!(
        out,
        "total {total:.4} ms, {:.1} GFLOP/s; medians of {runs} runs on one thread",
        gflop / (total * 1e-3)
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(kernel: &str, ms: f64) -> Row {
        Row {
            kernel: kernel.into(),
            launches: 2,
            ms,
            share: 0.5,
            gflop: 0.25,
            mb: 8.0,
            gflop_s: 0.25 / ms * 1e3,
            gb_s: 8.0 / ms,
            share_of_roofline: 0.75,
            nodes: vec![],
        }
    }

    #[test]
    fn a_row_reads_well() {
        insta::assert_snapshot!(table(
            &[row("k0_conv_relu", 2.0), row("k1_softmax", 2.0)],
            7
        ));
    }
}
