//! Both sides of each edge, for sinks and the places inside them.

use super::edges::{refuse, rules};
use super::{MINIMAL, accepted};
use rekeyd::model::policy::{SinkPolicy, VaultAuth, VaultPolicy};

const DIRECTORY: &str = r#"kind = "directory"
path = "/srv""#;
const AWS: &str = r#"kind = "aws-secrets-manager"
region = "eu-west-1""#;
const KUBERNETES: &str = r#"kind = "kubernetes"
namespace = "billing""#;
const VAULT: &str = r#"kind = "vault"
address = "https://v:443"
mount = "kv"
auth = { method = "token", token_env = "T" }"#;

/// A policy with these sinks, called `s1`, `s2` and so on, and a credential that is published once to each, at `place`.
fn policy(sinks: &[&str], place: &str) -> String {
    let (head, _) = MINIMAL.split_once("[sinks").unwrap();
    let tables: String = sinks.iter().zip(1..).map(|(body, n)| format!("[sinks.s{n}]\n{body}\n\n")).collect();
    let places: String = (1..=sinks.len()).map(|n| format!("{{ sink = \"s{n}\", {place} }}, ")).collect();
    format!("{head}{tables}[[credentials]]\nname = \"a\"\npublish_to = [{places}]\n")
}

#[test]
fn places_in_a_directory() {
    let (longest, longer) = ("a".repeat(128), "a".repeat(129));
    let text = |name: &str| policy(&[DIRECTORY], &format!("name = \"{name}\""));
    for name in ["a", "A-_.9", &longest] {
        accepted(&text(name));
    }
    for name in ["", ".", "..", ".a", "-a", "a/b", "/a", "a b", "é", &longer] {
        refuse(&text(name), "name", name);
    }
}

#[test]
fn places_in_secrets_manager() {
    let (longest, longer) = ("a".repeat(512), "a".repeat(513));
    let text = |name: &str| policy(&[AWS], &format!("name = \"{name}\""));
    for name in ["a", "a/b_c+d=e.f@g-h", &longest, "x-12345", "x-1234567", "x-12345/"] {
        accepted(&text(name));
    }
    for name in ["", "a b", "a:b", "é", &longer, "x-123456", "x-secret"] {
        refuse(&text(name), "name", name);
    }
}

#[test]
fn places_in_kubernetes() {
    let label = "a".repeat(63);
    let (longest, longer) = (format!("{label}.{label}.{label}.{}", "a".repeat(61)), "a".repeat(254));
    let text = |name: &str| policy(&[KUBERNETES], &format!("name = \"{name}\""));
    for (name, stored) in [("a", "a"), ("0", "0"), ("Billing.SMS-1", "billing.sms-1"), (&longest, &longest)] {
        assert_eq!(&*rules(&text(name)).places[0].path, stored);
    }
    for name in ["", ".", "a.", ".a", "a..b", "-a", "a-", "a.-b", "a_b", "a/b", "a b", "é", &longer] {
        refuse(&text(name), "name", name);
    }
    let namespace = |name: &str| policy(&[&KUBERNETES.replace("billing", name)], "name = \"a\"");
    for name in ["a", "kube-system", &label] {
        accepted(&namespace(name));
    }
    for name in ["", "a.b", "-a", "a-", "A", "a_b", "a/b", "..", &format!("{label}a")] {
        refuse(&namespace(name), "sinks.s1.namespace", name);
    }
    refuse(&policy(&[KUBERNETES, KUBERNETES], "name = \"a\""), "publish_to.#2", "one store");
    let other = KUBERNETES.replace("billing", "shipping");
    accepted(&policy(&[KUBERNETES, &other], "name = \"a\""));
}

