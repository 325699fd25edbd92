//! What the benchmarks of the compiler's own speed compile.
//!
//! In: a number of nodes. Out: a graph, or an ONNX file, of that many. Kinds differ in what they strain: a [`chain`] fuses
//! into few kernels, [`blocks`] makes many equal ones, [`distinct`] many that are all different.
//!
//! ```
//! let graph = tinyc_benches::blocks(100)?;
//! assert!(graph.tensors.len() >= 100);
//! # Ok::<(), tinyc_compiler::diag::Error>(())
//! ```

use prost::Message;
use tinyc_compiler::codegen;
use tinyc_compiler::diag::Result;
use tinyc_compiler::driver::fingerprint;
use tinyc_compiler::graph::{self, Builder, Graph};
use tinyc_compiler::onnx::proto::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto, TypeProto,
    ValueInfoProto, tensor_shape_proto, type_proto,
};
use tinyc_compiler::program::{Kernel, LinearKernel, Program};
use tinyc_compiler::target::Facts;
use tinyc_compiler::uop::{Binary, DType, ReduceOp, Unary};
use tinyc_compiler::{opt, schedule};

/// Elements of a tensor of [`chain`]; side of a matrix of [`blocks`].
const SIDE: i64 = 64;

/// Elementwise nodes, each on the result of the one before.
pub fn chain(nodes: usize) -> Result<Graph> {
    let mut b = Builder::new("chain");
    let mut x = b.input("x", DType::F32, &[SIDE])?;
    for n in 0..nodes {
        x = match n % 4 {
            0 => b.unary(Unary::Abs, x)?,
            1 => b.unary(Unary::Sqrt, x)?,
            2 => b.relu(x)?,
            _ => b.add(x, x)?,
        };
    }
    b.output("y", x);
    Ok(b.finish())
}

/// Residual blocks of four nodes: product with one shared matrix, rectifier, scale, sum with what came in.
pub fn blocks(nodes: usize) -> Result<Graph> {
    let mut b = Builder::new("blocks");
    let mut x = b.input("x", DType::F32, &[SIDE, SIDE])?;
    let values: Vec<f32> = (0..SIDE * SIDE).map(|i| (i % 7) as f32 * 0.01).collect();
    let w = b.floats("w", &[SIDE, SIDE], &values)?;
    for _ in 0..nodes / 4 {
        let y = b.matmul(x, w)?;
        let y = b.relu(y)?;
        let y = b.with_number(Binary::Mul, y, 0.5)?;
        x = b.add(x, y)?;
    }
    b.output("y", x);
    Ok(b.finish())
}

/// Residual blocks that all differ in a number, so that no two kernels are equal.
pub fn distinct(nodes: usize) -> Result<Graph> {
    let mut b = Builder::new("distinct");
    let mut x = b.input("x", DType::F32, &[SIDE, SIDE])?;
    for n in 0..nodes / 4 {
        let y = b.with_number(Binary::Mul, x, n as f64)?;
        let y = b.relu(y)?;
        let y = b.reduce(ReduceOp::Sum, y, &[1], true)?;
        x = b.add(x, y)?;
    }
    b.output("y", x);
    Ok(b.finish())
}

/// An ONNX file of elementwise nodes.
pub fn chain_onnx(nodes: usize) -> Vec<u8> {
    let value = |name: String| ValueInfoProto {
        name,
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(type_proto::Tensor {
                elem_type: 1,
                shape: Some(TensorShapeProto {
                    dim: vec![tensor_shape_proto::Dimension {
                        value: Some(tensor_shape_proto::Value::DimValue(SIDE)),
                    }],
                }),
            })),
        }),
    };
    let node = |n: usize| NodeProto {
        input: vec![format!("t{n}")],
        output: vec![format!("t{}", n + 1)],
        name: format!("node{n}"),
        op_type: ["Abs", "Sqrt", "Relu", "Neg"][n % 4].to_string(),
        ..Default::default()
    };
    ModelProto {
        ir_version: Some(10),
        opset_import: vec![OperatorSetIdProto {
            version: 21,
            ..Default::default()
        }],
        graph: Some(GraphProto {
            name: "chain".to_string(),
            node: (0..nodes).map(node).collect(),
            input: vec![value("t0".to_string())],
            output: vec![value(format!("t{nodes}"))],
            ..Default::default()
        }),
        ..Default::default()
    }
    .encode_to_vec()
}

/// Intermediate results of a compilation: what each stage starts from.
#[derive(Debug)]
pub struct Stages {
    /// As imported or built.
    pub graph: Graph,
    /// After the graph passes.
    pub primitives: Graph,
    /// As scheduled.
    pub program: Program,
    /// Distinct kernels as scheduled.
    pub scheduled: Vec<Kernel>,
    /// The same, optimised.
    pub optimised: Vec<Kernel>,
    /// The same as lists.
    pub lists: Vec<LinearKernel>,
}

impl Stages {
    /// Runs all stages once.
    pub fn of(graph: Graph, facts: &Facts) -> Result<Stages> {
        let primitives = graph_passes(&graph)?;
        let program = schedule::schedule(&primitives, facts, "bench")?;
        let mut seen = std::collections::HashSet::new();
        let mut scheduled = program.kernels.clone();
        scheduled.retain(|k| seen.insert(fingerprint(k)));
        let optimised = optimise(&scheduled, facts)?;
        let lists = lower(&optimised, facts)?;
        Ok(Stages {
            graph,
            primitives,
            program,
            scheduled,
            optimised,
            lists,
        })
    }
}

/// The graph passes of the driver.
pub fn graph_passes(graph: &Graph) -> Result<Graph> {
    graph::fold(&graph::decompose(&graph::fold(graph)?)?)
}

/// The opts of every kernel, on one thread.
pub fn optimise(kernels: &[Kernel], facts: &Facts) -> Result<Vec<Kernel>> {
    kernels
        .iter()
        .map(|k| opt::optimise(k, facts).map(|done| done.0))
        .collect()
}

/// The code of every kernel, on one thread.
pub fn lower(kernels: &[Kernel], facts: &Facts) -> Result<Vec<LinearKernel>> {
    kernels.iter().map(|k| codegen::lower(k, facts)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tinyc_compiler::onnx;

    #[test]
    fn every_kind_goes_through_every_stage() {
        let facts = Facts::default();
        for graph in [chain(40), blocks(40), distinct(40)] {
            let stages = Stages::of(graph.unwrap(), &facts).unwrap();
            assert!(!stages.lists.is_empty());
            assert_eq!(stages.lists.len(), stages.scheduled.len());
        }
    }

    #[test]
    fn blocks_share_kernels_and_distinct_ones_do_not() {
        let facts = Facts::default();
        let shared = Stages::of(blocks(400).unwrap(), &facts).unwrap();
        let apart = Stages::of(distinct(400).unwrap(), &facts).unwrap();
        assert!(shared.scheduled.len() <= 3, "{}", shared.scheduled.len());
        assert!(apart.scheduled.len() >= 50, "{}", apart.scheduled.len());
    }

    #[test]
    fn the_file_imports() {
        let imported = onnx::load_bytes(chain_onnx(40), &onnx::LoadOptions::default()).unwrap();
        assert!(imported.graph.tensors.len() > 40);
    }
}
