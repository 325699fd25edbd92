//! The section `symbols`: where each launch is in the command stream, and each kernel in the image.
//!
//! ```text
//! 0  launches u32, 4 kernels u32
//! 8  launches: kernel u32, first word of its packets in the stream u32; ascending words
//!    kernels: start u64, bytes u64, first instruction u64; all in bytes from the start of the image; ascending starts
//! ```
//!
//! For messages ("which kernel") and for `tinyc inspect --stream`. In: bytes of the section, read as hostile input. Out:
//! [`Symbols`], which name only kernels and places that exist.
//!
//! ```
//! use tinyc_runtime::symbols::Symbols;
//! let numbers = [1u32, 1, 0, 5, 0, 0, 512, 0, 256, 0];
//! let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
//! let symbols = Symbols::open(&bytes, 40, 512)?;
//! assert_eq!(symbols.kernel_at(300), Some(0));
//! assert_eq!(symbols.launch_at(7), Some(0));
//! # Ok::<(), tinyc_runtime::Error>(())
//! ```

use crate::bundle::Error;
use crate::{u32_at, u64_at};

/// Bytes of one launch.
pub const LAUNCH_BYTES: usize = 8;
/// Bytes of one kernel.
pub const KERNEL_BYTES: usize = 24;
/// Bytes before the first launch.
pub const HEADER_BYTES: usize = 8;

/// A launch in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaunchAt {
    /// Its kernel.
    pub kernel: u32,
    /// First word of its packets.
    pub word: u32,
}

/// A kernel in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelAt {
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub bytes: u64,
    /// First instruction.
    pub entry: u64,
}

impl LaunchAt {
    /// As it stands in the file.
    pub fn encode(&self) -> [u8; LAUNCH_BYTES] {
        (u64::from(self.kernel) | u64::from(self.word) << 32).to_le_bytes()
    }
}

impl KernelAt {
    /// As it stands in the file.
    pub fn encode(&self) -> [u8; KERNEL_BYTES] {
        let mut out = [0; KERNEL_BYTES];
        let words = [self.start, self.bytes, self.entry];
        for (to, word) in out.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *to = word.to_le_bytes();
        }
        out
    }
}

/// Places of launches and kernels, checked.
#[derive(Debug, Clone, Copy)]
pub struct Symbols<'a> {
    launches: &'a [u8],
    kernels: &'a [u8],
}

