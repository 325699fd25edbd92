//! `tinyc disasm FILE`: the instructions of an AMD code object as text.
//!
//! In: an ELF file as `clang -target amdgcn-amd-amdhsa` writes it. Out: on stdout what `llvm-objdump -d` prints.

use super::exit::Exit;
use clap::ValueHint;
use std::path::PathBuf;
use tinyc_compiler::diag::{Error, Result};
use tinyc_simgpu::code_object::CodeObject;
use tinyc_simgpu::listing::listing;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// AMD code object (.o, .co, .hsaco)
    #[arg(value_hint = ValueHint::FilePath)]
    file: PathBuf,
}

pub fn run(args: Args) -> Result<Exit> {
    let name = args.file.display();
    let bytes = std::fs::read(&args.file)
        .map_err(|e| Error::environment(format!("cannot read {name}: {e}")))?;
    let code = CodeObject::parse(&bytes).map_err(|e| Error::model(format!("{name}: {e}")))?;
    super::output::print(&listing(&code))?;
    Ok(Exit::Success)
}
