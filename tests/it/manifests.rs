//! What is shipped to run on Kubernetes: the chart and the kustomizations are rendered by the real helm and kubectl, every
//! document is held to Kubernetes' own schemas, strictly, and every pod to the Restricted standard.
//!
//! Each `manifests/accepted/*.yaml` holds values of the chart, and the `.txt` beside it is what helm makes of them; each
//! `manifests/refused/*.yaml` is refused with the words beside it. `UPDATE_EXPECT=1` writes the texts anew; read them.
//! Nothing here is an API server: admission, RBAC and network policies are not seen at work.

mod image;
mod overlays;
mod restricted;

use crate::support::peers::peers;
use overlays::Whole;
use restricted::unrestricted;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// The oldest Kubernetes that the chart admits, the one of the kubectl that renders, and the newest whose schemas are had.
const KUBERNETES: [&str; 3] = ["1.27", "1.34", "1.37"];

fn at(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A program of the Kubernetes folder, without anything that a person has configured for it.
fn program(name: &str) -> (Command, TempDir) {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(peers().join("kubernetes").join(name));
    command.env_clear().env("HOME", home.path()).stdin(Stdio::null());
    (command, home)
}

fn ran(mut command: Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}: run tests/run, or tests/peers/install"))
}

/// What was said, if it went well and without a complaint.
fn spotless(output: &Output) -> Result<String, String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    match (output.status.success(), output.stderr.is_empty()) {
        (true, true) => Ok(text(&output.stdout)),
        (..) => Err(text(&output.stderr)),
    }
}

/// The chart with these values, as `helm install` would send it.
fn chart(values: &Path) -> Result<String, String> {
    let (mut helm, _home) = program("helm");
    helm.args(["template", "rekeyd", "--namespace", "rekeyd", "--values"]).arg(values).arg(at("deploy/helm/rekeyd"));
    spotless(&ran(helm))
}

/// What `kubectl apply -k` would send.
fn kustomized(folder: &Path) -> String {
    let (mut kubectl, _home) = program("kubectl");
    kubectl.arg("kustomize").arg(folder);
    spotless(&ran(kubectl)).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
}

/// The documents, each held to the schemas of Kubernetes or of prometheus-operator; or what is wrong with them.
fn checked(rendered: &str) -> Result<Vec<Value>, String> {
    let mut python = Command::new(peers().join("kubernetes/venv/bin/python"));
    python.arg(at("tests/peers/kubernetes/validate.py")).arg(at("tests/peers/kubernetes/schemas")).args(KUBERNETES);
    let mut running = python
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tests/peers/install");
    running.stdin.take().unwrap().write_all(rendered.as_bytes()).unwrap();
    spotless(&running.wait_with_output().unwrap()).map(|text| serde_json::from_str(&text).unwrap())
}

/// The documents, which must be right, and whose pods must be restricted.
fn right(called: &str, rendered: &str) -> Vec<Value> {
    let documents = checked(rendered).unwrap_or_else(|wrong| panic!("{called}: {wrong}"));
    let mut names = BTreeSet::new();
    for document in &documents {
        let of = &document["metadata"];
        let name = format!("{} {}/{}", document["kind"], of["namespace"], of["name"]);
        assert!(names.insert(name.clone()), "{called}: {name} is there twice");
    }
    for pod in all(&documents, "Deployment").map(pod) {
        assert_eq!(unrestricted(pod), Vec::<String>::new(), "{called}");
        let writable = &pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"];
        assert_eq!(writable, &Value::Bool(true), "{called}");
        let granted = all(&documents, "RoleBinding").count() > 0;
        // Rights that somebody else gives are for a sink of the policy.
        let wanted = granted
            || policy(&documents)
                .is_some_and(|text| text.contains("kind = \"kubernetes\"\n") && !text.contains("server"));
        assert_eq!(pod["automountServiceAccountToken"], wanted, "{called}: the token, and what it is for");
        reads_only_what_is_mounted(called, pod, &documents);
    }
    documents
}

fn all<'d>(documents: &'d [Value], kind: &str) -> impl Iterator<Item = &'d Value> {
    documents.iter().filter(move |document| document["kind"] == kind)
}

fn one<'d>(documents: &'d [Value], kind: &str) -> &'d Value {
    let found: Vec<_> = all(documents, kind).collect();
    assert_eq!(found.len(), 1, "{kind}: {found:?}");
    found[0]
}

