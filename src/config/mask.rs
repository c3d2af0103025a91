//! Finds what may be a secret in a policy file, so that no message ever shows one.
//!
//! Two signs are looked for, in the text as it stands (comments included, and whether or not it parses) and in the
//! values as they were read: the form of a value, and the name of the key it is given to. Better one star too many.

use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A kind of secret that is known by its form.
struct Shape {
    /// What it is, for messages.
    what: &'static str,
    /// How sure that is.
    sure: Sure,
    /// Its length, if one begins at this byte.
    length: fn(&str, usize) -> Option<usize>,
}

/// How sure it is that a text of some form is a secret.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sure {
    /// Nothing else looks like it.
    Quite,
    /// It is one if nothing stands around it in the value.
    Alone,
    /// It may hold one: it is hidden, and whether it is allowed there is for others to say.
    Hardly,
}

const SHAPES: [Shape; 9] = [
    Shape { what: "a private key", sure: Sure::Quite, length: private_key },
    Shape { what: "a Vault token", sure: Sure::Quite, length: vault_token },
    Shape { what: "an old Vault token", sure: Sure::Quite, length: old_vault_token },
    Shape { what: "an AWS access key", sure: Sure::Quite, length: aws_access_key },
    Shape { what: "a JSON web token", sure: Sure::Quite, length: web_token },
    Shape { what: "a URL with a password", sure: Sure::Quite, length: user_info },
    Shape { what: "a URL with a query", sure: Sure::Hardly, length: query },
    Shape { what: "a Twilio secret", sure: Sure::Alone, length: base62 },
    Shape { what: "an AWS secret access key", sure: Sure::Alone, length: aws_secret },
];

/// Where the shape of a Vault token stands among them.
const TOKEN: usize = 1;

/// What kind of secret the value looks like, if it does.
pub(super) fn looks_like(value: &str) -> Option<&'static str> {
    let is_one = |(span, shape): &(Range<usize>, &Shape)| match shape.sure {
        Sure::Quite => true,
        Sure::Alone => *span == (0..value.len()),
        Sure::Hardly => false,
    };
    shapes(value).into_iter().find(is_one).map(|(_, shape)| shape.what)
}

/// What kind of secret the value holds for certain: for values that people choose freely, where an unlucky name must
/// not be refused.
pub(super) fn surely_holds(value: &str) -> Option<&'static str> {
    shapes(value).into_iter().find(|(_, shape)| shape.sure == Sure::Quite).map(|(_, shape)| shape.what)
}

/// The text with stars in place of what may be a secret by its form.
pub(super) fn masked(text: &str) -> String {
    let spans: Vec<_> = shapes(text).into_iter().map(|(span, _)| span).collect();
    stars(text, 0, &spans)
}

/// The same for the path of a key: a secret with dots in it, written where a key should be, falls into several keys.
pub(super) fn masked_path(path: &str) -> String {
    let joined = path.replace("\".", ".").replace(".\"", ".");
    let joined = joined.trim_matches('"');
    let hidden = masked(joined);
    if hidden == joined { path.to_owned() } else { hidden }
}

/// The text, which begins at `offset` of the file, with a star for each character inside one of the spans.
pub(super) fn stars(text: &str, offset: usize, spans: &[Range<usize>]) -> String {
    let mut spans = spans.iter().skip_while(|span| span.end <= offset).peekable();
    let mut shown = String::with_capacity(text.len());
    for (at, letter) in text.char_indices() {
        let at = at + offset;
        while spans.next_if(|span| span.end <= at).is_some() {}
        let hidden = spans.peek().is_some_and(|span| span.contains(&at));
        shown.push(if hidden { '*' } else { letter });
    }
    shown
}

/// Everything in the file that must not be shown, in order and without overlaps.
pub(super) fn spans(text: &str, document: &DeTable<'_>) -> Vec<Range<usize>> {
    let mut found: Vec<_> = shapes(text).into_iter().map(|(span, _)| span).collect();
    assignments(text, &mut found);
    for (key, value) in document {
        tree(text, key.get_ref(), value, &mut found);
    }
    found.sort_by_key(|span| span.start);
    found.dedup_by(|next, last| {
        let touches = next.start <= last.end;
        if touches {
            last.end = last.end.max(next.end);
        }
        touches
    });
    found
}

/// Whether a key of this name would hold a secret: neither where to find one, nor what to call one.
pub(super) fn names_a_secret(key: &str) -> bool {
    let plain: String = key.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let parts = ["secret", "token", "passw", "passphrase", "privatekey", "apikey", "accesskey"];
    let words = ["key", "pass", "pwd", "mainkey", "clientkey", "pem", "jwt"];
    let known = ["apiKeySecret", "signs_access_tokens"].contains(&key)
        || ["sid", "file", "env"].iter().any(|end| plain.ends_with(end));
    !known && (words.contains(&plain.as_str()) || parts.iter().any(|part| plain.contains(part)))
}

/// Whether a key says where a secret is to be found.
pub(super) fn tells_where(key: &str) -> bool {
    key.strip_suffix("_file").or_else(|| key.strip_suffix("_env")).is_some_and(names_a_secret)
}

