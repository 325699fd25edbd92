//! Models defined in Rust.
