//! The bundle of the executable that runs.
//!
//! In: two addresses that the linker knows. Out: the bundle; refused when a digest does not match.

use tinyc_runtime::sha256::Sha256;
use tinyc_runtime::{Bundle, Error, elf};

/// The bundle of this executable, with every digest checked when `checked`.
///
/// # Safety
/// `start` is the address of a segment, `header` that of the executable's own ELF header, in memory; no segment has been
/// written to.
pub unsafe fn bundle(
    start: *const u8,
    header: *const u8,
    checked: bool,
) -> Result<Bundle<'static>, Error> {
    // SAFETY: the header and the program headers are at the start of the first mapped page.
    let header = unsafe { core::slice::from_raw_parts(header, 4096) };
    let segments = (0..).map_while(|n| elf::segment(header, n)).flatten();
    let size = segments
        .filter(|s| s.address == start.addr() as u64)
        .map(|s| s.size)
        .next()
        .unwrap_or(0);
    // SAFETY: this segment is mapped read-only for as long as the process lives.
    let bytes = unsafe { core::slice::from_raw_parts(start, size as usize) };
    let bundle = Bundle::open(bytes)?;
    if !checked {
        return Ok(bundle);
    }
    bundle.verify()?;
    let hole = (start.addr() as u64, bundle.bytes().len() as u64);
    let mut code = Sha256::new();
    let (mut total, mut index) = (0u64, 0);
    while let Some(segment) = elf::segment(header, index) {
        index += 1;
        let Some(segment) = segment else { continue };
        for (address, size) in elf::outside(segment.address, segment.size, hole) {
            // SAFETY: a loaded segment is mapped at its address (the executable is not relocated).
            // Nothing has written to the writable ones yet.
            code.update(unsafe {
                core::slice::from_raw_parts(address as *const u8, size as usize)
            });
            total = total.wrapping_add(size);
        }
    }
    bundle.verify_code(total, code.finish())?;
    Ok(bundle)
}
