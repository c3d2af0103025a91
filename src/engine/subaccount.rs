//! Makes a subaccount: does what [`decide::subaccount`](crate::decide::subaccount) says, and writes it down.
//!
//! The same contract as for rotations: a create and a delete are in the journal before they are sent, one request each; what
//! was not answered is looked for before anything else is decided; what a sink may serve is never given up unseen. It runs in
//! the command and not in the daemon, so whatever ends it, the same command goes on.

mod find;
mod prove;
mod sinks;

use crate::decide::backoff;
use crate::decide::subaccount::{Hand, Step, lost_key, lost_public_key, next};
use crate::model::fault::{Failure, Fault, Outcome};
use crate::model::key::{AccountSid, AttemptId};
use crate::model::names::{Instance, Place, SinkName};
use crate::model::secret::Secret;
use crate::model::subaccount::{Condemned, Made, Making, Mark, SubaccountName};
use crate::ports::{Clock, JournalError, Landlord, Ledger, Sink};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// What shall be made, and how long is waited.
pub struct Order {
    /// What it is called when it is finished.
    pub name: SubaccountName,
    /// The account that it belongs to.
    pub parent: AccountSid,
    /// This installation.
    pub instance: Instance,
    /// Where its keys are published, with `{account_sid}` and `{account_name}` in the paths.
    pub places: Vec<Place>,
    /// How long an unanswered create may still turn up.
    pub settle: Duration,
    /// How long is tried for what may fail at first.
    pub patience: Duration,
}

/// How it ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Founded {
    /// The account.
    pub account: AccountSid,
    /// Where its keys are.
    pub places: Vec<Place>,
    /// Nothing had to be done any more.
    pub before: bool,
    /// What an operator should know.
    pub remarks: Vec<String>,
}

/// Why it stopped. The same command goes on from there, unless a human must look first.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// The journal could not be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Another process makes the same subaccount just now.
    #[error("another process makes this subaccount just now")]
    Taken,
    /// Twilio or a sink did not do it.
    #[error("{what}: {failure}")]
    Failed {
        /// What was tried.
        what: String,
        /// What came of it.
        failure: Failure,
    },
    /// What nobody expected; nothing is done before a human has looked.
    #[error("{0}")]
    Odd(String),
}

fn failed(what: impl Into<String>) -> impl FnOnce(Failure) -> Stopped {
    let what = what.into();
    move |failure| Stopped::Failed { what, failure }
}

/// The work on one subaccount.
pub struct Foundation<'a> {
    order: &'a Order,
    ledger: &'a dyn Ledger,
    landlord: &'a dyn Landlord,
    sinks: &'a BTreeMap<SinkName, Arc<dyn Sink>>,
    clock: &'a dyn Clock,
    tell: &'a (dyn Fn(&str) + Send + Sync),
    seq: u64,
    making: Making,
    secret: Option<Secret>,
    private_key: Option<Secret>,
    looked: bool,
    proven: bool,
    remarks: BTreeSet<String>,
}

/// The pause between two calls that prove, and between two looks.
const PAUSE: Duration = Duration::from_millis(500);

impl<'a> Foundation<'a> {
    /// Reads how far it has come.
    pub async fn new(
        order: &'a Order,
        ledger: &'a dyn Ledger,
        landlord: &'a dyn Landlord,
        sinks: &'a BTreeMap<SinkName, Arc<dyn Sink>>,
        clock: &'a dyn Clock,
        tell: &'a (dyn Fn(&str) + Send + Sync),
    ) -> Result<Self, Stopped> {
        let (seq, making) = ledger.making(&order.name).await?;
        let (secret, private_key, looked, proven, remarks) = (None, None, false, false, BTreeSet::new());
        Ok(Self {
            order,
            ledger,
            landlord,
            sinks,
            clock,
            tell,
            seq,
            making,
            secret,
            private_key,
            looked,
            proven,
            remarks,
        })
    }

