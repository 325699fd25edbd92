//! Worker threads: spin for a short while, then sleep in the kernel; barriers between launches.
//!
//! The same scheme as the thread pool of the static library (`c/pool.c` of the compile crate).

use core::sync::atomic::{AtomicU32, Ordering::SeqCst};
use tinyc_executable::sys;

/// Rounds of waiting before a worker sleeps.
const SPINS: u32 = 2000;

/// A word that workers wait on, in cache lines of its own (two: processors fetch them in pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
struct Signal {
    word: AtomicU32,
    sleepers: AtomicU32,
}

impl Signal {
    const fn new() -> Signal {
        Signal {
            word: AtomicU32::new(0),
            sleepers: AtomicU32::new(0),
        }
    }
    fn wait_while(&self, old: u32) {
        for _ in 0..SPINS {
            if self.word.load(SeqCst) != old {
                return;
            }
            core::hint::spin_loop();
        }
        self.sleepers.fetch_add(1, SeqCst);
        while self.word.load(SeqCst) == old {
            sys::sleep_while(&self.word, old);
        }
        self.sleepers.fetch_sub(1, SeqCst);
    }
    fn advance(&self) {
        self.word.fetch_add(1, SeqCst);
        if self.sleepers.load(SeqCst) != 0 {
            sys::wake(&self.word);
        }
    }
}

/// What the workers share. One for the process.
#[derive(Debug, Default)]
pub struct Team {
    workers: AtomicU32,
    job: Signal,
    phase: Signal,
    arrived: Apart,
}

/// A counter that nobody waits on, away from the words that others read all the time.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart(AtomicU32);

impl Team {
    /// A team of one.
    pub const fn new() -> Team {
        Team {
            workers: AtomicU32::new(1),
            job: Signal::new(),
            phase: Signal::new(),
            arrived: Apart(AtomicU32::new(0)),
        }
    }

    /// Says how many workers there are, before any of them starts.
    pub fn set_workers(&self, workers: u32) {
        self.workers.store(workers.max(1), SeqCst);
    }

    /// Workers, the first thread included.
    pub fn workers(&self) -> u32 {
        self.workers.load(SeqCst)
    }

    /// Starts job after job on the other workers; the first thread then does its own share.
    pub fn start_job(&self) {
        self.job.advance();
    }

    /// Waits for the job after `seen` jobs.
    pub fn await_job(&self, seen: u32) {
        self.job.wait_while(seen);
    }

    /// Returns when all workers are here.
    pub fn barrier(&self) {
        let workers = self.workers();
        if workers == 1 {
            return;
        }
        let phase = self.phase.word.load(SeqCst);
        if self.arrived.0.fetch_add(1, SeqCst) + 1 == workers {
            self.arrived.0.store(0, SeqCst);
            self.phase.advance();
        } else {
            self.phase.wait_while(phase);
        }
    }
}
