//! A `.tinyexe` for these devices: a program without libc. The build script of `tinyc-target-amd` compiles and links it once; the
//! compiler appends bundles to it.
#![no_std]
#![no_main]

use tinyc_executable::own;
use tinyc_executable::start::Arguments;
use tinyc_replay_amd::{Linux, command};

/// Called by `tinyc_executable::start`.
#[unsafe(no_mangle)]
fn tinyc_main(arguments: Arguments) -> i32 {
    command::main(own::bundle(true), arguments, Linux)
}
