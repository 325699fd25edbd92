//! Results on stdout, and numbers as people read them.

use std::io::Write;
use std::time::Duration;
use tinyc_compiler::diag::{Error, Result};

/// Prints to stdout. A reader that closed the pipe has seen enough: that is no error.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::environment(format!("cannot write to stdout: {e}")))
        }
        _ => Ok(()),
    }
}

/// Prints one line to stdout.
pub fn line(text: &str) -> Result<()> {
    print(&format!("{text}\n"))
}

/// Prints a value as JSON to stdout.
pub fn json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| Error::bug(format!("cannot write JSON: {e}")))?;
    line(&text)
}

/// Prints a note for people to stderr.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// `1.5 MB`, three digits.
pub fn bytes(n: u64) -> String {
    scaled(n as f64, "B")
}

/// `1.204 ms`, `0.362 us`.
pub fn time(ms: f64) -> String {
    match ms {
        ms if ms < 1.0 => format!("{:.3} us", ms * 1e3),
        ms => format!("{ms:.3} ms"),
    }
}

/// `3.63 GFLOP`, three digits.
pub fn flops(n: u64) -> String {
    scaled(n as f64, "FLOP")
}

fn scaled(n: f64, unit: &str) -> String {
    let mut value = n;
    for prefix in ["", "k", "M", "G", "T"] {
        if value < 999.5 {
            let digits = match value {
                _ if prefix.is_empty() => 0,
                v if v < 9.995 => 2,
                v if v < 99.95 => 1,
                _ => 0,
            };
            return format!("{value:.digits$} {prefix}{unit}");
        }
        value /= 1000.0;
    }
    format!("{value:.0} P{unit}")
}

/// Seconds with two digits after the point.
pub fn seconds(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        for (n, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (26_140, "26.1 kB"),
            (999_600, "1.00 MB"),
            (435_233_016, "435 MB"),
        ] {
            assert_eq!(bytes(n), text);
        }
        assert_eq!(flops(3_630_000_000), "3.63 GFLOP");
    }
}
