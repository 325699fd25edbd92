//! CPU replay of tinyc: everything of a `.tinyexe` that is not the model. `no_std`, no libc.
//!
//! In: a bundle and a table of kernels, both linked into the executable. Out: a program with
//! `--info`, `--run`, `--bench` and `--serve`. The build script of `tinyc-target-cpu` compiles this crate and
//! `tinyc-runtime` into one static archive, which the compiler links with a model's kernels.
//!
//! | file | what |
//! |---|---|
//! | [`sys`] | system calls |
//! | [`output`] | text to a descriptor |
//! | [`team`] | worker threads and barriers |
//! | [`machine`] | arena, tensors, the `Device` |
//! | [`arrays`] | inputs from `.npz`, outputs to `.npz` |
//! | [`mod@bench`] | timing |
//! | [`serve`] | single launches, for `tinyc blame` |
//! | [`command`] | arguments, exit codes |
//! | `start` | entry point, panic handler, memory functions (feature `exe`) |
#![no_std]

pub mod arrays;
pub mod bench;
pub mod command;
pub mod machine;
pub mod output;
pub mod serve;
#[cfg(all(feature = "exe", not(test)))]
pub mod start;
pub mod sys;
pub mod team;

/// Machine signature of a kernel: buffers, worker, workers.
pub type Kernel = unsafe extern "C" fn(*const *mut u8, i64, i64);
