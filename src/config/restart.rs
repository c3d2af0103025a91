//! `restart`: what reads its pair only once, and so is restarted after a rotation.

use super::duration::{Bounds, HOUR, MINUTE};
use super::places::named;
use super::reader::{Field, Table};
use super::sinks::{Kind, Sinks};
use crate::model::sink::is_object_name;
use crate::model::workload::{Workload, WorkloadKind};
use std::time::Duration;

const LIST: &str = "[ { sink = \"NAME\", deployment = \"NAME\" } ], or `statefulset` or `daemonset`";
const ITEM: &str = "{ sink = \"NAME\", deployment = \"NAME\" }, or `statefulset` or `daemonset` in its place";
const NAME: &str = "the name of a workload: 1 to 253 of a-z, 0-9, - and .";

/// What is restarted, and how long that is put off.
pub(super) struct Restarts {
    pub workloads: Vec<Workload>,
    pub pause: Duration,
}

/// Reads `restart` and `restart_pause`; nothing is restarted if the first is left out.
pub(super) fn restarts(table: &Table<'_>, sinks: &Sinks<'_>) -> Option<Restarts> {
    let pauses = Bounds { least: Duration::ZERO, most: HOUR, floor: "nothing", such_as: "1m", short: None };
    let pause = table.or("restart_pause", MINUTE, |field| field.duration(pauses));
    Some(Restarts { workloads: workloads(table, sinks)?, pause: pause? })
}

fn workloads(table: &Table<'_>, sinks: &Sinks<'_>) -> Option<Vec<Workload>> {
    let Some(field) = table.field("restart") else { return Some(Vec::new()) };
    let mut workloads: Vec<Workload> = Vec::new();
    let mut right = true;
    for item in field.items(LIST)? {
        match workload(&item, sinks) {
            Some(workload) if workloads.contains(&workload) => {
                item.clashes("this workload is named already", "each of them once");
                right = false;
            }
            Some(workload) => workloads.push(workload),
            None => right = false,
        }
    }
    right.then_some(workloads)
}

fn workload(item: &Field<'_>, sinks: &Sinks<'_>) -> Option<Workload> {
    let table = item.table(ITEM)?;
    let (sink, kind) = named(sinks, &table)?;
    let found = WorkloadKind::ALL.into_iter().filter_map(|kind| Some((kind, table.field(kind.word())?)));
    let found: Vec<_> = found.collect();
    table.finish();
    if kind != Kind::Kubernetes {
        item.clashes(
            format!("`{}` is no cluster that could restart something", sink.name),
            "a sink of the kind \"kubernetes\"",
        );
        return None;
    }
    let [(kind, field)] = found[..] else {
        item.clashes("it is not said what is restarted, or twice", ITEM);
        return None;
    };
    let name = field.parse(NAME, |text| {
        if is_object_name(text) { Ok(text.into()) } else { Err("this is no name for a workload of Kubernetes") }
    });
    Some(Workload { sink: sink.name.clone(), kind, name: name? })
}
