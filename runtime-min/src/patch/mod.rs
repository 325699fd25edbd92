//! The section `patches`: which fields of a command stream get their value when it is loaded or run.
//!
//! A stream is written where no address is known. What depends on one is a *patch*: a field of 4 or 8 bytes, the symbol
//! whose value it takes, and how. Patches of class *link* are applied once, when memory is there; those of class *run*
//! before a run, and only when their symbol changed. What the compiler itself can fill in (class *constant*) never gets here.
//!
//! ```text
//! 0  link patches u32, 4 run patches u32
//! 8  link patches, then run patches, 40 bytes each, each list by ascending (section, offset, lsb):
//!    section u32 (0 stream, 1 kernargs, 2 image), symbol u32, offset u64, addend i64, mask u64,
//!    width u8 (4 or 8), shift u8, lsb u8, 0 (5 bytes)
//!    then the index: a u32 for each run patch, its number; ordered by (symbol, number), so that those of one symbol are neighbours
//! ```
//!
//! A field of 8 bytes lies at a multiple of 4. A patched field is `field & !(mask << lsb) | ((symbol + addend) >> shift & mask) << lsb`, little-endian.
//!
//! Before the first patch a field holds [`UNPATCHED`] in every word, which then counts as zero. [`unpatched`] finds what was
//! forgotten. No value that a device takes is this word: addresses are even, timeline values below 2^31; only an address
//! stored without its low 8 bits could be, for one address in 2^32, and is then refused rather than used.
//!
//! In: bytes of the section, read as hostile input. Out: [`Patches`], whose fields all lie inside their sections.
//!
//! ```
//! use tinyc_runtime::patch::{Patch, Place, UNPATCHED, symbol, unpatched};
//! let patch = Patch { place: Place::Stream, symbol: symbol::IMAGE, offset: 4, addend: 0x100,
//!     mask: u32::MAX as u64, width: 4, shift: 8, lsb: 0 };
//! let mut stream = [1u8; 8];
//! stream[4..].copy_from_slice(&UNPATCHED.to_le_bytes());
//! assert_eq!(unpatched(&stream), Some(4));
//! patch.apply(&mut stream, 0x7000);
//! assert_eq!(stream[4..], 0x71u32.to_le_bytes());
//! ```

mod read;

pub use read::{NoValue, Patches};

use crate::{bytes_at, u32_at, u64_at};

/// What every word of a field holds that has a patch and was never patched.
pub const UNPATCHED: u32 = 0xBADC_0DED;
/// Bytes of one patch in the file.
pub const PATCH_BYTES: usize = 40;
/// Bytes before the first patch.
pub const HEADER_BYTES: usize = 8;

/// Numbers of what a field may depend on.
pub mod symbol {
    /// Address of the arena.
    pub const ARENA: u32 = 0;
    /// Address of the weights.
    pub const WEIGHTS: u32 = 1;
    /// Address of the machine code.
    pub const IMAGE: u32 = 2;
    /// Address of the arguments.
    pub const KERNARGS: u32 = 3;
    /// Address of the stream itself.
    pub const STREAM: u32 = 4;
    /// Address of the threads' own memory.
    pub const SCRATCH: u32 = 5;
    /// Address of the timeline: a u64 value, then a u64 time.
    pub const SIGNAL: u32 = 6;
    /// Address of the event's slot.
    pub const MAILBOX: u32 = 7;
    /// Number of the event.
    pub const EVENT: u32 = 8;
    /// Timeline value to wait for.
    pub const WAIT: u32 = 9;
    /// Timeline value to signal.
    pub const DONE: u32 = 10;
    /// The word that tells the device how the threads' own memory is divided.
    pub const SCRATCH_SIZE: u32 = 11;
    /// Address of a u32: 0 before the first launch of a run, then 1 when the first begins, 2 when the second does, ...
    pub const PROGRESS: u32 = 12;
    /// Address of the first input; then the other inputs, then the outputs.
    pub const IO: u32 = 16;

    const NAMES: [&str; 13] = [
        "arena",
        "weights",
        "image",
        "kernargs",
        "stream",
        "scratch",
        "signal",
        "mailbox",
        "event",
        "wait",
        "done",
        "scratch_size",
        "progress",
    ];

    /// A symbol as text: `arena`, `io 3`.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Name(pub u32);

    impl core::fmt::Display for Name {
        fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
            match (NAMES.get(self.0 as usize), self.0.checked_sub(IO)) {
                (Some(name), _) => f.write_str(name),
                (None, Some(n)) => write!(f, "io {n}"),
                (None, None) => write!(f, "symbol {}", self.0),
            }
        }
    }
}

/// Which section a field is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The command stream.
    Stream,
    /// The arguments of all launches.
    Kernargs,
    /// The machine code.
    Image,
}

impl Place {
    /// All, by number.
    pub const ALL: [Place; 3] = [Place::Stream, Place::Kernargs, Place::Image];
    /// Number in the file.
    pub const fn number(self) -> u32 {
        self as u32
    }
}

