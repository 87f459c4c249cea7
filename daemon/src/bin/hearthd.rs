//! `hearthd`: see `hearthd::cli`.

fn main() -> std::process::ExitCode {
    hearthd::cli::main()
}
