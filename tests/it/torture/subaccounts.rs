//! `rekeyd subaccount create`, killed before and after each thing that it does, with real stores: the same command, given once
//! more, ends with one account, one API key, one public key, and both stores right.

use super::consumer::{Source, served};
use super::ground::{Ledger, PATIENCE, Store, database_server};
use super::kills::many;
use crate::daemon::rig::{AWS_SECRET, private};
use crate::subaccount::Site;
use crate::support::counted::counted;
use crate::support::{emulator, openbao, postgres};
use rekeyd::sandbox::Faults;
use serde_json::Value;
use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Output, Stdio};

/// An installation that publishes to both stores, in an account that wants requests signed.
pub struct Office {
    pub site: Site,
    /// What the places of this installation begin with.
    folder: String,
}

impl Office {
    pub async fn new(ledger: Ledger) -> Self {
        let site = Site::enforcing(Faults::default()).await;
        let folder = site.dir.path().file_name().unwrap().to_str().unwrap().trim_start_matches('.').to_owned();
        private(&site.path("token"), openbao::ROOT);
        let text = std::fs::read_to_string(site.path("policy.toml")).unwrap();
        let (head, rest) = text.split_once("[sinks.one]").unwrap();
        let timing = rest.split_once("[timing]").unwrap().1.split_once("[subaccounts]").unwrap().0;
        let head = match ledger {
            Ledger::Sqlite => head.to_owned(),
            Ledger::Postgres => {
                let file = format!("sqlite://{}/journal.db", site.dir.path().display());
                head.replace(&file, postgres::fresh(database_server()).await.url.as_str())
            }
        };
        let (vault, aws, token) = (openbao::shared().url(), emulator::shared().url(), site.path("token"));
        let policy = format!(
            r#"{head}
[sinks.vault]
kind = "vault"
address = "{vault}"
mount = "secret"
auth = {{ method = "token", token_file = "{token}" }}

[sinks.aws]
kind = "aws-secrets-manager"
region = "eu-west-1"
endpoint_url = "{aws}"

[timing]{timing}
[subaccounts]
publish_to = [{{ sink = "vault", path = "{folder}/{{account_sid}}" }}, {{ sink = "aws", name = "{folder}/{{account_sid}}" }}]
"#,
            token = token.display()
        );
        std::fs::write(site.path("policy.toml"), policy).unwrap();
        Self { site, folder }
    }

    /// Gives the command; a process that hangs is a failure.
    pub async fn create(&self, ordeal: &str) -> Output {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_rekeyd"));
        command.args(["subaccount", "create", "customer-7", "--config"]).arg(self.site.path("policy.toml"));
        command.env_clear().env("AWS_ACCESS_KEY_ID", "GOOD").env("AWS_SECRET_ACCESS_KEY", AWS_SECRET);
        command.env("AWS_EC2_METADATA_DISABLED", "true").env("REKEYD_ORDEAL", ordeal);
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
        tokio::time::timeout(PATIENCE, output).await.expect("it does not end").unwrap()
    }

    /// What each store holds for the one account, if there is one.
    pub async fn held(&self) -> Vec<Option<Value>> {
        let Some(account) = self.site.child() else { return vec![None, None] };
        let at = format!("{}/{account}", self.folder);
        vec![Source::new(Store::Vault, &at).read().await, Source::new(Store::Aws, &at).read().await]
    }

    /// Gives the command until it comes to its end, and looks at what there is then.
    async fn comes_to_its_end(&self, what: &str) {
        // Whatever a consumer can read by now is what it will go on with.
        let before: BTreeSet<_> = self.held().await.iter().flatten().filter_map(pair).collect();
        let ended = self.create("").await;
        assert!(ended.status.success(), "{what}: {ended:?}");
        let held: Vec<Value> = self.held().await.into_iter().flatten().collect();
        assert_eq!(held.len(), 2, "{what}: a store holds nothing");
        self.site.check_held(&held, what);
        let after: BTreeSet<_> = held.iter().filter_map(pair).collect();
        assert!(before.is_subset(&after), "{what}: what was served before is replaced");
    }
}

/// What a consumer would read.
fn pair(value: &Value) -> Option<(String, String)> {
    served(value).map(|(sid, secret)| (sid.to_string(), secret.expose().to_owned()))
}

/// What is told of the points on the way.
fn points(output: &Output) -> Vec<String> {
    let said = String::from_utf8_lossy(&output.stderr);
    let told = said.lines().filter_map(|line| line.strip_prefix("point ")?.split_once(": "));
    told.map(|(_, point)| point.to_owned()).collect()
}

/// A death that comes before: after the last create, and before and after the first of the two stores was written.
const BEFORE: [Option<&str>; 4] =
    [None, Some("crash:1:after-register"), Some("crash:1:before-publish"), Some("crash:1:after-publish")];

/// An installation whose making has died so.
async fn bereft(ledger: Ledger, before: Option<&str>) -> Office {
    let office = Office::new(ledger).await;
    if let Some(death) = before {
        let killed = office.create(death).await;
        assert_eq!(killed.status.signal(), Some(9), "{death}: {killed:?}");
    }
    office
}

/// Killed at this point; how often it was killed.
async fn killed_at(ledger: Ledger, before: Option<&'static str>, number: usize, point: String) -> usize {
    let what = format!("killed at {number}, {point}, {ledger:?}, {before:?}");
    let office = bereft(ledger, before).await;
    let killed = office.create(&format!("crash:{number}")).await;
    assert_eq!(killed.status.signal(), Some(9), "{what}: {killed:?}");
    office.comes_to_its_end(&what).await;
    1 + usize::from(before.is_some())
}

/// Killed at every point of a making that nothing else disturbs, and, after another death, at those that only come then.
async fn killed_everywhere(ledger: Ledger, before: &[Option<&'static str>]) {
    let (mut deaths, mut named) = (Vec::new(), BTreeSet::new());
    for before in before.iter().copied() {
        let office = bereft(ledger, before).await;
        let undisturbed = office.create("points:aloud").await;
        assert!(undisturbed.status.success(), "{undisturbed:?}");
        office.comes_to_its_end("undisturbed").await;
        let points: Vec<_> = (1..).zip(points(&undisturbed)).filter(|(_, point)| !named.contains(point)).collect();
        named.extend(points.iter().map(|(_, point)| point.clone()));
        deaths.extend(points.into_iter().map(|(number, point)| (before, number, point)));
    }
    let recovery: &[&str] = if before.len() > 1 { &["delete key", "delete public key", "fence"] } else { &[] };
    for act in ["open", "make key", "register", "note", "prove", "publish", "rename"].iter().chain(recovery) {
        for point in [format!("before {act}"), format!("after {act}")] {
            assert!(named.contains(&point), "no {point} among {named:#?}");
        }
    }
    let lives = deaths.len();
    let kills = many(deaths, move |(before, number, point)| killed_at(ledger, before, number, point)).await;
    counted("kills", kills);
    counted("torture runs", lives);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_making_of_a_subaccount_is_killed_at_every_point_with_sqlite() {
    killed_everywhere(Ledger::Sqlite, &BEFORE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_making_of_a_subaccount_is_killed_at_every_point_with_postgresql() {
    killed_everywhere(Ledger::Postgres, &[None]).await;
}
