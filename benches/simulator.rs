//! How fast the simulated GPU executes code: wave instructions a second, for arithmetic in registers, through local memory
//! and on the matrix unit. Without clang-19 there is nothing to measure, which it says.
//!
//! `cargo bench -p tinyc-benches --bench simulator -- --quick`
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::path::Path;
use std::process::Command;
use tinyc_simgpu::code_object::CodeObject;
use tinyc_simgpu::device::{Device, Loaded};

/// Kernels of the simulator's tests, compiled.
fn compile() -> Option<CodeObject> {
    let source =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/simgpu/tests/kernels/whole.c");
    let dir = tempfile::tempdir().ok()?;
    let object = dir.path().join("whole.o");
    let status = Command::new("clang-19")
        .args(["-x", "c", "-target", "amdgcn-amd-amdhsa", "-mcpu=gfx1100"])
        .args(["-nogpulib", "-w", "-O3", "-c", "-o"])
        .args([&object, &source])
        .status();
    status.ok()?.success().then_some(())?;
    CodeObject::parse(&std::fs::read(object).ok()?).ok()
}

fn simulator(c: &mut Criterion) {
    let Some(code) = compile() else {
        eprintln!("skipped: clang-19 is missing");
        return;
    };
    let mut device = Device::new(1);
    let code: Loaded = device.load(&code).expect("code is loaded");
    let n = 256u64;
    let mut map = |bytes: u64| device.memory.map(bytes as usize);
    let matrices = [map(4 * n * n), map(4 * n * n), map(4 * n * n)];
    for at in matrices {
        device
            .memory
            .write(at, &vec![0; 4 * (n * n) as usize])
            .expect("mapped");
    }
    let arguments: Vec<u8> = matrices
        .iter()
        .chain(&[n])
        .flat_map(|a| a.to_le_bytes())
        .collect();
    let arguments = device.arguments(&arguments).expect("mapped");
    let mut group = c.benchmark_group("simulator");
    for (kernel, groups, threads) in [
        ("matmul_wide", [2, 64, 1], [32, 1, 1]),
        ("matmul", [16, 16, 1], [16, 16, 1]),
        ("wmma", [16, 16, 1], [32, 1, 1]),
    ] {
        let counters = device.dispatch(&code, kernel, groups, threads, arguments);
        let instructions = counters.expect("it runs").total();
        group.throughput(Throughput::Elements(instructions));
        group.bench_function(kernel, |b| {
            b.iter(|| device.dispatch(&code, kernel, groups, threads, arguments));
        });
    }
}

criterion_group!(benches, simulator);
criterion_main!(benches);
