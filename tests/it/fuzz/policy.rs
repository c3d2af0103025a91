//! Policy text: what is accepted obeys the rules and is accepted again when it is written out in full; what is refused
//! is refused at a place that exists, in a text that holds no secret and controls no terminal.

use super::{changed, play};
use crate::policy::accepted::{facts, good_files};
use crate::policy::properties::obeys_the_rules;
use crate::policy::{MINIMAL, bad_files};
use rekeyd::config::{self, PolicyErrors};
use rekeyd::model::document::Members;
use rekeyd::model::fleet::{Choice, Fleet, Pattern, Waves};
use rekeyd::model::home::Home;
use rekeyd::model::names::{Place, SinkName};
use rekeyd::model::policy::{
    Access, AccountDeletes, Admin, Algorithm, Allow, ApiServer, AssumeRole, Cadence, ClientCertificate, KeyKind,
    KubernetesPolicy, Listen, ListenTls, Pkcv, Policy, PostgresState, Replica, Rules, SecretSource,
    SecretsManagerPolicy, SinkPolicy, StateUrl, TwilioPolicy, VaultAuth, VaultPolicy,
};
use rekeyd::model::workload::Workload;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

const TOKEN: &str = "hvs.CAESIJzTokenOfSomebodyElse9x";
const PIECES: &[&str] = &[
    "",
    "\"",
    "'",
    "\"\"\"",
    "[",
    "]",
    "{",
    "}",
    "=",
    ".",
    ",",
    "#",
    "\n",
    "\r\n",
    "\r",
    "\0",
    "\\",
    "\\u0041",
    "é",
    "🔑",
    "\u{202e}",
    "\u{feff}",
    "\u{a0}",
    "1",
    "-1",
    "0",
    "true",
    "nan",
    "1979-05-27",
    "[[credentials]]\n",
    "[sinks.x]\n",
    "kind = \"vault\"\n",
    "kind = \"kubernetes\"\n",
    "region = \"ie1\"\n",
    "region = \"us1\"\n",
    "grace = \"1h\"\n",
    "grace = \"3h\"\n",
    "rotate_every = \"4h\"\n",
    "\"2h\"",
    "\"30d\"",
    "schedule = { cron = \"0 3 * * *\" }\n",
    "adopt = \"SK00000000000000000000000000000009\"\n",
    "name = \"a\"\n",
    TOKEN,
    "token = \"hvs.CAESIJzTokenOfSomebodyElse9x\"\n",
    "://a@b?c",
    "\t",
    "http://127.0.0.1:1",
    "allow_short = true\n",
    "SK",
    "..",
    "/",
];

fn duration(length: Duration) -> String {
    format!("\"{}s {}ns\"", length.as_secs(), length.subsec_nanos())
}

fn text(text: &str) -> String {
    // The escapes of JSON are escapes of TOML too.
    serde_json::to_string(text).unwrap().replace('\u{7f}', "\\u007f")
}

fn source(source: &SecretSource, key: &str) -> String {
    match source {
        SecretSource::File(path) => format!("{key}_file = {}", text(path.to_str().unwrap())),
        SecretSource::Env(name) => format!("{key}_env = {}", text(name)),
        SecretSource::Admin(path) => format!("main_key_file = {}", text(path.to_str().unwrap())),
        SecretSource::Stored(_) => panic!("only a Main key can lie in a store"),
    }
}

fn listens(Listen { address, tls, token }: &Listen) -> String {
    let tls = tls.iter().flat_map(|ListenTls { certificate, key }| [("cert", certificate), ("key", key)]);
    let files = tls.chain(token.iter().map(|token| ("token", token)));
    let line = |(of, file): (&str, &PathBuf)| format!("listen_{of}_file = {}\n", text(file.to_str().unwrap()));
    format!("listen = \"{address}\"\n") + &files.map(line).collect::<String>()
}

