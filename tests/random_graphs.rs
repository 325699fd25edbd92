//! Random graphs through the whole compiler and a C compiler, against the reference interpreter.
//!
//! A graph is a list of instructions of small numbers; each picks its sources among the tensors made so far and an operation that
//! fits their shapes, so every list is a graph and proptest can shrink a failing one to a few operations.
//!
//! `TINYC_RANDOM_GRAPHS` asks for more of them. Proptest's own `PROPTEST_RNG_SEED` draws others.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tinyc_compiler::diag::Result;
use tinyc_compiler::driver::{Options, Silent, compile};
use tinyc_compiler::graph::interp::{Value, evaluate};
use tinyc_compiler::graph::{Builder, Conv, Graph, Op, Pool, PoolKind, TensorId};
use tinyc_compiler::target::Target;
use tinyc_compiler::uop::{Binary, DType, ReduceOp, Unary};
use tinyc_target_cpu::CpuTarget;

/// Most elements of one tensor: the interpreter is slow.
const LARGEST: i64 = 6000;
/// Error norm over the norm of what is right.
const RELATIVE: f64 = 1e-5;
/// Error that each element may have besides: results cancel.
const ABSOLUTE: f64 = 1e-6;

/// An operation and what it needs to know, as small numbers.
type Instruction = [u8; 6];

fn noise(dims: &[i64], seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..dims.iter().product::<i64>())
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
        })
        .collect()
}

struct Random {
    b: Builder,
    tensors: Vec<TensorId>,
    weights: u64,
}

impl Random {
    fn weight(&mut self, dims: &[i64]) -> Result<TensorId> {
        self.weights += 1;
        let values = noise(dims, 1000 + self.weights);
        self.b.floats(&format!("w{}", self.weights), dims, &values)
    }

