//! Dumps: numbered text files of what each pass changed.
//!
//! In: the state after a pass. Out: `03-decompose.graph`, `07-lower-layouts/k3_conv.uop` in the dump
//! folder; a file is written only when its text differs from the last one of the same subject.

use crate::diag::{Error, Result};
use crate::graph::Graph;
use crate::program::{BufferKind, Plan, Program};
use rustc_hash::FxHashMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Writes dumps, or nothing when it has no folder.
#[derive(Debug, Default)]
pub(super) struct Dump {
    dir: Option<PathBuf>,
    number: usize,
    last: FxHashMap<String, String>,
}

impl Dump {
    pub(super) fn new(dir: Option<&Path>) -> Result<Dump> {
        if let Some(dir) = dir {
            std::fs::create_dir_all(dir)
                .map_err(|e| Error::environment(format!("cannot create {}: {e}", dir.display())))?;
        }
        Ok(Dump {
            dir: dir.map(Path::to_path_buf),
            ..Dump::default()
        })
    }
    /// True when dumps are wanted: callers skip making texts otherwise.
    pub(super) fn wanted(&self) -> bool {
        self.dir.is_some()
    }
    /// The next pass begins: its files get the next number.
    pub(super) fn next(&mut self) {
        self.number += 1;
    }
    /// Writes one text. `subject` is empty for the whole model.
    pub(super) fn write(
        &mut self,
        pass: &str,
        subject: &str,
        kind: &str,
        text: String,
    ) -> Result<()> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let key = format!("{subject}.{kind}");
        if self.last.get(&key) == Some(&text) {
            return Ok(());
        }
        let pass = format!("{:02}-{pass}", self.number);
        let path = if subject.is_empty() {
            dir.join(format!("{pass}.{kind}"))
        } else {
            dir.join(pass).join(format!("{subject}.{kind}"))
        };
        let folder = path.parent().unwrap_or(dir);
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&path, &text))
            .map_err(|e| Error::environment(format!("cannot write {}: {e}", path.display())))?;
        self.last.insert(key, text);
        Ok(())
    }
}

/// A graph, a line a tensor: `%4: f32[1,8,28,28] = Conv {..} %0 %1 ; Conv 'conv1' (-> 'y')`.
pub(super) fn graph_text(graph: &Graph) -> String {
    let mut out = String::new();
    for (i, t) in graph.tensors.iter().enumerate() {
        let _ = write!(out, "%{i}: {}{} = {:?}", t.dtype, t.shape, t.op);
        for src in &t.src {
            let _ = write!(out, " %{}", src.0);
        }
        if t.origin.is_empty() {
            out.push('\n');
        } else {
            let _ = writeln!(out, " ; {}", t.origin);
        }
    }
    for (name, id) in &graph.outputs {
        let _ = writeln!(out, "output '{name}' %{}", id.0);
    }
    out
}

/// Buffers and steps of a program, with places once there is a plan.
pub(super) fn program_text(program: &Program, plan: Option<&Plan>) -> String {
    let mut out = String::new();
    for (i, b) in program.buffers.iter().enumerate() {
        let kind = match &b.kind {
            BufferKind::Input(n) => format!("input {n}"),
            BufferKind::Output(n) => format!("output {n}"),
            BufferKind::Weight(_) => "weight".to_string(),
            BufferKind::Internal => "internal".to_string(),
        };
        let place = plan
            .and_then(|p| p.places.get(i))
            .map(|p| format!(" @ {p:?}"))
            .unwrap_or_default();
        let _ = writeln!(
            out,
            "buffer {i} '{}' {kind} {}{:?} {} bytes{place}",
            b.name,
            b.dtype,
            b.layout.shape,
            b.bytes()
        );
        if !b.layout.is_row_major() {
            let axes: Vec<_> = b
                .layout
                .axes
                .iter()
                .map(|a| format!("d{}/{}:{}", a.dim, a.div, a.extent))
                .collect();
            let _ = writeln!(out, "  layout {} halo {:?}", axes.join(" "), b.layout.halo);
        }
    }
    for (i, s) in program.steps.iter().enumerate() {
        let name = program.kernels.get(s.kernel).map_or("?", |k| &k.name);
        let args: Vec<_> = s.args.iter().map(|a| a.0.to_string()).collect();
        let _ = write!(out, "step {i} {name}({})", args.join(", "));
        if let Some((choice, wanted)) = s.condition {
            let _ = write!(out, " if {} is {wanted}", choice.0);
        }
        for o in &s.origins {
            let _ = write!(out, " ; {o}");
        }
        out.push('\n');
    }
    if let Some(p) = plan {
        let _ = writeln!(
            out,
            "arena {} lower bound {} weights {}",
            p.arena_bytes, p.arena_lower_bound, p.weight_bytes
        );
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn writes_changed_texts_only() {
        let dir = tempfile::tempdir().unwrap();
        let mut dump = Dump::new(Some(dir.path())).unwrap();
        for (pass, text) in [("a", "1"), ("b", "1"), ("c", "2")] {
            dump.next();
            dump.write(pass, "k", "uop", text.to_string()).unwrap();
        }
        let mut names: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["01-a", "03-c"]);
        assert!(dir.path().join("03-c/k.uop").exists());
    }
}
