//! Tests of the embedded engine only, beside the clauses that every engine passes.

use std::{fs, num::NonZeroUsize, path::Path, sync::Arc, time::Duration};

use rusqlite::Connection;
use uuid::Uuid;

use super::{
    error::OpenError,
    handle::{Embedded, open},
    schema,
    settings::Settings,
};
use crate::{
    engine::{
        Appended, Draft, Engine, Error, Feeds, Log, PasswordHash, RecordKind, Retention, RetentionLimits, SecretHash,
        Session, Sessions, UserWrite, Users,
        conformance::{self, TestEngine},
        sparse::Sparse,
    },
    metrics::Metrics,
    types::{RoomName, Time},
};

fn settings(folder: &Path) -> Settings {
    Settings {
        folder: folder.to_owned(),
        queue_drafts: 64,
        queue_bytes: 1 << 20,
        feed_groups: 1024,
        page_bytes: 4096,
        file_bytes: 0,
        rooms: 8,
        rooms_per_user: 0,
        users: 100,
        readers: NonZeroUsize::MIN,
        retention: Retention::default(),
    }
}

struct Folder(tempfile::TempDir, Arc<Metrics>);

impl TestEngine for Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap(), Arc::default())
    }

    async fn open_with(&self, retention: Retention, rooms_per_user: usize) -> (Arc<dyn Engine>, Feeds) {
        let settings = Settings { retention, rooms_per_user, ..settings(self.0.path()) };
        let (engine, feeds) = open(&settings, Arc::clone(&self.1)).unwrap();
        (engine, feeds)
    }

    fn metrics(&self) -> &Metrics {
        &self.1
    }
}

conformance::suite!(Folder);

/// The same data behind numbers with gaps. Only its log differs.
struct SparseFolder(Folder);

impl TestEngine for SparseFolder {
    fn new() -> Self {
        Self(Folder::new())
    }

    async fn open_with(&self, retention: Retention, rooms_per_user: usize) -> (Arc<dyn Engine>, Feeds) {
        let (engine, feeds) = self.0.open_with(retention, rooms_per_user).await;
        Sparse::wrap(engine, feeds)
    }

    fn metrics(&self) -> &Metrics {
        self.0.metrics()
    }
}

mod sparse_numbers {
    use super::*;

    conformance::log_suite!(SparseFolder);
}

#[tokio::test]
async fn a_folder_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, _feeds) = open(&settings(folder.path()), Arc::default()).unwrap();
    assert!(matches!(open(&settings(folder.path()), Arc::default()), Err(OpenError::InUse(_))));
    engine.close().await;
    assert!(open(&settings(folder.path()), Arc::default()).is_ok());
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    open(&settings(folder.path()), Arc::default()).unwrap().0.close().await;
    let connection = Connection::open(folder.path().join("rialto.db")).unwrap();
    connection.pragma_update(None, "user_version", 1000).unwrap();
    drop(connection);
    assert!(matches!(open(&settings(folder.path()), Arc::default()), Err(OpenError::TooNew(_))));
}

#[tokio::test]
async fn a_file_that_is_not_a_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("rialto.db"), "not a database, and long enough to look like one: ".repeat(100))
        .unwrap();
    assert!(matches!(open(&settings(folder.path()), Arc::default()), Err(OpenError::Database { .. })));
}

#[tokio::test]
async fn a_write_ahead_log_that_cannot_be_checkpointed_refuses_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, feeds) = open(&settings(folder.path()), Arc::default()).unwrap();
    // A reader in another program holds an old snapshot, so that the log cannot be truncated.
    let outside = Connection::open(folder.path().join("rialto.db")).unwrap();
    outside.execute_batch("BEGIN; SELECT * FROM rooms;").unwrap();
    drop(outside.query_row("SELECT count(*) FROM rooms", [], |row| row.get::<_, i64>(0)));
    conformance::append(&*engine, "lobby", "one").await;
    engine.close().await;
    drop((engine, feeds));
    assert!(matches!(open(&settings(folder.path()), Arc::default()), Err(OpenError::Checkpoint(_))));
    outside.execute_batch("COMMIT").unwrap();
    assert!(open(&settings(folder.path()), Arc::default()).is_ok());
}

fn draft(room: &str, text: String) -> Draft {
    let room = RoomName::new(room).unwrap();
    Draft::message(room, "ada".into(), String::new(), false, text)
}

async fn publish(engine: &Embedded, draft: Draft) -> Result<Appended, Error> {
    engine.append(draft).await.unwrap().await.map_err(|refused| refused.error)
}

