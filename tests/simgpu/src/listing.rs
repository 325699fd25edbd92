//! Code objects as text. In: a code object. Out: its functions, one instruction a line, in the form of `llvm-objdump -d`:
//!
//! ```text
//! vector_add:
//!         s_load_b32 s2, s[0:1], 0x18                                // 000000000000: F4000080 F8000018
//! ```

use crate::code_object::CodeObject;
use crate::isa::Isa;
use std::fmt::Write as _;

/// Where the words of a line start.
const COLUMN: usize = 59;

/// The text of all code. Words that are no instruction are `.long`; zeros and `s_nop`s between functions are left out.
pub fn listing(code: &CodeObject) -> String {
    let words = code.words();
    let mut functions = code.functions.clone();
    functions.sort_by_key(|f| f.1);
    let mut out = String::new();
    let mut at = 0;
    while at < words.len() {
        let address = code.text.start + 4 * at as u64;
        let starts: Vec<&String> = functions
            .iter()
            .filter(|f| f.1 == address)
            .map(|f| &f.0)
            .collect();
        if starts.is_empty() && out_of_function(&words[at..], &functions, address) {
            at += 1;
            continue;
        }
        for name in starts {
            if !out.is_empty() {
                out.push('\n');
            }
            // Writing to a string does not fail.
            let _ = writeln!(out, "{name}:");
        }
        let (text, len) = match Isa::gfx1100().decode(&words[at..]) {
            Ok(inst) => (inst.to_string(), inst.len()),
            Err(_) => (format!(".long {:#010x}", words[at]), 1),
        };
        let _ = write!(out, "\t{text:<COLUMN$}// {address:012X}:");
        for word in &words[at..at + len] {
            let _ = write!(out, " {word:08X}");
        }
        out.push('\n');
        at += len;
    }
    out
}

/// Whether only padding comes before the next function.
fn out_of_function(words: &[u32], functions: &[(String, u64)], address: u64) -> bool {
    const NOP: u32 = 0xBF80_0000;
    const CODE_END: u32 = 0xBF9F_0000;
    let next = functions.iter().find(|f| f.1 > address).map(|f| f.1);
    let left = next.map_or(words.len(), |n| (n - address) as usize / 4);
    let padding = |w: &u32| [0, NOP, CODE_END].contains(w);
    words.iter().take(left).all(padding)
}
