//! Where the binary finds its credentials for AWS, each source played by a small server of the test's own.

use super::rig::{AWS_SECRET, QUICK, Rig, private};
use crate::support::emulator;
use crate::support::server::free_port;
use crate::support::wire::{Act, Request, Wire, answer, json};
use serde_json::Value;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Far away, as AWS writes it.
const LATE: &str = "2999-01-01T00:00:00Z";

/// `rekeyd check --online` with these variables, and no other way to sign in to AWS.
async fn checked(rig: &Rig, variables: &[(&str, String)]) -> Output {
    let mut command: Command = rig.command(&["check", "--online"]);
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED"] {
        command.env_remove(name);
    }
    // No profile but the test's own, and no instance unless a test has one.
    command.env("HOME", rig.dir.path()).env("AWS_EC2_METADATA_SERVICE_ENDPOINT", nobody());
    // The stand-ins are asked themselves, not through this.
    command.env("HTTP_PROXY", nobody()).env("HTTPS_PROXY", nobody());
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn nobody() -> String {
    format!("http://127.0.0.1:{}", free_port())
}

/// The binary has read the secret, signed with this access key id.
async fn signs_with(output: &Output, access_key_id: &str) {
    let told = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(told.0.contains("sink `aws`: 1 places can be read"), "{told:?}");
    assert!(!told.0.contains("canary") && !told.1.contains("canary"), "{told:?}");
    let calls: Value = reqwest::get(format!("{}/calls", emulator::shared().url())).await.unwrap().json().await.unwrap();
    assert!(calls[access_key_id].is_array(), "{access_key_id} was not used: {calls}");
}

/// What STS answers to these two calls.
fn sts(action: &str, access_key_id: &str, until: &str) -> Vec<Act> {
    let body = format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><Credentials>\
         <AccessKeyId>{access_key_id}</AccessKeyId><SecretAccessKey>canary-secret</SecretAccessKey>\
         <SessionToken>canary-token</SessionToken><Expiration>{until}</Expiration></Credentials><AssumedRoleUser>\
         <Arn>arn:aws:sts::123456789012:assumed-role/rekeyd/rekeyd</Arn><AssumedRoleId>AROA:rekeyd</AssumedRoleId>\
         </AssumedRoleUser></{action}Result></{action}Response>"
    );
    answer(200, "content-type: text/xml\r\n", &body)
}

/// What a container's agent and an instance answer.
fn given(access_key_id: &str) -> Vec<Act> {
    let body = serde_json::json!({
        "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2020-01-01T00:00:00Z", "AccessKeyId": access_key_id,
        "SecretAccessKey": "canary-secret", "Token": "canary-token", "Expiration": LATE
    });
    json(200, &body.to_string())
}

async fn rig() -> Rig {
    Rig::new(&["billing-sms"], QUICK).await
}

/// The policy, with more lines for the sink in AWS.
fn say_of_sink(rig: &Rig, lines: &str) {
    let policy =
        rig.policy(&QUICK, "").replace("region = \"eu-west-1\"\n", &format!("region = \"eu-west-1\"\n{lines}\n"));
    std::fs::write(rig.path("policy.toml"), policy).unwrap();
}

fn key(access_key_id: &str) -> [(&'static str, String); 2] {
    [("AWS_ACCESS_KEY_ID", access_key_id.to_owned()), ("AWS_SECRET_ACCESS_KEY", AWS_SECRET.to_owned())]
}

/// Each source alone, in the order of the chain; the second also against the first.
#[tokio::test(flavor = "multi_thread")]
async fn credentials_come_from_each_source_of_the_chain_and_from_the_profile_of_the_policy_before_all() {
    let rig = rig().await;
    from_the_environment(&rig).await;
    for_a_web_identity(&rig).await;
    from_the_agent_of_a_container(&rig).await;
    from_the_instance(&rig).await;
    from_a_profile(&rig).await;
}

async fn from_the_environment(rig: &Rig) {
    signs_with(&checked(rig, &key("FROMENVIRONMENT")).await, "FROMENVIRONMENT").await;
}

async fn from_a_profile(rig: &Rig) {
    let file = |name: &str, id: &str| format!("[{name}]\naws_access_key_id = {id}\naws_secret_access_key = canary\n");
    private(&rig.path("credentials"), &(file("default", "FROMDEFAULT") + &file("rotator", "FROMPROFILE")));
    let shared = ("AWS_SHARED_CREDENTIALS_FILE", rig.path("credentials").display().to_string());
    signs_with(&checked(rig, std::slice::from_ref(&shared)).await, "FROMDEFAULT").await;
    say_of_sink(rig, "profile = \"rotator\"");
    let [id, secret] = key("NOTTHIS");
    signs_with(&checked(rig, &[shared, id, secret]).await, "FROMPROFILE").await;
}

async fn for_a_web_identity(rig: &Rig) {
    private(&rig.path("identity"), "canary-identity");
    let wire = Wire::start(|_| sts("AssumeRoleWithWebIdentity", "FROMWEB", LATE)).await;
    let variables = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", rig.path("identity").display().to_string()),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/rekeyd".to_owned()),
        ("AWS_ROLE_SESSION_NAME", "pod".to_owned()),
        ("AWS_ENDPOINT_URL_STS", wire.url().to_string()),
    ];
    signs_with(&checked(rig, &variables).await, "FROMWEB").await;
    assert!(wire.requests()[0].text.contains("WebIdentityToken=canary-identity"));
}

