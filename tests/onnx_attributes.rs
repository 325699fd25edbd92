//! Random combinations of operator attributes against ONNX Runtime.
//!
//! `tests/python/attributes.py` draws nodes of every family in opsets 7 to 24 from a fixed seed and writes them, many to a model,
//! with inputs and what ONNX Runtime computes. `tinyc verify` compiles, runs and compares each model.
//!
//! `TINYC_ATTRIBUTE_CASES` asks for more cases, `TINYC_ATTRIBUTE_SEED` for others. Without Python (`tests/run.sh` sets it up)
//! the test says that it skips.

use rayon::prelude::*;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tinyc_tests::{python, root, run_tinyc};

/// A model holds at most a few dozen small operations.
const LIMIT: Duration = Duration::from_secs(120);

fn variable(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_string())
}

#[test]
fn attributes_mean_what_onnx_runtime_says() {
    let Some(python) = python() else {
        println!("skipped: no Python with onnxruntime (run tests/run.sh)");
        return;
    };
    let dir = tempfile::tempdir().expect("a temporary folder");
    let drawn = Command::new(python)
        .arg(root().join("tests/python/attributes.py"))
        .arg(dir.path())
        .args(["--cases", &variable("TINYC_ATTRIBUTE_CASES", "400")])
        .args(["--seed", &variable("TINYC_ATTRIBUTE_SEED", "0")])
        .output()
        .expect("Python runs");
    let said = String::from_utf8_lossy(&drawn.stdout);
    assert!(
        drawn.status.success(),
        "{}",
        String::from_utf8_lossy(&drawn.stderr)
    );
    let mut models: Vec<PathBuf> = std::fs::read_dir(dir.path())
        .expect("the folder was made")
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "onnx"))
        .collect();
    models.sort();
    assert!(!models.is_empty(), "{said}");
    tinyc_tests::tinyc();
    let failures: Vec<String> = models
        .par_iter()
        .filter_map(|model| {
            let side = |end: &str| model.with_extension(end).display().to_string();
            let args = [
                "verify".to_string(),
                model.display().to_string(),
                "--inputs".to_string(),
                side("in.npz"),
                "--expect".to_string(),
                side("out.npz"),
            ];
            let ended = run_tinyc(args, LIMIT);
            let wrong = ended.stdout.lines().filter(|l| l.starts_with("FAIL"));
            let wrong: Vec<&str> = wrong.collect();
            (ended.code != Some(0)).then(|| {
                let name = model.file_name().unwrap_or_default().to_string_lossy();
                let (code, errors) = (ended.code, &ended.stderr);
                format!("{name}: exit code {code:?}\n{}\n{errors}", wrong.join("\n"))
            })
        })
        .collect();
    println!("{} in {} models", said.trim(), models.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
