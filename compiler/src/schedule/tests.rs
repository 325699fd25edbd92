//! What is stored and what is not, on small graphs.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::graph::{Shape, Tensor};
use crate::program::{Bytes, Weight};
use crate::uop::{Binary, ReduceOp, Unary};

fn facts() -> Facts {
    Facts::default()
}

/// Builds graphs by hand: shapes are given, not inferred.
#[derive(Default)]
struct Hand(Graph);

impl Hand {
    fn add(&mut self, op: Op, src: &[TensorId], dims: &[i64]) -> TensorId {
        self.0.tensors.push(Tensor {
            op,
            src: src.iter().copied().collect(),
            shape: Shape::known(dims),
            dtype: DType::F32,
            origin: Default::default(),
            channels: None,
        });
        TensorId(self.0.tensors.len() as u32 - 1)
    }
    fn input(&mut self, dims: &[i64]) -> TensorId {
        let n = self.0.inputs.len() as u32;
        let id = self.add(Op::Input(n), &[], dims);
        self.0.inputs.push((format!("in{n}"), id));
        id
    }
    fn weight(&mut self, dims: &[i64]) -> TensorId {
        let n = self.0.weights.len() as u32;
        let bytes = Bytes::new(vec![0u8; dims.iter().product::<i64>() as usize * 4]);
        self.0.weights.push(Weight {
            name: format!("w{n}"),
            dtype: DType::F32,
            shape: dims.to_vec(),
            bytes,
        });
        self.add(Op::Weight(n), &[], dims)
    }
    fn output(&mut self, id: TensorId) {
        let n = self.0.outputs.len();
        self.0.outputs.push((format!("out{n}"), id));
    }
    /// `a [m,k] x b [k,n]` as `decompose` writes it.
    fn matmul(&mut self, a: TensorId, b: TensorId, m: i64, k: i64, n: i64) -> TensorId {
        let a = self.add(Op::Reshape, &[a], &[m, 1, k]);
        let a = self.add(Op::Expand, &[a], &[m, n, k]);
        let b = self.add(Op::Permute(vec![1, 0]), &[b], &[n, k]);
        let b = self.add(Op::Reshape, &[b], &[1, n, k]);
        let b = self.add(Op::Expand, &[b], &[m, n, k]);
        let p = self.add(Op::Binary(Binary::Mul), &[a, b], &[m, n, k]);
        self.add(
            Op::Reduce {
                op: ReduceOp::Sum,
                axes: vec![2],
            },
            &[p],
            &[m, n],
        )
    }
    fn softmax(&mut self, x: TensorId, rows: i64, n: i64) -> TensorId {
        let max = self.add(
            Op::Reduce {
                op: ReduceOp::Max,
                axes: vec![1],
            },
            &[x],
            &[rows],
        );
        let max = self.add(Op::Reshape, &[max], &[rows, 1]);
        let max = self.add(Op::Expand, &[max], &[rows, n]);
        let d = self.add(Op::Binary(Binary::Sub), &[x, max], &[rows, n]);
        let e = self.add(Op::Unary(Unary::Exp), &[d], &[rows, n]);
        let sum = self.add(
            Op::Reduce {
                op: ReduceOp::Sum,
                axes: vec![1],
            },
            &[e],
            &[rows],
        );
        let sum = self.add(Op::Reshape, &[sum], &[rows, 1]);
        let sum = self.add(Op::Expand, &[sum], &[rows, n]);
        self.add(Op::Binary(Binary::Div), &[e, sum], &[rows, n])
    }
    fn schedule(&self) -> Program {
        schedule(&self.0, &facts(), "test").unwrap()
    }
}

#[test]
fn softmax_is_one_kernel() {
    let mut h = Hand::default();
    let x = h.input(&[8, 128]);
    let y = h.softmax(x, 8, 128);
    h.output(y);
    let program = h.schedule();
    assert_eq!(program.steps.len(), 1);
    let kernel = &program.kernels[0];
    let reduces = kernel
        .uops
        .toposort(&[kernel.sink])
        .into_iter()
        .filter(|&id| matches!(kernel.uops.op(id), U::Reduce(_)))
        .count();
    assert_eq!(reduces, 2);
    // The row's range comes first.
    let row = kernel
        .uops
        .toposort(&[kernel.sink])
        .into_iter()
        .find(|&id| matches!(kernel.uops.op(id), U::Range { id: 0, .. }))
        .unwrap();
    assert_eq!(kernel.uops.extent(row), Some(8));
}

