//! `.tinyexe` files: they run without libc, refuse damage by name, and are reproducible.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod model;
#[path = "../../../../tests/src/start.rs"]
mod start;

use std::path::{Path, PathBuf};
use std::process::Command;
use tinyc_compiler::target::{Emit, Target};
use tinyc_runtime::npy::{Array, HEADER_ROOM, header};
use tinyc_runtime::zip::{Entry, Writer, members};
use tinyc_runtime::{Error, Kind, read};
use tinyc_target_cpu::{CpuTarget, Options};

fn emit(dir: &Path) -> PathBuf {
    let target = CpuTarget::new(Options::default())
        .unwrap()
        .with_renderer(model::render);
    let files = target.emit(&model::built("m"), Emit::Exe, dir).unwrap();
    assert_eq!(files.len(), 1);
    files[0].path.clone()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).to_string()
}

fn npy(descr: &str, dims: &[u64], data: &[u8]) -> Vec<u8> {
    let mut out = [0; HEADER_ROOM];
    let len = header(descr, dims.iter().copied(), &mut out).unwrap();
    [&out[..len], data].concat()
}

fn npz(name: &str, file: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let entry = Entry {
        name,
        head: file,
        body: &[],
    };
    let mut writer = Writer::new(|b: &[u8]| {
        out.extend_from_slice(b);
        Ok(())
    });
    writer.entry(&entry).unwrap();
    writer.directory(&entry).unwrap();
    writer.finish().unwrap();
    out
}

#[test]
fn runs_with_npz_and_npy() {
    let dir = tempfile::tempdir().unwrap();
    let exe = emit(dir.path());
    let path = |name: &str| dir.path().join(name).display().to_string();
    let x = npy("<f4", &[6, 5], &model::bytes(&model::input()));
    std::fs::write(path("x.npy"), &x).unwrap();
    std::fs::write(path("x.npz"), npz("x:0", &x)).unwrap();
    std::fs::write(path("arr.npz"), npz("arr_0", &x)).unwrap();
    let (y, sum) = model::expected(&model::input());
    for input in ["x.npy", "x.npz", "arr.npz"] {
        for threads in ["1", "2", "4"] {
            let out = path("out.npz");
            let done = start::output(
                &exe,
                &["--run", &path(input), "-o", &out, "--threads", threads],
            );
            assert!(done.status.success(), "{}", text(&done.stderr));
            let file = std::fs::read(&out).unwrap();
            let list: Vec<_> = members(&file).unwrap().collect();
            assert_eq!(list[0].name, b"y.npy");
            assert_eq!(list[1].name, b"x/0.npy");
            let first = Array::read(list[0].data.unwrap()).unwrap();
            assert!(first.is("<f4", [6, 7].into_iter()));
            assert_eq!(first.data, model::bytes(&y));
            let second = Array::read(list[1].data.unwrap()).unwrap();
            assert!(second.is("<f4", [].into_iter()));
            assert_eq!(second.data, model::bytes(&[sum]));
        }
    }
}

#[test]
fn without_inputs_and_weights() {
    let dir = tempfile::tempdir().unwrap();
    let target = CpuTarget::new(Options::default())
        .unwrap()
        .with_renderer(model::render);
    let files = target
        .emit(&model::constant("c"), Emit::Exe, dir.path())
        .unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    // An archive without members.
    let mut empty = Vec::new();
    let writer = Writer::new(|b: &[u8]| {
        empty.extend_from_slice(b);
        Ok(())
    });
    writer.finish().unwrap();
    std::fs::write(path("none.npz"), empty).unwrap();
    let done = start::output(
        &files[0].path,
        &["--run", &path("none.npz"), "-o", &path("out.npy")],
    );
    assert!(done.status.success(), "{}", text(&done.stderr));
    let file = std::fs::read(path("out.npy")).unwrap();
    let array = Array::read(&file).unwrap();
    assert!(array.is("|b1", [3].into_iter()));
    assert_eq!(array.data, [0, 1, 0]);
}

/// Half floats below x86-64-v3 need the compiler's support library, and the manifest says so.
#[cfg(target_arch = "x86_64")]
#[test]
fn support_library_is_linked_where_needed() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        cpu: "x86-64-v2".into(),
        ..Options::default()
    };
    let target = CpuTarget::new(options)
        .unwrap()
        .with_renderer(model::render);
    let mut built = model::constant("c");
    for (name, needed) in [("k0_fill", false), ("k0_half", true)] {
        built.linear[0].name = name.into();
        let exe = target.emit(&built, Emit::Exe, dir.path()).unwrap()[0]
            .path
            .clone();
        let info = text(&start::output(&exe, &["--info"]).stdout);
        assert_eq!(info.contains("libgcc"), needed, "{info}");
        let done = start::output(&exe, &["--bench", "--seconds", "0.01"]);
        assert!(done.status.success(), "{}", text(&done.stderr));
    }
}

