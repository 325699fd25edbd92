//! Kernels in text form, what the passes make of them, and whether they still compute the same.
//!
//! In: `tests/filetests/**/*.uop`. A file begins with its commands, one a line; then come remarks, a kernel, and the
//! expected output as comments:
//!
//! ```text
//! ; test pass=simplify-kernel
//! kernel k
//! ...
//! ; => kernel k
//! ; => ...
//! ```
//!
//! | command | checks |
//! |---|---|
//! | `print` | the text reads and prints as itself, or as the expected output |
//! | `verify` | the verifier finds nothing, or what `; error: WHAT` says at the end of the guilty line |
//! | `pass=A,B` | passes, verified after each, give the expected output |
//! | `render` | the C source after all passes that are left is the expected output |
//! | `run` | after each of the passes, and as compiled C, the kernel computes what it did on random buffers |
//!
//! Options: `cpu=NAME` chooses the target file, also that of a device with work-groups (default x86-64-v3), `opt=OPT` (repeated) applies a choice first.
//! `TINYC_BLESS=1` rewrites expectations; `TINYC_FILETEST=TEXT` runs only the files whose path contains the text.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "filetests/running.rs"]
mod running;

use rayon::prelude::*;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use tinyc_compiler::codegen::lower;
use tinyc_compiler::driver::{Lowered, run_pass};
use tinyc_compiler::opt::{apply, parse_opts};
use tinyc_compiler::program::Kernel;
use tinyc_compiler::program::groups::threads;
use tinyc_compiler::program::text::{parse_kernel, parse_kernel_lines, print_kernel, print_linear};
use tinyc_compiler::program::verify::{find_fault, verify_kernel, verify_linear};
use tinyc_compiler::render::c::render;
use tinyc_compiler::target::Facts;
use tinyc_target_amd::Chip;
use tinyc_target_cpu::Level;

/// Fewer files mean that the walk went wrong.
const LEAST: usize = 25;

/// Before each line of expected output.
const ARROW: &str = "; =>";

/// Before what the verifier says about a line.
const ERROR: &str = "; error: ";

type Outcome<T = ()> = Result<T, String>;

#[test]
fn filetests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("filetests");
    let filter = std::env::var("TINYC_FILETEST").unwrap_or_default();
    let mut files = find_files(&root);
    files.retain(|f| f.display().to_string().contains(&filter));
    assert!(
        files.len() >= if filter.is_empty() { LEAST } else { 1 },
        "only {} files in {} (filter '{filter}')",
        files.len(),
        root.display()
    );
    let failures: Vec<String> = files
        .par_iter()
        .filter_map(|path| {
            let name = path.strip_prefix(&root).unwrap_or(path).display();
            check_file(path).err().map(|e| format!("{name}: {e}"))
        })
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {} files fail; TINYC_BLESS=1 rewrites expectations\n\n{}",
        failures.len(),
        files.len(),
        failures.join("\n\n")
    );
}

/// Kernels with words exchanged: what the verifier accepts goes through every pass without a panic.
#[test]
fn damaged_kernels_never_panic() {
    let files = find_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("filetests"));
    let rounds = std::env::var("TINYC_FUZZ_ROUNDS").ok();
    let rounds: u64 = rounds.and_then(|r| r.parse().ok()).unwrap_or(100);
    let facts = Level::ALL[1].facts().unwrap();
    let accepted: usize = files
        .par_iter()
        .enumerate()
        .map(|(n, path)| {
            let text = without_comments(&std::fs::read_to_string(path).unwrap());
            let seeds = (0..rounds).map(|r| 1 + r + n as u64 * rounds);
            seeds
                .filter(|&s| survives(&damage(&text, s), &facts))
                .count()
        })
        .sum();
    let total = files.len() * rounds as usize;
    assert!(accepted * 20 > total, "{accepted} of {total} are kernels");
}

