//! The list of passes.
//!
//! Graph passes, then the schedule, then every distinct kernel (in parallel), then the memory plan.
//! After each pass there is a fence: the result is verified (graphs in debug builds only), dumped when
//! wanted, its time noted, and the compilation stops there when asked to.

use super::dump::{Dump, graph_text, program_text};
use super::kernels::{merge_equal, name_kernel, optimise_all};
use super::options::Options;
use super::progress::{Progress, Report};
use crate::codegen;
use crate::diag::{Error, Result};
use crate::graph::{self, Graph};
use crate::program::text::{print_kernel, print_linear};
use crate::program::verify::{verify_kernel, verify_linear, verify_scheduled};
use crate::program::{Built, Identity, Kernel, LinearKernel, Meta, Plan, Program};
use crate::search::LockedKernel;
use crate::target::{Facts, Target};
use crate::{opt, plan, schedule};
use rayon::prelude::*;
use rustc_hash::FxHashMap;
use std::sync::Mutex;
use std::time::Instant;

/// A pass from graph to graph.
type GraphPass = fn(&Graph, &Facts, &mut Report) -> Result<Graph>;

/// Graph passes in order.
const GRAPH_PASSES: &[(&str, GraphPass)] = &[
    ("simplify-movement", |g, _, _| graph::simplify_movement(g)),
    ("fold", |g, _, _| graph::fold(g)),
    ("fold-constants", |g, _, _| graph::fold_constants(g)),
    ("eliminate-common", |g, _, _| graph::eliminate_common(g)),
    ("remove-dead", |g, _, _| graph::remove_dead(g)),
    ("choose-winograd", |g, facts, report| {
        let (graph, chosen) = graph::choose_winograd(g, facts)?;
        report.winograd = chosen;
        Ok(graph)
    }),
    ("decompose", |g, _, _| graph::decompose(g)),
    ("push-through-concat", |g, _, _| {
        graph::push_through_concat(g)
    }),
    ("simplify-primitive-movement", |g, _, _| {
        graph::simplify_movement(g)
    }),
    ("fold-primitives", |g, _, _| graph::fold(g)),
    ("fold-primitive-constants", |g, _, _| {
        graph::fold_constants(g)
    }),
    ("eliminate-common-primitives", |g, _, _| {
        graph::eliminate_common(g)
    }),
    ("remove-dead-primitives", |g, _, _| graph::remove_dead(g)),
];

/// Every pass in order, as `--stop-after`, `--time-passes` and the dumps name them.
pub fn passes() -> Vec<&'static str> {
    let mut all = vec!["import"];
    all.extend(GRAPH_PASSES.iter().map(|p| p.0));
    all.extend(["schedule", "opt"]);
    all.extend(codegen::KERNEL_PASSES.iter().map(|p| p.0));
    all.push(codegen::LINEARISE);
    all.extend(codegen::LIST_PASSES.iter().map(|p| p.0));
    all.push("plan");
    all
}

/// A finished compilation.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// For targets and `emit`.
    pub built: Built,
    /// For people.
    pub report: Report,
}

/// How a compilation that may be stopped ended.
#[derive(Debug)]
pub enum Outcome {
    /// All passes ran.
    Finished(Box<Compiled>),
    /// `Options::stop_after` was reached.
    Stopped(Report),
}

