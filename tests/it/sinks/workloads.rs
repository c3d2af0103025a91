//! Workloads against the stand-in for an API server: when one is rolled out, and what a restart changes.

use super::kubernetes::{TOKEN, open, with_token};
use super::{at, attempt, conflict, not_done, unknown};
use crate::support::apiserver::{ApiServer, Rule};
use crate::support::proxy::{Fate, Proxy};
use rekeyd::adapters::kubernetes::{Cluster, RULES};
use rekeyd::model::fault::Fault;
use rekeyd::model::names::{SinkName, Version};
use rekeyd::model::workload::{Mark, Workload, WorkloadKind, WorkloadSeen};
use rekeyd::ports::Workloads as _;
use serde_json::{Value, json};
use std::time::Duration;

const ALL: [(WorkloadKind, &str); 3] = [
    (WorkloadKind::Deployment, "deployments"),
    (WorkloadKind::StatefulSet, "statefulsets"),
    (WorkloadKind::DaemonSet, "daemonsets"),
];

fn workload(kind: WorkloadKind, name: &str) -> Workload {
    Workload { sink: SinkName::new("cluster").unwrap(), kind, name: name.into() }
}

fn mark(text: &str) -> Mark {
    Mark(text.to_owned())
}

/// A workload of three pods that all are the latest, as its controller would tell.
pub(crate) fn settled(server: &ApiServer, resource: &str, name: &str) {
    server.edit(resource, name, |object| {
        object["spec"]["template"]["spec"]["containers"] = json!([{ "name": "app", "image": "app:1" }]);
        if resource == "daemonsets" {
            object["spec"]["updateStrategy"] = json!({ "type": "RollingUpdate" });
        } else {
            object["spec"]["replicas"] = 3.into();
        }
    });
    roll(server, resource, name, 3);
}

/// The controller has seen the last change, and so many pods of three are the latest and do their work.
pub(crate) fn roll(server: &ApiServer, resource: &str, name: &str, latest: u64) {
    let generation = server.object(resource, name).unwrap()["metadata"]["generation"].clone();
    server.status(
        resource,
        name,
        json!({
            "observedGeneration": generation, "replicas": 3, "updatedReplicas": latest, "readyReplicas": latest,
            "availableReplicas": latest, "desiredNumberScheduled": 3, "updatedNumberScheduled": latest,
            "numberAvailable": latest,
        }),
    );
}

async fn look(cluster: &Cluster, workload: &Workload) -> WorkloadSeen {
    cluster.look(workload).await.answer().unwrap()
}

#[tokio::test]
async fn a_restart_leaves_its_mark_and_counts_when_every_pod_was_replaced() {
    let (server, cluster, _file) = open().await;
    for (kind, resource) in ALL {
        settled(&server, resource, "app");
        let app = workload(kind, "app");
        let before = look(&cluster, &app).await;
        assert_eq!((before.mark, before.rollout), (None, None), "{app}");
        let written = at(cluster.restart(&app, &mark("one"), &before.version).await);
        let after = look(&cluster, &app).await;
        assert_eq!((&after.version, after.mark), (&written, Some(mark("one"))), "{app}");
        assert_eq!(after.rollout.as_deref(), Some("its controller has not seen the change yet"), "{app}");
        roll(&server, resource, "app", 2);
        assert_eq!(look(&cluster, &app).await.rollout.as_deref(), Some("2 of 3 pods are updated"), "{app}");
        roll(&server, resource, "app", 3);
        let done = look(&cluster, &app).await;
        assert_eq!((done.rollout, done.mark), (None, Some(mark("one"))), "{app}");
    }
}

#[tokio::test]
async fn a_restart_changes_one_annotation_and_owns_nothing_else() {
    let (server, cluster, _file) = open().await;
    settled(&server, "deployments", "app");
    let app = workload(WorkloadKind::Deployment, "app");
    for text in ["one", "two"] {
        let base = look(&cluster, &app).await.version;
        at(cluster.restart(&app, &mark(text), &base).await);
    }
    let mut object = server.object("deployments", "app").unwrap();
    let entries = object["metadata"]["managedFields"].as_array().unwrap().clone();
    let ours: Vec<&Value> = entries.iter().filter(|entry| entry["manager"] == "rekeyd").collect();
    let fields = json!({ "f:spec": { "f:template": { "f:metadata": { "f:annotations": { "f:rekeyd.dev/restarted-for": {} } } } } });
    assert_eq!((ours.len(), &ours[0]["fieldsV1"]), (1, &fields));
    let template = object["spec"]["template"].take();
    assert_eq!(template["metadata"], json!({ "annotations": { "rekeyd.dev/restarted-for": "two" } }));
    assert_eq!(template["spec"]["containers"][0]["image"], "app:1");
}

