//! The container: a header, a table of sections with a digest each, the sections.
//!
//! All numbers are little-endian. Offsets count from the start of the bundle.
//!
//! ```text
//! 0   8   magic "tinycbdl"
//! 8   4   version of the format
//! 12  4   number of sections
//! 16  8   size of the bundle
//! 24  8   0
//! 32  32  SHA-256 of bytes 0..32 and of the section table
//! 64      sections, 64 bytes each: kind u32, 0 u32, offset u64, size u64, 0 u64, SHA-256
//! ```
//!
//! The section `code` has no bytes here: its digest covers everything that the executable loads
//! outside the bundle. In: the bytes of a bundle or of an executable with one. Out: [`Bundle`].

use crate::identity::{Identity, cut};
use crate::patch::Patches;
use crate::program::Program;
use crate::sha256::Sha256;
use crate::symbols::Symbols;
use crate::{bytes_at, elf, part, u32_at, u64_at};

/// First bytes.
pub const MAGIC: [u8; 8] = *b"tinycbdl";
/// Version that this code reads and writes.
pub const VERSION: u32 = 1;
/// Bytes of the header and of each entry of the section table.
pub const ENTRY: usize = 64;
/// Where an entry (and the header) holds its digest.
pub const DIGEST_AT: usize = 32;
/// More sections than any version needs.
const MAX_SECTIONS: u32 = 64;

/// What a section holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text, one `key=value` a line.
    Manifest,
    /// Launches, arguments, places; see [`crate::program`].
    Program,
    /// Inputs and outputs.
    Tensors,
    /// Kernel names, one a line.
    Kernels,
    /// Model nodes of each launch, one launch a line.
    Origins,
    /// What each kernel is, one a line; see [`crate::identity`].
    Identities,
    /// Weights, in the kernels' layouts.
    Weights,
    /// Everything that the executable loads outside the bundle.
    Code,
    /// What the device must be and have; its own format.
    Needs,
    /// Machine code of all kernels, relocated, for a device that is given it.
    Image,
    /// Commands of one run, as 32-bit words with places to be patched.
    Stream,
    /// Arguments of all launches, with places to be patched.
    Kernargs,
    /// What is patched; see [`crate::patch`].
    Patches,
    /// Where launches and kernels are; see [`crate::symbols`].
    Symbols,
}

impl Kind {
    /// All.
    pub const ALL: [Kind; 14] = [
        Kind::Manifest,
        Kind::Program,
        Kind::Tensors,
        Kind::Kernels,
        Kind::Origins,
        Kind::Identities,
        Kind::Weights,
        Kind::Code,
        Kind::Needs,
        Kind::Image,
        Kind::Stream,
        Kind::Kernargs,
        Kind::Patches,
        Kind::Symbols,
    ];
    /// Number in the table.
    pub const fn number(self) -> u32 {
        match self {
            Kind::Manifest => 1,
            Kind::Program => 2,
            Kind::Tensors => 3,
            Kind::Kernels => 4,
            Kind::Origins => 5,
            Kind::Weights => 6,
            Kind::Code => 7,
            Kind::Identities => 8,
            Kind::Needs => 9,
            Kind::Image => 10,
            Kind::Stream => 11,
            Kind::Kernargs => 12,
            Kind::Patches => 13,
            Kind::Symbols => 14,
        }
    }
    /// Name in messages.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Manifest => "manifest",
            Kind::Program => "program",
            Kind::Tensors => "tensors",
            Kind::Kernels => "kernels",
            Kind::Origins => "origins",
            Kind::Identities => "identities",
            Kind::Needs => "needs",
            Kind::Image => "image",
            Kind::Stream => "stream",
            Kind::Kernargs => "kernargs",
            Kind::Patches => "patches",
            Kind::Symbols => "symbols",
            Kind::Weights => "weights",
            Kind::Code => "code",
        }
    }
}

