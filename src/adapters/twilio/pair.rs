//! A key with its secret: how it signs a request, and how it is kept out of every text.

use super::pkcv::Signer;
use crate::adapters::redact::hide;
use crate::model::key::AccountSid;
use crate::model::secret::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;
use zeroize::Zeroizing;

/// What a call authenticates with (HTTP Basic, RFC 7617): a key's SID is the user and its secret the password; or the SID
/// of an account, and its auth token.
#[derive(Clone, Copy)]
pub(super) struct Pair<'a> {
    pub(super) user: &'a str,
    pub(super) secret: &'a Secret,
    /// The account that it belongs to.
    pub(super) account: &'a AccountSid,
    /// What signs the request too, where signatures are enforced.
    pub(super) signer: Option<&'a Signer>,
}

impl Pair<'_> {
    /// The value of the `Authorization` header, marked so that no library shows it.
    pub(super) fn authorization(self) -> HeaderValue {
        let text = Zeroizing::new(["Basic ", self.encoded().expose()].concat());
        let mut value = HeaderValue::from_str(&text).expect("base64 is made of visible characters");
        value.set_sensitive(true);
        value
    }

    fn encoded(self) -> Secret {
        let plain = Zeroizing::new([self.user, ":", self.secret.expose()].concat());
        Secret::new(STANDARD.encode(plain.as_bytes()))
    }

    /// Takes this pair's secret out of a text, also as it stands in the header.
    fn scrub(self, text: &str) -> String {
        self.secret.scrub(&self.encoded().scrub(text))
    }
}

/// Whether this can be a secret or a token. The form is Twilio's own rule: its Go library refuses to send anything else.
pub(super) fn usable(secret: &&str) -> bool {
    !secret.is_empty() && secret.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// Makes a text of Twilio fit to be shown: without the secrets that were used, and without anything that looks like
/// another one.
pub(super) fn redact(text: &str, pairs: &[Pair<'_>]) -> String {
    hide(&pairs.iter().fold(text.to_owned(), |text, pair| pair.scrub(&text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<T>(secret: &str, then: impl FnOnce(Pair<'_>) -> T) -> T {
        let account = AccountSid::new("AC00000000000000000000000000000001").unwrap();
        let secret = Secret::new(secret.to_owned());
        then(Pair { user: "SK00000000000000000000000000000001", secret: &secret, account: &account, signer: None })
    }

    fn redacted(text: &str) -> String {
        with("short-secret", |pair| redact(text, &[pair]))
    }

    #[test]
    fn a_pair_signs_as_user_and_password_and_its_header_is_sensitive() {
        let value = with("hunter2", |pair| pair.authorization());
        assert!(value.is_sensitive());
        let expected = "Basic U0swMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMTpodW50ZXIy";
        assert_eq!(value.to_str().unwrap(), expected);
    }

    #[test]
    fn known_secrets_are_taken_out_in_clear_and_in_base64() {
        assert_eq!(redacted("not short-secret, sorry"), "not [secret], sorry");
        let header = "U0swMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMTpzaG9ydC1zZWNyZXQ=";
        assert_eq!(redacted(&format!("got {header} twice: {header}")), "got [secret] twice: [secret]");
        assert_eq!(
            redacted(header.trim_end_matches('=')),
            "[hidden][secret]Q",
            "the last sign ends two letters and more"
        );
    }
}
