//! Makes a text from outside fit to be shown: whoever answers us may repeat what we sent, or what it keeps for us.

use crate::model::secret::Secret;

/// Takes the secrets out that are known here, in every encoding, and then everything that looks like another one: a
/// server may know secrets that we do not know yet, as that of a key that was just made. What is unknown *and* encoded in
/// a way that looks like ordinary text is not recognised.
pub(super) fn redact<'a>(text: &str, known: impl IntoIterator<Item = &'a Secret>) -> String {
    hide(&known.into_iter().fold(text.to_owned(), |text, secret| secret.scrub(&text)))
}

/// Hides every run of letters, digits and escapes that is too long for a word.
pub(super) fn hide(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for piece in text.split_inclusive(|c: char| !in_a_run(c)) {
        let run = piece.trim_end_matches(|c: char| !in_a_run(c));
        shown.push_str(if looks_secret(run) { "[hidden]" } else { run });
        shown.push_str(&piece[run.len()..]);
    }
    shown
}

/// `%` and `\` begin escapes.
fn in_a_run(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '%' | '\\')
}

/// A run too long for a word and not a SID. Twilio's secrets have 32 characters (Twilio docs); their base64 and
/// hexadecimal forms are longer.
fn looks_secret(run: &str) -> bool {
    run.len() >= 24 && !is_sid(run)
}

fn is_sid(word: &str) -> bool {
    let (kind, number) = word.split_at_checked(2).unwrap_or_default();
    kind.bytes().all(|b| b.is_ascii_uppercase()) && number.len() == 32 && number.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(text: &str) -> String {
        redact(text, [&Secret::new("short-secret".to_owned())])
    }

    #[test]
    fn known_secrets_are_taken_out() {
        assert_eq!(redacted("not short-secret, sorry"), "not [secret], sorry");
        assert_eq!(redacted("not c2hvcnQtc2VjcmV0, sorry"), "not [secret], sorry");
    }

    #[test]
    fn what_looks_like_a_secret_is_hidden_from_24_characters_on() {
        assert_eq!(redacted("key 0123456789012345678901x, so"), "key 0123456789012345678901x, so");
        assert_eq!(redacted("key 0123456789012345678901xy, so"), "key [hidden], so");
        assert_eq!(redacted(&"f".repeat(32)), "[hidden]");
        assert_eq!(redacted(&format!("=\"{}\"", "%4A".repeat(32))), "=\"[hidden]\"");
        assert_eq!(redacted(&"\\u004a".repeat(32)), "[hidden]");
    }

    #[test]
    fn sids_and_what_servers_say_is_shown() {
        for text in [
            "Accounts/AC00000000000000000000000000000001/Keys/SK0000000000000000000000000000000f.json was not found",
            "Authorization Error: required permission twilio/messaging/messages/list is missing",
            "check-and-set parameter did not match the current version",
            "1 error occurred:\n\t* permission denied\n\n",
        ] {
            assert_eq!(redacted(text), text);
        }
        assert_eq!(redacted("sk00000000000000000000000000000001"), "[hidden]", "not quite a SID");
    }
}