/// The policy as a file that says everything.
fn written(policy: &Policy, short: bool) -> String {
    let Policy { instance, state, listen, twilio, sinks, timing, limits, credentials, fleets, subaccounts } = policy;
    let mut file = format!("[daemon]\ninstance = \"{instance}\"\n{}", listens(listen));
    let state = match state {
        StateUrl::Sqlite(path) => text(&format!("sqlite://{}", path.display())),
        StateUrl::Postgres(PostgresState { url, password }) => {
            let password = password.as_ref().map(|password| source(password, "state_password"));
            format!("{}\n{}", text(url.as_str()), password.unwrap_or_default())
        }
    };
    _ = write!(
        file,
        "state = {state}\n[twilio]\naccount_sid = \"{}\"\nallow_auth_tokens = true\n{}{}",
        twilio.account,
        admin(&twilio.access.admin, sinks),
        reached(&twilio.access)
    );
    for (sid, other) in &twilio.accounts {
        let own = if inherited(twilio, other) { String::new() } else { admin(&other.admin, sinks) };
        _ = write!(file, "[accounts.{sid}]\n{own}{}", reached(other));
    }
    for (region, other) in &twilio.regions {
        _ = write!(file, "[twilio.regions.{region}]\n{}{}", admin(&other.admin, sinks), reached(other));
    }
    for (Home { account, region }, other) in &twilio.homes {
        let own = admin(&other.admin, sinks);
        _ = write!(file, "[accounts.{account}.regions.{region}]\n{own}{}", reached(other));
    }
    let [tick, settle, sweep, reconcile] = [timing.tick, timing.settle, timing.sweep, timing.reconcile].map(duration);
    let watch = timing.watch.map_or("\"off\"".to_owned(), duration);
    _ = write!(
        file,
        "[timing]\nallow_short = {short}\ntick = {tick}\nsettle = {settle}\nsweep = {sweep}\nreconcile = {reconcile}\n"
    );
    _ = writeln!(file, "watch = {watch}");
    let account_deletes = match limits.account_deletes_per_hour {
        AccountDeletes::Auto => "\"auto\"".to_owned(),
        AccountDeletes::AtMost(number) => number.to_string(),
    };
    let (creates, deletes, abandons) = (limits.creates_per_hour, limits.deletes_per_hour, limits.abandons_per_hour);
    let (calls, sink_calls) = (limits.account_calls, limits.sink_calls);
    _ = write!(
        file,
        "[limits]\ncreates_per_hour = {creates}\ndeletes_per_hour = {deletes}\nabandons_per_hour = {abandons}\n"
    );
    _ = write!(
        file,
        "account_deletes_per_hour = {account_deletes}\naccount_calls = {calls}\nsink_calls = {sink_calls}\n"
    );
    for (name, sink) in sinks {
        _ = write!(file, "[sinks.{name}]\n{}\n", sink_lines(sink));
    }
    credentials.values().for_each(|rules| file += &credential(rules, twilio, sinks));
    fleets.iter().for_each(|each| file += &fleet(each, sinks));
    if !subaccounts.is_empty() {
        _ = write!(file, "[subaccounts]\npublish_to = [{}]\n", places(subaccounts, sinks));
    }
    file
}

