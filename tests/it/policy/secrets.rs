//! Whatever secret an operator writes into a policy, and wherever: no error, warning or debug text shows it.

use super::{MINIMAL, bad_files, errors};
use rekeyd::config;

/// One of each kind, all made up.
const SECRETS: [&str; 8] = [
    "Zk4mQ9vT2xLr7WcB1nYh8DgS5pJf3KaE",
    "0123456789abcdef0123456789abcdef",
    "hvs.CAESIJzTokenOfSomebodyElse9x",
    "s.iyNUhq8Ov4hIAx6snw5mB2nL",
    "AKIAIOSFODNN7CANARY1",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYcanaryKEY1",
    "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJyb2JvdCJ9.c2lnbmF0dXJl",
    "-----BEGIN RSA PRIVATE KEY-----MIGHcanaryAgEAMBMG-----END RSA PRIVATE KEY-----",
];

/// Nothing that a program could find by its form: hidden because of the key it is written to.
const PASSWORD: &str = "hunter2canary";

fn everything_told(text: &str) -> String {
    match config::parse(text, "policy.toml") {
        Ok(loaded) => loaded.warnings.iter().map(|warning| format!("{warning}{warning:?}")).collect(),
        Err(errors) => {
            format!("{errors}{errors:?}{}{}", errors.render(true), serde_json::to_string(errors.list()).unwrap())
        }
    }
}

fn assert_hidden(secret: &str, text: &str) {
    let told = everything_told(text);
    // Any eight letters of it would be too much.
    let letters: Vec<char> = secret.chars().collect();
    for part in letters.windows(8).map(|part| part.iter().collect::<String>()) {
        assert!(
            !told.contains(&part) || MINIMAL.contains(&part),
            "{part} of {secret} was shown:\n{told}\n\nof\n{text}"
        );
    }
}

#[test]
fn no_bad_file_shows_its_secrets() {
    for (path, text, errors) in bad_files() {
        let told = format!("{errors}{errors:?}");
        for secret in SECRETS.iter().chain([&PASSWORD, &"0b5c2a8e-4b7e-41d1-8f0e-canary000001", &"MIGHcanary"]) {
            assert!(!told.contains(secret), "{} shows {secret}", path.display());
        }
        assert!(!told.to_lowercase().contains("canary") || path.to_string_lossy().contains("canary"), "{text}");
    }
}

#[test]
fn a_secret_in_place_of_any_value_is_refused_and_hidden() {
    let values: Vec<&str> = MINIMAL.split('"').skip(1).step_by(2).collect();
    for value in values {
        for secret in SECRETS {
            let text = MINIMAL.replacen(&format!("\"{value}\""), &format!("\"{secret}\""), 1);
            assert_hidden(secret, &text);
            // A file may be called almost anything; in all other places a secret is an error.
            assert!(!errors(&text).is_empty() || value.ends_with(".json") || value.contains('/'), "{text}");
        }
    }
}

#[test]
fn a_secret_under_a_key_that_should_not_be_there_is_refused_and_hidden() {
    let keys = [
        "main_key_secret",
        "secret",
        "token",
        "auth_token",
        "password",
        "passwd",
        "api_key",
        "api_key_secret",
        "secret_id",
        "private_key",
        "AuthToken",
        "main-key",
        "key",
        "client_secret",
        "secret_access_key",
        "vault_token",
        "passphrase",
    ];
    for table in ["[daemon]", "[twilio]", "[sinks.files]", "[[credentials]]", "[limits]"] {
        let base = if MINIMAL.contains(table) { MINIMAL.to_owned() } else { format!("{MINIMAL}\n{table}\n") };
        for key in keys {
            for secret in SECRETS.iter().chain([&PASSWORD]) {
                let text = base.replacen(table, &format!("{table}\n{key} = \"{secret}\""), 1);
                assert_hidden(secret, &text);
                let told = errors(&text);
                assert_eq!(told.len(), 1, "{key} in {table}: {told:?}");
                assert_eq!(told[0].message, "a secret must not be written into this file", "{key} in {table}");
            }
        }
    }
}

