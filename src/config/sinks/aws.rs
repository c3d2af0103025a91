//! `[sinks.NAME]` with `kind = "aws-secrets-manager"`.

use super::super::address::region;
use super::super::reader::{Field, Table};
use crate::model::policy::{AssumeRole, Replica, SecretsManagerPolicy};
use std::collections::BTreeMap;
use toml::de::DeValue;

const REGION: &str = "a region of AWS, such as \"eu-west-1\"";
const ROLE: &str = "the ARN of a role, such as \"arn:aws:iam::123456789012:role/rekeyd\"";
const ASSUME_ROLE: &str = "{ arn = \"arn:aws:iam::123456789012:role/rekeyd\" }";
const KEY: &str = "a KMS key: its ARN, its id, or an alias such as \"alias/rekeyd\"";
const TAGS: &str = "{ KEY = \"VALUE\" }";
const REPLICAS: &str = "[\"REGION\", { region = \"REGION\", kms_key = \"KEY\" }]";

pub(super) fn secrets_manager(table: &Table<'_>) -> Option<SecretsManagerPolicy> {
    let region = table.need("region", REGION, |field| field.parse(REGION, region));
    let endpoint_url = table.maybe("endpoint_url", |field| field.server_address());
    let profile = table.maybe("profile", profile);
    let assume_role = table.maybe("assume_role", |field| role(&field.table(ASSUME_ROLE)?));
    let kms_key = table.maybe("kms_key", kms_key);
    let tags = table.or("tags", BTreeMap::new(), |field| tags(&field));
    let replicas = table.or("replicas", Vec::new(), |field| replicas(&field, region.as_deref()));
    Some(SecretsManagerPolicy {
        region: region?,
        endpoint_url: endpoint_url?,
        profile: profile?,
        assume_role: assume_role?,
        kms_key: kms_key?,
        tags: tags?,
        replicas: replicas?,
    })
}

/// A text of so many characters, all of them of these.
fn made_of(text: &str, length: std::ops::RangeInclusive<usize>, letter: impl Fn(char) -> bool) -> bool {
    length.contains(&text.chars().count()) && text.chars().all(letter)
}

/// AWS CLI user guide, "Configuration and credential file settings": what may stand between brackets.
fn profile(field: Field<'_>) -> Option<String> {
    let accepts = "the name of a profile, as in ~/.aws/config";
    field.parse(accepts, |text| {
        let fits = made_of(text, 1..=128, |c| !c.is_control() && !"[]\"'\\".contains(c)) && text.trim() == text;
        if fits { Ok(text.to_owned()) } else { Err("this is no name for a profile") }
    })
}

/// API reference of STS, "AssumeRole": the forms of `RoleArn`, `ExternalId` and `RoleSessionName`.
fn role(table: &Table<'_>) -> Option<AssumeRole> {
    let arn = table.need("arn", ROLE, |field| read(field, ROLE, role_arn));
    let word = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    let accepts = "2 to 1224 of a-z, A-Z, 0-9 and _+=,.@:/-";
    let external_id = table.maybe("external_id", |field| {
        read(field, accepts, |text| {
            let fits = made_of(text, 2..=1224, |c| word(c) || ":/".contains(c));
            if fits { Ok(text.to_owned()) } else { Err("this is not an external id") }
        })
    });
    let accepts = "2 to 64 of a-z, A-Z, 0-9 and _+=,.@-";
    let session_name = table.or("session_name", "rekeyd".to_owned(), |field| {
        field.parse(accepts, |text| {
            if made_of(text, 2..=64, word) { Ok(text.to_owned()) } else { Err("this is no name for a session") }
        })
    });
    let sts_endpoint_url = table.maybe("sts_endpoint_url", |field| field.server_address());
    table.finish();
    let (external_id, sts_endpoint_url) = (external_id?, sts_endpoint_url?);
    Some(AssumeRole { arn: arn?, external_id, session_name: session_name?, sts_endpoint_url })
}

/// Checks a text that has the letters of a secret and is none.
fn read(field: Field<'_>, accepts: &str, check: impl FnOnce(&str) -> Result<String, &'static str>) -> Option<String> {
    check(field.free_text(accepts)?).map_err(|wrong| field.wrong(wrong, accepts)).ok()
}

