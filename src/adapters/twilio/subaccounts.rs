//! Subaccounts as their parent makes and ends them (Twilio docs, "REST API: Subaccounts", "CredentialPublicKey Resource", and
//! "Account and Key Management with API Keys", by which a parent's Main key does all of it).

use super::TwilioClient;
use super::accounts::{Page, Shown};
use super::answer::Answer;
use super::key_pair::key_pair;
use super::pair::Pair;
use super::pkcv::Signer;
use super::probe::{RESOURCES, accepted};
use super::public_keys::{self, NOT_SIGNED, address};
use crate::adapters::http::{self, Miss};
use crate::adapters::json::Object;
use crate::model::fault::{Failure, Fault, Outcome};
use crate::model::fleet::Listed;
use crate::model::key::{AccountSid, KeyFacts, KeySid, PublicKeySid};
use crate::model::policy::Algorithm;
use crate::ports::{KeyPair, Landlord, NewKey, Proof, Seed, Verdict};
use async_trait::async_trait;
use std::collections::BTreeMap;

#[async_trait]
impl Landlord for TwilioClient {
    async fn open(&self, name: &str) -> Outcome<AccountSid> {
        http::outcome(self.open_account(name).await)
    }

    async fn called(&self, name: &str) -> Outcome<Vec<Listed>> {
        http::outcome(self.accounts_called(name).await)
    }

    async fn show(&self, account: &AccountSid) -> Outcome<Listed> {
        http::outcome(self.show_account(account).await)
    }

    async fn rename(&self, account: &AccountSid, name: &str) -> Outcome<()> {
        http::outcome(self.update_account(account, ("FriendlyName", name)).await.map(drop))
    }

    async fn close(&self, account: &AccountSid) -> Outcome<()> {
        http::outcome(self.close_account(account).await)
    }

    async fn make_key(&self, account: &AccountSid, name: &str) -> Outcome<NewKey> {
        http::outcome(self.create_key(&self.reaches.home(account), name).await)
    }

    async fn keys(&self, account: &AccountSid) -> Outcome<Vec<KeyFacts>> {
        http::outcome(self.list_keys(&self.reaches.home(account)).await)
    }

    async fn delete_key(&self, account: &AccountSid, sid: &KeySid) -> Outcome<()> {
        http::outcome(TwilioClient::delete_key(self, &self.reaches.home(account), sid).await)
    }

    async fn register(&self, account: &AccountSid, name: &str, pem: &str) -> Outcome<PublicKeySid> {
        http::outcome(self.register_public_key(account, name, pem).await)
    }

    async fn public_keys(&self, account: &AccountSid) -> Outcome<Vec<(PublicKeySid, Option<String>)>> {
        http::outcome(self.public_keys_shown(account).await)
    }

    async fn delete_public_key(&self, account: &AccountSid, sid: &PublicKeySid) -> Outcome<()> {
        http::outcome(match self.usual_of(account) {
            Ok(reach) => self.remove_public_key(reach, &KeySid::from(sid)).await,
            Err(miss) => Err(miss),
        })
    }

    async fn prove(&self, account: &AccountSid, seed: &Seed) -> Outcome<Proof> {
        http::outcome(self.prove_seed(account, seed).await)
    }

    fn pair(&self) -> Result<KeyPair, Failure> {
        key_pair().ok_or_else(|| Failure::new(Fault::Local, "the crypto library made none"))
    }
}

impl TwilioClient {
    /// Sends exactly one POST, on a connection of its own.
    async fn open_account(&self, name: &str) -> Result<AccountSid, Miss> {
        let reach = self.usual();
        let request = reach.fresh.post(reach.base.at(["2010-04-01", "Accounts.json"])).form(&[("FriendlyName", name)]);
        let answer = self.call(reach, request, reach.admin()).await?;
        let made: Shown = answer.parse(&[201, 200], "a new account")?;
        if made.friendly_name != name || made.sid == reach.admin().account.clone() {
            return Err(answer.malformed("the new account is not what was asked for"));
        }
        Ok(made.sid)
    }

    /// The filter is for exactly this name (Twilio docs, "Account resource"); an answer that disregards it is no answer.
    async fn accounts_called(&self, name: &str) -> Result<Vec<Listed>, Miss> {
        let reach = self.usual();
        let mut url = reach.base.at(["2010-04-01", "Accounts.json"]);
        url.query_pairs_mut().append_pair("FriendlyName", name).append_pair("PageSize", "1000");
        let answer = self.call(reach, reach.kept.get(url), reach.admin()).await?;
        let page: Page = answer.parse(&[200], "a page of accounts")?;
        if page.next_page_uri.is_some() || page.accounts.iter().any(|Object(shown)| shown.friendly_name != name) {
            return Err(answer.malformed("the list holds accounts of other names, or too many"));
        }
        Ok(page.accounts.into_iter().map(|Object(shown)| shown.into()).collect())
    }

