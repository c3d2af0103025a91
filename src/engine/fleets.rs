//! What the engine knows of each fleet: how its members are, and who of them was let through.
//!
//! The journal is asked, because other processes work on the same fleet; not more often than once a second. Between two looks
//! counts who was let through by this process: so many at a time are so many for each process.

use super::Engine;
use crate::decide::{plan, wave};
use crate::model::fleet::{Fleet, FleetName};
use crate::model::names::CredentialName;
use crate::model::policy::{Policy, Rules};
use crate::model::rotation::State;
use crate::model::time::Uptime;
use crate::ports::{JournalError, Row};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::Mutex;

/// How old the journal's answer may be.
const LATELY: Duration = Duration::from_secs(1);

/// The fleets of the policy.
pub(super) struct Fleets(BTreeMap<FleetName, (Fleet, Mutex<Line>)>);

/// How long after its time somebody who waits is still expected.
const LATE: Duration = Duration::from_secs(30);

/// What was seen of the members, and who of them asked.
#[derive(Default)]
struct Line {
    seen: Option<(Uptime, Vec<wave::Member>)>,
    asked: Asked,
}

/// Who was let through, and who waits; of those until when they are expected to ask again.
#[derive(Default)]
struct Asked {
    begun: BTreeSet<CredentialName>,
    waits: BTreeMap<CredentialName, Uptime>,
}

impl wave::Line for Asked {
    fn has_begun(&self, name: &CredentialName) -> bool {
        self.begun.contains(name)
    }

    fn waits(&self, name: &CredentialName) -> bool {
        self.waits.contains_key(name)
    }
}

impl Fleets {
    pub(super) fn new(policy: &Policy) -> Self {
        let line = |fleet: &Fleet| (fleet.name.clone(), (fleet.clone(), Mutex::default()));
        Self(policy.fleets.iter().map(line).collect())
    }
}

impl Engine {
    /// Why a credential has to wait for others of its fleet, if it has to.
    pub(super) async fn turn(&self, rules: &Rules, state: &State) -> Result<Option<wave::Pause>, JournalError> {
        let known = rules.member.as_ref().and_then(|member| self.fleets.0.get(&member.fleet));
        let Some((fleet, line)) = known.filter(|_| wave::is_ordered(plan::due(state, rules, self.now().wall).reason))
        else {
            return Ok(None);
        };
        let mut line = line.lock().await;
        let line = &mut *line;
        let members = match line.seen.take() {
            Some((at, members)) if self.local().since(at) < LATELY => (at, members),
            _ => (self.local(), self.members(fleet).await?),
        };
        let (_, members) = line.seen.insert(members);
        let now = self.local();
        line.asked.waits.retain(|_, until| *until > now);
        let turn = wave::turn(&fleet.name, &fleet.waves, members, &rules.name, &line.asked, self.now().wall);
        Ok(match turn {
            Ok(()) => {
                line.asked.waits.remove(&rules.name);
                line.asked.begun.insert(rules.name.clone());
                None
            }
            Err(pause) => {
                line.asked.waits.insert(rules.name.clone(), now.plus(pause.0.saturating_add(LATE)));
                Some(pause)
            }
        })
    }

    async fn members(&self, fleet: &Fleet) -> Result<Vec<wave::Member>, JournalError> {
        let (mut members, now) = (Vec::new(), self.now());
        let of_it = |rules: &&Rules| rules.member.as_ref().is_some_and(|member| member.fleet == fleet.name);
        let take_in = |row: &Row| {
            members.extend(self.rules(&row.name).filter(of_it).map(|rules| wave::Member::of(rules, &row.state, now)));
        };
        self.each_row(&fleet.prefix(), take_in).await?;
        Ok(members)
    }

    /// A credential was given back: what it did is in the journal now. That of the others is not read again for it; a fleet has
    /// a thousand.
    pub(super) async fn turn_ended(&self, name: &CredentialName, state: &State) {
        let Some(rules) = self.rules(name) else { return };
        let known = rules.member.as_ref().and_then(|member| self.fleets.0.get(&member.fleet));
        let Some((_, line)) = known else { return };
        let mut line = line.lock().await;
        line.asked.begun.remove(name);
        let members = line.seen.iter_mut().flat_map(|(_, members)| members);
        for member in members.filter(|member| member.name == *name) {
            *member = wave::Member::of(rules, state, self.now());
        }
    }
}