/// Publishes until the disk is full; returns the number of accepted messages.
async fn fill(engine: &Embedded) -> u64 {
    let mut taken = 0;
    loop {
        match publish(engine, draft("lobby", "x".repeat(1000))).await {
            Ok(_) => taken += 1,
            Err(Error::DiskFull) => return taken,
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn a_draft_refused_by_a_full_disk_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let small = Settings { file_bytes: 128 << 10, ..settings(folder.path()) };
    let (engine, _feeds) = open(&small, Arc::default()).unwrap();
    let taken = fill(&engine).await;
    assert!(matches!(publish(&engine, draft("late", "x".repeat(100_000))).await, Err(Error::DiskFull)));
    let lobby = RoomName::default();
    assert_eq!(engine.position(&lobby).await.unwrap().head, taken);
    let rooms = engine.rooms(None, 10).await.unwrap();
    assert!(matches!(&rooms[..], [only] if only.name == lobby), "{rooms:?}");
    assert_eq!(engine.read(&lobby, taken - 1, 10).await.unwrap().head, taken);
}

/// Appends that fail must not fail the removals in the same group, which would free space.
#[tokio::test(flavor = "multi_thread")]
async fn retention_frees_a_full_disk_while_publishers_retry() {
    let folder = tempfile::tempdir().unwrap();
    let small = Settings { file_bytes: 1 << 20, ..settings(folder.path()) };
    let (engine, feeds) = open(&small, Arc::default()).unwrap();
    drop(feeds);
    let taken = fill(&engine).await;
    engine.close().await;
    drop(engine);

    let limits = RetentionLimits { messages: std::num::NonZeroU64::new(10), age: None };
    let retention = Retention { limits, interval: Duration::from_millis(1), ..Retention::default() };
    let (engine, feeds) = open(&Settings { retention, ..small }, Arc::default()).unwrap();
    drop(feeds);
    let mut publishers = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let engine = Arc::clone(&engine);
        publishers.spawn(async move { while publish(&engine, draft("lobby", "x".repeat(10_000))).await.is_err() {} });
    }
    let all = async { while publishers.join_next().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(30), all).await.expect("no space was freed");
    assert_eq!(engine.position(&RoomName::default()).await.unwrap().head, taken + 32);
}

#[tokio::test]
async fn dropping_an_engine_releases_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let limits = RetentionLimits { messages: None, age: Some(Duration::from_secs(3600)) };
    let retention = Retention { limits, interval: Duration::from_secs(3600), ..Retention::default() };
    let settings = Settings { retention, ..settings(folder.path()) };
    drop(open(&settings, Arc::default()).unwrap());
    conformance::until(async || open(&settings, Arc::default()).is_ok()).await;
}

/// A file as the first version of Rialto created it.
#[tokio::test]
async fn a_file_of_the_first_version_keeps_its_contents() {
    let folder = tempfile::tempdir().unwrap();
    let connection = old_file(folder.path(), &[rusqlite_migration::M::up(schema::FIRST)]);
    let id = Uuid::now_v7();
    let insert = "INSERT INTO users VALUES (?, 'Ada', 'ada', '', NULL, 'hash', 'admin', 3, 4, 5)";
    connection.execute(insert, [id.as_bytes()]).unwrap();
    let insert = "INSERT INTO rooms VALUES (1, 'lobby', 1, 0, 6);
                  INSERT INTO messages VALUES (1, 1, 6, 'ada', 'key', 1, 'text');";
    connection.execute_batch(insert).unwrap();
    drop(connection);

    let limited = Settings { rooms_per_user: 1, ..settings(folder.path()) };
    let (engine, _feeds) = open(&limited, Arc::default()).unwrap();
    let users = engine.load_users(None, 10).await.unwrap();
    assert!(matches!(&users[..], [ada] if ada.id == id && ada.revision == 3), "{users:?}");
    let page = engine.read(&RoomName::default(), 0, 10).await.unwrap();
    assert!(matches!(&page.records[..], [only] if only.text == "text" && only.seq == 1), "{page:?}");
    assert_eq!(engine.rooms(None, 10).await.unwrap()[0].created_at.0, 6);
    publish(&engine, draft("mine", "text".into())).await.expect("rooms of the first version have no creator");
    let (now, secret) = (Time::now(), SecretHash([1; 32]));
    let session = Session { id: Uuid::now_v7(), user: id, secret, created_at: now, expires_at: now };
    assert!(engine.create_session(session, &PasswordHash("hash".into()), 1).await.unwrap());
}

