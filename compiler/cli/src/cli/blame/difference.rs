//! Where the results of two artifacts part, in units in the last place.
//!
//! In: matched launches. Out: [`Parting`]: the first kernel whose buffer differs, and by how much each output differs. Both
//! sides run on the same inputs; what a launch writes is compared where the kernels are the same, so that the order of
//! elements is too. An element that no launch writes holds the same pattern on both sides.

use super::artifact::{Artifact, Launch};
use super::matching::Region;
use super::server::Server;
use serde::Serialize;
use tinyc_compiler::diag::Result;
use tinyc_compiler::uop::DType;

/// How two buffers differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Difference {
    /// Elements that differ.
    pub elements: usize,
    /// Of so many.
    pub of: usize,
    /// Largest distance in units in the last place; integers: largest distance.
    pub max_ulp: u64,
    /// Elements that are NaN on one side only.
    pub nan: usize,
}

/// Where results part.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Parting {
    /// Index of the first region whose buffers differ.
    #[serde(skip)]
    pub region: Option<usize>,
    /// How they differ.
    pub first: Option<Difference>,
    /// Each output and how it differs.
    pub outputs: Vec<(String, Difference)>,
}

/// Runs both once and compares.
pub fn compare(old: &Artifact, new: &Artifact, regions: &[Region]) -> Result<Parting> {
    let mut servers = [Server::start(old, 0)?, Server::start(new, 0)?];
    let sides = [old, new];
    let mut parting = Parting::default();
    let mut outputs: Vec<[Option<Vec<u8>>; 2]> = vec![[None, None]; old.outputs.len()];
    for (n, region) in regions.iter().enumerate() {
        for (side, range) in [&region.old, &region.new].into_iter().enumerate() {
            for launch in range.clone() {
                servers[side].fill(launch, &sides[side].launches[launch].written)?;
                servers[side].run(launch)?;
                for (output, bytes) in sides[side].outputs.iter().zip(&mut outputs) {
                    if let Some((last, argument)) = output.last
                        && last == launch
                    {
                        bytes[side] = Some(servers[side].tell(launch, argument)?);
                    }
                }
            }
        }
        if !region.same_kernel || parting.region.is_some() {
            continue;
        }
        let (a, b) = (region.old.start, region.new.start);
        let found = written(&mut servers, (a, &old.launches[a]), (b, &new.launches[b]))?;
        if found.elements > 0 {
            parting.region = Some(n);
            parting.first = Some(found);
        }
    }
    for (output, bytes) in old.outputs.iter().zip(outputs) {
        if let [Some(a), Some(b)] = bytes {
            parting
                .outputs
                .push((output.text.clone(), difference(output.dtype, &a, &b)));
        }
    }
    Ok(parting)
}

/// What two launches of one kernel wrote.
fn written(
    servers: &mut [Server; 2],
    old: (usize, &Launch),
    new: (usize, &Launch),
) -> Result<Difference> {
    let mut all = Difference::default();
    for (a, b) in old.1.written.iter().zip(&new.1.written) {
        let x = servers[0].tell(old.0, a.argument)?;
        let y = servers[1].tell(new.0, b.argument)?;
        let d = difference(a.dtype, &x, &y);
        all.elements += d.elements;
        all.of += d.of;
        all.nan += d.nan;
        all.max_ulp = all.max_ulp.max(d.max_ulp);
    }
    Ok(all)
}

