//! Whole models on the simulated device: its interpreter executes the machine code of every kernel, and results are those of the CPU target.
//!
//! `TINYC_MODELS` names a folder with more models, `.onnx` files. Without clang for AMDGPU a test says that it skips.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod harness;

use harness::simulated::{Launches, simulated, take};
use harness::{distance, models, product, product_of_halves, ready, reference, run, unseen};
use tinyc_compiler::graph::{Builder, Graph};
use tinyc_compiler::uop::DType;
use tinyc_simgpu::wave::Counters;
use tinyc_target_amd::Chip;

#[test]
fn models_run_on_the_device() {
    let Some(target) = ready(Chip::Gfx1100) else {
        return;
    };
    let ((device, launches), reference) = (simulated(target), reference());
    for (name, graph) in models() {
        let (found, expected) = (run(&graph, &device), run(&graph, &reference));
        for (n, (a, b)) in found.iter().zip(&expected).enumerate() {
            let far = distance(a, b);
            assert!(far < 1e-5, "{name}: output {n} is off by {far:e}");
        }
        count(&name, &launches);
    }
}

#[test]
fn matrix_instructions_run_on_the_device() {
    let Some(target) = ready(Chip::Gfx1100) else {
        return;
    };
    let ((device, launches), reference) = (simulated(target), reference());
    for (half, rows, depth, columns) in [
        (DType::F16, 197, 192, 192),
        (DType::BF16, 197, 192, 192),
        (DType::F16, 1024, 1024, 1024),
    ] {
        let graph = product_of_halves(half, rows, depth, columns);
        let (found, expected) = (run(&graph, &device), run(&graph, &reference));
        let far = distance(&found[0], &expected[0]);
        let least = if half == DType::F16 { 1e-3 } else { 1e-2 };
        assert!(far < least, "{rows}x{depth}x{columns} is off by {far:e}");
        let all = take(&launches);
        let conflicts: u64 = all.iter().map(|c| c.1.conflicts).sum();
        assert_eq!(conflicts, 0, "{all:?}");
    }
}

#[test]
fn unseen_models_run_on_the_device() {
    let Some(target) = ready(Chip::Gfx1100) else {
        return;
    };
    let ((device, launches), reference) = (simulated(target), reference());
    for (name, graph) in unseen(16 << 20) {
        let (found, expected) = (run(&graph, &device), run(&graph, &reference));
        for (n, (a, b)) in found.iter().zip(&expected).enumerate() {
            let far = distance(a, b);
            assert!(far < 1e-4, "{name}: output {n} is off by {far:e}");
        }
        count(&name, &launches);
    }
}

/// Prints what a model's launches did together, and the launch with the most instructions.
fn count(name: &str, launches: &Launches) {
    let all = take(launches);
    let sum = |what: fn(&Counters) -> u64| -> u64 { all.iter().map(|c| what(&c.1)).sum() };
    let hottest = all.iter().max_by_key(|c| c.1.total());
    for (kernel, c) in all.iter().filter(|c| c.1.conflicts > 0) {
        println!("{name}: {kernel}: {} conflicts", c.conflicts);
    }
    println!(
        "{name}: {} instructions, {} bytes loaded, {} stored, {} LDS, {} conflicts; most: {:?}",
        sum(Counters::total),
        sum(|c| c.loaded),
        sum(|c| c.stored),
        sum(|c| c.lds),
        sum(|c| c.conflicts),
        hottest.map(|(kernel, c)| (kernel, c.total()))
    );
}

fn pointwise(channels: i64, out: i64, size: i64) -> Graph {
    let mut b = Builder::new("pointwise");
    let x = b
        .input("x", DType::F32, &[1, channels, size, size])
        .unwrap();
    let values: Vec<f32> = (0..channels * out).map(|i| (i % 7) as f32 - 3.0).collect();
    let w = b.floats("w", &[out, channels, 1, 1], &values).unwrap();
    let y = b.conv2d(x, w, None, 1, 0, 1).unwrap();
    let y = b.relu(y).unwrap();
    b.output("y", y);
    b.finish()
}

#[test]
fn staged_tiles_have_no_conflicts_and_save_traffic() {
    let Some(target) = ready(Chip::Gfx1100) else {
        return;
    };
    let ((device, launches), reference) = (simulated(target), reference());
    for (name, graph, rows, columns, depth) in [
        ("matmul", product(256, 256, 256), 256, 256, 256),
        ("odd matmul", product(197, 192, 768), 197, 768, 192),
        ("pointwise", pointwise(64, 128, 28), 128, 784, 64),
    ] {
        let (found, expected) = (run(&graph, &device), run(&graph, &reference));
        let far = distance(&found[0], &expected[0]);
        assert!(far < 1e-5, "{name} is off by {far:e}");
        let all = take(&launches);
        let conflicts: u64 = all.iter().map(|c| c.1.conflicts).sum();
        assert_eq!(conflicts, 0, "{name}: {all:?}");
        assert!(all.iter().any(|c| c.1.lds > 0), "{name}: {all:?}");
        // Threads that load for themselves, in tiles of 8 rows by 4 columns of a wave.
        let apart = rows * columns * depth * 4 / 8;
        let loaded: u64 = all.iter().map(|c| c.1.loaded).sum();
        println!("{name}: {loaded} bytes, apart {apart}");
        assert!(loaded * 2 < apart, "{name}: {loaded} bytes");
    }
}