#[test]
fn a_matmul_keeps_its_epilogue_and_stores_for_the_next() {
    let mut h = Hand::default();
    let x = h.input(&[32, 64]);
    let (w1, w2) = (h.weight(&[64, 64]), h.weight(&[64, 64]));
    let y = h.matmul(x, w1, 32, 64, 64);
    let y = h.add(Op::Unary(Unary::Tanh), &[y], &[32, 64]);
    let z = h.matmul(y, w2, 32, 64, 64);
    let z = h.add(Op::Unary(Unary::Tanh), &[z], &[32, 64]);
    h.output(z);
    let program = h.schedule();
    assert_eq!(program.steps.len(), 2);
    assert!(program.kernels.len() <= 2);
    let stored = program
        .buffers
        .iter()
        .filter(|b| matches!(b.kind, BufferKind::Internal))
        .count();
    assert_eq!(stored, 1);
}

#[test]
fn attention_scores_are_stored_before_softmax() {
    let mut h = Hand::default();
    let (q, k) = (h.input(&[16, 8]), h.input(&[8, 20]));
    let s = h.matmul(q, k, 16, 8, 20);
    let p = h.softmax(s, 16, 20);
    h.output(p);
    let program = h.schedule();
    assert_eq!(program.steps.len(), 2);
    // Rows that a contraction writes are padded to whole vectors only where little is lost: 20 stays.
    let scores = program
        .buffers
        .iter()
        .find(|b| matches!(b.kind, BufferKind::Internal))
        .unwrap();
    assert_eq!(scores.layout.elements(), 16 * 20);
}

#[test]
fn equal_layers_make_equal_kernels() {
    let mut h = Hand::default();
    let mut x = h.input(&[16, 16]);
    for _ in 0..4 {
        let w = h.weight(&[16, 16]);
        x = h.matmul(x, w, 16, 16, 16);
    }
    h.output(x);
    let program = h.schedule();
    assert_eq!(program.steps.len(), 4);
    let nodes = |n: usize| {
        let k: &Kernel = &program.kernels[n];
        k.uops
            .toposort(&[k.sink])
            .into_iter()
            .map(|id| k.uops.get(id).clone())
            .collect::<Vec<Node>>()
    };
    assert_eq!(nodes(1), nodes(2));
}

#[test]
fn concat_writes_its_parts_in_place() {
    let mut h = Hand::default();
    let (a, b) = (h.input(&[4, 3]), h.input(&[2, 3]));
    let a = h.add(Op::Unary(Unary::Exp), &[a], &[4, 3]);
    let y = h.add(Op::Concat(0), &[a, b], &[6, 3]);
    h.output(y);
    let program = h.schedule();
    assert_eq!(program.steps.len(), 1);
    let kernel = &program.kernels[0];
    assert_eq!(kernel.uops.src(kernel.sink).len(), 2);
}

#[test]
fn scatter_is_a_copy_and_a_serial_step() {
    let mut h = Hand::default();
    let (data, at, updates) = (h.input(&[5, 3]), h.input(&[2]), h.input(&[2, 3]));
    h.0.tensors[at.0 as usize].dtype = DType::I64;
    let y = h.add(Op::Scatter(None), &[data, at, updates], &[5, 3]);
    h.output(y);
    let program = h.schedule();
    assert_eq!(program.steps.len(), 3);
    let serial = &program.kernels[program.steps[1].kernel];
    assert!(
        serial
            .uops
            .toposort(&[serial.sink])
            .iter()
            .any(|&id| matches!(
                serial.uops.op(id),
                U::Range {
                    axis: crate::uop::Axis::Serial,
                    ..
                }
            ))
    );
}

/// Scratch parameters and nests of each kernel.
fn shape_of(program: &Program) -> Vec<(usize, usize)> {
    let scratch = |k: &Kernel| {
        let is = |p: &&Param| p.access == Access::Scratch;
        k.params.iter().filter(is).count()
    };
    let kernels = program.kernels.iter();
    kernels
        .map(|k| (scratch(k), k.uops.src(k.sink).len()))
        .collect()
}

#[test]
fn attention_is_one_kernel_with_its_scores_in_scratch() {
    for (long, wanted) in [(600, vec![(3, 4)]), (24, vec![(0, 1), (1, 2), (0, 1)])] {
        let mut h = Hand::default();
        let (q, k, v) = (
            h.input(&[long, 16]),
            h.input(&[16, long]),
            h.input(&[long, 16]),
        );
        let s = h.matmul(q, k, long, 16, long);
        let p = h.softmax(s, long, long);
        let o = h.matmul(p, v, long, long, 16);
        h.output(o);
        let program = schedule(&h.0, &facts(), "attention").unwrap();
        assert_eq!(shape_of(&program), wanted, "{long} rows");
        for step in &program.steps {
            let kernel = &program.kernels[step.kernel];
            assert_eq!(step.args.len(), kernel.params.len());
        }
    }
}

#[test]
fn weights_larger_than_the_cache_are_not_passed_for_each_block_of_rows() {
    let mut h = Hand::default();
    let x = h.input(&[512, 512]);
    let (a, b) = (h.weight(&[512, 2048]), h.weight(&[2048, 512]));
    let y = h.matmul(x, a, 512, 512, 2048);
    let y = h.add(Op::Unary(Unary::Exp), &[y], &[512, 2048]);
    let z = h.matmul(y, b, 512, 2048, 512);
    h.output(z);
    let program = schedule(&h.0, &facts(), "mlp").unwrap();
    assert_eq!(shape_of(&program), [(0, 1), (0, 1)]);
}

