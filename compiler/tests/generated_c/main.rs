//! Generated C against the kernel interpreter: kernels are lowered, printed, compiled with the system's C
//! compiler under the undefined-behaviour and address sanitizers, run by a small `main`, and compared.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]

mod elementwise;
mod harness;
mod nests;
