//! Properties of the reader: it never panics, whatever the file holds, and what it accepts fulfils the rules.

use super::MINIMAL;
use proptest::prelude::*;
use proptest::sample::select;
use rekeyd::config::{self, Loaded};
use rekeyd::model::document::Members;
use rekeyd::model::key::{KeySid, LABEL_LIMIT, Label};
use rekeyd::model::names::Place;
use rekeyd::model::policy::{
    Cadence, KubernetesPolicy, Policy, Rules, SecretSource, SecretsManagerPolicy, SinkPolicy, StateUrl, VaultPolicy,
};
use std::collections::BTreeSet;
use std::time::Duration;

const EXAMPLE: &str = include_str!("../../../config/policy.example.toml");
const HOUR: Duration = Duration::from_secs(3_600);
const TEN_YEARS: Duration = Duration::from_secs(3_650 * 86_400);

/// Reads it, shows everything that was said of it, and checks what was accepted.
fn read(text: &str) -> Option<Policy> {
    match config::parse(text, "policy.toml") {
        Ok(Loaded { policy, warnings }) => {
            warnings.iter().for_each(|warning| assert!(!warning.render(true).is_empty()));
            obeys_the_rules(&policy);
            Some(policy)
        }
        Err(errors) => {
            assert!(!errors.list().is_empty(), "refused without a word:\n{text}");
            assert!(
                errors.to_string().ends_with(if errors.list().len() == 1 { "error" } else { "errors" })
                    || errors.list().len() > 100
            );
            None
        }
    }
}

/// The rules of a policy, said once more and independently of the reader.
pub(crate) fn obeys_the_rules(policy: &Policy) {
    let url = &policy.twilio.access.base_url;
    let host = url.host_str().unwrap();
    let in_127 = host.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.octets()[0] == 127);
    let local = in_127 || ["localhost", "[::1]"].contains(&host);
    assert!(local || (url.scheme() == "https" && host.starts_with("api.") && host.ends_with(".twilio.com")), "{url}");
    assert!(url.path() == "/" && url.query().is_none() && url.username().is_empty() && url.password().is_none());
    let StateUrl::Sqlite(journal) = &policy.state else { panic!("these policies name a file") };
    assert!(journal.is_absolute());
    match &policy.twilio.access.admin.secret {
        SecretSource::File(path) => assert!(path.is_absolute()),
        SecretSource::Env(name) => assert!(!name.is_empty()),
        SecretSource::Admin(path) => assert!(path.is_absolute()),
        SecretSource::Stored(place) => {
            let mounted = matches!(policy.sinks[&place.sink], SinkPolicy::Directory { .. } | SinkPolicy::Kubernetes(_));
            assert!(!mounted);
        }
    }
    policy.credentials.values().for_each(|rules| times_are_safe(rules, local));
    nothing_is_shared(policy);
    let (timing, limits) = (&policy.timing, &policy.limits);
    assert!((1..=600).contains(&timing.tick.as_secs()));
    let floors = if local { [1, 1, 1, 1] } else { [300, 60, 900, 60] };
    let times = [timing.settle, timing.sweep, timing.reconcile, timing.watch.unwrap_or(TEN_YEARS)];
    assert!(times.iter().zip(floors).all(|(time, floor)| time.as_secs() >= floor && *time <= TEN_YEARS));
    assert!(limits.creates_per_hour >= 1 && limits.deletes_per_hour >= 1 && limits.abandons_per_hour >= 1);
    assert!((1..=100).contains(&limits.account_calls) && limits.sink_calls >= 1);
    assert!(policy.delete_budgets().values().all(|budget| *budget >= 1));
}

fn times_are_safe(rules: &Rules, local: bool) {
    let interval = rules.cadence.shortest();
    assert!(rules.grace < interval && interval <= TEN_YEARS, "{}", rules.name);
    assert!(local || (rules.grace >= HOUR && interval >= 2 * HOUR), "{}", rules.name);
    assert!(local || (rules.verify.successes >= 2 && rules.verify.over.as_secs() >= 5));
    assert!(rules.verify.over.as_secs() <= 300 && rules.verify.successes >= 1);
    if let Cadence::Cron(cron) = &rules.cadence {
        let start = jiff::Timestamp::UNIX_EPOCH.to_zoned(cron.zone.clone());
        assert!(cron.pattern.find_next_occurrence(&start, false).is_ok());
    }
}

