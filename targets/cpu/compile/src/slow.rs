//! A kernel that takes longer than it needs: how tests of `tinyc blame` and `tinyc bench` know the truth.
//!
//! In: `NAME:PERCENT` or `NUMBER:PERCENT`, and a kernel's text. Out: the text with a function around the kernel that waits for
//! that share of the time which the kernel took. It is text like any other, so object caches and code hashes see it.
//!
//! Example: `3:10` makes `k3_conv_relu` take 10 % longer.

use tinyc_compiler::diag::{Error, Result};
use tinyc_compiler::program::Built;

/// Which kernel, and by how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlowKernel {
    kernel: String,
    percent: u32,
}

impl SlowKernel {
    /// Reads `NAME:PERCENT` or `NUMBER:PERCENT`.
    pub fn parse(text: &str) -> Result<SlowKernel> {
        let parts = text.rsplit_once(':');
        let percent = parts.and_then(|(_, p)| p.parse().ok());
        match (parts, percent) {
            (Some((kernel, _)), Some(percent @ 1..=1000)) if !kernel.is_empty() => Ok(SlowKernel {
                kernel: kernel.to_string(),
                percent,
            }),
            _ => Err(Error::usage(format!(
                "'{text}' is no slow kernel: expected NAME:PERCENT or NUMBER:PERCENT with 1 to 1000 %"
            ))),
        }
    }

    /// True for the kernel that is meant. Numbers are those at the front of names: 3 is `k3_conv_relu`.
    pub fn names(&self, kernel: &str) -> bool {
        let number = kernel
            .strip_prefix('k')
            .map(|rest| rest.split('_').next().unwrap_or(rest));
        kernel == self.kernel || number == Some(&self.kernel)
    }

    /// Refuses a name that no kernel has.
    pub fn check(&self, built: &Built) -> Result<()> {
        if built.linear.iter().any(|k| self.names(&k.name)) {
            return Ok(());
        }
        let names: Vec<&str> = built.linear.iter().map(|k| k.name.as_str()).collect();
        Err(
            Error::usage(format!("there is no kernel '{}' to slow down", self.kernel))
                .help(format!("kernels: {}", names.join(", "))),
        )
    }

    /// The kernel's text with a function around it that waits.
    pub fn slow_down(&self, text: &str, symbol: &str) -> String {
        let percent = self.percent;
        format!(
            "#define {symbol} {symbol}_itself
{text}
#undef {symbol}
static inline uint64_t {symbol}_ticks(void)
{{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#else
    uint64_t ticks;
    __asm__ volatile(\"mrs %0, cntvct_el0\" : \"=r\"(ticks));
    return ticks;
#endif
}}
void {symbol}(uint8_t *const *args, int64_t worker, int64_t workers)
{{
    uint64_t start = {symbol}_ticks();
    {symbol}_itself(args, worker, workers);
    uint64_t end = {symbol}_ticks();
    uint64_t extra = (end - start) * {percent} / 100;
    while ({symbol}_ticks() - end < extra) {{
    }}
}}
"
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_and_numbers() {
        let slow = SlowKernel::parse("3:10").unwrap();
        assert!(slow.names("k3_conv_relu") && slow.names("k3"));
        assert!(!slow.names("k30_conv") && !slow.names("k13"));
        let slow = SlowKernel::parse("k1_softmax:25").unwrap();
        assert!(slow.names("k1_softmax") && !slow.names("k1"));
        for wrong in ["", "3", "3:", ":10", "3:0", "3:-1", "3:x", "3:1001"] {
            assert!(SlowKernel::parse(wrong).is_err(), "{wrong}");
        }
    }
}
