//! `rialto config`.

use super::{outcome::Outcome, settings::Settings};

pub(super) fn run(settings: Settings) -> Outcome {
    print!("{}", settings.load()?.describe());
    Ok(())
}
