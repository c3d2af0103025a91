//! What only a server that several processes share can do wrong.

use super::*;
use rekeyd::adapters::clock::SystemClock;
use rekeyd::adapters::journal::PostgresJournal;
use rekeyd::model::policy::PostgresState;

pub(super) async fn open(state: &PostgresState) -> PostgresJournal {
    try_open(state, "test", Access::Daemon).await.unwrap()
}

async fn try_open(state: &PostgresState, instance: &str, access: Access) -> Result<PostgresJournal, JournalError> {
    let clock = Arc::new(SystemClock::new());
    PostgresJournal::open(state, &Instance::new(instance).unwrap(), access, clock, None).await
}

async fn fresh() -> PostgresState {
    support::postgres::fresh(support::postgres::shared()).await
}

/// The leases of all claims are over, as after a minute of silence.
async fn leases_end(state: &PostgresState) {
    support::postgres::sql(state, "UPDATE rekeyd.credential SET leased_until = clock_timestamp()").await;
}

fn names(taken: &rekeyd::ports::Taken) -> Vec<&str> {
    taken.claims.iter().map(|claim| claim.name.as_str()).collect()
}

async fn take(journal: &PostgresJournal, limit: usize) -> rekeyd::ports::Taken {
    journal.take_due(at(0).wall, limit, &PassOver::default()).await.unwrap()
}

#[tokio::test]
async fn what_one_process_has_taken_the_other_passes_over_until_the_lease_ends() {
    let state = fresh().await;
    let (one, two) = (open(&state).await, open(&state).await);
    let all = ["a", "b", "c"].map(|text| enrolment(text, Some(at(0).wall)));
    one.enrol(all.to_vec()).await.unwrap();
    let (first, second) = (take(&one, 2).await, take(&two, 9).await);
    assert_eq!((first.claims.len(), second.claims.len()), (2, 1));
    let third = take(&one, 9).await;
    assert!(third.claims.is_empty() && two.claim(&name("a")).await.unwrap().is_none());
    let again = third.again.unwrap();
    assert!(again > Duration::from_secs(50) && again <= Duration::from_secs(60), "{again:?}");
    leases_end(&state).await;
    let taken = take(&two, 9).await;
    assert_eq!(names(&taken), ["a", "b", "c"]);
    assert!(taken.claims.iter().all(|claim| claim.token == 2));
}

#[tokio::test]
async fn a_process_that_was_stopped_past_its_lease_appends_nothing() {
    let state = fresh().await;
    let (one, two) = (open(&state).await, open(&state).await);
    let zombie = enrolled(&one).await;
    leases_end(&state).await;
    // Even before somebody else has it: what others may take is not ours.
    let refused = one.append(copy(&zombie), at(0), intended(1)).await;
    assert!(matches!(refused, Err(Refused::Fenced)));
    let mut late = copy(&zombie);
    assert!(!one.renew(&mut late).await.unwrap());
    // Nor after the other one has given it back without an entry.
    let other = two.claim(&name("billing")).await.unwrap().unwrap();
    assert!(matches!(one.append(copy(&zombie), at(0), intended(1)).await, Err(Refused::Fenced)));
    two.release(other, Some(at(0).wall), "resting").await.unwrap();
    assert!(matches!(one.append(copy(&zombie), at(0), intended(1)).await, Err(Refused::Fenced)));
    let row = two.row(&name("billing")).await.unwrap().unwrap();
    one.release(zombie, None, "late").await.unwrap();
    let after = two.row(&name("billing")).await.unwrap().unwrap();
    assert_eq!((row.seq, after.wake, after.waiting.as_str()), (0, Some(at(0).wall), "resting"));
}

#[tokio::test]
async fn a_claim_is_renewed_by_each_entry_and_on_demand() {
    let state = fresh().await;
    let (one, two) = (open(&state).await, open(&state).await);
    let claim = enrolled(&one).await;
    let soon = "UPDATE rekeyd.credential SET leased_until = clock_timestamp() + interval '300 ms'";
    support::postgres::sql(&state, soon).await;
    let mut claim = append_all(&one, claim, vec![intended(1)]).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(two.claim(&name("billing")).await.unwrap().is_none());
    support::postgres::sql(&state, soon).await;
    assert!(one.renew(&mut claim).await.unwrap());
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(two.claim(&name("billing")).await.unwrap().is_none());
}

#[tokio::test]
async fn an_append_whose_answer_was_lost_may_be_said_again() {
    let state = fresh().await;
    let journal = open(&state).await;
    let claim = enrolled(&journal).await;
    let again = copy(&claim);
    let first = journal.append(claim, at(5), intended(1)).await.unwrap();
    let second = journal.append(again, at(5), intended(1)).await.unwrap();
    assert_eq!((first.seq, first.state), (second.seq, second.state));
    assert_eq!(journal.history(&name("billing")).await.unwrap().len(), 1);
}

#[tokio::test]
async fn of_two_decisions_to_delete_in_one_account_the_second_is_decided_anew() {
    let state = fresh().await;
    let (one, two) = (open(&state).await, open(&state).await);
    one.enrol(["a", "b"].map(|text| enrolment(text, None)).to_vec()).await.unwrap();
    let mut condemning = Vec::new();
    for (journal, text, n) in [(&one, "a", 1), (&two, "b", 2)] {
        let claim = journal.claim(&name(text)).await.unwrap().unwrap();
        let attempt = AttemptId(Uuid::from_u128(n.into()));
        let events = vec![
            intended(n.into()),
            Event::Created { sid: sid(n), created_at: at(0).wall },
            Event::Abandoned { sid: sid(n), cause: Cause::NotAccepted },
            Event::Fencing { attempt, versions: BTreeMap::new() },
        ];
        let claim = append_all(journal, claim, events).await;
        let evidence = Evidence { places: BTreeMap::new(), proven: 0, spent: 0 };
        condemning.push(journal.append(claim, at(1000), Event::Condemned { sid: sid(n), evidence }));
    }
    let ended = futures_util::future::join_all(condemning).await;
    let refused: Vec<_> = ended.iter().filter(|ended| matches!(ended, Err(Refused::Overspent(_)))).collect();
    assert_eq!((refused.len(), ended.iter().filter(|ended| ended.is_ok()).count()), (1, 1));
}

