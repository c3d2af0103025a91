//! The one writer: what arrives while a commit is under way shares the next one.

use super::super::append::{Append, Inserted};
use super::super::index::{Note, link};
use super::super::rows::{count, signed};
use super::super::sql;
use super::pen::Pen;
use super::witness::Witness;
use crate::model::apply::apply;
use crate::model::event::Entry;
use crate::model::key::AccountSid;
use crate::model::names::CredentialName;
use crate::model::reason::Breaker;
use crate::model::rotation::State;
use crate::model::time::Uptime;
use crate::ports::{Claim, JournalError, Refused, Request};
use jiff::Timestamp;
use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

type Done = oneshot::Sender<Result<(), JournalError>>;

/// One thing to write, and where to tell that it is written.
pub(super) enum Write {
    Append(Box<Append>, oneshot::Sender<Result<Inserted, JournalError>>),
    Release(CredentialName, Option<Timestamp>, String, Done),
    Enrol(Vec<(CredentialName, AccountSid, Option<Timestamp>)>, Done),
    Ask(Request, Done),
    Answered(i64, Done),
    Checkpoint(Uptime, Done),
    Hold(String, Uptime, Done),
    Breakers(Vec<(AccountSid, Breaker)>, Done),
}

/// A handle to the writer's task, which ends with the last handle.
pub(super) struct Writer {
    queue: mpsc::Sender<Write>,
    task: JoinHandle<()>,
}

/// The most that share a commit.
const BATCH: usize = 256;

impl Writer {
    pub(super) fn start(pen: Pen, witness: Option<Witness>) -> Self {
        let (queue, arriving) = mpsc::channel(BATCH);
        Self { queue, task: tokio::spawn(run(pen, witness, arriving)) }
    }

    /// Ends when everything that was sent is written.
    pub(super) async fn close(self) {
        drop(self.queue);
        let _ = self.task.await;
    }

    pub(super) async fn write(&self, make: impl FnOnce(Done) -> Write) -> Result<(), JournalError> {
        let (done, written) = oneshot::channel();
        self.queue.send(make(done)).await.map_err(|_| stopped())?;
        written.await.map_err(|_| stopped())?
    }

    /// Writes an entry; one of another journal is not checked against what the account has spent.
    pub(super) async fn append(&self, claim: Claim, entry: Entry, new: bool) -> Result<Claim, Refused> {
        let state = match apply(claim.state.clone(), &entry) {
            Ok(state) => state,
            Err(misfit) => return Err(Refused::Misfit(Box::new(claim), misfit)),
        };
        let append = match Append::new(&claim, &entry, &state) {
            Ok(append) => append.checked(new),
            Err(error) => return Err(Refused::Unavailable(Box::new(claim), error)),
        };
        let (done, written) = oneshot::channel();
        let sent = self.queue.send(Write::Append(Box::new(append), done)).await;
        let ended = match sent {
            Ok(()) => written.await.unwrap_or_else(|_| Err(stopped())),
            Err(_) => Err(stopped()),
        };
        match ended {
            Ok(Inserted::Fresh) => Ok(Claim { seq: entry.seq, state, ..claim }),
            Ok(Inserted::Taken) => Err(Refused::Fenced),
            Ok(Inserted::Overspent) => Err(Refused::Overspent(Box::new(claim))),
            Err(error) => Err(Refused::Unavailable(Box::new(claim), error)),
        }
    }
}

fn stopped() -> JournalError {
    JournalError::Unavailable("the writer has stopped".into())
}

async fn run(mut pen: Pen, witness: Option<Witness>, mut arriving: mpsc::Receiver<Write>) {
    let mut batch = Vec::with_capacity(BATCH);
    while arriving.recv_many(&mut batch, BATCH).await > 0 {
        let ended = match pen.connection().await {
            Ok(connection) => commit(connection, &batch).await,
            Err(error) => Err(error),
        };
        match &ended {
            Ok((count, _)) => {
                pen.wrote(*count);
                if let Some(witness) = &witness {
                    witness.remember(*count);
                }
            }
            Err(_) => pen.give_up().await,
        }
        tell(batch.drain(..), ended);
    }
    pen.close().await;
}

