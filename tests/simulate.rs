//! `--simulate` from the command line: results are those of the processor, counts are there, and what cannot be is told
//! with the right exit code. Without clang for AMDGPU the tests say that they skip.

use std::path::Path;
use std::time::Duration;
use tinyc_tests::{Ended, run_tinyc};

const LIMIT: Duration = Duration::from_secs(120);
const TARGET: [&str; 3] = ["--target", "amd-gfx1100", "--simulate"];

fn tinyc(arguments: &[&str]) -> Ended {
    run_tinyc(arguments, LIMIT)
}

/// Whether there is a compiler for the device.
fn ready() -> bool {
    let found = std::process::Command::new("clang-19")
        .arg("--version")
        .output()
        .is_ok();
    if !found {
        println!("skipped: clang-19 is missing");
    }
    found
}

/// An array of the one input of `builtin:mnist`.
fn digit(path: &Path) {
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 28, 28), }";
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    let padded = format!("{header:<117}\n");
    bytes.extend((padded.len() as u16).to_le_bytes());
    bytes.extend(padded.as_bytes());
    bytes.extend((0..784).flat_map(|i| ((i * 37 % 101) as f32 / 101.0).to_le_bytes()));
    std::fs::write(path, bytes).expect("writable");
}

/// The numbers of a `.npy` file of single floats.
fn numbers(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).expect("readable");
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let words = bytes[start..].chunks_exact(4);
    words
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect()
}

#[test]
fn a_model_runs_on_the_simulated_device() {
    if !ready() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let input = dir.path().join("in.npy");
    digit(&input);
    let run = |name: &str, more: &[&str]| {
        let output = dir.path().join(name);
        let (input, out) = (input.display().to_string(), output.display().to_string());
        let mut arguments = vec!["run", "builtin:mnist", "--inputs", &input, "-o", &out];
        arguments.extend(more);
        let ended = tinyc(&arguments);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        numbers(&output)
    };
    let expected = run("cpu.npy", &[]);
    let seeds = [&TARGET[..], &["--seed", "7", "--shadow"]].concat();
    for (name, more) in [("a.npy", &TARGET[..]), ("b.npy", &seeds)] {
        let found = run(name, more);
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(&expected) {
            assert!((a - b).abs() <= 1e-5 * b.abs().max(1.0), "{a} {b}");
        }
    }
}

#[test]
fn an_artifact_runs_on_the_simulated_device() {
    if !ready() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let out = dir.path().display().to_string();
    let built = tinyc(&[
        "compile",
        "builtin:mnist",
        "--target",
        "amd-gfx1100",
        "--emit",
        "exe",
        "-o",
        &out,
        "--name",
        "mnist",
    ]);
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    let artifact = dir.path().join("mnist.tinyexe").display().to_string();
    let input = dir.path().join("in.npy");
    digit(&input);
    let (input, output) = (input.display().to_string(), dir.path().join("out.npy"));
    let to = output.display().to_string();
    let ended = tinyc(&[
        "run",
        "--simulate",
        &artifact,
        "--inputs",
        &input,
        "-o",
        &to,
    ]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(numbers(&output).len(), 10);
    if !Path::new("/dev/kfd").exists() {
        let real = tinyc(&["run", &artifact, "--inputs", &input, "-o", &to]);
        assert_eq!(real.code, Some(5), "{}", real.stderr);
        assert!(real.stderr.contains("--simulate"), "{}", real.stderr);
    }
    let profile = tinyc(&["profile", "--simulate", &artifact, "--json"]);
    assert_eq!(profile.code, Some(0), "{}", profile.stderr);
    let json: serde_json::Value = serde_json::from_str(&profile.stdout).expect("JSON");
    assert!(json["total"]["instructions"].as_u64() > Some(1000));
}

#[test]
fn kernels_are_counted() {
    if !ready() {
        return;
    }
    let arguments =
        |more: &[&'static str]| [&["profile", "builtin:mnist"], &TARGET[..], more].concat();
    let ended = tinyc(&arguments(&["--json"]));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let json: serde_json::Value = serde_json::from_str(&ended.stdout).expect("JSON");
    let kernels = json["kernels"].as_array().expect("a list");
    assert!(kernels.len() >= 2);
    let sum = |key: &str| kernels.iter().filter_map(|k| k[key].as_u64()).sum::<u64>();
    for key in [
        "launches",
        "instructions",
        "bytes_loaded",
        "bytes_stored",
        "lds_conflicts",
        "waves",
    ] {
        assert_eq!(Some(sum(key)), json["total"][key].as_u64(), "{key}");
    }
    assert!(sum("bytes_loaded") > 784 * 4);
    let classes = json["total"]["classes"].as_object().expect("classes");
    let all: u64 = classes.values().filter_map(serde_json::Value::as_u64).sum();
    assert_eq!(Some(all), json["total"]["instructions"].as_u64());
    let table = tinyc(&arguments(&[]));
    assert!(
        table.stdout.lines().count() == kernels.len() + 2,
        "{}",
        table.stdout
    );
    assert!(table.stdout.contains("conflicts"));
}

#[test]
fn what_cannot_be_is_told() {
    let simulated =
        |more: &[&str]| tinyc(&[&["profile", "builtin:mnist", "--simulate"], more].concat());
    let ended = simulated(&[]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("amd-gfx1100"), "{}", ended.stderr);
    assert_eq!(simulated(&["--target", "amd-gfx942"]).code, Some(2));
    let shadow = tinyc(&["profile", "builtin:mnist", "--shadow"]);
    assert_eq!(shadow.code, Some(2), "--shadow without --simulate");
    if !ready() || Path::new("/dev/kfd").exists() {
        return;
    }
    let real = tinyc(&["profile", "builtin:mnist", "--target", "amd-gfx1100"]);
    assert_eq!(real.code, Some(5), "{}", real.stderr);
    for part in ["/dev/kfd", "--simulate"] {
        assert!(real.stderr.contains(part), "{}", real.stderr);
    }
}
