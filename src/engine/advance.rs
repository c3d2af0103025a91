//! One credential, step by step: decide, write the decision down, do it, write down what happened.

use super::Engine;
use super::account::Account;
use crate::decide::{Hand, Sight, Step, Tally, View, Weather, backoff, step};
use crate::model::event::{Entry, Event};
use crate::model::fault::Failure;
use crate::model::key::AttemptId;
use crate::model::names::{Place, Version};
use crate::model::policy::Rules;
use crate::model::reason::{Halt, StepName};
use crate::model::rotation::{DAY, Phase, State};
use crate::model::rule::Rule;
use crate::model::secret::Secret;
use crate::model::time::later;
use crate::ports::{Claim, JournalError, Refused};
use std::collections::BTreeMap;
use std::time::Duration;

/// What one task holds while it works on a credential; gone with the task.
pub(super) struct Work {
    pub(super) claim: Claim,
    pub(super) held: Held,
    pub(super) sight: Sight,
}

impl Work {
    /// A secret is kept only while it has to be proven or published.
    fn without_needless_secret(mut self) -> Self {
        if !matches!(self.claim.state.phase(), Some(Phase::Verifying | Phase::Publishing)) {
            self.held.secret = None;
        }
        self
    }

    /// The world was changed: what was seen of it, and what was read for a trial, counts no more.
    pub(super) fn changed(&mut self) {
        self.sight = Sight::default();
        self.held.read.clear();
    }
}

/// The secrets in memory.
#[derive(Default)]
pub(super) struct Held {
    /// The new key's secret.
    pub(super) secret: Option<(AttemptId, Secret)>,
    /// A sink has that secret too.
    pub(super) recalled: bool,
    /// How the new key was accepted so far.
    pub(super) tally: Tally,
    /// What the places served when they were last read, for a trial.
    pub(super) read: BTreeMap<Place, (Version, Option<Secret>)>,
}

/// Why a credential was let go without a proper release.
pub(super) enum Lost {
    /// Somebody else has it, a guard has tripped, or the daemon stops while the journal can not be written.
    Claim,
    /// More deletes were decided in the account than the limit has room for: nothing was written.
    Overspent(Box<Work>),
    /// The journal failed to answer.
    Journal(JournalError),
}

impl From<JournalError> for Lost {
    fn from(error: JournalError) -> Self {
        Lost::Journal(error)
    }
}

/// A credential that takes more steps than this in a row is in a loop that nobody thought of.
const MOST_STEPS: u32 = 500;
/// The longest nap while a secret is held, so that the hold's own limit is noticed.
pub(super) const NAP: Duration = Duration::from_secs(30);
/// How long a credential that is not in our policy is left to those in whose policy it is.
const STRANGE: Duration = Duration::from_secs(60);
/// No call takes longer, and then some: a claim must last so long when a call that changes something begins.
const CALL: Duration = Duration::from_secs(35);

impl Engine {
    /// Works on one credential that this task has taken, until it has to wait.
    pub(super) async fn advance(&self, claim: Claim) {
        let name = claim.name.clone();
        let rules = self.rules(&name);
        let ended = match rules.and_then(|rules| Some((rules, self.accounts.get(&rules.home)?))) {
            Some((rules, account)) => self.work(rules, account, claim).await,
            None => {
                // Another process, which works by another policy, has enrolled it.
                let work = Work { claim, held: Held::default(), sight: Sight::default() };
                self.release(work, Some(STRANGE), "not in the policy of the process that looked").await
            }
        };
        if let Err(Lost::Journal(error)) = ended {
            tracing::error!(credential = %name, %error, "the journal did not answer; nothing is changed");
        }
        self.give_back(&name);
    }

