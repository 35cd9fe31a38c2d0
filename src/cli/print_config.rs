//! `rialto config`.

use super::{Outcome, Settings};

pub(super) fn run(settings: Settings) -> Outcome {
    print!("{}", settings.load()?.describe());
    Ok(())
}
