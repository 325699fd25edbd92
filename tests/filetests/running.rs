//! Kernels on random buffers: by the interpreter, and as C compiled by the system's compiler under sanitizers.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use tinyc_compiler::program::interp::{Scalar, run_kernel};
use tinyc_compiler::program::{Access, Kernel, Layout, Param};
use tinyc_compiler::uop::DType;

type Outcome<T = ()> = Result<T, String>;

/// Values of every parameter in logical order.
pub struct Data {
    values: Vec<Vec<Scalar>>,
}

/// Logical indices of a shape, row-major.
fn indices(shape: &[i64]) -> impl Iterator<Item = Vec<i64>> + '_ {
    let total: i64 = shape.iter().product();
    (0..total).map(move |mut flat| {
        let mut out = vec![0; shape.len()];
        for (digit, extent) in out.iter_mut().zip(shape).rev() {
            *digit = flat % extent;
            flat /= extent;
        }
        out
    })
}

impl Data {
    /// The same values in every run: small, so that sums are nearly exact and integers are useful indices.
    pub fn random(kernel: &Kernel) -> Data {
        let mut state = 0x2545_f491_4f6c_dd1du64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 33) as i64
        };
        let mut value = |dtype: DType| match dtype {
            DType::Bool => Scalar::Int(next() % 2),
            d if d.is_float() => Scalar::Float((next() % 65 - 32) as f64 / 16.0),
            DType::U8 | DType::U16 | DType::U32 | DType::U64 => Scalar::Int(next() % 12),
            _ => Scalar::Int(next() % 14 - 3),
        };
        let values = kernel.params.iter().map(|p| {
            let count = indices(&p.layout.shape).count();
            (0..count).map(|_| value(p.dtype)).collect()
        });
        Data {
            values: values.collect(),
        }
    }

    /// One memory a parameter; padding and halo are zero.
    fn memory(&self, params: &[Param]) -> Vec<Vec<Scalar>> {
        let zero = |d: DType| match d.is_float() {
            true => Scalar::Float(0.0),
            false => Scalar::Int(0),
        };
        params
            .iter()
            .zip(&self.values)
            .map(|(p, values)| {
                let mut out = vec![zero(p.dtype); p.layout.elements() as usize];
                for (index, value) in indices(&p.layout.shape).zip(values) {
                    out[p.layout.place(&index) as usize] = *value;
                }
                out
            })
            .collect()
    }

    /// Logical values of all parameters after the kernel.
    pub fn interpret(&self, kernel: &Kernel, layouts: &[Param]) -> Outcome<Vec<Vec<Scalar>>> {
        let mut memory = self.memory(layouts);
        run_kernel(kernel, &mut memory).map_err(|e| e.to_string())?;
        Ok(logical(&memory, layouts))
    }

    /// The same by compiled code: `workers` shares, one after the other.
    pub fn run_compiled(
        &self,
        source: &str,
        name: &str,
        layouts: &[Param],
        workers: usize,
    ) -> Outcome<Vec<Vec<Scalar>>> {
        let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
        let memory = self.memory(layouts);
        let mut input = Vec::new();
        let mut body = format!("uint8_t *b[{}];\n", layouts.len().max(1));
        let mut give = String::new();
        for (slot, (param, values)) in layouts.iter().zip(&memory).enumerate() {
            let bytes = values.len() * param.dtype.size();
            let _ = writeln!(body, "b[{slot}] = take({bytes});");
            let _ = writeln!(give, "give(b[{slot}], {bytes});");
            input.extend(values.iter().flat_map(|&v| encode(param.dtype, v)));
        }
        let text = format!(
            "#include <stdio.h>\n#include <stdlib.h>\n#include <stdint.h>\n{source}\n\
             static uint8_t *take(size_t n) {{ uint8_t *p = malloc(n); if (fread(p, 1, n, stdin) != n) exit(2); return p; }}\n\
             static void give(uint8_t *p, size_t n) {{ if (fwrite(p, 1, n, stdout) != n) exit(3); free(p); }}\n\
             int main(void) {{\n{body}for (int w = 0; w < {workers}; w++) {name}(b, w, {workers});\n{give}return 0; }}\n"
        );
        let (file, program) = (dir.path().join("t.c"), dir.path().join("t"));
        std::fs::write(&file, text).map_err(|e| e.to_string())?;
        let mut compile = Command::new(std::env::var("CC").unwrap_or("cc".into()));
        compile.args(["-std=gnu11", "-O1", "-w", "-march=native"]);
        compile.args([
            "-ffp-contract=fast",
            "-fno-math-errno",
            "-fno-trapping-math",
        ]);
        compile.args(["-fsanitize=undefined,address", "-fno-sanitize-recover=all"]);
        compile.arg("-o").arg(&program).arg(&file).arg("-lm");
        let compiled = compile.output().map_err(|e| e.to_string())?;
        if !compiled.status.success() {
            return Err(String::from_utf8_lossy(&compiled.stderr).into_owned());
        }
        let mut child = Command::new(&program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| e.to_string())?;
        // The program reads all before it writes; a small thread keeps pipes from filling up.
        let mut stdin = child.stdin.take().ok_or("no pipe")?;
        let feeder = std::thread::spawn(move || stdin.write_all(&input));
        let ended = child.wait_with_output().map_err(|e| e.to_string())?;
        let fed = feeder.join().map_err(|_| "the feeder panicked")?;
        if !ended.status.success() {
            return Err(String::from_utf8_lossy(&ended.stderr).into_owned());
        }
        fed.map_err(|e| e.to_string())?;
        let mut rest = &ended.stdout[..];
        let mut after = Vec::new();
        for (param, values) in layouts.iter().zip(&memory) {
            let size = param.dtype.size();
            let (own, more) = rest.split_at(values.len() * size);
            rest = more;
            after.push(own.chunks(size).map(|b| decode(param.dtype, b)).collect());
        }
        Ok(logical(&after, layouts))
    }
}

