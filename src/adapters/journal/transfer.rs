//! A journal as text, one JSON object per line, to move it between SQLite and PostgreSQL. It holds no secret of Twilio's;
//! it does hold the key that proves labels, so the file is for its owner only.

use super::AnyJournal;
use crate::model::event::Entry;
use crate::model::home::Home;
use crate::model::names::{CredentialName, Instance};
use crate::model::rotation::{DAY, State};
use crate::model::subaccount::{Making, SubaccountName};
use crate::model::time::Uptime;
use crate::ports::{Enrolled, JournalError, Refused, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Write};
use std::time::Duration;

/// The form of the text; another one is refused.
const FORM: u32 = 1;
/// How many credentials are written at the same time: what arrives together shares a commit.
const AT_ONCE: usize = 64;

/// One line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    Journal(Installation),
    Credential(Box<Credential>),
    Request(Request),
    Subaccount(Box<Subaccount>),
    End(Moved),
}

/// What a journal is, beside its credentials.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Installation {
    form: u32,
    instance: Instance,
    label_key: String,
    uptime: Uptime,
    held_until: Option<Uptime>,
    evidence: Vec<String>,
}

/// One credential with all its entries.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Credential {
    name: CredentialName,
    #[serde(rename = "account")]
    home: Home,
    state: State,
    wake: Option<Timestamp>,
    waiting: String,
    entries: Vec<Entry>,
}

/// A subaccount, and how far it has come.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Subaccount {
    name: SubaccountName,
    making: Making,
}

/// How much there was.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moved {
    /// Credentials.
    pub credentials: usize,
    /// Entries.
    pub entries: usize,
    /// Requests of operators that were not answered.
    pub requests: usize,
    /// Subaccounts that were made or begun.
    #[serde(default)]
    pub subaccounts: usize,
}

/// Why a journal could not be moved.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The journal, on either side.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The file could not be read or written.
    #[error("the file can not be read or written")]
    File(#[from] io::Error),
    /// The text is not an exported journal, or not all of it.
    #[error("line {line}: {what}")]
    Text {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        what: String,
    },
    /// There is something already where the journal should go.
    #[error("there is a journal already, with {0} credentials; an import needs an empty one")]
    NotEmpty(usize),
    /// The policy names another instance than the text.
    #[error("the text is of the instance `{theirs}`, the policy names `{ours}`")]
    Instance {
        /// In the text.
        theirs: Instance,
        /// In the policy.
        ours: Instance,
    },
}

fn put(to: &mut impl Write, line: &Line) -> Result<(), TransferError> {
    let text = serde_json::to_string(line).map_err(io::Error::from)?;
    Ok(writeln!(to, "{text}")?)
}

/// Writes all of the journal.
pub async fn export(journal: &AnyJournal, instance: &Instance, to: &mut impl Write) -> Result<Moved, TransferError> {
    let port = journal.port();
    let head = Installation {
        form: FORM,
        instance: instance.clone(),
        label_key: STANDARD.encode(port.label_key().expose()),
        uptime: port.uptime(Duration::ZERO),
        held_until: port.deletes_held_until().await?,
        evidence: journal.evidence().await?,
    };
    put(to, &Line::Journal(head))?;
    let mut moved = Moved::default();
    for row in port.rows().await? {
        let entries = port.history(&row.name).await?;
        moved.credentials += 1;
        moved.entries += entries.len();
        let (name, home, state) = (row.name, row.home, row.state);
        let line = Credential { name, home, state, wake: row.wake, waiting: row.waiting, entries };
        put(to, &Line::Credential(Box::new(line)))?;
    }
    for (_, request) in port.requests().await? {
        moved.requests += 1;
        put(to, &Line::Request(request))?;
    }
    for (name, making) in journal.ledger().makings().await? {
        moved.subaccounts += 1;
        put(to, &Line::Subaccount(Box::new(Subaccount { name, making })))?;
    }
    put(to, &Line::End(moved))?;
    to.flush()?;
    Ok(moved)
}

/// All of an exported journal, read and checked before anything is written.
pub struct Text {
    head: Installation,
    label_key: [u8; 32],
    credentials: Vec<Credential>,
    requests: Vec<Request>,
    subaccounts: Vec<Subaccount>,
}

