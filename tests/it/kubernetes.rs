//! The real binary beside the stand-in for an API server: a pair in a Secret, from one rotation to the next.

use crate::daemon::rig::{QUICK, Rig, private};
use crate::sinks::kubernetes::TOKEN;
use crate::sinks::workloads::{roll, settled};
use crate::support::apiserver::{ApiServer, NAMESPACE, Rule};
use crate::support::authority::{Authority, Front};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rekeyd::adapters::kubernetes::RULES;
use rekeyd::model::key::KeySid;
use serde_json::Value;
use std::fs;
use std::time::Duration;

/// The policy with a Secret in place of all other places.
fn policy(rig: &Rig, front: &Front, authority: &Authority) -> String {
    let policy = rig.policy(&QUICK, "");
    let (head, rest) = policy.split_once("publish_to").unwrap();
    let (_, rest) = rest.split_once('\n').unwrap();
    let (sinks, credentials) = head.split_once("[sinks.vault]").unwrap();
    let defaults = credentials.find("[defaults]").unwrap();
    let (ca, token) = (authority.file.path().display(), rig.path("cluster-token"));
    format!(
        "{sinks}[sinks.cluster]\nkind = \"kubernetes\"\nnamespace = \"{NAMESPACE}\"\nserver = {{ address = \"{}\", \
         ca_file = \"{ca}\", token_file = \"{}\" }}\n\n{}publish_to = [{{ sink = \"cluster\", name = \"billing-sms\" }}]\n\
         members = {{ apiKeySid = \"TWILIO_API_KEY\", apiKeySecret = \"TWILIO_API_SECRET\" }}\n{rest}",
        front.url,
        token.display(),
        &credentials[defaults..]
    )
}

