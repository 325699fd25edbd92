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

/// Alignment of the data.
const DATA_ALIGN: u64 = 64;

/// ELF object with the packed weights as the hidden symbol `NAME_weights`.
pub fn weights_object(built: &Built, architecture: Architecture) -> Result<Vec<u8>> {
    let symbol = format!("{}_weights", built.program.name);
    let section = format!(".rodata.{symbol}");
    let bytes = built.plan.weight_bytes as usize;
    data_object(&symbol, &section, bytes, architecture, |out| {
        pack_all(built, out)
    })
}

/// ELF object with `bytes` read-only bytes in a section of its own, under a hidden symbol.
///
/// The object is first written with zeros and `fill` then writes into it in place: the memory needed
/// is that of the object and no more.
pub fn data_object(
    symbol: &str,
    section_name: &str,
    bytes: usize,
    architecture: Architecture,
    fill: impl FnOnce(&mut [u8]) -> Result<()>,
) -> Result<Vec<u8>> {
    object_of(symbol, None, section_name, bytes, architecture, fill)
}

/// The same for bytes that are there, with a second symbol `SYMBOL_end` behind the last one.
pub fn data_object_with_end(
    symbol: &str,
    architecture: Architecture,
    bytes: &[u8],
) -> Result<Vec<u8>> {
    let section = format!(".rodata.{symbol}");
    let end = format!("{symbol}_end");
    object_of(
        symbol,
        Some(&end),
        &section,
        bytes.len(),
        architecture,
        |out| {
            out.copy_from_slice(bytes);
            Ok(())
        },
    )
}

fn object_of(
    symbol: &str,
    end: Option<&str>,
    section_name: &str,
    bytes: usize,
    architecture: Architecture,
    fill: impl FnOnce(&mut [u8]) -> Result<()>,
) -> Result<Vec<u8>> {
    let wrong = |what: &str| Error::bug(format!("object file of {symbol}: {what}"));
    let mut object = Object::new(BinaryFormat::Elf, architecture, Endianness::Little);
    let section = object.add_section(
        Vec::new(),
        section_name.as_bytes().to_vec(),
        SectionKind::ReadOnlyData,
    );
    let zeros = vec![0u8; bytes.max(1)];
    object.set_section_data(section, &zeros[..], DATA_ALIGN);
    let symbols = [(symbol, 0, bytes as u64)];
    let symbols = symbols
        .into_iter()
        .chain(end.map(|end| (end, bytes as u64, 0)));
    for (name, value, size) in symbols {
        object.add_symbol(Symbol {
            name: name.as_bytes().to_vec(),
            value,
            size,
            kind: SymbolKind::Data,
            // Linkage scope is hidden visibility: global for the static linker, not exported.
            scope: SymbolScope::Linkage,
            weak: false,
            section: SymbolSection::Section(section),
            flags: SymbolFlags::None,
        });
    }
    // Without this note the linker would ask for an executable stack.
    object.add_section(Vec::new(), b".note.GNU-stack".to_vec(), SectionKind::Other);
    let mut file = object.write().map_err(|e| wrong(&e.to_string()))?;
    drop(object);
    drop(zeros);
    let parsed = object::File::parse(&file[..]).map_err(|e| wrong(&e.to_string()))?;
    let range = parsed
        .section_by_name(section_name)
        .and_then(|s| s.file_range())
        .ok_or_else(|| wrong("no section"))?;
    let start = range.0 as usize;
    let place = file.get_mut(start..start + bytes);
    fill(place.ok_or_else(|| wrong("section too short"))?)?;
    Ok(file)
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