fn logical(memory: &[Vec<Scalar>], layouts: &[Param]) -> Vec<Vec<Scalar>> {
    let read = |layout: &Layout, memory: &[Scalar]| {
        indices(&layout.shape)
            .map(|i| memory[layout.place(&i) as usize])
            .collect()
    };
    layouts
        .iter()
        .zip(memory)
        .map(|(p, m)| read(&p.layout, m))
        .collect()
}

/// Compares what a kernel wrote: integers exactly, floats up to the rounding of another order of sums.
pub fn same(kernel: &Kernel, wanted: &[Vec<Scalar>], got: &[Vec<Scalar>]) -> Outcome {
    for (slot, param) in kernel.params.iter().enumerate() {
        if matches!(param.access, Access::Read | Access::Scratch) {
            continue;
        }
        let most = match param.dtype {
            DType::F64 => 1e-10,
            DType::F16 | DType::BF16 => 2e-2,
            _ => 2e-5,
        };
        for (at, (w, g)) in wanted[slot].iter().zip(&got[slot]).enumerate() {
            let right = match (w, g) {
                (Scalar::Float(w), Scalar::Float(g)) => {
                    w == g || w.is_nan() && g.is_nan() || (w - g).abs() <= most * w.abs().max(1.0)
                }
                _ => w == g,
            };
            if !right {
                return Err(format!(
                    "parameter {slot}, element {at}: wanted {w:?}, got {g:?}"
                ));
            }
        }
    }
    Ok(())
}

fn encode(dtype: DType, value: Scalar) -> Vec<u8> {
    match (dtype, value) {
        (DType::F16, Scalar::Float(v)) => half::f16::from_f64(v).to_le_bytes().to_vec(),
        (DType::BF16, Scalar::Float(v)) => half::bf16::from_f64(v).to_le_bytes().to_vec(),
        (DType::F32, Scalar::Float(v)) => (v as f32).to_le_bytes().to_vec(),
        (_, Scalar::Float(v)) => v.to_le_bytes().to_vec(),
        (d, Scalar::Int(v)) => v.to_le_bytes()[..d.size()].to_vec(),
    }
}

fn decode(dtype: DType, bytes: &[u8]) -> Scalar {
    let mut wide = [0u8; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
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
