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
use object::LittleEndian;
use object::elf::{FileHeader64, PT_LOAD, ProgramHeader64, SHT_NOBITS, SectionHeader64};
use object::pod::{Pod, slice_from_bytes_mut};
use object::read::elf::FileHeader;
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

/// The file's header.
fn header(file: &[u8]) -> Result<FileHeader64<LittleEndian>> {
    let header = FileHeader64::<LittleEndian>::parse(file).map_err(|e| wrong(&e.to_string()))?;
    Ok(*header)
}

/// A table of `count` entries at `at`.
fn table<T: Pod>(file: &mut [u8], at: u64, count: u16) -> Result<&mut [T]> {
    let bytes = file.get_mut(at as usize..);
    let found = bytes.and_then(|b| slice_from_bytes_mut(b, count.into()).ok());
    Ok(found.ok_or_else(|| wrong("it is cut off"))?.0)
}

/// Gives the segment at `start` the size of the bundle.
fn resize_segment(file: &mut [u8], start: u64, bytes: u64) -> Result<()> {
    let (h, le) = (header(file)?, LittleEndian);
    let segments: &mut [ProgramHeader64<LittleEndian>] =
        table(file, h.e_phoff.get(le), h.e_phnum.get(le))?;
    let mut segments = segments.iter_mut();
    let own = segments.find(|s| s.p_type.get(le) == PT_LOAD && s.p_offset.get(le) == start);
    let own = own.ok_or_else(|| wrong("the bundle has no segment of its own"))?;
    own.p_filesz.set(le, bytes);
    own.p_memsz.set(le, bytes);
    Ok(())
}

/// Moves sections behind the bundle and their table.
fn move_sections(file: &mut [u8], start: u64, end: u64, bytes: u64, shift: u64) -> Result<()> {
    let (mut h, le) = (header(file)?, LittleEndian);
    let at = h.e_shoff.get(le);
    if at < end {
        return Err(wrong("its section table lies before the bundle"));
    }
    let sections: &mut [SectionHeader64<LittleEndian>] = table(file, at, h.e_shnum.get(le))?;
    for section in sections {
        let offset = section.sh_offset.get(le);
        // A section without bytes in the file may claim any place.
        let empty = section.sh_type.get(le) == SHT_NOBITS || section.sh_size.get(le) == 0;
        if offset == start && !empty {
            section.sh_size.set(le, bytes);
        } else if offset >= end {
            section.sh_offset.set(le, offset + shift);
        }
    }
    h.e_shoff.set(le, at + shift);
    table::<FileHeader64<LittleEndian>>(file, 0, 1)?[0] = h;
    Ok(())
}
