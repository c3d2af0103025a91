//! A journal from a backup, taken at every point of a rotation: the daemon does not know what it did since then, and must
//! neither delete nor create anything on the strength of what it believes.

use super::ground::{CALM, Ground, HASTY, Keys, Ledger, NAME, Store};
use super::kills::{many, of_two_rotations};
use crate::support::counted::counted;
use rekeyd::model::policy::{PostgresState, StateUrl};
use rekeyd::sandbox::call::Operation;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// What an SQLite journal is made of. A backup of the whole folder has the witness too, one of the journal has not.
const FILES: [&str; 4] = ["journal.db", "journal.db-wal", "journal.db-shm", "journal.db.witness"];

/// How much of a backup is put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backup {
    Journal,
    Folder,
}

impl Ground {
    fn files(&self, backup: Backup) -> Vec<(PathBuf, PathBuf)> {
        let kept = if backup == Backup::Folder { 4 } else { 3 };
        FILES[..kept].iter().map(|file| (self.path(file), self.path(&format!("backup.{file}")))).collect()
    }

    async fn server(&self, text: String) {
        let StateUrl::Postgres(PostgresState { url, .. }) = &self.state else { return };
        let mut maintenance = url.clone();
        maintenance.set_path("postgres");
        let state = PostgresState { url: maintenance, password: None };
        let name = url.path().trim_start_matches('/');
        crate::support::postgres::sql(&state, sqlx::AssertSqlSafe(text.replace("{}", name))).await;
    }

    async fn back_up(&self, backup: Backup) {
        for (file, copy) in self.files(backup) {
            // A journal that was closed well has no files beside it.
            let _ = fs::copy(file, copy);
        }
        self.server("CREATE DATABASE {}_old TEMPLATE {}".to_owned()).await;
    }

    async fn restore(&self, backup: Backup) {
        for (file, copy) in self.files(backup) {
            let _ = fs::remove_file(&file);
            let _ = fs::copy(copy, file);
        }
        self.server("DROP DATABASE {} WITH (FORCE)".to_owned()).await;
        self.server("ALTER DATABASE {}_old RENAME TO {}".to_owned()).await;
        // However old the backup is, no claim in it is still good.
        self.a_minute_passes().await;
    }

    /// Creates and deletes that Twilio has carried out.
    pub fn changes(&self) -> (usize, usize) {
        let world = self.sandbox.world().lock();
        (world.audit().count(Operation::CreateKey, 201), world.audit().count(Operation::DeleteKey, 204))
    }
}

/// A backup taken at this point; afterwards the rotation ends, and there may be another one.
async fn restored_at(ledger: Ledger, store: Store, number: usize, further: bool, what: String) {
    let backup = if number.is_multiple_of(2) { Backup::Folder } else { Backup::Journal };
    let ground = Ground::new(ledger, store).await;
    ground.start(&HASTY, &format!("crash:{number}")).until_killed(&what).await;
    ground.back_up(backup).await;
    ground.a_minute_passes().await;
    let mut daemon = ground.start(&CALM, "");
    ground.until_at_rest(&mut daemon).await;
    if further {
        ground.rotated(&mut daemon).await;
    }
    drop(daemon);
    ground.expect_sound(&CALM, &what).await;

    let (changes, served) = (ground.changes(), ground.served().await);
    ground.restore(backup).await;
    let daemon = ground.start(&CALM, "");
    // Five sweeps, in which it can look at everything.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(ground.changes(), changes, "{what}: it created or deleted\n{}", daemon.last_words());
    assert_eq!(ground.served().await, served, "{what}: it wrote\n{}", daemon.last_words());
    if further {
        let halted = format!("rekeyd_halted{{credential=\"{NAME}\"");
        let metrics = daemon.metrics().await.unwrap();
        assert!(metrics.lines().any(|line| line.starts_with(&halted) && line.ends_with(" 1")), "{what}\n{metrics}");
    }
    drop(daemon);
    ground.expect_calls_sound(&CALM, &what);
    ground.clear().await;
}

async fn restored_everywhere(ledger: Ledger, store: Store) {
    let points = of_two_rotations((ledger, store, Keys::Standard)).await;
    let first = points.iter().position(|point| point == "after append completed").unwrap() + 1;
    let numbered: Vec<_> = (1..).zip(points).skip(first).collect();
    let lives = numbered.len();
    many(numbered, move |(number, point)| {
        // Between two entries the journal is the same: either one of the two moments goes further.
        let further = point.starts_with("after");
        let what = format!("restored from {number}, {point}");
        async move {
            restored_at(ledger, store, number, further, what).await;
            1
        }
    })
    .await;
    counted("torture runs", lives);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_in_a_file_from_any_point_of_a_rotation_changes_nothing() {
    restored_everywhere(Ledger::Sqlite, Store::Vault).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_on_a_server_from_any_point_of_a_rotation_changes_nothing() {
    restored_everywhere(Ledger::Postgres, Store::Aws).await;
}
