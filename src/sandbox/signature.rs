//! Public Key Client Validation as Twilio describes it ("Public Key Client Validation", "Quickstart"): a token beside the
//! request that says, signed, what the request is.
//!
//! Nothing here is shared with the daemon that signs, so that one mistake is not made twice. Twilio's own libraries sign
//! some unusual requests otherwise than the docs say; with `pkcv_tolerant` those are taken too, and it is told which form
//! it was.

use super::public_keys::PublicKey;
use super::world::World;
use crate::model::home::Home;
use crate::model::key::PublicKeySid;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The header of the token.
pub(super) const TOKEN: &str = "twilio-client-validation";

/// A request as it came over the wire: what a signature is about.
pub struct Wire {
    /// The method.
    pub method: String,
    /// The path, as it was written.
    pub path: String,
    /// The query, as it was written.
    pub query: String,
    /// Every header, in the order of the request, the names in small letters.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Which reading of the rules a signature was right by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// That of Twilio's docs.
    Strict,
    /// The path and the query as they were written, which is what Twilio's Python library signs.
    AsWritten,
}

/// What is wrong with a token, in the order in which it is looked for. Which order Twilio has is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invalid {
    /// The account demands a signature, and there is none, or the caller came with an auth token.
    Required,
    /// There is one, and the account does not know of such things.
    NotEnabled,
    /// The token is none.
    Token,
    /// Its header is wrong.
    Header,
    /// The public key does not exist.
    UnknownKey,
    /// It is issued by another key, or for another account.
    Issuer,
    /// `hrh` or `rqh` is missing.
    Claims,
    /// It is not valid yet.
    Early,
    /// It is not valid any more.
    Expired,
    /// It would be valid for longer than 300 s.
    TooLong,
    /// A header that is signed did not come.
    HeaderMissing,
    /// The signature is wrong.
    Signature,
    /// Another request was signed.
    Request,
}

impl Invalid {
    /// Twilio's code, and its words (Twilio docs, errors 70052 to 70156 and 20151 to 20160). That the status is 401 is
    /// assumed.
    pub fn terms(self) -> (u32, &'static str) {
        match self {
            Invalid::Required => (70052, "Public key client validation required"),
            Invalid::NotEnabled => (70053, "Public key client validation is not enabled"),
            Invalid::Token => (20160, "Invalid token"),
            Invalid::Header => (20152, "Invalid JWT header"),
            Invalid::UnknownKey => (70153, "Public key does not exist"),
            Invalid::Issuer => (20153, "Invalid JWT issuer or subject"),
            Invalid::Claims => (20154, "Invalid JWT claim set"),
            Invalid::Early => (20155, "JWT is not yet valid"),
            Invalid::Expired => (20156, "JWT has expired"),
            Invalid::TooLong => (20157, "JWT expiration is too far in the future"),
            Invalid::HeaderMissing => (70155, "A header in the signed set is missing from the request"),
            Invalid::Signature => (20159, "Invalid JWT signature"),
            Invalid::Request => (70156, "Request hash does not match"),
        }
    }
}

/// The longest that a token may be valid, in seconds (Twilio docs, "Public Key Client Validation").
const LONGEST: i64 = 300;

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    cty: Option<String>,
}

#[derive(Deserialize)]
struct Claims {
    iss: Option<String>,
    sub: Option<String>,
    nbf: Option<i64>,
    exp: Option<i64>,
    hrh: Option<String>,
    rqh: Option<String>,
}

impl World {
    /// Looks at the signature of a request of that caller, if the account enforces them.
    pub(super) fn check_signature(
        &self,
        now: Timestamp,
        (home, user): (&Home, &str),
        enforced: bool,
        wire: Option<&Wire>,
    ) -> Result<Option<Form>, Invalid> {
        let token = wire.and_then(|wire| Some((wire, wire.header(TOKEN)?)));
        match (enforced, token) {
            (false, None) => Ok(None),
            (false, Some(_)) => Err(Invalid::NotEnabled),
            (true, None) => Err(Invalid::Required),
            (true, Some((wire, token))) => self.verify(now, home, user, wire, &token).map(Some),
        }
    }

    fn verify(&self, now: Timestamp, home: &Home, user: &str, wire: &Wire, token: &str) -> Result<Form, Invalid> {
        let (signed, signature) = token.rsplit_once('.').ok_or(Invalid::Token)?;
        let (header, claims) = signed.split_once('.').ok_or(Invalid::Token)?;
        let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Invalid::Token);
        let (header, claims, signature) = (bytes(header)?, bytes(claims)?, bytes(signature)?);
        let header: Header = serde_json::from_slice(&header).map_err(|_| Invalid::Header)?;
        let claims: Claims = serde_json::from_slice(&claims).map_err(|_| Invalid::Claims)?;
        let algorithm = algorithm(&header)?;
        let key = self.public_key(header.kid.as_deref(), home).ok_or(Invalid::UnknownKey)?;
        if claims.iss.as_deref() != Some(user) || claims.sub.as_deref() != Some(home.account.as_str()) {
            return Err(Invalid::Issuer);
        }
        let (Some(names), Some(hash)) = (&claims.hrh, &claims.rqh) else { return Err(Invalid::Claims) };
        in_time(&claims, self.twilio_time(now).as_second())?;
        let names: BTreeSet<String> = names.split(';').map(|name| name.trim().to_ascii_lowercase()).collect();
        if !(names.contains("authorization") && names.contains("host")) {
            return Err(Invalid::Claims);
        }
        if names.iter().any(|name| wire.header(name).is_none()) {
            return Err(Invalid::HeaderMissing);
        }
        let verified = UnparsedPublicKey::new(algorithm, &key.der).verify(signed.as_bytes(), &signature);
        verified.map_err(|_| Invalid::Signature)?;
        let tolerated: &[Form] =
            if self.faults.pkcv_tolerant { &[Form::Strict, Form::AsWritten] } else { &[Form::Strict] };
        let form = tolerated.iter().find(|form| hex(wire.canonical(&names, **form).as_bytes()) == *hash);
        form.copied().ok_or(Invalid::Request)
    }

    /// A public key of the account or of its parent, in that region.
    fn public_key(&self, kid: Option<&str>, home: &Home) -> Option<&PublicKey> {
        let key = self.public_keys.get(&PublicKeySid::new(kid?).ok()?)?;
        let key = Some(key).filter(|key| !key.deleted && key.region == home.region)?;
        let account = &home.account;
        (key.account == *account || self.parent_of(account) == Some(&key.account)).then_some(key)
    }
}