/// Why a file is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// Not a bundle and not an executable that has one.
    NotABundle,
    /// A format that this version does not read.
    Version(u32),
    /// The digest of this section (or of the `header`) does not match.
    Damaged(&'static str),
    /// This section is missing or contradicts itself.
    Malformed(&'static str),
}

impl core::fmt::Display for Error {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Error::NotABundle => f.write_str("not a tinyc executable"),
            Error::Version(v) => write!(f, "bundle format {v}, this tinyc reads {VERSION}"),
            Error::Damaged(s) => write!(f, "section '{s}' is damaged: its digest does not match"),
            Error::Malformed(s) => write!(f, "section '{s}' is missing or contradicts itself"),
        }
    }
}

impl core::error::Error for Error {}

/// One entry of the section table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section<'a> {
    /// What it holds.
    pub kind: Kind,
    /// Its bytes; empty for `code`.
    pub bytes: &'a [u8],
    /// Bytes that the digest covers.
    pub size: u64,
    /// SHA-256.
    pub digest: [u8; 32],
}

/// Text between an ASCII separator. Core's own `split` may panic as far as a compiler can tell, and nothing in a runtime may.
pub fn pieces(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let parts = text.as_bytes().split(move |&b| b == separator);
    parts.filter_map(|part| core::str::from_utf8(part).ok())
}

/// A bundle whose header is sound.
#[derive(Debug, Clone, Copy)]
pub struct Bundle<'a> {
    bytes: &'a [u8],
    count: usize,
}

/// Reads a bundle, bare or inside an executable, and checks every digest.
pub fn read(bytes: &[u8]) -> Result<Bundle<'_>, Error> {
    if bytes.starts_with(&MAGIC) {
        let bundle = Bundle::open(bytes)?;
        bundle.verify()?;
        return Ok(bundle);
    }
    let range = elf::section(bytes, b"tinyc_bundle").ok_or(Error::NotABundle)?;
    let inside = part(bytes, range.0, range.1).ok_or(Error::NotABundle)?;
    let bundle = Bundle::open(inside)?;
    bundle.verify()?;
    let mut code = Sha256::new();
    let size = elf::loaded(bytes, (range.0, bundle.bytes.len() as u64), &mut |p| {
        code.update(p)
    })
    .ok_or(Error::Malformed("code"))?;
    bundle.verify_code(size, code.finish())?;
    Ok(bundle)
}

impl<'a> Bundle<'a> {
    /// Reads header and section table; the sections themselves are not checked yet. Bytes after the
    /// bundle are ignored.
    pub fn open(bytes: &'a [u8]) -> Result<Bundle<'a>, Error> {
        if !bytes.starts_with(&MAGIC) {
            return Err(Error::NotABundle);
        }
        let version = u32_at(bytes, 8).ok_or(Error::NotABundle)?;
        let count = u32_at(bytes, 12).ok_or(Error::NotABundle)?;
        let size = u64_at(bytes, 16).ok_or(Error::NotABundle)?;
        let found: [u8; 32] = bytes_at(bytes, DIGEST_AT).ok_or(Error::NotABundle)?;
        if count > MAX_SECTIONS {
            return Err(Error::Damaged("header"));
        }
        let count = count as usize;
        if header_digest(bytes, count) != Some(found) {
            return Err(Error::Damaged("header"));
        }
        if version != VERSION {
            return Err(Error::Version(version));
        }
        let bytes = part(bytes, 0, size).ok_or(Error::Malformed("header"))?;
        let bundle = Bundle { bytes, count };
        for i in 0..count {
            bundle.entry(i).ok_or(Error::Malformed("header"))?;
        }
        Ok(bundle)
    }

    /// All of the bundle.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The sections in order.
    pub fn sections(&self) -> impl Iterator<Item = Section<'a>> + use<'a> {
        let bundle = *self;
        (0..self.count).filter_map(move |i| bundle.entry(i))
    }

    /// The section of a kind.
    pub fn section(&self, kind: Kind) -> Result<Section<'a>, Error> {
        self.sections()
            .find(|s| s.kind == kind)
            .ok_or(Error::Malformed(kind.name()))
    }

    /// Checks the digest of every section but `code`.
    pub fn verify(&self) -> Result<(), Error> {
        for section in self.sections() {
            if section.kind != Kind::Code && Sha256::digest(section.bytes) != section.digest {
                return Err(Error::Damaged(section.kind.name()));
            }
        }
        Ok(())
    }

