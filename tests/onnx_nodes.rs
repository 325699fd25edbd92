//! The ONNX node tests through compiled code.
//!
//! Every case of the pinned onnx package is compiled, run and compared by `tinyc verify`, each in a process
//! of its own with a time limit. A case passes, or its model is refused with exit code 3. All else (a wrong
//! answer, a crash, a hang, an internal error) fails the test. The table goes to `target/onnx_nodes.tsv`.

mod nodes;

/// Fewest cases that must pass.
const PASSES: usize = 900;

#[test]
fn onnx_node_tests() {
    let Some(cases) = nodes::cases() else { return };
    let results = nodes::run(&cases, &[], "onnx_nodes.tsv");
    assert!(
        results.failures.is_empty(),
        "{} cases fail:\n{}",
        results.failures.len(),
        results.failures.join("\n")
    );
    assert!(
        !nodes::filter().is_empty() || results.passed >= PASSES,
        "only {} cases pass, {PASSES} are required",
        results.passed
    );
}
