//! The one type that may hold a secret.

use zeroize::Zeroizing;

/// A secret in memory: it zeroes itself when dropped and has no `Debug`, `Display`, `Clone` or `Serialize`,
/// so that it cannot enter a log, an error or a journal row without a line that says `expose`.
pub struct Secret(Zeroizing<String>);

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

    /// Replaces every occurrence of this secret in a text that is about to be shown.
    pub fn scrub(&self, text: &str) -> String {
        if self.0.is_empty() { text.to_owned() } else { text.replace(self.0.as_str(), "[secret]") }
    }
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
}
