//! Compiled kernels on the simulated device compute what the same source computes on this host: every operator on every
//! type of number, conversions among all types, with and without optimisation. Without clang-19 the test says that it
//! skips.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

mod clang;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use tinyc_simgpu::code_object::CodeObject;
use tinyc_simgpu::device::Device;
use tinyc_simgpu::draw::Draw;

/// Lanes that compute.
const N: usize = 64;

/// A type of number: its name in C, bytes, whether it is a float, whether it has a sign.
#[derive(Clone, Copy, Debug)]
struct Type {
    name: &'static str,
    bytes: usize,
    float: bool,
    signed: bool,
}

const fn ty(name: &'static str, bytes: usize, float: bool, signed: bool) -> Type {
    Type {
        name,
        bytes,
        float,
        signed,
    }
}

const TYPES: [Type; 11] = [
    ty("i8", 1, false, true),
    ty("u8", 1, false, false),
    ty("i16", 2, false, true),
    ty("u16", 2, false, false),
    ty("i32", 4, false, true),
    ty("u32", 4, false, false),
    ty("i64", 8, false, true),
    ty("u64", 8, false, false),
    ty("f16", 2, true, true),
    ty("f32", 4, true, true),
    ty("f64", 8, true, true),
];

/// The bytes of a number of this type.
fn encode(ty: Type, x: f64) -> Vec<u8> {
    match ty.name {
        "f16" => half::f16::from_f64(x).to_le_bytes().to_vec(),
        "f32" => (x as f32).to_le_bytes().to_vec(),
        "f64" => x.to_le_bytes().to_vec(),
        _ => (x as i128).to_le_bytes()[..ty.bytes].to_vec(),
    }
}

/// Whether bytes are no number.
fn is_nan(ty: Type, bytes: &[u8]) -> bool {
    match ty.name {
        "f16" => half::f16::from_le_bytes(bytes.try_into().unwrap()).is_nan(),
        "f32" => f32::from_le_bytes(bytes.try_into().unwrap()).is_nan(),
        "f64" => f64::from_le_bytes(bytes.try_into().unwrap()).is_nan(),
        _ => false,
    }
}

/// Numbers of all kinds: any bits, small ones, special ones. Divisors are not zero where that has no meaning.
fn operands(ty: Type, draw: &mut Draw, divisor: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..N {
        let bits = draw.bits().to_le_bytes();
        let small = draw.below(200) as f64 - if ty.signed { 100.0 } else { 0.0 };
        let mut bytes = match draw.below(4) {
            0 => encode(ty, small),
            1 if ty.float => {
                let special = [
                    0.0,
                    -0.0,
                    1.0,
                    f64::INFINITY,
                    f64::NEG_INFINITY,
                    f64::NAN,
                    1e-40,
                    6e-8,
                    3e38,
                ];
                encode(ty, special[draw.below(9) as usize])
            }
            2 if ty.float => encode(ty, small * 0.01 + draw.below(1000) as f64 * 1e-3),
            _ => bits[..ty.bytes].to_vec(),
        };
        if divisor
            && !ty.float
            && (bytes.iter().all(|b| *b == 0) || bytes.iter().all(|b| *b == 255))
        {
            bytes = encode(ty, 3.0);
        }
        out.extend(bytes);
    }
    out
}

