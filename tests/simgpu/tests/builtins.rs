//! Instructions that C has no operator for, executed and compared with plain Rust: one kernel of `builtins.c` or
//! `packed.c` each, with and without optimisation. Without clang-19 the tests say that they skip.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

mod clang;

use half::f16;
use tinyc_simgpu::code_object::CodeObject;
use tinyc_simgpu::device::{Device, Loaded};
use tinyc_simgpu::draw::Draw;

const N: usize = 64;
/// The scalar argument, as integer and as float.
const S: u32 = 0x4040_0000;

/// Operands of all lanes and the lane's number.
struct Lane<'a, T> {
    x: T,
    y: T,
    z: T,
    n: usize,
    /// Operands of the lanes of the same wave.
    xs: &'a [T],
    ys: &'a [T],
    zs: &'a [T],
}

fn load(source: &str, flags: [&str; 2]) -> Option<(Device, Loaded)> {
    if !clang::available() {
        eprintln!("skipped: clang-19 is missing");
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let object = dir.path().join("kernels.o");
    clang::compile(source, &flags.map(str::to_string), &object);
    let code = CodeObject::parse(&std::fs::read(&object).unwrap()).unwrap();
    let mut device = Device::new(1);
    let loaded = device.load(&code).unwrap();
    Some((device, loaded))
}

/// Runs `name(a, b, c, d, s)` and returns what it left in `d`, element by element. Doubles have two operands.
fn run(
    device: &mut Device,
    code: &Loaded,
    name: &str,
    operands: &[&[u8]],
    bytes: usize,
) -> Vec<u64> {
    let mut arguments = Vec::new();
    for operand in operands {
        let at = device.memory.map(operand.len());
        device.memory.write(at, operand).unwrap();
        arguments.extend(at.to_le_bytes());
    }
    let out = device.memory.map(N * bytes);
    arguments.extend(out.to_le_bytes());
    arguments.extend(u64::from(S).to_le_bytes());
    let arguments = device.arguments(&arguments).unwrap();
    device
        .dispatch(code, name, [1, 1, 1], [N as u32, 1, 1], arguments)
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut all = vec![0; N * bytes];
    device.memory.read(out, &mut all).unwrap();
    let element = |b: &[u8]| b.iter().rev().fold(0, |n, x| n << 8 | u64::from(*x));
    all.chunks(bytes).map(element).collect()
}

fn words(draw: &mut Draw) -> Vec<u32> {
    (0..N)
        .map(|i| {
            if i % 4 == 0 {
                draw.below(40) as u32
            } else {
                draw.bits() as u32
            }
        })
        .collect()
}

fn floats(draw: &mut Draw) -> Vec<f32> {
    let special = [
        0.0,
        -0.0,
        1.0,
        f32::INFINITY,
        -f32::INFINITY,
        f32::NAN,
        1e-40,
        0.5,
        -2.5,
        3.5,
    ];
    (0..N)
        .map(|i| match i % 4 {
            0 => special[draw.below(10) as usize],
            1 => f32::from_bits(draw.bits() as u32),
            _ => draw.below(4000) as f32 / 100.0 - 20.0,
        })
        .collect()
}

fn bytes_of<T: Copy, const B: usize>(v: &[T], f: fn(T) -> [u8; B]) -> Vec<u8> {
    v.iter().flat_map(|x| f(*x)).collect()
}

/// Calls `f` for every lane with the operands of its wave.
fn lanes<'a, T: Copy, R>(
    x: &'a [T],
    y: &'a [T],
    z: &'a [T],
    f: impl Fn(Lane<'a, T>) -> R,
) -> Vec<R> {
    (0..N)
        .map(|i| {
            let wave = i / 32 * 32;
            let of = |v: &'a [T]| &v[wave..wave + 32];
            f(Lane {
                x: x[i],
                y: y[i],
                z: z[i],
                n: i % 32,
                xs: of(x),
                ys: of(y),
                zs: of(z),
            })
        })
        .collect()
}

type Ints = fn(Lane<'_, u32>) -> u32;

fn sad(a: u32, b: u32, masked: bool) -> u32 {
    let pairs = a.to_le_bytes().into_iter().zip(b.to_le_bytes());
    pairs
        .filter(|p| !masked || p.1 != 0)
        .map(|(x, y)| u32::from(x.abs_diff(y)))
        .sum()
}

fn dot(a: u32, b: u32, c: u32, bits: u32, signs: (bool, bool), clamp: bool) -> u32 {
    let part = |x: u32, n: u32, s: bool| {
        let v = i64::from(x >> (n * bits) & ((1 << bits) - 1));
        if s && v >> (bits - 1) & 1 != 0 {
            v - (1 << bits)
        } else {
            v
        }
    };
    let any = signs.0 || signs.1;
    let start = if any {
        i64::from(c as i32)
    } else {
        i64::from(c)
    };
    let sum = (0..32 / bits).fold(start, |s, n| s + part(a, n, signs.0) * part(b, n, signs.1));
    match (clamp, any) {
        (false, _) => sum as u32,
        (_, true) => sum.clamp(i32::MIN.into(), i32::MAX.into()) as u32,
        _ => sum.clamp(0, u32::MAX.into()) as u32,
    }
}

const INTS: &[(&str, Ints)] = &[
    ("bfe", |l| {
        let signed = i64::from(l.y as i32) >> (l.z & 31) << 59 >> 59;
        (l.x >> 3 & 127).wrapping_add(signed as u32)
    }),
    ("align", |l| {
        let both = u64::from(l.x) << 32 | u64::from(l.y);
        ((both >> (l.z & 31)) as u32).wrapping_add((both >> (8 * (S & 3))) as u32)
    }),
    ("perm", |l| {
        let b = (u64::from(l.x) << 32 | u64::from(l.y)).to_le_bytes();
        u32::from_le_bytes([b[1], b[5], b[2], b[7]])
    }),
    ("sad", |l| {
        let halves = (l.x & 0xFFFF).abs_diff(l.y & 0xFFFF) + (l.x >> 16).abs_diff(l.y >> 16);
        let bytes = sad(l.x, l.y, false).wrapping_add(sad(l.x, l.y, true));
        bytes.wrapping_add(halves).wrapping_add(l.z.wrapping_mul(3))
    }),
    ("dot4", |l| {
        dot(l.x, l.y, l.z, 8, (false, false), false).wrapping_add(dot(
            l.x,
            l.y,
            l.z,
            8,
            (false, false),
            true,
        ))
    }),
    ("dot4s", |l| {
        dot(l.x, l.y, l.z, 8, (true, false), false).wrapping_add(dot(
            l.x,
            l.y,
            l.z,
            8,
            (false, true),
            true,
        ))
    }),
    ("dot8", |l| {
        dot(l.x, l.y, l.z, 4, (false, false), false).wrapping_add(dot(
            l.x,
            l.y,
            l.z,
            4,
            (true, true),
            false,
        ))
    }),
    ("mulhi", |l| {
        let high = (u64::from(l.x) * u64::from(l.y)) >> 32;
        let signed = (i64::from(l.y as i32) * i64::from(l.z as i32)) >> 32;
        (high as u32).wrapping_add(signed as u32)
    }),
    ("mbcnt", |l| {
        (l.x & ((1 << l.n) - 1))
            .count_ones()
            .wrapping_add(l.y)
            .wrapping_add(l.z)
    }),
    ("ballot", |l| {
        let mask = (0..32).fold(0, |m, n| m | u32::from(l.xs[n] > l.ys[n]) << n);
        mask.wrapping_add(u32::MAX)
    }),
    ("lane", |l| l.xs[5].wrapping_add(l.ys[0].wrapping_mul(S))),
    ("swizzle", |l| l.xs[l.n ^ 16].wrapping_add(l.ys[l.n ^ 1])),
    ("swizzle2", |l| {
        l.xs[l.n & 31].wrapping_add(l.ys[l.n & 16 ^ 2])
    }),
    ("clamped", |l| {
        l.x.saturating_add(l.y)
            .wrapping_add(l.y.saturating_sub(l.z))
    }),
    ("min3", |l| l.x.min(l.y).min(l.z)),
    ("lanes64", |l| l.x),
    ("pki16", |l| {
        let half = |v: u32| u32::from((v as i32).clamp(-0x8000, 0x7FFF) as u16);
        let packed = half(l.x) | half(l.y) << 16;
        packed.wrapping_add(l.x.min(0xFFFF) | l.z.min(0xFFFF) << 16)
    }),
    ("lerp", |l| {
        let [x, y, z] = [l.x, l.y, l.z].map(u32::to_le_bytes);
        u32::from_le_bytes(std::array::from_fn(|i| {
            ((u32::from(x[i]) + u32::from(y[i]) + u32::from(z[i] & 1)) >> 1) as u8
        }))
    }),
    ("row16", |l| {
        let (row, at) = (l.n & 16, l.n & 15);
        let low = u64::from(0x7654_3210u32) | u64::from(0xFEDC_BA98u32) << 32;
        let first = l.ys[row | (low >> (4 * at) & 15) as usize];
        let both = u64::from(S) << 32 | u64::from(S);
        let other = l.zs[(row ^ 16) | (both >> (4 * at) & 15) as usize];
        first.wrapping_add(other)
    }),
];

#[test]
fn integer_instructions() {
    for level in ["-O0", "-O2"] {
        let Some((mut device, code)) = load("builtins.c", [level, "-ffp-contract=off"]) else {
            return;
        };
        let mut draw = Draw::new(11);
        let (x, y, z) = (words(&mut draw), words(&mut draw), words(&mut draw));
        let bytes = [&x, &y, &z].map(|v| bytes_of(v, u32::to_le_bytes));
        for (name, f) in INTS {
            let kernel = format!("u_{name}");
            let ours = run(
                &mut device,
                &code,
                &kernel,
                &[&bytes[0], &bytes[1], &bytes[2]],
                4,
            );
            for (n, (got, expected)) in ours.iter().zip(lanes(&x, &y, &z, f)).enumerate() {
                let (a, b, c) = (x[n], y[n], z[n]);
                let what = format!("{level} {kernel} lane {n}: {a:#x} {b:#x} {c:#x}");
                assert_eq!(
                    *got,
                    u64::from(expected),
                    "{what}: {got:#x}, expected {expected:#x}"
                );
            }
        }
    }
}

/// A float's subnormal numbers are zero for the transcendental unit.
fn flush(x: f64) -> f64 {
    if (x as f32).abs() < f32::MIN_POSITIVE {
        0.0f64.copysign(x)
    } else {
        x
    }
}

fn exponent(x: f32) -> i32 {
    if x == 0.0 || !x.is_finite() {
        return 0;
    }
    let mut e = 0;
    let mut m = f64::from(x).abs();
    while m >= 1.0 {
        m /= 2.0;
        e += 1;
    }
    while m < 0.5 {
        m *= 2.0;
        e -= 1;
    }
    e
}

type Floats = fn(Lane<'_, f32>) -> f32;

fn med(l: &Lane<'_, f32>) -> f32 {
    let mut all = [l.x, l.y, l.z];
    if all.iter().any(|v| v.is_nan()) {
        return l.x.min(l.y).min(l.z);
    }
    all.sort_by(f32::total_cmp);
    all[1]
}

const FLOATS: &[(&str, Floats)] = &[
    ("rcp", |l| flush(1.0 / flush(l.x.into())) as f32),
    ("rsq", |l| flush(1.0 / flush(l.x.into()).sqrt()) as f32),
    ("sqrt", |l| flush(flush(l.x.into()).sqrt()) as f32),
    ("exp", |l| flush(flush(l.x.into()).exp2()) as f32),
    ("log", |l| flush(flush(l.x.into()).log2()) as f32),
    ("fract", |l| (l.x - l.x.floor()).min(1.0f32.next_down())),
    ("mant", |l| {
        let e = exponent(l.x);
        let mantissa = if l.x.is_finite() {
            (f64::from(l.x) * 2f64.powi(-e)) as f32
        } else {
            l.x
        };
        mantissa + exponent(l.y) as f32
    }),
    ("med", |l| med(&l)),
    ("round", |l| {
        l.x.floor() + l.y.ceil() + l.z.trunc() + f32::from_bits(S).round_ties_even()
    }),
    ("minmax", |l| l.x.min(l.y) + l.y.max(l.z)),
    ("min3", |l| l.x.min(l.y).min(l.z)),
    ("max3", |l| l.x.max(l.y).max(l.z)),
    ("minmax3", |l| l.x.max(l.y).min(l.z) + l.x.min(l.y).max(l.z)),
    ("signs", |l| -l.x.abs() * l.y.abs() + l.z.copysign(l.x)),
    ("clamp", |l| 1.0f32.min((l.x + l.y).max(0.0))),
    ("class", |l| {
        if l.x.is_nan() {
            l.y
        } else if l.z.is_infinite() {
            1.0
        } else {
            l.z
        }
    }),
    ("bytes", |l| {
        (l.x.to_bits() & 0xFF) as f32 + (l.y.to_bits() >> 16 & 0xFF) as f32
    }),
    // The row's next lane to the left; the first lane of a row gets zero.
    ("dpp", |l| {
        l.x + if l.n % 16 == 0 { 0.0 } else { l.ys[l.n - 1] }
    }),
    ("quad", |l| l.x * l.ys[l.n ^ 1]),
    ("half", |l| {
        l.x + l.ys[l.n & 24 | (0x39C02 >> (3 * (l.n & 7)) & 7)]
    }),
    // Half a row reversed, where row and bank are chosen; elsewhere the old value.
    ("row", |l| {
        let chosen = 5 >> (l.n / 16) & 1 != 0 && 3 >> (l.n % 16 / 4) & 1 != 0;
        l.x + if chosen {
            l.ys[l.n & 24 | (7 - (l.n & 7))]
        } else {
            l.zs[l.n]
        }
    }),
];

fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

#[test]
fn float_instructions() {
    for level in ["-O0", "-O2"] {
        let Some((mut device, code)) = load("builtins.c", [level, "-ffp-contract=off"]) else {
            return;
        };
        let mut draw = Draw::new(12);
        let (x, y, z) = (floats(&mut draw), floats(&mut draw), floats(&mut draw));
        let bytes = [&x, &y, &z].map(|v| bytes_of(v, f32::to_le_bytes));
        for (name, f) in FLOATS {
            let kernel = format!("f_{name}");
            let ours = run(
                &mut device,
                &code,
                &kernel,
                &[&bytes[0], &bytes[1], &bytes[2]],
                4,
            );
            for (n, (got, expected)) in ours.iter().zip(lanes(&x, &y, &z, f)).enumerate() {
                let got = f32::from_bits(*got as u32);
                let (a, b, c) = (x[n], y[n], z[n]);
                // Zeros of both signs are equally small: which one comes out depends on the order of operands.
                let close = same(got, expected) || (got == 0.0 && expected == 0.0);
                assert!(
                    close,
                    "{level} {kernel} lane {n}: {a:e} {b:e} {c:e}: {got:e}, expected {expected:e}"
                );
            }
        }
    }
}

type Halves = fn([f16; 2], [f16; 2], [f16; 2], [f16; 2]) -> [f16; 2];

fn each(f: impl Fn(f64) -> f64, v: [f64; 2]) -> [f16; 2] {
    v.map(|x| f16::from_f64(f(x)))
}

fn pair(x: [f16; 2], y: [f16; 2], f: impl Fn(f64, f64) -> f64) -> [f16; 2] {
    each(|v| v, [0, 1].map(|i| f(x[i].to_f64(), y[i].to_f64())))
}

const HALVES: &[(&str, Halves)] = &[
    ("add", |x, y, _, _| pair(x, y, |a, b| a + b)),
    ("mul", |x, y, _, _| pair(x, y, |a, b| a * b)),
    ("max", |x, y, _, _| pair(x, y, f64::max)),
    ("min", |x, _, z, _| pair(x, z, f64::min)),
    ("fma", |x, y, z, _| {
        [0, 1].map(|i| f16::from_f64(x[i].to_f64() * y[i].to_f64() + z[i].to_f64()))
    }),
    ("neg", |x, y, z, _| {
        [0, 1].map(|i| f16::from_f64(-x[i].to_f64() * y[i].to_f64() - z[i].to_f64()))
    }),
    ("swap", |x, y, z, _| {
        [0, 1].map(|i| f16::from_f64(x[1 - i].to_f64() * y[i].to_f64() + z[0].to_f64()))
    }),
    ("abs", |x, y, _, _| {
        [0, 1].map(|i| f16::from_f64(x[i].to_f64().abs() + y[1].to_f64()))
    }),
];

#[test]
fn packed_instructions() {
    let Some((mut device, code)) = load("packed.c", ["-O2", "-ffp-contract=fast"]) else {
        return;
    };
    let mut draw = Draw::new(13);
    let mut halves = || -> Vec<[f16; 2]> {
        let mut one = || f16::from_f64(draw.below(2000) as f64 / 64.0 - 15.0);
        (0..N).map(|_| [one(), one()]).collect()
    };
    let (x, y, z) = (halves(), halves(), halves());
    let flat = |v: &[[f16; 2]]| {
        v.iter()
            .flatten()
            .flat_map(|h| h.to_le_bytes())
            .collect::<Vec<u8>>()
    };
    let bytes = [flat(&x), flat(&y), flat(&z)];
    let operands: Vec<&[u8]> = bytes.iter().map(|b| &b[..]).collect();
    for (name, f) in HALVES {
        let kernel = format!("h2_{name}");
        let ours = run(&mut device, &code, &kernel, &operands, 4);
        for n in 0..N {
            let got = [ours[n] as u16, (ours[n] >> 16) as u16].map(f16::from_bits);
            let expected = f(x[n], y[n], z[n], [f16::ZERO; 2]);
            assert_eq!(
                got, expected,
                "{kernel} lane {n}: {:?} {:?} {:?}",
                x[n], y[n], z[n]
            );
        }
    }
    type Each = fn(u16, u16, u16) -> u16;
    let ints: &[(&str, Each)] = &[
        ("s2_add", |a, b, _| a.wrapping_add(b)),
        ("s2_mul", |a, b, _| a.wrapping_mul(b)),
        ("s2_mad", |a, b, c| a.wrapping_mul(b).wrapping_add(c)),
        ("s2_shl", |a, b, _| a << (b & 15)),
        ("s2_shr", |a, b, _| (a as i16 >> (b & 15)) as u16),
        ("w2_shr", |a, b, _| a >> (b & 15)),
        ("s2_max", |a, b, _| (a as i16).max(b as i16) as u16),
        ("w2_max", |a, b, _| a.max(b)),
        ("s2_sat", |a, b, _| {
            (a as i16).saturating_add(b as i16) as u16
        }),
        ("w2_sat", |a, b, _| a.saturating_add(b)),
    ];
    for (name, f) in ints {
        let ours = run(&mut device, &code, name, &operands, 4);
        for n in 0..N {
            let expected =
                [0, 1].map(|i| f(x[n][i].to_bits(), y[n][i].to_bits(), z[n][i].to_bits()));
            let got = [ours[n] as u16, (ours[n] >> 16) as u16];
            assert_eq!(got, expected, "{name} lane {n}");
        }
    }
}