/// One field and where its value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patch {
    /// Section of the field.
    pub place: Place,
    /// See [`symbol`].
    pub symbol: u32,
    /// Bytes from the start of the section.
    pub offset: u64,
    /// Added to the symbol's value.
    pub addend: i64,
    /// Bits of the field, after shifting.
    pub mask: u64,
    /// Bytes of the field: 4 or 8.
    pub width: u8,
    /// The sum is shifted right by so much.
    pub shift: u8,
    /// Place of the lowest bit in the field.
    pub lsb: u8,
}

impl Patch {
    /// The field's new value.
    pub fn value(&self, field: u64, symbol: u64) -> u64 {
        let field = if field == fresh(self.width) { 0 } else { field };
        let sum = symbol.wrapping_add_signed(self.addend);
        let bits = sum.checked_shr(u32::from(self.shift)).unwrap_or(0) & self.mask;
        let place = |v: u64| v.checked_shl(u32::from(self.lsb)).unwrap_or(0);
        field & !place(self.mask) | place(bits)
    }

    /// Writes the field into its section. `None` when it lies outside.
    pub fn apply(&self, section: &mut [u8], symbol: u64) -> Option<()> {
        let start = usize::try_from(self.offset).ok()?;
        let field = section.get_mut(start..start.checked_add(usize::from(self.width))?)?;
        if let Ok(bytes) = <&mut [u8; 8]>::try_from(&mut *field) {
            *bytes = self.value(u64::from_le_bytes(*bytes), symbol).to_le_bytes();
        } else if let Ok(bytes) = <&mut [u8; 4]>::try_from(field) {
            let old = u64::from(u32::from_le_bytes(*bytes));
            *bytes = (self.value(old, symbol) as u32).to_le_bytes();
        } else {
            return None;
        }
        Some(())
    }

    /// As it stands in the file.
    pub fn encode(&self) -> [u8; PATCH_BYTES] {
        let mut out = [0; PATCH_BYTES];
        let parts: [(usize, &[u8]); 6] = [
            (0, &self.place.number().to_le_bytes()),
            (4, &self.symbol.to_le_bytes()),
            (8, &self.offset.to_le_bytes()),
            (16, &self.addend.to_le_bytes()),
            (24, &self.mask.to_le_bytes()),
            (32, &[self.width, self.shift, self.lsb]),
        ];
        for (at, part) in parts {
            for (to, from) in out.iter_mut().skip(at).zip(part) {
                *to = *from;
            }
        }
        out
    }

    /// The patch at `at`; `None` when it is cut off or says what has no meaning.
    fn decode(bytes: &[u8], at: usize) -> Option<Patch> {
        let number = u32_at(bytes, at)?;
        let [width, shift, lsb, rest @ ..] = bytes_at::<8>(bytes, at + 32)?;
        let patch = Patch {
            place: Place::ALL.into_iter().find(|p| p.number() == number)?,
            symbol: u32_at(bytes, at + 4)?,
            offset: u64_at(bytes, at + 8)?,
            addend: u64_at(bytes, at + 16)?.cast_signed(),
            mask: u64_at(bytes, at + 24)?,
            width,
            shift,
            lsb,
        };
        let bits = u32::from(width) * 8;
        let fits = patch.mask != 0
            && u32::from(lsb) < bits
            && patch.mask.leading_zeros() >= u32::from(lsb) + (64 - bits.min(64));
        let sound = matches!(width, 4 | 8)
            && fits
            && shift < 64
            && patch.offset.is_multiple_of(4)
            && rest == [0; 5];
        sound.then_some(patch)
    }

    /// Order in the file.
    fn key(&self) -> (Place, u64, u8) {
        (self.place, self.offset, self.lsb)
    }
}

/// What a field of so many bytes holds before its first patch.
pub const fn fresh(width: u8) -> u64 {
    match width {
        4 => UNPATCHED as u64,
        _ => (UNPATCHED as u64) << 32 | UNPATCHED as u64,
    }
}

/// Offset of the first word, at a multiple of 4, that still holds [`UNPATCHED`].
pub fn unpatched(section: &[u8]) -> Option<usize> {
    let words = section.as_chunks::<4>().0;
    let found = words.iter().position(|w| *w == UNPATCHED.to_le_bytes())?;
    Some(found * 4)
}

#[cfg(test)]
fn plain(place: Place, symbol: u32, offset: u64, width: u8) -> Patch {
    Patch {
        place,
        symbol,
        offset,
        addend: 0,
        mask: u64::MAX >> (64 - u32::from(width) * 8),
        width,
        shift: 0,
        lsb: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masked_fields_keep_their_other_bits() {
        let p = Patch {
            mask: 0xFF,
            lsb: 8,
            shift: 32,
            ..plain(Place::Stream, 0, 0, 4)
        };
        assert_eq!(p.value(0xFFFF_FFFF, 0x12_3456_7890), 0xFFFF_12FF);
        assert_eq!(p.value(u64::from(UNPATCHED), 0x12_3456_7890), 0x1200);
        let p = Patch {
            addend: -16,
            ..plain(Place::Stream, 0, 0, 8)
        };
        assert_eq!(p.value(fresh(8), 0x20), 0x10);
    }

    #[test]
    fn symbols_have_names() {
        assert_eq!(symbol::Name(symbol::PROGRESS).to_string(), "progress");
        assert_eq!(symbol::Name(18).to_string(), "io 2");
        assert_eq!(symbol::Name(14).to_string(), "symbol 14");
    }
}
