//! C sources of a model: kernels grouped into translation units, the launch tables, the pool.
//!
//! In: [`Built`] and the renderer. Out: [`Source`]s. How kernels are grouped depends on their text
//! alone, never on this machine's cores: the same model gives the same objects everywhere.

use crate::CpuTarget;
use crate::level::Level;
use crate::toolchain::Source;
use rayon::prelude::*;
use std::fmt::Write;
use tinyc_compiler::diag::{Origin, Result};
use tinyc_compiler::emit::{Launches, launches};
use tinyc_compiler::program::{Built, LinearKernel};
use tinyc_runtime::program::{BARRIER, CHOICE_SHIFT, CONDITIONAL, PARALLEL, WANTED};

/// Prints one kernel as C.
pub type Renderer = fn(&LinearKernel) -> Result<String>;

/// Source text that one translation unit should hold at least: below it the compiler's start-up
/// costs more than the kernels.
const UNIT_BYTES: usize = 48 << 10;

/// Symbol of a kernel: the model's name in front keeps two models in one program apart.
pub fn symbol(built: &Built, kernel: &LinearKernel) -> String {
    format!("{}_{}", built.program.name, kernel.name)
}

/// Renders all kernels and groups them.
pub fn kernels(target: &CpuTarget, built: &Built) -> Result<Vec<Source>> {
    if let Some(slow) = &target.options.slow {
        slow.check(built)?;
    }
    let texts = built
        .linear
        .par_iter()
        .map(|kernel| target.render_as(kernel, &symbol(built, kernel)))
        .collect::<Result<Vec<String>>>()?;
    let total: usize = texts.iter().map(String::len).sum();
    let count = total.div_ceil(UNIT_BYTES).clamp(1, texts.len().max(1));
    // Longest first into the emptiest unit; then the model's order within each.
    let mut order: Vec<usize> = (0..texts.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(texts[i].len()), i));
    let mut units = vec![(0usize, Vec::new()); count];
    for i in order {
        if let Some(unit) = units.iter_mut().min_by_key(|u| u.0) {
            unit.0 += texts[i].len();
            unit.1.push(i);
        }
    }
    Ok(units
        .into_iter()
        .enumerate()
        .map(|(n, (_, mut members))| {
            members.sort_unstable();
            let mut text = String::from("#include <stdint.h>\n#include <stddef.h>\n");
            for i in members {
                text.push_str(&line_directive(&built.linear[i]));
                text.push_str(&texts[i]);
                text.push('\n');
            }
            Source {
                name: format!("{}_kernels_{n}.c", built.program.name),
                text,
                level: true,
            }
        })
        .collect())
}

/// Names the "file" of a kernel after the model nodes that it computes, so that debuggers and profilers
/// speak the user's names: `Conv 'conv1' + Relu 'relu1'`.
fn line_directive(kernel: &LinearKernel) -> String {
    let names: Vec<String> = kernel.origins.iter().map(Origin::to_string).collect();
    let text = if names.is_empty() {
        kernel.name.clone()
    } else {
        names.join(" + ")
    };
    // Slashes would be taken for folders.
    let safe = |c: char| match c {
        '/' | '\\' => '.',
        '"' => '\'',
        c if c.is_control() => ' ',
        c => c,
    };
    let short: String = text.chars().take(200).map(safe).collect();
    format!("#line 1 \"{short}\"\n")
}

/// The launch tables and the loop that walks them.
pub fn replay(built: &Built) -> Result<Source> {
    let flat = launches(built)?;
    let mut text = prelude(built);
    let _ = tables(built, &flat, &mut text);
    text.push_str(include_str!("../c/team.h"));
    text.push_str(include_str!("../c/replay.c"));
    text.push_str(include_str!("../c/launch.c"));
    Ok(Source {
        name: format!("{}_replay.c", built.program.name),
        text,
        level: false,
    })
}

/// The thread pool.
pub fn pool(built: &Built) -> Source {
    let mut text = String::from("#define _GNU_SOURCE\n");
    text.push_str(&prelude(built));
    text.push_str(include_str!("../c/team.h"));
    text.push_str(include_str!("../c/pool.c"));
    Source {
        name: format!("{}_pool.c", built.program.name),
        text,
        level: false,
    }
}

