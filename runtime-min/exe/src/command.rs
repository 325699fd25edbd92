//! The command line of a `.tinyexe`. Results go to standard output, errors to standard error.
//!
//! Exit codes are those of `tinyc`: 0 success, 2 usage, 4 bad input or damaged executable, 5 the machine
//! lacks something (processor, memory, file), 70 internal error.

use crate::Runner;
use crate::arrays::{describe, explain, read_inputs, write_outputs};
use crate::bench::{fill_inputs, measure};
use crate::output::{Output, STDERR, STDOUT};
use crate::sys::{self, Errno};
use core::ffi::CStr;
use tinyc_runtime::{Bundle, Error, Kind, Program};

/// What the user asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request<'a> {
    /// Which of the three.
    pub action: Action<'a>,
    /// Threads.
    pub threads: u32,
    /// Nanoseconds to measure.
    pub nanos: u64,
    /// Machine-readable.
    pub json: bool,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// Say what the file is.
    Info,
    /// Run once: input and output file.
    Run(&'a CStr, &'a CStr),
    /// Measure.
    Bench,
    /// Answer questions about single launches.
    Serve,
    /// Explain the command line.
    Help,
}

/// Reads the arguments (the program's name left out); the error is a message.
pub fn parse<'a>(
    mut arguments: impl Iterator<Item = &'a CStr>,
) -> Result<Request<'a>, &'static str> {
    let mut request = Request {
        action: Action::Help,
        threads: 1,
        nanos: 2_000_000_000,
        json: false,
    };
    let (mut input, mut output, mut chosen) = (None, None, 0);
    while let Some(argument) = arguments.next() {
        let mut value = |missing| arguments.next().ok_or(missing);
        match argument.to_bytes() {
            b"--info" => {
                request.action = Action::Info;
                chosen += 1;
            }
            b"--bench" => {
                request.action = Action::Bench;
                chosen += 1;
            }
            b"--serve" => {
                request.action = Action::Serve;
                chosen += 1;
            }
            b"--run" => {
                input = Some(value("--run needs a file")?);
                chosen += 1;
            }
            b"-o" => output = Some(value("-o needs a file")?),
            b"--threads" => {
                let count = thousandths(value("--threads needs a number")?.to_bytes());
                request.threads = match count {
                    Some(n) if n % 1000 == 0 && (1000..=1_024_000).contains(&n) => {
                        (n / 1000) as u32
                    }
                    _ => return Err("--threads takes a number from 1 to 1024"),
                };
            }
            b"--seconds" => {
                let time = thousandths(value("--seconds needs a number")?.to_bytes());
                request.nanos = match time {
                    Some(n) if (1..=86_400_000).contains(&n) => n * 1_000_000,
                    _ => return Err("--seconds takes a number from 0.001 to 86400"),
                };
            }
            b"--json" => request.json = true,
            b"--help" | b"-h" => {
                return Ok(Request {
                    action: Action::Help,
                    ..request
                });
            }
            _ => return Err("unknown argument"),
        }
    }
    match (chosen, input, output) {
        (1, Some(input), Some(output)) => request.action = Action::Run(input, output),
        (1, Some(_), None) => return Err("--run needs -o OUT.npz"),
        (1, None, None) => {}
        (1, None, Some(_)) => return Err("-o goes with --run"),
        _ => return Err("choose one of --info, --run, --bench"),
    }
    Ok(request)
}

/// A decimal number in thousandths; digits beyond are cut off.
fn thousandths(text: &[u8]) -> Option<u64> {
    let mut value = 0u64;
    let mut decimals = None;
    if text.is_empty() || text == b"." {
        return None;
    }
    for &b in text {
        match (b, decimals) {
            (b'.', None) => decimals = Some(0),
            (b'0'..=b'9', Some(3..)) => {}
            (b'0'..=b'9', _) => {
                value = value.checked_mul(10)?.checked_add(u64::from(b - b'0'))?;
                decimals = decimals.map(|d| d + 1);
            }
            _ => return None,
        }
    }
    for _ in decimals.unwrap_or(0)..3 {
        value = value.checked_mul(10)?;
    }
    Some(value)
}

/// Prints an error and gives its exit code.
pub fn fail(code: i32, parts: &[&str]) -> i32 {
    let mut out = Output::new(STDERR);
    out.text("error: ");
    for part in parts {
        out.text(part);
    }
    out.text("\n");
    let _ = out.finish();
    code
}

/// Prints how to use the program.
pub fn help(text: &str) -> i32 {
    let mut out = Output::new(STDOUT);
    out.text(text);
    finish(out)
}

/// Why the executable is refused.
pub fn refuse(error: Error) -> i32 {
    match error {
        Error::NotABundle => fail(4, &["this executable holds no model"]),
        Error::Version(_) => fail(
            4,
            &["the model in this executable has another format version"],
        ),
        Error::Damaged(s) => fail(
            4,
            &["section '", s, "' is damaged: its digest does not match"],
        ),
        Error::Malformed(s) => fail(4, &["section '", s, "' is missing or contradicts itself"]),
    }
}

