//! Models on a device that is just enough to run them: what is left after every possible failure, what a run writes, how rings and timelines start
//! again, what errors say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fake;

use fake::{Answer, Fake, Machine, bundle, calls_of};
use std::time::Duration;
use tinyc_replay_amd::device::LAST_VALUE;
use tinyc_replay_amd::queue::RING_BYTES;
use tinyc_replay_amd::{Error, Model, Options, Ticket};
use tinyc_runtime::{Bundle, read};

const SHORT: Options = Options {
    gpu: 0,
    polls: 4,
    limit: Duration::from_millis(1),
    timeline: 0,
};

fn open<'a>(fake: &Fake, bytes: &'a [u8], options: Options) -> Result<Model<'a, Fake>, Error> {
    Model::open(read(bytes)?, fake.clone(), options)
}

/// The error of what must not open.
fn refused(fake: &Fake, bytes: &[u8]) -> Error {
    match open(fake, bytes, SHORT) {
        Ok(_) => panic!("opened"),
        Err(error) => error,
    }
}

#[test]
fn opens_runs_and_closes_without_a_trace() {
    let bytes = bundle(|_, _| ());
    for large_bar in [true, false] {
        let fake = Fake::new(Machine {
            large_bar,
            ..Machine::default()
        });
        for _ in 0..3 {
            let mut model = open(&fake, &bytes, SHORT).unwrap();
            assert_eq!(model.kernel(0), Some("add_1"));
            model.write_input(0, &[1; 8]).unwrap();
            model.run().unwrap();
            let mut out = [0; 16];
            model.read_output(0, &mut out).unwrap();
            assert_eq!(
                fake.0.borrow().runs.last().map(|r| (r.1, r.2)),
                Some((0, 1))
            );
            drop(model.close());
            assert_eq!(fake.left(), [""; 0]);
        }
    }
}

#[test]
fn every_failure_leaves_nothing_behind() {
    let bytes = bundle(|_, _| ());
    for large_bar in [true, false] {
        let machine = Machine {
            large_bar,
            ..Machine::default()
        };
        let fake = Fake::new(machine.clone());
        drop(open(&fake, &bytes, SHORT).unwrap());
        let calls = fake.0.borrow().calls;
        assert!(calls > 60, "{calls} calls: the test is blind");
        for n in 1..=calls {
            // EINVAL, ENOMEM, EIO: each may be taken for something else somewhere.
            for errno in [22, 12, 5] {
                let fake = Fake::new(machine.clone());
                fake.0.borrow_mut().fails = Some((n, errno));
                // Some failures have a way around, and some calls only give back.
                if let Ok(model) = open(&fake, &bytes, SHORT) {
                    drop(model);
                }
                let mut left = fake.left();
                // The call that failed may have been the one that gives back.
                let gave_back = ["ioctl 0x17", "ioctl 0x19", "ioctl 0x9", "ioctl 0x3"];
                let name = fake.0.borrow().log[n as usize - 1].clone();
                if gave_back.contains(&name.as_str()) {
                    left.clear();
                }
                assert_eq!(left, [""; 0], "call {n} ({name}), error {errno}");
                // And a second try works, in the same process.
                fake.0.borrow_mut().fails = None;
                if !gave_back.contains(&name.as_str()) {
                    open(&fake, &bytes, SHORT).unwrap().run().unwrap();
                    assert_eq!(fake.left(), [""; 0], "after call {n} ({name})");
                }
            }
        }
    }
}

#[test]
fn a_run_makes_no_system_call_and_writes_what_changed() {
    let bytes = bundle(|_, _| ());
    let fake = Fake::new(Machine::default());
    let mut model = open(&fake, &bytes, SHORT).unwrap();
    model.run().unwrap();
    fake.0.borrow_mut().stores.clear();
    let calls = calls_of(&fake, || model.run().unwrap());
    assert!(calls.is_empty(), "{calls:?}");
    // Two words of the timeline, four of the ring, the write pointer, the doorbell.
    assert_eq!(fake.0.borrow().stores.len(), 8);
    let memory = vec![0u8; 3 << 12];
    let start = (memory.as_ptr() as u64).next_multiple_of(4096);
    assert_eq!(
        model.bind(0, Some(start)),
        Err(Error::Argument(
            "the tensor's memory is not registered: register it first"
        ))
    );
    // SAFETY: the memory outlives the model, and nothing else uses it.
    unsafe { model.register(start, 8192) }.unwrap();
    // SAFETY: as above.
    assert!(unsafe { model.register(start + 4096, 16) }.is_err());
    assert!(model.bind(0, Some(start + 8)).is_err(), "not aligned");
    assert!(model.bind(1, Some(start + 8192 - 8)).is_err(), "too short");
    model.bind(0, Some(start + 16)).unwrap();
    assert!(model.unregister(start).is_err(), "still bound");
    fake.0.borrow_mut().stores.clear();
    model.run().unwrap();
    let stores = fake.0.borrow().stores.clone();
    assert_eq!(stores.len(), 9);
    assert_eq!(stores.iter().filter(|s| s.1 == start + 16).count(), 1);
    model.bind(0, None).unwrap();
    model.run().unwrap();
    model.unregister(start).unwrap();
    drop(model);
    assert_eq!(fake.left(), [""; 0]);
}

