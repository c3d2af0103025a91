//! The daemon and a Vault that allows as little as it can, sits behind TLS, is sealed, and sends people away.

use super::rig::{Process, QUICK, Rig, private};
use crate::support::issuer::{Cluster, Issuer};
use crate::support::openbao::{self, Root};
use crate::support::proxy::{Fate, Proxy};
use crate::support::raft::Raft;
use serde_json::{Value, json};
use std::fs;

/// How a rule is told that allows one thing.
fn told(path: &str, capability: &str) -> String {
    format!("path \"{path}\" {{\n  capabilities = [\"{capability}\"]\n}}")
}

/// The rules of a printed policy.
fn rules(printed: &str) -> Vec<(String, Vec<String>)> {
    let quoted = |text: &str| text.split('"').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let lines: Vec<_> = printed.lines().filter(|line| !line.starts_with('#')).collect();
    let stanzas = lines.split(|line| line.is_empty()).filter(|stanza| !stanza.is_empty());
    stanzas.map(|stanza| (quoted(stanza[0]).remove(0), quoted(stanza[1]))).collect()
}

fn written(rules: &[(String, Vec<String>)]) -> Value {
    let rule =
        |(path, capabilities): &(String, Vec<String>)| format!("path {path:?} {{ capabilities = {capabilities:?} }}\n");
    json!({ "policy": rules.iter().map(rule).collect::<String>() })
}

impl Rig {
    /// Puts these lines into the table of the sink `vault`.
    fn with_vault_lines(&self, policy: &str, lines: &str) {
        let text = policy.replace("[sinks.vault]\n", &format!("[sinks.vault]\n{lines}\n"));
        assert_ne!(text, policy);
        fs::write(self.path("policy.toml"), text).unwrap();
    }

    fn printed_policy(&self) -> String {
        let printed = self.run(&["vault-policy", "vault"]);
        assert_eq!(printed.status.code(), Some(0), "{printed:?}");
        String::from_utf8(printed.stdout).unwrap()
    }

    /// `check --online`: its exit code, and what it told of problems, but for the warning that belongs to every test.
    fn checked(&self) -> (Option<i32>, String) {
        let checked = self.run(&["check", "--online"]);
        let said = String::from_utf8(checked.stderr).unwrap();
        let (_, said) = said.split_once("= accepts: false for real keys\n").unwrap();
        (checked.status.code(), said.to_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_printed_policy_is_enough_for_a_rotation_and_nothing_in_it_is_too_much() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let place = format!("seeds-{}/{{account_sid}}/seed", rig.port);
    let policy = rig.policy(&QUICK, "");
    let seeds = format!("{policy}\n[subaccounts]\npublish_to = [{{ sink = \"vault\", path = \"{place}\" }}]\n");
    rig.with_vault_lines(&seeds, "custom_metadata = { owner = \"payments\" }");
    let (printed, hand, name) = (rig.printed_policy(), Root::new(openbao::shared()), format!("least-{}", rig.port));
    let rules = rules(&printed);
    let path = rules.iter().find_map(|(path, _)| path.strip_prefix("secret/data/").filter(|path| !path.contains('+')));
    let path = path.unwrap_or_else(|| panic!("{printed}"));
    let expected = [
        (format!("secret/data/{path}"), 3),
        (format!("secret/metadata/{path}"), 1),
        (format!("secret/data/seeds-{}/+/seed", rig.port), 3),
        (format!("secret/metadata/seeds-{}/+/seed", rig.port), 1),
    ];
    let mut found: Vec<_> = rules.iter().map(|(path, capabilities)| (path.clone(), capabilities.len())).collect();
    found.sort_by_key(|(path, _)| (path.contains('+'), path.clone()));
    assert_eq!(found, expected, "{printed}");

    let write = async |rules: &[_]| drop(hand.call("PUT", &format!("sys/policies/acl/{name}"), written(rules)).await);
    write(&rules).await;
    let made = hand.call("POST", "auth/token/create", json!({"policies": [&name], "no_parent": true})).await;
    private(&rig.path("token"), made["auth"]["client_token"].as_str().unwrap());
    let (code, said) = rig.checked();
    assert!(code == Some(0) && !said.contains("error: ") && !said.contains("warning: "), "{said}");
    for (number, (path, capabilities)) in rules.iter().enumerate() {
        for capability in capabilities {
            let mut less = rules.clone();
            less[number].1.retain(|other| other != capability);
            write(&less).await;
            let (code, said) = rig.checked();
            assert!(
                code == Some(6) && said.contains(&told(path, capability)),
                "without {capability} on {path}: {said}"
            );
            assert_eq!(said.matches("capabilities = ").count(), 1, "{said}");
        }
    }
    write(&rules).await;
    let _daemon = rig.start();
    rig.until_settled(1).await;
    rig.agreed().await;
    let noted = hand.call("GET", &format!("secret/metadata/{path}"), json!({})).await;
    assert_eq!(noted["data"]["custom_metadata"], json!({"owner": "payments"}));
}

#[tokio::test(flavor = "multi_thread")]
async fn too_few_versions_and_writes_without_a_check_are_told_with_the_command_that_helps() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let policy = rig.policy(&QUICK, "").replace("creates_per_hour = 1000", "creates_per_hour = 9");
    fs::write(rig.path("policy.toml"), policy).unwrap();
    let (printed, hand) = (rig.printed_policy(), Root::new(openbao::shared()));
    let path = rules(&printed)[0].0.replace("secret/data/", "");
    let (code, said) = rig.checked();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("only 10 versions are kept, and an old key may live on 11 versions back"), "{said}");
    assert!(said.contains(&format!("vault kv metadata put -mount=secret -max-versions=11 {path}\n")), "{said}");
    assert!(
        said.contains(&format!("vault kv metadata put -mount=secret -cas-required=true {path} ends that")),
        "{said}"
    );
    hand.call("POST", &format!("secret/metadata/{path}"), json!({"max_versions": 11, "cas_required": true})).await;
    let (code, said) = rig.checked();
    assert_eq!((code, said.as_str()), (Some(0), ""), "it was done as told");
    let _daemon = rig.start();
    rig.until_settled(1).await;
}

