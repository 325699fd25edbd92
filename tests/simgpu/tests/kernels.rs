//! Whole kernels on the simulated device against plain Rust: sums, matrices, atomics, softmax, and kernels that do what
//! they must not. Without clang-19 the tests say that they skip.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

mod clang;

use half::f16;
use tinyc_simgpu::code_object::CodeObject;
use tinyc_simgpu::device::{Device, Fault, Loaded};
use tinyc_simgpu::draw::Draw;
use tinyc_simgpu::isa::Isa;
use tinyc_simgpu::wave::{Class, Counters, FaultKind};

/// A device with the kernels of `whole.c`.
struct Bench {
    device: Device,
    code: Loaded,
    draw: Draw,
}

impl Bench {
    fn new(seed: u64) -> Option<Bench> {
        if !clang::available() {
            eprintln!("skipped: clang-19 is missing");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let object = dir.path().join("whole.o");
        clang::compile("whole.c", &["-O3".to_string()], &object);
        let code = CodeObject::parse(&std::fs::read(&object).unwrap()).unwrap();
        let mut device = Device::new(seed);
        let code = device.load(&code).unwrap();
        Some(Bench {
            device,
            code,
            draw: Draw::new(seed),
        })
    }

    /// Numbers between -1 and 1.
    fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n)
            .map(|_| (self.draw.below(2001) as f32 - 1000.0) / 1000.0)
            .collect()
    }

    fn map(&mut self, bytes: &[u8]) -> u64 {
        let at = self.device.memory.map(bytes.len());
        self.device.memory.write(at, bytes).unwrap();
        at
    }

    fn map_floats(&mut self, values: &[f32]) -> u64 {
        self.map(
            &values
                .iter()
                .flat_map(|v| v.to_le_bytes())
                .collect::<Vec<u8>>(),
        )
    }

    fn words(&self, at: u64, n: usize) -> Vec<u32> {
        (0..n as u64)
            .map(|i| self.device.memory.load_u32(at + 4 * i).unwrap())
            .collect()
    }

    fn read_floats(&self, at: u64, n: usize) -> Vec<f32> {
        self.words(at, n).into_iter().map(f32::from_bits).collect()
    }

    fn run(
        &mut self,
        kernel: &str,
        groups: [u32; 3],
        threads: [u32; 3],
        arguments: &[u64],
    ) -> Result<Counters, Fault> {
        let bytes: Vec<u8> = arguments.iter().flat_map(|a| a.to_le_bytes()).collect();
        let arguments = self.device.arguments(&bytes)?;
        self.device
            .dispatch(&self.code, kernel, groups, threads, arguments)
    }
}

fn close(ours: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(ours.len(), expected.len());
    for (i, (a, b)) in ours.iter().zip(expected).enumerate() {
        assert!(
            (a - b).abs() <= tolerance * b.abs().max(1.0),
            "element {i}: {a}, expected {b}"
        );
    }
}

#[test]
fn vectors_are_added() {
    let Some(mut b) = Bench::new(1) else { return };
    let n = 1000;
    let (x, y) = (b.floats(n), b.floats(n));
    let (ax, ay) = (b.map_floats(&x), b.map_floats(&y));
    let out = b.device.memory.map(4 * n);
    let counters = b
        .run(
            "vector_add",
            [4, 1, 1],
            [256, 1, 1],
            &[ax, ay, out, n as u64],
        )
        .unwrap();
    let expected: Vec<f32> = x.iter().zip(&y).map(|(a, b)| a + b).collect();
    assert_eq!(b.read_floats(out, n), expected);
    assert_eq!(counters.stored, 4 * n as u64);
    assert_eq!(counters.waves, 32);
}

#[test]
fn sums_need_their_barriers() {
    let mut wrong = 0;
    for seed in 0..8 {
        let Some(mut b) = Bench::new(seed) else {
            return;
        };
        let x = b.floats(1024);
        let a = b.map_floats(&x);
        let out = b.device.memory.map(16);
        let expected: Vec<f32> = x.chunks(256).map(|c| c.iter().sum()).collect();
        b.run("reduce", [4, 1, 1], [256, 1, 1], &[a, out]).unwrap();
        close(&b.read_floats(out, 4), &expected, 1e-5);
        b.run("racing_reduce", [4, 1, 1], [256, 1, 1], &[a, out])
            .unwrap();
        let racing = b.read_floats(out, 4);
        let same = racing
            .iter()
            .zip(&expected)
            .all(|(a, b)| (a - b).abs() < 1e-4);
        wrong += usize::from(!same);
    }
    assert!(wrong >= 6, "a race showed in {wrong} of 8 orders only");
}