#[tokio::test]
async fn a_restart_of_another_version_is_a_conflict_and_changes_nothing() {
    let (server, cluster, _file) = open().await;
    settled(&server, "deployments", "app");
    let app = workload(WorkloadKind::Deployment, "app");
    let base = look(&cluster, &app).await.version;
    roll(&server, "deployments", "app", 2);
    conflict(cluster.restart(&app, &mark("one"), &base).await);
    assert_eq!(look(&cluster, &app).await.mark, None);
    let stale = server.object("deployments", "app").unwrap().to_string();
    let base = look(&cluster, &app).await.version;
    roll(&server, "deployments", "app", 3);
    // The look shows what was there, and the server what is.
    let answer = super::vault_faults::answer(200, &stale);
    let proxy = Proxy::start(server.port, "GET /apis/", Fate::Answered(answer)).await;
    let (late, _other) = with_token(&proxy.url, TOKEN);
    conflict(late.restart(&app, &mark("one"), &base).await);
    server.remove("deployments", "app");
    conflict(late.restart(&app, &mark("one"), &base).await);
    assert!(server.object("deployments", "app").is_none(), "nothing was made");
}

#[tokio::test]
async fn a_restart_whose_answer_is_lost_is_unknown_and_a_look_shows_the_mark() {
    let (server, cluster, _file) = open().await;
    settled(&server, "daemonsets", "app");
    let app = workload(WorkloadKind::DaemonSet, "app");
    let base = look(&cluster, &app).await.version;
    let proxy = Proxy::start(server.port, "PATCH /apis/", Fate::AnswerLost).await;
    let (troubled, _other) = with_token(&proxy.url, TOKEN);
    assert_eq!(unknown(troubled.restart(&app, &mark("one"), &base).await).fault, Fault::Unreachable);
    assert_eq!(look(&cluster, &app).await.mark, Some(mark("one")));
}

#[tokio::test]
async fn a_deployment_is_not_rolled_out_while_old_pods_are_there_or_new_ones_are_not_available() {
    let (server, cluster, _file) = open().await;
    settled(&server, "deployments", "app");
    let app = workload(WorkloadKind::Deployment, "app");
    let told = async |field: &str, value: Value| {
        roll(&server, "deployments", "app", 3);
        server.edit("deployments", "app", |object| object["status"][field] = value);
        look(&cluster, &app).await.rollout.unwrap_or_default()
    };
    assert_eq!(told("replicas", 4.into()).await, "1 old pods are still there");
    assert_eq!(told("availableReplicas", 2.into()).await, "2 of 3 pods are available");
    assert_eq!(told("availableReplicas", Value::Null).await, "0 of 3 pods are available");
    assert_eq!(told("observedGeneration", 0.into()).await, "its controller has not seen the change yet");
    let late = json!([{ "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded" }]);
    assert_eq!(told("conditions", late).await, "its progress deadline is exceeded with 3 pods updated");
}

#[tokio::test]
async fn other_workloads_are_not_rolled_out_while_pods_are_not_ready() {
    let (server, cluster, _file) = open().await;
    settled(&server, "statefulsets", "app");
    settled(&server, "daemonsets", "app");
    server.edit("statefulsets", "app", |object| object["status"]["readyReplicas"] = 1.into());
    server.edit("daemonsets", "app", |object| object["status"]["numberAvailable"] = 1.into());
    let rollout = async |kind| look(&cluster, &workload(kind, "app")).await.rollout.unwrap_or_default();
    assert_eq!(rollout(WorkloadKind::StatefulSet).await, "1 of 3 pods are ready");
    assert_eq!(rollout(WorkloadKind::DaemonSet).await, "1 of 3 pods are available");
}

/// Its size was five when the rollout began, and one of its new pods fails: nobody replaces the last two.
#[tokio::test]
async fn a_stateful_set_that_was_made_smaller_is_not_rolled_out_while_old_pods_are_there() {
    let (server, cluster, _file) = open().await;
    settled(&server, "statefulsets", "app");
    server.edit("statefulsets", "app", |object| {
        object["status"]["replicas"] = 5.into();
        object["status"]["readyReplicas"] = 4.into();
    });
    let seen = look(&cluster, &workload(WorkloadKind::StatefulSet, "app")).await;
    assert_eq!(seen.rollout.as_deref(), Some("2 old pods are still there"));
}