/// Exchanges one or two words for others of their kind: names, numbers, words.
fn damage(text: &str, seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as usize % below.max(1)
    };
    let split = |c: char| !(c.is_alphanumeric() || matches!(c, '%' | '.' | '_' | '-'));
    let mut text = text.to_string();
    for _ in 0..=random(2) {
        let words: Vec<(usize, String)> = text
            .match_indices(|c| !split(c))
            .filter(|&(n, _)| n == 0 || text[..n].ends_with(split))
            .map(|(n, _)| {
                let rest = &text[n..];
                (
                    n,
                    rest[..rest.find(split).unwrap_or(rest.len())].to_string(),
                )
            })
            .collect();
        let kind = |w: &str| (w.starts_with('%'), w.parse::<f64>().is_ok());
        let (at, old) = &words[random(words.len())];
        let like: Vec<_> = words.iter().filter(|w| kind(&w.1) == kind(old)).collect();
        let new = like[random(like.len())].1.clone();
        text.replace_range(*at..at + old.len(), &new);
    }
    text
}

/// True when the text is a kernel.
fn survives(text: &str, facts: &Facts) -> bool {
    let Ok(kernel) = parse_kernel(text) else {
        return false;
    };
    if find_fault(&kernel).is_some() {
        return false;
    }
    let attempt = std::panic::catch_unwind(|| {
        let optimised = run_pass("opt", Lowered::Kernel(kernel.clone()), facts);
        let second = match optimised {
            Ok(Lowered::Kernel(kernel)) => Some(kernel),
            _ => None,
        };
        for kernel in [Some(kernel), second].into_iter().flatten() {
            if let Ok(list) = lower(&kernel, facts) {
                let _ = (render(&list), print_linear(&list));
            }
        }
    });
    assert!(attempt.is_ok(), "a panic on\n{text}");
    true
}

fn find_files(root: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let mut dirs = vec![root.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(&dir).expect("readable folder") {
            let path = entry.expect("readable entry").path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|e| e == "uop") {
                out.push(path);
            }
        }
    }
    out.sort();
    out
}

/// One `; test` line.
#[derive(Debug, Default)]
struct Command {
    print: bool,
    verify: bool,
    render: bool,
    run: bool,
    passes: Vec<String>,
    opts: String,
    cpu: String,
}

impl Command {
    fn parse(line: &str) -> Outcome<Command> {
        let mut out = Command {
            cpu: "x86-64-v3".to_string(),
            ..Command::default()
        };
        for word in line.split_whitespace() {
            match word.split_once('=').unwrap_or((word, "")) {
                ("print", "") => out.print = true,
                ("verify", "") => out.verify = true,
                ("render", "") => out.render = true,
                ("run", "") => out.run = true,
                ("pass", list) => out.passes = list.split(',').map(str::to_string).collect(),
                ("cpu", name) => out.cpu = name.to_string(),
                ("opt", opt) => write!(out.opts, " {opt}").unwrap(),
                _ => return Err(format!("no command '{word}'")),
            }
        }
        if out.print || out.verify || out.render || out.run || !out.passes.is_empty() {
            Ok(out)
        } else {
            Err("the test line says nothing to do".to_string())
        }
    }

    /// The command has a text for its result.
    fn has_output(&self) -> bool {
        self.print || !self.verify && !self.run
    }

    fn facts(&self) -> Outcome<Facts> {
        let cpus = Level::ALL.into_iter().map(|l| l.facts().map_err(text_of));
        let gpus = Chip::ALL.into_iter().map(|c| c.facts().map_err(text_of));
        let all = cpus.chain(gpus).collect::<Outcome<Vec<Facts>>>()?;
        let found = all.into_iter().find(|f| f.name == self.cpu);
        found.ok_or_else(|| format!("there is no target file '{}'", self.cpu))
    }
}

/// A file, taken apart.
struct Test {
    commands: Vec<Command>,
    /// All but the expected output.
    head: String,
    expected: String,
}

