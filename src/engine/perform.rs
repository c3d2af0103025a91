//! The four acts that change the world. Each is called by `advance` alone, after its decision is in the journal, and
//! checks once more what `decide` has checked. A failure is an event, never an `Err`.

use super::Engine;
use super::account::Account;
use super::advance::{Lost, NAP, Work, failed};
use super::gather::{at_place, at_workload};
use super::tokens;
use crate::decide::interlock::interlock;
use crate::decide::{Tally, backoff};
use crate::model::document::{Beside, Pair, Stamp};
use crate::model::event::Event;
use crate::model::fault::{Failure, Fault, Outcome};
use crate::model::key::{AttemptId, KeySid, Label};
use crate::model::names::{Place, Version};
use crate::model::policy::Rules;
use crate::model::reason::StepName;
use crate::model::rule::Rule;
use crate::model::secret::Secret;
use crate::model::workload::{Mark, Workload};
use crate::ports::{Make, NewKey, Written};
use std::time::Duration;

/// What the attempt is to make.
fn make<'w>(rules: &Rules, work: &'w Work) -> Make<'w> {
    let state = &work.claim.state;
    let Some(rotation) = &state.rotation else { return Make::Standard };
    match &rotation.permissions {
        _ if rotation.key_pair => Make::KeyPair,
        _ if rotation.auth_token => Make::AuthToken { served: tokens::owner(work), quiet: tokens::quiet(rules) },
        None => Make::Standard,
        Some(permissions) => Make::Restricted(permissions),
    }
}

impl Engine {
    /// Sends the one request of this attempt.
    pub(super) async fn perform_issue(
        &self,
        rules: &Rules,
        account: &Account,
        work: &mut Work,
        attempt: AttemptId,
    ) -> Result<Option<Event>, Lost> {
        let key = self.ports.journal.label_key();
        let label = Label::new(&key, &rules.home, &self.policy.instance, &rules.name, attempt);
        let turn = account.pace.turn().await;
        self.hold(work).await?;
        let create = self.ports.issuer.create(&rules.home, &label, make(rules, work));
        let outcome = self.twilio_in_turn(account, "create", create).await;
        drop(turn);
        work.changed();
        let certain = matches!(outcome, Outcome::Done(_) | Outcome::NotDone(_));
        // Who makes tokens is not always the Main key.
        let token = work.claim.state.rotation.as_ref().is_some_and(|rotation| rotation.auth_token);
        let outcome = if token { outcome.answer() } else { self.judge(account, outcome) };
        Ok(Some(match outcome {
            Ok(new) => self.received(work, attempt, &label, new).await?,
            Err(failure) if certain => Event::CreateRefused { failure },
            Err(failure) => failed(StepName::Issue, failure),
        }))
    }

    /// A key that is not new, not labelled as asked, or one that we sign in with, is not what was asked for.
    async fn received(&self, work: &mut Work, attempt: AttemptId, label: &Label, new: NewKey) -> Result<Event, Lost> {
        let NewKey { facts, secret } = new;
        let Some(known) = self.known(&facts.sid).await else { return Err(Lost::Claim) };
        let echoed = facts.label.as_deref() == Some(label.to_string().as_str());
        if known || !echoed || facts.sid.may_be_among(&self.roots) {
            let failure = Failure::new(Fault::Malformed, "the answer to a create names a key that was not asked for");
            return Ok(failed(StepName::Issue, failure));
        }
        (work.held.secret, work.held.recalled) = (Some((attempt, secret)), false);
        work.held.tally = Tally::default();
        Ok(Event::Created { sid: facts.sid, created_at: facts.created_at })
    }

    /// Whether the journal knows the key. While it can not tell, the new secret is kept in memory and nothing happens
    /// (protocol, fault 13); nothing is told when the daemon stops.
    async fn known(&self, sid: &KeySid) -> Option<bool> {
        for failures in 1.. {
            match self.ports.journal.key(sid).await {
                Ok(known) => return Some(known.is_some()),
                Err(error) => tracing::error!(key = %sid, %error, "the journal can not be read; waiting"),
            }
            self.doze(backoff::delay(failures, sid.as_str()).min(NAP)).await;
            if self.stop.is_cancelled() {
                return None;
            }
        }
        None
    }

    /// Writes the new pair over exactly the base version.
    pub(super) async fn perform_publish(
        &self,
        rules: &Rules,
        work: &mut Work,
        place: &Place,
        base: &Version,
    ) -> Result<Option<Event>, Lost> {
        let previous = match self.previous_token(rules, work, place).await {
            Ok(previous) => previous,
            Err(failure) => return Ok(Some(failed(StepName::Look, failure))),
        };
        let (Some(sink), Some(pair)) = (self.ports.sinks.get(&place.sink), self.pair(rules, work, previous)) else {
            return Ok(None);
        };
        let names = work.claim.state.names(&rules.members);
        let turn = self.sink_turn(&place.sink).await;
        self.hold(work).await?;
        let whatever = Version("whatever".into());
        let base = if Rule::SinkBase.holds() { base } else { &whatever };
        let outcome = self.sink_in_turn(&place.sink, "publish", sink.publish(place, &names, &pair, base)).await;
        drop(turn);
        work.changed();
        Ok(Some(match settled(place, outcome) {
            Ok(version) => Event::Written { place: place.clone(), version },
            Err(failure) => failed(StepName::Publish, failure),
        }))
    }