async fn from_the_agent_of_a_container(rig: &Rig) {
    private(&rig.path("agent"), "canary-agent");
    let wire = Wire::start(|_| given("FROMCONTAINER")).await;
    let variables = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}v1/credentials", wire.url())),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", rig.path("agent").display().to_string()),
    ];
    signs_with(&checked(rig, &variables).await, "FROMCONTAINER").await;
    assert_eq!(wire.requests()[0].header("authorization"), Some("canary-agent"));
}

/// The metadata of an instance, version 2, which fails at first as it does on a machine that has just started.
fn instance(request: &Request) -> Vec<Act> {
    let line = request.line();
    match line.rsplit_once('/').map_or("", |(_, last)| last) {
        _ if request.number == 0 => answer(503, "", "starting"),
        "token" => answer(200, "x-aws-ec2-metadata-token-ttl-seconds: 21600\r\n", "canary-metadata"),
        _ if request.header("x-aws-ec2-metadata-token") != Some("canary-metadata") => answer(401, "", ""),
        "" => answer(200, "", "rotator"),
        _ => given("FROMINSTANCE"),
    }
}

async fn from_the_instance(rig: &Rig) {
    let wire = Wire::start(instance).await;
    let variables = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", wire.url().to_string())];
    signs_with(&checked(rig, &variables).await, "FROMINSTANCE").await;
    assert!(wire.lines()[0].starts_with("PUT /latest/api/token"), "{:?}", wire.lines());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_assumed_with_what_was_found_and_again_when_its_session_ends() {
    let rig = rig().await;
    let wire = Wire::start(|_| sts("AssumeRole", "FROMROLE", "2020-01-01T00:00:00Z")).await;
    let role = "arn = \"arn:aws:iam::123456789012:role/team/rekeyd\", external_id = \"prod-0\"";
    say_of_sink(&rig, &format!("assume_role = {{ {role}, sts_endpoint_url = \"{}\" }}", wire.url()));
    signs_with(&checked(&rig, &key("CALLER")).await, "FROMROLE").await;
    let requests = wire.requests();
    let asked = &requests[0].text;
    assert!(asked.contains("Credential=CALLER/") && asked.contains("/eu-west-1/sts/"), "{asked}");
    for part in [
        "RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fteam%2Frekeyd",
        "RoleSessionName=rekeyd",
        "ExternalId=prod-0",
    ] {
        assert!(asked.contains(part), "{part}: {asked}");
    }
    assert!(requests.len() > 1, "a session that had ended was used again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_be_assumed_is_told_in_the_words_of_sts() {
    let rig = rig().await;
    let wire = Wire::start(|_| {
        let told = "User: arn:aws:iam::1:user/x is not authorized to perform: sts:AssumeRole";
        let error = format!("<Error><Type>Sender</Type><Code>AccessDenied</Code><Message>{told}</Message></Error>");
        answer(403, "content-type: text/xml\r\n", &format!("<ErrorResponse>{error}</ErrorResponse>"))
    })
    .await;
    let role = "arn = \"arn:aws:iam::123456789012:role/rekeyd\"";
    say_of_sink(&rig, &format!("assume_role = {{ {role}, sts_endpoint_url = \"{}\" }}", wire.url()));
    let output = checked(&rig, &key("CALLER")).await;
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("error: sink `aws`: forbidden: "), "{told}");
    assert!(told.contains("STS answered 403 AccessDenied: User: arn:aws:iam::1:user/x is not authorized"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_source_of_credentials_the_sources_are_named_and_nobody_waits() {
    let (rig, start) = (rig().await, Instant::now());
    let output = checked(&rig, &[]).await;
    let told = String::from_utf8(output.stderr).unwrap();
    let words = "no AWS credentials were found: environment, profile, web identity, container, instance";
    assert!(told.contains(words), "{told}");
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_iam_policy_is_printed_as_json_and_what_a_role_needs_beside_it() {
    let rig = rig().await;
    say_of_sink(&rig, "assume_role = { arn = \"arn:aws:iam::123456789012:role/rekeyd\", external_id = \"prod-0\" }");
    let output = rig.run(&["iam-policy", "aws"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let resource = document["Statement"][0]["Resource"][0].as_str().unwrap();
    assert!(resource.starts_with("arn:aws:secretsmanager:eu-west-1:123456789012:secret:"), "{resource}");
    assert!(resource.ends_with("/billing-sms-??????"), "{resource}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("needs sts:AssumeRole") && told.contains("with sts:ExternalId prod-0"), "{told}");
    let output = rig.run(&["iam-policy", "vault"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(told.contains("`vault` is no sink in AWS Secrets Manager") && told.contains("there are: `aws`"), "{told}");
}
