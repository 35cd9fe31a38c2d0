//! What settings make no sense.

use std::path::Path;

use super::{AuthMode, Config, Error};

impl Config {
    /// What each setting allows by itself, and some of them together.
    pub(super) fn check(&self) -> Result<(), Error> {
        let ranges = [
            ("max_bulk_calls", self.max_bulk_calls as u64, 1 << 20),
            ("max_inflight_per_stream", self.max_inflight_per_stream as u64, 1 << 20),
            ("max_inflight_bytes_per_stream", self.max_inflight_bytes_per_stream as u64, 1 << 30),
            ("max_queued_messages", self.max_queued_messages as u64, 1 << 24),
            ("max_queued_bytes", self.max_queued_bytes as u64, 1 << 31),
            ("max_queued_groups", self.max_queued_groups as u64, 1 << 20),
            ("max_queued_joins", self.max_queued_joins as u64, 1 << 24),
            ("max_ring_batches", self.max_ring_batches as u64, 1 << 16),
            ("max_ring_bytes", self.max_ring_bytes as u64, 1 << 40),
            ("max_watchers", self.max_watchers as u64, 1 << 20),
            ("max_waiting_changes", self.max_waiting_changes as u64, 1 << 24),
            ("slow_reader_seconds", self.slow_reader_seconds, 1 << 20),
            ("tls_reload_seconds", self.tls_reload_seconds, 1 << 20),
            ("tls_handshake_seconds", self.tls_handshake_seconds, 1 << 20),
            ("access_token_seconds", self.access_token_seconds, 1 << 30),
            ("refresh_token_seconds", self.refresh_token_seconds, 1 << 30),
            ("max_sessions_per_user", self.max_sessions_per_user as u64, 1 << 20),
            ("rate_burst_seconds", self.rate_burst_seconds.into(), 1 << 20),
            ("rate_counters", self.rate_counters as u64, 1 << 30),
            ("jwks_interval_seconds", self.jwks_interval_seconds, 1 << 20),
            ("max_connections_per_address", self.max_connections_per_address as u64, 1 << 30),
            ("max_streams_per_caller", self.max_streams_per_caller as u64, 1 << 30),
            ("max_members_per_room", self.max_members_per_room as u64, 1 << 30),
            ("max_memberships", self.max_memberships as u64, 1 << 30),
            ("max_text_bytes", self.max_text_bytes as u64, 1 << 30),
            ("without_token_seconds", self.without_token_seconds, 1 << 20),
            ("max_memberships_per_caller", self.max_memberships_per_caller as u64, 1 << 30),
            ("max_queued_hashes", self.max_queued_hashes as u64, 1 << 20),
            ("max_unfinished_bytes", self.max_unfinished_bytes as u64, 1 << 31),
            ("max_streams_per_connection", self.max_streams_per_connection.into(), u32::MAX.into()),
            ("retain_interval_seconds", self.retain_interval_seconds, 1 << 20),
            ("first_bytes_seconds", self.first_bytes_seconds, 1 << 20),
            ("keepalive_interval_seconds", self.keepalive_interval_seconds, 1 << 20),
            ("keepalive_timeout_seconds", self.keepalive_timeout_seconds, 1 << 20),
            // HTTP/2's own limit of a window (RFC 9113, section 6.9.1).
            ("stream_window_bytes", self.stream_window_bytes.into(), (1 << 31) - 1),
            ("connection_window_bytes", self.connection_window_bytes.into(), (1 << 31) - 1),
            ("send_buffer_bytes", self.send_buffer_bytes as u64, u32::MAX.into()),
        ];
        for (name, value, most) in ranges {
            if !(1..=most).contains(&value) {
                return Err(senseless(name, format!("must be at least 1 and at most {most}")));
            }
        }
        if self.max_chat_frame_bytes < self.max_text_bytes {
            return Err(senseless("max_chat_frame_bytes", "must be at least max_text_bytes"));
        }
        self.check_tls()?;
        self.check_tokens()?;
        self.check_exposure()
    }

    fn check_tls(&self) -> Result<(), Error> {
        let (cert, key, client_ca) = (is_set(&self.tls_cert), is_set(&self.tls_key), is_set(&self.tls_client_ca));
        if cert != key {
            let (name, other) = if cert { ("tls_key", "tls_cert") } else { ("tls_cert", "tls_key") };
            return Err(senseless(name, format!("must be given with {other}: TLS needs both")));
        }
        if client_ca && !cert {
            return Err(senseless("tls_cert", "must be given with tls_client_ca: only TLS knows certificates"));
        }
        Ok(())
    }

    fn check_tokens(&self) -> Result<(), Error> {
        for (name, value) in [("issuer", &self.issuer), ("audience", &self.audience)] {
            if value.is_empty() {
                return Err(senseless(name, "must not be empty"));
            }
        }
        for (index, other) in self.issuers.iter().enumerate() {
            let name = &other.issuer;
            if name.is_empty() {
                return Err(senseless("issuers", "must each name their issuer"));
            }
            let before = self.issuers.iter().take(index);
            if *name == self.issuer || before.into_iter().any(|before| before.issuer == *name) {
                // One issuer, one kind of key: or a public key could be taken for a secret.
                return Err(senseless(
                    "issuers",
                    format!("must not name {name:?} twice, nor this server's own issuer"),
                ));
            }
            if other.jwks_url.is_empty() != is_set(&other.hs256_secret_file) {
                return Err(senseless("issuers", format!("must give {name:?} either jwks_url or hs256_secret_file")));
            }
        }
        Ok(())
    }

    /// Whoever can reach the server must have to say who he is, and must be able to do so in secret.
    fn check_exposure(&self) -> Result<(), Error> {
        if self.listen.ip().is_loopback() || self.insecure {
            return Ok(());
        }
        let reason = match (self.auth, self.has_tls()) {
            (AuthMode::Token, true) => return Ok(()),
            (AuthMode::Token, false) => {
                "is not a loopback address, and passwords and tokens would be sent in the clear: give --tls-cert and --tls-key \
                 (`rialto cert --dev` makes some to try), or --insecure behind a proxy that does TLS"
            }
            (AuthMode::Open, _) => {
                "is not a loopback address, and nobody has to say who he is: give --auth token, or --insecure if that is meant"
            }
        };
        Err(senseless("listen", reason))
    }

    /// A certificate is given.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        is_set(&self.tls_cert)
    }
}

fn is_set(path: &Path) -> bool {
    !path.as_os_str().is_empty()
}

fn senseless(name: &'static str, reason: impl Into<String>) -> Error {
    Error::Senseless { name, reason: reason.into() }
}
