//! Tuning a model: a search for each of its kernels that takes time, most expensive first.
//!
//! In: a graph, what earlier searches found, a budget. Out: [`Tuned`], the recipes to build with. Distinct kernels are searched once,
//! each with a share of the budget that is its share of the run's time. Every result is handed to `keep` at once, so that a search
//! may be interrupted. At the end the model is built both ways and profiled in turns: a recipe that gains nothing where it is
//! used is withdrawn.

use super::fingerprint::kernel_hash;
use super::options::Options;
use super::pipeline::{build_program, schedule_program};
use super::progress::Progress;
use super::random::Random;
use super::trial::{Trial, Watch};
use crate::diag::{Error, Kind, Result};
use crate::graph::Graph;
use crate::program::{Built, Program};
use crate::search::{
    Best, Database, Found, Point, Ratio, Recipe, Recipes, Record, Settings, Task, VERSION, median,
    search,
};
use crate::target::{Session, Target};
use rayon::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What a search may take and use.
#[derive(Debug)]
pub struct Tune<'a> {
    /// Points that each round of a search goes on from.
    pub beam: usize,
    /// Time for all kernels.
    pub budget: Duration,
    /// What is known.
    pub known: &'a Database,
    /// Search also kernels that were searched as widely before.
    pub again: bool,
    /// Set from outside to end the search.
    pub stop: &'a AtomicBool,
}

/// What came of it.
#[derive(Debug, Clone, Default)]
pub struct Tuned {
    /// To build with: all that is known, what is new included.
    pub recipes: Recipes,
    /// Records of this search, the last of each kernel.
    pub records: Vec<Record>,
    /// Candidates that were timed.
    pub tried: usize,
    /// Candidates that did not compile, run or give the right result.
    pub failed: usize,
    /// Distinct kernels that take enough time to be searched.
    pub kernels: usize,
    /// Time of the model with the recipes over that before, all kernels together; 1 when nothing is new.
    pub ratio: f64,
}

/// Share of a run's time below which a kernel is not searched.
const LEAST: f64 = 0.003;
/// Places where other kernels were fastest, to begin with.
const SEEDS: usize = 8;
/// Turns that confirm a win.
const TURNS: usize = 31;
/// Runs of the model that say where its time goes, and turns that say what it gained.
const RUNS: usize = 9;