/// What a consumer's variable would hold.
fn member(server: &ApiServer, key: &str) -> Option<String> {
    let secret = server.object("secrets", "billing-sms")?;
    Some(String::from_utf8(STANDARD.decode(secret["data"][key].as_str()?).unwrap()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_rotated_into_a_secret_with_the_least_rights_and_over_the_clusters_own_tls() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let (server, authority) = (ApiServer::start("of-nobody").await, Authority::new("cluster"));
    let rule = |(group, resource, verbs)| Rule { group, resource, verbs, names: Vec::new() };
    server.allow(TOKEN, RULES.into_iter().take(1).map(rule).collect());
    let front = Front::start(&authority, server.port).await;
    private(&rig.path("cluster-token"), TOKEN);
    fs::write(rig.path("policy.toml"), policy(&rig, &front, &authority)).unwrap();
    let checked = rig.run(&["check", "--online"]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    server.allow(TOKEN, vec![Rule { group: "", resource: "secrets", verbs: &["get"], names: Vec::new() }]);
    let checked = rig.run(&["check", "--online"]);
    let told = String::from_utf8_lossy(&checked.stderr).into_owned();
    let missing =
        "sink `cluster`: no Role allows to create and patch the Secret `billing-sms` in the namespace `billing`";
    assert!(checked.status.code() == Some(6) && told.contains(missing), "{told}");
    server.allow(TOKEN, RULES.into_iter().take(1).map(rule).collect());
    let daemon = rig.start();
    rig.until_settled(1).await;
    let first = member(&server, "TWILIO_API_KEY").unwrap();
    server.edit("secrets", "billing-sms", |secret| secret["data"]["OTHER"] = STANDARD.encode("theirs").into());
    rig.run(&["rotate", "billing-sms"]);
    rig.until_settled(2).await;
    drop(daemon);
    let (sid, secret) = (member(&server, "TWILIO_API_KEY").unwrap(), member(&server, "TWILIO_API_SECRET").unwrap());
    assert_ne!(sid, first);
    assert_eq!(member(&server, "OTHER").as_deref(), Some("theirs"));
    {
        let world = rig.sandbox.world().lock();
        let key = world.key(&KeySid::new(&sid).unwrap()).unwrap();
        assert!(key.deleted.is_none() && key.secret.expose() == secret, "the Secret serves another pair");
    }
    assert_eq!(rig.live().len(), 1);
    let told = rig.log();
    assert!(!told.contains(&secret) && !told.contains(TOKEN), "the log shows a secret");
    let status: Value = rig.credential("billing-sms").unwrap();
    assert!(!status.to_string().contains(&secret));
}

/// Waits until the credential is in this phase.
async fn until(rig: &Rig, phase: &str) -> Value {
    for _ in 0..300 {
        let told = rig.credential("billing-sms").filter(|told| told["phase"] == phase);
        if let Some(told) = told {
            return told;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("never {phase}: {:?}\n{}", rig.credential("billing-sms"), rig.log())
}

/// `rekeyd check --online` tells of workloads that can not be restarted, for whatever reason.
fn checked_beforehand(rig: &Rig, server: &ApiServer) {
    let check = |missing: &str| {
        let checked = rig.run(&["check", "--online"]);
        let told = String::from_utf8_lossy(&checked.stderr).into_owned();
        let expected = if missing.is_empty() { Some(0) } else { Some(6) };
        assert!(checked.status.code() == expected && told.contains(missing), "{missing}: {told}");
    };
    check("");
    let paused = |paused: bool| server.edit("deployments", "api", |found| found["spec"]["paused"] = paused.into());
    paused(true);
    check("cluster:deployment/api can not be restarted: it is paused");
    paused(false);
    let rules = |verbs| {
        let rule = |(group, resource, all)| Rule {
            group,
            resource,
            verbs: if resource == "deployments" { verbs } else { all },
            names: Vec::new(),
        };
        RULES.into_iter().map(rule).collect()
    };
    server.allow(TOKEN, rules(&["get"]));
    check("sink `cluster`: no Role allows to patch the deployment `api` in the namespace `billing`");
    server.allow(TOKEN, rules(&["get", "patch"]));
    check("");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_is_restarted_and_grace_begins_when_its_rollout_has_ended() {
    let rig = Rig::new(&["billing-sms"], QUICK).await;
    let (server, authority) = (ApiServer::start("of-nobody").await, Authority::new("cluster"));
    let rule = |(group, resource, verbs)| Rule { group, resource, verbs, names: Vec::new() };
    server.allow(TOKEN, RULES.into_iter().map(rule).collect());
    settled(&server, "deployments", "api");
    let front = Front::start(&authority, server.port).await;
    private(&rig.path("cluster-token"), TOKEN);
    let restart = "restart = [{ sink = \"cluster\", deployment = \"api\" }]\nrestart_pause = \"0s\"\n";
    let policy = policy(&rig, &front, &authority).replacen("members =", &format!("{restart}members ="), 1);
    fs::write(rig.path("policy.toml"), policy).unwrap();
    checked_beforehand(&rig, &server);
    let daemon = rig.start();
    let told = until(&rig, "restarting").await;
    let mark = |server: &ApiServer| {
        let annotations = &server.object("deployments", "api")?["spec"]["template"]["metadata"]["annotations"];
        annotations["rekeyd.dev/restarted-for"].as_str().map(str::to_owned)
    };
    for _ in 0..100 {
        if mark(&server).is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let first = mark(&server).unwrap_or_else(|| panic!("nothing was restarted: {told}\n{}", rig.log()));
    // The pods have not been replaced: however long that takes, nothing goes on.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let told = until(&rig, "restarting").await;
    assert!(told["waiting_for"].as_str().unwrap().contains("cluster:deployment/api"), "{told}");
    roll(&server, "deployments", "api", 3);
    rig.until_settled(1).await;
    drop(daemon);
    assert_eq!(mark(&server), Some(first), "one rotation, one restart");
    assert!(rig.log().contains("\"event\":\"restarted\""), "{}", rig.log());
}
