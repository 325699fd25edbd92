//! Executables for these devices: what they hold, and what they say on a machine without one.
//!
//! Without clang for AMDGPU a test says that it skips.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod harness;
#[path = "../../../../tests/src/start.rs"]
mod start;

use harness::{build, product_of_halves, ready};
use object::{Object, ObjectSegment};
use std::path::{Path, PathBuf};
use std::process::Command;
use tinyc_compiler::graph::Graph;
use tinyc_compiler::target::{Emit, Target};
use tinyc_compiler::uop::DType;
use tinyc_runtime::bundle::Kind;
use tinyc_runtime::patch::unpatched;
use tinyc_simgpu::code_object::CodeObject;
use tinyc_simgpu::listing::listing;
use tinyc_target_amd::{AmdTarget, Chip};

fn emit(target: &AmdTarget, graph: Graph, dir: &Path) -> PathBuf {
    let built = build(graph, target);
    let files = target.emit(&built, Emit::Exe, dir).unwrap();
    assert_eq!(files.len(), 1);
    assert_eq!(
        files[0].bytes,
        std::fs::metadata(&files[0].path).unwrap().len()
    );
    files[0].path.clone()
}

fn mnist() -> Graph {
    tinyc_models::by_name("mnist").unwrap()
}

#[test]
fn an_executable_tells_what_it_is() {
    let Some(target) = ready(Chip::Gfx1100) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let path = emit(&target, mnist(), dir.path());
    let info = start::output(&path, &["--info"]);
    assert!(info.status.success(), "{info:?}");
    let text = String::from_utf8(info.stdout).unwrap();
    for part in [
        "target=amd gfx1100\n",
        "machine=k",
        "section=stream ",
        " link, ",
    ] {
        assert!(text.contains(part), "no '{part}' in\n{text}");
    }
    let json = start::output(&path, &["--info", "--json"]).stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let kernels = json["machine"].as_array().unwrap();
    assert_eq!(kernels.len() as u64, json["kernels"].as_u64().unwrap());
    assert!(kernels.iter().all(|k| k["registers"].as_u64().unwrap() > 0));
    assert!(kernels.iter().all(|k| k["occupancy"].as_u64().unwrap() > 0));
}

#[test]
fn its_sections_fit_together() {
    let Some(target) = ready(Chip::Gfx1100) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(emit(&target, mnist(), dir.path())).unwrap();
    let bundle = tinyc_runtime::read(&bytes).unwrap();
    let symbols = bundle.symbols().unwrap();
    let program = bundle.program().unwrap();
    assert_eq!(symbols.launches() as usize, program.launches().count());
    assert!(bundle.patches().unwrap().run().len() >= 4);
    let needs = bundle.section(Kind::Needs).unwrap().bytes;
    let needs = tinyc_replay_amd::Needs::read(needs).unwrap();
    assert_eq!(needs.gfx_target_version, 110_000);
    let stream = bundle.section(Kind::Stream).unwrap().bytes;
    assert_eq!(needs.stream_words * 4, stream.len() as u64);
    assert!(unpatched(stream).is_some());
    assert_eq!(unpatched(bundle.section(Kind::Image).unwrap().bytes), None);
}

#[test]
fn the_program_beside_the_bundle_is_small() {
    let Some(target) = ready(Chip::Gfx1100) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(emit(&target, mnist(), dir.path())).unwrap();
    let file = object::File::parse(&bytes[..]).unwrap();
    let code: u64 = file
        .segments()
        .filter(
            |s| matches!(s.flags(), object::SegmentFlags::Elf { p_flags, .. } if p_flags.0 & 1 != 0),
        )
        .map(|s| s.size())
        .sum();
    assert!(code > 0 && code <= 64 << 10, "{code} bytes of code");
}

#[test]
fn without_a_device_it_says_what_to_do() {
    let Some(target) = ready(Chip::Gfx1100) else {
        return;
    };
    if Path::new("/dev/kfd").exists() {
        println!("skipped: there is a device");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = emit(&target, mnist(), dir.path());
    for args in [&["--bench"][..], &["--run", "in.npy", "-o", "out.npy"]] {
        let out = start::output(&path, args);
        let message = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(5), "{message}");
        assert!(
            message.contains("/dev/kfd") && message.contains("modprobe"),
            "{message}"
        );
    }
    for args in [
        &["--serve"][..],
        &["--bench", "--threads", "2"],
        &["--what"],
    ] {
        assert_eq!(start::output(&path, args).status.code(), Some(2));
    }
    assert_eq!(start::output(&path, &["--help"]).status.code(), Some(0));
}