#[test]
fn a_flattened_image_is_stored_as_an_image() {
    let mut h = Hand::default();
    let x = h.input(&[1, 32, 4, 3, 4, 3]);
    let op = Op::Reduce {
        op: ReduceOp::Max,
        axes: vec![3, 5],
    };
    let pool = h.add(op, &[x], &[1, 32, 4, 4]);
    h.0.tensors[pool.0 as usize].channels = Some(1);
    let flat = h.add(Op::Reshape, &[pool], &[1, 512]);
    let w = h.weight(&[512, 10]);
    let y = h.matmul(flat, w, 1, 512, 10);
    h.output(y);
    let program = h.schedule();
    assert_eq!(stored_shapes(&program), [[1, 32, 4, 4]]);
}

fn stored_shapes(program: &Program) -> Vec<Vec<i64>> {
    let internal = |b: &&Buffer| matches!(b.kind, BufferKind::Internal);
    let buffers = program.buffers.iter().filter(internal);
    buffers.map(|b| b.layout.shape.clone()).collect()
}

#[test]
fn rows_that_no_window_reads_are_not_computed() {
    let mut h = Hand::default();
    let (a, w) = (h.input(&[14, 64]), h.weight(&[64, 16]));
    let y = h.matmul(a, w, 14, 64, 16);
    let window = Op::Window {
        axis: 0,
        size: 3,
        stride: 3,
        dilation: 1,
    };
    let y = h.add(window, &[y], &[4, 3, 16]);
    let max = Op::Reduce {
        op: ReduceOp::Max,
        axes: vec![1],
    };
    let y = h.add(max, &[y], &[4, 16]);
    h.output(y);
    assert_eq!(stored_shapes(&h.schedule()), [[12, 16]]);
}

/// Windows that overlap would compute an activation several times for each element.
#[test]
fn an_activation_before_overlapping_windows_is_stored() {
    for (stride, windows, kernel) in [(1, 12, 0), (3, 4, 1)] {
        let mut h = Hand::default();
        let (a, w) = (h.input(&[14, 64]), h.weight(&[64, 16]));
        let y = h.matmul(a, w, 14, 64, 16);
        let exp = h.add(Op::Unary(Unary::Exp), &[y], &[14, 16]);
        let exp = h.add(Op::Binary(Binary::Mul), &[y, exp], &[14, 16]);
        let window = Op::Window {
            axis: 0,
            size: 3,
            stride,
            dilation: 1,
        };
        let read = h.add(window, &[exp], &[windows, 3, 16]);
        let sum = Op::Reduce {
            op: ReduceOp::Sum,
            axes: vec![1],
        };
        let y = h.add(sum, &[read], &[windows, 16]);
        h.output(y);
        let program = h.schedule();
        let has_exp = |k: &Kernel| {
            let nodes = k.uops.toposort(&[k.sink]);
            let exp = crate::uop::Op::Unary(Unary::Exp);
            nodes.into_iter().any(|n| k.uops.op(n) == exp)
        };
        assert_eq!(program.kernels.len(), 2, "stride {stride}");
        assert_eq!(program.kernels.iter().position(has_exp), Some(kernel));
    }
}

#[test]
fn a_padded_input_is_copied_and_framed() {
    let mut h = Hand::default();
    let x = h.input(&[40, 60]);
    let pads = vec![(1, 2), (0, 3)];
    let x = h.add(Op::Pad { pads, value: 0 }, &[x], &[43, 63]);
    let window = Op::Window {
        axis: 0,
        size: 3,
        stride: 1,
        dilation: 1,
    };
    let taps = h.add(window, &[x], &[41, 3, 63]);
    let w = h.weight(&[8, 3]);
    let taps = h.add(Op::Reshape, &[taps], &[1, 41, 3, 63]);
    let taps = h.add(Op::Expand, &[taps], &[8, 41, 3, 63]);
    let w = h.add(Op::Reshape, &[w], &[8, 1, 3, 1]);
    let w = h.add(Op::Expand, &[w], &[8, 41, 3, 63]);
    let product = h.add(Op::Binary(Binary::Mul), &[taps, w], &[8, 41, 3, 63]);
    let sum = Op::Reduce {
        op: ReduceOp::Sum,
        axes: vec![2],
    };
    let y = h.add(sum, &[product], &[8, 41, 63]);
    h.output(y);
    let program = h.schedule();
    assert_eq!(stored_shapes(&program), [[43, 63]]);
    // What is inside, and slabs above, below and to the right.
    assert_eq!(shape_of(&program)[0], (0, 4));
}
