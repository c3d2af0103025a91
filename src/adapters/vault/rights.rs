//! What a token has to be allowed, and what of it it is not: the least policy that works.

use super::super::json::{Object, object};
use super::Vault;
use super::wire::Ask;
use crate::model::fault::{Failure, Fault};
use crate::model::fleet::{ACCOUNT_NAME, ACCOUNT_SID};
use crate::model::policy::VaultPolicy;
use rustify::enums::RequestMethod;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// So many paths are asked about in one request.
const AT_ONCE: usize = 100;

/// What is done at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// A Main key is read.
    Read,
    /// Pairs are published.
    Publish,
}

/// One rule of a policy, in the form that `vault policy write` takes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    /// The path, mount included; `+` is any segment, `*` at the end anything.
    pub path: String,
    /// What may be done there.
    pub capabilities: BTreeSet<&'static str>,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted: Vec<_> = self.capabilities.iter().map(|capability| format!("\"{capability}\"")).collect();
        write!(f, "path \"{}\" {{\n  capabilities = [{}]\n}}", self.path, quoted.join(", "))
    }
}

/// A path with the placeholders of accounts in it, as a rule says it: `+` stands for a whole segment only (Vault docs,
/// "Policies"), and an end that varies is told by its beginning.
pub fn pattern(path: &str) -> String {
    let last = path.matches('/').count();
    let segment = |(number, segment): (usize, &str)| {
        let starts = [ACCOUNT_SID, ACCOUNT_NAME].iter().filter_map(|place| segment.find(place)).min();
        match starts {
            None => segment.to_owned(),
            Some(start) if start > 0 && number == last => format!("{}*", &segment[..start]),
            Some(_) => "+".to_owned(),
        }
    };
    path.split('/').enumerate().map(segment).collect::<Vec<_>>().join("/")
}

/// The rules that a use of a path needs. What is called beside these paths every token may call: `renew-self`,
/// `lookup-self` and `capabilities-self` by the policy `default`, `sys/internal/ui/mounts` by any right in the mount.
pub fn rules(engine: &VaultPolicy, path: &str, used: Use) -> Vec<Rule> {
    let rule = |part: &str, capabilities: &[&'static str]| Rule {
        path: format!("{}/{part}/{path}", engine.mount),
        capabilities: capabilities.iter().copied().collect(),
    };
    match used {
        Use::Read => vec![rule("data", &["read"])],
        Use::Publish if engine.custom_metadata.is_empty() => vec![rule("data", &["create", "read", "update"])],
        Use::Publish => vec![rule("data", &["create", "read", "update"]), rule("metadata", &["patch"])],
    }
}

impl Vault {
    /// Of each of these paths, mount included, what the token may do there (`sys/capabilities-self`).
    async fn capabilities(&self, paths: &[&str]) -> Result<BTreeMap<String, Vec<String>>, Failure> {
        #[derive(Deserialize)]
        struct Found {
            data: Object<BTreeMap<String, Value>>,
        }
        let body = Some(json!({ "paths": paths }));
        let ask = Ask { method: RequestMethod::POST, path: "sys/capabilities-self".to_owned(), body };
        let answer = self.session.call(&self.wire, ask).await.answer()?;
        if !answer.status.is_success() {
            return Err(answer.failure(&[]));
        }
        let Ok(Found { data: Object(found) }) = object(&answer.body) else {
            return Err(Failure::new(Fault::Malformed, "the answer names no capabilities"));
        };
        let words = |told: Value| serde_json::from_value(told).unwrap_or_default();
        Ok(found.into_iter().map(|(path, told)| (path, words(told))).collect())
    }

    /// What the token is not allowed of these rules, whose paths hold neither `+` nor `*`.
    pub async fn missing(&self, rules: &[Rule]) -> Result<Vec<Rule>, Failure> {
        let mut missing = Vec::new();
        for some in rules.chunks(AT_ONCE) {
            let paths: Vec<_> = some.iter().map(|rule| rule.path.as_str()).collect();
            let mut found = self.capabilities(&paths).await?;
            for Rule { path, capabilities } in some {
                let may = found.remove(path).unwrap_or_default();
                let lacks = |wanted: &&'static str| !may.iter().any(|word| word == wanted || word == "root");
                let capabilities: BTreeSet<_> = capabilities.iter().copied().filter(lacks).collect();
                if !capabilities.is_empty() {
                    missing.push(Rule { path: path.clone(), capabilities });
                }
            }
        }
        Ok(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_varies_is_a_whole_segment_or_the_end() {
        for (path, expected) in [
            ("twilio/billing", "twilio/billing"),
            ("twilio/{account_sid}/seed", "twilio/+/seed"),
            ("{account_name}", "+"),
            ("twilio/of-{account_sid}/seed", "twilio/+/seed"),
            ("twilio/of-{account_name}", "twilio/of-*"),
            ("{account_sid}/{account_name}-x", "+/+"),
            ("{account_sid}/a-{account_name}-{account_sid}", "+/a-*"),
        ] {
            assert_eq!(pattern(path), expected, "{path}");
        }
    }
}
