//! The page of `--html`: one file with its own drawings and no other.
//!
//! In: rows, nodes, times, the memory plan. Out: HTML from `templates/profile.html.tera`. The figures go in as JSON; a script
//! in the page draws them.

use super::nodes::{Costs, Node, shares};
use super::rows::Row;
use serde::Serialize;
use tera::{Context, Tera};
use tinyc_compiler::diag::{Error, Origin, Result};
use tinyc_compiler::program::{Built, Place};
use tinyc_compiler::target::Facts;

/// What the page shows.
#[derive(Debug, Serialize)]
pub struct Page<'a> {
    model: &'a str,
    target: String,
    tinyc: &'static str,
    runs: usize,
    ms: f64,
    peak_gflops: f64,
    memory_gb_s: f64,
    kernels: Vec<PageKernel<'a>>,
    nodes: &'a [Node],
    memory: Memory,
}

#[derive(Debug, Serialize)]
struct PageKernel<'a> {
    #[serde(flatten)]
    row: &'a Row,
    /// Operator of the node that takes most of it.
    op: String,
}

/// The memory plan as rectangles.
#[derive(Debug, Serialize)]
struct Memory {
    arena_bytes: u64,
    lower_bound: u64,
    weight_bytes: u64,
    steps: usize,
    /// Names of the launches' kernels.
    launches: Vec<String>,
    buffers: Vec<Rectangle>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Rectangle {
    name: String,
    first: usize,
    last: usize,
    offset: u64,
    bytes: u64,
}

/// Where the figures come from.
pub struct Figures<'a> {
    /// As the user named it.
    pub model: &'a str,
    /// What was compiled.
    pub built: &'a Built,
    /// By kernel.
    pub rows: &'a [Row],
    /// By node.
    pub nodes: &'a [Node],
    /// Of each node alone.
    pub costs: &'a Costs,
    /// Of the chip.
    pub facts: &'a Facts,
    /// That were timed.
    pub runs: usize,
}

impl<'a> Page<'a> {
    /// Collects what is shown.
    pub fn new(figures: &Figures<'a>) -> Page<'a> {
        let Figures { built, facts, .. } = figures;
        let kernels = figures
            .rows
            .iter()
            .map(|row| {
                let step = built.program.steps.iter().find(|s| {
                    let kernel = built.linear.get(s.kernel);
                    kernel.is_some_and(|k| k.name == row.kernel)
                });
                let origins: &[Origin] = step.map_or(&[], |s| &s.origins);
                let all = shares(origins, figures.costs, facts);
                let main = origins
                    .iter()
                    .zip(all)
                    .max_by(|a, b| a.1.total_cmp(&b.1))
                    .map_or("", |(o, _)| &*o.op_type);
                PageKernel {
                    row,
                    op: main.to_string(),
                }
            })
            .collect();
        Page {
            model: figures.model,
            target: facts.name.clone(),
            tinyc: env!("CARGO_PKG_VERSION"),
            runs: figures.runs,
            ms: figures.rows.iter().map(|r| r.ms).sum(),
            peak_gflops: facts.peak_gflops,
            memory_gb_s: facts.memory_gb_s,
            kernels,
            nodes: figures.nodes,
            memory: memory(built),
        }
    }

    /// The file.
    pub fn html(&self) -> Result<String> {
        let json = serde_json::to_string(self)
            .map_err(|e| Error::bug(format!("cannot write JSON: {e}")))?;
        let mut context = Context::new();
        // Inside a script element only `<` could end it.
        context.insert("data", &json.replace('<', "\\u003c"));
        context.insert("model", &escape(self.model));
        let template = include_str!("../../../../../templates/profile.html.tera");
        Tera::one_off(template, &context, false)
            .map_err(|e| Error::bug(format!("template profile.html: {e:?}")))
    }
}

/// Text between tags.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Lives and places of the buffers in the arena.
fn memory(built: &Built) -> Memory {
    let program = &built.program;
    let mut lives: Vec<Option<(usize, usize)>> = vec![None; program.buffers.len()];
    for (n, step) in program.steps.iter().enumerate() {
        for arg in &step.args {
            if let Some(life) = lives.get_mut(arg.0 as usize) {
                *life = Some(life.map_or((n, n), |(first, _)| (first, n)));
            }
        }
    }
    let buffers = program
        .buffers
        .iter()
        .zip(&built.plan.places)
        .zip(lives)
        .filter_map(|((buffer, place), life)| match (place, life) {
            (Place::Arena(offset), Some((first, last))) => Some(Rectangle {
                name: buffer.name.clone(),
                first,
                last,
                offset: *offset,
                bytes: buffer.bytes(),
            }),
            _ => None,
        })
        .collect();
    let name = |kernel: usize| built.linear.get(kernel).map_or("", |k| &k.name).to_string();
    Memory {
        arena_bytes: built.plan.arena_bytes,
        lower_bound: built.plan.arena_lower_bound,
        weight_bytes: built.plan.weight_bytes,
        steps: program.steps.len(),
        launches: program.steps.iter().map(|s| name(s.kernel)).collect(),
        buffers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(model: &str) -> String {
        let page = Page {
            model,
            target: "x86-64-v4".into(),
            tinyc: "0.1.0",
            runs: 3,
            ms: 1.0,
            peak_gflops: 100.0,
            memory_gb_s: 10.0,
            kernels: Vec::new(),
            nodes: &[],
            memory: Memory {
                arena_bytes: 64,
                lower_bound: 64,
                weight_bytes: 0,
                steps: 1,
                launches: vec!["k0".into()],
                buffers: Vec::new(),
            },
        };
        page.html().unwrap()
    }

    #[test]
    fn names_cannot_leave_the_script() {
        let html = page("</script><b>&.onnx");
        assert_eq!(html.matches("</script>").count(), 2, "data and code");
        assert!(html.contains("&lt;/script&gt;&lt;b&gt;&amp;.onnx"));
    }

    #[test]
    fn the_page_needs_nothing_else() {
        let html = page("m.onnx");
        for outside in ["src=", "href=", "@import", "url("] {
            assert!(!html.contains(outside), "{outside}");
        }
        let addresses = html.matches("http").count();
        assert_eq!(
            addresses,
            html.matches("http://www.w3.org/2000/svg").count()
        );
    }
}
