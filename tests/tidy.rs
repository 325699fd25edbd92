//! House rules that a machine can check: the import law, file lengths, module docs, `unsafe`, names of
//! targets, open ends. Each rule says what to do when it fails.

use std::path::{Path, PathBuf};

/// Modules of `compiler/src` and the ones each may import.
const LAW: &[(&str, &[&str])] = &[
    ("diag", &[]),
    ("uop", &["diag"]),
    ("program", &["diag", "uop"]),
    ("target", &["diag", "uop", "program"]),
    ("graph", FOUNDATION),
    ("onnx", STAGE),
    ("schedule", STAGE),
    ("opt", STAGE),
    ("codegen", STAGE),
    ("render", STAGE),
    ("plan", STAGE),
    ("emit", STAGE),
    (
        "search",
        &["diag", "uop", "program", "target", "opt", "codegen"],
    ),
    (
        "driver",
        &[
            "diag", "uop", "program", "target", "graph", "onnx", "schedule", "opt", "codegen",
            "render", "plan", "emit", "search",
        ],
    ),
];
const FOUNDATION: &[&str] = &["diag", "uop", "program", "target"];
/// The stages are siblings: they share `program`'s data and never import each other.
const STAGE: &[&str] = &["diag", "uop", "program", "target", "graph"];

/// Longest source file, in lines.
const LONGEST: usize = 600;

/// Where `unsafe` is allowed: mapping files, loading code, what replaces libc, and what a simulated device sees
/// of its host.
const UNSAFE: &[&str] = &[
    "compiler/src/onnx/external.rs",
    "compiler/src/onnx/file.rs",
    "targets/cpu/compile/src/loader.rs",
    "targets/amd/compile/src/session.rs",
    "targets/amd/compile/tests/",
    "targets/amd/replay/",
    "targets/cpu/replay/",
    "runtime-min/",
    "templates/",
    "tests/simgpu/src/kfd/",
    "tests/simgpu/src/memory.rs",
    "tests/simgpu/src/mirror.rs",
    "tests/simgpu/tests/",
    "tests/simgpu/src/wave/rounding.rs",
];

/// Words that belong into `targets/`, not into the compiler's code.
const TARGET_WORDS: &[&str] = &[
    "cpu", "x86", "x86_64", "aarch64", "arm64", "avx", "avx2", "avx512", "sse", "neon", "adreno",
    "qcom", "amdgpu", "nvidia", "cuda", "ptx", "opencl", "gfx1100",
];

/// File names that say nothing.
const VAGUE: &[&str] = &["utils", "util", "common", "manager", "helpers", "misc"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ has a parent")
        .to_path_buf()
}

/// One source file.
struct Source {
    /// Relative to the repository.
    path: String,
    text: String,
}

impl Source {
    /// Lines of code outside of comments and of the test module at the end, with their numbers.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .take_while(|(_, l)| *l != "#[cfg(test)]")
            .map(|(i, l)| (i + 1, l.split("//").next().unwrap_or("")))
    }
}

/// All Rust files of the repository.
fn sources() -> Vec<Source> {
    let root = root();
    let mut out = Vec::new();
    let mut dirs: Vec<PathBuf> = [
        "compiler",
        "runtime-min",
        "targets",
        "models",
        "tests",
        "benches",
        "templates",
    ]
    .iter()
    .map(|d| root.join(d))
    .filter(|d| d.exists())
    .collect();
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).expect("readable folder") {
            let path = entry.expect("readable entry").path();
            if path.is_dir() {
                if path.file_name().is_some_and(|n| n != "target") {
                    dirs.push(path);
                }
            } else if path.extension().is_some_and(|e| e == "rs") {
                out.push(Source {
                    path: path
                        .strip_prefix(&root)
                        .expect("below the root")
                        .display()
                        .to_string(),
                    text: std::fs::read_to_string(&path).expect("UTF-8 source"),
                });
            }
        }
    }
    assert!(out.len() > 30, "the walk found too little");
    out.sort_by(|a, b| a.path.cmp(&b.path));
    out
}

fn report(rule: &str, found: &[String]) {
    assert!(found.is_empty(), "{rule}:\n  {}\n", found.join("\n  "));
}

/// Names that follow each `crate::` of a text, groups in braces opened.
fn crate_imports(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let rest = &text[at + "crate::".len()..];
        let name = |s: &str| -> String {
            s.trim_start()
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect()
        };
        let Some(group) = rest.strip_prefix('{') else {
            out.push(name(rest));
            continue;
        };
        let mut depth = 0;
        let mut start = 0;
        for (i, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' if depth == 0 => {
                    out.push(name(&group[start..i]));
                    start = i + 1;
                    if c == '}' {
                        break;
                    }
                }
                _ => {}
            }
        }
    }
    out.retain(|n| !n.is_empty());
    out
}

#[test]
fn import_law() {
    let mut found = Vec::new();
    let mut edges = 0;
    for source in sources() {
        let Some(inside) = source.path.strip_prefix("compiler/src/") else {
            continue;
        };
        let module = inside.split('/').next().unwrap_or("");
        if module == "lib.rs" {
            continue;
        }
        let Some((_, allowed)) = LAW.iter().find(|(m, _)| *m == module) else {
            found.push(format!(
                "{}: module '{module}' is not in the law",
                source.path
            ));
            continue;
        };
        let code: String = source.code().flat_map(|(_, line)| [line, "\n"]).collect();
        for import in crate_imports(&code) {
            if LAW.iter().any(|(m, _)| *m == import) && import != module {
                edges += 1;
                if !allowed.contains(&import.as_str()) {
                    found.push(format!("{}: {module} imports {import}", source.path));
                }
            }
        }
    }
    assert!(
        edges > 20,
        "only {edges} imports were seen: the test is blind"
    );
    report(
        "a module may import only what the law allows (docs/architecture.md)",
        &found,
    );
}

