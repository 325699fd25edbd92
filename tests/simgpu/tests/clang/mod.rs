//! Compiles kernels of `kernels/` with clang for the simulated device.

use std::path::Path;
use std::process::Command;

/// Whether clang and llvm-objdump are there.
pub fn available() -> bool {
    ["clang-19", "llvm-objdump-19"]
        .iter()
        .all(|tool| Command::new(tool).arg("--version").output().is_ok())
}

/// Compiles one source; fails with clang's messages.
pub fn compile(source: &str, flags: &[String], object: &Path) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernels");
    let output = Command::new("clang-19")
        .args([
            "-x",
            "c",
            "-target",
            "amdgcn-amd-amdhsa",
            "-mcpu=gfx1100",
            "-nogpulib",
            "-w",
            "-c",
        ])
        .args(flags)
        .arg("-o")
        .arg(object)
        .arg(folder.join(source))
        .output()
        .expect("clang-19 runs");
    assert!(
        output.status.success(),
        "{source} {flags:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