    /// Adds what an instruction says, when it fits.
    fn step(&mut self, [op, from, p, q, r, s]: Instruction) -> Result<Option<TensorId>> {
        // Mostly the newest tensors, so that graphs are deep.
        let back = usize::from(from) % self.tensors.len().min(4);
        let x = self.tensors[self.tensors.len() - 1 - back];
        let dims = self.b.dims(x)?;
        let rank = dims.len();
        let axis = usize::from(p) % rank.max(1);
        if rank == 0 {
            return self.b.reshape(x, &[1]).map(Some);
        }
        let n = dims[axis];
        let b = &mut self.b;
        let y = match op % 24 {
            0 => b.unary(
                [Unary::Tanh, Unary::Abs, Unary::Neg, Unary::Erf, Unary::Sin][usize::from(q) % 5],
                x,
            )?,
            1 => b.sigmoid(x)?,
            2 => b.gelu(x)?,
            3 => b.clip(x, -0.5, 0.75)?,
            4 => {
                let other = self.tensors[usize::from(q) % self.tensors.len()];
                let op = [Binary::Add, Binary::Mul, Binary::Max, Binary::Sub][usize::from(r) % 4];
                if b.dims(other)? != dims {
                    return Ok(None);
                }
                b.binary(op, x, other)?
            }
            5 => {
                let mut shape = vec![1; rank];
                shape[axis] = n;
                let w = self.weight(&shape)?;
                let op = [Binary::Add, Binary::Mul, Binary::Min][usize::from(q) % 3];
                self.b.binary(op, x, w)?
            }
            6 => {
                let op = [ReduceOp::Max, ReduceOp::Min][usize::from(q) % 2];
                b.reduce(op, x, &[axis], r % 2 == 0)?
            }
            7 => b.mean(x, &[axis])?,
            8 => {
                let all: Vec<usize> = (axis..rank).collect();
                let sum = b.reduce(ReduceOp::Sum, x, &all, true)?;
                b.with_number(Binary::Mul, sum, 0.125)?
            }
            9 => {
                let k = dims[rank - 1];
                let m = [1, 3, 8, 17][usize::from(q) % 4];
                if rank < 2 {
                    return Ok(None);
                }
                let w = self.weight(&[k, m])?;
                let y = self.b.matmul(x, w)?;
                self.b
                    .with_number(Binary::Mul, y, 1.0 / (k as f64).sqrt())?
            }
            10 => {
                let (&[_, c, h, w], k) = (&dims[..], [1, 2, 3][usize::from(q) % 3]) else {
                    return Ok(None);
                };
                let groups = if r % 3 == 0 { c } else { 1 };
                let own = [1, 4, 8][usize::from(s) % 3];
                let pad = i64::from(p) % k;
                if h + 2 * pad < k || w + 2 * pad < k {
                    return Ok(None);
                }
                let filter = self.weight(&[groups * own, c / groups, k, k])?;
                let bias = self.weight(&[groups * own])?;
                let conv = Conv {
                    strides: vec![1 + i64::from(r) % 2; 2],
                    dilations: vec![1; 2],
                    pads: vec![(pad, pad); 2],
                    groups,
                };
                let y = self.b.push(Op::Conv(conv), &[x, filter, bias])?;
                self.b
                    .with_number(Binary::Mul, y, 1.0 / (k * k * c / groups) as f64)?
            }
            11 => {
                let &[_, _, h, w] = &dims[..] else {
                    return Ok(None);
                };
                let k = 2 + i64::from(q) % 2;
                if h < k || w < k {
                    return Ok(None);
                }
                let kind = match r % 3 {
                    0 => PoolKind::Max,
                    1 => PoolKind::Average { include_pad: true },
                    _ => PoolKind::Average { include_pad: false },
                };
                b.push(
                    Op::Pool(Pool {
                        kind,
                        kernel: vec![k; 2],
                        strides: vec![1 + i64::from(s) % 2; 2],
                        dilations: vec![1; 2],
                        pads: vec![(1, 1); 2],
                        declared_high: vec![1; 2],
                    }),
                    &[x],
                )?
            }
            12 => {
                let mut perm: Vec<usize> = (0..rank).collect();
                perm.swap(axis, usize::from(q) % rank);
                perm.rotate_left(usize::from(r) % rank);
                b.permute(x, &perm)?
            }
            13 => {
                // Two axes become one, or one becomes two.
                let mut to = dims.clone();
                if axis + 1 < rank && q % 2 == 0 {
                    to[axis] *= to.remove(axis + 1);
                } else if let Some(d) = (2..=n / 2).find(|d| n % d == 0).filter(|_| rank < 5) {
                    to[axis] = d;
                    to.insert(axis + 1, n / d);
                }
                b.reshape(x, &to)?
            }
            14 => {
                let start = i64::from(q) % n;
                b.slice(x, axis, start, 1 + i64::from(r) % (n - start))?
            }
            15 => {
                let mut pads = vec![(0, 0); rank];
                pads[axis] = (i64::from(q) % 3, i64::from(r) % 3);
                b.pad(x, &pads, 0.5)?
            }
            16 => b.push(Op::Flip(vec![axis]), &[x])?,
            17 => {
                let other = self.tensors[usize::from(q) % self.tensors.len()];
                let mut theirs = b.dims(other)?;
                if theirs.len() != rank {
                    return Ok(None);
                }
                theirs[axis] = n;
                if theirs != dims {
                    return Ok(None);
                }
                b.push(Op::Concat(axis), &[x, other, x][..2 + usize::from(r) % 2])?
            }
            18 => b.softmax(x, axis)?,
            19 => {
                let inner = dims[axis..].to_vec();
                let (scale, bias) = (self.weight(&inner)?, self.weight(&inner)?);
                self.b.layer_norm(x, scale, bias, axis, 0.1)?
            }
            20 => {
                let index: Vec<i64> = (0..1 + i64::from(q) % 5)
                    .map(|i| (i * 7 + i64::from(r)) % (2 * n) - n)
                    .collect();
                let index = b.integers(&[index.len() as i64], &index)?;
                b.push(Op::Gather(axis), &[x, index])?
            }
            21 => {
                let (exclusive, reverse) = (q % 2 == 0, r % 2 == 0);
                let sum = b.push(
                    Op::CumSum {
                        axis,
                        exclusive,
                        reverse,
                    },
                    &[x],
                )?;
                b.with_number(Binary::Mul, sum, 0.25)?
            }
            22 => {
                let k = 1 + i64::from(q) % n;
                b.push(
                    Op::TopK {
                        axis,
                        k,
                        largest: r % 2 == 0,
                        indices: false,
                    },
                    &[x],
                )?
            }
            _ => {
                let zero = b.full(DType::F32, &dims, 0.0)?;
                let low = b.binary(Binary::Lt, x, zero)?;
                let small = b.with_number(Binary::Mul, x, 0.125)?;
                b.select(low, small, x)?
            }
        };
        Ok(Some(y))
    }
}

