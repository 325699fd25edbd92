//! Static libraries linked into real programs: C, C++, Rust, with sanitizers, under valgrind and
//! strace where these exist.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

mod model;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tinyc_compiler::target::{Emit, Target};
use tinyc_target_cpu::{CpuTarget, Options};

const PROGRAMS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/programs");

fn emit(name: &str, dir: &Path) {
    let target = CpuTarget::new(Options::default())
        .unwrap()
        .with_renderer(model::render);
    target.emit(&model::built(name), Emit::Lib, dir).unwrap();
}

fn call(command: &mut Command) -> Output {
    let out = command.output().unwrap();
    assert!(
        out.status.success(),
        "{command:?}: {}\n{}{}",
        out.status,
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
    out
}

fn has(tool: &str) -> bool {
    let found = Command::new(tool)
        .arg("--version")
        .output()
        .is_ok_and(|o| o.status.success());
    if !found {
        eprintln!("skipped: no {tool}");
    }
    found
}

fn build_c(dir: &Path, out: &str, flags: &[&str]) -> PathBuf {
    let program = dir.join(out);
    call(
        Command::new("gcc")
            .args([
                "-std=c11",
                "-O1",
                "-Wall",
                "-Wextra",
                "-Wpedantic",
                "-Werror",
            ])
            .args(flags)
            .arg(format!("{PROGRAMS}/run.c"))
            .arg(format!("-I{}", dir.display()))
            .arg(format!("-L{}", dir.display()))
            .args(["-lm", "-Wl,--gc-sections", "-o"])
            .arg(&program)
            .arg(dir.join("libm.a")),
    );
    program
}

fn numbers(out: &Output) -> Vec<f32> {
    let text = String::from_utf8_lossy(&out.stdout);
    text.lines().map(hex_float).collect()
}

/// Reads what `%a` prints.
fn hex_float(text: &str) -> f32 {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text),
    };
    let (mantissa, exponent) = rest.strip_prefix("0x").unwrap().split_once('p').unwrap();
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = u64::from_str_radix(&format!("{whole}{fraction}"), 16).unwrap() as f64;
    let exponent: i32 = exponent.parse().unwrap();
    (sign * digits * 2f64.powi(exponent - 4 * fraction.len() as i32)) as f32
}

fn expected() -> Vec<f32> {
    let (mut y, sum) = model::expected(&model::input());
    y.push(sum);
    y
}

#[test]
fn c_program() {
    let dir = tempfile::tempdir().unwrap();
    emit("m", dir.path());
    let plain = build_c(dir.path(), "plain", &[]);
    assert_eq!(numbers(&call(&mut Command::new(&plain))), expected());
    let threads = build_c(dir.path(), "threads", &["-DTHREADS=3"]);
    assert_eq!(numbers(&call(&mut Command::new(&threads))), expected());

    let symbols = call(Command::new("nm").arg(&plain));
    let symbols = String::from_utf8_lossy(&symbols.stdout).to_string();
    assert!(
        symbols.contains("m_run") && !symbols.contains("pool_create"),
        "{symbols}"
    );
    assert!(!symbols.contains("pthread"), "{symbols}");
    call(Command::new("strip").arg(&plain));
    assert!(std::fs::metadata(&plain).unwrap().len() < 250 << 10);

    if has("strace") {
        no_system_call_in_a_run(&plain);
    }
}

/// A hundred runs make the same system calls as one.
fn no_system_call_in_a_run(program: &Path) {
    let calls = |runs: &str| {
        let out = Command::new("strace")
            .arg("-f")
            .arg(program)
            .arg(runs)
            .output()
            .unwrap();
        text(&out.stderr)
            .lines()
            .map(|l| l.split('(').next().unwrap_or("").to_string())
            .collect::<Vec<_>>()
    };
    let one = calls("1");
    if !one.iter().any(|l| l.starts_with("execve")) {
        eprintln!("skipped: strace may not trace here");
        return;
    }
    assert_eq!(one, calls("100"));
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).to_string()
}

/// Every level of this host gives the same numbers. Valgrind watches where it knows the instructions,
/// which end before AVX-512.
#[cfg(target_arch = "x86_64")]
#[test]
fn all_levels_of_this_host() {
    use tinyc_target_cpu::Level;
    for level in [Level::X86V2, Level::X86V3, Level::X86V4] {
        if !level.runs_here() {
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            cpu: level.name().into(),
            ..Options::default()
        };
        let target = CpuTarget::new(options)
            .unwrap()
            .with_renderer(model::render);
        target
            .emit(&model::built("m"), Emit::Lib, dir.path())
            .unwrap();
        let program = build_c(dir.path(), "program", &["-DTHREADS=2"]);
        assert_eq!(numbers(&call(&mut Command::new(&program))), expected());
        if level < Level::X86V4 && has("valgrind") {
            let flags = ["-q", "--leak-check=full", "--error-exitcode=9"];
            call(Command::new("valgrind").args(flags).arg(&program));
        }
    }
}

