//! What the engine, the hub, authentication and TLS take, derived from the configuration.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    auth,
    config::{Config, Limit},
    engine::{Retention, RetentionLimits, embedded},
    hub, net,
    types::RoomName,
};

pub(super) fn embedded(config: &Config, folder: PathBuf) -> embedded::Settings {
    embedded::Settings {
        folder,
        queue_drafts: config.storage.max_queued_messages,
        queue_bytes: config.storage.max_queued_bytes,
        feed_groups: config.storage.max_queued_groups,
        page_bytes: config.storage.max_page_bytes,
        file_bytes: config.storage.max_file_bytes.0,
        rooms: config.storage.max_rooms,
        rooms_per_user: if config.auth.is_required() { config.storage.max_rooms_per_user } else { 0 },
        users: config.storage.max_users,
        readers: config.storage.max_readers,
        retention: retention(config),
    }
}

fn retention(config: &Config) -> Retention {
    let limits = |seconds: Limit, messages: Limit| RetentionLimits {
        age: seconds.get().map(|seconds| Duration::from_secs(seconds.get())),
        messages: messages.get(),
    };
    // `Config::check` accepts only names of rooms.
    let rooms =
        config.retention.rooms.iter().filter_map(|(name, retained)| {
            Some((RoomName::new(name).ok()?, limits(retained.seconds, retained.messages)))
        });
    Retention {
        limits: limits(config.retention.seconds, config.retention.messages),
        rooms: rooms.collect(),
        interval: Duration::from_secs(config.retention.interval_seconds),
    }
}

pub(super) fn hub(config: &Config) -> hub::Settings {
    hub::Settings {
        ring_batches: config.rooms.max_ring_batches,
        ring_bytes: config.rooms.max_ring_bytes,
        inbox: config.rooms.max_queued_joins,
        open_rooms: config.rooms.max_open_rooms,
        memberships: config.rooms.max_memberships,
        memberships_per_user: config.auth.is_required().then_some(config.rooms.max_memberships_per_caller),
        rooms_per_stream: config.rooms.max_rooms_per_stream,
        members_per_room: config.rooms.max_members_per_room,
        presence_max: config.rooms.presence_max,
        history_bytes: config.rooms.max_history_bytes,
        waiting_changes: config.rooms.max_waiting_changes,
        watchers: config.rooms.max_watchers,
    }
}

pub(super) fn auth(config: &Config, folder: &Path) -> auth::Settings {
    let issuers = config.auth.issuers.iter().map(|other| auth::Issuer {
        issuer: other.issuer.clone(),
        audience: if other.audience.is_empty() { config.auth.audience.clone() } else { other.audience.clone() },
        keys: if other.jwks_url.is_empty() {
            auth::KeySource::SecretFile(other.hs256_secret_file.clone())
        } else {
            auth::KeySource::JwksUrl(other.jwks_url.clone())
        },
    });
    auth::Settings {
        key_folder: config.auth.is_required().then(|| folder.to_owned()),
        issuer: config.auth.issuer.clone(),
        audience: config.auth.audience.clone(),
        issuers: issuers.collect(),
        jwks_interval: Duration::from_secs(config.auth.jwks_interval_seconds),
        access_token: Duration::from_secs(config.auth.access_token_seconds),
        refresh_token: Duration::from_secs(config.auth.refresh_token_seconds),
        sessions_per_user: config.auth.max_sessions_per_user,
        open_registration: config.auth.open_registration,
        without_token: Duration::from_secs(config.auth.unauthenticated_call_seconds),
    }
}

pub(super) fn tls(config: &Config) -> Option<net::TlsFiles> {
    let given = |path: &PathBuf| (!path.as_os_str().is_empty()).then(|| path.clone());
    Some(net::TlsFiles {
        cert: given(&config.tls.cert)?,
        key: given(&config.tls.key)?,
        client_ca: given(&config.tls.client_ca),
    })
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;
    use crate::config::{self, AuthMode, Retained};

    #[test]
    fn the_rooms_of_a_user_are_limited_where_users_are_known() {
        let of_user = |mode| {
            let mut config = Config::default();
            config.auth.mode = mode;
            config.storage.max_rooms_per_user = 7;
            embedded(&config, PathBuf::new()).rooms_per_user
        };
        assert_eq!([AuthMode::Open, AuthMode::Token].map(of_user), [0, 7]);
    }

    #[test]
    fn what_rooms_keep_is_as_configured_and_0_is_without_limit() {
        let mut config = Config::default();
        assert_eq!(retention(&config), Retention::default());
        let rooms = [("all", 0, 0), ("hour", 3600, 0), ("ten", 0, 10)].map(|(name, seconds, messages)| {
            (name.to_owned(), Retained { seconds: Limit(seconds), messages: Limit(messages) })
        });
        config.retention =
            config::Retention { seconds: Limit(60), messages: Limit(100), rooms: rooms.into(), interval_seconds: 3 };
        let retention = retention(&config);
        let kept = |room| {
            let RetentionLimits { age, messages } = retention.of(&RoomName::new(room).unwrap());
            (age.map_or(0, |age| age.as_secs()), messages.map_or(0, NonZeroU64::get))
        };
        assert_eq!(["all", "hour", "ten", "other"].map(kept), [(0, 0), (3600, 0), (0, 10), (60, 100)]);
        assert_eq!(retention.interval, Duration::from_secs(3));
    }
}