fn sink_lines(sink: &SinkPolicy) -> String {
    match sink {
        SinkPolicy::Vault(VaultPolicy { address, mount, namespace, ca_file, client, auth, custom_metadata }) => {
            let auth = match auth {
                VaultAuth::Token { token } => format!("method = \"token\", {}", source(token, "token")),
                VaultAuth::AppRole { mount, role_id, secret_id } => {
                    let secret = source(secret_id, "secret_id");
                    format!("method = \"approle\", mount = {}, role_id = {}, {secret}", text(mount), text(role_id))
                }
                VaultAuth::Jwt { mount, role, jwt } => {
                    let secret = source(jwt, "jwt");
                    format!("method = \"jwt\", mount = {}, role = {}, {secret}", text(mount), text(role))
                }
                VaultAuth::Certificate { mount, role } => {
                    let role = role.as_ref().map(|role| format!(", role = {}", text(role))).unwrap_or_default();
                    format!("method = \"cert\", mount = {}{role}", text(mount))
                }
            };
            let namespace = namespace.as_ref().map(|name| format!("namespace = {}\n", text(name))).unwrap_or_default();
            let ca = ca_file
                .as_ref()
                .map(|path| format!("ca_file = {}\n", text(path.to_str().unwrap())))
                .unwrap_or_default();
            let own = client.as_deref().map(|ClientCertificate { certificate, key }| {
                let [certificate, key] = [certificate, key].map(|path| text(path.to_str().unwrap()));
                format!("client_cert_file = {certificate}\nclient_key_file = {key}\n")
            });
            let own = own.unwrap_or_default();
            let notes = custom_metadata.iter().map(|(name, note)| format!("{} = {}", text(name), text(note)));
            let notes = notes.collect::<Vec<_>>().join(", ");
            format!(
                "kind = \"vault\"\naddress = \"{address}\"\nmount = {}\n{namespace}{ca}{own}auth = {{ {auth} }}\n\
                 custom_metadata = {{ {notes} }}",
                text(mount)
            )
        }
        SinkPolicy::SecretsManager(manager) => secrets_manager_lines(manager),
        SinkPolicy::Kubernetes(KubernetesPolicy { namespace, server }) => {
            let server = server.as_ref().map(|ApiServer { address, ca_file, token }| {
                let ca = ca_file.as_ref().map(|path| format!("ca_file = {}, ", text(path.to_str().unwrap())));
                let (ca, token) = (ca.unwrap_or_default(), source(token, "token"));
                format!("server = {{ address = \"{address}\", {ca}{token} }}")
            });
            format!("kind = \"kubernetes\"\nnamespace = \"{namespace}\"\n{}", server.unwrap_or_default())
        }
        SinkPolicy::Directory { path } => format!("kind = \"directory\"\npath = {}", text(path.to_str().unwrap())),
    }
}

fn secrets_manager_lines(manager: &SecretsManagerPolicy) -> String {
    let SecretsManagerPolicy { region, endpoint_url, profile, assume_role, kms_key, tags, replicas } = manager;
    let mut lines = format!("kind = \"aws-secrets-manager\"\nregion = \"{region}\"\n");
    lines.extend(endpoint_url.iter().map(|url| format!("endpoint_url = \"{url}\"\n")));
    let key = |key: &Option<String>| key.as_ref().map(|key| format!(", kms_key = {}", text(key))).unwrap_or_default();
    lines.extend(profile.iter().map(|name| format!("profile = {}\n", text(name))));
    lines.extend(kms_key.iter().map(|key| format!("kms_key = {}\n", text(key))));
    lines.extend(assume_role.iter().map(|AssumeRole { arn, external_id, session_name, sts_endpoint_url }| {
        let id = external_id.as_ref().map(|id| format!(", external_id = {}", text(id))).unwrap_or_default();
        let sts = sts_endpoint_url.as_ref().map(|url| format!(", sts_endpoint_url = \"{url}\"")).unwrap_or_default();
        format!("assume_role = {{ arn = {}, session_name = {}{id}{sts} }}\n", text(arn), text(session_name))
    }));
    let tags: Vec<_> = tags.iter().map(|(key, value)| format!("{} = {}", text(key), text(value))).collect();
    let replicas: Vec<_> = replicas
        .iter()
        .map(|Replica { region, kms_key }| format!("{{ region = \"{region}\"{} }}", key(kms_key)))
        .collect();
    lines + &format!("tags = {{ {} }}\nreplicas = [{}]", tags.join(", "), replicas.join(", "))
}

fn admin(admin: &Admin, sinks: &BTreeMap<SinkName, SinkPolicy>) -> String {
    if let Some(place) = admin.secret.place() {
        let key = if matches!(sinks[&place.sink], SinkPolicy::Vault(_)) { "path" } else { "name" };
        return format!("main_key_at = {{ sink = \"{}\", {key} = {} }}\n", place.sink, text(&place.path));
    }
    match &admin.key {
        Some(key) => format!("main_key_sid = \"{key}\"\n{}\n", source(&admin.secret, "main_key_secret")),
        None => format!("{}\n", source(&admin.secret, "auth_token")),
    }
}

