//! What the daemon tells a service manager, heard at the socket of one (sd_notify(3)).

use super::service::hold_the_journal;
use crate::daemon::rig::{Process, QUICK, Rig, signal};
use crate::support::openbao;
use crate::support::server::free_port;
use rekeyd::sandbox::call::Operation;
use rekeyd::sandbox::{Fault, Line};
use rustix::process::Signal;
use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

/// A service manager that only listens.
struct Ear {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Ear {
    /// Listens to the daemon that the installation starts next.
    fn of(rig: &mut Rig, watchdog: Option<Duration>) -> Self {
        let socket = UnixDatagram::bind(rig.path("notify")).unwrap();
        socket.set_nonblocking(true).unwrap();
        rig.environment.push(("NOTIFY_SOCKET", rig.path("notify").display().to_string()));
        let within = watchdog.map(|within| ("WATCHDOG_USEC", within.as_micros().to_string()));
        rig.environment.extend(within);
        Self { socket, heard: Vec::new() }
    }

    /// Takes what was said since.
    fn listen(&mut self) {
        let mut message = [0; 4096];
        loop {
            match self.socket.recv(&mut message) {
                Ok(length) => {
                    let text = String::from_utf8(message[..length].to_vec()).unwrap();
                    self.heard.extend(text.lines().map(str::to_owned));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn times(&mut self, words: &str) -> usize {
        self.listen();
        self.heard.iter().filter(|line| line.contains(words)).count()
    }

    async fn until(&mut self, words: &str, times: usize) {
        let start = Instant::now();
        while self.times(words) < times {
            assert!(start.elapsed() < Duration::from_secs(60), "{words} was not said: {:#?}", self.heard);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What was said from here on.
    fn forget(&mut self) {
        self.listen();
        self.heard.clear();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_is_said_when_every_account_was_asked_and_not_before() {
    let mut rig = Rig::new(&["billing-sms"], QUICK).await;
    let mut ear = Ear::of(&mut rig, None);
    let slow = Line { times: 1, ..Line::next(Operation::ListKeys, Fault::SlowAnswer { ms: 3_000 }) };
    rig.sandbox.world().lock().script.add([slow]);
    let _daemon = rig.start();
    ear.until("STATUS=starting: the keys of 0 of 1 accounts were asked for", 1).await;
    assert_eq!((rig.probe("/readyz").await, rig.probe("/livez").await), (Some(503), Some(200)));
    ear.until("EXTEND_TIMEOUT_USEC=", 1).await;
    assert_eq!(ear.times("READY=1"), 0, "{:#?}", ear.heard);
    ear.until("READY=1", 1).await;
    assert_eq!(rig.probe("/readyz").await, Some(200));
    rig.until_settled(1).await;
    ear.until("0 halted; next rotation: billing-sms at 20", 1).await;
    assert_eq!((ear.times("READY=1"), ear.times("WATCHDOG=1")), (1, 0));
}

/// A Vault that takes its time and then hangs up.
fn slow_vault(port: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::sleep(Duration::from_millis(1_500));
            drop(stream);
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_waits_until_every_sink_was_tried_and_not_until_it_answers() {
    let mut rig = Rig::new(&["billing-sms"], QUICK).await;
    let port = free_port();
    slow_vault(port);
    let policy = fs::read_to_string(rig.path("policy.toml")).unwrap();
    let policy = policy.replace(&openbao::shared().url(), &format!("http://127.0.0.1:{port}"));
    fs::write(rig.path("policy.toml"), policy).unwrap();
    let mut ear = Ear::of(&mut rig, None);
    let _daemon = rig.start();
    ear.until("STATUS=starting: sink vault was not read yet", 1).await;
    assert_eq!((ear.times("READY=1"), rig.probe("/readyz").await), (0, Some(503)));
    ear.until("READY=1", 1).await;
    ear.until("; sink vault can not be read", 1).await;
    assert_eq!((ear.times("sink aws can"), ear.times("sink files can")), (0, 0));
    assert_eq!(rig.probe("/readyz").await, Some(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_watchdog_hears_of_passes_and_of_nothing_while_one_does_not_end() {
    let mut rig = Rig::new(&["billing-sms"], QUICK).await;
    // Nobody but the watchdog asks for passes.
    let policy = fs::read_to_string(rig.path("policy.toml")).unwrap();
    fs::write(rig.path("policy.toml"), policy.replace("tick = \"1s\"", "tick = \"10m\"")).unwrap();
    let within = Duration::from_secs(2);
    let mut ear = Ear::of(&mut rig, Some(within));
    let daemon = rig.start();
    ear.until("READY=1", 1).await;
    for _ in 0..3 {
        ear.forget();
        tokio::time::sleep(within).await;
        assert!(ear.times("WATCHDOG=1") >= 1, "a daemon at work is killed");
    }
    let mut holder = hold_the_journal(daemon.child.id());
    // One pass may have begun just before.
    tokio::time::sleep(within).await;
    ear.forget();
    tokio::time::sleep(within * 2).await;
    assert_eq!(ear.times("WATCHDOG=1"), 0, "a daemon that hangs is not killed: {:#?}", ear.heard);
    drop(daemon);
    holder.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_is_told_from_its_beginning_to_its_end_and_so_is_the_end() {
    let mut rig = Rig::new(&["billing-sms"], QUICK).await;
    let mut ear = Ear::of(&mut rig, None);
    let daemon = rig.start();
    rig.until_settled(1).await;
    ear.until("READY=1", 1).await;
    ear.forget();
    let policy = fs::read_to_string(rig.path("policy.toml")).unwrap();
    fs::write(rig.path("policy.toml"), policy.replace("grace", "graec")).unwrap();
    reloaded(&daemon, &mut ear).await;
    assert_eq!(ear.times("STATUS=going on with what was read before: the policy is not accepted"), 1);
    ear.until("; what was read again is not accepted: the policy is not accepted", 1).await;
    ear.forget();
    fs::write(rig.path("policy.toml"), &policy).unwrap();
    reloaded(&daemon, &mut ear).await;
    assert_eq!(rig.log().matches("rekeyd has started").count(), 2, "it was ready before it had begun anew");
    ear.forget();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(ear.times("not accepted"), 0, "{:#?}", ear.heard);
    signal(&daemon, Signal::TERM);
    ear.until("STOPPING=1", 1).await;
}

/// Sends SIGHUP and hears, in this order, that a reload begins, since when, and that it has ended.
async fn reloaded(daemon: &Process, ear: &mut Ear) {
    signal(daemon, Signal::HUP);
    ear.until("READY=1", 1).await;
    assert_eq!((ear.times("RELOADING=1"), ear.times("READY=1")), (1, 1), "{:#?}", ear.heard);
    let at = |words: &str| ear.heard.iter().position(|line| line.starts_with(words));
    assert!(at("RELOADING=1") < at("MONOTONIC_USEC=") && at("MONOTONIC_USEC=") < at("READY=1"), "{:#?}", ear.heard);
}
