//! The sections `program` and `tensors`: launches, their arguments, places of buffers, inputs, outputs.
//!
//! ```text
//! program  0 arena bytes u64, 8 operations u64, 16 launches, 20 arguments, 24 places, 28 kernels (u32)
//!          32 launches: kernel, first argument, arguments, flags and the place of a choice (u32 each)
//!          then arguments: place u32
//!          then places: offset u64, bytes u64, base u32, 0 u32
//! tensors  0 inputs u32, 4 outputs u32, then for each: element type u32, bytes of name u32, rank u32,
//!          0 u32, extents u64, name; each filled up to 8 bytes
//! ```
//!
//! [`Program::open`] checks all of it against itself: after that no launch names a kernel, a buffer or a
//! byte that does not exist.

use crate::bundle::Error;
use crate::{part, u32_at, u64_at};

/// Bytes of one launch, one argument, one place.
pub const LAUNCH_BYTES: usize = 16;
/// See [`LAUNCH_BYTES`].
pub const ARGUMENT_BYTES: usize = 4;
/// See [`LAUNCH_BYTES`].
pub const PLACE_BYTES: usize = 24;
/// Bytes before the first launch.
pub const HEADER_BYTES: usize = 32;
/// Flag of a launch: all workers take part.
pub const PARALLEL: u32 = 1;
/// Flag of a launch: all workers wait for each other after it.
pub const BARRIER: u32 = 2;
/// Flag of a launch: it is only needed when the truth value at a place is the one [`WANTED`] tells.
pub const CONDITIONAL: u32 = 4;
/// Flag of a launch that is [`CONDITIONAL`]: needed when the value is true; otherwise when it is false.
pub const WANTED: u32 = 8;
/// The place of that value is the rest of the flags.
pub const CHOICE_SHIFT: u32 = 4;
/// More arguments than this in one launch are refused, so that devices can hold them on the stack.
pub const MAX_ARGUMENTS: u32 = 1024;
/// Largest rank of a tensor.
pub const MAX_RANK: u32 = 32;

/// Element types: number in the file is the place in this table. Name, bytes, type in `.npy` files.
pub const TYPES: [(&str, u64, &str); 13] = [
    ("bool", 1, "|b1"),
    ("i8", 1, "|i1"),
    ("i16", 2, "<i2"),
    ("i32", 4, "<i4"),
    ("i64", 8, "<i8"),
    ("u8", 1, "|u1"),
    ("u16", 2, "<u2"),
    ("u32", 4, "<u4"),
    ("u64", 8, "<u8"),
    ("f16", 2, "<f2"),
    // NumPy has no bfloat16: its bits travel as u16.
    ("bf16", 2, "<u2"),
    ("f32", 4, "<f4"),
    ("f64", 8, "<f8"),
];

/// One launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launch {
    /// Which kernel.
    pub kernel: u32,
    first: u32,
    count: u32,
    flags: u32,
}

impl Launch {
    /// All workers take part; otherwise only worker 0.
    pub fn parallel(&self) -> bool {
        self.flags & PARALLEL != 0
    }
    /// All workers wait for each other afterwards.
    pub fn barrier(&self) -> bool {
        self.flags & BARRIER != 0
    }
    /// Number of the place of a truth value (one byte), and what it must be for the launch to be needed.
    fn choice(&self) -> Option<(u32, bool)> {
        let conditional = self.flags & CONDITIONAL != 0;
        conditional.then_some((self.flags >> CHOICE_SHIFT, self.flags & WANTED != 0))
    }
}

/// Where a buffer is. Base 0 is the arena, 1 the weights, then inputs, then outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Which memory.
    pub base: u32,
    /// Bytes from its start.
    pub offset: u64,
    /// Size.
    pub bytes: u64,
}

/// An input or output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tensor<'a> {
    /// Name in the model.
    pub name: &'a str,
    /// Index into [`TYPES`].
    pub dtype: u32,
    dims: &'a [u8],
    /// Bytes.
    pub bytes: u64,
}

