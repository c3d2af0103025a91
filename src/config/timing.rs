//! `[timing]` and `[limits]`: when things are looked at, and how much may happen at most.

use super::duration::{Bounds, DAY, HOUR, LONGEST, MINUTE, SECOND};
use super::reader::{Field, Table};
use crate::model::policy::{AccountDeletes, Limits, Timing};
use std::time::Duration;

/// How short durations may be. The safe floors hold wherever a key is of worth; the short ones let a sandbox show in a
/// minute what takes a month in earnest.
#[derive(Clone, Copy)]
pub(super) struct Floors {
    /// Whether `allow_short` is on.
    pub short: bool,
}

impl Floors {
    fn bounds(self, safe: Duration, short: Duration, floor: &'static str, such_as: &'static str) -> Bounds {
        let least = if self.short { short } else { safe };
        Bounds { least, most: LONGEST, floor, such_as, short: (!self.short).then_some(short) }
    }

    /// The distance between two rotations.
    pub(super) fn interval(self) -> Bounds {
        self.bounds(2 * HOUR, SECOND, "a rotation with its grace period must have an end before the next", "30d")
    }

    /// How long an old key lives on.
    pub(super) fn grace(self) -> Bounds {
        let floor = "consumers would not have the time to change over, nor Access Tokens to run out";
        self.bounds(HOUR, SECOND, floor, "24h")
    }

    /// How long Access Tokens live that a key signs: at most a day (Twilio docs, "Access Tokens").
    pub(super) fn tokens(self) -> Bounds {
        Bounds { most: DAY, ..self.bounds(SECOND, SECOND, "no token lives shorter", "24h") }
    }

    /// How long a new key must work before it is published.
    pub(super) fn verify_over(self) -> Bounds {
        let floor = "a key may be known to one Twilio server and not yet to the next";
        Bounds { most: 5 * MINUTE, ..self.bounds(5 * SECOND, Duration::ZERO, floor, "10s") }
    }

    /// How many calls in a row a new key must pass.
    pub(super) fn verify_successes(self) -> i128 {
        if self.short { 1 } else { 2 }
    }

    fn settle(self) -> Bounds {
        let floor = "a key whose creation was not answered may turn up late";
        // The journal remembers unanswered creates for a day.
        Bounds { most: DAY, ..self.bounds(5 * MINUTE, SECOND, floor, "15m") }
    }

    fn sweep(self) -> Bounds {
        self.bounds(MINUTE, SECOND, "each sweep lists all keys of each account", "15m")
    }

    fn reconcile(self) -> Bounds {
        self.bounds(15 * MINUTE, SECOND, "each look reads every place of every credential", "6h")
    }

    fn watch(self) -> Bounds {
        self.bounds(MINUTE, SECOND, "each look reads every place of every credential, and calls Twilio", "15m")
    }
}

/// `allow_short`, which all other durations depend on: only a sandbox on this machine may be hurried.
pub(super) fn floors(root: &Table<'_>, loopback: Option<bool>) -> Floors {
    let Some(timing) = root.field("timing").and_then(|field| field.table(TIMING)) else {
        return Floors { short: false };
    };
    let Some(field) = timing.field("allow_short") else { return Floors { short: false } };
    match (field.switch(), loopback) {
        (Some(true), Some(false)) => {
            let message = "the safety floors hold wherever a key is of worth; they fall only against a sandbox";
            field.clashes(message, "false, or true together with a loopback `twilio.base_url`");
            Floors { short: false }
        }
        (Some(true), _) => {
            field.doubt("durations under the safety floors are allowed: a sandbox only", "false for real keys");
            Floors { short: true }
        }
        // It can not be read: whether a duration is too short is not known, and not said.
        (None, _) => Floors { short: true },
        (Some(false), _) => Floors { short: false },
    }
}

/// What a `[timing]` table looks like.
const TIMING: &str = "a table `[timing]`";

/// `[timing]`; all of it may be left out.
pub(super) fn timing(root: &Table<'_>, floors: Floors) -> Option<Timing> {
    let usual = Timing {
        tick: 30 * SECOND,
        settle: 15 * MINUTE,
        sweep: 15 * MINUTE,
        reconcile: 6 * HOUR,
        watch: Some(15 * MINUTE),
    };
    let Some(field) = root.field("timing") else { return Some(usual) };
    let table = field.table(TIMING)?;
    let floor = "the journal is asked at each tick";
    let tick = Bounds { least: SECOND, most: 10 * MINUTE, floor, such_as: "30s", short: None };
    let tick = table.or("tick", usual.tick, |field| field.duration(tick));
    let settle = table.or("settle", usual.settle, |field| field.duration(floors.settle()));
    let sweep = table.or("sweep", usual.sweep, |field| field.duration(floors.sweep()));
    let reconcile = table.or("reconcile", usual.reconcile, |field| field.duration(floors.reconcile()));
    let watch = table.or("watch", usual.watch, |field| field.duration_or_off(floors.watch()));
    // Read by `floors`.
    table.field("allow_short");
    table.finish();
    Some(Timing { tick: tick?, settle: settle?, sweep: sweep?, reconcile: reconcile?, watch: watch? })
}

/// `[limits]`; all of it may be left out.
pub(super) fn limits(root: &Table<'_>) -> Option<Limits> {
    let usual = Limits {
        creates_per_hour: 3,
        deletes_per_hour: 1,
        account_deletes_per_hour: AccountDeletes::Auto,
        abandons_per_hour: 3,
        account_calls: 32,
        sink_calls: 32,
    };
    let Some(field) = root.field("limits") else { return Some(usual) };
    let table = field.table("a table `[limits]`")?;
    let creates = table.or("creates_per_hour", usual.creates_per_hour, |field| field.number(1..=1_000));
    let deletes = table.or("deletes_per_hour", usual.deletes_per_hour, |field| field.number(1..=1_000));
    let account_deletes = table.or("account_deletes_per_hour", AccountDeletes::Auto, account_deletes);
    let abandons = table.maybe("abandons_per_hour", |field| field.number(1..=100_000));
    let account_calls = table.or("account_calls", usual.account_calls, |field| field.number(1..=100));
    let sink_calls = table.or("sink_calls", usual.sink_calls, |field| field.number(1..=1_000));
    table.finish();
    Some(Limits {
        creates_per_hour: creates?,
        deletes_per_hour: deletes?,
        account_deletes_per_hour: account_deletes?,
        abandons_per_hour: abandons?.or(creates)?,
        account_calls: account_calls?,
        sink_calls: sink_calls?,
    })
}

fn account_deletes(field: Field<'_>) -> Option<AccountDeletes> {
    const ACCEPTS: &str = "\"auto\", or a whole number from 1 to 100000";
    if field.value().is_integer() {
        return field.number(1..=100_000).map(AccountDeletes::AtMost);
    }
    if !field.value().is_str() {
        return field.not_a("`\"auto\"` or a whole number", ACCEPTS);
    }
    let text = field.text(ACCEPTS)?;
    if text != "auto" {
        field.wrong("there is no such choice", ACCEPTS);
    }
    (text == "auto").then_some(AccountDeletes::Auto)
}
