//! The listener for machines: TLS, the token, and clients that are slow.

use super::{scrapes, until};
use crate::daemon::rig::{QUICK, Rig, private};
use crate::support::authority::Authority;
use rekeyd::adapters::http::{self, Base, Connections, Deadlines};
use reqwest::StatusCode;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// An installation whose listener speaks TLS and asks for a token.
async fn guarded(authority: &Authority) -> Rig {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let dir = rig.dir.path().display();
    let lines = format!(
        "[daemon]\nlisten_cert_file = \"{dir}/cert\"\nlisten_key_file = \"{dir}/key\"\nlisten_token_file = \"{dir}/scrape\"\n"
    );
    let policy = fs::read_to_string(rig.path("policy.toml")).unwrap().replacen("[daemon]\n", &lines, 1);
    fs::write(rig.path("policy.toml"), policy).unwrap();
    certify(&rig, authority);
    private(&rig.path("scrape"), "the-token-of-the-scraper\n");
    rig
}

fn certify(rig: &Rig, authority: &Authority) {
    let (certificate, key) = authority.certify_as_pem("127.0.0.1");
    fs::write(rig.path("cert"), certificate).unwrap();
    private(&rig.path("key"), &key);
}

/// Asks over TLS, with this token or none; nothing if the connection does not come about.
async fn ask(rig: &Rig, trusted: &Path, path: &str, token: Option<&str>) -> Option<(StatusCode, String)> {
    let base = Base::new(&format!("https://127.0.0.1:{}", rig.port).parse().unwrap()).unwrap();
    let client = http::client(&base, Some(trusted), Deadlines::default(), Connections::Fresh).unwrap();
    let request = client.get(base.at([path]));
    let request = match token {
        Some(token) => request.header("Authorization", token),
        None => request,
    };
    let answer = request.send().await.ok()?;
    Some((answer.status(), answer.text().await.unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_are_shown_over_tls_for_the_token_and_both_may_be_replaced() {
    let (ours, next) = (Authority::new("ours"), Authority::new("next"));
    let rig = guarded(&ours).await;
    let daemon = rig.start();
    let trusted = ours.file.path();
    until("it serves", async || ask(&rig, trusted, "readyz", None).await.filter(|(status, _)| *status == 200)).await;
    let right = Some("Bearer the-token-of-the-scraper");
    for (path, token, expected) in [
        ("metrics", right, 200),
        ("metrics", Some("bearer the-token-of-the-scraper"), 200),
        ("metrics", None, 401),
        ("metrics", Some("Bearer the-token-of-the-scrapes"), 401),
        ("metrics", Some("Bearer the-token-of-the-scraper2"), 401),
        ("metrics", Some("Bearer "), 401),
        ("metrics", Some("Basic the-token-of-the-scraper"), 401),
        ("livez", None, 200),
        ("readyz", Some("Bearer wrong"), 200),
    ] {
        let (status, text) = ask(&rig, trusted, path, token).await.unwrap();
        assert_eq!(status, expected, "{path} {token:?}: {text}");
        assert_eq!(
            text.contains("rekeyd_build_info"),
            path == "metrics" && expected == 200,
            "{path} {token:?}: {text}"
        );
    }
    let mut plain = TcpStream::connect(("127.0.0.1", rig.port)).unwrap();
    write!(plain, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut said = Vec::new();
    let _ = plain.read_to_end(&mut said);
    assert!(!String::from_utf8_lossy(&said).contains("HTTP"), "plain HTTP was answered: {said:?}");

    // The command that asks the daemon which Main key it uses gets its answer here too.
    let told = String::from_utf8(rig.run(&["main-key", "status", "--json"]).stdout).unwrap();
    assert!(told.contains("\"daemon_uses_it\": true"), "{told}");

    // A key that does not belong to the certificate changes nothing; then both are new.
    let (certificate, key) = next.certify_as_pem("127.0.0.1");
    fs::write(rig.path("cert"), certificate).unwrap();
    assert_eq!(ask(&rig, trusted, "livez", None).await.unwrap().0, 200, "the one before is shown");
    private(&rig.path("key"), &key);
    assert_eq!(ask(&rig, next.file.path(), "livez", None).await.unwrap().0, 200, "the new one is shown");
    assert!(ask(&rig, trusted, "livez", None).await.is_none(), "and the one before no more");
    private(&rig.path("scrape"), "another-token\n");
    assert_eq!(ask(&rig, next.file.path(), "metrics", right).await.unwrap().0, 401);
    assert_eq!(ask(&rig, next.file.path(), "metrics", Some("Bearer another-token")).await.unwrap().0, 200);
    fs::remove_file(rig.path("scrape")).unwrap();
    assert_eq!(ask(&rig, next.file.path(), "metrics", Some("Bearer another-token")).await.unwrap().0, 401);
    drop(daemon);
    for secret in ["the-token-of-the-scraper", "another-token"] {
        assert!(!rig.log().contains(secret), "the log has a token");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_scrapes_over_tls_with_the_token_and_not_without() {
    let ours = Authority::new("ours");
    let rig = guarded(&ours).await;
    let daemon = rig.start();
    until("it serves", async || ask(&rig, ours.file.path(), "readyz", None).await).await;
    let targets = format!("static_configs: [{{ targets: ['127.0.0.1:{}'] }}]\nscheme: https", rig.port);
    let tls = format!("tls_config: {{ ca_file: '{}' }}", ours.file.path().display());
    let token = format!("authorization: {{ credentials_file: '{}' }}", rig.path("scrape").display());
    for (parts, expected) in
        [(vec![&targets, &tls, &token], 1.0), (vec![&targets, &tls], 0.0), (vec![&targets, &token], 0.0)]
    {
        let lines: Vec<&str> = parts.into_iter().map(String::as_str).collect();
        let (prometheus, up) = scrapes(&lines.join("\n")).await;
        assert_eq!(up, expected, "{lines:?}");
        let passes = prometheus.values("rekeyd_last_pass_timestamp_seconds").await;
        assert!(passes.is_empty() || expected == 1.0, "{passes:?}");
    }
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_whose_files_do_not_fit_together_does_not_start() {
    let ours = Authority::new("ours");
    let rig = guarded(&ours).await;
    let (_, other) = ours.certify_as_pem("127.0.0.1");
    private(&rig.path("key"), &other);
    let said = rig.run(&["run"]);
    let errors = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(!said.status.success() && errors.contains("can not be used together"), "{errors}");
    fs::write(rig.path("cert"), "no certificate").unwrap();
    let errors = String::from_utf8_lossy(&rig.run(&["run"]).stderr).into_owned();
    assert!(errors.contains("does not hold certificates"), "{errors}");
}

/// More than the listener has places for.
const MANY: usize = 80;

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_are_slow_do_not_hold_the_daemon() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let daemon = rig.start();
    rig.until("it serves", || TcpStream::connect(("127.0.0.1", rig.port)).is_ok()).await;
    let mut slow: Vec<TcpStream> = (0..MANY).map(|_| TcpStream::connect(("127.0.0.1", rig.port)).unwrap()).collect();
    let start = Instant::now();
    // A byte at a time, as slow clients do; a connection that was ended takes no more.
    let dripping = std::thread::spawn(move || {
        for byte in b"GET /livez HTTP/1.1\r\nX: ".iter().chain(std::iter::repeat_n(&b'a', 100)) {
            slow.retain_mut(|stream| stream.write_all(&[*byte]).is_ok());
            std::thread::sleep(Duration::from_millis(200));
            if slow.is_empty() || start.elapsed() > Duration::from_secs(25) {
                break;
            }
        }
        slow.len()
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(rig.probe("/livez").await, Some(200));
    let waited = start.elapsed();
    assert!(waited < Duration::from_secs(12), "the daemon was held for {waited:?}");
    assert_eq!(dripping.join().unwrap(), 0, "these clients are still served");

    let mut long = TcpStream::connect(("127.0.0.1", rig.port)).unwrap();
    long.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let _ = write!(long, "GET /livez HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(40_000));
    let mut said = Vec::new();
    let _ = long.read_to_end(&mut said);
    assert!(!String::from_utf8_lossy(&said).contains("200 OK"), "a request of any length was read");
    drop(daemon);
}
