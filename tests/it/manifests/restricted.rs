//! The Restricted standard for pods (Kubernetes documentation, "Pod Security Standards"), with what it takes over from
//! Baseline. Linux only: our image runs nowhere else.

use serde_json::{Value, json};

/// What the standard does not allow in this pod.
pub(super) fn unrestricted(pod: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            wrong.push(what.to_owned());
        }
    };
    for host in ["hostNetwork", "hostPID", "hostIPC"] {
        must(unset_or(&pod[host], &json!(false)), host);
    }
    must(pod["securityContext"]["sysctls"].is_null(), "sysctls");
    let kinds =
        ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"];
    for volume in list(&pod["volumes"]) {
        let allowed = |kind: &String| kind == "name" || kinds.contains(&kind.as_str());
        must(volume.as_object().unwrap().keys().all(allowed), "volume types");
    }
    let shared = &pod["securityContext"];
    let containers = ["containers", "initContainers", "ephemeralContainers"].into_iter().flat_map(|of| list(&pod[of]));
    for container in containers {
        let own = &container["securityContext"];
        let either = |key: &str| if own[key].is_null() { shared[key].clone() } else { own[key].clone() };
        must(unset_or(&own["privileged"], &json!(false)), "privileged");
        must(unset_or(&own["procMount"], &json!("Default")), "procMount");
        must(own["allowPrivilegeEscalation"] == false, "allowPrivilegeEscalation");
        must(list(&own["capabilities"]["drop"]).contains(&json!("ALL")), "capabilities.drop");
        let added = list(&own["capabilities"]["add"]);
        must(added.iter().all(|capability| capability == "NET_BIND_SERVICE"), "capabilities.add");
        must(either("runAsNonRoot") == true, "runAsNonRoot");
        must(either("runAsUser") != 0, "runAsUser");
        let profile = either("seccompProfile");
        must(profile["type"] == "RuntimeDefault" || profile["type"] == "Localhost", "seccompProfile");
        let armor = either("appArmorProfile");
        must(armor.is_null() || armor["type"] == "RuntimeDefault" || armor["type"] == "Localhost", "appArmorProfile");
        must(either("seLinuxOptions").is_null(), "seLinuxOptions");
        must(list(&container["ports"]).iter().all(|port| unset_or(&port["hostPort"], &json!(0))), "hostPort");
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            must(container[probe]["httpGet"]["host"].is_null(), "host of a probe");
        }
    }
    wrong
}

fn unset_or(value: &Value, allowed: &Value) -> bool {
    value.is_null() || value == allowed
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

#[test]
fn each_rule_of_the_standard_is_held() {
    let good = json!({
        "securityContext": { "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } },
        "volumes": [{ "name": "tmp", "emptyDir": {} }],
        "containers": [{
            "ports": [{ "containerPort": 1 }],
            "startupProbe": { "httpGet": { "port": 1 } },
            "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] } },
        }],
    });
    assert_eq!(unrestricted(&good), Vec::<String>::new());
    let own = "/containers/0/securityContext";
    for (at, key, value, told) in [
        ("", "hostNetwork", json!(true), "hostNetwork"),
        ("", "hostPID", json!(true), "hostPID"),
        ("", "hostIPC", json!(true), "hostIPC"),
        ("/securityContext", "sysctls", json!([]), "sysctls"),
        ("/volumes/0", "hostPath", json!({ "path": "/" }), "volume types"),
        ("/securityContext", "runAsNonRoot", json!(null), "runAsNonRoot"),
        ("/securityContext", "runAsUser", json!(0), "runAsUser"),
        ("/securityContext", "seccompProfile", json!({ "type": "Unconfined" }), "seccompProfile"),
        ("/securityContext", "seLinuxOptions", json!({}), "seLinuxOptions"),
        ("/containers/0/ports/0", "hostPort", json!(80), "hostPort"),
        ("/containers/0/startupProbe/httpGet", "host", json!("127.0.0.1"), "host of a probe"),
        (own, "privileged", json!(true), "privileged"),
        (own, "procMount", json!("Unmasked"), "procMount"),
        (own, "allowPrivilegeEscalation", json!(null), "allowPrivilegeEscalation"),
        (own, "capabilities", json!({ "drop": ["NET_RAW"] }), "capabilities.drop"),
        (own, "capabilities", json!({ "drop": ["ALL"], "add": ["SYS_ADMIN"] }), "capabilities.add"),
        (own, "runAsNonRoot", json!(false), "runAsNonRoot"),
        (own, "appArmorProfile", json!({ "type": "Unconfined" }), "appArmorProfile"),
    ] {
        let mut bad = good.clone();
        bad.pointer_mut(at).unwrap()[key] = value;
        assert_eq!(unrestricted(&bad), [told], "{at} {key}");
    }
}
