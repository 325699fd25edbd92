//! Tests: an optimised kernel computes what the scheduled one does, on small networks.
#![allow(clippy::unwrap_used, clippy::panic)]

use crate::graph::{Graph, Op, Shape, Tensor, TensorId};
use crate::opt::{Choices, optimise_with};
use crate::program::interp::{Scalar, run_kernel};
use crate::program::{Access, Bytes, Kernel, Layout, Weight};
use crate::search::Point;
use crate::target::{Facts, Gpu};
use crate::uop::{Binary, DType, ReduceOp, Unary};
use proptest::prelude::*;

fn facts(registers: u32, bytes: u32) -> Facts {
    Facts {
        vector_bytes: bytes,
        vector_registers: registers,
        broadcast_operand: registers > 16,
        channel_block: bytes / 4,
        parallel_threshold: 256,
        l1_bytes: 256,
        ..Facts::default()
    }
}

/// A device with so many processors for work-groups: many keep few threads busy with long sums, few take large tiles.
fn device(units: u32) -> Facts {
    Facts {
        channel_block: 1,
        gpu: Some(Gpu {
            wave_lanes: 8,
            group_threads: 256,
            compute_units: units,
            unit_waves: 8,
            thread_registers: 256,
            unit_registers: 1 << 16,
            group_memory_bytes: 1 << 16,
            group_memory_banks: 32,
            load_bytes: 16,
            matrix_tiles: Vec::new(),
        }),
        ..facts(64, 16)
    }
}

/// Builds graphs of primitives by hand.
#[derive(Default)]
struct Hand(Graph);

