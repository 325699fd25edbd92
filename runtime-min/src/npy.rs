//! `.npy` arrays (NumPy format 1.0 to 3.0), read from and written to slices.
//!
//! In: a file. Out: element type, extents, data. Example: the header
//! `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }` is type `<f4` of `[2, 3]`.

use crate::{part, u16_at, u32_at};

/// An array in a `.npy` file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Array<'a> {
    /// Type as NumPy writes it: `<f4`.
    pub descr: &'a [u8],
    /// Text between the parentheses of the shape.
    shape: &'a [u8],
    /// Column-major.
    pub fortran: bool,
    /// Everything after the header.
    pub data: &'a [u8],
}

impl<'a> Array<'a> {
    /// Reads a file; `None` when it is not one.
    pub fn read(file: &'a [u8]) -> Option<Array<'a>> {
        file.starts_with(b"\x93NUMPY").then_some(())?;
        let (start, len) = match file.get(6)? {
            1 => (10, u32::from(u16_at(file, 8)?)),
            2 | 3 => (12, u32_at(file, 8)?),
            _ => return None,
        };
        let header = part(file, start, u64::from(len))?;
        let data = file.get(usize::try_from(start + u64::from(len)).ok()?..)?;
        let (quote, descr) = after(header, b"descr")?.split_first()?;
        matches!(quote, b'\'' | b'"').then_some(())?;
        let descr = until(descr, *quote)?;
        let fortran = after(header, b"fortran_order")?.starts_with(b"True");
        let shape = until(after(header, b"shape")?.strip_prefix(b"(")?, b')')?;
        Some(Array {
            descr,
            shape,
            fortran,
            data,
        })
    }

    /// Extents; one that is no number is `None` inside.
    pub fn dims(&self) -> impl Iterator<Item = Option<u64>> + use<'a> {
        let parts = self.shape.split(|&b| b == b',').map(<[u8]>::trim_ascii);
        parts.filter(|p| !p.is_empty()).map(number)
    }

    /// True for a type and shape, in row-major order (which a vector always is).
    pub fn is(&self, descr: &str, dims: impl ExactSizeIterator<Item = u64>) -> bool {
        let plain = |d: &[u8]| -> [u8; 2] {
            let mut bytes = d
                .iter()
                .copied()
                .skip_while(|b| matches!(b, b'<' | b'|' | b'='));
            [bytes.next().unwrap_or(0), bytes.next().unwrap_or(0)]
        };
        let row_major = !self.fortran || dims.len() <= 1;
        row_major
            && !self.descr.starts_with(b">")
            && plain(self.descr) == plain(descr.as_bytes())
            && self.dims().eq(dims.map(Some))
    }
}

/// Text after `'key':`, without leading spaces.
fn after<'a>(header: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let at = header.windows(key.len().max(1)).position(|w| w == key)?;
    let rest = header.get(at + key.len()..)?;
    let colon = rest.iter().position(|&b| b == b':')?;
    Some(rest.get(colon + 1..)?.trim_ascii_start())
}

/// Text before the first `end`.
fn until(text: &[u8], end: u8) -> Option<&[u8]> {
    text.get(..text.iter().position(|&b| b == end)?)
}

/// A decimal number, perhaps with the `L` of Python 2.
fn number(text: &[u8]) -> Option<u64> {
    let digits = text.strip_suffix(b"L").unwrap_or(text);
    let mut value = 0u64;
    for b in digits {
        let digit = b.checked_sub(b'0').filter(|d| *d < 10)?;
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    (!digits.is_empty()).then_some(value)
}

/// Longest header that [`header`] writes.
pub const HEADER_ROOM: usize = 1024;

/// Writes the header of a row-major array into `out`; returns its length, a multiple of 64. `None` when
/// it does not fit.
pub fn header(
    descr: &str,
    dims: impl ExactSizeIterator<Item = u64>,
    out: &mut [u8; HEADER_ROOM],
) -> Option<usize> {
    let mut at = 10;
    let mut put = |text: &[u8]| -> Option<()> {
        let end = at + text.len();
        for (to, from) in out.get_mut(at..end)?.iter_mut().zip(text) {
            *to = *from;
        }
        at = end;
        Some(())
    };
    put(b"{'descr': '")?;
    put(descr.as_bytes())?;
    put(b"', 'fortran_order': False, 'shape': (")?;
    let rank = dims.len();
    for (i, dim) in dims.enumerate() {
        if i > 0 {
            put(b", ")?;
        }
        put(decimal(dim, &mut [0; 20]))?;
    }
    put(if rank == 1 { b",), }" } else { b"), }" })?;
    let len = (at + 1).next_multiple_of(64);
    for to in out.get_mut(at..len)? {
        *to = b' ';
    }
    *out.get_mut(len - 1)? = b'\n';
    let body = (len - 10) as u16;
    let magic = *b"\x93NUMPY\x01\x00";
    let [low, high] = body.to_le_bytes();
    for (to, from) in out.iter_mut().zip(magic.into_iter().chain([low, high])) {
        *to = from;
    }
    Some(len)
}

/// Decimal digits of a number.
pub fn decimal(mut value: u64, room: &mut [u8; 20]) -> &[u8] {
    let mut first = room.len();
    for (i, digit) in room.iter_mut().enumerate().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
        first = i;
        if value == 0 {
            break;
        }
    }
    room.get(first..).unwrap_or(&[])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn header_round_trips() {
        for dims in [vec![], vec![3], vec![1, 2, 300], vec![u64::MAX; 32]] {
            let mut out = [0; HEADER_ROOM];
            let len = header("<f4", dims.iter().copied(), &mut out).unwrap();
            assert_eq!(len % 64, 0);
            let array = Array::read(&out[..len]).unwrap();
            assert!(array.is("<f4", dims.iter().copied()), "{dims:?}");
            assert!(!array.is("<f8", dims.iter().copied()));
            assert!(!array.is("<i4", dims.iter().copied()));
            assert!(array.data.is_empty());
        }
    }

    #[test]
    fn foreign_headers() {
        let file = |text: &str| {
            let mut f = b"\x93NUMPY\x01\x00".to_vec();
            f.extend((text.len() as u16).to_le_bytes());
            f.extend(text.bytes());
            f
        };
        let f = file("{'descr': '|b1', 'fortran_order': True, 'shape': (4,), }\n");
        assert!(Array::read(&f).unwrap().is("|b1", [4].into_iter()));
        let f = file("{'descr': '<f4', 'fortran_order': True, 'shape': (4, 2), }\n");
        assert!(!Array::read(&f).unwrap().is("<f4", [4, 2].into_iter()));
        let f = file("{'descr': '>f4', 'fortran_order': False, 'shape': (4, 2), }\n");
        assert!(!Array::read(&f).unwrap().is("<f4", [4, 2].into_iter()));
        for bad in [
            "",
            "{",
            "{'descr': }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': 4}",
        ] {
            assert_eq!(Array::read(&file(bad)), None, "{bad}");
        }
    }

    #[test]
    fn decimals() {
        assert_eq!(decimal(0, &mut [0; 20]), b"0");
        assert_eq!(decimal(u64::MAX, &mut [0; 20]), b"18446744073709551615");
    }
}
