//! How a pod reaches the API server of its own cluster (Kubernetes docs, "Accessing the Kubernetes API from a Pod"): the
//! kubelet puts the address into its environment, and a token and the cluster's authority into a folder.
//!
//! The token is read again for each call. The authority is read once: where the cluster gets a new one, restart rekeyd.

use crate::model::policy::{ApiServer, SecretSource};
use std::path::Path;
use url::Url;

const MOUNTED: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Why the own cluster can not be used.
#[derive(Debug, thiserror::Error)]
#[error("{what}: rekeyd does not run in a pod that may call its cluster, so `server` has to say where that is")]
pub struct Unfit {
    what: String,
}

/// The API server of the cluster that this process runs in.
pub fn in_cluster() -> Result<ApiServer, Unfit> {
    from(environment, Path::new(MOUNTED))
}

fn from(variable: impl Fn(&'static str) -> Option<String>, mounted: &Path) -> Result<ApiServer, Unfit> {
    let set = |name| variable(name).ok_or_else(|| Unfit { what: format!("{name} is not set") });
    let (host, port) = (set("KUBERNETES_SERVICE_HOST")?, set("KUBERNETES_SERVICE_PORT")?);
    // An address of IPv6 comes without brackets.
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let address = Url::parse(&format!("https://{host}:{port}"));
    let address = address.map_err(|_| Unfit { what: "KUBERNETES_SERVICE_HOST and _PORT are no address".to_owned() })?;
    let token = mounted.join("token");
    if !token.exists() {
        return Err(Unfit { what: format!("there is no {}", token.display()) });
    }
    Ok(ApiServer { address, ca_file: Some(mounted.join("ca.crt")), token: SecretSource::File(token) })
}

#[expect(clippy::disallowed_methods, reason = "the kubelet says where the API server is in the environment")]
fn environment(name: &'static str) -> Option<String> {
    std::env::var(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(host: Option<&str>, mounted: &Path) -> Result<ApiServer, String> {
        let variable = |name| match name {
            "KUBERNETES_SERVICE_HOST" => host.map(str::to_owned),
            _ => Some("6443".to_owned()),
        };
        from(variable, mounted).map_err(|error| error.to_string())
    }

    #[test]
    fn a_pod_finds_its_cluster_in_the_environment_and_its_token_in_a_folder() {
        let mounted = tempfile::tempdir().unwrap();
        let missing = found(Some("10.96.0.1"), mounted.path()).unwrap_err();
        assert!(missing.starts_with(&format!("there is no {}/token: ", mounted.path().display())), "{missing}");
        std::fs::write(mounted.path().join("token"), "t").unwrap();
        for (host, address) in [("10.96.0.1", "https://10.96.0.1:6443/"), ("fd00::1", "https://[fd00::1]:6443/")] {
            let server = found(Some(host), mounted.path()).unwrap();
            assert_eq!(server.address.as_str(), address);
            assert_eq!(server.ca_file, Some(mounted.path().join("ca.crt")));
        }
    }

    #[test]
    fn outside_a_pod_it_is_told_what_to_say() {
        let told = found(None, Path::new("/nowhere")).unwrap_err();
        assert!(told.starts_with("KUBERNETES_SERVICE_HOST is not set: ") && told.contains("`server`"), "{told}");
        assert!(found(Some("no host"), Path::new("/nowhere")).unwrap_err().contains("no address"));
    }
}