    async fn work(&self, rules: &Rules, account: &Account, claim: Claim) -> Result<(), Lost> {
        let mut work = Work { claim, held: Held::default(), sight: Sight::default() };
        for _ in 0..MOST_STEPS {
            if self.stop.is_cancelled() {
                return self.release(work, Some(Duration::ZERO), "the daemon was stopped").await;
            }
            let weather = self.weather(account, rules, &work.claim.state).await?;
            let step = step::step(&self.view(rules, &work, &weather));
            if let Step::Wait { wait, why } = step {
                match self.nap(&work, wait) {
                    Some(nap) => self.doze(nap).await,
                    None => return self.release(work, wait, &why).await,
                }
            } else {
                work = self.take_step(rules, account, work, step).await?;
            }
        }
        tracing::error!(credential = %rules.name, "more than {MOST_STEPS} steps in a row; pausing");
        self.release(work, Some(Duration::from_secs(60)), "too many steps in a row").await
    }

    /// Does one step. What changes the world comes between two entries of the journal, and only here.
    async fn take_step(&self, rules: &Rules, account: &Account, work: Work, step: Step) -> Result<Work, Lost> {
        let mut work = work;
        let found = match step {
            Step::Record(event) => Some(event),
            Step::Drop => {
                work.held = Held::default();
                None
            }
            Step::Issue(intent) => {
                let attempt = intent.attempt;
                if Rule::DecisionFirst.holds() {
                    work = self.append(account, work, Event::Intended(intent)).await?;
                    self.perform_issue(rules, account, &mut work, attempt).await?
                } else {
                    let created = self.perform_issue(rules, account, &mut work, attempt).await?;
                    work = self.append(account, work, Event::Intended(intent)).await?;
                    created
                }
            }
            Step::Publish { place, base } => {
                let decision = Event::Publishing { place: place.clone(), base: base.clone() };
                work = self.append(account, work, decision).await?;
                self.perform_publish(rules, &mut work, &place, &base).await?
            }
            Step::Fence { attempt, place, base } => self.perform_fence(rules, &mut work, attempt, place, base).await?,
            Step::Delete { sid, evidence } => {
                work = match self.append(account, work, Event::Condemned { sid: sid.clone(), evidence }).await {
                    Err(Lost::Overspent(again)) => return Ok(*again),
                    ended => ended?,
                };
                self.perform_delete(rules, account, &mut work, &sid).await?
            }
            Step::Restart { workload, mark, base } => self.perform_restart(&mut work, &workload, &mark, &base).await?,
            Step::Look(_)
            | Step::Inspect(_)
            | Step::Prove(_)
            | Step::Fetch(_)
            | Step::Permissions(_)
            | Step::Find(_)
            | Step::Recall(_)
            | Step::Probe => {
                let name = step.name();
                let failure = self.gather(rules, account, &mut work, step).await.err();
                failure.zip(name).map(|(failure, step)| failed(step, failure))
            }
            Step::Wait { .. } => None,
        };
        match found {
            Some(event) => self.append(account, work, event).await,
            None => Ok(work),
        }
    }

    pub(super) fn view<'a>(&'a self, rules: &'a Rules, work: &'a Work, weather: &'a Weather) -> View<'a> {
        View {
            state: &work.claim.state,
            seq: work.claim.seq,
            rules,
            instance: &self.policy.instance,
            timing: &self.policy.timing,
            limits: &self.policy.limits,
            roots: &self.roots,
            sinks: &self.sinks,
            now: self.now(),
            local: self.local(),
            fresh: self.ports.clock.attempt(),
            hand: Hand {
                secret_of: work.held.secret.as_ref().map(|(attempt, _)| *attempt),
                recalled: work.held.recalled,
                tally: work.held.tally,
            },
            sight: &work.sight,
            weather,
        }
    }

    /// Makes sure that nobody else takes the credential while a call is under way (protocol, b.5). Safety does not rest
    /// on it, for a process can be stopped after any check: it saves what a late call would cost.
    pub(super) async fn hold(&self, work: &mut Work) -> Result<(), Lost> {
        let running = self.ports.clock.running();
        if work.claim.leased_until.is_some_and(|until| until < running + CALL)
            && !self.ports.journal.renew(&mut work.claim).await?
        {
            tracing::warn!(credential = %work.claim.name, "another process has this credential; letting go of it");
            return Err(Lost::Claim);
        }
        Ok(())
    }

