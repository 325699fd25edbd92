//! Counts instructions of a kind in the machine code of RDNA 3, without knowing more of it than how long each instruction is.
//!
//! In: words of a kernel. Out: how many of them are matrix instructions. Encodings are those of AMD's RDNA 3 instruction set
//! document; a test compares the count with that of a disassembler.
//!
//! Example: `s_endpgm` alone holds none.

/// A source operand that stands for the word behind the instruction.
const LITERAL: u32 = 0xFF;
/// Sources that stand for a word that says how lanes are exchanged.
const LANES: [u32; 3] = [0xE9, 0xEA, 0xFA];
/// First and last opcode of matrix instructions among the packed ones.
const MATRIX: std::ops::RangeInclusive<u32> = 0x40..=0x45;

/// How many instructions multiply matrices. `None` when the last one is cut off.
pub fn matrix_instructions(words: &[u32]) -> Option<u32> {
    let (mut at, mut count) = (0, 0);
    while let Some(&first) = words.get(at) {
        let second = words.get(at + 1).copied().unwrap_or(0);
        if first >> 24 == 0xCC && MATRIX.contains(&(first >> 16 & 0x7F)) {
            count += 1;
        }
        at += length(first, second);
    }
    (at == words.len()).then_some(count)
}

/// Words of an instruction, by its first two.
fn length(first: u32, second: u32) -> usize {
    let plain = |literal: bool| 1 + usize::from(literal);
    let scalar = |shifts: &[u32]| plain(shifts.iter().any(|s| first >> s & 0xFF == LITERAL));
    let source = first & 0x1FF;
    let vector = plain(source == LITERAL || LANES.contains(&source));
    match first >> 23 {
        0x17F => return 1,
        0x17D => return scalar(&[0]),
        0x17E => return scalar(&[0, 8]),
        _ => {}
    }
    match first >> 24 {
        // Packed: three sources in the second word.
        0xCC => return long(second, 3),
        0xCD => return 2,
        _ => {}
    }
    match first >> 26 {
        0x35 => return long(second, 3),
        // Two operations in one: both have a source; some have a literal of their own.
        0x32 => {
            let own = |op: u32| op == 1 || op == 2;
            let literal = source == LITERAL
                || second & 0x1FF == LITERAL
                || own(first >> 22 & 0xF)
                || own(first >> 17 & 0x1F);
            return 2 + usize::from(literal);
        }
        // Images: further addresses in further words.
        0x3C => return 2 + usize::from(first & 1 != 0),
        // Scalar memory, local memory, memory, buffers, exports.
        0x3D | 0x36 | 0x37 | 0x38 | 0x3A | 0x3E => return 2,
        _ => {}
    }
    match (first >> 31, first >> 30, first >> 28) {
        // One instruction with an immediate sets a register to a whole word.
        (_, _, 0xB) => plain(first >> 23 & 0x1F == 19),
        (_, 2, _) => scalar(&[0, 8]),
        // A literal that is factor or summand.
        (0, _, _) if [0x2C, 0x2D, 0x37, 0x38].contains(&(first >> 25)) => 2,
        (0, _, _) => vector,
        _ => 1,
    }
}

/// Words of an instruction of two words with sources of 9 bits in the second one.
fn long(second: u32, sources: u32) -> usize {
    let mut of = (0..sources).map(|n| second >> (9 * n) & 0x1FF);
    2 + usize::from(of.any(|s| s == LITERAL || LANES.contains(&s)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_no_instructions() {
        // v_wmma_f32_16x16x16_f16 v[0:7], v[8:15], v[16:23], v[0:7]; s_endpgm
        let matrix = [0xCC40_4000, 0x1C02_2108];
        let end = 0xBFB0_0000;
        assert_eq!(matrix_instructions(&[matrix[0], matrix[1], end]), Some(1));
        // v_mov_b32 v0, 0xcc404000
        assert_eq!(matrix_instructions(&[0x7E00_02FF, matrix[0], end]), Some(0));
        assert_eq!(matrix_instructions(&[end, matrix[0]]), None);
    }
}
