//! A secret is in memory while it is used and no longer: the whole memory of the real binary is searched for those of
//! finished rotations (protocol, S6).

use super::rig::{AWS_SECRET, Figures, Process, QUICK, Rig, by_hand, private};
use crate::support::authority::{Authority, Front};
use crate::support::counted::counted;
use crate::support::disguise::{Hits, Search, told};
use crate::support::{emulator, memory, openbao};
use rekeyd::sandbox::call::Operation;
use rekeyd::sandbox::{Fault, Line};
use std::time::{Duration, Instant};

/// An installation that reaches everything over TLS, as in earnest, and looks at the sinks only when it has to.
struct Sealed {
    rig: Rig,
    _fronts: [Front; 3],
    _authority: Authority,
}

impl Sealed {
    async fn new(names: &[&str]) -> Self {
        let figures = Figures { grace: "1s", ..QUICK };
        let mut rig = Rig::new(names, figures).await;
        let authority = Authority::new("rekeyd's tests");
        let ca = authority.file.path().to_str().unwrap();
        let port = |url: &str| url.rsplit(':').next().unwrap().parse().unwrap();
        let plain = [rig.sandbox.url(), openbao::shared().url(), emulator::shared().url()];
        let mut policy = std::fs::read_to_string(rig.path("policy.toml")).unwrap();
        let mut fronts = Vec::new();
        for url in &plain {
            let front = Front::start(&authority, port(url)).await;
            policy = policy.replace(url, &front.url);
            fronts.push(front);
        }
        let policy = policy.replace("mount = ", &format!("ca_file = \"{ca}\"\nmount = "));
        std::fs::write(
            rig.path("policy.toml"),
            policy.replace("reconcile = \"5s\"", "reconcile = \"1h\"\nwatch = \"off\""),
        )
        .unwrap();
        rig.environment.push(("SSL_CERT_FILE", ca.to_owned()));
        // Meant for other programs; nobody answers there.
        rig.environment.push(("HTTPS_PROXY", "http://127.0.0.1:9".to_owned()));
        let fronts = fronts.try_into().ok().unwrap();
        Self { rig, _fronts: fronts, _authority: authority }
    }

    /// The secrets of every key that was ever made for us, and the token of Vault, which is read anew for each call.
    fn secrets(&self) -> Vec<(String, String)> {
        let main = self.rig.sandbox.main_key().0;
        let world = self.rig.sandbox.world().lock();
        let keys = world.keys().filter(|key| key.sid != main);
        let keys = keys.map(|key| (format!("the secret of {}", key.sid), key.secret.expose().to_owned()));
        keys.chain([("the token of Vault".to_owned(), self.rig.token.clone())]).collect()
    }

    /// What of them is in the memory of the daemon now, whole or half.
    fn found(&self, daemon: &Process) -> Hits {
        let secrets = self.secrets();
        let search = Search::halves(secrets.iter().map(|(name, secret)| (name.clone(), secret.as_str())));
        search.hits(&memory::writable(daemon.child.id()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_after_a_rotation_its_secrets_are_nowhere_in_memory() {
    let names: Vec<String> = (0..10).map(|number| format!("credential-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let sealed = Sealed::new(&names).await;
    let rig = &sealed.rig;
    let daemon = rig.start();
    for round in 1..=3 {
        rig.until_settled(round).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let start = Instant::now();
        let hits = sealed.found(&daemon);
        println!("searched in {:?}", start.elapsed());
        let (halves, secrets) = (hits.values().sum::<usize>(), sealed.secrets().len());
        assert!(hits.is_empty(), "after round {round}, {halves} halves of {secrets} secrets:\n{}", told(&hits));
        if round < 3 {
            names.iter().for_each(|name| assert!(rig.run(&["rotate", name]).status.success()));
        }
    }
    counted("rotations searched in memory", sealed.secrets().len() - 1);
    // The same search finds a secret that is in use: while a call with the new pair is under way.
    let slow = Line { times: 30, ..Line::next(Operation::ListNumbers, Fault::SlowAnswer { ms: 3000 }) };
    rig.sandbox.world().lock().script.add([slow]);
    rig.run(&["rotate", names[0]]);
    rig.until("a key is proven", || rig.credential(names[0]).is_some_and(|line| line["phase"] == "verifying")).await;
    rig.until("its secret is in memory", || {
        let encodings: Vec<&str> = sealed.found(&daemon).into_keys().map(|(_, encoding)| encoding).collect();
        encodings.contains(&"clear") && encodings.contains(&"base64")
    })
    .await;
    // An attempt that comes to nothing lets go of it too.
    let theirs = rig.foreign("hers");
    let hers = by_hand(&theirs, "a-secret-of-her-own").to_string();
    private(&rig.path("secrets").join(format!("{}.json", names[0])), &hers);
    rig.sandbox.world().lock().script.clear();
    rig.until("halted", || rig.credential(names[0]).is_some_and(|line| line["phase"] == "halted")).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let hits = sealed.found(&daemon);
    assert!(hits.is_empty(), "after it was halted:\n{}", told(&hits));
    // What the daemon can not do without stays.
    let (main, bytes) = (rig.sandbox.main_key().1, memory::writable(daemon.child.id()));
    for (name, secret) in [("Main key", main.expose()), ("AWS", AWS_SECRET)] {
        let hits = Search::new([(format!("the secret of {name}"), secret)]).hits(&bytes);
        assert!(!hits.is_empty(), "the secret of {name} is read once and kept");
        print!("stays in memory:\n{}", told(&hits));
    }
    drop(daemon);
}