    /// Goes on until it is finished, or can not be.
    pub async fn run(mut self) -> Result<Founded, Stopped> {
        let before = self.making.named;
        loop {
            match next(&self.making, self.hand()) {
                Step::Open => self.open().await?,
                Step::MakeKey => self.make_key().await?,
                Step::MakePublicKey => self.make_public_key().await?,
                Step::Find(thing) => self.find(thing).await?,
                Step::Recover => self.recover().await?,
                Step::Fence => self.fence().await?,
                Step::Condemn => self.condemn().await?,
                Step::Delete(condemned) => self.delete(condemned).await?,
                Step::Prove => self.prove().await?,
                Step::Publish => self.publish().await?,
                Step::Name => self.name().await?,
                Step::Rest => break,
            }
        }
        let account = self.account()?;
        Ok(Founded { account, places: self.making.published, before, remarks: self.remarks.into_iter().collect() })
    }

    /// What this process holds and has seen.
    fn hand(&self) -> Hand {
        let (secret, private_key) = (self.secret.is_some(), self.private_key.is_some());
        Hand { secret, private_key, looked: self.looked, proven: self.proven }
    }

    fn account(&self) -> Result<AccountSid, Stopped> {
        self.making.account.sid().cloned().ok_or_else(|| Stopped::Odd("the journal names no account".to_owned()))
    }

    /// The name for what an attempt makes in an account, or of an account in its parent.
    fn mark(&self, account: &AccountSid, attempt: AttemptId) -> String {
        Mark::new(&self.ledger.label_key(), account, &self.order.instance, attempt).to_string()
    }

    /// Writes down what was decided, or what happened. Nothing goes on if that fails.
    async fn note(&mut self, making: Making) -> Result<(), Stopped> {
        if !self.ledger.note(&self.order.name, self.seq, &making).await? {
            return Err(Stopped::Taken);
        }
        (self.seq, self.making) = (self.seq + 1, making);
        Ok(())
    }

    /// A create that was not answered is looked for next.
    fn not_told(&self, what: &str, failure: &Failure) -> Result<(), Stopped> {
        (self.tell)(&format!("{what}, or perhaps it was ({failure}); looking for it"));
        Ok(())
    }

    async fn open(&mut self) -> Result<(), Stopped> {
        let (attempt, at) = (self.clock.attempt(), self.clock.wall());
        self.note(Making { account: Made::Asked { attempt, at }, ..self.making.clone() }).await?;
        let mark = self.mark(&self.order.parent, attempt);
        let what = format!("a subaccount of {} could not be opened", self.order.parent);
        match self.landlord.open(&mark).await {
            Outcome::Done(sid) => {
                (self.tell)(&format!("{sid} is open; until it is finished it is called {mark}"));
                self.note(Making { account: Made::There { attempt, sid }, ..self.making.clone() }).await
            }
            Outcome::NotDone(failure) => {
                self.note(Making { account: Made::Nothing, ..self.making.clone() }).await?;
                Err(failed(what)(failure))
            }
            Outcome::Unknown(failure) => self.not_told(&what, &failure),
        }
    }

    async fn make_key(&mut self) -> Result<(), Stopped> {
        let account = self.account()?;
        let (attempt, at) = (self.clock.attempt(), self.clock.wall());
        self.note(Making { key: Made::Asked { attempt, at }, ..self.making.clone() }).await?;
        let what = format!("no API key could be made in {account}");
        match self.landlord.make_key(&account, &self.mark(&account, attempt)).await {
            Outcome::Done(new) => {
                (self.tell)(&format!("{account} has the API key {}", new.facts.sid));
                let key = Made::There { attempt, sid: new.facts.sid };
                self.note(Making { key, ..self.making.clone() }).await?;
                self.secret = Some(new.secret);
                Ok(())
            }
            Outcome::NotDone(failure) => {
                self.note(Making { key: Made::Nothing, ..self.making.clone() }).await?;
                Err(failed(what)(failure))
            }
            Outcome::Unknown(failure) => self.not_told(&what, &failure),
        }
    }

