//! Starts a file that a test has just written.

use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

/// What a program prints and how it ends. Between `fork` and `exec` a child that another test starts holds what this process has open
/// for writing; the system refuses to run such a file (`ETXTBSY`) until the child is there, so this waits for it.
///
/// # Panics
/// When the program cannot be started.
pub fn output(program: &Path, arguments: &[&str]) -> Output {
    for _ in 0..100 {
        match Command::new(program).args(arguments).output() {
            Err(e) if e.kind() == ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(e) => panic!("{}: {e}", program.display()),
            Ok(output) => return output,
        }
    }
    panic!("{} stays busy", program.display());
}
