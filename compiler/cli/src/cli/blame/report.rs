//! What `tinyc blame` says.
//!
//! In: groups with their verdicts, and where results part. Out: text, or values for JSON.

use super::artifact::{Artifact, Kernel};
use super::difference::{Difference, Parting};
use super::matching::Region;
use super::timing::{Group, Verdict};
use crate::cli::output::time;
use crate::cli::statistics::Interval;
use serde::Serialize;
use std::fmt::Write;

/// Nodes named for one kernel; the others are counted.
const NODES: usize = 4;

/// One group of kernels.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Names in the old artifact.
    pub old: Vec<String>,
    /// Names in the new one.
    pub new: Vec<String>,
    /// What was found.
    pub verdict: Verdict,
    /// New over old time; null for kernels on one side only.
    pub ratio: Option<Interval>,
    /// Milliseconds of all launches in one run.
    pub old_ms: f64,
    /// See `old_ms`.
    pub new_ms: f64,
    /// What differs.
    pub why: Why,
    /// Model nodes of the first launch on each side.
    pub nodes: Vec<String>,
    /// Sessions that timed it.
    pub sessions: usize,
    /// What was chosen, where that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choices: Option<(String, String)>,
}

/// What differs between the kernels of two artifacts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// The work is divided into kernels in another way.
    OtherFusion,
    /// Kernels for the same nodes compute something else, or lay it out in another way.
    OtherKernel,
    /// The kernel is the same, the choices are not.
    OtherChoice,
    /// Kernel and choices are the same, the code is not.
    OtherCode,
    /// The code is the same.
    SameCode,
}

impl Why {
    fn text(self, toolchains_differ: bool) -> &'static str {
        match self {
            Why::OtherFusion => "other fusion: the nodes are divided into kernels in another way",
            Why::OtherKernel => {
                "other kernel for the same nodes: it computes something else or in another layout"
            }
            Why::OtherChoice => "other choice: the same kernel, tiled or ordered in another way",
            Why::OtherCode => "other code: the same kernel and the same choices",
            Why::SameCode if toolchains_differ => {
                "the same kernel, choices and source: the C compilers differ"
            }
            Why::SameCode => "the same code: only where it or its data lies in memory differs",
        }
    }
}

/// Everything that is said.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Groups in the order of the model.
    pub kernels: Vec<Row>,
    /// Milliseconds of one run, by the medians of all kernels.
    pub old_ms: f64,
    /// See `old_ms`.
    pub new_ms: f64,
    /// Relative change that counts.
    pub threshold: f64,
    /// Compiler and flags, when they differ.
    pub toolchains: Option<(String, String)>,
    /// Name of the first kernel whose results differ.
    pub parting_kernel: Option<String>,
    /// Where results part.
    pub results: Parting,
}

impl Report {
    /// Puts it together.
    pub fn new(
        old: &Artifact,
        new: &Artifact,
        regions: &[Region],
        groups: &[Group],
        parting: Parting,
        threshold: f64,
    ) -> Report {
        let mut kernels: Vec<Row> = groups.iter().map(|g| row(old, new, regions, g)).collect();
        let old_ms = kernels.iter().map(|r| r.old_ms).sum();
        let new_ms = kernels.iter().map(|r| r.new_ms).sum();
        // What is only on one side moved when it matters for the whole.
        for row in &mut kernels {
            if row.verdict == Verdict::OneSided && (row.old_ms + row.new_ms) > threshold * old_ms {
                row.verdict = Verdict::Moved;
            }
        }
        let parting_kernel = parting.region.and_then(|n| {
            let launch = old.launches.get(regions.get(n)?.old.start)?;
            Some(old.kernels.get(launch.kernel)?.name.clone())
        });
        Report {
            kernels,
            old_ms,
            new_ms,
            threshold,
            toolchains: (old.toolchain != new.toolchain)
                .then(|| (old.toolchain.clone(), new.toolchain.clone())),
            parting_kernel,
            results: parting,
        }
    }

