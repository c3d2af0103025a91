//! The kustomizations: each overlay alone and with every component that it offers, the steps at its head, and the rights that
//! it gives in the namespaces of applications.

use super::{all, at, chart, kustomized, one, pod, right};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const OVERLAYS: [&str; 2] = ["sqlite", "postgres"];

/// A copy of the kustomizations, with an overlay copied beside the others that has every component and an image of its own.
pub(super) struct Whole {
    pub(super) folder: PathBuf,
    tree: TempDir,
}

impl Whole {
    pub(super) fn of(overlay: &str) -> Self {
        let tree = tempfile::tempdir().unwrap();
        copy(&at("deploy/kubernetes"), &tree.path().join("kubernetes"));
        let overlays = tree.path().join("kubernetes/overlays");
        let folder = overlays.join("mine");
        copy(&overlays.join(overlay), &folder);
        let whole = Self { folder, tree };
        whole.edit("overlays/mine/kustomization.yaml", |text| {
            let all = text.replace("components: []", "components:").replace("images: []", "images:");
            all.replace("\n#  - ", "\n  - ")
        });
        whole
    }

    fn edit(&self, file: &str, change: impl FnOnce(String) -> String) {
        let path = self.tree.path().join("kubernetes").join(file);
        let before = std::fs::read_to_string(&path).unwrap();
        let after = change(before.clone());
        assert!(before != after, "{file} is as it was");
        std::fs::write(path, after).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-r").args([from, to]).status().unwrap().success());
}

#[test]
fn both_overlays_are_right_alone_and_with_every_component() {
    for overlay in OVERLAYS {
        right(overlay, &kustomized(&at("deploy/kubernetes/overlays").join(overlay)));
        let documents = right(overlay, &kustomized(&Whole::of(overlay).folder));
        for kind in ["Namespace", "PodMonitor", "PrometheusRule", "RoleBinding"] {
            one(&documents, kind);
        }
        let deployment = one(&documents, "Deployment");
        assert_eq!(all(&documents, "PodDisruptionBudget").count(), usize::from(overlay == "postgres"));
        assert_eq!(all(&documents, "PersistentVolumeClaim").count(), usize::from(overlay == "sqlite"));
        assert_eq!(deployment["spec"]["replicas"], if overlay == "postgres" { 2 } else { 1 });
        let image = &pod(deployment)["containers"][0]["image"];
        assert_eq!(image, concat!("registry.example.com/rekeyd:", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn rights_are_given_in_the_namespaces_of_applications_and_all_else_stays_in_its_own() {
    for overlay in OVERLAYS {
        let whole = Whole::of(overlay);
        let components = whole.tree.path().join("kubernetes/components");
        copy(&components.join("secret-sink"), &components.join("shop-and-billing"));
        whole.edit("components/shop-and-billing/access.yaml", |text| {
            let shop = text.replace("namespace: billing", "namespace: shop");
            format!("{text}---\n{shop}")
        });
        whole.edit("overlays/mine/kustomization.yaml", |text| {
            text.replace("components/secret-sink ", "components/shop-and-billing ")
        });
        let documents = right(overlay, &kustomized(&whole.folder));
        for kind in ["Role", "RoleBinding"] {
            let namespaces: Vec<_> = all(&documents, kind).map(|given| &given["metadata"]["namespace"]).collect();
            assert_eq!(namespaces, ["billing", "shop"], "{overlay}: {kind}");
        }
        for binding in all(&documents, "RoleBinding") {
            assert_eq!(binding["roleRef"]["name"], "rekeyd");
            let account = json!([{ "kind": "ServiceAccount", "name": "rekeyd", "namespace": "rekeyd" }]);
            assert_eq!(binding["subjects"], account, "{overlay}");
        }
        for document in &documents {
            let kind = document["kind"].as_str().unwrap();
            if !["Namespace", "Role", "RoleBinding"].contains(&kind) {
                assert_eq!(document["metadata"]["namespace"], "rekeyd", "{overlay}: {kind}");
            }
        }
    }
}

#[test]
fn the_steps_at_the_head_of_an_overlay_begin_with_the_namespace_and_make_every_secret_that_its_pod_demands() {
    for overlay in OVERLAYS {
        let folder = at("deploy/kubernetes/overlays").join(overlay);
        let text = std::fs::read_to_string(folder.join("kustomization.yaml")).unwrap();
        let steps: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("#   kubectl ")).collect();
        let namespace = steps[0].strip_prefix("apply -f ").unwrap();
        assert!(folder.join(namespace).ends_with("../../base/namespace.yaml") && folder.join(namespace).exists());
        assert_eq!(steps.last(), Some(&"apply -k ."));
        let documents = right(overlay, &kustomized(&folder));
        let volumes = pod(one(&documents, "Deployment"))["volumes"].as_array().unwrap();
        let mut demanded = Vec::new();
        for secret in volumes.iter().map(|volume| &volume["secret"]).filter(|secret| !secret.is_null()) {
            let name = secret["secretName"].as_str().unwrap();
            assert!(steps.iter().any(|step| step.contains(&format!("create secret generic {name} "))), "{name}");
            if secret["optional"] != true {
                demanded.push(name);
            }
        }
        let own: &[&str] = if overlay == "postgres" { &["rekeyd-postgres"] } else { &[] };
        demanded.sort_unstable();
        assert_eq!(demanded, [own, &["rekeyd-twilio"]].concat(), "{overlay}: not everybody has a Vault");
    }
}

#[test]
fn another_policy_makes_other_pods() {
    let copy = Whole::of("sqlite");
    let named = |folder: &Path| {
        let documents = right("sqlite", &kustomized(folder));
        let name = one(&documents, "ConfigMap")["metadata"]["name"].clone();
        let volumes = pod(one(&documents, "Deployment"))["volumes"].as_array().unwrap().clone();
        assert!(volumes.iter().any(|volume| volume["configMap"]["name"] == name), "{name} is not mounted");
        name
    };
    let before = named(&copy.folder);
    copy.edit("overlays/mine/policy.toml", |text| text.replace("\"prod\"", "\"test\""));
    assert_ne!(named(&copy.folder), before);

    let stamped = |text: String| {
        let values = copy.tree.path().join("values.yaml");
        std::fs::write(&values, text).unwrap();
        let documents = right("sqlite.yaml", &chart(&values).unwrap());
        one(&documents, "Deployment")["spec"]["template"]["metadata"]["annotations"]["checksum/policy"].clone()
    };
    let text = std::fs::read_to_string(at("tests/it/manifests/accepted/sqlite.yaml")).unwrap();
    assert_ne!(stamped(text.replace("\"prod\"", "\"test\"")), stamped(text));
}

#[test]
fn the_chart_and_the_kustomizations_run_the_same_pod() {
    for overlay in OVERLAYS {
        let values = at("tests/it/manifests/accepted").join(format!("{overlay}.yaml"));
        let charted = right(overlay, &chart(&values).unwrap());
        let kustomized = right(overlay, &kustomized(&at("deploy/kubernetes/overlays").join(overlay)));
        let facts = |documents: &[Value]| {
            let deployment = one(documents, "Deployment").clone();
            let (pod, strategy) = (pod(&deployment).clone(), deployment["spec"]["strategy"].clone());
            let mut container = pod["containers"][0].clone();
            // Where they may differ: what is mounted, and what the chart says although it is the default.
            for key in ["volumeMounts", "imagePullPolicy"] {
                container.as_object_mut().unwrap().remove(key);
            }
            for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
                container[probe]["httpGet"].as_object_mut().unwrap().remove("scheme");
            }
            [strategy, container, pod["securityContext"].clone(), pod["terminationGracePeriodSeconds"].clone()]
        };
        assert_eq!(facts(&charted), facts(&kustomized), "{overlay}");
    }
}
