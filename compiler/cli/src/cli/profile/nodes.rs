//! Time by node of the model.
//!
//! A kernel often computes several nodes, and nobody can time one of them inside it: its time is divided among them by what
//! each costs on its own, estimated from operations and bytes. In: the graph as imported, launches with their times. Out: one
//! [`Node`] for each node of the model, the largest first.

use rustc_hash::FxHashMap;
use serde::Serialize;
use std::fmt::Write;
use tinyc_compiler::diag::Origin;
use tinyc_compiler::graph::{Graph, Op};
use tinyc_compiler::program::Built;
use tinyc_compiler::target::Facts;

/// Rounds in which operations are fitted.
const ROUNDS: usize = 40;

/// What a node costs on its own.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    flops: f64,
    bytes: f64,
}

impl Cost {
    /// Seconds, roughly. Results inside a kernel do not go to memory: bytes count a tenth.
    fn seconds(self, facts: &Facts) -> f64 {
        self.flops / (facts.peak_gflops * 1e9) + facts.move_seconds(self.bytes) * 0.1
    }
}

/// Costs by the text of the node.
pub type Costs = FxHashMap<String, Cost>;

/// One node of the model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Node {
    /// Operator and name: `Conv 'conv1'`.
    pub node: String,
    /// Operator.
    pub op: String,
    /// Milliseconds in one run.
    pub ms: f64,
    /// Of the time of all kernels.
    pub share: f64,
    /// Operations, in 1e9, estimated from the node alone.
    pub gflop: f64,
    /// Place of its first kernel among the launches.
    pub first_launch: usize,
    /// Kernels that compute it.
    pub kernels: Vec<String>,
}

/// Estimates what each node costs.
pub fn costs(graph: &Graph) -> Costs {
    let mut out = Costs::default();
    let elements = |dims: &[i64]| dims.iter().map(|&d| d.max(0) as f64).product::<f64>();
    for tensor in &graph.tensors {
        if tensor.origin.is_empty() {
            continue;
        }
        let dims = tensor.shape.dims().unwrap_or_default();
        let source = |n: usize| -> Vec<i64> {
            let id = tensor.src.get(n).map(|s| s.0 as usize);
            let source = id.and_then(|id| graph.tensors.get(id));
            source.and_then(|t| t.shape.dims()).unwrap_or_default()
        };
        let all = elements(&dims);
        let inner = |n: usize| elements(source(n).get(1..).unwrap_or(&[]));
        let flops = match &tensor.op {
            Op::Conv(_) => 2.0 * all * inner(1),
            Op::ConvTranspose(_) => 2.0 * elements(&source(0)) * inner(1),
            Op::MatMul => 2.0 * all * source(0).last().copied().unwrap_or(1) as f64,
            Op::Softmax(_) | Op::LogSoftmax(_) | Op::LayerNorm { .. } => 10.0 * all,
            Op::Reduce { .. } | Op::Pool(_) | Op::ArgReduce { .. } => elements(&source(0)),
            Op::Unary(_) | Op::Binary(_) | Op::Where | Op::Cast(_) | Op::Resize(_) => all,
            _ => 0.0,
        };
        let moves = !matches!(tensor.op, Op::Reshape | Op::Input(_) | Op::Weight(_));
        let cost = out.entry(tensor.origin.to_string()).or_default();
        cost.flops += flops;
        if moves {
            cost.bytes += all * tensor.dtype.size() as f64;
        }
    }
    out
}

/// Shares of a launch's nodes by what each costs on its own; they add up to 1.
pub fn shares(origins: &[Origin], costs: &Costs, facts: &Facts) -> Vec<f64> {
    divide(origins, &[], costs, facts)
}

/// The same where the operations that each node has in this launch are known.
fn divide(origins: &[Origin], flops: &[f64], costs: &Costs, facts: &Facts) -> Vec<f64> {
    let seconds: Vec<f64> = origins
        .iter()
        .enumerate()
        .map(|(n, o)| {
            let mut cost = costs.get(&o.to_string()).copied().unwrap_or_default();
            cost.flops = flops.get(n).copied().unwrap_or(cost.flops);
            cost.seconds(facts)
        })
        .collect();
    let total: f64 = seconds.iter().sum();
    match total > 0.0 {
        true => seconds.iter().map(|s| s / total).collect(),
        false => vec![1.0 / origins.len().max(1) as f64; origins.len()],
    }
}

/// Operations of each node in each launch, in the order of the launches' origins.
///
/// A node may be listed by several launches of which one does nearly all of it (the others prepare its input). Known are the
/// operations of each node and those of each launch: the table between them is scaled by rows and by columns in turns until
/// it agrees with both.
fn operations(launches: &[(f64, Vec<f64>, Vec<String>)]) -> Vec<Vec<f64>> {
    let mut table: Vec<Vec<f64>> = launches.iter().map(|l| l.1.clone()).collect();
    for _ in 0..ROUNDS {
        for ((all, _, _), row) in launches.iter().zip(&mut table) {
            let sum: f64 = row.iter().sum();
            if sum > 0.0 {
                row.iter_mut().for_each(|x| *x *= all / sum);
            }
        }
        let mut sums: FxHashMap<&str, f64> = FxHashMap::default();
        for ((_, _, names), row) in launches.iter().zip(&table) {
            for (name, x) in names.iter().zip(row) {
                *sums.entry(name).or_default() += x;
            }
        }
        for ((_, costs, names), row) in launches.iter().zip(&mut table) {
            for ((x, cost), name) in row.iter_mut().zip(costs).zip(names) {
                let sum = sums.get(name.as_str()).copied().unwrap_or(0.0);
                if sum > 0.0 {
                    *x *= cost / sum;
                }
            }
        }
    }
    table
}

