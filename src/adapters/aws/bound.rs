//! How long an answer of AWS may be: as long as any other, which the SDK alone would not see to (protocol, fault 35).

use super::super::http::BODY_LIMIT;
use aws_sdk_secretsmanager::config::interceptors::BeforeDeserializationInterceptorContextMut;
use aws_sdk_secretsmanager::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_secretsmanager::error::BoxError;
use aws_smithy_types::body::SdkBody;
use http_body_util::Limited;

/// Ends an answer with an error where it becomes too long. A secret has at most 64 KiB (AWS, "Secrets Manager quotas").
#[derive(Debug)]
pub(super) struct ShortAnswers;

impl Intercept for ShortAnswers {
    fn name(&self) -> &'static str {
        "ShortAnswers"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response_mut().body_mut();
        let whole = std::mem::replace(body, SdkBody::taken());
        *body = SdkBody::from_body_1_x(Limited::new(whole, BODY_LIMIT));
        Ok(())
    }
}
