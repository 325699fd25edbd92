//! AMD replay of tinyc: opens the kernel driver, relocates a command stream, rings the doorbell, waits. `no_std`, no ROCm, no libdrm; no
//! allocation but of device memory, and none of that after opening.
//!
//! In: a bundle with the sections of this back end and an object that makes system calls ([`tinyc_runtime::io`]). Out: a model that runs.
//!
//! | file | what |
//! |---|---|
//! | [`needs`] | what an artifact asks of a device |
//! | [`abi`] | structures and numbers of the kernel driver |
#![cfg_attr(not(test), no_std)]

pub mod abi;
pub mod needs;

pub use needs::{Needs, Queue};
