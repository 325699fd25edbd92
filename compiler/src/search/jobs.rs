//! Searches on machines that are elsewhere: what a benchmark program is told, and what it says.
//!
//! In: kernels. Out: for each the candidates that look best by estimate, since nothing can be measured here; later, of the lines
//! that the programs printed, the [`Record`]s. A line says everything about its kernel and its candidates, so results need no
//! other file.
//!
//! ```json
//! {"kernel":"9f2c...","name":"k0_conv","target":"t","chip":"x","tinyc":"0.1.0/1","seconds":0.001,"candidates":[{"opts":"...","ratios":[0.91,0.93]},{"opts":"...","failed":"its output differs"}]}
//! ```

use super::beam::HOPELESS;
use super::candidates::{Candidate, Kind, Point, longest, rank};
use super::database::{Database, Found, Record};
use super::recipe::{Recipe, Written};
use super::timing::Ratio;
use crate::diag::{Error, Result};
use crate::program::Kernel;
use crate::target::Facts;
use rayon::prelude::*;
use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};

/// What a benchmark program prints.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobResult {
    /// What was timed.
    #[serde(flatten)]
    pub about: JobKernel,
    /// Time of the heuristics' choice.
    pub seconds: f64,
    /// The others.
    pub candidates: Vec<JobCandidate>,
}

/// The kernel of a benchmark program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobKernel {
    /// Hash of the kernel as scheduled.
    pub kernel: String,
    /// Its name in the model.
    pub name: String,
    /// Name of the target.
    pub target: String,
    /// Name of the target file.
    pub chip: String,
    /// Version of tinyc.
    pub tinyc: String,
    /// The mark of the heuristics' recipe.
    #[serde(default)]
    pub against: String,
}

/// What came of one candidate.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobCandidate {
    #[serde(flatten)]
    recipe: Written,
    /// Its times over that of the heuristics' choice, one a turn.
    #[serde(default)]
    ratios: Vec<f64>,
    /// Why there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failed: Option<String>,
}

/// The fields of a JSON object without its braces.
///
/// # Errors
/// Bug when it has no JSON form.
pub fn fields(value: &impl Serialize) -> Result<String> {
    let text =
        serde_json::to_string(value).map_err(|e| Error::bug(format!("benchmark program: {e}")))?;
    Ok(text
        .trim_start_matches('{')
        .trim_end_matches('}')
        .to_string())
}

/// The fields that name a recipe.
///
/// # Errors
/// Bug when it has no JSON form.
pub fn recipe_fields(recipe: &Recipe) -> Result<String> {
    fields(&Written::from(recipe))
}

impl JobResult {
    /// Reads a line; `None` when it is something else.
    pub fn parse(line: &str) -> Option<JobResult> {
        serde_json::from_str(line).ok()
    }

    /// What is worth keeping: the fastest candidate that wins, else that none does, and the failures.
    pub fn records(&self) -> Vec<Record> {
        let record = |found, recipe: Recipe, ratio| Record {
            kernel: self.about.kernel.clone(),
            name: self.about.name.clone(),
            target: self.about.target.clone(),
            chip: self.about.chip.clone(),
            tinyc: self.about.tinyc.clone(),
            against: self.about.against.clone(),
            found,
            recipe,
            ratio,
            seconds: self.seconds * ratio,
            beam: 0,
            complete: false,
            why: None,
        };
        let mut out = Vec::new();
        let mut best = record(Found::Nothing, Recipe::default(), 1.0);
        for candidate in &self.candidates {
            let recipe = Recipe {
                tuned: true,
                ..candidate.recipe.clone().into()
            };
            if let Some(why) = &candidate.failed {
                out.push(Record {
                    why: Some(why.clone()),
                    ..record(Found::Failed, recipe, 1.0)
                });
                continue;
            }
            let ratio = Ratio::of(&candidate.ratios);
            if ratio.is_win() && ratio.median < best.ratio {
                best = record(Found::Better, recipe, ratio.median);
            }
        }
        out.push(best);
        out
    }
}

