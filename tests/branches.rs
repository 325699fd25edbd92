//! Branches of a choice: a run computes the one that it takes, and gives what computing both would.

use std::path::Path;
use tinyc_compiler::driver::{Options, Silent, compile};
use tinyc_compiler::graph::interp::{Value, evaluate};
use tinyc_compiler::graph::{Builder, Graph, TensorId};
use tinyc_compiler::program::Built;
use tinyc_compiler::target::{Emit, Target};
use tinyc_compiler::uop::{Binary, DType, ReduceOp};
use tinyc_runtime::npy::{Array, HEADER_ROOM, header};
use tinyc_target_cpu::{CpuTarget, Options as CpuOptions};

const SIZE: i64 = 48;

/// What the choice is, and what else looks at a branch.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// `sum(x) > 0`.
    Sum,
    /// A second input of the model.
    Input,
    /// `sum(x) > 0`; the second branch is an output as well.
    Shared,
}

/// `Where(choice, relu(x a) a, (x b) b)`.
fn network(kind: Kind) -> Graph {
    let mut b = Builder::new("net");
    let x = b.input("x", DType::F32, &[SIZE, SIZE]).expect("input");
    let weight = |b: &mut Builder, name: &str, step: i64| -> TensorId {
        let values: Vec<f32> = (0..SIZE * SIZE)
            .map(|i| (i * step % 23 - 11) as f32 / 64.0)
            .collect();
        b.floats(name, &[SIZE, SIZE], &values).expect("weight")
    };
    let (first, second) = (weight(&mut b, "a", 7), weight(&mut b, "b", 5));
    let sum = b.reduce(ReduceOp::Sum, x, &[0, 1], false).expect("sum");
    let zero = b.full(DType::F32, &[], 0.0).expect("zero");
    let positive = match kind {
        Kind::Input => b.input("c", DType::Bool, &[1]).expect("choice"),
        _ => b.binary(Binary::Lt, zero, sum).expect("choice"),
    };
    let choice = b.broadcast_to(positive, &[SIZE, SIZE]).expect("all");
    let yes = b.matmul(x, first).expect("product");
    let yes = b.relu(yes).expect("relu");
    let yes = b.matmul(yes, first).expect("product");
    let no = b.matmul(x, second).expect("product");
    let no = b.matmul(no, second).expect("product");
    let y = b.select(choice, yes, no).expect("select");
    b.output("y", y);
    if kind == Kind::Shared {
        b.output("z", no);
    }
    b.finish()
}

