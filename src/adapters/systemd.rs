//! The service manager that started this process: what it is told (sd_notify(3)). Where none listens, nothing is said.

use sd_notify::NotifyState;
use std::time::Duration;

/// The socket of a service manager, if there is one.
pub struct Supervisor {
    listens: bool,
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// The one that the environment names (`NOTIFY_SOCKET`, `WATCHDOG_USEC`).
    #[expect(clippy::disallowed_methods, reason = "the service manager is known by the environment it gives")]
    pub fn of_environment() -> Self {
        let listens = std::env::var_os("NOTIFY_SOCKET").is_some();
        Self { listens, watchdog: sd_notify::watchdog_enabled().filter(|_| listens) }
    }

    /// Whether anybody listens.
    pub fn listens(&self) -> bool {
        self.listens
    }

    /// Within which time it has to hear [`Supervisor::alive`] again, or it kills this process (`WatchdogSec=`).
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The start, or a reload, has come to its end.
    pub fn ready(&self, status: &str) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// A reload begins. The time tells the manager which of its requests this answers (`Type=notify-reload`).
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!(%error, "the service manager can not be told the time of a reload"),
        }
    }

    /// The end begins.
    pub fn stopping(&self) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status("stopping; calls in hand end first")]);
    }

    /// What `systemctl status` shows in one line.
    pub fn status(&self, status: &str) {
        self.tell(&[NotifyState::Status(status)]);
    }

    /// Work goes on: the watchdog may wait anew.
    pub fn alive(&self) {
        if self.watchdog.is_some() {
            self.tell(&[NotifyState::Watchdog]);
        }
    }

    /// A start or a reload takes longer, and so much more time is asked for from now on (`EXTEND_TIMEOUT_USEC`).
    pub fn extend(&self, by: Duration) {
        let by = u32::try_from(by.as_micros()).unwrap_or(u32::MAX);
        self.tell(&[NotifyState::ExtendTimeoutUsec(by)]);
    }

    /// Whoever does not take what is said is not waited for with anything: that would stop the rotations.
    fn tell(&self, said: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(said) {
            tracing::debug!(%error, "the service manager could not be told");
        }
    }
}
