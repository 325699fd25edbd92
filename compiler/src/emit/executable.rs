//! Appends a bundle to a linked replay program.
//!
//! In: an ELF executable linked with [`SCRIPT`], whose last segment is a placeholder, and the bytes of a bundle. Out: [`Parts`] of a
//! `.tinyexe`, to be written one behind the other: the executable with headers that count the bundle, the bundle, the tables that
//! follow. The digest of the machine code is known only now: it is written into the bundle.
//!
//! Example: of 120 KB from the linker and a bundle of 100 MB only the 120 KB are copied.

use super::bundle::seal;
use crate::diag::{Error, Result};
use crate::target::EmittedFile;
use std::io::Write;
use std::path::Path;
use tinyc_runtime::elf;

/// The linker script of such an executable.
pub const SCRIPT: &str = include_str!("../../../templates/executable.ld");

/// A `.tinyexe` in three parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// Everything before the bundle.
    pub head: Vec<u8>,
    /// The bundle.
    pub bundle: Vec<u8>,
    /// What follows it: names and table of the sections.
    pub tail: Vec<u8>,
}

/// Fields of an ELF file that are changed, as places in it.
const SECTION_TABLE: usize = 0x28;
const SECTION_COUNT: usize = 0x3c;
const PROGRAM_TABLE: usize = 0x20;
const PROGRAM_COUNT: usize = 0x38;

/// Joins an executable and a bundle.
///
/// # Errors
/// Bug when the executable was not linked with [`SCRIPT`] or the bundle is not sound.
pub fn append(mut linked: Vec<u8>, mut bundle: Vec<u8>) -> Result<Parts> {
    let (start, size) = elf::section(&linked, b"tinyc_bundle")
        .ok_or_else(|| wrong("it has no place for a bundle"))?;
    let old_end = start + size;
    let new_end = start + bundle.len() as u64;
    // What follows keeps its alignment.
    let shift = new_end.saturating_sub(old_end).next_multiple_of(64);
    resize_segment(&mut linked, start, bundle.len() as u64)?;
    move_sections(&mut linked, start, old_end, bundle.len() as u64, shift)?;
    seal(&linked, start, &mut bundle)?;
    let mut tail = vec![0; (old_end + shift - new_end) as usize];
    let end = usize::try_from(old_end).map_err(|_| wrong("it is too large"))?;
    tail.extend_from_slice(linked.get(end..).ok_or_else(|| wrong("it is cut off"))?);
    linked.truncate(start as usize);
    Ok(Parts {
        head: linked,
        bundle,
        tail,
    })
}

/// Writes `NAME.tinyexe` into a folder: beside its final place, which it takes when it is whole.
///
/// # Errors
/// Environment when the folder cannot be written.
pub fn write_executable(dir: &Path, name: &str, parts: &Parts) -> Result<EmittedFile> {
    let broken =
        |e: std::io::Error| Error::environment(format!("cannot write {}: {e}", dir.display()));
    std::fs::create_dir_all(dir).map_err(broken)?;
    let mut file = tempfile::Builder::new()
        .prefix(".tinyc-")
        .tempfile_in(dir)
        .map_err(broken)?;
    let mut bytes = 0;
    for part in [&parts.head, &parts.bundle, &parts.tail] {
        file.write_all(part).map_err(broken)?;
        bytes += part.len() as u64;
    }
    let file = file.into_temp_path();
    make_executable(&file)?;
    let path = dir.join(format!("{name}.tinyexe"));
    file.persist(&path).map_err(|e| broken(e.error))?;
    Ok(EmittedFile { path, bytes })
}

fn make_executable(path: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).map_err(|e| {
            Error::environment(format!("cannot make {} executable: {e}", path.display()))
        })?;
    }
    Ok(())
}

fn wrong(why: &str) -> Error {
    Error::bug(format!("the linked replay program: {why}"))
}

fn number<const N: usize>(file: &[u8], at: usize) -> Result<u64> {
    let bytes = file.get(at..at + N).ok_or_else(|| wrong("it is cut off"))?;
    let mut all = [0; 8];
    all[..N].copy_from_slice(bytes);
    Ok(u64::from_le_bytes(all))
}

fn set(file: &mut [u8], at: usize, value: u64) -> Result<()> {
    let place = file.get_mut(at..at + 8);
    place
        .ok_or_else(|| wrong("it is cut off"))?
        .copy_from_slice(&value.to_le_bytes());
    Ok(())
}

/// Gives the segment at `start` the size of the bundle.
fn resize_segment(file: &mut [u8], start: u64, bytes: u64) -> Result<()> {
    let table = number::<8>(file, PROGRAM_TABLE)? as usize;
    for index in 0..number::<2>(file, PROGRAM_COUNT)? as usize {
        let entry = table + index * 56;
        let (kind, offset) = (number::<4>(file, entry)?, number::<8>(file, entry + 8)?);
        if kind == 1 && offset == start {
            set(file, entry + 32, bytes)?;
            return set(file, entry + 40, bytes);
        }
    }
    Err(wrong("the bundle has no segment of its own"))
}

/// Moves sections behind the bundle and their table.
fn move_sections(file: &mut [u8], start: u64, end: u64, bytes: u64, shift: u64) -> Result<()> {
    let table = number::<8>(file, SECTION_TABLE)?;
    if table < end {
        return Err(wrong("its section table lies before the bundle"));
    }
    for index in 0..number::<2>(file, SECTION_COUNT)? as usize {
        let entry = table as usize + index * 64;
        let offset = number::<8>(file, entry + 0x18)?;
        // A section without bytes in the file (kind 8) may claim any place.
        let empty = number::<4>(file, entry + 4)? == 8 || number::<8>(file, entry + 0x20)? == 0;
        if offset == start && !empty {
            set(file, entry + 0x20, bytes)?;
        } else if offset >= end {
            set(file, entry + 0x18, offset + shift)?;
        }
    }
    set(file, SECTION_TABLE, table + shift)
}