/// Compares elements. Without a type, bytes.
fn difference(dtype: Option<DType>, a: &[u8], b: &[u8]) -> Difference {
    let size = dtype.map_or(1, |d| d.size());
    let mut out = Difference {
        of: a.len() / size,
        ..Difference::default()
    };
    if a == b {
        return out;
    }
    for (x, y) in a.chunks_exact(size).zip(b.chunks_exact(size)) {
        if x == y {
            continue;
        }
        let distance = match dtype {
            Some(d) if d.is_float() => match (rank(d, x), rank(d, y)) {
                (Some(x), Some(y)) => x.abs_diff(y),
                (None, None) => 0,
                _ => {
                    out.nan += 1;
                    out.elements += 1;
                    continue;
                }
            },
            Some(d) if d.name().starts_with('i') => signed(x).abs_diff(signed(y)),
            _ => integer(x).abs_diff(integer(y)),
        };
        out.elements += usize::from(distance > 0);
        out.max_ulp = out.max_ulp.max(distance);
    }
    out
}

/// Place of a float among all floats of its type: neighbours are 1 apart, both zeros are 0. `None` for NaN.
fn rank(dtype: DType, bytes: &[u8]) -> Option<i64> {
    let bits = integer(bytes) as u64;
    let (width, fraction) = match dtype {
        DType::F64 => (64, 52),
        DType::F32 => (32, 23),
        DType::BF16 => (16, 7),
        _ => (16, 10),
    };
    let magnitude = bits & !(1 << (width - 1)) & (u64::MAX >> (64 - width));
    let infinity = ((1u64 << (width - 1)) - 1) >> fraction << fraction;
    if magnitude > infinity {
        return None;
    }
    let negative = bits >> (width - 1) & 1 == 1;
    Some(if negative {
        -(magnitude as i64)
    } else {
        magnitude as i64
    })
}

/// Little-endian bytes as a number.
fn integer(bytes: &[u8]) -> i64 {
    let mut word = [0; 8];
    for (place, byte) in word.iter_mut().zip(bytes) {
        *place = *byte;
    }
    i64::from_le_bytes(word)
}

/// The same with the sign of a shorter integer.
fn signed(bytes: &[u8]) -> i64 {
    let unused = 64 - 8 * bytes.len().min(8) as u32;
    integer(bytes).wrapping_shl(unused).wrapping_shr(unused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(a: &[f32], b: &[f32]) -> Difference {
        let bytes =
            |list: &[f32]| -> Vec<u8> { list.iter().flat_map(|v| v.to_le_bytes()).collect() };
        difference(Some(DType::F32), &bytes(a), &bytes(b))
    }

    #[test]
    fn neighbours_are_one_apart() {
        let next = |v: f32| f32::from_bits(v.to_bits() + 1);
        assert_eq!(floats(&[1.0], &[next(1.0)]).max_ulp, 1);
        assert_eq!(floats(&[0.0], &[-0.0]).elements, 0);
        let d = floats(&[f32::from_bits(1), 2.0], &[-f32::from_bits(1), 2.0]);
        assert_eq!((d.max_ulp, d.elements, d.of), (2, 1, 2));
        assert_eq!(floats(&[f32::MAX], &[f32::INFINITY]).max_ulp, 1);
    }

    #[test]
    fn nan_counts_when_it_is_on_one_side() {
        let d = floats(&[f32::NAN, 1.0], &[f32::NAN, f32::NAN]);
        assert_eq!((d.nan, d.elements), (1, 1));
        assert_eq!(floats(&[f32::NAN], &[-f32::NAN]).elements, 0);
    }

    #[test]
    fn other_types() {
        let half = |a: u16, b: u16| {
            difference(Some(DType::F16), &a.to_le_bytes(), &b.to_le_bytes()).max_ulp
        };
        assert_eq!(half(0x3c00, 0x3c02), 2);
        let wide = |a: f64, b: f64| {
            difference(Some(DType::F64), &a.to_le_bytes(), &b.to_le_bytes()).max_ulp
        };
        assert_eq!(wide(1.0, 1.0 + f64::EPSILON), 1);
        let d = difference(
            Some(DType::I32),
            &(-5i32).to_le_bytes(),
            &7i32.to_le_bytes(),
        );
        assert_eq!((d.elements, d.max_ulp), (1, 12));
        assert_eq!(difference(None, &[1, 2], &[1, 3]).elements, 1);
    }
}
