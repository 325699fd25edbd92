//! Text to a file descriptor, through a small buffer. No `core::fmt`: it would double the executable.

use crate::sys::{Errno, Fd, write};
use tinyc_runtime::npy::decimal;

/// Standard output.
pub const STDOUT: Fd = Fd(1);
/// Standard error.
pub const STDERR: Fd = Fd(2);

/// A buffered writer. Remembers the first error; later text is dropped.
#[derive(Debug)]
pub struct Output {
    fd: Fd,
    buffer: [u8; 512],
    filled: usize,
    error: Option<Errno>,
}

impl Output {
    /// Writes to `fd`.
    pub fn new(fd: Fd) -> Output {
        Output {
            fd,
            buffer: [0; 512],
            filled: 0,
            error: None,
        }
    }

    /// Adds bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        for &b in bytes {
            if self.filled >= self.buffer.len() {
                self.flush();
            }
            if let Some(place) = self.buffer.get_mut(self.filled) {
                *place = b;
                self.filled += 1;
            }
        }
        self
    }

    /// Adds text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// Adds text inside a JSON string.
    pub fn json(&mut self, text: &str) -> &mut Self {
        for &b in text.as_bytes() {
            match b {
                b'"' | b'\\' => self.bytes(&[b'\\', b]),
                0..0x20 => self.bytes(b" "),
                _ => self.bytes(&[b]),
            };
        }
        self
    }

    /// Adds a number.
    pub fn number(&mut self, value: u64) -> &mut Self {
        self.bytes(decimal(value, &mut [0; 20]))
    }

    /// Adds `value / 10^digits` with `digits` decimals.
    pub fn fixed(&mut self, value: u64, digits: u32) -> &mut Self {
        let unit = 10u64.checked_pow(digits).unwrap_or(1).max(1);
        self.number(value / unit).text(".");
        let rest = value % unit;
        let mut scale = unit / 10;
        while scale > 0 {
            self.bytes(&[b'0' + (rest / scale % 10) as u8]);
            scale /= 10;
        }
        self
    }

    /// Writes out what is buffered.
    pub fn flush(&mut self) {
        let bytes = self.buffer.get(..self.filled).unwrap_or(&[]);
        if self.error.is_none() {
            self.error = write(self.fd, bytes).err();
        }
        self.filled = 0;
    }

    /// Writes out the rest; the first error of all.
    pub fn finish(mut self) -> Result<(), Errno> {
        self.flush();
        self.error.map_or(Ok(()), Err)
    }
}

/// For messages that others format.
impl core::fmt::Write for Output {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.text(text);
        Ok(())
    }
}
