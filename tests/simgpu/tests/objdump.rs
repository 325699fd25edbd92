//! The disassembler's text equals `llvm-objdump`'s on every instruction that clang makes of the kernels in `kernels/`,
//! for all optimisation levels, and encoding gives the bytes back. Without clang-19 the test says that it skips.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

mod clang;

use std::process::Command;
use tinyc_simgpu::code_object::CodeObject;
use tinyc_simgpu::isa::Isa;
use tinyc_simgpu::listing::listing;

/// One line of `llvm-objdump`: the text and the words.
fn parse(line: &str) -> Option<(&str, Vec<u32>)> {
    let (text, rest) = line.strip_prefix('\t')?.split_once("// ")?;
    let (_, words) = rest.split_once(": ")?;
    let words = words
        .split(' ')
        .map_while(|w| u32::from_str_radix(w, 16).ok());
    Some((text.trim(), words.collect()))
}

/// Compares all instructions of one object: their number and what differs.
fn compare(object: &std::path::Path) -> (usize, Vec<String>) {
    let output = Command::new("llvm-objdump-19")
        .arg("-d")
        .arg(object)
        .output()
        .expect("llvm-objdump-19 runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let mut count = 0;
    let mut wrong = Vec::new();
    for (theirs, words) in text.lines().filter_map(parse) {
        count += 1;
        match Isa::gfx1100().decode(&words) {
            Ok(inst) if inst.to_string() != theirs => {
                wrong.push(format!("{inst:?}, LLVM: {theirs}"))
            }
            Ok(inst) if inst.encode() != words => {
                wrong.push(format!("{inst:?} is {:x?}", inst.encode()))
            }
            Ok(_) => {}
            Err(e) => wrong.push(format!("{e}, LLVM: {theirs}")),
        }
    }
    (count, wrong)
}

#[test]
fn compiled_kernels_read_as_objdump_writes_them() {
    if !clang::available() {
        eprintln!("skipped: clang-19 and llvm-objdump-19 are missing");
        return;
    }
    let mut jobs: Vec<(&str, Vec<String>)> = Vec::new();
    for level in ["-O0", "-O1", "-O2", "-O3"] {
        for source in ["builtins.c", "packed.c", "atomics.c", "whole.c"] {
            jobs.push((source, vec![level.to_string()]));
        }
        for ty in ["i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64"] {
            jobs.push(("arithmetic.c", vec![level.to_string(), format!("-DT={ty}")]));
        }
        for ty in ["f16", "f32", "f64"] {
            let fast = level == "-O3";
            let more = if fast {
                "-ffast-math"
            } else {
                "-ffp-contract=fast"
            };
            let all = [level, "-DFLOAT", more].map(str::to_string);
            jobs.push(("arithmetic.c", [&all[..], &[format!("-DT={ty}")]].concat()));
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || {
        let mut total = (0, Vec::new());
        loop {
            let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let Some((source, flags)) = jobs.get(n) else {
                return total;
            };
            let object = dir.path().join(format!("{n}.o"));
            clang::compile(source, flags, &object);
            let (count, wrong) = compare(&object);
            total.0 += count;
            total.1.extend(
                wrong
                    .into_iter()
                    .map(|w| format!("{source} {}: {w}", flags.join(" "))),
            );
        }
    };
    let (count, wrong) = std::thread::scope(|s| {
        let other = s.spawn(work);
        let (n, mut wrong) = work();
        let (m, more) = other.join().unwrap();
        wrong.extend(more);
        (n + m, wrong)
    });
    eprintln!("{count} instructions of compiled kernels compared");
    let shown: Vec<&str> = wrong.iter().take(40).map(String::as_str).collect();
    assert!(
        wrong.is_empty(),
        "{} of {count} differ:\n{}",
        wrong.len(),
        shown.join("\n")
    );
    assert!(count > 100_000, "only {count} instructions were compared");
}

/// A listing of a whole code object has the lines of `llvm-objdump`, except padding.
#[test]
fn listings_have_the_lines_of_objdump() {
    if !clang::available() {
        eprintln!("skipped: clang-19 and llvm-objdump-19 are missing");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let object = dir.path().join("whole.o");
    clang::compile("whole.c", &["-O2".to_string()], &object);
    let code = CodeObject::parse(&std::fs::read(&object).unwrap()).unwrap();
    let ours = listing(&code);
    let output = Command::new("llvm-objdump-19")
        .arg("-d")
        .arg(&object)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    fn lines(text: &str) -> Vec<&str> {
        let padding = |l: &str| l.starts_with("\ts_nop 0") || l.starts_with("\ts_code_end");
        text.lines()
            .filter(|l| l.starts_with('\t') && !padding(l))
            .collect()
    }
    let (ours, theirs) = (lines(&ours), lines(&text));
    assert_eq!(ours.len(), theirs.len());
    for (a, b) in ours.iter().zip(&theirs) {
        // The name of a branch's target comes after its words.
        assert!(b.starts_with(a), "{a}\n{b}");
    }
}
