//! A Debian that systemd has booted, in a container that shares this machine's network: what is changed in it is forgotten.
//! And an installation of the daemon there, as the head of the unit describes one.

use crate::support::openbao::{self, Root};
use crate::support::peers::peers;
use crate::support::server::free_port;
use rekeyd::sandbox::{Faults, Latency, Options, Sandbox};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take; the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running container; it ends with the test process, whatever ends that.
pub(super) struct Machine {
    folder: TempDir,
    program: Child,
    watchdog: Child,
    leader: u32,
}

impl Machine {
    /// Boots it with these files beside those of Debian: `fill` is given the root to put them in.
    pub(super) fn boot(fill: impl FnOnce(&Path)) -> Self {
        assert!(rustix::process::geteuid().is_root(), "only root can boot a machine: run this test as root");
        let (folder, debian) = (tempfile::tempdir().unwrap(), peers().join("systemd/root").canonicalize().unwrap());
        let at = |name: &str| folder.path().join(name);
        ["upper", "work", "root"].into_iter().for_each(|name| fs::create_dir(at(name)).unwrap());
        fs::set_permissions(at("upper"), fs::Permissions::from_mode(0o755)).unwrap();
        fill(&at("upper"));
        let script = "mount -t overlay overlay -o lowerdir=\"$1\",upperdir=\"$2/upper\",workdir=\"$2/work\" \"$2/root\" && \
                      exec systemd-nspawn -q -D \"$2/root\" -b --register=no --keep-unit --console=pipe --link-journal=no";
        let log = File::create(at("log")).unwrap();
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"]).arg(debian).arg(folder.path());
        let errors = log.try_clone().unwrap();
        let program = unshare.stdin(Stdio::null()).stdout(log).stderr(errors).spawn().unwrap();
        // Its input ends when this process does. What systemd-nspawn has started lives on without it, and is killed first.
        let end = "read -r _; kill -9 $(ps -o pid= --ppid \"$1\") \"$1\"; sleep 0.5; rm -rf \"$2\"";
        let watchdog = Command::new("sh")
            .args(["-c", end, "sh", &program.id().to_string()])
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut machine = Self { folder, program, watchdog, leader: 0 };
        machine.until("it has booted", |machine| {
            machine.leader = machine.first_child().unwrap_or_default();
            let state = || String::from_utf8(machine.run(&["systemctl", "is-system-running"]).stdout).unwrap();
            machine.leader != 0 && ["running", "degraded"].contains(&state().trim())
        });
        machine
    }

    fn first_child(&self) -> Option<u32> {
        let ps = Command::new("ps").args(["-o", "pid=", "--ppid", &self.program.id().to_string()]).output().unwrap();
        String::from_utf8(ps.stdout).unwrap().split_whitespace().next()?.parse().ok()
    }

    /// Waits until something is true; fails with what the machine said if it does not come true.
    pub(super) fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            let gone = self.program.try_wait().unwrap();
            if gone.is_some() || start.elapsed() > PATIENCE {
                let said = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                let journal = if self.leader == 0 { String::new() } else { self.journal() };
                panic!("it did not come to pass: {what}; systemd-nspawn ({gone:?}) said:\n{said}\n{journal}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Runs a command inside.
    pub(super) fn run(&self, command: &[&str]) -> Output {
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["-t", &self.leader.to_string(), "-m", "-u", "-i", "-n", "-p", "-C", "--"]).args(command);
        nsenter.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        nsenter.env("SYSTEMD_PAGER", "cat").stdin(Stdio::null()).output().unwrap()
    }

    /// Runs a command inside that has to succeed; what it said.
    pub(super) fn done(&self, command: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.run(command);
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let (said, errors) = (text(&stdout), text(&stderr));
        assert!(status.success(), "{command:?}: {status}\n{said}\n{errors}\n{}", self.journal());
        said + &errors
    }

    /// A property of the unit.
    pub(super) fn show(&self, property: &str) -> String {
        self.done(&["systemctl", "show", "rekeyd", "--value", "-p", property]).trim().to_owned()
    }

    /// What the unit wrote, and systemd about it.
    pub(super) fn journal(&self) -> String {
        let journal = self.run(&["journalctl", "-u", "rekeyd", "-o", "cat", "--no-pager"]);
        String::from_utf8_lossy(&journal.stdout).into_owned()
    }

    /// A file inside, as it is seen from here.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.leader))
    }

