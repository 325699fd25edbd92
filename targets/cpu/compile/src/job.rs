//! Benchmark programs: static executables that time several builds of one kernel on another machine.
//!
//! In: a [`Job`]. Out: a file that needs nothing but Linux and a processor of the level, and prints one line of JSON.

use crate::toolchain::{Source, temp_dir, write};
use crate::{CpuTarget, sources};
use std::fmt::Write;
use std::path::Path;
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::program::{Built, Meta, Plan, Program};
use tinyc_compiler::target::{EmittedFile, Job};
use tinyc_compiler::uop::DType;

/// Prefix of the symbols.
const NAME: &str = "job";

/// Writes the program of a job into `dir`.
pub fn emit(target: &CpuTarget, job: &Job, dir: &Path) -> Result<EmittedFile> {
    let built = Built {
        program: Program {
            name: NAME.into(),
            kernels: Vec::new(),
            buffers: Vec::new(),
            steps: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        },
        linear: job.kernels.clone(),
        plan: Plan {
            places: Vec::new(),
            arena_bytes: 0,
            arena_lower_bound: 0,
            weight_bytes: 0,
        },
        meta: Meta::default(),
    };
    let mut list = sources::kernels(target, &built)?;
    list.push(sources::cpu_check(&built, target.level()));
    list.push(Source {
        name: "job_main.c".into(),
        text: main(&built, job),
        level: false,
    });
    let objects = target.compile(&list)?;
    let temp = temp_dir()?;
    let mut paths = Vec::new();
    for object in objects {
        let path = temp.path().join(&object.name);
        write(&path, &object.bytes)?;
        paths.push(path);
    }
    let broken =
        |e: std::io::Error| Error::environment(format!("cannot write {}: {e}", dir.display()));
    std::fs::create_dir_all(dir).map_err(broken)?;
    let path = dir.join(&job.name);
    let flags = ["-static", "-Wl,--gc-sections", "-Wl,-s", "-lm"];
    target
        .compiler()?
        .link(&paths, &flags, &path)
        .map_err(|e| Error {
            help: Some("benchmark programs are static: the C library's static archive is needed (Debian: libc6-dev)".into()),
            ..e
        })?;
    let bytes = std::fs::metadata(&path).map_err(broken)?.len();
    Ok(EmittedFile { path, bytes })
}

/// The tables, and the program that walks them.
fn main(built: &Built, job: &Job) -> String {
    let mut text = String::from("#define _POSIX_C_SOURCE 200809L\n");
    text.push_str(&sources::prelude(built));
    let _ = tables(built, job, &mut text);
    text.push_str(include_str!("../c/job.c"));
    text
}

fn tables(built: &Built, job: &Job, out: &mut String) -> std::fmt::Result {
    writeln!(out, "int job_cpu_lacks(void);")?;
    writeln!(
        out,
        "enum {{ FORMS = {}, OPERANDS = {} }};",
        job.forms.len(),
        job.operands.len()
    )?;
    writeln!(out, "#define SWEEP {}ull", job.sweep)?;
    writeln!(out, "static const char head[] = {};", quoted(&job.head))?;
    writeln!(out, "static const char *const about[FORMS] = {{")?;
    for form in &job.forms {
        writeln!(out, "    {},", quoted(&form.about))?;
    }
    writeln!(
        out,
        "}};\nstruct operand {{ uint64_t elements; unsigned size; char type; int output, warm; }};"
    )?;
    writeln!(out, "static const struct operand operands[OPERANDS] = {{")?;
    for o in &job.operands {
        let (output, warm) = (u8::from(o.output), u8::from(o.warm));
        let kind = letter(o.dtype);
        let size = o.dtype.size();
        writeln!(
            out,
            "    {{ {}u, {size}, '{kind}', {output}, {warm} }},",
            o.elements
        )?;
    }
    writeln!(
        out,
        "}};\nstatic const uint64_t bytes[FORMS][OPERANDS] = {{"
    )?;
    for form in &job.forms {
        let row: Vec<String> = form.bytes.iter().map(u64::to_string).collect();
        writeln!(out, "    {{ {} }},", row.join(", "))?;
    }
    writeln!(
        out,
        "}};\ntypedef void tinyc_kernel(uint8_t *const *, int64_t, int64_t);"
    )?;
    for kernel in &job.kernels {
        writeln!(out, "tinyc_kernel {};", sources::symbol(built, kernel))?;
    }
    let symbol = |n: usize| job.kernels.get(n).map(|k| sources::symbol(built, k));
    let row = |list: &[usize]| -> String {
        let names: Vec<String> = list.iter().filter_map(|&n| symbol(n)).collect();
        names.join(", ")
    };
    let forms: Vec<usize> = job.forms.iter().map(|f| f.kernel).collect();
    writeln!(
        out,
        "static tinyc_kernel *const forms[FORMS] = {{ {} }};",
        row(&forms)
    )?;
    writeln!(
        out,
        "static tinyc_kernel *const copies[FORMS][OPERANDS] = {{"
    )?;
    for form in &job.forms {
        writeln!(out, "    {{ {} }},", row(&form.copies))?;
    }
    writeln!(out, "}};")
}

/// What kind of number the C program makes of an element.
fn letter(dtype: DType) -> char {
    match dtype {
        DType::BF16 => 'g',
        DType::F16 | DType::F32 | DType::F64 => 'f',
        DType::I8 | DType::I16 | DType::I32 | DType::I64 | DType::Index => 'i',
        _ => 'u',
    }
}

/// A C string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_ascii() && !c.is_ascii_control() => out.push(c),
            // JSON escapes keep their meaning.
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn strings_are_safe_in_c() {
        assert_eq!(quoted("\"a\":\"b\\n\""), r#""\"a\":\"b\\n\"""#);
        assert_eq!(quoted("ü\n"), r#""\\u00fc\\u000a""#);
    }
}
