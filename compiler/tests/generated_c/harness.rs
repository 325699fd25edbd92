//! Compiles a batch of kernels into one program and runs it.

use std::fmt::Write;
use std::process::Command;
use tinyc_compiler::codegen::lower;
use tinyc_compiler::program::interp::{Scalar, run_kernel};
use tinyc_compiler::program::{Access, Kernel, Layout, Param};
use tinyc_compiler::render::c::render;
use tinyc_compiler::target::Facts;
use tinyc_compiler::uop::{DType, UopId, Uops};

/// Numbers of a machine with 64-byte vectors.
pub fn facts() -> Facts {
    Facts {
        parallel_threshold: 256,
        ..Facts::default()
    }
}

/// A kernel and what its buffers hold before.
pub struct Case {
    pub kernel: Kernel,
    pub memory: Vec<Vec<Scalar>>,
    /// Threads that share it.
    pub workers: usize,
}

pub fn param(dtype: DType, shape: &[i64], access: Access) -> Param {
    Param {
        dtype,
        layout: Layout::row_major(shape),
        access,
        weight: false,
    }
}

pub fn kernel(uops: Uops, stores: &[UopId], params: Vec<Param>) -> Kernel {
    let mut uops = uops;
    let sink = uops.sink(stores);
    Kernel {
        name: "k".into(),
        uops,
        sink,
        params,
        origins: Vec::new(),
    }
}

/// Bytes of a value in memory.
pub fn encode(dtype: DType, v: Scalar) -> Vec<u8> {
    match (dtype, v) {
        (DType::F16, Scalar::Float(v)) => half::f16::from_f64(v).to_le_bytes().to_vec(),
        (DType::BF16, Scalar::Float(v)) => half::bf16::from_f64(v).to_le_bytes().to_vec(),
        (DType::F32, Scalar::Float(v)) => (v as f32).to_le_bytes().to_vec(),
        (DType::F64, Scalar::Float(v)) => v.to_le_bytes().to_vec(),
        (d, Scalar::Int(v)) if !d.is_float() => v.to_le_bytes()[..d.size()].to_vec(),
        (d, v) => panic!("{v:?} is no {d}"),
    }
}

fn decode(dtype: DType, b: &[u8]) -> Scalar {
    let mut wide = [0u8; 8];
    wide[..b.len()].copy_from_slice(b);
    let raw = u64::from_le_bytes(wide);
    match dtype {
        DType::F16 => Scalar::Float(half::f16::from_bits(raw as u16).to_f64()),
        DType::BF16 => Scalar::Float(half::bf16::from_bits(raw as u16).to_f64()),
        DType::F32 => Scalar::Float(f64::from(f32::from_bits(raw as u32))),
        DType::F64 => Scalar::Float(f64::from_bits(raw)),
        DType::I8 => Scalar::Int(i64::from(raw as i8)),
        DType::I16 => Scalar::Int(i64::from(raw as i16)),
        DType::I32 => Scalar::Int(i64::from(raw as i32)),
        _ => Scalar::Int(raw as i64),
    }
}

/// What the interpreter makes of the buffers.
pub fn interpret(case: &Case) -> Vec<Vec<Scalar>> {
    let mut memory = case.memory.clone();
    run_kernel(&case.kernel, &mut memory).unwrap();
    memory
}

