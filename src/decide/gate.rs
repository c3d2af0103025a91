//! What may stand in the way of a create or a delete, and can be asked without reading a sink: breakers, clocks, limits,
//! holds.

use super::breaker::clocks_disagree;
use super::{Step, View, wait};
use crate::model::key::KeySid;
use crate::model::reason::Breaker;
use crate::model::rule::Rule;
use std::time::Duration;

/// What stands in the way, and how soon to ask again.
pub(super) struct Bar {
    pause: Duration,
    /// In words.
    pub(super) why: String,
}

impl From<Bar> for Step {
    fn from(bar: Bar) -> Self {
        wait(bar.pause, bar.why)
    }
}

/// How soon an open breaker, or a limit, is asked about again; a round figure.
pub(super) const PAUSE: Duration = Duration::from_secs(60);

fn bar<T>(view: &View<'_>, why: impl Into<String>) -> Result<T, Bar> {
    Err(Bar { pause: view.timing.sweep.min(PAUSE), why: why.into() })
}

/// Creates and deletes pass only while nothing is wrong with the account or the clocks.
pub(super) fn gate(view: &View<'_>) -> Result<(), Bar> {
    clocks(view)?;
    match view.weather.breakers.first() {
        Some(breaker) => bar(view, open(*breaker)),
        None => Ok(()),
    }
}

/// Nothing that is measured by clocks begins or ends while they disagree.
pub(super) fn clocks(view: &View<'_>) -> Result<(), Bar> {
    if clocks_disagree(&view.now) && Rule::Clocks.holds() {
        bar(view, "the wall clock and Twilio's clock disagree")
    } else {
        Ok(())
    }
}

/// The Main key is needed, but nothing is created or deleted with it.
pub(super) fn main_key(view: &View<'_>) -> Result<(), Bar> {
    let refused = view.weather.breakers.contains(&Breaker::MainKeyRefused);
    if refused { bar(view, open(Breaker::MainKeyRefused)) } else { Ok(()) }
}

fn open(breaker: Breaker) -> String {
    format!("breaker open: {}", breaker.word())
}

/// What can be known of a delete before the sinks are read: breakers, clocks, holds and limits.
pub(super) fn may_delete(view: &View<'_>, sid: &KeySid) -> Result<(), Bar> {
    gate(view)?;
    let held = view.weather.held;
    if !held.is_zero() {
        let why = "deletes are held after a journal was restored".to_owned();
        return Err(Bar { pause: held.min(view.timing.sweep), why });
    }
    match spent(view, sid) {
        Some(why) => Err(Bar { pause: PAUSE, why }),
        None => Ok(()),
    }
}

/// The limit that leaves no room for another delete, if one does (S12).
fn spent(view: &View<'_>, sid: &KeySid) -> Option<String> {
    let mine = view.state.spent.deletes_within_hour(sid, view.now.uptime);
    let limit = view.limits.deletes_per_hour as usize;
    let (budget, used) = view.weather.deletes;
    if mine >= limit {
        Some(format!("limit: {limit} deletes per credential and hour"))
    } else if used >= budget {
        Some(format!("limit: {budget} deletes per account and hour"))
    } else {
        None
    }
}