/// Divides the seconds of launches among nodes.
pub fn nodes(built: &Built, seconds: &[f64], costs: &Costs, facts: &Facts) -> Vec<Node> {
    let total: f64 = seconds.iter().sum();
    let mut out: Vec<Node> = Vec::new();
    let mut place: FxHashMap<String, usize> = FxHashMap::default();
    let launches: Vec<(f64, Vec<f64>, Vec<String>)> = built
        .program
        .steps
        .iter()
        .map(|step| {
            let names: Vec<String> = step.origins.iter().map(Origin::to_string).collect();
            let cost = |name: &String| costs.get(name).map_or(0.0, |c| c.flops);
            let flops = built.linear.get(step.kernel).map_or(0, |k| k.flops);
            (flops as f64, names.iter().map(cost).collect(), names)
        })
        .collect();
    let operations = operations(&launches);
    for (n, (step, s)) in built.program.steps.iter().zip(seconds).enumerate() {
        let name = built.linear.get(step.kernel).map_or("", |k| &k.name);
        let none = [Origin::new("", "", "")];
        let origins = match &step.origins[..] {
            [] => &none[..],
            list => list,
        };
        let flops = operations.get(n).map_or(&[][..], Vec::as_slice);
        let shares = divide(origins, flops, costs, facts);
        for (origin, share) in origins.iter().zip(shares) {
            let text = match origin.is_empty() {
                // A model that was built without names.
                true => format!("({name})"),
                false => origin.to_string(),
            };
            let at = *place.entry(text.clone()).or_insert(out.len());
            if at == out.len() {
                out.push(Node {
                    op: origin.op_type.to_string(),
                    ms: 0.0,
                    share: 0.0,
                    gflop: costs.get(&text).map_or(0.0, |c| c.flops * 1e-9),
                    first_launch: n,
                    kernels: Vec::new(),
                    node: text,
                });
            }
            let node = &mut out[at];
            node.ms += s * share * 1e3;
            node.share = node.ms * 1e-3 / total;
            if !node.kernels.iter().any(|k| k == name) {
                node.kernels.push(name.to_string());
            }
        }
    }
    out.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    out
}

/// Nodes for people.
pub fn table(nodes: &[Node], runs: usize) -> String {
    let longest = nodes.iter().map(|n| n.node.chars().count()).max();
    let width = longest.unwrap_or(0).clamp(4, 56);
    let mut out = String::new();
    let _ = writeln!(
        out,
        "{:<width$}  {:>9}  {:>6}  {:>8}  kernels",
        "node", "ms", "share", "GFLOP/s"
    );
    for n in nodes {
        let name: String = n.node.chars().take(width).collect();
        let _ = writeln!(
            out,
            "{name:<width$}  {:>9.4}  {:>4.1} %  {:>8.1}  {}",
            n.ms,
            n.share * 100.0,
            n.gflop / (n.ms * 1e-3),
            n.kernels.join(", ")
        );
    }
    let total: f64 = nodes.iter().map(|n| n.ms).sum();
    let _ = writeln!(
        out,
        "total {total:.4} ms; medians of {runs} runs on one thread; a kernel's time is divided among its nodes by estimated cost"
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(name: &str, op: &str) -> Origin {
        Origin::new(name, op, "")
    }

    #[test]
    fn time_goes_where_the_operations_are() {
        let facts = Facts::default();
        let (conv, relu) = (origin("c", "Conv"), origin("r", "Relu"));
        let mut costs = Costs::default();
        let cost = |flops, bytes| Cost { flops, bytes };
        costs.insert(conv.to_string(), cost(99e6, 0.0));
        costs.insert(relu.to_string(), cost(1e6, 0.0));
        let list = shares(&[conv, relu], &costs, &facts);
        assert!((list[0] - 0.99).abs() < 1e-9 && (list[1] - 0.01).abs() < 1e-9);
        let unknown = [origin("a", "A"), origin("b", "B")];
        assert_eq!(shares(&unknown, &costs, &facts), [0.5, 0.5]);
        assert!(shares(&[], &costs, &facts).is_empty());
    }

    #[test]
    fn operations_go_to_the_launch_that_does_them() {
        // The first launch computes `a` and prepares the input of `b`, the second computes `b`.
        let launch = |flops: f64, names: &[&str]| {
            let costs = vec![100.0; names.len()];
            (
                flops,
                costs,
                names.iter().map(|n| (*n).to_string()).collect(),
            )
        };
        let table = operations(&[launch(100.0, &["a", "b"]), launch(100.0, &["b"])]);
        assert!(table[0][0] > 95.0 && table[0][1] < 5.0, "{table:?}");
        assert!(table[1][0] > 95.0, "{table:?}");
    }

    #[test]
    fn convolutions_cost_what_they_multiply() {
        let mut graph = tinyc_models::by_name("mnist").unwrap();
        for (n, tensor) in graph.tensors.iter_mut().enumerate() {
            tensor.origin = Origin::new(&format!("n{n}"), "Op", "").into();
        }
        let all: f64 = costs(&graph).values().map(|c| c.flops).sum();
        // The digit model has some hundred thousand operations.
        assert!((1e4..1e8).contains(&all), "{all}");
    }

    #[test]
    fn a_table_reads_well() {
        let node = |name: &str, op: &str, ms: f64| Node {
            node: format!("{op} '{name}'"),
            op: op.into(),
            ms,
            share: ms / 4.0,
            gflop: 0.1,
            first_launch: 0,
            kernels: vec!["k0".into(), "k1".into()],
        };
        let nodes = [node("conv1", "Conv", 3.0), node("relu", "Relu", 1.0)];
        insta::assert_snapshot!(table(&nodes, 7));
    }
}
