//! The bundle of the executable that runs.
//!
//! In: two addresses that the linker knows. Out: the bundle; refused when a digest does not match.
//!
//! Example: `own::bundle(true)` in a program that was linked with `templates/executable.ld` (feature `exe`).

use tinyc_runtime::sha256::Sha256;
use tinyc_runtime::{Bundle, Error, elf};

#[cfg(all(feature = "exe", not(test)))]
unsafe extern "C" {
    /// Defined by the linker script: where the bundle's segment starts.
    static __start_tinyc_bundle: u8;
    /// Defined by the linker: the executable's own header, in memory.
    static __ehdr_start: u8;
}

/// The bundle of this executable, with every digest checked when `checked`: first of all, before variables that the digest of the
/// code covers are written.
///
/// # Errors
/// As [`Bundle::open`], [`Bundle::verify`] and [`Bundle::verify_code`].
#[cfg(all(feature = "exe", not(test)))]
pub fn bundle(checked: bool) -> Result<Bundle<'static>, Error> {
    // SAFETY: the linker script puts both where they belong; nobody writes meanwhile.
    unsafe {
        at(
            &raw const __start_tinyc_bundle,
            &raw const __ehdr_start,
            checked,
        )
    }
}

/// The bundle at `start`.
///
/// # Safety
/// `start` is the address of a segment, `header` that of the executable's own ELF header, in memory; no segment has been
/// written to.
pub unsafe fn at(
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