/// What the host computes: names and bytes.
fn host(dir: &Path, ty: Type, operands: &[u8]) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernels");
    let program = dir.join(ty.name);
    let mut clang = Command::new("clang-19");
    clang.args([
        "-w",
        "-O1",
        "-fwrapv",
        "-ffp-contract=off",
        "-Xclang",
        "-ffloat16-excess-precision=none",
    ]);
    clang
        .arg(format!("-DT={}", ty.name))
        .arg("-o")
        .arg(&program)
        .arg(folder.join("host.c"));
    if ty.float {
        clang.arg("-DFLOAT");
    }
    assert!(clang.status().unwrap().success(), "clang for the host");
    let mut child = Command::new(&program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(operands).unwrap();
    let output = child.wait_with_output().unwrap().stdout;
    let mut rest = &output[..];
    let mut out = Vec::new();
    while let Some(end) = rest.iter().position(|b| *b == 0) {
        let name = String::from_utf8(rest[..end].to_vec()).unwrap();
        // Conversions to another type have its width.
        let other = name
            .strip_prefix("to_")
            .and_then(|t| TYPES.iter().find(|x| x.name == t));
        let bytes = N * other.map_or(ty.bytes, |t| t.bytes);
        out.push((name, rest[end + 1..end + 1 + bytes].to_vec()));
        rest = &rest[end + 1 + bytes..];
    }
    out
}

/// Where results differ, lane by lane.
fn differ(ty: Type, ours: &[u8], theirs: &[u8]) -> Option<String> {
    for (lane, (a, b)) in ours
        .chunks(ty.bytes)
        .zip(theirs.chunks(ty.bytes))
        .enumerate()
    {
        if a != b && !(is_nan(ty, a) && is_nan(ty, b)) {
            return Some(format!("lane {lane}: {a:02x?}, the host {b:02x?}"));
        }
    }
    None
}

fn check_type(ty: Type, level: &str, dir: &Path) -> (usize, Vec<String>) {
    let mut draw = Draw::new(ty.bytes as u64 * 2 + u64::from(ty.signed));
    let [a, b, c] = [false, true, false].map(|divisor| operands(ty, &mut draw, divisor));
    let s = encode(ty, 5.0);
    let expected = host(dir, ty, &[&a[..], &b, &c, &s].concat());
    // Conversions are of numbers that every type has.
    let numbers: Vec<u8> = (0..N).flat_map(|n| encode(ty, n as f64 * 1.5)).collect();
    let converted = host(dir, ty, &[&numbers[..], &b, &c, &s].concat());
    let object = dir.join(format!("{}{level}.o", ty.name));
    let mut flags = vec![level.to_string(), format!("-DT={}", ty.name)];
    flags.extend(["-fwrapv", "-ffp-contract=off"].map(str::to_string));
    if ty.float {
        flags.push("-DFLOAT".to_string());
    }
    clang::compile("arithmetic.c", &flags, &object);
    let code = CodeObject::parse(&std::fs::read(&object).unwrap()).unwrap();
    let mut device = Device::new(1);
    let loaded = device.load(&code).unwrap();
    let map = |device: &mut Device, bytes: &[u8]| {
        let at = device.memory.map(bytes.len());
        device.memory.write(at, bytes).unwrap();
        at
    };
    let mut wrong = Vec::new();
    let mut count = 0;
    let convert = |name: &str| name.starts_with("to_") || name.starts_with("from_");
    let binary = expected.iter().filter(|(name, _)| !convert(name));
    for (name, result) in binary.chain(converted.iter().filter(|(name, _)| convert(name))) {
        let mut out_ty = ty;
        let (arguments, out) = if convert(name) {
            let (to, other) = name.split_once('_').unwrap();
            let other = *TYPES.iter().find(|t| t.name == other).unwrap();
            // Numbers go to the other type, or come from what the host made of them there.
            let source = match to {
                "to" => numbers.clone(),
                _ => converted
                    .iter()
                    .find(|(n, _)| *n == format!("to_{}", other.name))
                    .unwrap()
                    .1
                    .clone(),
            };
            out_ty = if to == "to" { other } else { ty };
            let from = map(&mut device, &source);
            let out = device.memory.map(N * out_ty.bytes);
            ([from.to_le_bytes(), out.to_le_bytes()].concat(), out)
        } else {
            let [a, b, c] = [&a, &b, &c].map(|x| map(&mut device, x));
            (
                [&a.to_le_bytes()[..], &b.to_le_bytes(), &c.to_le_bytes(), &s].concat(),
                c,
            )
        };
        let arguments = device
            .arguments(&[&arguments[..], &[0; 8]].concat())
            .unwrap();
        count += 1;
        match device.dispatch(&loaded, name, [1, 1, 1], [N as u32, 1, 1], arguments) {
            Ok(_) => {
                let mut ours = vec![0; N * out_ty.bytes];
                device.memory.read(out, &mut ours).unwrap();
                if let Some(why) = differ(out_ty, &ours, result) {
                    wrong.push(format!("{level} {} {name}: {why}", ty.name));
                }
            }
            Err(e) => wrong.push(format!("{level} {} {name}: {e}", ty.name)),
        }
    }
    (count, wrong)
}

