//! A new key pair for signed requests: RSA with 2,048 bits and the exponent 65,537, which is all that Twilio takes (Twilio
//! docs, errors 70101 to 70103).

use crate::model::secret::Secret;
use crate::ports::KeyPair;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// How long a line of PEM is (RFC 7468, 2).
const LINE: usize = 64;

/// Makes one; this takes a while. None if the system gives no random numbers.
pub fn key_pair() -> Option<KeyPair> {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).ok()?;
    let private: Pkcs8V1Der<'_> = pair.as_der().ok()?;
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().ok()?;
    let public = pem("PUBLIC KEY", public.as_ref());
    Some(KeyPair { public: public.expose().to_owned(), private: pem("PRIVATE KEY", private.as_ref()) })
}

/// Text with the length that it will have from the beginning: a growing one would leave copies behind.
fn pem(what: &str, der: &[u8]) -> Secret {
    let encoded = Zeroizing::new(STANDARD.encode(der));
    let mut text = String::with_capacity(encoded.len() + encoded.len() / LINE + 1 + 2 * (what.len() + 20));
    text.extend(["-----BEGIN ", what, "-----\n"]);
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(LINE));
        text.extend([line, "\n"]);
        rest = more;
    }
    text.extend(["-----END ", what, "-----\n"]);
    Secret::new(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::rsa::PublicEncryptingKey;

    #[test]
    fn both_halves_are_read_by_others_and_belong_together() {
        let pair = key_pair().unwrap();
        let der = |text: &str| {
            let lines: Vec<_> = text.lines().collect();
            let body = &lines[1..lines.len() - 1];
            assert!(
                body.iter().all(|line| line.len() <= LINE) && body[..body.len() - 1].iter().all(|l| l.len() == LINE)
            );
            STANDARD.decode(body.concat()).unwrap()
        };
        let private = RsaKeyPair::from_pkcs8(&der(pair.private.expose())).unwrap();
        let public: PublicKeyX509Der<'_> = private.public_key().as_der().unwrap();
        assert_eq!(public.as_ref(), der(&pair.public));
        assert_eq!(PublicEncryptingKey::from_der(public.as_ref()).unwrap().key_size_bits(), 2048);
        assert!(pair.public.starts_with("-----BEGIN PUBLIC KEY-----\n"));
        assert!(pair.private.expose().starts_with("-----BEGIN PRIVATE KEY-----\n"));
        assert!(pair.private.expose().ends_with("\n-----END PRIVATE KEY-----\n"));
    }
}
