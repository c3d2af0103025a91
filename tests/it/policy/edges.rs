//! Both sides of each edge: the last value that is accepted, and the first that is not.

use super::{MINIMAL, accepted, errors};
use rekeyd::model::policy::Rules;

/// The minimal policy with these lines added to a table, in place of lines with the same key.
pub(crate) fn with(table: &str, lines: &str) -> String {
    let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
    let new: Vec<String> = lines.lines().map(key).collect();
    let mut base = MINIMAL.to_owned();
    if !base.lines().any(|line| line == table) {
        base = base.replacen("[[credentials]]", &format!("{table}\n\n[[credentials]]"), 1);
    }
    let (head, tail) = base.split_once(&format!("{table}\n")).unwrap();
    let (own, rest) = tail.split_once("\n[").map_or((tail, String::new()), |(own, rest)| (own, format!("\n[{rest}")));
    let own: String = own.lines().filter(|line| !new.contains(&key(line))).map(|line| format!("{line}\n")).collect();
    format!("{head}{table}\n{lines}\n{own}{rest}")
}

pub(crate) fn rules(text: &str) -> Rules {
    accepted(text).policy.credentials.into_values().next().unwrap()
}

/// Each of the values is accepted for the key, and each of the others is refused there, once.
pub(crate) fn edge(table: &str, key: &str, good: &[&str], bad: &[&str]) {
    for value in good {
        accepted(&with(table, &format!("{key} = {value}")));
    }
    for value in bad {
        refuse(&with(table, &format!("{key} = {value}")), key, value);
    }
}

pub(crate) fn refuse(text: &str, key: &str, value: &str) {
    let told = errors(text);
    assert_eq!(told.len(), 1, "{key} = {value}: {told:?}");
    assert!(told[0].key.contains(key), "{key} = {value}: {told:?}");
}

pub(crate) const CREDENTIAL: &str = "[[credentials]]";

#[test]
fn names() {
    edge(
        "[daemon]",
        "instance",
        &["\"a\"", "\"-a-1\"", "\"abcdefghijklmnop\""],
        &["\"\"", "\"abcdefghijklmnopq\"", "\"a_b\"", "\"é\"", "\"A\""],
    );
    // With the instance `prod`, a name of 23 characters makes a label of 64.
    let (fits, longer) = (format!("\"{}\"", "a".repeat(23)), format!("\"{}\"", "a".repeat(24)));
    edge(CREDENTIAL, "name", &["\"a\"", &fits], &["\"\"", &longer, "\"-a\"", "\"a b\"", "\"a.b\""]);
    for (name, right) in [("a".repeat(32), true), ("a".repeat(33), false), ("-a".to_owned(), false)] {
        let text =
            MINIMAL.replace("[sinks.files]", &format!("[sinks.{name}]")).replace("\"files\"", &format!("\"{name}\""));
        assert_eq!(errors(&text).is_empty(), right, "{name}");
    }
}

#[test]
fn sids() {
    let digits = "0123456789abcdefABCDEF0123456789";
    let sid = |prefix: &str, digits: &str| format!("\"{prefix}{digits}\"");
    let bad = |prefix: &str| {
        [
            sid(prefix, &digits[1..]),
            sid(prefix, &format!("{digits}0")),
            sid("XX", digits),
            sid(prefix, &digits.replace('a', "g")),
        ]
    };
    for (table, key, prefix) in [
        ("[twilio]", "account_sid", "AC"),
        ("[twilio]", "main_key_sid", "SK"),
        (CREDENTIAL, "adopt", "SK"),
        (CREDENTIAL, "account_sid", "AC"),
    ] {
        edge(table, key, &[&sid(prefix, digits)], &bad(prefix).each_ref().map(String::as_str));
    }
}

#[test]
fn the_journal_and_the_address_to_listen_on() {
    let bad = [
        "\"sqlite://var/journal.db\"",
        "\"sqlite:///\"",
        "\"sqlite:///var/\"",
        "\"sqlite:/var/j.db\"",
        "\"sqlite:///j.db?x\"",
        "\"mysql:///j.db\"",
        "\"postgres://db/x\"",
        "\"postgresql://db/x\"",
        "\"\"",
    ];
    edge("[daemon]", "state", &["\"sqlite:///j.db\"", "\"sqlite:///var/lib/a b/j.db\""], &bad);
    let bad = ["\"127.0.0.1\"", "\"127.0.0.1:65536\"", "\"::1:9849\"", "\"localhost:80\"", "\":9849\"", "9849"];
    edge("[daemon]", "listen", &["\"0.0.0.0:65535\"", "\"[::1]:9849\"", "\"10.1.2.3:0\""], &bad);
}

