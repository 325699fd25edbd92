//! One run as a trace that Chrome (`chrome://tracing`) and Perfetto (ui.perfetto.dev) show.
//!
//! In: launches and their median times. Out: the JSON of the trace event format: one complete event (`X`) for each launch, one
//! after the other, and above them the model nodes.

use serde_json::{Value, json};
use tinyc_compiler::diag::Origin;
use tinyc_compiler::program::Built;

/// The trace of a program.
pub fn trace(built: &Built, seconds: &[f64]) -> Value {
    let name = &built.program.name;
    let mut events = vec![
        json!({"ph": "M", "pid": 1, "name": "process_name", "args": {"name": name}}),
        json!({"ph": "M", "pid": 1, "tid": 1, "name": "thread_name", "args": {"name": "kernels"}}),
    ];
    let mut at = 0.0;
    for (step, s) in built.program.steps.iter().zip(seconds) {
        let Some(kernel) = built.linear.get(step.kernel) else {
            continue;
        };
        let nodes: Vec<String> = step.origins.iter().map(Origin::to_string).collect();
        let bytes: u64 = step
            .args
            .iter()
            .map(|&b| built.program.buffer(b).bytes())
            .sum();
        events.push(json!({
            "ph": "X", "pid": 1, "tid": 1, "ts": at * 1e6, "dur": s * 1e6,
            "name": kernel.name,
            "cat": step.origins.first().map_or("", |o| &*o.op_type),
            "args": {
                "nodes": nodes.join(" + "),
                "flops": kernel.flops,
                "bytes": bytes,
                "gflop_s": kernel.flops as f64 * 1e-9 / s,
            },
        }));
        at += s;
    }
    json!({"displayTimeUnit": "ns", "traceEvents": events})
}
