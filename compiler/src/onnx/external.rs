//! External data: tensors whose bytes lie in other files of the model's folder.
//!
//! In: the `external_data` entries of a tensor. Out: a part of that file's memory map. A path that is
//! absolute, climbs with `..` or leaves the folder through a symbolic link is refused, whatever it
//! points to; offset and length are checked against the file.
//!
//! Example: `location = "gpt2.onnx.data", offset = "4096", length = "1024"`.

use super::file;
use super::proto::TensorProto;
use crate::diag::{Error, Result};
use crate::program::Bytes;
use prost::bytes;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// Files of one model's folder, each mapped once.
#[derive(Debug, Default)]
pub(super) struct ExternalFiles {
    /// `None`: the model did not come from a file, so there is no folder.
    folder: Option<PathBuf>,
    open: RefCell<BTreeMap<String, (bytes::Bytes, Bytes)>>,
}

impl ExternalFiles {
    /// Files beside the model at `path`.
    pub(super) fn beside(path: &Path) -> ExternalFiles {
        let folder = match path.parent() {
            Some(p) if !p.as_os_str().is_empty() => p.to_path_buf(),
            _ => PathBuf::from("."),
        };
        ExternalFiles {
            folder: Some(folder),
            open: RefCell::default(),
        }
    }

    /// The files read so far, in the order of their names.
    pub(super) fn contents(&self) -> Vec<(String, bytes::Bytes)> {
        let open = self.open.borrow();
        open.iter()
            .map(|(name, (raw, _))| (name.clone(), raw.clone()))
            .collect()
    }

    /// The `size` bytes of a tensor.
    pub(super) fn bytes(&self, tensor: &TensorProto, size: usize) -> Result<Bytes> {
        let name = &tensor.name;
        let bad = |what: String| Error::model(format!("external data of tensor '{name}': {what}"));
        let mut location = None;
        let mut offset = 0u64;
        let mut length = None;
        for entry in &tensor.external_data {
            let number =
                || {
                    entry.value.trim().parse::<u64>().map_err(|_| {
                        bad(format!("{} '{}' is not a number", entry.key, entry.value))
                    })
                };
            // `checksum` and keys of other tools do not change where the bytes are.
            match entry.key.as_str() {
                "location" => location = Some(entry.value.as_str()),
                "offset" => offset = number()?,
                "length" => length = Some(number()?),
                _ => {}
            }
        }
        let location = location.ok_or_else(|| bad("no location is given".into()))?;
        let file = self.open(location).map_err(|mut e| {
            e.message = format!("external data of tensor '{name}': {}", e.message);
            e
        })?;
        if let Some(length) = length
            && length != size as u64
        {
            return Err(bad(format!(
                "length is {length} bytes, the tensor's shape and type need {size}"
            )));
        }
        usize::try_from(offset)
            .ok()
            .and_then(|offset| file.slice(offset, size))
            .ok_or_else(|| {
                bad(format!(
                    "bytes {offset} to {} lie outside of '{location}' ({} bytes)",
                    offset.saturating_add(size as u64),
                    file.len()
                ))
                .help("the data file is truncated or belongs to another model")
            })
    }

    fn open(&self, location: &str) -> Result<Bytes> {
        if let Some((_, bytes)) = self.open.borrow().get(location) {
            return Ok(bytes.clone());
        }
        let Some(folder) = &self.folder else {
            return Err(Error::model("the model has no folder to read files from"));
        };
        let relative = Path::new(location);
        let stays = relative
            .components()
            .all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        let leaves = || {
            Error::model(format!("path '{location}' leaves the model's folder"))
                .help("put the data file in the folder of the model")
        };
        if !stays || location.is_empty() || location.contains('\0') {
            return Err(leaves());
        }
        let canonical = |p: &Path| {
            p.canonicalize().map_err(|e| {
                file::cannot_read(p, &e).help("put the data file in the folder of the model")
            })
        };
        let path = canonical(&folder.join(relative))?;
        if !path.starts_with(canonical(folder)?) {
            return Err(leaves());
        }
        let raw = file::map(&path)?;
        let bytes = Bytes::new(raw.clone());
        self.open
            .borrow_mut()
            .insert(location.to_string(), (raw, bytes.clone()));
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::diag::Kind;
    use crate::onnx::proto::StringStringEntryProto;

    fn tensor(entries: &[(&str, &str)]) -> TensorProto {
        TensorProto {
            name: "w".into(),
            external_data: entries
                .iter()
                .map(|(k, v)| StringStringEntryProto {
                    key: (*k).into(),
                    value: (*v).into(),
                })
                .collect(),
            data_location: 1,
            ..Default::default()
        }
    }

    fn read(dir: &Path, entries: &[(&str, &str)], size: usize) -> Result<Vec<u8>> {
        let files = ExternalFiles::beside(&dir.join("m.onnx"));
        files.bytes(&tensor(entries), size).map(|b| b.to_vec())
    }

    #[test]
    fn parts_of_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("w.bin"), [1u8, 2, 3, 4, 5, 6]).unwrap();
        let got = read(
            dir.path(),
            &[("location", "w.bin"), ("offset", "2"), ("length", "3")],
            3,
        );
        assert_eq!(got.unwrap(), [3, 4, 5]);
        assert_eq!(
            read(dir.path(), &[("location", "w.bin")], 6).unwrap().len(),
            6
        );
    }

    #[test]
    fn places_outside_of_the_file_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("w.bin"), [0u8; 6]).unwrap();
        for entries in [
            &[("location", "w.bin"), ("offset", "4")][..],
            &[("location", "w.bin"), ("offset", "18446744073709551615")],
            &[("location", "w.bin"), ("length", "4")],
            &[("location", "w.bin"), ("offset", "-1")],
            &[("location", "w.bin"), ("offset", "x")],
            &[("offset", "0")],
        ] {
            let error = read(dir.path(), entries, 3).unwrap_err();
            assert_eq!(error.kind, Kind::Model, "{entries:?}");
            assert!(error.message.contains("'w'"), "{}", error.message);
        }
    }

    #[test]
    fn paths_that_leave_the_folder_are_refused() {
        let outer = tempfile::tempdir().unwrap();
        let dir = outer.path().join("model");
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(outer.path().join("secret"), [0u8; 4]).unwrap();
        let absolute = outer.path().join("secret");
        for location in [
            "../secret",
            "a/../../secret",
            "",
            absolute.to_str().unwrap(),
        ] {
            let error = read(&dir, &[("location", location)], 4).unwrap_err();
            assert_eq!(error.kind, Kind::Model, "{location}");
            assert!(error.message.contains("leaves"), "{}", error.message);
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(&absolute, dir.join("link")).unwrap();
            let error = read(&dir, &[("location", "link")], 4).unwrap_err();
            assert!(error.message.contains("leaves"), "{}", error.message);
        }
        let error = read(&dir, &[("location", "missing")], 4).unwrap_err();
        assert_eq!(error.kind, Kind::Model);
    }
}