    /// What is to be published, if it may be.
    fn pair(&self, rules: &Rules, work: &Work, beside: Option<Secret>) -> Option<Pair> {
        let state = &work.claim.state;
        let rotation = state.rotation.as_ref()?;
        let (sid, (attempt, secret)) = (rotation.successor.clone()?, work.held.secret.as_ref()?);
        // S4 and S9 once more: only the secret of this attempt, and never a key whose deletion was decided.
        if *attempt != rotation.attempt || state.condemned(&sid) {
            return None;
        }
        Some(Pair {
            account: rules.home.account.clone(),
            sid,
            secret: secret.duplicate(),
            stamp: Stamp {
                instance: self.policy.instance.clone(),
                credential: rules.name.clone(),
                seq: work.claim.seq,
                attempt: rotation.attempt,
            },
            beside: beside.map(Beside::Previous),
        })
    }

    /// Writes a place's present content over itself.
    pub(super) async fn perform_fence(
        &self,
        rules: &Rules,
        work: &mut Work,
        attempt: AttemptId,
        place: Place,
        base: Version,
    ) -> Result<Option<Event>, Lost> {
        let Some(sink) = self.ports.sinks.get(&place.sink) else { return Ok(None) };
        let names = work.claim.state.names(&rules.members);
        let turn = self.sink_turn(&place.sink).await;
        self.hold(work).await?;
        let outcome = self.sink_in_turn(&place.sink, "fence", sink.fence(&place, &names, attempt, &base)).await;
        drop(turn);
        work.changed();
        Ok(Some(match settled(&place, outcome) {
            Ok(to) => Event::Fenced { attempt, place, from: base, to },
            Err(failure) => failed(StepName::Fence, failure),
        }))
    }

    /// Has a workload restarted; the decision was written when every place served the new pair.
    pub(super) async fn perform_restart(
        &self,
        work: &mut Work,
        workload: &Workload,
        mark: &Mark,
        base: &Version,
    ) -> Result<Option<Event>, Lost> {
        let cluster = match self.cluster(workload) {
            Ok(cluster) => cluster,
            Err(failure) => return Ok(Some(failed(StepName::Restart, failure))),
        };
        let turn = self.sink_turn(&workload.sink).await;
        self.hold(work).await?;
        let outcome = self.sink_in_turn(&workload.sink, "restart", cluster.restart(workload, mark, base)).await;
        drop(turn);
        // Nothing that was seen of the places has changed.
        work.sight.workloads.clear();
        Ok(Some(match outcome.answer() {
            Ok(Written::At(_)) => Event::Restarted { workload: workload.clone() },
            Ok(Written::Conflict) => {
                let detail = format!("{workload} was changed by somebody at the same moment");
                failed(StepName::Restart, Failure::new(Fault::Conflict, &detail))
            }
            Err(failure) => failed(StepName::Restart, at_workload(workload, failure)),
        }))
    }

    /// Sends one DELETE, if the interlock still holds: the entry in the journal, and the wait for our turn, may have taken
    /// their time.
    pub(super) async fn perform_delete(
        &self,
        rules: &Rules,
        account: &Account,
        work: &mut Work,
        sid: &KeySid,
    ) -> Result<Option<Event>, Lost> {
        let _turn = account.pace.turn().await;
        self.hold(work).await?;
        let mut weather = self.weather(account, rules, &work.claim.state).await?;
        // Whoever holds deletes holds them from that moment on, another process and another account included.
        let held = self.ports.journal.deletes_held_until().await?;
        weather.held = held.map_or(Duration::ZERO, |until| until.since(self.now().uptime));
        if let Err(blocked) = interlock(&self.view(rules, work, &weather), sid) {
            tracing::info!(credential = %rules.name, key = %sid, why = blocked.0, "the delete is not sent; looking again");
            work.changed();
            return Ok(None);
        }
        if sid.is_auth_token() {
            return Ok(self.settle_token(rules, account, work, sid).await);
        }
        let outcome = self.twilio_in_turn(account, "delete", self.ports.issuer.delete(&rules.home, sid)).await;
        work.changed();
        let failure = self.judge(account, outcome).err();
        Ok(failure.map(|failure| failed(StepName::Delete, failure)))
    }
}

/// The version that a compare-and-set made; a conflict is a failure that leads to a look.
fn settled(place: &Place, outcome: Outcome<Written>) -> Result<Version, Failure> {
    match outcome.answer().map_err(|failure| at_place(place, failure))? {
        Written::At(version) => Ok(version),
        Written::Conflict => {
            Err(Failure::new(Fault::Conflict, &format!("{place} is at another version than expected")))
        }
    }
}
