//! Names that are not settings: near misses, names of earlier versions, and variables of the environment with another use.

use super::{
    section::Setting,
    settings::{Config, settings},
};

/// The prefix of environment variables.
pub const ENV_PREFIX: &str = "RIALTO_";

/// Environment variables with our prefix that are not settings. A `*` at the end stands for any rest.
const OTHER_VARIABLES: &[&str] = &[
    // The command line's own; see `rialto --help`. `RIALTO_PASSWORD` belongs to the examples.
    "RIALTO_CONFIG",
    "RIALTO_SERVER",
    "RIALTO_TOKEN",
    "RIALTO_TOKEN_FILE",
    "RIALTO_CA",
    "RIALTO_CERT",
    "RIALTO_KEY",
    "RIALTO_PASSWORD",
    // The tests' own; see `scripts/test --help`.
    "RIALTO_BIN",
    "RIALTO_TEST_*",
    // Kubernetes sets these in every pod beside a Service that is named rialto.
    "RIALTO_SERVICE_*",
    "RIALTO_PORT",
    "RIALTO_PORT_*",
];

/// Whether this environment variable has our prefix but another use.
pub(super) fn is_other_variable(variable: &str) -> bool {
    OTHER_VARIABLES.iter().any(|other| match other.strip_suffix('*') {
        Some(start) => variable.starts_with(start),
        None => variable == *other,
    })
}

/// The names that settings had before there were sections, and the names that they have now.
const RENAMED: &[(&str, &[&str])] = &[
    ("log_format", &["logging.format"]),
    ("log", &["logging.filter"]),
    ("tls_cert", &["tls.cert"]),
    ("tls_key", &["tls.key"]),
    ("tls_client_ca", &["tls.client_ca"]),
    ("tls_reload_seconds", &["tls.reload_seconds"]),
    ("tls_handshake_seconds", &["tls.handshake_seconds"]),
    ("auth", &["auth.mode"]),
    ("audience", &["auth.audience"]),
    ("issuer", &["auth.issuer"]),
    ("issuers", &["auth.issuers"]),
    ("jwks_interval_seconds", &["auth.jwks_interval_seconds"]),
    ("access_token_seconds", &["auth.access_token_seconds"]),
    ("refresh_token_seconds", &["auth.refresh_token_seconds"]),
    ("max_sessions_per_user", &["auth.max_sessions_per_user"]),
    ("open_registration", &["auth.open_registration"]),
    ("without_token_seconds", &["auth.unauthenticated_call_seconds"]),
    ("max_calls_per_second_per_caller", &["rates.calls_per_second_per_caller"]),
    ("max_calls_per_second_per_address", &["rates.calls_per_second_per_address"]),
    ("max_messages_per_second_per_caller", &["rates.messages_per_second_per_caller"]),
    ("max_messages_per_second_per_address", &["rates.messages_per_second_per_address"]),
    ("rate_burst_seconds", &["rates.burst_seconds"]),
    ("max_logins_per_minute_per_user", &["rates.logins_per_minute_per_user"]),
    ("max_logins_per_minute_per_user_and_address", &["rates.logins_per_minute_per_user_and_address"]),
    ("max_logins_per_minute_per_address", &["rates.logins_per_minute_per_address"]),
    ("max_registrations_per_hour_per_address", &["rates.registrations_per_hour_per_address"]),
    ("rate_counters", &["rates.counters"]),
    ("max_connections", &["http.max_connections"]),
    ("max_connections_per_address", &["http.max_connections_per_address"]),
    ("limit_loopback", &["http.limit_loopback"]),
    ("max_streams", &["limits.max_streams"]),
    ("max_streams_per_caller", &["limits.max_streams_per_caller"]),
    ("max_streams_per_connection", &["http.max_streams_per_connection"]),
    ("max_file_bytes", &["storage.max_file_bytes"]),
    ("max_rooms", &["storage.max_rooms"]),
    ("max_rooms_per_user", &["storage.max_rooms_per_user"]),
    ("max_open_rooms", &["rooms.max_open_rooms"]),
    ("max_rooms_per_stream", &["rooms.max_rooms_per_stream"]),
    ("max_members_per_room", &["rooms.max_members_per_room"]),
    ("max_memberships_per_caller", &["rooms.max_memberships_per_caller"]),
    ("max_memberships", &["rooms.max_memberships"]),
    ("presence_max", &["rooms.presence_max"]),
    ("max_watchers", &["users.max_watchers", "rooms.max_watchers"]),
    ("max_waiting_changes", &["users.max_waiting_changes", "rooms.max_waiting_changes"]),
    ("retain_seconds", &["retention.seconds"]),
    ("retain_messages", &["retention.messages"]),
    ("retain_rooms", &["retention.rooms"]),
    ("retain_interval_seconds", &["retention.interval_seconds"]),
    ("max_text_bytes", &["limits.max_text_bytes"]),
    ("max_chat_frame_bytes", &["limits.max_chat_frame_bytes"]),
    ("max_frame_bytes", &["limits.max_frame_bytes"]),
    ("max_unfinished_bytes", &["limits.max_incomplete_bytes"]),
    ("max_reply_bytes", &["limits.max_reply_bytes"]),
    ("max_bulk_calls", &["users.max_bulk_calls"]),
    ("max_users_per_call", &["users.max_users_per_call"]),
    ("max_passwords_per_call", &["users.max_passwords_per_call"]),
    ("max_concurrent_hashes", &["users.max_concurrent_hashes"]),
    ("max_queued_hashes", &["users.max_queued_hashes"]),
    ("max_concurrent_logins", &["users.max_concurrent_logins"]),
    ("max_queued_logins", &["users.max_queued_logins"]),
    ("max_inflight_per_stream", &["limits.max_inflight_per_stream"]),
    ("max_inflight_bytes_per_stream", &["limits.max_inflight_bytes_per_stream"]),
    ("max_queued_messages", &["storage.max_queued_messages"]),
    ("max_queued_bytes", &["storage.max_queued_bytes"]),
    ("max_queued_groups", &["storage.max_queued_groups"]),
    ("max_queued_joins", &["rooms.max_queued_joins"]),
    ("max_ring_batches", &["rooms.max_ring_batches"]),
    ("max_ring_bytes", &["rooms.max_ring_bytes"]),
    ("max_page_bytes", &["storage.max_page_bytes"]),
    ("max_history_bytes", &["rooms.max_history_bytes"]),
    ("max_readers", &["storage.max_readers"]),
    ("first_bytes_seconds", &["http.first_bytes_seconds"]),
    ("keepalive_interval_seconds", &["http.keepalive_interval_seconds"]),
    ("keepalive_timeout_seconds", &["http.keepalive_timeout_seconds"]),
    ("slow_reader_seconds", &["limits.slow_reader_seconds"]),
    ("max_local_error_resets", &["http.max_local_error_resets"]),
    ("max_pending_accept_resets", &["http.max_pending_accept_resets"]),
    ("max_header_list_bytes", &["http.max_header_list_bytes"]),
    ("stream_window_bytes", &["http.stream_window_bytes"]),
    ("connection_window_bytes", &["http.connection_window_bytes"]),
    ("send_buffer_bytes", &["http.send_buffer_bytes"]),
];

