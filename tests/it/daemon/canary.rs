//! Secrets rest in the sinks and nowhere else: everything that the process ever wrote, and everything that others can
//! see of it, is searched for them in several disguises (protocol, S6).

use super::rig::{AWS_SECRET, QUICK, Rig, signal};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use rekeyd::sandbox::call::Operation;
use rekeyd::sandbox::{Fault, Line};
use rustix::process::Signal;
use std::fs;
use std::path::Path;

/// The forms in which a secret could lie around: clear, base64 at each of its three offsets in two alphabets,
/// hexadecimal in both cases, percent-encoded, and as UTF-16.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let mut forms = vec![secret.as_bytes().to_vec()];
    for alphabet in [&STANDARD, &URL_SAFE] {
        for offset in 0..3_usize {
            let shifted = [vec![0; offset], secret.as_bytes().to_vec()].concat();
            let text = alphabet.encode(shifted);
            // The ends depend on what stands around the secret; the middle does not.
            let from = if offset == 0 { 0 } else { 4 };
            forms.push(text.as_bytes()[from..text.trim_end_matches('=').len() / 4 * 4 - 4].to_vec());
        }
    }
    let hex = |upper: bool| -> String {
        secret.bytes().map(|b| if upper { format!("{b:02X}") } else { format!("{b:02x}") }).collect()
    };
    forms.extend([hex(false).into_bytes(), hex(true).into_bytes()]);
    forms.push(secret.bytes().map(|b| format!("%{b:02X}")).collect::<String>().into_bytes());
    forms.push(secret.bytes().flat_map(|b| [b, 0]).collect());
    forms
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

/// Every file under a folder but the ones that are allowed to hold a secret.
fn files(dir: &Path, allowed: &[&str], found: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() && !allowed.contains(&name.as_str()) {
            files(&path, allowed, found);
        } else if path.is_file() && !allowed.contains(&name.as_str()) {
            found.push((name, fs::read(&path).unwrap()));
        }
    }
}

#[test]
fn every_disguise_is_recognised() {
    let secret = "Canary0123456789abcdefghijKLMNOP";
    let inside = |text: &str| forms(secret).iter().any(|form| contains(text.as_bytes(), form));
    assert!(inside(&format!("x{secret}y")));
    for prefix in ["", "a", "ab", "SK0:"] {
        assert!(inside(&STANDARD.encode(format!("{prefix}{secret}: more"))), "{prefix}");
        assert!(inside(&URL_SAFE.encode(format!("{prefix}{secret}"))), "{prefix}");
    }
    assert!(inside(&secret.bytes().map(|b| format!("{b:02x}")).collect::<String>()));
    assert!(!inside("Canary0123456789abcdefghijKLMNO"));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_left_anywhere_but_in_the_sinks() {
    let rig = Rig::new(&["billing-sms", "alerts"], QUICK).await;
    let daemon = rig.start();
    rig.until_settled(1).await;
    // Some trouble, so that errors are written too.
    let trouble = [Fault::Malformed, Fault::Lost, Fault::Cut, Fault::RateLimited];
    let lines = trouble.map(|fault| Line::next(Operation::ListNumbers, fault));
    rig.sandbox.world().lock().script.add(lines);
    rig.sandbox.world().lock().script.add([Line::next(Operation::CreateKey, Fault::Cut)]);
    for name in ["billing-sms", "alerts"] {
        rig.run(&["rotate", name]);
    }
    rig.until_settled(2).await;

    let pid = daemon.child.id();
    let mut seen = vec![("metrics".to_owned(), rig.metrics().await.into_bytes())];
    for file in ["cmdline", "environ"] {
        seen.push((file.to_owned(), fs::read(format!("/proc/{pid}/{file}")).unwrap()));
    }
    for args in [&["status", "--json"][..], &["status"], &["plan"], &["history", "billing-sms", "--json"], &["check"]] {
        let output = rig.run(args);
        seen.push((args.join(" "), [output.stdout, output.stderr].concat()));
    }
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let cores = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(cores.split_whitespace().nth(4), Some("0"), "{cores}");
    signal(&daemon, Signal::ABORT);
    drop(daemon);
    // The journal with its log, the policy, what was written to standard output and error, and whatever else is there.
    files(rig.dir.path(), &["secrets", "main_key", "token"], &mut seen);
    let names: Vec<&str> = seen.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.contains(&"journal.db") && names.contains(&"log"), "{names:?}");
    assert!(!names.iter().any(|name| name.starts_with("core")), "{names:?}");
    // At its loudest it has every call of ours; libraries are held at WARN, for what they say may hold requests.
    assert!(rig.log().contains("\"DEBUG\""), "{}", rig.log());

    let mut secrets: Vec<String> =
        rig.sandbox.world().lock().keys().map(|key| key.secret.expose().to_owned()).collect();
    assert!(secrets.len() >= 5, "{}", secrets.len());
    secrets.push(rig.sandbox.main_key().1.expose().to_owned());
    for secret in secrets {
        for (place, bytes) in &seen {
            for (kind, form) in forms(&secret).iter().enumerate() {
                assert!(!contains(bytes, form), "a secret lies in {place}, form {kind}");
            }
        }
    }
    // The daemon is given this one in its environment, by the default credential chain of AWS; nowhere else.
    for (place, bytes) in seen.iter().filter(|(place, _)| place != "environ") {
        assert!(forms(AWS_SECRET).iter().all(|form| !contains(bytes, form)), "AWS's secret lies in {place}");
    }
}
