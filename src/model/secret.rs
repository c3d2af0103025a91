//! The one type that may hold a secret.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

/// A secret in memory: it zeroes itself when dropped and has no `Debug`, `Display`, `Clone` or `Serialize`,
/// so that it cannot enter a log, an error or a journal row without a line that says `expose`.
pub struct Secret(Zeroizing<String>);

/// What stands in a text where a secret stood.
const SCRUBBED: &str = "[secret]";
/// An encoding of fewer characters could stand in a text by chance.
const ENCODED_FROM: usize = 8;
/// A line of fewer characters says nothing of a private key.
const LINE_FROM: usize = 8;

impl Secret {
    /// Takes the text over; the caller's `String` is moved, not copied.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The text, for the one place that must send it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// A second copy, where one secret must reach several sinks at once; spelled out so that it is never an accident.
    pub fn duplicate(&self) -> Self {
        Self::new(self.0.as_str().to_owned())
    }

    /// Replaces every occurrence of this secret in a text that is about to be shown, also in the encodings in which
    /// programs repeat what they were given (protocol, S6).
    pub fn scrub(&self, text: &str) -> String {
        if self.0.is_empty() {
            return text.to_owned();
        }
        // A private key has lines, and whoever repeats it may break them elsewhere.
        let lines = self.0.lines().filter(|line| line.len() >= LINE_FROM);
        if self.0.contains('\n') {
            return lines.fold(text.to_owned(), |text, line| Self::new(line.to_owned()).scrub(&text));
        }
        let clear = text.replace(self.0.as_str(), SCRUBBED);
        if self.0.len() < ENCODED_FROM { clear } else { self.encoded().iter().fold(clear, scrubbed) }
    }

    /// Base64 at each of its three alignments, hexadecimal, percent-encoded, JSON escapes, bytes as decimal numbers, and
    /// UTF-16 that was read as single bytes.
    fn encoded(&self) -> Vec<Zeroizing<String>> {
        let bytes = self.0.as_bytes();
        let each = |form: fn(u8) -> String| bytes.iter().map(|byte| form(*byte)).collect::<Vec<_>>();
        let mut forms: Vec<String> = [|b| format!("{b:02x}"), |b| format!("%{b:02x}"), |b| format!("\\u{b:04x}")]
            .into_iter()
            .chain([|b| format!("{b:02X}"), |b| format!("%{b:02X}"), |b| format!("\\u{b:04X}")] as [fn(u8) -> _; 3])
            .map(|form| each(form).concat())
            .collect();
        let numbers = each(|byte| byte.to_string());
        forms.extend([numbers.join(", "), numbers.join(",")]);
        forms.push(each(|byte| char::from(byte).to_string()).join("\0"));
        for alphabet in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            for offset in 0..3 {
                // The ends depend on what stands around the secret, but for those that begin and end with it.
                let text = alphabet.encode([&[0; 2][..offset], bytes].concat());
                forms.push(text[(offset * 8).div_ceil(6)..(offset + bytes.len()) * 8 / 6].to_owned());
            }
        }
        forms.into_iter().map(Zeroizing::new).collect()
    }
}

fn scrubbed(text: String, form: &Zeroizing<String>) -> String {
    text.replace(form.as_str(), SCRUBBED)
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn a_secret_is_scrubbed_from_text_that_is_shown() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(secret.scrub("no hunter2 here"), "no [secret] here");
        assert_eq!(Secret::new(String::new()).scrub("unchanged"), "unchanged");
    }

    #[test]
    fn a_secret_is_scrubbed_in_every_encoding() {
        let secret = Secret::new("Canary-01~".to_owned());
        for text in [
            // Alone, after one byte and after two, and once more in the alphabet for URLs.
            "Q2FuYXJ5LTAxf",
            "NhbmFyeS0wMX",
            "DYW5hcnktMDF+",
            "DYW5hcnktMDF-",
            "43616e6172792d30317e",
            "43616E6172792D30317E",
            "%43%61%6e%61%72%79%2d%30%31%7e",
            "%43%61%6E%61%72%79%2D%30%31%7E",
            "\\u0043\\u0061\\u006e\\u0061\\u0072\\u0079\\u002d\\u0030\\u0031\\u007e",
            "67, 97, 110, 97, 114, 121, 45, 48, 49, 126",
            "67,97,110,97,114,121,45,48,49,126",
            "C\0a\0n\0a\0r\0y\0-\x000\x001\0~",
        ] {
            assert_eq!(secret.scrub(&format!("<{text}>")), "<[secret]>", "{text:?}");
        }
    }

    #[test]
    fn a_secret_of_several_lines_is_scrubbed_line_by_line_however_they_are_broken() {
        let secret = Secret::new("-----BEGIN KEY-----\nMIIEvQ+/wxyz0123\nshort\n".to_owned());
        let told = secret.scrub("{\"privateKey\":\"-----BEGIN KEY-----\\nMIIEvQ+/wxyz0123\\nshort\\n\"}");
        assert_eq!(told, "{\"privateKey\":\"[secret]\\n[secret]\\nshort\\n\"}");
        assert_eq!(secret.scrub("got TUlJRXZRKy93eHl6MDEyMw=="), "got [secret]w==", "in base64, but for its end");
    }

    #[test]
    fn the_encodings_of_a_short_secret_are_left_alone() {
        let secret = Secret::new("root".to_owned());
        assert_eq!(secret.scrub("cm9vdA, 726f6f74, root"), "cm9vdA, 726f6f74, [secret]");
    }
}
