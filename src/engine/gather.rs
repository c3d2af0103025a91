//! The steps that only read: they fill the sight, and never change the world.

use super::Engine;
use super::account::Account;
use super::advance::Work;
use crate::decide::{Proof, Step, drift};
use crate::model::document::Names;
use crate::model::fault::{Failure, Fault};
use crate::model::key::{AttemptId, KeySid, Label};
use crate::model::names::{Place, Version};
use crate::model::permission::{Granted, Permission, Permissions, difference};
use crate::model::policy::Rules;
use crate::model::rotation::{Phase, State};
use crate::model::secret::Secret;
use crate::model::workload::Workload;
use crate::ports::{Reading, Verdict, Workloads};
use futures_util::future::join_all;
use std::sync::Arc;

/// What Twilio said to pairs just now: places that serve the very same pair share one call.
#[derive(Default)]
pub(super) struct Trials(Vec<(KeySid, Secret, Verdict)>);

impl Engine {
    /// Does one reading step. What was learned before a failure is kept.
    pub(super) async fn gather(
        &self,
        rules: &Rules,
        account: &Account,
        work: &mut Work,
        step: Step,
    ) -> Result<(), Failure> {
        if let Step::Look(places) = step {
            self.look(rules, work, places).await
        } else if let Step::Inspect(workloads) = step {
            self.inspect(work, workloads).await
        } else if let Step::Prove(places) = step {
            self.prove(rules, account, work, places).await
        } else if let Step::Fetch(sid) = step {
            if sid.is_auth_token() {
                return self.fetch_token(rules, account, work, sid).await;
            }
            let outcome = self.twilio(account, "fetch", self.ports.issuer.fetch(&account.home, &sid)).await;
            let facts = self.judge(account, outcome)?;
            self.owner(rules, work, &sid).await?;
            work.sight.keys.insert(sid, (facts, self.local()));
            Ok(())
        } else if let Step::Permissions(sid) = step {
            self.permissions(rules, account, work, sid).await
        } else if let Step::Find(attempt) = step {
            self.find(rules, account, work, attempt).await
        } else if let Step::Recall(place) = step {
            self.recall(rules, account, work, place).await
        } else if let Step::Probe = step {
            self.probe(rules, account, work).await
        } else {
            Ok(())
        }
    }

    /// Asks what a key may do, and says so if a new one may do something else than it shall.
    async fn permissions(&self, rules: &Rules, account: &Account, work: &mut Work, sid: KeySid) -> Result<(), Failure> {
        // Not judged as calls of the Main key are: this one is about one key only.
        let granted = self.ports.issuer.permissions(&account.home, &sid);
        let granted = self.twilio(account, "permissions", granted).await.answer()?;
        let odd = match (&granted, wanted(&work.claim.state, &sid)) {
            (Granted::Only(found), Some(wanted)) => {
                let (extra, missing) = difference(wanted, found);
                let list = |these: &Permissions| these.iter().map(Permission::as_str).collect::<Vec<_>>().join(" ");
                let differs = !(extra.is_empty() && missing.is_empty());
                differs.then(|| format!("beside what it shall: [{}], lacking: [{}]", list(&extra), list(&missing)))
            }
            (Granted::Unknown(word), _) => Some(format!("`{word}`, which is not known here")),
            (Granted::Only(_) | Granted::Gone | Granted::Everything, _) => None,
        };
        if let Some(odd) = odd {
            tracing::warn!(credential = %rules.name, key = %sid, "it may do {odd}");
        }
        work.sight.granted.insert(sid, (granted, self.local()));
        Ok(())
    }

    /// Reads all places at the same time.
    pub(super) async fn look(&self, rules: &Rules, work: &mut Work, places: Vec<Place>) -> Result<(), Failure> {
        let names = work.claim.state.names(&rules.members);
        let attempt = staged_attempt(&work.claim.state);
        let reads = places.iter().map(|place| self.read(place, &names, attempt));
        let mut first_failure = None;
        for (place, reading) in places.iter().zip(join_all(reads).await) {
            match reading {
                Ok((Reading { seen, secret, .. }, at)) => {
                    if let Some(failure) = stale(&work.claim.state, place, &seen.version) {
                        first_failure = first_failure.or(Some(failure));
                        continue;
                    }
                    work.held.read.insert(place.clone(), (seen.version.clone(), secret));
                    work.sight.places.insert(place.clone(), (seen, at));
                }
                Err(failure) => first_failure = first_failure.or(Some(failure)),
            }
        }
        first_failure.map_or(Ok(()), Err)
    }