fn nothing_is_shared(policy: &Policy) {
    let (mut places, mut adopted) = (BTreeSet::new(), roots(policy));
    for (name, rules) in &policy.credentials {
        assert_eq!(name, &rules.name);
        assert!(Label::length(&policy.instance, name) <= LABEL_LIMIT);
        let Members { account_sid, api_key_sid, api_key_secret, stamp } = &rules.members;
        assert_eq!(BTreeSet::from([account_sid, api_key_sid, api_key_secret, stamp]).len(), 4);
        assert!(rules.adopt.as_ref().is_none_or(|sid| adopted.insert(sid.clone())));
        assert!(!rules.places.is_empty());
        assert_eq!(
            policy.twilio.access_to(&rules.home).unwrap().region,
            rules.home.region,
            "keys belong to one region"
        );
        for place in &rules.places {
            assert!(places.insert((store(&policy.sinks[&place.sink]), place.path.clone())), "{place} twice");
        }
        let staged = |place: &Place| matches!(policy.sinks[&place.sink], SinkPolicy::SecretsManager(_));
        assert!(rules.places.is_sorted_by_key(|place| !staged(place)));
    }
}

fn store(sink: &SinkPolicy) -> String {
    match sink {
        SinkPolicy::Vault(VaultPolicy { address, mount, namespace, .. }) => format!("{address}{mount}{namespace:?}"),
        SinkPolicy::SecretsManager(SecretsManagerPolicy { region, endpoint_url, profile, assume_role, .. }) => {
            let role = assume_role.as_ref().map(|role| role.arn.split('/').next());
            format!("{region}{endpoint_url:?}{:?}", role.map_or(profile.as_deref(), |account| account))
        }
        SinkPolicy::Kubernetes(KubernetesPolicy { namespace, server }) => {
            format!("{namespace}{:?}", server.as_ref().map(|server| &server.address))
        }
        SinkPolicy::Directory { path } => path.display().to_string(),
    }
}

/// A change to a text: where (as a share of it), how much is taken out, and what is put there.
type Change = (f64, usize, String);

fn changed(text: &str, changes: &[Change]) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    for (share, taken, put) in changes {
        let at = (share * letters.len() as f64) as usize;
        let end = (at + taken).min(letters.len());
        letters.splice(at..end, put.chars());
    }
    letters.into_iter().collect()
}

fn change() -> impl Strategy<Value = Change> {
    const SNIPPETS: &[&str] = &[
        "",
        "\"",
        "'",
        "\"\"\"",
        "[",
        "]",
        "{",
        "}",
        "=",
        ".",
        ",",
        "#",
        "\n",
        "\r\n",
        "\0",
        "\\",
        "\\u0041",
        "é",
        "🔑",
        "1",
        "-1",
        "0",
        "true",
        "nan",
        "1979-05-27",
        "[[credentials]]\n",
        "[sinks.x]\n",
        "kind = \"vault\"\n",
        "grace = \"1h\"\n",
        "schedule = { cron = \"* * * * *\" }\n",
        "s",
        "d",
        "hvs.AAAAAAAAAAAAAAAAAAAA",
        "://a@b?c",
        "-----BEGIN PRIVATE KEY-----",
        "name = \"a\"\n",
        "token = ",
        "\t",
        "\u{feff}",
        "\u{2028}",
    ];
    (0.0..1.0, select(vec![0_usize, 0, 1, 2, 5, 40]), select(SNIPPETS).prop_map(str::to_owned))
}

/// The lines of one kind that a random policy may have: one of the good ones mostly, so that whole files are accepted
/// often enough.
fn line(good: &'static [&'static str], bad: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    prop_oneof![12 => select(good), 1 => select(bad)]
}

const NAMES: [&[&str]; 2] = [&["a", "b", "c-1", "billing-sms"], &["", "A", "a-name-that-is-too-long-for-a-label"]];
const CADENCES: [&[&str]; 2] = [
    &[
        "",
        "rotate_every = \"3h\"",
        "rotate_every = \"30d\"",
        "schedule = { cron = \"0 3 * * *\", timezone = \"Europe/Berlin\" }",
        "schedule = { cron = \"0 0 29 2 *\" }",
    ],
    &[
        "rotate_every = \"10s\"",
        "rotate_every = \"9999d\"",
        "schedule = { cron = \"0 0 31 2 *\" }",
        "schedule = { cron = \"*/7 * * * *\" }",
    ],
];
const GRACES: [&[&str]; 2] = [
    &["", "grace = \"1h\"", "grace = \"2h\"", "grace = \"23h\""],
    &["grace = \"5s\"", "grace = \"3h\"", "grace = \"40d\""],
];
const ADOPTIONS: [&[&str]; 2] = [
    &["", "adopt = \"SK00000000000000000000000000000002\"", "adopt = \"SK00000000000000000000000000000003\""],
    &["adopt = \"SK00000000000000000000000000000001\""],
];
const CHECKS: [&[&str]; 2] =
    [&["", "verify = { successes = 2 }"], &["verify = { successes = 1, over = \"0s\" }", "members = {}\nmembers = {}"]];
