//! Public Key Client Validation: beside each request goes a token that says what the request is, signed with a private key
//! whose public half Twilio knows (Twilio docs, "Public Key Client Validation").
//!
//! Twilio's own libraries disagree about requests with unusual signs. So a request is first brought into the one form
//! that all of them, and the docs, agree on, and then that form is signed: the query has its pairs sorted, each with a
//! `=`, and everything but letters, digits and `-._~` encoded; only `authorization` and `host` are among what is signed.

use super::pair::Pair;
use crate::model::key::PublicKeySid;
use crate::model::policy::{Algorithm, Pkcv};
use crate::model::secret::Secret;
use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use jsonwebtoken::{EncodingKey, Header};
use reqwest::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue};
use reqwest::{Request, RequestBuilder};
use serde::Serialize;
use std::fmt::Write as _;
use url::Url;

/// The header of the token.
const TOKEN: HeaderName = HeaderName::from_static("twilio-client-validation");
/// What is signed of the headers, at least (Twilio docs).
const SIGNED: &str = "authorization;host";
/// How long a token is good: the most that Twilio takes, in seconds.
const LIFETIME: i64 = 300;
/// How long before its time a token is good already, in seconds: clocks differ.
const EARLY: i64 = 60;

/// Why nothing can be signed. None of these texts repeats the file.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// It could not be read.
    #[error(transparent)]
    Unread(#[from] crate::adapters::secrets::SecretError),
    /// It is something else.
    #[error("it does not hold an RSA private key in PEM form")]
    NoKey,
}

/// What signs requests.
pub(super) struct Signer {
    key: EncodingKey,
    header: Header,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    nbf: i64,
    exp: i64,
    hrh: &'static str,
    rqh: String,
}

impl Signer {
    /// Takes the private key, in PEM (PKCS #1 or #8), to the public one that Twilio knows.
    pub(super) fn new(public_key: &PublicKeySid, algorithm: Algorithm, pem: &Secret) -> Result<Self, SignerError> {
        let key = EncodingKey::from_rsa_pem(pem.expose().as_bytes()).map_err(|_| SignerError::NoKey)?;
        let mut header = Header::new(match algorithm {
            Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
            Algorithm::Ps256 => jsonwebtoken::Algorithm::PS256,
        });
        (header.cty, header.kid) = (Some("twilio-pkrv;v=1".to_owned()), Some(public_key.to_string()));
        let signer = Self { key, header };
        // The library looks at the key only when it is used.
        signer.token(&Claims { iss: "", sub: "", nbf: 0, exp: 0, hrh: SIGNED, rqh: String::new() })?;
        Ok(signer)
    }

    fn token(&self, claims: &Claims<'_>) -> Result<String, SignerError> {
        jsonwebtoken::encode(&self.header, claims, &self.key).map_err(|_| SignerError::NoKey)
    }

    /// Brings the request into the agreed form and puts the token beside it. The pair has signed it already.
    pub(super) fn sign(&self, request: RequestBuilder, pair: &Pair<'_>, now: Timestamp) -> Option<RequestBuilder> {
        let (client, request) = request.build_split();
        let mut request = request.ok()?;
        agree(&mut request);
        let nbf = now.as_second() - EARLY;
        let rqh = hex(canonical(&request)?.as_bytes());
        let claims = Claims { iss: pair.user, sub: pair.account.as_str(), nbf, exp: nbf + LIFETIME, hrh: SIGNED, rqh };
        let mut token = HeaderValue::try_from(self.token(&claims).ok()?).ok()?;
        token.set_sensitive(true);
        request.headers_mut().insert(TOKEN, token);
        Some(RequestBuilder::from_parts(client, request))
    }
}

/// Gives the request the form that every reading of the rules agrees on.
fn agree(request: &mut Request) {
    let url = request.url_mut();
    let mut pairs: Vec<String> =
        url.query_pairs().map(|(key, value)| format!("{}={}", strictly(&key), strictly(&value))).collect();
    pairs.sort();
    url.set_query(Some(pairs.join("&").as_str()).filter(|query| !query.is_empty()));
    let host = host(url);
    if let Ok(host) = HeaderValue::try_from(host) {
        request.headers_mut().insert(HOST, host);
    }
}

/// As in the `Host` header: the port only where it is not the scheme's own (RFC 9110, 7.2).
fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Everything but the unreserved signs encoded (RFC 3986, 2.3).
fn strictly(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// What is signed: a text that holds the method, the path, the query, the two headers, and the hash of the body. None for
/// a path that the readings disagree on; there is none among Twilio's.
fn canonical(request: &Request) -> Option<String> {
    let (url, headers) = (request.url(), request.headers());
    let path = url.path();
    let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::to_owned);
    let body = match request.body() {
        None => String::new(),
        Some(body) => body.as_bytes().filter(|bytes| !bytes.is_empty()).map_or_else(String::new, hex),
    };
    let canonical = format!(
        "{}\n{path}\n{}\nauthorization:{}\nhost:{}\n\n{SIGNED}\n{body}",
        request.method(),
        url.query().unwrap_or_default(),
        text(AUTHORIZATION)?,
        text(HOST)?,
    );
    Pkcv::can_sign(path).then_some(canonical)
}

