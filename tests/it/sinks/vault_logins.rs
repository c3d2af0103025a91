//! Signing in to Vault with JSON Web Tokens and with certificates.

use super::vault::{engine, hand, secret_file};
use super::vault_session::sink_with;
use super::{fresh_place, look, not_done, pair, put_pair, serves};
use crate::support::authority::Authority;
use crate::support::issuer::{Cluster, Issuer};
use crate::support::openbao::{self, ROOT, Root};
use rekeyd::adapters::http::{self, Base, Connections, Deadlines};
use rekeyd::adapters::vault::Vault;
use rekeyd::model::document::Names;
use rekeyd::model::fault::Fault;
use rekeyd::model::policy::{ClientCertificate, SecretSource, VaultAuth, VaultPolicy};
use rekeyd::ports::Sink as _;
use reqwest::Certificate;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::Duration;
use tempfile::NamedTempFile;

/// An auth mount of its own, configured so, with a role `rekeyd` that may use `secret/`; its tokens end after three seconds.
async fn enabled(hand: &Root, method: &str, config: Value, mut role: Value) -> String {
    let mount = fresh_place().path.to_string();
    let policy = json!({"policy": r#"path "secret/data/*" { capabilities = ["create", "read", "update"] }"#});
    hand.call("PUT", &format!("sys/policies/acl/{mount}"), policy).await;
    hand.call("POST", &format!("sys/auth/{mount}"), json!({"type": method})).await;
    hand.call("POST", &format!("auth/{mount}/config"), config).await;
    for (key, value) in
        [("token_policies", json!([&mount])), ("token_ttl", json!("3s")), ("token_max_ttl", json!("3s"))]
    {
        role[key] = value;
    }
    hand.call("POST", &format!("auth/{mount}/role/rekeyd"), role).await;
    mount
}

fn jwt(mount: &str, file: &NamedTempFile) -> VaultAuth {
    let jwt = SecretSource::File(file.path().to_owned());
    VaultAuth::Jwt { mount: mount.to_owned(), role: "rekeyd".to_owned(), jwt }
}

#[tokio::test]
async fn a_web_token_signs_in_and_is_read_anew_for_each_login() {
    let (hand, issuer) = (hand(), Issuer::new());
    let config = json!({"jwt_validation_pubkeys": [issuer.public_key()], "jwt_supported_algs": ["ES256"]});
    let role =
        json!({"role_type": "jwt", "user_claim": "sub", "bound_subject": "rekeyd", "bound_audiences": ["vault"]});
    let mount = enabled(&hand, "jwt", config, role).await;
    let token = |subject: &str, lasts| issuer.token(json!({"sub": subject, "aud": "vault"}), lasts);
    let file = secret_file(&token("rekeyd", 600));
    let (sink, place, one) = (sink_with(jwt(&mount, &file)), fresh_place(), pair(1));
    put_pair(&sink, &place, &one).await;
    // The token of the login lives; that of the file does not count until it has ended.
    fs::write(file.path(), token("rekeyd", -3600)).unwrap();
    serves(&look(&sink, &place).await, &one);
    tokio::time::sleep(Duration::from_millis(3100)).await;
    let failure = not_done(sink.read(&place, &Names::default(), None).await);
    assert!(failure.fault == Fault::Unauthorized && failure.detail.starts_with("JWT login: "), "{failure}");
    fs::write(file.path(), token("somebody", 600)).unwrap();
    assert_eq!(not_done(sink.read(&place, &Names::default(), None).await).fault, Fault::Unauthorized);
    fs::write(file.path(), token("rekeyd", 600)).unwrap();
    serves(&look(&sink, &place).await, &one);
}

#[tokio::test]
async fn a_service_account_of_kubernetes_signs_in_as_the_cluster_knows_it() {
    let (hand, issuer, cluster) = (hand(), Issuer::new(), Cluster::start().await);
    let role = json!({"bound_service_account_names": ["rekeyd"], "bound_service_account_namespaces": ["ops"]});
    let mount = enabled(&hand, "kubernetes", cluster.config(), role).await;
    let token = issuer.service_account("rekeyd");
    let file = secret_file(&token);
    let (sink, place, pair) = (sink_with(jwt(&mount, &file)), fresh_place(), pair(1));
    let refused = not_done(sink.read(&place, &Names::default(), None).await);
    assert!(refused.fault == Fault::Unauthorized && !refused.detail.contains(&token), "{refused}");
    cluster.knows_only(&token, "rekeyd");
    put_pair(&sink, &place, &pair).await;
    let other = issuer.service_account("another");
    cluster.knows_only(&other, "another");
    fs::write(file.path(), &other).unwrap();
    let sink = sink_with(jwt(&mount, &file));
    assert_eq!(not_done(sink.read(&place, &Names::default(), None).await).fault, Fault::Unauthorized);
}

/// A sink that shows this certificate to the server, and signs in with it.
fn showing(url: &str, authority: &Path, own: &ClientCertificate, role: Option<&str>) -> Vault {
    let auth = VaultAuth::Certificate { mount: "cert".to_owned(), role: role.map(str::to_owned) };
    let engine = VaultPolicy { client: Some(Box::new(own.clone())), ..engine(url, "secret", auth) };
    let base = Base::new(&engine.address).unwrap();
    let http = http::client_showing(&base, Some(authority), Some(own), Deadlines::default(), Connections::Fresh);
    Vault::new(http.unwrap(), &engine).unwrap()
}

#[tokio::test]
async fn a_client_certificate_signs_in() {
    let (server, clients, folder) =
        (openbao::start_with_tls(), Authority::new("clients"), tempfile::tempdir().unwrap());
    let (url, trusted) = (server.url().replace("http://", "https://"), server.folder.path().join("vault-ca.pem"));
    let trust = Certificate::from_pem(&fs::read(&trusted).unwrap()).unwrap();
    let hand = Root::at(url.clone(), reqwest::Client::builder().tls_certs_only([trust]).build().unwrap(), ROOT);
    let policy = json!({"policy": r#"path "secret/data/*" { capabilities = ["create", "read", "update"] }"#});
    hand.call("PUT", "sys/policies/acl/rekeyd", policy).await;
    hand.call("POST", "sys/auth/cert", json!({"type": "cert"})).await;
    let role = json!({"certificate": clients.pem(), "token_policies": ["rekeyd"], "token_ttl": "1h"});
    hand.call("POST", "auth/cert/certs/rekeyd", role).await;
    let (certificate, key) = clients.write("rekeyd", folder.path(), "client");
    let own = ClientCertificate { certificate, key };
    let (place, pair) = (fresh_place(), pair(1));
    put_pair(&showing(&url, &trusted, &own, None), &place, &pair).await;
    serves(&look(&showing(&url, &trusted, &own, Some("rekeyd")), &place).await, &pair);
    let elsewhere = showing(&url, &trusted, &own, Some("other")).read(&place, &Names::default(), None).await;
    assert_eq!(not_done(elsewhere).fault, Fault::Unauthorized, "the name of the role was not sent");
    let (certificate, key) = Authority::new("others").write("rekeyd", folder.path(), "foreign");
    let foreign = ClientCertificate { certificate, key };
    let outcome = showing(&url, &trusted, &foreign, None).read(&place, &Names::default(), None).await;
    assert_eq!(not_done(outcome).fault, Fault::Unauthorized);
}

#[test]
fn files_that_are_no_certificate_and_its_key_are_told_without_what_they_hold() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("clients"));
    let (certificate, key) = authority.write("rekeyd", folder.path(), "one");
    let (_, other) = authority.write("rekeyd", folder.path(), "two");
    let (open, none) = (folder.path().join("open.key"), folder.path().join("none.pem"));
    fs::copy(&key, &open).unwrap();
    fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let base = Base::new(&"https://127.0.0.1:1".parse().unwrap()).unwrap();
    let told = |certificate: &Path, key: &Path| {
        let own = ClientCertificate { certificate: certificate.to_owned(), key: key.to_owned() };
        let trusted = Some(authority.file.path());
        let made = http::client_showing(&base, trusted, Some(&own), Deadlines::default(), Connections::Fresh);
        made.err().map(|error| error.to_string())
    };
    let unfit = |one: &Path, two: &Path| {
        Some(format!("{} and {} are not a certificate and its key in PEM form", one.display(), two.display()))
    };
    assert_eq!(told(&certificate, &key), None);
    assert_eq!(told(&certificate, &other), unfit(&certificate, &other));
    assert_eq!(told(&key, &key), unfit(&key, &key));
    assert_eq!(told(&none, &key), Some(format!("the certificates in {} can not be read", none.display())));
    assert_eq!(told(&certificate, &open), Some("the key of the client certificate can not be had".to_owned()));
}
