//! Progress on stderr: a bar on a terminal, nothing elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;
use tinyc_compiler::driver;

/// A bar (or nothing) and the warnings.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar when stderr is a terminal.
    pub fn new() -> Progress {
        let bar = if std::io::stderr().is_terminal() {
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
        } else {
            ProgressBar::hidden()
        };
        Progress { bar }
    }
    /// Shows what happens outside of the compiler's passes.
    pub fn say(&mut self, what: &str) {
        driver::Progress::begin(self, what, 0);
    }
    /// Removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

impl driver::Progress for Progress {
    fn begin(&mut self, stage: &str, items: usize) {
        self.bar.reset();
        let template = if items > 0 {
            self.bar.set_length(items as u64);
            "{spinner} {msg:22} {bar:30} {pos}/{len} {elapsed}"
        } else {
            "{spinner} {msg:22} {elapsed}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
        self.bar.set_message(stage.to_string());
        self.bar.enable_steady_tick(Duration::from_millis(100));
    }
    fn advance(&mut self) {
        self.bar.inc(1);
    }
    fn spend(&mut self, what: &str, spent: Duration, of: Duration) {
        self.bar.set_length(of.as_secs().max(1));
        self.bar.set_position(spent.as_secs().min(of.as_secs()));
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix:>9} left {bar:30} {msg}")
        {
            self.bar.set_style(style);
        }
        let left = of.saturating_sub(spent).as_secs();
        self.bar
            .set_prefix(format!("{}m {:02}s", left / 60, left % 60));
        self.bar.set_message(what.to_string());
        self.bar.enable_steady_tick(Duration::from_millis(100));
    }
    fn warn(&mut self, warning: &str) {
        self.bar
            .suspend(|| super::output::note(&format!("warning: {warning}")));
    }
}
