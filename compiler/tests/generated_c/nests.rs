//! Loop nests: tiles, tails, gates, gathers, scatters, arg-reduces, several threads.

use crate::harness::{Case, check, kernel, param};
use proptest::prelude::*;
use tinyc_compiler::program::Access;
use tinyc_compiler::program::interp::Scalar;
use tinyc_compiler::uop::{Axis, Binary, DType, Op, ReduceOp, Type, Unary, UopId, Uops};

fn floats(n: i64, seed: i64) -> Vec<Scalar> {
    // Small whole numbers: sums are exact in any order.
    (0..n)
        .map(|i| Scalar::Float(((i * 7 + seed * 13 + i / 5) % 17 - 8) as f64))
        .collect()
}

fn zeros(n: i64) -> Vec<Scalar> {
    vec![Scalar::Float(0.0); n as usize]
}

struct Build {
    g: Uops,
    next: u32,
}

impl Build {
    fn new() -> Build {
        Build {
            g: Uops::new(),
            next: 0,
        }
    }
    fn range(&mut self, extent: i64, axis: Axis) -> UopId {
        let n = self.g.index(extent);
        self.next += 1;
        self.g.range(self.next, n, axis)
    }
    /// outer*by + inner.
    fn split(&mut self, extent: i64, by: i64, outer: Axis, inner: Axis) -> (UopId, Vec<UopId>) {
        let o = self.range(extent / by, outer);
        let i = self.range(by, inner);
        let scaled = self.g.mul_const(o, by);
        (self.g.add(scaled, i), vec![o, i])
    }
    fn f32(&mut self, slot: u32) -> UopId {
        self.g.param(slot, DType::F32)
    }
}

/// Matmul whose rows, columns and reduce are cut by the given factors.
fn matmul(m: i64, n: i64, k: i64, rows: i64, lanes: i64, unroll: i64, workers: usize) -> Case {
    let mut b = Build::new();
    let (i, _) = b.split(m, rows, Axis::Parallel, Axis::Unroll);
    let (j, _) = b.split(n, lanes, Axis::Loop, Axis::Vector);
    let (r, ranges) = b.split(k, unroll, Axis::Loop, Axis::Unroll);
    let (x, w, y) = (b.f32(0), b.f32(1), b.f32(2));
    let a = b.g.load(x, &[i, r]);
    let c = b.g.load(w, &[r, j]);
    let p = b.g.mul(a, c);
    let s = b.g.reduce(ReduceOp::Sum, p, &ranges);
    let store = b.g.store(y, s, &[i, j]);
    Case {
        kernel: kernel(
            b.g,
            &[store],
            vec![
                param(DType::F32, &[m, k], Access::Read),
                param(DType::F32, &[k, n], Access::Read),
                param(DType::F32, &[m, n], Access::Write),
            ],
        ),
        memory: vec![floats(m * k, 1), floats(k * n, 2), zeros(m * n)],
        workers,
    }
}

#[test]
fn matmul_tiles() {
    let cases = [
        matmul(12, 32, 10, 4, 16, 2, 1),
        matmul(12, 32, 10, 4, 16, 2, 3),
        matmul(6, 8, 9, 3, 8, 3, 2),
        matmul(5, 7, 3, 1, 1, 1, 7),
        matmul(4, 16, 4, 2, 16, 4, 5),
    ];
    let names: Vec<String> = (0..cases.len()).map(|n| format!("matmul {n}")).collect();
    check(&cases, &names, 0.0);
}

