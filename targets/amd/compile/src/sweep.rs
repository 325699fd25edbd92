//! Counts matrix instructions in machine code, without knowing more of it than how long each instruction is.
//!
//! In: words of a kernel. Out: how many of them multiply matrices. Encodings are those of AMD's instruction set documents of
//! RDNA 3, RDNA 4 and CDNA 3; a test compares the count with that of a disassembler.
//!
//! Example: `s_endpgm` alone holds none.

use crate::chip::Chip;

/// A source operand that stands for the word behind the instruction.
const LITERAL: u32 = 0xFF;

/// How many instructions multiply matrices. `None` when the last one is cut off.
pub fn matrix_instructions(words: &[u32], chip: Chip) -> Option<u32> {
    let (mut at, mut count) = (0, 0);
    while let Some(&first) = words.get(at) {
        let second = words.get(at + 1).copied().unwrap_or(0);
        count += u32::from(is_matrix(first, chip));
        at += match chip {
            Chip::Gfx942 => cdna(first),
            _ => rdna(first, second, chip),
        };
    }
    (at == words.len()).then_some(count)
}

/// Among the packed instructions; on CDNA 3, two of these opcodes only move accumulators.
fn is_matrix(first: u32, chip: Chip) -> bool {
    let op = first >> 16 & 0x7F;
    match chip {
        Chip::Gfx1100 => first >> 24 == 0xCC && (0x40..=0x45).contains(&op),
        Chip::Gfx1201 => first >> 24 == 0xCC && (0x40..=0x5A).contains(&op),
        Chip::Gfx942 => first >> 23 == 0x1A7 && op >= 0x3E && op != 0x58 && op != 0x59,
    }
}

/// Words of a scalar instruction; nothing for others. The same on all chips but for one immediate.
fn scalar(first: u32, set_register: u32) -> Option<usize> {
    let sources = |shifts: &[u32]| {
        let literal = shifts.iter().any(|s| first >> s & 0xFF == LITERAL);
        1 + usize::from(literal)
    };
    match first >> 23 {
        0x17F => return Some(1),
        0x17D => return Some(sources(&[0])),
        0x17E => return Some(sources(&[0, 8])),
        _ => {}
    }
    match first >> 28 {
        // One instruction sets a register to a whole word.
        0xB => Some(1 + usize::from(first >> 23 & 0x1F == set_register)),
        // Two that multiply and add have a literal always.
        0x8..=0xA if [69, 70].contains(&(first >> 23 & 0x7F)) => Some(2),
        0x8..=0xA => Some(sources(&[0, 8])),
        _ => None,
    }
}

/// Words of an instruction of RDNA, by its first two.
fn rdna(first: u32, second: u32, chip: Chip) -> usize {
    /// Sources that stand for a word that says how lanes are exchanged.
    const LANES: [u32; 3] = [0xE9, 0xEA, 0xFA];
    if let Some(words) = scalar(first, 19) {
        return words;
    }
    let behind = |source: u32| source == LITERAL || LANES.contains(&source);
    let source = first & 0x1FF;
    // Three sources in the second word.
    let long = || {
        let mut of = (0..3).map(|n| second >> (9 * n) & 0x1FF);
        2 + usize::from(of.any(behind))
    };
    match first >> 24 {
        0xCC => return long(),
        0xCD => return 2,
        _ => {}
    }
    let newer = chip == Chip::Gfx1201;
    match first >> 26 {
        0x35 => long(),
        // Two operations in one: both have a source; some have a literal of their own.
        0x32 => {
            let own = |op: u32| op == 1 || op == 2;
            let literal = source == LITERAL
                || second & 0x1FF == LITERAL
                || own(first >> 22 & 0xF)
                || own(first >> 17 & 0x1F);
            2 + usize::from(literal)
        }
        // Memory, buffers and images of RDNA 4.
        0x3B | 0x31 | 0x34 | 0x39 if newer => 3,
        // Images: further addresses in further words.
        0x3C => 2 + usize::from(first & 1 != 0),
        // Scalar memory, local memory, memory, buffers, exports.
        0x3D | 0x36 | 0x37 | 0x38 | 0x3A | 0x3E => 2,
        // A literal that is factor or summand.
        _ if first >> 31 == 0 && [0x2C, 0x2D, 0x37, 0x38].contains(&(first >> 25)) => 2,
        _ if first >> 31 == 0 => 1 + usize::from(behind(source)),
        _ => 1,
    }
}

/// Words of an instruction of CDNA 3.
fn cdna(first: u32) -> usize {
    /// A literal, parts of registers, exchanged lanes.
    const BEHIND: [u32; 3] = [LITERAL, 0xF9, 0xFA];
    if let Some(words) = scalar(first, 20) {
        return words;
    }
    match first >> 26 {
        // Instructions with three sources, scalar memory, local memory, memory, buffers, images, exports.
        0x34 | 0x30 | 0x36 | 0x37 | 0x38 | 0x3A | 0x3C | 0x31 => 2,
        _ if first >> 31 == 0 && [0x17, 0x18, 0x24, 0x25].contains(&(first >> 25)) => 2,
        _ if first >> 31 == 0 => 1 + usize::from(BEHIND.contains(&(first & 0x1FF))),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_no_instructions() {
        // v_wmma_f32_16x16x16_f16 v[0:7], v[8:15], v[16:23], v[0:7]; s_endpgm
        let matrix = [0xCC40_4000, 0x1C02_2108];
        let end = 0xBFB0_0000;
        let count = |words: &[u32]| matrix_instructions(words, Chip::Gfx1100);
        assert_eq!(count(&[matrix[0], matrix[1], end]), Some(1));
        // v_mov_b32 v0, 0xcc404000
        assert_eq!(count(&[0x7E00_02FF, matrix[0], end]), Some(0));
        assert_eq!(count(&[end, matrix[0]]), None);
    }
}
