//! Twilio's OpenAPI documents as a judge: every request made to a sandbox, and every answer of it, is held against them.
//!
//! What the documents do not say is said here, with its source: the form of errors, the account that other clients name at
//! `/v1/Keys/{Sid}`, and that no member is in an answer which the documents do not know.

use crate::support::counted::counted;
use jsonschema::Validator;
use rekeyd::sandbox::{Exchange, Witness};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use url::form_urlencoded;

const DOCUMENTS: [&str; 4] = [
    include_str!("../../openapi/twilio_api_v2010.trimmed.json"),
    include_str!("../../openapi/twilio_iam_v1.trimmed.json"),
    include_str!("../../openapi/twilio_accounts_v1.trimmed.json"),
    include_str!("../../openapi/twilio_monitor_v1.trimmed.json"),
];

/// An actor is a user or an account by the document's own words; its pattern forgets the second. No other SID there is a
/// user's.
const ACTOR: [&str; 2] = ["^US[0-9a-fA-F]{32}$", "^(US|AC)[0-9a-fA-F]{32}$"];

/// One operation of the documents.
struct Operation {
    method: String,
    path: Vec<String>,
    /// By place (`path`, `query`, `form`) and name.
    parameters: BTreeMap<(&'static str, String), Validator>,
    required: Vec<(&'static str, String)>,
    /// By status; none for an answer without a body.
    answers: BTreeMap<u16, Option<Validator>>,
}

/// What was seen of a sandbox; it fails the test at its end if anything was not as the documents say.
#[derive(Default)]
pub struct Judge(Arc<Seen>);

#[derive(Default)]
struct Seen {
    faults: Mutex<Vec<String>>,
    judged: Mutex<usize>,
}

impl Judge {
    /// How many exchanges it knew.
    pub(crate) fn judged(&self) -> usize {
        *self.0.judged.lock().unwrap()
    }

    pub(crate) fn witness(&self) -> Option<Witness> {
        let seen = self.0.clone();
        Some(Arc::new(move |exchange: &Exchange<'_>| {
            let found = judge(exchange);
            *seen.judged.lock().unwrap() += usize::from(found.is_some());
            seen.faults.lock().unwrap().extend(found.into_iter().flatten());
        }))
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        let faults = self.0.faults.lock().unwrap();
        assert!(std::thread::panicking() || faults.is_empty(), "not as Twilio's documents say: {faults:#?}");
        counted("exchanges held against Twilio's documents", *self.0.judged.lock().unwrap());
    }
}

fn operations() -> &'static [Operation] {
    static OPERATIONS: OnceLock<Vec<Operation>> = OnceLock::new();
    let document = |text: &&str| serde_json::from_str(&text.replace(ACTOR[0], ACTOR[1])).unwrap();
    OPERATIONS.get_or_init(|| DOCUMENTS.iter().flat_map(|text| read(&document(text))).collect())
}

fn read(document: &Value) -> Vec<Operation> {
    let components = closed(&document["components"]);
    let validator = |schema: &Value| {
        let mut root = closed(schema);
        root["components"] = components.clone();
        jsonschema::options().with_draft(jsonschema::Draft::Draft202012).build(&root).unwrap()
    };
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in ["get", "post", "delete"] {
            let Some(found) = item.get(method) else { continue };
            let (mut parameters, mut required) = (BTreeMap::new(), Vec::new());
            for parameter in found["parameters"].as_array().into_iter().flatten() {
                let place = if parameter["in"] == "path" { "path" } else { "query" };
                let name = parameter["name"].as_str().unwrap().to_owned();
                if parameter["required"] == true {
                    required.push((place, name.clone()));
                }
                parameters.insert((place, name), validator(&parameter["schema"]));
            }
            let form = &found["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"];
            for (name, schema) in form["properties"].as_object().into_iter().flatten() {
                parameters.insert(("form", name.clone()), validator(schema));
            }
            let needed = form["required"].as_array().into_iter().flatten();
            required.extend(needed.map(|name| ("form", name.as_str().unwrap().to_owned())));
            let mut answers = BTreeMap::new();
            for (status, answer) in found["responses"].as_object().unwrap() {
                let schema = &answer["content"]["application/json"]["schema"];
                answers.insert(status.parse().unwrap(), (!schema.is_null()).then(|| validator(schema)));
            }
            let path = path.split('/').map(str::to_owned).collect();
            operations.push(Operation { method: method.to_uppercase(), path, parameters, required, answers });
        }
    }
    operations
}

