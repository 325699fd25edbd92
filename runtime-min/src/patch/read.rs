//! The list of patches, read as hostile input and checked as a whole.
//!
//! In: bytes of the section `patches` and the sizes of what is patched. Out: [`Patches`], or an error.

use super::{HEADER_BYTES, PATCH_BYTES, Patch, symbol};
use crate::bundle::Error;
use crate::u32_at;

/// Why patches were not applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoValue {
    /// The symbol that the loader does not know.
    pub symbol: u32,
}

impl core::fmt::Display for NoValue {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "a patch wants '{}', which is not known",
            symbol::Name(self.symbol)
        )
    }
}

impl core::error::Error for NoValue {}

/// The patches of a bundle, checked.
#[derive(Debug, Clone, Copy)]
pub struct Patches<'a> {
    link: &'a [u8],
    run: &'a [u8],
    index: &'a [u8],
}

impl<'a> Patches<'a> {
    /// Reads the section. `sizes` are the bytes of stream, arguments and image; fields outside are refused, as are fields
    /// that overlap others, and an index that is not one.
    pub fn open(bytes: &'a [u8], sizes: [u64; 3]) -> Result<Patches<'a>, Error> {
        Patches::checked(bytes, sizes).ok_or(Error::Malformed("patches"))
    }

    fn checked(bytes: &'a [u8], sizes: [u64; 3]) -> Option<Patches<'a>> {
        let count = |at| usize::try_from(u32_at(bytes, at)?).ok();
        let (link, run) = (count(0)?, count(4)?);
        let rest = bytes.get(HEADER_BYTES..)?;
        let (link, rest) = rest.split_at_checked(link.checked_mul(PATCH_BYTES)?)?;
        let (run, index) = rest.split_at_checked(run.checked_mul(PATCH_BYTES)?)?;
        if index.len() != run.len() / PATCH_BYTES * 4 {
            return None;
        }
        let patches = Patches { link, run, index };
        patches.check_fields(sizes)?;
        patches.check_index()?;
        Some(patches)
    }

    /// Both lists in order; every field inside its section; no bit patched twice.
    fn check_fields(&self, sizes: [u64; 3]) -> Option<()> {
        let (mut l, mut r) = (0, 0);
        let (links, runs) = (self.link.len() / PATCH_BYTES, self.run.len() / PATCH_BYTES);
        let mut last: Option<Patch> = None;
        let mut taken = 0;
        while l < links || r < runs {
            let link = (l < links).then(|| Patch::decode(self.link, l * PATCH_BYTES));
            let run = (r < runs).then(|| Patch::decode(self.run, r * PATCH_BYTES));
            let patch = match (link, run) {
                (Some(link), Some(run)) if link?.key() <= run?.key() => (l += 1, link?).1,
                (_, Some(run)) => (r += 1, run?).1,
                (Some(link), None) => (l += 1, link?).1,
                (None, None) => return None,
            };
            let end = patch.offset.checked_add(u64::from(patch.width))?;
            if end > *sizes.get(patch.place as usize)? {
                return None;
            }
            let bits = patch.mask << patch.lsb;
            let behind = |last: Patch| {
                (last.place, last.offset + u64::from(last.width)) <= (patch.place, patch.offset)
                    || last.place < patch.place
            };
            let beside = |last: Patch| {
                (last.place, last.offset, last.width) == (patch.place, patch.offset, patch.width)
                    && last.lsb < patch.lsb
                    && taken & bits == 0
            };
            match last {
                Some(last) if beside(last) => taken |= bits,
                Some(last) if !behind(last) => return None,
                _ => taken = bits,
            }
            last = Some(patch);
        }
        Some(())
    }

    /// Ascending pairs of (symbol, number), as many as run patches: then every patch is there once.
    fn check_index(&self) -> Option<()> {
        let mut last = None;
        for at in 0..self.index.len() / 4 {
            let number = u32_at(self.index, at * 4)?;
            let key = Some((self.numbered(number)?.symbol, number));
            if last >= key {
                return None;
            }
            last = key;
        }
        Some(())
    }

    /// Link patches in order.
    pub fn link(&self) -> impl ExactSizeIterator<Item = Patch> + use<'a> {
        Each(self.link)
    }

    /// Run patches in order.
    pub fn run(&self) -> impl ExactSizeIterator<Item = Patch> + use<'a> {
        Each(self.run)
    }

