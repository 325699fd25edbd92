//! Random inputs for benchmarks: the same for the same seed, safe for any model.
//!
//! Floats are in [-1, 1); integers and Bools are 0 or 1, which is a valid token, index or flag
//! in every model that takes one.

use crate::program::element::from_f64;
use crate::program::{Bytes, Io, Weight};

/// A splitmix64 generator.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// One sequence a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// A number below `limit`, which is above 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
    /// A tensor for a model input.
    pub fn tensor(&mut self, io: &Io) -> Weight {
        let mut bytes = Vec::with_capacity(io.bytes());
        for _ in 0..io.elements() {
            let bits = self.next();
            let value = if io.dtype.is_float() {
                (bits >> 40) as f64 / (1u64 << 23) as f64 - 1.0
            } else {
                (bits >> 63) as f64
            };
            bytes.extend(from_f64(io.dtype, value));
        }
        Weight {
            name: io.name.clone(),
            dtype: io.dtype,
            shape: io.shape.clone(),
            bytes: Bytes::new(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::BufferId;
    use crate::program::element::to_f64;
    use crate::uop::DType;

    #[test]
    fn seeded_and_in_range() {
        for dtype in DType::STORABLE {
            let io = Io {
                name: "x".into(),
                dtype,
                shape: vec![100],
                buffer: BufferId(0),
            };
            let (a, b) = (Random::new(3).tensor(&io), Random::new(3).tensor(&io));
            assert_eq!(*a.bytes, *b.bytes);
            let values: Vec<f64> = (0..100).map(|i| to_f64(dtype, &a.bytes, i)).collect();
            let low = if dtype.is_float() { -1.0 } else { 0.0 };
            assert!(values.iter().all(|v| (low..=1.0).contains(v)), "{dtype}");
            assert!(values.iter().any(|&v| v != values[0]), "{dtype}");
        }
    }
}
