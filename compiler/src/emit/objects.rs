//! Object file of the weights and the archive that holds all objects.
//!
//! In: weights in their layouts, compiled objects. Out: bytes. Nothing in either depends on the time,
//! the machine or the user: the same input gives the same bytes.

use super::weights::pack_all;
use crate::diag::{Error, Result};
use crate::program::Built;
use ar_archive_writer::{
    ArchiveKind, DEFAULT_OBJECT_READER, NewArchiveMember, write_archive_to_stream,
};
use object::write::{Object, Symbol, SymbolSection};
use object::{Architecture, BinaryFormat, Endianness, Object as _, ObjectSection, SectionKind};
use object::{SymbolFlags, SymbolKind, SymbolScope};
use std::io::{Seek, Write};

/// Alignment of the weights section.
pub const WEIGHTS_ALIGN: u64 = 64;

/// ELF object with the packed weights as the hidden symbol `NAME_weights`.
///
/// The object is first written with zeros and the weights are packed into it in place: the memory
/// needed is that of the object and no more.
pub fn weights_object(built: &Built, architecture: Architecture) -> Result<Vec<u8>> {
    let symbol = format!("{}_weights", built.program.name);
    let size = (built.plan.weight_bytes as usize).max(1);
    let wrong = |e: object::Error| Error::bug(format!("object file of the weights: {e}"));
    let mut object = Object::new(BinaryFormat::Elf, architecture, Endianness::Little);
    let section = object.add_section(
        Vec::new(),
        format!(".rodata.{symbol}").into_bytes(),
        SectionKind::ReadOnlyData,
    );
    let zeros = vec![0u8; size];
    object.set_section_data(section, &zeros[..], WEIGHTS_ALIGN);
    object.add_symbol(Symbol {
        name: symbol.into_bytes(),
        value: 0,
        size: size as u64,
        kind: SymbolKind::Data,
        // Linkage scope is hidden visibility: global for the static linker, not exported.
        scope: SymbolScope::Linkage,
        weak: false,
        section: SymbolSection::Section(section),
        flags: SymbolFlags::None,
    });
    // Without this note the linker would ask for an executable stack.
    object.add_section(Vec::new(), b".note.GNU-stack".to_vec(), SectionKind::Other);
    let mut bytes = object
        .write()
        .map_err(|e| Error::bug(format!("object file: {e}")))?;
    drop(object);
    drop(zeros);
    let file = object::File::parse(&bytes[..]).map_err(wrong)?;
    let range = file
        .sections()
        .find(|s| s.name().is_ok_and(|n| n.starts_with(".rodata.")))
        .and_then(|s| s.file_range());
    let (start, _) = range.ok_or_else(|| Error::bug("object file of the weights: no section"))?;
    let start = start as usize;
    let end = start + built.plan.weight_bytes as usize;
    let place = bytes
        .get_mut(start..end)
        .ok_or_else(|| Error::bug("object file of the weights: section too short"))?;
    pack_all(built, place)?;
    Ok(bytes)
}

/// Writes a static library: GNU format, symbol table, no dates and owners.
pub fn write_archive(out: &mut (impl Write + Seek), members: &[(String, Vec<u8>)]) -> Result<()> {
    let list: Vec<NewArchiveMember> = members
        .iter()
        .map(|(name, bytes)| {
            NewArchiveMember::new(&bytes[..], &DEFAULT_OBJECT_READER, name.clone())
        })
        .collect();
    write_archive_to_stream(out, &list, ArchiveKind::Gnu, false, None)
        .map_err(|e| Error::environment(format!("cannot write the archive: {e}")))
}
