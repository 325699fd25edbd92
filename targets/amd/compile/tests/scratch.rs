//! Kernels that do not fit into registers and keep values in private memory: their results are those of the processor, and memory that
//! is missing is noticed.
//!
//! No kernel of tinyc's choice is like that. A compiler that may use few registers makes them: a script around clang. Without clang for
//! AMDGPU a test says that it skips.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod harness;

use harness::needs::with_needs;
use harness::simulated::{simulated, take};
use harness::{build, distance, ready, reference, run};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tinyc_compiler::target::{Session, Target};
use tinyc_simgpu::kfd::{Settings, Simulated};
use tinyc_simgpu::wave::Class;
use tinyc_target_amd::{AmdTarget, Chip, DeviceSession, Options};

/// Registers of a kind that the compiler may use.
const REGISTERS: u32 = 24;

/// The target, whose compiler spills.
fn spilling(dir: &Path) -> Option<AmdTarget> {
    ready(Chip::Gfx1100)?;
    let with = |cc: &Path| {
        let options = Options {
            cc: Some(cc.to_path_buf()),
            ..Options::default()
        };
        AmdTarget::new(Chip::Gfx1100, options).unwrap()
    };
    let names = ["clang", "clang-21", "clang-20", "clang-19", "clang-18"];
    let found = |name: &&&str| with(Path::new(name)).toolchain().is_ok();
    let clang = names
        .iter()
        .find(found)
        .expect("ready says that there is one");
    let script = dir.join("clang");
    let text = format!(
        "#!/bin/sh\ncase \" $* \" in\n*\" -x ir \"*) exec {clang} \"$@\" -mllvm -stress-regalloc={REGISTERS};;\nesac\nexec {clang} \"$@\"\n"
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    Some(with(&script))
}

#[test]
fn values_in_private_memory_are_those_in_registers() {
    let dir = tempfile::tempdir().unwrap();
    let Some(target) = spilling(dir.path()) else {
        return;
    };
    let ((device, launches), reference) = (simulated(target), reference());
    for name in ["mnist", "gpt2_block", "vision_trunk"] {
        let graph = tinyc_models::by_name(name).unwrap();
        let (found, expected) = (run(&graph, &device), run(&graph, &reference));
        for (n, (a, b)) in found.iter().zip(&expected).enumerate() {
            let far = distance(a, b);
            assert!(far < 1e-5, "{name}: output {n} is off by {far:e}");
        }
        let all = take(&launches);
        let scratch = |c: &tinyc_simgpu::wave::Counters| c.instructions[Class::Scratch as usize];
        let spilled: u64 = all.iter().map(|(_, c)| scratch(c)).sum();
        let waves = all.iter().filter(|(_, c)| scratch(c) > 0);
        let waves = waves.map(|(_, c)| c.waves).max().unwrap_or(0);
        println!("{name}: {spilled} instructions of private memory, up to {waves} waves");
        assert!(spilled > 1000 && waves > 1, "{name}: {all:?}");
    }
}

/// What the device was given is what kernels need: with less, or none, they touch memory that is not theirs.
#[test]
fn private_memory_that_is_missing_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let Some(target) = spilling(dir.path()) else {
        return;
    };
    let built = build(tinyc_models::by_name("mnist").unwrap(), &target);
    let bundle = target.bundle(&built).unwrap();
    let input = vec![0; built.program.inputs[0].bytes()];
    let attempt = |bytes: Option<u32>| {
        let bundle = match bytes {
            Some(bytes) => with_needs(bundle.clone(), |n| n.scratch_bytes = bytes),
            None => bundle.clone(),
        };
        let device = Simulated::new(Settings {
            shadow: true,
            ..Settings::default()
        });
        let mut session = DeviceSession::new(bundle, device.clone(), 1000).unwrap();
        let mut out = vec![0; built.program.outputs[0].bytes()];
        let result = session.run(&[&input], &mut [&mut out]);
        (result.is_ok(), device.fault(), device.violations())
    };
    assert_eq!(attempt(None), (true, None, Vec::new()));
    for bytes in [0, 4] {
        let (ran, fault, violations) = attempt(Some(bytes));
        assert!(
            !ran && (fault.is_some() || !violations.is_empty()),
            "{bytes} bytes were enough"
        );
    }
}
