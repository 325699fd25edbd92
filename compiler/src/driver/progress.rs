//! What a compilation tells while it runs, and the times it reports at its end.

use crate::graph::Winograd;
use crate::search::LockedKernel;
use std::time::{Duration, Instant};

/// Told about stages while they run. The command line shows a bar; libraries use [`Silent`].
pub trait Progress: Send {
    /// A stage begins. `items` is how many it will count, 0 when it counts none.
    fn begin(&mut self, stage: &str, items: usize);
    /// One more item of the stage is done.
    fn advance(&mut self);
    /// Something goes on for a given time, of which a part is spent.
    fn spend(&mut self, what: &str, spent: Duration, of: Duration) {
        let _ = (what, spent, of);
    }
    /// Something the user should know that does not stop the compilation.
    fn warn(&mut self, warning: &str);
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&mut self, _: &str, _: usize) {}
    fn advance(&mut self) {}
    fn warn(&mut self, _: &str) {}
}

/// Wall time of one pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageTime {
    /// Name of the pass, as in [`super::passes`].
    pub pass: &'static str,
    /// How long it took.
    pub time: Duration,
}

/// What a compilation did.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Wall time of each pass, in order.
    pub times: Vec<StageTime>,
    /// What was chosen for each distinct kernel of the schedule.
    pub kernels: Vec<LockedKernel>,
    /// Convolutions that Winograd's algorithm computes.
    pub winograd: Vec<Winograd>,
    /// What [`Progress::warn`] was told.
    pub warnings: Vec<String>,
}

impl Report {
    /// Notes the time since `start`.
    pub(super) fn note(&mut self, pass: &'static str, start: Instant) {
        self.times.push(StageTime {
            pass,
            time: start.elapsed(),
        });
    }
    /// Kernels whose choices a search found.
    pub fn tuned(&self) -> usize {
        self.kernels.iter().filter(|k| k.recipe.tuned).count()
    }
    /// Wall time of all passes.
    pub fn total(&self) -> Duration {
        self.times.iter().map(|s| s.time).sum()
    }
}