#[test]
fn wrong_inputs_have_messages_and_codes() {
    let dir = tempfile::tempdir().unwrap();
    let exe = emit(dir.path());
    let path = |name: &str| dir.path().join(name).display().to_string();
    let x = model::bytes(&model::input());
    std::fs::write(path("shape.npy"), npy("<f4", &[5, 6], &x)).unwrap();
    std::fs::write(
        path("type.npy"),
        npy("<f8", &[6, 5], &[&x[..], &x].concat()),
    )
    .unwrap();
    std::fs::write(path("short.npy"), npy("<f4", &[6, 5], &x[1..])).unwrap();
    std::fs::write(path("name.npz"), npz("z", &npy("<f4", &[6, 5], &x))).unwrap();
    std::fs::write(path("junk"), b"junk").unwrap();
    std::fs::write(path("empty"), b"").unwrap();
    let cases = [
        (
            "shape.npy",
            4,
            "another type, shape or order for input 'x:0' f32 [6,5]",
        ),
        ("type.npy", 4, "another type, shape"),
        ("short.npy", 4, "cut-off"),
        ("name.npz", 4, "no array for input 'x:0'"),
        ("junk", 4, "not a .npz or .npy"),
        ("empty", 4, "not a .npz or .npy"),
        ("absent", 5, "no such file"),
    ];
    for (file, code, message) in cases {
        let done = start::output(&exe, &["--run", &path(file), "-o", &path("out.npz")]);
        assert_eq!(
            done.status.code(),
            Some(code),
            "{file}: {}",
            text(&done.stderr)
        );
        assert!(
            text(&done.stderr).contains(message),
            "{file}: {}",
            text(&done.stderr)
        );
    }
    for arguments in [
        &["--run"][..],
        &["--bench", "--info"],
        &[],
        &["--threads", "x"],
        &["--run", "a"],
    ] {
        assert_eq!(
            start::output(&exe, arguments).status.code(),
            Some(2),
            "{arguments:?}"
        );
    }
    assert_eq!(start::output(&exe, &["--help"]).status.code(), Some(0));
}

#[test]
fn info_and_bench() {
    let dir = tempfile::tempdir().unwrap();
    let exe = emit(dir.path());
    assert!(std::fs::metadata(&exe).unwrap().len() < 200 << 10);
    let info = text(&start::output(&exe, &["--info"]).stdout);
    for line in [
        "name=m\n",
        "option=precision=f32\n",
        "input='x:0' f32 [6,5]\n",
        "section=code ",
    ] {
        assert!(info.contains(line), "{line}: {info}");
    }
    for threads in ["1", "2"] {
        let arguments = [
            "--bench",
            "--seconds",
            "0.05",
            "--json",
            "--threads",
            threads,
        ];
        let bench = start::output(&exe, &arguments);
        let json = text(&bench.stdout);
        assert!(
            json.starts_with("{\"results\": [{\"name\": \"m\", \"median_ms\": 0."),
            "{json}"
        );
    }
    let bench = text(&start::output(&exe, &["--bench", "--seconds", "0.05"]).stdout);
    assert!(bench.starts_with("m: median 0."), "{bench}");
}

/// Neither an interpreter nor a library is asked for.
#[test]
fn needs_no_library() {
    let dir = tempfile::tempdir().unwrap();
    let exe = emit(dir.path());
    let out = Command::new("readelf")
        .args(["-ldW"])
        .arg(&exe)
        .output()
        .unwrap();
    let segments = text(&out.stdout);
    assert!(
        !segments.contains("INTERP") && !segments.contains("NEEDED"),
        "{segments}"
    );
    assert!(!segments.contains("RWE"), "{segments}");
}

/// The replay program cannot panic: no code of core's panic machinery was linked into it.
#[test]
fn no_panic_is_reachable() {
    let archive = concat!(env!("OUT_DIR"), "/libtinyc_replay.a");
    let Ok(out) = Command::new("nm").arg(archive).output() else {
        eprintln!("skipped: no nm");
        return;
    };
    let symbols = text(&out.stdout);
    let object = symbols
        .split("\n\n")
        .find(|o| o.lines().any(|l| l.ends_with(" T _start")))
        .unwrap();
    assert!(
        object.contains(" T tinyc_main") && !object.contains("panicking"),
        "{object}"
    );
}

