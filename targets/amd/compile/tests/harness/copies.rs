//! What a runtime may tell a copy engine wrong. In: nothing. Out: the list.
//!
//! Words: the copy's header, length, parameters, source, destination; the fence's header, address, value.

use super::damaged::Tamper;
use super::damaged::Tamper::{CopyUnits, CopyWithout, CopyWord};

const fn minus(n: u32) -> u32 {
    n.wrapping_neg()
}

/// Kinds of damage.
pub const COPIES: &[(&str, Tamper)] = &[
    ("copy: another packet", CopyWord(0, 1)),
    ("copy: protected memory", CopyWord(0, 1 << 18)),
    ("copy: one byte shorter", CopyWord(1, minus(1))),
    ("copy: one byte longer", CopyWord(1, 1)),
    ("copy: parameters", CopyWord(2, 1)),
    ("copy: from behind", CopyWord(3, 4)),
    ("copy: from before", CopyWord(3, minus(64))),
    ("copy: from nowhere", CopyWord(4, 1 << 14)),
    ("copy: to behind", CopyWord(5, 4)),
    ("copy: to before", CopyWord(5, minus(64))),
    ("copy: to nowhere", CopyWord(6, 1 << 14)),
    ("copy: missing", CopyWithout(0, 6)),
    ("copy's fence: another packet", CopyWord(7, 1)),
    ("copy's fence: cached", CopyWord(7, minus(3 << 16))),
    ("copy's fence: next to the signal", CopyWord(8, 8)),
    ("copy's fence: nowhere", CopyWord(9, 1 << 14)),
    ("copy's fence: a smaller value", CopyWord(10, minus(1))),
    ("copy's fence: a larger value", CopyWord(10, 1)),
    ("copy's fence: missing", CopyWithout(7, 10)),
    (
        "copy's doorbell in words",
        CopyUnits {
            bell: true,
            pointer: false,
        },
    ),
    (
        "copy's write pointer in words",
        CopyUnits {
            bell: false,
            pointer: true,
        },
    ),
    (
        "copies counted in words",
        CopyUnits {
            bell: true,
            pointer: true,
        },
    ),
    ("copy's doorbell not rung", Tamper::CopySilent),
    ("fences of copies", Tamper::CopyFences),
    ("copies not waited for", Tamper::CopyEarly(u32::MAX)),
    ("copy queue not destroyed", Tamper::CopyLeft),
];