/// Rows of `x` in softmax or layer norm: several reduces over one row.
fn rows(layer_norm: bool, n: i64, lanes: i64) -> Case {
    let mut b = Build::new();
    let m = 5;
    let i = b.range(m, Axis::Parallel);
    let (x, y) = (b.f32(0), b.f32(1));
    let over = |b: &mut Build| b.split(n, lanes, Axis::Loop, Axis::Vector);
    let (k1, r1) = over(&mut b);
    let (k2, r2) = over(&mut b);
    let (j, _) = over(&mut b);
    let value = if layer_norm {
        let v = b.g.load(x, &[i, k1]);
        let sum = b.g.reduce(ReduceOp::Sum, v, &r1);
        let count = b.g.float(DType::F32, n as f64);
        let mean = b.g.binary(Binary::Div, sum, count);
        let v = b.g.load(x, &[i, k2]);
        let d = b.g.sub(v, mean);
        let d = b.g.mul(d, d);
        let square = b.g.reduce(ReduceOp::Sum, d, &r2);
        let variance = b.g.binary(Binary::Div, square, count);
        let e = b.g.float(DType::F32, 1e-5);
        let variance = b.g.add(variance, e);
        let s = b.g.unary(Unary::Sqrt, variance);
        let v = b.g.load(x, &[i, j]);
        let d = b.g.sub(v, mean);
        b.g.binary(Binary::Div, d, s)
    } else {
        let v = b.g.load(x, &[i, k1]);
        let max = b.g.reduce(ReduceOp::Max, v, &r1);
        let v = b.g.load(x, &[i, k2]);
        let d = b.g.sub(v, max);
        let e = b.g.unary(Unary::Exp, d);
        let sum = b.g.reduce(ReduceOp::Sum, e, &r2);
        let v = b.g.load(x, &[i, j]);
        let d = b.g.sub(v, max);
        let e = b.g.unary(Unary::Exp, d);
        b.g.binary(Binary::Div, e, sum)
    };
    let store = b.g.store(y, value, &[i, j]);
    Case {
        kernel: kernel(
            b.g,
            &[store],
            vec![
                param(DType::F32, &[m, n], Access::Read),
                param(DType::F32, &[m, n], Access::Write),
            ],
        ),
        memory: vec![floats(m * n, 3), zeros(m * n)],
        workers: 2,
    }
}

#[test]
fn softmax_and_layer_norm() {
    let cases = [
        rows(false, 32, 16),
        rows(false, 7, 1),
        rows(true, 32, 8),
        rows(true, 6, 1),
    ];
    let names: Vec<String> = (0..4).map(|n| format!("rows {n}")).collect();
    check(&cases, &names, 64.0);
}

/// Padding by gates, strided and reversed loads, vector stores that are not contiguous.
fn padded(lanes: i64, transposed: bool) -> Case {
    let mut b = Build::new();
    let (h, w) = (6, 16);
    let i = b.range(h, Axis::Loop);
    let (j, _) = b.split(w, lanes, Axis::Loop, Axis::Vector);
    let (x, y) = (b.f32(0), b.f32(1));
    let (low, high) = (b.g.index(3), b.g.index(12));
    let above = b.g.binary(Binary::Le, low, j);
    let below = b.g.binary(Binary::Lt, j, high);
    let gate = b.g.and(above, below);
    let inner = b.g.add_const(j, -3);
    let reversed = b.g.index(8);
    let reversed = b.g.sub(reversed, inner);
    let other = b.g.float(DType::F32, 42.0);
    let p = b.g.load_gated(x, gate, other, &[i, inner]);
    let q = b.g.load_gated(x, gate, other, &[i, reversed]);
    let value = b.g.sub(p, q);
    let index = if transposed { [j, i] } else { [i, j] };
    let store = b.g.store(y, value, &index);
    let shape = if transposed { [w, h] } else { [h, w] };
    Case {
        kernel: kernel(
            b.g,
            &[store],
            vec![
                param(DType::F32, &[h, 9], Access::Read),
                param(DType::F32, &shape, Access::Write),
            ],
        ),
        memory: vec![floats(h * 9, 4), zeros(h * w)],
        workers: 1,
    }
}

/// A tile of `rows` vectors that goes transposed into rows of memory which overlap no other: transposed in registers when it is square.
fn tile(rows: i64, lanes: i64, dtype: DType) -> Case {
    let mut b = Build::new();
    let (n, m) = (2 * rows, 2 * lanes);
    let (i, _) = b.split(n, rows, Axis::Loop, Axis::Unroll);
    let (j, _) = b.split(m, lanes, Axis::Loop, Axis::Vector);
    let (x, y) = (b.g.param(0, dtype), b.g.param(1, dtype));
    let v = b.g.load(x, &[i, j]);
    let store = b.g.store(y, v, &[j, i]);
    let memory = match dtype {
        DType::F32 => vec![floats(n * m, 4), zeros(n * m)],
        _ => vec![
            (0..n * m).map(Scalar::Int).collect(),
            vec![Scalar::Int(0); (n * m) as usize],
        ],
    };
    Case {
        kernel: kernel(
            b.g,
            &[store],
            vec![
                param(dtype, &[n, m], Access::Read),
                param(dtype, &[m, n], Access::Write),
            ],
        ),
        memory,
        workers: 1,
    }
}

