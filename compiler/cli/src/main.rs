//! The `tinyc` command.

fn main() -> std::process::ExitCode {
    tinyc::cli::main()
}
