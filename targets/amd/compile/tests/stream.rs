//! Command streams of whole models on the simulated queue, which decodes them by itself, follows every line through the caches
//! and refuses what was not patched. Results are those of the CPU target.
//!
//! Without clang for AMDGPU a test says that it skips.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod harness;

use harness::streamed::{StreamSession, Streamed};
use harness::{build, distance, models, ready, reference, run};
use tinyc_runtime::bundle::Kind;
use tinyc_runtime::patch::{Patches, Place, UNPATCHED, symbol};
use tinyc_runtime::symbols::Symbols;
use tinyc_simgpu::pm4::{Generation, Packet, Progress};
use tinyc_target_amd::Chip;
use tinyc_target_amd::stream::Class;

/// A small model with several launches.
fn small() -> tinyc_compiler::graph::Graph {
    tinyc_models::by_name("mnist").unwrap()
}

#[test]
fn models_run_as_one_indirect_buffer() {
    let Some(target) = ready(Chip::Gfx1100) else {
        return;
    };
    let (device, reference) = (Streamed(target, 7), reference());
    let all = std::env::var_os("TINYC_MODELS").is_some();
    for (name, graph) in models() {
        // Following lines through caches takes its time; these two are run kernel by kernel elsewhere.
        if !all && ["resnet18", "mobilenet_v2"].contains(&name.as_str()) {
            continue;
        }
        println!("{name}");
        let (found, expected) = (run(&graph, &device), run(&graph, &reference));
        for (n, (a, b)) in found.iter().zip(&expected).enumerate() {
            let far = distance(a, b);
            assert!(far < 1e-5, "{name}: output {n} is off by {far:e}");
        }
    }
}

#[test]
fn a_second_run_patches_two_words_and_changed_tensors() {
    let Some(target) = ready(Chip::Gfx1100) else {
        return;
    };
    let built = build(small(), &target);
    let mut session = StreamSession::new(&target, &built, 1).unwrap();
    let first = session.io.clone();
    let bytes = built.program.inputs[0].bytes();
    let out_bytes = built.program.outputs[0].bytes();
    let other: Vec<u64> = [bytes, out_bytes]
        .map(|n| session.device.memory.map(n))
        .to_vec();
    let outputs = [first[1], other[1]];
    let mut found = Vec::new();
    for (n, (input, output)) in [first[0], other[0]].into_iter().zip(outputs).enumerate() {
        let values: Vec<u8> = (0..bytes / 4)
            .flat_map(|i| (i as f32 * 0.1).sin().to_le_bytes())
            .collect();
        session.device.memory.write(input, &values).unwrap();
        let before = session.sections.clone();
        session.set(symbol::WAIT, n as u64);
        session.set(symbol::DONE, n as u64 + 1);
        if n > 0 {
            let words = |s: &[u8]| s.as_chunks::<4>().0.to_vec();
            let changed = words(&before[0])
                .iter()
                .zip(words(&session.sections[0]))
                .filter(|(a, b)| *a != b)
                .count();
            assert_eq!((changed, &before[1]), (2, &session.sections[1]));
        }
        session.set(symbol::IO, input);
        session.set(symbol::IO + 1, output);
        assert_eq!(session.submit().unwrap(), Progress::Done);
        assert_eq!(session.timeline(), n as u64 + 1);
        let mut result = vec![0; out_bytes];
        session.device.memory.read(output, &mut result).unwrap();
        found.push(result);
    }
    assert_eq!(found[0], found[1]);
    assert_eq!(session.queue.interrupts, [5, 5]);
    let progress = session.value(symbol::PROGRESS);
    let progress = session.device.memory.load_u32(progress).unwrap();
    assert_eq!(progress as usize, session.network.launches.len());
}

#[test]
fn a_run_waits_for_the_one_before() {
    let Some(target) = ready(Chip::Gfx1100) else {
        return;
    };
    let built = build(small(), &target);
    let mut session = StreamSession::new(&target, &built, 1).unwrap();
    for (n, address) in (symbol::IO..).zip(session.io.clone()) {
        session.set(n, address);
    }
    session.set(symbol::WAIT, 3);
    session.set(symbol::DONE, 4);
    assert_eq!(session.submit().unwrap(), Progress::Blocked);
    assert_eq!(session.timeline(), 0);
    assert!(session.queue.counters.is_empty());
    let signal = session.value(symbol::SIGNAL);
    session
        .device
        .memory
        .write(signal, &3u64.to_le_bytes())
        .unwrap();
    assert_eq!(
        session.queue.run(&mut session.device).unwrap(),
        Progress::Done
    );
    assert_eq!(session.timeline(), 4);
}

#[test]
fn sections_are_sound_and_classes_are_as_they_should_be() {
    let Some(target) = ready(Chip::Gfx1100) else {
        return;
    };
    let built = build(small(), &target);
    let model = target.build(&built).unwrap();
    let network = target.network(&model).unwrap();
    let sections = network.sections();
    let part = |kind| &sections.iter().find(|s| s.0 == kind).unwrap().1;
    let sizes = [Kind::Stream, Kind::Kernargs, Kind::Image].map(|k| part(k).len() as u64);
    let patches = Patches::open(part(Kind::Patches), sizes).unwrap();
    assert_eq!(patches.link().len(), network.count(Class::Link));
    assert_eq!(patches.run().len(), network.count(Class::Run));
    // Resource words, threads, groups and number of each launch, less what registers still hold.
    assert!(network.count(Class::Constant) >= 2 * network.launches.len());
    // Per run: two values of the timeline, and addresses of tensors.
    for patch in patches.run() {
        match patch.place {
            Place::Stream => assert!([symbol::WAIT, symbol::DONE].contains(&patch.symbol)),
            _ => assert!(patch.symbol >= symbol::IO),
        }
    }
    let symbols = Symbols::open(part(Kind::Symbols), sizes[0] / 4, sizes[2]).unwrap();
    assert_eq!(symbols.launches() as usize, network.launches.len());
    for (n, kernel) in network.kernels.iter().enumerate() {
        assert_eq!(symbols.kernel_at(kernel.entry), Some(n as u32));
    }
    // A stream as it is in the file is refused at the first packet that has a field.
    let (at, error) = Packet::decode_all(&network.stream, Generation::Gfx11).unwrap_err();
    assert_eq!(at, 0);
    assert!(error.to_string().contains("never patched"));
    assert!(network.stream.contains(&UNPATCHED));
}
