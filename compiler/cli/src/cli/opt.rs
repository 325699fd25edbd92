//! `tinyc opt`: passes over a kernel in text form.

use super::exit::Exit;
use std::path::PathBuf;
use tinyc_compiler::diag::{Error, Result};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Kernel in text form (.uop)
    file: PathBuf,
    /// Passes to run, in order
    #[arg(long, value_delimiter = ',')]
    pass: Vec<String>,
    /// Interpret the result on small random buffers and print the stored values
    #[arg(long)]
    run: bool,
}

pub fn run(args: Args) -> Result<Exit> {
    let _ = (&args.pass, args.run);
    Err(Error::bug(format!(
        "no reader of kernel text for {} yet",
        args.file.display()
    )))
}