fn finish(out: Output) -> i32 {
    match out.finish() {
        Ok(()) => 0,
        Err(e) => fail(5, &["cannot write to standard output: ", e.message()]),
    }
}

/// `--info --json`.
pub fn info_json(bundle: &Bundle<'_>) -> i32 {
    let program = match bundle.program() {
        Ok(program) => program,
        Err(e) => return refuse(e),
    };
    let mut out = Output::new(STDOUT);
    out.text("{");
    for key in ["name", "tinyc", "target", "toolchain", "model_sha256"] {
        let value = bundle.value(key).unwrap_or("");
        out.text("\"")
            .text(key)
            .text("\": \"")
            .json(value)
            .text("\", ");
    }
    for key in [
        "format",
        "kernels",
        "launches",
        "arena_bytes",
        "arena_lower_bound",
        "weight_bytes",
        "flops",
    ] {
        let value = bundle.value(key).unwrap_or("0");
        out.text("\"").text(key).text("\": ").text(value).text(", ");
    }
    for (key, name) in [
        ("option", "options"),
        ("bound", "bound"),
        ("licence", "licences"),
    ] {
        out.text("\"").text(name).text("\": [");
        for (i, value) in bundle.values(key).enumerate() {
            out.text(if i == 0 { "\"" } else { ", \"" })
                .json(value)
                .text("\"");
        }
        out.text("], ");
    }
    for (name, from, to) in [
        ("inputs", 0, program.inputs),
        ("outputs", program.inputs, program.inputs + program.outputs),
    ] {
        out.text("\"").text(name).text("\": [");
        for index in from..to {
            let Some(tensor) = program.tensor(index) else {
                continue;
            };
            out.text(if index == from { "" } else { ", " })
                .text("{\"name\": \"")
                .json(tensor.name);
            out.text("\", \"dtype\": \"")
                .text(tensor.type_name())
                .text("\", \"shape\": [");
            for (i, dim) in tensor.dims().enumerate() {
                out.text(if i == 0 { "" } else { ", " }).number(dim);
            }
            out.text("]}");
        }
        out.text("], ");
    }
    identities(bundle, &program, &mut out);
    machine(bundle, &mut out);
    out.text("\"sections\": [");
    for (i, section) in bundle.sections().enumerate() {
        out.text(if i == 0 { "" } else { ", " })
            .text("{\"name\": \"")
            .text(section.kind.name());
        out.text("\", \"bytes\": ")
            .number(section.size)
            .text(", \"sha256\": \"");
        hex(&section.digest, &mut out);
        out.text("\"}");
    }
    out.text("]}\n");
    finish(out)
}

/// What each kernel is, and the model's nodes of its launches.
fn identities(bundle: &Bundle<'_>, program: &Program<'_>, out: &mut Output) {
    out.text("\"identities\": [");
    let mut names = bundle.kernels();
    for (kernel, identity) in (0u32..).zip(bundle.identities()) {
        out.text(if kernel == 0 { "{" } else { ", {" });
        let name = names.next().unwrap_or("");
        for (key, value) in [
            ("name", name),
            ("hash", identity.hash),
            ("choice_hash", identity.choice_hash),
            ("code_hash", identity.code_hash),
            ("choice", identity.choice),
        ] {
            out.text("\"").text(key).text("\": \"");
            out.json(value).text("\", ");
        }
        out.text("\"flops\": ").number(identity.flops);
        out.text(", \"bytes\": ").number(identity.bytes);
        out.text(", \"nodes\": [");
        let mut launches = 0;
        for (launch, nodes) in program.launches().zip(bundle.origins()) {
            if launch.kernel == kernel {
                out.text(if launches == 0 { "\"" } else { ", \"" });
                out.json(nodes).text("\"");
                launches += 1;
            }
        }
        out.text("], \"launches\": ").number(launches).text("}");
    }
    out.text("], ");
}

/// Numbers of each kernel's machine code, where the target tells them: `k0 registers=96 occupancy=16`.
fn machine(bundle: &Bundle<'_>, out: &mut Output) {
    let mut lines = bundle.values("machine").peekable();
    if lines.peek().is_none() {
        return;
    }
    let number = |v: &str| !v.is_empty() && v.bytes().all(|b| b.is_ascii_digit());
    out.text("\"machine\": [");
    for (i, line) in lines.enumerate() {
        let mut words = tinyc_runtime::bundle::pieces(line, b' ');
        out.text(if i == 0 { "" } else { ", " })
            .text("{\"kernel\": \"")
            .json(words.next().unwrap_or(""))
            .text("\"");
        for word in words {
            let mut sides = tinyc_runtime::bundle::pieces(word, b'=');
            if let (Some(key), Some(value)) = (sides.next(), sides.next())
                && number(value)
            {
                out.text(", \"").json(key).text("\": ").text(value);
            }
        }
        out.text("}");
    }
    out.text("], ");
}

