//! Content-addressed cache of compiled objects: a directory of files named by the hash of what they
//! were made from (source text, flags, compiler version).
//!
//! In: a key and a function that compiles. Out: the object's bytes. Safe with many processes at once:
//! an entry is written to a temporary file and renamed, and its last 32 bytes are the SHA-256 of the
//! rest, so a torn or damaged entry counts as absent. Deleting the directory at any time is fine; beyond a gibibyte the
//! entries that were used longest ago go.

use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Once};
use std::time::SystemTime;

/// Bytes that the directory may hold.
const LIMIT: u64 = 1 << 30;

/// SHA-256 in lower-case hex.
fn hex(digest: &[u8]) -> String {
    digest.iter().map(|b| format!("{b:02x}")).collect()
}

/// Objects kept in memory as long as the cache lives, and in a directory when there is one.
#[derive(Debug, Clone, Default)]
pub struct Cache {
    dir: Option<PathBuf>,
    /// Library and executable of one model contain the same objects.
    memory: Arc<Mutex<HashMap<String, Vec<u8>>>>,
    /// The directory is looked through once, when something is added.
    pruned: Arc<OnceFlag>,
}

/// `Once` with the traits that a cache has.
#[derive(Debug)]
struct OnceFlag(Once);

impl Default for OnceFlag {
    fn default() -> OnceFlag {
        OnceFlag(Once::new())
    }
}

impl Cache {
    /// A cache in `dir`, made on first use.
    pub fn new(dir: Option<PathBuf>) -> Cache {
        Cache {
            dir,
            memory: Arc::default(),
            pruned: Arc::default(),
        }
    }

    /// The object for `key` (any parts; their order and lengths count).
    pub fn get(&self, key: &[&[u8]]) -> Option<Vec<u8>> {
        let name = name(key);
        if let Some(object) = self.memory.lock().ok()?.get(&name) {
            return Some(object.clone());
        }
        let path = self.path(&name)?;
        let mut bytes = std::fs::read(&path).ok()?;
        // The time of last use; a read-only directory still serves.
        if let Ok(file) = std::fs::File::options().append(true).open(&path) {
            let _ = file.set_modified(SystemTime::now());
        }
        let body = bytes.len().checked_sub(32)?;
        let sound = Sha256::digest(&bytes[..body]).as_slice() == &bytes[body..];
        bytes.truncate(body);
        sound.then_some(bytes)
    }

    /// Keeps an object. Failing to write is not an error: the cache only saves time.
    pub fn put(&self, key: &[&[u8]], object: &[u8]) {
        let name = name(key);
        if let Some(path) = self.path(&name) {
            let _ = write_atomically(&path, object);
            if let Some(dir) = &self.dir {
                self.pruned.0.call_once(|| prune(dir, LIMIT));
            }
        }
        if let Ok(mut memory) = self.memory.lock() {
            memory.insert(name, object.to_vec());
        }
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        Some(self.dir.as_ref()?.join(&name[..2]).join(&name[2..]))
    }
}

fn name(key: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in key {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hex(&hash.finalize())
}

/// Deletes the entries that were used longest ago until the rest fits. What cannot be read or deleted stays.
fn prune(dir: &Path, limit: u64) {
    let entries = |dir: &Path| {
        std::fs::read_dir(dir)
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| e.path())
            .collect::<Vec<_>>()
    };
    let mut files: Vec<(SystemTime, u64, PathBuf)> = entries(dir)
        .iter()
        .flat_map(|sub| entries(sub))
        .filter_map(|path| {
            let meta = std::fs::metadata(&path).ok().filter(|m| m.is_file())?;
            Some((meta.modified().ok()?, meta.len(), path))
        })
        .collect();
    files.sort();
    let mut total: u64 = files.iter().map(|f| f.1).sum();
    for (_, bytes, path) in files {
        if total <= limit {
            return;
        }
        if std::fs::remove_file(path).is_ok() {
            total -= bytes;
        }
    }
}

fn write_atomically(path: &Path, object: &[u8]) -> std::io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent)?;
    let mut file = tempfile::NamedTempFile::new_in(parent)?;
    file.write_all(object)?;
    file.write_all(&Sha256::digest(object))?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_oldest_entries_go() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(Some(dir.path().to_path_buf()));
        for (age, key) in [(30u64, b"a"), (20, b"b"), (10, b"c")] {
            cache.put(&[key], &[0; 1000]);
            let path = cache.path(&name(&[key])).unwrap();
            let file = std::fs::File::options().append(true).open(path).unwrap();
            file.set_modified(SystemTime::now() - std::time::Duration::from_secs(age))
                .unwrap();
        }
        prune(dir.path(), 2500);
        let left = Cache::new(Some(dir.path().to_path_buf()));
        let there = [b"a", b"b", b"c"].map(|key| left.get(&[key]).is_some());
        assert_eq!(there, [false, true, true]);
    }

    #[test]
    fn keeps_and_refuses_damage() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(Some(dir.path().to_path_buf()));
        assert_eq!(cache.get(&[b"a", b"b"]), None);
        cache.put(&[b"a", b"b"], b"object");
        assert_eq!(cache.get(&[b"a", b"b"]).unwrap(), b"object");
        assert_eq!(cache.get(&[b"ab", b""]), None);
        let path = cache.path(&name(&[b"a", b"b"])).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[0] ^= 1;
        let other = Cache::new(Some(dir.path().to_path_buf()));
        assert_eq!(other.get(&[b"a", b"b"]).unwrap(), b"object");
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(other.get(&[b"a", b"b"]), None);
        assert_eq!(cache.get(&[b"a", b"b"]).unwrap(), b"object");
    }
}
