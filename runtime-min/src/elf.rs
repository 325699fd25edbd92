//! Just enough ELF (64-bit, little-endian) to find the bundle in an executable and the bytes that it
//! loads. In: the bytes of a file, or the image of a running program. Out: ranges.

use crate::{bytes_at, part, u16_at, u32_at, u64_at};

/// Entry of the program header table that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Place in the file.
    pub offset: u64,
    /// Address when loaded.
    pub address: u64,
    /// Bytes that come from the file.
    pub size: u64,
}

/// Offset and size of the section named `name`.
pub fn section(file: &[u8], name: &[u8]) -> Option<(u64, u64)> {
    is_elf(file)?;
    let table = u64_at(file, 0x28)?;
    let count = u16_at(file, 0x3c)?;
    let names = header(file, table, u16_at(file, 0x3e)?)?;
    let names = part(file, u64_at(names, 0x18)?, u64_at(names, 0x20)?)?;
    for i in 0..count {
        let entry = header(file, table, i)?;
        let text = names.get(u32_at(entry, 0)? as usize..)?;
        if text
            .strip_prefix(name)
            .is_some_and(|rest| rest.first() == Some(&0))
        {
            return Some((u64_at(entry, 0x18)?, u64_at(entry, 0x20)?));
        }
    }
    None
}

fn header(file: &[u8], table: u64, index: u16) -> Option<&[u8]> {
    part(file, table.checked_add(u64::from(index) * 64)?, 64)
}

fn is_elf(file: &[u8]) -> Option<()> {
    let ident: [u8; 6] = bytes_at(file, 0)?;
    (ident == [0x7f, b'E', b'L', b'F', 2, 1]).then_some(())
}

/// Loadable segment `index` of the file (or of an image that starts like the file); `None` for the
/// other kinds of segment. The outer `None` is past the last.
pub fn segment(file: &[u8], index: u16) -> Option<Option<Segment>> {
    is_elf(file)?;
    if index >= u16_at(file, 0x38)? {
        return None;
    }
    let at = u64_at(file, 0x20)?.checked_add(u64::from(index) * 56)?;
    let entry = part(file, at, 56)?;
    const LOAD: u32 = 1;
    Some(if u32_at(entry, 0)? == LOAD {
        Some(Segment {
            offset: u64_at(entry, 8)?,
            address: u64_at(entry, 16)?,
            size: u64_at(entry, 32)?,
        })
    } else {
        None
    })
}

/// Hands every loaded byte outside `hole` (offset, size) to `visit`, in the order of the segments.
/// Returns how many there were.
pub fn loaded(file: &[u8], hole: (u64, u64), visit: &mut dyn FnMut(&[u8])) -> Option<u64> {
    let mut total = 0u64;
    let mut index = 0;
    while let Some(segment) = segment(file, index) {
        index += 1;
        let Some(segment) = segment else { continue };
        for (start, size) in outside(segment.offset, segment.size, hole) {
            // What is empty may lie past the end of a file that its bundle is not yet part of.
            if size == 0 {
                continue;
            }
            visit(part(file, start, size)?);
            total = total.checked_add(size)?;
        }
    }
    Some(total)
}

/// The (at most two) parts of a range that lie outside a hole.
pub fn outside(start: u64, size: u64, hole: (u64, u64)) -> [(u64, u64); 2] {
    let end = start.saturating_add(size);
    let hole_end = hole.0.saturating_add(hole.1);
    let before = hole.0.clamp(start, end);
    let after = hole_end.clamp(start, end);
    if before >= after {
        return [(start, size), (end, 0)];
    }
    [(start, before - start), (after, end - after)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes() {
        assert_eq!(outside(10, 10, (12, 3)), [(10, 2), (15, 5)]);
        assert_eq!(outside(10, 10, (0, 5)), [(10, 10), (20, 0)]);
        assert_eq!(outside(10, 10, (0, 50)), [(10, 0), (20, 0)]);
        assert_eq!(outside(10, 10, (15, 50)), [(10, 5), (20, 0)]);
        assert_eq!(outside(10, 10, (30, 5)), [(10, 10), (20, 0)]);
        assert_eq!(outside(10, 10, (12, 0)), [(10, 10), (20, 0)]);
    }

    #[test]
    fn own_executable() {
        let path = std::env::current_exe().unwrap_or_default();
        let file = std::fs::read(path).unwrap_or_default();
        assert!(section(&file, b".text").is_some_and(|s| s.1 > 1000));
        assert_eq!(section(&file, b".no-such"), None);
        let mut seen = 0;
        let total = loaded(&file, (0, 0), &mut |p| seen += p.len() as u64);
        assert_eq!(total, Some(seen));
        for cut in [0, 3, 63, 64, 100, 1000] {
            assert_eq!(section(&file[..cut], b".text"), None);
        }
    }
}
