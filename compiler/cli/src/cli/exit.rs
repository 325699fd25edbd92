//! Exit codes, and the last line of defence: a panic becomes exit code 70 with a message for people.

use std::panic::PanicHookInfo;
use std::process::ExitCode;
use std::sync::Mutex;
use tinyc_compiler::diag::Kind;

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Success = 0,
    /// A comparison failed.
    Differs = 1,
    /// Wrong arguments.
    Usage = 2,
    /// The model needs something that tinyc does not do.
    Unsupported = 3,
    /// An input file is missing, damaged or not what it should be.
    Input = 4,
    /// A compiler, device or permission is missing.
    Environment = 5,
    /// A bug of tinyc.
    Internal = 70,
}

/// Shown below `tinyc --help`.
pub const HELP: &str = "\
Exit codes:
  0   success
  1   a comparison failed
  2   wrong usage
  3   the model is not supported
  4   bad input file
  5   a tool, device or permission is missing
  70  internal error (a bug in tinyc)";

impl Exit {
    /// All codes, for the test that keeps [`HELP`] complete.
    #[cfg(test)]
    pub const ALL: [Exit; 7] = [
        Exit::Success,
        Exit::Differs,
        Exit::Usage,
        Exit::Unsupported,
        Exit::Input,
        Exit::Environment,
        Exit::Internal,
    ];
    /// As in [`HELP`].
    #[cfg(test)]
    pub fn meaning(self) -> &'static str {
        match self {
            Exit::Success => "success",
            Exit::Differs => "a comparison failed",
            Exit::Usage => "wrong usage",
            Exit::Unsupported => "the model is not supported",
            Exit::Input => "bad input file",
            Exit::Environment => "a tool, device or permission is missing",
            Exit::Internal => "internal error (a bug in tinyc)",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

impl From<Kind> for Exit {
    fn from(kind: Kind) -> Exit {
        match kind {
            Kind::Model => Exit::Input,
            Kind::Unsupported => Exit::Unsupported,
            Kind::Environment => Exit::Environment,
            Kind::Usage => Exit::Usage,
            Kind::Bug => Exit::Internal,
        }
    }
}

/// What the last panic said and where.
static PANIC: Mutex<Option<String>> = Mutex::new(None);

/// Deep graphs recurse deeply; the memory is only reserved.
const STACK: usize = 1 << 30;

/// Runs `body` on a thread with a large stack. A panic in it is reported as a bug.
pub fn guarded(body: impl FnOnce() -> Exit + Send + 'static) -> Exit {
    std::panic::set_hook(Box::new(remember));
    // Fails only when somebody set the pool up before: then its stacks are as they are.
    let _ = rayon::ThreadPoolBuilder::new()
        .stack_size(STACK / 8)
        .build_global();
    let ended = std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(body)
        .map(std::thread::JoinHandle::join);
    match ended {
        Ok(Ok(exit)) => exit,
        Ok(Err(_)) => {
            let what = PANIC.lock().ok().and_then(|mut p| p.take());
            super::report::print(&tinyc_compiler::diag::Error::bug(
                what.unwrap_or_else(|| "unknown cause".to_string()),
            ));
            Exit::Internal
        }
        Err(error) => {
            super::report::print(&tinyc_compiler::diag::Error::environment(format!(
                "cannot start a thread: {error}"
            )));
            Exit::Environment
        }
    }
}

fn remember(info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let text = payload
        .downcast_ref::<&str>()
        .map(|s| (*s).to_string())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "unknown cause".to_string());
    let place = info
        .location()
        .map(|l| format!(" ({}:{})", l.file(), l.line()))
        .unwrap_or_default();
    if let Ok(mut panic) = PANIC.lock() {
        panic.get_or_insert(format!("{text}{place}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_internal_error() {
        assert_eq!(guarded(|| panic!("oh")), Exit::Internal);
        let _ = std::panic::take_hook();
    }
}