fn product(a: &[f32], b: &[f32], n: usize) -> Vec<f32> {
    let mut out = vec![0.0f32; n * n];
    for (row, out) in out.chunks_mut(n).enumerate() {
        for k in 0..n {
            let x = a[row * n + k];
            for (o, y) in out.iter_mut().zip(&b[k * n..]) {
                *o = x.mul_add(*y, *o);
            }
        }
    }
    out
}

#[test]
fn matrices_are_multiplied() {
    let Some(mut bench) = Bench::new(3) else {
        return;
    };
    let n = 128;
    let (x, y) = (bench.floats(n * n), bench.floats(n * n));
    let (a, b) = (bench.map_floats(&x), bench.map_floats(&y));
    let expected = product(&x, &y, n);
    let out = bench.device.memory.map(4 * n * n);
    let counters = bench
        .run("matmul", [8, 8, 1], [16, 16, 1], &[a, b, out, n as u64])
        .unwrap();
    assert_eq!(bench.read_floats(out, n * n), expected);
    assert!(counters.lds > 0);
    let out = bench.device.memory.map(4 * n * n);
    bench
        .run(
            "matmul_wide",
            [1, 32, 1],
            [32, 1, 1],
            &[a, b, out, n as u64],
        )
        .unwrap();
    assert_eq!(bench.read_floats(out, n * n), expected);
}

#[test]
fn matrices_of_half_floats_use_the_matrix_unit() {
    let Some(mut bench) = Bench::new(4) else {
        return;
    };
    let n = 64;
    let half =
        |v: Vec<f32>| -> Vec<f32> { v.into_iter().map(|x| f16::from_f32(x).to_f32()).collect() };
    let (x, y) = (half(bench.floats(n * n)), half(bench.floats(n * n)));
    let bytes = |v: &[f32]| -> Vec<u8> {
        v.iter()
            .flat_map(|x| f16::from_f32(*x).to_le_bytes())
            .collect()
    };
    // The second operand lies column after column.
    let mut columns = vec![0.0; n * n];
    for k in 0..n {
        for c in 0..n {
            columns[c * n + k] = y[k * n + c];
        }
    }
    let (a, b) = (bench.map(&bytes(&x)), bench.map(&bytes(&columns)));
    let out = bench.device.memory.map(4 * n * n);
    let counters = bench
        .run("wmma", [4, 4, 1], [32, 1, 1], &[a, b, out, n as u64])
        .unwrap();
    close(&bench.read_floats(out, n * n), &product(&x, &y, n), 1e-5);
    assert_eq!(counters.instructions[Class::Matrix as usize], 16 * 4);
}

#[test]
fn atomics_count() {
    let Some(mut bench) = Bench::new(5) else {
        return;
    };
    let n = 3000;
    let values: Vec<u32> = (0..n).map(|_| bench.draw.below(1000) as u32).collect();
    let mut expected = vec![0; 64];
    values.iter().for_each(|v| expected[*v as usize & 63] += 1);
    let a = bench.map(
        &values
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect::<Vec<u8>>(),
    );
    let bins = bench.map(&[0; 256]);
    bench
        .run("histogram", [8, 1, 1], [64, 1, 1], &[a, bins, n])
        .unwrap();
    assert_eq!(bench.words(bins, 64), expected);
    let bins = bench.map(&[0; 256]);
    bench
        .run("histogram_local", [1, 1, 1], [128, 1, 1], &[a, bins, n])
        .unwrap();
    assert_eq!(bench.words(bins, 64), expected);
    let x = bench.floats(512);
    let (a, out) = (bench.map_floats(&x), bench.map(&[0; 4]));
    bench
        .run("float_sum", [8, 1, 1], [64, 1, 1], &[a, out])
        .unwrap();
    close(&bench.read_floats(out, 1), &[x.iter().sum()], 1e-4);
}

