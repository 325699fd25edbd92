//! Order of the nodes of one graph.
//!
//! In: nodes and a test for names that exist before any of them runs. Out: indices in an order in which
//! every node comes after those that it reads from, as close to the file's order as possible. A name
//! that nobody defines, a name defined twice and a cycle are errors that name it.
//!
//! Example: nodes `b = f(a)`, `a = g(x)` with `x` given come out as `[1, 0]`.

use super::proto::{GraphProto, NodeProto};
use crate::diag::{Error, Origin, Result};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

/// What a node is called in messages.
pub(super) fn origin(node: &NodeProto) -> Origin {
    let tensor = node.output.iter().find(|o| !o.is_empty());
    Origin::new(&node.name, &node.op_type, tensor.map_or("", String::as_str))
}

/// See the module.
pub(super) fn order(nodes: &[NodeProto], given: &dyn Fn(&str) -> bool) -> Result<Vec<usize>> {
    let mut producer: HashMap<&str, usize> = HashMap::new();
    let mut errors = Vec::new();
    for (i, node) in nodes.iter().enumerate() {
        for name in node.output.iter().filter(|o| !o.is_empty()) {
            if producer.insert(name, i).is_some() {
                errors.push(
                    Error::model(format!("tensor '{name}' is defined twice")).at(&origin(node)),
                );
            }
        }
    }
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    let mut waits = vec![0usize; nodes.len()];
    for (i, node) in nodes.iter().enumerate() {
        let mut seen = HashSet::new();
        let mut read: Vec<&str> = node.input.iter().map(String::as_str).collect();
        for a in &node.attribute {
            for g in a.g.iter().chain(&a.graphs) {
                free_names(g, &mut read);
            }
        }
        for name in read {
            if name.is_empty() || !seen.insert(name) {
                continue;
            }
            // A local definition wins over an outer one of the same name only when it exists at all.
            if let Some(&p) = producer.get(name) {
                users[p].push(i);
                waits[i] += 1;
            } else if !given(name) {
                errors.push(
                    Error::model(format!("tensor '{name}' is read but nobody defines it"))
                        .at(&origin(node)),
                );
            }
        }
    }
    if let Some(error) = Error::all(errors) {
        return Err(error);
    }
    let mut ready: BinaryHeap<Reverse<usize>> = (0..nodes.len())
        .filter(|&i| waits[i] == 0)
        .map(Reverse)
        .collect();
    let mut out = Vec::with_capacity(nodes.len());
    while let Some(Reverse(i)) = ready.pop() {
        out.push(i);
        for &u in &users[i] {
            waits[u] -= 1;
            if waits[u] == 0 {
                ready.push(Reverse(u));
            }
        }
    }
    if out.len() == nodes.len() {
        return Ok(out);
    }
    let stuck = waits.iter().position(|&w| w > 0).unwrap_or(0);
    let count = nodes.len() - out.len();
    Err(Error::model(format!(
        "the graph is cyclic: {count} nodes wait for each other"
    ))
    .at(&origin(&nodes[stuck])))
}

/// Names that a graph reads from the scopes around it.
fn free_names<'m>(graph: &'m GraphProto, out: &mut Vec<&'m str>) {
    let mut inner: HashSet<&str> = HashSet::new();
    inner.extend(graph.input.iter().map(|v| v.name.as_str()));
    inner.extend(graph.initializer.iter().map(|t| t.name.as_str()));
    inner.extend(
        graph
            .sparse_initializer
            .iter()
            .filter_map(|t| t.values.as_ref().map(|v| v.name.as_str())),
    );
    for node in &graph.node {
        inner.extend(node.output.iter().map(String::as_str));
    }
    let mut read: Vec<&str> = graph.output.iter().map(|v| v.name.as_str()).collect();
    for node in &graph.node {
        read.extend(node.input.iter().map(String::as_str));
        for a in &node.attribute {
            for g in a.g.iter().chain(&a.graphs) {
                free_names(g, &mut read);
            }
        }
    }
    out.extend(
        read.into_iter()
            .filter(|n| !n.is_empty() && !inner.contains(n)),
    );
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::diag::Kind;

    fn node(input: &str, output: &str) -> NodeProto {
        NodeProto {
            op_type: "Relu".into(),
            input: vec![input.into()],
            output: vec![output.into()],
            ..Default::default()
        }
    }

    fn sort(nodes: &[NodeProto]) -> Result<Vec<usize>> {
        order(nodes, &|n| n == "x")
    }

    #[test]
    fn nodes_come_after_what_they_read() {
        assert_eq!(sort(&[node("a", "b"), node("x", "a")]).unwrap(), [1, 0]);
        let kept = [node("x", "a"), node("x", "b"), node("a", "c")];
        assert_eq!(sort(&kept).unwrap(), [0, 1, 2]);
    }

    #[test]
    fn cycles_and_wrong_names_are_model_errors() {
        for (nodes, text) in [
            (vec![node("b", "a"), node("a", "b")], "cyclic"),
            (vec![node("a", "a")], "cyclic"),
            (vec![node("y", "a")], "'y'"),
            (vec![node("x", "a"), node("x", "a")], "twice"),
        ] {
            let error = sort(&nodes).unwrap_err();
            assert_eq!(error.kind, Kind::Model);
            assert!(error.message.contains(text), "{error}");
        }
    }
}
