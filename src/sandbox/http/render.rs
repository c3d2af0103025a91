//! Answers as Twilio writes them: members, dates and errors of the 2010 API.

use super::super::call::{AccountView, Answer, KeyView, PublicKeyView, Refusal, TokenView};
use super::super::events::{Event, SOURCE_IP_ADDRESS};
use super::super::keys::KeyKind;
use super::super::page::Page;
use super::route::{Parameters, Route};
use crate::model::key::AccountSid;
use jiff::Timestamp;
use serde_json::{Value, json};

/// What is written, before it becomes JSON or XML: the name of the XML element, and the members.
pub(super) type Document = (&'static str, Value);

/// The body of an answer; none for a deletion.
pub(super) fn answer(answer: &Answer, route: &Route<'_>, query: &Parameters) -> Option<Document> {
    Some(match answer {
        Answer::Created(view, secret) => {
            let mut body = if route.is_iam() { iam_key(view) } else { key(view) };
            body["secret"] = secret.expose().into();
            ("Key", body)
        }
        Answer::Key(view) if route.is_iam() => ("Key", iam_key(view)),
        Answer::Keys(found) if route.is_iam() => page_of_v1(found, route, query, listed_key),
        Answer::Key(view) => ("Key", key(view)),
        Answer::Account(view) | Answer::AccountMade(view) => ("Account", account(view)),
        Answer::Keys(found) => page(found, route, query, key),
        Answer::Accounts(found) => page(found, route, query, account),
        Answer::Numbers(owner, found) => page(found, route, query, |row| number(owner, *row)),
        Answer::Messages(owner, found) => page(found, route, query, |row| message(owner, *row)),
        Answer::PublicKeyMade(view) | Answer::PublicKey(view) => ("Credential", public_key(view, route)),
        Answer::PublicKeys(found) => page_of_v1(found, route, query, |view| public_key(view, route)),
        Answer::SecondaryTokenMade(view) => ("SecondaryAuthToken", token("secondary_auth_token", view, route)),
        Answer::TokenPromoted(view) => ("AuthTokenPromotion", token("auth_token", view, route)),
        Answer::Event(found) => ("Event", event(found, route)),
        Answer::Events(found) => page_of_v1(found, route, query, |row| event(row, route)),
        Answer::Deleted(_) | Answer::PublicKeyDeleted(_) | Answer::SecondaryTokenDeleted => return None,
    })
}

/// The body of a refusal; none for a status that comes from a proxy in front of Twilio, which speaks HTML.
pub(super) fn refusal(refusal: Refusal, path: &str) -> Option<Document> {
    let (status, code, words) = refusal.terms();
    let code = code?;
    let not_found = format!("The requested resource {path} was not found");
    let lacks = format!("Authorization Error: required permission {} is missing", words.trim_start_matches('/'));
    let message = if refusal == Refusal::NotFound {
        &not_found
    } else if matches!(refusal, Refusal::Lacks(_)) {
        &lacks
    } else {
        words
    };
    let more_info = format!("https://www.twilio.com/docs/errors/{code}");
    Some(("RestException", json!({"code": code, "message": message, "more_info": more_info, "status": status})))
}

/// Exactly these members: Twilio's Python SDK takes the only member it does not know for the rows.
fn page<T>(found: &Page<T>, route: &Route<'_>, query: &Parameters, row: impl Fn(&T) -> Value) -> Document {
    let [first, previous, this, next] = route.pages(query, found);
    let mut body = json!({
        "first_page_uri": first, "previous_page_uri": previous, "uri": this, "next_page_uri": next,
        "page": found.number, "page_size": found.size, "start": found.start, "end": found.end(),
    });
    body[route.member] = found.rows.iter().map(row).collect();
    ("Page", body)
}

/// A page as the newer APIs show it: whole addresses, and all about the page in one member.
fn page_of_v1<T>(found: &Page<T>, route: &Route<'_>, query: &Parameters, row: impl Fn(&T) -> Value) -> Document {
    let whole = |address: Option<String>| address.map(|address| format!("{}{address}", route.origin));
    let [first, previous, this, next] = route.pages(query, found).map(whole);
    let mut body = json!({"meta": {
        "first_page_url": first, "previous_page_url": previous, "url": this, "next_page_url": next,
        "page": found.number, "page_size": found.size, "key": route.member,
    }});
    body[route.member] = found.rows.iter().map(row).collect();
    ("Page", body)
}

/// A key as IAM shows it by itself: with its policy.
fn iam_key(view: &KeyView) -> Value {
    let mut body = key(view);
    body["policy"] = match view.kind {
        KeyKind::Restricted => json!({ "allow": view.allow }),
        KeyKind::Main | KeyKind::Standard => Value::Null,
    };
    body
}

/// A key as IAM shows it in a list: with its flags. Those of a Main key are assumed.
fn listed_key(view: &KeyView) -> Value {
    let mut body = key(view);
    body["flags"] = match view.kind {
        KeyKind::Main => json!(["manage_accounts", "manage_keys", "rest_api", "signing"]),
        KeyKind::Standard => json!(["rest_api", "signing"]),
        KeyKind::Restricted => json!(["restricted", "rest_api", "signing"]),
    };
    body
}

fn public_key(view: &PublicKeyView, route: &Route<'_>) -> Value {
    json!({
        "sid": view.sid, "account_sid": view.account, "friendly_name": view.name,
        "date_created": iso_date(view.created), "date_updated": iso_date(view.updated),
        "url": format!("{}/v1/Credentials/PublicKeys/{}", route.origin, view.sid),
    })
}

fn token(member: &str, view: &TokenView, route: &Route<'_>) -> Value {
    json!({
        "account_sid": view.account, member: view.token.expose(), "url": format!("{}{}", route.origin, route.path),
        "date_created": iso_date(view.created), "date_updated": iso_date(view.updated),
    })
}

/// The change as in the published example: `{"friendly_name": {"previous": …, "updated": …}}`.
fn event(found: &Event, route: &Route<'_>) -> Value {
    let changes = found.changes.iter();
    let data: serde_json::Map<String, Value> = changes
        .map(|(member, previous, updated)| ((*member).to_owned(), json!({"previous": previous, "updated": updated})))
        .collect();
    let account = |sid: &str| format!("{}/2010-04-01/Accounts/{sid}", route.origin);
    let actor = (found.actor_type == "account").then(|| account(&found.actor));
    json!({
        "sid": found.sid, "account_sid": found.account, "actor_sid": found.actor, "actor_type": found.actor_type,
        "description": Value::Null, "event_data": if data.is_empty() { Value::Null } else { data.into() },
        "event_date": iso_date(found.at), "event_type": found.kind(), "resource_sid": found.resource,
        "resource_type": found.resource_type, "source": found.source, "source_ip_address": SOURCE_IP_ADDRESS,
        "url": format!("{}/v1/Events/{}", route.origin, found.sid), "links": {"actor": actor, "resource": account(found.account.as_str())},
    })
}

fn key(view: &KeyView) -> Value {
    json!({
        "sid": view.sid, "friendly_name": view.name,
        "date_created": date(view.created), "date_updated": date(view.updated),
    })
}

fn account(view: &AccountView) -> Value {
    let home = format!("/2010-04-01/Accounts/{}", view.sid);
    let under = |name: &str| format!("{home}/{name}.json");
    json!({
        "sid": view.sid, "owner_account_sid": view.owner, "friendly_name": view.name, "status": view.status,
        "type": "Full", "auth_token": view.token.as_ref().map_or("", |token| token.expose()),
        "date_created": date(view.created), "date_updated": date(view.created), "uri": format!("{home}.json"),
        "subresource_uris": {
            "keys": under("Keys"), "signing_keys": under("SigningKeys"),
            "incoming_phone_numbers": under("IncomingPhoneNumbers"), "messages": under("Messages"),
        },
    })
}

fn number(owner: &AccountSid, row: usize) -> Value {
    let (sid, phone) = (made_up("PN", owner, row), format!("+1500555{:04}", 1000 + row));
    json!({
        "sid": sid, "account_sid": owner, "friendly_name": format!("Number {row}"), "phone_number": phone,
        "date_created": date(EPOCH), "date_updated": date(EPOCH),
        "uri": format!("/2010-04-01/Accounts/{owner}/IncomingPhoneNumbers/{sid}.json"),
    })
}

fn message(owner: &AccountSid, row: usize) -> Value {
    let sid = made_up("SM", owner, row);
    json!({
        "sid": sid, "account_sid": owner, "body": format!("Message {row}"), "direction": "outbound-api",
        "from": "+15005551000", "to": "+15005550006", "status": "delivered", "num_segments": "1",
        "date_created": date(EPOCH), "date_sent": date(EPOCH), "date_updated": date(EPOCH),
        "uri": format!("/2010-04-01/Accounts/{owner}/Messages/{sid}.json"),
    })
}

/// The date of what is made up.
const EPOCH: Timestamp = Timestamp::UNIX_EPOCH;

fn made_up(prefix: &str, owner: &AccountSid, row: usize) -> String {
    format!("{prefix}{}{row:04x}", &owner.as_str()[2..30])
}

/// RFC 2822 in UTC with a numeric zone, as in Twilio's OpenAPI document: `Mon, 13 Jun 2016 22:50:08 +0000`.
fn date(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

/// ISO 8601, to the second: `2015-07-31T04:00:00Z`.
fn iso_date(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The form of the `Date` header (RFC 9110, 5.6.7).
pub(super) fn http_date(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// The XML that the 2010 API speaks unless it is asked for JSON; close enough for a client to notice its mistake.
pub(super) fn xml((name, value): &Document) -> String {
    format!("<?xml version='1.0' encoding='UTF-8'?>\n<TwilioResponse>{}</TwilioResponse>", element(name, value))
}

fn element(name: &str, value: &Value) -> String {
    let inner = match value {
        Value::Null => String::new(),
        Value::Object(members) => members.iter().map(|(member, value)| element(&camel(member), value)).collect(),
        Value::Array(rows) => rows.iter().map(|row| element(name.trim_end_matches('s'), row)).collect(),
        Value::String(text) => text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    };
    format!("<{name}>{inner}</{name}>")
}

/// `friendly_name` becomes `FriendlyName`.
fn camel(name: &str) -> String {
    name.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_the_form_of_the_published_example() {
        let at: Timestamp = "2016-06-13T22:50:08.987Z".parse().unwrap();
        assert_eq!(date(at), "Mon, 13 Jun 2016 22:50:08 +0000");
        assert_eq!(http_date(at), "Mon, 13 Jun 2016 22:50:08 GMT");
    }

    #[test]
    fn an_error_has_twilios_form() {
        let path = "/2010-04-01/Accounts/AC1/Keys/SK1.json";
        let (_, body) = refusal(Refusal::NotFound, path).unwrap();
        let expected = json!({
            "code": 20404, "message": format!("The requested resource {path} was not found"),
            "more_info": "https://www.twilio.com/docs/errors/20404", "status": 404,
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn xml_is_escaped_and_named_like_twilios() {
        let document = ("Page", json!({"friendly_name": "a<b>&c", "signing_keys": [{"sid": "SK1"}, {"sid": null}]}));
        let inner = "<Page><FriendlyName>a&lt;b&gt;&amp;c</FriendlyName>\
                     <SigningKeys><SigningKey><Sid>SK1</Sid></SigningKey><SigningKey><Sid></Sid></SigningKey></SigningKeys></Page>";
        assert!(xml(&document).ends_with(&format!("<TwilioResponse>{inner}</TwilioResponse>")), "{}", xml(&document));
    }
}
