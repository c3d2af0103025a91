//! `rotate_every` and `schedule`: when a credential is rotated.

use super::duration::{Bounds, LONGEST, Short};
use super::reader::{Field, Table};
use super::suggest::did_you_mean;
use crate::model::policy::{Cadence, Cron};
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::time::Duration;

const SCHEDULE: &str = "{ cron = \"0 3 * * SUN\", timezone = \"Europe/Berlin\" }";
const CRON: &str = "minute, hour, day of the month, month and day of the week, such as \"0 3 * * SUN\"";
const ZONE: &str = "the name of a time zone in the IANA database, such as \"Europe/Berlin\" or \"UTC\"";
/// How many runs of a cron expression are looked at to find the shortest distance between two: more than a year of
/// daily runs, so that each change of the clocks is among them.
const RUNS: usize = 400;

/// What was found out so far about schedules: many credentials share a few.
#[derive(Default)]
pub(super) struct Calendar {
    zones: RefCell<HashMap<String, Result<TimeZone, String>>>,
    /// The names of all zones there are, once one was asked for that is not among them.
    names: OnceCell<Vec<String>>,
    /// The shortest distance between two runs, by expression and zone; none if it never runs.
    distances: RefCell<HashMap<Run, Option<Duration>>>,
}

/// A cron expression and the name of a zone.
type Run = (String, Option<String>);

/// A cadence, and the field that says so.
pub(super) type Told<'t> = (Cadence, Field<'t>);

/// Reads `rotate_every` or `schedule`: `Some(None)` if there is neither, `None` if something is wrong.
pub(super) fn cadence<'t>(table: &'t Table<'_>, bounds: Bounds, calendar: &Calendar) -> Option<Option<Told<'t>>> {
    match (table.field("rotate_every"), table.field("schedule")) {
        (None, None) => Some(None),
        (Some(field), None) => field.duration(bounds).map(|every| Some((Cadence::Every(every), field))),
        (None, Some(field)) => {
            let cron = schedule(field, bounds, calendar)?;
            Some(Some((Cadence::Cron(Box::new(cron)), field)))
        }
        (Some(_), Some(second)) => {
            second.wrong("there is a `rotate_every` already: it can not be known which is right", "one of the two");
            None
        }
    }
}

fn schedule(field: Field<'_>, bounds: Bounds, calendar: &Calendar) -> Option<Cron> {
    let table = field.table(SCHEDULE)?;
    let pattern = table.need("cron", CRON, |field| field.parse(CRON, pattern).map(|pattern| (pattern, field)));
    let zone = table.or("timezone", TimeZone::UTC, |field| field.parse(ZONE, |text| calendar.zone(text)));
    table.finish();
    let (pattern, field) = pattern?;
    // Whether it ever runs does not depend on the zone, and is told even if that is wrong.
    let Some(shortest) = calendar.shortest(&pattern, zone.as_ref().unwrap_or(&TimeZone::UTC)) else {
        field.wrong("this never happens: no such day is in any year", CRON);
        return None;
    };
    let zone = zone?;
    if shortest < bounds.least {
        let (told, least, floor) = (Short(shortest), Short(bounds.least), bounds.floor);
        let message = format!("two runs are only {told} apart, under the floor of {least}: {floor}");
        field.clashes(message, format!("runs at least {least} apart"));
        return None;
    }
    if shortest > bounds.most {
        field.wrong("two runs are more than ten years apart", format!("runs at most {} apart", Short(LONGEST)));
        return None;
    }
    Some(Cron { pattern, zone, shortest })
}

fn pattern(text: &str) -> Result<croner::Cron, &'static str> {
    match text.split_whitespace().count() {
        6 | 7 => return Err("there are more than five fields: seconds and years are not used here"),
        5 => (),
        _ if text.trim_start().starts_with('@') => (),
        _ => return Err("a cron expression has five fields"),
    }
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    parser.parse(text).map_err(|_| "this is not a cron expression: a field is out of range, or not understood")
}

impl Calendar {
    fn zone(&self, text: &str) -> Result<TimeZone, String> {
        let read = || TimeZone::get(text).map_err(|_| self.no_such_zone(text));
        self.zones.borrow_mut().entry(text.to_owned()).or_insert_with(read).clone()
    }

    fn no_such_zone(&self, text: &str) -> String {
        let all = || jiff::tz::db().available().map(|name| name.to_string()).collect();
        let names = self.names.get_or_init(all).iter().map(String::as_str);
        format!("there is no such time zone{}", did_you_mean(text, names))
    }

    /// The shortest distance between two of the next runs; none if it never runs.
    fn shortest(&self, pattern: &croner::Cron, zone: &TimeZone) -> Option<Duration> {
        let key = (on_the_hour(pattern.as_str()), zone.iana_name().map(str::to_owned));
        if let Some(known) = self.distances.borrow().get(&key) {
            return *known;
        }
        let shortest = key.0.parse().ok().and_then(|pattern: croner::Cron| shortest(&pattern, zone));
        self.distances.borrow_mut().insert(key, shortest);
        shortest
    }
}

/// The expression with a plain minute set to zero. Which minute of the hour it is changes no distance, except where the
/// clocks change, and there the full hour has the shortest: expressions that differ in nothing else share one search.
fn on_the_hour(pattern: &str) -> String {
    match pattern.split_once(' ') {
        Some((minute, rest)) if minute.bytes().all(|byte| byte.is_ascii_digit()) => format!("0 {rest}"),
        _ => pattern.to_owned(),
    }
}

/// Looked for from a fixed day on, 2025-03-01: whether a policy is accepted must not depend on the day it is read.
fn shortest(pattern: &croner::Cron, zone: &TimeZone) -> Option<Duration> {
    const START: Timestamp = Timestamp::constant(1_740_787_200, 0);
    let runs = pattern.iter_after(START.to_zoned(zone.clone())).take(RUNS).map(|run| run.timestamp());
    let mut last = None;
    let mut shortest = None;
    for run in runs {
        let distance = last.map(|last| Duration::try_from(run.duration_since(last)).unwrap_or(Duration::ZERO));
        shortest = shortest.into_iter().chain(distance).min();
        last = Some(run);
    }
    // An expression that runs only once in all years to come has no distance, and never comes too early.
    last.map(|_| shortest.unwrap_or(LONGEST))
}