#[test]
fn a_policy_is_printed_for_vaults_only() {
    let dir = tempfile::tempdir().unwrap();
    let text = include_str!("../../../config/policy.example.toml")
        .replace("# namespace = \"team-a\"", "namespace = \"team-a\"");
    fs::write(dir.path().join("policy.toml"), text).unwrap();
    let run = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_rekeyd"));
        let ended = command
            .arg("vault-policy")
            .args(args)
            .arg("--config")
            .arg(dir.path().join("policy.toml"))
            .output()
            .unwrap();
        (ended.status.code(), String::from_utf8([ended.stdout, ended.stderr].concat()).unwrap())
    };
    let (code, all) = run(&[]);
    assert_eq!((code, &all), (Some(0), &run(&["vault-prod"]).1), "it is the only one");
    insta::assert_snapshot!(all);
    let (code, said) = run(&["aws"]);
    assert_eq!((code, said.as_str()), (Some(3), "error: there is no sink `aws` of the kind \"vault\"\n"));
}

/// Answers like those of a server with a quota, or of one that others stand before.
const SLOW_DOWN: &str =
    "HTTP/1.1 429 x\r\nRetry-After: 1\r\ncontent-length: 43\r\n\r\n{\"errors\":[\"request path rate limited!!!\"]}";
const STANDBY: &str = "HTTP/1.1 307 x\r\nlocation: https://active.example:8200/v1/secret\r\ncontent-length: 0\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_goes_on_after_a_server_that_wants_less_or_is_not_the_active_one() {
    for (answer, words) in
        [(SLOW_DOWN, "Vault answered 429"), (STANDBY, "a redirect: give the address of the active node")]
    {
        let rig = Rig::new(&["billing-sms"], QUICK).await;
        let proxy = Proxy::for_the_first(
            2,
            openbao::shared().port,
            "/v1/secret/data/",
            Fate::Echoed(match answer {
                SLOW_DOWN => |_, _| SLOW_DOWN.to_owned(),
                _ => |_, _| STANDBY.to_owned(),
            }),
        )
        .await;
        let policy = rig.policy(&QUICK, "").replace(&openbao::shared().url(), &proxy.url);
        fs::write(rig.path("policy.toml"), policy).unwrap();
        let _daemon = rig.start();
        rig.until_told(words, 1).await;
        rig.until_settled(1).await;
        assert_eq!(proxy.chosen(), 2);
        rig.agreed().await;
    }
}

