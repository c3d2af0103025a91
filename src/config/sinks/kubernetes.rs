//! `[sinks.NAME]` with `kind = "kubernetes"`: the Secrets of a namespace.

use super::super::address::SERVER;
use super::super::daemon::{absolute_path, secret};
use super::super::reader::Table;
use crate::model::policy::{ApiServer, KubernetesPolicy};
use crate::model::sink::is_object_name;

const NAMESPACE: &str = "the name of a namespace: 1 to 63 of a-z, 0-9 and -, such as \"billing\"";
const OUTSIDE: &str = "{ address = \"https://…\", token_file = \"/…\" }, or nothing for rekeyd's own cluster";

pub(super) fn kubernetes(table: &Table<'_>) -> Option<KubernetesPolicy> {
    let namespace = table.need("namespace", NAMESPACE, |field| {
        field.parse(NAMESPACE, |text| {
            // A label by RFC 1123 (Kubernetes docs, "Namespaces").
            let fits = is_object_name(text) && text.len() <= 63 && !text.contains('.');
            if fits { Ok(text.to_owned()) } else { Err("this is no name for a namespace") }
        })
    });
    let server = table.maybe("server", |field| server(&field.table(OUTSIDE)?));
    Some(KubernetesPolicy { namespace: namespace?, server: server? })
}

fn server(table: &Table<'_>) -> Option<ApiServer> {
    let address = table.need("address", SERVER, |field| field.server_address());
    let ca_file = table.maybe("ca_file", absolute_path);
    let token = secret(table, "token_file", "token_env");
    table.finish();
    Some(ApiServer { address: address?, ca_file: ca_file?, token: token? })
}
