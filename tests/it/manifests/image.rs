//! The image, as its Containerfile lays it out, run as the chart's pod would run it: the real binary is process 1 in a root of
//! its own that can not be written to, as an unprivileged user without capabilities, with the volumes of the rendered pod,
//! which have the layout, owners and modes that the kubelet gives them. There it rotates a key against the sandbox and OpenBao.
//!
//! What of a node is not here: seccomp, limits, and the network of a pod.

use super::overlays::Whole;
use super::{all, at, chart, kustomized, one, pod, right};
use crate::support::authority::{Authority, Front};
use crate::support::openbao::{self, ROOT, Root};
use crate::support::postgres;
use crate::support::server::{answers, free_port};
use rekeyd::sandbox::{Options, Sandbox};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take; the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// The user of the image, and the group that the pod gives its volumes (`fsGroup`).
const USER: u32 = 65532;

/// The files of Secrets and ConfigMaps that people make, by name.
type Given = BTreeMap<&'static str, Vec<(&'static str, String)>>;

/// A node with one pod: the files of the image, and those of its volumes.
struct Node {
    folder: TempDir,
    /// The pod, as it is rendered.
    pod: Value,
    /// What else is rendered.
    documents: Vec<Value>,
    port: u16,
}

/// A running container; ended with the test.
struct Container {
    unshare: Child,
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

impl Container {
    /// The process that is number 1 inside.
    fn first(&self) -> Option<Pid> {
        let id = self.unshare.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        Pid::from_raw(children.trim().parse().ok()?)
    }

