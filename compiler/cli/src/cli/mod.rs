//! The command line: arguments, commands, exit codes. One command a file.
//!
//! Only results go to stdout; progress, warnings and errors go to stderr. `registry` names the targets:
//! this package is the composition root.

mod bench;
mod blame;
mod compare;
mod compile;
mod completions;
#[cfg(feature = "simulate")]
mod disasm;
mod exit;
mod feed;
mod inspect;
pub(crate) mod lock;
mod opt;
mod output;
pub(crate) mod prepare;
mod profile;
mod progress;
pub(crate) mod registry;
mod replay;
mod report;
mod run;
#[cfg(feature = "simulate")]
mod simulate;
#[cfg(not(feature = "simulate"))]
#[path = "simulate_not.rs"]
mod simulate;
pub(crate) mod source;
mod statistics;
#[cfg(feature = "simulate")]
mod stream;
mod targets;
mod tensor_files;
mod tune;
mod tuning;
mod verify;

use clap::{CommandFactory, Parser, Subcommand};
use exit::Exit;
use std::process::ExitCode;

/// Ahead-of-time model compiler: ONNX in, a static library or one executable file out.
#[derive(Debug, Parser)]
#[command(name = "tinyc", version, after_help = exit::HELP, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compile a model into a static library or one executable file
    Compile(compile::Args),
    /// Run a model or a .tinyexe on arrays from a file
    Run(run::Args),
    /// Compile a model, run it and compare with expected outputs
    Verify(verify::Args),
    /// Show inputs, outputs, kernels and memory plan of a model or .tinyexe
    Inspect(inspect::Args),
    /// Time models and artifacts side by side
    Bench(bench::Args),
    /// Say which kernels of two .tinyexe files differ in speed, and why
    Blame(blame::Args),
    /// Show where the time of a model goes, kernel by kernel
    Profile(profile::Args),
    /// Search faster choices for a model, and look after those that were found
    Tune(tune::Args),
    /// List the targets and their chips
    Targets(targets::Args),
    /// Print a shell completion script
    Completions(completions::Args),
    /// Print the instructions of an AMD code object
    #[cfg(feature = "simulate")]
    Disasm(disasm::Args),
    /// Run passes over a kernel in text form (for developers)
    Opt(opt::Args),
    /// Record kernel text of models, or compare two recordings (for developers)
    Replay(replay::Args),
}

impl Command {
    fn run(self) -> tinyc_compiler::diag::Result<Exit> {
        match self {
            Command::Compile(args) => compile::run(args),
            Command::Run(args) => run::run(args),
            Command::Verify(args) => verify::run(args),
            Command::Inspect(args) => inspect::run(args),
            Command::Bench(args) => bench::run(args),
            Command::Blame(args) => blame::run(args),
            Command::Profile(args) => profile::run(args),
            Command::Tune(args) => tune::run(args),
            Command::Targets(args) => targets::run(args),
            Command::Completions(args) => completions::run(args, &mut Cli::command()),
            #[cfg(feature = "simulate")]
            Command::Disasm(args) => disasm::run(args),
            Command::Opt(args) => opt::run(args),
            Command::Replay(args) => replay::run(args),
        }
    }
}

/// Parses the arguments, runs the command, prints errors. Never panics.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are results; all else is wrong usage. A closed pipe is nobody's error.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage.into()
            } else {
                Exit::Success.into()
            };
        }
    };
    exit::guarded(move || match cli.command.run() {
        Ok(exit) => exit,
        Err(error) => {
            report::print(&error);
            error.kind.into()
        }
    })
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_lists_exit_codes() {
        let help = Cli::command().render_long_help().to_string();
        for exit in Exit::ALL {
            assert!(
                help.contains(&format!("  {:<2}  {}", exit as u8, exit.meaning())),
                "{exit:?}\n{help}"
            );
        }
    }
}
