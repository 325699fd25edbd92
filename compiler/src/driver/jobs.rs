//! Benchmark programs for a model's kernels, to run on machines that are elsewhere.
//!
//! In: a graph. Out: a folder with one program a shard of a kernel's candidates, and `manifest.json`. Programs are
//! numbered, so that a batch engine's task number names one. Kernels whose estimated share of a run is small are left out.

use super::fingerprint::kernel_hash;
use super::options::Options;
use super::pipeline::schedule_program;
use super::progress::Progress;
use crate::codegen;
use crate::diag::{Error, Result};
use crate::program::{Access, BufferKind, Kernel, Layout, LinearKernel, Param, Program};
use crate::search::{Candidate, JobKernel, VERSION, fields, job_candidates, recipe_fields};
use crate::target::{EmittedFile, Facts, Form, Job, Operand, Target};
use crate::uop::{Axis, DType, Uops};
use serde::Serialize;
use std::path::Path;

/// Candidates of one program, the heuristics' choice not counted.
const SHARD: usize = 24;
/// Estimated share of a run below which a kernel is left out.
const LEAST: f64 = 0.003;

/// What `manifest.json` says.
#[derive(Debug, Clone, Serialize)]
pub struct JobManifest {
    /// Version of tinyc.
    pub tinyc: String,
    /// Name of the model.
    pub model: String,
    /// Name of the target.
    pub target: String,
    /// Name of the target file.
    pub chip: String,
    /// Programs, most expensive kernel first.
    pub jobs: Vec<JobEntry>,
}

/// One program.
#[derive(Debug, Clone, Serialize)]
pub struct JobEntry {
    /// Its file, beside the manifest.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// Hash of its kernel.
    pub kernel: String,
    /// Name of its kernel.
    pub name: String,
    /// Candidates, the heuristics' choice not counted.
    pub candidates: usize,
    /// Estimated share of a run.
    pub share: f64,
}

/// Writes the programs and the manifest. `beam` times 24 candidates a kernel.
///
/// # Errors
/// As a compilation; Unsupported when the target has no benchmark programs.
pub fn emit_jobs(
    graph: crate::graph::Graph,
    target: &dyn Target,
    options: &Options,
    beam: usize,
    dir: &Path,
    progress: &mut dyn Progress,
) -> Result<JobManifest> {
    let program = schedule_program(graph, target, options, progress)?;
    let facts = target.facts();
    progress.begin("candidates", program.kernels.len());
    let mut tasks = Vec::new();
    for (n, kernel) in program.kernels.iter().enumerate() {
        progress.advance();
        let times = program.steps.iter().filter(|s| s.kernel == n).count();
        let list = job_candidates(kernel, facts, beam * SHARD)?;
        let cycles = list.first().map_or(0.0, |c| c.cost) * times as f64;
        tasks.push((cycles, n, list));
    }
    let total: f64 = tasks.iter().map(|t| t.0).sum();
    let in_place = |k: &Kernel| k.params.iter().any(|p| p.access == Access::ReadWrite);
    tasks.retain(|(cycles, n, list)| {
        *cycles >= LEAST * total && list.len() > 1 && !in_place(&program.kernels[*n])
    });
    tasks.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut manifest = JobManifest {
        tinyc: VERSION.to_string(),
        model: program.name.clone(),
        target: target.name().to_string(),
        chip: facts.name.clone(),
        jobs: Vec::new(),
    };
    let shards: usize = tasks.iter().map(|t| (t.2.len() - 1).div_ceil(SHARD)).sum();
    progress.begin("benchmark programs", shards);
    for (cycles, n, list) in tasks {
        let kernel = &program.kernels[n];
        let (first, others) = list
            .split_first()
            .ok_or_else(|| Error::bug("a kernel without a build"))?;
        let about = JobKernel {
            kernel: kernel_hash(kernel),
            name: kernel.name.clone(),
            target: manifest.target.clone(),
            chip: manifest.chip.clone(),
            tinyc: manifest.tinyc.clone(),
            against: first.recipe.mark(),
        };
        for shard in others.chunks(SHARD) {
            let name = format!("job-{:04}", manifest.jobs.len());
            let job = job(&program, n, &name, &about, first, shard, facts)?;
            let EmittedFile { bytes, .. } = target.emit_job(&job, dir)?;
            progress.advance();
            manifest.jobs.push(JobEntry {
                file: name,
                bytes,
                kernel: about.kernel.clone(),
                name: about.name.clone(),
                candidates: shard.len(),
                share: cycles / total,
            });
        }
    }
    let text = serde_json::to_string_pretty(&manifest)
        .map_err(|e| Error::bug(format!("manifest.json: {e}")))?;
    let path = dir.join("manifest.json");
    std::fs::create_dir_all(dir)
        .and_then(|()| std::fs::write(&path, text + "\n"))
        .map_err(|e| Error::environment(format!("cannot write {}: {e}", path.display())))?;
    Ok(manifest)
}