    /// Checks what was loaded outside the bundle. A bundle without `code` has nothing to check.
    pub fn verify_code(&self, size: u64, digest: [u8; 32]) -> Result<(), Error> {
        match self.section(Kind::Code) {
            Ok(code) if code.size != size || code.digest != digest => Err(Error::Damaged("code")),
            _ => Ok(()),
        }
    }

    /// Text of the manifest.
    pub fn manifest(&self) -> Result<&'a str, Error> {
        core::str::from_utf8(self.section(Kind::Manifest)?.bytes)
            .map_err(|_| Error::Malformed("manifest"))
    }

    /// First value of a key of the manifest.
    pub fn value(&self, key: &str) -> Option<&'a str> {
        self.values(key).next()
    }

    /// All values of a key of the manifest.
    pub fn values<'k>(&self, key: &'k str) -> impl Iterator<Item = &'a str> + use<'a, 'k> {
        let text = self.manifest().unwrap_or("");
        pieces(text, b'\n').filter_map(move |line| line.strip_prefix(key)?.strip_prefix('='))
    }

    /// Launches, places and tensors, checked against each other.
    pub fn program(&self) -> Result<Program<'a>, Error> {
        Program::open(
            self.section(Kind::Program)?.bytes,
            self.section(Kind::Tensors)?.bytes,
            self.section(Kind::Weights)?.size,
        )
    }

    /// Patches of the command stream, checked against what they patch.
    pub fn patches(&self) -> Result<Patches<'a>, Error> {
        let size = |kind| Ok(self.section(kind)?.size);
        let sizes = [
            size(Kind::Stream)?,
            size(Kind::Kernargs)?,
            size(Kind::Image)?,
        ];
        Patches::open(self.section(Kind::Patches)?.bytes, sizes)
    }

    /// Places of launches and kernels, checked against stream and image.
    pub fn symbols(&self) -> Result<Symbols<'a>, Error> {
        let words = self.section(Kind::Stream)?.size / 4;
        let image = self.section(Kind::Image)?.size;
        Symbols::open(self.section(Kind::Symbols)?.bytes, words, image)
    }

    /// Kernel names in order.
    pub fn kernels(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.lines(Kind::Kernels)
    }

    /// Model nodes of each launch, in order.
    pub fn origins(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.lines(Kind::Origins)
    }

    /// What each kernel is, in order; nothing in bundles that do not say so.
    pub fn identities(&self) -> impl Iterator<Item = Identity<'a>> + use<'a> {
        self.lines(Kind::Identities).map(Identity::parse)
    }

    fn lines(&self, kind: Kind) -> impl Iterator<Item = &'a str> + use<'a> {
        let bytes = self.section(kind).map_or(&[][..], |s| s.bytes);
        let mut rest = core::str::from_utf8(bytes).unwrap_or("");
        core::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let (line, behind) = cut(rest, b'\n');
            rest = behind;
            Some(line)
        })
    }

    fn entry(&self, index: usize) -> Option<Section<'a>> {
        let at = index.checked_add(1)?.checked_mul(ENTRY)?;
        let number = u32_at(self.bytes, at)?;
        let kind = Kind::ALL.into_iter().find(|k| k.number() == number)?;
        let offset = u64_at(self.bytes, at + 8)?;
        let size = u64_at(self.bytes, at + 16)?;
        let bytes = match kind {
            Kind::Code => &[],
            _ => part(self.bytes, offset, size)?,
        };
        Some(Section {
            kind,
            bytes,
            size,
            digest: bytes_at(self.bytes, at + DIGEST_AT)?,
        })
    }
}

/// Digest of a bundle's header and section table. `None` when they are cut off.
pub fn header_digest(bytes: &[u8], count: usize) -> Option<[u8; 32]> {
    let table = count.checked_mul(ENTRY)?.checked_add(ENTRY)?;
    let mut hash = Sha256::new();
    hash.update(bytes.get(..DIGEST_AT)?);
    hash.update(bytes.get(ENTRY..table)?);
    Some(hash.finish())
}
