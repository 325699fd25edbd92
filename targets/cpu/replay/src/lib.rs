//! CPU replay device of tinyc.
#![no_std]
