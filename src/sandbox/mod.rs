//! A Twilio that is meaner than the real one: for the tests, for `rekeyd demo`, and for trying a policy.
//!
//! The core is a plain state machine ([`World`]) that is given the time with every call; `http` is a door to it for
//! everyone who speaks HTTP, Twilio's SDKs among them. It has the Keys of API 2010-04-01 (also as SigningKeys) and of IAM
//! version 1, accounts, public keys, auth tokens, the events of Monitor, and two ordinary resources to prove a key with. Where Twilio's documents leave something open, it does what
//! is worst for a client that took something for granted.
//!
//! Under `/_sandbox/` it can be looked into and made mean while it runs:
//!
//! | request | effect |
//! |---|---|
//! | `GET state`, `GET audit` | accounts and keys without secrets, counters; every call so far |
//! | `PUT faults` | the settings, [`Faults`] as JSON: `{"key_delay_ms": 2000, "random": [{"fault": "lost", "rate": 0.1}]}` |
//! | `POST script`, `DELETE script` | a list of [`Line`]s: `[{"operation": "create_key", "times": 2, "fault": {"late": {"ms": 500}}}]` |
//! | `POST keys` | makes a key by hand: `{"account": "AC…", "type": "main", "friendly_name": "…"}`; answers SID and secret |
//! | `DELETE keys/SK…` | deletes one by hand |
//! | `POST accounts/AC…` | `{"status": "suspended"}`, `closed` or `active` |

mod access;
mod accounts;
mod audit;
pub mod call;
mod chance;
mod events;
mod faults;
mod http;
mod keys;
mod page;
mod public_keys;
mod refusal;
mod script;
mod signature;
mod tokens;
mod view;
mod world;

#[cfg(test)]
mod tests;

pub use accounts::Account;
pub use audit::{Audit, Denial, Entry};
pub use events::{Event, Filter};
pub use faults::{ErrorStatus, Fault, Faults, Latency, OutOfRange, Random, Rate, Reach};
pub use http::{Clock, Exchange, Handle, Witness};
pub use keys::{Deletion, Key, KeyKind, NewKey};
pub use page::{Page, Paging};
pub use public_keys::{BadKey, PublicKey};
pub use script::{Line, Script};
pub use signature::{Form, Invalid, Wire};
pub use tokens::Secondary;
pub use world::{Ticket, World};

use crate::model::home::Region;
use crate::model::key::{AccountSid, KeySid};
use crate::model::secret::Secret;
use futures_util::future::join_all;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How the sandbox starts.
pub struct Options {
    /// Where it listens; only loopback, and port 0 takes a free one.
    pub listen: SocketAddr,
    /// Decides every choice and every secret; without one, the operating system chooses a seed.
    pub seed: Option<u64>,
    /// The account; without one, it is made up.
    pub account_sid: Option<AccountSid>,
    /// The pair of its Main key; without one, it is made up.
    pub main_key: Option<(KeySid, Secret)>,
    /// Its subaccounts.
    pub subaccounts: Vec<AccountSid>,
    /// So many more, called `customer-0001` and on.
    pub customers: usize,
    /// Other regions, each with an address of its own: the accounts are the same there, the keys are not.
    pub regions: BTreeMap<Region, SocketAddr>,
    /// How mean it is at first.
    pub faults: Faults,
    /// Tells the time; without one, the machine does.
    pub clock: Option<Clock>,
    /// Sees every call and its answer.
    pub witness: Option<Witness>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            seed: None,
            account_sid: None,
            main_key: None,
            subaccounts: Vec::new(),
            customers: 0,
            regions: BTreeMap::new(),
            faults: Faults::default(),
            clock: None,
            witness: None,
        }
    }
}

impl Options {
    /// The world as it is at first, its account, and its Main key.
    fn world(self, now: Timestamp, seed: u64) -> Result<(World, AccountSid, KeySid), StartError> {
        let mut world = World::new(seed, self.faults);
        let account = world.open_account(now, self.account_sid, None);
        for subaccount in self.subaccounts {
            if world.accounts().any(|account| account.sid == subaccount) {
                return Err(StartError::Twice(subaccount));
            }
            world.open_account(now, Some(subaccount), Some(account.clone()));
        }
        for number in 1..=self.customers {
            let sid = world.open_account(now, None, Some(account.clone()));
            world.name_account(&sid, &format!("customer-{number:04}"));
        }
        let name = Some("Main key".to_owned());
        let new = NewKey { account: account.clone(), kind: KeyKind::Main, name, pair: self.main_key };
        let main_key = world.make_by_hand(now, new);
        Ok((world, account, main_key))
    }
}

