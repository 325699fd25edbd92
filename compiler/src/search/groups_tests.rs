//! The search for a target with work-groups, on a device that only counts.

#![allow(clippy::unwrap_used)]

use super::beam::{Evaluate, Output, Runner, Settings, Task, search};
use super::candidates::{Candidate, Point, longest, tests::matmul};
use super::recipe::Recipe;
use crate::codegen::lower;
use crate::diag::{Error, Result};
use crate::opt::{Opt, apply, choose, parse_opts, print_opts};
use crate::program::Kernel;
use crate::program::text::print_linear;
use crate::target::{Facts, Gpu, MatrixTile};
use crate::uop::{Binary, DType, Op, substitute};
use rustc_hash::FxHashMap;

fn facts() -> Facts {
    let tile = MatrixTile {
        factors: DType::F16,
        sum: DType::F32,
        shape: [16, 16, 16],
        steps_each: 16,
        rows_together: 1,
    };
    Facts {
        peak_gflops: 10_000.0,
        memory_gb_s: 200.0,
        channel_block: 1,
        gpu: Some(Gpu {
            wave_lanes: 32,
            group_threads: 1024,
            compute_units: 16,
            unit_waves: 32,
            thread_registers: 256,
            unit_registers: 98304,
            group_memory_bytes: 65536,
            group_memory_banks: 32,
            load_bytes: 16,
            matrix_tiles: vec![tile],
        }),
        ..Facts::default()
    }
}

/// The same product of halves.
fn halves(m: i64, k: i64, n: i64) -> Kernel {
    let mut kernel = matmul(m, k, n);
    let g = &mut kernel.uops;
    let product = g
        .toposort(&[kernel.sink])
        .into_iter()
        .find(|&id| g.op(id) == Op::Binary(Binary::Mul) && g.ty(id) == DType::F32.scalar());
    let product = product.unwrap();
    let factors: Vec<_> = g.src(product).to_vec();
    let cast: Vec<_> = factors
        .iter()
        .map(|&load| {
            let node = g.get(load).clone();
            let Op::Param { slot } = g.op(node.src[0]) else {
                return load;
            };
            let half = g.param(slot, DType::F16);
            let load = g.load(half, &node.src[1..]);
            g.cast(load, DType::F32)
        })
        .collect();
    let new = g.mul(cast[0], cast[1]);
    kernel.sink = substitute(g, kernel.sink, &FxHashMap::from_iter([(product, new)]));
    kernel.params[0].dtype = DType::F16;
    kernel.params[1].dtype = DType::F16;
    kernel
}

#[test]
fn blocks_tiles_and_instructions_are_points_and_apply_again() {
    let facts = facts();
    for (kernel, wanted) in [
        (matmul(64, 32, 64), "stage("),
        (halves(64, 64, 64), "tensorcore("),
    ] {
        let start = Point::default();
        let heuristic = start.build(&kernel, &facts, usize::MAX).unwrap();
        let longest = longest(&heuristic.linear);
        let (mut found, mut plain, mut codes) = (0, 0, Vec::new());
        for (_, point) in start.neighbours(&heuristic.recipe.opts, &facts) {
            let Ok(candidate) = point.build(&kernel, &facts, longest) else {
                continue;
            };
            let text = print_opts(&candidate.recipe.opts);
            match text.contains(wanted) {
                true => found += 1,
                false => plain += 1,
            }
            let again = apply(&kernel, &parse_opts(&text).unwrap()).unwrap();
            let again = print_linear(&lower(&again, &facts).unwrap());
            assert_eq!(again, print_linear(&candidate.linear), "{text}");
            codes.push(candidate.code);
        }
        codes.sort_unstable();
        codes.dedup();
        assert!(found > 5 && plain > 0, "{wanted}: {found} {plain}");
        assert!(codes.len() > 5, "{}", codes.len());
    }
}

#[test]
fn what_the_device_has_no_room_for_is_given_up_and_told() {
    let mut facts = facts();
    let kernel = matmul(128, 64, 128);
    assert_eq!(choose(&kernel, &facts).unwrap().refused, None);
    if let Some(gpu) = &mut facts.gpu {
        gpu.group_threads = 64;
    }
    // 256 threads where nothing is staged, as a search may want.
    let wide = Point {
        choices: crate::opt::Choices {
            simple: true,
            threads: Some(256),
            ..Default::default()
        },
        ..Point::default()
    };
    let wide_columns = matmul(64, 64, 8192);
    let refused = wide.build(&wide_columns, &facts, usize::MAX).unwrap_err();
    assert!(refused.message.contains("the target has 64"), "{refused}");
    let chosen = |facts: &Facts| choose(&wide_columns, facts).unwrap();
    let staged = chosen(&facts);
    assert!(staged.opts.iter().any(|o| matches!(o, Opt::Stage { .. })));
    assert_eq!(staged.refused, None);
    // No room for tiles either: nothing is left but to say so.
    if let Some(gpu) = &mut facts.gpu {
        gpu.group_memory_bytes = 2048;
    }
    let plain = chosen(&facts);
    let why = plain.refused.unwrap_or_default();
    assert!(
        plain.opts.is_empty() && why.contains("the target has 64"),
        "{why}"
    );
}

/// Candidates that were loaded and turns that were timed; 8 waves of one column are best.
#[derive(Default)]
struct Counting {
    loaded: usize,
    turns: std::rc::Rc<std::cell::Cell<usize>>,
}

struct Turn(f64, std::rc::Rc<std::cell::Cell<usize>>);

impl Runner for Turn {
    fn time(&mut self) -> Result<f64> {
        self.1.set(self.1.get() + 1);
        Ok(self.0)
    }
    fn outputs(&mut self) -> Result<Vec<Output>> {
        Ok(Vec::new())
    }
}

impl Evaluate for Counting {
    fn load(&mut self, candidates: &[&Candidate]) -> Vec<Result<Box<dyn Runner>>> {
        self.loaded += candidates.len();
        let one = |c: &&Candidate| -> Result<Box<dyn Runner>> {
            let text = print_opts(&c.recipe.opts);
            let seconds = if text.contains("stage(") && text.contains(",4,unroll") {
                0.7
            } else {
                1.0
            };
            Ok(Box::new(Turn(seconds, self.turns.clone())))
        };
        candidates.iter().map(one).collect()
    }
    fn stop(&self) -> bool {
        self.loaded > 400
    }
    fn failed(&mut self, _: &Recipe, _: &Error) {}
    fn tried(&mut self, _: usize) {}
}

#[test]
fn a_device_is_asked_about_blocks() {
    let kernel = matmul(64, 32, 64);
    let task = Task {
        kernel: &kernel,
        hash: "h",
        known: None,
        seeds: &[],
    };
    let settings = Settings { beam: 1, turns: 5 };
    let mut device = Counting::default();
    let best = search(&task, &facts(), &settings, &mut device, &mut |_| Ok(())).unwrap();
    assert!(
        device.loaded > 5 && device.turns.get() > 10,
        "{}",
        device.loaded
    );
    let text = print_opts(&best.recipe.opts);
    assert!(
        text.contains("stage(") && text.contains(",4,unroll"),
        "{text}"
    );
    assert!(apply(&kernel, &best.recipe.opts).is_ok());
}
