//! Compile a model from a build script.
