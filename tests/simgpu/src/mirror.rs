//! Two views of one piece of memory: the device's and the host's, as if caches lay between them.
//!
//! In: the bytes of both, and `base`, what they last agreed on. Out: who wrote what. A byte of a view that differs from
//! `base` was written by its owner, so that both may write one line and lose nothing.

/// The host's view of a mapping.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mirror {
    /// What the host reads and writes.
    pub host: *mut u8,
    /// What both last agreed on.
    pub base: *mut u8,
}

/// Bytes that are compared at once.
const CHUNK: usize = 4096;

impl Mirror {
    /// Shows the host what the device wrote in a range.
    ///
    /// # Safety
    /// The range lies inside of all three views.
    pub unsafe fn show(&self, device: *const u8, offset: usize, len: usize) {
        for n in offset..offset + len {
            // The caller's range.
            unsafe {
                let value = device.add(n).read();
                if value != self.base.add(n).read() {
                    self.host.add(n).write_volatile(value);
                    self.base.add(n).write(value);
                }
            }
        }
    }

    /// What the host wrote, as offsets and bytes; from now on both agree on it.
    ///
    /// # Safety
    /// The host's view and `base` have `len` bytes, and nobody writes them meanwhile.
    pub unsafe fn wrote(&self, len: usize) -> Vec<(usize, Vec<u8>)> {
        // As the caller promises.
        let (host, base) = unsafe {
            (
                std::slice::from_raw_parts(self.host, len),
                std::slice::from_raw_parts_mut(self.base, len),
            )
        };
        let mut out: Vec<(usize, Vec<u8>)> = Vec::new();
        for start in (0..len).step_by(CHUNK) {
            let end = len.min(start + CHUNK);
            if host[start..end] == base[start..end] {
                continue;
            }
            for n in (start..end).filter(|&n| host[n] != base[n]) {
                match out.last_mut() {
                    Some((at, piece)) if *at + piece.len() == n => piece.push(host[n]),
                    _ => out.push((n, vec![host[n]])),
                }
            }
            base[start..end].copy_from_slice(&host[start..end]);
        }
        out
    }
}
