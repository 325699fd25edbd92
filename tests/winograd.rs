//! Convolutions by Winograd's algorithm through the whole compiler, against the reference interpreter.

use tinyc_compiler::driver::{Options, Silent, compile};
use tinyc_compiler::graph::interp::{Value, evaluate};
use tinyc_compiler::graph::{Builder, Conv, Graph, Op};
use tinyc_compiler::target::Target;
use tinyc_compiler::uop::{Binary, DType};
use tinyc_target_cpu::{CpuTarget, Options as CpuOptions};

fn noise(count: i64, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// What surrounds the convolutions.
#[derive(Debug, Clone, Copy)]
enum Around {
    /// Rectifier, a second convolution, and a sum with what it read.
    Residual,
    /// The output of the model, as it is.
    Nothing,
    /// The mean over the image.
    Mean,
    /// Pixels become a sequence.
    Sequence,
}

struct Case {
    batch: i64,
    channels: [i64; 2],
    size: [i64; 2],
    pads: [(i64, i64); 2],
    around: Around,
}

fn network(case: &Case) -> Graph {
    let mut b = Builder::new("net");
    let [c, m] = case.channels;
    let dims = [case.batch, c, case.size[0], case.size[1]];
    let x = b.input("x", DType::F32, &dims).expect("input");
    let conv = |pads: &[(i64, i64); 2]| {
        Op::Conv(Conv {
            strides: vec![1, 1],
            dilations: vec![1, 1],
            pads: pads.to_vec(),
            groups: 1,
        })
    };
    let weight = |b: &mut Builder, dims: &[i64], seed| {
        let values = noise(dims.iter().product(), seed);
        b.floats(&format!("w{seed}"), dims, &values)
            .expect("weight")
    };
    // What reads the input itself is not tiled: its channels are not next to each other.
    let w = weight(&mut b, &[c, c, 1, 1], 5);
    let x = b.push(conv(&[(0, 0); 2]), &[x, w]).expect("conv");
    let w = weight(&mut b, &[m, c, 3, 3], 2);
    let bias = weight(&mut b, &[m], 3);
    let mut y = b.push(conv(&case.pads), &[x, w, bias]).expect("conv");
    match case.around {
        Around::Residual => {
            let first = b.relu(y).expect("relu");
            let w = weight(&mut b, &[m, m, 3, 3], 4);
            let second = b.push(conv(&[(1, 1); 2]), &[first, w]).expect("conv");
            let sum = b.add(second, first).expect("sum");
            y = b.relu(sum).expect("relu");
        }
        Around::Nothing => {}
        Around::Mean => y = b.mean(y, &[2, 3]).expect("mean"),
        Around::Sequence => {
            let d = b.dims(y).expect("static");
            y = b.permute(y, &[0, 2, 3, 1]).expect("permute");
            y = b.reshape(y, &[d[0], d[2] * d[3], d[1]]).expect("reshape");
        }
    }
    b.output("y", y);
    b.finish()
}

/// Compiles and runs; gives how many convolutions were tiled, and the error norm over the norm.
fn run(graph: &Graph, cpu: &str) -> (usize, f64) {
    let target = CpuTarget::new(CpuOptions {
        cpu: cpu.to_string(),
        ..CpuOptions::default()
    })
    .expect("target");
    let dims = graph.dims(graph.inputs[0].1).expect("static");
    let values = noise(dims.iter().product(), 9);
    let value = Value::floats(
        DType::F32,
        &dims,
        values.iter().map(|&x| x.into()).collect(),
    );
    let wanted = evaluate(graph, &[value]).expect("interpreted")[0].to_f64();

    let compiled = compile(graph.clone(), &target, &Options::named("net"), &mut Silent);
    let compiled = compiled.expect("compiles");
    let mut session = target.load(&compiled.built, 1).expect("loads");
    let input: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let mut out = vec![0u8; wanted.len() * 4];
    session.run(&[&input], &mut [&mut out]).expect("runs");
    let (got, _) = out.as_chunks::<4>();
    let (mut wrong, mut whole) = (0.0, 0.0);
    for (got, want) in got.iter().zip(&wanted) {
        wrong += (f64::from(f32::from_le_bytes(*got)) - want).powi(2);
        whole += want * want;
    }
    assert!(whole > 0.0);
    // All elements of a tile share their parts: no kernel asks which of them it computes.
    for kernel in &compiled.built.linear {
        let mut ops = kernel.list.iter().map(|&id| kernel.uops.op(id));
        let asks = ops.any(|op| op == tinyc_compiler::uop::Op::Binary(Binary::Eq));
        assert!(!asks, "{} chooses between formulas", kernel.name);
    }
    for chosen in &compiled.report.winograd {
        assert!(chosen.error > 0.0 && chosen.error <= 1e-5, "{chosen:?}");
    }
    (compiled.report.winograd.len(), (wrong / whole).sqrt())
}

#[test]
fn tiles_give_what_the_definition_gives() {
    let cases = [
        // Whole tiles of 4x4.
        Case {
            batch: 1,
            channels: [32, 64],
            size: [16, 16],
            pads: [(1, 1); 2],
            around: Around::Residual,
        },
        // Rows and columns that no tile divides, odd channels, two images.
        Case {
            batch: 2,
            channels: [40, 24],
            size: [13, 18],
            pads: [(1, 1); 2],
            around: Around::Residual,
        },
        // Tensors between the steps that are larger than what goes in and comes out.
        Case {
            batch: 1,
            channels: [24, 24],
            size: [64, 64],
            pads: [(1, 1); 2],
            around: Around::Residual,
        },
        // No padding, and another on each side.
        Case {
            batch: 1,
            channels: [32, 32],
            size: [15, 20],
            pads: [(0, 0); 2],
            around: Around::Nothing,
        },
        Case {
            batch: 1,
            channels: [32, 48],
            size: [14, 14],
            pads: [(2, 0), (0, 1)],
            around: Around::Nothing,
        },
        Case {
            batch: 1,
            channels: [64, 32],
            size: [12, 12],
            pads: [(1, 1); 2],
            around: Around::Mean,
        },
        Case {
            batch: 1,
            channels: [64, 32],
            size: [14, 10],
            pads: [(1, 1); 2],
            around: Around::Sequence,
        },
    ];
    for case in cases {
        let graph = network(&case);
        let Case {
            channels,
            size,
            around,
            ..
        } = case;
        let convolutions = if matches!(around, Around::Residual) {
            2
        } else {
            1
        };
        for cpu in ["native", "x86-64-v2"] {
            let (tiled, error) = run(&graph, cpu);
            assert_eq!(
                tiled, convolutions,
                "{channels:?} {size:?} {around:?} {cpu}"
            );
            assert!(
                error < 3e-6,
                "{channels:?} {size:?} {around:?} {cpu}: {error:e}"
            );
        }
    }
}

#[test]
fn what_does_not_qualify_stays() {
    // Too few channels, and so few pixels that weights would take all the time.
    for (channels, size) in [([3, 64], [32, 32]), ([512, 512], [3, 3])] {
        let pads = [(1, 1); 2];
        let graph = network(&Case {
            batch: 1,
            channels,
            size,
            pads,
            around: Around::Nothing,
        });
        let (tiled, error) = run(&graph, "native");
        assert_eq!(tiled, 0, "{channels:?}");
        assert!(error < 3e-6, "{error:e}");
    }
}
