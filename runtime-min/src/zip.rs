//! `.npz` archives: zip files whose members are stored, not compressed (what `numpy.savez` writes).
//!
//! In: a file as a slice. Out: its members, also as slices. Writing goes through a callback, so that
//! nothing is buffered. Sizes beyond 4 GiB use the zip64 records.

use crate::{part, u16_at, u32_at, u64_at};

/// A member of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'a> {
    /// File name: `input.npy`.
    pub name: &'a [u8],
    /// Its bytes; `None` when it is compressed or encrypted.
    pub data: Option<&'a [u8]>,
}

/// The members of an archive; `None` when the file is not a zip archive.
pub fn members(file: &[u8]) -> Option<Members<'_>> {
    // The end record is at the end, before a comment of at most 64 KiB.
    let last = file.len().checked_sub(22)?;
    let first = last.saturating_sub(0xffff);
    let at = (first..=last)
        .rev()
        .find(|&at| u32_at(file, at) == Some(0x0605_4b50))?;
    let mut count = u64::from(u16_at(file, at + 10)?);
    let mut offset = u64::from(u32_at(file, at + 16)?);
    if let Some(locator) = at.checked_sub(20)
        && u32_at(file, locator) == Some(0x0706_4b50)
    {
        let end = usize::try_from(u64_at(file, locator + 8)?).ok()?;
        part(file, end as u64, 56)?;
        (u32_at(file, end)? == 0x0606_4b50).then_some(())?;
        count = u64_at(file, end + 32)?;
        offset = u64_at(file, end + 48)?;
    }
    Some(Members {
        file,
        at: usize::try_from(offset).ok()?,
        left: count,
    })
}

/// Iterator over the members. Stops at a record that is not one.
#[derive(Debug, Clone)]
pub struct Members<'a> {
    file: &'a [u8],
    at: usize,
    left: u64,
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;
    fn next(&mut self) -> Option<Member<'a>> {
        self.left = self.left.checked_sub(1)?;
        let file = self.file;
        let entry = file.get(self.at..)?;
        (u32_at(entry, 0)? == 0x0201_4b50).then_some(())?;
        let flags = u16_at(entry, 8)?;
        let method = u16_at(entry, 10)?;
        let stored = u32_at(entry, 20)?;
        let name_len = u64::from(u16_at(entry, 28)?);
        let extra_len = u64::from(u16_at(entry, 30)?);
        let comment_len = u64::from(u16_at(entry, 32)?);
        let name = part(entry, 46, name_len)?;
        let extra = part(entry, 46 + name_len, extra_len)?;
        let (mut size, mut local) = (u64::from(stored), u64::from(u32_at(entry, 42)?));
        wide(extra, u32_at(entry, 24)? == u32::MAX, &mut size, &mut local)?;
        self.at = self
            .at
            .checked_add(usize::try_from(46 + name_len + extra_len + comment_len).ok()?)?;
        let header = part(file, local, 30)?;
        (u32_at(header, 0)? == 0x0403_4b50).then_some(())?;
        let skip = 30 + u64::from(u16_at(header, 26)?) + u64::from(u16_at(header, 28)?);
        let data = part(file, local.checked_add(skip)?, size)?;
        Some(Member {
            name,
            data: (method == 0 && flags & 1 == 0).then_some(data),
        })
    }
}

/// Takes 64-bit sizes from the zip64 extra field where the 32-bit ones are all ones.
fn wide(mut extra: &[u8], plain_wide: bool, size: &mut u64, local: &mut u64) -> Option<()> {
    let wanted = *size == u64::from(u32::MAX) || *local == u64::from(u32::MAX) || plain_wide;
    if !wanted {
        return Some(());
    }
    loop {
        let id = u16_at(extra, 0)?;
        let len = u64::from(u16_at(extra, 2)?);
        let field = part(extra, 4, len)?;
        if id == 1 {
            let mut at = 0;
            if plain_wide {
                at += 8;
            }
            if *size == u64::from(u32::MAX) {
                *size = u64_at(field, at)?;
                at += 8;
            }
            if *local == u64::from(u32::MAX) {
                *local = u64_at(field, at)?;
            }
            return Some(());
        }
        extra = extra.get(usize::try_from(4 + len).ok()?..)?;
    }
}

/// One member to write: name and the pieces of its content.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Name, to which `.npy` is added.
    pub name: &'a str,
    /// First piece.
    pub head: &'a [u8],
    /// Second piece.
    pub body: &'a [u8],
}

impl Entry<'_> {
    fn size(&self) -> u64 {
        self.head.len() as u64 + self.body.len() as u64
    }
    fn checksum(&self) -> u32 {
        !crc32(crc32(u32::MAX, self.head), self.body)
    }
}

/// Writes an archive piece by piece. Call [`Writer::entry`] for each member in order, then
/// [`Writer::directory`] for each in the same order, then [`Writer::finish`].
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    at: u64,
    directory_at: u64,
    count: u64,
    local: u64,
}

/// `write` failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteError;

type Written = Result<(), WriteError>;

