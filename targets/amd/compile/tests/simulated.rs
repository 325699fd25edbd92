//! Models on the simulated driver and device, through the code that replays artifacts on real ones: results are those of
//! the CPU target, a steady state makes no system call, nothing is left behind, and what goes wrong is told.
//!
//! Without clang for AMDGPU a test says that it skips.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod harness;

use harness::{build, distance, ready, reference};
use std::time::Duration;
use tinyc_compiler::graph::Graph;
use tinyc_compiler::program::Built;
use tinyc_compiler::target::Target;
use tinyc_replay_amd::{Error, Model, Options};
use tinyc_simgpu::kfd::{Chip as SimulatedChip, Place, Settings, Simulated, Trace};
use tinyc_target_amd::Chip;

/// A small model with several launches, compiled.
struct Small {
    bundle: Vec<u8>,
    built: Built,
    graph: Graph,
}

fn small() -> Option<Small> {
    let target = ready(Chip::Gfx1100)?;
    let graph = tinyc_models::by_name("mnist").unwrap();
    let built = build(graph.clone(), &target);
    Some(Small {
        bundle: target.bundle(&built).unwrap(),
        built,
        graph,
    })
}

impl Small {
    fn open(&self, io: &Simulated, options: Options) -> Result<Model<'_, Simulated>, Error> {
        Model::open(
            tinyc_runtime::read(&self.bundle).unwrap(),
            io.clone(),
            options,
        )
    }

    fn input(&self, seed: f32) -> Vec<u8> {
        let values = (0..self.built.program.inputs[0].elements()).map(|i| (i as f32 * seed).sin());
        values.flat_map(f32::to_le_bytes).collect()
    }

    /// What the CPU computes.
    fn expected(&self, input: &[u8]) -> Vec<f32> {
        let target = reference();
        let built = build(self.graph.clone(), &target);
        let mut session = target.load(&built, 1).unwrap();
        let mut out = vec![0; built.program.outputs[0].bytes()];
        session.run(&[input], &mut [&mut out]).unwrap();
        floats(&out)
    }

    fn run(&self, model: &mut Model<'_, Simulated>, input: &[u8]) -> Vec<f32> {
        model.write_input(0, input).unwrap();
        model.run().unwrap();
        let mut out = vec![0; self.built.program.outputs[0].bytes()];
        model.read_output(0, &mut out).unwrap();
        floats(&out)
    }
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let words = bytes.chunks_exact(4);
    words
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        .collect()
}

fn settings(seed: u64, shadow: bool) -> Settings {
    Settings {
        seed,
        shadow,
        units: 4,
        ..Settings::default()
    }
}

/// A wait gives up soon: the simulated device is done after a few looks.
fn options() -> Options {
    Options {
        polls: 20_000,
        ..Options::default()
    }
}

/// Nothing went wrong and nothing is left.
fn sound(io: &Simulated) {
    assert_eq!(io.fault(), None);
    assert_eq!(io.violations(), Vec::<String>::new());
}

#[test]
fn results_are_those_of_the_processor() {
    let Some(small) = small() else { return };
    let inputs = [small.input(0.1), small.input(0.7)];
    let expected = inputs.each_ref().map(|i| small.expected(i));
    for (seed, shadow) in [(1, false), (2, true), (3, true)] {
        let io = Simulated::new(settings(seed, shadow));
        let mut model = small.open(&io, options()).unwrap();
        for round in 0..4 {
            let n = round % 2;
            let found = small.run(&mut model, &inputs[n]);
            let far = distance(&found, &expected[n]);
            assert!(far < 1e-5, "seed {seed}, shadow {shadow}: off by {far:e}");
        }
        model.close();
        sound(&io);
        assert!(io.leaks().is_empty(), "{:?}", io.leaks());
    }
}