fn hex(bytes: &[u8], out: &mut Output) {
    for byte in bytes {
        let digits = b"0123456789abcdef";
        for nibble in [byte >> 4, byte & 15] {
            out.bytes(&[digits.get(nibble as usize).copied().unwrap_or(b'?')]);
        }
    }
}

/// `--info`.
pub fn info(bundle: &Bundle<'_>) -> i32 {
    let mut out = Output::new(STDOUT);
    out.text(bundle.manifest().unwrap_or(""));
    match bundle.program() {
        Ok(program) => {
            for index in 0..program.inputs + program.outputs {
                out.text(if index < program.inputs {
                    "input="
                } else {
                    "output="
                });
                if let Some(tensor) = program.tensor(index) {
                    describe(&tensor, &mut out);
                }
                out.text("\n");
            }
        }
        Err(e) => return refuse(e),
    }
    for section in bundle.sections() {
        out.text("section=")
            .text(section.kind.name())
            .text(" ")
            .number(section.size)
            .text(" bytes ");
        hex(&section.digest, &mut out);
        out.text("\n");
    }
    finish(out)
}

/// `--run`.
pub fn run<'a>(machine: &mut impl Runner<'a>, input: &CStr, output: &CStr) -> i32 {
    let named = |path: &CStr, e: Errno, what: &str| {
        let path = core::str::from_utf8(path.to_bytes()).unwrap_or("file");
        fail(5, &["cannot ", what, " ", path, ": ", e.message()])
    };
    let file = match sys::open(input).and_then(sys::map_file) {
        Ok(file) => file,
        Err(e) => return named(input, e, "read"),
    };
    if let Err(refused) = read_inputs(machine, file) {
        let mut out = Output::new(STDERR);
        out.text("error: ").bytes(input.to_bytes()).text(": ");
        explain(machine, refused, &mut out);
        out.text("\n");
        let _ = out.finish();
        return 4;
    }
    if let Err(code) = machine.run() {
        return code;
    }
    let single = output.to_bytes().ends_with(b".npy");
    if single && machine.program().outputs != 1 {
        return fail(2, &["the model has several outputs: give -o a .npz file"]);
    }
    let fd = match sys::create(output) {
        Ok(fd) => fd,
        Err(e) => return named(output, e, "write"),
    };
    match write_outputs(machine, fd, single) {
        Ok(()) => 0,
        Err(_) => fail(5, &["cannot write all outputs"]),
    }
}

/// `--bench`.
pub fn bench<'a>(machine: &mut impl Runner<'a>, bundle: &Bundle<'_>, request: &Request<'_>) -> i32 {
    fill_inputs(machine);
    let timing = match measure(machine, request.nanos) {
        Ok(timing) => timing,
        Err(code) => return code,
    };
    let name = bundle.value("name").unwrap_or("model");
    let flops = machine.program().flops;
    let mut out = Output::new(STDOUT);
    // Operations per nanosecond are GFLOP/s; in hundredths.
    let speed = flops.saturating_mul(100) / timing.median.max(1);
    let spread =
        (timing.high - timing.low.min(timing.high)).saturating_mul(1000) / timing.median.max(1);
    if request.json {
        out.text("{\"results\": [{\"name\": \"")
            .json(name)
            .text("\", \"median_ms\": ");
        out.fixed(timing.median, 6)
            .text(", \"min_ms\": ")
            .fixed(timing.min, 6);
        out.text(", \"p10_ms\": ")
            .fixed(timing.low, 6)
            .text(", \"p90_ms\": ")
            .fixed(timing.high, 6);
        out.text(", \"runs\": ").number(timing.runs);
        out.text(", \"threads\": ")
            .number(u64::from(request.threads));
        out.text(", \"gflops\": ").fixed(speed, 2);
        out.text("}], \"flops\": ")
            .number(flops)
            .text(", \"times_ms\": [");
        for (i, time) in timing.times().enumerate() {
            out.text(if i == 0 { "" } else { ", " }).fixed(time, 6);
        }
        out.text("]}\n");
    } else {
        out.text(name)
            .text(": median ")
            .fixed(timing.median / 100, 4)
            .text(" ms, min ");
        out.fixed(timing.min / 100, 4)
            .text(" ms, spread ")
            .fixed(spread, 1)
            .text(" %, ");
        out.number(timing.runs)
            .text(" runs, ")
            .fixed(speed, 2)
            .text(" GFLOP/s, ");
        out.number(u64::from(request.threads));
        out.text(if request.threads == 1 {
            " thread\n"
        } else {
            " threads\n"
        });
    }
    finish(out)
}

/// The weights of a bundle.
pub fn weights<'a>(bundle: &Bundle<'a>) -> &'a [u8] {
    bundle.section(Kind::Weights).map_or(&[], |s| s.bytes)
}
