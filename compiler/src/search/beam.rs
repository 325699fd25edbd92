//! Beam search over the ways to build one kernel.
//!
//! In: a kernel, somebody who compiles and times ([`Evaluate`]). Out: the fastest recipe that was found. From the best few points
//! of each round the search goes on to those around them. Candidates that are estimated to be slow are not
//! tried; the others run in turns with the incumbent, and those that fall behind leave early. A candidate replaces the incumbent when fresh
//! turns, and others after loading both anew, show a win that is no chance. Its output is compared with the incumbent's first: one that
//! differs, does not compile or does not run is a failure that is told and passed over.
//!
//! Example: see `tests`, where the time of a kernel is made up.

use super::candidates::{Candidate, Kind, Point, longest, rank};
use super::recipe::Recipe;
use super::timing::{Ratio, median};
use crate::diag::{Error, Result};
use crate::program::Kernel;
use crate::target::Facts;
use crate::uop::DType;
use rayon::prelude::*;
use rustc_hash::FxHashSet;

/// A kernel to search.
#[derive(Debug)]
pub struct Task<'a> {
    /// As scheduled.
    pub kernel: &'a Kernel,
    /// Its hash.
    pub hash: &'a str,
    /// What earlier searches found.
    pub known: Option<&'a Recipe>,
    /// Where other kernels of the model were fastest: tried first.
    pub seeds: &'a [Point],
}

/// How wide and how long.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Points that each round goes on from.
    pub beam: usize,
    /// Turns that confirm a win.
    pub turns: usize,
}

/// One array that a kernel wrote.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Element type.
    pub dtype: DType,
    /// Its elements, without padding.
    pub values: Vec<f64>,
}

/// A candidate that is ready to run.
pub trait Runner {
    /// Seconds of one launch.
    fn time(&mut self) -> Result<f64>;
    /// Runs and gives what it wrote.
    fn outputs(&mut self) -> Result<Vec<Output>>;
}

/// Somebody who can compile and time kernels.
pub trait Evaluate {
    /// Makes candidates ready to run, in parallel if it can. One result each.
    fn load(&mut self, candidates: &[&Candidate]) -> Vec<Result<Box<dyn Runner>>>;
    /// True when the search shall end.
    fn stop(&self) -> bool;
    /// Told about candidates that failed, with the reason.
    fn failed(&mut self, recipe: &Recipe, why: &Error);
    /// Told how many candidates were timed.
    fn tried(&mut self, count: usize);
}

/// What a search found.
#[derive(Debug, Clone)]
pub struct Best {
    /// The fastest recipe.
    pub recipe: Recipe,
    /// Where it was found.
    pub point: Point,
    /// False for the heuristics' own.
    pub tuned: bool,
    /// Its time over the heuristics', as far as it was measured in this search.
    pub ratio: f64,
    /// Its time.
    pub seconds: f64,
    /// Nothing was left to try.
    pub complete: bool,
}

impl Best {
    /// The heuristics' own choice, not timed yet.
    fn of(heuristic: &Candidate) -> Best {
        Best {
            recipe: Recipe {
                tuned: false,
                ..heuristic.recipe.clone()
            },
            point: Point::default(),
            tuned: false,
            ratio: 1.0,
            seconds: 0.0,
            complete: false,
        }
    }
}

/// Candidates compiled and timed at once.
const BATCH: usize = 8;
/// Points built at once.
const PART: usize = 32;
/// Candidates of one round, for each point of the beam.
const EACH: usize = 12;
/// Rounds at most.
const DEPTH: usize = 8;
/// Estimated time over the incumbent's beyond which a candidate is not tried.
pub(super) const HOPELESS: f64 = 1.6;
/// The ratio from which on a candidate leaves after one turn.
const AT_ONCE: f64 = 1.5;
/// Turns after which slow candidates leave, the ratio from which on they do, and turns of those that stay.
const FIRST: (usize, f64) = (3, 1.08);
const SECOND: usize = 8;