/// What the compiled kernels make of the buffers. Every buffer is exactly as large as its layout.
pub fn run_compiled(cases: &[Case]) -> Vec<Vec<Vec<Scalar>>> {
    let dir = tempfile::tempdir().unwrap();
    let mut text = String::from("#include <stdio.h>\n#include <stdlib.h>\n#include <stdint.h>\n");
    let mut input = Vec::new();
    let mut body = String::new();
    for (n, case) in cases.iter().enumerate() {
        let mut kernel = case.kernel.clone();
        kernel.name = format!("k{n}");
        let linear = lower(&kernel, &facts()).unwrap();
        text.push_str(&render(&linear).unwrap());
        body.push_str("{ uint8_t *b[] = {");
        for (param, memory) in linear.params.iter().zip(&case.memory) {
            let bytes: Vec<u8> = memory
                .iter()
                .flat_map(|&v| encode(param.dtype, v))
                .collect();
            assert_eq!(
                bytes.len() as i64,
                param.elements * param.dtype.size() as i64
            );
            let _ = write!(body, "take({}), ", bytes.len());
            input.extend(bytes);
        }
        let _ = writeln!(
            body,
            "0}};\nfor (int w = 0; w < {0}; w++) k{n}(b, w, {0});",
            case.workers
        );
        for (slot, param) in linear.params.iter().enumerate() {
            let bytes = param.elements * param.dtype.size() as i64;
            let _ = writeln!(body, "give(b[{slot}], {bytes});");
        }
        body.push_str("}\n");
    }
    text.push_str(
        "static uint8_t *take(size_t n) { uint8_t *p = malloc(n); if (fread(p, 1, n, stdin) != n) exit(2); return p; }\n\
         static void give(uint8_t *p, size_t n) { if (fwrite(p, 1, n, stdout) != n) exit(3); free(p); }\n\
         int main(void) {\n",
    );
    // Braced initialisers do not fix the order of calls: each buffer is taken by a statement of its own.
    text.push_str(&sequenced(&body));
    text.push_str("return 0; }\n");
    std::fs::write(dir.path().join("t.c"), &text).unwrap();
    std::fs::write(dir.path().join("in.bin"), &input).unwrap();
    let compiled = Command::new(std::env::var("CC").unwrap_or("cc".into()))
        .args([
            "-std=gnu11",
            "-O1",
            "-w",
            "-march=native",
            "-ffp-contract=fast",
            "-fno-math-errno",
            "-fno-trapping-math",
            "-fsanitize=undefined,address",
            "-fno-sanitize-recover=all",
            "-o",
            "t",
            "t.c",
        ])
        .current_dir(dir.path())
        .output()
        .unwrap();
    if !compiled.status.success() {
        std::fs::write(
            std::env::temp_dir().join("tinyc_generated_c_failure.c"),
            &text,
        )
        .ok();
        panic!("{}", String::from_utf8_lossy(&compiled.stderr));
    }
    let run = Command::new(dir.path().join("t"))
        .stdin(std::fs::File::open(dir.path().join("in.bin")).unwrap())
        .output()
        .unwrap();
    if !run.status.success() {
        std::fs::write(
            std::env::temp_dir().join("tinyc_generated_c_failure.c"),
            &text,
        )
        .ok();
        panic!("{}", String::from_utf8_lossy(&run.stderr));
    }
    let mut rest = &run.stdout[..];
    cases
        .iter()
        .map(|case| {
            case.kernel
                .params
                .iter()
                .map(|p| {
                    let size = p.dtype.size();
                    let (own, more) = rest.split_at(p.layout.elements() as usize * size);
                    rest = more;
                    own.chunks(size).map(|b| decode(p.dtype, b)).collect()
                })
                .collect()
        })
        .collect()
}

/// `{take(1), take(2), 0}` as statements.
fn sequenced(body: &str) -> String {
    let mut out = String::new();
    for line in body.lines() {
        let Some(list) = line
            .strip_prefix("{ uint8_t *b[] = {")
            .and_then(|l| l.strip_suffix("0};"))
        else {
            out.push_str(line);
            out.push('\n');
            continue;
        };
        let calls: Vec<&str> = list.split(", ").filter(|c| !c.is_empty()).collect();
        let _ = writeln!(out, "{{ uint8_t *b[{}];", calls.len());
        for (n, call) in calls.iter().enumerate() {
            let _ = writeln!(out, "b[{n}] = {call};");
        }
    }
    out
}

/// Distance in units of the last place of `dtype`; 0 for two NaN.
pub fn ulps(dtype: DType, a: f64, b: f64) -> f64 {
    if a == b || a.is_nan() && b.is_nan() {
        return 0.0;
    }
    if !a.is_finite() || !b.is_finite() {
        return f64::INFINITY;
    }
    let (digits, least): (i32, f64) = match dtype {
        DType::F16 => (10, half::f16::from_bits(1).to_f64()),
        DType::BF16 => (7, half::bf16::from_bits(1).to_f64()),
        DType::F32 => (23, f64::from(f32::from_bits(1))),
        _ => (52, f64::from_bits(1)),
    };
    let exponent = ((a.abs().max(b.abs()).to_bits() >> 52) as i32 - 1023).max(-1022);
    // Steps by 2 stay exact down to the least denormal, where one power would vanish.
    let exponent = (exponent - digits).max(-1074);
    let unit = (2f64.powi(exponent / 2) * 2f64.powi(exponent - exponent / 2)).max(least);
    (a - b).abs() / unit
}

/// Runs all cases and demands equality, floats within `most` units of the last place.
pub fn check(cases: &[Case], names: &[String], most: f64) {
    let got = run_compiled(cases);
    let mut wrong = Vec::new();
    for ((case, name), got) in cases.iter().zip(names).zip(got) {
        let wanted = interpret(case);
        let mut worst = (0.0, 0, 0);
        for (slot, (w, g)) in wanted.iter().zip(&got).enumerate() {
            let dtype = case.kernel.params[slot].dtype;
            for (i, (w, g)) in w.iter().zip(g).enumerate() {
                let error = match (w, g) {
                    (Scalar::Float(w), Scalar::Float(g)) => ulps(dtype, *w, *g),
                    _ if w == g => 0.0,
                    _ => f64::INFINITY,
                };
                if error > worst.0 {
                    worst = (error, slot, i);
                }
            }
        }
        if worst.0 > most {
            let (_, slot, i) = worst;
            let before: Vec<_> = case.memory.iter().map(|m| m.get(i)).collect();
            wrong.push(format!(
                "{name}: slot {slot} element {i} of {before:?}: wanted {:?}, got {:?} ({} ulp)",
                wanted[slot][i], got[slot][i], worst.0
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
