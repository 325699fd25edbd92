//! Static libraries for AMD GPUs: their shipped code, loaded into this process, runs models on the simulated driver; programs of C, C++ and Rust link them,
//! two models in one program too, and are told what the machine lacks.
//!
//! Without clang for AMDGPU a test says that it skips.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod harness;

use harness::{distance, ready, reference};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use tinyc_compiler::driver::{Options, Silent, compile};
use tinyc_compiler::graph::{Builder, Graph};
use tinyc_compiler::program::Built;
use tinyc_compiler::target::{Emit, Target};
use tinyc_compiler::uop::{DType, Unary};
use tinyc_replay_amd::c_api::Table;
use tinyc_replay_amd::c_table::table_of;
use tinyc_simgpu::kfd::{Settings, Simulated};
use tinyc_target_amd::{AmdTarget, Chip};

fn build(graph: Graph, name: &str, target: &dyn Target) -> Built {
    compile(graph, target, &Options::named(name), &mut Silent)
        .unwrap()
        .built
}

fn negate() -> Graph {
    let mut b = Builder::new("negate");
    let x = b.input("x", DType::F32, &[32]).unwrap();
    let y = b.unary(Unary::Neg, x).unwrap();
    b.output("y", y);
    b.finish()
}

/// Libraries `digits` and `negate` in a folder.
fn libraries(target: &AmdTarget, dir: &Path) -> Built {
    let digits = build(tinyc_models::by_name("mnist").unwrap(), "digits", target);
    let negate = build(negate(), "negate", target);
    let files = target.emit(&digits, Emit::Lib, dir).unwrap();
    let names: Vec<String> = files
        .iter()
        .map(|f| f.path.strip_prefix(dir).unwrap().display().to_string())
        .collect();
    for name in [
        "libdigits.a",
        "digits.h",
        "tinyc_amd.h",
        "digits-rs/src/lib.rs",
    ] {
        assert!(names.iter().any(|n| n == name), "{names:?}");
    }
    target.emit(&negate, Emit::Lib, dir).unwrap();
    digits
}

fn run(command: &mut Command) -> String {
    let done = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {errors}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// A shared library that is loaded.
struct Loaded(*mut c_void);

impl Loaded {
    fn open(path: &Path) -> Loaded {
        let path = CString::new(path.to_str().unwrap()).unwrap();
        // The library does nothing when it is loaded.
        let at = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!at.is_null(), "{:?}", unsafe {
            CStr::from_ptr(libc::dlerror())
        });
        Loaded(at)
    }

    fn get<F: Copy>(&self, name: &str) -> F {
        let symbol = CString::new(name).unwrap();
        let at = unsafe { libc::dlsym(self.0, symbol.as_ptr()) };
        assert!(!at.is_null(), "{name}");
        assert_eq!(size_of::<F>(), size_of_val(&at));
        // The caller names the type that the header gives.
        unsafe { std::mem::transmute_copy(&at) }
    }
}

type Pointer = *mut c_void;

/// Functions of one model.
struct Functions {
    open: unsafe extern "C" fn(*const Table, *mut Pointer) -> c_int,
    close: unsafe extern "C" fn(Pointer),
    submit: unsafe extern "C" fn(Pointer, *mut u64) -> c_int,
    wait: unsafe extern "C" fn(Pointer, u64, u64) -> c_int,
    input: unsafe extern "C" fn(Pointer) -> *mut f32,
    output: unsafe extern "C" fn(Pointer) -> *const f32,
    error: unsafe extern "C" fn(Pointer) -> *const c_char,
}

impl Functions {
    fn of(library: &Loaded, name: &str, input: &str, output: &str) -> Functions {
        let get = |what: &str| format!("{name}_{what}");
        Functions {
            open: library.get(&get("open_on")),
            close: library.get(&get("close")),
            submit: library.get(&get("submit")),
            wait: library.get(&get("wait")),
            input: library.get(&get(input)),
            output: library.get(&get(output)),
            error: library.get(&get("error")),
        }
    }

    fn check(&self, context: Pointer, code: c_int) {
        let text = unsafe { CStr::from_ptr((self.error)(context)) };
        assert_eq!(code, 0, "{text:?}");
    }
}