#[test]
fn a_secret_is_hidden_however_the_file_is_broken() {
    let lines = [
        "main_key_secret = {}",
        "main_key_secret = \"{}",
        "main_key_secret = '{}",
        "main_key_secret \"{}\"",
        "main_key_secret {}",
        "main_key_secret: {}",
        "\"main_key_secret\": \"{}\",",
        "main_key_secret = [\"{}\"",
        "main_key_secret = { value = \"{}\"",
        "main_key_secret == \"{}\"",
        "main_key_secret = \"ab\"{}\"",
        "main_key_secret = \"\"\"\n{}",
        "main_key_secret = [\n{}\n",
        "main_key_secret_file = \"{}",
        "main_key_secret_env = {}",
        "x = 1 # token = {}",
        "# password: {}",
        "twilio.main_key_secret = {} {}",
    ];
    for line in lines {
        for secret in SECRETS.iter().chain([&PASSWORD]) {
            let line = line.replace("{}", secret);
            for end in ["", "\n]]] = [\n"] {
                assert_hidden(secret, &MINIMAL.replacen("[twilio]", &format!("[twilio]\n{line}{end}"), 1));
            }
        }
    }
}

#[test]
fn a_secret_that_serves_as_a_name_is_hidden() {
    let secret = "0123456789abcdef0123456789abcdef";
    let sink = MINIMAL.replace("[sinks.files]", &format!("[sinks.{secret}]"));
    // "Did you mean" and "taken by" name it.
    let near = sink.replace("\"files\"", &format!("\"{}\"", &secret[..30]));
    assert!(!everything_told(&near).contains(secret));
    let twin = |name: &str| {
        format!("[[credentials]]\nname = \"{name}\"\npublish_to = [{{ sink = \"files\", name = \"x\" }}]\n")
    };
    assert_hidden(secret, &format!("{MINIMAL}{}{}", twin(secret), twin("other")));
}

#[test]
fn a_secret_in_place_of_a_key_is_hidden() {
    for secret in SECRETS.into_iter().filter(|secret| !secret.contains([' ', '/'])) {
        for line in ["{} = 1", "\"{}\" = 1", "x.{} = 1", "{} = 1\n{} = 2", "[{}]\nx = 1", "[x\"{}\"y]\nlisten = 1"] {
            let lines = line.replace("{}", secret);
            assert_hidden(secret, &format!("{MINIMAL}\n{lines}\n"));
            assert_hidden(secret, &format!("{lines}\n{MINIMAL}"));
        }
    }
}

#[test]
fn a_secret_in_a_url_is_refused_and_hidden() {
    for url in [
        "https://{}@api.twilio.com",
        "https://user:{}@api.twilio.com",
        "https://api.twilio.com/?key={}",
        "https://x?{}",
    ] {
        for secret in SECRETS.iter().chain([&PASSWORD, &"éhunter2canary", &"#hunter2/canary?@:"]) {
            let line = format!("[twilio]\nbase_url = \"{}\"", url.replace("{}", secret));
            let text = MINIMAL.replacen("[twilio]", &line, 1);
            assert_hidden(secret, &text);
            assert_eq!(errors(&text).len(), 1, "{text}");
        }
    }
}

#[test]
fn a_secret_behind_escapes_is_refused_and_hidden() {
    for secret in SECRETS {
        let first = u32::from(secret.chars().next().unwrap());
        let escaped = format!("\\u{first:04x}{}", &secret[1..]);
        let text = MINIMAL.replacen("\"SK00000000000000000000000000000001\"", &format!("\"{escaped}\""), 1);
        assert_hidden(secret, &text);
        assert_eq!(errors(&text).len(), 1, "{text}");
    }
}

#[test]
fn what_only_resembles_a_secret_is_neither_refused_nor_hidden() {
    let harmless = [
        ("billing-sms.json", "0123456789abcdef0123456789abcdef-x"),
        ("/var/lib/rekeyd/secrets", "/nix/store/0g1sz7xmx4iq5fcqzbs9dyqg1y5bpwkz-rekeyd/secrets"),
        ("name       = \"billing-sms\"", "name       = \"tokens-and-secrets\""),
        ("SK00000000000000000000000000000001", "SKabcdefABCDEF00000000000000000001"),
    ];
    for (value, other) in harmless {
        let text = MINIMAL.replacen(value, other, 1);
        assert!(errors(&text).is_empty(), "{:?}", errors(&text));
    }
}