    /// Run patches of one symbol, found without looking at the others.
    pub fn of(&self, symbol: u32) -> impl Iterator<Item = Patch> + use<'a> {
        let patches = *self;
        let at = move |i: usize| patches.numbered(u32_at(patches.index, i * 4)?);
        let (mut low, mut high) = (0, self.index.len() / 4);
        while low < high {
            let middle = low + (high - low) / 2;
            match at(middle) {
                Some(patch) if patch.symbol < symbol => low = middle + 1,
                _ => high = middle,
            }
        }
        let behind = (low..self.index.len() / 4).map_while(at);
        behind.take_while(move |p| p.symbol == symbol)
    }

    /// Applies all link patches. `sections` are stream, arguments and image; `value` knows the symbols.
    pub fn apply_link(
        &self,
        sections: &mut [&mut [u8]; 3],
        value: impl Fn(u32) -> Option<u64>,
    ) -> Result<(), NoValue> {
        apply_all(self.link(), sections, value)
    }

    /// Applies all run patches, as before the first run.
    pub fn apply_run(
        &self,
        sections: &mut [&mut [u8]; 3],
        value: impl Fn(u32) -> Option<u64>,
    ) -> Result<(), NoValue> {
        apply_all(self.run(), sections, value)
    }

    /// Applies the run patches of one symbol.
    pub fn apply_symbol(&self, sections: &mut [&mut [u8]; 3], symbol: u32, value: u64) {
        for patch in self.of(symbol) {
            if let Some(section) = sections.get_mut(patch.place as usize) {
                patch.apply(section, value);
            }
        }
    }

    fn numbered(&self, number: u32) -> Option<Patch> {
        let at = usize::try_from(number).ok()?.checked_mul(PATCH_BYTES)?;
        Patch::decode(self.run, at)
    }
}

fn apply_all(
    patches: impl Iterator<Item = Patch>,
    sections: &mut [&mut [u8]; 3],
    value: impl Fn(u32) -> Option<u64>,
) -> Result<(), NoValue> {
    for patch in patches {
        let symbol = patch.symbol;
        let value = value(symbol).ok_or(NoValue { symbol })?;
        let section = sections.get_mut(patch.place as usize);
        // Sections smaller than those that `open` was told of have no such field.
        let done = section.and_then(|s| patch.apply(s, value));
        done.ok_or(NoValue { symbol })?;
    }
    Ok(())
}

/// Patches one after the other.
struct Each<'a>(&'a [u8]);

impl Iterator for Each<'_> {
    type Item = Patch;
    fn next(&mut self) -> Option<Patch> {
        let patch = Patch::decode(self.0, 0)?;
        self.0 = self.0.get(PATCH_BYTES..)?;
        Some(patch)
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        let n = self.0.len() / PATCH_BYTES;
        (n, Some(n))
    }
}