#[test]
fn two_models_run_in_one_process() {
    let Some(target) = ready(Chip::Gfx1100) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let built = libraries(&target, dir.path());
    let shared = dir.path().join("both.so");
    // All members of both: what they have in common is there once.
    run(Command::new("gcc")
        .args(["-shared", "-Wl,-z,defs", "-Wl,--whole-archive"])
        .arg(dir.path().join("libdigits.a"))
        .arg(dir.path().join("libnegate.a"))
        .args(["-Wl,--no-whole-archive", "-o"])
        .arg(&shared));
    let library = Loaded::open(&shared);
    let digits = Functions::of(&library, "digits", "input_image", "output_scores");
    let negate = Functions::of(&library, "negate", "input_x", "output_y");
    let mut simulated = Simulated::new(Settings {
        seed: 43,
        shadow: true,
        units: 4,
        ..Settings::default()
    });
    let table = table_of(&mut simulated);
    let values: Vec<f32> = (0..built.program.inputs[0].elements())
        .map(|i| (i as f32 * 0.11).sin())
        .collect();
    let cpu = reference();
    let expected = {
        let built = build(tinyc_models::by_name("mnist").unwrap(), "digits", &cpu);
        let mut session = cpu.load(&built, 1).unwrap();
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let mut out = vec![0; built.program.outputs[0].bytes()];
        session.run(&[&bytes], &mut [&mut out]).unwrap();
        let words = out.as_chunks::<4>().0.iter();
        words.map(|b| f32::from_le_bytes(*b)).collect::<Vec<f32>>()
    };
    // All pointers are those of the libraries, which live as long as this test; the simulated machine is used by this thread alone.
    unsafe {
        let (mut a, mut b) = (std::ptr::null_mut(), std::ptr::null_mut());
        digits.check(a, (digits.open)(&table, &mut a));
        negate.check(b, (negate.open)(&table, &mut b));
        let (mut first, mut second) = (0, 0);
        for round in 0..3 {
            // Through the object, as the host's stores reach the simulated device; C on a real one just writes.
            use tinyc_runtime::io::Mmio;
            let bytes = |v: &[f32]| v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
            let mut host = simulated.clone();
            host.copy_to((digits.input)(a) as u64, &bytes(&values));
            host.copy_to((negate.input)(b) as u64, &bytes(&[round as f32; 32]));
            digits.check(a, (digits.submit)(a, &mut first));
            negate.check(b, (negate.submit)(b, &mut second));
            negate.check(b, (negate.wait)(b, second, 1000));
            digits.check(a, (digits.wait)(a, first, 1000));
            let scores = std::slice::from_raw_parts((digits.output)(a), expected.len());
            assert!(distance(scores, &expected) < 1e-5);
            let negative = std::slice::from_raw_parts((negate.output)(b), 32);
            assert_eq!(negative, [-(round as f32); 32]);
        }
        (digits.close)(a);
        (negate.close)(b);
    }
    assert_eq!(simulated.fault(), None);
    assert!(
        simulated.violations().is_empty(),
        "{:?}",
        simulated.violations()
    );
    assert!(simulated.leaks().is_empty(), "{:?}", simulated.leaks());
}

/// What programs say on a machine that may or may not have the device.
fn told(said: &str) {
    let (code, text) = said.lines().next().unwrap().split_once(' ').unwrap();
    match code.parse::<i32>().unwrap() {
        0 => assert!(said.lines().nth(1).unwrap().starts_with("0 "), "{said}"),
        3 => assert!(
            text.contains("modprobe amdgpu") || text.contains("dmesg"),
            "{said}"
        ),
        code => assert!((4..=6).contains(&code), "{said}"),
    }
}

#[test]
fn programs_link_it() {
    let Some(target) = ready(Chip::Gfx1100) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    libraries(&target, dir);
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
    let source = std::fs::read_to_string(here.join("run.c")).unwrap();
    for (compiler, file, standard) in [("gcc", "run.c", "c99"), ("g++", "run.cc", "c++17")] {
        std::fs::write(dir.join(file), &source).unwrap();
        for flags in [&["-static"][..], &["-fPIE", "-pie"]] {
            let program = dir.join(compiler);
            run(Command::new(compiler)
                .arg(format!("-std={standard}"))
                .args(["-Wall", "-Wextra", "-Werror", "-Wpedantic", "-I"])
                .args([dir, &dir.join(file), &dir.join("libdigits.a")])
                .args(flags)
                .arg("-o")
                .arg(&program));
            told(&run(&mut Command::new(&program)));
        }
    }
    // The crate, in a program that has Rust's standard library with all its symbols.
    let rustc = || Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()));
    let native = format!("-Lnative={}", dir.display());
    run(rustc()
        .args([
            "--edition",
            "2021",
            "--crate-type",
            "rlib",
            "--crate-name",
            "digits",
            "-Dwarnings",
        ])
        .arg(dir.join("digits-rs/src/lib.rs"))
        .arg("-o")
        .arg(dir.join("libdigits_crate.rlib")));
    let program = "fn main() {\n    match digits::Model::open() {\n        Ok(mut m) => match m.run() {\n            Ok(()) => println!(\"0 \\n0 \"),\n            Err(e) => println!(\"{} {e}\", e.code),\n        },\n        Err(e) => println!(\"{} {e}\", e.code),\n    }\n}\n";
    std::fs::write(dir.join("main.rs"), program).unwrap();
    run(rustc()
        .args(["--edition", "2021", "--crate-name", "app"])
        .arg(dir.join("main.rs"))
        .arg(format!(
            "--extern=digits={}",
            dir.join("libdigits_crate.rlib").display()
        ))
        .args([&native, "-lstatic=digits", "-o"])
        .arg(dir.join("app")));
    told(&run(&mut Command::new(dir.join("app"))));
}