    /// Whether to wait here: while a secret is in memory that no sink could give back, or for a moment only.
    fn nap(&self, work: &Work, wait: Option<Duration>) -> Option<Duration> {
        let wait = wait?;
        work.held.secret.as_ref()?;
        let escrowed = work.claim.state.rotation.as_ref().is_some_and(|rotation| rotation.escrowed());
        (!(escrowed || work.held.recalled) || wait <= NAP).then_some(wait.min(NAP))
    }

    pub(super) async fn doze(&self, nap: Duration) {
        // In this order, not in one by chance: the same calls in the same order have the same outcome.
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            () = self.ports.clock.sleep(nap) => {}
        }
    }

    /// Writes an event, waiting for the journal as long as it takes: what is known must not be lost, and nothing
    /// external happens meanwhile (protocol, fault 13).
    pub(super) async fn append(&self, account: &Account, work: Work, event: Event) -> Result<Work, Lost> {
        let Work { mut claim, held, sight } = work;
        let mut event = event;
        let mut tripped = false;
        for failures in 1.. {
            let (before, at) = (claim.state.clone(), self.now());
            match self.ports.journal.append(claim, at, event.clone()).await {
                Ok(next) => {
                    self.recorded(account, &before, &next, Entry { seq: next.seq, at, event }).await;
                    if tripped {
                        // What was to follow the entry that did not fit must not follow.
                        return Err(Lost::Claim);
                    }
                    return Ok(Work { claim: next, held, sight }.without_needless_secret());
                }
                Err(Refused::Fenced) => {
                    tracing::warn!("somebody else wrote this credential's journal; letting go of it");
                    return Err(Lost::Claim);
                }
                Err(Refused::Overspent(returned)) => {
                    // Another process decided a delete at the same moment.
                    self.untold(account).await;
                    return Err(Lost::Overspent(Box::new(Work { claim: *returned, held, sight })));
                }
                Err(Refused::Misfit(returned, misfit)) => {
                    tracing::error!(credential = %returned.name, %misfit, "a guard has tripped");
                    claim = *returned;
                    if claim.state.halted.is_some() {
                        return Err(Lost::Claim);
                    }
                    event = Event::Halted { halt: Halt::Guard, detail: misfit.to_string() };
                    tripped = true;
                }
                Err(Refused::Unavailable(returned, error)) => {
                    tracing::error!(credential = %returned.name, %error, "the journal can not be written; waiting");
                    claim = *returned;
                    self.doze(backoff::delay(failures, claim.name.as_str()).min(NAP)).await;
                    if self.stop.is_cancelled() {
                        return Err(Lost::Claim);
                    }
                }
            }
        }
        Err(Lost::Claim)
    }

    /// What follows from an entry for those who look on, for the account and for the whole installation.
    async fn recorded(&self, account: &Account, before: &State, next: &Claim, entry: Entry) {
        let name = &next.name;
        account.note(name, &next.state);
        self.ports.observer.recorded(name, before, &entry, &next.state);
        self.told_of(account, &entry.event).await;
        if let Event::Halted { halt: Halt::JournalStale, detail } = &entry.event {
            let until = self.now().uptime.plus(DAY);
            if let Err(error) = self.ports.journal.hold_deletes(&format!("{name}: {detail}"), until).await {
                tracing::error!(%error, "the hold on deletes could not be noted");
            }
        }
    }

    pub(super) async fn release(&self, work: Work, wait: Option<Duration>, why: &str) -> Result<(), Lost> {
        let wake = wait.map(|wait| later(self.now().wall, wait));
        let (name, state) = (work.claim.name.clone(), work.claim.state.clone());
        self.ports.journal.release(work.claim, wake, why).await?;
        self.turn_ended(&name, &state).await;
        self.ports.observer.released(&name, &state, wake, why);
        Ok(())
    }
}

/// The event for a step that failed.
pub(super) fn failed(step: StepName, failure: Failure) -> Event {
    Event::Failed { step, failure }
}