/// A program of the heuristics' build and some others.
fn job(
    program: &Program,
    n: usize,
    name: &str,
    about: &JobKernel,
    first: &Candidate,
    others: &[Candidate],
    facts: &Facts,
) -> Result<Job> {
    let kernel = &program.kernels[n];
    let step = program.steps.iter().find(|s| s.kernel == n);
    let weight = |slot: usize| {
        step.and_then(|s| s.args.get(slot))
            .is_some_and(|&b| matches!(program.buffer(b).kind, BufferKind::Weight(_)))
    };
    let bytes = |p: &Param| (p.layout.elements() * p.dtype.size() as i64) as u64;
    let mut job = Job {
        name: name.to_string(),
        head: fields(about)?,
        kernels: Vec::new(),
        operands: kernel
            .params
            .iter()
            .enumerate()
            .map(|(slot, p)| Operand {
                dtype: p.dtype,
                elements: p.layout.shape.iter().product::<i64>() as u64,
                output: p.access != Access::Read,
                warm: p.access == Access::Read && !weight(slot) && bytes(p) <= facts.l2_bytes / 2,
            })
            .collect(),
        forms: Vec::new(),
        sweep: 4 * facts.l2_bytes,
    };
    let mut known: Vec<(DType, Layout, bool, usize)> = Vec::new();
    for candidate in [first].into_iter().chain(others) {
        let mut form = Form {
            about: recipe_fields(&candidate.recipe)?,
            kernel: job.kernels.len(),
            copies: Vec::new(),
            bytes: candidate.kernel.params.iter().map(bytes).collect(),
        };
        job.kernels
            .push(named(&candidate.linear, job.kernels.len()));
        for param in &candidate.kernel.params {
            let output = param.access != Access::Read;
            let same = known
                .iter()
                .find(|k| k.0 == param.dtype && k.1 == param.layout && k.2 == output);
            let at = match same {
                Some(k) => k.3,
                None => {
                    let list = codegen::lower(&copy(param, output), facts)?;
                    job.kernels.push(named(&list, job.kernels.len()));
                    known.push((
                        param.dtype,
                        param.layout.clone(),
                        output,
                        job.kernels.len() - 1,
                    ));
                    job.kernels.len() - 1
                }
            };
            form.copies.push(at);
        }
        job.forms.push(form);
    }
    Ok(job)
}

fn named(list: &LinearKernel, n: usize) -> LinearKernel {
    LinearKernel {
        name: format!("k{n}"),
        origins: Vec::new(),
        ..list.clone()
    }
}

/// A kernel that brings a row-major tensor into a parameter's layout, or back.
fn copy(param: &Param, back: bool) -> Kernel {
    let mut g = Uops::new();
    let shape = &param.layout.shape;
    let index: Vec<_> = shape
        .iter()
        .enumerate()
        .map(|(dim, &extent)| {
            let n = g.index(extent);
            match extent {
                1 => g.index(0),
                _ => g.range(dim as u32, n, Axis::Loop),
            }
        })
        .collect();
    let (x, y) = (g.param(0, param.dtype), g.param(1, param.dtype));
    let value = g.load(x, &index);
    let store = g.store(y, value, &index);
    let side = |layout: Layout, access| Param {
        dtype: param.dtype,
        layout,
        access,
        weight: false,
    };
    let (plain, own) = (Layout::row_major(shape), param.layout.clone());
    let (from, to) = if back { (own, plain) } else { (plain, own) };
    Kernel {
        name: "copy".into(),
        sink: g.sink(&[store]),
        uops: g,
        params: vec![side(from, Access::Read), side(to, Access::Write)],
        origins: Vec::new(),
    }
}
