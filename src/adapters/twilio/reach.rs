//! How each account is reached: where, with what, and how its calls are signed.

use super::admin::{AdminError, Found};
use super::pair::Pair;
use super::pkcv::{Signer, SignerError};
use crate::adapters::http::{self, Base, Connections, Deadlines, HttpError};
use crate::adapters::secrets::{self, SecretError};
use crate::model::home::{Home, Region};
use crate::model::key::{AccountSid, KeySid};
use crate::model::policy::{Access, Admin, Algorithm, Pkcv, SecretSource, TwilioPolicy};
use crate::model::secret::Secret;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;
use url::Url;

/// Why the doors to Twilio could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TwilioError {
    /// A secret could not be had.
    #[error("what manages the keys of {0} can not be read")]
    Secret(AccountSid, #[source] SecretError),
    /// A file or a place with AWS's form has another.
    #[error("{0} does not say what manages the keys")]
    Admin(String, #[source] AdminError),
    /// A private key is none.
    #[error("{} can not sign requests", .0.display())]
    Signer(PathBuf, #[source] SignerError),
    /// There can be no connection.
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// Reads what a policy names.
pub type Read<'r> = &'r dyn Fn(&SecretSource) -> Result<Secret, SecretError>;

/// How the keys of an account in one region are managed.
pub(super) struct Reach {
    region: Region,
    pub(super) base: Base,
    /// For calls that the admin signs: connections are used again.
    pub(super) kept: reqwest::Client,
    /// For creates: each unknown outcome costs a key, so none is risked on a connection that may be closing. For them and
    /// for probes: their connections do not outlive the secret that travels on them.
    pub(super) fresh: reqwest::Client,
    key: Option<KeySid>,
    admin: AccountSid,
    user: String,
    secret: Secret,
    signer: Option<Arc<Signer>>,
    /// How its requests are signed while key pairs are proven.
    pub(super) algorithm: Algorithm,
    /// What its calls are signed with: it must not be deleted either.
    public_keys: Vec<KeySid>,
    /// How the calls of new keys are signed; mostly the same.
    prover: Option<Arc<Signer>>,
}

impl Reach {
    fn new(access: &Access, read: Read<'_>, [kept, fresh]: [reqwest::Client; 2]) -> Result<Self, TwilioError> {
        let Access { region, base_url, admin, pkcv } = access;
        let unread = |error| TwilioError::Secret(admin.account.clone(), error);
        let read = read(&admin.secret).map_err(unread)?;
        let (key, secret) = match &admin.secret {
            SecretSource::Admin(path) => found(&read, admin, &path.display())?,
            SecretSource::Stored(place) => found(&read, admin, place)?,
            SecretSource::File(_) | SecretSource::Env(_) => (admin.key.clone(), read),
        };
        let own = admin.pkcv.as_ref().map(signer).transpose()?;
        let prover = if *pkcv == admin.pkcv { own.clone() } else { pkcv.as_ref().map(signer).transpose()? };
        Ok(Self {
            region: region.clone(),
            base: Base::new(base_url)?,
            kept,
            fresh,
            user: key.as_ref().map_or_else(|| admin.account.to_string(), KeySid::to_string),
            key,
            secret,
            admin: admin.account.clone(),
            signer: own,
            algorithm: pkcv.as_ref().map_or(Algorithm::Rs256, |pkcv| pkcv.algorithm),
            public_keys: admin.pkcv.iter().chain(pkcv).map(|pkcv| KeySid::from(&pkcv.public_key)).collect(),
            prover,
        })
    }

    /// What manages the keys.
    pub(super) fn admin(&self) -> Pair<'_> {
        Pair { user: &self.user, secret: &self.secret, account: &self.admin, signer: self.signer.as_deref() }
    }

    /// Whether what manages the keys of this account is a key of its own, and not its parent's, and no auth token.
    pub(super) fn is_own_key_of(&self, account: &AccountSid) -> bool {
        self.key.is_some() && self.admin == *account
    }

    /// Whether what manages the keys is the auth token of this account.
    pub(super) fn is_token_of(&self, account: &AccountSid) -> bool {
        self.key.is_none() && self.admin == *account
    }

    /// The key that manages the others, if it is one, and what signs its calls; and where they live.
    fn roots(&self) -> impl Iterator<Item = (KeySid, Home)> {
        let home = Home { account: self.admin.clone(), region: self.region.clone() };
        self.key.iter().chain(&self.public_keys).map(move |key| (key.clone(), home.clone()))
    }

    /// A key of the account, as a consumer has it.
    pub(super) fn consumer<'a>(&'a self, account: &'a AccountSid, sid: &'a KeySid, secret: &'a Secret) -> Pair<'a> {
        Pair { user: sid.as_str(), secret, account, signer: self.prover.as_deref() }
    }

    /// The account itself.
    pub(super) fn account(&self, account: &AccountSid) -> Url {
        self.base.at(["2010-04-01", "Accounts", &format!("{account}.json")])
    }

    /// An address of the account: `…/2010-04-01/Accounts/AC…/a/b`.
    pub(super) fn address<const N: usize>(&self, account: &AccountSid, rest: [&str; N]) -> Url {
        self.base.at(["2010-04-01", "Accounts", account.as_str()].into_iter().chain(rest))
    }

    /// An address of `iam.twilio.com` or another product, or of the sandbox, which serves all products.
    pub(super) fn product(&self, product: &str, path: &[&str]) -> Url {
        let mut url = self.base.at(path.iter().copied());
        let host = url.domain().and_then(|host| host.strip_prefix("api.")).map(|rest| format!("{product}.{rest}"));
        if let Some(host) = host {
            // A host that was checked when the policy was read, with another first word.
            let _ = url.set_host(Some(&host));
        }
        url
    }
}

/// What a text in AWS's form says.
fn found(text: &Secret, admin: &Admin, origin: &dyn Display) -> Result<(Option<KeySid>, Secret), TwilioError> {
    let signed = admin.pkcv.is_some();
    let fits = |found: Found| if signed && found.key.is_none() { Err(AdminError::Token) } else { Ok(found) };
    let found = Found::read(text, &admin.account).and_then(fits);
    let found = found.map_err(|error| TwilioError::Admin(origin.to_string(), error))?;
    Ok((found.key, found.secret))
}

fn signer(pkcv: &Pkcv) -> Result<Arc<Signer>, TwilioError> {
    let failed = |error| TwilioError::Signer(pkcv.private_key.clone(), error);
    let pem = secrets::read_lines(&pkcv.private_key).map_err(|error| failed(error.into()))?;
    Signer::new(&pkcv.public_key, pkcv.algorithm, &pem).map(Arc::new).map_err(failed)
}

/// The ways of a policy to all keys.
pub(super) struct Reaches {
    /// To the main account, and to every one that nothing else is said of.
    usual: Reach,
    /// To the same in other regions.
    regions: BTreeMap<Region, Reach>,
    /// To what is said something of its own of.
    homes: BTreeMap<Home, Reach>,
    /// Where the keys of such accounts live, unless a credential says otherwise.
    accounts: BTreeMap<AccountSid, Region>,
}

impl Reaches {
    /// Accounts at one address share their connections.
    pub(super) fn new(policy: &TwilioPolicy, read: Read<'_>, deadlines: Deadlines) -> Result<Self, TwilioError> {
        let mut clients: BTreeMap<Url, [reqwest::Client; 2]> = BTreeMap::new();
        let mut reach = |access: &Access| {
            let shared = match clients.get(&access.base_url) {
                Some(shared) => shared.clone(),
                None => {
                    let base = Base::new(&access.base_url)?;
                    let client = |connections| http::client(&base, None, deadlines, connections);
                    let made = [client(Connections::Kept)?, client(Connections::Fresh)?];
                    clients.insert(access.base_url.clone(), made.clone());
                    made
                }
            };
            Reach::new(access, read, shared)
        };
        let usual = reach(&policy.access)?;
        let (mut regions, mut homes) = (BTreeMap::new(), BTreeMap::new());
        for (region, access) in &policy.regions {
            regions.insert(region.clone(), reach(access)?);
        }
        let accounts = policy.accounts.iter().map(|(sid, access)| (policy.home(sid), access));
        for (home, access) in accounts.chain(policy.homes.iter().map(|(home, access)| (home.clone(), access))) {
            homes.insert(home, reach(access)?);
        }
        let accounts = policy.accounts.iter().map(|(sid, access)| (sid.clone(), access.region.clone())).collect();
        Ok(Self { usual, regions, homes, accounts })
    }

    /// The way to the main account.
    pub(super) fn usual(&self) -> &Reach {
        &self.usual
    }

    /// The way to the keys that live there.
    pub(super) fn to(&self, home: &Home) -> Option<&Reach> {
        let usual = || Some(&self.usual).filter(|usual| usual.region == home.region);
        self.homes.get(home).or_else(usual).or_else(|| self.regions.get(&home.region))
    }

    /// Where the keys of an account live, unless a credential says otherwise.
    pub(super) fn home(&self, account: &AccountSid) -> Home {
        let region = self.accounts.get(account).unwrap_or(&self.usual.region);
        Home { account: account.clone(), region: region.clone() }
    }

    /// All ways.
    pub(super) fn all(&self) -> impl Iterator<Item = &Reach> {
        self.homes.values().chain(self.regions.values()).chain([&self.usual])
    }

    /// What manages keys, what signs its calls, and where those live.
    pub(super) fn roots(&self) -> BTreeMap<KeySid, Home> {
        self.all().flat_map(Reach::roots).collect()
    }
}