/// Gather by data, with indices out of range: what cannot be proved is guarded.
fn gather(lanes: i64) -> Case {
    let mut b = Build::new();
    let n = 32;
    let (j, _) = b.split(n, lanes, Axis::Loop, Axis::Vector);
    let (x, idx, y) = (b.f32(0), b.g.param(1, DType::I64), b.f32(2));
    let at = b.g.load(idx, &[j]);
    let at = b.g.cast(at, DType::Index);
    let v = b.g.load(x, &[at]);
    let store = b.g.store(y, v, &[j]);
    let indices = (0..n).map(|i| Scalar::Int(i * 5 % 11)).collect();
    Case {
        kernel: kernel(
            b.g,
            &[store],
            vec![
                param(DType::F32, &[11], Access::Read),
                param(DType::I64, &[n], Access::Read),
                param(DType::F32, &[n], Access::Write),
            ],
        ),
        memory: vec![floats(11, 5), indices, zeros(n)],
        workers: 1,
    }
}

/// `y[idx[i]] += x[i]` in order; indices out of range are dropped.
fn scatter() -> Case {
    let mut b = Build::new();
    let n = 40;
    let i = b.range(n, Axis::Serial);
    let (x, idx, y) = (b.f32(0), b.g.param(1, DType::I64), b.f32(2));
    let at = b.g.load(idx, &[i]);
    let at = b.g.cast(at, DType::Index);
    let (zero, end) = (b.g.index(0), b.g.index(7));
    let low = b.g.binary(Binary::Le, zero, at);
    let high = b.g.binary(Binary::Lt, at, end);
    let gate = b.g.and(low, high);
    let nothing = b.g.float(DType::F32, 0.0);
    let old = b.g.load_gated(y, gate, nothing, &[at]);
    let v = b.g.load(x, &[i]);
    let sum = b.g.add(old, v);
    let store =
        b.g.add_node(Op::Store { gated: true }, Type::VOID, [y, sum, gate, at]);
    let indices = (0..n).map(|i| Scalar::Int(i * 3 % 9 - 1)).collect();
    Case {
        kernel: kernel(
            b.g,
            &[store],
            vec![
                param(DType::F32, &[n], Access::Read),
                param(DType::I64, &[n], Access::Read),
                param(DType::F32, &[7], Access::ReadWrite),
            ],
        ),
        memory: vec![floats(n, 6), indices, floats(7, 7)],
        workers: 2,
    }
}

/// Index of the first largest value: a maximum, then the least index that has it. Also Bool reduces.
fn arg_max(lanes: i64) -> Case {
    let mut b = Build::new();
    let (m, n) = (3, 32);
    let i = b.range(m, Axis::Loop);
    let (x, y, any) = (
        b.f32(0),
        b.g.param(1, DType::I64),
        b.g.param(2, DType::Bool),
    );
    let (k1, r1) = b.split(n, lanes, Axis::Loop, Axis::Vector);
    let (k2, r2) = b.split(n, lanes, Axis::Loop, Axis::Vector);
    let v = b.g.load(x, &[i, k1]);
    let max = b.g.reduce(ReduceOp::Max, v, &r1);
    let v = b.g.load(x, &[i, k2]);
    let same = b.g.binary(Binary::Eq, v, max);
    let place = b.g.cast(k2, DType::I64);
    let none = b.g.int(DType::I64, n);
    let place = b.g.select(same, place, none);
    let first = b.g.reduce(ReduceOp::Min, place, &r2);
    let s1 = b.g.store(y, first, &[i]);
    let (k3, r3) = b.split(n, lanes, Axis::Loop, Axis::Vector);
    let v = b.g.load(x, &[i, k3]);
    let seven = b.g.float(DType::F32, 7.0);
    let big = b.g.binary(Binary::Lt, seven, v);
    let found = b.g.reduce(ReduceOp::Any, big, &r3);
    let s2 = b.g.store(any, found, &[i]);
    Case {
        kernel: kernel(
            b.g,
            &[s1, s2],
            vec![
                param(DType::F32, &[m, n], Access::Read),
                param(DType::I64, &[m], Access::Write),
                param(DType::Bool, &[m], Access::Write),
            ],
        ),
        memory: vec![
            floats(m * n, 8),
            vec![Scalar::Int(0); m as usize],
            vec![Scalar::Int(0); m as usize],
        ],
        workers: 2,
    }
}

