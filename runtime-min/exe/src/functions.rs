//! Memory functions that compilers expect of a C library.

/// Copies `n` bytes between regions that do not overlap.
///
/// # Safety
/// As C's `memcpy`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    // SAFETY: the caller's promise; written without a call, which would be this function again.
    unsafe { forward(to, from, n) };
    to
}

/// Copies `n` bytes.
///
/// # Safety
/// As C's `memmove`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    if to.addr().wrapping_sub(from.addr()) >= n {
        // SAFETY: the destination does not start inside the source.
        unsafe { forward(to, from, n) };
    } else {
        let mut i = n;
        while i > 0 {
            i -= 1;
            // SAFETY: i < n. Volatile, so that the loop does not become a call of this function.
            unsafe { to.add(i).write_volatile(from.add(i).read_volatile()) };
        }
    }
    to
}

/// Fills `n` bytes.
///
/// # Safety
/// As C's `memset`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, n: usize) -> *mut u8 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the direction flag is clear by the ABI; writes exactly n bytes.
    unsafe {
        core::arch::asm!("rep stosb", inout("rcx") n => _, inout("rdi") to => _, in("al") value as u8,
            options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    for i in 0..n {
        // SAFETY: i < n. Volatile, so that the loop does not become a call of this function.
        unsafe { to.add(i).write_volatile(value as u8) };
    }
    to
}

/// Compares `n` bytes.
///
/// # Safety
/// As C's `memcmp`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
    for i in 0..n {
        // SAFETY: i < n. Volatile, so that the loop does not become a call of this function.
        let (x, y) = unsafe { (a.add(i).read_volatile(), b.add(i).read_volatile()) };
        if x != y {
            return i32::from(x) - i32::from(y);
        }
    }
    0
}

/// Compares `n` bytes for equality.
///
/// # Safety
/// As `bcmp`.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, n: usize) -> i32 {
    // SAFETY: the same promise.
    unsafe { memcmp(a, b, n) }
}

/// Length of a string.
///
/// # Safety
/// As C's `strlen`.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut n = 0;
    // SAFETY: the string ends with zero, so every byte up to it may be read.
    while unsafe { text.add(n).read_volatile() } != 0 {
        n += 1;
    }
    n
}

/// Ascending copy.
///
/// # Safety
/// Both regions have `n` bytes, and the destination does not start inside the source.
unsafe fn forward(to: *mut u8, from: *const u8, n: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the direction flag is clear by the ABI; moves exactly n bytes.
    unsafe {
        core::arch::asm!("rep movsb", inout("rcx") n => _, inout("rdi") to => _,
            inout("rsi") from => _, options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let mut i = 0;
        // Words first: tensors are copied here.
        while i + 8 <= n {
            // SAFETY: i + 8 <= n; unaligned volatile access goes by bytes of a word.
            unsafe {
                let word = from.add(i).cast::<u64>().read_unaligned();
                core::arch::asm!("str {0}, [{1}]", in(reg) word, in(reg) to.add(i), options(nostack));
            }
            i += 8;
        }
        while i < n {
            // SAFETY: i < n. Volatile, so that the loop does not become a call of memcpy.
            unsafe { to.add(i).write_volatile(from.add(i).read_volatile()) };
            i += 1;
        }
    }
}