#[test]
fn a_steady_state_makes_no_system_call() {
    let Some(small) = small() else { return };
    let io = Simulated::new(settings(5, true));
    let mut model = small.open(&io, options()).unwrap();
    let input = small.input(0.3);
    let first = small.run(&mut model, &input);
    for _ in 0..3 {
        io.take_trace();
        let ticket = model.submit().unwrap();
        model.wait(ticket, Duration::from_secs(1)).unwrap();
        let trace = io.take_trace();
        let calls: Vec<&Trace> = trace
            .iter()
            .filter(|t| matches!(t, Trace::Call { .. }))
            .collect();
        assert!(calls.is_empty(), "{calls:?}");
        let bytes = |what: Place| {
            let of = |t: &Trace| match t {
                Trace::Store { place, bytes, .. } if *place == what => *bytes,
                _ => 0,
            };
            trace.iter().map(of).sum::<u64>()
        };
        // Two words of the timeline; a jump of four words; the write pointer; the doorbell.
        let all = [Place::Buffer, Place::Ring, Place::Pointers, Place::Doorbell].map(bytes);
        assert_eq!(all, [8, 16, 8, 8]);
    }
    let mut out = vec![0; small.built.program.outputs[0].bytes()];
    model.read_output(0, &mut out).unwrap();
    assert_eq!(floats(&out), first);
    model.close();
    sound(&io);
}

#[test]
fn memory_of_the_caller_is_bound() {
    let Some(small) = small() else { return };
    for shadow in [false, true] {
        let io = Simulated::new(settings(7, shadow));
        let mut model = small.open(&io, options()).unwrap();
        let input = small.input(0.2);
        let expected = small.run(&mut model, &input);
        let own = caller(1 << 16);
        // Whole pages of the caller's, which only the device and this test touch.
        unsafe { model.register(own, 1 << 16) }.unwrap();
        unsafe { std::ptr::copy_nonoverlapping(input.as_ptr(), own as *mut u8, input.len()) };
        model.bind(0, Some(own)).unwrap();
        model.bind(1, Some(own + 32_768)).unwrap();
        io.take_trace();
        model.run().unwrap();
        let patched = io.take_trace();
        let stores = patched.iter().filter(|t| {
            matches!(
                t,
                Trace::Store {
                    place: Place::Buffer,
                    ..
                }
            )
        });
        // Two words of the timeline and every place that names the input or the output.
        assert!((4..=10).contains(&stores.count()));
        let len = expected.len();
        let found = unsafe { std::slice::from_raw_parts((own + 32_768) as *const f32, len) };
        assert_eq!(found, expected);
        model.bind(0, None).unwrap();
        model.bind(1, None).unwrap();
        model.unregister(own).unwrap();
        assert_eq!(small.run(&mut model, &input), expected);
        model.close();
        unsafe { libc::munmap(own as *mut _, 1 << 16) };
        sound(&io);
        assert!(io.leaks().is_empty(), "{:?}", io.leaks());
    }
}

/// Pages of this process.
fn caller(len: usize) -> u64 {
    let (prot, flags) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
    );
    unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, -1, 0) as u64 }
}

#[test]
fn two_contexts_share_a_process() {
    let Some(small) = small() else { return };
    for seed in 0..6 {
        share_a_process(&small, seed);
    }
}

