//! `rialto completions`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Outcome};

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// For bash: `rialto completions bash > ~/.local/share/bash-completion/completions/rialto`
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self) -> Outcome {
        clap_complete::generate(self.shell, &mut Cli::command(), "rialto", &mut std::io::stdout());
        Ok(())
    }
}