/// An older processor gets an error code, not an illegal instruction.
#[cfg(target_arch = "x86_64")]
#[test]
fn older_processors_are_refused() {
    if !has("qemu-x86_64") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        cpu: "x86-64-v3".into(),
        ..Options::default()
    };
    let target = CpuTarget::new(options)
        .unwrap()
        .with_renderer(model::render);
    target
        .emit(&model::built("m"), Emit::Lib, dir.path())
        .unwrap();
    let program = build_c(dir.path(), "program", &["-static"]);
    let exe = target
        .emit(&model::built("m"), Emit::Exe, dir.path())
        .unwrap()[0]
        .path
        .clone();
    let on = |cpu: &str, program: &Path, arguments: &[&str]| {
        let mut command = Command::new("qemu-x86_64");
        command
            .args(["-cpu", cpu])
            .arg(program)
            .args(arguments)
            .output()
            .unwrap()
            .status
            .code()
    };
    assert_eq!(on("Nehalem", &program, &[]), Some(40));
    assert_eq!(on("Haswell", &program, &[]), Some(0));
    let bench = ["--bench", "--seconds", "0.01"];
    assert_eq!(on("Nehalem", &exe, &bench), Some(5));
    assert_eq!(on("Haswell", &exe, &bench), Some(0));
    assert_eq!(on("Nehalem", &exe, &["--info"]), Some(0));
}

/// The archive for another architecture, run by an emulator.
#[test]
fn aarch64_program_under_qemu() {
    let compiler = "aarch64-linux-gnu-gcc";
    if !has(compiler) || !has("qemu-aarch64") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        cpu: "aarch64-neon".into(),
        cc: Some(compiler.into()),
        ..Options::default()
    };
    let target = CpuTarget::new(options)
        .unwrap()
        .with_renderer(model::render);
    target
        .emit(&model::built("m"), Emit::Lib, dir.path())
        .unwrap();
    let program = dir.path().join("program");
    call(
        Command::new(compiler)
            .args(["-std=c11", "-O1", "-static", "-DTHREADS=2"])
            .arg(format!("{PROGRAMS}/run.c"))
            .arg(format!("-I{}", dir.path().display()))
            .arg(dir.path().join("libm.a"))
            .args(["-lpthread", "-o"])
            .arg(&program),
    );
    let out = call(Command::new("qemu-aarch64").arg(&program));
    assert_eq!(numbers(&out), expected());
}

/// Machine code is mapped to the model's nodes.
#[test]
fn line_tables_name_nodes() {
    let dir = tempfile::tempdir().unwrap();
    emit("m", dir.path());
    if has("readelf") {
        let out = call(
            Command::new("readelf")
                .arg("--debug-dump=line")
                .arg(dir.path().join("libm.a")),
        );
        assert!(text(&out.stdout).contains("MatMul 'fc' (-> 'hidden')"));
    }
    let archive = std::fs::read(dir.path().join("libm.a")).unwrap();
    let temp = std::env::temp_dir().display().to_string();
    assert!(
        !archive
            .windows(temp.len() + 7)
            .any(|w| w == format!("{temp}/tinyc-").as_bytes())
    );
}

/// The generated C itself, kernels included, under sanitizers.
#[test]
fn sanitized_c_program() {
    let dir = tempfile::tempdir().unwrap();
    emit("m", dir.path());
    let target = CpuTarget::new(Options::default())
        .unwrap()
        .with_renderer(model::render);
    call(
        Command::new("ar")
            .arg("x")
            .arg("libm.a")
            .arg("m_weights.o")
            .current_dir(dir.path()),
    );
    let mut command = Command::new("gcc");
    command
        .args(["-std=gnu11", "-O1", "-g", "-w", "-DTHREADS=2"])
        .args(["-fsanitize=address,undefined", "-fno-sanitize-recover=all"])
        .args(target.level().flags())
        .arg(format!("{PROGRAMS}/run.c"))
        .args(["-I.", "m_weights.o", "-o", "program"])
        .current_dir(dir.path());
    for (name, text) in target.sources(&model::built("m")).unwrap() {
        std::fs::write(dir.path().join(&name), text).unwrap();
        command.arg(name);
    }
    call(command.args(["-lm", "-lpthread"]));
    let program = dir.path().join("program");
    assert_eq!(numbers(&call(&mut Command::new(&program))), expected());
}