#[test]
fn rings_and_timelines_start_again() {
    let bytes = bundle(|_, _| ());
    let fake = Fake::new(Machine::default());
    let timeline = LAST_VALUE - 3;
    let mut model = open(&fake, &bytes, Options { timeline, ..SHORT }).unwrap();
    let runs = RING_BYTES / 16 + 10;
    let mut last = Ticket(0);
    for _ in 0..runs {
        let ticket = model.submit().unwrap();
        assert!(ticket > last);
        last = ticket;
        model.wait(ticket, Duration::ZERO).unwrap();
    }
    assert!(model.wait(Ticket(1), Duration::ZERO).is_ok());
    assert!(model.wait(Ticket(last.0 + 1), Duration::ZERO).is_err());
    let values: Vec<(u32, u32)> = fake.0.borrow().runs.iter().map(|r| (r.1, r.2)).collect();
    assert_eq!(values.len() as u64, runs);
    assert_eq!(values[2], (LAST_VALUE - 1, LAST_VALUE));
    assert_eq!(values[3], (0, 1));
    assert!(values.windows(2).all(|w| w[1].0 == w[0].1 || w[1].0 == 0));
}

#[test]
fn two_models_share_a_process() {
    let bytes = bundle(|_, _| ());
    let fake = Fake::new(Machine::default());
    let first = open(&fake, &bytes, SHORT).unwrap();
    let calls = fake.0.borrow().log.clone();
    let opened = |log: &[String]| log.iter().filter(|l| l.contains("renderD")).count();
    assert_eq!(opened(&calls), 1);
    drop(first);
    // The address space belongs to the process: another render node would be refused.
    drop(open(&fake, &bytes, SHORT).unwrap());
    assert_eq!(opened(&fake.0.borrow().log), 1);
}

#[test]
fn faults_and_hangs_are_told() {
    let bytes = bundle(|_, _| ());
    let fake = Fake::new(Machine::default());
    for (answer, error) in [
        (
            Answer::Faults(0x7000),
            Error::Fault {
                address: 0x7000,
                launch: None,
            },
        ),
        (Answer::Resets, Error::Lost),
        (Answer::Hangs, Error::Hang { launch: None }),
    ] {
        let mut model = open(&fake, &bytes, SHORT).unwrap();
        fake.0.borrow_mut().answer = answer;
        assert_eq!(model.run(), Err(error), "{answer:?}");
        assert!(model.write_input(0, &[0; 8]).is_err(), "a run is under way");
        let again = match answer {
            Answer::Hangs => error,
            _ => Error::Lost,
        };
        assert_eq!(model.submit(), Err(again));
        fake.0.borrow_mut().answer = Answer::Runs;
        drop(model);
        assert_eq!(fake.left(), [""; 0]);
        open(&fake, &bytes, SHORT).unwrap().run().unwrap();
    }
}

#[test]
fn machines_that_do_not_fit() {
    let bytes = bundle(|_, _| ());
    let on = |machine: Machine| {
        let fake = Fake::new(machine);
        let error = refused(&fake, &bytes);
        assert_eq!(fake.left(), [""; 0]);
        assert_eq!(error.exit_code(), 5);
        error
    };
    let m = Machine::default;
    assert_eq!(
        on(Machine {
            driver: false,
            ..m()
        }),
        Error::NoDevice
    );
    assert_eq!(on(Machine { gpus: 0, ..m() }), Error::NoGpu);
    assert_eq!(
        on(Machine {
            permitted: false,
            ..m()
        }),
        Error::Permission("/dev/kfd")
    );
    assert_eq!(
        on(Machine {
            version: (1, 4),
            ..m()
        }),
        Error::DriverTooOld(1, 4)
    );
    let wrong = Error::WrongGpu {
        found: 120_001,
        wanted: 110_000,
    };
    assert_eq!(
        on(Machine {
            gfx: 120_001,
            ..m()
        }),
        wrong
    );
    // No newer request reaches an older driver.
    let fake = Fake::new(Machine {
        version: (1, 11),
        ..m()
    });
    drop(open(&fake, &bytes, SHORT).unwrap());
}

#[test]
fn damaged_artifacts_are_refused() {
    let fake = Fake::new(Machine::default());
    for (kind, error) in [
        (9, Error::Damaged("needs")),
        (10, Error::Damaged("needs")),
        (11, Error::Damaged("needs")),
        (6, Error::Damaged("needs")),
    ] {
        let bytes = bundle(|k, bytes| {
            if k == kind {
                bytes.push(0);
            }
        });
        assert_eq!(refused(&fake, &bytes), error, "section {kind}");
    }
    // A field that no patch fills.
    let bytes = bundle(|k, bytes| {
        if k == 13 {
            // The last run patch goes, with its place in the index.
            bytes[4] = 3;
            bytes.drain(8 + 6 * 40..8 + 7 * 40);
            bytes.truncate(bytes.len() - 4);
        }
    });
    assert_eq!(refused(&fake, &bytes), Error::Damaged("arguments"));
    // A symbol that does not exist.
    let bytes = bundle(|k, bytes| {
        if k == 13 {
            bytes[8 + 6 * 40 + 4] = 16 + 9;
        }
    });
    assert_eq!(refused(&fake, &bytes), Error::Damaged("patches"));
    assert_eq!(fake.left(), [""; 0]);
    assert!(Bundle::open(b"tinycbdl").is_err());
}