fn pod(deployment: &Value) -> &Value {
    &deployment["spec"]["template"]["spec"]
}

fn policy(documents: &[Value]) -> Option<&str> {
    all(documents, "ConfigMap").next().map(|map| map["data"]["policy.toml"].as_str().unwrap())
}

/// The policy, if it is there, is one; and each file of its own that it names is in a volume of the pod.
fn reads_only_what_is_mounted(called: &str, pod: &Value, documents: &[Value]) {
    let Some(policy) = policy(documents) else { return };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    std::fs::write(&file, policy).unwrap();
    let output =
        Command::new(env!("CARGO_BIN_EXE_rekeyd")).args(["check", "--config"]).arg(&file).env_clear().output().unwrap();
    assert!(output.status.success(), "{called}: {}", String::from_utf8_lossy(&output.stderr));
    let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
    let mounted = |path: &str| mounts.iter().any(|mount| path.starts_with(mount["mountPath"].as_str().unwrap()));
    let written = policy.lines().filter(|line| !line.trim_start().starts_with('#'));
    let quoted = written.flat_map(|line| line.split(['"', '=', '&']).filter(|part| part.starts_with('/')));
    let alone: Vec<_> = quoted.filter(|path| !mounted(path)).collect();
    assert!(alone.is_empty(), "{called}: these are in no volume: {alone:?}");
}

#[expect(clippy::disallowed_methods, reason = "asks the person at the keyboard")]
fn updating() -> bool {
    std::env::var_os("UPDATE_EXPECT").is_some()
}

/// Compares a text with the one in a file, or writes it there.
fn stands_in(file: &Path, text: &str) {
    if updating() {
        std::fs::write(file, text).unwrap();
    }
    let there = std::fs::read_to_string(file).unwrap_or_default();
    assert!(there == text, "{} differs (UPDATE_EXPECT=1 writes it anew):\n{text}", file.display());
}

