//! Objects of JSON, and nothing else in their place: what is derived for a struct would take an array too, member by
//! member, and `[20404, "gone", 404]` is no error of Twilio's.

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// What an object holds.
pub(super) struct Object<T>(pub(super) T);

/// Reads a text that is one object.
pub(super) fn object<'de, T: Deserialize<'de>>(text: &'de [u8]) -> serde_json::Result<T> {
    serde_json::from_slice(text).map(|Object(held)| held)
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfObject<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for OfObject<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<T, M::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(OfObject(PhantomData)).map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize, Debug, PartialEq)]
    struct Point<'a> {
        x: u8,
        name: &'a str,
    }

    #[test]
    fn an_object_is_read_and_an_array_of_its_members_is_not() {
        assert_eq!(object::<Point<'_>>(br#"{"x":1,"name":"a"}"#).unwrap(), Point { x: 1, name: "a" });
        for text in [r#"[1,"a"]"#, r#"[{"x":1,"name":"a"}]"#, "null", "1", "\"x\"", "", "{", r#"{"x":1}"#] {
            assert!(object::<Point<'_>>(text.as_bytes()).is_err(), "{text}");
        }
    }
}
