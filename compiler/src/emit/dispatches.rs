//! Launches of a program for a target with work-groups.
//!
//! In: [`Built`]. Out: [`Dispatches`]: the launches in order, the places of their arguments, and how many work-groups of how many threads
//! each kernel runs in. A kernel's arguments are the addresses of its buffers, 8 bytes each, in the order of its parameters.
//!
//! Example: a kernel of 13 groups of 256 threads over `arena+64` and output 0.

use super::launches::{Launches, launches};
use crate::diag::{Error, Result};
use crate::program::{Built, groups};

/// Work-groups of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    /// How many groups.
    pub groups: u32,
    /// Threads of each.
    pub threads: u32,
}

/// What is launched, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispatches {
    /// Launches, arguments and places. Each launch waits for the one before it.
    pub launches: Launches,
    /// One for each kernel.
    pub grids: Vec<Grid>,
}

/// Launches of a program.
///
/// # Errors
/// Bug when plan and kernels contradict each other; Unsupported when a kernel has more work-groups than fit into 32 bits.
pub fn dispatches(built: &Built) -> Result<Dispatches> {
    let grids = built.linear.iter().map(|kernel| {
        let threads = groups::threads(&kernel.uops, &kernel.list)?.count;
        let count = groups::groups(&kernel.uops, &kernel.list);
        match (u32::try_from(count), u32::try_from(threads)) {
            (Ok(groups), Ok(threads)) => Ok(Grid { groups, threads }),
            _ => Err(Error::unsupported(format!(
                "kernel '{}' has {count} work-groups of {threads} threads",
                kernel.name
            ))),
        }
    });
    Ok(Dispatches {
        launches: launches(built)?,
        grids: grids.collect::<Result<_>>()?,
    })
}