#[test]
fn a_flipped_byte_is_refused_with_the_section() {
    let dir = tempfile::tempdir().unwrap();
    let exe = emit(dir.path());
    let sound = std::fs::read(&exe).unwrap();
    let bundle = read(&sound).unwrap();
    assert_eq!(
        bundle.value("target").map(|t| t.starts_with("cpu ")),
        Some(true)
    );
    assert_eq!(bundle.program().unwrap().launches().len(), 3);
    let start = bundle.bytes().as_ptr().addr() - sound.as_ptr().addr();
    let code = tinyc_runtime::elf::section(&sound, b".text").unwrap();
    let mut places = vec![("header", start + 17), ("header", start + 70)];
    for section in bundle.sections().filter(|s| s.kind != Kind::Code) {
        let at = section.bytes.as_ptr().addr() - sound.as_ptr().addr();
        places.push((section.kind.name(), at));
        places.push((section.kind.name(), at + section.bytes.len() - 1));
    }
    // The last byte of the machine code: the program itself still runs far enough to say so.
    places.push(("code", (code.0 + code.1) as usize - 1));
    assert_eq!(places.len(), 2 + 7 * 2 + 1);
    for (name, at) in places {
        let mut damaged = sound.clone();
        damaged[at] ^= 0x40;
        assert_eq!(
            read(&damaged).err(),
            Some(Error::Damaged(name)),
            "{name} at {at}"
        );
        let path = dir.path().join("damaged");
        std::fs::write(&path, &damaged).unwrap();
        std::fs::set_permissions(&path, std::fs::metadata(&exe).unwrap().permissions()).unwrap();
        let done = start::output(&path, &["--info"]);
        assert_eq!(done.status.code(), Some(4), "{name}");
        assert!(
            text(&done.stderr).contains(&format!("'{name}' is damaged")),
            "{}",
            text(&done.stderr)
        );
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn hostile_files_do_not_panic_the_reader() {
    let dir = tempfile::tempdir().unwrap();
    let sound = std::fs::read(emit(dir.path())).unwrap();
    let bundle = read(&sound).unwrap();
    for cut in (0..sound.len()).step_by(997) {
        assert!(read(&sound[..cut]).is_err());
    }
    // Any one byte: refused, unless it is a section header, which nothing loads.
    let loaded = (0..)
        .map_while(|i| tinyc_runtime::elf::segment(&sound, i))
        .flatten()
        .map(|s| s.offset + s.size)
        .max()
        .unwrap();
    let mut damaged = sound.clone();
    for at in (0..sound.len()).step_by(61) {
        damaged[at] ^= 0x10;
        assert!(
            read(&damaged).is_err() || at as u64 >= loaded || padding(&sound, at),
            "{at}"
        );
        damaged[at] ^= 0x10;
    }
    // Contradictions behind right digests: every word of the tables set to something large.
    let (program, tensors) = (
        bundle.section(Kind::Program).unwrap().bytes,
        bundle.section(Kind::Tensors).unwrap().bytes,
    );
    for (which, bytes) in [(0, program), (1, tensors)] {
        for at in (0..bytes.len()).step_by(4) {
            for value in [1u32, 0x7fff_ffff, u32::MAX] {
                let mut changed = bytes.to_vec();
                changed[at..at + 4].copy_from_slice(&value.to_le_bytes());
                let pair = if which == 0 {
                    (&changed[..], tensors)
                } else {
                    (program, &changed[..])
                };
                if let Ok(p) = tinyc_runtime::Program::open(pair.0, pair.1, 256) {
                    for launch in p.launches() {
                        assert!(p.arguments(&launch).count() <= 1024);
                    }
                    for t in 0..p.inputs + p.outputs {
                        assert!(p.tensor(t).is_some());
                    }
                }
            }
        }
    }
}

/// Bytes of the file between segments are not loaded, and sections of the bundle are aligned.
fn padding(file: &[u8], at: usize) -> bool {
    let bundle = read(file).unwrap();
    let start = bundle.bytes().as_ptr().addr() - file.as_ptr().addr();
    let inside = |from: u64, size: u64| from <= at as u64 && (at as u64) < from + size;
    let segments = (0..)
        .map_while(|i| tinyc_runtime::elf::segment(file, i))
        .flatten();
    let loaded = segments.into_iter().any(|s| inside(s.offset, s.size));
    let in_bundle = inside(start as u64, bundle.bytes().len() as u64);
    !loaded || (in_bundle && file[at] == 0)
}

#[test]
fn two_builds_are_equal() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (a, b) = (
        std::fs::read(emit(one.path())).unwrap(),
        std::fs::read(emit(two.path())).unwrap(),
    );
    assert!(a == b);
}