/// The setting of this full name.
pub(super) fn find(name: &str) -> Option<&'static Setting> {
    let (section, key) = name.split_once('.').unwrap_or(("", name));
    settings().find(|setting| setting.section == section && setting.key == key)
}

pub(super) fn is_section(name: &str) -> bool {
    Config::SECTIONS.iter().any(|(section, ..)| *section == name)
}

/// Whether a setting had this name before there were sections, and no section has it now.
pub(super) fn is_renamed(name: &str) -> bool {
    !is_section(name) && RENAMED.iter().any(|(old, _)| *old == name)
}

/// The environment variable of a setting: `RIALTO_SECTION__NAME`.
pub(super) fn variable(name: &str) -> String {
    format!("{ENV_PREFIX}{}", name.replace('.', "__").to_uppercase())
}

/// Explains that there is no setting of this name, and which one is meant. `spell` writes the name of a setting as the caller's source has it.
pub(super) fn unknown(name: &str, spell: impl Fn(&str) -> String) -> String {
    if let Some((_, new)) = RENAMED.iter().find(|(old, _)| *old == name) {
        let new: Vec<_> = new.iter().map(|new| spell(new)).collect();
        return format!("was renamed: use {}", new.join(" and "));
    }
    match nearest(name) {
        Some(nearest) => format!("is not a setting; the nearest is {}", spell(&nearest)),
        None => "is not a setting".into(),
    }
}

/// The setting with the nearest name: by its full name, or by its name within any section.
fn nearest(name: &str) -> Option<String> {
    let key = name.rsplit('.').next().unwrap_or(name);
    let distance = |setting: &Setting| {
        let full = strsim::osa_distance(name, &setting.name());
        // A right name in a wrong section is nearer than any name with as many changes.
        full.min(strsim::osa_distance(key, setting.key) + usize::from(name.contains('.')))
    };
    settings().min_by_key(|setting| distance(setting)).map(Setting::name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_renamed_setting_has_a_new_name_that_exists() {
        for (old, new) in RENAMED {
            assert!(find(old).is_none(), "{old} is a setting");
            assert!(!new.is_empty() && new.iter().all(|new| find(new).is_some()), "{old} -> {new:?}");
        }
    }

    /// The settings of the last version without sections.
    #[test]
    fn every_setting_of_before_the_sections_is_renamed_or_has_kept_its_name() {
        let old = include_str!("flat_names.txt");
        for name in old.lines() {
            let is_known = find(name).is_some() || RENAMED.iter().any(|(renamed, _)| *renamed == name);
            assert!(is_known, "{name}");
        }
        assert_eq!(
            old.lines().count(),
            RENAMED.len() + 4,
            "listen, data, insecure and drain_seconds have kept their names"
        );
    }

    #[test]
    fn the_nearest_setting_is_found_by_either_part_of_the_name() {
        for (wrong, near) in [
            ("limits.max_text_byte", "limits.max_text_bytes"),
            ("max_rooms_per_streams", "rooms.max_rooms_per_stream"),
            ("http.max_open_rooms", "rooms.max_open_rooms"),
            ("lisen", "listen"),
            ("tls.certt", "tls.cert"),
        ] {
            assert_eq!(nearest(wrong).as_deref(), Some(near), "{wrong}");
        }
    }
}