impl ExactSizeIterator for Each<'_> {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::patch::{Place, UNPATCHED, plain as patch, symbol, unpatched};
    use crate::u64_at;

    /// The section, with an index as it has to be.
    fn section(link: &[Patch], run: &[Patch]) -> Vec<u8> {
        let mut index: Vec<u32> = (0..run.len() as u32).collect();
        index.sort_by_key(|n| (run[*n as usize].symbol, *n));
        let mut out = (link.len() as u32).to_le_bytes().to_vec();
        out.extend((run.len() as u32).to_le_bytes());
        out.extend(link.iter().chain(run).flat_map(Patch::encode));
        out.extend(index.iter().flat_map(|n| n.to_le_bytes()));
        out
    }

    fn sample() -> (Vec<Patch>, Vec<Patch>) {
        let link = vec![
            Patch {
                shift: 8,
                addend: 0x300,
                ..patch(Place::Stream, symbol::IMAGE, 0, 4)
            },
            Patch {
                shift: 40,
                mask: 0xFF,
                ..patch(Place::Stream, symbol::IMAGE, 4, 4)
            },
            patch(Place::Kernargs, symbol::ARENA, 8, 8),
        ];
        let run = vec![
            patch(Place::Stream, symbol::WAIT, 8, 4),
            patch(Place::Stream, symbol::DONE, 12, 4),
            patch(Place::Kernargs, symbol::IO + 1, 0, 8),
            patch(Place::Kernargs, symbol::IO, 16, 8),
            patch(Place::Kernargs, symbol::IO + 1, 24, 8),
        ];
        (link, run)
    }

    const SIZES: [u64; 3] = [16, 32, 0];

    #[test]
    fn patches_reach_their_fields_and_leave_nothing_unpatched() {
        let (link, run) = sample();
        let bytes = section(&link, &run);
        let patches = Patches::open(&bytes, SIZES).unwrap();
        assert_eq!(patches.link().collect::<Vec<_>>(), link);
        assert_eq!(patches.run().collect::<Vec<_>>(), run);
        let mut stream: Vec<u8> = UNPATCHED.to_le_bytes().repeat(4);
        let mut kernargs = UNPATCHED.to_le_bytes().repeat(8);
        let mut sections: [&mut [u8]; 3] = [&mut stream, &mut kernargs, &mut []];
        let value = |symbol| Some(0x7A00_0000_1000 + (u64::from(symbol) << 16));
        patches.apply_link(&mut sections, value).unwrap();
        assert_eq!(unpatched(sections[0]), Some(8));
        let no = patches.apply_run(&mut sections, |s| (s != symbol::DONE).then_some(1));
        assert_eq!(
            no,
            Err(NoValue {
                symbol: symbol::DONE
            })
        );
        patches.apply_run(&mut sections, value).unwrap();
        assert_eq!(unpatched(sections[0]), None);
        assert_eq!(unpatched(sections[1]), None);
        let word = |at: usize| u64_at(sections[1], at).unwrap();
        assert_eq!(word(0), value(17).unwrap());
        assert_eq!(word(8), value(0).unwrap());
        assert_eq!(u32_at(sections[0], 0).unwrap(), 0x213);
        assert_eq!(u32_at(sections[0], 4).unwrap(), 0x7A);
    }

    #[test]
    fn a_changed_symbol_touches_its_fields_only() {
        let (link, run) = sample();
        let bytes = section(&link, &run);
        let patches = Patches::open(&bytes, SIZES).unwrap();
        let offsets = |s| patches.of(s).map(|p| p.offset).collect::<Vec<_>>();
        assert_eq!(offsets(symbol::IO + 1), [0, 24]);
        assert_eq!(offsets(symbol::IO), [16]);
        assert_eq!(offsets(symbol::DONE), [12]);
        assert!(offsets(symbol::ARENA).is_empty() && offsets(99).is_empty());
        let (mut stream, mut kernargs) = ([0; 16], [0; 32]);
        patches.apply_symbol(
            &mut [&mut stream, &mut kernargs, &mut []],
            symbol::IO + 1,
            u64::MAX,
        );
        assert_eq!(stream, [0; 16]);
        assert_eq!(kernargs.iter().filter(|b| **b == 0xFF).count(), 16);
    }

    #[test]
    fn two_parts_of_one_field_may_have_patches() {
        let low = Patch {
            mask: 0xFF,
            ..patch(Place::Stream, 0, 0, 4)
        };
        let high = Patch {
            mask: 0xFF,
            lsb: 8,
            ..patch(Place::Stream, 10, 0, 4)
        };
        assert!(Patches::open(&section(&[low], &[high]), SIZES).is_ok());
        let over = Patch {
            mask: 0xFF,
            lsb: 7,
            ..high
        };
        assert!(Patches::open(&section(&[low], &[over]), SIZES).is_err());
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let ok = patch(Place::Stream, 0, 4, 4);
        let bad = [
            Patch { offset: 16, ..ok },
            Patch {
                offset: u64::MAX - 3,
                ..ok
            },
            Patch { offset: 2, ..ok },
            Patch {
                place: Place::Image,
                ..ok
            },
            Patch { width: 5, ..ok },
            Patch { width: 0, ..ok },
            Patch { mask: 0, ..ok },
            Patch {
                mask: u64::MAX,
                ..ok
            },
            Patch { lsb: 1, ..ok },
            Patch {
                lsb: 32,
                mask: 1,
                ..ok
            },
            Patch { shift: 64, ..ok },
        ];
        for bad in bad {
            assert!(
                Patches::open(&section(&[bad], &[]), SIZES).is_err(),
                "{bad:?}"
            );
            assert!(
                Patches::open(&section(&[], &[bad]), SIZES).is_err(),
                "{bad:?}"
            );
        }
        // Not in order, twice, overlapping.
        let wide = patch(Place::Stream, 0, 0, 8);
        for (link, run) in [
            (vec![ok, patch(Place::Stream, 0, 0, 4)], vec![]),
            (vec![ok, ok], vec![]),
            (vec![ok], vec![ok]),
            (vec![wide, ok], vec![]),
            (vec![wide], vec![ok]),
        ] {
            assert!(Patches::open(&section(&link, &run), SIZES).is_err());
        }
    }

    #[test]
    fn damage_is_refused_or_harmless() {
        let (link, run) = sample();
        let bytes = section(&link, &run);
        for n in 0..bytes.len() {
            assert!(Patches::open(&bytes[..n], SIZES).is_err());
            for bit in 0..8 {
                let mut bytes = bytes.clone();
                bytes[n] ^= 1 << bit;
                let Ok(patches) = Patches::open(&bytes, SIZES) else {
                    continue;
                };
                let (mut stream, mut kernargs) = ([0; 16], [0; 32]);
                let mut sections: [&mut [u8]; 3] = [&mut stream, &mut kernargs, &mut []];
                patches.apply_link(&mut sections, |_| Some(1)).unwrap();
                patches.apply_run(&mut sections, |_| Some(1)).unwrap();
            }
        }
        // Every change of the index is found.
        for n in bytes.len() - run.len() * 4..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[n] ^= 1;
            assert!(Patches::open(&bytes, SIZES).is_err());
        }
    }
}
