//! One pass: what operators asked for, accounts whose keys are to be listed, credentials that are due. Its work is in
//! proportion to what is due, not to what exists.

use super::account::Account;
use super::advance::{Held, Lost, Work};
use super::{AT_ONCE, Engine};
use crate::decide::{Sight, backoff, plan};
use crate::model::event::Event;
use crate::model::home::Home;
use crate::model::names::CredentialName;
use crate::model::policy::{Rules, StateUrl};
use crate::model::reason::Breaker;
use crate::model::rotation::State;
use crate::model::time::{Moment, later};
use crate::ports::{Ask, Enrolled, JournalError, Page, PassOver, Request, Row};
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// How far the wall clock may run away from the monotonic one between two passes before every wake is set anew.
const JUMP: Duration = Duration::from_secs(60);
/// The longest time between two notes of the running time (protocol, rule 10).
const CHECKPOINT: Duration = Duration::from_secs(30);

/// How often a process that shares its journal shows what others made of its credentials.
const AFRESH: Duration = Duration::from_secs(5 * 60);

/// How many credentials are read at once.
const MANY: usize = 500;

/// What a pass remembers for the next one.
#[derive(Default)]
pub(super) struct Memory {
    last: Option<(Moment, Duration)>,
    noted: Option<Duration>,
    shown: Option<Duration>,
    breakers: Option<Vec<(Home, Breaker)>>,
}

impl Engine {
    /// At the start, and after the wall clock has jumped: every credential of the policy gets a row and a time to wake.
    pub(super) async fn enrol(&self) -> Result<(), JournalError> {
        let now = self.now();
        let mut wakes = Vec::with_capacity(self.policy.credentials.len());
        let mut new: BTreeSet<&CredentialName> = self.policy.credentials.keys().collect();
        let known = |row: &Row| {
            if let Some(rules) = self.rules(&row.name) {
                new.remove(&row.name);
                wakes.push(self.enrolled(rules, &row.state, row.wake, row.seq, now));
            }
        };
        self.each_row("", known).await?;
        for rules in new.into_iter().filter_map(|name| self.rules(name)) {
            wakes.push(self.enrolled(rules, &State::default(), None, 0, now));
        }
        self.ports.journal.enrol(wakes).await
    }

    /// Looks at each row whose name begins so. A page at a time: all states at once are most of what a daemon with many
    /// credentials ever has in memory.
    pub(super) async fn each_row(&self, prefix: &str, mut look: impl FnMut(&Row)) -> Result<(), JournalError> {
        let mut last = None::<CredentialName>;
        loop {
            let page = Page { prefix, after: last.as_ref(), limit: MANY };
            let rows = self.ports.journal.rows_after(page).await?;
            rows.iter().for_each(&mut look);
            match rows.last().filter(|_| rows.len() == MANY) {
                Some(row) => last = Some(row.name.clone()),
                None => return Ok(()),
            }
        }
    }

    fn enrolled(&self, rules: &Rules, state: &State, wake: Option<Timestamp>, seq: u64, now: Moment) -> Enrolled {
        let wake = self.first_wake(rules, state, wake, now);
        if let Some(account) = self.accounts.get(&rules.home) {
            account.note(&rules.name, state);
        }
        self.ports.observer.released(&rules.name, state, wake, "starting");
        Enrolled { name: rules.name.clone(), home: rules.home.clone(), wake, seq }
    }

    /// Work in flight at once; what is at rest when its rotation is due, or when its turn comes to be looked at.
    fn first_wake(&self, rules: &Rules, state: &State, before: Option<Timestamp>, now: Moment) -> Option<Timestamp> {
        let settling = state.unsettled.iter().any(|create| !create.ambiguous);
        if state.rotation.is_some() || !state.strays.is_empty() || state.trouble.is_some() || settling {
            return Some(now.wall);
        }
        if state.halted.is_some() {
            return None;
        }
        let turn = later(now.wall, backoff::spread(rules.name.as_str(), self.policy.timing.reconcile));
        // Its turn comes no later than it would have without a restart, however often there is one.
        let turn = before.map_or(turn, |before| before.min(turn));
        Some(plan::due(state, rules, now.wall).at.min(turn))
    }

    /// Makes one pass; answers when to look again for what another process may let go, if there is something.
    pub(super) async fn pass(self: &Arc<Self>, memory: &mut Memory) -> Option<Duration> {
        let now = self.now();
        let running = self.ports.clock.running();
        let beat = u64::try_from(running.as_millis()).unwrap_or(u64::MAX);
        self.beat.store(beat, Ordering::Relaxed);
        if let Err(error) = self.housekeeping(memory, now, running).await {
            tracing::error!(%error, "the journal can not be used; nothing is changed until it can");
            return None;
        }
        memory.last = Some((now, running));
        if self.draining.load(Ordering::Relaxed) {
            return None;
        }
        self.begun.store(true, Ordering::Relaxed);
        self.sweep_what_is_due(now);
        self.show_afresh(memory, running);
        match self.advance_what_is_due(now).await {
            Ok(again) => {
                self.ports.observer.passed();
                again
            }
            Err(error) => {
                tracing::error!(%error, "the journal can not be read");
                None
            }
        }
    }

