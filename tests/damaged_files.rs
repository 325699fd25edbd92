//! Damaged files of every format that tinyc reads: whatever the bytes, the reader answers with a value or an error.
//!
//! Formats: ONNX with its tensors and external data, `.npy` and `.npz` of `.tinyexe` files, `.uop` text (kernels that still parse
//! and verify also go through all passes), the bundle of a `.tinyexe`, the tables of chips. The command line's own reader of arrays
//! is tested beside it. `TINYC_FUZZ_ROUNDS` asks for more damages, `TINYC_FUZZ_SEED` for others.

#[allow(dead_code)]
mod damage;

use damage::Random;
use prost::Message;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Instant;
use tinyc_compiler::diag::{Error, Kind};
use tinyc_compiler::driver::{
    Compiled, Lowered, Options, Silent, compile, kernel_passes, run_pass,
};
use tinyc_compiler::onnx::proto::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorProto,
    ValueInfoProto, data_type,
};
use tinyc_compiler::onnx::{LoadOptions, load, load_bytes, read_tensor};
use tinyc_compiler::program::text::{parse_kernel, parse_linear, print_kernel, print_linear};
use tinyc_compiler::program::verify::{verify_kernel, verify_linear};
use tinyc_compiler::target::{Emit, Facts, Target};
use tinyc_runtime::{bundle, npy, zip};
use tinyc_target_cpu::CpuTarget;
use tinyc_tests::root;

/// Longest time for one damaged file, in seconds.
const LIMIT: u64 = 10;

fn rounds(usual: u64) -> std::ops::Range<u64> {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |v| v.parse().expect("a number"))
    };
    let first = number("TINYC_FUZZ_SEED", 0);
    first..first + number("TINYC_FUZZ_ROUNDS", usual)
}

/// Changes a few bytes, or cuts, repeats or moves a piece.
fn damaged(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for _ in 0..=random.below(3) {
        if out.is_empty() {
            break;
        }
        let at = random.below(out.len());
        let len = 1 + random.below(16);
        let end = (at + len).min(out.len());
        match random.below(8) {
            0 => out.truncate(at),
            1 => drop(out.drain(at..end)),
            2 => {
                let piece = out[at..end].to_vec();
                let to = random.below(out.len());
                out.splice(to..to, piece);
            }
            3 => out[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
            4 => out[at..end].fill(0xff),
            5 => out[at] = out[at].wrapping_add(1),
            6 => out[at] ^= 1 << random.below(8),
            _ => out[at] = random.below(256) as u8,
        }
    }
    out
}

/// Changes text: bytes, whole lines, or numbers.
fn damaged_text(text: &str, random: &mut Random) -> String {
    if random.below(4) == 0 {
        return String::from_utf8_lossy(&damaged(text.as_bytes(), random)).into_owned();
    }
    let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
    for _ in 0..=random.below(3) {
        if lines.is_empty() {
            break;
        }
        let at = random.below(lines.len());
        match random.below(5) {
            0 => drop(lines.remove(at)),
            1 => {
                let line = lines[random.below(lines.len())].clone();
                lines.insert(at, line);
            }
            2 => {
                let other = random.below(lines.len());
                lines.swap(at, other);
            }
            _ => {
                let mut words: Vec<String> = lines[at].split(' ').map(str::to_string).collect();
                let k = random.below(words.len());
                let other = lines[random.below(lines.len())].clone();
                let other: Vec<&str> = other.split(' ').collect();
                words[k] = match random.below(3) {
                    0 => other[random.below(other.len())].to_string(),
                    1 => [
                        "0",
                        "-1",
                        "9223372036854775807",
                        "1e999",
                        "%0",
                        "index",
                        "4294967296",
                        "f16",
                    ][random.below(8)]
                    .to_string(),
                    _ => words[random.below(words.len())].clone(),
                };
                lines[at] = words.join(" ");
            }
        }
    }
    lines.join("\n")
}

/// Runs a reader on each damage; all failures together.
fn survives<T>(
    name: &str,
    usual: u64,
    make: impl Fn(&mut Random) -> T,
    read: impl Fn(&T) -> Result<(), String>,
) {
    let mut failures = Vec::new();
    for round in rounds(usual) {
        let mut random = Random::of(name, round);
        let input = make(&mut random);
        let start = Instant::now();
        match catch_unwind(AssertUnwindSafe(|| read(&input))) {
            Ok(Ok(())) => {}
            Ok(Err(what)) => failures.push(format!("round {round}: {what}")),
            Err(_) => failures.push(format!("round {round} panics")),
        }
        if start.elapsed().as_secs() > LIMIT {
            failures.push(format!("round {round} takes {:?}", start.elapsed()));
        }
    }
    assert!(failures.is_empty(), "{name}:\n{}", failures.join("\n"));
}

/// The kinds that a file may be blamed with.
fn blames_the_file<T>(result: Result<T, Error>) -> Result<(), String> {
    match result {
        Err(e) if !matches!(e.kind, Kind::Model | Kind::Unsupported | Kind::Environment) => {
            Err(format!("{:?}: {e}", e.kind))
        }
        _ => Ok(()),
    }
}

fn target() -> CpuTarget {
    CpuTarget::new(tinyc_target_cpu::Options::default()).expect("this host has a level")
}

fn digits(target: &CpuTarget) -> Compiled {
    let graph = tinyc_models::by_name("mnist").expect("the model is built in");
    compile(graph, target, &Options::named("digits"), &mut Silent).expect("it compiles")
}

#[test]
fn onnx() {
    let model = std::fs::read(root().join("models/mnist.onnx")).expect("the repository holds it");
    survives(
        "model",
        1000,
        |random| damaged(&model, random),
        |bytes| blames_the_file(load_bytes(bytes.clone(), &LoadOptions::default())),
    );
}

#[test]
fn tensors_of_test_data() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("input_0.pb");
    let whole = TensorProto {
        dims: vec![2, 3],
        data_type: data_type::FLOAT,
        float_data: vec![1.0; 6],
        name: "x".into(),
        ..Default::default()
    }
    .encode_to_vec();
    survives(
        "tensor",
        1000,
        |random| damaged(&whole, random),
        |bytes| {
            std::fs::write(&path, bytes).expect("the folder is writable");
            blames_the_file(read_tensor(&path))
        },
    );
}

