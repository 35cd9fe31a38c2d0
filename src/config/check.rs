//! What must hold between settings. The range of each single setting is declared beside it.

use super::{
    auth::AuthMode,
    error::{Error, Problem},
    settings::Config,
    tls::is_set,
};
use crate::types::RoomName;

impl Config {
    /// Checks all settings.
    ///
    /// # Errors
    ///
    /// [`Error::Settings`] with every problem that was found.
    pub fn check(&self) -> Result<(), Error> {
        let problems = self.problems();
        if problems.is_empty() { Ok(()) } else { Err(Error::Settings(problems)) }
    }

    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        self.check_ranges(&mut problems);
        let relations = [check_sizes, check_tls, check_tokens, check_issuers, check_retained_rooms, check_exposure];
        for check in relations {
            check(self, &mut problems);
        }
        problems
    }
}

fn check_sizes(config: &Config, problems: &mut Vec<Problem>) {
    let (frame, text) = (config.limits.max_chat_frame_bytes, config.limits.max_text_bytes);
    if frame < text {
        let reason = format!("must be at least limits.max_text_bytes, which is {text}");
        problems.push(Problem::of_value("limits.max_chat_frame_bytes", frame, reason));
    }
}

fn check_tls(config: &Config, problems: &mut Vec<Problem>) {
    let [cert, key, client_ca] = [&config.tls.cert, &config.tls.key, &config.tls.client_ca].map(|path| is_set(path));
    if cert != key {
        let (missing, given) = if cert { ("tls.key", "tls.cert") } else { ("tls.cert", "tls.key") };
        problems.push(Problem::new(missing, format!("must be set together with {given}: TLS needs both")));
    }
    if client_ca && !cert && !key {
        let reason = "must be set together with tls.client_ca: clients present certificates only over TLS";
        problems.push(Problem::new("tls.cert", reason));
    }
}

fn check_tokens(config: &Config, problems: &mut Vec<Problem>) {
    for (name, value) in [("auth.issuer", &config.auth.issuer), ("auth.audience", &config.auth.audience)] {
        if value.is_empty() {
            problems.push(Problem::new(name, "must not be empty"));
        }
    }
}

fn check_issuers(config: &Config, problems: &mut Vec<Problem>) {
    let mut wrong = |reason: String| problems.push(Problem::new("auth.issuers", reason));
    // An issuer has one kind of key: otherwise a public key could be taken for a shared secret.
    let mut known = vec![&config.auth.issuer];
    for other in &config.auth.issuers {
        let name = &other.issuer;
        if name.is_empty() {
            wrong("must give each element an `issuer`".into());
            continue;
        }
        if known.contains(&name) {
            wrong(format!("must not name {name:?} twice, nor this server's own issuer (auth.issuer)"));
        }
        if other.jwks_url.is_empty() != is_set(&other.hs256_secret_file) {
            wrong(format!("must give {name:?} either jwks_url or hs256_secret_file"));
        }
        known.push(name);
    }
}

fn check_retained_rooms(config: &Config, problems: &mut Vec<Problem>) {
    for name in config.retention.rooms.keys() {
        if let Err(error) = RoomName::new(name) {
            problems.push(Problem::new("retention.rooms", format!("names the room {name:?}, but {error}")));
        }
    }
}

/// Callers that are not on this machine must be authenticated, and must not send their secrets in the clear.
fn check_exposure(config: &Config, problems: &mut Vec<Problem>) {
    if config.listen.ip().is_loopback() || config.insecure {
        return;
    }
    let reason = match (config.auth.mode, config.tls.is_enabled()) {
        (AuthMode::Token, true) => return,
        (AuthMode::Token, false) => {
            "is not a loopback address, and passwords and tokens would be sent in the clear: give --tls-cert and --tls-key \
             (`rialto cert --dev` makes some to try), or --insecure behind a proxy that terminates TLS"
        }
        (AuthMode::Open, _) => {
            "is not a loopback address, and callers are not authenticated: give --auth token, or --insecure if every peer on that \
             network may do everything"
        }
    };
    problems.push(Problem::of_value("listen", config.listen, reason));
}