    pub(super) async fn read(
        &self,
        place: &Place,
        names: &Names,
        attempt: Option<AttemptId>,
    ) -> Result<(Reading, crate::model::time::Uptime), Failure> {
        let sink = self.ports.sinks.get(&place.sink);
        let sink = sink.ok_or_else(|| Failure::new(Fault::Local, &format!("no sink {}", place.sink)))?;
        let reading = self.sink(&place.sink, "read", sink.read(place, names, attempt)).await.answer();
        let at = self.local();
        reading.map(|reading| (reading, at)).map_err(|failure| at_place(place, failure))
    }

    /// Looks at all workloads at the same time.
    async fn inspect(&self, work: &mut Work, workloads: Vec<Workload>) -> Result<(), Failure> {
        let looks = workloads.iter().map(|workload| async move {
            let seen = self.sink(&workload.sink, "inspect", self.cluster(workload)?.look(workload)).await.answer();
            seen.map(|seen| (seen, self.local())).map_err(|failure| at_workload(workload, failure))
        });
        let mut first_failure = None;
        for (workload, look) in workloads.iter().zip(join_all(looks).await) {
            match look {
                Ok(seen) => drop(work.sight.workloads.insert(workload.clone(), seen)),
                Err(failure) => first_failure = first_failure.or(Some(failure)),
            }
        }
        first_failure.map_or(Ok(()), Err)
    }

    /// The cluster of a workload.
    pub(super) fn cluster(&self, workload: &Workload) -> Result<&Arc<dyn Workloads>, Failure> {
        let unknown = || Failure::new(Fault::Local, &format!("no cluster {}", workload.sink));
        self.ports.clusters.get(&workload.sink).ok_or_else(unknown)
    }

    /// Tries what the places serve, as read.
    async fn prove(
        &self,
        rules: &Rules,
        account: &Account,
        work: &mut Work,
        places: Vec<Place>,
    ) -> Result<(), Failure> {
        let mut trials = Trials::default();
        for place in places {
            let (Some((seen, _)), Some((version, secret))) =
                (work.sight.places.get(&place), work.held.read.get(&place))
            else {
                return Err(Failure::new(Fault::Local, "nothing was read there"));
            };
            let Some((sid, secret)) = seen.content.sid().cloned().zip(secret.as_ref()) else {
                return Err(Failure::new(Fault::PairRefused, &format!("{place} serves a key without a secret")));
            };
            match self.trial(rules, account, &mut trials, &sid, secret).await? {
                Verdict::Works => {}
                Verdict::Refused => {
                    let detail = format!("Twilio refuses the pair {sid} that {place} serves");
                    return Err(Failure::new(Fault::PairRefused, &detail));
                }
            }
            let proof = Proof { sid, version: version.clone(), at: self.local() };
            work.sight.proofs.insert(place, proof);
        }
        Ok(())
    }

    /// Tries a pair as read from a place, unless the very same one was tried just now.
    pub(super) async fn trial(
        &self,
        rules: &Rules,
        account: &Account,
        trials: &mut Trials,
        sid: &KeySid,
        secret: &Secret,
    ) -> Result<Verdict, Failure> {
        let same = |(other, known, _): &&(KeySid, Secret, Verdict)| other == sid && known.expose() == secret.expose();
        if let Some((_, _, verdict)) = trials.0.iter().find(same) {
            return Ok(*verdict);
        }
        let probe = self.ports.issuer.probe(&rules.home, sid, secret, rules.verify_url.as_ref());
        let verdict = self.twilio(account, "probe", probe).await.answer()?;
        trials.0.push((sid.clone(), secret.duplicate(), verdict));
        Ok(verdict)
    }

    /// Lists the account's keys and keeps those that carry exactly our label for the attempt.
    async fn find(&self, rules: &Rules, account: &Account, work: &mut Work, attempt: AttemptId) -> Result<(), Failure> {
        let listing = self.listing(account).await?;
        let key = self.ports.journal.label_key();
        let label = Label::new(&key, &rules.home, &self.policy.instance, &rules.name, attempt).to_string();
        let mut found = listing.labelled(attempt);
        found.retain(|key| key.label.as_deref() == Some(&label));
        work.sight.labelled.insert(attempt, found);
        Ok(())
    }