/// Writes everything in one transaction. Answers the count of writes, and which appends found their number taken.
async fn commit(connection: &mut SqliteConnection, batch: &[Write]) -> Result<(i64, Vec<Inserted>), sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let mut fresh = Vec::new();
    for write in batch {
        match write {
            Write::Append(append, _) => fresh.push(insert(&mut transaction, append).await?),
            Write::Release(name, wake, waiting, _) => {
                let query = "UPDATE credential SET wake_ms = $2, waiting = $3 WHERE name = $1";
                let wake = wake.map(|wake| wake.as_millisecond());
                let update = sqlx::query(query).bind(name.as_str()).bind(wake).bind(waiting);
                update.execute(&mut *transaction).await?;
            }
            Write::Enrol(wakes, _) => enrol(&mut transaction, wakes).await?,
            Write::Ask(request, _) => {
                let body = serde_json::to_string(request).map_err(|error| sqlx::Error::Encode(error.into()))?;
                sqlx::query(sql::ASK).bind(body).execute(&mut *transaction).await?;
            }
            Write::Answered(number, _) => {
                sqlx::query(sql::ANSWERED).bind(number).execute(&mut *transaction).await?;
            }
            Write::Checkpoint(uptime, _) => {
                let query = "UPDATE installation SET uptime_ms = max(uptime_ms, $1)";
                sqlx::query(query).bind(signed(uptime.0)).execute(&mut *transaction).await?;
            }
            Write::Breakers(open, _) => breakers(&mut transaction, open).await?,
            Write::Hold(evidence, until, _) => hold(&mut transaction, evidence, *until).await?,
        }
    }
    let appended =
        batch.iter().filter_map(|write| if let Write::Append(append, _) = write { Some(append.at) } else { None });
    let uptime = appended.map(|at| at.uptime).max().unwrap_or_default();
    let query = "UPDATE installation SET writes = writes + 1, uptime_ms = max(uptime_ms, $1) RETURNING writes";
    let count = sqlx::query_scalar(query).bind(signed(uptime.0)).fetch_one(&mut *transaction).await?;
    transaction.commit().await?;
    Ok((count, fresh))
}

/// The compare-and-set on (credential, seq), and on what the account has spent.
async fn insert(connection: &mut SqliteConnection, append: &Append) -> Result<Inserted, sqlx::Error> {
    let query = "SELECT id, chain FROM credential WHERE name = $1 AND seq = $2";
    let found: Option<(i64, Vec<u8>)> = sqlx::query_as(query)
        .bind(append.name.as_str())
        .bind(signed(append.seq - 1))
        .fetch_optional(&mut *connection)
        .await?;
    let Some((id, before)) = found else { return Ok(Inserted::Taken) };
    if let Some(spent) = &append.spent {
        let deletes = sqlx::query_scalar(sql::DELETES_SINCE).bind(append.account.as_str());
        let deletes = deletes.bind(signed(spent.since.0)).bind(spent.but.as_str());
        if count(deletes.fetch_one(&mut *connection).await?) > u64::from(spent.known) {
            return Ok(Inserted::Overspent);
        }
    }
    let chain = link(&before, &append.body);
    sqlx::query("INSERT INTO event (credential, seq, body, chain) VALUES ($1, $2, $3, $4)")
        .bind(id)
        .bind(signed(append.seq))
        .bind(&append.body)
        .bind(&chain)
        .execute(&mut *connection)
        .await?;
    sqlx::query("UPDATE credential SET seq = $2, chain = $3, state = $4 WHERE id = $1")
        .bind(id)
        .bind(signed(append.seq))
        .bind(&chain)
        .bind(&append.state)
        .execute(&mut *connection)
        .await?;
    for note in &append.notes {
        keep(connection, id, append, note).await?;
    }
    Ok(Inserted::Fresh)
}

