//! Constant data, memory-mapped where it came from a file.

use crate::uop::DType;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Immutable bytes: owned, or a part of something mapped. Cloning copies nothing.
#[derive(Clone)]
pub struct Bytes {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    start: usize,
    len: usize,
}

impl Bytes {
    /// All of `owner`'s bytes (a `Vec<u8>`, a memory map ...).
    pub fn new(owner: impl AsRef<[u8]> + Send + Sync + 'static) -> Bytes {
        let len = owner.as_ref().len();
        Bytes {
            owner: Arc::new(owner),
            start: 0,
            len,
        }
    }
    /// A part; `None` when it does not lie inside.
    pub fn slice(&self, start: usize, len: usize) -> Option<Bytes> {
        let end = start.checked_add(len)?;
        (end <= self.len).then(|| Bytes {
            owner: self.owner.clone(),
            start: self.start + start,
            len,
        })
    }
}

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.start..self.start + self.len]
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.len)
    }
}

/// A constant tensor: row-major little-endian elements.
#[derive(Debug, Clone)]
pub struct Weight {
    /// Name in the model.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Shape.
    pub shape: Vec<i64>,
    /// `shape.product() * dtype.size()` bytes.
    pub bytes: Bytes,
}

impl Weight {
    /// True when both hold the same elements in the same order, whatever their shapes.
    pub fn same_data(&self, other: &Weight) -> bool {
        self.dtype == other.dtype
            && self.bytes.len() == other.bytes.len()
            && (std::ptr::eq(self.bytes.as_ptr(), other.bytes.as_ptr())
                || *self.bytes == *other.bytes)
    }
}
