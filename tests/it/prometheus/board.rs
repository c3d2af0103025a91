//! What the dashboard and the rules ask for is there, and what is there is asked for.

use super::{file, text};
use crate::support::prometheus::Prometheus;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What the daemon may not have before the watch on what is served has looked; a test of its own shows it there.
const WATCHED: [&str; 2] = ["rekeyd_served_pair_valid", "rekeyd_served_pair_checked_timestamp_seconds"];

/// Metrics that are not on the dashboard, and why.
const LEFT_OUT: [(&str, &str); 3] = [
    ("rekeyd_key_created_timestamp_seconds", "the age of the key is shown"),
    ("rekeyd_interval_seconds", "what the policy says does not change; the rules need it"),
    ("rekeyd_main_key_info", "the Main key is shown with its age; `rekeyd main-key` reads this"),
];

/// Labels that Prometheus puts on, and those of buckets.
const FOREIGN: [&str; 5] = ["job", "instance", "pod", "version", "le"];

/// The metrics that a daemon has, each with its labels; of a histogram its buckets.
fn metrics(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let labels = line.split('{').nth(1).and_then(|rest| rest.split("} ").next()).unwrap_or_default();
        // No value of a label has such a sign in it.
        let labels = labels.split("\",").filter_map(|pair| pair.split('=').next()).filter(|label| !label.is_empty());
        found.entry(name.to_owned()).or_default().extend(labels.map(str::to_owned));
    }
    for name in WATCHED {
        found.entry(name.to_owned()).or_default().extend(["credential".to_owned(), "sink".to_owned()]);
    }
    found
}

/// The metrics that an expression names, and all labels that it names.
fn named(expression: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = |text: &str| text.split(|c| !letter(c)).filter(|word| !word.is_empty()).map(str::to_owned).collect();
    let all: BTreeSet<String> = words(expression);
    let names = all.into_iter().filter(|word| word.starts_with("rekeyd_")).collect();
    let mut labels = BTreeSet::new();
    for selector in expression.split('{').skip(1).filter_map(|rest| rest.split('}').next()) {
        labels.extend(
            selector.split(',').filter_map(|pair| pair.split(['=', '!']).next()).map(|word| word.trim().to_owned()),
        );
    }
    for kept in ["by (", "without (", "ignoring ("] {
        for list in expression.split(kept).skip(1).filter_map(|rest| rest.split(')').next()) {
            labels.extend::<BTreeSet<String>>(words(list));
        }
    }
    (names, labels)
}

/// Fails if Prometheus does not understand an expression, or one names what is not there.
pub(super) async fn is_right(prometheus: &Prometheus, daemon: &str, alerts: &BTreeMap<String, String>) {
    let there = metrics(daemon);
    let board: Value = serde_json::from_str(&text("deploy/grafana/rekeyd.json")).unwrap();
    let panels = board["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let mut shown = BTreeSet::new();
    let mut asked = 0;
    for target in targets {
        let expression = target["expr"].as_str().unwrap();
        let query = expression.replace("$job", ".*").replace("$__rate_interval", "1m");
        let answer = prometheus.query(&query).await;
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let (names, mut labels) = named(expression);
        let legend = target["legendFormat"].as_str().unwrap();
        labels.extend(legend.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap().to_owned()));
        known(&there, &names, &labels, expression);
        let empty = answer["data"]["result"].as_array().is_some_and(Vec::is_empty);
        let may_be_empty =
            expression.contains("served_pair") || expression.contains(" > 0") || expression.contains("outcome!=");
        assert!(
            !empty || may_be_empty || ["rate(", "increase("].iter().any(|over| expression.contains(over)),
            "{query} answers nothing: {answer}"
        );
        shown.extend(names);
        asked += 1;
    }
    assert!(asked > 20, "{asked} questions were found in the dashboard");
    for (alert, rule) in alerts {
        let expression = rule.split("expr:").nth(1).unwrap().split("labels:\n").next().unwrap();
        let (names, labels) = named(expression);
        assert!(!names.is_empty(), "{alert}");
        known(&there, &names, &labels, alert);
    }
    let whole = |name: &String| {
        let name = ["_sum", "_count"].iter().find_map(|end| Some(format!("{}_bucket", name.strip_suffix(end)?)));
        name.filter(|name| there.contains_key(name))
    };
    let missing: Vec<_> = there
        .keys()
        .filter(|name| !shown.contains(*name) && !LEFT_OUT.iter().any(|(left, _)| left == name))
        .filter(|name| !whole(name).is_some_and(|buckets| shown.contains(&buckets)))
        .collect();
    assert!(missing.is_empty(), "neither on the dashboard nor left out with a reason: {missing:?}");
    for (name, why) in LEFT_OUT {
        assert!(there.contains_key(name) && !shown.contains(name), "{name} was left out because {why}");
    }
    assert!(file("deploy/grafana/rekeyd.json").exists());
}

fn known(
    there: &BTreeMap<String, BTreeSet<String>>,
    names: &BTreeSet<String>,
    labels: &BTreeSet<String>,
    where_from: &str,
) {
    let mut has: BTreeSet<&str> = FOREIGN.into();
    for name in names {
        let own = there.get(name).unwrap_or_else(|| panic!("no daemon has {name}: {where_from}"));
        has.extend(own.iter().map(String::as_str));
    }
    for label in labels {
        assert!(has.contains(label.as_str()), "none of {names:?} has the label {label}: {where_from}");
    }
}