impl<'a> Tensor<'a> {
    /// Extents.
    pub fn dims(&self) -> impl ExactSizeIterator<Item = u64> + use<'a> {
        self.dims
            .as_chunks::<8>()
            .0
            .iter()
            .map(|d| u64::from_le_bytes(*d))
    }
    /// Element type as text.
    pub fn type_name(&self) -> &'static str {
        TYPES.get(self.dtype as usize).map_or("", |t| t.0)
    }
    /// Element type as `.npy` files name it.
    pub fn npy_type(&self) -> &'static str {
        TYPES.get(self.dtype as usize).map_or("", |t| t.2)
    }
}

/// The program of a bundle, checked.
#[derive(Debug, Clone, Copy)]
pub struct Program<'a> {
    launches: &'a [u8],
    arguments: &'a [u8],
    places: &'a [u8],
    tensors: &'a [u8],
    /// Number of kernels.
    pub kernels: u32,
    /// Bytes of the arena.
    pub arena_bytes: u64,
    /// Operations of one run.
    pub flops: u64,
    /// Bytes of the weights.
    pub weight_bytes: u64,
    /// Number of inputs.
    pub inputs: u32,
    /// Number of outputs.
    pub outputs: u32,
}

impl<'a> Program<'a> {
    /// Reads and checks the two sections.
    pub fn open(program: &'a [u8], tensors: &'a [u8], weight_bytes: u64) -> Result<Self, Error> {
        let opened =
            Self::parse(program, tensors, weight_bytes).ok_or(Error::Malformed("program"))?;
        opened.check_tensors().ok_or(Error::Malformed("tensors"))?;
        opened.check_program().ok_or(Error::Malformed("program"))?;
        Ok(opened)
    }

    fn parse(bytes: &'a [u8], tensors: &'a [u8], weight_bytes: u64) -> Option<Self> {
        let launches = u64::from(u32_at(bytes, 16)?) * LAUNCH_BYTES as u64;
        let arguments = u64::from(u32_at(bytes, 20)?) * ARGUMENT_BYTES as u64;
        let places = u64::from(u32_at(bytes, 24)?) * PLACE_BYTES as u64;
        let first_argument = HEADER_BYTES as u64 + launches;
        let first_place = first_argument + arguments;
        Some(Program {
            launches: part(bytes, HEADER_BYTES as u64, launches)?,
            arguments: part(bytes, first_argument, arguments)?,
            places: part(bytes, first_place, places)?,
            tensors,
            kernels: u32_at(bytes, 28)?,
            arena_bytes: u64_at(bytes, 0)?,
            flops: u64_at(bytes, 8)?,
            weight_bytes,
            inputs: u32_at(tensors, 0)?,
            outputs: u32_at(tensors, 4)?,
        })
    }

    fn check_tensors(&self) -> Option<()> {
        let count = self.inputs.checked_add(self.outputs)?;
        let mut cursor = Cursor {
            bytes: self.tensors,
            at: 8,
        };
        for _ in 0..count {
            cursor.next()?;
        }
        Some(())
    }

    fn check_program(&self) -> Option<()> {
        for launch in self.launches() {
            (launch.kernel < self.kernels && launch.count <= MAX_ARGUMENTS).then_some(())?;
            let end = u64::from(launch.first) + u64::from(launch.count);
            (end <= (self.arguments.len() / ARGUMENT_BYTES) as u64).then_some(())?;
            if let Some((place, _)) = launch.choice() {
                (self.place(place)?.bytes > 0).then_some(())?;
            }
        }
        let places = (self.places.len() / PLACE_BYTES) as u32;
        for argument in self.arguments.as_chunks::<4>().0 {
            (u32::from_le_bytes(*argument) < places).then_some(())?;
        }
        for index in 0..places {
            let place = self.place(index)?;
            let end = place.offset.checked_add(place.bytes)?;
            (end <= self.base_bytes(place.base)?).then_some(())?;
        }
        Some(())
    }