/// The check of the processor.
pub fn cpu_check(built: &Built, level: Level) -> Source {
    let mut text = prelude(built);
    text.push_str(&level_define(level));
    text.push_str(include_str!("../c/cpu.c"));
    Source {
        name: format!("{}_cpu.c", built.program.name),
        text,
        level: false,
    }
}

fn level_define(level: Level) -> String {
    let number = match level {
        Level::X86V2 => 2,
        Level::X86V3 => 3,
        Level::X86V4 => 4,
        Level::Neon => 0,
    };
    format!("#define TINYC_LEVEL {number}\n")
}

/// Kernel table and processor check of an executable, under names that do not depend on the model.
pub fn kernel_table(built: &Built, level: Level) -> Source {
    let mut text = String::from("#include <stdint.h>\n#define TINYC(x) tinyc_##x\n");
    text.push_str("typedef void tinyc_kernel(uint8_t *const *, int64_t, int64_t);\n");
    for kernel in &built.linear {
        text.push_str(&format!("tinyc_kernel {};\n", symbol(built, kernel)));
    }
    text.push_str("tinyc_kernel *const tinyc_kernels[] = {\n");
    for kernel in &built.linear {
        text.push_str(&format!("    {},\n", symbol(built, kernel)));
    }
    text.push_str("    0\n};\n");
    text.push_str(&format!(
        "const uint32_t tinyc_kernel_count = {};\n",
        built.linear.len()
    ));
    text.push_str(&level_define(level));
    text.push_str(include_str!("../c/cpu.c"));
    Source {
        name: format!("{}_table.c", built.program.name),
        text,
        level: false,
    }
}

/// What every source of ours starts with.
pub fn prelude(built: &Built) -> String {
    format!(
        "#include <stddef.h>\n#include <stdint.h>\n\
         #define TINYC(x) {}_##x\n\
         #define TINYC_API __attribute__((visibility(\"default\")))\n",
        built.program.name
    )
}

fn tables(built: &Built, flat: &Launches, out: &mut String) -> std::fmt::Result {
    writeln!(out, "#define TINYC_STEPS {}u", flat.steps.len())?;
    writeln!(out, "#define TINYC_MAX_ARGS {}", flat.max_args.max(1))?;
    for (name, value) in [
        ("PARALLEL", PARALLEL),
        ("BARRIER", BARRIER),
        ("CONDITIONAL", CONDITIONAL),
        ("WANTED", WANTED),
        ("CHOICE_SHIFT", CHOICE_SHIFT),
    ] {
        writeln!(out, "#define TINYC_{name} {value}u")?;
    }
    writeln!(
        out,
        "struct tinyc_step {{ uint32_t kernel, first, count, flags; }};"
    )?;
    writeln!(
        out,
        "struct tinyc_place {{ uint64_t offset; uint32_t base; }};"
    )?;
    writeln!(
        out,
        "typedef void tinyc_kernel(uint8_t *const *, int64_t, int64_t);"
    )?;
    for kernel in &built.linear {
        writeln!(out, "tinyc_kernel {};", symbol(built, kernel))?;
    }
    writeln!(out, "static tinyc_kernel *const kernels[] = {{")?;
    for kernel in &built.linear {
        writeln!(out, "    {},", symbol(built, kernel))?;
    }
    writeln!(
        out,
        "    0\n}};\nstatic const struct tinyc_step steps[] = {{"
    )?;
    for step in &flat.steps {
        let (kernel, first, count) = (step.kernel, step.first, step.count);
        writeln!(
            out,
            "    {{ {kernel}, {first}, {count}, {} }},",
            step.flags()
        )?;
    }
    writeln!(
        out,
        "    {{ 0, 0, 0, 0 }}\n}};\nstatic const uint32_t arguments[] = {{"
    )?;
    for row in flat.args.chunks(16) {
        let row: Vec<String> = row.iter().map(u32::to_string).collect();
        writeln!(out, "    {},", row.join(", "))?;
    }
    writeln!(
        out,
        "    0\n}};\nstatic const struct tinyc_place places[] = {{"
    )?;
    for place in &flat.places {
        writeln!(out, "    {{ {}u, {} }},", place.offset, place.base)?;
    }
    writeln!(out, "    {{ 0, 0 }}\n}};")
}