async fn keep(connection: &mut SqliteConnection, id: i64, append: &Append, note: &Note) -> Result<(), sqlx::Error> {
    let uptime = signed(append.at.uptime.0);
    let query = match note {
        Note::Attempt(attempt) => {
            let moment = serde_json::to_string(&append.at).map_err(|error| sqlx::Error::Encode(error.into()))?;
            let insert = sqlx::query(sql::NEW_ATTEMPT).bind(attempt.to_string()).bind(id).bind(append.account.as_str());
            insert.bind(moment).bind(uptime)
        }
        Note::Unmade(attempt) => sqlx::query(sql::UNMADE).bind(attempt.to_string()),
        Note::Abandoned(attempt) => sqlx::query(sql::ABANDONED).bind(attempt.to_string()),
        Note::Key(sid, attempt) => {
            let insert = sqlx::query(sql::NEW_KEY).bind(sid.as_str()).bind(id).bind(append.account.as_str());
            insert.bind(attempt.map(|attempt| attempt.to_string()))
        }
        Note::Condemned(sid) => sqlx::query(sql::CONDEMNED).bind(sid.as_str()).bind(uptime),
        Note::Gone(sid) => sqlx::query(sql::GONE).bind(sid.as_str()),
    };
    query.execute(connection).await.map(drop)
}

async fn breakers(connection: &mut SqliteConnection, open: &[(AccountSid, Breaker)]) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM breaker").execute(&mut *connection).await?;
    for (account, breaker) in open {
        let insert = sqlx::query("INSERT INTO breaker (account, breaker) VALUES ($1, $2)").bind(account.as_str());
        insert.bind(breaker.word()).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Only what was never told before moves the end of the hold.
async fn hold(connection: &mut SqliteConnection, evidence: &str, until: Uptime) -> Result<(), sqlx::Error> {
    let insert = sqlx::query(sql::NEW_EVIDENCE).bind(evidence);
    if insert.execute(&mut *connection).await?.rows_affected() > 0 {
        let query = "UPDATE installation SET held_until_ms = max(coalesce(held_until_ms, 0), $1)";
        sqlx::query(query).bind(signed(until.0)).execute(&mut *connection).await?;
    }
    Ok(())
}

async fn enrol(
    connection: &mut SqliteConnection,
    wakes: &[(CredentialName, AccountSid, Option<Timestamp>)],
) -> Result<(), sqlx::Error> {
    let rest = "UPDATE credential SET wake_ms = NULL, waiting = 'not in the policy' WHERE wake_ms IS NOT NULL";
    sqlx::query(rest).execute(&mut *connection).await?;
    let empty = serde_json::to_string(&State::default()).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let query = "INSERT INTO credential (name, account, seq, chain, state, wake_ms, waiting) \
                 VALUES ($1, $2, 0, x'', $3, $4, 'starting') \
                 ON CONFLICT (name) DO UPDATE SET account = $2, wake_ms = $4, waiting = 'starting'";
    for (name, account, wake) in wakes {
        let insert = sqlx::query(query).bind(name.as_str()).bind(account.as_str()).bind(&empty);
        insert.bind(wake.map(|wake| wake.as_millisecond())).execute(&mut *connection).await?;
    }
    Ok(())
}

fn tell(batch: impl Iterator<Item = Write>, ended: Result<(i64, Vec<Inserted>), sqlx::Error>) {
    let (mut fresh, error) = match ended {
        Ok((_, fresh)) => (fresh.into_iter(), None),
        Err(error) => (Vec::new().into_iter(), Some(error.to_string())),
    };
    let result = || error.clone().map_or(Ok(()), |error| Err(JournalError::Unavailable(error)));
    for write in batch {
        match write {
            Write::Append(_, done) => {
                let inserted = fresh.next().unwrap_or(Inserted::Taken);
                let _ = done.send(result().map(|()| inserted));
            }
            Write::Release(.., done)
            | Write::Enrol(_, done)
            | Write::Ask(_, done)
            | Write::Answered(_, done)
            | Write::Checkpoint(_, done)
            | Write::Hold(.., done)
            | Write::Breakers(_, done) => {
                let _ = done.send(result());
            }
        }
    }
}
