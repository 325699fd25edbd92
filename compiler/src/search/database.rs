//! The tuning database: what searches found, one JSON object a line.
//!
//! In: lines of a file. Out: for each kernel, chip and version of tinyc the record that counts: the last one, so that the file is
//! only ever added to. A line that is torn or damaged, or written by a later version, is counted and left alone: the file only
//! saves time.
//!
//! ```json
//! {"kernel":"9f2c...","name":"k0_conv","target":"t","chip":"x","tinyc":"0.1.0/1","against":"5b0d...","found":"better","opts":"split(0.3,16,vector)","tuned":true,"ratio":0.91,"seconds":0.0012,"beam":4,"complete":true}
//! ```

use super::recipe::{Recipe, Recipes, VERSION, Written};
use crate::diag::{Error, Result};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

/// How a search of a kernel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Found {
    /// A faster recipe.
    Better,
    /// Nothing faster than the heuristics.
    Nothing,
    /// The candidate in question did not compile, run or give the right result.
    Failed,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Hash of the kernel as scheduled.
    pub kernel: String,
    /// Its name in the model that was searched, for people.
    pub name: String,
    /// Name of the target.
    pub target: String,
    /// Name of the target file.
    pub chip: String,
    /// Version of tinyc.
    pub tinyc: String,
    /// What it was compared with: the mark of the heuristics' recipe.
    #[serde(default)]
    pub against: String,
    /// What came of it.
    pub found: Found,
    /// The recipe: the best one, or the one that failed.
    #[serde(flatten, with = "recipe")]
    pub recipe: Recipe,
    /// Its time over the heuristics'.
    pub ratio: f64,
    /// Its time.
    pub seconds: f64,
    /// Width of the search.
    pub beam: usize,
    /// Nothing was left to try; otherwise the time was up.
    pub complete: bool,
    /// Why a candidate failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

mod recipe {
    use super::{Recipe, Written};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(recipe: &Recipe, out: S) -> Result<S::Ok, S::Error> {
        Written::from(recipe).serialize(out)
    }
    pub fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Recipe, D::Error> {
        Written::deserialize(from).map(Recipe::from)
    }
}

impl Record {
    /// Its line, with the newline.
    ///
    /// # Errors
    /// Bug when it has no JSON form.
    pub fn line(&self) -> Result<String> {
        serde_json::to_string(self)
            .map(|text| text + "\n")
            .map_err(|e| Error::bug(format!("tuning record: {e}")))
    }

    fn key(&self) -> Key {
        [&self.kernel, &self.target, &self.chip, &self.tinyc].map(String::clone)
    }
}

/// Kernel, target, chip, version.
type Key = [String; 4];

/// The records of a file.
#[derive(Debug, Clone, Default)]
pub struct Database {
    best: FxHashMap<Key, Record>,
    order: Vec<Key>,
    /// Lines that are no record.
    pub damaged: usize,
    /// Records of candidates that failed.
    pub failed: Vec<Record>,
}

impl Database {
    /// Reads lines.
    pub fn parse(text: &str) -> Database {
        let mut all = Database::default();
        for line in text.lines().filter(|l| !l.trim().is_empty()) {
            all.put_line(line);
        }
        all
    }

    /// Adds the record of a line, or counts it as damaged.
    pub(super) fn put_line(&mut self, line: &str) {
        match serde_json::from_str::<Record>(line) {
            Ok(record) => self.put(record),
            Err(_) => self.damaged += 1,
        }
    }

    /// Adds a record unless one that gained as much is there.
    pub(super) fn put_better(&mut self, record: Record) {
        let known = self.best.get(&record.key());
        if record.found == Found::Failed || known.is_none_or(|k| record.ratio < k.ratio) {
            self.put(record);
        }
    }

    /// Adds a record; it counts from now on.
    pub fn put(&mut self, record: Record) {
        if record.found == Found::Failed {
            self.failed.push(record);
            return;
        }
        let key = record.key();
        if self.best.insert(key.clone(), record).is_none() {
            self.order.push(key);
        }
    }