    /// Of a journal on a server: what another process has written is told by this one's metrics, too.
    fn show_afresh(self: &Arc<Self>, memory: &mut Memory, running: Duration) {
        let shown = *memory.shown.get_or_insert(running);
        if matches!(self.policy.state, StateUrl::Sqlite(_)) || running.saturating_sub(shown) < AFRESH {
            return;
        }
        memory.shown = Some(running);
        let engine = self.clone();
        self.tasks.spawn(async move {
            let busy = || engine.busy.lock().unwrap_or_else(PoisonError::into_inner);
            // What a task of ours works on, that task tells itself.
            let show = |row: &Row| {
                if engine.rules(&row.name).is_some() && !busy().contains(&row.name) {
                    engine.ports.observer.seen(&row.name, &row.state);
                }
            };
            let read = tokio::select! {
                biased;
                () = engine.stop.cancelled() => return,
                read = engine.each_row("", show) => read,
            };
            if let Err(error) = read {
                tracing::error!(%error, "the journal can not be read");
            }
        });
    }

    async fn housekeeping(&self, memory: &mut Memory, now: Moment, running: Duration) -> Result<(), JournalError> {
        if memory.last.is_some_and(|(last, then)| jumped(&last, &now, running.saturating_sub(then))) {
            tracing::warn!("the wall clock has jumped; looking at every credential's due time again");
            self.enrol().await?;
        }
        let every = self.policy.timing.tick.min(CHECKPOINT);
        if memory.noted.is_none_or(|noted| running.saturating_sub(noted) >= every) {
            self.ports.journal.checkpoint(running).await?;
            memory.noted = Some(running);
        }
        let open: Vec<_> = self.accounts.iter().flat_map(|account| account.open()).collect();
        if memory.breakers.as_ref() != Some(&open) {
            self.ports.journal.note_breakers(open.clone()).await?;
            memory.breakers = Some(open);
        }
        for (number, request) in self.ports.journal.requests().await? {
            self.answer(number, request).await?;
        }
        Ok(())
    }

    /// A request is answered by an entry in the credential's journal; while a task works on it, it has to wait.
    async fn answer(&self, number: i64, request: Request) -> Result<(), JournalError> {
        let name = request.credential.clone();
        let account = self.rules(&name).and_then(|rules| self.accounts.get(&rules.home));
        let Some(account) = account else {
            tracing::warn!(credential = %name, "a request for a credential that is not in the policy was dropped");
            return self.ports.journal.answered(number).await;
        };
        if !self.take(&name) {
            return Ok(());
        }
        let answered = self.answer_taken(account, number, request).await;
        self.give_back(&name);
        match answered {
            Ok(()) | Err(Lost::Claim | Lost::Overspent(_)) => Ok(()),
            Err(Lost::Journal(error)) => Err(error),
        }
    }

    async fn answer_taken(&self, account: &Account, number: i64, request: Request) -> Result<(), Lost> {
        let journal = &self.ports.journal;
        let Some(claim) = journal.claim(&request.credential).await? else { return Ok(()) };
        let mut work = Work { claim, held: Held::default(), sight: Sight::default() };
        // Another process may have answered it between our look and our claim.
        if journal.requests().await?.iter().any(|(waiting, _)| *waiting == number) {
            let event = match request.ask {
                Ask::Rotate => Event::Requested { by: request.by },
                Ask::Resume { overwrite, forget } => Event::Resumed { by: request.by, overwrite, forget },
            };
            work = self.append(account, work, event).await?;
            journal.answered(number).await?;
        }
        self.release(work, Some(Duration::ZERO), "an operator asked").await
    }

    fn sweep_what_is_due(self: &Arc<Self>, now: Moment) {
        for account in self.accounts.iter() {
            if account.begin_sweep(now.uptime) {
                let (engine, home) = (self.clone(), account.home.clone());
                self.tasks.spawn(async move { engine.sweep(&home).await });
            }
        }
    }

    async fn advance_what_is_due(self: &Arc<Self>, now: Moment) -> Result<Option<Duration>, JournalError> {
        let names = self.busy();
        let free = AT_ONCE.saturating_sub(names.len());
        let untouched = self.accounts.iter().filter(|account| account.untouched());
        let but = PassOver { names, homes: untouched.map(|account| account.home.clone()).collect() };
        let due = self.ports.journal.take_due(now.wall, free, &but).await?;
        self.full.store(due.claims.len() >= free, Ordering::Relaxed);
        if free == 0 {
            // All of them may have ended while the journal was asked, with nobody left to say so.
            self.fill_up();
        }
        for claim in due.claims {
            if self.take(&claim.name) {
                let engine = self.clone();
                self.tasks.spawn(async move { engine.advance(claim).await });
            }
        }
        Ok(due.again)
    }
}

fn jumped(last: &Moment, now: &Moment, ran: Duration) -> bool {
    let expected = later(last.wall, ran);
    now.wall.duration_since(expected).unsigned_abs() > JUMP
}
