//! Streams of every chip: decoded packet by packet, and held against the rules that a whole stream keeps.
//!
//! `TINYC_MODELS` names a folder with more models. Without clang for AMDGPU a test says that it skips.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod harness;

use harness::{build, models, ready};
use std::path::PathBuf;
use tinyc_compiler::graph::Graph;
use tinyc_compiler::onnx::{LoadOptions, load};
use tinyc_runtime::bundle::Kind;
use tinyc_runtime::patch::{Patches, UNPATCHED, symbol, unpatched};
use tinyc_simgpu::pm4::{Generation, Packet, check};
use tinyc_target_amd::Chip;
use tinyc_target_amd::stream::Network;

/// The words of a stream, patched with addresses that could be.
fn patched(network: &Network) -> Vec<u32> {
    let sections = network.sections();
    let part = |kind| sections.iter().find(|s| s.0 == kind).unwrap().1.clone();
    let mut parts = [Kind::Stream, Kind::Kernargs, Kind::Image].map(part);
    let sizes = parts.each_ref().map(|s| s.len() as u64);
    let list = part(Kind::Patches);
    let patches = Patches::open(&list, sizes).unwrap();
    let value = |s: u32| {
        Some(match s {
            symbol::EVENT | symbol::WAIT | symbol::DONE | symbol::SCRATCH_SIZE => 3,
            address => 0x7A00_0000_0000 + (u64::from(address) << 32),
        })
    };
    let [a, b, c] = &mut parts;
    patches
        .apply_link(&mut [&mut *a, &mut *b, &mut *c], value)
        .unwrap();
    patches.apply_run(&mut [a, b, c], value).unwrap();
    assert_eq!(unpatched(&parts[0]), None);
    assert_eq!(unpatched(&parts[1]), None);
    let words = parts[0].as_chunks::<4>().0.iter();
    words.map(|w| u32::from_le_bytes(*w)).collect()
}

/// A recurrent model, with its shapes bound; from the folder of models, if there is one.
fn recurrent() -> Option<(String, Graph)> {
    let name = "silero_vad_ifless";
    let dir = PathBuf::from(std::env::var_os("TINYC_MODELS")?);
    let path = dir.join(format!("{name}.onnx"));
    let shapes = [("input", vec![1, 576]), ("state", vec![2, 1, 128])];
    let options = LoadOptions {
        shapes: shapes.map(|(n, s)| (n.to_string(), s)).to_vec(),
        ..LoadOptions::default()
    };
    let imported = path.is_file().then(|| load(&path, &options).unwrap());
    imported.map(|i| (name.to_string(), i.graph))
}

fn generation(network: &Network) -> Generation {
    Generation::of(network.needs.gfx_target_version).unwrap()
}

/// What is wrong with a stream.
fn verdict(words: &[u32], generation: Generation) -> Result<usize, String> {
    let packets =
        Packet::decode_all(words, generation).map_err(|(at, e)| format!("word {at}: {e}"))?;
    let packets = packets.into_iter().map(|p| p.1);
    check::stream(packets, generation).map_err(|(n, e)| format!("packet {n}: {e}"))
}

#[test]
fn streams_of_all_chips_pass_the_validator() {
    for chip in Chip::ALL {
        let Some(target) = ready(chip) else {
            return;
        };
        for (name, graph) in models().into_iter().chain(recurrent()) {
            let built = build(graph, &target);
            let model = target.build(&built).unwrap();
            let network = target.network(&model).unwrap();
            let generation = generation(&network);
            let words = patched(&network);
            let launches = verdict(&words, generation).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(launches, network.launches.len(), "{name}");
            println!(
                "{} {name}: {launches} launches, {} words",
                chip.name(),
                words.len()
            );
            assert!(
                verdict(&network.stream, generation)
                    .unwrap_err()
                    .contains("never patched")
            );
            assert!(network.stream.contains(&UNPATCHED));
        }
    }
}

#[test]
fn a_stream_of_one_chip_is_refused_by_another() {
    let mut streams = Vec::new();
    for chip in Chip::ALL {
        let Some(target) = ready(chip) else {
            return;
        };
        let built = build(tinyc_models::by_name("mnist").unwrap(), &target);
        let network = target.network(&target.build(&built).unwrap()).unwrap();
        streams.push((patched(&network), generation(&network)));
    }
    for (words, own) in &streams {
        for (_, other) in &streams {
            // RDNA 4 asks for one packet more than RDNA 3, which has nothing against it.
            let allowed = own == other || (*own, *other) == (Generation::Gfx12, Generation::Gfx11);
            assert_eq!(
                verdict(words, *other).is_ok(),
                allowed,
                "{own:?} as {other:?}"
            );
        }
    }
}
