//! ONNX node tests: folders of one small model each, with inputs and expected outputs.
//!
//! In: a folder of cases, arguments for `tinyc verify`. Out: how each case ended, as a table and as lists.
//!
//! The cases are in `target/node_tests` (written by `tests/run.sh`), or where `TINYC_NODE_TESTS` says; without
//! them the tests say that they skip.

use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tinyc_tests::{Ended, root, run_tinyc};

/// A case is a few operations on small tensors.
const LIMIT: Duration = Duration::from_secs(120);

/// All cases that `TINYC_NODE_FILTER` lets through; nothing when there are none.
pub fn cases() -> Option<Vec<PathBuf>> {
    let dir = std::env::var_os("TINYC_NODE_TESTS")
        .map(PathBuf::from)
        .unwrap_or_else(|| root().join("target/node_tests"));
    let mut cases = cases_of(&dir);
    if cases.is_empty() {
        println!(
            "skipped: no node tests in {} (run tests/run.sh)",
            dir.display()
        );
        return None;
    }
    cases.retain(|c| c.display().to_string().contains(&filter()));
    Some(cases)
}

/// What names of cases have to contain.
pub fn filter() -> String {
    std::env::var("TINYC_NODE_FILTER").unwrap_or_default()
}

fn cases_of(dir: &Path) -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.join("model.onnx").exists())
        .collect();
    out.sort();
    out
}

/// `rtol` and `atol` of a case.
fn tolerance(case: &Path) -> (String, String) {
    let read = |name: &str| std::fs::read_to_string(case.join(name));
    let text = read("tolerance.json").or_else(|_| read("case.json"));
    let json: serde_json::Value = text
        .ok()
        .and_then(|t| serde_json::from_str(&t).ok())
        .unwrap_or_default();
    let number = |key: &str, default: f64| json[key].as_f64().unwrap_or(default).to_string();
    (number("rtol", 1e-3), number("atol", 1e-7))
}

fn verify(case: &Path, more: &[&str]) -> Ended {
    let (rtol, atol) = tolerance(case);
    let mut args = vec![
        "verify".to_string(),
        case.join("model.onnx").display().to_string(),
    ];
    for n in 0.. {
        let data = case.join(format!("test_data_set_{n}"));
        if !data.exists() {
            break;
        }
        args.extend(["--data".to_string(), data.display().to_string()]);
    }
    args.extend(["--rtol".to_string(), rtol, "--atol".to_string(), atol]);
    args.extend(more.iter().map(|a| a.to_string()));
    run_tinyc(args, LIMIT)
}

fn status(ended: &Ended) -> &'static str {
    match ended.code {
        _ if ended.hung => "hang",
        Some(0) => "pass",
        Some(1) => "wrong",
        Some(2) => "usage",
        Some(3) => "unsupported",
        Some(4) => "bad input",
        Some(5) => "environment",
        Some(70) => "internal",
        Some(_) => "other",
        None => "crash",
    }
}

/// The line of a report that says what is wrong.
fn reason(ended: &Ended) -> String {
    let text = if ended.code == Some(1) {
        &ended.stdout
    } else {
        &ended.stderr
    };
    let line = text
        .lines()
        .find(|l| l.trim_start().starts_with("x ") || l.starts_with("FAIL"))
        .or_else(|| text.lines().next_back())
        .unwrap_or("");
    line.trim().replace('\t', " ")
}

/// How the cases ended.
pub struct Results {
    /// How many passed.
    pub passed: usize,
    /// How many were refused with exit code 3.
    pub unsupported: usize,
    /// A line for each of the others.
    pub failures: Vec<String>,
}

/// Runs all cases, with more arguments for `tinyc verify`; the table goes to a file in `target/`.
pub fn run(cases: &[PathBuf], more: &[&str], table_name: &str) -> Results {
    tinyc_tests::tinyc();
    let results: Vec<(String, Ended)> = cases
        .par_iter()
        .map(|case| {
            let name = case.file_name().unwrap_or_default();
            (name.to_string_lossy().into_owned(), verify(case, more))
        })
        .collect();
    let mut table = String::from("case\tstatus\tseconds\treason\n");
    let mut out = Results {
        passed: 0,
        unsupported: 0,
        failures: Vec::new(),
    };
    for (name, ended) in &results {
        let status = status(ended);
        let reason = if status == "pass" {
            String::new()
        } else {
            reason(ended)
        };
        table += &format!(
            "{name}\t{status}\t{:.2}\t{reason}\n",
            ended.time.as_secs_f64()
        );
        match status {
            "pass" => out.passed += 1,
            "unsupported" => out.unsupported += 1,
            _ => out.failures.push(format!("{name}: {status}: {reason}")),
        }
    }
    let path = root().join("target").join(table_name);
    std::fs::write(&path, table).expect("target/ is writable");
    println!(
        "{} cases: {} pass, {} unsupported, {} fail; table in {}",
        results.len(),
        out.passed,
        out.unsupported,
        out.failures.len(),
        path.display()
    );
    out
}
