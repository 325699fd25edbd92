//! The command line of a `.tinyexe`, whatever device runs the model. `no_std`, no libc, no allocation.
//!
//! In: a bundle and a [`Runner`], which a replay program of `targets/` brings. Out: a program with `--info`, `--run` and
//! `--bench`. Build scripts of targets compile this crate, `tinyc-runtime` and their replay program together.
//!
//! | file | what |
//! |---|---|
//! | [`sys`] | system calls |
//! | [`output`] | text to a descriptor |
//! | [`arrays`] | inputs from `.npz`, outputs to `.npz` |
//! | [`mod@bench`] | timing |
//! | [`command`] | arguments, exit codes |
//! | [`own`] | the bundle of the running executable |
//! | `start` | entry point, arguments, panic handler (feature `exe`) |
//! | `functions` | `memcpy` and the like (feature `exe`) |
#![no_std]

pub mod arrays;
pub mod bench;
pub mod command;
#[cfg(all(feature = "exe", not(test)))]
pub mod functions;
pub mod output;
pub mod own;
#[cfg(all(feature = "exe", not(test)))]
pub mod start;
pub mod sys;

use tinyc_runtime::Program;

/// What runs a model: memory for its tensors, and runs.
pub trait Runner<'a> {
    /// The program.
    fn program(&self) -> Program<'a>;
    /// Memory of a tensor: inputs first, then outputs.
    fn tensor(&mut self, index: u32) -> &mut [u8];
    /// One run. The error is an exit code; what happened has been said.
    fn run(&mut self) -> Result<(), i32>;
}
