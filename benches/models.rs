//! Time of each stage on the built-in models.
//!
//! `cargo bench -p tinyc-benches --bench models -- resnet18` for one of them. Kernels are treated one after another here;
//! the driver treats them in parallel.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use tinyc_benches::{Stages, graph_passes, lower, optimise};
use tinyc_compiler::target::{Facts, Target};
use tinyc_compiler::{diag, onnx, plan, render, schedule};
use tinyc_target_cpu::{CpuTarget, Options};

fn facts() -> diag::Result<Facts> {
    Ok(CpuTarget::new(Options::default())?.facts().clone())
}

fn import(c: &mut Criterion) {
    let file = include_bytes!("../models/mnist.onnx");
    c.bench_function("import/mnist.onnx", |b| {
        b.iter(|| onnx::load_bytes(file.to_vec(), &onnx::LoadOptions::default()).unwrap());
    });
}

fn stages(c: &mut Criterion) {
    let facts = facts().unwrap();
    for name in tinyc_models::names() {
        let graph = tinyc_models::by_name(name).unwrap();
        let s = Stages::of(graph, &facts).unwrap();
        let mut group = c.benchmark_group("models");
        let id = |stage: &str| BenchmarkId::new(stage, name);
        group.bench_function(id("graph"), |b| {
            b.iter(|| graph_passes(black_box(&s.graph)).unwrap());
        });
        group.bench_function(id("schedule"), |b| {
            b.iter(|| schedule::schedule(black_box(&s.primitives), &facts, "bench").unwrap());
        });
        group.bench_function(id("opt"), |b| {
            b.iter(|| optimise(black_box(&s.scheduled), &facts).unwrap());
        });
        group.bench_function(id("codegen"), |b| {
            b.iter(|| lower(black_box(&s.optimised), &facts).unwrap());
        });
        group.bench_function(id("render"), |b| {
            b.iter(|| {
                for list in black_box(&s.lists) {
                    black_box(render::c::render(list).unwrap());
                }
            });
        });
        group.bench_function(id("plan"), |b| {
            b.iter(|| plan::plan(black_box(&s.program), &facts).unwrap());
        });
        group.finish();
    }
}

criterion_group!(benches, import, stages);
criterion_main!(benches);
