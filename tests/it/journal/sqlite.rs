//! What only a file can do wrong.

use super::*;
use std::path::Path;

pub(super) async fn open(dir: &Path) -> SqliteJournal {
    try_open(dir, "test").await.unwrap()
}

async fn try_open(dir: &Path, instance: &str) -> Result<SqliteJournal, JournalError> {
    SqliteJournal::open(&dir.join("journal.db"), &Instance::new(instance).unwrap(), Access::Daemon, None).await
}

#[tokio::test]
async fn many_appends_at_once_share_commits_and_all_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Arc::new(open(dir.path()).await);
    let all: Vec<_> = (0..500).map(|n| enrolment(&format!("c{n}"), None)).collect();
    let names: Vec<_> = all.iter().map(|enrolled| enrolled.name.clone()).collect();
    journal.enrol(all).await.unwrap();
    let appends = names.iter().enumerate().map(|(n, name)| {
        let journal = journal.clone();
        async move {
            let claim = journal.claim(name).await.unwrap().unwrap();
            journal.append(claim, at(1), intended(n as u128)).await.is_ok()
        }
    });
    assert!(futures_util::future::join_all(appends).await.into_iter().all(|kept| kept));
    assert!(journal.rows().await.unwrap().iter().all(|row| row.seq == 1));
}

#[tokio::test]
async fn the_running_time_and_the_label_key_outlive_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).await;
    let label = |journal: &SqliteJournal| {
        let (instance, attempt) = (Instance::new("test").unwrap(), AttemptId(Uuid::from_u128(1)));
        let key = journal.label_key();
        rekeyd::model::key::Label::new(&key, &home(), &instance, &name("billing"), attempt).to_string()
    };
    let first = label(&journal);
    let claim = enrolled(&journal).await;
    append_all(&journal, claim, vec![intended(1)]).await;
    journal.close().await;
    let journal = open(dir.path()).await;
    assert_eq!(journal.uptime(Duration::ZERO), Uptime(1000), "every entry notes it");
    journal.checkpoint(Duration::from_secs(4)).await.unwrap();
    journal.checkpoint(Duration::from_secs(3)).await.unwrap();
    journal.close().await;
    let journal = open(dir.path()).await;
    assert_eq!(journal.uptime(Duration::ZERO), Uptime(5000), "it never goes back");
    assert_eq!(label(&journal), first);
    let elsewhere = tempfile::tempdir().unwrap();
    assert_ne!(label(&open(elsewhere.path()).await), first);
}

#[tokio::test]
async fn a_second_daemon_cannot_open_the_journal_and_a_visitor_can() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).await;
    enrolled(&journal).await;
    let refused = try_open(dir.path(), "test").await.err().unwrap();
    assert!(refused.to_string().contains("another rekeyd has it open"), "{refused}");
    let visitor =
        SqliteJournal::open(&dir.path().join("journal.db"), &Instance::new("test").unwrap(), Access::Visitor, None)
            .await;
    let visitor = visitor.unwrap();
    assert_eq!(visitor.rows().await.unwrap().len(), 1);
    visitor.ask(Request { credential: name("billing"), by: "ada".into(), ask: Ask::Rotate }).await.unwrap();
    assert_eq!(journal.requests().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_visitor_does_not_create_a_journal() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let visitor = SqliteJournal::open(&path, &Instance::new("test").unwrap(), Access::Visitor, None).await;
    assert!(visitor.is_err());
    assert!(!path.exists());
}

#[tokio::test]
async fn another_instance_cannot_open_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).await.close().await;
    let refused = try_open(dir.path(), "other").await.err().unwrap();
    assert!(refused.to_string().contains("belongs to the instance `test`"), "{refused}");
}

#[tokio::test]
async fn the_files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).await;
    enrolled(&journal).await;
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
    }
}

/// Opens the file with SQL of its own, as somebody would who tampers with it.
pub(super) async fn tamper(dir: &Path, sql: &'static str) {
    use sqlx::Connection;
    let path = format!("sqlite://{}", dir.join("journal.db").display());
    let mut connection = sqlx::SqliteConnection::connect(&path).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_damaged_journal_is_refused_at_the_start() {
    let cases = [
        ("UPDATE event SET chain = x'00'", "is not that of its last entry"),
        ("DELETE FROM event", "is not that of its last entry"),
        ("PRAGMA application_id = 1", "not a journal of rekeyd"),
        ("UPDATE _sqlx_migrations SET version = version + 98", "does not fit this version"),
    ];
    for (sql, expected) in cases {
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path()).await;
        let claim = enrolled(&journal).await;
        append_all(&journal, claim, vec![intended(1)]).await;
        journal.close().await;
        tamper(dir.path(), sql).await;
        let refused = try_open(dir.path(), "test").await.err().unwrap();
        assert!(matches!(refused, JournalError::Corrupt(_)), "{sql}: {refused}");
        assert!(refused.to_string().contains(expected), "{sql}: {refused}");
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("journal.db"), "x".repeat(5000)).unwrap();
    assert!(matches!(try_open(dir.path(), "test").await, Err(JournalError::Corrupt(_))));
}

#[tokio::test]
async fn an_entry_that_was_changed_shows_in_the_history() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).await;
    let claim = enrolled(&journal).await;
    append_all(&journal, claim, vec![intended(1), Event::Unsettled]).await;
    journal.close().await;
    tamper(dir.path(), "UPDATE event SET body = replace(body, 'first', 'aged') WHERE seq = 1").await;
    let journal = open(dir.path()).await;
    assert!(matches!(journal.history(&name("billing")).await, Err(JournalError::Corrupt(_))));
}

#[tokio::test]
async fn an_entry_of_a_newer_version_is_not_guessed_at() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).await;
    let claim = enrolled(&journal).await;
    append_all(&journal, claim, vec![intended(1)]).await;
    journal.close().await;
    tamper(dir.path(), r#"UPDATE credential SET state = replace(state, '"issuing"', '"dreaming"')"#).await;
    let journal = open(dir.path()).await;
    assert!(matches!(journal.rows().await, Err(JournalError::Corrupt(_))));
}

#[tokio::test]
async fn a_restored_journal_holds_deletes_for_a_day() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path()).await;
    let claim = enrolled(&journal).await;
    journal.checkpoint(Duration::from_secs(7)).await.unwrap();
    journal.close().await;
    let kept = ["journal.db", "journal.db-wal"];
    let backup = kept.map(|file| std::fs::read(dir.path().join(file)).unwrap_or_default());
    let journal = open(dir.path()).await;
    assert_eq!(journal.deletes_held_until().await.unwrap(), None);
    append_all(&journal, claim, vec![intended(1)]).await;
    journal.close().await;
    let _ = std::fs::remove_file(dir.path().join("journal.db-shm"));
    for (file, content) in kept.iter().zip(backup) {
        std::fs::write(dir.path().join(file), content).unwrap();
    }
    let journal = open(dir.path()).await;
    assert_eq!(journal.deletes_held_until().await.unwrap(), Some(Uptime(7000 + 24 * 3_600_000)));
    journal.close().await;
    let journal = open(dir.path()).await;
    assert_eq!(
        journal.deletes_held_until().await.unwrap(),
        Some(Uptime(7000 + 24 * 3_600_000)),
        "and says so only once"
    );
}

#[tokio::test]
async fn a_directory_that_cannot_be_written_is_an_error_with_the_path() {
    let dir = tempfile::tempdir().unwrap();
    let refused = try_open(&dir.path().join("missing"), "test").await.err().unwrap();
    assert!(refused.to_string().contains("missing/journal.db.lock"), "{refused}");
}