    /// Adds lines to the unit.
    pub(super) fn drop_in(&self, name: &str, text: &str) {
        let folder = self.path("/etc/systemd/system/rekeyd.service.d");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(name), text).unwrap();
        self.done(&["systemctl", "daemon-reload"]);
    }

    /// A command of the binary as the head of the unit says to run one.
    pub(super) fn rekeyd(&self, args: &[&str]) -> Output {
        let user = ["-p", "DynamicUser=yes", "-p", "User=rekeyd", "-p", "StateDirectory=rekeyd"];
        let mode = ["-p", "StateDirectoryMode=0700"];
        self.run(&[&["systemd-run", "--quiet", "--wait", "--pipe"][..], &user, &mode, &["rekeyd"], args].concat())
    }

    /// A credential's part of `rekeyd status --json`.
    pub(super) fn credential(&self, name: &str) -> Option<Value> {
        let status: Value = serde_json::from_slice(&self.rekeyd(&["status", "--json"]).stdout).ok()?;
        status["credentials"].as_array()?.iter().find(|line| line["credential"] == name).cloned()
    }

    /// Waits until the credential is at rest after so many rotations.
    pub(super) fn until_settled(&mut self, name: &str, rotations: u64) {
        self.until(&format!("{rotations} rotations of {name}"), |machine| {
            machine.credential(name).is_some_and(|line| {
                line["phase"] == "serving" && line["rotations_completed"].as_u64() == Some(rotations)
            })
        });
    }

    /// The process of the unit, as its number is outside.
    pub(super) fn daemon(&self) -> u32 {
        let inside = self.show("MainPID");
        let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
        let ours = |pid: &u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let field = |name: &str| status.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
            let numbers = field("NSpid:").unwrap_or_default();
            let same = |space: &str, pid: u32| fs::read_link(format!("/proc/{pid}/ns/{space}")).ok();
            numbers.split_whitespace().next_back() == Some(inside.as_str())
                && same("pid", *pid) == same("pid", self.leader)
        };
        pids.into_iter().find(ours).unwrap()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
        let _ = self.program.wait();
    }
}

/// What an operator has: an account at Twilio, a Vault, and the files that the unit wants.
pub(super) struct Installation {
    pub(super) sandbox: Sandbox,
    pub(super) token: String,
    port: u16,
    /// Where in Vault.
    prefix: String,
}

impl Installation {
    pub(super) async fn new() -> Self {
        let faults = Faults { key_delay_ms: 300, latency_ms: Latency::Fixed(5), ..Faults::default() };
        let sandbox = Sandbox::start(Options { faults, ..Options::default() }).await.unwrap();
        let new = json!({ "policies": ["root"], "no_parent": true });
        let token = Root::new(openbao::shared()).call("POST", "auth/token/create", new).await;
        let token = token["auth"]["client_token"].as_str().unwrap().to_owned();
        let port = free_port();
        Self { sandbox, token, port, prefix: format!("systemd-{port}") }
    }

    /// A policy of these credentials.
    pub(super) fn policy(&self, names: &[&str]) -> String {
        let (port, url, vault, prefix) = (self.port, self.sandbox.url(), openbao::shared().url(), &self.prefix);
        let (account, main_key) = (self.sandbox.account_sid(), self.sandbox.main_key().0);
        let credential = |name: &&str| {
            format!(
                "[[credentials]]\nname = \"{name}\"\npublish_to = [{{ sink = \"vault\", path = \"{prefix}/{name}\" }}]\n"
            )
        };
        let credentials: String = names.iter().map(credential).collect();
        format!(
            r#"
[daemon]
instance = "test"
state = "sqlite:///var/lib/rekeyd/journal.db"
listen = "127.0.0.1:{port}"

[twilio]
account_sid = "{account}"
main_key_sid = "{main_key}"
main_key_secret_file = "/run/credentials/rekeyd.service/main_key"
base_url = "{url}"

[sinks.vault]
kind = "vault"
address = "{vault}"
mount = "secret"
auth = {{ method = "token", token_file = "/run/credentials/rekeyd.service/vault_token" }}

[defaults]
rotate_every = "1h"
grace = "2s"
verify = {{ successes = 2, over = "1s" }}

[timing]
tick = "1s"
settle = "3s"
sweep = "3s"
reconcile = "5s"
allow_short = true

[limits]
creates_per_hour = 1000
deletes_per_hour = 1000

{credentials}"#
        )
    }

    /// Puts the files where the head of the unit says.
    pub(super) fn put(&self, root: &Path, names: &[&str]) {
        let folder = root.join("etc/rekeyd");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("policy.toml"), self.policy(names)).unwrap();
        let secrets =
            [("main_key", self.sandbox.main_key().1.expose().to_owned()), ("vault_token", self.token.clone())];
        for (name, secret) in secrets {
            fs::write(folder.join(name), secret).unwrap();
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        let more = root.join("etc/systemd/system/rekeyd.service.d");
        fs::create_dir_all(&more).unwrap();
        fs::copy(deploy("systemd/credentials.conf"), more.join("credentials.conf")).unwrap();
    }

    /// The pair that consumers read in Vault, if there is one.
    pub(super) async fn served(&self, name: &str) -> Option<Value> {
        let path = format!("secret/data/{}/{name}", self.prefix);
        let (status, text) = Root::new(openbao::shared()).send("GET", &path, String::new()).await;
        let answer: Option<Value> = (status == 200).then(|| serde_json::from_str(&text).unwrap());
        answer.map(|answer| answer["data"]["data"].clone())
    }

    /// How many keys live at Twilio beside the Main key.
    pub(super) fn live(&self) -> usize {
        let main = self.sandbox.main_key().0;
        let world = self.sandbox.world().lock();
        world.keys().filter(|key| key.deleted.is_none() && key.sid != main).count()
    }
}

/// A file of those that are shipped.
pub(super) fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)
}

/// The binary and the unit, where the package has them.
pub(super) fn install(root: &Path) {
    for (from, to) in [
        (PathBuf::from(env!("CARGO_BIN_EXE_rekeyd")), "usr/bin/rekeyd"),
        (deploy("systemd/rekeyd.service"), "usr/lib/systemd/system/rekeyd.service"),
    ] {
        fs::create_dir_all(root.join(to).parent().unwrap()).unwrap();
        fs::copy(from, root.join(to)).unwrap();
    }
}