fn values(folder: &str) -> BTreeSet<PathBuf> {
    let all = std::fs::read_dir(at("tests/it/manifests").join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let (values, texts): (BTreeSet<_>, BTreeSet<_>) = all.partition(|path| path.extension().unwrap() == "yaml");
    for text in texts {
        assert!(values.contains(&text.with_extension("yaml")), "{} belongs to nothing", text.display());
    }
    values
}

#[test]
fn the_chart_renders_what_stands_beside_each_file_of_values_and_all_of_it_is_right() {
    for file in values("accepted") {
        let called = file.display().to_string();
        let rendered = chart(&file).unwrap_or_else(|error| panic!("{called}: {error}"));
        right(&called, &rendered);
        // The rules have tests of their own.
        let rendered: String = rendered.lines().map(|line| format!("{}\n", line.trim_end())).collect();
        stands_in(&file.with_extension("txt"), &rendered.replace(&indented(&rules()), "  RULES\n"));
    }
}

#[test]
fn values_that_can_not_work_are_refused_with_the_words_beside_them() {
    for file in values("refused") {
        let Err(told) = chart(&file) else { panic!("{} was accepted", file.display()) };
        let told: Vec<_> = told.lines().filter(|line| line.starts_with("Error:") || line.contains("- at")).collect();
        assert!(!told.is_empty());
        stands_in(&file.with_extension("txt"), &format!("{}\n", told.join("\n")));
    }
}

#[test]
fn helm_finds_nothing_to_complain_about_and_packs_the_chart_whole() {
    for file in values("accepted") {
        let (mut helm, _home) = program("helm");
        helm.args(["lint", "--strict", "--quiet", "--values"]).arg(&file).arg(at("deploy/helm/rekeyd"));
        let said = spotless(&ran(helm)).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert_eq!(said.trim(), "", "{}", file.display());
    }
    let folder = tempfile::tempdir().unwrap();
    let (mut helm, _home) = program("helm");
    helm.arg("package").arg(at("deploy/helm/rekeyd")).arg("--destination").arg(folder.path());
    spotless(&ran(helm)).unwrap();
    let packed = folder.path().join(concat!("rekeyd-", env!("CARGO_PKG_VERSION"), ".tgz"));
    let listed = Command::new("tar").arg("-tzf").arg(&packed).output().unwrap();
    let listed = spotless(&listed).unwrap();
    for file in ["values.schema.json", "files/rekeyd.rules.yml", "templates/deployment.yaml"] {
        assert!(listed.contains(file), "{file}: {listed}");
    }
}

#[test]
fn every_value_has_a_default_and_every_default_a_place_in_the_schema() {
    let (mut python, values) = (Command::new(peers().join("kubernetes/venv/bin/python")), at("deploy/helm/rekeyd"));
    let program = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    let defaults = spotless(&python.args(["-c", program]).arg(values.join("values.yaml")).output().unwrap()).unwrap();
    let defaults: Value = serde_json::from_str(&defaults).unwrap();
    let schema: Value =
        serde_json::from_str(&std::fs::read_to_string(values.join("values.schema.json")).unwrap()).unwrap();
    let keys = |map: &Value| -> BTreeSet<String> {
        map.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect()
    };
    let mut known = keys(&schema["properties"]);
    assert!(known.remove("global"), "Helm's own");
    assert_eq!(known, keys(&defaults));
    for (key, default) in defaults.as_object().unwrap() {
        let inside = keys(&schema["properties"][key]["properties"]);
        assert!(inside.is_empty() || inside == keys(default), "{key}: {inside:?}");
    }
}

#[test]
fn what_is_wrong_with_a_document_is_noticed() {
    let rendered = chart(&at("tests/it/manifests/accepted/everything.yaml")).unwrap();
    for (before, after, told) in [
        ("terminationGracePeriodSeconds:", "terminationGraceSeconds:", "terminationGraceSeconds"),
        ("containerPort: 9849", "containerPort: metrics", "'metrics'"),
        ("podMetricsEndpoints:", "endpoints:", "endpoints"),
        ("expr: |", "exprs: |", "exprs"),
        ("kind: PodMonitor", "kind: PodMonitors", "no schema"),
        ("kind: RoleBinding", "kind: RoleBindings", "no schema"),
        ("  replicas: 2\n", "  replicas: 2\n  replicas: 3\n", "stands twice"),
    ] {
        let broken = rendered.replacen(before, after, 1);
        let wrong = checked(&broken).expect_err(after);
        assert!(broken != rendered && wrong.contains(told), "{after}: {wrong}");
    }
}

fn rules() -> String {
    std::fs::read_to_string(at("deploy/prometheus/rekeyd.rules.yml")).unwrap()
}

/// As part of another document.
fn indented(text: &str) -> String {
    let line = |line: &str| if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") };
    text.lines().map(line).collect()
}

/// Prometheus' rules are written once; what Kubernetes needs of them are copies.
#[test]
fn the_rules_in_the_chart_and_in_the_component_are_those_of_prometheus() {
    stands_in(&at("deploy/helm/rekeyd/files/rekeyd.rules.yml"), &rules());
    let spec = indented(&rules());
    let head = "# Written by a test from deploy/prometheus/rekeyd.rules.yml.\napiVersion: monitoring.coreos.com/v1\n\
                kind: PrometheusRule\nmetadata:\n  namespace: rekeyd\n  name: rekeyd\n  labels: { release: \
                kube-prometheus-stack }\nspec:\n";
    stands_in(&at("deploy/kubernetes/components/monitoring/prometheus-rule.yaml"), &format!("{head}{spec}"));
    let documents = right("rules", &chart(&at("tests/it/manifests/accepted/everything.yaml")).unwrap());
    let kustomized = right("rules", &kustomized(&Whole::of("sqlite").folder));
    assert_eq!(one(&documents, "PrometheusRule")["spec"], one(&kustomized, "PrometheusRule")["spec"]);
}

#[test]
fn the_version_of_the_chart_is_that_of_the_program() {
    let version = env!("CARGO_PKG_VERSION");
    let chart = std::fs::read_to_string(at("deploy/helm/rekeyd/Chart.yaml")).unwrap();
    assert!(
        chart.contains(&format!("\nversion: {version}\n")) && chart.contains(&format!("\nappVersion: \"{version}\"\n"))
    );
    let base = std::fs::read_to_string(at("deploy/kubernetes/base/deployment.yaml")).unwrap();
    assert!(base.contains(&format!("/rekeyd:{version}\n")));
    for told in [
        "helm/rekeyd/README.md",
        "kubernetes/overlays/sqlite/kustomization.yaml",
        "kubernetes/overlays/postgres/kustomization.yaml",
    ] {
        let text = std::fs::read_to_string(at("deploy").join(told)).unwrap();
        assert!(
            text.contains(&format!("podman build -t registry.example.com/rekeyd:{version} -f deploy/Containerfile .")),
            "{told}"
        );
    }
}