const MEMBERS: [&[&str]; 2] = [&["", "members = { rekeyd = \"stamp\" }"], &["members = { rekeyd = \"apiKeySid\" }"]];
const PLACES: [&[&str]; 2] = [
    &[
        "{ sink = \"files\", name = \"a\" }",
        "{ sink = \"files\", name = \"b\" }",
        "{ sink = \"aws\", name = \"a\" }",
        "{ sink = \"vault\", path = \"a/b\" }",
        "{ sink = \"vault\", path = \"c\" }",
    ],
    &[
        "{ sink = \"copy\", name = \"a\" }",
        "{ sink = \"vault\", path = \"/c/\" }",
        "{ sink = \"vault\", path = \"../c\" }",
        "{ sink = \"nowhere\", name = \"a\" }",
    ],
];
const ADDRESSES: [&[&str]; 2] = [
    &["", "base_url = \"http://127.0.0.1:9700\"", "base_url = \"https://api.dublin.ie1.twilio.com\""],
    &["base_url = \"http://10.0.0.1\""],
];
const TIMINGS: [&[&str]; 2] = [
    &["", "settle = \"5m\"", "tick = \"1s\"\nsweep = \"1m\"\nwatch = \"off\""],
    &["settle = \"1s\"", "allow_short = true", "allow_short = true\nsettle = \"1s\"\nreconcile = \"1s\""],
];
const LIMITS: [&[&str]; 2] =
    [&["", "creates_per_hour = 1", "account_deletes_per_hour = 1"], &["abandons_per_hour = 0", "account_calls = 1000"]];
const SINKS: &str = r#"[sinks.copy]
kind = "directory"
path = "/var/lib/rekeyd/secrets/"

[sinks.aws]
kind = "aws-secrets-manager"
region = "eu-west-1"

[sinks.vault]
kind = "vault"
address = "https://v"
mount = "kv"
auth = { method = "token", token_env = "T" }
"#;

fn credential() -> impl Strategy<Value = String> {
    let [name, cadence, grace, adopt] = [NAMES, CADENCES, GRACES, ADOPTIONS].map(|[good, bad]| line(good, bad));
    let [check, members, place] = [CHECKS, MEMBERS, PLACES].map(|[good, bad]| line(good, bad));
    let places = prop::collection::btree_set(place, 1..3);
    let parts = (name, cadence, grace, adopt, check, members, places);
    parts.prop_map(|(name, cadence, grace, adopt, check, members, places)| {
        let places = places.into_iter().collect::<Vec<_>>().join(", ");
        let lines = [cadence, grace, adopt, check, members].join("\n");
        format!("[[credentials]]\nname = \"{name}\"\n{lines}\npublish_to = [{places}]\n\n")
    })
}

fn policy() -> impl Strategy<Value = String> {
    let [address, timing, limits] = [ADDRESSES, TIMINGS, LIMITS].map(|[good, bad]| line(good, bad));
    let parts = (address, timing, limits, prop::collection::vec(credential(), 1..4));
    parts.prop_map(|(address, timing, limits, credentials)| {
        let (head, _) = MINIMAL.split_once("[[credentials]]").unwrap();
        let head = head.replace("[twilio]", &format!("[twilio]\n{address}"));
        format!("{head}{SINKS}\n[timing]\n{timing}\n\n[limits]\n{limits}\n\n{}", credentials.concat())
    })
}

const GARBAGE: &str = "\\PC{0,200}|[\\x00-\\x7f]{0,200}|[\\[\\]{}=.,\"'#\\n a-c1]{0,80}";

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_text_is_refused_without_a_panic(text in GARBAGE) {
        read(&text);
    }

    #[test]
    fn the_example_with_random_changes_is_read_without_a_panic(
        changes in prop::collection::vec(change(), 1..6),
    ) {
        read(&changed(EXAMPLE, &changes));
    }

    #[test]
    fn the_minimal_policy_with_random_changes_is_read_without_a_panic(
        changes in prop::collection::vec(change(), 1..3),
    ) {
        read(&changed(MINIMAL, &changes));
    }

    #[test]
    fn what_is_accepted_obeys_the_rules(text in policy()) {
        read(&text);
    }
}

#[test]
fn the_random_policies_are_accepted_often_enough_to_say_something() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let texts: Vec<String> = (0..200).map(|_| policy().new_tree(&mut runner).unwrap().current()).collect();
    let accepted = texts.iter().filter(|text| read(text).is_some()).count();
    assert!((20..180).contains(&accepted), "{accepted} of 200");
}

fn roots(policy: &Policy) -> BTreeSet<KeySid> {
    policy.twilio.accesses().filter_map(|access| access.admin.key.clone()).collect()
}