/// Whether this value, for a key that says where a secret is, may be shown: it is a path or the name of a variable.
fn is_whereabouts(key: &str, value: &str) -> bool {
    let variable = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let path = ["/", "./", "../", "~/"].iter().any(|start| value.starts_with(start));
    path || (key.ends_with("_env") && value.len() <= 64 && value.contains('_') && value.chars().all(variable))
}

/// Whether the value of this key must be hidden whatever it looks like.
fn hides(key: &str, value: &str) -> bool {
    let where_from = key.strip_suffix("_file").or_else(|| key.strip_suffix("_env"));
    match where_from {
        Some(what) => names_a_secret(what) && !is_whereabouts(key, value),
        None => names_a_secret(key),
    }
}

/// Hides what the parsed values say: it sees through the escapes that TOML allows in text.
fn tree(text: &str, key: &str, value: &Spanned<DeValue<'_>>, found: &mut Vec<Range<usize>>) {
    let raw = text.get(value.span()).unwrap_or_default();
    match value.get_ref() {
        DeValue::String(words) => {
            // Without escapes, what is in the value is in the text too, and was found there.
            let escaped = raw.contains('\\') && !shapes(words).is_empty();
            if escaped || hides(key, words) {
                found.push(value.span());
            }
        }
        DeValue::Table(_) if names_a_secret(key) && raw.starts_with('{') => found.push(value.span()),
        DeValue::Table(rows) => rows.iter().for_each(|(key, value)| tree(text, key.get_ref(), value, found)),
        DeValue::Array(items) => items.iter().for_each(|item| tree(text, key, item, found)),
        DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_) => {
            if names_a_secret(key) {
                found.push(value.span());
            }
        }
    }
}

/// Hides what stands behind the name of a secret, to the end of the line and of the value, in text that need not parse.
fn assignments(text: &str, found: &mut Vec<Range<usize>>) {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let mut at = 0;
    while let Some(start) = text[at..].find(is_word).map(|skip| at + skip) {
        let end = text[start..].find(|c| !is_word(c)).map_or(text.len(), |length| start + length);
        at = end;
        let behind = text[end..].trim_start_matches(['"', '\'']).trim_start_matches([' ', '\t']);
        let first = text[..start].trim_end_matches(['"', '\'', ' ', '\t', '#']);
        let begins_line = (first.is_empty() || first.ends_with('\n')) && !behind.starts_with(['.', ']', '\n', '\r']);
        let inside_colons = behind.starts_with(':') && text[..start].ends_with(':');
        if inside_colons || (!behind.starts_with(['=', ':']) && !begins_line) {
            continue;
        }
        let value = text.len() - behind.trim_start_matches(['=', ':', ' ', '\t']).len();
        let shown = text[value..].trim_start_matches(['"', '\'']);
        let shown = &shown[..shown.find(['"', '\'', '\n']).unwrap_or(shown.len())];
        if hides(&text[start..end], shown) {
            let line = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
            let comment = text[line..start].contains('#');
            let line_end = text[value..].find('\n').map_or(text.len(), |length| value + length);
            at = if comment { line_end } else { value_end(text, value) };
            found.push(value..at);
        }
    }
}

/// Where a value ends at the latest: at the end of the line on which its quotes or brackets are closed.
fn value_end(text: &str, start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while at < text.len() {
        let rest = &text[at..];
        let triple = ["\"\"\"", "'''"].into_iter().find(|quotes| rest.starts_with(*quotes));
        let letter = rest.chars().next().unwrap_or('\n');
        match (triple, letter) {
            (Some(quotes), _) => at += rest[3..].find(quotes).map_or(rest.len(), |inner| inner + 6),
            (None, '\n') if depth == 0 => return at,
            (None, '[' | '{') => (depth, at) = (depth + 1, at + 1),
            (None, ']' | '}') => (depth, at) = (depth.saturating_sub(1), at + 1),
            (None, other) => at += other.len_utf8(),
        }
    }
    text.len()
}

fn shapes(text: &str) -> Vec<(Range<usize>, &'static Shape)> {
    let mut found = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let after_word = at > 0 && bytes[at - 1].is_ascii_alphanumeric() && bytes[at].is_ascii_alphanumeric();
        let hit = match after_word {
            _ if !text.is_char_boundary(at) => None,
            // A letter too much in front of a token makes it no less a token, and no word goes on like one.
            true => vault_token(text, at).map(|length| (&SHAPES[TOKEN], length)),
            false => SHAPES.iter().find_map(|shape| Some((shape, (shape.length)(text, at)?))),
        };
        match hit {
            Some((shape, length)) => {
                found.push((at..at + length, shape));
                at += length;
            }
            None => at += 1,
        }
    }
    found
}

/// How many bytes from here on are of this kind.
fn run(text: &str, at: usize, is: impl Fn(u8) -> bool) -> usize {
    text.as_bytes()[at..].iter().take_while(|byte| is(**byte)).count()
}

