//! CPU target of tinyc.
