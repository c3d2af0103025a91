//! The forms in which a secret could lie around, and a search for all of them at once (protocol, S6).

use crate::support::counted::counted;
use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// An encoding by its name, and the patterns of a secret in it.
type Encoding = (&'static str, fn(&[u8]) -> Vec<Vec<u8>>);

/// The seven encodings that are searched for.
pub(crate) const ENCODINGS: [Encoding; 7] = [
    ("clear", |secret| vec![secret.to_vec()]),
    ("base64", base64),
    ("hexadecimal", |secret| written(secret, &[&|b| format!("{b:02x}"), &|b| format!("{b:02X}")])),
    ("percent-encoded", |secret| written(secret, &[&|b| format!("%{b:02x}"), &|b| format!("%{b:02X}")])),
    ("UTF-16", utf16),
    ("JSON escapes", |secret| written(secret, &[&|b| format!("\\u{b:04x}"), &|b| format!("\\u{b:04X}")])),
    // `{:?}` of bytes, and bytes in JSON.
    ("decimal", |secret| vec![list(secret, ", "), list(secret, ",")]),
];

/// At each of its three alignments, in both alphabets. The ends depend on what stands around the secret and are left out.
fn base64(secret: &[u8]) -> Vec<Vec<u8>> {
    let at = |alphabet: &GeneralPurpose, offset: usize| {
        let text = alphabet.encode([vec![0; offset], secret.to_vec()].concat());
        let (from, to) = ((offset * 8).div_ceil(6), (offset + secret.len()) * 8 / 6);
        text.as_bytes()[from..to].to_vec()
    };
    [STANDARD, URL_SAFE].iter().flat_map(|alphabet| (0..3).map(|offset| at(alphabet, offset))).collect()
}

fn written(secret: &[u8], ways: &[&dyn Fn(u8) -> String]) -> Vec<Vec<u8>> {
    ways.iter().map(|way| secret.iter().map(|byte| way(*byte)).collect::<String>().into_bytes()).collect()
}

/// In both byte orders, and as it looks where control characters are shown as blanks.
fn utf16(secret: &[u8]) -> Vec<Vec<u8>> {
    let pairs = |of: fn(u8) -> [u8; 2]| secret.iter().flat_map(|byte| of(*byte)).collect::<Vec<u8>>();
    vec![pairs(|byte| [byte, 0]), pairs(|byte| [0, byte]), pairs(|byte| [byte, b' ']).trim_ascii_end().to_vec()]
}

fn list(secret: &[u8], between: &str) -> Vec<u8> {
    secret.iter().map(u8::to_string).collect::<Vec<_>>().join(between).into_bytes()
}

/// A search for many secrets in one pass.
pub(crate) struct Search {
    patterns: AhoCorasick,
    /// Of each pattern: which secret, in which encoding.
    names: Vec<(String, &'static str)>,
}

/// How often a secret was found in an encoding.
pub(crate) type Hits = BTreeMap<(String, &'static str), usize>;

impl Search {
    /// Looks for these secrets, each under a name that may be shown.
    pub(crate) fn new<'a>(secrets: impl IntoIterator<Item = (String, &'a str)>) -> Self {
        let (mut patterns, mut names) = (Vec::new(), Vec::new());
        for (name, secret) in secrets {
            assert!(secret.len() >= 12, "{name} is too short to be told from chance");
            for (encoding, of) in ENCODINGS {
                // The two alphabets of base64 differ in two letters only: what both write alike is counted once.
                for pattern in of(secret.as_bytes()).into_iter().collect::<BTreeSet<_>>() {
                    patterns.push(pattern);
                    names.push((name.clone(), encoding));
                }
            }
        }
        Self { patterns: AhoCorasick::new(patterns).unwrap(), names }
    }

    /// Looks for both halves of each secret, so that what is left of a buffer that was written over is found too.
    pub(crate) fn halves<'a>(secrets: impl IntoIterator<Item = (String, &'a str)>) -> Self {
        let halves = |(name, secret): (String, &'a str)| {
            let (first, second) = secret.split_at(secret.len() / 2);
            [(format!("{name}, first half"), first), (format!("{name}, second half"), second)]
        };
        Self::new(secrets.into_iter().flat_map(halves))
    }

    /// What is found, and how often.
    pub(crate) fn hits(&self, bytes: &[u8]) -> Hits {
        let mut hits = Hits::new();
        for found in self.patterns.find_overlapping_iter(bytes) {
            *hits.entry(self.names[found.pattern().as_usize()].clone()).or_default() += 1;
        }
        hits
    }

    /// Fails if anything is found.
    pub(crate) fn expect_nothing(&self, place: &str, bytes: &[u8]) {
        let hits = self.hits(bytes);
        assert!(hits.is_empty(), "secrets lie in {place}:\n{}", told(&hits));
    }
}

