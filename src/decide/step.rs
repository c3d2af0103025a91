//! What to do next for one credential. The whole protocol hangs from this function; each phase has its own below.

use super::gate::main_key;
use super::ownership::{Ownership, ownership};
use super::{ACCEPTANCE, Step, Tally, View, backoff, halt, publish, rest, revoke, rollout, stray, wait};
use crate::model::event::Event;
use crate::model::fault::Fault;
use crate::model::key::KeySid;
use crate::model::permission::{Granted, same};
use crate::model::policy::Verify;
use crate::model::reason::{Cause, Halt, StepName};
use crate::model::rotation::{Phase, Rotation};
use crate::model::rule::Rule;
use crate::model::time::Uptime;
use crate::ports::Standing;
use std::time::Duration;

/// Decides one step. Pure: the same view gives the same step.
pub fn step(view: &View<'_>) -> Step {
    if publish::held_too_long(view) {
        return Step::Drop;
    }
    let decided = held(view).unwrap_or_else(|| match &view.state.rotation {
        None => at_rest(view),
        Some(rotation) => match rotation.phase {
            Phase::Issuing => issuing(view, rotation),
            Phase::Verifying => verifying(view, rotation),
            Phase::Publishing => publish::publishing(view, rotation),
            Phase::Confirming => publish::confirming(view, rotation),
            // A rollout may take days, and strays do not wait for it.
            Phase::Restarting => {
                let stray = stray::step(view).filter(|step| !matches!(step, Step::Wait { .. }));
                stray.unwrap_or_else(|| rollout::restarting(view, rotation))
            }
            Phase::Grace | Phase::Revoking => stray::step(view).unwrap_or_else(|| revoke::step(view, rotation)),
        },
    });
    // Whoever comes as far as waiting has got every answer it needed: what had failed works again. Not so behind an open
    // breaker, where nothing was asked.
    let waits = matches!(decided, Step::Wait { .. }) && view.weather.breakers.is_empty();
    if waits && view.state.trouble.is_some() && held(view).is_none() { Step::Record(Event::Recovered) } else { decided }
}

/// A stray goes first; but while it may not go yet, a key that is dead is not left in service.
fn at_rest(view: &View<'_>) -> Step {
    let gone = view.state.current.as_ref().is_some_and(|current| current.gone);
    match stray::step(view) {
        Some(Step::Wait { .. }) if gone && view.state.strays.len() == 1 => rest::step(view),
        Some(step) => step,
        None => rest::step(view),
    }
}

/// What stops everything: a halt, an account that is out of reach, a failure that is too young to try again.
fn held(view: &View<'_>) -> Option<Step> {
    let state = view.state;
    if let Some(halted) = &state.halted {
        return Some(Step::Wait { wait: None, why: format!("halted: {}", halted.detail) });
    }
    if let Some(home) = state.home.as_ref().filter(|home| **home != view.rules.home) {
        let detail = format!("its keys belong to {home}, and the policy says {}", view.rules.home);
        return Some(halt(Halt::AccountChanged, detail));
    }
    if state.has_tokens().is_some_and(|tokens| tokens != view.rules.kind.is_token()) {
        return Some(halt(Halt::KindChanged, "auth tokens and keys can not take each other's place"));
    }
    match view.weather.standing {
        Standing::Active => {}
        Standing::Suspended => return Some(wait(view.timing.sweep, "the account is suspended")),
        Standing::Closed => return Some(Step::Wait { wait: None, why: "the account is closed".into() }),
    }
    let trouble = state.trouble.as_ref()?;
    let fault = trouble.failure.fault;
    if trouble.step == StepName::Issue && matches!(fault, Fault::Quota | Fault::Forbidden | Fault::Refused) {
        return Some(halt(Halt::CreateRefused, trouble.failure.to_string()));
    }
    let refused_for = trouble.at.uptime.since(trouble.first.uptime);
    let trial = matches!(trouble.step, StepName::Prove | StepName::Recall);
    if trouble.step == StepName::Probe && fault == Fault::Refused {
        return Some(halt(Halt::TokensUntold, trouble.failure.to_string()));
    }
    if trial && fault == Fault::PairRefused && refused_for > ACCEPTANCE {
        return Some(halt(Halt::PairRefused, trouble.failure.to_string()));
    }
    let delay = backoff::delay(trouble.count, &format!("{}{}", view.rules.name, view.seq));
    let left = delay.saturating_sub(view.now.uptime.since(trouble.at.uptime));
    (!left.is_zero()).then(|| wait(left, trouble.to_string()))
}