impl Hand {
    fn add(&mut self, op: Op, src: &[TensorId], dims: &[i64]) -> TensorId {
        let channels = src.iter().find_map(|s| {
            let t = self.0.tensor(*s);
            t.channels.filter(|_| t.shape.rank() == dims.len())
        });
        self.0.tensors.push(Tensor {
            op,
            src: src.iter().copied().collect(),
            shape: Shape::known(dims),
            dtype: DType::F32,
            origin: Default::default(),
            channels,
        });
        TensorId(self.0.tensors.len() as u32 - 1)
    }
    fn dims(&self, id: TensorId) -> Vec<i64> {
        self.0.dims(id).unwrap()
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
    fn broadcast(&mut self, id: TensorId, with_ones: &[i64], to: &[i64]) -> TensorId {
        let r = self.add(Op::Reshape, &[id], with_ones);
        self.add(Op::Expand, &[r], to)
    }
    fn matmul(&mut self, a: TensorId, b: TensorId) -> TensorId {
        let (m, k) = (self.dims(a)[0], self.dims(a)[1]);
        let n = self.dims(b)[1];
        let a = self.broadcast(a, &[m, 1, k], &[m, n, k]);
        let b = self.add(Op::Permute(vec![1, 0]), &[b], &[n, k]);
        let b = self.broadcast(b, &[1, n, k], &[m, n, k]);
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
    /// Convolution of [1,c,h,w] with groups.
    fn conv(
        &mut self,
        x: TensorId,
        oc: i64,
        k: i64,
        stride: i64,
        pad: i64,
        groups: i64,
    ) -> TensorId {
        let d = self.dims(x);
        let (c, h, w) = (d[1], d[2], d[3]);
        let weight = self.weight(&[oc, c / groups, k, k]);
        let bias = self.weight(&[oc]);
        let mut x = x;
        let (ph, pw) = (h + 2 * pad, w + 2 * pad);
        if pad > 0 {
            x = self.add(
                Op::Pad {
                    pads: vec![(0, 0), (0, 0), (pad, pad), (pad, pad)],
                    value: 0,
                },
                &[x],
                &[1, c, ph, pw],
            );
        }
        let (oh, ow) = ((ph - k) / stride + 1, (pw - k) / stride + 1);
        let (icg, ocg) = (c / groups, oc / groups);
        let x = self.add(
            Op::Window {
                axis: 2,
                size: k,
                stride,
                dilation: 1,
            },
            &[x],
            &[1, c, oh, k, pw],
        );
        let x = self.add(
            Op::Window {
                axis: 4,
                size: k,
                stride,
                dilation: 1,
            },
            &[x],
            &[1, c, oh, k, ow, k],
        );
        let x = self.add(Op::Reshape, &[x], &[1, groups, icg, oh, k, ow, k]);
        let x = self.add(
            Op::Permute(vec![0, 1, 3, 5, 2, 4, 6]),
            &[x],
            &[1, groups, oh, ow, icg, k, k],
        );
        let full = [1, groups, ocg, oh, ow, icg, k, k];
        let x = self.broadcast(x, &[1, groups, 1, oh, ow, icg, k, k], &full);
        let wt = self.broadcast(weight, &[1, groups, ocg, 1, 1, icg, k, k], &full);
        let p = self.add(Op::Binary(Binary::Mul), &[x, wt], &full);
        let s = self.add(
            Op::Reduce {
                op: ReduceOp::Sum,
                axes: vec![5, 6, 7],
            },
            &[p],
            &full[..5],
        );
        let s = self.add(Op::Reshape, &[s], &[1, oc, oh, ow]);
        let b = self.broadcast(bias, &[1, oc, 1, 1], &[1, oc, oh, ow]);
        let y = self.add(Op::Binary(Binary::Add), &[s, b], &[1, oc, oh, ow]);
        self.0.tensors[y.0 as usize].channels = Some(1);
        y
    }
    fn relu(&mut self, x: TensorId) -> TensorId {
        let d = self.dims(x);
        let zero = self.add(Op::Full(0), &[], &d);
        self.add(Op::Binary(Binary::Max), &[x, zero], &d)
    }
    fn softmax(&mut self, x: TensorId) -> TensorId {
        let d = self.dims(x);
        let max = self.add(
            Op::Reduce {
                op: ReduceOp::Max,
                axes: vec![1],
            },
            &[x],
            &d[..1],
        );
        let max = self.broadcast(max, &[d[0], 1], &d);
        let s = self.add(Op::Binary(Binary::Sub), &[x, max], &d);
        let e = self.add(Op::Unary(Unary::Exp), &[s], &d);
        let sum = self.add(
            Op::Reduce {
                op: ReduceOp::Sum,
                axes: vec![1],
            },
            &[e],
            &d[..1],
        );
        let sum = self.broadcast(sum, &[d[0], 1], &d);
        self.add(Op::Binary(Binary::Div), &[e, sum], &d)
    }
    fn max_pool(&mut self, x: TensorId, k: i64, stride: i64) -> TensorId {
        let d = self.dims(x);
        let (h, w) = (d[2], d[3]);
        let low = f64::NEG_INFINITY.to_bits();
        let x = self.add(
            Op::Pad {
                pads: vec![(0, 0), (0, 0), (1, 1), (1, 1)],
                value: low,
            },
            &[x],
            &[1, d[1], h + 2, w + 2],
        );
        let (oh, ow) = ((h + 2 - k) / stride + 1, (w + 2 - k) / stride + 1);
        let x = self.add(
            Op::Window {
                axis: 2,
                size: k,
                stride,
                dilation: 1,
            },
            &[x],
            &[1, d[1], oh, k, w + 2],
        );
        let x = self.add(
            Op::Window {
                axis: 4,
                size: k,
                stride,
                dilation: 1,
            },
            &[x],
            &[1, d[1], oh, k, ow, k],
        );
        let y = self.add(
            Op::Reduce {
                op: ReduceOp::Max,
                axes: vec![3, 5],
            },
            &[x],
            &[1, d[1], oh, ow],
        );
        self.0.tensors[y.0 as usize].channels = Some(1);
        y
    }
}

/// A number that depends on buffer and logical place only, whatever the layout.
fn sample(slot: usize, flat: i64) -> f64 {
    let mut x = (flat as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        ^ (slot as u64 + 1).wrapping_mul(0xD1B5_4A32_D192_ED03);
    x ^= x >> 29;
    x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x ^= x >> 32;
    f64::from(((x % 2000) as f32 - 1000.0) / 1000.0)
}

/// Logical indices, halo included.
fn places(layout: &Layout) -> Vec<(Vec<i64>, bool)> {
    let mut all = vec![(Vec::new(), true)];
    for (dim, &extent) in layout.shape.iter().enumerate() {
        let (low, high) = layout.halo_of(dim);
        all = all
            .into_iter()
            .flat_map(|(index, inside)| {
                (-low..extent + high).map(move |i| {
                    let mut next = index.clone();
                    next.push(i);
                    (next, inside && (0..extent).contains(&i))
                })
            })
            .collect();
    }
    all
}

fn fill(kernel: &Kernel) -> Vec<Vec<Scalar>> {
    kernel
        .params
        .iter()
        .enumerate()
        .map(|(slot, p)| {
            // Padding of weights is zero; other padding is poison.
            let poison = if p.weight { 0.0 } else { f64::NAN };
            let mut memory = vec![Scalar::Float(poison); p.layout.elements() as usize];
            for (n, (index, inside)) in places(&p.layout).into_iter().enumerate() {
                let value = if inside { sample(slot, n as i64) } else { 0.0 };
                memory[p.layout.place(&index) as usize] = Scalar::Float(value);
            }
            memory
        })
        .collect()
}

fn check(h: &Hand, facts: &Facts) {
    let program = crate::schedule::schedule(&h.0, facts, "test").unwrap();
    for kernel in &program.kernels {
        // Not `optimise`, which gives up what is refused: nothing may be.
        let first = Choices::default();
        let (optimised, opts) = optimise_with(kernel, facts, &first).unwrap();
        compare(kernel, &optimised);
        // And some of the ways that a search could go.
        let points = Point::default().neighbours(&opts, facts);
        let odd = points.into_iter().step_by(31 + opts.len() % 5);
        for candidate in odd.filter_map(|(_, p)| p.build(kernel, facts, usize::MAX).ok()) {
            compare(kernel, &candidate.kernel);
        }
    }
}

fn compare(kernel: &Kernel, optimised: &Kernel) {
    let (mut before, mut after) = (fill(kernel), fill(optimised));
    run_kernel(kernel, &mut before).unwrap();
    run_kernel(optimised, &mut after).unwrap();
    for (slot, (old, new)) in kernel.params.iter().zip(&optimised.params).enumerate() {
        if old.access == Access::Scratch {
            continue;
        }
        for (index, _) in places(&old.layout) {
            let x = before[slot][old.layout.place(&index) as usize];
            let y = after[slot][new.layout.place(&index) as usize];
            let (Scalar::Float(x), Scalar::Float(y)) = (x, y) else {
                panic!("not floats")
            };
            assert!(
                x == y || (x - y).abs() <= 1e-4 * (1.0 + x.abs()),
                "kernel {} slot {slot} at {index:?}: {x} and {y}",
                kernel.name
            );
        }
    }
    // A packed layout keeps elements apart.
    for p in optimised
        .params
        .iter()
        .filter(|p| p.access != Access::Scratch)
    {
        let mut seen: Vec<i64> = places(&p.layout)
            .iter()
            .map(|(i, _)| p.layout.place(i))
            .collect();
        seen.sort_unstable();
        let count = seen.len();
        seen.dedup();
        assert_eq!(seen.len(), count, "kernel {}: {:?}", kernel.name, p.layout);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn matmul_with_epilogue(m in 1i64..20, k in 1i64..9, n in 1i64..40, wide in any::<bool>()) {
        let mut h = Hand::default();
        let x = h.input(&[m, k]);
        let w = h.weight(&[k, n]);
        let y = h.matmul(x, w);
        let y = h.relu(y);
        let w2 = h.weight(&[n, 5]);
        let z = h.matmul(y, w2);
        let z = h.softmax(z);
        h.output(z);
        check(&h, &if wide { facts(32, 64) } else { facts(16, 16) });
        check(&h, &device(if wide { 1 } else { 64 }));
    }

    #[test]
    fn attention(m in 1i64..12, d in 1i64..9, n in 2i64..40) {
        let mut h = Hand::default();
        let (q, k, v) = (h.input(&[m, d]), h.input(&[d, n]), h.input(&[n, d]));
        let e = h.relu(k);
        let s = h.matmul(q, e);
        let p = h.softmax(s);
        let u = h.relu(v);
        let o = h.matmul(p, u);
        h.output(o);
        check(&h, &facts(32, 64));
        check(&h, &device(1 + 8 * (m % 2) as u32));
    }

    #[test]
    fn convolutions(c in 1i64..9, oc in 1i64..9, size in 4i64..9, k in prop::sample::select(vec![1i64, 3]), stride in 1i64..3, kind in 0u8..3) {
        let mut h = Hand::default();
        let x = h.input(&[1, 3, size, size]);
        let pad = k / 2;
        let y = h.conv(x, c, k, 1, pad, 1);
        let y = h.relu(y);
        let z = match kind {
            0 => h.conv(y, oc, k, stride, pad, 1),
            1 => h.conv(y, c, k, stride, pad, c),
            _ => h.max_pool(y, 3, stride),
        };
        let z = h.relu(z);
        let d = h.dims(z);
        let w = h.conv(z, d[1], 1, 1, 0, 1);
        let sum = h.add(Op::Binary(Binary::Add), &[w, z], &d);
        h.output(sum);
        check(&h, &facts(32, 16));
        check(&h, &device(1 + 8 * u32::from(kind)));
    }
}
