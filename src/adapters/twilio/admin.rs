//! What manages keys, in the form in which AWS keeps it (Secrets Manager, secret types `TwilioMainApiKey`: `{"accountSid",
//! "adminKeySid", "adminKeySecret"}`, and `TwilioAuthToken`: `{"accountSid", "authToken"}`).

use super::pair::usable;
use crate::model::key::{AccountSid, KeySid};
use crate::model::secret::Secret;
use serde::Deserialize;

/// Why a text does not say what manages keys. None of these texts repeats it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// It has another form.
    #[error("it is no JSON object with accountSid, and adminKeySid and adminKeySecret, or authToken")]
    Form,
    /// An auth token, where requests have to be signed.
    #[error("it holds an auth token, and an account that enforces signed requests takes none")]
    Token,
    /// It belongs to another account.
    #[error("it is of another account than the policy names")]
    Account,
}

/// What was found; other members are nothing to us.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    account_sid: AccountSid,
    admin_key_sid: Option<KeySid>,
    admin_key_secret: Option<&'a str>,
    auth_token: Option<&'a str>,
}

/// A key and its secret, or an auth token.
pub(super) struct Found {
    pub(super) key: Option<KeySid>,
    pub(super) secret: Secret,
}

impl Found {
    pub(super) fn read(text: &Secret, account: &AccountSid) -> Result<Self, AdminError> {
        // The parser's own words quote what it found.
        let written: Written<'_> = serde_json::from_str(text.expose()).map_err(|_| AdminError::Form)?;
        if written.account_sid != *account {
            return Err(AdminError::Account);
        }
        let (key, secret) =
            match (written.admin_key_sid.filter(KeySid::is_api_key), written.admin_key_secret, written.auth_token) {
                (Some(key), Some(secret), None) => (Some(key), secret),
                (None, None, Some(token)) => (None, token),
                _ => return Err(AdminError::Form),
            };
        let secret = Some(secret).filter(usable).ok_or(AdminError::Form)?;
        Ok(Self { key, secret: Secret::new(secret.to_owned()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "AC00000000000000000000000000000001";
    const KEY: &str = "SK00000000000000000000000000000001";

    fn read(text: &str) -> Result<(Option<String>, String), AdminError> {
        let found = Found::read(&Secret::new(text.to_owned()), &AccountSid::new(ACCOUNT).unwrap())?;
        Ok((found.key.map(|key| key.to_string()), found.secret.expose().to_owned()))
    }

    #[test]
    fn both_of_awss_forms_are_read_and_other_members_are_nothing_to_us() {
        let key = format!(r#"{{"accountSid":"{ACCOUNT}","adminKeySid":"{KEY}","adminKeySecret":"Canary1","note":1}}"#);
        assert_eq!(read(&key), Ok((Some(KEY.into()), "Canary1".into())));
        let token = format!("{{\"accountSid\":\"{ACCOUNT}\",\"authToken\":\"Canary2\",\"validationUrl\":\"x\"}}\n");
        assert_eq!(read(&token), Ok((None, "Canary2".into())));
    }

    #[test]
    fn whatever_is_half_double_foreign_or_no_secret_is_refused() {
        for wrong in [
            "",
            "Canary",
            "[]",
            r#"{"accountSid":"ACCOUNT"}"#,
            r#"{"accountSid":"ACCOUNT","adminKeySid":"KEY"}"#,
            r#"{"accountSid":"ACCOUNT","adminKeySecret":"Canary"}"#,
            r#"{"accountSid":"ACCOUNT","adminKeySid":"KEY","adminKeySecret":"Canary","authToken":"Canary"}"#,
            r#"{"accountSid":"ACCOUNT","adminKeySid":"KEY","adminKeySecret":""}"#,
            r#"{"accountSid":"ACCOUNT","adminKeySid":"KEY","adminKeySecret":"Can ary"}"#,
            r#"{"accountSid":"ACCOUNT","adminKeySid":"Canary","adminKeySecret":"Canary"}"#,
            r#"{"accountSid":"ACCOUNT","authToken":7}"#,
        ] {
            let text = wrong.replace("ACCOUNT", ACCOUNT).replace("KEY", KEY);
            assert_eq!(read(&text), Err(AdminError::Form), "{wrong}");
        }
        let other = r#"{"accountSid":"AC00000000000000000000000000000002","authToken":"Canary"}"#;
        assert_eq!(read(other), Err(AdminError::Account));
    }
}