fn read_test(path: &Path) -> Outcome<Test> {
    let text = std::fs::read_to_string(path).map_err(text_of)?;
    let commands = text
        .lines()
        .filter_map(|l| l.strip_prefix("; test "))
        .map(Command::parse)
        .collect::<Outcome<Vec<_>>>()?;
    if commands.is_empty() {
        return Err("no line such as '; test print'".to_string());
    }
    if commands.iter().filter(|c| c.has_output()).count() > 1 {
        return Err("two commands with output; split the file".to_string());
    }
    let (mut head, mut expected) = (String::new(), String::new());
    for line in text.lines() {
        match line.strip_prefix(ARROW) {
            Some(rest) => expected += rest.strip_prefix(' ').unwrap_or(rest),
            None => head += line,
        }
        let to = if line.starts_with(ARROW) {
            &mut expected
        } else {
            &mut head
        };
        to.push('\n');
    }
    Ok(Test {
        commands,
        head,
        expected,
    })
}

fn check_file(path: &Path) -> Outcome {
    let test = read_test(path)?;
    let bless = std::env::var_os("TINYC_BLESS").is_some();
    let mut head = test.head.clone();
    let mut output = String::new();
    for command in &test.commands {
        if command.verify {
            let marked = mark_fault(&test.head)?;
            if !bless {
                compare(&test.head, &marked)?;
            }
            head = marked;
        }
        if command.has_output() {
            output = output_of(command, &test.head)?;
            // What prints as itself needs no expected output.
            if command.print && output == without_comments(&test.head) && test.expected.is_empty() {
                output.clear();
            } else if !bless {
                compare(&test.expected, &output)?;
            }
        }
        if command.run {
            check_run(command, &test.head)?;
        }
    }
    if bless {
        let mut text = head;
        for line in output.lines() {
            text += format!("{ARROW} {line}").trim_end();
            text.push('\n');
        }
        let old = std::fs::read_to_string(path).map_err(text_of)?;
        if text != old {
            std::fs::write(path, text).map_err(text_of)?;
        }
    }
    Ok(())
}

fn text_of(error: impl ToString) -> String {
    error.to_string()
}

fn without_comments(text: &str) -> String {
    let lines = text
        .lines()
        .map(|l| l.split(';').next().unwrap_or("").trim());
    lines
        .filter(|l| !l.is_empty())
        .fold(String::new(), |mut out, l| {
            out += l;
            out.push('\n');
            out
        })
}

/// Where two texts part, with a few lines around it.
fn compare(expected: &str, got: &str) -> Outcome {
    if expected == got {
        return Ok(());
    }
    let (old, new): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), got.lines().collect());
    let at = (0..).find(|&n| old.get(n) != new.get(n)).unwrap_or(0);
    let mut out = format!("output differs from line {} on\n", at + 1);
    for line in &new[at.saturating_sub(2).min(new.len())..at.min(new.len())] {
        let _ = writeln!(out, "    {line}");
    }
    for (sign, lines) in [("  - ", &old), ("  + ", &new)] {
        for line in lines.iter().skip(at).take(6) {
            let _ = writeln!(out, "{sign}{line}");
        }
    }
    Err(out)
}

/// The kernel after the opts of a command.
fn open(command: &Command, text: &str) -> Outcome<Kernel> {
    let kernel = parse_kernel(text).map_err(text_of)?;
    verify_kernel(&kernel).map_err(text_of)?;
    if command.opts.is_empty() {
        return Ok(kernel);
    }
    let opts = parse_opts(&command.opts).map_err(text_of)?;
    apply(&kernel, &opts).map_err(text_of)
}

fn step(name: &str, state: Lowered, facts: &Facts) -> Outcome<Lowered> {
    let done = run_pass(name, state, facts).map_err(|e| format!("pass '{name}': {e}"))?;
    match &done {
        Lowered::Kernel(kernel) => verify_kernel(kernel),
        Lowered::List(list) => verify_linear(list),
    }
    .map_err(|e| format!("after pass '{name}': {e}"))?;
    Ok(done)
}

