//! Figures by kernel or by launch.
//!
//! In: a program and the seconds of each launch. Out: [`Row`]s and their table.

use serde::Serialize;
use std::fmt::Write;
use tinyc_compiler::diag::Origin;
use tinyc_compiler::program::{Built, Step};

/// Figures of one kernel, or of one launch.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Name of the kernel.
    pub kernel: String,
    /// Launches that the row sums up.
    pub launches: usize,
    /// Milliseconds of all of them in one run.
    pub ms: f64,
    /// Of the time of all kernels.
    pub share: f64,
    /// Operations of all launches, in 1e9.
    pub gflop: f64,
    /// Bytes of all buffers that they touch, in 1e6: each counted once a launch.
    pub mb: f64,
    /// Speed.
    pub gflop_s: f64,
    /// Speed.
    pub gb_s: f64,
    /// Time that the roofline of the target allows, over the time taken.
    pub share_of_roofline: f64,
    /// Model nodes of the first launch.
    pub nodes: Vec<String>,
}

/// True for a launch of a branch that the measured runs do not take.
pub fn is_left_out(step: &Step, seconds: f64) -> bool {
    step.condition.is_some() && seconds == 0.0
}

/// One row a kernel (largest first), or one a launch. `limit` gives the least seconds for operations and bytes of
/// a launch; bytes that fit the caches are still counted as moved. Launches that are left out have no row.
pub fn rows(
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
        if is_left_out(step, s) {
            continue;
        }
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

/// Rows for people.
pub fn table(rows: &[Row], runs: usize) -> String {
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
