//! What is special about auth tokens: an account has two at most, a request that ends one does not name it, and no list
//! shows any. So a request that may still be on its way is waited for before the next one is sent.

use super::{Step, View, wait};
use crate::model::event::Event;
use crate::model::key::KeySid;
use crate::model::rotation::Rotation;
use crate::model::time::Moment;
use std::time::Duration;

/// A create that nobody answered, once its token can be made no more: whatever is there then is removed.
pub(super) fn lost(view: &View<'_>) -> Option<Step> {
    let create = view.state.unsettled.iter().find(|create| create.auth_token)?;
    let sid = KeySid::of_token(create.attempt);
    let found = Step::Record(Event::Found { attempt: create.attempt, sid });
    Some(arrived(view, &create.intended).err().unwrap_or(found))
}

/// A promotion or a deletion that was answered may have been sent before, too, and not been answered then.
pub(super) fn ended(view: &View<'_>) -> Result<(), Step> {
    view.state.token_ended.as_ref().map_or(Ok(()), |start| arrived(view, start))
}

/// Whether the new token works, as far as the places serve it: there is no room for another then, and what it waits for is its
/// promotion.
pub(super) fn lives(view: &View<'_>, rotation: &Rotation) -> Result<bool, Step> {
    let Some(sid) = rotation.successor.as_ref().filter(|_| rotation.auth_token) else { return Ok(false) };
    view.fetched(sid).map(|facts| facts.is_some()).ok_or_else(|| Step::Fetch(sid.clone()))
}

/// Nothing that was sent then can still arrive: so say all clocks, Twilio's among them.
fn arrived(view: &View<'_>, start: &Moment) -> Result<(), Step> {
    let settle = view.timing.settle;
    let pause =
        |left: Duration| wait(left.min(view.timing.sweep), "a request about auth tokens may still be on its way");
    let left = view.now.missing(&Moment { twilio: None, ..*start }, settle);
    if !left.is_zero() {
        return Err(pause(left));
    }
    // Also brings Twilio's date.
    let current = view.state.current.as_ref().map(|current| &current.sid);
    if let Some(sid) = current.filter(|sid| view.fetched(sid).is_none()) {
        return Err(Step::Fetch(sid.clone()));
    }
    let left = view.now.missing(start, settle);
    if left.is_zero() { Ok(()) } else { Err(pause(left)) }
}