fn output_of(command: &Command, text: &str) -> Outcome<String> {
    let facts = command.facts()?;
    let mut state = Lowered::Kernel(open(command, text)?);
    for pass in &command.passes {
        state = step(pass, state, &facts)?;
    }
    let output = match (&state, command.render) {
        (Lowered::Kernel(kernel), false) => print_kernel(kernel),
        (Lowered::List(list), false) => print_linear(list),
        (Lowered::Kernel(kernel), true) => source(render(&lower(kernel, &facts).map_err(text_of)?)),
        (Lowered::List(list), true) => source(render(list)),
    };
    // A kernel that is printed reads back as itself.
    if let (Lowered::Kernel(_), false) = (&state, command.render) {
        let again = print_kernel(&parse_kernel(&output).map_err(text_of)?);
        compare(&output, &again)
            .map_err(|e| format!("the printed kernel does not round-trip: {e}"))?;
    }
    Ok(output)
}

/// The function of a rendered kernel, without what stands before every one.
fn source(text: tinyc_compiler::diag::Result<String>) -> String {
    match text {
        Ok(text) => text[text.rfind("\nvoid ").map_or(0, |n| n + 1)..].to_string(),
        Err(error) => format!("{error}\n"),
    }
}

/// The text with what is wrong with it at the end of the guilty line.
fn mark_fault(text: &str) -> Outcome<String> {
    let fault: Option<(usize, String)> = match parse_kernel_lines(text) {
        Ok((kernel, lines)) => find_fault(&kernel).map(|f| {
            let line = lines.get(&f.node).copied().unwrap_or(1);
            (line, f.what)
        }),
        Err(e) => {
            let (place, what) = e.message.split_once(": ").unwrap_or(("", &e.message));
            let what = what.split(": `").next().unwrap_or(what);
            let digits = place.trim_start_matches("line ").split(',').next();
            let line = digits.and_then(|d| d.parse().ok());
            let line = line.ok_or_else(|| format!("an error without a line: {}", e.message))?;
            Some((line, what.to_string()))
        }
    };
    let mut out = String::new();
    for (n, line) in text.lines().enumerate() {
        out += line.split(ERROR).next().unwrap_or("").trim_end();
        if let Some((at, what)) = &fault
            && *at == n + 1
        {
            let _ = write!(out, " {ERROR}{what}");
        }
        out.push('\n');
    }
    Ok(out)
}

/// The interpreter before and after each pass, and compiled code, on the same buffers. Kernels of work-groups are not compiled here.
fn check_run(command: &Command, text: &str) -> Outcome {
    let facts = command.facts()?;
    let original = parse_kernel(text).map_err(text_of)?;
    let data = running::Data::random(&original);
    let wanted = data.interpret(&original, &original.params)?;
    let mut state = open(command, text)?;
    let mut layouts = state.params.clone();
    let mut results = BTreeMap::new();
    results.insert("opts".to_string(), data.interpret(&state, &layouts)?);
    for pass in &command.passes {
        let Lowered::Kernel(next) = step(pass, Lowered::Kernel(state), &facts)? else {
            return Err("'run' stops before the list: leave 'linearise' out".to_string());
        };
        state = next;
        // From then on a buffer is a row of elements; where each lies does not change.
        if pass == "opt" {
            layouts = state.params.clone();
        }
        results.insert(pass.clone(), data.interpret(&state, &layouts)?);
    }
    let list = lower(&state, &facts).map_err(text_of)?;
    verify_linear(&list).map_err(text_of)?;
    let groups = threads(&list.uops, &list.list).map_err(text_of)?;
    let workers: &[usize] = if groups.count > 1 { &[] } else { &[1, 3] };
    for &workers in workers {
        let source = render(&list).map_err(text_of)?;
        let got = data.run_compiled(&source, &list.name, &layouts, workers)?;
        results.insert(format!("compiled code, {workers} workers"), got);
    }
    for (name, got) in &results {
        running::same(&original, &wanted, got).map_err(|e| format!("run, after {name}: {e}"))?;
    }
    Ok(())
}
