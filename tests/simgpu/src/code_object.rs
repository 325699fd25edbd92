//! Code objects: what the compiler makes of kernels. In: ELF bytes. Out: sections at their places, kernels with their
//! descriptors.
//!
//! Relocatable objects and linked ones read alike. Of relocations there is one, `R_AMDGPU_REL64`: the distance from a
//! descriptor to its code.

use object::elf;
use object::read::elf::{ElfFile64, FileHeader, Rela, SectionHeader, Sym};

/// Why a file is no code object that can run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("code object: {0}")]
pub struct CodeError(pub String);

/// A descriptor: how to start a kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// Bytes of local memory of a work-group.
    pub lds: u32,
    /// Bytes of private memory of a lane.
    pub scratch: u32,
    /// Bytes of arguments.
    pub kernarg: u32,
    /// From the descriptor to the first instruction.
    pub entry: i64,
    /// Resource words 1, 2 and 3.
    pub rsrc: [u32; 3],
    /// What the first scalar registers hold, wave size.
    pub properties: u16,
}

impl Descriptor {
    /// Bytes of a descriptor.
    pub const BYTES: usize = 64;

    /// Reads its 64 bytes.
    pub fn parse(bytes: &[u8; 64]) -> Descriptor {
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        Descriptor {
            lds: word(0),
            scratch: word(4),
            kernarg: word(8),
            entry: (u64::from(word(16)) | u64::from(word(20)) << 32) as i64,
            rsrc: [word(48), word(52), word(44)],
            properties: word(56) as u16,
        }
    }
}

/// A kernel of a code object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Its name.
    pub name: String,
    /// Where its descriptor is in the image.
    pub descriptor_at: u64,
    /// Where its code starts in the image.
    pub entry_at: u64,
    /// The descriptor.
    pub descriptor: Descriptor,
}

/// A code object laid out in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeObject {
    /// All sections that are loaded, at their places, relocated. It starts at a multiple of 256 bytes.
    pub image: Vec<u8>,
    /// Where code is in the image.
    pub text: std::ops::Range<u64>,
    /// Kernels by name.
    pub kernels: Vec<Kernel>,
    /// All functions: names and places in the image.
    pub functions: Vec<(String, u64)>,
}

type Elf = elf::FileHeader64<object::LittleEndian>;

