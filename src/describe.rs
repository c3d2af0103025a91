//! Events as a sentence for people: in the log, in `history`, in the demo.

use crate::model::event::Event;
use crate::model::key::KeySid;
use crate::model::reason::Cause;

/// One line.
pub fn describe(event: &Event) -> String {
    match event {
        Event::Adopted { sid, .. } => format!("adopted {sid}, made by hand; it will be replaced"),
        Event::Requested { by } => format!("{by} asked for a rotation"),
        Event::Intended(intent) => format!("a new key is wanted: {}", intent.reason.words()),
        Event::CreateRefused { failure } => format!("Twilio made no key: {failure}"),
        Event::Created { sid, .. } => format!("Twilio made {sid}"),
        Event::Unsettled => "the create was not answered; its key may still turn up".into(),
        Event::Ambiguous { sids } => {
            format!("can not be told to be ours although labelled so; left alone: {}", list(sids))
        }
        Event::Verified { successes, refusals } => {
            format!("the new key works: {successes} calls in a row accepted, {refusals} not before that")
        }
        Event::Publishing { place, base } => format!("writing {place} over version {base}"),
        Event::Written { place, version } => format!("{place} holds the new pair, version {version}"),
        Event::Rebased { place, base } => {
            format!("{place} will be replaced at version {base}, which is not the one it had")
        }
        Event::Widened { bases } => format!("{} added", places(bases.len())),
        Event::Served { versions } => {
            format!("{} read back; what reads its pair only once is restarted next", places(versions.len()))
        }
        Event::Restarting { workloads, .. } => {
            let workloads: Vec<_> = workloads.keys().map(ToString::to_string).collect();
            format!("to be restarted, for they read their pair only once: {}", workloads.join(", "))
        }
        Event::Restarted { workload } => format!("{workload} was restarted"),
        Event::RolledOut { workload, .. } => format!("{workload} has only new pods"),
        Event::Published { versions } => {
            format!("{} read back, and what is served works", places(versions.len()))
        }
        Event::Condemned { sid, evidence } => {
            let other = evidence.places.values().filter(|(served, _)| served.is_some()).count();
            let (none, proven) = (evidence.places.len() - other, evidence.proven);
            let none = if none > 0 { format!(", {none} with none") } else { String::new() };
            format!("deleting {sid}: just read, {} with another key ({proven} proven to work){none}", places(other))
        }
        Event::Revoked { sid } => format!("{sid} is gone"),
        Event::Completed => "rotation completed".into(),
        Event::Abandoned { sid, cause } => format!("{sid} is given up: {}", cause_words(*cause)),
        Event::Found { sid, .. } => format!("{sid} was found: made by an attempt that had lost it"),
        Event::Fencing { versions, .. } => {
            format!("fencing {}, so that no delayed write can succeed", places(versions.len()))
        }
        Event::Fenced { place, from, to, .. } => format!("{place} went from version {from} to {to}, unchanged"),
        Event::Revived { .. } => "a sink has the new pair after all; the rotation goes on".into(),
        Event::Removed { sid } => format!("the stray {sid} is gone"),
        Event::Missing { sid } => format!("{sid} does not exist any more: somebody else has deleted it"),
        Event::Failed { step, failure } => format!("{} failed: {failure}", step.word()),
        Event::Recovered => "what had failed works again".into(),
        Event::Halted { halt, detail } => format!("halted ({}): {detail}", halt.word()),
        Event::Resumed { by, overwrite, forget } => resumed(by, *overwrite, forget.len()),
    }
}

fn resumed(by: &str, overwrite: bool, forgotten: usize) -> String {
    let overwrite = if overwrite { ", allowing what the sinks hold to be replaced" } else { "" };
    let forget = if forgotten > 0 { format!(", forgetting {}", places(forgotten)) } else { String::new() };
    format!("{by} resumed it{overwrite}{forget}")
}

fn cause_words(cause: Cause) -> &'static str {
    match cause {
        Cause::SecretLost => "its secret was lost in a restart",
        Cause::AnswerLost => "the answer with its secret was lost",
        Cause::NotAccepted => "Twilio did not accept it in time",
        Cause::SinksDown => "the sinks could not be written in time",
        Cause::Deleted => "somebody deleted it",
        Cause::Permissions => "it may do something else than was asked for",
        Cause::Resurfaced => "it was believed gone and is not",
    }
}

fn places(count: usize) -> String {
    if count == 1 { "1 place".to_owned() } else { format!("{count} places") }
}

fn list(sids: &[KeySid]) -> String {
    sids.iter().map(KeySid::as_str).collect::<Vec<_>>().join(", ")
}