/// Whether an account says nothing of its own of what manages its keys.
fn inherited(twilio: &TwilioPolicy, other: &Access) -> bool {
    let mut said = twilio.regions.values().chain([&twilio.access]);
    said.any(|access| access.admin == other.admin && access.region == other.region)
}

fn reached(access: &Access) -> String {
    let pkcv = access.pkcv.as_ref().map(|Pkcv { public_key, private_key, algorithm }| {
        let algorithm = if *algorithm == Algorithm::Ps256 { "PS256" } else { "RS256" };
        let file = text(private_key.to_str().unwrap());
        format!("pkcv = {{ public_key_sid = \"{public_key}\", private_key_file = {file}, alg = \"{algorithm}\" }}\n")
    });
    format!("base_url = \"{}\"\n{}", access.base_url, pkcv.unwrap_or_default())
}

fn fleet(fleet: &Fleet, sinks: &BTreeMap<SinkName, SinkPolicy>) -> String {
    let Fleet { name, region, choice, waves: Waves { canary, hold, batch, tolerate }, each, reserved: _ } = fleet;
    let accounts = match choice {
        Choice::Listed(sids) => {
            let sids: Vec<_> = sids.iter().map(|sid| format!("\"{sid}\"")).collect();
            format!("list = [{}]", sids.join(", "))
        }
        Choice::Named(Pattern(pattern)) => format!("status = \"active\", name = {}", text(pattern)),
    };
    let hold = duration(*hold);
    let region = region.as_ref().map(|region| format!("region = \"{region}\"\n")).unwrap_or_default();
    format!(
        "[[fleets]]\nname = \"{name}\"\n{region}accounts = {{ {accounts} }}\n\
         waves = {{ canary = {canary}, hold = {hold}, batch = {batch}, tolerate = {tolerate} }}\n{}",
        wanted(each, sinks)
    )
}

fn credential(rules: &Rules, twilio: &TwilioPolicy, sinks: &BTreeMap<SinkName, SinkPolicy>) -> String {
    let Rules { name, home, adopt, .. } = rules;
    let adopt = adopt.as_ref().map(|sid| format!("adopt = \"{sid}\"\n")).unwrap_or_default();
    let Home { account, region } = home;
    let region = if twilio.home(account) == *home { String::new() } else { format!("region = \"{region}\"\n") };
    let wanted = wanted(rules, sinks);
    format!("[[credentials]]\nname = \"{name}\"\naccount_sid = \"{account}\"\n{region}{adopt}{wanted}")
}

fn places(places: &[Place], sinks: &BTreeMap<SinkName, SinkPolicy>) -> String {
    let place = |place: &Place| {
        let key = if matches!(sinks[&place.sink], SinkPolicy::Vault(_)) { "path" } else { "name" };
        format!("{{ sink = \"{}\", {key} = {} }}", place.sink, text(&place.path))
    };
    places.iter().map(place).collect::<Vec<_>>().join(", ")
}

