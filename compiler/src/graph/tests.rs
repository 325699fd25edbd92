//! Every composite against its decomposition, both by the reference interpreter, on random attributes.
#![allow(clippy::unwrap_used)]

use super::interp::{Value, evaluate};
use super::*;
use crate::uop::DType;
use proptest::prelude::*;

/// Numbers in -1..1 from a seed, all different.
fn noise(dims: &[i64], seed: u64) -> Value {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let data = (0..dims.iter().product::<i64>())
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f64 / (1u64 << 23) as f64 - 1.0
        })
        .collect();
    Value::floats(DType::F32, dims, data)
}

/// Builds `op` on noise of the given shapes; `None` when the attributes do not fit together.
fn check(op: Op, shapes: &[Vec<i64>], seed: u64) -> Result<(), TestCaseError> {
    let mut b = Builder::new("t");
    let mut src = Vec::new();
    let mut inputs = Vec::new();
    for (i, dims) in shapes.iter().enumerate() {
        src.push(b.input(&format!("x{i}"), DType::F32, dims).unwrap());
        inputs.push(noise(dims, seed + i as u64));
    }
    let Ok(y) = b.push(op.clone(), &src) else {
        return Ok(());
    };
    b.output("y", y);
    let graph = b.finish();
    verify(&graph).unwrap();
    let simple = decompose(&graph).unwrap();
    verify(&simple).unwrap();
    prop_assert!(simple.tensors.iter().all(|t| !t.op.is_composite()));
    let want = evaluate(&graph, &inputs).unwrap();
    let have = evaluate(&simple, &inputs).unwrap();
    prop_assert_eq!(&want[0].shape, &have[0].shape);
    prop_assert_eq!(want[0].dtype, have[0].dtype);
    for (p, q) in want[0].to_f64().iter().zip(have[0].to_f64()) {
        let near = (p - q).abs() <= 1e-5 * (1.0 + p.abs()) || (p.is_nan() && q.is_nan());
        prop_assert!(near || *p == q, "{:?}: {} and {}", op, p, q);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn conv(
        groups in 1i64..4, each in 1i64..3, own in 1i64..3,
        kernel in prop::collection::vec(1i64..4, 1..3),
        stride in 1i64..4, dilation in 1i64..3, low in 0i64..3, high in 0i64..3,
        bias: bool, seed in 1u64..1000,
    ) {
        let spatial = kernel.len();
        let mut x = vec![2, groups * each];
        x.extend(vec![7, 6].into_iter().take(spatial));
        let mut w = vec![groups * own, each];
        w.extend(&kernel);
        let mut shapes = vec![x, w];
        if bias {
            shapes.push(vec![groups * own]);
        }
        let op = Op::Conv(Conv {
            strides: vec![stride; spatial],
            dilations: vec![dilation; spatial],
            pads: vec![(low, high); spatial],
            groups,
        });
        check(op, &shapes, seed)?;
    }

    #[test]
    fn conv_transpose(
        groups in 1i64..3, each in 1i64..3, own in 1i64..3,
        kernel in prop::collection::vec(1i64..4, 1..3),
        stride in 1i64..4, dilation in 1i64..3, low in -1i64..2, high in -1i64..2,
        bias: bool, seed in 1u64..1000,
    ) {
        let spatial = kernel.len();
        let mut x = vec![1, groups * each];
        x.extend(vec![4, 5].into_iter().take(spatial));
        let mut w = vec![groups * each, own];
        w.extend(&kernel);
        let mut shapes = vec![x, w];
        if bias {
            shapes.push(vec![groups * own]);
        }
        let op = Op::ConvTranspose(ConvTranspose {
            strides: vec![stride; spatial],
            dilations: vec![dilation; spatial],
            pads: vec![(low, high); spatial],
            groups,
        });
        check(op, &shapes, seed)?;
    }

    #[test]
    fn pool(
        kind in 0usize..5, kernel in 1i64..4, stride in 1i64..3, dilation in 1i64..3,
        low in 0i64..2, declared in 0i64..2, more in 0i64..2, seed in 1u64..1000,
    ) {
        // A window must hold an element or counted padding: ONNX allows no other.
        prop_assume!(low < kernel && declared + more < kernel);
        let kind = [
            PoolKind::Max,
            PoolKind::Average { include_pad: true },
            PoolKind::Average { include_pad: false },
            PoolKind::Lp(2),
            PoolKind::Lp(3),
        ][kind].clone();
        let op = Op::Pool(Pool {
            kind,
            kernel: vec![kernel, 2],
            strides: vec![stride, 1],
            dilations: vec![dilation, 1],
            pads: vec![(low, declared + more), (0, 0)],
            declared_high: vec![declared, 0],
        });
        check(op, &[vec![1, 2, 7, 5]], seed)?;
    }

    #[test]
    fn matmul(
        a in prop::collection::vec(1i64..4, 0..3), b in prop::collection::vec(1i64..4, 0..3),
        m in 1i64..5, k in 1i64..5, n in 1i64..5, seed in 1u64..1000,
    ) {
        let (mut x, mut y) = (a, b);
        x.extend([m, k]);
        y.extend([k, n]);
        check(Op::MatMul, &[x, y], seed)?;
    }

    #[test]
    fn along_an_axis(
        which in 0usize..12, axis in 0usize..3, seed in 1u64..1000, n in 1i64..7, k in 1i64..7,
    ) {
        let mut dims = vec![2, 3, 2];
        dims[axis] = n;
        let flag = |bit: usize| which & bit != 0;
        let ops = match which % 4 {
            0 => vec![Op::Softmax(axis), Op::LogSoftmax(axis)],
            1 => vec![Op::CumSum { axis, exclusive: flag(4), reverse: flag(8) }],
            2 => vec![
                Op::TopK { axis, k: k.min(n), largest: flag(4), indices: true },
                Op::TopK { axis, k: k.min(n), largest: flag(4), indices: false },
            ],
            _ => vec![Op::ArgReduce { axis, largest: flag(4), last: flag(8) }],
        };
        for op in ops {
            check(op, &[dims.clone()], seed)?;
        }
        let normalised = dims[axis..].to_vec();
        let op = Op::LayerNorm { axis, epsilon: 1e-5f64.to_bits() };
        check(op, &[dims, normalised.clone(), normalised], seed)?;
    }

    #[test]
    fn resize(
        mode in 0usize..6, coordinates in 0usize..6, from in 1i64..7, to in 1i64..10,
        exclude_outside: bool, antialias: bool, seed in 1u64..1000,
    ) {
        let mode = [
            ResizeMode::NearestRoundPreferFloor,
            ResizeMode::NearestRoundPreferCeil,
            ResizeMode::NearestFloor,
            ResizeMode::NearestCeil,
            ResizeMode::Linear,
            ResizeMode::Cubic((-0.75f32).to_bits()),
        ][mode];
        let coordinates = [
            Coordinates::HalfPixel,
            Coordinates::HalfPixelSymmetric,
            Coordinates::PytorchHalfPixel,
            Coordinates::AlignCorners,
            Coordinates::Asymmetric,
            Coordinates::CropAndResize,
        ][coordinates];
        let cubic = matches!(mode, ResizeMode::Cubic(_));
        let scale = to as f64 / from as f64;
        let op = Op::Resize(Resize {
            mode,
            coordinates,
            sizes: vec![1, 2, to, 3],
            scales: [1.0, 1.0, scale, 1.0].map(f64::to_bits).to_vec(),
            roi: [0.0, 0.0, 0.1, 0.0, 1.0, 1.0, 0.8, 1.0].map(f64::to_bits).to_vec(),
            exclude_outside: exclude_outside && cubic,
            antialias,
            extrapolation: 7.0f32.to_bits(),
        });
        check(op, &[vec![1, 2, from, 3]], seed)?;
    }
}

/// Long axes are taken in blocks, and NaN is larger than all.
#[test]
fn long_axes_and_nan() {
    for (n, k) in [(9, 4), (65, 1), (300, 3), (1024, 16), (1500, 5)] {
        let mut x = noise(&[2, n], n as u64).to_f64();
        for (i, v) in x.iter_mut().enumerate() {
            match i % 7 {
                0 => *v = f64::NAN,
                3 => *v = f64::NEG_INFINITY,
                5 => *v = 0.25,
                _ => {}
            }
        }
        for (largest, indices) in [(true, false), (true, true), (false, false), (false, true)] {
            let mut b = Builder::new("t");
            let input = b.input("x", DType::F32, &[2, n]).unwrap();
            let op = Op::TopK {
                axis: 1,
                k,
                largest,
                indices,
            };
            let y = b.push(op, &[input]).unwrap();
            b.output("y", y);
            let graph = b.finish();
            let inputs = [Value::floats(DType::F32, &[2, n], x.clone())];
            let want = evaluate(&graph, &inputs).unwrap();
            let have = evaluate(&decompose(&graph).unwrap(), &inputs).unwrap();
            let equal = |p: &f64, q: &f64| p == q || (p.is_nan() && q.is_nan());
            let (want, have) = (want[0].to_f64(), have[0].to_f64());
            let all = want.iter().zip(&have).all(|(p, q)| equal(p, q));
            assert!(all, "{n} {k} {largest} {indices}: {want:?} {have:?}");
        }
        for (exclusive, reverse) in [(true, false), (false, true)] {
            let op = Op::CumSum {
                axis: 1,
                exclusive,
                reverse,
            };
            check(op, &[vec![2, n, 2]], 7).unwrap();
        }
    }
}
