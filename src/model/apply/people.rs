//! What operators say.

use super::super::names::Place;
use super::super::reason::Halt;
use super::super::rotation::{Requested, State};
use super::super::time::Moment;
use std::collections::BTreeSet;

pub(super) fn requested(state: &mut State, by: &str, at: Moment) -> Option<()> {
    state.requested = Some(Requested { by: by.to_owned(), at });
    Some(())
}

pub(super) fn resumed(
    state: &mut State,
    by: &str,
    overwrite: bool,
    forget: &BTreeSet<Place>,
    at: Moment,
) -> Option<()> {
    let refused = state.halted.take().is_some_and(|halted| halted.halt == Halt::PairRefused);
    if let Some(rotation) = &mut state.rotation {
        rotation.spoiled |= refused && overwrite;
        super::restarts::resumed(rotation);
    }
    state.overwrite = overwrite;
    for place in forget {
        state.lingering.remove(place);
        if let Some(current) = &mut state.current {
            current.places.remove(place);
        }
        if let Some(rotation) = &mut state.rotation {
            rotation.targets.remove(place);
            super::confirm_if_written(rotation, at);
        }
        for stray in &mut state.strays {
            stray.fence.iter_mut().for_each(|fence| drop(fence.remove(place)));
            stray.rotation.iter_mut().for_each(|rotation| drop(rotation.targets.remove(place)));
        }
    }
    // Both mean that the pair now served shall be replaced, and an operator has just said so.
    let lost = state.rotation.as_ref().is_some_and(|rotation| rotation.lost);
    if overwrite || lost || state.current.as_ref().is_some_and(|current| current.gone) {
        state.requested = Some(Requested { by: by.to_owned(), at });
    }
    Some(())
}