#[test]
fn damage_is_found() {
    let Some(target) = ready(Chip::Gfx1100) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let path = emit(&target, mnist(), dir.path());
    let bytes = std::fs::read(&path).unwrap();
    let bundle = tinyc_runtime::read(&bytes).unwrap();
    for section in bundle.sections().filter(|s| !s.bytes.is_empty()) {
        let at = section.bytes.as_ptr() as usize - bytes.as_ptr() as usize;
        let mut broken = bytes.clone();
        broken[at] ^= 1;
        // Removed first: a file that was just executed may not be written.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, broken).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).unwrap();
        let out = start::output(&path, &["--info"]);
        let message = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(4), "{message}");
        assert!(message.contains(section.kind.name()), "{message}");
    }
}

/// Instructions of a code object whose names begin so, as LLVM's disassembler writes them; nothing without it.
fn disassembled(code: &[u8], chip: Chip, names: &[&str]) -> Option<usize> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kernel.o");
    std::fs::write(&path, code).unwrap();
    let mut command = Command::new("llvm-objdump-19");
    let out = command.arg("-d").arg(format!("--mcpu={}", chip.name()));
    let out = out.arg(&path).output().ok()?;
    assert!(out.status.success(), "{out:?}");
    let text = String::from_utf8(out.stdout).unwrap();
    let lines = text.lines().map(str::trim_start);
    Some(
        lines
            .filter(|l| names.iter().any(|n| l.starts_with(n)))
            .count(),
    )
}

#[test]
fn matrix_instructions_are_counted_as_disassemblers_do() {
    for chip in Chip::ALL {
        let Some(target) = ready(chip) else {
            return;
        };
        let mut found = 0;
        let halves = [DType::F16, DType::BF16].map(|half| product_of_halves(half, 256, 256, 256));
        let more = ["gpt2_block", "vision_trunk"].map(|n| tinyc_models::by_name(n).unwrap());
        for graph in halves.into_iter().chain(more) {
            let model = target.build(&build(graph, &target)).unwrap();
            for code in &model.code {
                let counted = code
                    .matrix
                    .unwrap_or_else(|| panic!("{} {}", chip.name(), code.name));
                if chip == Chip::Gfx1100 {
                    let parsed = CodeObject::parse(&code.bytes).unwrap();
                    let text = listing(&parsed);
                    let lines = text.lines().filter(|l| l.contains("v_wmma_")).count();
                    assert_eq!(counted as usize, lines, "{}", code.name);
                }
                let names = ["v_wmma_", "v_swmmac_", "v_mfma_", "v_smfmac_"];
                if let Some(lines) = disassembled(&code.bytes, chip, &names) {
                    assert_eq!(counted as usize, lines, "{} {}", chip.name(), code.name);
                }
                found += counted;
            }
        }
        assert!(found > 0, "{}", chip.name());
    }
}

#[test]
fn objects_are_kept() {
    if ready(Chip::Gfx1100).is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let target = || {
        let options = tinyc_target_amd::Options {
            cache: Some(dir.path().to_path_buf()),
            ..Default::default()
        };
        AmdTarget::new(Chip::Gfx1100, options).unwrap()
    };
    let files = || {
        let folders = std::fs::read_dir(dir.path()).unwrap();
        let files = folders.flat_map(|d| std::fs::read_dir(d.unwrap().path()).unwrap());
        files.map(|f| f.unwrap().path()).collect::<Vec<_>>()
    };
    let built = build(mnist(), &target());
    let first = target().build(&built).unwrap();
    let kept = files();
    assert_eq!(kept.len(), first.code.len());
    assert_eq!(target().build(&built).unwrap().code, first.code);
    assert_eq!(files().len(), kept.len());
    // A damaged entry is as none.
    std::fs::write(&kept[0], b"damaged").unwrap();
    assert_eq!(target().build(&built).unwrap().code, first.code);
}
