//! What the journal holds of subaccounts that are being made, in SQLite and on PostgreSQL.

use super::*;
use rekeyd::model::subaccount::{Made, Making, SubaccountName};
use rekeyd::ports::Ledger;

fn called(text: &str) -> SubaccountName {
    SubaccountName::new(text).unwrap()
}

fn asked(n: u128) -> Making {
    Making { account: Made::Asked { attempt: AttemptId(Uuid::from_u128(n)), at: at(0).wall }, ..Making::default() }
}

async fn on_both<F: Future<Output = ()>>(case: impl Fn(Arc<dyn Ledger>) -> F) {
    let dir = tempfile::tempdir().unwrap();
    case(Arc::new(sqlite::open(dir.path()).await)).await;
    case(Arc::new(postgres::open(&support::postgres::fresh(support::postgres::shared()).await).await)).await;
}

#[tokio::test]
async fn of_two_that_go_on_from_one_entry_only_the_first_is_written() {
    on_both(|ledger| async move {
        let (one, other) = (called("one"), called("other"));
        assert_eq!(ledger.making(&one).await.unwrap(), (0, Making::default()));
        assert!(!ledger.note(&one, 1, &asked(9)).await.unwrap(), "there is no first entry yet");
        assert!(ledger.note(&one, 0, &asked(1)).await.unwrap());
        assert!(!ledger.note(&one, 0, &asked(2)).await.unwrap());
        assert_eq!(ledger.making(&one).await.unwrap(), (1, asked(1)));
        assert!(ledger.note(&one, 1, &asked(3)).await.unwrap());
        assert!(!ledger.note(&one, 3, &asked(4)).await.unwrap(), "an entry is missing in between");
        assert_eq!(ledger.making(&one).await.unwrap(), (2, asked(3)));
        assert_eq!(ledger.making(&other).await.unwrap().0, 0);
        assert!(ledger.note(&other, 0, &asked(5)).await.unwrap());
        assert_eq!(ledger.makings().await.unwrap(), [(one, asked(3)), (other, asked(5))]);
    })
    .await;
}

#[tokio::test]
async fn a_journal_of_the_version_before_gets_the_table() {
    let dir = tempfile::tempdir().unwrap();
    sqlite::open(dir.path()).await.close().await;
    sqlite::tamper(dir.path(), "DROP TABLE subaccount").await;
    sqlite::tamper(dir.path(), "DELETE FROM _sqlx_migrations WHERE version = 2").await;
    let journal = sqlite::open(dir.path()).await;
    assert!(journal.note(&called("one"), 0, &asked(1)).await.unwrap());
}

#[tokio::test]
async fn an_entry_of_a_newer_version_is_not_guessed_at() {
    let dir = tempfile::tempdir().unwrap();
    let journal = sqlite::open(dir.path()).await;
    assert!(journal.note(&called("one"), 0, &asked(1)).await.unwrap());
    journal.close().await;
    sqlite::tamper(dir.path(), "UPDATE subaccount SET body = replace(body, 'asked', 'dreamt')").await;
    let journal = sqlite::open(dir.path()).await;
    assert!(matches!(journal.making(&called("one")).await, Err(JournalError::Corrupt(_))));
}
