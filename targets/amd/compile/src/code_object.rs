//! Code objects: what the device must know about a kernel, read from the ELF file that the compiler wrote.
//!
//! In: an ELF relocatable object with one kernel `NAME`, whose descriptor is `NAME.kd`. Out: [`CodeObject`]. The layout of a
//! descriptor is that of LLVM's `AMDHSAKernelDescriptor.h`: 64 bytes, little-endian.

use crate::chip::Chip;
use crate::sweep::matrix_instructions;
use object::{Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget};
use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::target::{Gpu, Resources};

/// `R_AMDGPU_REL64`: 64 bits, relative to the place.
const REL64: u32 = 5;
/// Bytes of a descriptor.
const DESCRIPTOR: usize = 64;

/// A compiled kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeObject {
    /// Name of the kernel.
    pub name: String,
    /// ELF file.
    pub bytes: Vec<u8>,
    /// Threads of a work-group.
    pub threads: u32,
    /// What the descriptor says.
    pub descriptor: Descriptor,
    /// Registers of a thread.
    pub registers: u32,
    /// Waves that a compute unit holds of it.
    pub occupancy: u32,
    /// Bytes of instructions.
    pub code_bytes: u32,
    /// Matrix instructions among them; `None` where they cannot be counted.
    pub matrix: Option<u32>,
}

/// A kernel descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Descriptor {
    /// Bytes of memory that a work-group shares.
    pub group_bytes: u32,
    /// Bytes of memory of each thread: what did not fit into registers.
    pub private_bytes: u32,
    /// Bytes of arguments.
    pub kernarg_bytes: u32,
    /// From the descriptor to the first instruction.
    pub entry: i64,
    /// Words of the same names.
    pub rsrc: [u32; 3],
    /// Which registers a wave starts with.
    pub properties: u16,
}

/// Sections that a device needs, one behind the other, with relocations applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// To be copied to executable memory at a multiple of 256.
    pub bytes: Vec<u8>,
    /// Where the descriptor is.
    pub descriptor: u64,
    /// Where the first instruction is.
    pub entry: u64,
    /// Bytes of instructions from there.
    pub code: u64,
}

impl CodeObject {
    /// Reads what the compiler wrote.
    ///
    /// # Errors
    /// Bug when it is no code object, or one that wants what is not there.
    pub fn read(name: &str, bytes: Vec<u8>, threads: u32, chip: Chip, gpu: &Gpu) -> Result<Self> {
        let image = image(name, &bytes)?;
        let at = image.descriptor as usize;
        let raw = image.bytes.get(at..at + DESCRIPTOR);
        let raw = raw.ok_or_else(|| damaged(name, "its descriptor is cut off"))?;
        let word = |at: usize| -> u32 {
            let mut all = [0; 4];
            all.copy_from_slice(&raw[at..at + 4]);
            u32::from_le_bytes(all)
        };
        let descriptor = Descriptor {
            group_bytes: word(0),
            private_bytes: word(4),
            kernarg_bytes: word(8),
            entry: (u64::from(word(16)) | u64::from(word(20)) << 32) as i64,
            rsrc: [word(48), word(52), word(44)],
            properties: word(56) as u16,
        };
        if word(56) >> 16 != 0 {
            return Err(damaged(name, "it wants arguments in registers"));
        }
        let registers = ((descriptor.rsrc[0] & 63) + 1) * chip.register_steps().0;
        Ok(CodeObject {
            occupancy: chip.occupancy(gpu, registers, threads, descriptor.group_bytes),
            name: name.to_string(),
            code_bytes: image.code as u32,
            matrix: matrix(&image, chip),
            bytes,
            threads,
            descriptor,
            registers,
        })
    }

    /// What it takes of the device.
    pub fn resources(&self) -> Resources {
        Resources {
            registers: self.registers,
            occupancy: self.occupancy,
            threads: self.threads,
            group_bytes: self.descriptor.group_bytes,
            private_bytes: self.descriptor.private_bytes,
            code_bytes: self.code_bytes,
            matrix: self.matrix,
        }
    }

    /// What a device needs of it.
    ///
    /// # Errors
    /// Bug when the file is damaged.
    pub fn image(&self) -> Result<Image> {
        image(&self.name, &self.bytes)
    }
}

/// How many instructions multiply matrices.
fn matrix(image: &Image, chip: Chip) -> Option<u32> {
    let end = image.entry.checked_add(image.code)?;
    let code = image.bytes.get(image.entry as usize..end as usize)?;
    let words = code.as_chunks::<4>().0.iter();
    let words: Vec<u32> = words.map(|w| u32::from_le_bytes(*w)).collect();
    matrix_instructions(&words, chip)
}

fn damaged(name: &str, why: &str) -> Error {
    Error::bug(format!("the code object of kernel '{name}': {why}"))
}

fn image(name: &str, bytes: &[u8]) -> Result<Image> {
    let wrong = |e: object::Error| damaged(name, &e.to_string());
    let file = object::File::parse(bytes).map_err(wrong)?;
    let mut out: Vec<u8> = Vec::new();
    let mut places = Vec::new();
    for section in file.sections() {
        let kind = section.kind();
        let loaded = matches!(
            kind,
            object::SectionKind::Text
                | object::SectionKind::ReadOnlyData
                | object::SectionKind::ReadOnlyDataWithRel
        );
        if !loaded {
            let writable = matches!(
                kind,
                object::SectionKind::Data | object::SectionKind::UninitializedData
            );
            if writable && section.size() > 0 {
                return Err(damaged(name, "it has memory that is written"));
            }
            continue;
        }
        let align = section.align().clamp(1, 4096) as usize;
        out.resize(out.len().next_multiple_of(align), 0);
        places.push((section.index(), out.len() as u64));
        out.extend(section.data().map_err(wrong)?);
    }
    let place = |index: object::SectionIndex| places.iter().find(|p| p.0 == index).map(|p| p.1);
    let symbol = |wanted: &str| {
        let found = file.symbols().find(|s| s.name() == Ok(wanted));
        found
            .and_then(|s| Some(place(s.section_index()?)? + s.address()))
            .ok_or_else(|| damaged(name, &format!("it has no symbol '{wanted}'")))
    };
    let size = |wanted: &str| {
        let found = file.symbols().find(|s| s.name() == Ok(wanted));
        found.map_or(0, |s| s.size())
    };
    let (descriptor, entry) = (symbol(&format!("{name}.kd"))?, symbol(name)?);
    for section in file.sections() {
        let Some(base) = place(section.index()) else {
            continue;
        };
        for (offset, relocation) in section.relocations() {
            let RelocationFlags::Elf { r_type } = relocation.flags() else {
                return Err(damaged(name, "a relocation is not ELF's"));
            };
            let RelocationTarget::Symbol(target) = relocation.target() else {
                return Err(damaged(name, "a relocation names no symbol"));
            };
            let target = file.symbol_by_index(target).map_err(wrong)?;
            let value = target
                .section_index()
                .and_then(place)
                .map(|p| p + target.address());
            let (Some(value), true) = (value, r_type.0 == REL64) else {
                return Err(damaged(name, &format!("relocation type {}", r_type.0)));
            };
            let at = base + offset;
            let word = (value as i64)
                .wrapping_add(relocation.addend())
                .wrapping_sub(at as i64);
            let place = out.get_mut(at as usize..at as usize + 8);
            let place = place.ok_or_else(|| damaged(name, "a relocation lies outside"))?;
            place.copy_from_slice(&word.to_le_bytes());
        }
    }
    Ok(Image {
        bytes: out,
        descriptor,
        entry,
        code: size(name),
    })
}