/// Hits for people.
pub(crate) fn told(hits: &Hits) -> String {
    hits.iter().fold(String::new(), |mut text, ((name, encoding), count)| {
        let _ = writeln!(text, "  {name}: {count} x {encoding}");
        text
    })
}

mod tests {
    use super::*;

    const SECRET: &str = "Canary0123456789abcdefghijKLMNOP";

    /// The encodings in which a text shows the secret.
    fn seen(text: impl AsRef<[u8]>) -> Vec<&'static str> {
        let hits = Search::new([("it".to_owned(), SECRET)]).hits(text.as_ref());
        hits.into_keys().map(|(_, encoding)| encoding).collect()
    }

    #[test]
    fn every_encoding_is_recognised_as_others_write_it() {
        let python = |expression: &str| {
            let program =
                format!("import sys,base64,json,urllib.parse\ns={SECRET:?}\nsys.stdout.buffer.write({expression})");
            let output = std::process::Command::new("python3").args(["-c", &program]).output().unwrap();
            assert!(output.status.success(), "{expression}: {}", String::from_utf8_lossy(&output.stderr));
            output.stdout
        };
        let mut recognised = BTreeSet::new();
        for (encoding, expression) in [
            ("clear", "f'x{s}y'.encode()"),
            ("base64", "base64.b64encode(s.encode())"),
            ("base64", "base64.b64encode(f'a{s}: more'.encode())"),
            ("base64", "base64.b64encode(f'ab{s}'.encode())"),
            ("base64", "base64.urlsafe_b64encode(f'SK0:{s}?'.encode())"),
            ("hexadecimal", "s.encode().hex().encode()"),
            ("hexadecimal", "s.encode().hex().upper().encode()"),
            ("percent-encoded", "''.join('%%%02X' % c for c in s.encode()).encode()"),
            ("percent-encoded", "''.join('%%%02x' % c for c in s.encode()).encode()"),
            ("UTF-16", "s.encode('utf-16-le')"),
            ("UTF-16", "s.encode('utf-16-be')"),
            ("UTF-16", "s.encode('utf-16-be').replace(b'\\0', b' ')"),
            ("JSON escapes", "''.join('\\\\u%04x' % c for c in s.encode()).encode()"),
            ("JSON escapes", "''.join('\\\\u%04X' % c for c in s.encode()).encode()"),
            ("decimal", "repr(list(s.encode())).encode()"),
            ("decimal", "json.dumps(list(s.encode()), separators=(',', ':')).encode()"),
        ] {
            assert_eq!(seen(python(expression)), [encoding], "{expression}");
            recognised.insert(encoding);
        }
        assert_eq!(recognised, ENCODINGS.iter().map(|(name, _)| *name).collect());
        counted("canary encodings", recognised.len());
    }

    #[test]
    fn what_is_not_the_secret_is_not_taken_for_it() {
        for other in [&SECRET[..31], "Canary0123456789abcdefghijKLMNOp", ""] {
            assert!(seen(other).is_empty() && seen(STANDARD.encode(other)).is_empty(), "{other}");
        }
    }

    #[test]
    fn half_a_secret_is_found_where_halves_are_searched_for() {
        let halves = Search::halves([("it".to_owned(), SECRET)]);
        assert_eq!(halves.hits(&SECRET.as_bytes()[..20]).len(), 1);
        assert_eq!(halves.hits(STANDARD.encode(&SECRET[10..]).as_bytes()).len(), 1);
        assert_eq!(halves.hits(SECRET.as_bytes()).len(), 2);
    }
}
