//! Whole-compiler tests.
