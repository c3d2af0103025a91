//! Virtual time: when nothing runs and no journal is being written, it is the next moment that somebody waits for.

use async_trait::async_trait;
use jiff::Timestamp;
use rekeyd::model::key::AttemptId;
use rekeyd::model::time::later;
use rekeyd::ports::Clock;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;
use uuid::Uuid;

/// A clock that goes forward by itself.
pub struct Virtual {
    start: Timestamp,
    sleepers: Mutex<Sleepers>,
    /// What other threads are at, in true time.
    pub at_work: AtomicUsize,
}

#[derive(Default)]
struct Sleepers {
    now: Duration,
    number: u64,
    waiting: BTreeMap<(Duration, u64), Waker>,
}

impl Virtual {
    pub fn new(start: Timestamp) -> Arc<Self> {
        Arc::new(Self { start, sleepers: Mutex::default(), at_work: AtomicUsize::new(0) })
    }

    /// Called when the runtime has nothing to do: goes to the next moment that somebody waits for.
    pub fn nothing_runs(&self) {
        if self.at_work.load(Ordering::SeqCst) > 0 {
            return;
        }
        let mut sleepers = self.sleepers.lock().unwrap();
        if let Some(((then, _), waker)) = sleepers.waiting.pop_first() {
            sleepers.now = then;
            waker.wake();
        }
    }

    /// Counts something that other threads do for us, for as long as it lasts.
    pub async fn while_at_work<T>(&self, work: impl Future<Output = T>) -> T {
        let _one = AtWork::new(&self.at_work);
        work.await
    }
}

struct AtWork<'c>(&'c AtomicUsize);

impl<'c> AtWork<'c> {
    fn new(count: &'c AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Leaves the line when nobody waits any more.
struct Place<'c> {
    clock: &'c Virtual,
    key: (Duration, u64),
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.clock.sleepers.lock().unwrap().waiting.remove(&self.key);
    }
}

#[async_trait]
impl Clock for Virtual {
    fn wall(&self) -> Timestamp {
        later(self.start, self.running())
    }

    fn running(&self) -> Duration {
        self.sleepers.lock().unwrap().now
    }

    async fn sleep(&self, duration: Duration) {
        let key = {
            let mut sleepers = self.sleepers.lock().unwrap();
            sleepers.number += 1;
            (sleepers.now + duration, sleepers.number)
        };
        let _place = Place { clock: self, key };
        poll_fn(|context| {
            let mut sleepers = self.sleepers.lock().unwrap();
            if sleepers.now >= key.0 {
                return Poll::Ready(());
            }
            sleepers.waiting.insert(key, context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn attempt(&self) -> AttemptId {
        AttemptId(Uuid::now_v7())
    }
}