/// So far is looked for the parts of a URL: further, and a long line of their signs would be slow to read.
const LOOK: usize = 256;

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// Whether the text is mixed from at least so many of upper case, lower case and digits: words rarely are.
fn mixed(text: &str, least: usize) -> bool {
    let kinds: [fn(&u8) -> bool; 3] = [u8::is_ascii_uppercase, u8::is_ascii_lowercase, u8::is_ascii_digit];
    kinds.iter().filter(|kind| text.bytes().any(|byte| kind(&byte))).count() >= least
}

/// PEM (RFC 7468), up to its end line.
fn private_key(text: &str, at: usize) -> Option<usize> {
    let rest = &text[at..];
    let title = rest.strip_prefix("-----BEGIN ")?.split("-----").next()?;
    title.ends_with("PRIVATE KEY").then_some(())?;
    let end = rest.find("-----END ").map_or(rest.len(), |end| end + "-----END -----".len() + title.len());
    Some((end.min(rest.len())..=rest.len()).find(|end| rest.is_char_boundary(*end)).unwrap_or(rest.len()))
}

/// `hvs.` (service), `hvb.` (batch), `hvr.` (recovery): HashiCorp Vault's docs, "Tokens".
fn vault_token(text: &str, at: usize) -> Option<usize> {
    let rest = &text[at..];
    ["hvs.", "hvb.", "hvr."].iter().find(|prefix| rest.starts_with(**prefix))?;
    let length = run(text, at + 4, is_base64url);
    (length >= 8).then_some(4 + length)
}

/// `s.`, `b.` and `r.` with 24 letters: Vault before 1.10, and OpenBao.
fn old_vault_token(text: &str, at: usize) -> Option<usize> {
    let rest = &text[at..];
    ["s.", "b.", "r."].iter().find(|prefix| rest.starts_with(**prefix))?;
    let length = run(text, at + 2, |byte| byte.is_ascii_alphanumeric());
    (length >= 24).then_some(2 + length)
}

/// `AKIA` or `ASIA` and 16 letters: AWS IAM user guide, "IAM identifiers".
fn aws_access_key(text: &str, at: usize) -> Option<usize> {
    let rest = &text[at..];
    ["AKIA", "ASIA"].iter().find(|prefix| rest.starts_with(**prefix))?;
    let length = run(text, at, |byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    (length == 20).then_some(20)
}

/// `eyJ` is how `{"` begins in base64 (RFC 7519).
fn web_token(text: &str, at: usize) -> Option<usize> {
    text[at..].strip_prefix("eyJ")?;
    let length = run(text, at, |byte| is_base64url(byte) || byte == b'.');
    (length >= 20).then_some(length)
}

/// What stands before the `@` of a URL; a password that was not encoded may hold any other sign of a URL.
fn user_info(text: &str, at: usize) -> Option<usize> {
    text[..at].ends_with("://").then_some(())?;
    let length = text.as_bytes()[at..]
        .iter()
        .take(LOOK)
        .take_while(|byte| !byte.is_ascii_whitespace() && **byte != b'"')
        .count();
    let length =
        text.as_bytes()[at..at + length].iter().rposition(|byte| *byte == b'@').filter(|length| *length > 0)?;
    // A database has users with names; elsewhere a name alone may be a token.
    let database = text[..at].ends_with("postgres://") || text[..at].ends_with("postgresql://");
    let name =
        text.as_bytes()[at..at + length].iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte));
    (!(database && name && length <= 32)).then_some(length)
}

/// What stands behind the `?` of a URL.
fn query(text: &str, at: usize) -> Option<usize> {
    text[..at].ends_with('?').then_some(())?;
    let before = &text.as_bytes()[at.saturating_sub(LOOK)..at];
    let inside = |byte: &u8| !byte.is_ascii_whitespace() && *byte != b'"';
    let scheme = before.windows(3).rposition(|bytes| bytes == b"://")?;
    before[scheme..].iter().all(inside).then_some(())?;
    let length = run(text, at, |byte| inside(&byte));
    (length > 0).then_some(length)
}

/// The secret of a Twilio key is 32 of base 62, its auth token 32 hexadecimal digits. A SID has two letters more.
fn base62(text: &str, at: usize) -> Option<usize> {
    let length = run(text, at, |byte| byte.is_ascii_alphanumeric());
    let word = text.get(at..at + length).filter(|word| word.len() >= 32 && mixed(word, 2))?;
    (!is_sid(word)).then_some(length)
}

/// Two letters and hexadecimal digits; with one digit too many or too few it was still meant to be a SID.
fn is_sid(word: &str) -> bool {
    let (letters, digits) = word.split_at(2);
    let upper = letters.bytes().all(|byte| byte.is_ascii_uppercase());
    let lower = word.len() == 34 && letters.bytes().all(|byte| byte.is_ascii_lowercase());
    (upper || lower) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// 40 of base 64: AWS IAM user guide, "Managing access keys".
fn aws_secret(text: &str, at: usize) -> Option<usize> {
    let is = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'/' || byte == b'+';
    let inside = at > 0 && is(text.as_bytes()[at - 1]);
    let length = if inside { 0 } else { run(text, at, is) };
    (length == 40 && mixed(&text[at..at + length], 3)).then_some(length)
}
