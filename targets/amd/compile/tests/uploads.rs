//! Machines without a large BAR: weights and code reach the device through a copy engine, or inside of command packets when every queue of one is
//! taken. Results are those of a machine with a large BAR, and a model that is open has one queue.
//!
//! Without clang for AMDGPU the tests say that they skip.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod harness;

use harness::damaged::{Tamper, Tampered};
use harness::{build, product, ready};
use std::time::Duration;
use tinyc_compiler::program::Built;
use tinyc_replay_amd::{Error, Model, Options};
use tinyc_runtime::io::{KernelIo, Mmio};
use tinyc_simgpu::kfd::{Settings, Simulated, Trace};
use tinyc_target_amd::Chip;

/// Bytes of the longest copy.
const PART: usize = 512 << 10;

/// How a machine is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    LargeBar,
    Engine,
    Packets,
}

fn machine(way: Way, seed: u64, shadow: bool) -> Simulated {
    let settings = Settings {
        seed,
        shadow,
        large_bar: way == Way::LargeBar,
        units: 2,
        ..Settings::default()
    };
    Simulated::new(match way {
        Way::Packets => Settings {
            copy_queues: 0,
            ..settings
        },
        _ => settings,
    })
}

fn options() -> Options {
    Options {
        polls: 20_000,
        limit: Duration::from_millis(50),
        ..Options::default()
    }
}

struct Small {
    built: Built,
    bundle: Vec<u8>,
}

/// A product with so many bytes of weights.
fn with_weights(depth: i64, columns: i64) -> Option<Small> {
    let target = ready(Chip::Gfx1100)?;
    let built = build(product(2, depth, columns), &target);
    let bundle = target.bundle(&built).unwrap();
    Some(Small { built, bundle })
}

impl Small {
    fn run<I: KernelIo + Mmio>(&self, io: I) -> Result<Vec<u8>, Error> {
        let values = (0..self.built.program.inputs[0].elements()).map(|i| (i as f32 * 0.3).sin());
        let input: Vec<u8> = values.flat_map(f32::to_le_bytes).collect();
        let mut out = vec![0; self.built.program.outputs[0].bytes()];
        let bundle = tinyc_runtime::read(&self.bundle).unwrap();
        let mut model = Model::open(bundle, io, options())?;
        for _ in 0..2 {
            model.write_input(0, &input)?;
            model.run()?;
            model.read_output(0, &mut out)?;
        }
        Ok(out)
    }

    /// Copies that it takes to fill its memory.
    fn parts(&self) -> usize {
        let bundle = tinyc_runtime::read(&self.bundle).unwrap();
        let of = |kind| bundle.section(kind).map_or(0, |s| s.bytes.len());
        let kinds = [tinyc_runtime::Kind::Image, tinyc_runtime::Kind::Weights];
        kinds.map(|k| of(k).div_ceil(PART)).iter().sum()
    }
}

/// Requests for queues, and what became of them.
fn queues(trace: &[Trace]) -> Vec<(&str, Option<i32>)> {
    let of = |t: &'_ Trace| match t {
        Trace::Call { what, error, .. } if what == "CREATE_QUEUE" => Some(("made", *error)),
        Trace::Call { what, error, .. } if what == "DESTROY_QUEUE" => Some(("ended", *error)),
        _ => None,
    };
    trace.iter().filter_map(of).collect()
}

#[test]
fn every_way_leads_to_the_same_results() {
    let Some(small) = with_weights(512, 1000) else {
        return;
    };
    assert!(small.parts() > 4, "{} parts", small.parts());
    let mut results: Vec<Vec<u8>> = Vec::new();
    for way in [Way::LargeBar, Way::Engine, Way::Packets] {
        for (seed, shadow) in [(1, false), (2, true), (3, true), (4, true)] {
            let io = machine(way, seed, shadow);
            results.push(small.run(io.clone()).unwrap());
            let text = format!("{way:?}, seed {seed}, shadow {shadow}");
            assert_eq!(io.fault(), None, "{text}");
            assert_eq!(io.violations(), [""; 0], "{text}");
            assert!(io.leaks().is_empty(), "{text}: {:?}", io.leaks());
            assert_eq!(io.waited(), 0, "{text}");
            let (made, ended) = (("made", None), ("ended", None));
            let expected = match way {
                Way::LargeBar => vec![made, ended],
                Way::Engine => vec![made, made, ended, ended],
                Way::Packets => vec![made, ("made", Some(12)), ended],
            };
            assert_eq!(queues(&io.take_trace()), expected, "{text}");
        }
    }
    assert!(results[0].iter().any(|b| *b != 0));
    assert!(results.iter().all(|r| *r == results[0]));
}