#[test]
fn functions_by_polynomials() {
    let Some(mut bench) = Bench::new(6) else {
        return;
    };
    let n = 256;
    let x: Vec<f32> = bench.floats(n).into_iter().map(|v| v * 20.0).collect();
    let a = bench.map_floats(&x);
    let (e, l) = (
        bench.device.memory.map(4 * n),
        bench.device.memory.map(4 * n),
    );
    bench
        .run("exp_log", [4, 1, 1], [64, 1, 1], &[a, e, l])
        .unwrap();
    close(
        &bench.read_floats(e, n),
        &x.iter().map(|v| v.exp()).collect::<Vec<_>>(),
        1e-5,
    );
    let logs: Vec<f32> = x.iter().map(|v| (v.abs() + 0.001).ln()).collect();
    close(&bench.read_floats(l, n), &logs, 1e-5);
    let rows = bench.floats(4 * 128);
    let (a, out) = (bench.map_floats(&rows), bench.device.memory.map(4 * 512));
    bench
        .run("softmax", [4, 1, 1], [32, 1, 1], &[a, out])
        .unwrap();
    let mut expected = Vec::new();
    for row in rows.chunks(128) {
        let m = row.iter().copied().fold(f32::MIN, f32::max);
        let sum: f32 = row.iter().map(|v| (v - m).exp()).sum();
        expected.extend(row.iter().map(|v| (v - m).exp() / sum));
    }
    close(&bench.read_floats(out, 512), &expected, 1e-6);
}

#[test]
fn faults_name_kernel_and_address() {
    let Some(mut bench) = Bench::new(7) else {
        return;
    };
    let a = bench.device.memory.map(128);
    bench
        .run("out_of_bounds", [1, 1, 1], [32, 1, 1], &[a, 0])
        .unwrap();
    let fault = bench
        .run("out_of_bounds", [1, 1, 1], [32, 1, 1], &[a, 1])
        .unwrap_err();
    let Fault::Instruction {
        kernel,
        text,
        kind: FaultKind::Address { lane, bad },
        ..
    } = &fault
    else {
        panic!("{fault}");
    };
    assert_eq!(
        (kernel.as_str(), *lane, bad.address),
        ("out_of_bounds", 31, a + 128)
    );
    assert!(text.starts_with("global_store_b32"), "{text}");
    let fault = bench
        .run("out_of_local", [1, 1, 1], [32, 1, 1], &[a, 100_000])
        .unwrap_err();
    assert!(
        matches!(
            &fault,
            Fault::Instruction {
                kind: FaultKind::Lds { .. },
                ..
            }
        ),
        "{fault}"
    );
    bench.device.memory.store_u32(a, 0).unwrap();
    bench.device.limit = 100_000;
    let fault = bench
        .run("endless", [1, 1, 1], [32, 1, 1], &[a])
        .unwrap_err();
    assert!(matches!(fault, Fault::Endless { .. }), "{fault}");
    let fault = bench
        .run("nothing", [1, 1, 1], [32, 1, 1], &[])
        .unwrap_err();
    assert!(matches!(fault, Fault::Launch { .. }), "{fault}");
    let fault = bench
        .run("reduce", [1, 1, 1], [2048, 1, 1], &[a, a])
        .unwrap_err();
    assert!(matches!(fault, Fault::Launch { .. }), "{fault}");
}

/// Takes an instruction out of the code of a kernel and runs the kernel; whether that was found in one of several orders.
fn found_without(object: &[u8], at: u64, expected: &[f32], x: &[f32], y: &[f32], n: usize) -> bool {
    const NOP: u32 = 0xBF80_0000;
    let mut code = CodeObject::parse(object).unwrap();
    code.image[at as usize..at as usize + 4].copy_from_slice(&NOP.to_le_bytes());
    (0..4).any(|seed| {
        let mut device = Device::new(seed);
        let code = device.load(&code).unwrap();
        let mut bench = Bench {
            device,
            code,
            draw: Draw::new(seed),
        };
        let (a, b) = (bench.map_floats(x), bench.map_floats(y));
        let out = bench.device.memory.map(4 * n * n);
        let groups = n as u32 / 16;
        match bench.run(
            "matmul",
            [groups, groups, 1],
            [16, 16, 1],
            &[a, b, out, n as u64],
        ) {
            Ok(_) => bench.read_floats(out, n * n) != expected,
            Err(_) => true,
        }
    })
}