/// Creates a file with these migrations only.
fn old_file(folder: &Path, migrations: &[rusqlite_migration::M<'_>]) -> Connection {
    let mut connection = Connection::open(folder.join("rialto.db")).unwrap();
    rusqlite_migration::Migrations::from_slice(migrations).to_latest(&mut connection).unwrap();
    connection
}

/// A file before records had a kind, a target and a body.
#[tokio::test]
async fn a_file_of_the_second_version_keeps_its_contents() {
    let folder = tempfile::tempdir().unwrap();
    let versions = [rusqlite_migration::M::up(schema::FIRST), rusqlite_migration::M::up(schema::SECOND)];
    let connection = old_file(folder.path(), &versions);
    let insert = "INSERT INTO rooms VALUES (1, 'lobby', 2, 1, 6, 'ada');
                  INSERT INTO messages VALUES (1, 2, 7, 'ada', 'key', 1, 'text');";
    connection.execute_batch(insert).unwrap();
    drop(connection);

    let (engine, _feeds) = open(&settings(folder.path()), Arc::default()).unwrap();
    let lobby = RoomName::default();
    let old = Draft { keyed: true, id: "key".into(), ..draft("lobby", "text".into()) };
    let record = old.clone().into_record(2, Time(7));
    assert_eq!((record.kind, record.target, record.body.len()), (RecordKind::Message, None, 0));
    assert_eq!(engine.read(&lobby, 0, 10).await.unwrap().records, std::slice::from_ref(&record));
    let again = publish(&engine, old).await;
    assert!(matches!(&again, Ok(Appended::Duplicate(first)) if **first == record), "{again:?}");
    publish(&engine, draft("lobby", "new".into())).await.unwrap();
    assert_eq!(engine.position(&lobby).await.unwrap().head, 3);
}

#[tokio::test]
async fn a_record_of_an_unknown_kind_is_damage_and_does_not_stop_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let (engine, feeds) = open(&settings(folder.path()), Arc::default()).unwrap();
    let keyed = Draft { keyed: true, id: "key".into(), ..draft("lobby", "text".into()) };
    publish(&engine, keyed.clone()).await.unwrap();
    engine.close().await;
    drop((engine, feeds));
    let connection = Connection::open(folder.path().join("rialto.db")).unwrap();
    connection.execute("UPDATE messages SET kind = 99", []).unwrap();
    drop(connection);

    let (engine, _feeds) = open(&settings(folder.path()), Arc::default()).unwrap();
    let read = engine.read(&RoomName::default(), 0, 10).await;
    assert!(matches!(&read, Err(Error::Damaged(why)) if why.contains("99")), "{read:?}");
    let (duplicate, other) = tokio::join!(publish(&engine, keyed), publish(&engine, draft("lobby", "new".into())));
    assert!(matches!(&duplicate, Err(Error::Damaged(_))), "{duplicate:?}");
    other.expect("other drafts of the group are appended");
}

#[cfg(unix)]
#[tokio::test]
async fn a_created_folder_is_private_and_an_existing_one_keeps_its_rights() {
    use std::os::unix::fs::PermissionsExt;

    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let outer = tempfile::tempdir().unwrap();
    let shared = outer.path().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o751)).unwrap();
    let (usual, above) = (outer.path().join("usual"), outer.path().join("above"));
    fs::create_dir(&usual).unwrap();
    let made = above.join("made");
    for folder in [&shared, &made] {
        let (engine, _feeds) = open(&settings(folder), Arc::default()).unwrap();
        for file in ["rialto.db", "rialto.db-wal"] {
            assert_eq!(mode(&folder.join(file)), 0o600, "{file}");
        }
        engine.close().await;
    }
    assert_eq!([mode(&made), mode(&shared)], [0o700, 0o751]);
    assert_eq!(mode(&above), mode(&usual), "parents get the usual rights");
}

/// Appends that fail must not fail the end of a session in the same group.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_on_a_full_disk_while_publishers_retry() {
    let folder = tempfile::tempdir().unwrap();
    let small = Settings { file_bytes: 1 << 20, ..settings(folder.path()) };
    let (engine, feeds) = open(&small, Arc::default()).unwrap();
    drop(feeds);
    let ada = conformance::user("ada", "");
    engine.write_users(vec![UserWrite::Create(Arc::clone(&ada))]).await.unwrap();
    let now = Time::now();
    let begin = |n| {
        let expires_at = Time(now.0 + 3_600_000_000_000 + n);
        Session { id: Uuid::now_v7(), user: ada.id, secret: SecretHash([1; 32]), created_at: now, expires_at }
    };
    let sessions: Vec<_> = (0..40).map(begin).collect();
    for session in &sessions {
        assert!(engine.create_session(session.clone(), ada.password.as_ref().unwrap(), sessions.len()).await.unwrap());
    }
    fill(&engine).await;
    for (n, session) in sessions.iter().enumerate() {
        // In one group with drafts for which there is no space.
        let mut receipts = Vec::new();
        for _ in 0..8 {
            receipts.push(engine.append(draft("lobby", "x".repeat(10_000))).await.unwrap());
        }
        if n % 2 == 0 {
            assert_eq!(engine.revoke_session(session.id).await.unwrap(), Some(ada.id));
        } else {
            assert_eq!(engine.purge_sessions(Time(session.expires_at.0 + 1)).await.unwrap(), 1);
        }
        for receipt in receipts {
            assert!(matches!(receipt.await.unwrap_err().error, Error::DiskFull));
        }
    }
}
