//! A fixed piece of work whose time says how fast the machine is today.
//!
//! Out: milliseconds. Half of it is a chain of multiplications (the clock), half walks a quarter of a mebibyte (caches). It
//! does not depend on what is compiled, so a machine that is slower than when a baseline was made shows.

use std::hint::black_box;
use std::time::Instant;

/// Elements that are walked.
const ELEMENTS: usize = 1 << 16;

/// Milliseconds of the work, the fastest of three times.
pub fn measure_ms() -> f64 {
    let mut data = vec![1.0f32; ELEMENTS];
    (0..3)
        .map(|_| {
            let start = Instant::now();
            black_box(work(&mut data));
            start.elapsed().as_secs_f64() * 1e3
        })
        .fold(f64::INFINITY, f64::min)
}

fn work(data: &mut [f32]) -> u64 {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..200_000 {
        state = black_box(state ^ (state >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
    for _ in 0..16 {
        for v in data.iter_mut() {
            *v = *v * 0.999 + 0.001;
        }
        black_box(&mut *data);
    }
    state
}