/// Searches one kernel. `accepted` is told of every better recipe at once.
///
/// # Errors
/// Environment and Bug when the kernel cannot be built or run as it is; candidates' errors are told to `eval`.
pub fn search(
    task: &Task<'_>,
    facts: &Facts,
    settings: &Settings,
    eval: &mut dyn Evaluate,
    accepted: &mut dyn FnMut(&Best) -> Result<()>,
) -> Result<Best> {
    let heuristic = Point::default().build(task.kernel, facts, usize::MAX)?;
    let longest = longest(&heuristic.linear);
    let known = task.known.and_then(|recipe| {
        let point = Point {
            opts: Some(recipe.opts.clone()),
            prefetch: recipe.prefetch,
            ..Point::default()
        };
        point.build(task.kernel, facts, usize::MAX).ok()
    });
    let mut state = State {
        settings,
        eval,
        seen: FxHashSet::from_iter([heuristic.code]),
        best: Best::of(&heuristic),
        incumbent: heuristic.clone(),
    };
    let mut frontier = vec![heuristic.clone()];
    if let Some(known) = known {
        state.seen.insert(known.code);
        state.round(vec![known.clone()], accepted)?;
        frontier.push(known);
    }
    let build = |p: &Point| p.build(task.kernel, facts, longest).ok();
    let mut seeds: Vec<Candidate> = task.seeds.iter().filter_map(build).collect();
    seeds.retain(|c| state.seen.insert(c.code));
    frontier.extend(state.round(seeds, accepted)?);
    for _ in 0..DEPTH {
        if state.eval.stop() {
            break;
        }
        let next = state.around(task.kernel, &frontier, facts, longest);
        if next.is_empty() {
            state.best.complete = !state.eval.stop();
            break;
        }
        frontier = state.round(next, accepted)?;
        if frontier.is_empty() {
            state.best.complete = !state.eval.stop();
            break;
        }
    }
    state.settle(&heuristic)?;
    Ok(state.best)
}

struct State<'a> {
    settings: &'a Settings,
    eval: &'a mut dyn Evaluate,
    /// Code that was tried or left out.
    seen: FxHashSet<[u8; 32]>,
    incumbent: Candidate,
    best: Best,
}