/// What can be said of a credential and of a fleet alike.
fn wanted(rules: &Rules, sinks: &BTreeMap<SinkName, SinkPolicy>) -> String {
    let Rules {
        name: _,
        home: _,
        cadence,
        grace,
        verify,
        adopt: _,
        kind,
        verify_url,
        members,
        places,
        restart,
        restart_pause,
        member,
    } = rules;
    assert!(member.is_none());
    let cadence = match cadence {
        Cadence::Every(period) => format!("rotate_every = {}", duration(*period)),
        Cadence::Cron(cron) => {
            let zone = cron.zone.iana_name().unwrap_or("UTC");
            format!("schedule = {{ cron = {}, timezone = \"{zone}\" }}", text(cron.pattern.as_str()))
        }
    };
    let Members { account_sid, api_key_sid, api_key_secret, stamp } = members;
    let [one, two, three, four] = [account_sid, api_key_sid, api_key_secret, stamp].map(|member| text(member));
    let (sid, secret) = match kind {
        KeyKind::Standard | KeyKind::Restricted(_) => (format!("apiKeySid = {two}, "), "apiKeySecret"),
        KeyKind::KeyPair => (format!("publicKeySid = {two}, "), "privateKey"),
        KeyKind::AuthToken { .. } => (String::new(), "authToken"),
    };
    let members = format!("{{ accountSid = {one}, {sid}{secret} = {three}, rekeyd = {four} }}");
    let kind = match kind {
        KeyKind::Standard => String::new(),
        KeyKind::KeyPair => "kind = \"key-pair\"\n".to_owned(),
        KeyKind::AuthToken { quiet } => {
            format!("kind = \"auth-token\"\nsuppress_email_notification = {quiet}\n")
        }
        KeyKind::Restricted(Allow::LikeKey(sid)) => format!("type = \"restricted\"\nclone_policy_of = \"{sid}\"\n"),
        KeyKind::Restricted(Allow::These(these)) => {
            let these: Vec<_> = these.iter().map(|permission| format!("\"{permission}\"")).collect();
            format!("type = \"restricted\"\nallow = [{}]\n", these.join(", "))
        }
    };
    let verify_url =
        verify_url.as_ref().map(|url| format!("verify_url = {}\n", text(url.as_str()))).unwrap_or_default();
    let workload = |workload: &Workload| {
        format!("{{ sink = \"{}\", {} = \"{}\" }}", workload.sink, workload.kind.word(), workload.name)
    };
    let restart: Vec<_> = restart.iter().map(workload).collect();
    let restart = format!("restart = [{}]\nrestart_pause = {}\n", restart.join(", "), duration(*restart_pause));
    let (grace, over, successes, places) =
        (duration(*grace), duration(verify.over), verify.successes, self::places(places, sinks));
    format!(
        "{cadence}\ngrace = {grace}\nmembers = {members}\n\
         verify = {{ successes = {successes}, over = {over} }}\n{kind}{verify_url}{restart}publish_to = [{places}]\n"
    )
}

/// A refusal names places that exist, shows no secret and controls no terminal.
fn told_well(file: &str, errors: &PolicyErrors) {
    let lines: Vec<&str> = file.strip_prefix('\u{feff}').unwrap_or(file).split('\n').collect();
    for error in errors.list() {
        let at = lines.get(error.line.wrapping_sub(1)).unwrap_or_else(|| panic!("line {} of\n{file}", error.line));
        assert!((1..=at.chars().count() + 1).contains(&error.column), "column {} of {at:?}", error.column);
        assert!(!error.message.is_empty(), "refused without a word:\n{file}");
    }
    let told = errors.to_string();
    let odd = told.chars().find(|c| c.is_control() && *c != '\n');
    assert_eq!(odd, None, "in {told:?}");
    assert!(!told.contains(TOKEN), "{told}");
}

#[test]
fn a_policy_is_refused_with_reason_or_accepted_for_good() {
    let good: Vec<_> = good_files().into_iter().map(|(_, text, _)| text).collect();
    let bad = bad_files().into_iter().map(|(_, text, _)| text).filter(|text| text.len() < 3_000);
    // The good ones are few, and twice as interesting.
    let seeds: Vec<_> = good.clone().into_iter().chain(good).chain(bad).chain([MINIMAL.to_owned()]).collect();
    play("policy", &changed(seeds, PIECES), |file| match config::parse(&file, "policy.toml") {
        Err(errors) => told_well(&file, &errors),
        Ok(loaded) => {
            obeys_the_rules(&loaded.policy);
            let short = loaded.warnings.iter().any(|warning| warning.key == "timing.allow_short");
            let again = written(&loaded.policy, short);
            let twice =
                config::parse(&again, "again.toml").unwrap_or_else(|errors| panic!("{errors}\n{again}\nof\n{file}"));
            assert_eq!(facts(&twice.policy), facts(&loaded.policy), "{again}\nof\n{file}");
        }
    });
}
