//! The ONNX node tests through compiled code.
//!
//! Every case of the pinned onnx package is compiled, run and compared by `tinyc verify`, each in a process
//! of its own with a time limit. A case passes, or its model is refused with exit code 3. All else (a wrong
//! answer, a crash, a hang, an internal error) fails the test. The table goes to `target/onnx_nodes.tsv`.
//!
//! The cases are in `target/node_tests` (written by `tests/run.sh`), or where `TINYC_NODE_TESTS` says; without
//! them the test says that it skips.

use rayon::prelude::*;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tinyc_tests::{Ended, root, run_tinyc};

/// Fewest cases that must pass.
const PASSES: usize = 900;
/// A case is a few operations on small tensors.
const LIMIT: Duration = Duration::from_secs(120);

fn cases(dir: &Path) -> Vec<PathBuf> {
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

fn verify(case: &Path) -> Ended {
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

#[test]
fn onnx_node_tests() {
    let dir = std::env::var_os("TINYC_NODE_TESTS")
        .map(PathBuf::from)
        .unwrap_or_else(|| root().join("target/node_tests"));
    let mut cases = cases(&dir);
    if cases.is_empty() {
        println!(
            "skipped: no node tests in {} (run tests/run.sh)",
            dir.display()
        );
        return;
    }
    let filter = std::env::var("TINYC_NODE_FILTER").unwrap_or_default();
    cases.retain(|c| c.display().to_string().contains(&filter));
    tinyc_tests::tinyc();
    let results: Vec<(String, Ended)> = cases
        .par_iter()
        .map(|case| {
            let name = case
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            (name, verify(case))
        })
        .collect();
    let mut table = String::from("case\tstatus\tseconds\treason\n");
    let mut failures = Vec::new();
    let (mut passed, mut unsupported) = (0, 0);
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
            "pass" => passed += 1,
            "unsupported" => unsupported += 1,
            _ => failures.push(format!("{name}: {status}: {reason}")),
        }
    }
    let path = root().join("target/onnx_nodes.tsv");
    std::fs::write(&path, table).expect("target/ is writable");
    println!(
        "{} cases: {passed} pass, {unsupported} unsupported, {} fail; table in {}",
        results.len(),
        failures.len(),
        path.display()
    );
    assert!(
        failures.is_empty(),
        "{} cases fail:\n{}",
        failures.len(),
        failures.join("\n")
    );
    assert!(
        !filter.is_empty() || passed >= PASSES,
        "only {passed} cases pass, {PASSES} are required"
    );
}