/// `y = x + w`, `w` in a file of its own.
fn external_model(entries: &[(String, String)]) -> ModelProto {
    ModelProto {
        ir_version: Some(8),
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: 17,
        }],
        graph: Some(GraphProto {
            node: vec![NodeProto {
                op_type: "Neg".into(),
                input: vec!["w".into()],
                output: vec!["y".into()],
                ..Default::default()
            }],
            initializer: vec![TensorProto {
                name: "w".into(),
                dims: vec![4, 4],
                data_type: data_type::FLOAT,
                data_location: 1,
                external_data: entries
                    .iter()
                    .map(|(key, value)| StringStringEntryProto {
                        key: key.clone(),
                        value: value.clone(),
                    })
                    .collect(),
                ..Default::default()
            }],
            output: vec![ValueInfoProto {
                name: "y".into(),
                ..Default::default()
            }],
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[test]
fn external_data() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("m.onnx");
    std::fs::write(dir.path().join("w.bin"), [0u8; 80]).expect("the folder is writable");
    let entries = [("location", "w.bin"), ("offset", "16"), ("length", "64")];
    let entries: Vec<(String, String)> = entries.map(|(k, v)| (k.into(), v.into())).to_vec();
    let write = |model: &ModelProto| {
        std::fs::write(&path, model.encode_to_vec()).expect("the folder is writable");
        load(&path, &LoadOptions::default())
    };
    write(&external_model(&entries)).expect("the whole file is read");
    survives(
        "external",
        1000,
        |random| {
            let mut entries = entries.clone();
            let at = random.below(entries.len());
            let values = [
                "",
                "-1",
                "0",
                "17",
                "65",
                "9223372036854775807",
                "18446744073709551615",
                "1e3",
                "../w.bin",
                "/etc/passwd",
                "w.bin/",
                ".",
                "none.bin",
                "w.bin\0",
                " 16",
            ];
            match random.below(6) {
                0 => drop(entries.remove(at)),
                1 => {
                    let again = entries[at].clone();
                    entries.push(again);
                }
                2 => {
                    entries[at].0 =
                        ["", "location", "offset", "length", "checksum"][random.below(5)].into()
                }
                _ => entries[at].1 = values[random.below(values.len())].into(),
            }
            let bytes = external_model(&entries).encode_to_vec();
            if random.below(3) == 0 {
                damaged(&bytes, random)
            } else {
                bytes
            }
        },
        |bytes| {
            std::fs::write(&path, bytes).expect("the folder is writable");
            blames_the_file(load(&path, &LoadOptions::default()))
        },
    );
}

#[test]
fn arrays_of_executables() {
    let mut header = Vec::new();
    header.extend_from_slice(b"\x93NUMPY\x01\x00\x46\x00");
    header.extend_from_slice(
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }           \n",
    );
    header.extend_from_slice(&[0; 24]);
    assert!(npy::Array::read(&header).is_some_and(|a| a.is("<f4", [2u64, 3].into_iter())));
    survives(
        "npy",
        3000,
        |random| damaged(&header, random),
        |bytes| {
            if let Some(array) = npy::Array::read(bytes) {
                let _ = array.dims().count();
                let _ = array.is("<f4", [2u64, 3].into_iter());
            }
            Ok(())
        },
    );
    let mut archive: Vec<u8> = Vec::new();
    let mut writer = zip::Writer::new(|piece: &[u8]| {
        archive.extend_from_slice(piece);
        Ok(())
    });
    let entry = zip::Entry {
        name: "x",
        head: &header[..10],
        body: &header[10..],
    };
    let _ = writer.entry(&entry);
    let _ = writer.directory(&entry);
    let _ = writer.finish();
    assert_eq!(zip::members(&archive).map(Iterator::count), Some(1));
    survives(
        "npz",
        3000,
        |random| damaged(&archive, random),
        |bytes| {
            let members = zip::members(bytes).into_iter().flatten();
            // A directory may claim any number of members, but each has bytes of its own in the file.
            let count = members.take(bytes.len() + 1).count();
            if count > bytes.len() {
                return Err(format!("{count} members in {} bytes", bytes.len()));
            }
            Ok(())
        },
    );
}