/// Searches the kernels of a graph.
///
/// # Errors
/// As a compilation, and Environment when the target cannot run here.
pub fn tune(
    graph: Graph,
    target: &dyn Target,
    options: &Options,
    how: &Tune<'_>,
    keep: &mut dyn FnMut(&Record) -> Result<()>,
    progress: &mut dyn Progress,
) -> Result<Tuned> {
    let start = Instant::now();
    let program = schedule_program(graph, target, options, progress)?;
    let hashes: Vec<String> = program.kernels.iter().map(kernel_hash).collect();
    let chip = target.facts().name.clone();
    let mut recipes = how.known.recipes(target.name(), &chip);
    let options = Options {
        recipes: recipes.clone(),
        dump_dir: None,
        stop_after: None,
        ..options.clone()
    };
    let built = build_program(program.clone(), target, &options, progress)?;
    let mut model = Model::load(&built, target)?;
    let seconds = model.by_kernel(&program)?;
    let footprint = built.plan.arena_bytes + built.plan.weight_bytes;
    drop(built);
    let total: f64 = seconds.iter().sum();
    let mut order: Vec<usize> = (0..program.kernels.len()).collect();
    order.sort_by(|&a, &b| seconds[b].total_cmp(&seconds[a]));
    order.retain(|&n| seconds[n] >= LEAST * total);
    let mut tuned = Tuned {
        kernels: order.len(),
        ratio: 1.0,
        ..Tuned::default()
    };
    let marks: Vec<String> = program
        .kernels
        .par_iter()
        .map(|k| Ok(Recipe::heuristic(k, target.facts())?.1.mark()))
        .collect::<Result<_>>()?;
    order.retain(|&n| {
        let known = how.known.get(&hashes[n], target.name(), &chip);
        let enough = |r: &Record| r.complete && r.beam >= how.beam && r.against == marks[n];
        how.again || !known.is_some_and(enough)
    });
    let mut seeds: Vec<Point> = Vec::new();
    let mut left: f64 = order.iter().map(|&n| seconds[n]).sum();
    for (place, &n) in order.iter().enumerate() {
        let kernel = &program.kernels[n];
        let spent = start.elapsed();
        let rest = how.budget.saturating_sub(spent);
        if rest.is_zero() || how.stop.load(Ordering::Relaxed) {
            break;
        }
        // Most expensive first, so what one leaves over goes to those after it.
        let share = rest.mul_f64((seconds[n] / left).min(1.0));
        left -= seconds[n];
        let Some(step) = program.steps.iter().find(|s| s.kernel == n) else {
            continue;
        };
        let about = Record {
            kernel: hashes[n].clone(),
            name: kernel.name.clone(),
            target: target.name().to_string(),
            chip: chip.clone(),
            tinyc: VERSION.to_string(),
            against: marks[n].clone(),
            found: Found::Nothing,
            recipe: Recipe::default(),
            ratio: 1.0,
            seconds: 0.0,
            beam: how.beam,
            complete: false,
            why: None,
        };
        let known = how.known.get(&hashes[n], target.name(), &chip);
        let known = known.filter(|r| r.found == Found::Better);
        let mut watch = Clock {
            start,
            until: Instant::now() + share,
            budget: how.budget,
            stop: how.stop,
            name: format!("{}/{} {}", place + 1, order.len(), kernel.name),
            failures: Vec::new(),
            tried: 0,
            progress,
        };
        let found = search_one(
            &program, step, n, footprint, target, how, known, &about, &seeds, &mut watch, keep,
        );
        tuned.tried += watch.tried;
        tuned.failed += watch.failures.len();
        for (recipe, why) in std::mem::take(&mut watch.failures) {
            keep(&Record {
                found: Found::Failed,
                recipe,
                why: Some(why.to_string()),
                ..about.clone()
            })?;
        }
        let best = match found {
            Ok(best) => best,
            // What cannot be searched stays as it is.
            Err(e) if e.kind == Kind::Unsupported => continue,
            Err(e) if e.kind == Kind::Environment => return Err(e),
            Err(e) => {
                progress.warn(&format!("kernel '{}' is not searched: {e}", kernel.name));
                continue;
            }
        };
        let record = of_best(&about, &best);
        keep(&record)?;
        if best.tuned {
            if best.point.opts.is_none() && !seeds.contains(&best.point) {
                seeds.insert(0, best.point.clone());
                seeds.truncate(SEEDS);
            }
            recipes
                .by_hash
                .insert(hashes[n].clone(), record.recipe.clone());
            recipes.against.remove(&hashes[n]);
        }
        tuned.records.push(record);
    }
    if tuned.records.iter().any(|r| r.found == Found::Better) {
        progress.begin("confirm in the model", 0);
        let after = Options {
            recipes: recipes.clone(),
            ..options.clone()
        };
        let built = build_program(program.clone(), target, &after, progress)?;
        let mut faster = Model::load(&built, target)?;
        let ratios = turns(&program, &mut model, &mut faster)?;
        for record in &mut tuned.records {
            let Some(n) = hashes.iter().position(|h| *h == record.kernel) else {
                continue;
            };
            if record.found == Found::Better && ratios.kernels[n].median > 0.995 {
                withdraw(record, &options.recipes, &mut recipes);
                keep(record)?;
            }
        }
        tuned.ratio = ratios.all.median;
    }
    tuned.recipes = recipes;
    Ok(tuned)
}

/// Takes back a recipe that gained nothing in the model: what was used before counts again.
fn withdraw(record: &mut Record, before: &Recipes, recipes: &mut Recipes) {
    record.ratio = 1.0;
    record.complete = true;
    let compared = before.against.get(&record.kernel);
    let old = before.get(&record.kernel);
    match old.filter(|_| compared.is_none_or(|m| *m == record.against)) {
        Some(old) => {
            record.recipe = old.clone();
            recipes.by_hash.insert(record.kernel.clone(), old.clone());
        }
        None => {
            record.found = Found::Nothing;
            recipes.by_hash.remove(&record.kernel);
        }
    }
}

fn of_best(about: &Record, best: &Best) -> Record {
    Record {
        found: if best.tuned {
            Found::Better
        } else {
            Found::Nothing
        },
        recipe: best.recipe.clone(),
        ratio: best.ratio,
        seconds: best.seconds,
        complete: best.complete,
        ..about.clone()
    }
}

