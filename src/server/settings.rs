//! What each part is told of the configuration.

use std::{
    num::{NonZeroU32, NonZeroU64},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    auth,
    config::{self, AuthMode, Config, Retained},
    engine::{Retention, RetentionLimits, embedded},
    hub, limit, net, rpc,
    types::RoomName,
    users,
};

pub(super) fn embedded(config: &Config, folder: PathBuf) -> Result<embedded::Settings, config::Error> {
    Ok(embedded::Settings {
        folder,
        queue_drafts: config.max_queued_messages,
        queue_bytes: config.max_queued_bytes,
        feed_groups: config.max_queued_groups,
        page_bytes: config.max_page_bytes,
        file_bytes: config.max_file_bytes,
        rooms: config.max_rooms,
        rooms_per_user: if config.auth == AuthMode::Token { config.max_rooms_per_user } else { 0 },
        readers: config.max_readers,
        retention: retention(config)?,
    })
}

/// What only the parts can tell to be wrong.
pub(super) fn check(config: &Config) -> Result<(), config::Error> {
    retention(config).map(drop)
}

fn retention(config: &Config) -> Result<Retention, config::Error> {
    let limits = |seconds, messages| RetentionLimits {
        age: (seconds > 0).then(|| Duration::from_secs(seconds)),
        messages: NonZeroU64::new(messages),
    };
    let rooms = config.retain_rooms.iter().map(|(name, Retained { seconds, messages })| {
        let named = RoomName::new(name).map_err(|bad| config::Error::Senseless {
            name: "retain_rooms",
            reason: format!("names the room {name:?}, but {bad}"),
        });
        Ok((named?, limits(*seconds, *messages)))
    });
    Ok(Retention {
        limits: limits(config.retain_seconds, config.retain_messages),
        rooms: rooms.collect::<Result<_, config::Error>>()?,
        interval: Duration::from_secs(config.retain_interval_seconds),
    })
}

pub(super) fn hub(config: &Config) -> hub::Settings {
    hub::Settings {
        ring_batches: config.max_ring_batches,
        ring_bytes: config.max_ring_bytes,
        inbox: config.max_queued_joins,
        open_rooms: config.max_open_rooms,
        memberships: config.max_memberships,
        memberships_per_user: (config.auth == AuthMode::Token).then_some(config.max_memberships_per_caller),
        rooms_per_stream: config.max_rooms_per_stream,
        members_per_room: config.max_members_per_room,
        presence_max: config.presence_max,
        history_bytes: config.max_history_bytes,
        waiting_changes: config.max_waiting_changes,
        watchers: config.max_watchers,
    }
}

pub(super) fn users(config: &Config) -> users::Settings {
    users::Settings {
        batches: config.max_bulk_calls,
        users_per_batch: config.max_users_per_call,
        passwords_per_batch: config.max_passwords_per_call,
        concurrent_hashes: config.max_concurrent_hashes,
        concurrent_logins: config.max_concurrent_logins,
        queued_logins: config.max_queued_logins,
        queued_hashes: config.max_queued_hashes,
        watchers: config.max_watchers,
        waiting_changes: config.max_waiting_changes,
    }
}

pub(super) fn auth(config: &Config, folder: &Path) -> auth::Settings {
    let issuers = config.issuers.iter().map(|other| auth::Issuer {
        issuer: other.issuer.clone(),
        audience: if other.audience.is_empty() { config.audience.clone() } else { other.audience.clone() },
        keys: if other.jwks_url.is_empty() {
            auth::KeySource::SecretFile(other.hs256_secret_file.clone())
        } else {
            auth::KeySource::JwksUrl(other.jwks_url.clone())
        },
    });
    auth::Settings {
        key_folder: (config.auth == AuthMode::Token).then(|| folder.to_owned()),
        issuer: config.issuer.clone(),
        audience: config.audience.clone(),
        issuers: issuers.collect(),
        jwks_interval: Duration::from_secs(config.jwks_interval_seconds),
        access_token: Duration::from_secs(config.access_token_seconds),
        refresh_token: Duration::from_secs(config.refresh_token_seconds),
        sessions_per_user: config.max_sessions_per_user,
        open_registration: config.open_registration,
        without_token: Duration::from_secs(config.without_token_seconds),
    }
}