#[test]
fn two_models_in_one_cpp_program() {
    let dir = tempfile::tempdir().unwrap();
    emit("a", dir.path());
    emit("b", dir.path());
    let program = dir.path().join("two");
    call(
        Command::new("g++")
            .args([
                "-std=c++17",
                "-O1",
                "-Wall",
                "-Wextra",
                "-Wpedantic",
                "-Werror",
            ])
            .arg(format!("{PROGRAMS}/two.cc"))
            .arg(format!("-I{}", dir.path().display()))
            .arg("-o")
            .arg(&program)
            .args([dir.path().join("liba.a"), dir.path().join("libb.a")])
            .args(["-lm", "-lpthread"]),
    );
    let out = call(&mut Command::new(&program));
    assert_eq!(String::from_utf8_lossy(&out.stdout), "0 0\n");
}

#[test]
fn rust_program() {
    let dir = tempfile::tempdir().unwrap();
    emit("m", dir.path());
    let app = dir.path().join("app");
    std::fs::create_dir_all(app.join("src")).unwrap();
    std::fs::copy(format!("{PROGRAMS}/app.rs"), app.join("src/main.rs")).unwrap();
    std::fs::write(
        app.join("Cargo.toml"),
        "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\
         [dependencies]\nm = { path = \"../m-rs\" }\n[workspace]\n",
    )
    .unwrap();
    let out = call(
        Command::new(env!("CARGO"))
            .args(["run", "-q", "--offline"])
            .current_dir(&app)
            .env("CARGO_TARGET_DIR", dir.path().join("target"))
            .env("RUSTFLAGS", "-Dwarnings"),
    );
    let text = String::from_utf8_lossy(&out.stdout);
    let found: Vec<f32> = text
        .lines()
        .map(|l| f32::from_bits(l.parse().unwrap()))
        .collect();
    assert_eq!(found, [expected(), expected()].concat());
}

#[test]
fn without_inputs_and_weights() {
    let dir = tempfile::tempdir().unwrap();
    let target = CpuTarget::new(Options::default())
        .unwrap()
        .with_renderer(model::render);
    target
        .emit(&model::constant("c"), Emit::Lib, dir.path())
        .unwrap();
    let source = dir.path().join("main.c");
    std::fs::write(
        &source,
        "#include \"c.h\"\n#include <stdalign.h>\n\
         static alignas(C_ARENA_ALIGN) unsigned char arena[C_ARENA_BYTES];\n\
         int main(void) { uint8_t f[3]; c_inputs in = { 0 }; c_outputs out = { f };\n\
         return c_run(&in, &out, arena, NULL) != C_OK || f[0] || f[1] != 1 || f[2]; }\n",
    )
    .unwrap();
    let program = dir.path().join("program");
    let mut command = Command::new("gcc");
    command.args([
        "-std=c11",
        "-Wall",
        "-Wextra",
        "-Wpedantic",
        "-Werror",
        "-I.",
    ]);
    command
        .args(["main.c", "libc.a", "-o", "program"])
        .current_dir(dir.path());
    call(&mut command);
    call(&mut Command::new(&program));
    call(
        Command::new(env!("CARGO"))
            .args(["check", "-q", "--offline"])
            .current_dir(dir.path().join("c-rs"))
            .env("CARGO_TARGET_DIR", dir.path().join("target"))
            .env("RUSTFLAGS", "-Dwarnings"),
    );
}

#[test]
fn pkg_config_and_header() {
    let dir = tempfile::tempdir().unwrap();
    emit("m", dir.path());
    if has("pkg-config") {
        let out = call(
            Command::new("pkg-config")
                .args(["--cflags", "--libs", "m"])
                .env("PKG_CONFIG_PATH", dir.path()),
        );
        let text = String::from_utf8_lossy(&out.stdout).to_string();
        assert!(text.contains("-lm") && text.contains("-I"), "{text}");
    }
    let header = std::fs::read_to_string(dir.path().join("m.h")).unwrap();
    assert!(
        header.contains("const float *x_0; /* f32 [6,5] */"),
        "{header}"
    );
    assert!(header.contains("#define M_ARENA_BYTES 256"), "{header}");
}

#[test]
fn two_builds_are_equal() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    emit("m", one.path());
    emit("m", two.path());
    for file in ["libm.a", "m.h", "m.pc", "mConfig.cmake", "m-rs/src/lib.rs"] {
        let bytes = |dir: &Path| std::fs::read(dir.join(file)).unwrap();
        assert!(bytes(one.path()) == bytes(two.path()), "{file}");
    }
}

#[test]
fn a_name_that_is_a_keyword_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let target = CpuTarget::new(Options::default())
        .unwrap()
        .with_renderer(model::render);
    let e = target
        .emit(&model::built("int"), Emit::Lib, dir.path())
        .unwrap_err();
    assert!(e.help.unwrap().contains("--name"));
}
