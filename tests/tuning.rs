//! Lockfiles, searches and the tuning database, through the command line.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tinyc_tests::{Ended, files, root, run, tinyc};

const LIMIT: Duration = Duration::from_secs(300);

/// Runs `tinyc` with a cache folder of its own. Arguments are divided at blanks.
fn tinyc_in(cache: &Path, args: &str) -> Ended {
    let mut command = Command::new(tinyc());
    command
        .env("TINYC_CACHE", cache)
        .env_remove("TINYC_TUNING")
        .args(args.split_whitespace());
    run(&mut command, LIMIT)
}

/// Runs what must succeed.
fn works(cache: &Path, args: &str) -> Ended {
    let ended = tinyc_in(cache, args);
    assert_eq!(ended.code, Some(0), "{args}: {}", ended.stderr);
    ended
}

fn mnist() -> String {
    root().join("models/mnist.onnx").display().to_string()
}

#[test]
fn locked_builds_have_one_digest() {
    let home = tempfile::tempdir().expect("temporary folder");
    let lock = home.path().join("a.lock");
    let (model, lock_name) = (mnist(), lock.display());
    let first = home.path().join("first");
    works(
        &home.path().join("cache0"),
        &format!(
            "compile {model} --emit lib,exe --lock {lock_name} -o {}",
            first.display()
        ),
    );
    let build = |name: &str| {
        let (out, cache) = (
            home.path().join(name),
            home.path().join(format!("cache {name}")),
        );
        works(
            &cache,
            &format!(
                "compile {model} --emit lib,exe --locked --lock {lock_name} -o {}",
                out.display()
            ),
        );
        files(&out)
    };
    let (a, b) = (build("a"), build("b"));
    assert!(a.len() >= 6, "{} files", a.len());
    assert!(a == b, "two locked builds differ");
    assert!(
        a == files(&first),
        "a locked build differs from the one that wrote the lockfile"
    );

    // Other choices give another build, the same one twice, and the manifest says that they were searched.
    let text = std::fs::read_to_string(&lock).expect("lockfile");
    let kernel = text.find("opts = \"split").expect("a kernel with a split");
    let end = kernel + text[kernel..].find('\n').expect("a line");
    let tuned = format!(
        "{}\nprefetch = 1024\ntuned = true{}",
        &text[..end],
        &text[end..]
    );
    std::fs::write(&lock, tuned).expect("written");
    let (c, d) = (build("c"), build("d"));
    assert!(c == d && c != a);
    let shown = works(
        home.path(),
        &format!(
            "inspect {} --json",
            home.path().join("c/mnist.tinyexe").display()
        ),
    );
    assert!(shown.stdout.contains("tuned=1/"), "{}", shown.stdout);
}

#[test]
fn a_lockfile_that_does_not_fit_is_refused() {
    let home = tempfile::tempdir().expect("temporary folder");
    let cache = home.path().join("cache");
    let lock = home.path().join("a.lock");
    let (model, name) = (mnist(), lock.display().to_string());
    let out = home.path().join("out").display().to_string();
    works(
        &cache,
        &format!("compile {model} --cpu x86-64-v2 --lock {name} -o {out}"),
    );
    let text = std::fs::read_to_string(&lock).expect("lockfile");
    let locked = format!("compile {model} --locked --lock {name} -o {out}");
    // The chip is the file's unless the command line names another.
    works(&cache, &locked);
    let refused = |args: &str, code: i32, says: &[&str]| {
        let ended = tinyc_in(&cache, args);
        assert_eq!(ended.code, Some(code), "{args}: {}", ended.stderr);
        let plain = ended
            .stderr
            .split_whitespace()
            .filter(|w| *w != "│")
            .collect::<Vec<_>>()
            .join(" ");
        for what in says {
            assert!(plain.contains(what), "{what}: {plain}");
        }
    };
    refused(
        &format!("{locked} --cpu x86-64-v3"),
        2,
        &["is for x86-64-v2, not x86-64-v3"],
    );
    refused(
        &format!("compile builtin:gpt2_block --locked --lock {name} -o {out}"),
        2,
        &["has no choices for kernel"],
    );
    refused(
        &locked.replace(&name, "/nowhere.lock"),
        4,
        &["/nowhere.lock"],
    );
    let changed =
        |from: &str, to: &str| std::fs::write(&lock, text.replacen(from, to, 1)).expect("written");
    changed("tinyc = \"", "tinyc = \"0");
    refused(&locked, 2, &["was written by tinyc 0"]);
    changed("opts = \"", "opts = \"split(0.99,2,unroll) ");
    refused(&locked, 2, &["for kernel 'k", "do not apply"]);
    changed("hash = \"", "hash = \"0");
    refused(&locked, 2, &["has no choices for kernel 'k"]);
    changed("opts = \"", "opts = \"nonsense ");
    refused(&locked, 4, &["nonsense"]);
}

