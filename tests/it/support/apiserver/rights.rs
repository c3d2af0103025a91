//! Who may do what: the rules of Roles, and the question what one may do.

use super::{Answer, Call, KINDS, NAMESPACE, Wrong};
use serde_json::{Value, json};

/// One rule of a Role.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) group: &'static str,
    pub(crate) resource: &'static str,
    pub(crate) verbs: &'static [&'static str],
    /// Only these objects; all if there are none.
    pub(crate) names: Vec<String>,
}

/// Rules that allow all that can be done here.
pub(crate) fn everything() -> Vec<Rule> {
    let all = |(group, resource, _)| Rule { group, resource, verbs: &["get", "create", "patch"], names: Vec::new() };
    KINDS.into_iter().map(all).collect()
}

fn allowed(rules: &[Rule], group: &str, resource: &str, verb: &str, name: &str) -> bool {
    let fits = |rule: &&Rule| {
        // When something is made its name is not known to the authorizer ("Using RBAC Authorization").
        let name = if verb == "create" { "" } else { name };
        rule.group == group
            && rule.resource == resource
            && rule.verbs.contains(&verb)
            && (rule.names.is_empty() || rule.names.iter().any(|own| own == name))
    };
    rules.iter().any(|rule| fits(&rule))
}

pub(super) fn check(rules: &[Rule], call: &Call<'_>, namespace: &str) -> Result<(), Wrong> {
    if allowed(rules, call.group, call.resource, call.verb, call.name) {
        return Ok(());
    }
    let name = if call.verb == "create" { String::new() } else { format!(" \"{}\"", call.name) };
    let message = format!(
        "{}{name} is forbidden: User \"system:serviceaccount:{NAMESPACE}:rekeyd\" cannot {} resource \"{}\" in API \
         group \"{}\" in the namespace \"{namespace}\"",
        call.full(),
        call.verb,
        call.resource,
        call.group
    );
    Err(Wrong::of(call, 403, "Forbidden", message))
}

/// Answers a SelfSubjectAccessReview.
pub(super) fn review(rules: &[Rule], body: &[u8]) -> Answer {
    let mut review: Value = serde_json::from_slice(body).unwrap_or_default();
    let asked = &review["spec"]["resourceAttributes"];
    let text = |field: &str| asked[field].as_str().unwrap_or_default();
    let namespace = text("namespace") == NAMESPACE;
    let may = namespace && allowed(rules, text("group"), text("resource"), text("verb"), text("name"));
    review["status"] = json!({ "allowed": may });
    Ok((201, review))
}
