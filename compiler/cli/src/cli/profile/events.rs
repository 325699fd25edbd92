//! Events that the processor counts: cycles, instructions, cache misses.
//!
//! In: a session. Out: for each event its medians by launch, or one line that says why there are none.

use super::rows::Row;
use crate::cli::statistics::median;
use serde::Serialize;
use std::fmt::Write;
use tinyc_compiler::diag::Result;
use tinyc_compiler::program::Built;
use tinyc_compiler::target::{EVENTS, Session};

/// Runs that are counted.
const RUNS: usize = 5;

/// Counts of each launch.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Events {
    /// Names of the events that could be counted.
    pub names: Vec<&'static str>,
    /// For each launch a number for each event.
    pub launches: Vec<Vec<f64>>,
}

/// Counts, or says why not.
pub fn count(
    session: &mut dyn Session,
    inputs: &[&[u8]],
    outputs: &mut [&mut [u8]],
) -> Result<std::result::Result<Events, String>> {
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        match session.count(inputs, outputs)? {
            Ok(counts) => runs.push(counts),
            Err(why) => return Ok(Err(why)),
        }
    }
    let launches = runs.first().map_or(0, Vec::len);
    let counted = |e: usize| runs.iter().flatten().all(|launch| launch[e].is_some());
    let known: Vec<usize> = (0..EVENTS.len()).filter(|&e| counted(e)).collect();
    if known.is_empty() {
        return Ok(Err("the processor counts none of the events".to_string()));
    }
    let of = |launch: usize, e: usize| {
        let list: Vec<f64> = runs
            .iter()
            .filter_map(|r| r.get(launch)?[e])
            .map(|n| n as f64)
            .collect();
        median(&list)
    };
    Ok(Ok(Events {
        names: known.iter().map(|&e| EVENTS[e]).collect(),
        launches: (0..launches)
            .map(|l| known.iter().map(|&e| of(l, e)).collect())
            .collect(),
    }))
}

impl Events {
    /// Sums by kernel, for the rows that are shown.
    pub fn table(&self, built: &Built, rows: &[Row]) -> String {
        let mut out = String::new();
        let width = rows
            .iter()
            .map(|r| r.kernel.len())
            .max()
            .unwrap_or(0)
            .clamp(6, 56);
        let _ = write!(out, "{:<width$}", "kernel");
        for name in &self.names {
            let _ = write!(out, "  {name:>16}");
        }
        let _ = writeln!(out);
        let mut shown: Vec<&str> = Vec::new();
        for row in rows {
            if shown.contains(&row.kernel.as_str()) {
                continue;
            }
            shown.push(&row.kernel);
            let name: String = row.kernel.chars().take(width).collect();
            let _ = write!(out, "{name:<width$}");
            for e in 0..self.names.len() {
                let of_kernel = |step: usize| {
                    let kernel = built.program.steps.get(step).map(|s| s.kernel);
                    let kernel = kernel.and_then(|k| built.linear.get(k));
                    kernel.is_some_and(|k| k.name == row.kernel)
                };
                let sum: f64 = self
                    .launches
                    .iter()
                    .enumerate()
                    .filter(|(step, _)| of_kernel(*step))
                    .filter_map(|(_, counts)| counts.get(e))
                    .sum();
                let _ = write!(out, "  {sum:>16.0}");
            }
            let _ = writeln!(out);
        }
        out
    }
}