fn role_arn(text: &str) -> Result<String, &'static str> {
    let parts: Vec<_> = text.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, role] = parts.as_slice() else {
        return Err("this is not the ARN of a role");
    };
    let name = role.strip_prefix("role/").unwrap_or_default();
    let fits = made_of(partition, 3..=16, |c| c.is_ascii_lowercase() || c == '-')
        && made_of(account, 12..=12, |c| c.is_ascii_digit())
        && made_of(name, 1..=576, |c| c.is_ascii_alphanumeric() || "_+=,.@-/".contains(c));
    if fits { Ok(text.to_owned()) } else { Err("this is not the ARN of a role") }
}

/// API reference, "CreateSecret", parameter `KmsKeyId`.
fn kms_key(field: Field<'_>) -> Option<String> {
    read(field, KEY, |text| {
        let letters = made_of(text, 1..=2048, |c| c.is_ascii_alphanumeric() || ":/_-".contains(c));
        let rest = match text.strip_prefix("arn:") {
            Some(arn) => arn.split(':').nth(4).filter(|_| arn.split(':').nth(1) == Some("kms")).unwrap_or_default(),
            None => text,
        };
        let id = rest.strip_prefix("key/").unwrap_or(if text.starts_with("arn:") { "" } else { rest });
        let hex = |id: &str| id.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
        let is_id = id.len() == 36 && hex(id) || id.strip_prefix("mrk-").is_some_and(|id| id.len() == 32 && hex(id));
        let is_alias = rest.strip_prefix("alias/").is_some_and(|alias| !alias.is_empty());
        if letters && (is_id || is_alias) { Ok(text.to_owned()) } else { Err("this is not a key of KMS") }
    })
}

/// AWS General Reference, "Tagging your AWS resources": the naming limits, and 50 tags for each resource.
fn tags(field: &Field<'_>) -> Option<BTreeMap<String, String>> {
    let accepts = "at most 50 tags, each with up to 128 characters for its key and 256 for its value";
    let letter = |c: char| c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c);
    let table = field.table(TAGS)?;
    let mut tags = BTreeMap::new();
    for (key, value) in table.named() {
        let name = key.get_ref();
        if !made_of(name, 1..=128, letter) || name.to_lowercase().starts_with("aws:") {
            value.misnamed(
                key,
                "this is no key for a tag",
                "letters, digits, blanks and _.:/=+-@, not beginning with aws:",
            );
            continue;
        }
        let accepts = "up to 256 letters, digits, blanks and _.:/=+-@";
        let value = read(value, accepts, |text| {
            if made_of(text, 0..=256, letter) { Ok(text.to_owned()) } else { Err("this is no value for a tag") }
        });
        tags.extend(value.map(|value| (name.to_string(), value)));
    }
    let all = table.named().len();
    if all > 50 {
        field.wrong("these are too many tags", accepts);
    }
    (tags.len() == all && all <= 50).then_some(tags)
}

/// The other regions, each once.
fn replicas(field: &Field<'_>, own: Option<&str>) -> Option<Vec<Replica>> {
    let mut replicas: Vec<Replica> = Vec::new();
    let items = field.items(REPLICAS)?;
    for item in &items {
        let Some(replica) = replica(item) else { continue };
        if own == Some(replica.region.as_str()) {
            item.clashes("the secret itself is in this region", "another region");
        } else if replicas.iter().any(|other| other.region == replica.region) {
            item.clashes("this region is named twice", "each region once");
        } else {
            replicas.push(replica);
        }
    }
    (replicas.len() == items.len()).then_some(replicas)
}

fn replica(item: &Field<'_>) -> Option<Replica> {
    if !matches!(item.value(), DeValue::Table(_)) {
        return Some(Replica { region: item.parse(REGION, region)?, kms_key: None });
    }
    let table = item.table(REPLICAS)?;
    let region = table.need("region", REGION, |field| field.parse(REGION, region));
    let kms_key = table.maybe("kms_key", kms_key);
    table.finish();
    Some(Replica { region: region?, kms_key: kms_key? })
}
