//! `[sinks.NAME]` with `kind = "aws-secrets-manager"`.

use super::super::address::region;
use super::super::reader::Table;
use crate::model::policy::SecretsManagerPolicy;

pub(super) fn secrets_manager(table: &Table<'_>) -> Option<SecretsManagerPolicy> {
    let accepts = "a region of AWS, such as \"eu-west-1\"";
    let region = table.need("region", accepts, |field| field.parse(accepts, region));
    let endpoint_url = table.maybe("endpoint_url", |field| field.server_address());
    Some(SecretsManagerPolicy { region: region?, endpoint_url: endpoint_url? })
}