    /// A line of the process's own state (proc_pid_status(5)).
    fn status(&self, key: &str) -> String {
        let pid = self.first().unwrap().as_raw_nonzero();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

impl Node {
    /// Takes the pod and its objects from the chart.
    fn of_chart(values: &Value, given: &Given) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("values.yaml");
        fs::write(&file, values.to_string()).unwrap();
        Self::new(right("the pod", &chart(&file).unwrap()), given)
    }

    /// A pod of these documents; Secrets and ConfigMaps that are not among them are given here.
    fn new(documents: Vec<Value>, given: &Given) -> Self {
        assert!(geteuid().is_root(), "this test makes a root file system of its own, which takes root: run it as root");
        let folder = tempfile::tempdir().unwrap();
        // Who is not root inside has to come in, too.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).unwrap();
        let pod = pod(one(&documents, "Deployment")).clone();
        let node = Self { folder, pod, documents, port: free_port() };
        let made = Command::new(at("deploy/image-root")).arg(env!("CARGO_BIN_EXE_rekeyd")).arg(node.root()).status();
        assert!(made.unwrap().success());
        for volume in node.pod["volumes"].as_array().unwrap() {
            node.lay_out(volume, given);
        }
        node
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn volume(&self, name: &str) -> PathBuf {
        self.folder.path().join("volumes").join(name)
    }

    /// Makes a volume as the kubelet does (Kubernetes sources, `pkg/volume/util/atomic_writer.go` and `volume_linux.go`).
    fn lay_out(&self, volume: &Value, given: &Given) {
        let folder = self.volume(volume["name"].as_str().unwrap());
        fs::create_dir_all(&folder).unwrap();
        let files: Vec<(&str, String)> = if let Some(name) = volume["configMap"]["name"].as_str() {
            let own = all(&self.documents, "ConfigMap").find(|map| map["metadata"]["name"] == name);
            let policy = |map: &Value| map["data"]["policy.toml"].as_str().unwrap().to_owned();
            // Beside the other tests there is one network for all.
            let listen = |text: String| text.replace(":9849", &format!(":{}", self.port));
            own.map_or_else(|| given[name].clone(), |map| vec![("policy.toml", listen(policy(map)))])
        } else if let Some(name) = volume["secret"]["secretName"].as_str() {
            given[name].clone()
        } else {
            Vec::new()
        };
        if !files.is_empty() {
            let generation = folder.join("..2026_11_21_05_17_02.1234567890");
            fs::create_dir(&generation).unwrap();
            symlink(generation.file_name().unwrap(), folder.join("..data")).unwrap();
            let mode = volume["secret"]["defaultMode"].as_u64().unwrap_or(0o644) as u32;
            for (key, text) in files {
                fs::write(generation.join(key), text).unwrap();
                fs::set_permissions(generation.join(key), Permissions::from_mode(mode)).unwrap();
                symlink(Path::new("..data").join(key), folder.join(key)).unwrap();
            }
        }
        let read_only = volume["persistentVolumeClaim"].is_null() && volume["emptyDir"].is_null();
        fs_group(&folder, if read_only { 0o440 } else { 0o660 });
    }

    /// Runs the image's entry point with these arguments, or with those of the pod.
    fn run(&self, arguments: Option<&[&str]>) -> Command {
        let container = &self.pod["containers"][0];
        let pods = || container["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap());
        let arguments: Vec<&str> = arguments.map_or_else(|| pods().collect(), <[&str]>::to_vec);
        let root = self.root();
        let mut script = String::from("set -eu\nmount --make-rprivate /\nmount --bind \"$0\" \"$0\"\n");
        for mount in container["volumeMounts"].as_array().unwrap() {
            let (from, path) = (self.volume(mount["name"].as_str().unwrap()), mount["mountPath"].as_str().unwrap());
            fs::create_dir_all(root.join(path.trim_start_matches('/'))).unwrap();
            script += &format!("mount --bind {} \"$0\"{path}\n", from.display());
            if mount["readOnly"] == true {
                script += &format!("mount -o remount,bind,ro \"$0\"{path}\n");
            }
        }
        // What every container finds there (OCI runtime specification, "Default Filesystems" and "Default Devices").
        for special in ["proc", "dev"] {
            fs::create_dir_all(root.join(special)).unwrap();
        }
        for device in ["null", "zero", "full", "random", "urandom"] {
            fs::write(root.join("dev").join(device), "").unwrap();
            script += &format!("mount --bind /dev/{device} \"$0\"/dev/{device}\n");
        }
        let user = pod_user(&self.pod);
        script += "mount -t proc proc \"$0\"/proc\nmount -o remount,bind,ro \"$0\"\n";
        script += &format!("exec chroot --userspec={user} --groups={USER} \"$0\" {} \"$@\"\n", entry_point());
        let mut command = Command::new("setpriv");
        command.args(["--no-new-privs", "unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c"]);
        command.arg(script).arg(root).args(arguments);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("AWS_EC2_METADATA_DISABLED", "true");
        command.stdin(Stdio::null());
        command
    }

    fn start(&self) -> Container {
        let log = fs::OpenOptions::new().append(true).create(true).open(self.folder.path().join("log")).unwrap();
        let errors = log.try_clone().unwrap();
        Container { unshare: self.run(None).stdout(log).stderr(errors).spawn().unwrap() }
    }

    /// `kubectl exec`: what it says, as JSON.
    fn status(&self) -> Value {
        let output = self.run(Some(&["status", "--json"])).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    async fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let start = Instant::now();
        while !holds() {
            let log = || fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(start.elapsed() < PATIENCE, "it did not come to pass: {what}\n{}\n{}", self.status(), log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until every probe of the pod is answered as the kubelet wants it.
    async fn until_ready(&self) {
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            let asked = &self.pod["containers"][0][probe]["httpGet"];
            assert_eq!(asked["port"], self.pod["containers"][0]["ports"][0]["name"], "{probe}");
            let path = asked["path"].as_str().unwrap();
            self.until(probe, || answers(self.port, path, "", "200")).await;
        }
        assert!(answers(self.port, "/metrics", "", "200"), "what the PodMonitor asks for");
    }

    fn rotated(&self) -> Option<u64> {
        let status = self.status();
        let line = &status["credentials"][0];
        (line["phase"] == "serving").then(|| line["rotations_completed"].as_u64()).flatten()
    }
}

fn pod_user(pod: &Value) -> String {
    let shared = &pod["securityContext"];
    let user = format!("{}:{}", shared["runAsUser"], shared["runAsGroup"]);
    let containerfile = fs::read_to_string(at("deploy/Containerfile")).unwrap();
    assert!(containerfile.contains(&format!("\nUSER {user}\n")), "the image is made for another user than {user}");
    user
}

/// What the Containerfile has run, whose last stage holds nothing but what the first one laid out.
fn entry_point() -> String {
    let containerfile = fs::read_to_string(at("deploy/Containerfile")).unwrap();
    let (build, last) = containerfile.split_once("\nFROM scratch\nCOPY --from=build /image/ /\n").unwrap();
    assert!(build.contains("deploy/image-root \"target/$target/release/rekeyd\" /image\n"), "{build}");
    assert!(!last.contains("RUN") && !last.contains("COPY") && !last.contains("ADD"), "{last}");
    let line = last.lines().find_map(|line| line.strip_prefix("ENTRYPOINT ")).unwrap();
    let words: Vec<String> = serde_json::from_str(line).unwrap();
    assert_eq!(words.len(), 1);
    words[0].clone()
}

/// What the kubelet does to a volume before a pod with an `fsGroup` gets it: everything belongs to the group, which may read
/// or also write it.
fn fs_group(path: &Path, mask: u32) {
    chown_link(path);
    let facts = fs::symlink_metadata(path).unwrap();
    if facts.is_symlink() {
        return;
    }
    let search = if facts.is_dir() { 0o2110 } else { 0 };
    fs::set_permissions(path, Permissions::from_mode(facts.mode() & 0o7777 | mask | search)).unwrap();
    if facts.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| fs_group(&entry.unwrap().path(), mask));
    }
}

fn chown_link(path: &Path) {
    match path.is_symlink() {
        true => std::os::unix::fs::lchown(path, None, Some(USER)).unwrap(),
        false => chown(path, None, Some(USER)).unwrap(),
    }
}

fn policy(sandbox: &Sandbox, vault: &str) -> String {
    let (account, main_key, url) = (sandbox.account_sid(), sandbox.main_key().0, sandbox.url());
    format!(
        r#"
[daemon]
instance = "test"
listen = "0.0.0.0:9849"

[twilio]
account_sid = "{account}"
main_key_sid = "{main_key}"
main_key_secret_file = "/run/rekeyd/secrets/rekeyd-twilio/main-key"
base_url = "{url}"

[sinks.vault]
kind = "vault"
address = "{vault}"
mount = "secret"
ca_file = "/run/rekeyd/config/vault-ca/ca.crt"
auth = {{ method = "token", token_file = "/run/rekeyd/secrets/rekeyd-vault/token" }}

[defaults]
rotate_every = "1h"
grace = "2s"
verify = {{ successes = 2, over = "1s" }}

[timing]
tick = "1s"
allow_short = true

[[credentials]]
name = "billing-sms"
publish_to = [{{ sink = "vault", path = "image/billing-sms" }}]
"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_image_rotates_a_key_as_the_pod_of_the_chart_and_goes_on_where_it_was_stopped() {
    let sandbox = Sandbox::start(Options::default()).await.unwrap();
    let (authority, bao) = (Authority::new("Vault's CA"), openbao::shared());
    let front = Front::start(&authority, bao.port).await;
    let given = BTreeMap::from([
        ("rekeyd-twilio", vec![("main-key", sandbox.main_key().1.expose().to_owned())]),
        ("rekeyd-vault", vec![("token", ROOT.to_owned())]),
        ("vault-ca", vec![("ca.crt", fs::read_to_string(authority.file.path()).unwrap())]),
    ]);
    let values = json!({
        "policy": { "text": policy(&sandbox, &front.url) },
        "secrets": ["rekeyd-twilio", "rekeyd-vault"],
        "configMaps": ["vault-ca"],
    });
    let node = Node::of_chart(&values, &given);
    let mut container = node.start();
    node.until_ready().await;
    node.until("a rotation", || node.rotated() == Some(1)).await;
    let served = Root::new(bao).call("GET", "secret/data/image/billing-sms", Value::Null).await;
    let served = served["data"]["data"]["apiKeySid"].as_str().unwrap().to_owned();
    let live = || -> Vec<String> {
        let world = sandbox.world().lock();
        world.keys().filter(|key| key.deleted.is_none()).map(|key| key.sid.to_string()).collect()
    };
    assert!(live().contains(&served) && live().len() == 2, "{served} and the Main key: {:?}", live());

    let user = format!("{USER} {USER} {USER} {USER}");
    for (key, expected) in [("Uid:", &user), ("Gid:", &user), ("NoNewPrivs:", &"1".to_owned())] {
        assert_eq!(&container.status(key), expected, "{key}");
    }
    assert_eq!(container.status("CapEff:").trim_start_matches('0'), "", "it has capabilities");
    assert!(container.status("NSpid:").ends_with(" 1"), "it is not process 1");

    // A kubelet ends a pod, mounts the volume anew for the next one, and gives it to the group again.
    kill_process(container.first().unwrap(), Signal::TERM).unwrap();
    let (asked, grace) = (Instant::now(), node.pod["terminationGracePeriodSeconds"].as_u64().unwrap());
    let ended = container.unshare.wait().unwrap();
    assert!(ended.success() && asked.elapsed() < Duration::from_secs(grace), "{ended} after {:?}", asked.elapsed());
    fs_group(&node.volume("state"), 0o660);
    let _again = node.start();
    node.until_ready().await;
    assert_eq!(node.rotated(), Some(1), "it has forgotten what it did: {}", node.status());
    assert!(live().len() == 2, "{:?}", live());
}

/// The pods of an overlay, with this policy in the place of its own.
fn pods_of(overlay: &str, policy: &str, given: &Given, count: usize) -> Vec<Node> {
    let whole = Whole::of(overlay);
    fs::write(whole.folder.join("policy.toml"), policy).unwrap();
    let documents = right(overlay, &kustomized(&whole.folder));
    assert_eq!(one(&documents, "Deployment")["spec"]["replicas"], count, "{overlay}");
    (0..count).map(|_| Node::new(documents.clone(), given)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pods_of_the_kustomizations_rotate_a_key_and_one_of_two_goes_on_without_the_other() {
    let bao = openbao::shared();
    for overlay in ["sqlite", "postgres"] {
        let sandbox = Sandbox::start(Options::default()).await.unwrap();
        let authority = Authority::new("the database's CA");
        let path = format!("image/{overlay}");
        let mut policy = policy(&sandbox, &bao.url()).replace("image/billing-sms", &path);
        policy = policy.lines().filter(|line| !line.starts_with("ca_file")).collect::<Vec<_>>().join("\n");
        let mut given = Given::from([
            ("rekeyd-twilio", vec![("main-key", sandbox.main_key().1.expose().to_owned())]),
            ("rekeyd-vault", vec![("token", ROOT.to_owned())]),
        ]);
        let mut database = None;
        if overlay == "postgres" {
            let folder = tempfile::tempdir().unwrap();
            let (cert, key) = authority.write("127.0.0.1", folder.path(), "server");
            let [cert, key] = [cert, key].map(|file| file.display().to_string());
            let (cert, key) = (format!("ssl_cert_file={cert}"), format!("ssl_key_file={key}"));
            let server = postgres::start(&["fsync=off", "ssl=on", &cert, &key]);
            let secrets = "/run/rekeyd/secrets/rekeyd-postgres";
            let state = format!(
                "state = \"postgres://rekeyd@127.0.0.1:{}/postgres?sslrootcert={secrets}/ca.crt\"\n\
                 state_password_file = \"{secrets}/password\"\nlisten",
                server.port
            );
            policy = policy.replacen("listen", &state, 1);
            given.insert("rekeyd-postgres", vec![("password", "any".to_owned()), ("ca.crt", authority.pem())]);
            database = Some((server, folder));
        }
        let nodes = pods_of(overlay, &policy, &given, if database.is_some() { 2 } else { 1 });
        let mut containers: Vec<_> = nodes.iter().map(Node::start).collect();
        for node in &nodes {
            node.until_ready().await;
        }
        let last = nodes.last().unwrap();
        last.until("a rotation", || last.rotated() == Some(1)).await;
        if containers.len() > 1 {
            kill_process(containers[0].first().unwrap(), Signal::TERM).unwrap();
            assert!(containers.remove(0).unshare.wait().unwrap().success());
        }
        assert!(last.run(Some(&["rotate", "billing-sms"])).output().unwrap().status.success());
        last.until("another rotation", || last.rotated() == Some(2)).await;
        let served = Root::new(bao).call("GET", &format!("secret/data/{path}"), Value::Null).await;
        let served = served["data"]["data"]["apiKeySid"].as_str().unwrap().to_owned();
        let world = sandbox.world().lock();
        let live: Vec<_> = world.keys().filter(|key| key.deleted.is_none()).map(|key| key.sid.to_string()).collect();
        assert!(live.contains(&served) && live.len() == 2, "{served} and the Main key: {live:?}");
    }
}

#[test]
fn nothing_in_the_image_can_be_run_but_the_daemon() {
    fn walk(path: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()) {
            match entry.is_dir() {
                true => walk(&entry, found),
                false => found.push(entry),
            }
        }
    }
    let root = tempfile::tempdir().unwrap();
    let made = Command::new(at("deploy/image-root")).arg(env!("CARGO_BIN_EXE_rekeyd")).arg(root.path()).status();
    assert!(made.unwrap().success());
    let mut files = Vec::new();
    walk(root.path(), &mut files);
    let files: Vec<_> =
        files.iter().map(|file| file.strip_prefix(root.path()).unwrap().display().to_string()).collect();
    // The binary that is tested here is linked to the libraries of this machine; the one of the Containerfile to none.
    let mut others: Vec<_> = files.iter().filter(|file| !file.contains(".so")).map(String::as_str).collect();
    others.sort_unstable();
    // What is to be read; the test of the package looks into it.
    let docs = "usr/share/doc/";
    for read in ["rekeyd/LICENSE", "rekeyd/THIRD-PARTY.txt", "libc6/copyright", "ca-certificates/copyright"] {
        let facts = fs::metadata(root.path().join(docs).join(read)).unwrap();
        assert!(facts.len() > 0 && facts.mode() & 0o111 == 0, "{read}: {facts:?}");
    }
    others.retain(|file| !file.starts_with(docs));
    let certificates = "etc/ssl/certs/ca-certificates.crt";
    assert_eq!(others, ["etc/group", "etc/nsswitch.conf", "etc/passwd", certificates, "usr/bin/rekeyd"]);
    assert!(fs::metadata(root.path().join(certificates)).unwrap().len() > 100_000, "there is hardly anybody to trust");
}
