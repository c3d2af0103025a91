//! What the service manager is told, and when (sd_notify(3); systemd.service(5), `Type=notify`).
//!
//! - **Ready** is what has tried everything once: the journal is open, the keys of each account were asked for, one place of
//!   each sink was read. Whoever did not answer is named in the status and in the log, and holds up nobody: a daemon that
//!   waited for a Vault that is down would be killed for it, again and again, and would rotate nothing anywhere.
//! - **The watchdog** hears of each pass that the engine makes, and of nothing else while there is an engine. A timer asks
//!   for passes, and never answers for them: where a pass does not end, nothing is said.

use super::CliError;
use super::daemon::View;
use crate::adapters::clock::SystemClock;
use crate::adapters::systemd::Supervisor;
use crate::ports::Clock;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;

/// The longest time between two looks at the daemon; while it is not ready they come faster.
const GLANCE: Duration = Duration::from_secs(1);
const QUICK: Duration = Duration::from_millis(100);
/// How much more time each sign of progress asks for while it starts or begins anew.
const MORE: Duration = Duration::from_secs(120);

/// This process, as the service manager sees it.
pub(super) struct Service {
    supervisor: Supervisor,
    stage: Mutex<Stage>,
    refused: Mutex<Option<String>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Starting,
    Ready,
    Reloading,
}

/// Tells of a daemon until it is dropped.
pub(super) struct Follower(#[expect(dead_code, reason = "it is held to be dropped")] Option<AbortOnDropHandle<()>>);

impl Service {
    pub(super) fn new() -> Arc<Self> {
        let supervisor = Supervisor::of_environment();
        Arc::new(Self { supervisor, stage: Mutex::new(Stage::Starting), refused: Mutex::default() })
    }

    fn stage(&self) -> std::sync::MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The policy is read again. Whether this was the moment from which on it counts as a reload.
    pub(super) fn reloading(&self) -> bool {
        let mut stage = self.stage();
        let news = *stage == Stage::Ready;
        if news {
            *stage = Stage::Reloading;
            self.supervisor.reloading();
        }
        news
    }

    /// The policy was read again and nothing changes; `news` is what [`Service::reloading`] answered.
    pub(super) fn refused(&self, news: bool, error: &CliError) {
        let text = first_line(&error.message).to_owned();
        let said = format!("going on with what was read before: {text}");
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
        if news {
            *self.stage() = Stage::Ready;
            self.supervisor.ready(&said);
        } else {
            self.supervisor.status(&said);
        }
    }

    /// What was read again is taken up.
    pub(super) fn accepted(&self) {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.reloading();
    }

    /// A step without an engine has been made: one between two engines, or a try to begin.
    pub(super) fn step(&self, status: &str) {
        self.supervisor.status(first_line(status));
        self.supervisor.alive();
        self.supervisor.extend(MORE);
    }

    pub(super) fn stopping(&self) {
        self.supervisor.stopping();
    }

    /// Tells of this daemon from now on.
    pub(super) fn follow(self: &Arc<Self>, view: View) -> Follower {
        let (service, listens) = (self.clone(), self.supervisor.listens());
        Follower(listens.then(|| AbortOnDropHandle::new(tokio::spawn(async move { service.tell_of(view).await }))))
    }

    async fn tell_of(&self, view: View) {
        let clock = SystemClock::new();
        let watchdog = self.supervisor.watchdog();
        let glance = watchdog.map_or(GLANCE, |within| GLANCE.min(within / 8));
        let (mut last, mut asked, mut shown, mut ready) = (Duration::ZERO, clock.running(), String::new(), false);
        loop {
            let Some(beat) = view.beat() else { return };
            if beat > last {
                last = beat;
                self.supervisor.alive();
                if *self.stage() != Stage::Ready {
                    self.supervisor.extend(MORE);
                }
            }
            let (is_ready, status) = self.status(&view);
            if is_ready && !ready {
                ready = true;
                *self.stage() = Stage::Ready;
                self.supervisor.ready(&status);
            } else if status != shown {
                self.supervisor.status(&status);
            }
            shown = status;
            // Twice within the time, and once more for a pass that takes long.
            if watchdog.is_some_and(|within| clock.running().saturating_sub(asked) >= within / 3) {
                asked = clock.running();
                view.wake();
            }
            clock.sleep(if ready { glance } else { QUICK }).await;
        }
    }

    /// Whether it is ready, and what there is to say in one line.
    fn status(&self, view: &View) -> (bool, String) {
        let (is_ready, mut status) = match view.ready() {
            Ok(()) => (true, view.outlook()),
            Err(why) => (false, format!("starting: {why}")),
        };
        if let Some(why) = self.refused.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            status += &format!("; what was read again is not accepted: {why}");
        }
        (is_ready, status)
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