#[test]
fn operators_compute_what_the_host_computes() {
    if !clang::available() {
        eprintln!("skipped: clang-19 is missing");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut count = 0;
    let mut wrong = Vec::new();
    for ty in TYPES {
        for level in ["-O0", "-O2"] {
            let (n, more) = check_type(ty, level, dir.path());
            count += n;
            wrong.extend(more);
        }
    }
    eprintln!("{count} kernels executed");
    assert!(
        wrong.is_empty(),
        "{} of {count} kernels:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Quotients of any bits are rounded correctly: the steps that clang makes of a division, with all their special cases.
#[test]
fn quotients_are_rounded_correctly() {
    if !clang::available() {
        eprintln!("skipped: clang-19 is missing");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let groups = 256;
    let n = groups as usize * 64;
    for ty in TYPES.iter().filter(|t| t.float) {
        let object = dir.path().join(ty.name);
        let flags = ["-O2", "-DFLOAT", &format!("-DT={}", ty.name)].map(str::to_string);
        clang::compile("arithmetic.c", &flags, &object);
        let code = CodeObject::parse(&std::fs::read(&object).unwrap()).unwrap();
        let mut device = Device::new(7);
        let loaded = device.load(&code).unwrap();
        let mut draw = Draw::new(3);
        let mut operand = |device: &mut Device| {
            let bytes: Vec<u8> = (0..n)
                .flat_map(|_| draw.bits().to_le_bytes()[..ty.bytes].to_vec())
                .collect();
            (device.memory.map(bytes.len()), bytes)
        };
        let (a, b, c) = (
            operand(&mut device),
            operand(&mut device),
            operand(&mut device),
        );
        for (at, bytes) in [&a, &b, &c] {
            device.memory.write(*at, bytes).unwrap();
        }
        let arguments = [a.0, b.0, c.0, 0].map(u64::to_le_bytes).concat();
        let arguments = device.arguments(&arguments).unwrap();
        device
            .dispatch(&loaded, "divide", [groups, 1, 1], [64, 1, 1], arguments)
            .unwrap();
        let mut ours = vec![0; n * ty.bytes];
        device.memory.read(c.0, &mut ours).unwrap();
        let pairs = a.1.chunks(ty.bytes).zip(b.1.chunks(ty.bytes));
        for (got, (x, y)) in ours.chunks(ty.bytes).zip(pairs) {
            let expected = match ty.name {
                "f16" => {
                    let of = |b: &[u8]| half::f16::from_le_bytes(b.try_into().unwrap());
                    half::f16::from_f32(of(x).to_f32() / of(y).to_f32())
                        .to_le_bytes()
                        .to_vec()
                }
                "f32" => {
                    let of = |b: &[u8]| f32::from_le_bytes(b.try_into().unwrap());
                    (of(x) / of(y)).to_le_bytes().to_vec()
                }
                _ => {
                    let of = |b: &[u8]| f64::from_le_bytes(b.try_into().unwrap());
                    (of(x) / of(y)).to_le_bytes().to_vec()
                }
            };
            let same = got == expected || (is_nan(*ty, got) && is_nan(*ty, &expected));
            assert!(
                same,
                "{}: {x:02x?} / {y:02x?} is {expected:02x?}, not {got:02x?}",
                ty.name
            );
        }
    }
}