fn algorithm(header: &Header) -> Result<&'static dyn VerificationAlgorithm, Invalid> {
    let content = header.cty.as_deref() == Some("twilio-pkrv;v=1");
    let kind = header.typ.as_deref().is_none_or(|kind| kind == "JWT");
    match header.alg.as_str() {
        "RS256" if content && kind => Ok(&RSA_PKCS1_2048_8192_SHA256),
        "PS256" if content && kind => Ok(&RSA_PSS_2048_8192_SHA256),
        _ => Err(Invalid::Header),
    }
}

fn in_time(claims: &Claims, now: i64) -> Result<(), Invalid> {
    let Some(exp) = claims.exp else { return Err(Invalid::Claims) };
    let nbf = claims.nbf.unwrap_or(now);
    match () {
        () if nbf > now => Err(Invalid::Early),
        () if exp <= now => Err(Invalid::Expired),
        () if exp - nbf > LONGEST => Err(Invalid::TooLong),
        () => Ok(()),
    }
}

impl Wire {
    /// The public key that its token names.
    pub(super) fn signer(&self) -> Option<PublicKeySid> {
        let header = URL_SAFE_NO_PAD.decode(self.header(TOKEN)?.split('.').next()?).ok()?;
        PublicKeySid::new(&serde_json::from_slice::<Header>(&header).ok()?.kid?).ok()
    }

    /// All values of a header, each without needless blanks, sorted and joined; none if it did not come.
    fn header(&self, name: &str) -> Option<String> {
        let values = self.headers.iter().filter(|(found, _)| found == name);
        let mut values: Vec<_> =
            values.map(|(_, value)| value.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        values.sort();
        (!values.is_empty()).then(|| values.join(","))
    }

    /// The text whose hash is signed.
    fn canonical(&self, names: &BTreeSet<String>, form: Form) -> String {
        let (path, query) = match form {
            Form::Strict => (strict_path(&self.path), strict_query(&self.query)),
            Form::AsWritten => {
                let mut pairs: Vec<_> = self.query.split('&').collect();
                pairs.sort_unstable();
                // That library takes what follows a `;` for parameters, and leaves it out (Python, `urlparse`).
                let (folder, last) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
                (format!("{folder}/{}", last.split(';').next().unwrap_or_default()), pairs.join("&"))
            }
        };
        let headers: String =
            names.iter().filter_map(|name| Some(format!("{name}:{}\n", self.header(name)?))).collect();
        let names = names.iter().map(String::as_str).collect::<Vec<_>>().join(";");
        let body = if self.body.is_empty() { String::new() } else { hex(&self.body) };
        format!("{}\n{path}\n{query}\n{headers}\n{names}\n{body}", self.method.trim().to_ascii_uppercase())
    }
}

/// Without `.` and `..`, and encoded by RFC 3986.
fn strict_path(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/').skip(1) {
        match part {
            "." => (),
            ".." => _ = parts.pop(),
            part => parts.push(part),
        }
    }
    let parts: Vec<_> = parts.into_iter().map(|part| encode(&decode(part, false))).collect();
    format!("/{}", parts.join("/"))
}

/// The pairs sorted as they were written, then encoded; a key without a value has a `=` too.
fn strict_query(query: &str) -> String {
    let mut pairs: Vec<&str> = query.split('&').filter(|pair| !pair.is_empty()).collect();
    pairs.sort_unstable();
    let pairs = pairs.into_iter().map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        format!("{}={}", encode(&decode(key, true)), encode(&decode(value, true)))
    });
    pairs.collect::<Vec<_>>().join("&")
}

fn decode(text: &str, plus_is_blank: bool) -> Vec<u8> {
    let mut bytes = text.as_bytes().iter().copied();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        let two = bytes.clone().take(2).map(char::from).collect::<String>();
        let escaped = (byte == b'%' && two.len() == 2).then_some(two);
        match escaped.and_then(|two| u8::from_str_radix(&two, 16).ok()) {
            Some(escaped) => {
                decoded.push(escaped);
                bytes.nth(1);
            }
            None if byte == b'+' && plus_is_blank => decoded.push(b' '),
            None => decoded.push(byte),
        }
    }
    decoded
}

fn encode(bytes: &[u8]) -> String {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let one = |byte: &u8| if unreserved(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") };
    bytes.iter().map(one).collect()
}

fn hex(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
