//! `rialto completions`.

use clap::{Args, Command};
use clap_complete::Shell;

use super::outcome::Outcome;

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// For bash: `rialto completions bash > ~/.local/share/bash-completion/completions/rialto`
    shell: Shell,
}

impl Completions {
    /// Prints the script for this command tree.
    pub(super) fn run(&self, command: &mut Command) -> Outcome {
        clap_complete::generate(self.shell, command, "rialto", &mut std::io::stdout());
        Ok(())
    }
}
