//! What a library without Rust's standard library needs: an answer to panics. In: a panic, which no input leads to. Out: the process ends.

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: an instruction that ends the process.
        unsafe {
            core::arch::asm!("ud2", options(nomem, nostack))
        }
        #[cfg(target_arch = "aarch64")]
        // SAFETY: an instruction that ends the process.
        unsafe {
            core::arch::asm!("brk #1", options(nomem, nostack))
        }
    }
}
