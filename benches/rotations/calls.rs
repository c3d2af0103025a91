//! The nine calls of a rotation and nothing else: no engine, no journal, no sink. What they cost is what HTTP costs; the
//! rest of a rotation's CPU time is the protocol's and the journal's. Made by this program itself, started once more.

use crate::report::{Beside, IN_FLIGHT, NEEDED};
use crate::rig::Rig;
use crate::sandbox::{ACCOUNT, LATENCY, MAIN_KEY, MAIN_SECRET};
use crate::watched::cpu;
use rekeyd::adapters::clock::SystemClock;
use rekeyd::adapters::twilio::TwilioClient;
use rekeyd::model::fault::Outcome;
use rekeyd::model::home::{Home, Region};
use rekeyd::model::key::{AccountSid, KeySid, Label, LabelKey};
use rekeyd::model::names::{CredentialName, Instance};
use rekeyd::model::policy::{Access, Admin, SecretSource, TwilioPolicy};
use rekeyd::model::secret::Secret;
use rekeyd::ports::{Clock as _, Issuer as _, Make};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, SemaphorePermit};

/// What the run is called in the table.
pub const NAME: &str = "the nine calls alone";
/// The argument that makes this program do it.
pub const ARGUMENT: &str = "--calls-alone";

/// Starts this program again, for so many rotations.
pub fn measure(rig: &Rig, rotations: usize) -> Beside {
    rig.sandbox.latency(LATENCY);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([ARGUMENT, &rig.sandbox.port.to_string(), &rotations.to_string()]);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().unwrap();
    rig.sandbox.latency(0);
    assert!(output.status.success(), "the calls alone failed");
    let told = String::from_utf8(output.stdout).unwrap();
    let mut told = told.split_whitespace().map(|figure| Duration::from_micros(figure.parse().unwrap()));
    let (took, cpu) = (told.next().unwrap(), told.next().unwrap());
    Beside { name: NAME, rotations, took, cpu, calls: NEEDED * rotations as u64 }
}

/// What the program that was started again does: prints the time and the CPU time that it took, in microseconds.
pub fn make(port: &str, rotations: &str) {
    let account = AccountSid::new(ACCOUNT).unwrap();
    let (key, secret) = (Some(KeySid::new(MAIN_KEY).unwrap()), SecretSource::Env("unused".to_owned()));
    let admin = Admin { account: account.clone(), key, secret, pkcv: None };
    let base_url = format!("http://127.0.0.1:{port}").parse().unwrap();
    let access = Access { region: Region::us1(), base_url, admin, pkcv: None };
    let policy = TwilioPolicy {
        account,
        access,
        accounts: std::collections::BTreeMap::new(),
        regions: std::collections::BTreeMap::new(),
        homes: std::collections::BTreeMap::new(),
        key_pairs: std::collections::BTreeSet::new(),
    };
    let read = |_: &SecretSource| Ok(Secret::new(MAIN_SECRET.to_owned()));
    let client = Arc::new(TwilioClient::new(&policy, &read, Arc::new(SystemClock::new())).unwrap());
    let turns = Arc::new(Semaphore::new(IN_FLIGHT as usize));
    let rotations: usize = rotations.parse().unwrap();
    let (start, before) = (Instant::now(), cpu("self"));
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let one = || tokio::spawn(rotate(client.clone(), turns.clone()));
        let tasks: Vec<_> = (0..rotations).map(|_| one()).collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    let (took, cpu) = (start.elapsed(), cpu("self") - before);
    println!("{} {}", took.as_micros(), cpu.as_micros());
}

/// A create, five trials, two looks and a delete: of the key that was just made, for there is no other.
async fn rotate(client: Arc<TwilioClient>, turns: Arc<Semaphore>) {
    let home = Home::us1(AccountSid::new(ACCOUNT).unwrap());
    let (instance, credential) = (Instance::new("bench").unwrap(), CredentialName::new("calls-alone").unwrap());
    let attempt = SystemClock::new().attempt();
    let label = Label::new(&LabelKey::new([0; 32]), &home, &instance, &credential, attempt);
    let turn = async || turns.acquire().await.unwrap();
    let created = in_turn(turn().await, client.create(&home, &label, Make::Standard)).await;
    for _ in 0..5 {
        in_turn(turn().await, client.probe(&home, &created.facts.sid, &created.secret, None)).await;
    }
    in_turn(turn().await, client.fetch(&home, &created.facts.sid)).await;
    in_turn(turn().await, client.delete(&home, &created.facts.sid)).await;
    in_turn(turn().await, client.fetch(&home, &created.facts.sid)).await;
}

async fn in_turn<T>(_turn: SemaphorePermit<'_>, call: impl Future<Output = Outcome<T>>) -> T {
    call.await.answer().unwrap()
}