impl CodeObject {
    /// Reads an ELF file.
    pub fn parse(bytes: &[u8]) -> Result<CodeObject, CodeError> {
        let fail = |e: object::Error| CodeError(e.to_string());
        let file = ElfFile64::<object::LittleEndian>::parse(bytes).map_err(fail)?;
        let header: &Elf = file.elf_header();
        let endian = object::LittleEndian;
        if header.e_machine(endian) != elf::EM_AMDGPU {
            return Err(CodeError("the file is not for an AMD GPU".to_string()));
        }
        let sections = file.elf_section_table();
        let linked = header.e_type(endian) == elf::ET_DYN;
        // Places: as linked, or one after the other.
        let mut places = vec![None; sections.len()];
        let mut image: Vec<u8> = Vec::new();
        let mut text = 0..0;
        for (index, section) in sections.enumerate() {
            let flags = section.sh_flags(endian);
            let kind = section.sh_type(endian);
            let loaded = flags.0 & elf::SHF_ALLOC.0 != 0;
            let dynamic = [
                elf::SHT_NOTE,
                elf::SHT_DYNAMIC,
                elf::SHT_DYNSYM,
                elf::SHT_HASH,
                elf::SHT_GNU_HASH,
            ];
            if !loaded || dynamic.contains(&kind) {
                continue;
            }
            let data = section.data(endian, bytes).map_err(fail)?;
            let align = section.sh_addralign(endian).clamp(1, 4096).max(256);
            let place = match linked {
                true => section.sh_addr(endian),
                false => (image.len() as u64).next_multiple_of(align),
            };
            let size = section.sh_size(endian);
            let end = place.checked_add(size).filter(|e| *e < 1 << 28);
            let end = end.ok_or(CodeError("a section is too large".to_string()))? as usize;
            if image.len() < end {
                image.resize(end, 0);
            }
            if kind != elf::SHT_NOBITS {
                let into = slice(&mut image, place, data.len());
                into.ok_or(CodeError("a section longer than it says".to_string()))?
                    .copy_from_slice(data);
            }
            if flags.0 & elf::SHF_EXECINSTR.0 != 0 && text.is_empty() {
                text = place..place + size;
            }
            places[index.0] = Some(place);
        }
        let symbols = file.elf_symbol_table();
        let place_of = |index: object::SymbolIndex| -> Option<u64> {
            let symbol = symbols.symbol(index).ok()?;
            let value = symbol.st_value(endian);
            match linked {
                true => Some(value),
                false => {
                    let section = places.get(usize::from(symbol.st_shndx(endian).0))?;
                    section.map(|p| p.wrapping_add(value))
                }
            }
        };
        if !linked {
            for section in sections.iter() {
                let Some((rows, _)) = section.rela(endian, bytes).map_err(fail)? else {
                    continue;
                };
                let target = places.get(section.sh_info(endian) as usize);
                let Some(target) = target.copied().flatten() else {
                    continue;
                };
                for row in rows {
                    relocate(&mut image, target, row, &place_of)?;
                }
            }
        }
        let mut kernels = Vec::new();
        let mut functions = Vec::new();
        for (index, symbol) in symbols.enumerate() {
            let name = symbol.name(endian, symbols.strings()).map_err(fail)?;
            let name = String::from_utf8_lossy(name).into_owned();
            let Some(place) = place_of(index) else {
                continue;
            };
            if symbol.st_type() == elf::STT_FUNC {
                functions.push((name.clone(), place));
            }
            let Some(kernel) = name.strip_suffix(".kd") else {
                continue;
            };
            let bytes = slice(&mut image, place, Descriptor::BYTES).map(|b| &*b);
            let bytes: &[u8; 64] = bytes
                .and_then(|b| b.try_into().ok())
                .ok_or(CodeError(format!("{kernel}: the descriptor is cut off")))?;
            let descriptor = Descriptor::parse(bytes);
            kernels.push(Kernel {
                name: kernel.to_string(),
                descriptor_at: place,
                entry_at: place.wrapping_add_signed(descriptor.entry),
                descriptor,
            });
        }
        Ok(CodeObject {
            image,
            text,
            kernels,
            functions,
        })
    }

    /// The kernel of this name.
    pub fn kernel(&self, name: &str) -> Option<&Kernel> {
        self.kernels.iter().find(|k| k.name == name)
    }

    /// Words of code.
    pub fn words(&self) -> Vec<u32> {
        let range = self.text.start as usize..self.text.end as usize;
        let bytes = self.image.get(range).unwrap_or(&[]);
        let words = bytes.chunks_exact(4);
        words
            .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect()
    }
}

/// So many bytes of the image, if they are there.
fn slice(image: &mut [u8], at: u64, bytes: usize) -> Option<&mut [u8]> {
    let at = usize::try_from(at).ok()?;
    image.get_mut(at..at.checked_add(bytes)?)
}

/// Relocations of AMD GPUs: distances.
const REL32: u32 = 4;
const REL64: u32 = 5;
const REL32_LO: u32 = 10;
const REL32_HI: u32 = 11;

/// Applies one relocation.
fn relocate(
    image: &mut [u8],
    section: u64,
    row: &elf::Rela64<object::LittleEndian>,
    place_of: &dyn Fn(object::SymbolIndex) -> Option<u64>,
) -> Result<(), CodeError> {
    let endian = object::LittleEndian;
    let at = section.wrapping_add(row.r_offset(endian));
    let kind = row.r_type(endian, false).0;
    let symbol = object::SymbolIndex(row.r_sym(endian, false) as usize);
    let target = place_of(symbol).ok_or(CodeError(
        "a relocation to a symbol that is not here".to_string(),
    ))?;
    let value = target.wrapping_add_signed(row.r_addend(endian));
    let distance = value.wrapping_sub(at);
    let bytes: Vec<u8> = match kind {
        REL64 => distance.to_le_bytes().to_vec(),
        REL32 | REL32_LO => (distance as u32).to_le_bytes().to_vec(),
        REL32_HI => ((distance >> 32) as u32).to_le_bytes().to_vec(),
        _ => return Err(CodeError(format!("relocation of kind {kind}"))),
    };
    let into = slice(image, at, bytes.len());
    into.ok_or(CodeError("a relocation outside of its section".to_string()))?
        .copy_from_slice(&bytes);
    Ok(())
}