/// In open mode nobody is counted.
pub(super) fn limit(config: &Config) -> limit::Settings {
    if config.auth == AuthMode::Open {
        return limit::Settings::default();
    }
    limit::Settings {
        calls_per_caller: NonZeroU32::new(config.max_calls_per_second_per_caller),
        calls_per_address: NonZeroU32::new(config.max_calls_per_second_per_address),
        messages_per_caller: NonZeroU32::new(config.max_messages_per_second_per_caller),
        messages_per_address: NonZeroU32::new(config.max_messages_per_second_per_address),
        burst_seconds: config.rate_burst_seconds,
        logins_per_user: NonZeroU32::new(config.max_logins_per_minute_per_user),
        logins_per_user_and_address: NonZeroU32::new(config.max_logins_per_minute_per_user_and_address),
        logins_per_address: NonZeroU32::new(config.max_logins_per_minute_per_address),
        registrations_per_address: NonZeroU32::new(config.max_registrations_per_hour_per_address),
        counters: config.rate_counters,
    }
}

pub(super) fn rpc(config: &Config) -> rpc::Settings {
    rpc::Settings {
        chat_frame_bytes: config.max_chat_frame_bytes,
        frame_bytes: config.max_frame_bytes,
        text_bytes: config.max_text_bytes,
        reply_bytes: config.max_reply_bytes,
        inflight_per_stream: config.max_inflight_per_stream,
        inflight_bytes_per_stream: config.max_inflight_bytes_per_stream,
        rooms_per_stream: config.max_rooms_per_stream,
    }
}

pub(super) fn tls(config: &Config) -> Option<net::TlsFiles> {
    let given = |path: &PathBuf| (!path.as_os_str().is_empty()).then(|| path.clone());
    Some(net::TlsFiles {
        cert: given(&config.tls_cert)?,
        key: given(&config.tls_key)?,
        client_ca: given(&config.tls_client_ca),
    })
}

pub(super) fn net(config: &Config) -> net::Settings {
    net::Settings {
        connections: config.max_connections,
        connections_per_address: config.max_connections_per_address,
        limit_loopback: config.limit_loopback,
        tls_handshake: Duration::from_secs(config.tls_handshake_seconds),
        first_bytes: Duration::from_secs(config.first_bytes_seconds),
        concurrent_streams: config.max_streams_per_connection,
        local_error_resets: config.max_local_error_resets,
        pending_accept_resets: config.max_pending_accept_resets,
        header_list_bytes: config.max_header_list_bytes,
        stream_window: config.stream_window_bytes,
        connection_window: config.connection_window_bytes,
        send_buffer: config.send_buffer_bytes,
        keepalive_interval: Duration::from_secs(config.keepalive_interval_seconds),
        keepalive_timeout: Duration::from_secs(config.keepalive_timeout_seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rooms_of_a_user_are_limited_where_users_are_known() {
        let of_user = |auth| {
            let config = Config { auth, max_rooms_per_user: 7, ..Config::default() };
            embedded(&config, PathBuf::new()).unwrap().rooms_per_user
        };
        assert_eq!([AuthMode::Open, AuthMode::Token].map(of_user), [0, 7]);
    }

    #[test]
    fn what_rooms_keep_is_as_configured_and_0_is_without_limit() {
        let all = retention(&Config::default()).unwrap();
        assert_eq!(all, Retention::default());
        let rooms = [("all", 0, 0), ("hour", 3600, 0), ("ten", 0, 10)];
        let rooms = rooms.map(|(name, seconds, messages)| (name.to_owned(), Retained { seconds, messages }));
        let config = Config {
            retain_seconds: 60,
            retain_messages: 100,
            retain_rooms: rooms.into(),
            retain_interval_seconds: 3,
            ..Config::default()
        };
        let retention = retention(&config).unwrap();
        let kept = |room| {
            let RetentionLimits { age, messages } = retention.of(&RoomName::new(room).unwrap());
            (age.map_or(0, |age| age.as_secs()), messages.map_or(0, NonZeroU64::get))
        };
        assert_eq!(["all", "hour", "ten", "other"].map(kept), [(0, 0), (3600, 0), (0, 10), (60, 100)]);
        assert_eq!(retention.interval, Duration::from_secs(3));
    }
}