    async fn show_account(&self, account: &AccountSid) -> Result<Listed, Miss> {
        let reach = self.usual();
        let url = reach.account(account);
        let answer = self.call(reach, reach.kept.get(url), reach.admin()).await?;
        shown(&answer, account)
    }

    /// As the parent, whatever else manages the keys of the account.
    async fn update_account(&self, account: &AccountSid, change: (&str, &str)) -> Result<Listed, Miss> {
        let reach = self.usual();
        let url = reach.account(account);
        let answer = self.call(reach, reach.fresh.post(url).form(&[change]), reach.admin()).await?;
        shown(&answer, account)
    }

    async fn close_account(&self, account: &AccountSid) -> Result<(), Miss> {
        if *account == self.usual().admin().account.clone() {
            // The last door before the wire; the command has refused it long before.
            return Err(Miss::NotDone(Failure::new(Fault::Refused, "this is the main account, which is never closed")));
        }
        match self.update_account(account, ("Status", "closed")).await? {
            Listed { closed: true, .. } => Ok(()),
            Listed { .. } => Err(Miss::Unknown(Failure::new(Fault::Malformed, "the account is shown as not closed"))),
        }
    }

    /// Sends exactly one POST, on a connection of its own.
    async fn register_public_key(&self, account: &AccountSid, name: &str, pem: &str) -> Result<PublicKeySid, Miss> {
        let reach = self.usual_of(account)?;
        let form = [("AccountSid", account.as_str()), ("FriendlyName", name), ("PublicKey", pem)];
        // An account that is managed with something of its own is the one that asks, and is not named (Twilio docs).
        let form = if reach.admin().account == account { &form[1..] } else { &form[..] };
        let request = reach.fresh.post(address(reach, None)).form(form);
        let answer = self.call(reach, request, reach.admin()).await?;
        let made: public_keys::Shown = answer.parse(&[201, 200], "a new public key")?;
        if made.friendly_name.as_deref() != Some(name) || made.account_sid.as_ref().is_some_and(|told| told != account)
        {
            return Err(answer.malformed("the new public key is not what was asked for"));
        }
        public_key(&made.sid).ok_or_else(|| answer.malformed("the new public key is said to be an API key"))
    }

    /// Those of the account among those that the caller is shown: whether a parent is shown those of its subaccounts is
    /// written nowhere.
    async fn public_keys_shown(&self, account: &AccountSid) -> Result<Vec<(PublicKeySid, Option<String>)>, Miss> {
        let reach = self.usual_of(account)?;
        let mut found = BTreeMap::new();
        let read = |answer: &Answer<'_>| {
            let page: public_keys::Page = answer.parse(&[200], "a page of public keys")?;
            let own = page.credentials.into_iter().filter(|Object(key)| key.account_sid.as_ref() == Some(account));
            found.extend(own.filter_map(|Object(key)| Some((public_key(&key.sid)?, key.friendly_name))));
            Ok(page.meta.0.next_page_url)
        };
        self.pages(reach, address(reach, None), read).await?;
        Ok(found.into_iter().collect())
    }

    /// Signed first. Where the account says that it wants no signatures, without one.
    async fn prove_seed(&self, account: &AccountSid, seed: &Seed) -> Result<Proof, Miss> {
        let unusable = |_| Miss::NotDone(Failure::new(Fault::Local, "the new private key can not sign"));
        let signer = Signer::new(&seed.public_key, Algorithm::Rs256, &seed.private_key).map_err(unusable)?;
        let home = self.reaches.home(account);
        let pair = Pair { user: seed.key.as_str(), secret: &seed.secret, account, signer: Some(&signer) };
        let answer = self.ask(&home, RESOURCES[0], pair).await?;
        if answer.complaint().is_some_and(|complaint| complaint.code == NOT_SIGNED) {
            let verdict = self.probe_pair(&home, Pair { signer: None, ..pair }).await?;
            return Ok(if verdict == Verdict::Works { Proof::Unsigned } else { Proof::Refused });
        }
        match answer.status {
            200 => accepted(&answer).map(|()| Proof::Signed),
            401 if answer.complaint().is_some() => Ok(Proof::Refused),
            _ => Err(answer.miss()),
        }
    }
}

fn shown(answer: &Answer<'_>, account: &AccountSid) -> Result<Listed, Miss> {
    let shown: Shown = answer.parse(&[200], "an account")?;
    if shown.sid != *account {
        return Err(answer.malformed("it shows another account"));
    }
    Ok(shown.into())
}

fn public_key(sid: &KeySid) -> Option<PublicKeySid> {
    PublicKeySid::new(sid.as_str()).ok()
}