fn hex(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().fold(String::new(), |mut hex, byte| {
        _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::key::AccountSid;
    use jsonwebtoken::{DecodingKey, Validation, decode};
    use serde_json::Value;

    /// Requests that Twilio's own Python library signed, and what other libraries of theirs make of them.
    const VECTORS: &str = include_str!("../../../tests/vectors/pkcv.json");

    fn text(value: &Value) -> &str {
        value.as_str().unwrap_or_default()
    }

    /// The call of a vector as this daemon would make it.
    fn request(vector: &Value) -> RequestBuilder {
        let (call, sent) = (&vector["call"], &vector["wire"]);
        let mut url = Url::parse(text(&call["url"])).unwrap();
        for (key, value) in call["params"].as_object().into_iter().flatten() {
            url.query_pairs_mut().append_pair(key, text(value));
        }
        let method = text(&call["method"]).parse().unwrap();
        let request = crate::adapters::http::client(
            &crate::adapters::http::Base::new(&Url::parse("http://127.0.0.1").unwrap()).unwrap(),
            None,
            crate::adapters::http::Deadlines::default(),
            crate::adapters::http::Connections::Fresh,
        );
        let request = request.unwrap().request(method, url).body(text(&sent["body"]).to_owned());
        request.header(AUTHORIZATION, text(&sent["authorization_header"]))
    }

    #[test]
    fn what_is_signed_is_what_twilios_libraries_and_docs_agree_on() {
        let all: Value = serde_json::from_str(VECTORS).unwrap();
        let vectors = all["vectors"].as_array().unwrap().iter();
        let agreed = vectors.filter(|vector| text(&vector["agreement"]["use"]).starts_with("conformance"));
        let mut tried = 0;
        for vector in agreed.filter(|vector| !vector["wire"].is_null()) {
            let mut request = request(vector).build().unwrap();
            agree(&mut request);
            let canonical = canonical(&request).unwrap();
            assert_eq!(canonical, text(&vector["python_canonical"]), "{}", vector["name"]);
            assert_eq!(hex(canonical.as_bytes()), text(&vector["rqh"]), "{}", vector["name"]);
            tried += 1;
        }
        assert!(tried >= 7, "{tried}");
    }

    #[test]
    fn a_blank_is_signed_and_sent_as_percent_20_and_pairs_are_sorted() {
        let mut request = reqwest::Request::new(
            reqwest::Method::GET,
            Url::parse("https://api.twilio.com/v1/Keys?b=x+y&a=&a%20b=%C3%A9*~&c").unwrap(),
        );
        agree(&mut request);
        assert_eq!(request.url().query(), Some("a%20b=%C3%A9%2A~&a=&b=x%20y&c="));
        assert_eq!(request.headers()[HOST], "api.twilio.com");
    }

    #[test]
    fn paths_that_the_readings_disagree_on_are_not_signed() {
        let signed = |path: &str| {
            let url = Url::parse(&format!("https://api.twilio.com{path}")).unwrap();
            let mut request = reqwest::Request::new(reqwest::Method::GET, url);
            request.headers_mut().insert(AUTHORIZATION, HeaderValue::from_static("Basic x"));
            agree(&mut request);
            canonical(&request).is_some()
        };
        assert!(signed("/2010-04-01/Accounts/AC1.json"));
        for odd in ["/", "/a//b", "/a/", "/a;b", "/a%2Fb", "/a(b)"] {
            assert!(!signed(odd), "{odd}");
        }
    }

    #[test]
    fn a_token_says_who_signs_for_whom_and_for_how_long() {
        let all: Value = serde_json::from_str(VECTORS).unwrap();
        let pem = Secret::new(text(&all["rsa_private_key_pkcs8_pem"]).to_owned());
        let public = DecodingKey::from_rsa_pem(text(&all["rsa_public_key_spki_pem"]).as_bytes()).unwrap();
        let kid = PublicKeySid::new(text(&all["about"]["credential_sid"])).unwrap();
        let account = AccountSid::new(text(&all["about"]["account_sid"])).unwrap();
        let secret = Secret::new("unused".to_owned());
        for (algorithm, theirs) in
            [(Algorithm::Rs256, jsonwebtoken::Algorithm::RS256), (Algorithm::Ps256, jsonwebtoken::Algorithm::PS256)]
        {
            let signer = Signer::new(&kid, algorithm, &pem).unwrap();
            let user = text(&all["about"]["api_key_sid"]);
            let pair = Pair { user, secret: &secret, account: &account, signer: Some(&signer) };
            let now = Timestamp::from_second(1_700_000_000).unwrap();
            let signed = signer.sign(request(&all["vectors"][0]), &pair, now).unwrap().build().unwrap();
            let token = &signed.headers()[TOKEN];
            assert!(token.is_sensitive());
            let mut validation = Validation::new(theirs);
            (validation.validate_exp, validation.validate_nbf) = (false, false);
            let read = decode::<Value>(token.to_str().unwrap(), &public, &validation).unwrap();
            assert_eq!(read.header.cty.as_deref(), Some("twilio-pkrv;v=1"));
            assert_eq!((read.header.kid.as_deref(), read.header.typ.as_deref()), (Some(kid.as_str()), Some("JWT")));
            assert_eq!((text(&read.claims["iss"]), text(&read.claims["sub"])), (user, account.as_str()));
            assert_eq!(text(&read.claims["rqh"]), text(&all["vectors"][0]["rqh"]));
            let (nbf, exp) = (read.claims["nbf"].as_i64().unwrap(), read.claims["exp"].as_i64().unwrap());
            assert!(nbf < 1_700_000_000 && exp > 1_700_000_100 && exp - nbf <= 300, "{nbf} {exp}");
        }
    }

    #[test]
    fn what_is_no_rsa_key_is_refused_without_being_shown() {
        let kid = PublicKeySid::new("CR00000000000000000000000000000004").unwrap();
        for pem in ["", "Canary", "-----BEGIN PRIVATE KEY-----\nCanary\n-----END PRIVATE KEY-----\n"] {
            let error = Signer::new(&kid, Algorithm::Rs256, &Secret::new(pem.to_owned())).err().unwrap();
            assert_eq!(error.to_string(), "it does not hold an RSA private key in PEM form");
        }
    }
}
