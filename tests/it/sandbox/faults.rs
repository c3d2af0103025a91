//! Every fault, as a client meets it, and what the world is like afterwards.

use super::{Bench, Got, key, keys, messages, read};
use rekeyd::sandbox::call::Operation;
use rekeyd::sandbox::{ErrorStatus, Fault, Faults, Latency, Line, Random, Rate};
use reqwest::{Method, StatusCode};
use std::time::{Duration, Instant};

async fn bench() -> Bench {
    Bench::new(Faults::default()).await
}

impl Bench {
    /// The next create meets the fault.
    fn next_create(&self, fault: Fault) {
        self.sandbox.world().lock().script.add([Line::next(Operation::CreateKey, fault)]);
    }

    /// A create whose answer may fail to come, or to end.
    async fn try_create(&self) -> Result<String, reqwest::Error> {
        self.request(Method::POST, &self.main, &keys()).form(&[("FriendlyName", "x")]).send().await?.text().await
    }
}

#[expect(clippy::disallowed_methods, reason = "how long an answer takes is what is tested")]
fn stopwatch() -> impl Fn() -> Duration {
    let began = Instant::now();
    move || began.elapsed()
}

#[expect(clippy::disallowed_methods, reason = "how long an answer takes is what is tested")]
async fn wait(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

fn status(status: u16) -> ErrorStatus {
    ErrorStatus::try_from(status).unwrap()
}

#[tokio::test]
async fn a_rate_limit_turns_the_call_away_unprocessed() {
    let bench = bench().await;
    bench.next_create(Fault::RateLimited);
    let got = bench.post(&keys(), &[]).await;
    assert_eq!((got.refusal(), bench.alive()), ((429, 20429), 0));
    assert_eq!(got.body()["message"], "Too Many Requests");
    assert_eq!(bench.post(&keys(), &[]).await.status, StatusCode::CREATED, "the script is used up");
}

#[tokio::test]
async fn an_error_before_the_work_makes_no_key_and_an_error_after_it_makes_one() {
    let bench = bench().await;
    for (fault, expected, keys_now) in [
        (Fault::ErrorBefore { status: status(500) }, (500, 20500), 0),
        (Fault::ErrorBefore { status: status(503) }, (503, 20503), 0),
        (Fault::Refused, (401, 20003), 0),
        (Fault::ErrorAfter { status: status(500) }, (500, 20500), 1),
        (Fault::ErrorAfter { status: status(503) }, (503, 20503), 2),
    ] {
        bench.next_create(fault);
        assert_eq!((bench.post(&keys(), &[]).await.refusal(), bench.alive()), (expected, keys_now), "{fault:?}");
    }
}

#[tokio::test]
async fn an_error_of_a_proxy_is_no_json() {
    let bench = bench().await;
    bench.next_create(Fault::ErrorBefore { status: status(502) });
    let got = bench.post(&keys(), &[]).await;
    assert_eq!((got.status, got.header("content-type")), (StatusCode::BAD_GATEWAY, "text/html"));
}

#[tokio::test]
async fn a_lost_answer_is_a_closed_connection_after_the_work() {
    let bench = bench().await;
    bench.next_create(Fault::Lost);
    let error = bench.try_create().await.unwrap_err();
    assert!(error.is_request() && !error.is_connect() && error.status().is_none(), "{error:?}");
    assert_eq!(bench.alive(), 1);
    assert!(bench.try_create().await.is_ok(), "the next connection is whole");
}

#[tokio::test]
async fn a_create_delivered_late_makes_its_key_later() {
    let bench = bench().await;
    bench.next_create(Fault::Late { ms: 500 });
    assert!(bench.try_create().await.is_err());
    bench.pass(499);
    assert_eq!(bench.alive(), 0);
    bench.pass(1);
    assert_eq!(bench.alive(), 1);
}

#[tokio::test]
async fn an_answer_cut_off_has_its_status_and_half_its_body() {
    let bench = bench().await;
    bench.next_create(Fault::Cut);
    let mut response = bench.request(Method::POST, &bench.main, &keys()).send().await.unwrap();
    let announced = response.content_length().unwrap() as usize;
    assert_eq!(response.status(), StatusCode::CREATED);
    let mut came = 0;
    let end = loop {
        match response.chunk().await {
            Ok(Some(piece)) => came += piece.len(),
            other => break other,
        }
    };
    assert!(end.is_err());
    assert_eq!((came, bench.alive()), (announced / 2, 1));
}

#[tokio::test]
async fn a_deletion_cut_off_has_no_answer() {
    let bench = bench().await;
    let pair = bench.create("x").await;
    bench.sandbox.world().lock().script.add([Line::next(Operation::DeleteKey, Fault::Cut)]);
    assert!(bench.request(Method::DELETE, &bench.main, &key(&pair.0)).send().await.is_err());
    assert_eq!(bench.alive(), 0);
}

#[tokio::test]
async fn a_drip_is_slow_and_complete() {
    let bench = bench().await;
    bench.next_create(Fault::Drip { ms: 1 });
    let elapsed = stopwatch();
    let body: serde_json::Value = serde_json::from_str(&bench.try_create().await.unwrap()).unwrap();
    assert_eq!(body["friendly_name"], "x");
    assert!(elapsed() >= Duration::from_millis(body.to_string().len() as u64), "{:?}", elapsed());
}

#[tokio::test]
async fn a_malformed_answer_is_complete_and_no_json() {
    let bench = bench().await;
    bench.next_create(Fault::Malformed);
    let got = bench.post(&keys(), &[]).await;
    assert_eq!((got.status, got.header("content-type"), bench.alive()), (StatusCode::CREATED, "application/json", 1));
    assert!(serde_json::from_str::<serde_json::Value>(&got.text).is_err());
    let pair = bench.create("x").await;
    bench.sandbox.world().lock().script.add([Line::next(Operation::DeleteKey, Fault::Malformed)]);
    let deleted: Got = bench.delete(&key(&pair.0)).await;
    assert_eq!((deleted.status, bench.alive()), (StatusCode::OK, 1));
}

#[tokio::test]
async fn a_request_delivered_twice_makes_twins() {
    let bench = bench().await;
    bench.next_create(Fault::Twice);
    assert_eq!(bench.post(&keys(), &[]).await.status, StatusCode::CREATED);
    assert_eq!(bench.alive(), 2);
}

#[tokio::test]
async fn a_slow_start_delays_the_work_and_a_slow_answer_only_the_answer() {
    let bench = bench().await;
    for (fault, done) in [(Fault::SlowStart { ms: 600 }, 0), (Fault::SlowAnswer { ms: 600 }, 2)] {
        bench.next_create(fault);
        let elapsed = stopwatch();
        let request = bench.request(Method::POST, &bench.main, &keys());
        let (answer, ()) = tokio::join!(request.send(), async {
            wait(300).await;
            assert_eq!(bench.alive(), done, "{fault:?}");
        });
        assert_eq!(answer.unwrap().status(), StatusCode::CREATED);
        assert!(elapsed() >= Duration::from_millis(600));
    }
}

#[tokio::test]
async fn the_work_is_done_even_if_the_caller_hangs_up() {
    let bench = bench().await;
    bench.next_create(Fault::SlowStart { ms: 200 });
    let request = bench.request(Method::POST, &bench.main, &keys()).timeout(Duration::from_millis(50));
    assert!(request.send().await.unwrap_err().is_timeout());
    assert_eq!(bench.alive(), 0);
    wait(400).await;
    assert_eq!(bench.alive(), 1);
}

#[tokio::test]
async fn every_call_has_the_latency_that_is_set() {
    let bench = Bench::new(Faults { latency_ms: Latency::Between(50, 60), ..Faults::default() }).await;
    let elapsed = stopwatch();
    assert_eq!(bench.get(&bench.main, &keys()).await.status, StatusCode::OK);
    assert!(elapsed() >= Duration::from_millis(50));
}

#[tokio::test]
async fn one_call_more_than_the_account_may_have_under_way_is_turned_away() {
    let faults = Faults { concurrency: Some(2), latency_ms: Latency::Fixed(200), ..Faults::default() };
    let bench = Bench::new(faults).await;
    let create = || read(bench.request(Method::POST, &bench.main, &keys()));
    let (one, two, three) = tokio::join!(create(), create(), create());
    let mut seen =
        [one, two, three].map(|got| (got.status.as_u16(), got.header("twilio-concurrent-requests").to_owned()));
    seen.sort();
    assert_eq!(seen, [(201, "1".into()), (201, "2".into()), (429, "3".into())]);
    assert_eq!(create().await.header("twilio-concurrent-requests"), "1");
}

#[tokio::test]
async fn a_new_key_and_a_deleted_key_take_their_time() {
    let bench = Bench::new(Faults { key_delay_ms: 2_000, delete_delay_ms: 1_000, ..Faults::default() }).await;
    let pair = bench.create("slow").await;
    assert_eq!(bench.get(&pair, &messages()).await.refusal(), (401, 20003));
    bench.pass(2_000);
    assert_eq!(bench.get(&pair, &messages()).await.status, StatusCode::OK);
    assert_eq!(bench.delete(&key(&pair.0)).await.status, StatusCode::NO_CONTENT);
    assert_eq!(bench.get(&pair, &messages()).await.status, StatusCode::OK);
    bench.pass(1_000);
    assert_eq!(bench.get(&pair, &messages()).await.refusal(), (401, 20003));
}

#[tokio::test]
async fn the_quota_is_told_with_its_own_code() {
    let bench = Bench::new(Faults { key_quota: Some(1), ..Faults::default() }).await;
    let got = bench.post(&keys(), &[]).await;
    assert_eq!((got.refusal(), bench.alive()), ((400, 70151), 0));
    assert_eq!(got.body()["message"], "Maximum Number Of API Keys Exceeded");
}

#[tokio::test]
async fn a_lagging_list_misses_a_key_that_a_fetch_finds() {
    let bench = Bench::new(Faults { list_lag_ms: 1_000, ..Faults::default() }).await;
    bench.pass(5_000);
    let pair = bench.create("new").await;
    let listed = || async { bench.get(&bench.main, &keys()).await.body()["keys"].as_array().unwrap().len() };
    assert_eq!((listed().await, bench.get(&bench.main, &key(&pair.0)).await.status), (1, StatusCode::OK));
    bench.pass(1_000);
    assert_eq!(listed().await, 2);
}

#[tokio::test]
async fn faults_by_chance_strike_at_their_rate() {
    let random = Random { fault: Fault::RateLimited, rate: Rate::new(0.3).unwrap(), operation: None };
    let bench = Bench::new(Faults { random: vec![random], ..Faults::default() }).await;
    for _ in 0..200 {
        bench.get(&bench.main, &keys()).await;
    }
    let struck = bench.sandbox.world().lock().audit().count(Operation::ListKeys, 429);
    assert!((40..80).contains(&struck), "{struck}");
}
