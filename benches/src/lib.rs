//! Compiler benchmarks.