    /// Bytes behind a base.
    fn base_bytes(&self, base: u32) -> Option<u64> {
        match base {
            0 => Some(self.arena_bytes),
            1 => Some(self.weight_bytes),
            n => self.tensor(n - 2).map(|t| t.bytes),
        }
    }

    /// Number of bases: arena, weights, inputs, outputs.
    pub fn bases(&self) -> usize {
        2 + self.inputs as usize + self.outputs as usize
    }

    /// Launches in order.
    pub fn launches(&self) -> impl ExactSizeIterator<Item = Launch> + use<'a> {
        self.launches.as_chunks::<LAUNCH_BYTES>().0.iter().map(|l| {
            let [
                k0,
                k1,
                k2,
                k3,
                f0,
                f1,
                f2,
                f3,
                c0,
                c1,
                c2,
                c3,
                g0,
                g1,
                g2,
                g3,
            ] = *l;
            Launch {
                kernel: u32::from_le_bytes([k0, k1, k2, k3]),
                first: u32::from_le_bytes([f0, f1, f2, f3]),
                count: u32::from_le_bytes([c0, c1, c2, c3]),
                flags: u32::from_le_bytes([g0, g1, g2, g3]),
            }
        })
    }

    /// Places of a launch's arguments.
    pub fn arguments(&self, launch: &Launch) -> impl Iterator<Item = Place> + use<'a> {
        let program = *self;
        let start = launch.first as usize * ARGUMENT_BYTES;
        let bytes = program.arguments.get(start..).unwrap_or(&[]);
        let list = bytes.as_chunks::<4>().0.iter().take(launch.count as usize);
        list.filter_map(move |a| program.place(u32::from_le_bytes(*a)))
    }

    /// Where the truth value lies without which a launch is not needed, and what it must be.
    pub fn condition(&self, launch: &Launch) -> Option<(Place, bool)> {
        let (place, wanted) = launch.choice()?;
        Some((self.place(place)?, wanted))
    }

    /// Tensor `index`: inputs first.
    pub fn tensor(&self, index: u32) -> Option<Tensor<'a>> {
        if index >= self.inputs.checked_add(self.outputs)? {
            return None;
        }
        let mut cursor = Cursor {
            bytes: self.tensors,
            at: 8,
        };
        for _ in 0..index {
            cursor.next()?;
        }
        cursor.next()
    }

    fn place(&self, index: u32) -> Option<Place> {
        let at = (index as usize).checked_mul(PLACE_BYTES)?;
        Some(Place {
            offset: u64_at(self.places, at)?,
            bytes: u64_at(self.places, at + 8)?,
            base: u32_at(self.places, at + 16)?,
        })
    }
}

/// Walks the tensors.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn next(&mut self) -> Option<Tensor<'a>> {
        let dtype = u32_at(self.bytes, self.at)?;
        let name = u32_at(self.bytes, self.at.checked_add(4)?)?;
        let rank = u32_at(self.bytes, self.at.checked_add(8)?)?;
        if rank > MAX_RANK {
            return None;
        }
        let start = self.at as u64 + 16;
        let dims = part(self.bytes, start, u64::from(rank) * 8)?;
        let name_at = start + u64::from(rank) * 8;
        let text = core::str::from_utf8(part(self.bytes, name_at, u64::from(name))?).ok()?;
        let mut bytes = TYPES.get(dtype as usize)?.1;
        for dim in dims.as_chunks::<8>().0 {
            bytes = bytes.checked_mul(u64::from_le_bytes(*dim))?;
        }
        let end = name_at
            .checked_add(u64::from(name))?
            .checked_next_multiple_of(8)?;
        self.at = usize::try_from(end).ok()?;
        Some(Tensor {
            name: text,
            dtype,
            dims,
            bytes,
        })
    }
}
