//! Kernel text of compiled models, recorded and compared between two commits.
//!
//! In: built programs. Out: a folder for each model with `program.txt` and one source file a kernel.
//! A commit that claims to be a refactor must leave [`diff`] empty.

use super::dump::program_text;
use crate::diag::{Error, Result};
use crate::program::Built;
use crate::target::Target;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Writes the kernels of one model into `dir/MODEL`, which is emptied first.
pub fn record(built: &Built, target: &dyn Target, dir: &Path) -> Result<()> {
    let dir = dir.join(&built.program.name);
    if dir.exists() {
        std::fs::remove_dir_all(&dir).map_err(|e| failed("remove", &dir, &e))?;
    }
    std::fs::create_dir_all(&dir).map_err(|e| failed("create", &dir, &e))?;
    let write = |name: &str, text: String| {
        let path = dir.join(name);
        std::fs::write(&path, text).map_err(|e| failed("write", &path, &e))
    };
    write(
        "program.txt",
        program_text(&built.program, Some(&built.plan)),
    )?;
    for kernel in &built.linear {
        write(&format!("{}.src", kernel.name), target.render(kernel)?)?;
    }
    Ok(())
}

/// One file that differs between two recordings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Relative to the recordings.
    pub path: PathBuf,
    /// First line that differs (from 1), with both texts; a missing line or file is `None`.
    pub line: usize,
    /// In the first recording.
    pub before: Option<String>,
    /// In the second recording.
    pub after: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.line)?;
        for (sign, text) in [('-', &self.before), ('+', &self.after)] {
            match text {
                Some(text) => write!(f, "\n{sign} {text}")?,
                None => write!(f, "\n{sign} (nothing)")?,
            }
        }
        Ok(())
    }
}

/// Files that differ between two recordings, by name.
pub fn diff(a: &Path, b: &Path) -> Result<Vec<Difference>> {
    let (before, after) = (read_all(a)?, read_all(b)?);
    let mut names: Vec<_> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    let mut out = Vec::new();
    for name in names {
        let (x, y) = (before.get(name), after.get(name));
        if x == y {
            continue;
        }
        let mut old = x.map(|t| t.lines()).into_iter().flatten();
        let mut new = y.map(|t| t.lines()).into_iter().flatten();
        for line in 1.. {
            let (old, new) = (old.next(), new.next());
            // Both ended: only the final newline differs.
            if old != new || old.is_none() {
                out.push(Difference {
                    path: name.clone(),
                    line,
                    before: old.map(str::to_string),
                    after: new.map(str::to_string),
                });
                break;
            }
        }
    }
    Ok(out)
}

/// All files below a folder, by relative path.
fn read_all(root: &Path) -> Result<BTreeMap<PathBuf, String>> {
    let mut out = BTreeMap::new();
    let mut dirs = vec![root.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).map_err(|e| failed("read", &dir, &e))? {
            let path = entry.map_err(|e| failed("read", &dir, &e))?.path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                let text = std::fs::read(&path).map_err(|e| failed("read", &path, &e))?;
                let name = path.strip_prefix(root).unwrap_or(&path).to_path_buf();
                out.insert(name, String::from_utf8_lossy(&text).into_owned());
            }
        }
    }
    Ok(out)
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::environment(format!("cannot {what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn diff_names_the_first_line() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (dir, text) in [(&a, "one\ntwo\n"), (&b, "one\n2\n")] {
            std::fs::create_dir(dir.path().join("m")).unwrap();
            std::fs::write(dir.path().join("m/k.src"), text).unwrap();
            std::fs::write(dir.path().join("same.src"), "x").unwrap();
        }
        std::fs::write(b.path().join("new.src"), "n\n").unwrap();
        let found = diff(a.path(), b.path()).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].to_string(), "m/k.src:2\n- two\n+ 2");
        assert_eq!(found[1].to_string(), "new.src:1\n- (nothing)\n+ n");
        assert!(diff(a.path(), a.path()).unwrap().is_empty());
    }
}
