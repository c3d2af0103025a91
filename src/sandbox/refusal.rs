//! Every way in which Twilio refuses a call, with its status, its code and its words.

use super::faults::ErrorStatus;
use super::public_keys::BadKey;
use super::signature::Invalid;

/// Why a call is not granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The pair is wrong, or does not permit this; Twilio does not say which.
    Authenticate,
    /// The user is no SID.
    InvalidUsername,
    /// There are no credentials.
    NoCredentials,
    /// A parameter breaks a rule: the friendly name is too long.
    Constraint,
    /// A SID of another kind was expected.
    WrongSid,
    /// There is no such thing.
    NotFound,
    /// The resource has no such method.
    MethodNotAllowed,
    /// A key would make one that may do more than itself.
    Exceeds,
    /// There is a second auth token already.
    SecondaryExists,
    /// A date that can not be read.
    BadDate,
    /// A page number or a page size that cannot be.
    BadPage,
    /// A page larger than 1,000 rows.
    PageTooLarge,
    /// The account has as many keys as it may have.
    Quota,
    /// Too many calls at once; this one was not processed.
    TooManyRequests,
    /// A subaccount has no subaccounts.
    Nested,
    /// An account that is closed stays so, and the main one is neither suspended nor closed.
    Standing,
    /// The account is not named.
    NoAccount,
    /// A permission that there is not.
    UnknownPermission,
    /// A Restricted key lacks this permission.
    Lacks(&'static str),
    /// The signature of the request.
    Signature(Invalid),
    /// A public key that will not do.
    PublicKey(BadKey),
    /// Something broke.
    Broken(ErrorStatus),
}

impl Refusal {
    /// HTTP status, Twilio's code and its words (Twilio's error list; recorded answers where there are any).
    /// For `BadPage`, `BadDate`, `NoAccount`, `SecondaryExists`, `Standing` and `MethodNotAllowed` the words are our own, and so is the status of `PageTooLarge` and `Exceeds`.
    pub fn terms(self) -> (u16, Option<u32>, &'static str) {
        match self {
            Refusal::Authenticate => (401, Some(20003), "Authenticate"),
            Refusal::InvalidUsername => (401, Some(20003), "Authentication Error - invalid username"),
            Refusal::NoCredentials => (401, Some(20003), "Authentication Error - No credentials provided"),
            Refusal::Constraint => (400, Some(70001), "The request has constraint violations"),
            Refusal::WrongSid => (400, Some(70002), "Invalid Sid provided in the request"),
            Refusal::Nested => (400, Some(21101), "Subaccounts cannot contain subaccounts"),
            Refusal::Standing => (400, Some(20001), "The account can not have this status"),
            Refusal::NoAccount => (400, Some(20001), "Missing required parameter AccountSid"),
            Refusal::UnknownPermission => (400, Some(70002), "assertion is invalid"),
            Refusal::Lacks(permission) => (401, Some(70051), permission),
            Refusal::NotFound => (404, Some(20404), "The requested resource was not found"),
            Refusal::MethodNotAllowed => (405, Some(20004), "Method not allowed"),
            Refusal::BadPage => (400, Some(20001), "Invalid page"),
            Refusal::Exceeds => (400, Some(70152), "Request Contains Invalid Flags"),
            Refusal::BadDate => (400, Some(20001), "Invalid date"),
            Refusal::SecondaryExists => (400, Some(70002), "There is a secondary auth token already"),
            Refusal::PageTooLarge => (400, Some(20007), "Page size too large"),
            Refusal::Quota => (400, Some(70151), "Maximum Number Of API Keys Exceeded"),
            Refusal::TooManyRequests => (429, Some(20429), "Too Many Requests"),
            Refusal::Signature(invalid) => (401, Some(invalid.terms().0), invalid.terms().1),
            Refusal::PublicKey(BadKey::NotRsa) => (400, Some(70101), "Public key must be an RSA key"),
            Refusal::PublicKey(BadKey::Length) => (400, Some(70102), "Public key must have 2048 bits"),
            Refusal::PublicKey(BadKey::Exponent) => (400, Some(70103), "Public key must have the exponent 65537"),
            Refusal::PublicKey(BadKey::Unreadable) => (400, Some(70104), "Public key can not be parsed"),
            Refusal::Broken(ErrorStatus::INTERNAL) => (500, Some(20500), "Internal Server Error"),
            Refusal::Broken(ErrorStatus::UNAVAILABLE) => (503, Some(20503), "Service Unavailable"),
            Refusal::Broken(other) => (other.into(), None, "Error"),
        }
    }
}
