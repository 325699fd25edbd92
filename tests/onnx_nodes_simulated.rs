//! The ONNX node tests as code for a GPU, on the simulated device, behind the simulated driver.
//!
//! As `onnx_nodes.rs`, with `--target amd-gfx1100 --simulate`. Every sixth case runs, all of them when `TINYC_NODE_ALL`
//! is set: a compiler is started for each kernel. The table goes to `target/onnx_nodes_simulated.tsv`.

mod nodes;

/// Fewest cases that must pass when all run.
const PASSES: usize = 900;
/// One case of so many runs.
const SAMPLE: usize = 6;

#[test]
fn onnx_node_tests_on_the_simulated_device() {
    let Some(mut cases) = nodes::cases() else {
        return;
    };
    if std::process::Command::new("clang-19")
        .arg("--version")
        .output()
        .is_err()
    {
        println!("skipped: clang-19 is missing");
        return;
    }
    let all = std::env::var_os("TINYC_NODE_ALL").is_some_and(|v| !v.is_empty());
    let whole = all && nodes::filter().is_empty();
    if !all && nodes::filter().is_empty() {
        cases = cases.into_iter().step_by(SAMPLE).collect();
    }
    let arguments = ["--target", "amd-gfx1100", "--simulate"];
    let results = nodes::run(&cases, &arguments, "onnx_nodes_simulated.tsv");
    assert!(
        results.failures.is_empty(),
        "{} cases fail:\n{}",
        results.failures.len(),
        results.failures.join("\n")
    );
    let least = if whole { PASSES } else { PASSES / SAMPLE };
    assert!(
        !nodes::filter().is_empty() || results.passed >= least,
        "only {} cases pass, {least} are required",
        results.passed
    );
}