#[test]
fn places_in_vault() {
    let (longest, longer) = ("a".repeat(512), "a".repeat(513));
    let text = |path: &str| policy(&[VAULT], &format!("path = \"{path}\""));
    let stored = [("a", "a"), ("/a/b/", "a/b"), ("a..b/...", "a..b/..."), ("a:b@c+d=e,f~g", "a:b@c+d=e,f~g")];
    for (path, stored) in stored.into_iter().chain([(longest.as_str(), longest.as_str())]) {
        assert_eq!(&*rules(&text(path)).places[0].path, stored);
    }
    for path in ["", "/", "a//b", "../a", "a/./b", "a/..", "a b", "a?b", "a%2fb", "a#b", "é", &longer] {
        refuse(&text(path), "path", path);
    }
}

#[test]
fn regions() {
    let text = |region: &str| policy(&[&AWS.replace("eu-west-1", region)], "name = \"a\"");
    for region in ["eu-west-1", "us-gov-east-1", "us-iso-west-1", "ap-southeast-10", "cn-north-1"] {
        accepted(&text(region));
    }
    let lax = ["", "eu", "eu-west", "eu-west-1a", "EU-WEST-1", "eu_west_1", "eu-west-100", "eu--1"];
    for region in lax.into_iter().chain(["https://eu-west-1", "eu-west-1.evil.com"]) {
        refuse(&text(region), "region", region);
    }
}

#[test]
fn the_address_of_a_server() {
    let good = ["https://vault", "https://10.0.0.1:8200", "https://vault.example.com/"];
    for address in good.into_iter().chain(["http://127.9.9.9:8200", "http://localhost:8200", "http://[::1]"]) {
        accepted(&policy(&[&VAULT.replace("https://v:443", address)], "path = \"a\""));
    }
    for address in ["http://vault", "https://vault/v1", "https://vault?x", "vault:8200", "unix:///run/vault.sock"] {
        refuse(&policy(&[&VAULT.replace("https://v:443", address)], "path = \"a\""), "sinks.s1.address", address);
    }
}

#[test]
fn one_store_under_two_names_is_one_store() {
    let (place, path) = ("name = \"x\"", "path = \"x\"");
    let other_vault = |from: &str, to: &str| policy(&[VAULT, &VAULT.replace(from, to)], path);
    let namespaced = |one: &str, two: &str| {
        policy(&[&format!("{VAULT}\nnamespace = \"{one}\""), &format!("{VAULT}\nnamespace = \"{two}\"")], path)
    };
    let same = [
        other_vault("https://v:443", "https://v"),
        other_vault("https://v:443", "https://V/"),
        other_vault("\"kv\"", "\"/kv/\""),
        other_vault("token_env = \"T\"", "token_file = \"/t\""),
        namespaced("n", "/n/"),
        policy(&[AWS, AWS], place),
        policy(&[DIRECTORY, &DIRECTORY.replace("/srv", "//srv/./")], place),
    ];
    for text in same {
        refuse(&text, "publish_to.#2", &text);
    }
    let different = [
        other_vault("https://v:443", "https://v:8200"),
        other_vault("\"kv\"", "\"kv/2\""),
        other_vault("mount = \"kv\"", "mount = \"kv\"\nnamespace = \"n\""),
        namespaced("n", "m"),
        policy(&[AWS, &AWS.replace("west-1", "west-2")], place),
        policy(&[AWS, &format!("{AWS}\nendpoint_url = \"http://127.0.0.1:5001\"")], place),
        policy(&[DIRECTORY, &DIRECTORY.replace("/srv", "/Srv")], place),
    ];
    for text in different {
        accepted(&text);
    }
}