    /// Kernels that moved, the largest difference first.
    pub fn moved(&self) -> Vec<&Row> {
        let mut list: Vec<&Row> = self
            .kernels
            .iter()
            .filter(|r| r.verdict == Verdict::Moved)
            .collect();
        let cost = |r: &Row| (r.new_ms - r.old_ms).abs();
        list.sort_by(|a, b| cost(b).total_cmp(&cost(a)));
        list
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let moved = self.moved();
        let percent = self.threshold * 100.0;
        if moved.is_empty() {
            let _ = writeln!(out, "no kernel moved by more than {percent} %");
        } else {
            let _ = writeln!(out, "moved by more than {percent} %:");
        }
        for row in moved {
            self.describe(row, &mut out);
        }
        let undecided: Vec<&Row> = self
            .kernels
            .iter()
            .filter(|r| r.verdict == Verdict::Undecided)
            .collect();
        if !undecided.is_empty() {
            let _ = writeln!(out, "not decided in the time given (see --seconds):");
        }
        for row in undecided {
            self.describe(row, &mut out);
        }
        let changed = self.kernels.iter().filter(|r| {
            r.why != Why::SameCode && !matches!(r.verdict, Verdict::Moved | Verdict::Undecided)
        });
        let _ = writeln!(
            out,
            "{} kernels compared, {} of them changed without moving, {} too short to matter",
            self.kernels.len(),
            changed.count(),
            self.kernels
                .iter()
                .filter(|r| r.verdict == Verdict::Small)
                .count(),
        );
        let _ = writeln!(
            out,
            "all kernels: {} -> {} ({})",
            time(self.old_ms),
            time(self.new_ms),
            change(self.new_ms / self.old_ms)
        );
        if let Some((old, new)) = &self.toolchains {
            let _ = writeln!(out, "compilers: {old} -> {new}");
        }
        self.describe_results(&mut out);
        out
    }

    fn describe(&self, row: &Row, out: &mut String) {
        let names = |list: &[String]| match list {
            [] => "(nothing)".to_string(),
            list => list.join(" + "),
        };
        let name = match row.old == row.new {
            true => names(&row.old),
            false => format!("{} -> {}", names(&row.old), names(&row.new)),
        };
        let ratio = match row.ratio {
            Some(r) => format!(
                "{} ({} to {})",
                change(r.middle),
                change(r.low),
                change(r.high)
            ),
            None => "on one side only".to_string(),
        };
        let _ = writeln!(
            out,
            "  {name}  {ratio}  {} -> {}",
            time(row.old_ms),
            time(row.new_ms)
        );
        let _ = writeln!(out, "    {}", row.why.text(self.toolchains.is_some()));
        if let Some((old, new)) = &row.choices {
            let _ = writeln!(out, "      old: {old}\n      new: {new}");
        }
        if !row.nodes.is_empty() {
            // The tensor behind a node's name says little more.
            let short = |node: &'_ str| node.split(" (-> ").next().unwrap_or("").to_string();
            let shown: Vec<String> = row.nodes.iter().take(NODES).map(|n| short(n)).collect();
            let more = match row.nodes.len().saturating_sub(NODES) {
                0 => String::new(),
                n => format!(" and {n} more"),
            };
            let _ = writeln!(out, "    {}{more}", shown.join(" + "));
        }
    }

    fn describe_results(&self, out: &mut String) {
        if self.results.outputs.iter().all(|o| o.1.elements == 0) && self.results.first.is_none() {
            let _ = writeln!(out, "results: equal in every bit");
            return;
        }
        match (&self.parting_kernel, &self.results.first) {
            (Some(kernel), Some(d)) => {
                let _ = writeln!(out, "results part at kernel {kernel}: {}", how(d));
            }
            _ => {
                let _ = writeln!(out, "results part in kernels that only one side has");
            }
        }
        for (name, d) in &self.results.outputs {
            let _ = writeln!(out, "  output {name}: {}", how(d));
        }
    }
}

fn how(d: &Difference) -> String {
    if d.elements == 0 {
        return "equal".to_string();
    }
    let nan = match d.nan {
        0 => String::new(),
        n => format!(", {n} NaN on one side only"),
    };
    format!(
        "up to {} ulp, {} of {} elements differ{nan}",
        d.max_ulp, d.elements, d.of
    )
}

/// `+9.8 %`.
fn change(ratio: f64) -> String {
    format!("{:+.1} %", (ratio - 1.0) * 100.0)
}