fn share_a_process(small: &Small, seed: u64) {
    let io = Simulated::new(settings(seed, true));
    let mut a = small.open(&io, options()).unwrap();
    let mut b = small.open(&io, options()).unwrap();
    let inputs = [small.input(0.1), small.input(0.9)];
    let expected = inputs.each_ref().map(|i| small.run(&mut a, i));
    for _ in 0..3 {
        a.write_input(0, &inputs[0]).unwrap();
        b.write_input(0, &inputs[1]).unwrap();
        let (x, y) = (a.submit().unwrap(), b.submit().unwrap());
        b.wait(y, Duration::from_secs(1)).unwrap();
        a.wait(x, Duration::from_secs(1)).unwrap();
        for (model, expected) in [(&mut a, &expected[0]), (&mut b, &expected[1])] {
            let mut out = vec![0; small.built.program.outputs[0].bytes()];
            model.read_output(0, &mut out).unwrap();
            assert_eq!(&floats(&out), expected);
        }
    }
    a.close();
    assert_eq!(
        small.run(&mut b, &inputs[1]),
        expected[1],
        "after the other was closed"
    );
    b.close();
    assert!(io.leaks().is_empty(), "{:?}", io.leaks());
    // And again, in the same process.
    let mut c = small.open(&io, options()).unwrap();
    assert_eq!(small.run(&mut c, &inputs[0]), expected[0]);
    drop(c);
    assert!(io.leaks().is_empty(), "{:?}", io.leaks());
    sound(&io);
}

#[test]
fn machines_of_all_kinds_run_it() {
    let Some(small) = small() else { return };
    let input = small.input(0.4);
    let base = || settings(13, true);
    let expected = small.expected(&input);
    for settings in [
        Settings {
            large_bar: false,
            ..base()
        },
        Settings {
            publish_sizes: true,
            ..base()
        },
        Settings {
            kfd_version: (1, 11),
            ..base()
        },
        Settings {
            units: 96,
            shadow: false,
            ..base()
        },
        Settings {
            lazy: true,
            ..base()
        },
    ] {
        let text = format!("{settings:?}");
        let io = Simulated::new(settings);
        let mut model = small
            .open(
                &io,
                Options {
                    polls: 50,
                    ..options()
                },
            )
            .expect(&text);
        let far = distance(&small.run(&mut model, &input), &expected);
        assert!(far < 1e-5, "{text}: off by {far:e}");
        model.close();
        sound(&io);
        assert!(io.leaks().is_empty(), "{text}: {:?}", io.leaks());
        assert!(
            io.waited() == 0,
            "{text}: {} ms in waits without end",
            io.waited()
        );
    }
}

#[test]
fn machines_that_cannot_run_it_are_told_apart() {
    let Some(small) = small() else { return };
    let base = || settings(17, false);
    let fails = |settings: Settings| {
        let io = Simulated::new(settings);
        let error = small.open(&io, options()).err().expect("an error");
        assert!(io.leaks().is_empty(), "{error}: {:?}", io.leaks());
        assert!(io.violations().is_empty(), "{error}: {:?}", io.violations());
        assert_eq!(error.exit_code(), 5, "{error}");
        error
    };
    assert_eq!(
        fails(Settings {
            driver: false,
            ..base()
        }),
        Error::NoDevice
    );
    assert_eq!(
        fails(Settings {
            gpu: false,
            ..base()
        }),
        Error::NoGpu
    );
    let denied = fails(Settings {
        permitted: false,
        ..base()
    });
    assert!(matches!(denied, Error::Permission(_)), "{denied:?}");
    let old = fails(Settings {
        kfd_version: (1, 2),
        ..base()
    });
    assert_eq!(old, Error::DriverTooOld(1, 2));
    let wrong = fails(Settings {
        chip: SimulatedChip::Gfx1201,
        ..base()
    });
    assert!(
        matches!(
            wrong,
            Error::WrongGpu {
                found: 120_001,
                wanted: 110_000
            }
        ),
        "{wrong:?}"
    );
    let memory = fails(Settings {
        vram_bytes: 1 << 20,
        ..base()
    });
    assert!(matches!(memory, Error::NoMemory { .. }), "{memory:?}");
}

