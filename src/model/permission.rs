//! What a Restricted key may do (Twilio docs, "Restricted API keys").

use super::names::name;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

name!(
    /// One thing that a Restricted key may do, such as `/twilio/messaging/messages/read`.
    Permission,
    permission,
    "/twilio/PRODUCT/RESOURCE/ACTION, where ACTION is read, list, create, update, delete or *"
);

/// Everything that a Restricted key may do.
pub type Permissions = BTreeSet<Permission>;

/// The most that one key may have (Twilio docs, "Restricted API keys").
pub const MOST: usize = 100;

/// What can be done to a resource: to read is to get one by its SID, to list is to get the collection.
const ACTIONS: [&str; 5] = ["read", "list", "create", "update", "delete"];
const ALL: &str = "*";

fn permission(text: &str) -> bool {
    let parts: Vec<_> = text.split('/').collect();
    let word = |part: &str| {
        let sign = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
        !part.is_empty() && part.bytes().all(sign)
    };
    match parts[..] {
        ["", "twilio", product, resource, action] => {
            word(product) && word(resource) && (action == ALL || ACTIONS.contains(&action)) && text.len() <= 128
        }
        _ => false,
    }
}

impl Permission {
    /// Resource and action.
    fn parts(&self) -> (&str, &str) {
        self.as_str().rsplit_once('/').unwrap_or_default()
    }
}

/// What a key has and should not have, and what it lacks; both empty if it is as wanted. All five actions on a resource are
/// the same as `*`, which is how Twilio shows them (observed by another client).
pub fn difference(wanted: &Permissions, found: &Permissions) -> (Permissions, Permissions) {
    let (wanted, found) = (folded(wanted), folded(found));
    (found.difference(&wanted).cloned().collect(), wanted.difference(&found).cloned().collect())
}

/// Whether a key may do just what is wanted.
pub fn same(wanted: &Permissions, found: &Permissions) -> bool {
    folded(wanted) == folded(found)
}

/// With `*` in place of all actions, and nothing beside it.
fn folded(permissions: &Permissions) -> Permissions {
    let whole = |resource: &str| {
        let has = |action: &str| {
            let text = format!("{resource}/{action}");
            permissions.iter().any(|permission| permission.as_str() == text)
        };
        has(ALL) || ACTIONS.iter().all(|action| has(action))
    };
    let one = |permission: &Permission| {
        let (resource, _) = permission.parts();
        let all = whole(resource).then(|| Permission::new(&format!("{resource}/{ALL}")).ok()).flatten();
        all.unwrap_or_else(|| permission.clone())
    };
    permissions.iter().map(one).collect()
}

/// What Twilio says that a key may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Granted {
    /// There is no such key.
    Gone,
    /// It is no Restricted key.
    Everything,
    /// Only this.
    Only(Permissions),
    /// Among other things this, which is no permission of a form that is known here.
    Unknown(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(texts: &[&str]) -> Permissions {
        texts.iter().map(|text| Permission::new(text).unwrap()).collect()
    }

    #[test]
    fn permissions_have_their_exact_form() {
        for good in ["/twilio/iam/api-keys/read", "/twilio/a/b.c_d/*", "/twilio/messaging/messages/list"] {
            assert!(Permission::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "twilio/a/b/read",
            "/twilio/a/read",
            "/twilio/a/b/c/read",
            "/twilio/a/b/write",
            "/twilio/A/b/read",
            "/twilio//b/read",
            "/other/a/b/read",
            "/twilio/a/b/read/",
            "/twilio/a/b/",
        ] {
            assert!(Permission::new(bad).is_err(), "{bad}");
        }
        assert!(Permission::new(&format!("/twilio/a/{}/read", "b".repeat(113))).is_ok(), "128 signs");
        assert!(Permission::new(&format!("/twilio/a/{}/read", "b".repeat(114))).is_err(), "129 signs");
    }

    #[test]
    fn wider_and_narrower_are_told_apart_and_five_actions_are_all() {
        let reads = all(&["/twilio/m/x/read", "/twilio/m/x/list"]);
        let told = |wanted: &Permissions, found: &Permissions| {
            let (extra, missing) = difference(wanted, found);
            assert_eq!(same(wanted, found), extra.is_empty() && missing.is_empty());
            (extra.len(), missing.len())
        };
        assert_eq!(told(&reads, &reads), (0, 0));
        assert_eq!(told(&reads, &all(&["/twilio/m/x/read"])), (0, 1));
        assert_eq!(told(&all(&["/twilio/m/x/read"]), &reads), (1, 0));
        let five = all(&ACTIONS.map(|action| format!("/twilio/m/x/{action}")).each_ref().map(String::as_str));
        assert_eq!(told(&five, &all(&["/twilio/m/x/*"])), (0, 0));
        assert_eq!(told(&all(&["/twilio/m/x/*", "/twilio/m/x/read"]), &five), (0, 0));
        assert_eq!(told(&reads, &five), (1, 2), "a `*` is more than was asked for");
        assert_eq!(told(&five, &all(&["/twilio/m/y/*"])), (1, 1));
    }
}
