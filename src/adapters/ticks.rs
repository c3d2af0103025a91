//! Ticks from tokio-cron-scheduler: they wake the engine, and nothing else rests on them.
//!
//! The scheduler loses late jobs and cuts running ones off when it stops (its issues 113 and its `shutdown`); a tick that
//! only sets a flag can stand both. What is due is decided from the journal (`docs/decisions/0003-ticks.md`).

use std::sync::Arc;
use std::time::Duration;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

/// Calls `wake` again and again, about once per period, until the returned scheduler is shut down.
pub async fn every(period: Duration, wake: impl Fn() + Send + Sync + 'static) -> Result<Ticks, JobSchedulerError> {
    let scheduler = JobScheduler::new().await?;
    let wake = Arc::new(wake);
    let job = Job::new_repeated_async(period, move |_, _| {
        let wake = wake.clone();
        Box::pin(async move { wake() })
    })?;
    scheduler.add(job).await?;
    scheduler.start().await?;
    Ok(Ticks { scheduler })
}

/// A running source of ticks.
pub struct Ticks {
    scheduler: JobScheduler,
}

impl Ticks {
    /// Ends the ticks.
    pub async fn stop(mut self) {
        let _ = self.scheduler.shutdown().await;
    }
}
