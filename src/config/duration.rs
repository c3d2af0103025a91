//! Durations as people write them: `30d`, `1d12h`, `90m`. A day is 24 hours; months and years have no fixed length.

use super::reader::Field;
use jiff::{Span, SpanRelativeTo};
use std::fmt;
use std::time::Duration;
use toml::de::DeValue;

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3_600);
pub(super) const DAY: Duration = Duration::from_secs(86_400);
/// No duration of a policy is longer: ten years.
pub(super) const LONGEST: Duration = Duration::from_secs(3_650 * 86_400);

/// What a duration may be, and why.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    /// The shortest, inclusive.
    pub least: Duration,
    /// The longest, inclusive.
    pub most: Duration,
    /// What a shorter one would hurt.
    pub floor: &'static str,
    /// A good value, as text.
    pub such_as: &'static str,
    /// The shortest that `allow_short` would permit, if that is less.
    pub short: Option<Duration>,
}

impl Bounds {
    fn accepts(&self) -> String {
        let (least, most, such_as) = (Short(self.least), Short(self.most), self.such_as);
        let plain = format!("a duration from {least} to {most}, such as \"{such_as}\"");
        match self.short {
            Some(short) => format!("{plain} (against a sandbox from {}, see `timing.allow_short`)", Short(short)),
            None => plain,
        }
    }
}

impl Field<'_> {
    /// A duration within bounds.
    pub(super) fn duration(&self, bounds: Bounds) -> Option<Duration> {
        self.within(bounds, bounds.accepts())
    }

    /// A duration within bounds, or none at all.
    pub(super) fn duration_or_off(&self, bounds: Bounds) -> Option<Option<Duration>> {
        if self.value().as_str() == Some("off") {
            return Some(None);
        }
        self.within(bounds, format!("{}, or \"off\"", bounds.accepts())).map(Some)
    }

    fn within(&self, bounds: Bounds, accepts: String) -> Option<Duration> {
        if matches!(self.value(), DeValue::Integer(_) | DeValue::Float(_)) {
            self.wrong("a duration needs a unit, and quotes", accepts);
            return None;
        }
        let duration = self.parse(&accepts, parse)?;
        let told = Short(duration);
        if duration < bounds.least {
            self.wrong(format!("{told} is under the floor of {}: {}", Short(bounds.least), bounds.floor), accepts);
        } else if duration > bounds.most {
            self.wrong(format!("{told} is over the limit of {}", Short(bounds.most)), accepts);
        } else {
            return Some(duration);
        }
        None
    }
}

/// Reads a duration; the error says what is wrong with it.
fn parse(text: &str) -> Result<Duration, &'static str> {
    let span: Span = text.parse().map_err(|_| match text.contains(['.', ',']) {
        true => "this is not a duration: only hours, minutes and seconds may have a fraction",
        false => "this is not a duration: a number and a unit (d, h, m, s) are needed",
    })?;
    let length = span.to_duration(SpanRelativeTo::days_are_24_hours());
    let length = length.map_err(|_| "months and years have no fixed length: count in days")?;
    Duration::try_from(length).map_err(|_| "a duration can not be negative")
}

/// A duration in its shortest form, such as `1d12h`.
pub(super) struct Short(pub(super) Duration);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_zero() {
            return f.write_str("0s");
        }
        let mut left = self.0.as_secs();
        for (unit, length) in [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)] {
            if left >= length {
                write!(f, "{}{unit}", left / length)?;
                left %= length;
            }
        }
        match self.0.subsec_nanos() {
            0 => Ok(()),
            nanos if nanos % 1_000_000 == 0 => write!(f, "{}ms", nanos / 1_000_000),
            nanos => write!(f, "{nanos}ns"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        let read = [
            ("30d", 30 * DAY),
            ("1d12h", 36 * HOUR),
            ("1w", 7 * DAY),
            ("90m", 90 * MINUTE),
            ("10s", 10 * SECOND),
            ("1.5h", 90 * MINUTE),
            ("500ms", Duration::from_millis(500)),
            ("2 hours, 5 minutes", 125 * MINUTE),
            ("P7D", 7 * DAY),
            ("0s", Duration::ZERO),
        ];
        for (text, length) in read {
            assert_eq!(parse(text), Ok(length), "{text}");
        }
    }

    #[test]
    fn what_has_no_fixed_length_or_no_unit_is_refused() {
        for text in ["", "30", "10M", "d", "1mo", "1y", "-5m", "5m ago", "soon", "99999999d", "1h1h"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_shortest_form_reads_back_as_the_same() {
        for seconds in [0, 1, 59, 60, 61, 3_599, 3_600, 86_399, 86_400, 90_061, 315_360_000] {
            let duration = Duration::from_secs(seconds);
            assert_eq!(parse(&Short(duration).to_string()), Ok(duration), "{}", Short(duration));
        }
        assert_eq!(Short(36 * HOUR).to_string(), "1d12h");
        assert_eq!(Short(Duration::from_millis(1_500)).to_string(), "1s500ms");
    }
}
