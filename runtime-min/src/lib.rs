//! Bundle format and replay loop of tinyc artifacts.
#![no_std]
