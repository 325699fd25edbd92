//! Damaged models through the whole compiler.
//!
//! Models (the ONNX node tests, small whole models) are decoded, one to three things in them are changed (an
//! input dropped or swapped, a rank, an extent, an attribute, a type, a constant's values, a bound value), and the
//! result is imported and compiled as far as machine kernels and the memory plan, without the C compiler. Any
//! answer is right but a panic, an error that blames tinyc, or none within the time limit.
//!
//! `TINYC_FUZZ_ROUNDS` says how many damages each model gets, `TINYC_FUZZ_SEED` which, `TINYC_FUZZ_CASE` limits the
//! models to names that hold it.

mod damage;

use damage::{Random, change};
use prost::Message;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tinyc_compiler::diag::{Error, Kind};
use tinyc_compiler::driver::{self, Options, Silent};
use tinyc_compiler::onnx::{self, LoadOptions, proto::ModelProto};
use tinyc_compiler::program::Weight;
use tinyc_target_cpu::CpuTarget;
use tinyc_tests::root;

/// A damaged model may stay valid and large; a damaged small one must be answered at once.
const LIMIT: Duration = Duration::from_secs(if cfg!(debug_assertions) { 40 } else { 10 });
/// Whole models above this size are imported and not compiled.
const COMPILED_BYTES: usize = 400_000;

struct Case {
    name: String,
    model: ModelProto,
    data: Vec<Weight>,
    compiled: bool,
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |v| v.parse().expect("a number"))
}

/// The node tests, and `.onnx` files of `TINYC_MODELS` and of the repository.
fn cases() -> Vec<Case> {
    let nodes = std::env::var_os("TINYC_NODE_TESTS")
        .map_or_else(|| root().join("target/node_tests"), PathBuf::from);
    let mut models: Vec<PathBuf> = files(&nodes)
        .into_iter()
        .map(|p| p.join("model.onnx"))
        .collect();
    models.extend(files(&root().join("models")));
    if let Some(dir) = std::env::var_os("TINYC_MODELS") {
        models.extend(files(Path::new(&dir)));
    }
    let only = std::env::var("TINYC_FUZZ_CASE").unwrap_or_default();
    models
        .into_iter()
        .filter(|p| p.extension().is_some_and(|e| e == "onnx"))
        .filter_map(|path| {
            let bytes = std::fs::read(&path).ok()?;
            let model = ModelProto::decode(&*bytes).ok()?;
            let folder = path.parent()?;
            let is_node_test = folder.join("test_data_set_0").exists();
            let name = if is_node_test {
                folder.file_name()
            } else {
                path.file_name()
            };
            Some(Case {
                name: name?.to_string_lossy().into_owned(),
                data: data(&path, folder),
                model,
                compiled: bytes.len() <= COMPILED_BYTES,
            })
        })
        .filter(|c| c.name.contains(&only))
        .collect()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut out: Vec<PathBuf> = entries.map(|e| e.path()).collect();
    out.sort();
    out
}

/// Integer inputs of the first data set: their values may decide shapes.
fn data(model: &Path, folder: &Path) -> Vec<Weight> {
    let names = onnx::input_names(model).unwrap_or_default();
    let tensor = |(i, name): (usize, String)| {
        let path = folder.join(format!("test_data_set_0/input_{i}.pb"));
        let weight = onnx::read_tensor(&path)
            .ok()
            .filter(|w| !w.dtype.is_float())?;
        Some(Weight { name, ..weight })
    };
    names.into_iter().enumerate().filter_map(tensor).collect()
}

/// Compiles as far as plain data goes.
fn compile(
    model: &ModelProto,
    options: &LoadOptions,
    whole: bool,
    target: &CpuTarget,
) -> Result<(), Error> {
    let imported = onnx::load_bytes(model.encode_to_vec(), options)?;
    if whole {
        driver::compile(
            imported.graph,
            target,
            &Options::named("damaged"),
            &mut Silent,
        )?;
    }
    Ok(())
}

/// What is running, and since when.
type Running = Arc<Mutex<Option<(String, Instant)>>>;

fn run(rounds: u64, running: &Running) -> (u64, Vec<String>) {
    let target =
        CpuTarget::new(tinyc_target_cpu::Options::default()).expect("this host has a level");
    let places: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = places.clone();
    std::panic::set_hook(Box::new(move |info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        println!(
            "panic at {place}: {}",
            info.payload().downcast_ref::<String>().map_or("", |s| s)
        );
        seen.lock().expect("not poisoned").push(place);
    }));
    let seed = number("TINYC_FUZZ_SEED", 0);
    let mut failures: Vec<String> = Vec::new();
    let mut fail = |text: String| {
        // Printed at once: a later case may hang.
        println!("{text}");
        failures.push(text);
    };
    let (mut done, mut compiled) = (0, 0);
    for case in cases() {
        for round in 0..rounds {
            let mut random = Random::of(&case.name, seed + round);
            let mut model = case.model.clone();
            let mut data: Vec<Weight> = case
                .data
                .iter()
                .filter(|_| random.below(4) > 0)
                .cloned()
                .collect();
            let mut what = Vec::new();
            for _ in 0..=random.below(3) {
                what.push(change(&mut model, &mut data, &mut random));
            }
            let options = LoadOptions {
                constants: data.into_iter().map(|w| (w.name.clone(), w)).collect(),
                ..LoadOptions::default()
            };
            let label = format!("{} round {}: {}", case.name, seed + round, what.join("; "));
            *running.lock().expect("not poisoned") = Some((label.clone(), Instant::now()));
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                compile(&model, &options, case.compiled, &target)
            }));
            done += 1;
            match outcome {
                Err(_) => {
                    let places = std::mem::take(&mut *places.lock().expect("not poisoned"));
                    fail(format!("panics at {}: {label}", places.join(", ")));
                }
                Ok(Err(e)) if e.kind == Kind::Bug => fail(format!("{e}: {label}")),
                Ok(Ok(())) => compiled += 1,
                Ok(Err(_)) => {}
            }
        }
    }
    let _ = std::panic::take_hook();
    println!("{done} damaged models, {compiled} of them still compile");
    (done, failures)
}

#[test]
fn damaged_models_are_answered() {
    let rounds = number("TINYC_FUZZ_ROUNDS", 2);
    let running = Running::default();
    let watched = running.clone();
    let worker = std::thread::spawn(move || run(rounds, &watched));
    while !worker.is_finished() {
        std::thread::sleep(Duration::from_millis(50));
        let state = running.lock().expect("not poisoned").clone();
        if let Some((label, since)) = state
            && since.elapsed() > LIMIT
        {
            // A panic here would wait for nobody: the worker is stuck.
            let _ = std::panic::take_hook();
            panic!("no answer after {LIMIT:?}: {label}");
        }
    }
    let (done, failures) = worker.join().expect("the worker catches panics");
    assert!(
        failures.is_empty(),
        "{} of {done}:\n{}",
        failures.len(),
        failures.join("\n")
    );
}
