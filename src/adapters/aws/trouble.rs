//! How a call to AWS can fail, and whether it is certain that nothing was done.

use super::super::redact::redact;
use crate::model::fault::{Failure, Fault, Outcome};
use crate::model::secret::Secret;
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_secretsmanager::config::http::HttpResponse;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;
use hyper_util::client::legacy;
use std::error::Error;

/// A call that failed.
pub(super) struct Trouble {
    /// AWS's code for the error, if AWS answered.
    code: Option<String>,
    /// Whether it is certain that the call did nothing (protocol, rule 2).
    certain: bool,
    /// What happened, for the engine and for people.
    pub(super) failure: Failure,
}

impl Trouble {
    /// Judges an error of the SDK; `hide` is taken out of what AWS said before that is cut to length.
    pub(super) fn new<E>(error: &SdkError<E, HttpResponse>, hide: &[&Secret]) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        match error {
            // The SDK takes a success that it can not read for an error without a code.
            SdkError::ServiceError(said) if said.raw().status().is_success() => {
                Self::unclear(Fault::Malformed, "the answer of AWS could not be understood")
            }
            SdkError::ServiceError(said) => {
                let status = said.raw().status().as_u16();
                let code = said.err().code().unwrap_or("no code").to_owned();
                let fault = fault(&code, status);
                let message = match said.err().message() {
                    // It may repeat the whole request as AWS would have signed it, session token and all.
                    Some(_) if fault == Fault::Unauthorized => "the credentials were not accepted".to_owned(),
                    message => redact(message.unwrap_or("no message"), hide.iter().copied()),
                };
                let text = format!("AWS answered {status} {}: {message}", word(&code));
                // A code and a 4xx status: AWS itself refused. Anything else may come from in between; but a 429 says
                // that nothing was done, whoever wrote it.
                let certain = status == 429 || (said.err().code().is_some() && (400..500).contains(&status));
                Self { code: Some(code), certain, failure: Failure::new(fault, &text) }
            }
            SdkError::TimeoutError(_) => Self::unclear(Fault::Timeout, "AWS did not answer in time"),
            SdkError::ConstructionFailure(_) => Self::certain(Fault::Refused, "the request could not be built"),
            SdkError::DispatchFailure(failure) => {
                match (cause::<CredentialsError>(error), cause::<legacy::Error>(error)) {
                    (Some(credentials), _) => no_credentials(credentials),
                    (None, Some(cause)) if cause.is_connect() => {
                        Self::certain(Fault::Unreachable, "no connection to AWS could be made")
                    }
                    _ if failure.is_timeout() => Self::unclear(Fault::Timeout, "AWS did not answer in time"),
                    _ => Self::unclear(Fault::Unreachable, "the connection to AWS was cut"),
                }
            }
            SdkError::ResponseError(_) | _ => {
                Self::unclear(Fault::Malformed, "the answer of AWS could not be understood")
            }
        }
    }

    /// An answer that breaks the rules.
    pub(super) fn malformed(detail: &str) -> Self {
        Self::unclear(Fault::Malformed, detail)
    }

    /// What is refused here, before anything is sent.
    pub(super) fn refusal(fault: Fault, detail: &str) -> Self {
        Self::certain(fault, detail)
    }

    /// Something that changed between two calls.
    pub(super) fn moved(detail: &str) -> Self {
        Self::certain(Fault::Conflict, detail)
    }

    fn certain(fault: Fault, detail: &str) -> Self {
        Self { code: None, certain: true, failure: Failure::new(fault, detail) }
    }

    fn unclear(fault: Fault, detail: &str) -> Self {
        Self { code: None, certain: false, failure: Failure::new(fault, detail) }
    }

    /// Whether AWS answered with this code.
    pub(super) fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// The same, when it followed a write: what the write did is then not known.
    pub(super) fn after_a_write(self) -> Self {
        Self { certain: false, ..self }
    }

    /// The same, as a plain refusal when it would otherwise count as a conflict.
    pub(super) fn refused(mut self) -> Self {
        if self.failure.fault == Fault::Conflict {
            self.failure.fault = Fault::Refused;
        }
        self
    }

    /// The outcome of the whole.
    pub(super) fn outcome<T>(self) -> Outcome<T> {
        match self.certain {
            true => Outcome::NotDone(self.failure),
            false => Outcome::Unknown(self.failure),
        }
    }
}

/// Why there are no credentials to sign a call with: nothing was sent. What a source says is not repeated, but for STS,
/// which says who may not assume which role.
fn no_credentials(error: &CredentialsError) -> Trouble {
    const SOURCES: &str = "environment, profile, web identity, container, instance";
    if let Some(said) = cause::<SdkError<AssumeRoleError, HttpResponse>>(error) {
        return refused_by_sts(said);
    }
    if let Some(said) = cause::<SdkError<AssumeRoleWithWebIdentityError, HttpResponse>>(error) {
        return refused_by_sts(said);
    }
    let detail = match error {
        CredentialsError::CredentialsNotLoaded(_) => format!("no AWS credentials were found: {SOURCES}"),
        CredentialsError::ProviderTimedOut(_) => format!("no AWS credentials were had in time: {SOURCES}"),
        CredentialsError::InvalidConfiguration(_) => "the profile, or the variables of AWS, are wrong".to_owned(),
        CredentialsError::ProviderError(_) | CredentialsError::Unhandled(_) | _ => {
            "the source of AWS credentials did not give any".to_owned()
        }
    };
    Trouble::certain(Fault::Unauthorized, &detail)
}

/// What STS answered, if it did.
fn refused_by_sts<E>(error: &SdkError<E, HttpResponse>) -> Trouble
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let SdkError::ServiceError(said) = error else {
        return Trouble::certain(Fault::Unreachable, "no AWS credentials could be had: STS did not answer");
    };
    let (code, message) = (said.err().code().unwrap_or("no code"), said.err().message().unwrap_or("no message"));
    let fault = fault(code, said.raw().status().as_u16());
    let fault = if fault == Fault::Refused { Fault::Unauthorized } else { fault };
    let message = match fault == Fault::Unauthorized {
        true => "the credentials were not accepted".to_owned(),
        false => redact(message, []),
    };
    Trouble::certain(fault, &format!("STS answered {} {}: {message}", said.raw().status().as_u16(), word(code)))
}

/// The kind of an error by AWS's code ("Common errors" of the API reference, and the errors of each operation).
fn fault(code: &str, status: u16) -> Fault {
    match code {
        "AccessDeniedException" | "AccessDenied" | "NotAuthorized" | "OptInRequired" => Fault::Forbidden,
        "UnrecognizedClientException"
        | "ExpiredTokenException"
        | "ExpiredToken"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "InvalidClientTokenId"
        | "IncompleteSignature"
        | "MissingAuthenticationToken"
        | "RequestExpired" => Fault::Unauthorized,
        "ThrottlingException"
        | "Throttling"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "SlowDown" => Fault::Throttled,
        "ResourceNotFoundException" => Fault::Missing,
        "ResourceExistsException" => Fault::Conflict,
        _ if status == 429 => Fault::Throttled,
        _ if status >= 500 => Fault::Server,
        _ => Fault::Refused,
    }
}

/// The code, which AWS writes in letters only; anything else is not AWS's own.
fn word(code: &str) -> &str {
    if code.bytes().all(|b| b.is_ascii_alphabetic() || b == b' ') { code } else { "with an unusual code" }
}

/// Finds an error of this type among the causes.
fn cause<'a, C: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a C> {
    let mut chain = std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source());
    chain.find_map(|error| error.downcast_ref::<C>())
}
