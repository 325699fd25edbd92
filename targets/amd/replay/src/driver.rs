//! Requests to the driver.
//!
//! In: a number and its structure. Out: the structure as the driver leaves it. A request that a signal interrupted is made again.

use tinyc_runtime::io::{Errno, Fd, KernelIo};

/// EAGAIN: as good as interrupted.
const AGAIN: Errno = Errno(11);
/// A request that is interrupted more often than this is refused.
const MAX_TRIES: u32 = 1000;

/// One request. Refused when the structure is not the one whose size the number holds.
pub(crate) fn call<I: KernelIo, T>(
    io: &mut I,
    fd: Fd,
    request: u32,
    argument: &mut T,
) -> Result<(), Errno> {
    if (request >> 16 & 0x3FFF) as usize != size_of::<T>() {
        return Err(Errno::INVALID);
    }
    let mut last = Errno::INTERRUPTED;
    for _ in 0..MAX_TRIES {
        let at = core::ptr::from_mut(argument).cast::<u8>();
        // SAFETY: the structure has the size that the request's number says. Addresses in it are of memory that its maker keeps alive: arrays on
        // the stack of the caller, mappings of blocks.
        match unsafe { io.ioctl(fd, request, at) } {
            Ok(_) => return Ok(()),
            Err(errno @ (Errno::INTERRUPTED | AGAIN)) => last = errno,
            Err(errno) => return Err(errno),
        }
    }
    Err(last)
}