/// The policy of an installation whose only sink is that server, with the sign-in of a pod.
fn behind(rig: &Rig, raft: &Raft) -> String {
    let policy = rig.policy(&QUICK, "").replace(&openbao::shared().url(), &raft.url);
    let (dir, (certificate, key)) = (rig.dir.path().display(), &raft.client);
    let (token, auth) = (
        format!("auth = {{ method = \"token\", token_file = \"{dir}/token\" }}"),
        format!(
            "ca_file = \"{}\"\nclient_cert_file = \"{}\"\nclient_key_file = \"{}\"\n\
         auth = {{ method = \"kubernetes\", role = \"rekeyd\", token_file = \"{dir}/service-account\" }}",
            raft.authority.file.path().display(),
            certificate.display(),
            key.display(),
        ),
    );
    assert!(policy.contains(&token), "{policy}");
    policy.replace(&token, &auth).replace("mount = \"secret\"", "mount = \"kv\"")
}

/// The engine and the sign-in of a server that has neither; the tokens of the role end after six seconds.
async fn prepare(raft: &Raft, cluster: &Cluster, policy: &[(String, Vec<String>)]) {
    let hand = &raft.hand;
    hand.call("POST", "sys/mounts/kv", json!({"type": "kv", "options": {"version": "2"}})).await;
    raft.until("POST", "kv/config", r#"{"cas_required":true}"#).await;
    hand.call("PUT", "sys/policies/acl/rekeyd", written(policy)).await;
    hand.call("POST", "sys/auth/kubernetes", json!({"type": "kubernetes"})).await;
    hand.call("POST", "auth/kubernetes/config", cluster.config()).await;
    let role = json!({
        "bound_service_account_names": ["rekeyd"], "bound_service_account_namespaces": ["ops"],
        "token_policies": ["rekeyd"], "token_ttl": "3s", "token_max_ttl": "6s",
    });
    hand.call("POST", "auth/kubernetes/role/rekeyd", role).await;
}

/// What a consumer reads there, and the key that it names works.
async fn serves_a_live_key(rig: &Rig, raft: &Raft, path: &str) -> String {
    let found = raft.hand.call("GET", &format!("kv/data/{path}"), json!({})).await;
    let (sid, secret) = (&found["data"]["data"]["apiKeySid"], &found["data"]["data"]["apiKeySecret"]);
    let world = rig.sandbox.world().lock();
    let key = world.keys().find(|key| sid == key.sid.as_str()).unwrap();
    assert!(key.deleted.is_none() && secret == key.secret.expose(), "{sid}");
    sid.as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn rotations_go_on_through_a_quota_a_seal_and_another_token_of_the_pod() {
    let (rig, raft, cluster) = (Rig::new(&["billing-sms"], QUICK).await, Raft::start().await, Cluster::start().await);
    let (issuer, file) = (Issuer::new(), rig.path("service-account"));
    let pod = |token: String| {
        cluster.knows_only(&token, "rekeyd");
        private(&file, &token);
    };
    pod(issuer.service_account("rekeyd"));
    fs::write(rig.path("policy.toml"), behind(&rig, &raft)).unwrap();
    let least = rules(&rig.printed_policy());
    let path = least[0].0.strip_prefix("kv/data/").unwrap();
    prepare(&raft, &cluster, &least).await;
    let (code, said) = rig.checked();
    assert!(code == Some(0) && !said.contains("error: "), "{said}");

    let quota = json!({"path": "kv/", "rate": 0.01, "interval": "60s"});
    raft.hand.call("POST", "sys/quotas/rate-limit/tight", quota).await;
    let _daemon: Process = rig.start();
    rig.until_told("Vault answered 429", 1).await;
    raft.hand.call("DELETE", "sys/quotas/rate-limit/tight", Value::Null).await;
    rig.until_settled(1).await;
    let first = serves_a_live_key(&rig, &raft, path).await;

    pod(issuer.service_account("rekeyd"));
    rig.run(&["rotate", "billing-sms"]);
    raft.seal().await;
    rig.until_told("Vault answered 503: Vault is sealed", 1).await;
    raft.unseal().await;
    rig.until_settled(2).await;
    assert_ne!(serves_a_live_key(&rig, &raft, path).await, first);
    assert_eq!(rig.live().len(), 1);
    assert!(!rig.log().contains("eyJ"), "a token of the pod is in the log");
}