#[allow(clippy::too_many_arguments)]
fn search_one(
    program: &Program,
    step: &crate::program::Step,
    n: usize,
    footprint: u64,
    target: &dyn Target,
    how: &Tune<'_>,
    known: Option<&Record>,
    about: &Record,
    seeds: &[Point],
    watch: &mut Clock<'_>,
    keep: &mut dyn FnMut(&Record) -> Result<()>,
) -> Result<Best> {
    let mut trial = Trial::new(program, step, footprint, target, watch)?;
    let task = Task {
        kernel: &program.kernels[n],
        hash: &about.kernel,
        known: known.map(|r| &r.recipe),
        seeds,
    };
    let settings = Settings {
        beam: how.beam,
        turns: TURNS,
    };
    search(&task, target.facts(), &settings, &mut trial, &mut |best| {
        keep(&of_best(about, best))
    })
}

/// Ends a search when its time is up.
struct Clock<'a> {
    start: Instant,
    until: Instant,
    budget: Duration,
    stop: &'a AtomicBool,
    name: String,
    failures: Vec<(Recipe, Error)>,
    tried: usize,
    progress: &'a mut dyn Progress,
}

impl Watch for Clock<'_> {
    fn stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || Instant::now() >= self.until
    }
    fn tried(&mut self, count: usize) {
        self.tried += count;
        let text = format!("{} ({} tried)", self.name, self.tried);
        self.progress
            .spend(&text, self.start.elapsed(), self.budget);
    }
    fn failed(&mut self, recipe: &Recipe, why: &Error) {
        // Whoever interrupts the search may have interrupted the C compiler too.
        if !self.stop.load(Ordering::Relaxed) {
            self.failures.push((recipe.clone(), why.clone()));
        }
    }
}

/// A loaded model with inputs and room for outputs.
struct Model {
    session: Box<dyn Session>,
    inputs: Vec<crate::program::Bytes>,
    outputs: Vec<Vec<u8>>,
}

impl Model {
    fn load(built: &Built, target: &dyn Target) -> Result<Model> {
        let mut random = Random::new(0);
        let program = &built.program;
        let mut model = Model {
            session: target.load(built, 1)?,
            inputs: program
                .inputs
                .iter()
                .map(|io| random.tensor(io).bytes)
                .collect(),
            outputs: program
                .outputs
                .iter()
                .map(|io| vec![0; io.bytes()])
                .collect(),
        };
        for _ in 0..2 {
            model.profile()?;
        }
        Ok(model)
    }

    /// Seconds of each launch in one run.
    fn profile(&mut self) -> Result<Vec<f64>> {
        let inputs: Vec<&[u8]> = self.inputs.iter().map(|b| &**b).collect();
        let mut outputs: Vec<&mut [u8]> = self.outputs.iter_mut().map(Vec::as_mut_slice).collect();
        self.session.profile(&inputs, &mut outputs)
    }

    /// Seconds of each kernel of the schedule in one run, the median of several.
    fn by_kernel(&mut self, program: &Program) -> Result<Vec<f64>> {
        let mut all: Vec<Vec<f64>> = vec![Vec::new(); program.steps.len()];
        for _ in 0..RUNS {
            for (list, s) in all.iter_mut().zip(self.profile()?) {
                list.push(s);
            }
        }
        let medians: Vec<f64> = all.iter().map(|l| median(l)).collect();
        Ok(sums(program, &medians))
    }
}

/// Seconds of each kernel, from those of the launches.
fn sums(program: &Program, seconds: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; program.kernels.len()];
    for (step, s) in program.steps.iter().zip(seconds) {
        out[step.kernel] += s;
    }
    out
}

struct Ratios {
    kernels: Vec<Ratio>,
    all: Ratio,
}

/// Profiles two builds of a program in turns: for each kernel, and for all, the second's time over the first's.
fn turns(program: &Program, a: &mut Model, b: &mut Model) -> Result<Ratios> {
    let mut kernels: Vec<Vec<f64>> = vec![Vec::new(); program.kernels.len()];
    let mut all = Vec::new();
    for turn in 0..2 * RUNS {
        let (x, y) = if turn % 2 == 0 {
            let x = a.profile()?;
            (x, b.profile()?)
        } else {
            let y = b.profile()?;
            (a.profile()?, y)
        };
        let (before, after) = (sums(program, &x), sums(program, &y));
        for ((list, x), y) in kernels.iter_mut().zip(&before).zip(&after) {
            if *x > 0.0 {
                list.push(y / x);
            }
        }
        all.push(after.iter().sum::<f64>() / before.iter().sum::<f64>());
    }
    Ok(Ratios {
        kernels: kernels.iter().map(|l| Ratio::of(l)).collect(),
        all: Ratio::of(&all),
    })
}