#[test]
fn kernel_text() {
    let target = target();
    let compiled = digits(&target);
    let kernels: Vec<String> = compiled
        .built
        .program
        .kernels
        .iter()
        .map(print_kernel)
        .collect();
    let lists: Vec<String> = compiled.built.linear.iter().map(print_linear).collect();
    let sound = std::sync::atomic::AtomicUsize::new(0);
    survives(
        "kernels",
        600,
        |random| damaged_text(&kernels[random.below(kernels.len())], random),
        |text| {
            let Ok(kernel) = parse_kernel(text) else {
                return Ok(());
            };
            // What verifies is a kernel: every pass takes it or says why not.
            if verify_kernel(&kernel).is_ok() {
                sound.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                for pass in kernel_passes() {
                    let _ = run_pass(pass, Lowered::Kernel(kernel.clone()), target.facts());
                }
                let _ = parse_kernel(&print_kernel(&kernel))
                    .map_err(|e| format!("printed, then: {e}"))?;
            }
            Ok(())
        },
    );
    println!("{} damaged kernels still verify", sound.into_inner());
    survives(
        "lists",
        600,
        |random| damaged_text(&lists[random.below(lists.len())], random),
        |text| {
            if let Ok(list) = parse_linear(text)
                && verify_linear(&list).is_ok()
            {
                let _ = target.render(&list);
            }
            Ok(())
        },
    );
}

/// Reads all that a bundle holds.
fn walk(bundle: &bundle::Bundle<'_>) {
    let _ = bundle.manifest();
    let _ = bundle.value("name");
    let _ = (bundle.kernels().count(), bundle.origins().count());
    if let Ok(program) = bundle.program() {
        for launch in program.launches() {
            let _ = program.arguments(&launch).count();
        }
        for t in 0..program.bases() as u32 {
            let _ = program.tensor(t).map(|t| t.dims().count());
        }
    }
}

#[test]
fn executables() {
    let target = target();
    let built = digits(&target).built;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let files = match target.emit(&built, Emit::Exe, dir.path()) {
        Ok(files) => files,
        Err(e) => {
            println!("skipped: {e}");
            return;
        }
    };
    let path: &Path = &files[0].path;
    let whole = std::fs::read(path).expect("it was written");
    let sound = bundle::read(&whole).expect("it is whole");
    walk(&sound);
    let start = whole
        .windows(8)
        .position(|w| w == bundle::MAGIC)
        .expect("it holds a bundle");
    // Anywhere in the file, and in the tables at the start of the bundle.
    survives(
        "executable",
        300,
        |random| {
            if random.below(2) == 0 {
                return damaged(&whole, random);
            }
            let mut out = whole[..start].to_vec();
            let head = (start + 4096).min(whole.len());
            out.extend(damaged(&whole[start..head], random));
            out.extend_from_slice(&whole[head..]);
            out
        },
        |bytes| {
            if let Ok(bundle) = bundle::read(bytes) {
                walk(&bundle);
            }
            if let Ok(bundle) = bundle::Bundle::open(bytes.get(start..).unwrap_or_default()) {
                walk(&bundle);
            }
            Ok(())
        },
    );
    // Sections whose digests someone made fit again.
    let section = |kind| sound.section(kind).expect("every bundle has it").bytes;
    let (program, tensors) = (
        section(bundle::Kind::Program),
        section(bundle::Kind::Tensors),
    );
    let weights = section(bundle::Kind::Weights).len() as u64;
    survives(
        "program",
        3000,
        |random| match random.below(2) {
            0 => (damaged(program, random), tensors.to_vec()),
            _ => (program.to_vec(), damaged(tensors, random)),
        },
        |(program, tensors)| {
            if let Ok(program) = tinyc_runtime::program::Program::open(program, tensors, weights) {
                for launch in program.launches() {
                    let _ = program.arguments(&launch).count();
                }
                for t in 0..program.bases().min(1000) as u32 {
                    let _ = program.tensor(t).map(|t| t.dims().count());
                }
            }
            Ok(())
        },
    );
}

#[test]
fn chips() {
    let text = std::fs::read_to_string(root().join("targets/cpu/x86-64-v3.toml")).expect("a chip");
    survives(
        "chip",
        1000,
        |random| damaged_text(&text, random),
        |text| {
            let _ = toml::from_str::<Facts>(text);
            Ok(())
        },
    );
}