/// A mean over everything, used by every thread.
fn centre(lanes: i64) -> Case {
    let mut b = Build::new();
    let n = 48;
    let (x, y) = (b.f32(0), b.f32(1));
    let (k, r) = b.split(n, lanes, Axis::Loop, Axis::Vector);
    let (j, _) = b.split(n, lanes, Axis::Parallel, Axis::Vector);
    let v = b.g.load(x, &[k]);
    let sum = b.g.reduce(ReduceOp::Sum, v, &r);
    let v = b.g.load(x, &[j]);
    let d = b.g.sub(v, sum);
    let store = b.g.store(y, d, &[j]);
    Case {
        kernel: kernel(
            b.g,
            &[store],
            vec![
                param(DType::F32, &[n], Access::Read),
                param(DType::F32, &[n], Access::Write),
            ],
        ),
        memory: vec![floats(n, 9), zeros(n)],
        workers: 4,
    }
}

#[test]
fn gates_gathers_and_scatters() {
    let mut cases = Vec::new();
    let mut names = Vec::new();
    for lanes in [1, 8, 16] {
        for (name, case) in [
            ("padded", padded(lanes, false)),
            ("transposed", padded(lanes, true)),
            ("gather", gather(lanes)),
            ("argmax", arg_max(lanes)),
            ("centre", centre(lanes)),
        ] {
            cases.push(case);
            names.push(format!("{name} x{lanes}"));
        }
    }
    for (rows, lanes) in [(4, 4), (8, 8), (16, 16), (32, 16), (6, 8), (8, 16)] {
        for dtype in [DType::F32, DType::I32, DType::I64] {
            cases.push(tile(rows, lanes, dtype));
            names.push(format!("tile {rows}x{lanes} {dtype:?}"));
        }
    }
    cases.push(scatter());
    names.push("scatter".into());
    check(&cases, &names, 0.0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]
    /// Any cut of a matmul gives the same sums.
    #[test]
    fn cuts_do_not_matter(
        cuts in prop::collection::vec((1i64..4, 1i64..4, 1i64..4, 0u32..4, 1i64..5, 1i64..4, 1usize..4), 8),
    ) {
        let cases: Vec<Case> = cuts
            .iter()
            .map(|&(m, n, k, lanes, rows, unroll, workers)| {
                let lanes = 1 << lanes;
                matmul(m * rows, n * lanes, k * unroll, rows, lanes, unroll, workers)
            })
            .collect();
        let names: Vec<String> = cuts.iter().map(|c| format!("{c:?}")).collect();
        check(&cases, &names, 0.0);
    }
}

/// What is printed, for the eye: a change of the printer shows here.
#[test]
fn printed_kernels() {
    let cases = [
        ("matmul_tile", matmul(8, 16, 6, 4, 16, 2, 1)),
        ("matmul_scalar", matmul(4, 4, 3, 1, 1, 1, 1)),
        ("softmax", rows(false, 32, 16)),
        ("layer_norm", rows(true, 32, 16)),
        ("padded", padded(1, false)),
        ("padded_vector", padded(8, false)),
        ("transposed_vector", padded(8, true)),
        ("gather", gather(1)),
        ("gather_vector", gather(8)),
        ("scatter", scatter()),
        ("arg_max", arg_max(1)),
        ("mean_for_all_threads", centre(16)),
    ];
    for (name, case) in cases {
        let linear =
            tinyc_compiler::codegen::lower(&case.kernel, &crate::harness::facts()).unwrap();
        let text = tinyc_compiler::render::c::render(&linear).unwrap();
        let start = text.find("void k(").unwrap();
        insta::assert_snapshot!(name, &text[start..]);
    }
}