#[tokio::test]
async fn a_process_notices_that_the_journal_was_restored_and_holds_deletes() {
    let state = fresh().await;
    let journal = open(&state).await;
    support::postgres::sql(&state, "UPDATE rekeyd.installation SET uptime_ms = 7000000, ticked_ms = ticked_ms - 5000")
        .await;
    journal.checkpoint(Duration::from_secs(5)).await.unwrap();
    assert_eq!(journal.deletes_held_until().await.unwrap(), None);
    support::postgres::sql(&state, "UPDATE rekeyd.installation SET uptime_ms = 3000000").await;
    journal.checkpoint(Duration::from_secs(10)).await.unwrap();
    let held = journal.deletes_held_until().await.unwrap().unwrap();
    assert!((86_400_000 + 3_000_000..86_400_000 + 3_010_000).contains(&held.0), "{held:?}");
}

#[tokio::test]
async fn the_running_time_of_all_is_pushed_no_faster_than_any_clock_allows() {
    let state = fresh().await;
    let (one, two) = (open(&state).await, open(&state).await);
    let back = "UPDATE rekeyd.installation SET ticked_ms = ticked_ms - 60000";
    support::postgres::sql(&state, back).await;
    // The server's clock says a minute, this process has run for two seconds.
    one.checkpoint(Duration::from_secs(2)).await.unwrap();
    let uptime = one.uptime(Duration::from_secs(2));
    assert!((1500..=2000).contains(&uptime.0), "{uptime:?}");
    // The other one has run for an hour, on the server's clock hardly anything has passed.
    two.checkpoint(Duration::from_secs(3600)).await.unwrap();
    let uptime = two.uptime(Duration::from_secs(3600));
    assert!((1500..5000).contains(&uptime.0), "{uptime:?}");
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_on_and_its_late_answer_is_never_taken_for_another() {
    let server = support::postgres::start(&["fsync=off"]);
    let state = support::postgres::fresh(&server).await;
    let journal = open(&state).await;
    let claim = enrolled(&journal).await;
    // Somebody holds the row: the append waits for the lock until the server gives up on it.
    let options: sqlx::postgres::PgConnectOptions = state.url.as_str().parse().unwrap();
    let mut other = sqlx::ConnectOptions::connect(&options).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT 1 FROM rekeyd.credential FOR UPDATE").execute(&mut other).await.unwrap();
    let Err(Refused::Unavailable(claim, error)) = journal.append(claim, at(0), intended(1)).await else {
        panic!("appended over a lock");
    };
    assert!(error.to_string().contains("lock timeout"), "{error}");
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    assert_eq!(journal.append(*claim, at(0), intended(1)).await.unwrap().seq, 1);
}

#[tokio::test]
async fn a_damaged_or_foreign_journal_is_refused_at_the_start() {
    let cases = [
        ("UPDATE rekeyd.event SET chain = 'x'", "is not that of its last entry"),
        ("DELETE FROM rekeyd.event", "is not that of its last entry"),
        ("UPDATE rekeyd._sqlx_migrations SET version = version + 98", "does not fit this version"),
        ("UPDATE rekeyd.installation SET instance = 'other'", "belongs to the instance `other`"),
    ];
    for (sql, expected) in cases {
        let state = fresh().await;
        let journal = open(&state).await;
        let claim = enrolled(&journal).await;
        append_all(&journal, claim, vec![intended(1)]).await;
        journal.close().await;
        support::postgres::sql(&state, sql).await;
        let refused = try_open(&state, "test", Access::Daemon).await.err().unwrap();
        assert!(matches!(refused, JournalError::Corrupt(_)), "{sql}: {refused}");
        assert!(refused.to_string().contains(expected), "{sql}: {refused}");
    }
}

#[tokio::test]
async fn a_visitor_does_not_create_a_journal_and_sees_whether_anybody_works_with_it() {
    let state = fresh().await;
    assert!(try_open(&state, "test", Access::Visitor).await.is_err());
    let journal = open(&state).await;
    let visitor = try_open(&state, "test", Access::Visitor).await.unwrap();
    assert!(visitor.in_use().await.unwrap());
    journal.close().await;
    assert!(!visitor.in_use().await.unwrap());
}

#[tokio::test]
async fn processes_that_start_together_make_one_journal() {
    let state = fresh().await;
    let opened = futures_util::future::join_all((0..6).map(|_| try_open(&state, "test", Access::Daemon))).await;
    let (first, rest) = opened.split_first().unwrap();
    let label = |journal: &PostgresJournal| {
        let (instance, attempt) = (Instance::new("test").unwrap(), AttemptId(Uuid::from_u128(1)));
        let key = journal.label_key();
        rekeyd::model::key::Label::new(&key, &home(), &instance, &name("billing"), attempt).to_string()
    };
    let first = label(first.as_ref().unwrap());
    assert!(rest.iter().all(|other| label(other.as_ref().unwrap()) == first));
}
