//! A benchmark program: one kernel built in several ways, to be timed on a machine that is elsewhere.
//!
//! In: lists, all of them kernels of the target's signature. The program fills row-major operands with random numbers, brings them into the layout
//! of each form with that form's copy kernels, runs the forms in turns, brings results back and compares them, and prints one line
//! of JSON: `head`, then the seconds of the first form and for each form `about` with its ratios to the first or why it failed.
//!
//! Example: forms `[heuristic, candidate]` of a matmul with operands `[x, w, y]` have copies for `x` and `w` into the form's
//! layout and one for `y` back.

use crate::program::LinearKernel;
use crate::uop::DType;

/// A benchmark program.
#[derive(Debug, Clone)]
pub struct Job {
    /// Name of the file.
    pub name: String,
    /// Fields of a JSON object, without the braces.
    pub head: String,
    /// All kernels, under distinct names.
    pub kernels: Vec<LinearKernel>,
    /// One for each parameter of the kernel.
    pub operands: Vec<Operand>,
    /// Ways to build it. The first is what the others are compared with.
    pub forms: Vec<Form>,
    /// Bytes of other memory that are read before each run, so that weights are as cold as in a model; 0 for none.
    pub sweep: u64,
}

/// A parameter of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operand {
    /// Element type.
    pub dtype: DType,
    /// Elements without padding.
    pub elements: u64,
    /// Written, not read.
    pub output: bool,
    /// An activation: read before each run, when it is small.
    pub warm: bool,
}

/// A way to build the kernel.
#[derive(Debug, Clone)]
pub struct Form {
    /// Fields of a JSON object, without the braces.
    pub about: String,
    /// Index into [`Job::kernels`].
    pub kernel: usize,
    /// For each operand the index of the kernel that copies it from row-major into this form's layout, or back.
    pub copies: Vec<usize>,
    /// For each operand the bytes that it takes in this form's layout.
    pub bytes: Vec<u64>,
}
