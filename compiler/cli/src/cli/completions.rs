//! `tinyc completions`: a script for the user's shell.

use super::exit::Exit;
use super::output;
use clap_complete::Shell;
use tinyc_compiler::diag::Result;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell to complete in
    shell: Shell,
}

pub fn run(args: Args, command: &mut clap::Command) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "tinyc", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Success)
}
