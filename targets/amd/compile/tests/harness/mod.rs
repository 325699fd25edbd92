//! Models, targets and comparisons that the tests share.
#![allow(dead_code)]

pub mod copies;
pub mod damaged;
pub mod needs;
pub mod simulated;
pub mod streamed;
pub mod survivors;

use std::path::PathBuf;
use tinyc_compiler::driver::{Options, Silent, compile};
use tinyc_compiler::graph::{Builder, Graph};
use tinyc_compiler::onnx::{LoadOptions, load};
use tinyc_compiler::program::Built;
use tinyc_compiler::target::Target;
use tinyc_compiler::uop::{DType, Unary};
use tinyc_target_amd::{AmdTarget, Chip, Options as AmdOptions};
use tinyc_target_cpu::CpuTarget;

/// What a model computes on this machine's processor.
pub fn reference() -> CpuTarget {
    CpuTarget::new(tinyc_target_cpu::Options::default()).unwrap()
}

pub fn target(chip: Chip) -> AmdTarget {
    let options = AmdOptions {
        cc: None,
        cache: None,
        on_host: true,
    };
    AmdTarget::new(chip, options).unwrap()
}

/// The target, when there is a compiler for it.
pub fn ready(chip: Chip) -> Option<AmdTarget> {
    let target = target(chip);
    match target.toolchain() {
        Ok(_) => Some(target),
        Err(e) => {
            println!("skipped: {e}");
            None
        }
    }
}

pub fn build(graph: Graph, target: &dyn Target) -> Built {
    let options = Options::named("model");
    compile(graph, target, &options, &mut Silent).unwrap().built
}

/// Runs a model on inputs that are the same each time.
pub fn run(graph: &Graph, target: &dyn Target) -> Vec<Vec<f32>> {
    let built = build(graph.clone(), target);
    let inputs: Vec<Vec<u8>> = built
        .program
        .inputs
        .iter()
        .map(|io| {
            if io.dtype != DType::F32 {
                // Small numbers: indices, lengths, flags.
                return (0..io.bytes())
                    .map(|i| u8::from(i % io.dtype.size() == 0))
                    .collect();
            }
            let values = (0..io.elements()).map(|i| ((i * 37 % 101) as f32 * 0.37).sin());
            values.flat_map(f32::to_le_bytes).collect()
        })
        .collect();
    let mut outputs: Vec<Vec<u8>> = built
        .program
        .outputs
        .iter()
        .map(|io| vec![0; io.bytes()])
        .collect();
    let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
    let mut slices: Vec<&mut [u8]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
    let mut session = target.load(&built, 1).unwrap();
    session.run(&inputs, &mut slices).unwrap();
    outputs
        .iter()
        .map(|bytes| {
            bytes
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect()
        })
        .collect()
}

/// Norm of the difference over the norm of what is expected.
pub fn distance(found: &[f32], expected: &[f32]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let pairs = found.iter().zip(expected);
    let difference = norm(&mut pairs.map(|(a, b)| f64::from(*a) - f64::from(*b)));
    difference / norm(&mut expected.iter().map(|v| f64::from(*v))).max(1e-30)
}

/// Builtin models, and those of `TINYC_MODELS`.
pub fn models() -> Vec<(String, Graph)> {
    let mut out: Vec<(String, Graph)> = tinyc_models::names()
        .iter()
        .map(|n| (n.to_string(), tinyc_models::by_name(n).unwrap()))
        .collect();
    let Some(dir) = std::env::var_os("TINYC_MODELS").map(PathBuf::from) else {
        return out;
    };
    for name in [
        "mnist_opt",
        "mnist_pytorch",
        "ultraface_slim320_simpl",
        "yunet_n_320_320",
        "silero_vad_ifless",
        "resnet18",
        "mobilenet_v2",
        "deit_tiny",
    ] {
        let path = dir.join(format!("{name}.onnx"));
        if path.is_file() {
            // Only a recurrent model leaves shapes open.
            let shapes = match name {
                "silero_vad_ifless" => vec![("input", vec![1, 576]), ("state", vec![2, 1, 128])],
                _ => Vec::new(),
            };
            let options = LoadOptions {
                shapes: shapes
                    .into_iter()
                    .map(|(n, s)| (n.to_string(), s))
                    .collect(),
                ..LoadOptions::default()
            };
            let imported = load(&path, &options).unwrap();
            out.push((name.to_string(), imported.graph));
        }
    }
    out
}

/// Models of the folder that `TINYC_UNSEEN` names, up to so many bytes.
pub fn unseen(most: u64) -> Vec<(String, Graph)> {
    let Some(dir) = std::env::var_os("TINYC_UNSEEN").map(PathBuf::from) else {
        return Vec::new();
    };
    let files = std::fs::read_dir(dir).unwrap().flatten();
    let mut paths: Vec<PathBuf> = files.map(|f| f.path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "onnx"));
    paths.retain(|p| p.metadata().is_ok_and(|m| m.len() <= most));
    paths.sort_by_key(|p| p.metadata().map_or(0, |m| m.len()));
    let graph = |p: &PathBuf| {
        let name = p.file_stem()?.to_string_lossy().into_owned();
        let imported = load(p, &LoadOptions::default()).ok()?;
        Some((name, imported.graph))
    };
    paths.iter().filter_map(graph).collect()
}

/// One small kernel.
pub fn negate() -> Graph {
    let mut b = Builder::new("negate");
    let x = b.input("x", DType::F32, &[32]).unwrap();
    let y = b.unary(Unary::Neg, x).unwrap();
    b.output("y", y);
    b.finish()
}

/// A product of single floats and constants.
pub fn product(rows: i64, depth: i64, columns: i64) -> Graph {
    let mut b = Builder::new("product");
    let x = b.input("x", DType::F32, &[rows, depth]).unwrap();
    let values: Vec<f32> = (0..depth * columns)
        .map(|i| ((i % 23) as f32 - 11.0) / 8.0)
        .collect();
    let w = b.floats("w", &[depth, columns], &values).unwrap();
    let y = b.matmul(x, w).unwrap();
    b.output("y", y);
    b.finish()
}

/// A product of halves of single floats.
pub fn product_of_halves(half: DType, rows: i64, depth: i64, columns: i64) -> Graph {
    let mut b = Builder::new("halves");
    let x = b.input("x", DType::F32, &[rows, depth]).unwrap();
    let values: Vec<f32> = (0..depth * columns)
        .map(|i| ((i % 23) as f32 - 11.0) / 8.0)
        .collect();
    let w = b.floats("w", &[depth, columns], &values).unwrap();
    let [x, w] = [x, w].map(|t| b.cast(t, half).unwrap());
    let y = b.matmul(x, w).unwrap();
    let y = b.relu(y).unwrap();
    let y = b.cast(y, DType::F32).unwrap();
    b.output("y", y);
    b.finish()
}