impl State<'_> {
    /// New candidates around some, those that look best first.
    fn around(
        &mut self,
        kernel: &Kernel,
        from: &[Candidate],
        facts: &Facts,
        longest: usize,
    ) -> Vec<Candidate> {
        let mut points: Vec<(Kind, Point)> = Vec::new();
        let mut asked: FxHashSet<Point> = FxHashSet::default();
        for candidate in from {
            for (kind, point) in candidate.point.neighbours(&candidate.recipe.opts, facts) {
                if asked.insert(point.clone()) {
                    points.push((kind, point));
                }
            }
        }
        let mut built: Vec<(Kind, Candidate)> = Vec::new();
        // Building takes a while for long kernels: in parts, so that the search ends in time.
        for part in points.chunks(PART) {
            if self.eval.stop() {
                break;
            }
            built.par_extend(
                part.par_iter()
                    .filter_map(|(kind, p)| Some((*kind, p.build(kernel, facts, longest).ok()?))),
            );
        }
        let parallel = self.incumbent.linear.parallel;
        // Enough work for as many threads as the incumbent has work for.
        built.retain(|(_, c)| {
            c.cost <= HOPELESS * self.incumbent.cost
                && c.linear.parallel >= parallel.min(16)
                && self.seen.insert(c.code)
        });
        let mut ranked = rank(built);
        ranked.truncate(EACH * self.settings.beam);
        ranked
    }

    /// Tries candidates. Returns those to go on from: the fastest few.
    fn round(
        &mut self,
        candidates: Vec<Candidate>,
        accepted: &mut dyn FnMut(&Best) -> Result<()>,
    ) -> Result<Vec<Candidate>> {
        let mut timed: Vec<(f64, Candidate)> = Vec::new();
        let mut candidates = candidates.into_iter();
        loop {
            let batch: Vec<Candidate> = candidates.by_ref().take(BATCH).collect();
            if batch.is_empty() || self.eval.stop() {
                break;
            }
            // What ran before is compared with another incumbent from here on.
            let scale = self.batch(batch, &mut timed, accepted)?;
            for t in &mut timed {
                t.0 /= scale;
            }
        }
        timed.sort_by(|a, b| a.0.total_cmp(&b.0));
        timed.retain(|t| t.0 < 1.03);
        timed.truncate(self.settings.beam);
        Ok(timed.into_iter().map(|t| t.1).collect())
    }

    /// Compiles, checks and times candidates. Returns the ratio by which the incumbent became faster.
    fn batch(
        &mut self,
        batch: Vec<Candidate>,
        timed: &mut Vec<(f64, Candidate)>,
        accepted: &mut dyn FnMut(&Best) -> Result<()>,
    ) -> Result<f64> {
        let all: Vec<&Candidate> = [&self.incumbent].into_iter().chain(&batch).collect();
        let mut loaded = self.eval.load(&all).into_iter();
        let incumbent = loaded
            .next()
            .unwrap_or_else(|| Err(Error::bug("nothing was loaded")));
        // Whoever interrupts the search may have interrupted the C compiler too.
        if incumbent.is_err() && self.eval.stop() {
            return Ok(1.0);
        }
        let mut incumbent = incumbent?;
        let expected = incumbent.outputs()?;
        let mut racers: Vec<Racer> = Vec::new();
        for (candidate, runner) in batch.into_iter().zip(loaded) {
            let sound = runner.and_then(|mut runner| {
                compare(&expected, &runner.outputs()?)?;
                Ok(runner)
            });
            match sound {
                Ok(runner) => racers.push(Racer {
                    candidate,
                    runner,
                    ratios: Vec::new(),
                }),
                Err(why) => self.eval.failed(&candidate.recipe, &why),
            }
        }
        self.eval.tried(racers.len());
        let mut own = Vec::new();
        for turn in 0..FIRST.0 + SECOND {
            match turn {
                1 => racers.retain(|r| r.median() <= AT_ONCE),
                n if n == FIRST.0 => racers.retain(|r| r.median() <= FIRST.1),
                _ => {}
            }
            let base = incumbent.time()?;
            own.push(base);
            let count = racers.len().max(1);
            racers.rotate_left(turn % count);
            for racer in &mut racers {
                racer.ratios.push(racer.runner.time()? / base);
            }
        }
        if self.best.seconds == 0.0 {
            self.best.seconds = median(&own);
        }
        racers.sort_by(|a, b| a.median().total_cmp(&b.median()));
        let mut scale = 1.0;
        // The second may win where the first was lucky.
        for at in 0..racers.len().min(2) {
            if racers[at].median() > 0.985 {
                break;
            }
            let first = self.confirm(&mut *incumbent, &mut *racers[at].runner)?;
            if !first.is_win() {
                continue;
            }
            // In the other order.
            let incumbent = self.incumbent.clone();
            let again = self.anew(&racers[at].candidate, &incumbent)?;
            if let Some(again) = again.filter(Ratio::is_win) {
                scale = first.median.max(again.median);
                self.best.ratio *= scale;
                self.best.seconds *= scale;
                self.best.recipe = racers[at].candidate.recipe.clone();
                self.best.point = racers[at].candidate.point.clone();
                self.best.tuned = true;
                self.incumbent = racers[at].candidate.clone();
                accepted(&self.best)?;
                break;
            }
        }
        timed.extend(racers.into_iter().map(|r| (r.median(), r.candidate)));
        Ok(scale)
    }

    /// Loads two candidates anew and takes turns of the second and the first: where memory happened to lie decides nothing. `None` when one
    /// does not load.
    fn anew(&mut self, first: &Candidate, second: &Candidate) -> Result<Option<Ratio>> {
        let loaded = self.eval.load(&[first, second]);
        let loaded = loaded.into_iter().filter_map(Result::ok);
        match <[_; 2]>::try_from(loaded.collect::<Vec<Box<dyn Runner>>>()) {
            Ok([mut a, mut b]) => self.confirm(&mut *b, &mut *a).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Compares what was found with the heuristics' choice once more: each of several steps may have been a little lucky, and their ratios
    /// multiply.
    fn settle(&mut self, heuristic: &Candidate) -> Result<()> {
        if !self.best.tuned {
            return Ok(());
        }
        let found = self.incumbent.clone();
        let Some(ratio) = self.anew(&found, heuristic)? else {
            return Ok(());
        };
        let before = self.best.seconds / self.best.ratio;
        self.best = if ratio.is_win() {
            Best {
                ratio: ratio.median,
                seconds: before * ratio.median,
                ..self.best.clone()
            }
        } else {
            Best {
                seconds: before,
                complete: self.best.complete,
                ..Best::of(heuristic)
            }
        };
        Ok(())
    }

    /// Fresh turns of two, each first as often as the other.
    fn confirm(&self, a: &mut dyn Runner, b: &mut dyn Runner) -> Result<Ratio> {
        let mut ratios = Vec::new();
        for turn in 0..self.settings.turns {
            let (x, y) = if turn % 2 == 0 {
                let x = a.time()?;
                (x, b.time()?)
            } else {
                let y = b.time()?;
                (a.time()?, y)
            };
            ratios.push(y / x);
        }
        Ok(Ratio::of(&ratios))
    }
}

struct Racer {
    candidate: Candidate,
    runner: Box<dyn Runner>,
    ratios: Vec<f64>,
}

impl Racer {
    fn median(&self) -> f64 {
        median(&self.ratios)
    }
}

/// Two builds of a kernel give the same but for rounding: sums in another order.
///
/// # Errors
/// Bug, with the difference.
pub fn compare(expected: &[Output], found: &[Output]) -> Result<()> {
    if expected.len() != found.len() {
        return Err(Error::bug("another number of outputs"));
    }
    for (a, b) in expected.iter().zip(found) {
        let limit = match a.dtype {
            DType::F64 => 1e-12,
            DType::F16 => 2e-3,
            DType::BF16 => 2e-2,
            t if t.is_float() => 2e-6,
            _ => 0.0,
        };
        let (mut sum, mut off, mut most, mut worst) = (0.0, 0.0, 0f64, 0f64);
        for (&x, &y) in a.values.iter().zip(&b.values) {
            // Infinities and NaN must be the same ones.
            let d = if x == y || x.is_nan() && y.is_nan() {
                0.0
            } else {
                x - y
            };
            sum += if x.is_finite() { x * x } else { 0.0 };
            off += d * d;
            most = most.max(if x.is_finite() { x.abs() } else { 0.0 });
            worst = worst.max(if d.is_nan() { f64::INFINITY } else { d.abs() });
        }
        let norm = (off / f64::max(sum, f64::MIN_POSITIVE)).sqrt();
        let wrong = a.values.len() != b.values.len()
            || off.is_nan()
            || off > 0.0 && norm > limit
            || worst > 20.0 * limit * most;
        if wrong {
            return Err(Error::bug(format!(
                "its output differs: relative norm {norm:.1e}, largest difference {worst:.1e} of {most:.1e}"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::opt::print_opts;
    use crate::search::candidates::tests::matmul;

    /// Time is made up: from the tile that the opts have, and noise.
    struct Made {
        /// Candidates whose opts contain this crash, or give something else.
        broken: &'static str,
        wrong: &'static str,
        left: usize,
        failures: Vec<String>,
        tried: usize,
    }

    struct MadeRunner {
        seconds: f64,
        wrong: bool,
        state: u64,
    }

    impl Runner for MadeRunner {
        fn time(&mut self) -> Result<f64> {
            self.state = self
                .state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let noise = (self.state >> 40) as f64 / (1u64 << 24) as f64;
            // A tenth of the turns is disturbed.
            let slow = if noise > 0.9 { 3.0 } else { 1.0 };
            Ok(self.seconds * slow * (1.0 + 0.04 * noise))
        }
        fn outputs(&mut self) -> Result<Vec<Output>> {
            let values = vec![1.0, if self.wrong { 2.0 } else { 3.0 }];
            Ok(vec![Output {
                dtype: DType::F32,
                values,
            }])
        }
    }

    impl Evaluate for Made {
        fn load(&mut self, candidates: &[&Candidate]) -> Vec<Result<Box<dyn Runner>>> {
            self.left = self.left.saturating_sub(1);
            let one = |c: &&Candidate| -> Result<Box<dyn Runner>> {
                let text = print_opts(&c.recipe.opts);
                if !self.broken.is_empty() && text.contains(self.broken) {
                    return Err(Error::bug("broken"));
                }
                Ok(Box::new(MadeRunner {
                    // Four rows are best, as if by magic.
                    seconds: if text.contains(",4,unroll") { 0.8 } else { 1.0 },
                    wrong: !self.wrong.is_empty() && text.contains(self.wrong),
                    state: text.len() as u64,
                }))
            };
            candidates.iter().map(one).collect()
        }
        fn stop(&self) -> bool {
            self.left == 0
        }
        fn failed(&mut self, recipe: &Recipe, why: &Error) {
            self.failures
                .push(format!("{}: {why}", print_opts(&recipe.opts)));
        }
        fn tried(&mut self, count: usize) {
            self.tried += count;
        }
    }

    fn made(broken: &'static str, wrong: &'static str) -> Made {
        Made {
            broken,
            wrong,
            left: 1000,
            failures: Vec::new(),
            tried: 0,
        }
    }

    fn run(made: &mut Made, known: Option<&Recipe>) -> (Best, usize) {
        let kernel = matmul(60, 64, 96);
        let task = Task {
            kernel: &kernel,
            hash: "h",
            known,
            seeds: &[],
        };
        let settings = Settings { beam: 2, turns: 31 };
        let mut told = 0;
        let best = search(&task, &Facts::default(), &settings, made, &mut |_| {
            told += 1;
            Ok(())
        })
        .unwrap();
        (best, told)
    }

    #[test]
    fn the_faster_recipe_is_found_through_noise() {
        let mut made = made("", "");
        let (best, told) = run(&mut made, None);
        assert!(best.tuned && best.complete, "{best:?}");
        assert!(print_opts(&best.recipe.opts).contains(",4,unroll"));
        assert!((best.ratio - 0.8).abs() < 0.03, "{}", best.ratio);
        assert_eq!(told, 1);
        assert!(made.failures.is_empty());
        // Found before, it is where the next search begins.
        let again = run(&mut self::made("", ""), Some(&best.recipe)).0;
        assert!((again.ratio - 0.8).abs() < 0.03);
        assert_eq!(again.recipe.opts, best.recipe.opts);
    }

    #[test]
    fn what_fails_is_told_and_passed_over() {
        for (broken, wrong) in [(",4,unroll", ""), ("", ",4,unroll")] {
            let mut made = made(broken, wrong);
            let (best, told) = run(&mut made, None);
            assert!(!best.tuned && told == 0);
            assert_eq!(best.ratio, 1.0);
            assert!(!made.failures.is_empty());
        }
    }

    #[test]
    fn it_ends_when_told() {
        let mut made = made("", "");
        made.left = 1;
        let (best, _) = run(&mut made, None);
        assert!(!best.complete);
        assert!(made.tried <= BATCH);
    }

    #[test]
    fn outputs_compare_by_norm_and_largest() {
        let out = |values: &[f64]| {
            vec![Output {
                dtype: DType::F32,
                values: values.to_vec(),
            }]
        };
        let many = vec![1.0; 1000];
        let mut one_off = many.clone();
        one_off[7] = 1.0 + 6e-5;
        assert!(compare(&out(&many), &out(&many)).is_ok());
        assert!(compare(&out(&many), &out(&one_off)).is_err());
        assert!(compare(&out(&[f64::NAN, 1.0]), &out(&[f64::NAN, 1.0])).is_ok());
        assert!(compare(&out(&[f64::NAN, 1.0]), &out(&[0.0, 1.0])).is_err());
        assert!(compare(&out(&[1.0, 1.0]), &out(&[f64::INFINITY, 1.0])).is_err());
        assert!(compare(&out(&many), &out(&many[1..])).is_err());
        assert!(compare(&out(&[0.0]), &out(&[0.0])).is_ok());
    }
}
