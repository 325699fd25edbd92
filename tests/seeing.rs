//! What shows speed, through the command line: `blame`, `bench` with a baseline, `profile` with its files.
//!
//! Only one test depends on times: a kernel that takes half as long again must be named, which no noise hides.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tinyc_tests::{Ended, root, run, run_tinyc, tinyc};

const LIMIT: Duration = Duration::from_secs(300);

fn mnist() -> String {
    root().join("models/mnist.onnx").display().to_string()
}

/// Runs `tinyc`. Arguments are divided at blanks.
fn call(args: &str) -> Ended {
    run_tinyc(args.split_whitespace(), LIMIT)
}

/// An executable of the digit model with one kernel slowed down.
fn executable(dir: &Path, slow: &str) -> PathBuf {
    let mut command = Command::new(tinyc());
    command
        .env("TINYC_CACHE", "")
        .env("TINYC_SLOW_KERNEL", slow)
        .args(["compile", &mnist(), "--emit", "exe", "-o"])
        .arg(dir);
    let ended = run(&mut command, LIMIT);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    dir.join("mnist.tinyexe")
}

fn json(ended: &Ended) -> serde_json::Value {
    serde_json::from_str(&ended.stdout).expect("JSON")
}

#[test]
fn blame_names_the_kernel_that_was_slowed_down() {
    let home = tempfile::tempdir().expect("temporary folder");
    let old = executable(&home.path().join("old"), "");
    let shown = json(&call(&format!("inspect --json {}", old.display())));
    let kernels = shown["identities"].as_array().expect("kernels");
    // The one with the most operations is long enough for any clock.
    let hot = kernels
        .iter()
        .max_by_key(|k| k["flops"].as_u64())
        .expect("a kernel");
    let name = hot["name"].as_str().expect("a name");
    let new = executable(&home.path().join("new"), &format!("{name}:50"));
    let ended = call(&format!("blame {} {} --json", old.display(), new.display()));
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let report = json(&ended);
    let row = report["kernels"]
        .as_array()
        .and_then(|list| list.iter().find(|k| k["new"][0] == name))
        .expect("the kernel");
    assert_eq!(row["verdict"], "moved", "{report:#}");
    assert_eq!(row["why"], "other-code", "{report:#}");
    let ratio = row["ratio"]["middle"].as_f64().expect("a ratio");
    assert!((1.3..1.9).contains(&ratio), "{report:#}");
    for output in report["results"]["outputs"].as_array().expect("outputs") {
        assert_eq!(output[1]["elements"], 0, "waiting changes no result");
    }
}

#[test]
fn blame_takes_executables_only() {
    let home = tempfile::tempdir().expect("temporary folder");
    let exe = executable(home.path(), "");
    for other in [mnist(), "no/such.tinyexe".to_string()] {
        let ended = call(&format!("blame {} {other}", exe.display()));
        assert_eq!(ended.code, Some(4), "{other}: {}", ended.stderr);
    }
}

#[test]
fn an_unknown_slow_kernel_is_wrong_usage() {
    let home = tempfile::tempdir().expect("temporary folder");
    for slow in ["k999:10", "0:", "0:5000"] {
        let mut command = Command::new(tinyc());
        command
            .env("TINYC_SLOW_KERNEL", slow)
            .args(["compile", &mnist(), "-o"])
            .arg(home.path());
        assert_eq!(run(&mut command, LIMIT).code, Some(2), "{slow}");
    }
}

#[test]
fn baselines_are_written_and_read() {
    let home = tempfile::tempdir().expect("temporary folder");
    let (file, table) = (home.path().join("b.json"), home.path().join("t.md"));
    let model = mnist();
    let saved = call(&format!(
        "bench {model} --seconds 0.2 --save {}",
        file.display()
    ));
    assert_eq!(saved.code, Some(0), "{}", saved.stderr);
    // A threshold that nothing reaches.
    let again = call(&format!(
        "bench {model} --seconds 0.2 --baseline {} --threshold 99% --markdown {} --json",
        file.display(),
        table.display()
    ));
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    let changes = json(&again)["changes"].clone();
    assert_eq!(changes.as_array().map(Vec::len), Some(1));
    assert_ne!(changes[0]["verdict"], "new");
    let markdown = std::fs::read_to_string(&table).expect("a table");
    assert!(
        markdown.starts_with("| model | before | now |"),
        "{markdown}"
    );
    std::fs::write(&file, "{}").expect("writable");
    let damaged = call(&format!("bench {model} --baseline {}", file.display()));
    assert_eq!(damaged.code, Some(4), "{}", damaged.stderr);
    let alone = call(&format!("bench {model} --markdown {}", table.display()));
    assert_eq!(alone.code, Some(2), "{}", alone.stderr);
}

#[test]
fn profiles_are_written() {
    let home = tempfile::tempdir().expect("temporary folder");
    let (page, trace) = (home.path().join("p.html"), home.path().join("t.json"));
    let ended = call(&format!(
        "profile {} --seconds 0.1 --by node --events --json --html {} --trace {}",
        mnist(),
        page.display(),
        trace.display()
    ));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let report = json(&ended);
    let sum = |list: &str| -> f64 {
        let rows = report[list].as_array().expect("rows").iter();
        rows.filter_map(|r| r["ms"].as_f64()).sum()
    };
    let (kernels, nodes) = (sum("kernels"), sum("nodes"));
    assert!(kernels > 0.0 && (kernels - nodes).abs() < 1e-6 * kernels);
    assert!(!report["events"].is_null() || report["events_refused"].is_string());
    let text = std::fs::read_to_string(&trace).expect("a trace");
    let events: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let launches = events["traceEvents"].as_array().expect("events").len();
    assert!(launches > 2, "{text}");
    let html = std::fs::read_to_string(&page).expect("a page");
    assert!(html.starts_with("<!doctype html>") && !html.contains("{{"));
}
