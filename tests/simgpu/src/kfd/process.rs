//! Memory of this process: what stands behind mappings. In: sizes, addresses. Out: real memory, so that pointers into it
//! may be handed out.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Memory that belongs to one owner, given back when dropped.
#[derive(Debug)]
pub(super) struct Pages {
    at: *mut u8,
    len: usize,
}

// The owner alone decides who touches it.
unsafe impl Send for Pages {}

impl Pages {
    fn map(len: usize, flags: i32, fd: i32) -> Option<Pages> {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        // A new mapping at a place of the kernel's choice.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, fd, 0) };
        (at != libc::MAP_FAILED).then_some(Pages { at: at.cast(), len })
    }

    /// Fresh memory of zeros.
    pub fn fresh(len: usize) -> Option<Pages> {
        Pages::map(
            len,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
        )
    }

    /// Another view of a file's bytes.
    pub fn of(file: &OwnedFd, len: usize) -> Option<Pages> {
        Pages::map(len, libc::MAP_SHARED, file.as_raw_fd())
    }

    /// Where it starts.
    pub fn at(&self) -> *mut u8 {
        self.at
    }

    /// Fills it with a pattern.
    pub fn fill(&self, word: u32) {
        for n in 0..self.len / 4 {
            // Inside of the mapping, which is aligned to pages.
            unsafe { self.at.cast::<u32>().add(n).write(word) };
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // The mapping is this object's.
        unsafe { libc::munmap(self.at.cast(), self.len) };
    }
}

/// A file of memory without a name, so long.
pub(super) fn file(len: usize) -> Option<OwnedFd> {
    // A new descriptor, which nobody else owns.
    let file = unsafe {
        let fd = libc::memfd_create(c"simulated".as_ptr(), libc::MFD_CLOEXEC);
        (fd >= 0).then(|| OwnedFd::from_raw_fd(fd))?
    };
    // As long as asked for; pages come when they are touched.
    let sized = unsafe { libc::ftruncate(file.as_raw_fd(), len as libc::off_t) };
    (sized == 0).then_some(file)
}

/// Maps at an address, in place of what is there when it is fixed; the address, or an error number.
///
/// # Safety
/// With `MAP_FIXED` the range is the caller's.
pub(super) unsafe fn map_at(
    address: u64,
    len: usize,
    prot: i32,
    flags: i32,
    file: Option<&OwnedFd>,
) -> Result<u64, i32> {
    let fd = file.map_or(-1, AsRawFd::as_raw_fd);
    // As the caller promises.
    let at = unsafe { libc::mmap(address as *mut _, len, prot, flags, fd, 0) };
    match at == libc::MAP_FAILED {
        true => Err(std::io::Error::last_os_error()
            .raw_os_error()
            .unwrap_or(libc::ENOMEM)),
        false => Ok(at as u64),
    }
}

/// Takes a range away.
///
/// # Safety
/// Nothing uses it any more.
pub(super) unsafe fn unmap(address: u64, len: usize) {
    // As the caller promises.
    unsafe { libc::munmap(address as *mut _, len) };
}
