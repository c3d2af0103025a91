//! The one writer: what arrives while a commit is under way shares the next one.

use super::super::append::{Append, Inserted, words};
use super::super::index::{Note, link};
use super::super::rows::{Columns as _, count, signed};
use super::super::sql;
use super::pen::Pen;
use super::witness::Witness;
use crate::model::apply::apply;
use crate::model::event::Entry;
use crate::model::home::Home;
use crate::model::names::CredentialName;
use crate::model::reason::Breaker;
use crate::model::rotation::State;
use crate::model::subaccount::{Making, SubaccountName};
use crate::model::time::Uptime;
use crate::ports::{Claim, Enrolled, JournalError, Refused, Request};
use jiff::Timestamp;
use serde::Serialize;
use sqlx::sqlite::SqliteConnection;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

type Done = oneshot::Sender<Result<(), JournalError>>;

/// One thing to write, and where to tell that it is written.
pub(super) enum Write {
    Append(Box<Append>, oneshot::Sender<Result<Inserted, JournalError>>),
    Release(CredentialName, Option<Timestamp>, String, Done),
    Enrol(Vec<Enrolled>, Done),
    Ask(Request, Done),
    Answered(i64, Done),
    Checkpoint(Uptime, Done),
    Hold(String, Uptime, Done),
    Breakers(Vec<(Home, Breaker)>, Done),
    /// How far a subaccount has come, and whether it was written.
    Making(SubaccountName, u64, String, Arc<AtomicBool>, Done),
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

impl Writer {
    /// Writes how far a subaccount has come, if entry `seq` is still the last one.
    pub(super) async fn note(&self, name: &SubaccountName, seq: u64, making: &Making) -> Result<bool, JournalError> {
        let body = serde_json::to_string(making).map_err(|error| JournalError::Unavailable(error.to_string()))?;
        let (name, written) = (name.clone(), Arc::new(AtomicBool::new(false)));
        let told = written.clone();
        self.write(|done| Write::Making(name, seq + 1, body, told, done)).await?;
        Ok(written.load(Ordering::Acquire))
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

/// Begins a transaction and reads what the credentials that are appended to stand at.
///
/// Each question is a visit to the thread that SQLite works on, which costs more than most of the statements do; so what
/// belongs together is asked together here, and in [`insert`] and [`END`].
const BEGIN: &str = "BEGIN IMMEDIATE; \
                     SELECT name, id, seq, chain FROM credential WHERE name IN (SELECT value FROM json_each($1))";
const END: &str =
    "UPDATE installation SET writes = writes + 1, uptime_ms = max(uptime_ms, $1) RETURNING writes; COMMIT";

/// Writes everything in one transaction. Answers the count of writes, and which appends found their number taken. After an
/// error the [`Pen`] closes the connection, and nothing of it stays.
async fn commit(connection: &mut SqliteConnection, batch: &[Write]) -> Result<(i64, Vec<Inserted>), sqlx::Error> {
    let appends =
        || batch.iter().filter_map(|write| if let Write::Append(append, _) = write { Some(append) } else { None });
    let names: Vec<_> = appends().map(|append| append.name.as_str()).collect();
    let standing = sqlx::query(BEGIN).bind(text(&names)?).fetch_all(&mut *connection).await?;
    let mut standing: Standing =
        standing.iter().map(|row| (row.text(0), (row.number(1), row.number(2), row.bytes(3)))).collect();
    let mut fresh = Vec::new();
    for write in batch {
        match write {
            Write::Append(append, _) => fresh.push(insert(connection, append, &mut standing).await?),
            Write::Release(name, wake, waiting, _) => {
                let query = "UPDATE credential SET wake_ms = $2, waiting = $3 WHERE name = $1";
                let wake = wake.map(|wake| wake.as_millisecond());
                let update = sqlx::query(query).bind(name.as_str()).bind(wake).bind(waiting);
                update.execute(&mut *connection).await?;
            }
            Write::Enrol(credentials, _) => enrol(connection, credentials).await?,
            Write::Ask(request, _) => {
                sqlx::query(sql::ASK).bind(text(request)?).execute(&mut *connection).await?;
            }
            Write::Answered(number, _) => {
                sqlx::query(sql::ANSWERED).bind(number).execute(&mut *connection).await?;
            }
            Write::Checkpoint(uptime, _) => {
                let query = "UPDATE installation SET uptime_ms = max(uptime_ms, $1)";
                sqlx::query(query).bind(signed(uptime.0)).execute(&mut *connection).await?;
            }
            Write::Breakers(open, _) => breakers(connection, open).await?,
            Write::Hold(evidence, until, _) => hold(connection, evidence, *until).await?,
            Write::Making(name, seq, body, written, _) => {
                let note = sqlx::query(sql::NOTE_MAKING).bind(name.as_str()).bind(signed(*seq)).bind(body);
                written.store(note.fetch_optional(&mut *connection).await?.is_some(), Ordering::Release);
            }
        }
    }
    let uptime = appends().map(|append| append.at.uptime).max().unwrap_or_default();
    let count = sqlx::query(END).bind(signed(uptime.0)).fetch_all(connection).await?;
    let count = count.first().map(|row| row.number(0)).ok_or(sqlx::Error::RowNotFound)?;
    Ok((count, fresh))
}

fn text(value: &impl Serialize) -> Result<String, sqlx::Error> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// What each credential stands at: its row, the number of its last entry, and the link of that.
type Standing = BTreeMap<String, (i64, i64, Vec<u8>)>;

/// The compare-and-set on (credential, seq), and on what the account has spent.
async fn insert(
    connection: &mut SqliteConnection,
    append: &Append,
    standing: &mut Standing,
) -> Result<Inserted, sqlx::Error> {
    // Of two entries for one credential the first takes the number.
    let found = standing.remove(append.name.as_str()).filter(|(_, seq, _)| *seq == signed(append.seq - 1));
    let Some((id, _, before)) = found else { return Ok(Inserted::Taken) };
    if let Some(spent) = &append.spent {
        let deletes = sqlx::query_scalar(sql::DELETES_SINCE).bind(append.home.to_string());
        let deletes = deletes.bind(signed(spent.since.0)).bind(spent.but.as_str());
        if count(deletes.fetch_one(&mut *connection).await?) > u64::from(spent.room) {
            return Ok(Inserted::Overspent);
        }
    }
    let mut statements = String::from(
        "INSERT INTO event (credential, seq, body, chain) VALUES ($1, $2, $3, $4); \
         UPDATE credential SET seq = $2, chain = $4, state = $5 WHERE id = $1 AND seq = $2 - 1",
    );
    for (number, note) in append.notes.iter().enumerate() {
        statements += &format!("; {}", noted(note, FIRST_NOTE + number * WORDS));
    }
    let query = sqlx::query(sqlx::AssertSqlSafe(statements)).bind(id).bind(signed(append.seq)).bind(&append.body);
    let query = query.bind(link(&before, &append.body)).bind(&append.state).bind(append.home.to_string());
    let mut query = query.bind(&append.moment).bind(signed(append.at.uptime.0));
    for note in &append.notes {
        let (word, other) = words(note);
        query = query.bind(word).bind(other);
    }
    query.execute(connection).await?;
    Ok(Inserted::Fresh)
}

/// The number of the first parameter behind those that every entry has, and how many each note has.
const FIRST_NOTE: usize = 9;
const WORDS: usize = 2;

/// What notes this beside an entry: $1 is the credential, $6 its account, $7 and $8 are the time, `$next` and the one after
/// it the [`words`] of the note.
fn noted(note: &Note, next: usize) -> String {
    let other = next + 1;
    match note {
        Note::Attempt(_) => format!(
            "INSERT INTO attempt (id, credential, account, intended, intended_ms) VALUES (${next}, $1, $6, $7, $8)"
        ),
        Note::Unmade(_) => format!("DELETE FROM attempt WHERE id = ${next}"),
        Note::Abandoned(_) => format!("UPDATE attempt SET abandoned = 1 WHERE id = ${next}"),
        Note::Key(..) => format!(
            "INSERT INTO key (sid, credential, account, attempt) VALUES (${next}, $1, $6, ${other}) \
             ON CONFLICT (sid) DO UPDATE SET gone = 0"
        ),
        Note::Condemned(_) => format!("UPDATE key SET condemned_ms = $8 WHERE sid = ${next}"),
        Note::Gone(_) => format!("UPDATE key SET gone = 1 WHERE sid = ${next}"),
    }
}

async fn breakers(connection: &mut SqliteConnection, open: &[(Home, Breaker)]) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM breaker").execute(&mut *connection).await?;
    for (home, breaker) in open {
        let insert = sqlx::query("INSERT INTO breaker (account, breaker) VALUES ($1, $2)").bind(home.to_string());
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

async fn enrol(connection: &mut SqliteConnection, credentials: &[Enrolled]) -> Result<(), sqlx::Error> {
    let row = |e: &Enrolled| (e.name.clone(), e.home.clone(), e.wake.map(Timestamp::as_millisecond), e.seq);
    let rows = text(&credentials.iter().map(row).collect::<Vec<_>>())?;
    // Rows that stay as they are are not written again.
    let rest = "UPDATE credential SET wake_ms = NULL, waiting = 'not in the policy' WHERE wake_ms IS NOT NULL \
                AND name NOT IN (SELECT value ->> 0 FROM json_each($1))";
    sqlx::query(rest).bind(&rows).execute(&mut *connection).await?;
    let query = "INSERT INTO credential (name, account, seq, chain, state, wake_ms, waiting) \
                 SELECT value ->> 0, value ->> 1, 0, x'', $2, value ->> 2, 'starting' FROM json_each($1) WHERE true \
                 ON CONFLICT (name) DO NOTHING";
    let insert = sqlx::query(query).bind(&rows).bind(text(&State::default())?);
    insert.execute(&mut *connection).await?;
    // A row that has an entry more than was known here was told by its writer when to be looked at.
    let query = "UPDATE credential SET account = e.value ->> 1, wake_ms = e.value ->> 2, waiting = 'starting' \
                 FROM json_each($1) e WHERE name = e.value ->> 0 AND seq = e.value ->> 3 \
                 AND (account IS NOT e.value ->> 1 OR wake_ms IS NOT e.value ->> 2)";
    sqlx::query(query).bind(rows).execute(connection).await.map(drop)
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
            | Write::Breakers(_, done)
            | Write::Making(.., done) => {
                let _ = done.send(result());
            }
        }
    }
}
