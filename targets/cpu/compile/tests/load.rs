//! A model loaded into the process gives the right numbers, with any number of threads.
#![allow(clippy::unwrap_used)]

mod model;

use tinyc_compiler::target::Target;
use tinyc_target_cpu::{CpuTarget, Options};

fn target() -> CpuTarget {
    CpuTarget::new(Options::default())
        .unwrap()
        .with_renderer(model::render)
}

#[test]
fn loads_and_runs() {
    let built = model::built("m");
    let (y, sum) = model::expected(&model::input());
    let x = model::bytes(&model::input());
    let target = target();
    for threads in [1, 2, 5] {
        let mut session = target.load(&built, threads).unwrap();
        for _ in 0..200 {
            let (mut out, mut total) = (vec![0u8; y.len() * 4], vec![0u8; 4]);
            session.run(&[&x], &mut [&mut out, &mut total]).unwrap();
            assert_eq!(out, model::bytes(&y), "{threads} threads");
            assert_eq!(total, model::bytes(&[sum]));
        }
    }
}

#[test]
fn misaligned_and_missized_tensors() {
    let built = model::built("m");
    let (y, sum) = model::expected(&model::input());
    let mut x = vec![0u8];
    x.extend(model::bytes(&model::input()));
    let mut session = target().load(&built, 1).unwrap();
    let (mut out, mut total) = (vec![0u8; y.len() * 4 + 1], vec![0u8; 4]);
    session
        .run(&[&x[1..]], &mut [&mut out[1..], &mut total])
        .unwrap();
    assert_eq!(out[1..], model::bytes(&y));
    assert_eq!(total, model::bytes(&[sum]));
    let e = session
        .run(&[&x], &mut [&mut out[1..], &mut total])
        .unwrap_err();
    assert!(e.message.contains("x:0"), "{}", e.message);
}

#[test]
fn a_plan_that_does_not_hold_is_refused() {
    let mut built = model::built("m");
    built.plan.arena_bytes = 100;
    let e = target().load(&built, 1).err().unwrap();
    assert!(e.message.contains("hidden"), "{}", e.message);
}

#[test]
fn without_inputs_and_weights() {
    let mut session = target().load(&model::constant("c"), 2).unwrap();
    let mut flags = [7u8; 3];
    session.run(&[], &mut [&mut flags]).unwrap();
    assert_eq!(flags, [0, 1, 0]);
}

/// A buffer that no launch uses has no place.
#[test]
fn unused_buffers_do_not_count() {
    let mut built = model::built("m");
    let mut unused = built.program.buffers[2].clone();
    unused.layout = tinyc_compiler::program::Layout::row_major(&[1 << 40]);
    built.program.buffers.push(unused);
    built
        .plan
        .places
        .push(tinyc_compiler::program::Place::Arena(0));
    assert!(target().load(&built, 1).is_ok());
}

#[test]
fn another_architecture_is_refused() {
    let options = Options {
        cpu: if cfg!(target_arch = "x86_64") {
            "neon"
        } else {
            "v2"
        }
        .into(),
        ..Options::default()
    };
    let e = CpuTarget::new(options)
        .unwrap()
        .load(&model::built("m"), 1)
        .err()
        .unwrap();
    assert!(e.message.contains("does not execute"), "{}", e.message);
}