    async fn make_public_key(&mut self) -> Result<(), Stopped> {
        let account = self.account()?;
        let what = format!("no public key could be registered for {account}");
        let pair = self.landlord.pair().map_err(failed("no pair of RSA keys could be made"))?;
        let (attempt, at) = (self.clock.attempt(), self.clock.wall());
        self.note(Making { public_key: Made::Asked { attempt, at }, ..self.making.clone() }).await?;
        match self.landlord.register(&account, &self.mark(&account, attempt), &pair.public).await {
            Outcome::Done(sid) => {
                (self.tell)(&format!("{account} has the public key {sid}"));
                self.note(Making { public_key: Made::There { attempt, sid }, ..self.making.clone() }).await?;
                self.private_key = Some(pair.private);
                Ok(())
            }
            Outcome::NotDone(failure) => {
                self.note(Making { public_key: Made::Nothing, ..self.making.clone() }).await?;
                Err(failed(what)(failure))
            }
            Outcome::Unknown(failure) => self.not_told(&what, &failure),
        }
    }

    async fn condemn(&mut self) -> Result<(), Stopped> {
        let hand = self.hand();
        let mut making = self.making.clone();
        if lost_key(&making, hand)
            && let Made::There { sid, .. } = std::mem::take(&mut making.key)
        {
            making.condemned.push(Condemned::Key(sid));
        }
        if lost_public_key(&making, hand)
            && let Made::There { sid, .. } = std::mem::take(&mut making.public_key)
        {
            making.condemned.push(Condemned::PublicKey(sid));
        }
        (self.tell)("what was made before has lost its secret, so it is deleted and made again");
        self.note(making).await
    }

    async fn delete(&mut self, condemned: Condemned) -> Result<(), Stopped> {
        let account = self.account()?;
        let mut failures = 0;
        loop {
            let deleted = match &condemned {
                Condemned::Key(sid) => self.landlord.delete_key(&account, sid).await,
                Condemned::PublicKey(sid) => self.landlord.delete_public_key(&account, sid).await,
            };
            let Err(failure) = deleted.answer() else { break };
            failures += 1;
            let what = format!("what is left over in {account} could not be deleted");
            self.pause(failures, failed(what)(failure)).await?;
        }
        let mut making = self.making.clone();
        making.condemned.retain(|other| *other != condemned);
        self.note(making).await
    }

    /// Looks whether anything of ours is left that nobody knows of, and then gives the account its name.
    async fn name(&mut self) -> Result<(), Stopped> {
        let account = self.account()?;
        self.survey(&account).await?;
        let name = self.order.name.as_str();
        let mut failures = 0;
        while let Err(failure) = self.landlord.rename(&account, name).await.answer() {
            failures += 1;
            self.pause(failures, failed(format!("{account} could not be given its name"))(failure)).await?;
        }
        self.note(Making { named: true, ..self.making.clone() }).await
    }

    /// Waits before the next try; after too many, or where no try would help, it stops.
    async fn pause(&self, failures: u32, stopped: Stopped) -> Result<(), Stopped> {
        let passes = matches!(
            &stopped,
            Stopped::Failed {
                failure: Failure {
                    fault: Fault::Throttled | Fault::Server | Fault::Timeout | Fault::Unreachable | Fault::Malformed,
                    ..
                },
                ..
            }
        );
        if !passes || failures >= TRIES {
            return Err(stopped);
        }
        self.clock.sleep(backoff::delay(failures, self.order.name.as_str())).await;
        Ok(())
    }
}

/// How often something is tried that did not work: about 20 seconds in all.
const TRIES: u32 = 6;

fn nothing() -> Stopped {
    Stopped::Odd("there is nothing to prove".to_owned())
}