impl Text {
    /// Reads the text to its end, which must be there.
    pub fn read(from: impl BufRead, ours: &Instance) -> Result<Self, TransferError> {
        let wrong = |line, what: &str| TransferError::Text { line, what: what.to_owned() };
        let (mut head, mut end) = (None, None);
        let (mut credentials, mut requests, mut subaccounts) = (Vec::new(), Vec::new(), Vec::new());
        let mut last = 0;
        for (number, line) in (1..).zip(from.lines()) {
            last = number;
            if end.is_some() {
                return Err(wrong(number, "there is more behind the end"));
            }
            let line = line?;
            let line = serde_json::from_str(&line).map_err(|error| wrong(number, &error.to_string()))?;
            match line {
                Line::Journal(found) if head.is_none() && number == 1 => head = Some(found),
                Line::Journal(_) => return Err(wrong(number, "a second journal begins")),
                _ if head.is_none() => return Err(wrong(number, "this is not the beginning of an exported journal")),
                Line::Credential(credential) => credentials.push(*credential),
                Line::Request(request) => requests.push(request),
                Line::Subaccount(subaccount) => subaccounts.push(*subaccount),
                Line::End(counts) => end = Some(counts),
            }
        }
        let head = head.ok_or_else(|| wrong(last, "there is nothing in it"))?;
        if head.form != FORM {
            return Err(wrong(1, &format!("it has form {}, this version of rekeyd knows {FORM}", head.form)));
        }
        let entries = credentials.iter().map(|credential| credential.entries.len()).sum();
        let (requested, made) = (requests.len(), subaccounts.len());
        let found = Moved { credentials: credentials.len(), entries, requests: requested, subaccounts: made };
        if end != Some(found) {
            return Err(wrong(last, "its end is missing, or something before it"));
        }
        if head.instance != *ours {
            return Err(TransferError::Instance { theirs: head.instance, ours: ours.clone() });
        }
        let key = STANDARD.decode(&head.label_key).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let label_key = key.ok_or_else(|| wrong(1, "its label key is not one"))?;
        Ok(Self { head, label_key, credentials, requests, subaccounts })
    }

    /// The key that the new journal must be made with.
    pub fn label_key(&self) -> [u8; 32] {
        self.label_key
    }

    /// Writes everything into an empty journal. Nobody can know how old the text is, so deletes are held for a day, as
    /// after any other restore (protocol, rule 14).
    pub async fn import(self, journal: &AnyJournal) -> Result<Moved, TransferError> {
        let port = journal.port();
        let there = port.rows().await?.len();
        if there > 0 {
            return Err(TransferError::NotEmpty(there));
        }
        let named = |c: &Credential| Enrolled { name: c.name.clone(), home: c.home.clone(), wake: None, seq: 0 };
        port.enrol(self.credentials.iter().map(named).collect()).await?;
        let entries = self.credentials.iter().map(|credential| credential.entries.len()).sum();
        let (requests, subaccounts) = (self.requests.len(), self.subaccounts.len());
        let moved = Moved { credentials: self.credentials.len(), entries, requests, subaccounts };
        let written = stream::iter(self.credentials).map(|credential| replay(journal, credential));
        written.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        for request in self.requests {
            port.ask(request).await?;
        }
        for Subaccount { name, making } in self.subaccounts {
            journal.ledger().note(&name, 0, &making).await?;
        }
        journal.go_on_from(self.head.uptime).await?;
        let until = self.head.uptime.plus(DAY).max(self.head.held_until.unwrap_or_default());
        for evidence in self.head.evidence.iter().map(String::as_str).chain(["imported from another journal"]) {
            port.hold_deletes(evidence, until).await?;
        }
        Ok(moved)
    }
}

/// Every entry of one credential, which must add up to the state that it had.
async fn replay(journal: &AnyJournal, credential: Credential) -> Result<(), JournalError> {
    let Credential { name, state, wake, waiting, entries, .. } = credential;
    let corrupt = |what: String| JournalError::Corrupt(format!("`{name}`: {what}"));
    let port = journal.port();
    let claim = port.claim(&name).await?;
    let mut claim = claim.ok_or_else(|| corrupt("it could not be enrolled".into()))?;
    for entry in entries {
        if entry.seq != claim.seq + 1 {
            return Err(corrupt(format!("entry {} is missing", claim.seq + 1)));
        }
        claim = journal.replay(claim, entry).await.map_err(|refused| match refused {
            Refused::Unavailable(_, error) => error,
            Refused::Misfit(_, misfit) => corrupt(misfit.to_string()),
            Refused::Fenced | Refused::Overspent(_) => corrupt("somebody else writes into this journal".into()),
        })?;
    }
    if claim.state != state {
        return Err(corrupt("its entries do not add up to its state".into()));
    }
    port.release(claim, wake, &waiting).await
}
