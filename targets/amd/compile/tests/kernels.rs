//! Kernels of whole models: their C, what it computes on this machine, and the code objects that clang makes of it.
//!
//! `TINYC_MODELS` names a folder with more models, `.onnx` files. Without clang for AMDGPU a test says that it skips.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod harness;

use harness::{build, distance, models, product_of_halves, ready, reference, run, target};
use tinyc_compiler::graph::{Builder, Graph};
use tinyc_compiler::target::Target;
use tinyc_compiler::uop::DType;
use tinyc_target_amd::Chip;

/// Most bytes of private memory that a kernel may use: a few values that stay in memory while a loop runs do not hurt.
const PRIVATE: u32 = 256;

#[test]
fn kernels_compute_what_the_model_says() {
    let Some(device) = ready(Chip::Gfx1100) else {
        return;
    };
    let reference = reference();
    for name in ["mnist", "gpt2_block", "vision_trunk"] {
        let graph = tinyc_models::by_name(name).unwrap();
        let (found, expected) = (run(&graph, &device), run(&graph, &reference));
        for (n, (a, b)) in found.iter().zip(&expected).enumerate() {
            let far = distance(a, b);
            assert!(far < 1e-5, "{name}: output {n} is off by {far:e}");
            assert!(b.iter().any(|&v| v != 0.0), "{name}: output {n} is zero");
        }
    }
}

#[test]
fn every_kernel_becomes_a_code_object() {
    let Some(device) = ready(Chip::Gfx1100) else {
        return;
    };
    for (name, graph) in models() {
        let built = build(graph, &device);
        let model = device.build(&built).unwrap();
        let grids = &model.dispatches.grids;
        let waves = model.code.iter().map(|c| c.occupancy).min().unwrap_or(0);
        println!("{name}: {} kernels, at least {waves} waves", grids.len());
        for (code, grid) in model.code.iter().zip(grids) {
            let kernel = &code.name;
            assert_eq!(code.threads, grid.threads);
            let private = code.descriptor.private_bytes;
            assert!(
                private <= PRIVATE,
                "{name}: {kernel}: {private} bytes private"
            );
            assert!(
                code.occupancy >= 4,
                "{name}: {kernel}: {} waves",
                code.occupancy
            );
            let image = code.image().unwrap();
            let entry = image.descriptor as i64 + code.descriptor.entry;
            assert_eq!(entry as u64, image.entry, "{name}: {kernel}");
            assert_eq!(image.entry % 256, 0, "{name}: {kernel}");
        }
    }
}

#[test]
fn other_chips_compile() {
    for chip in [Chip::Gfx1201, Chip::Gfx942] {
        let Some(device) = ready(chip) else { return };
        for (name, graph) in models() {
            let model = device.build(&build(graph, &device)).unwrap();
            for code in &model.code {
                let private = code.descriptor.private_bytes;
                assert!(private <= PRIVATE, "{name}: {}: {private}", code.name);
            }
        }
    }
}

/// The C of all kernels of a graph, without types and helpers.
fn texts(graph: Graph) -> String {
    let device = target(Chip::Gfx1100);
    let built = build(graph, &device);
    let mut out = String::new();
    for kernel in &built.linear {
        let text = device.render(kernel).unwrap();
        let start = text.find("TINYC_KERNEL").unwrap();
        out.push_str(&text[start..]);
    }
    out
}

#[test]
fn halves_are_multiplied_by_matrix_instructions() {
    let Some(device) = ready(Chip::Gfx1100) else {
        return;
    };
    let reference = reference();
    for (half, name, least) in [(DType::F16, "F16", 1e-3), (DType::BF16, "BF16", 1e-2)] {
        for (rows, depth, columns) in [(256, 64, 128), (200, 96, 40), (197, 192, 192)] {
            let graph = product_of_halves(half, rows, depth, columns);
            assert!(texts(graph.clone()).contains(&format!("TINYC_MATRIX_{name}_16X16X16")));
            let (found, expected) = (run(&graph, &device), run(&graph, &reference));
            let far = distance(&found[0], &expected[0]);
            assert!(
                far < least,
                "{name} {rows}x{depth}x{columns} is off by {far:e}"
            );
            let model = device.build(&build(graph, &device)).unwrap();
            for code in &model.code {
                assert_eq!(code.descriptor.private_bytes, 0);
            }
        }
    }
}

/// On this machine, with each chip's own distribution of elements over threads; and the instructions that clang makes of it.
#[test]
fn other_chips_have_matrix_instructions_too() {
    let reference = reference();
    let wanted = [
        (Chip::Gfx1201, DType::F16, "v_wmma_f32_16x16x16_f16"),
        (Chip::Gfx1201, DType::BF16, "v_wmma_f32_16x16x16_bf16"),
        (Chip::Gfx942, DType::F16, "v_mfma_f32_32x32x8_f16"),
        (Chip::Gfx942, DType::BF16, "v_mfma_f32_32x32x8_bf16"),
    ];
    for (chip, half, instruction) in wanted {
        let Some(device) = ready(chip) else { return };
        let graph = product_of_halves(half, 96, 64, 128);
        let (found, expected) = (run(&graph, &device), run(&graph, &reference));
        let far = distance(&found[0], &expected[0]);
        assert!(far < 1e-2, "{instruction} is off by {far:e}");
        let model = device.build(&build(graph, &device)).unwrap();
        let listings: Vec<String> = model
            .code
            .iter()
            .filter_map(|c| listing(&c.bytes))
            .collect();
        let seen = listings.iter().any(|l| l.contains(instruction));
        assert!(
            seen || listings.is_empty(),
            "{}: no {instruction}",
            chip.name()
        );
    }
}

/// What LLVM's disassembler says of a code object; `None` without it.
fn listing(code: &[u8]) -> Option<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), code).unwrap();
    let names = ["llvm-objdump-19", "llvm-objdump"].into_iter();
    let mut outputs = names.filter_map(|name| {
        let mut command = std::process::Command::new(name);
        command.arg("-d").arg(file.path()).output().ok()
    });
    let output = outputs.find(|o| o.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn a_convolution_in_c() {
    let mut b = Builder::new("conv");
    let x = b.input("x", DType::F32, &[1, 16, 56, 56]).unwrap();
    let values: Vec<f32> = (0..32 * 16 * 9).map(|i| (i % 7) as f32 - 3.0).collect();
    let w = b.floats("w", &[32, 16, 3, 3], &values).unwrap();
    let y = b.conv2d(x, w, None, 1, 1, 1).unwrap();
    b.output("y", y);
    insta::assert_snapshot!(texts(b.finish()));
}

#[test]
fn a_softmax_in_c() {
    let mut b = Builder::new("softmax");
    let x = b.input("x", DType::F32, &[64, 300]).unwrap();
    let y = b.softmax(x, 1).unwrap();
    b.output("y", y);
    insta::assert_snapshot!(texts(b.finish()));
}

#[test]
fn a_matmul_in_c() {
    let mut b = Builder::new("matmul");
    let x = b.input("x", DType::F32, &[128, 256]).unwrap();
    let values: Vec<f32> = (0..256 * 512).map(|i| (i % 7) as f32 - 3.0).collect();
    let w = b.floats("w", &[256, 512], &values).unwrap();
    let y = b.matmul(x, w).unwrap();
    b.output("y", y);
    insta::assert_snapshot!(texts(b.finish()));
}