/// Numbers whose sum has a sign.
fn input(sign: f32) -> Vec<f32> {
    let wave = |i: i64| ((i * 37 % 101) as f32 / 50.0 - 0.9) * sign;
    (0..SIZE * SIZE).map(wave).collect()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// What the definition gives; `positive` is the second input of models that have one.
fn expected(graph: &Graph, values: &[f32], positive: bool) -> Vec<f64> {
    let numbers = values.iter().map(|&x| x.into()).collect();
    let mut inputs = vec![Value::floats(DType::F32, &[SIZE, SIZE], numbers)];
    if graph.inputs.len() > 1 {
        inputs.push(Value::ints(DType::Bool, &[1], vec![positive.into()]));
    }
    evaluate(graph, &inputs).expect("interpreted")[0].to_f64()
}

fn assert_close(got: &[u8], want: &[f64]) {
    let (got, _) = got.as_chunks::<4>();
    let whole = want.iter().map(|w| w * w).sum::<f64>();
    let wrong: f64 = (got.iter().zip(want))
        .map(|(g, w)| (f64::from(f32::from_le_bytes(*g)) - w).powi(2))
        .sum();
    assert!(whole > 0.0 && got.len() == want.len());
    let error = (wrong / whole).sqrt();
    assert!(error < 1e-6, "relative error {error}");
}

fn built(graph: &Graph) -> (CpuTarget, Built) {
    let target = CpuTarget::new(CpuOptions::default()).expect("a C compiler");
    let options = Options::named("net");
    let compiled = compile(graph.clone(), &target, &options, &mut Silent).expect("compiles");
    (target, compiled.built)
}

/// Launches that are needed when the choice is `wanted`.
fn launches(built: &Built, wanted: bool) -> Vec<usize> {
    let steps = built.program.steps.iter().enumerate();
    let mine = steps.filter(|(_, s)| s.condition.is_some_and(|c| c.1 == wanted));
    mine.map(|(n, _)| n).collect()
}

#[test]
fn the_other_branch_is_left_out() {
    for kind in [Kind::Sum, Kind::Input] {
        let graph = network(kind);
        let (target, built) = built(&graph);
        let sides = [launches(&built, false), launches(&built, true)];
        assert!(sides.iter().all(|s| s.len() == 2), "{sides:?}");
        for threads in [1, 2] {
            let mut session = target.load(&built, threads).expect("loads");
            let mut out = vec![0u8; (SIZE * SIZE * 4) as usize];
            for sign in [1.0, -1.0, 1.0] {
                let values = input(sign);
                let (x, choice) = (bytes(&values), [u8::from(sign > 0.0)]);
                let inputs = &[&x[..], &choice][..graph.inputs.len()];
                session.run(inputs, &mut [&mut out]).expect("runs");
                assert_close(&out, &expected(&graph, &values, sign > 0.0));
                let seconds = session.profile(inputs, &mut [&mut out]).expect("times");
                let taken = usize::from(sign > 0.0);
                assert!(sides[1 - taken].iter().all(|&n| seconds[n] == 0.0));
                assert!(sides[taken].iter().all(|&n| seconds[n] > 0.0));
            }
        }
    }
}

#[test]
fn what_a_branch_left_behind_goes_nowhere() {
    let graph = network(Kind::Sum);
    let (target, built) = built(&graph);
    let mut session = target.load(&built, 1).expect("loads");
    let mut out = vec![0u8; (SIZE * SIZE * 4) as usize];
    let mut worst = input(-1.0);
    worst[5] = f32::NEG_INFINITY;
    let x = bytes(&worst);
    session.run(&[&x], &mut [&mut out]).expect("runs");
    let values = input(1.0);
    let x = bytes(&values);
    session.run(&[&x], &mut [&mut out]).expect("runs");
    assert_close(&out, &expected(&graph, &values, true));
}

#[test]
fn what_is_used_elsewhere_too_is_always_computed() {
    let (_, built) = built(&network(Kind::Shared));
    assert!(launches(&built, false).is_empty());
    assert_eq!(launches(&built, true).len(), 2);
}

#[test]
fn an_executable_takes_one_branch() {
    let graph = network(Kind::Sum);
    let (target, built) = built(&graph);
    let dir = tempfile::tempdir().expect("folder");
    let files = target.emit(&built, Emit::Exe, dir.path()).expect("written");
    let path = |name: &str| dir.path().join(name).display().to_string();
    for sign in [1.0, -1.0] {
        let values = input(sign);
        let mut head = [0; HEADER_ROOM];
        let shape = [SIZE as u64; 2];
        let len = header("<f4", shape.into_iter(), &mut head).expect("header");
        let file = [&head[..len], &bytes(&values)].concat();
        std::fs::write(path("x.npy"), file).expect("written");
        for threads in ["1", "2"] {
            let (x, y) = (path("x.npy"), path("y.npy"));
            let args = ["--run", &x, "-o", &y, "--threads", threads];
            let done = tinyc_tests::start::output(Path::new(&files[0].path), &args);
            assert!(done.status.success(), "{done:?}");
            let file = std::fs::read(&y).expect("result");
            let array = Array::read(&file).expect("array");
            assert_close(array.data, &expected(&graph, &values, sign > 0.0));
        }
    }
}
