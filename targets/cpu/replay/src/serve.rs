//! Answers questions about single launches: how `tinyc blame` times the kernels of two executables in turns.
//!
//! In: requests on standard input, 16 bytes each: what, launch, and two numbers (little-endian `u32`). Out: answers on
//! standard output, for those requests that have one. The end of the input ends the process.
//!
//! | what | meaning | answer |
//! |---|---|---|
//! | 1 | stay on processor `a` | |
//! | 2 | run the launch | |
//! | 3 | run the launch once, then `b` groups of `a` times | nanoseconds of the fastest group, `u64` |
//! | 4 | tell argument `a` | its bytes, after their number as `u64` |
//! | 5 | fill argument `a` with a pattern | |
//! | 6 | keep argument `a` at `64 * b` | |
//! | 7 | bring argument `a` back from `64 * b` | |
//!
//! All of it runs on one thread.

use crate::machine::Machine;
use tinyc_executable::bench::fill_inputs;
use tinyc_executable::command::fail;
use tinyc_executable::output::STDOUT;
use tinyc_executable::sys::{self, Errno, Fd, memory, nanoseconds};

/// What [`Request::what`] can be.
const PIN: u32 = 1;
const RUN: u32 = 2;
const TIME: u32 = 3;
const TELL: u32 = 4;
const FILL: u32 = 5;
const KEEP: u32 = 6;
const BRING_BACK: u32 = 7;
/// What arguments are filled with: a tiny number in every float type.
const PATTERN: u8 = 0xa5;

/// `--serve`: the exit code.
pub fn run(machine: &mut Machine<'_>) -> i32 {
    fill_inputs(machine);
    match serve(machine) {
        Ok(()) => 0,
        Err(e) => fail(5, &["cannot serve: ", e.message()]),
    }
}

/// Serves until the input ends.
pub fn serve(machine: &mut Machine<'_>) -> Result<(), Errno> {
    let mut kept: &mut [u8] = &mut [];
    let mut bytes = [0u8; 16];
    while sys::read(Fd(0), &mut bytes)? {
        let (words, _) = bytes.as_chunks::<4>();
        let mut words = words.iter().map(|w| u32::from_le_bytes(*w));
        let mut next = || words.next().unwrap_or(0);
        let (what, launch, a, b) = (next(), next() as usize, next(), next());
        match what {
            PIN => sys::stay_on(a),
            RUN => machine.repeat(launch, 1),
            TIME => {
                machine.repeat(launch, 1);
                let mut least = u64::MAX;
                for _ in 0..b {
                    let start = nanoseconds();
                    machine.repeat(launch, a);
                    least = least.min(nanoseconds().saturating_sub(start));
                }
                sys::write(STDOUT, &least.to_le_bytes())?;
            }
            TELL => {
                let bytes = machine.argument(launch, a as usize);
                sys::write(STDOUT, &(bytes.len() as u64).to_le_bytes())?;
                sys::write(STDOUT, bytes)?;
            }
            FILL => machine.argument(launch, a as usize).fill(PATTERN),
            KEEP | BRING_BACK => {
                if kept.is_empty() {
                    // Pages that are never touched cost nothing.
                    kept = memory(machine.bytes())?;
                }
                let bytes = machine.argument(launch, a as usize);
                let start = b as usize * 64;
                let Some(place) = kept.get_mut(start..start.saturating_add(bytes.len())) else {
                    return Err(Errno(12));
                };
                for (place, byte) in place.iter_mut().zip(bytes.iter_mut()) {
                    if what == KEEP {
                        *place = *byte;
                    } else {
                        *byte = *place;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}