/// Reads results of benchmark programs, or a database, or both.
pub fn read_results(text: &str) -> Database {
    let mut all = Database::default();
    for line in text.lines().filter(|l| !l.trim().is_empty()) {
        match JobResult::parse(line) {
            Some(result) => {
                for record in result.records() {
                    all.put_better(record);
                }
            }
            None => all.put_line(line),
        }
    }
    all
}

/// The heuristics' build of a kernel, then at most `count` others, those with the least estimated time first.
///
/// # Errors
/// Bug when the heuristics break the kernel.
pub fn candidates(kernel: &Kernel, facts: &Facts, count: usize) -> Result<Vec<Candidate>> {
    let heuristic = Point::default().build(kernel, facts, usize::MAX)?;
    let longest = longest(&heuristic.linear);
    let most = HOPELESS * heuristic.cost;
    let parallel = heuristic.linear.parallel.min(16);
    let mut seen = FxHashSet::from_iter([heuristic.code]);
    let mut found: Vec<Candidate> = Vec::new();
    let mut from = vec![heuristic.clone()];
    for _ in 0..2 {
        let points: Vec<(Kind, Point)> = from
            .iter()
            .flat_map(|c| c.point.neighbours(&c.recipe.opts, facts))
            .collect();
        let mut built: Vec<(Kind, Candidate)> = points
            .into_par_iter()
            .filter_map(|(kind, p)| Some((kind, p.build(kernel, facts, longest).ok()?)))
            .collect();
        built.retain(|(_, c)| {
            c.cost <= most && c.linear.parallel >= parallel && seen.insert(c.code)
        });
        let ranked = rank(built);
        from = ranked.iter().take(4).cloned().collect();
        found.extend(ranked);
    }
    found.truncate(count);
    found.insert(0, heuristic);
    Ok(found)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::opt::print_opts;
    use crate::search::VERSION;
    use crate::search::candidates::tests::matmul;

    #[test]
    fn results_become_records() {
        let line = |low: f64, kernel: &str| {
            let ratios = |r: f64| {
                let list: Vec<String> = (0..20)
                    .map(|i| format!("{}", r + 0.001 * f64::from(i)))
                    .collect();
                list.join(",")
            };
            format!(
                "{{\"kernel\":\"{kernel}\",\"name\":\"k\",\"target\":\"t\",\"chip\":\"c\",\"tinyc\":\"{VERSION}\",\"seconds\":2.0,\"candidates\":[\
                 {{\"opts\":\"split(0.1,4,unroll)\",\"ratios\":[{}]}},{{\"opts\":\"split(0.1,8,unroll)\",\"prefetch\":0,\"ratios\":[{}]}},\
                 {{\"opts\":\"\",\"failed\":\"its output differs\"}}]}}\n",
                ratios(low + 0.1),
                ratios(low)
            )
        };
        let text = line(0.8, "a") + &line(1.1, "b") + &line(0.7, "a") + "nonsense\n";
        let all = read_results(&text);
        assert_eq!((all.damaged, all.failed.len()), (1, 3));
        let found: Vec<_> = all.records().collect();
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].found, found[1].found),
            (Found::Better, Found::Nothing)
        );
        assert!((found[0].ratio - 0.71).abs() < 0.01 && found[0].seconds < 1.5);
        assert_eq!(print_opts(&found[0].recipe.opts), "split(0.1,8,unroll)");
        assert_eq!(found[0].recipe.prefetch, Some(0));
        assert!(found[0].recipe.tuned);
    }

    #[test]
    fn candidates_are_distinct_and_the_same_each_time() {
        let (kernel, facts) = (matmul(60, 64, 96), Facts::default());
        let codes = || -> Vec<[u8; 32]> {
            let list = candidates(&kernel, &facts, 20).unwrap();
            list.iter().map(|c| c.code).collect()
        };
        let (a, b) = (codes(), codes());
        assert_eq!(a.len(), 21);
        assert_eq!(a, b);
        let distinct: FxHashSet<_> = a.iter().collect();
        assert_eq!(distinct.len(), 21);
    }
}
