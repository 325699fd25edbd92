//! `tinyc replay`: kernel text of models, recorded and compared between commits.

use super::exit::Exit;
use super::output;
use super::prepare::{BindArgs, PassArgs, Prepared};
use super::registry::{self, TargetArgs};
use std::path::PathBuf;
use tinyc_compiler::diag::Result;
use tinyc_compiler::driver::replay;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Write the kernels of models into a folder
    Record {
        /// Folder to write into, one folder a model
        dir: PathBuf,
        /// Models
        #[arg(required = true)]
        models: Vec<String>,
        #[command(flatten)]
        bind: BindArgs,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Print the files that differ; exit code 1 when there are any
    Diff {
        /// First recording
        a: PathBuf,
        /// Second recording
        b: PathBuf,
    },
}

pub fn run(args: Args) -> Result<Exit> {
    match args.action {
        Action::Record {
            dir,
            models,
            bind,
            target,
        } => {
            let target = registry::open(&target)?;
            for model in models {
                let compiled = Prepared::open(&model, None, &bind, &[])?
                    .compile(&*target, &PassArgs::default())?;
                replay::record(&compiled.built, &*target, &dir)?;
                output::line(&format!("{model}: {} kernels", compiled.built.linear.len()))?;
            }
            Ok(Exit::Success)
        }
        Action::Diff { a, b } => {
            let differences = replay::diff(&a, &b)?;
            for d in &differences {
                output::line(&d.to_string())?;
            }
            Ok(if differences.is_empty() {
                Exit::Success
            } else {
                Exit::Differs
            })
        }
    }
}
