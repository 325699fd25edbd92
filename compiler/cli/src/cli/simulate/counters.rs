//! What kernels did on the simulated device. In: launches, their kernels. Out: [`Figures`], as table or JSON.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use tinyc_simgpu::kfd::Launched;
use tinyc_simgpu::wave::{Class, Counters};

/// All kernels of one run.
#[derive(Debug, Serialize)]
pub struct Figures {
    /// The most instructions first.
    pub kernels: Vec<Row>,
    /// All of them together.
    pub total: Row,
}

/// One kernel, all its launches together.
#[derive(Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub kernel: String,
    /// How often it ran.
    pub launches: usize,
    /// Waves of 32 work-items.
    pub waves: u64,
    /// Instructions that waves executed.
    pub instructions: u64,
    /// The same by kind.
    pub classes: BTreeMap<&'static str, u64>,
    /// Bytes loaded from the device's memory, lane by lane.
    pub bytes_loaded: u64,
    /// Bytes stored to it.
    pub bytes_stored: u64,
    /// Bytes moved in local memory.
    pub lds_bytes: u64,
    /// Cycles that local memory lost because lanes met in a bank.
    pub lds_conflicts: u64,
}

fn class_name(class: Class) -> &'static str {
    match class {
        Class::Scalar => "scalar",
        Class::ScalarMemory => "scalar_memory",
        Class::Branch => "branch",
        Class::Wait => "wait",
        Class::Vector => "vector",
        Class::Transcendental => "transcendental",
        Class::Dual => "dual",
        Class::Matrix => "matrix",
        Class::Lds => "lds",
        Class::Load => "load",
        Class::Store => "store",
        Class::Atomic => "atomic",
        Class::Scratch => "scratch",
    }
}

impl Row {
    fn new(kernel: String, launches: usize, c: &Counters) -> Row {
        let classes = Class::ALL.iter().zip(c.instructions);
        let some = classes.filter(|(_, n)| *n > 0);
        Row {
            kernel,
            launches,
            waves: c.waves,
            instructions: c.total(),
            classes: some.map(|(class, n)| (class_name(*class), n)).collect(),
            bytes_loaded: c.loaded,
            bytes_stored: c.stored,
            lds_bytes: c.lds,
            lds_conflicts: c.conflicts,
        }
    }

    /// Instructions of some classes.
    fn of(&self, names: &[&str]) -> u64 {
        names.iter().filter_map(|n| self.classes.get(n)).sum()
    }
}

impl Figures {
    /// Sums up launches by kernel; `kernels` says which kernel each launch runs, in order.
    pub fn new(launched: &[Launched], kernels: &[u32], names: &[String]) -> Figures {
        let mut rows: BTreeMap<u32, (usize, Counters)> = BTreeMap::new();
        let mut total = Counters::default();
        for (launch, kernel) in launched.iter().zip(kernels) {
            let (count, sum) = rows.entry(*kernel).or_default();
            *count += 1;
            sum.add(&launch.counters);
            total.add(&launch.counters);
        }
        let name = |n: u32| names.get(n as usize).cloned().unwrap_or_default();
        let rows = rows.into_iter();
        let mut kernels: Vec<Row> = rows
            .map(|(n, (count, sum))| Row::new(name(n), count, &sum))
            .collect();
        kernels.sort_by_key(|r| std::cmp::Reverse(r.instructions));
        Figures {
            kernels,
            total: Row::new("total".to_string(), launched.len(), &total),
        }
    }

    /// For people.
    pub fn table(&self) -> String {
        let names = self.kernels.iter().map(|r| r.kernel.len());
        let width = names.max().unwrap_or(0).clamp(6, 48);
        let mut out = String::new();
        let _ = writeln!(
            out,
            "{:<width$}  {:>5}  {:>8}  {:>9}  {:>9}  {:>8}  {:>8}  {:>8}  {:>8}  {:>9}  {:>9}  {:>9}",
            "kernel",
            "times",
            "waves",
            "k instr",
            "k vector",
            "k matrix",
            "k memory",
            "k LDS",
            "k other",
            "kB loaded",
            "kB stored",
            "conflicts"
        );
        for r in self.kernels.iter().chain([&self.total]) {
            let name: String = r.kernel.chars().take(width).collect();
            let thousand = |n: u64| n as f64 / 1e3;
            let vector = r.of(&["vector", "transcendental", "dual"]);
            let memory = r.of(&["load", "store", "atomic", "scratch", "scalar_memory"]);
            let (matrix, lds) = (r.of(&["matrix"]), r.of(&["lds"]));
            let _ = writeln!(
                out,
                "{name:<width$}  {:>5}  {:>8}  {:>9.1}  {:>9.1}  {:>8.1}  {:>8.1}  {:>8.1}  {:>8.1}  {:>9.1}  {:>9.1}  {:>9}",
                r.launches,
                r.waves,
                thousand(r.instructions),
                thousand(vector),
                thousand(matrix),
                thousand(memory),
                thousand(lds),
                thousand(r.instructions - vector - matrix - memory - lds),
                thousand(r.bytes_loaded),
                thousand(r.bytes_stored),
                r.lds_conflicts
            );
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launches_are_summed_up_by_kernel() {
        let launch = |vector: u64, loaded: u64| {
            let mut counters = Counters {
                loaded,
                ..Counters::default()
            };
            counters.instructions[Class::Vector as usize] = vector;
            Launched {
                queue: 0,
                entry: 0x100,
                counters,
            }
        };
        let launched = [launch(10, 4), launch(500, 8), launch(20, 4)];
        let names = ["small".to_string(), "large".to_string()];
        let figures = Figures::new(&launched, &[0, 1, 0], &names);
        assert_eq!(figures.kernels[0].kernel, "large");
        assert_eq!(
            (figures.kernels[1].launches, figures.kernels[1].instructions),
            (2, 30)
        );
        assert_eq!(
            (figures.total.instructions, figures.total.bytes_loaded),
            (530, 16)
        );
        assert!(figures.table().lines().count() == 4);
    }
}
