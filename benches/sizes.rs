//! Time of each stage on synthetic graphs of 100 to 100,000 nodes.
//!
//! Criterion prints elements (nodes) a second: a stage that is linear in the size of the graph keeps the figure.
//! `cargo bench -p tinyc-benches --bench sizes -- --quick schedule` for one stage.

use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};
use std::hint::black_box;
use tinyc_benches::{Stages, blocks, chain, chain_onnx, distinct, graph_passes, lower, optimise};
use tinyc_compiler::diag::Result;
use tinyc_compiler::graph::Graph;
use tinyc_compiler::target::Facts;
use tinyc_compiler::{onnx, plan, render, schedule};

/// Nodes of the graphs.
const SIZES: [usize; 4] = [100, 1_000, 10_000, 100_000];

/// Makers of graphs, by name.
type Kind = (&'static str, fn(usize) -> Result<Graph>);
const KINDS: [Kind; 3] = [("chain", chain), ("blocks", blocks), ("distinct", distinct)];

fn group<'a>(c: &'a mut Criterion, stage: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group(stage);
    // The largest graphs take seconds.
    group.sample_size(10);
    group
}

fn import(c: &mut Criterion) {
    let mut group = group(c, "import");
    for nodes in SIZES {
        let file = chain_onnx(nodes);
        group.throughput(Throughput::Elements(nodes as u64));
        group.bench_function(BenchmarkId::new("chain", nodes), |b| {
            b.iter(|| onnx::load_bytes(file.clone(), &onnx::LoadOptions::default()).unwrap());
        });
    }
}

/// Benches one stage on every kind and size. What it starts from is made only when the benchmark is selected.
fn stage(c: &mut Criterion, name: &str, run: fn(&Stages, &Facts)) {
    let facts = Facts::default();
    let mut group = group(c, name);
    for (kind, make) in KINDS {
        for nodes in SIZES {
            let mut made = None;
            group.throughput(Throughput::Elements(nodes as u64));
            group.bench_function(BenchmarkId::new(kind, nodes), |b| {
                let s = made.get_or_insert_with(|| {
                    make(nodes).and_then(|g| Stages::of(g, &facts)).unwrap()
                });
                b.iter(|| run(black_box(s), &facts));
            });
        }
    }
}

fn stages(c: &mut Criterion) {
    stage(c, "graph", |s, _| {
        black_box(graph_passes(&s.graph).unwrap());
    });
    stage(c, "schedule", |s, facts| {
        black_box(schedule::schedule(&s.primitives, facts, "bench").unwrap());
    });
    stage(c, "opt", |s, facts| {
        black_box(optimise(&s.scheduled, facts).unwrap());
    });
    stage(c, "codegen", |s, facts| {
        black_box(lower(&s.optimised, facts).unwrap());
    });
    stage(c, "render", |s, _| {
        for list in &s.lists {
            black_box(render::c::render(list).unwrap());
        }
    });
    stage(c, "plan", |s, facts| {
        black_box(plan::plan(&s.program, facts).unwrap());
    });
}

criterion_group!(benches, import, stages);
criterion_main!(benches);