    /// Records of another file that this one lacks, or that gained more there.
    pub fn news(&self, other: &Database) -> Vec<Record> {
        other
            .records()
            .filter(|new| {
                let known = self.best.get(&new.key());
                known.is_none_or(|k| new.found == Found::Better && new.ratio < k.ratio)
            })
            .cloned()
            .collect()
    }

    /// The records that count, oldest kernel first.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.order.iter().filter_map(|key| self.best.get(key))
    }

    /// The record of a kernel for this version of tinyc.
    pub fn get(&self, kernel: &str, target: &str, chip: &str) -> Option<&Record> {
        self.best
            .get(&[kernel, target, chip, VERSION].map(str::to_string))
    }

    /// What a build for this chip by this version may use.
    pub fn recipes(&self, target: &str, chip: &str) -> Recipes {
        let mut recipes = Recipes::default();
        for record in self.records() {
            let fits = record.target == target && record.chip == chip && record.tinyc == VERSION;
            if fits && record.found == Found::Better {
                let recipe = Recipe {
                    tuned: true,
                    ..record.recipe.clone()
                };
                recipes.by_hash.insert(record.kernel.clone(), recipe);
                if !record.against.is_empty() {
                    let mark = record.against.clone();
                    recipes.against.insert(record.kernel.clone(), mark);
                }
            }
        }
        recipes
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::opt::parse_opts;

    fn record(kernel: &str, found: Found, ratio: f64) -> Record {
        Record {
            kernel: kernel.into(),
            name: "k".into(),
            target: "t".into(),
            chip: "c".into(),
            tinyc: VERSION.into(),
            against: "0123456789abcdef".into(),
            found,
            recipe: Recipe {
                opts: parse_opts("split(0.3,16,vector)").unwrap(),
                prefetch: Some(1024),
                tuned: true,
            },
            ratio,
            seconds: 0.5,
            beam: 4,
            complete: true,
            why: None,
        }
    }

    fn file(records: &[Record]) -> String {
        records.iter().map(|r| r.line().unwrap()).collect()
    }

    #[test]
    fn lines_round_trip_and_the_last_counts() {
        let records = [
            record("a", Found::Better, 0.9),
            record("b", Found::Better, 0.8),
            record("a", Found::Nothing, 1.0),
            record("a", Found::Failed, 0.1),
        ];
        let text = file(&records) + "{\"kernel\":\"torn";
        let all = Database::parse(&text);
        assert_eq!((all.damaged, all.failed.len()), (1, 1));
        let kept: Vec<_> = all.records().cloned().collect();
        assert_eq!(kept, [records[2].clone(), records[1].clone()]);
        let recipes = all.recipes("t", "c").by_hash;
        assert_eq!(recipes.len(), 1);
        assert_eq!(recipes["b"], records[1].recipe);
        assert!(!all.recipes("t", "c").holds("b", &records[1].recipe));
        assert!(all.recipes("t", "other").by_hash.is_empty());
    }

    #[test]
    fn merging_takes_what_gained_more() {
        let ours = Database::parse(&file(&[
            record("a", Found::Better, 0.9),
            record("b", Found::Better, 0.7),
        ]));
        let theirs = Database::parse(&file(&[
            record("a", Found::Better, 0.8),
            record("b", Found::Better, 0.75),
            record("c", Found::Nothing, 1.0),
        ]));
        let news: Vec<String> = ours.news(&theirs).into_iter().map(|r| r.kernel).collect();
        assert_eq!(news, ["a", "c"]);
    }

    #[test]
    fn other_versions_do_not_count() {
        let mut old = record("a", Found::Better, 0.5);
        old.tinyc = "0.0.1/0".into();
        let all = Database::parse(&file(&[old]));
        assert!(all.recipes("t", "c").by_hash.is_empty());
        assert!(all.get("a", "t", "c").is_none());
    }
}