fn row(old: &Artifact, new: &Artifact, regions: &[Region], group: &Group) -> Row {
    let kernels = |a: &Artifact, list: &[usize]| -> Vec<Kernel> {
        let kernel = |&k: &usize| a.kernels.get(k).cloned().unwrap_or_default();
        list.iter().map(kernel).collect()
    };
    let (a, b) = (kernels(old, &group.old), kernels(new, &group.new));
    let first = group.regions.first().and_then(|&r| regions.get(r));
    let mut nodes = Vec::new();
    if let Some(region) = first {
        let before = old.launches.get(region.old.clone()).unwrap_or(&[]);
        let after = new.launches.get(region.new.clone()).unwrap_or(&[]);
        for launch in before.iter().chain(after) {
            for node in launch.nodes.split(" + ").filter(|n| !n.is_empty()) {
                if !nodes.iter().any(|n| n == node) {
                    nodes.push(node.to_string());
                }
            }
        }
    }
    let why = match (&a[..], &b[..]) {
        ([x], [y]) if x.hash != y.hash => Why::OtherKernel,
        ([x], [y]) if x.choice != y.choice => Why::OtherChoice,
        ([x], [y]) if x.code_hash != y.code_hash => Why::OtherCode,
        ([_], [_]) => Why::SameCode,
        _ => Why::OtherFusion,
    };
    let names = |list: &[Kernel]| list.iter().map(|k| k.name.clone()).collect();
    let (old_seconds, new_seconds) = group.seconds();
    Row {
        old: names(&a),
        new: names(&b),
        verdict: group.verdict,
        ratio: group.ratio.middle.is_finite().then_some(group.ratio),
        old_ms: old_seconds * 1e3,
        new_ms: new_seconds * 1e3,
        why,
        nodes,
        sessions: group.sessions(),
        choices: match (&a[..], &b[..]) {
            ([x], [y]) if why == Why::OtherChoice => Some((x.choice.clone(), y.choice.clone())),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &str, verdict: Verdict, why: Why, ratio: f64) -> Row {
        Row {
            old: vec![name.into()],
            new: vec![name.into()],
            verdict,
            ratio: Some(Interval {
                low: ratio - 0.01,
                middle: ratio,
                high: ratio + 0.01,
            }),
            old_ms: 2.0,
            new_ms: 2.0 * ratio,
            why,
            nodes: vec!["Conv 'conv1'".into(), "Relu 'relu1'".into()],
            sessions: 10,
            choices: (why == Why::OtherChoice)
                .then(|| ("split(0.1,8,vector)".into(), "split(0.1,16,vector)".into())),
        }
    }

    #[test]
    fn a_report_reads_well() {
        let difference = Difference {
            elements: 12,
            of: 4096,
            max_ulp: 3,
            nan: 0,
        };
        let report = Report {
            kernels: vec![
                sample("k0_conv_relu", Verdict::Moved, Why::OtherChoice, 1.1),
                sample("k1_conv", Verdict::Still, Why::OtherCode, 1.0),
                sample("k2_softmax", Verdict::Undecided, Why::SameCode, 1.02),
                Row {
                    old: vec![],
                    new: vec!["k3_add".into()],
                    ratio: None,
                    old_ms: 0.0,
                    ..sample("k3_add", Verdict::Moved, Why::OtherFusion, 1.0)
                },
            ],
            old_ms: 6.0,
            new_ms: 8.2,
            threshold: 0.03,
            toolchains: None,
            parting_kernel: Some("k0_conv_relu".into()),
            results: Parting {
                region: Some(0),
                first: Some(difference),
                outputs: vec![(
                    "y f32[1, 10]".into(),
                    Difference {
                        max_ulp: 17,
                        ..difference
                    },
                )],
            },
        };
        insta::assert_snapshot!(report.text());
    }

    #[test]
    fn nothing_to_say() {
        let report = Report {
            kernels: vec![sample("k0", Verdict::Still, Why::SameCode, 1.0)],
            old_ms: 2.0,
            new_ms: 2.0,
            threshold: 0.03,
            toolchains: None,
            parting_kernel: None,
            results: Parting::default(),
        };
        insta::assert_snapshot!(report.text());
    }
}
