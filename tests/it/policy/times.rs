//! Both sides of each edge of time, and of the limits.

use super::edges::{CREDENTIAL, edge, refuse, rules, with};
use super::{MINIMAL, accepted};
use rekeyd::model::policy::Cadence;
use std::time::Duration;

/// The same against a sandbox on this machine.
fn sandboxed(table: &str, lines: &str) -> String {
    with(table, lines).replacen("[twilio]", "[twilio]\nbase_url = \"http://127.0.0.1:9700\"", 1)
}

#[test]
fn durations() {
    let bounds = [
        ("[timing]", "tick", ("1s", "999ms"), ("10m", "10m1s")),
        ("[timing]", "settle", ("5m", "299s"), ("24h", "24h1s")),
        ("[timing]", "sweep", ("1m", "59s"), ("3650d", "3650d1s")),
        ("[timing]", "reconcile", ("15m", "899s"), ("3650d", "3650d1s")),
        ("[timing]", "watch", ("1m", "59s"), ("3650d", "3650d1s")),
        (CREDENTIAL, "rotate_every", ("24h1s", "24h"), ("3650d", "3650d1s")),
        (CREDENTIAL, "grace", ("1h", "59m59s"), ("29d23h", "30d")),
    ];
    for (table, key, (shortest, shorter), (longest, longer)) in bounds {
        let [shortest, shorter, longest, longer] =
            [shortest, shorter, longest, longer].map(|text| format!("\"{text}\""));
        edge(
            table,
            key,
            &[&shortest, &longest],
            &[&shorter, &longer, "\"\"", "5", "\"-5m\"", "\"5\"", "\"1mo\"", "\"1y\"", "true"],
        );
    }
}

#[test]
fn the_interval_has_a_floor_and_grace_ends_before_it() {
    let text = |every: &str, grace: &str| with(CREDENTIAL, &format!("rotate_every = \"{every}\"\ngrace = \"{grace}\""));
    accepted(&text("2h", "1h"));
    accepted(&text("2h", "1h59m59s"));
    refuse(&text("1h59m59s", "1h"), "rotate_every", "1h59m59s");
    refuse(&text("2h", "2h"), "grace", "2h");
    refuse(&text("2h", "120m1s"), "grace", "120m1s");
}

#[test]
fn in_a_sandbox_the_floors_are_low_and_not_gone() {
    let bounds = [
        ("[timing]", "settle", "1s", "999ms"),
        ("[timing]", "sweep", "1s", "999ms"),
        ("[timing]", "reconcile", "1s", "999ms"),
        ("[timing]", "watch", "1s", "999ms"),
        (CREDENTIAL, "grace", "1s", "999ms"),
        (CREDENTIAL, "verify", "{ successes = 1, over = \"0s\" }", "{ successes = 0 }"),
    ];
    let short = |text: String| text.replacen("[[credentials]]", "[timing]\nallow_short = true\n\n[[credentials]]", 1);
    for (table, key, good, bad) in bounds {
        let quoted = |value: &str| if value.starts_with('{') { value.to_owned() } else { format!("\"{value}\"") };
        let text = |value: &str| match table {
            "[timing]" => sandboxed(table, &format!("allow_short = true\n{key} = {}", quoted(value))),
            _ => short(sandboxed(table, &format!("{key} = {}", quoted(value)))),
        };
        accepted(&text(good));
        refuse(&text(bad), key, bad);
    }
    let times = |every: &str, grace: &str| {
        short(sandboxed(CREDENTIAL, &format!("rotate_every = \"{every}\"\ngrace = \"{grace}\"")))
    };
    accepted(&times("1001ms", "1s"));
    refuse(&times("1s", "1s"), "grace", "1s");
    refuse(&times("999ms", "1s"), "rotate_every", "999ms");
}

#[test]
fn short_durations_need_a_sandbox() {
    accepted(&sandboxed("[timing]", "allow_short = true"));
    accepted(&with("[timing]", "allow_short = false"));
    refuse(&with("[timing]", "allow_short = true"), "allow_short", "true");
    refuse(&with("[timing]", "allow_short = \"yes\"\nsettle = \"1s\""), "allow_short", "yes");
    refuse(&sandboxed("[timing]", "allow_short = false\nsettle = \"1s\""), "settle", "1s");
}

#[test]
fn numbers() {
    let bounds = [
        ("creates_per_hour", "1000"),
        ("deletes_per_hour", "1000"),
        ("account_deletes_per_hour", "100000"),
        ("abandons_per_hour", "100000"),
        ("account_calls", "100"),
        ("sink_calls", "1000"),
    ];
    for (key, most) in bounds {
        let more = format!("{}1", &most[..most.len() - 1]);
        edge(
            "[limits]",
            key,
            &["1", most, "0x1"],
            &["0", &more, "-1", "1.0", "\"1\"", "99999999999999999999999999999999999999999"],
        );
    }
    edge("[limits]", "account_deletes_per_hour", &["\"auto\""], &["\"Auto\"", "\"none\"", "[]"]);
    assert_eq!(accepted(&with("[limits]", "creates_per_hour = 7")).policy.limits.abandons_per_hour, 7);
    assert_eq!(
        accepted(&with("[limits]", "creates_per_hour = 7\nabandons_per_hour = 2")).policy.limits.abandons_per_hour,
        2
    );
}

#[test]
fn verification() {
    let good = ["{ successes = 2 }", "{ successes = 100 }", "{ over = \"5s\" }", "{ over = \"5m\" }", "{}"];
    edge(
        CREDENTIAL,
        "verify",
        &good,
        &["{ successes = 1 }", "{ successes = 101 }", "{ over = \"4999ms\" }", "{ over = \"301s\" }", "{ tries = 3 }"],
    );
    let partly = rules(
        &with("[defaults]", "verify = { successes = 5, over = \"1m\" }")
            .replace("publish_to", "verify = { over = \"2m\" }\npublish_to"),
    );
    assert_eq!((partly.verify.successes, partly.verify.over.as_secs()), (5, 120));
}