#[test]
fn a_directory_sink_keeps_off_the_files_of_the_daemon() {
    let text = |directory: &str, name: &str| {
        let vault = VAULT.replace("token_env = \"T\"", "token_file = \"/run/token\"")
            + "\nca_file = \"/etc/ca.pem\"\nclient_cert_file = \"/etc/client.pem\"\nclient_key_file = \"/etc/client.key\"";
        let place = format!("{{ sink = \"s1\", name = \"{name}\" }}");
        policy(&[&DIRECTORY.replace("/srv", directory), &vault], "path = \"x\"")
            .replace("{ sink = \"s1\", path = \"x\" }", &place)
    };
    let daemon = [
        ("/run/credentials/rekeyd.service", "main_key"),
        ("/run", "token"),
        ("/etc", "ca.pem"),
        ("/etc", "client.pem"),
        ("/etc", "client.key"),
        ("/var/lib/rekeyd", "journal.db"),
        ("/var/lib/rekeyd", "journal.db-wal"),
        ("/var/lib/rekeyd", "journal.db-shm"),
    ];
    for (directory, name) in daemon {
        refuse(&text(directory, name), "publish_to.#1", name);
        accepted(&text(directory, &format!("{name}2")));
    }
}

#[test]
fn approle_has_a_usual_mount() {
    let approle = r#"auth = { method = "approle", role_id = "r", secret_id_file = "/s" }"#;
    let mount = |more: &str| {
        let auth = approle.replace(" }", &format!("{more} }}"));
        let sink = VAULT.replace("auth = { method = \"token\", token_env = \"T\" }", &auth);
        let sinks = accepted(&policy(&[&sink], "path = \"x\"")).policy.sinks;
        match sinks.into_values().next().unwrap() {
            SinkPolicy::Vault(VaultPolicy { auth: VaultAuth::AppRole { mount, .. }, .. }) => mount,
            SinkPolicy::Vault(_)
            | SinkPolicy::SecretsManager(_)
            | SinkPolicy::Kubernetes(_)
            | SinkPolicy::Directory { .. } => panic!(),
        }
    };
    assert_eq!(mount(""), "approle");
    assert_eq!(mount(", mount = \"/team/approle/\""), "team/approle");
}

/// A policy with these sinks, whose Main key lies at this place.
fn stored(sinks: &[&str], at: &str) -> String {
    let text = policy(sinks, "path = \"a\"");
    let (head, rest) = text.split_once("main_key_sid").unwrap();
    let rest = rest.split_once("main_key_secret_file").unwrap().1.split_once('\n').unwrap().1;
    format!("{head}main_key_at = {at}\n{rest}")
}

#[test]
fn places_of_main_keys() {
    let vault = |at: &str| stored(&[VAULT], at);
    let read = accepted(&vault("{ sink = \"s1\", path = \"/twilio/main/\" }"));
    let place = read.policy.twilio.access.admin.secret.place().unwrap().to_string();
    assert_eq!((place.as_str(), read.warnings.len()), ("s1:twilio/main", 0));
    refuse(&vault("{ sink = \"s2\", path = \"b\" }"), "sink", "no such sink");
    refuse(&vault("{ sink = \"s1\", name = \"b\" }"), "name", "that is for others");
    refuse(&vault("{ sink = \"s1\", path = \"b/../c\" }"), "path", "it leads elsewhere");
    refuse(&vault("{ sink = \"s1\", path = \"a\" }"), "path", "a credential would overwrite it");
    refuse(&vault("{ sink = \"s1\", path = \"b\" }\nmain_key_file = \"/f\""), "main_key_at", "said twice");
    let directory = vault("{ sink = \"main\", name = \"b\" }");
    let directory = directory.replace("[sinks.s1]", &format!("[sinks.main]\n{DIRECTORY}\n\n[sinks.s1]"));
    refuse(&directory, "main_key_at", "a file has a key of its own");
}

#[test]
fn a_sink_that_only_a_main_key_is_read_from_is_in_use() {
    let text = stored(&[VAULT], "{ sink = \"main\", name = \"twilio/main\" }");
    let text = text.replace("[sinks.s1]", &format!("[sinks.main]\n{AWS}\n\n[sinks.s1]"));
    assert_eq!(accepted(&text).warnings, Vec::new());
}
