//! Compile a model from a build script, in three lines:
//!
//! ```no_run
//! # fn main() -> Result<(), tinyc::Error> {
//! // build.rs
//! tinyc::compile("model.onnx").name("digits").link()?;
//! # Ok(())
//! # }
//! ```
//!
//! The static library is linked into the crate, and `OUT_DIR/digits-rs/src/lib.rs` holds its safe typed
//! interface: `include!(concat!(env!("OUT_DIR"), "/digits-rs/src/lib.rs"))`.

mod build_script;
#[doc(hidden)]
pub mod cli;

pub use build_script::{Compile, compile};
pub use tinyc_compiler::diag::{Error, Kind, Result};