#[test]
fn an_open_model_has_one_queue() {
    let Some(small) = with_weights(8, 8) else {
        return;
    };
    for way in [Way::LargeBar, Way::Engine, Way::Packets] {
        let io = machine(way, 5, true);
        let bundle = tinyc_runtime::read(&small.bundle).unwrap();
        let mut model = Model::open(bundle, io.clone(), options()).unwrap();
        assert_eq!(io.leaks().queues, 1, "{way:?}");
        io.take_trace();
        model.run().unwrap();
        let calls = io.take_trace();
        let calls = calls.iter().filter(|t| matches!(t, Trace::Call { .. }));
        assert_eq!(calls.count(), 0, "{way:?}");
    }
}

/// The one queue that other processes left over is enough for models that are open at once: each has it while it is filled.
#[test]
fn models_take_turns_at_the_engine() {
    let Some(small) = with_weights(8, 8) else {
        return;
    };
    for seed in 0..4 {
        let io = Simulated::new(Settings {
            seed,
            shadow: true,
            large_bar: false,
            copy_queues: 1,
            units: 2,
            ..Settings::default()
        });
        let open = || {
            let bundle = tinyc_runtime::read(&small.bundle).unwrap();
            Model::open(bundle, io.clone(), options()).unwrap()
        };
        let mut first = open();
        let input = [0.5f32.to_le_bytes(); 16].concat();
        first.write_input(0, &input).unwrap();
        // The first model runs while the second one is filled.
        let ticket = first.submit().unwrap();
        let mut second = open();
        second.write_input(0, &input).unwrap();
        second.run().unwrap();
        first.wait(ticket, Duration::from_secs(1)).unwrap();
        let mut out = [[0; 64]; 2];
        first.read_output(0, &mut out[0]).unwrap();
        second.read_output(0, &mut out[1]).unwrap();
        assert_eq!(out[0], out[1]);
        drop((first, second));
        assert!(io.leaks().is_empty(), "{:?}", io.leaks());
        let trace = io.take_trace();
        let all = queues(&trace);
        assert!(all.iter().all(|(_, error)| error.is_none()), "{all:?}");
        assert_eq!((io.fault(), io.violations()), (None, vec![]));
    }
}

/// So many copies that the ring starts again: its end is filled with what does nothing.
#[test]
fn the_ring_starts_again() {
    let Some(small) = with_weights(4096, 3200) else {
        return;
    };
    assert!(small.parts() > 4096 / 44 + 4, "{} parts", small.parts());
    let ways = [Way::LargeBar, Way::Engine].map(|way| {
        let io = machine(way, 7, false);
        let result = small.run(io.clone()).unwrap();
        assert_eq!(io.fault(), None);
        assert_eq!(io.violations(), [""; 0]);
        result
    });
    assert!(ways[0] == ways[1], "another result");
}

/// A half of the staging buffer that is filled again before it was copied is noticed, in orders where the engine is slow.
#[test]
fn halves_are_waited_for() {
    let Some(small) = with_weights(512, 1000) else {
        return;
    };
    let good = small.run(machine(Way::LargeBar, 1, false)).unwrap();
    let parts = small.parts() as u32;
    let noticed = (0..16).filter(|seed| {
        let io = machine(Way::Engine, *seed, true);
        let early = Tampered::new(io.clone(), Tamper::CopyEarly(parts));
        let result = small.run(early);
        result.as_ref() != Ok(&good) || io.fault().is_some()
    });
    let noticed = noticed.count();
    assert!(noticed >= 4, "{noticed} of 16");
}

/// An engine that stops is an error, and its queue and memory are given back.
#[test]
fn an_engine_that_hangs_is_an_error() {
    let Some(small) = with_weights(8, 8) else {
        return;
    };
    for tamper in [Tamper::CopySilent, Tamper::CopyWithout(7, 10)] {
        let io = machine(Way::Engine, 11, true);
        let result = small.run(Tampered::new(io.clone(), tamper));
        assert_eq!(result, Err(Error::Hang { launch: None }), "{tamper:?}");
        assert!(io.waited() >= 50, "{} simulated ms", io.waited());
        assert!(io.leaks().is_empty(), "{tamper:?}: {:?}", io.leaks());
        // The process can go on.
        assert!(small.run(io.clone()).is_ok());
    }
}

/// What an engine cannot read is told as a fault with its page.
#[test]
fn an_engine_that_faults_is_an_error() {
    let Some(small) = with_weights(8, 8) else {
        return;
    };
    let io = machine(Way::Engine, 13, true);
    let result = small.run(Tampered::new(io.clone(), Tamper::CopyWord(4, 1 << 14)));
    let Err(Error::Fault { address, launch }) = result else {
        panic!("{result:?}");
    };
    // Above all addresses of processes.
    assert!(address >> 46 == 2 && launch.is_none(), "{address:#x}");
    assert!(io.leaks().is_empty(), "{:?}", io.leaks());
    assert!(small.run(io).is_ok());
}
