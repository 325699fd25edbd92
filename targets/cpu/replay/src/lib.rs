//! CPU replay of tinyc: everything of a `.tinyexe` that is not the model. `no_std`, no libc.
//!
//! In: a bundle and a table of kernels, both linked into the executable. Out: a program with
//! `--info`, `--run`, `--bench` (those are `tinyc-executable`'s) and `--serve`. The build script of `tinyc-target-cpu`
//! compiles this crate and those it uses into one static archive, which the compiler links with a model's kernels.
//!
//! | file | what |
//! |---|---|
//! | [`team`] | worker threads and barriers |
//! | [`machine`] | arena, tensors, the `Device` |
//! | [`serve`] | single launches, for `tinyc blame` |
//! | `command` | the program: model, threads, actions (feature `exe`) |
#![no_std]

#[cfg(all(feature = "exe", not(test)))]
pub mod command;
pub mod machine;
pub mod serve;
pub mod team;

/// Machine signature of a kernel: buffers, worker, workers.
pub type Kernel = unsafe extern "C" fn(*const *mut u8, i64, i64);
