//! Public keys for signed requests: the CredentialPublicKey resource (Twilio docs; `accounts.twilio.com`, version 1).

use super::call::{Answer, PublicKeyView, Refusal};
use super::keys::fits;
use super::page::Paging;
use super::world::World;
use crate::model::home::{Home, Region};
use crate::model::key::{AccountSid, PublicKeySid};
use aws_lc_rs::rsa::PublicEncryptingKey;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use std::cmp::Reverse;

/// A public key, known or forgotten.
pub struct PublicKey {
    /// Its SID.
    pub sid: PublicKeySid,
    /// The account it belongs to.
    pub account: AccountSid,
    /// The region it belongs to.
    pub region: Region,
    /// Its friendly name.
    pub name: Option<String>,
    /// X.509 SubjectPublicKeyInfo.
    pub der: Vec<u8>,
    /// How many were made before it.
    pub serial: u64,
    /// When it was made, by Twilio's clock.
    pub created: Timestamp,
    /// When it was last updated, by Twilio's clock.
    pub updated: Timestamp,
    /// Whether it was deleted.
    pub deleted: bool,
}

/// What is wrong with a public key (Twilio docs, errors 70101 to 70104).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadKey {
    /// It is no RSA key.
    NotRsa,
    /// It has not 2,048 bits.
    Length,
    /// Its exponent is not 65,537.
    Exponent,
    /// It can not be read.
    Unreadable,
}

impl PublicKey {
    fn view(&self) -> PublicKeyView {
        PublicKeyView {
            sid: self.sid.clone(),
            account: self.account.clone(),
            name: self.name.clone(),
            created: self.created,
            updated: self.updated,
        }
    }
}

impl World {
    /// Makes a public key known, as the Console or the API does.
    pub fn register(
        &mut self,
        now: Timestamp,
        account: &AccountSid,
        name: Option<&str>,
        pem: &str,
    ) -> Result<PublicKeySid, BadKey> {
        self.register_in(now, &Home::us1(account.clone()), name, pem)
    }

    /// The same in another region.
    pub fn register_in(
        &mut self,
        now: Timestamp,
        home: &Home,
        name: Option<&str>,
        pem: &str,
    ) -> Result<PublicKeySid, BadKey> {
        let der = read(pem)?;
        let (sid, serial) = (self.chance.public_key_sid(), self.public_keys.len() as u64);
        let (created, name, Home { account, region }) = (self.twilio_time(now), name.map(str::to_owned), home.clone());
        let (updated, deleted, id) = (created, false, sid.clone());
        let key = PublicKey { sid: id, account, region, name, der, serial, created, updated, deleted };
        self.public_keys.insert(sid.clone(), key);
        Ok(sid)
    }

    pub(super) fn create_public_key(
        &mut self,
        now: Timestamp,
        home: &Home,
        name: Option<&str>,
        pem: Option<&str>,
    ) -> Result<Answer, Refusal> {
        fits(name)?;
        let sid = self.register_in(now, home, name, pem.ok_or(Refusal::Constraint)?).map_err(Refusal::PublicKey)?;
        let key = self.public_keys.get(&sid).ok_or(Refusal::NotFound)?;
        Ok(Answer::PublicKeyMade(key.view()))
    }

    pub(super) fn list_public_keys(&self, home: &Home, paging: &Paging) -> Result<Answer, Refusal> {
        let known = |key: &&PublicKey| self.is_shown(key, home);
        let mut keys: Vec<_> = self.public_keys.values().filter(known).collect();
        keys.sort_by_key(|key| Reverse((key.created.as_second(), key.serial)));
        paging.cut(keys.into_iter().map(PublicKey::view).collect()).map(Answer::PublicKeys)
    }

    pub(super) fn fetch_public_key(&mut self, home: &Home, sid: &str) -> Result<Answer, Refusal> {
        self.known_public_key(home, sid).map(|key| Answer::PublicKey(key.view()))
    }

    pub(super) fn update_public_key(
        &mut self,
        now: Timestamp,
        home: &Home,
        sid: &str,
        name: Option<&str>,
    ) -> Result<Answer, Refusal> {
        let updated = self.twilio_time(now);
        let key = self.known_public_key(home, sid)?;
        fits(name)?;
        key.updated = updated;
        key.name = name.map(str::to_owned).or(key.name.take());
        Ok(Answer::PublicKey(key.view()))
    }

    pub(super) fn delete_public_key(&mut self, home: &Home, sid: &str) -> Result<Answer, Refusal> {
        let key = self.known_public_key(home, sid)?;
        key.deleted = true;
        Ok(Answer::PublicKeyDeleted(key.sid.clone()))
    }

    fn known_public_key(&mut self, home: &Home, sid: &str) -> Result<&mut PublicKey, Refusal> {
        let sid = PublicKeySid::new(sid).map_err(|_| Refusal::NotFound)?;
        let shown = self.public_keys.get(&sid).is_some_and(|key| self.is_shown(key, home));
        self.public_keys.get_mut(&sid).filter(|_| shown).ok_or(Refusal::NotFound)
    }

    /// Whether it is there, in this region, and of the account or of a subaccount.
    fn is_shown(&self, key: &PublicKey, home: &Home) -> bool {
        let account = &home.account;
        let childs = !self.faults.hide_public_keys_of_subaccounts && self.parent_of(&key.account) == Some(account);
        (key.account == *account || childs) && key.region == home.region && !key.deleted
    }

    /// Every public key that ever was.
    pub fn public_keys(&self) -> impl Iterator<Item = &PublicKey> {
        self.public_keys.values()
    }
}

/// PEM with or without its line breaks, or the bare base64 of the key: Twilio's own examples send all three.
fn read(text: &str) -> Result<Vec<u8>, BadKey> {
    /// The object identifier of RSA (RFC 8017, A.1), as it stands in the key.
    const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    /// 65,537, which is the last thing in the key.
    const EXPONENT: &[u8] = &[0x02, 0x03, 0x01, 0x00, 0x01];
    let bare = text.replace("-----BEGIN PUBLIC KEY-----", "").replace("-----END PUBLIC KEY-----", "");
    let bare: String = bare.split_whitespace().collect();
    let der = STANDARD.decode(bare).map_err(|_| BadKey::Unreadable)?;
    if !der.windows(RSA.len()).any(|window| window == RSA) {
        let sequence = der.first() == Some(&0x30);
        return Err(if sequence { BadKey::NotRsa } else { BadKey::Unreadable });
    }
    // The library refuses short keys with the same error as broken ones; their length tells them apart.
    match PublicEncryptingKey::from_der(&der) {
        Ok(key) if key.key_size_bits() != 2048 => Err(BadKey::Length),
        Ok(_) if !der.ends_with(EXPONENT) => Err(BadKey::Exponent),
        Ok(_) => Ok(der),
        Err(_) if der.len() < 290 && der.ends_with(EXPONENT) => Err(BadKey::Length),
        Err(_) => Err(BadKey::Unreadable),
    }
}