impl<W: FnMut(&[u8]) -> Written> Writer<W> {
    /// Writes through `out`.
    pub fn new(out: W) -> Writer<W> {
        Writer {
            out,
            at: 0,
            directory_at: 0,
            count: 0,
            local: 0,
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Written {
        (self.out)(bytes)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Fields that local header and directory share. Dates are 1980-01-01.
    fn common(&mut self, entry: &Entry<'_>, crc: u32, extra: u16) -> Written {
        self.put(&45u16.to_le_bytes())?;
        // Names are UTF-8.
        self.put(&0x0800u16.to_le_bytes())?;
        self.put(&[0, 0, 0, 0, 0x21, 0])?;
        self.put(&crc.to_le_bytes())?;
        self.put(&[0xff; 8])?;
        let name = u16::try_from(entry.name.len() + 4).map_err(|_| WriteError)?;
        self.put(&name.to_le_bytes())?;
        self.put(&extra.to_le_bytes())
    }

    /// Writes a member.
    pub fn entry(&mut self, entry: &Entry<'_>) -> Written {
        let crc = entry.checksum();
        self.put(&0x0403_4b50u32.to_le_bytes())?;
        self.common(entry, crc, 20)?;
        self.put(entry.name.as_bytes())?;
        self.put(b".npy")?;
        self.put(&[1, 0, 16, 0])?;
        self.put(&entry.size().to_le_bytes())?;
        self.put(&entry.size().to_le_bytes())?;
        self.put(entry.head)?;
        self.put(entry.body)?;
        self.directory_at = self.at;
        Ok(())
    }

    /// Writes the directory record of a member.
    pub fn directory(&mut self, entry: &Entry<'_>) -> Written {
        let crc = entry.checksum();
        self.put(&0x0201_4b50u32.to_le_bytes())?;
        self.put(&45u16.to_le_bytes())?;
        self.common(entry, crc, 28)?;
        self.put(&[0; 2 + 2 + 2 + 4])?;
        self.put(&[0xff; 4])?;
        self.put(entry.name.as_bytes())?;
        self.put(b".npy")?;
        self.put(&[1, 0, 24, 0])?;
        self.put(&entry.size().to_le_bytes())?;
        self.put(&entry.size().to_le_bytes())?;
        let local = self.local;
        self.put(&local.to_le_bytes())?;
        self.local += 30 + entry.name.len() as u64 + 4 + 20 + entry.size();
        self.count += 1;
        Ok(())
    }

    /// Writes the end records.
    pub fn finish(mut self) -> Written {
        let (start, end, count) = (self.directory_at, self.at, self.count);
        self.put(&0x0606_4b50u32.to_le_bytes())?;
        self.put(&44u64.to_le_bytes())?;
        self.put(&[45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0])?;
        self.put(&count.to_le_bytes())?;
        self.put(&count.to_le_bytes())?;
        self.put(&(end - start).to_le_bytes())?;
        self.put(&start.to_le_bytes())?;
        self.put(&0x0706_4b50u32.to_le_bytes())?;
        self.put(&0u32.to_le_bytes())?;
        self.put(&end.to_le_bytes())?;
        self.put(&1u32.to_le_bytes())?;
        self.put(&0x0605_4b50u32.to_le_bytes())?;
        self.put(&[0; 4])?;
        let narrow = u16::try_from(count).unwrap_or(u16::MAX);
        self.put(&narrow.to_le_bytes())?;
        self.put(&narrow.to_le_bytes())?;
        self.put(&[0xff; 8])?;
        self.put(&[0; 2])
    }
}

const fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut c = i as u32;
        let mut k = 0;
        while k < 8 {
            c = if c & 1 != 0 {
                0xedb8_8320 ^ (c >> 1)
            } else {
                c >> 1
            };
            k += 1;
        }
        table[i] = c;
        i += 1;
    }
    table
}

/// Adds bytes to a running CRC-32 (start with all ones, invert at the end).
fn crc32(mut crc: u32, bytes: &[u8]) -> u32 {
    static TABLE: [u32; 256] = crc_table();
    for &b in bytes {
        crc = TABLE[((crc ^ u32::from(b)) & 0xff) as usize] ^ (crc >> 8);
    }
    crc
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn checksum_known_answer() {
        assert_eq!(!crc32(u32::MAX, b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn written_members_are_read() {
        let list = [
            ("a", &b"head"[..], &b"body"[..]),
            ("b/c", b"", b""),
            ("d", b"x", b"yz"),
        ];
        let mut file = Vec::new();
        let mut writer = Writer::new(|b: &[u8]| {
            file.extend_from_slice(b);
            Ok(())
        });
        let entry = |t: &(&'static str, &'static [u8], &'static [u8])| Entry {
            name: t.0,
            head: t.1,
            body: t.2,
        };
        for t in &list {
            writer.entry(&entry(t)).unwrap();
        }
        for t in &list {
            writer.directory(&entry(t)).unwrap();
        }
        writer.finish().unwrap();
        let found: Vec<_> = members(&file)
            .unwrap()
            .map(|m| (m.name, m.data.unwrap()))
            .collect();
        assert_eq!(
            found,
            [
                (&b"a.npy"[..], &b"headbody"[..]),
                (b"b/c.npy", b""),
                (b"d.npy", b"xyz")
            ]
        );
        for cut in 0..file.len() {
            let _ = members(&file[..cut]).map(|m| m.count());
        }
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 0xff;
            let _ = members(&damaged).map(|m| m.count());
        }
    }
}
