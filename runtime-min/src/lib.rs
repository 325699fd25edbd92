//! Bundle format and replay loop of tinyc artifacts: `no_std`, no dependency, no allocation, no panic.
//!
//! A *bundle* is what a `.tinyexe` carries beside machine code: manifest, tables of launches and
//! buffers, names, weights. The compiler writes it, the executable replays it, `tinyc inspect` reads
//! it: all through [`bundle`]. A bundle is read as hostile input: every offset is checked, every
//! section has a digest, and a damaged one is refused by its name.
//!
//! | file | in | out |
//! |---|---|---|
//! | [`bundle`] | bytes of a file | [`Bundle`]: sections, checked |
//! | [`program`] | a section | launches, places, tensors |
//! | [`patch`] | a section | fields of a command stream, and what fills them |
//! | [`symbols`] | a section | places of launches and kernels in stream and image |
//! | [`elf`] | an executable | where its bundle and its loaded bytes are |
//! | [`mod@replay`] | program, [`Device`] | launches in order |
//! | [`io`] | requests | answers of a kernel driver, real or simulated |
//! | [`npy`], [`zip`] | `.npy`, `.npz` | arrays |
//! | [`identity`] | line | what a kernel is |
//! | [`sha256`] | bytes | digest |
#![cfg_attr(not(test), no_std)]

pub mod bundle;
pub mod elf;
pub mod identity;
pub mod io;
pub mod npy;
pub mod patch;
pub mod program;
pub mod replay;
pub mod sha256;
pub mod symbols;
pub mod zip;

pub use bundle::{Bundle, Error, Kind, read};
pub use program::{Program, Tensor};
pub use replay::{Device, replay};

/// Reads `N` bytes at `at`; `None` past the end.
pub(crate) fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// Little-endian `u16` at `at`.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes_at(bytes, at).map(u16::from_le_bytes)
}

/// Little-endian `u32` at `at`.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes_at(bytes, at).map(u32::from_le_bytes)
}

/// Little-endian `u64` at `at`, as a `usize`.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes_at(bytes, at).map(u64::from_le_bytes)
}

/// `bytes[start..start + len]`; `None` past the end.
pub(crate) fn part(bytes: &[u8], start: u64, len: u64) -> Option<&[u8]> {
    let start = usize::try_from(start).ok()?;
    bytes.get(start..start.checked_add(usize::try_from(len).ok()?)?)
}
