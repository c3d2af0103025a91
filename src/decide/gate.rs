//! What may stand in the way of a create or a delete, and can be asked without reading a sink: breakers, clocks, limits,
//! holds.

use super::breaker::clocks_disagree;
use super::{Step, View, wait};
use crate::model::key::KeySid;
use crate::model::reason::Breaker;
use std::time::Duration;

/// How soon an open breaker is asked about again.
const GATE_PAUSE: Duration = Duration::from_secs(60);

/// Creates and deletes pass only while nothing is wrong with the account or the clocks.
pub(super) fn gate(view: &View<'_>) -> Result<(), Step> {
    clocks(view)?;
    let pause = view.timing.sweep.min(GATE_PAUSE);
    match view.weather.breakers.first() {
        Some(breaker) => Err(wait(pause, format!("breaker open: {}", breaker.word()))),
        None => Ok(()),
    }
}

/// Nothing that is measured by clocks begins or ends while they disagree.
pub(super) fn clocks(view: &View<'_>) -> Result<(), Step> {
    let pause = view.timing.sweep.min(GATE_PAUSE);
    let step = || wait(pause, "the wall clock and Twilio's clock disagree");
    if clocks_disagree(&view.now) { Err(step()) } else { Ok(()) }
}

/// The Main key is needed, but nothing is created or deleted with it.
pub(super) fn main_key(view: &View<'_>) -> Result<(), Step> {
    let refused = view.weather.breakers.contains(&Breaker::MainKeyRefused);
    let pause = view.timing.sweep.min(GATE_PAUSE);
    let step = || wait(pause, format!("breaker open: {}", Breaker::MainKeyRefused.word()));
    if refused { Err(step()) } else { Ok(()) }
}

/// What can be known before the sinks are read: breakers, holds and limits.
pub(super) fn may_delete(view: &View<'_>, sid: &KeySid) -> Result<(), Step> {
    gate(view)?;
    if !view.weather.held.is_zero() {
        return Err(wait(view.weather.held.min(view.timing.sweep), "deletes are held after a journal was restored"));
    }
    spent(view, sid).map_or(Ok(()), |limit| Err(wait(BUDGET_PAUSE, limit)))
}

/// The limit that leaves no room for another delete, if one does (S12).
pub(super) fn spent(view: &View<'_>, sid: &KeySid) -> Option<String> {
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

/// How long until one of the hour's deletes is forgotten; a round figure, it is asked again.
pub(super) const BUDGET_PAUSE: Duration = Duration::from_secs(60);
