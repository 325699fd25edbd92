//! Timing: many runs, then median, minimum and spread.

use crate::Runner;
use crate::command::fail;
use crate::sys::{memory, nanoseconds};

/// What was measured, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Half of the runs were faster.
    pub median: u64,
    /// The fastest.
    pub min: u64,
    /// Time of the run that 10 % were faster than.
    pub low: u64,
    /// Time of the run that 10 % were slower than.
    pub high: u64,
    /// Runs.
    pub runs: u64,
    /// Every time, ascending, big-endian.
    samples: &'static [[u8; 8]],
}

impl Timing {
    /// Every time, ascending.
    pub fn times(&self) -> impl Iterator<Item = u64> {
        self.samples.iter().map(|s| u64::from_be_bytes(*s))
    }
}

/// Most runs that are kept.
const MAX_RUNS: usize = 200_000;
/// Fewest runs, however long they take.
const MIN_RUNS: usize = 5;

/// Runs for about `nanos` nanoseconds, after one tenth of that to warm up. The error is an exit code.
pub fn measure<'a>(machine: &mut impl Runner<'a>, nanos: u64) -> Result<Timing, i32> {
    let room = memory(MAX_RUNS * 8).map_err(|e| fail(5, &[e.message()]))?;
    let (samples, _) = room.as_chunks_mut::<8>();
    let warm = nanoseconds().saturating_add(nanos / 10);
    machine.run()?;
    while nanoseconds() < warm {
        machine.run()?;
    }
    let end = nanoseconds().saturating_add(nanos);
    let mut runs = 0;
    for sample in samples.iter_mut() {
        let start = nanoseconds();
        machine.run()?;
        let now = nanoseconds();
        *sample = now.saturating_sub(start).to_be_bytes();
        runs += 1;
        if now >= end && runs >= MIN_RUNS {
            break;
        }
    }
    let samples = samples.get_mut(..runs).unwrap_or(&mut []);
    sort(samples);
    let samples: &'static [[u8; 8]] = samples;
    let at = |part: usize| {
        let index = (runs.saturating_sub(1)) * part / 100;
        samples.get(index).map_or(0, |s| u64::from_be_bytes(*s))
    };
    Ok(Timing {
        median: at(50),
        min: at(0),
        low: at(10),
        high: at(90),
        runs: runs as u64,
        samples,
    })
}

/// Sorts, by a heap. Big-endian bytes compare like the numbers. The standard library's sort would bring
/// the only panic of the program.
fn sort(list: &mut [[u8; 8]]) {
    let len = list.len();
    for start in (0..len / 2).rev() {
        sift(list, start);
    }
    for end in (1..len).rev() {
        if let Some(([first, ..], [last, ..])) = list.split_at_mut_checked(end) {
            core::mem::swap(first, last);
        }
        if let Some(heap) = list.get_mut(..end) {
            sift(heap, 0);
        }
    }
}

/// Moves an element down until no child is larger.
fn sift(heap: &mut [[u8; 8]], mut at: usize) {
    loop {
        let child = 2 * at + 1;
        let larger = match (heap.get(child), heap.get(child + 1)) {
            (Some(left), Some(right)) if right > left => child + 1,
            (Some(_), _) => child,
            (None, _) => return,
        };
        let (Some(&parent), Some(&value)) = (heap.get(at), heap.get(larger)) else {
            return;
        };
        if parent >= value {
            return;
        }
        if let Some(place) = heap.get_mut(at) {
            *place = value;
        }
        if let Some(place) = heap.get_mut(larger) {
            *place = parent;
        }
        at = larger;
    }
}

/// Fills the inputs: small pseudo-random numbers in floats, zeros in integers (which may be indices).
pub fn fill_inputs<'a>(machine: &mut impl Runner<'a>) {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for index in 0..machine.program().inputs {
        let name = machine
            .program()
            .tensor(index)
            .map_or("", |t| t.type_name());
        let bytes = machine.tensor(index);
        // A uniform number in -1..1.
        let mut unit = || (next() >> 40) as f32 / 8_388_608.0 - 1.0;
        match name {
            "f32" => bytes
                .as_chunks_mut::<4>()
                .0
                .iter_mut()
                .for_each(|b| *b = unit().to_le_bytes()),
            "f64" => {
                let list = bytes.as_chunks_mut::<8>().0;
                list.iter_mut()
                    .for_each(|b| *b = f64::from(unit()).to_le_bytes());
            }
            // The upper half of an f32 is a bfloat16.
            "bf16" => {
                for b in bytes.as_chunks_mut::<2>().0 {
                    *b = ((unit().to_bits() >> 16) as u16).to_le_bytes();
                }
            }
            // Exponents of 1/8 to 1 and any sign and fraction.
            "f16" => {
                for b in bytes.as_chunks_mut::<2>().0 {
                    let bits = unit().to_bits();
                    let half = (bits >> 16 & 0x8000) | (0x3000 + (bits & 0x0bff));
                    *b = (half as u16).to_le_bytes();
                }
            }
            "bool" => bytes.iter_mut().for_each(|b| *b = u8::from(unit() > 0.0)),
            _ => bytes.fill(0),
        }
    }
}