/// A record that gives one kernel of a lockfile another distance of prefetches.
fn record(lock: &str) -> String {
    let lock: toml::Table = lock.parse().expect("TOML");
    let kernels = lock["kernel"].as_array().expect("kernels");
    let kernel = kernels[0].as_table().expect("a kernel");
    serde_json::json!({
        "kernel": kernel["hash"].as_str(), "name": kernel["name"].as_str(),
        "target": lock["target"].as_str(), "chip": lock["chip"].as_str(), "tinyc": lock["tinyc"].as_str(),
        "found": "better", "opts": kernel["opts"].as_str(), "prefetch": 512, "tuned": true,
        "ratio": 0.9, "seconds": 1e-6, "beam": 4, "complete": true,
    })
    .to_string()
        + "\n"
}

#[test]
fn the_database_is_found_shown_and_merged() {
    let home = tempfile::tempdir().expect("temporary folder");
    let at = |name: &str| home.path().join(name);
    let (cache, other) = (at("cache"), at("other"));
    let model = mnist();
    let compile = |cache: &Path, out: &str, more: &str| {
        let args = format!("compile {model} --emit exe -o {} {more}", at(out).display());
        let ended = works(cache, &args);
        (files(&at(out)), ended.stdout)
    };
    let lock = at("a.lock");
    let (plain, said) = compile(&cache, "plain", &format!("--lock {}", lock.display()));
    assert!(!said.contains("tuned"), "{said}");

    // An empty database, and a damaged one, change nothing.
    std::fs::write(cache.join("tuning.jsonl"), "").expect("written");
    assert!(compile(&cache, "empty", "").0 == plain);
    let text = std::fs::read_to_string(&lock).expect("lockfile");
    // So does a record that was made when the heuristics chose something else.
    let stale = record(&text).replacen('{', "{\"against\":\"0000\",", 1);
    std::fs::write(cache.join("tuning.jsonl"), stale).expect("written");
    assert!(compile(&cache, "stale", "").0 == plain);
    let torn = format!("{}{{\"kernel\":\"torn", record(&text));
    std::fs::write(cache.join("tuning.jsonl"), torn).expect("written");
    let (tuned, said) = compile(&cache, "tuned", "");
    assert!(tuned != plain && said.contains("1 of "), "{said}");
    assert!(compile(&cache, "without", "--no-tuning").0 == plain);
    let shown = works(
        &cache,
        &format!("inspect {} --json", at("tuned/mnist.tinyexe").display()),
    );
    assert!(shown.stdout.contains("tuned=1/"), "{}", shown.stdout);

    let shown = works(&cache, "tune show --opts");
    assert!(
        shown.stdout.contains("prefetch 512")
            && shown.stderr.contains("1 lines are no tuning records")
    );
    let file = at("export.jsonl").display().to_string();
    assert!(
        works(&cache, &format!("tune export {file}"))
            .stdout
            .contains("1 kernels")
    );
    for new in [1, 0] {
        let merged = works(&other, &format!("tune merge {file}"));
        assert!(
            merged.stdout.contains(&format!("{new} new or better")),
            "{}",
            merged.stdout
        );
    }
    assert!(compile(&other, "merged", "").0 == tuned);
    assert_eq!(tinyc_in(&other, "tune merge /nowhere.jsonl").code, Some(4));
    assert_eq!(tinyc_in(&other, "tune").code, Some(2));
}

