//! Imports every ONNX node test found under `TINYC_NODE_TESTS` (skipped when it is not set): none may
//! panic, and what is not imported must say so with the right kind. `TINYC_NODE_CASE` names one.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use super::{LoadOptions, load, read_tensor, value_inputs};
use crate::diag::Kind;
use crate::program::Weight;
use std::collections::BTreeMap;
use std::path::Path;

/// Options that a person with the data would give.
fn bindings(model: &Path, data: &[Weight]) -> LoadOptions {
    let mut options = LoadOptions {
        shapes: data
            .iter()
            .map(|w| (w.name.clone(), w.shape.clone()))
            .collect(),
        ..LoadOptions::default()
    };
    loop {
        let Ok(names) = value_inputs(model, &options) else {
            return options;
        };
        let fresh: Vec<_> = data
            .iter()
            .filter(|w| names.contains(&w.name))
            .map(|w| (w.name.clone(), w.clone()))
            .collect();
        if fresh.is_empty() {
            return options;
        }
        options.constants.extend(fresh);
    }
}

#[test]
fn node_cases_import_or_say_why() {
    let Some(root) = std::env::var_os("TINYC_NODE_TESTS") else {
        return;
    };
    let only = std::env::var("TINYC_NODE_CASE").ok();
    let mut reasons: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut imported = 0;
    let mut folders: Vec<_> = std::fs::read_dir(root)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    folders.sort();
    for folder in folders {
        let name = folder.file_name().unwrap().to_string_lossy().to_string();
        let model = folder.join("model.onnx");
        if !model.exists() || only.as_ref().is_some_and(|o| *o != name) {
            continue;
        }
        let Ok(names) = super::input_names(&model) else {
            panic!("{name}: not a model")
        };
        let mut data = Vec::new();
        for (i, input) in names.iter().enumerate() {
            let file = folder.join(format!("test_data_set_0/input_{i}.pb"));
            if let Ok(mut w) = read_tensor(&file) {
                w.name.clone_from(input);
                data.push(w);
            }
        }
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let options = bindings(&model, &data);
            load(&model, &options)
        }));
        match outcome {
            Err(_) => panic!("{name} panics"),
            Ok(Ok(_)) => imported += 1,
            Ok(Err(e)) => {
                assert!(
                    matches!(e.kind, Kind::Unsupported | Kind::Model),
                    "{name}: {e:?}"
                );
                let all = std::iter::once(&e).chain(&e.others);
                let text: Vec<String> = all
                    .map(|e| format!("{:?}: {}", e.kind, e.message))
                    .collect();
                reasons.entry(text.join(" | ")).or_default().push(name);
            }
        }
    }
    let mut list: Vec<_> = reasons.into_iter().collect();
    list.sort_by_key(|(_, n)| std::cmp::Reverse(n.len()));
    for (why, names) in &list {
        println!("{:4} {why} [{}]", names.len(), names[0]);
    }
    println!("imported {imported}");
}