/// Waits and barriers that are taken out of a compiled kernel are missed.
#[test]
fn waits_and_barriers_that_are_missing_are_missed() {
    let Some(mut bench) = Bench::new(9) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let object = dir.path().join("whole.o");
    clang::compile("whole.c", &["-O3".to_string()], &object);
    let object = std::fs::read(&object).unwrap();
    let code = CodeObject::parse(&object).unwrap();
    let n = 64;
    let (x, y) = (bench.floats(n * n), bench.floats(n * n));
    let expected = product(&x, &y, n);
    let mut starts: Vec<u64> = code.functions.iter().map(|f| f.1).collect();
    starts.sort_unstable();
    let start = code.functions.iter().find(|f| f.0 == "matmul").unwrap().1;
    let end = starts
        .iter()
        .copied()
        .find(|s| *s > start)
        .unwrap_or(code.text.end);
    let words = code.words();
    let mut at = start;
    let mut counts = [[0, 0]; 2];
    let mut survived = Vec::new();
    while at < end {
        let Ok(inst) = Isa::gfx1100().decode(&words[((at - code.text.start) / 4) as usize..])
        else {
            break;
        };
        let kind = match inst.op.name.as_str() {
            "s_waitcnt" => Some(0),
            "s_barrier" => Some(1),
            _ => None,
        };
        if let Some(kind) = kind {
            let found = found_without(&object, at, &expected, &x, &y, n);
            counts[kind][usize::from(found)] += 1;
            if !found {
                survived.push(format!("{at:#x}: {inst}"));
            }
        }
        at += 4 * inst.len() as u64;
    }
    let [[waits_missed, waits], [barriers_missed, barriers]] = counts;
    eprintln!("found {waits} waits and {barriers} barriers; not found: {survived:?}");
    assert!(barriers_missed == 0 && barriers >= 2, "{survived:?}");
    assert!(waits >= 4 * waits_missed, "{survived:?}");
}

/// A wave does not meet the others before they can see its stores to global memory.
#[test]
fn stores_are_waited_for_before_barriers() {
    if !clang::available() {
        eprintln!("skipped: clang-19 is missing");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let object = dir.path().join("whole.o");
    for flag in ["-mno-cumode", "-mcumode"] {
        clang::compile("whole.c", &["-O3".to_string(), flag.to_string()], &object);
        let mut code = CodeObject::parse(&std::fs::read(&object).unwrap()).unwrap();
        let run = |code: &CodeObject| {
            let mut device = Device::new(3);
            let code = device.load(code).unwrap();
            let mut bench = Bench {
                device,
                code,
                draw: Draw::new(3),
            };
            let (a, c) = (bench.map(&[0; 1024]), bench.map(&[0; 1024]));
            bench.run("exchange", [1, 1, 1], [256, 1, 1], &[a, c])?;
            for t in 0..256 {
                let found = bench.device.memory.load_u32(c + 4 * u64::from(t)).unwrap();
                assert_eq!(found, (255 - t) * 3);
            }
            Ok::<(), Fault>(())
        };
        run(&code).unwrap();
        let function = code.functions.iter().find(|f| f.0 == "exchange").unwrap();
        let start = function.1 as usize;
        let (wait, barrier) = (0xBC7C_0000u32.to_le_bytes(), 0xBFBD_0000u32.to_le_bytes());
        let body = code.image[start..].chunks(4).take_while(|w| *w != barrier);
        let at = start + 4 * body.into_iter().position(|w| w == wait).unwrap();
        code.image[at..at + 4].copy_from_slice(&0xBF80_0000u32.to_le_bytes());
        let fault = run(&code).unwrap_err().to_string();
        assert!(
            fault.contains("global memory were not waited for"),
            "{fault}"
        );
    }
}

/// Damaged code objects are read, or refused; their kernels run, or fault: nothing else.
#[test]
fn damaged_code_objects_do_no_harm() {
    if !clang::available() {
        eprintln!("skipped: clang-19 is missing");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let object = dir.path().join("whole.o");
    clang::compile("whole.c", &["-O3".to_string()], &object);
    let whole = std::fs::read(&object).unwrap();
    let mut draw = Draw::new(21);
    let (mut read, mut ran) = (0, 0);
    for _ in 0..1500 {
        let mut bytes = whole.clone();
        for _ in 0..1 + draw.below(4) {
            let at = draw.below(bytes.len() as u64) as usize;
            bytes[at] = draw.bits() as u8;
        }
        if draw.below(10) == 0 {
            bytes.truncate(draw.below(bytes.len() as u64) as usize);
        }
        let Ok(code) = CodeObject::parse(&bytes) else {
            continue;
        };
        read += 1;
        let mut device = Device::new(1);
        device.limit = 200_000;
        let Ok(loaded) = device.load(&code) else {
            continue;
        };
        let memory = device.memory.map(1 << 16);
        let arguments: Vec<u8> = [memory, memory, memory, 32]
            .iter()
            .flat_map(|a| a.to_le_bytes())
            .collect();
        let arguments = device.arguments(&arguments).unwrap();
        let name = ["matmul", "reduce", "wmma", "softmax"][draw.below(4) as usize];
        let threads = if name == "matmul" {
            [16, 16, 1]
        } else {
            [32, 1, 1]
        };
        ran += usize::from(
            device
                .dispatch(&loaded, name, [2, 2, 1], threads, arguments)
                .is_ok(),
        );
    }
    assert!(read > 500 && ran > 200, "{read} read, {ran} ran");
}