    /// Whether the journal knows the key as another credential's.
    async fn owner(&self, rules: &Rules, work: &mut Work, sid: &KeySid) -> Result<(), Failure> {
        let known = self.ports.journal.key(sid).await;
        let known = known.map_err(|error| Failure::new(Fault::Local, &error.to_string()))?;
        let other = known.filter(|known| !known.gone && known.credential != rules.name);
        if let Some(other) = other.filter(|other| self.rules(&other.credential).is_some()) {
            work.sight.owners.insert(sid.clone(), other.credential);
        }
        Ok(())
    }

    /// Reads the new key's secret back from a place that has it. Somebody may have changed it there, so it is proven
    /// before it is written anywhere else (S4).
    async fn recall(&self, rules: &Rules, account: &Account, work: &mut Work, place: Place) -> Result<(), Failure> {
        let Some(rotation) = &work.claim.state.rotation else { return Ok(()) };
        let names = work.claim.state.names(&rules.members);
        let (Reading { seen, secret, staged }, at) = self.read(&place, &names, Some(rotation.attempt)).await?;
        if let Some(failure) = stale(&work.claim.state, &place, &seen.version) {
            return Err(failure);
        }
        let served = seen.content.sid() == rotation.successor.as_ref();
        let secret = if served { secret } else { staged };
        work.sight.places.insert(place.clone(), (seen, at));
        let Some((sid, secret)) = rotation.successor.clone().zip(secret) else {
            return Err(Failure::new(Fault::PairRefused, &format!("{place} has the new key without its secret")));
        };
        let probe = self.ports.issuer.probe(&rules.home, &sid, &secret, rules.verify_url.as_ref());
        match self.twilio(account, "probe", probe).await.answer()? {
            Verdict::Works => (work.held.secret, work.held.recalled) = (Some((rotation.attempt, secret)), true),
            Verdict::Refused => {
                let detail = format!("Twilio refuses the pair {sid} that {place} has");
                return Err(Failure::new(Fault::PairRefused, &detail));
            }
        }
        Ok(())
    }

    /// One call with the new key. A refusal is no failure: it is what is being waited for to end.
    async fn probe(&self, rules: &Rules, account: &Account, work: &mut Work) -> Result<(), Failure> {
        let successor = work.claim.state.rotation.as_ref().and_then(|rotation| rotation.successor.clone());
        let (Some(sid), Some((_, secret))) = (successor, &work.held.secret) else { return Ok(()) };
        if sid.is_auth_token() {
            let works = self.token_works(account, secret).await;
            work.held.tally.count(works == Ok(true), self.now().uptime);
            // Whatever was not answered is asked again; what can not be told is told to people.
            return works.err().filter(|failure| failure.fault == Fault::Refused).map_or(Ok(()), Err);
        }
        let probe = self.ports.issuer.probe(&rules.home, &sid, secret, rules.verify_url.as_ref());
        let outcome = self.twilio(account, "probe", probe).await.answer();
        if let Err(failure) = &outcome {
            tracing::info!(credential = %rules.name, key = %sid, %failure, "a trial of the new key was not answered");
        }
        let accepted = matches!(outcome, Ok(Verdict::Works));
        work.held.tally.count(accepted, self.now().uptime);
        Ok(())
    }
}

/// What the key that is being made shall be allowed.
fn wanted<'s>(state: &'s State, sid: &KeySid) -> Option<&'s Permissions> {
    let rotation = state.rotation.as_ref().filter(|rotation| rotation.successor.as_ref() == Some(sid));
    rotation.and_then(|rotation| rotation.permissions.as_ref())
}

/// The attempt whose pair may lie staged in a sink.
fn staged_attempt(state: &State) -> Option<AttemptId> {
    let flight = state.rotation.as_ref().filter(|rotation| rotation.phase == Phase::Publishing);
    let stray = state.strays.first().filter(|stray| stray.rotation.is_some());
    flight.map(|rotation| rotation.attempt).or_else(|| stray.map(|stray| stray.attempt))
}

/// A sink that shows less than it has shown before: a standby that lags behind, which is asked again.
fn stale(state: &State, place: &Place, version: &Version) -> Option<Failure> {
    let newer = drift::outdated(state, place, version)?;
    let detail = format!("{place} shows version {version}, and has had {newer}: a read that is out of date");
    Some(Failure::new(Fault::Conflict, &detail))
}

pub(super) fn at_workload(workload: &Workload, failure: Failure) -> Failure {
    Failure::new(failure.fault, &format!("{workload}: {}", failure.detail))
}

pub(super) fn at_place(place: &Place, failure: Failure) -> Failure {
    Failure::new(failure.fault, &format!("{place}: {}", failure.detail))
}
