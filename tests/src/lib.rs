//! What the whole-compiler tests share: the `tinyc` binary of this profile, run with a time limit, and
//! the folders that data comes from.

pub mod start;

use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new(".."))
}

/// Models and tools beside the repository; `None` on a clone that has none.
pub fn shared() -> Option<PathBuf> {
    let path = root().parent()?.join("shared");
    path.join("models").is_dir().then_some(path)
}

/// Python with onnx, onnxruntime and numpy: `TINYC_PYTHON`, or what `tests/run.sh` installed.
pub fn python() -> Option<PathBuf> {
    let path = std::env::var_os("TINYC_PYTHON")
        .map(PathBuf::from)
        .unwrap_or_else(|| root().join("target/venv/bin/python"));
    path.exists().then_some(path)
}

/// The `tinyc` binary of the profile that the tests run in, built when it is not up to date.
pub fn tinyc() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let release = !cfg!(debug_assertions);
        let mut build = Command::new(env!("CARGO"));
        build
            .current_dir(root())
            .args(["build", "--quiet", "--package", "tinyc"]);
        if release {
            build.arg("--release");
        }
        let built = build.status();
        assert!(
            built.is_ok_and(|s| s.success()),
            "cargo build --package tinyc failed"
        );
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map(PathBuf::from)
            .unwrap_or_else(|| root().join("target"));
        target
            .join(if release { "release" } else { "debug" })
            .join("tinyc")
    })
}

/// All files below a folder, with their bytes, in order.
pub fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut out = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                open.push(path);
            } else {
                let bytes = std::fs::read(&path).expect("readable");
                let name = path.strip_prefix(dir).expect("below").to_path_buf();
                out.push((name, bytes));
            }
        }
    }
    out.sort();
    out
}

/// How a process ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Exit code; `None` when it was killed (by us after the time limit, or by a signal).
    pub code: Option<i32>,
    /// It ran past the limit.
    pub hung: bool,
    /// What it printed as a result.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
    /// How long it ran.
    pub time: Duration,
}

/// Runs `tinyc` with a time limit.
pub fn run_tinyc<I, S>(args: I, limit: Duration) -> Ended
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut command = Command::new(tinyc());
    // Tests compile for themselves, and leave nothing behind.
    command.env("TINYC_CACHE", "").args(args);
    run(&mut command, limit)
}

/// Runs a command with a time limit.
pub fn run(command: &mut Command, limit: Duration) -> Ended {
    let start = Instant::now();
    let spawned = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            return Ended {
                code: None,
                hung: false,
                stdout: String::new(),
                stderr: format!("{command:?}: {error}"),
                time: start.elapsed(),
            };
        }
    };
    let stdout = child.stdout.take().map(drain);
    let stderr = child.stderr.take().map(drain);
    let mut hung = false;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Some(status),
            Ok(None) if start.elapsed() < limit => {
                std::thread::sleep(Duration::from_millis(3));
            }
            _ => {
                hung = true;
                let _ = child.kill();
                break child.wait().ok();
            }
        }
    };
    let text = |handle: Option<std::thread::JoinHandle<String>>| {
        handle.and_then(|h| h.join().ok()).unwrap_or_default()
    };
    Ended {
        code: if hung {
            None
        } else {
            status.and_then(|s| s.code())
        },
        hung,
        stdout: text(stdout),
        stderr: text(stderr),
        time: start.elapsed(),
    }
}

/// Reads a pipe to its end on a thread of its own, so that a full pipe stops nobody.
fn drain(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