#[tokio::test]
async fn how_long_pods_may_take_to_end_and_how_often_a_workload_was_changed_is_told() {
    let (server, cluster, _file) = open().await;
    settled(&server, "deployments", "app");
    let app = workload(WorkloadKind::Deployment, "app");
    let before = look(&cluster, &app).await;
    assert_eq!(before.drain, Duration::from_secs(30));
    server.edit("deployments", "app", |object| {
        object["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 14_400.into();
    });
    roll(&server, "deployments", "app", 3);
    let seen = look(&cluster, &app).await;
    assert_eq!(
        (&seen.rollout, seen.drain, seen.generation),
        (&None, Duration::from_secs(14_400), before.generation + 1)
    );
    // Its own restarts are changes as well: no mark has a greater number than the changes that there were.
    let mark = Mark::after(seen.before().number, attempt());
    at(cluster.restart(&app, &mark, &seen.version).await);
    let after = look(&cluster, &app).await;
    assert!(after.generation >= mark.number() && after.before().number == after.generation);
}

#[tokio::test]
async fn a_workload_without_pods_is_rolled_out() {
    let (server, cluster, _file) = open().await;
    for (kind, resource) in ALL {
        settled(&server, resource, "app");
        server.edit(resource, "app", |object| object["spec"]["replicas"] = 0.into());
        let generation = server.object(resource, "app").unwrap()["metadata"]["generation"].clone();
        server.status(resource, "app", json!({ "observedGeneration": generation }));
        assert_eq!(look(&cluster, &workload(kind, "app")).await.rollout, None, "{resource}");
    }
}

#[tokio::test]
async fn a_workload_whose_pods_would_keep_the_old_pair_is_refused_in_words() {
    let (server, cluster, _file) = open().await;
    let on_delete = ("updateStrategy", json!({ "type": "OnDelete" }), "OnDelete");
    let partition = json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 2 } });
    let cases = [
        (WorkloadKind::Deployment, ("paused", json!(true), "it is paused")),
        (WorkloadKind::StatefulSet, on_delete.clone()),
        (WorkloadKind::StatefulSet, ("updateStrategy", partition, "below number 2")),
        (WorkloadKind::DaemonSet, on_delete),
    ];
    for (kind, (field, value, words)) in cases {
        let resource = ALL.into_iter().find(|(known, _)| *known == kind).unwrap().1;
        settled(&server, resource, "app");
        let app = workload(kind, "app");
        server.edit(resource, "app", |object| object["spec"][field] = value);
        let looked = not_done(cluster.look(&app).await);
        assert!(looked.fault == Fault::Refused && looked.detail.contains(words), "{looked}");
        let restarted = not_done(cluster.restart(&app, &mark("one"), &Version("x".into())).await);
        assert_eq!(restarted, looked);
    }
}

#[tokio::test]
async fn what_is_not_there_or_not_allowed_is_told_in_the_servers_words() {
    let (server, cluster, _file) = open().await;
    let app = workload(WorkloadKind::Deployment, "app");
    let failure = not_done(cluster.look(&app).await);
    assert_eq!(failure.detail, "Kubernetes answered 404: deployments.apps \"app\" not found");
    settled(&server, "deployments", "app");
    let base = look(&cluster, &app).await.version;
    server.allow("looks", vec![Rule { group: "apps", resource: "deployments", verbs: &["get"], names: Vec::new() }]);
    let (looks, _other) = with_token(&server.url(), "looks");
    let failure = not_done(looks.restart(&app, &mark("one"), &base).await);
    assert!(failure.fault == Fault::Forbidden && failure.detail.contains("cannot patch"), "{failure}");
    let rule = |(group, resource, verbs)| Rule { group, resource, verbs, names: Vec::new() };
    server.allow("least", RULES.into_iter().map(rule).collect());
    let (least, _third) = with_token(&server.url(), "least");
    at(least.restart(&app, &mark("one"), &base).await);
    let lost = not_done(cluster.look(&workload(WorkloadKind::Deployment, "a/b")).await);
    assert_eq!(lost.fault, Fault::Refused);
}
