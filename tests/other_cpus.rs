//! Code for other processors: the same model, compiled for each, gives the same scores.
//!
//! x86-64 levels that this host has run here; aarch64 runs under qemu-user as a static C program that links the library. Without a
//! cross compiler or qemu that part says that it skips.

use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tinyc_tests::{root, run, run_tinyc};

const LIMIT: Duration = Duration::from_secs(120);

/// Prints the scores of one image: a vertical stroke.
const PROGRAM: &str = r#"
#include "mnist.h"
#include <stdio.h>
static _Alignas(MNIST_ARENA_ALIGN) unsigned char arena[MNIST_ARENA_BYTES];
int main(void) {
    static float image[MNIST_INPUT_IMAGE_ELEMENTS];
    float scores[MNIST_OUTPUT_SCORES_ELEMENTS];
    for (int row = 4; row < 24; row++)
        for (int column = 13; column < 16; column++) image[row * 28 + column] = 1.0f;
    mnist_inputs in = {.image = image};
    mnist_outputs out = {.scores = scores};
    int code = mnist_run(&in, &out, arena, NULL);
    if (code != MNIST_OK) return 100 + code;
    for (int i = 0; i < 10; i++) printf("%.9g\n", (double)scores[i]);
    return 0;
}
"#;

/// Compiles the digit model for a processor, links the program with `cc`, runs it after `runner`. `None` when the host lacks the
/// processor's instructions.
fn scores(cpu: &str, cc: &str, runner: &[&str]) -> Option<Vec<f64>> {
    let dir = tempfile::tempdir().expect("temporary folder");
    let at = |name: &str| dir.path().join(name).display().to_string();
    let model = root().join("models/mnist.onnx").display().to_string();
    let out = dir.path().display().to_string();
    let ended = run_tinyc(
        [
            "compile", &model, "--cpu", cpu, "--cc", cc, "--emit", "lib", "-o", &out,
        ],
        LIMIT,
    );
    assert_eq!(ended.code, Some(0), "{cpu}: {}", ended.stderr);
    std::fs::write(Path::new(&at("main.c")), PROGRAM).expect("writable");
    let mut link = Command::new(cc);
    link.args(["-static", "-I", &out, &at("main.c"), "-L", &out])
        .args(["-lmnist", "-lm", "-lpthread", "-o", &at("program")]);
    let ended = run(&mut link, LIMIT);
    assert_eq!(ended.code, Some(0), "{cpu}: {}", ended.stderr);
    let program = at("program");
    let line: Vec<&str> = runner.iter().copied().chain([program.as_str()]).collect();
    let ended = run(Command::new(line[0]).args(&line[1..]), LIMIT);
    if ended.code.is_some_and(|c| c > 100) {
        return None;
    }
    assert_eq!(ended.code, Some(0), "{cpu}: {}", ended.stderr);
    let scores: Vec<f64> = ended
        .stdout
        .lines()
        .map(|l| l.parse().expect("a number"))
        .collect();
    assert_eq!(scores.len(), 10, "{cpu}");
    Some(scores)
}

fn assert_close(cpu: &str, found: &[f64], expected: &[f64]) {
    let norm: f64 = expected.iter().map(|x| x * x).sum::<f64>().sqrt();
    let error: f64 = found
        .iter()
        .zip(expected)
        .map(|(a, b)| (a - b).powi(2))
        .sum::<f64>()
        .sqrt();
    // Written so that NaN fails.
    assert!(
        error / norm <= 1e-5,
        "{cpu}: {found:?}, expected {expected:?}"
    );
}

#[test]
fn every_level_gives_the_same_scores() {
    let expected = scores("x86-64-v2", "gcc", &[]).expect("every x86-64 has level 2");
    for cpu in ["x86-64-v3", "x86-64-v4"] {
        match scores(cpu, "gcc", &[]) {
            Some(found) => assert_close(cpu, &found, &expected),
            None => println!("skipped: this host has no {cpu}"),
        }
    }
    let there = |tool: &str| {
        Command::new(tool)
            .arg("--version")
            .output()
            .is_ok_and(|o| o.status.success())
    };
    if !there("aarch64-linux-gnu-gcc") || !there("qemu-aarch64") {
        println!("skipped: aarch64-neon needs aarch64-linux-gnu-gcc and qemu-aarch64");
        return;
    }
    let found = scores("aarch64-neon", "aarch64-linux-gnu-gcc", &["qemu-aarch64"]);
    assert_close(
        "aarch64-neon",
        &found.expect("NEON is everywhere"),
        &expected,
    );
}
