//! The address of the next page: whatever it says, the next request goes to the same host, by the same scheme, to the
//! same list, and is one request (protocol, S15).

use super::{play, runtime};
use crate::support::wire::{Wire, json};
use crate::twilio::{ACCOUNT, Call, client};
use proptest::prelude::*;
use proptest::sample::select;
use std::sync::{Arc, Mutex};

fn address() -> impl Strategy<Value = String> {
    let start = select(vec![
        "",
        "/",
        "//evil.example/",
        "https://evil.example/",
        "https://user:pass@evil.example:1/",
        "file:///etc/",
        "\\\\evil\\",
        "http://127.0.0.1:1",
        "/2010-04-01/Accounts/AC00000000000000000000000000000001/Keys.json",
        "../../",
        "javascript:",
        " ",
    ]);
    let query = prop_oneof![
        4 => "\\?(Page=[0-9]{0,3}&?)?(PageToken=[A-Za-z0-9%+_-]{0,12})?",
        2 => "\\?[ -~]{0,40}",
        1 => "[\\x00-\\x7f]{0,40}",
        2 => "\\?\\PC{0,20}(#\\PC{0,8})?",
        1 => select(vec!["?a HTTP/1.1\r\nHost: evil\r\n\r\nDELETE / HTTP/1.1\r\n\r\n", "?\r\n\r\n", "?a\tb", "?%0d%0aX: y", "??", "?#", "?\u{0}"])
            .prop_map(str::to_owned),
        1 => (0_usize..6_000).prop_map(|length| format!("?{}", "1".repeat(length))),
    ];
    (start, query).prop_map(|(start, query)| format!("{start}{query}"))
}

#[test]
fn a_page_address_never_leaves_the_host_the_path_and_the_scheme() {
    let next = Arc::new(Mutex::new(String::new()));
    let runtime = runtime();
    let wire = runtime.block_on(Wire::start({
        let next = Arc::clone(&next);
        move |_| {
            // Said once; the page behind it is the last.
            let address = std::mem::take(&mut *next.lock().unwrap());
            json(200, &serde_json::json!({"keys": [], "next_page_uri": address}).to_string())
        }
    }));
    let (client, base) = (client(&wire), wire.url());
    let path = format!("/2010-04-01/Accounts/{ACCOUNT}/Keys.json");
    play("page address", &address(), |address| {
        let before = wire.requests().len();
        *next.lock().unwrap() = address.clone();
        let found = runtime.block_on(Call::List.make(&client));
        assert!(found == "done: " || found.starts_with("unknown: malformed: HTTP 200, but the "), "{found}");
        assert!(!found.contains(char::is_control), "{found:?}");
        let requests = wire.requests().split_off(before);
        assert!((1..=2).contains(&requests.len()), "{address:?} made {} requests", requests.len());
        assert_eq!(requests.len() == 2, found == "done: " && !address.is_empty(), "{address:?}: {found}");
        for request in requests {
            let line = request.text.split("\r\n").next().unwrap();
            let target = line.strip_prefix("GET ").and_then(|line| line.strip_suffix(" HTTP/1.1"));
            let target = target.unwrap_or_else(|| panic!("{address:?} became {line}"));
            let url = base.join(target).unwrap();
            assert!(
                url.path() == path && url.query().is_some_and(|query| !query.is_empty()),
                "{address:?} became {line}"
            );
            assert!(target.starts_with('/') && target.bytes().all(|byte| byte.is_ascii_graphic()), "{line}");
            assert_eq!(request.header("host"), Some(base.authority()), "{address:?}");
            let (head, body) = request.text.split_once("\r\n\r\n").unwrap();
            assert!(body.is_empty() && head.lines().count() == 5, "{address:?} became {}", request.text);
        }
    });
}
