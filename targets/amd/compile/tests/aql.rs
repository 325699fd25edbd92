//! The same stream in an AQL queue: 64-byte packets of the vendor's whose body points to it, as CDNA's command processors want them.
//!
//! The simulated device executes RDNA 3 alone, and its driver makes either kind of queue for it. Without clang for AMDGPU the test says that it skips.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod harness;

use harness::needs::with_needs;
use harness::{build, negate, ready};
use tinyc_replay_amd::queue::RING_BYTES;
use tinyc_replay_amd::{Error, Model, Options, Queue};
use tinyc_simgpu::kfd::{Settings, Simulated};
use tinyc_target_amd::Chip;

fn run(model: &mut Model<'_, Simulated>, input: &[u8], out: &mut [u8]) -> Result<(), Error> {
    model.write_input(0, input)?;
    model.run()?;
    model.read_output(0, out)
}

#[test]
fn a_stream_runs_in_either_queue() {
    let Some(target) = ready(Chip::Gfx1100) else {
        return;
    };
    let graph = tinyc_models::by_name("mnist").unwrap();
    let built = build(graph, &target);
    let pm4 = target.bundle(&built).unwrap();
    let aql = with_needs(pm4.clone(), |n| n.queue = Queue::Aql);
    let values = (0..built.program.inputs[0].elements()).map(|i| (i as f32 * 0.3).sin());
    let input: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
    let options = Options {
        polls: 20_000,
        ..Options::default()
    };
    let mut results = Vec::new();
    for (bundle, large_bar) in [(&pm4, true), (&aql, true), (&aql, false)] {
        let io = Simulated::new(Settings {
            seed: 31,
            shadow: true,
            large_bar,
            units: 4,
            ..Settings::default()
        });
        let mut out = vec![0; built.program.outputs[0].bytes()];
        let bundle = tinyc_runtime::read(bundle).unwrap();
        let mut model = Model::open(bundle, io.clone(), options).unwrap();
        for _ in 0..3 {
            run(&mut model, &input, &mut out).unwrap();
        }
        results.push(out);
        drop(model);
        assert_eq!(io.fault(), None);
        assert!(io.violations().is_empty(), "{:?}", io.violations());
        assert!(io.leaks().is_empty(), "{:?}", io.leaks());
    }
    assert!(results[0].iter().any(|b| *b != 0));
    assert_eq!(results[0], results[1]);
    assert_eq!(results[0], results[2]);
}

/// A model of one small kernel runs so often that both kinds of ring start again.
#[test]
fn rings_start_again() {
    let Some(target) = ready(Chip::Gfx1100) else {
        return;
    };
    let built = build(negate(), &target);
    let pm4 = target.bundle(&built).unwrap();
    let aql = with_needs(pm4.clone(), |n| n.queue = Queue::Aql);
    for (bundle, unit) in [(&pm4, 16), (&aql, 64)] {
        let io = Simulated::new(Settings {
            seed: 37,
            units: 4,
            ..Settings::default()
        });
        let bundle = tinyc_runtime::read(bundle).unwrap();
        let options = Options {
            polls: 20_000,
            timeline: tinyc_replay_amd::device::LAST_VALUE - 5,
            ..Options::default()
        };
        let mut model = Model::open(bundle, io.clone(), options).unwrap();
        let mut out = [0; 128];
        for n in 0..RING_BYTES / unit + 3 {
            io.take_trace();
            io.take_launched();
            let input = [(n as f32).to_le_bytes(); 32].concat();
            run(&mut model, &input, &mut out).unwrap();
            assert_eq!(out[..4], (-(n as f32)).to_le_bytes(), "run {n}");
        }
        drop(model);
        assert!(io.violations().is_empty(), "{:?}", io.violations());
    }
}