/// Why the sandbox does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Others than this machine could reach it.
    #[error("the sandbox listens on loopback only (127.0.0.1 or [::1]), not on {0}")]
    NotLoopback(SocketAddr),
    /// The address is not to be had.
    #[error("the sandbox cannot listen on {addr}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the operating system says.
        source: io::Error,
    },
    /// Two accounts have the same SID.
    #[error("the account {0} is given twice")]
    Twice(AccountSid),
}

/// A running sandbox; it stops when this is dropped.
pub struct Sandbox {
    world: Handle,
    addr: SocketAddr,
    seed: u64,
    account: AccountSid,
    main_key: KeySid,
    regions: BTreeMap<Region, (SocketAddr, KeySid)>,
    servers: Vec<JoinHandle<io::Result<()>>>,
    stop: DropGuard,
}

/// How long calls that are under way may hold up the end.
const PATIENCE: Duration = Duration::from_secs(2);

impl Sandbox {
    /// Starts to listen and to serve.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let (listen, elsewhere) = (options.listen, options.regions.clone());
        if let Some(listen) = elsewhere.values().chain([&listen]).find(|listen| !listen.ip().is_loopback()) {
            return Err(StartError::NotLoopback(*listen));
        }
        let clock = options.clock.clone().unwrap_or_else(|| Arc::new(machine_time));
        let witness = options.witness.clone();
        let seed = options.seed.unwrap_or_else(chosen_seed);
        let (world, account, main_key) = options.world(clock(), seed)?;
        let (listener, addr) = bind(listen).await?;
        let (world, stop) = (Handle::new(world, clock, witness), CancellationToken::new());
        let mut servers = vec![tokio::spawn(http::serve(listener, world.clone(), stop.clone()))];
        let mut regions = BTreeMap::new();
        for (region, listen) in elsewhere {
            let (listener, addr) = bind(listen).await?;
            let name = Some(format!("Main key of {region}"));
            let new = NewKey { account: account.clone(), kind: KeyKind::Main, name, pair: None };
            let main_key = world.lock().make_by_hand_in(world.now(), region.clone(), new);
            servers.push(tokio::spawn(http::serve(listener, world.in_region(region.clone()), stop.clone())));
            regions.insert(region, (addr, main_key));
        }
        Ok(Self { world, addr, seed, account, main_key, regions, servers, stop: stop.drop_guard() })
    }

    /// Where it is: what to write into `base_url`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The other regions: where each is, and its Main key.
    pub fn regions(&self) -> impl Iterator<Item = (&Region, String, (KeySid, Secret))> {
        self.regions.iter().map(|(region, (addr, main_key))| (region, format!("http://{addr}"), self.pair(main_key)))
    }

    /// The seed: with it, and the same calls in the same order, a run can be repeated.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The account.
    pub fn account_sid(&self) -> &AccountSid {
        &self.account
    }

    /// The token of an account, if it exists.
    pub fn account_token(&self, account: &AccountSid) -> Option<Secret> {
        let world = self.world.lock();
        world.accounts().find(|found| found.sid == *account).map(|found| found.token.duplicate())
    }

    /// The pair of the account's Main key.
    pub fn main_key(&self) -> (KeySid, Secret) {
        self.pair(&self.main_key)
    }

    fn pair(&self, sid: &KeySid) -> (KeySid, Secret) {
        let world = self.world.lock();
        let key = world.key(sid).expect("a key stays in the world, even when it is deleted");
        (key.sid.clone(), key.secret.duplicate())
    }

    /// The world behind the door.
    pub fn world(&self) -> &Handle {
        &self.world
    }

    /// Stops to listen, and waits up to two seconds for the calls that are under way.
    pub async fn stop(self) {
        drop(self.stop);
        // A call that takes longer is left behind; it ends with the process.
        tokio::time::timeout(PATIENCE, join_all(self.servers)).await.ok();
    }
}

async fn bind(addr: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen { addr, source };
    let listener = TcpListener::bind(addr).await.map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;
    Ok((listener, addr))
}

#[expect(clippy::disallowed_methods, reason = "the sandbox is a world of its own; this is where its time comes from")]
fn machine_time() -> Timestamp {
    Timestamp::now()
}

/// A seed short enough to be typed.
fn chosen_seed() -> u64 {
    let mut bytes = [0; 4];
    aws_lc_rs::rand::fill(&mut bytes).expect("the operating system gives random bytes");
    u32::from_ne_bytes(bytes).into()
}