/// OpenAPI 3.0 as JSON Schema: `nullable` is another type; and an object has no members but those that are named.
fn closed(schema: &Value) -> Value {
    match schema {
        Value::Array(items) => items.iter().map(closed).collect(),
        Value::Object(members) => {
            let mut made: Map<String, Value> = Map::new();
            for (key, value) in members {
                // An example is no schema, and formats such as `date-time-rfc-2822` are checked below.
                if !["example", "examples", "format", "nullable", "description"].contains(&key.as_str())
                    || value.is_object()
                {
                    made.insert(key.clone(), closed(value));
                }
            }
            if members.get("nullable") == Some(&Value::Bool(true)) {
                if let Some(kind) = members.get("type").and_then(Value::as_str) {
                    made.insert("type".to_owned(), json!([kind, "null"]));
                }
                if let Some(Value::Array(words)) = made.get_mut("enum") {
                    words.push(Value::Null);
                }
            }
            let typed = members.get("type").is_some_and(Value::is_string)
                && members.get("properties").is_some_and(Value::is_object);
            if typed && !members.contains_key("additionalProperties") {
                made.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
            Value::Object(made)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => schema.clone(),
    }
}

/// What is wrong with an exchange; nothing if the documents do not know the resource.
fn judge(exchange: &Exchange<'_>) -> Option<Vec<String>> {
    let segments: Vec<&str> = exchange.path.trim_end_matches('/').split('/').collect();
    let operation = operations().iter().find(|operation| {
        operation.method == exchange.method
            && operation.path.len() == segments.len()
            && operation
                .path
                .iter()
                .zip(&segments)
                .all(|(known, found)| variable(known, found).is_some() || known == found)
    })?;
    let mut faults = Vec::new();
    let mut tell = |what: String| faults.push(format!("{} {}: {what}", exchange.method, exchange.path));
    let mut given: Vec<(&'static str, String, String)> = Vec::new();
    for (known, found) in operation.path.iter().zip(&segments) {
        given.extend(variable(known, found).map(|(name, value)| ("path", name, value)));
    }
    let pairs = |text: &[u8]| form_urlencoded::parse(text).into_owned().collect::<Vec<_>>();
    given.extend(pairs(exchange.query.as_bytes()).into_iter().map(|(name, value)| ("query", name, value)));
    given.extend(pairs(exchange.form).into_iter().map(|(name, value)| ("form", name, value)));
    for (place, name, value) in &given {
        // Two other clients of Twilio's name the account here, and it is taken; the document does not know of it.
        if (*place, name.as_str()) == ("query", "AccountSid") && exchange.path.starts_with("/v1/Keys/") {
            continue;
        }
        // Recorded of the real service: there they are ignored without a word.
        if exchange.path.ends_with("/Keys.json") && *place == "form" && ["KeyType", "Policy"].contains(&name.as_str()) {
            continue;
        }
        // Newer than the document: Twilio's Python library sends it since 9.11.0 (2026-08).
        if exchange.path.starts_with("/v1/AuthTokens/") && name == "SuppressEmailNotification" {
            continue;
        }
        match operation.parameters.get(&(*place, name.clone())) {
            None => tell(format!("there is no {place} parameter {name}")),
            // What is refused may be as wrong as the caller likes.
            Some(_) if exchange.status >= 400 => (),
            Some(schema) if schema.is_valid(&json!(value)) => (),
            Some(schema) => {
                let other = serde_json::from_str::<Value>(value).is_ok_and(|value| schema.is_valid(&value));
                if !other {
                    tell(format!("{place} parameter {name} is {value:?}"));
                }
            }
        }
    }
    if exchange.status < 400 {
        for (place, name) in &operation.required {
            if !given.iter().any(|(at, found, _)| at == place && found == name) {
                tell(format!("{place} parameter {name} is missing"));
            }
        }
    }
    answered(exchange, operation).into_iter().for_each(tell);
    Some(faults)
}

/// `{AccountSid}.json` against `AC1.json`: the name, and what stands for it.
fn variable(known: &str, found: &str) -> Option<(String, String)> {
    let (name, rest) = known.strip_prefix('{')?.split_once('}')?;
    Some((name.to_owned(), found.strip_suffix(rest)?.to_owned()))
}

fn answered(exchange: &Exchange<'_>, operation: &Operation) -> Option<String> {
    let answer: Option<Value> = serde_json::from_str(exchange.answer).ok();
    match (operation.answers.get(&exchange.status), answer) {
        // The documents know no error. This is what was recorded of the real service.
        (None, Some(error)) if exchange.status >= 400 => {
            let fits = error["status"] == exchange.status && error["message"].is_string() && error["code"].is_u64();
            (!fits).then(|| format!("an error of another form: {error}"))
        }
        // A proxy in front of Twilio.
        (None, None) if exchange.status >= 500 => None,
        (None, _) => Some(format!("the status {} is not known", exchange.status)),
        (Some(None), None) if exchange.answer.is_empty() => None,
        (Some(Some(schema)), Some(answer)) => {
            let wrong: Vec<_> = schema.iter_errors(&answer).map(|error| error.to_string()).collect();
            let iso = ["/v1/Credentials", "/v1/AuthTokens", "/v1/Events"];
            let dates = dates(&answer, iso.iter().any(|start| exchange.path.starts_with(start)));
            let wrong: Vec<_> = wrong.into_iter().chain(dates).collect();
            (!wrong.is_empty()).then(|| format!("{wrong:?} in {answer}"))
        }
        (Some(_), _) => {
            Some(format!("a body where there should be none, or none where there should be one: {}", exchange.answer))
        }
    }
}

/// Dates are in the form that the documents name: RFC 2822, or ISO 8601 for public keys, auth tokens and events.
fn dates(value: &Value, iso: bool) -> Vec<String> {
    match value {
        Value::Object(members) => {
            let own = members
                .iter()
                .filter(|(key, value)| (key.starts_with("date_") || *key == "event_date") && value.is_string());
            let wrong = own.filter(|(_, value)| {
                let text = value.as_str().unwrap();
                let read = if iso {
                    text.parse::<jiff::Timestamp>().is_ok()
                } else {
                    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).is_ok()
                };
                !read
            });
            let wrong: Vec<_> = wrong.map(|(key, value)| format!("{key} is {value}")).collect();
            wrong.into_iter().chain(members.values().flat_map(|value| dates(value, iso))).collect()
        }
        Value::Array(items) => items.iter().flat_map(|item| dates(item, iso)).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

#[test]
fn an_exchange_that_is_not_as_the_documents_say_is_told() {
    let key = r#"{"sid":"SK00000000000000000000000000000001","friendly_name":null,"date_created":"Mon, 13 Jun 2016 22:50:08 +0000","date_updated":null}"#;
    let path = "/2010-04-01/Accounts/AC00000000000000000000000000000001/Keys/SK00000000000000000000000000000001.json";
    let faults = |change: &dyn Fn(&mut Exchange<'_>)| {
        let mut exchange = Exchange { method: "GET", path, query: "", form: b"", status: 200, answer: key };
        change(&mut exchange);
        judge(&exchange).map_or(99, |faults| faults.len())
    };
    assert_eq!(faults(&|_| ()), 0);
    assert_eq!(faults(&|exchange| exchange.path = "/2010-04-01/Accounts/AC1/Other.json"), 99, "not in the documents");
    assert_eq!(faults(&|exchange| exchange.path = "/2010-04-01/Accounts/AC1/Keys/SK1.json"), 2, "two SIDs");
    assert_eq!(faults(&|exchange| exchange.query = "Depth=1"), 1);
    assert_eq!(faults(&|exchange| exchange.status = 201), 1);
    assert_eq!(faults(&|exchange| exchange.answer = "{\"sid\":7}"), 1);
    assert_eq!(faults(&|exchange| exchange.answer = "{\"secret\":\"x\"}"), 1, "a member that is not known");
    assert_eq!(faults(&|exchange| exchange.answer = "{\"date_created\":\"2016-06-13\"}"), 1);
    let error = r#"{"code":20404,"message":"m","more_info":"x","status":404}"#;
    assert_eq!(faults(&|exchange| (exchange.status, exchange.answer) = (404, error)), 0);
    assert_eq!(faults(&|exchange| (exchange.status, exchange.answer) = (404, "{}")), 1);
    assert_eq!(faults(&|exchange| (exchange.method, exchange.status, exchange.answer) = ("DELETE", 204, "")), 0);
    assert_eq!(faults(&|exchange| (exchange.method, exchange.status) = ("DELETE", 204)), 1, "a body");
    let event = |path: &'static str, answer: &'static str| {
        faults(&|exchange| (exchange.path, exchange.answer) = (path, answer))
    };
    let (one, bad) = ("/v1/Events/AE00000000000000000000000000000001", "/v1/Events/SK00000000000000000000000000000001");
    let told = r#"{"actor_sid":"AC00000000000000000000000000000001","event_date":"2023-11-14T22:13:20Z"}"#;
    assert_eq!((event(one, told), event(bad, told)), (0, 1));
    assert_eq!(event(one, r#"{"actor_sid":"SK00000000000000000000000000000001"}"#), 1);
    assert_eq!(event(one, r#"{"event_date":"Tue, 14 Nov 2023 22:13:20 +0000"}"#), 1);
    let token = |form: &'static [u8]| {
        faults(&|exchange| {
            (exchange.method, exchange.path) = ("POST", "/v1/AuthTokens/Secondary");
            (exchange.form, exchange.status, exchange.answer) = (form, 201, r#"{"secondary_auth_token":"x"}"#);
        })
    };
    assert_eq!((token(b"SuppressEmailNotification=true"), token(b"AccountSid=x")), (0, 1));
    let iam = "/v1/Keys";
    let asked = |form: &'static [u8]| {
        faults(&|exchange| {
            (exchange.method, exchange.path, exchange.form, exchange.status) = ("POST", iam, form, 400);
            exchange.answer = r#"{"code":70001,"message":"m","more_info":"x","status":400}"#;
        })
    };
    assert_eq!((asked(b"AccountSid=x&KeyType=restricted"), asked(b"Type=restricted")), (0, 1));
}
