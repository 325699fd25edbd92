//! The tinyc compiler as a library.
//!
//! A model goes down through the modules in the order below and comes out as kernels, a memory
//! plan and files. A module imports only modules above it; `onnx`, `schedule`, `opt`, `codegen`,
//! `render`, `plan` and `emit` never import each other: they share `program`'s data.
//!
//! | module | in | out |
//! |---|---|---|
//! | [`diag`] | - | errors and origins |
//! | [`uop`] | - | kernel IR |
//! | [`target`] | `target.toml` | facts, the `Target` trait |
//! | [`program`] | - | plain data between stages |
//! | [`graph`] | builder calls | tensor IR |
//! | [`onnx`] | protobuf | graph |
//! | [`schedule`] | graph | kernels |
//! | [`opt`] | kernel | kernel and its opts |
//! | [`codegen`] | kernel | linear instruction list |
//! | [`render`] | linear list | text |
//! | [`plan`] | program | arena offsets |
//! | [`emit`] | program and code | files |
//! | [`search`] | kernels and times | recipes: choices found by measuring, lockfiles |
//! | [`driver`] | all | the one visible list of passes |

pub mod codegen;
pub mod diag;
pub mod driver;
pub mod emit;
pub mod graph;
pub mod onnx;
pub mod opt;
pub mod plan;
pub mod program;
pub mod render;
pub mod schedule;
pub mod search;
pub mod target;
pub mod uop;