/// What decides whether kernels and streams are right may not share code with what makes them.
#[test]
fn simulator_is_independent() {
    let text = std::fs::read_to_string(root().join("tests/simgpu/Cargo.toml")).expect("a manifest");
    let dependencies = text.split("[dev-dependencies]").next().unwrap_or("");
    let found: Vec<String> = dependencies
        .lines()
        .filter(|l| l.starts_with("tinyc-") && !l.starts_with("tinyc-runtime"))
        .map(str::to_string)
        .collect();
    report(
        "the simulated GPU depends on no part of the compiler",
        &found,
    );
}

#[test]
fn import_parser_sees_groups() {
    assert_eq!(
        crate_imports(
            "use crate::{graph::{A, B}, uop::C};\nlet x = crate::diag::Error; mycrate::no"
        ),
        ["graph", "uop", "diag"]
    );
}

#[test]
fn files_are_short() {
    let found: Vec<String> = sources()
        .iter()
        .map(|s| (s.text.lines().count(), s))
        .filter(|(n, _)| *n > LONGEST)
        .map(|(n, s)| format!("{}: {n} lines", s.path))
        .collect();
    report(&format!("split files of more than {LONGEST} lines"), &found);
}

#[test]
fn modules_have_docs() {
    let found: Vec<String> = sources()
        .iter()
        .filter(|s| !s.text.starts_with("//!"))
        .map(|s| s.path.clone())
        .collect();
    report(
        "begin the file with //! and say what goes in and what comes out",
        &found,
    );
}

#[test]
fn unsafe_stays_where_it_is_needed() {
    let mut found = Vec::new();
    for source in sources() {
        if UNSAFE.iter().any(|p| source.path.starts_with(p)) || source.path == "tests/tidy.rs" {
            continue;
        }
        for (line, text) in source.code() {
            // In quotes it is generated text, or the name of the lint.
            let plain = text.split('"').step_by(2);
            if plain.flat_map(words).any(|w| w == "unsafe") {
                found.push(format!("{}:{line}", source.path));
            }
        }
    }
    report(
        "move unsafe code to one of the files listed in tests/tidy.rs",
        &found,
    );
}

#[test]
fn compiler_names_no_target() {
    let mut found = Vec::new();
    for source in sources() {
        if !source.path.starts_with("compiler/src/") {
            continue;
        }
        for (line, text) in source.code() {
            for word in words(text) {
                let word = word.to_ascii_lowercase();
                if TARGET_WORDS.contains(&word.as_str()) {
                    found.push(format!("{}:{line}: {word}", source.path));
                }
            }
        }
    }
    report("what is about one target belongs into targets/NAME", &found);
}

#[test]
fn open_ends_name_an_issue() {
    let mut found = Vec::new();
    for source in sources() {
        if source.path == "tests/tidy.rs" {
            continue;
        }
        for (i, line) in source.text.lines().enumerate() {
            for word in ["TODO", "FIXME", "XXX", "HACK"] {
                let open = words(line).any(|w| w == word) && !line.contains(&format!("{word}(#"));
                if open {
                    found.push(format!("{}:{}: {}", source.path, i + 1, line.trim()));
                }
            }
        }
    }
    report(
        "write TODO(#N) with the number of an issue, or do it",
        &found,
    );
}

/// A newcomer sees the whole house from its door.
#[test]
fn the_top_level_is_fixed() {
    let known = [
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "README.md",
        "benches",
        "compiler",
        "docs",
        "models",
        "runtime-min",
        "targets",
        "templates",
        "tests",
    ];
    // What a user keeps beside the project's files is no concern of this test.
    let files = std::process::Command::new("git")
        .args(["ls-files"])
        .current_dir(root())
        .output();
    let Some(files) = files.ok().filter(|f| f.status.success()) else {
        println!("skipped: no git repository");
        return;
    };
    let files = String::from_utf8(files.stdout).expect("UTF-8 names");
    let names = files.lines().filter_map(|f| f.split('/').next());
    let mut found: Vec<String> = names
        .filter(|n| !n.starts_with('.') && !known.contains(n))
        .map(str::to_string)
        .collect();
    found.dedup();
    report("nothing else on the top level", &found);
}

#[test]
fn file_names_say_something() {
    let found: Vec<String> = sources()
        .iter()
        .filter(|s| {
            let stem = Path::new(&s.path).file_stem().and_then(|s| s.to_str());
            stem.is_some_and(|s| VAGUE.contains(&s))
        })
        .map(|s| s.path.clone())
        .collect();
    report("name the file after what it does", &found);
}

#[test]
fn environment_variables_are_documented() {
    let root = root();
    let mut docs = std::fs::read_to_string(root.join("README.md")).unwrap_or_default();
    if let Ok(dir) = std::fs::read_dir(root.join("docs")) {
        for entry in dir.flatten() {
            docs += &std::fs::read_to_string(entry.path()).unwrap_or_default();
        }
    }
    let mut found = Vec::new();
    for source in sources() {
        if source.path == "tests/tidy.rs" {
            continue;
        }
        for (line, text) in source.code() {
            let Some(at) = text.find("\"TINYC_") else {
                continue;
            };
            let name: String = text[at + 1..].chars().take_while(|c| *c != '"').collect();
            let plain = name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
            let read = text.contains("env::var") || text.contains("var_os");
            if plain && read && !docs.contains(&name) {
                found.push(format!("{}:{line}: {name}", source.path));
            }
        }
    }
    report("describe the variable in README.md or docs/", &found);
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_')
}