fn graph_of(inputs: &[Vec<i64>], code: &[Instruction]) -> Result<Graph> {
    let mut random = Random {
        b: Builder::new("random"),
        tensors: Vec::new(),
        weights: 0,
    };
    for (i, dims) in inputs.iter().enumerate() {
        let x = random.b.input(&format!("x{i}"), DType::F32, dims)?;
        random.tensors.push(x);
    }
    for &instruction in code {
        if let Some(y) = random.step(instruction)? {
            let size: i64 = random.b.dims(y)?.iter().product();
            if (1..=LARGEST).contains(&size) {
                random.tensors.push(y);
            }
        }
    }
    // The last tensor, and one from the middle that others read as well.
    let last = random.tensors.len() - 1;
    random.b.output("last", random.tensors[last]);
    random.b.output("middle", random.tensors[last / 2]);
    Ok(random.b.finish())
}

fn check(
    target: &CpuTarget,
    inputs: &[Vec<i64>],
    code: &[Instruction],
) -> std::result::Result<(), String> {
    let text = |e: tinyc_compiler::diag::Error| format!("{e}");
    let graph = graph_of(inputs, code).map_err(text)?;
    let values: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(i, dims)| {
            let data = noise(dims, i as u64 + 1);
            Value::floats(
                DType::F32,
                dims,
                data.iter().map(|&v| f64::from(v)).collect(),
            )
        })
        .collect();
    let want = evaluate(&graph, &values).map_err(text)?;
    let compiled = compile(graph, target, &Options::named("random"), &mut Silent).map_err(text)?;
    let mut session = target.load(&compiled.built, 1).map_err(text)?;
    let feeds: Vec<Vec<u8>> = values.iter().map(Value::to_bytes).collect();
    let feeds: Vec<&[u8]> = feeds.iter().map(Vec::as_slice).collect();
    let outputs = &compiled.built.program.outputs;
    let mut bytes: Vec<Vec<u8>> = outputs.iter().map(|io| vec![0u8; io.bytes()]).collect();
    let mut slots: Vec<&mut [u8]> = bytes.iter_mut().map(Vec::as_mut_slice).collect();
    session.run(&feeds, &mut slots).map_err(text)?;
    for ((io, bytes), want) in outputs.iter().zip(&bytes).zip(&want) {
        let got = Value::from_bytes(io.dtype, &io.shape, bytes).map_err(text)?;
        if got.shape != want.shape {
            return Err(format!(
                "{} is {:?}, not {:?}",
                io.name, got.shape, want.shape
            ));
        }
        let (got, want) = (got.to_f64(), want.to_f64());
        let error: f64 = got
            .iter()
            .zip(&want)
            .map(|(g, w)| (g - w).powi(2))
            .sum::<f64>()
            .sqrt();
        let norm: f64 = want.iter().map(|w| w * w).sum::<f64>().sqrt();
        let bar = RELATIVE * norm + ABSOLUTE * (want.len() as f64).sqrt();
        if error.is_nan() || error > bar {
            return Err(format!("{}: error norm {error:e} of {norm:e}", io.name));
        }
    }
    Ok(())
}

#[test]
fn random_graphs_compute_what_the_interpreter_says() {
    let cases = std::env::var("TINYC_RANDOM_GRAPHS").map_or(80, |v| v.parse().expect("a number"));
    let config = Config {
        cases,
        max_shrink_iters: 300,
        failure_persistence: None,
        ..Config::default()
    };
    let target =
        CpuTarget::new(tinyc_target_cpu::Options::default()).expect("this host has a level");
    let shape = || {
        prop_oneof![
            prop::collection::vec(1i64..10, 1..4),
            Just(vec![1, 3, 9, 8]),
            Just(vec![2, 8, 6, 6]),
            Just(vec![16, 33]),
            Just(vec![4, 64]),
        ]
    };
    let inputs = prop::collection::vec(shape(), 1..3);
    let code = prop::collection::vec(any::<Instruction>(), 1..14);
    // The same graphs every time, unless a seed is given.
    let mut runner = match std::env::var("PROPTEST_RNG_SEED") {
        Ok(_) => TestRunner::new(config),
        Err(_) => {
            let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
            TestRunner::new_with_rng(config, rng)
        }
    };
    let outcome = runner.run(&(inputs, code), |(inputs, code)| {
        check(&target, &inputs, &code).map_err(TestCaseError::fail)
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