#[test]
fn a_search_keeps_what_it_finds_and_computes_the_same() {
    let home = tempfile::tempdir().expect("temporary folder");
    let cache = home.path().join("cache");
    let out = home.path().join("out").display().to_string();
    let ended = works(
        &cache,
        &format!("compile builtin:mnist --beam 1 --beam-budget 4s --emit exe -o {out}"),
    );
    assert!(
        ended.stderr.contains("kernels searched"),
        "{}",
        ended.stderr
    );
    let kept = std::fs::read_to_string(cache.join("tuning.jsonl")).expect("a database");
    let lines = kept
        .lines()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).expect("JSON"));
    let found: Vec<String> = lines
        .map(|l| l["found"].as_str().expect("text").to_string())
        .collect();
    assert!(
        !found.is_empty() && found.iter().all(|f| f == "better" || f == "nothing"),
        "{kept}"
    );
    assert_eq!(
        tinyc_in(&cache, "compile builtin:mnist --locked --beam 2").code,
        Some(4)
    );
    assert_eq!(
        tinyc_in(&cache, "compile builtin:mnist --beam 2 --beam-budget soon").code,
        Some(2)
    );
}

#[test]
fn benchmark_programs_run_elsewhere_and_their_results_are_merged() {
    let home = tempfile::tempdir().expect("temporary folder");
    let (cache, jobs) = (home.path().join("cache"), home.path().join("jobs"));
    works(
        &cache,
        &format!("tune builtin:mnist --beam 1 --emit-jobs {}", jobs.display()),
    );
    let text = std::fs::read_to_string(jobs.join("manifest.json")).expect("a manifest");
    let manifest: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let list = manifest["jobs"].as_array().expect("jobs");
    assert!(list.len() >= 3, "{text}");
    // Two are enough; they run where nothing else of tinyc is.
    let mut results = Vec::new();
    for job in &list[..2] {
        let name = job["file"].as_str().expect("a name");
        let ended = run(Command::new(jobs.join(name)).current_dir("/"), LIMIT);
        assert_eq!(ended.code, Some(0), "{name}: {}", ended.stderr);
        let line: serde_json::Value = serde_json::from_str(&ended.stdout).expect("one JSON object");
        assert_eq!(line["kernel"], job["kernel"]);
        let candidates = line["candidates"].as_array().expect("candidates");
        assert_eq!(Some(candidates.len() as u64), job["candidates"].as_u64());
        // Every build of the kernel computes the same.
        assert!(
            candidates
                .iter()
                .all(|c| c["failed"].is_null() && c["ratios"].is_array()),
            "{line}"
        );
        let path = jobs.join(format!("results-{name}.json"));
        std::fs::write(&path, ended.stdout).expect("written");
        results.push(path.display().to_string());
    }
    let merged = works(&cache, &format!("tune merge {}", results.join(" ")));
    assert_eq!(
        merged.stdout.matches("1 kernels, 1 new or better").count(),
        2,
        "{}",
        merged.stdout
    );
    let shown = works(&cache, "tune show --json");
    let records: serde_json::Value = serde_json::from_str(&shown.stdout).expect("JSON");
    assert_eq!(records.as_array().map(Vec::len), Some(2));
}

#[test]
fn an_interrupted_search_keeps_what_it_found() {
    let home = tempfile::tempdir().expect("temporary folder");
    let child = Command::new(tinyc())
        .env("TINYC_CACHE", home.path())
        .env_remove("TINYC_TUNING")
        .args([
            "tune",
            "builtin:mnist",
            "--beam",
            "2",
            "--beam-budget",
            "2m",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tinyc starts");
    // As soon as one kernel is done.
    let database = home.path().join("tuning.jsonl");
    let start = Instant::now();
    while !database.is_file() && start.elapsed() < LIMIT {
        std::thread::sleep(Duration::from_millis(50));
    }
    let sent = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(sent.is_ok_and(|s| s.success()));
    let ended = child.wait_with_output().expect("it ends");
    let (said, told) = (
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr),
    );
    assert_eq!(ended.status.code(), Some(0), "{told}");
    assert!(
        told.contains("interrupted") && said.contains("kernels searched"),
        "{told}{said}"
    );
    let kept = std::fs::read_to_string(&database).expect("a database");
    assert!(
        kept.ends_with('\n') && kept.lines().all(|l| l.ends_with('}')),
        "{kept}"
    );
}
