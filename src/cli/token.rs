//! `rialto token`: signs a token with the key in the data folder.

use std::time::Duration;

use clap::Args;

use super::{outcome::Outcome, settings::Settings};
use crate::{
    auth::{OperatorToken, SigningKey, sign_operator_token},
    users::check_roles,
};

/// Sign a token for an operator or a service, with the key in the data folder.
///
/// The token is valid at once at every hub that uses this data folder. It is not recorded and cannot be revoked, so keep its lifetime short.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Token {
    /// Name of the holder; the hub calls them `operator:NAME`
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: String,
    /// A role of the holder; `admin` manages users. Can be given more than once
    #[arg(long, value_name = "ROLE")]
    role: Vec<String>,
    /// Lifetime of the token
    #[arg(long, value_name = "MINUTES", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=525_600))]
    minutes: u32,
    #[command(flatten)]
    settings: Settings,
}

const AFTER_HELP: &str = "\
Create the first user of a hub that requires tokens:
  export RIALTO_TOKEN=$(rialto token --name setup --role admin)
  rialto users create ada --password-stdin
  rialto users update ada --roles admin";

/// Accepts names that need no quoting in logs and shells.
fn name(text: &str) -> Result<String, &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let is_name = (1..=64).contains(&text.len()) && text.bytes().all(is_plain);
    if is_name { Ok(text.to_owned()) } else { Err("must be 1 to 64 letters, digits and `. _ -`") }
}

impl Token {
    pub(super) fn run(self) -> Outcome {
        let config = self.settings.load()?.config;
        let roles = check_roles(self.role)?;
        let key = SigningKey::open(&config.data)?;
        let token = sign_operator_token(
            &key,
            &OperatorToken {
                issuer: &config.auth.issuer,
                audience: &config.auth.audience,
                name: &self.name,
                roles: &roles,
                lifetime: Duration::from_secs(60 * u64::from(self.minutes)),
            },
        )?;
        println!("{token}");
        Ok(())
    }
}