impl<'a> Symbols<'a> {
    /// Reads the section of a stream of so many words and an image of so many bytes.
    pub fn open(bytes: &'a [u8], words: u64, image: u64) -> Result<Symbols<'a>, Error> {
        Symbols::checked(bytes, words, image).ok_or(Error::Malformed("symbols"))
    }

    fn checked(bytes: &'a [u8], words: u64, image: u64) -> Option<Symbols<'a>> {
        let count = |at| usize::try_from(u32_at(bytes, at)?).ok();
        let (launches, kernels) = (count(0)?, count(4)?);
        let rest = bytes.get(HEADER_BYTES..)?;
        let (launches, rest) = rest.split_at_checked(launches.checked_mul(LAUNCH_BYTES)?)?;
        if rest.len() != kernels.checked_mul(KERNEL_BYTES)? {
            return None;
        }
        let symbols = Symbols {
            launches,
            kernels: rest,
        };
        let mut last = None;
        for n in 0..symbols.launches() {
            let launch = symbols.launch(n)?;
            let sound = u64::from(launch.word) < words
                && (launch.kernel as usize) < kernels
                && last < Some(launch.word);
            last = sound.then_some(Some(launch.word))?;
        }
        let mut end = 0;
        for n in 0..symbols.kernels() {
            let kernel = symbols.kernel(n)?;
            let start = kernel.start;
            let next = start.checked_add(kernel.bytes)?;
            let sound = start >= end && next <= image && (start..next).contains(&kernel.entry);
            end = sound.then_some(next)?;
        }
        Some(symbols)
    }

    /// How many launches.
    pub fn launches(&self) -> u32 {
        (self.launches.len() / LAUNCH_BYTES) as u32
    }

    /// How many kernels.
    pub fn kernels(&self) -> u32 {
        (self.kernels.len() / KERNEL_BYTES) as u32
    }

    /// A launch.
    pub fn launch(&self, n: u32) -> Option<LaunchAt> {
        let at = (n as usize).checked_mul(LAUNCH_BYTES)?;
        Some(LaunchAt {
            kernel: u32_at(self.launches, at)?,
            word: u32_at(self.launches, at + 4)?,
        })
    }

    /// A kernel.
    pub fn kernel(&self, n: u32) -> Option<KernelAt> {
        let at = (n as usize).checked_mul(KERNEL_BYTES)?;
        Some(KernelAt {
            start: u64_at(self.kernels, at)?,
            bytes: u64_at(self.kernels, at + 8)?,
            entry: u64_at(self.kernels, at + 16)?,
        })
    }

    /// The kernel whose code is at an offset of the image.
    pub fn kernel_at(&self, offset: u64) -> Option<u32> {
        let inside = |k: KernelAt| offset >= k.start && offset - k.start < k.bytes;
        (0..self.kernels()).find(|n| self.kernel(*n).is_some_and(inside))
    }

    /// The launch that a word of the stream belongs to: the last one that begins at it or before.
    pub fn launch_at(&self, word: u32) -> Option<u32> {
        let before = |n: &u32| self.launch(*n).is_some_and(|l| l.word <= word);
        (0..self.launches()).take_while(before).last()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn section(launches: &[(u32, u32)], kernels: &[(u64, u64, u64)]) -> Vec<u8> {
        let mut out = (launches.len() as u32).to_le_bytes().to_vec();
        out.extend((kernels.len() as u32).to_le_bytes());
        for &(kernel, word) in launches {
            out.extend(LaunchAt { kernel, word }.encode());
        }
        for &(start, bytes, entry) in kernels {
            out.extend(
                KernelAt {
                    start,
                    bytes,
                    entry,
                }
                .encode(),
            );
        }
        out
    }

    #[test]
    fn places_are_found() {
        let bytes = section(
            &[(1, 3), (0, 20), (1, 60)],
            &[(0, 300, 256), (512, 100, 512)],
        );
        let symbols = Symbols::open(&bytes, 61, 612).unwrap();
        assert_eq!(
            symbols.launch(1),
            Some(LaunchAt {
                kernel: 0,
                word: 20
            })
        );
        assert_eq!(symbols.launch(3), None);
        let at = [0, 299, 300, 511, 512, 612].map(|a| symbols.kernel_at(a));
        assert_eq!(at, [Some(0), Some(0), None, None, Some(1), None]);
        let at = [0, 2, 3, 19, 20, 60, 99].map(|w| symbols.launch_at(w));
        assert_eq!(
            at,
            [None, None, Some(0), Some(0), Some(1), Some(2), Some(2)]
        );
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let kernels = [(0, 300, 256), (512, 100, 512)];
        let open = |launches: &[_], kernels: &[_]| {
            Symbols::open(&section(launches, kernels), 61, 612).is_ok()
        };
        assert!(open(&[(0, 1)], &kernels));
        assert!(!open(&[(2, 1)], &kernels));
        assert!(!open(&[(0, 61)], &kernels));
        assert!(!open(&[(0, 5), (0, 5)], &kernels));
        assert!(!open(&[], &[(0, 613, 0)]));
        assert!(!open(&[], &[(0, 600, 600)]));
        assert!(!open(&[], &[(u64::MAX, 2, u64::MAX)]));
        assert!(!open(&[], &[(0, 300, 0), (299, 1, 299)]));
        let bytes = section(&[(0, 1)], &kernels);
        for n in 0..bytes.len() {
            assert!(Symbols::open(&bytes[..n], 61, 612).is_err());
        }
    }
}