#[test]
fn faults_name_the_launch_and_the_address() {
    let Some(small) = small() else { return };
    for (seed, shadow) in [(19, false), (20, true)] {
        let io = Simulated::new(settings(seed, shadow));
        let mut model = small.open(&io, options()).unwrap();
        small.run(&mut model, &small.input(0.5));
        // The first argument of the last kernel becomes an address where nothing is.
        let launches = tinyc_runtime::read(&small.bundle)
            .unwrap()
            .symbols()
            .unwrap()
            .launches();
        let (stream, words) = stream(&io, &small);
        let kernargs = kernargs_of_last(&words);
        assert!(kernargs > 0 && stream > 0);
        io.poke(kernargs, &0x0000_1234_5678_9000u64.to_le_bytes());
        let error = model.run().unwrap_err();
        let Error::Fault { address, launch } = error else {
            panic!("{error:?}");
        };
        assert!(
            address & 0xFFF == 0 && address >> 24 == 0x12_3456,
            "{address:#x}"
        );
        assert_eq!(launch, Some(launches - 1));
        assert!(model.kernel(launches - 1).is_some());
        assert_eq!(model.run(), Err(Error::Lost));
        model.close();
        assert!(io.leaks().is_empty(), "{:?}", io.leaks());
        // The next context is not affected.
        let mut again = small.open(&io, options()).unwrap();
        let found = small.run(&mut again, &small.input(0.5));
        assert!(distance(&found, &small.expected(&small.input(0.5))) < 1e-5);
    }
}

/// Where the stream is in the device's memory, and its words: what ends with two packets RELEASE_MEM.
fn stream(io: &Simulated, small: &Small) -> (u64, Vec<u32>) {
    let bundle = tinyc_runtime::read(&small.bundle).unwrap();
    let len = bundle
        .section(tinyc_runtime::Kind::Stream)
        .unwrap()
        .bytes
        .len();
    for (at, bytes) in io.mapped() {
        let mut all = vec![0; len];
        if (len as u64..len as u64 + 8192).contains(&bytes) && io.peek(at, &mut all) {
            let words: Vec<u32> = all
                .chunks_exact(4)
                .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect();
            if words[0] == 0xC005_3C00 && words[words.len() - 8] == 0xC006_4900 {
                return (at, words);
            }
        }
    }
    panic!("no stream in the device's memory");
}

/// The last address that COMPUTE_USER_DATA is set to.
fn kernargs_of_last(words: &[u32]) -> u64 {
    let at = words
        .windows(2)
        .rposition(|w| w[0] >> 8 & 0xFF == 0x76 && w[0] >> 30 == 3 && w[1] == 0x240);
    let at = at.unwrap();
    u64::from(words[at + 2]) | u64::from(words[at + 3]) << 32
}

#[test]
fn a_hang_names_the_launch() {
    let Some(small) = small() else { return };
    let io = Simulated::new(settings(23, false));
    let mut model = small
        .open(
            &io,
            Options {
                polls: 100,
                limit: Duration::from_secs(2),
                ..options()
            },
        )
        .unwrap();
    small.run(&mut model, &small.input(0.5));
    let (at, words) = stream(&io, &small);
    // A wait for a value that nobody signals, in place of the dispatch of the second launch.
    let bundle = tinyc_runtime::read(&small.bundle).unwrap();
    let second = bundle.symbols().unwrap().launch(1).unwrap().word as usize;
    let dispatch = words[second..]
        .iter()
        .position(|w| *w == 0xC003_1500)
        .unwrap()
        + second;
    let signal = u64::from(words[2]) | u64::from(words[3]) << 32;
    let wait = [
        0xC005_3C00,
        5 | 1 << 4,
        signal as u32,
        (signal >> 32) as u32,
        0x7FFF_FFFF,
        u32::MAX,
        4,
    ];
    let wait: Vec<u8> = wait.iter().flat_map(|w: &u32| w.to_le_bytes()).collect();
    io.poke(at + 4 * dispatch as u64, &wait);
    assert_eq!(model.run(), Err(Error::Hang { launch: Some(1) }));
    assert!(io.waited() >= 1800, "{} simulated ms", io.waited());
    model.close();
    assert!(io.leaks().is_empty(), "{:?}", io.leaks());
}
