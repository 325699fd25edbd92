//! AMD replay of tinyc: opens the kernel driver, relocates a command stream, rings the doorbell, waits. `no_std`, no ROCm, no libdrm; no
//! allocation but of device memory, and none of that after opening.
//!
//! In: a bundle with the sections of this back end and an object that makes system calls ([`tinyc_runtime::io`]). Out: a model that runs.
//!
//! | file | what |
//! |---|---|
//! | [`needs`] | what an artifact asks of a device |
//! | [`abi`] | structures and numbers of the kernel driver |
//! | [`topology`] | GPUs as sysfs describes them |
//! | [`memory`] | memory that processor and device see |
//! | [`process`] | what contexts of a process share |
//! | [`save_area`], [`scratch`] | sizes |
//! | [`events`] | what they are called |
//! | `channel`, [`queue`] | what every queue has; the queue of command packets |
//! | [`device`] | a context: all of the above, a timeline |
//! | [`load`] | a model's memory, filled |
//! | `upload` | copies to memory that the processor does not see: by a copy engine, or inside of command packets |
//! | [`tensors`] | where inputs and outputs are |
//! | [`model`] | a model that runs |
//! | `command` | the program of a `.tinyexe` (feature `exe`) |
//! | [`linux`] | system calls of a real kernel |
//! | `c_api`, `c_table`, `archive` | functions for C (feature `c-api`), and what a static library of them needs (feature `archive`) |
//! | [`error`] | what went wrong and what to do |
#![cfg_attr(not(test), no_std)]

pub mod abi;
#[cfg(feature = "archive")]
mod archive;
#[cfg(feature = "c-api")]
pub mod c_api;
#[cfg(feature = "c-api")]
pub mod c_table;
mod channel;
#[cfg(feature = "exe")]
pub mod command;
pub mod device;
mod driver;
pub mod error;
pub mod events;
pub mod linux;
pub mod load;
pub mod memory;
pub mod model;
pub mod needs;
pub mod process;
pub mod queue;
pub mod save_area;
pub mod scratch;
pub mod tensors;
pub mod topology;
mod upload;

pub use device::Options;
pub use error::Error;
pub use linux::Linux;
pub use model::{Model, Ticket};
pub use needs::{Needs, Queue};