#[test]
fn schedules() {
    let good = [
        "{ cron = \"0 3 * * *\", timezone = \"UTC\" }",
        "{ cron = \"0 3 * * SUN\", timezone = \"europe/berlin\" }",
        "{ cron = \"@weekly\" }",
        "{ cron = \"0 0 29 2 *\" }",
        "{ cron = \"0 0 L * *\" }",
        "{ cron = \"30 2 1,15 * *\" }",
    ];
    let bad = [
        "{ cron = \"0 3 * * * *\" }",
        "{ cron = \"0 3 * *\" }",
        "{ cron = \"\" }",
        "{ cron = \"0 24 * * *\" }",
        "{ cron = \"0 3 31 4,6 *\" }",
        "{ cron = \"0 */1 * * *\" }",
        "{ cron = \"0,30 3 * * *\" }",
        "{ cron = \"@hourly\" }",
        "{ timezone = \"UTC\" }",
        "{ cron = \"0 3 * * SUN\", timezone = \"\" }",
        "{ cron = \"0 3 * * SUN\", timezone = \"CEST\" }",
        "\"@daily\"",
    ];
    let text = |schedule: &str| with(CREDENTIAL, &format!("grace = \"1h\"\nschedule = {schedule}"));
    for schedule in good {
        accepted(&text(schedule));
    }
    for schedule in bad {
        refuse(&text(schedule), "schedule", schedule);
    }
}

#[test]
fn the_shortest_distance_of_a_schedule_counts_and_not_the_usual_one() {
    let text = |cron: &str, grace: &str| {
        with(
            CREDENTIAL,
            &format!("grace = \"{grace}\"\nschedule = {{ cron = \"{cron}\", timezone = \"Europe/Berlin\" }}"),
        )
    };
    // The night in which the clocks go forward is 23 hours after the night before.
    for minute in ["0", "17", "59"] {
        accepted(&text(&format!("{minute} 3 * * *"), "22h59m59s"));
        refuse(&text(&format!("{minute} 3 * * *"), "23h"), "grace", "23h");
    }
    // In Sydney that night is in October.
    let sydney = |grace| text("0 3 * * *", grace).replace("Europe/Berlin", "Australia/Sydney");
    accepted(&sydney("22h59m59s"));
    refuse(&sydney("23h"), "grace", "23h");
    accepted(&text("0 3,5 * * *", "1h59m"));
    refuse(&text("0 3,5 * * *", "2h"), "grace", "2h");
    refuse(&text("0 3 1,2 * *", "24h"), "grace", "24h");
    accepted(&text("0 3 1,3 * *", "24h"));
}

#[test]
fn a_credential_takes_its_schedule_whole_from_one_place() {
    let (weekly, monthly) = ("schedule = { cron = \"0 3 * * SUN\" }", "rotate_every = \"30d\"");
    let inherited = rules(&with("[defaults]", weekly));
    assert!(matches!(inherited.cadence, Cadence::Cron(_)));
    let own = rules(&with("[defaults]", weekly).replace("publish_to", &format!("{monthly}\npublish_to")));
    assert!(matches!(own.cadence, Cadence::Every(_)));
}

#[test]
fn what_a_table_leaves_out_has_its_default() {
    let (minimal, empty) =
        (accepted(MINIMAL).policy, accepted(&format!("{MINIMAL}\n[timing]\n[limits]\n[defaults]\n")).policy);
    assert_eq!(format!("{:?}{:?}", empty.timing, empty.limits), format!("{:?}{:?}", minimal.timing, minimal.limits));
    assert_eq!(empty.credentials, minimal.credentials);
}

#[test]
fn what_a_credential_leaves_out_comes_from_the_defaults() {
    let lines = r#"rotate_every = "60d"
grace = "48h"
verify = { successes = 4, over = "1m" }
members = { rekeyd = "stamp" }"#;
    let rules = rules(&with("[defaults]", lines));
    assert_eq!(rules.cadence, Cadence::Every(Duration::from_secs(60 * 86_400)));
    assert_eq!(rules.grace, Duration::from_secs(48 * 3_600));
    assert_eq!((rules.verify.successes, rules.verify.over), (4, Duration::from_secs(60)));
    assert_eq!(rules.members.stamp, "stamp");
}

#[test]
fn an_old_key_lives_on_for_as_long_as_access_tokens_do_that_were_signed_with_it() {
    let grace = |lines: &str| rules(&with(CREDENTIAL, lines)).grace;
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    assert_eq!(grace("grace = \"1h\""), hours(1));
    assert_eq!(grace("grace = \"1h\"\nsigns_access_tokens = \"24h\""), hours(24));
    assert_eq!(grace("grace = \"23h59m59s\"\nsigns_access_tokens = \"24h\""), hours(24));
    assert_eq!(grace("grace = \"25h\"\nsigns_access_tokens = \"24h\""), hours(25));
    assert_eq!(grace("signs_access_tokens = \"1s\""), hours(24), "the default is longer");
    edge(CREDENTIAL, "signs_access_tokens", &["\"1s\"", "\"24h\""], &["\"0s\"", "\"24h1s\"", "24", "\"\""]);
    let every = |every: &str| format!("rotate_every = \"{every}\"\ngrace = \"1h\"\nsigns_access_tokens = \"12h\"");
    accepted(&with(CREDENTIAL, &every("12h1s")));
    refuse(&with(CREDENTIAL, &every("12h")), "signs_access_tokens", "12h");
}