/// Compiles a graph. `Options::stop_after` must not be set: see [`compile_until`].
pub fn compile(
    graph: Graph,
    target: &dyn Target,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<Compiled> {
    match compile_until(graph, target, options, progress)? {
        Outcome::Finished(compiled) => Ok(*compiled),
        Outcome::Stopped(_) => Err(Error::usage(
            "the compilation was told to stop before its last pass",
        )),
    }
}

/// Compiles a graph, or stops after the pass that `options` names.
pub fn compile_until(
    graph: Graph,
    target: &dyn Target,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<Outcome> {
    if let Some(pass) = &options.stop_after
        && !passes().contains(&pass.as_str())
    {
        return Err(Error::usage(format!("there is no pass '{pass}'"))
            .help(format!("passes: {}", passes().join(", "))));
    }
    let mut pipeline = Pipeline::new(target, options, progress)?;
    match pipeline.run(graph) {
        Ok(built) => Ok(Outcome::Finished(Box::new(Compiled {
            built,
            report: pipeline.report,
        }))),
        Err(Halt::Stopped) => Ok(Outcome::Stopped(pipeline.report)),
        Err(Halt::Failed(error)) => Err(error),
    }
}

/// Runs the passes up to the schedule.
pub(super) fn schedule_program(
    graph: Graph,
    target: &dyn Target,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<Program> {
    let program = Pipeline::new(target, options, progress)?.schedule(graph);
    program.map_err(Error::from)
}

/// Runs the passes after the schedule.
pub(super) fn build_program(
    program: Program,
    target: &dyn Target,
    options: &Options,
    progress: &mut dyn Progress,
) -> Result<Built> {
    let built = Pipeline::new(target, options, progress)?.build(program);
    built.map_err(Error::from)
}

/// Why a pipeline does not go on.
enum Halt {
    Stopped,
    Failed(Error),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Halt {
        Halt::Failed(error)
    }
}

impl From<Halt> for Error {
    fn from(halt: Halt) -> Error {
        match halt {
            Halt::Failed(error) => error,
            Halt::Stopped => Error::usage("the compilation was told to stop before its last pass"),
        }
    }
}

struct Pipeline<'a> {
    target: &'a dyn Target,
    options: &'a Options,
    progress: &'a mut dyn Progress,
    report: Report,
    dump: Dump,
    start: Instant,
}

impl<'a> Pipeline<'a> {
    fn new(
        target: &'a dyn Target,
        options: &'a Options,
        progress: &'a mut dyn Progress,
    ) -> Result<Pipeline<'a>> {
        Ok(Pipeline {
            target,
            options,
            progress,
            report: Report::default(),
            dump: Dump::new(options.dump_dir.as_deref())?,
            start: Instant::now(),
        })
    }

    fn run(&mut self, graph: Graph) -> Result<Built, Halt> {
        let program = self.schedule(graph)?;
        self.build(program)
    }

    /// The passes up to the schedule. Its kernels are distinct.
    fn schedule(&mut self, graph: Graph) -> Result<Program, Halt> {
        self.begin("import", 0);
        let mut graph = graph;
        self.graph_fence("import", &graph)?;
        let facts = self.target.facts().clone();
        for &(name, pass) in GRAPH_PASSES {
            self.begin(name, 0);
            graph = pass(&graph, &facts, &mut self.report)?;
            self.graph_fence(name, &graph)?;
        }

        self.begin("schedule", 0);
        let mut program = schedule::schedule(&graph, &facts, &self.options.name)?;
        drop(graph);
        merge_equal(&mut program, &[]);
        for kernel in &mut program.kernels {
            kernel.uops.set_fuel(self.options.fuel);
        }
        self.program_fence("schedule", &program, None)?;
        Ok(program)
    }

    /// The passes after the schedule.
    fn build(&mut self, mut program: Program) -> Result<Built, Halt> {
        let facts = self.target.facts().clone();
        self.begin("opt", program.kernels.len());
        let progress = Mutex::new(&mut *self.progress);
        let recipes = &self.options.recipes;
        let chosen = optimise_all(&mut program, &facts, recipes, &|| advance(&progress))?;
        let prefetches: Vec<_> = chosen.kernels.iter().map(|k| k.recipe.prefetch).collect();
        self.report.kernels = chosen.kernels;
        for why in chosen.refused {
            let warning = format!("a smaller choice was taken: {why}");
            self.progress.warn(&warning);
            self.report.warnings.push(warning);
        }
        let prefetches = merge_equal(&mut program, &prefetches);
        self.program_fence("opt", &program, None)?;

        let numbers: Vec<Facts> = prefetches
            .into_iter()
            .map(|own| Facts {
                prefetch_bytes: own.unwrap_or(facts.prefetch_bytes),
                ..facts.clone()
            })
            .collect();
        let linear = self.codegen(&program, &numbers)?;

        self.begin("plan", 0);
        let plan = plan::plan(&program, &facts)?;
        self.program_fence("plan", &program, Some(&plan))?;

        let meta = self.meta(&program);
        Ok(Built {
            program,
            linear,
            plan,
            meta,
        })
    }

    /// What the manifest says: also what each kernel is, and how many have choices that a search found.
    fn meta(&self, program: &Program) -> Meta {
        let mut meta = self.options.meta.clone();
        let chosen: FxHashMap<&str, &LockedKernel> = self
            .report
            .kernels
            .iter()
            .map(|k| (k.name.as_str(), k))
            .collect();
        let identity = |k: &Kernel| {
            let chosen = chosen.get(k.name.as_str())?;
            let mut choice = opt::print_opts(&chosen.recipe.opts);
            if let Some(bytes) = chosen.recipe.prefetch {
                choice.push_str(&format!(" prefetch={bytes}"));
            }
            Some(Identity {
                hash: chosen.hash.clone(),
                choice,
            })
        };
        meta.kernels = program
            .kernels
            .iter()
            .map(|k| identity(k).unwrap_or_default())
            .collect();
        let tuned = self.report.tuned();
        if tuned > 0 {
            let all = self.report.kernels.len();
            meta.options.push(format!("tuned={tuned}/{all}"));
        }
        meta
    }

    /// The passes of `codegen`, each over all kernels. `facts` has the numbers for each.
    fn codegen(&mut self, program: &Program, facts: &[Facts]) -> Result<Vec<LinearKernel>, Halt> {
        let mut kernels: Vec<Kernel> = program.kernels.clone();
        for &(name, pass) in codegen::KERNEL_PASSES {
            self.begin(name, kernels.len());
            let progress = Mutex::new(&mut *self.progress);
            kernels = kernels
                .into_par_iter()
                .zip(&program.kernels)
                .zip(facts)
                .map(|((kernel, named), facts)| {
                    let done = pass(kernel, facts).map_err(|e| name_kernel(e, named))?;
                    advance(&progress);
                    Ok(done)
                })
                .collect::<Result<_>>()?;
            self.kernel_fence(name, &kernels)?;
        }
        self.begin(codegen::LINEARISE, kernels.len());
        let progress = Mutex::new(&mut *self.progress);
        let mut lists = kernels
            .into_par_iter()
            .zip(&program.kernels)
            .map(|(kernel, named)| {
                let mut list = codegen::linearise(kernel).map_err(|e| name_kernel(e, named))?;
                list.flops = codegen::count_flops(named);
                advance(&progress);
                Ok(list)
            })
            .collect::<Result<Vec<LinearKernel>>>()?;
        self.list_fence(codegen::LINEARISE, &lists)?;
        for &(name, pass) in codegen::LIST_PASSES {
            self.begin(name, lists.len());
            lists = lists
                .into_par_iter()
                .zip(&program.kernels)
                .zip(facts)
                .map(|((list, named), facts)| pass(list, facts).map_err(|e| name_kernel(e, named)))
                .collect::<Result<_>>()?;
            self.list_fence(name, &lists)?;
        }
        Ok(lists)
    }

    fn begin(&mut self, pass: &'static str, items: usize) {
        self.progress.begin(pass, items);
        self.dump.next();
        self.start = Instant::now();
    }

    fn graph_fence(&mut self, pass: &'static str, graph: &Graph) -> Result<(), Halt> {
        self.report.note(pass, self.start);
        // The imported graph is checked always: a file may be wrong. Later ones only in debug builds.
        if cfg!(debug_assertions) || pass == "import" {
            graph::verify(graph)?;
        }
        if self.dump.wanted() {
            self.dump.write(pass, "", "graph", graph_text(graph))?;
        }
        self.stop(pass)
    }

    fn program_fence(
        &mut self,
        pass: &'static str,
        program: &Program,
        plan: Option<&Plan>,
    ) -> Result<(), Halt> {
        self.report.note(pass, self.start);
        if self.dump.wanted() {
            self.dump
                .write(pass, "", "program", program_text(program, plan))?;
        }
        // The plan changes no kernel.
        if plan.is_none() {
            self.check_kernels(pass, &program.kernels, verify_scheduled)?;
        }
        self.stop(pass)
    }

    fn kernel_fence(&mut self, pass: &'static str, kernels: &[Kernel]) -> Result<(), Halt> {
        self.report.note(pass, self.start);
        self.check_kernels(pass, kernels, verify_kernel)?;
        self.stop(pass)
    }

    /// Dumps kernels, then verifies them: what is wrong can be read.
    fn check_kernels(
        &mut self,
        pass: &'static str,
        kernels: &[Kernel],
        verify: fn(&Kernel) -> Result<()>,
    ) -> Result<()> {
        if self.dump.wanted() {
            for kernel in kernels {
                self.dump
                    .write(pass, &kernel.name, "uop", print_kernel(kernel))?;
            }
        }
        kernels
            .par_iter()
            .try_for_each(|k| verify(k).map_err(|e| name_pass(e, pass, &k.name)))
    }

    fn list_fence(&mut self, pass: &'static str, lists: &[LinearKernel]) -> Result<(), Halt> {
        self.report.note(pass, self.start);
        if self.dump.wanted() {
            for kernel in lists {
                self.dump
                    .write(pass, &kernel.name, "uop", print_linear(kernel))?;
                self.dump
                    .write(pass, &kernel.name, "src", self.target.render(kernel)?)?;
            }
        }
        lists
            .par_iter()
            .try_for_each(|k| verify_linear(k).map_err(|e| name_pass(e, pass, &k.name)))?;
        self.stop(pass)
    }

    fn stop(&self, pass: &str) -> Result<(), Halt> {
        if self.options.stop_after.as_deref() == Some(pass) {
            return Err(Halt::Stopped);
        }
        Ok(())
    }
}

/// Says after which pass a kernel is wrong.
fn name_pass(mut error: Error, pass: &str, kernel: &str) -> Error {
    error.message = format!("after pass '{pass}', kernel '{kernel}': {}", error.message);
    error
}

/// Tells the progress from any thread. A poisoned lock only loses the display.
fn advance<'a>(progress: &Mutex<&mut (dyn Progress + 'a)>) {
    if let Ok(mut progress) = progress.lock() {
        progress.advance();
    }
}