#[test]
fn where_secrets_are() {
    let bad = [
        "\"main_key\"",
        "\"./k\"",
        "\"~/k\"",
        "\"$HOME/k\"",
        "\"/\"",
        "\"/run/\"",
        "\"/run/..\"",
        "\"\"",
        "\"/a\\nb\"",
    ];
    edge("[twilio]", "main_key_secret_file", &["\"/k\"", "\"/run/a b/../k\""], &bad);
    let text = |name: &str| {
        MINIMAL.replace(
            "main_key_secret_file = \"/run/credentials/rekeyd.service/main_key\"",
            &format!("main_key_secret_env = \"{name}\""),
        )
    };
    for name in ["A", "_a1", "MAIN_KEY"] {
        accepted(&text(name));
    }
    for name in ["", "1A", "A-B", "$A", "A B", "É"] {
        refuse(&text(name), "main_key_secret_env", name);
    }
}

#[test]
fn the_address_of_twilio() {
    let good = [
        "https://api.twilio.com",
        "https://api.twilio.com/",
        "https://api.twilio.com:443",
        "https://api.dublin.ie1.twilio.com",
        "http://127.0.0.1:9700",
        "http://127.255.255.254",
        "https://127.0.0.1",
        "http://[::1]:9700",
        "http://localhost:1",
    ];
    let bad = [
        "http://api.twilio.com",
        "https://api.twilio.com:8443",
        "https://api.ie1.twilio.com",
        "https://twilio.com",
        "https://api.twilio.com.evil.com",
        "https://api.a.b.c.twilio.com",
        "https://api..ie1.twilio.com",
        "https://iam.twilio.com",
        "https://xapi.twilio.com",
        "https://evil.com/api.twilio.com",
        "http://128.0.0.1",
        "http://126.255.255.255",
        "http://[::2]",
        "http://localhost.evil.com",
        "http://[::ffff:127.0.0.1]",
        "http://0.0.0.0:9700",
        "https://api.twilio.com/x",
        "https://api.twilio.com?x",
        "https://api.twilio.com#x",
        "https://a@api.twilio.com",
        "https://api.twilio.com ",
        "https:api.twilio.com",
        "https:\\\\\\\\api.twilio.com",
        "HTTPS",
        "",
        "ftp://127.0.0.1",
        "https://169.254.169.254",
    ];
    edge(
        "[twilio]",
        "base_url",
        &good.map(|url| format!("\"{url}\"")).each_ref().map(String::as_str),
        &bad.map(|url| format!("\"{url}\"")).each_ref().map(String::as_str),
    );
}

#[test]
fn members() {
    let long = |count| format!("{{ rekeyd = \"{}\" }}", "é".repeat(count));
    let good = [
        "{}",
        "{ apiKeySid = \"TWILIO_API_KEY\" }",
        "{ accountSid = \"apiKeySid\", apiKeySid = \"accountSid\" }",
        &long(128),
    ];
    let bad =
        ["{ rekeyd = \"\" }", "{ rekeyd = \"a\\nb\" }", "{ rekeyd = \"apiKeySid\" }", "{ other = \"x\" }", &long(129)];
    edge(CREDENTIAL, "members", &good, &bad);
    let partly = rules(
        &with("[defaults]", "members = { apiKeySid = \"A\", rekeyd = \"B\" }")
            .replace("publish_to", "members = { rekeyd = \"C\" }\npublish_to"),
    );
    assert_eq!(
        (partly.members.api_key_sid.as_str(), partly.members.stamp.as_str(), partly.members.account_sid.as_str()),
        ("A", "C", "accountSid")
    );
}

#[test]
fn behind_a_fault_of_syntax_a_large_file_is_not_read_to_its_end() {
    let numbers = "1,\n".repeat(200_000);
    let told = errors(&format!("[daemon]\ninstance = prod\nnotes = [\n{numbers}]\n"));
    assert_eq!(told.len(), 1, "{:?}", told.last());
    assert_eq!((told[0].message.as_str(), told[0].line), ("text must stand in quotes", 2));
}

#[test]
fn a_byte_order_mark_does_no_harm() {
    accepted(&format!("\u{feff}{MINIMAL}"));
}

#[test]
fn syntax_hides_what_it_may_have_caused() {
    // The broken header takes the sink away; that the credential names it is right.
    let told = errors(&MINIMAL.replace("[sinks.files]", "[sinks.files"));
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].message, "the brackets around the name of a table are not closed");
}
