//! From method, path and parameters to a request, and back to the addresses of pages.

use super::super::call::Request;
use super::super::events::Filter;
use super::super::page::{Page, Paging};
use axum::http::Method;
use url::form_urlencoded;

/// Parameters of a query or a form, decoded, in their order.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    pub(super) fn parse(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }

    fn find(&self, name: &str) -> Option<String> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone())
    }

    fn filter(&self) -> Filter {
        Filter {
            actor: self.find("ActorSid"),
            kind: self.find("EventType"),
            resource: self.find("ResourceSid"),
            address: self.find("SourceIpAddress"),
            start: self.find("StartDate"),
            end: self.find("EndDate"),
        }
    }

    fn paging(&self) -> Paging {
        Paging { size: self.find("PageSize"), number: self.find("Page"), token: self.find("PageToken") }
    }
}

/// A resource of the 2010 API, with the parts of its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resource<'a> {
    Accounts,
    Account,
    Keys,
    Key(&'a str),
    Numbers,
    Messages,
    PublicKeys,
    PublicKey(&'a str),
    IamKeys,
    IamKey(&'a str),
    SecondaryToken,
    TokenPromotion,
    Events,
    Event(&'a str),
}

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route<'a> {
    /// The path as it came.
    pub(super) path: &'a str,
    /// Scheme and host, for addresses that have them.
    pub(super) origin: String,
    /// The account in it.
    account: Option<&'a str>,
    /// The resource in it.
    resource: Resource<'a>,
    /// What a list of the resource is called in the answer: a key made as a signing key is listed as a key, too.
    pub(super) member: &'static str,
    /// Without `.json` the 2010 API answers XML (Twilio docs, "Twilio's Response").
    pub(super) xml: bool,
}

impl<'a> Route<'a> {
    /// Finds the resource of a path; `None` if there is none.
    pub(super) fn find(path: &'a str) -> Option<Self> {
        if let Some(rest) = path.strip_prefix("/v1/") {
            let segments: Vec<&str> = rest.trim_end_matches('/').split('/').collect();
            let (resource, member) = match segments[..] {
                ["Keys"] => (Resource::IamKeys, "keys"),
                ["Keys", sid] => (Resource::IamKey(sid), "key"),
                ["Credentials", "PublicKeys"] => (Resource::PublicKeys, "credentials"),
                ["Credentials", "PublicKeys", sid] => (Resource::PublicKey(sid), "credential"),
                ["AuthTokens", "Secondary"] => (Resource::SecondaryToken, "secondary_auth_token"),
                ["AuthTokens", "Promote"] => (Resource::TokenPromotion, "auth_token_promotion"),
                ["Events"] => (Resource::Events, "events"),
                ["Events", sid] => (Resource::Event(sid), "event"),
                _ => return None,
            };
            return Some(Self { path, origin: String::new(), account: None, resource, member, xml: false });
        }
        let bare = path.strip_suffix(".json").unwrap_or(path);
        let segments: Vec<&str> = bare.strip_prefix("/2010-04-01/Accounts")?.split('/').collect();
        let (account, resource, member) = match segments[..] {
            [""] => (None, Resource::Accounts, "accounts"),
            ["", account] => (Some(account), Resource::Account, "account"),
            ["", account, "Keys"] => (Some(account), Resource::Keys, "keys"),
            ["", account, "SigningKeys"] => (Some(account), Resource::Keys, "signing_keys"),
            ["", account, "Keys" | "SigningKeys", sid] => (Some(account), Resource::Key(sid), "key"),
            ["", account, "IncomingPhoneNumbers"] => (Some(account), Resource::Numbers, "incoming_phone_numbers"),
            ["", account, "Messages"] => (Some(account), Resource::Messages, "messages"),
            _ => return None,
        };
        Some(Self { path, origin: String::new(), account, resource, member, xml: bare.len() == path.len() })
    }

    /// Whether the account must be among the parameters.
    pub(super) fn needs_account(&self) -> bool {
        matches!(self.resource, Resource::IamKeys)
    }

    /// The path as a refusal repeats it: that of auth tokens without its version (recorded from the real service).
    pub(super) fn told(&self) -> &'a str {
        let tokens = matches!(self.resource, Resource::SecondaryToken | Resource::TokenPromotion);
        self.path.strip_prefix("/v1").filter(|_| tokens).unwrap_or(self.path)
    }

    /// Whether it belongs to IAM version 1, which shows more of a key.
    pub(super) fn is_iam(&self) -> bool {
        matches!(self.resource, Resource::IamKeys | Resource::IamKey(_))
    }

    /// The same, called through this scheme and host.
    pub(super) fn at(self, origin: String) -> Self {
        Self { origin, ..self }
    }

    /// The account that is meant: that in the path, or, where the path has none, that among the parameters.
    pub(super) fn account(&self, query: &Parameters, form: &Parameters) -> Option<String> {
        let named = || {
            matches!(self.resource, Resource::PublicKeys | Resource::IamKeys | Resource::IamKey(_))
                .then(|| form.find("AccountSid").or(query.find("AccountSid")))
        };
        self.account.map(str::to_owned).or_else(|| named().flatten())
    }

    /// What is wanted; `None` if the resource does not have this method.
    pub(super) fn request(&self, method: &Method, query: &Parameters, form: &Parameters) -> Option<Request> {
        let name = || form.find("FriendlyName");
        let quiet = |parameters: &Parameters| parameters.find("SuppressEmailNotification");
        Some(match (method.as_str(), self.resource) {
            ("GET", Resource::Accounts) => Request::ListAccounts {
                name: query.find("FriendlyName"),
                status: query.find("Status"),
                paging: query.paging(),
            },
            ("POST", Resource::Accounts) => Request::CreateAccount { name: name() },
            ("GET", Resource::Account) => Request::FetchAccount,
            ("POST", Resource::Account) => Request::UpdateAccount { name: name(), status: form.find("Status") },
            ("GET", Resource::Keys) => Request::ListKeys(query.paging()),
            ("POST", Resource::Keys) => Request::CreateKey { name: name(), policy: None },
            ("GET", Resource::Key(sid)) => Request::FetchKey { sid: sid.to_owned() },
            ("POST", Resource::Key(sid)) => Request::UpdateKey { sid: sid.to_owned(), name: name(), policy: None },
            ("DELETE", Resource::Key(sid)) => Request::DeleteKey { sid: sid.to_owned() },
            ("GET", Resource::Numbers) => Request::ListNumbers(query.paging()),
            ("GET", Resource::Messages) => Request::ListMessages(query.paging()),
            ("POST", Resource::IamKeys) => {
                // Only this type can be asked for; a Standard key has no policy (Twilio's OpenAPI document).
                let restricted = form.find("KeyType").is_some_and(|kind| kind == "restricted");
                let policy = form.find("Policy");
                Request::CreateKey {
                    name: name(),
                    policy: if restricted { policy.or(Some(String::new())) } else { None },
                }
            }
            ("GET", Resource::IamKeys) => Request::ListKeys(query.paging()),
            ("GET", Resource::IamKey(sid)) => Request::FetchKey { sid: sid.to_owned() },
            ("POST", Resource::IamKey(sid)) => {
                Request::UpdateKey { sid: sid.to_owned(), name: name(), policy: form.find("Policy") }
            }
            ("DELETE", Resource::IamKey(sid)) => Request::DeleteKey { sid: sid.to_owned() },
            ("POST", Resource::PublicKeys) => Request::CreatePublicKey { name: name(), pem: form.find("PublicKey") },
            ("GET", Resource::PublicKeys) => Request::ListPublicKeys(query.paging()),
            ("GET", Resource::PublicKey(sid)) => Request::FetchPublicKey { sid: sid.to_owned() },
            ("POST", Resource::PublicKey(sid)) => Request::UpdatePublicKey { sid: sid.to_owned(), name: name() },
            ("DELETE", Resource::PublicKey(sid)) => Request::DeletePublicKey { sid: sid.to_owned() },
            ("POST", Resource::SecondaryToken) => Request::CreateSecondaryToken { quiet: quiet(form) },
            ("DELETE", Resource::SecondaryToken) => Request::DeleteSecondaryToken { quiet: quiet(query) },
            ("POST", Resource::TokenPromotion) => Request::PromoteToken { quiet: quiet(form) },
            ("GET", Resource::Events) => Request::ListEvents { filter: query.filter(), paging: query.paging() },
            ("GET", Resource::Event(sid)) => Request::FetchEvent { sid: sid.to_owned() },
            _ => return None,
        })
    }

    /// The address of another page of the same list: the same filters, another part.
    pub(super) fn page(&self, query: &Parameters, size: usize, number: usize, token: Option<&str>) -> String {
        let mut text = form_urlencoded::Serializer::new(String::new());
        text.extend_pairs(
            query.0.iter().filter(|(name, _)| !matches!(name.as_str(), "PageSize" | "Page" | "PageToken")),
        );
        text.append_pair("PageSize", &size.to_string()).append_pair("Page", &number.to_string());
        if let Some(token) = token {
            text.append_pair("PageToken", token);
        }
        format!("{}?{}", self.path, text.finish())
    }

    /// The addresses of a page, in the order first, previous, this, next.
    pub(super) fn pages<T>(&self, query: &Parameters, page: &Page<T>) -> [Option<String>; 4] {
        let other = |(number, token): (usize, String)| self.page(query, page.size, number, Some(&token));
        let this = self.page(query, page.size, page.number, query.find("PageToken").as_deref());
        [Some(self.page(query, page.size, 0, None)), page.previous().map(other), Some(this), page.next().map(other)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_their_resource() {
        let found = |path| Route::find(path).map(|route| (route.account, route.resource, route.member, route.xml));
        let in_account = |resource, member| Some((Some("AC1"), resource, member, false));
        for (path, expected) in [
            ("/2010-04-01/Accounts.json", Some((None, Resource::Accounts, "accounts", false))),
            ("/2010-04-01/Accounts/AC1.json", in_account(Resource::Account, "account")),
            ("/2010-04-01/Accounts/AC1/Keys.json", in_account(Resource::Keys, "keys")),
            ("/2010-04-01/Accounts/AC1/SigningKeys.json", in_account(Resource::Keys, "signing_keys")),
            ("/2010-04-01/Accounts/AC1/SigningKeys/SK1.json", in_account(Resource::Key("SK1"), "key")),
            ("/2010-04-01/Accounts/AC1/Messages.json", in_account(Resource::Messages, "messages")),
            ("/2010-04-01/Accounts/AC1/Keys/SK1", Some((Some("AC1"), Resource::Key("SK1"), "key", true))),
            ("/2010-04-01/Accounts/AC1/Keys/SK1/x.json", None),
            ("/2010-04-01/Accounts/AC1/Calls.json", None),
            ("/2010-04-01/Accountsx.json", None),
            ("/v1/Keys", Some((None, Resource::IamKeys, "keys", false))),
            ("/v1/Keys/SK1", Some((None, Resource::IamKey("SK1"), "key", false))),
            ("/v1/Credentials/PublicKeys/", Some((None, Resource::PublicKeys, "credentials", false))),
            ("/v1/Nothing", None),
        ] {
            assert_eq!(found(path), expected, "{path}");
        }
    }

    #[test]
    fn a_method_that_a_resource_does_not_have_is_no_request() {
        let request = |method, path| {
            let (query, form) = (Parameters::parse(b""), Parameters::parse(b"FriendlyName=a+b%2Fc"));
            Route::find(path).unwrap().request(&method, &query, &form)
        };
        let keys = "/2010-04-01/Accounts/AC1/Keys.json";
        assert_eq!(request(Method::POST, keys), Some(Request::CreateKey { name: Some("a b/c".into()), policy: None }));
        assert_eq!(request(Method::DELETE, keys), None);
        assert_eq!(request(Method::PUT, "/2010-04-01/Accounts/AC1/Keys/SK1.json"), None);
        assert_eq!(request(Method::POST, "/2010-04-01/Accounts/AC1/Messages.json"), None);
    }

    #[test]
    fn the_address_of_a_page_keeps_the_filters() {
        let route = Route::find("/2010-04-01/Accounts.json").unwrap();
        let query = Parameters::parse(b"Page=3&FriendlyName=a%20b&PageToken=x");
        let next = "/2010-04-01/Accounts.json?FriendlyName=a+b&PageSize=2&Page=4&PageToken=PTy";
        assert_eq!(route.page(&query, 2, 4, Some("PTy")), next);
    }
}
