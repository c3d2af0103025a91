//! Names that people and machines give to things: the installation, a credential, a sink, a place in a sink.
//!
//! Each is a checked newtype: once a value exists it is valid, and none can be mistaken for another.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a name was refused; the text says what would be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadName(pub &'static str);

/// Makes a checked newtype of a text: its name, what it accepts, and the same in words.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:expr, $accepts:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(std::sync::Arc<str>);

        impl $name {
            /// What a valid value looks like, in words for error messages.
            pub const ACCEPTS: &'static str = $accepts;

            /// Checks and wraps the text.
            pub fn new(text: &str) -> Result<Self, $crate::model::names::BadName> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.into())) } else { Err($crate::model::names::BadName($accepts)) }
            }

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $crate::model::names::BadName;
            fn try_from(text: String) -> Result<Self, $crate::model::names::BadName> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }
    };
}

pub(super) use name;

name!(
    /// Names this installation inside key labels, so that two installations never mistake each other's keys.
    Instance,
    |text| slug(text, 16),
    "1 to 16 of a-z, 0-9 and -"
);

name!(
    /// The name of a long-lived identity whose key changes.
    CredentialName,
    |text| slug(text, 56) && !text.starts_with('-'),
    "1 to 56 of a-z, 0-9 and -, not starting with -"
);

name!(
    /// The name of a configured sink.
    SinkName,
    |text| slug(text, 32) && !text.starts_with('-'),
    "1 to 32 of a-z, 0-9 and -, not starting with -"
);

pub(super) fn slug(text: &str, longest: usize) -> bool {
    (1..=longest).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// One spot in one sink where the pair of a credential is served: a KV path, a secret's name, a file's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Place {
    /// The sink.
    pub sink: SinkName,
    /// The path or name inside it; what is allowed there is the sink's own rule.
    pub path: std::sync::Arc<str>,
}

impl Place {
    /// Joins the two parts.
    pub fn new(sink: SinkName, path: &str) -> Self {
        Self { sink, path: path.into() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sink, self.path)
    }
}

impl TryFrom<String> for Place {
    type Error = BadName;
    fn try_from(text: String) -> Result<Self, BadName> {
        let (sink, path) = text.split_once(':').ok_or(BadName("SINK:PATH"))?;
        Ok(Self::new(SinkName::new(sink)?, path))
    }
}

impl From<Place> for String {
    fn from(place: Place) -> Self {
        place.to_string()
    }
}

/// What a sink calls the state of a place, opaque here: equal versions mean that nothing was written in between.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub String);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_accept_what_they_say_and_nothing_else() {
        assert!(Instance::new("prod-1").is_ok());
        assert!(Instance::new("abcdefghijklmnop").is_ok());
        for bad in ["", "Prod", "a_b", "abcdefghijklmnopq", "a:b", "é"] {
            assert!(Instance::new(bad).is_err(), "{bad}");
        }
        assert!(CredentialName::new("-x").is_err());
    }

    #[test]
    fn a_place_survives_its_text_form_even_with_colons_in_the_path() {
        let place = Place::new(SinkName::new("vault").unwrap(), "a:b/c");
        assert_eq!(Place::try_from(place.to_string()).unwrap(), place);
    }
}