/// A create of ours was not answered, or a crash lost the answer: its secret is gone for good, so all that is left
/// to know is whether there is a key to remove.
fn issuing(view: &View<'_>, rotation: &Rotation) -> Step {
    if rotation.auth_token {
        return Step::Record(Event::Unsettled);
    }
    if let Err(bar) = main_key(view) {
        return bar.into();
    }
    let Some(keys) = view.sight.labelled.get(&rotation.attempt) else {
        return Step::Find(rotation.attempt);
    };
    match ownership(keys, &rotation.started, view.timing.settle) {
        Ownership::None => Step::Record(Event::Unsettled),
        Ownership::Ours(sid) => Step::Record(Event::Abandoned { sid, cause: Cause::AnswerLost }),
        Ownership::Unclear(sids) => Step::Record(Event::Ambiguous { sids }),
    }
}

/// The new key has to be accepted often enough in a row, for long enough, before any consumer may see it.
fn verifying(view: &View<'_>, rotation: &Rotation) -> Step {
    let Some(sid) = rotation.successor.clone() else {
        return halt(Halt::Guard, "verifying without a key");
    };
    if rotation.lost {
        return Step::Record(Event::Abandoned { sid, cause: Cause::Deleted });
    }
    if !view.holds(rotation.attempt) {
        return Step::Record(Event::Abandoned { sid, cause: Cause::SecretLost });
    }
    let (tally, rules, now) = (view.hand.tally, &view.rules.verify, view.now.uptime);
    let unpermitted = unpermitted(view, rotation, &sid);
    if (passed(&tally, rules) && unpermitted.is_none()) || !Rule::VerifyFirst.holds() {
        return Step::Record(Event::Verified { successes: tally.successes, refusals: tally.misses });
    }
    if now.since(rotation.since.uptime) > ACCEPTANCE + rules.over {
        return Step::Record(Event::Abandoned { sid, cause: Cause::NotAccepted });
    }
    if let Some(step) = unpermitted {
        return step;
    }
    let next = next_probe(&tally, rules);
    let left = next.since(now);
    if left.is_zero() { Step::Probe } else { wait(left, "the new key is being verified") }
}

/// What a Restricted key may do is read back, and must be what was asked for: neither more nor less. The step that is to be
/// taken while that is not so.
fn unpermitted(view: &View<'_>, rotation: &Rotation, sid: &KeySid) -> Option<Step> {
    let wanted = rotation.permissions.as_ref()?;
    let wrong = || Some(Step::Record(Event::Abandoned { sid: sid.clone(), cause: Cause::Permissions }));
    match view.granted(sid) {
        // Not known everywhere yet.
        Some((Granted::Gone, age)) if age < UNKNOWN => Some(wait(UNKNOWN - age, "the new key is not known yet")),
        None | Some((Granted::Gone, _)) => Some(Step::Permissions(sid.clone())),
        Some((Granted::Everything | Granted::Unknown(_), _)) => wrong(),
        Some((Granted::Only(found), _)) => {
            if same(wanted, found) {
                None
            } else {
                wrong()
            }
        }
    }
}

/// How long to wait before a key that Twilio does not know is asked for again.
const UNKNOWN: Duration = Duration::from_secs(2);

fn passed(tally: &Tally, rules: &Verify) -> bool {
    let row = tally.first.zip(tally.last).map(|(first, last)| last.since(first));
    tally.successes >= rules.successes && row.is_some_and(|row| row >= rules.over)
}

/// Successes are spread evenly over the period; after a refusal the pauses grow from half a second to half a minute.
fn next_probe(tally: &Tally, rules: &Verify) -> Uptime {
    let Some(last) = tally.last else { return Uptime(0) };
    match tally.first {
        Some(first) => {
            let gaps = rules.successes.saturating_sub(1).max(1);
            let due = first.plus(rules.over * tally.successes.min(gaps) / gaps);
            // A key that was accepted late in its row still has to fill the period.
            due.max(if tally.successes >= rules.successes { first.plus(rules.over) } else { last })
        }
        None => {
            let pause = Duration::from_millis(500).mul_f64(1.5_f64.powi(tally.misses.saturating_sub(1).min(12) as i32));
            last.plus(pause.min(Duration::from_secs(30)))
        }
    }
}
