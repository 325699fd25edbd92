//! What readers' columns make of stored tensors, on small graphs.
#![allow(clippy::unwrap_used)]

use crate::graph::{Builder, TensorId, decompose, simplify_movement};
use crate::program::Program;
use crate::schedule::schedule;
use crate::target::Facts;
use crate::uop::{DType, Op};

fn scheduled(b: Builder) -> Program {
    let graph = simplify_movement(&decompose(&b.finish()).unwrap()).unwrap();
    schedule(&graph, &Facts::default(), "t").unwrap()
}

fn weight(b: &mut Builder, dims: &[i64]) -> TensorId {
    let values = vec![0.5; dims.iter().product::<i64>() as usize];
    b.floats("w", dims, &values).unwrap()
}

/// Shapes and innermost physical dimensions of what kernels hand each other.
fn stored(program: &Program) -> Vec<(Vec<i64>, usize)> {
    let mut out = Vec::new();
    for step in &program.steps {
        for param in &program.kernels[step.kernel].params {
            if param.access == crate::program::Access::Write {
                let inner = param.layout.axes.iter().rfind(|a| a.extent > 1);
                out.push((param.layout.shape.clone(), inner.map_or(0, |a| a.dim)));
            }
        }
    }
    out
}

/// Queries times keys, both parts of one tensor `[rows, 2*size]`.
fn scores(size: i64, rows: i64) -> Program {
    let mut b = Builder::new("t");
    let x = b.input("x", DType::F32, &[rows, size]).unwrap();
    let w = weight(&mut b, &[size, 2 * size]);
    let both = b.matmul(x, w).unwrap();
    let q = b.slice(both, 1, 0, size).unwrap();
    let k = b.slice(both, 1, size, size).unwrap();
    let k = b.permute(k, &[1, 0]).unwrap();
    let y = b.matmul(q, k).unwrap();
    b.output("y", y);
    scheduled(b)
}

#[test]
fn keys_in_one_tensor_with_queries_are_copied() {
    let program = scores(32, 64);
    // The product of both, a copy of the keys, the scores.
    assert_eq!(program.steps.len(), 3, "{:?}", stored(&program));
    let copies: Vec<_> = stored(&program);
    let (shape, inner) = &copies[1];
    assert_eq!(shape.iter().product::<i64>(), 32 * 64);
    assert_eq!(shape[*inner], 64, "keys lie side by side: {shape:?}");
}

#[test]
fn a_few_rows_are_not_worth_a_copy() {
    let program = scores(32, 4);
    assert_eq!(program.steps.len(), 2, "{:?}", stored(&program));
}

#[test]
fn terms_of_a_sum_keep_their_order() {
    // One column: the product is no larger than its factor, and its rows are summed.
    let mut b = Builder::new("t");
    let x = b.input("x", DType::F32, &[64, 48]).unwrap();
    let w = weight(&mut b, &[48, 32]);
    let h = b.matmul(x, w).unwrap();
    let v = weight(&mut b, &[32, 1]);
    let y = b.matmul(h, v).unwrap();
    b.output("y", y);
    let all = stored(&scheduled(b));
    let (shape, inner) = &all[0];
    assert_eq!(shape[*inner], 32, "{shape:?}");
}

/// A product of 96 columns, as heads of `piece` of them that come first.
fn heads(piece: i64) -> usize {
    let mut b = Builder::new("t");
    let x = b.input("x", DType::F32, &[64, 48]).unwrap();
    let w = weight(&mut b, &[48, 96]);
    let y = b.matmul(x, w).unwrap();
    let y = b.reshape(y, &[64, 96 / piece, piece]).unwrap();
    let y = b.permute(y, &[1, 0, 2]).unwrap();
    b.output("y", y);
    scheduled(b).steps.len()
}

#[test]
fn products_are_cut_into_whole_vectors_only() {
    assert_eq!(heads(32), 1);
    assert_eq!(heads(24), 2);
}

/// A convolution to `channels * 4`, whose channels become blocks of 2 x 2 pixels: true when the output is a copy.
fn is_copied(channels: i64) -> bool {
    let mut b = Builder::new("t");
    let x = b.input("x", DType::F32, &[1, 16, 24, 24]).unwrap();
    let w = weight(&mut b, &[4 * channels, 16, 1, 1]);
    let y = b.conv2d(x, w, None, 1, 0, 1).unwrap();
    let y = b.reshape(y, &[1, channels, 2, 2, 24, 24]).unwrap();
    let y = b.permute(y, &[0, 1, 4, 2, 5, 3]).unwrap();
    let y = b.reshape(y, &[1, channels, 48, 48]).unwrap();
    b.output("y", y);
    let program = scheduled(b);
    let last = &program.kernels[program.steps.last().unwrap().kernel];
    let g = &last.uops;
    let nest = *g.src(last.sink).last().unwrap();
    let nodes = g.toposort(&[nest]);
    !nodes.iter().any(|&n| matches!(g.op(n), Op::Reduce(_)))
}

#[test]
fn channels_that_become_neighbouring_pixels_are_stored() {
    assert!(is_copied(1));
    assert!(is_copied(3));
}

#[test]
fn rows_have_room_for_the_vectors_of_their_readers() {
    let mut b = Builder::new("t");
    let x = b.input("x", DType::F32, &[1, 1, 28, 28]).unwrap();
    let w = weight(&mut b, &[6, 1, 5, 5]);
    let y = b.conv2d(x, w, None, 1, 2, 1).unwrap();
    let y = b.relu(y).unwrap();
    let y = b.max_pool2d(y, 2, 2, 0).unwrap();
    b.output("y", y);
    let program = scheduled(b);
    let rows: Vec<i64> = program
        .steps
        .iter()
        .flat_map(|s| &program.kernels[s.kernel].params)
        .filter(|p| p.access == crate::program::Access::Write && p.layout.shape.len() == 4)
        .filter_map(|p| p.layout.axes.last().map(|a| a.extent))
        .collect();
    // The image with zeros around it, 32 columns and the 4 more that windows of whole vectors reach; the convolution's 28 in two
    // vectors; the output as it must be.
    assert_eq!(rows, [36, 32, 14]);
    let params = program.kernels.iter().flat_map(|k| &k.params);
    let blocks = params.filter(|p| !p.weight).flat_map(|p| &p.layout.axes);
    assert!(blocks.into_iter().all(|a| a.div == 1));
}
