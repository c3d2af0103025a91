//! The fault matrix of `docs/protocol.md`: every cell that is not empty is a case here, and is really hit.
//!
//! Each case plays the second rotation of a credential. When it comes to the step, the fault of the row happens, once or
//! for a while. Then everything is calm, an operator follows the hints, and all must be well: no invariant was broken, and
//! only where the cell says `H` may the credential have been halted.

mod faults;

use crate::crash::{on_all_cores, play};
use crate::life::{HOUR, resume};
use crate::support::counted::counted;
use crate::support::world::{Daemon, World, policy};
use faults::{Act, Case, act};
use rekeyd::model::names::CredentialName;
use rekeyd::model::policy::Policy;
use rekeyd::ports::Ask;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

const MATRIX: &str = include_str!("../../docs/protocol.md");
/// The columns of the matrix.
const STEPS: [char; 8] = ['I', 'C', 'V', 'W', 'B', 'G', 'D', 'O'];

/// Every cell that is not empty: fault, step, and what must happen.
fn cells() -> Vec<(String, char, String)> {
    let table = MATRIX.split("### a.3").nth(1).unwrap().split("### a.4").next().unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| #"));
    let cells = rows.flat_map(|row| {
        let columns: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(columns.len(), 10, "{row}");
        let cell = |(step, text): (char, &&str)| (columns[0].to_owned(), step, (*text).to_owned());
        STEPS.into_iter().zip(&columns[2..]).map(cell).collect::<Vec<_>>()
    });
    cells.filter(|(_, _, text)| !text.is_empty() && text != "–").collect()
}

fn quick() -> Policy {
    let mut policy = policy();
    policy.timing.tick = Duration::from_secs(60);
    policy.timing.reconcile = HOUR;
    policy
}

/// Lives until the step of the case was reached and for three hours more, then calmly; what was wrong, if anything was.
async fn story(case: &Case, reaction: &str) -> Result<(), String> {
    let world = World::new();
    let mut daemon = Daemon::new(&world, quick());
    if case.replicas > 1 {
        daemon = daemon.replicated(case.replicas);
    }
    daemon.live(2 * HOUR).await;
    daemon.verdict().map_err(|what| format!("before: {what}"))?;
    if case.step == 'O' {
        world.orphan_the_next();
    }
    world.remember(&daemon.disk);
    world.ambush(case.step, case.ops, case.act.clone());
    daemon.ask("billing", Ask::Rotate);
    let mut halted = false;
    for _ in 0..16 {
        daemon.live(HOUR / 2).await;
        halted |= daemon.state("billing").halted.is_some();
        if let Some(policy) = world.new_policy() {
            daemon.policy = Arc::new(policy);
        }
        if world.ambushed().is_some_and(|since| since > 3 * HOUR) {
            break;
        }
    }
    let hit = world.ambushed().is_some();
    world.calm();
    for round in 0..14 {
        daemon.live(5 * HOUR).await;
        let state = daemon.state("billing");
        halted |= state.halted.is_some();
        if state.halted.is_some() {
            let overwrite = Ask::Resume { overwrite: true, forget: BTreeSet::new() };
            daemon.ask("billing", if round % 2 == 0 { resume() } else { overwrite });
        } else if daemon.verdict().is_ok() {
            break;
        }
    }
    if !hit {
        return Err("the step was never reached".into());
    }
    if halted && !reaction.contains('H') && !reaction.contains("ambiguous") {
        return Err(format!("halted, and the cell says `{reaction}`"));
    }
    daemon.verdict().map_err(|what| format!("{what}\n{}", daemon.story()))
}

/// What is wrong in the cells of one row, each played by itself.
pub(crate) fn row(fault: &str) -> Result<(), String> {
    let of_row = cells().into_iter().filter(|(of, ..)| of == fault);
    of_row.map(|(fault, step, reaction)| (act(&fault, step), step, reaction)).try_for_each(|(act, step, reaction)| {
        let Some(Act::Played(case)) = act else { return Err(format!("no case for {fault} at {step}")) };
        play(story(&case, &reaction)).map_err(|what| format!("fault {fault} at {step} (`{reaction}`): {what}"))
    })
}

#[test]
fn every_cell_of_the_fault_matrix_is_a_case_that_is_hit() {
    let mut elsewhere = 0;
    let mut cases = Vec::new();
    for (fault, step, reaction) in cells() {
        match act(&fault, step) {
            Some(Act::Played(case)) => cases.push((fault, *case, reaction)),
            Some(Act::Elsewhere(file, test)) => {
                let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it").join(file);
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                assert!(text.contains(&format!("fn {test}(")), "{fault}{step}: there is no test {test} in {file}");
                elsewhere += 1;
            }
            None => panic!("the cell of fault {fault} at step {step} (`{reaction}`) has no case"),
        }
    }
    let wrong = std::sync::Mutex::new(Vec::new());
    let played = on_all_cores(cases.into_iter(), |(fault, case, reaction)| {
        if let Err(what) = play(story(case, reaction)) {
            wrong.lock().unwrap().push(format!("fault {fault} at {} (`{reaction}`): {what}", case.step));
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} cells:\n{}", wrong.len(), wrong.join("\n"));
    counted("cells of the fault matrix played", played);
    counted("cells of the fault matrix tested elsewhere", elsewhere);
}

#[test]
fn a_cell_without_a_case_would_be_noticed() {
    assert!(cells().len() > 220, "{}", cells().len());
    assert!(act("99", 'C').is_none() && act("8", 'I').is_none());
    assert!(CredentialName::new("billing").is_ok());
}
