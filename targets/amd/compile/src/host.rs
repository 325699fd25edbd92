//! Runs a model's kernels on this machine, to check them without a device.
//!
//! In: [`Built`]. Out: a session. The same C text that is compiled for the device is compiled for this machine with `c/host.h` in front;
//! threads take turns at barriers. Each run is a process of its own: a kernel that leaves its buffers ends that process, not this one.

use crate::toolchain::{Toolchain, unusable};
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::emit::{Dispatches, dispatches, pack_all};
use tinyc_compiler::program::Built;
use tinyc_compiler::target::{Gpu, Session};

/// A model compiled for this machine.
pub struct HostSession {
    dir: tempfile::TempDir,
    inputs: usize,
    outputs: usize,
}

impl HostSession {
    /// Compiles the printed kernels, one text for each.
    ///
    /// # Errors
    /// Bug when the compiler refuses them.
    pub(crate) fn new(
        built: &Built,
        texts: &[String],
        gpu: &Gpu,
        compiler: &Toolchain,
    ) -> Result<HostSession> {
        let dispatches = dispatches(built)?;
        let mut text = String::from("#include <stdint.h>\n");
        let _ = matrices(gpu, &mut text);
        text.push_str(include_str!("../c/host.h"));
        for kernel in texts {
            text.push_str(kernel);
        }
        let _ = tables(built, texts, &dispatches, &mut text);
        text.push_str(include_str!("../c/host.c"));
        let dir = tempfile::Builder::new()
            .prefix("tinyc-")
            .tempdir()
            .map_err(|e| unusable("make a temporary directory", &e))?;
        std::fs::write(dir.path().join("model.c"), text).map_err(|e| unusable("write", &e))?;
        compiler.compile_for_host(dir.path(), "model.c", "model")?;
        let mut weights = vec![0; built.plan.weight_bytes as usize];
        pack_all(built, &mut weights)?;
        std::fs::write(dir.path().join("1"), weights).map_err(|e| unusable("write", &e))?;
        Ok(HostSession {
            dir,
            inputs: built.program.inputs.len(),
            outputs: built.program.outputs.len(),
        })
    }

    fn execute(&self, dir: &Path) -> Result<()> {
        let output = Command::new(dir.join("model"))
            .arg(dir)
            .output()
            .map_err(|e| unusable("run kernels", &e))?;
        if output.status.success() {
            return Ok(());
        }
        Err(Error::bug(format!(
            "kernels on this machine ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        )))
    }
}

impl Session for HostSession {
    fn run(&mut self, inputs: &[&[u8]], outputs: &mut [&mut [u8]]) -> Result<()> {
        if inputs.len() != self.inputs || outputs.len() != self.outputs {
            return Err(Error::usage("the number of inputs or outputs is another"));
        }
        let dir = self.dir.path();
        for (n, bytes) in inputs.iter().enumerate() {
            let path = dir.join((2 + n).to_string());
            std::fs::write(path, bytes).map_err(|e| unusable("write an input", &e))?;
        }
        self.execute(dir)?;
        for (n, out) in outputs.iter_mut().enumerate() {
            let path = dir.join((2 + self.inputs + n).to_string());
            let bytes = std::fs::read(path).map_err(|e| unusable("read an output", &e))?;
            if bytes.len() != out.len() {
                return Err(Error::usage(format!(
                    "output {n} has {} bytes, not {}",
                    bytes.len(),
                    out.len()
                )));
            }
            out.copy_from_slice(&bytes);
        }
        Ok(())
    }

    fn profile(&mut self, _: &[&[u8]], _: &mut [&mut [u8]]) -> Result<Vec<f64>> {
        Err(Error::unsupported(
            "times of kernels on this machine say nothing about a device",
        ))
    }
}

/// The target's matrix instructions, for `host.h`.
fn matrices(gpu: &Gpu, out: &mut String) -> std::fmt::Result {
    writeln!(out, "#define TINYC_WAVE {}", gpu.wave_lanes)?;
    for tile in &gpu.matrix_tiles {
        let [m, n, k] = tile.shape;
        let (steps, together) = (tile.steps_each, tile.rows_together);
        let name = tile.factors.name();
        writeln!(
            out,
            "#define TINYC_MATRIX_{}_{m}X{n}X{k}(a, b, sum) TINYC_MATRIX(tinyc_{name}, {m}, {n}, {k}, {steps}, {together}, a, b, sum)",
            name.to_uppercase()
        )?;
    }
    Ok(())
}

/// The tables that `host.c` walks.
fn tables(
    built: &Built,
    texts: &[String],
    dispatches: &Dispatches,
    out: &mut String,
) -> std::fmt::Result {
    let launches = &dispatches.launches;
    writeln!(out, "typedef void tinyc_call(uint8_t **);")?;
    for kernel in &built.linear {
        let args: Vec<String> = (0..kernel.params.len())
            .map(|n| format!("(void *)a[{n}]"))
            .collect();
        let (name, args) = (&kernel.name, args.join(", "));
        writeln!(
            out,
            "static void call_{name}(uint8_t **a) {{ {name}({args}); }}"
        )?;
    }
    let mut row = |head: &str, mut items: Vec<String>| {
        items.push("{0}".to_string());
        writeln!(out, "static {head}[] = {{ {} }};", items.join(", "))
    };
    let names = built.linear.iter().map(|k| format!("call_{}", k.name));
    row("tinyc_call *const tinyc_calls", names.collect())?;
    let waits = texts.iter().map(|t| {
        let uses = t.contains("TINYC_BARRIER();") || t.contains("TINYC_MATRIX_");
        u8::from(uses).to_string()
    });
    row("const int tinyc_waits", waits.collect())?;
    let grids = dispatches
        .grids
        .iter()
        .map(|g| format!("{{ {}u, {}u }}", g.groups, g.threads));
    row(
        "const struct { uint32_t groups, threads; } tinyc_grids",
        grids.collect(),
    )?;
    let steps = launches
        .steps
        .iter()
        .map(|s| format!("{{ {}, {}, {} }}", s.kernel, s.first, s.count));
    row(
        "const struct { uint32_t kernel, first, count; } tinyc_launches",
        steps.collect(),
    )?;
    let args = launches.args.iter().map(u32::to_string);
    row("const uint32_t tinyc_args", args.collect())?;
    let places = launches
        .places
        .iter()
        .map(|p| format!("{{ {}u, {}ull }}", p.base, p.offset));
    row(
        "const struct { uint32_t base; uint64_t offset; } tinyc_places",
        places.collect(),
    )?;
    let io = built.program.inputs.iter().chain(&built.program.outputs);
    let bytes = [built.plan.arena_bytes, built.plan.weight_bytes];
    let bytes = bytes.into_iter().chain(io.map(|io| io.bytes() as u64));
    row(
        "const uint64_t tinyc_bytes",
        bytes.map(|b| format!("{b}ull")).collect(),
    )?;
    writeln!(
        out,
        "#define TINYC_LAUNCHES {}\n#define TINYC_BASES {}\n#define TINYC_FIRST_OUTPUT {}\n#define TINYC_MOST_ARGS {}",
        launches.steps.len(),
        launches.bases,
        2 + built.program.inputs.len(),
        launches.max_args.max(1)
    )
}
