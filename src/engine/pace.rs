//! How many calls an account gets at the same time. Twilio's limit is on that, is not published, and differs from account to
//! account (Twilio docs, error 20429): so half as many are made after a 429, and one more after each round that went well.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// The turns of an account.
pub(super) struct Pace {
    turns: Semaphore,
    most: usize,
    level: Mutex<Level>,
}

/// Where the number is, on its way between one and the most.
struct Level {
    allowed: usize,
    /// Turns that are too many, and still taken.
    surplus: usize,
    /// Calls in a row that went well.
    row: usize,
    /// When it was halved last, in running time.
    halved: Option<Duration>,
}

/// A 429 so soon after another is of the same crowd, and tells nothing new.
const CROWD: Duration = Duration::from_secs(1);

impl Pace {
    pub(super) fn new(most: usize) -> Self {
        let level = Level { allowed: most, surplus: 0, row: 0, halved: None };
        Self { turns: Semaphore::new(most), most, level: Mutex::new(level) }
    }

    /// Waits for a turn.
    pub(super) async fn turn(&self) -> Turn<'_> {
        // It is never closed; if it were, nobody would wait.
        Turn { pace: self, permit: self.turns.acquire().await.ok() }
    }

    /// A call has ended; `crowded` if there were too many at the same time.
    pub(super) fn ended(&self, crowded: bool, now: Duration) {
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        if !crowded {
            level.row += 1;
            if level.row >= level.allowed && level.allowed < self.most {
                (level.allowed, level.row) = (level.allowed + 1, 0);
                if level.surplus > 0 {
                    level.surplus -= 1;
                } else {
                    self.turns.add_permits(1);
                }
            }
            return;
        }
        level.row = 0;
        if level.halved.is_some_and(|halved| now.saturating_sub(halved) < CROWD) {
            return;
        }
        let less = level.allowed / 2;
        let taken_back = self.turns.forget_permits(less);
        level.surplus += less - taken_back;
        level.allowed -= less;
        level.halved = Some(now);
    }

    /// How many calls it gets now.
    #[cfg(test)]
    fn allowed(&self) -> usize {
        self.level.lock().unwrap_or_else(PoisonError::into_inner).allowed
    }
}

/// The right to one call, until it is dropped.
pub(super) struct Turn<'p> {
    pace: &'p Pace,
    permit: Option<SemaphorePermit<'p>>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut level = self.pace.level.lock().unwrap_or_else(PoisonError::into_inner);
        if level.surplus > 0
            && let Some(permit) = self.permit.take()
        {
            level.surplus -= 1;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn too_many_at_once_halve_it_and_each_good_round_gives_one_back() {
        let pace = Pace::new(8);
        pace.ended(true, AT(10));
        assert_eq!(pace.allowed(), 4);
        (0..3).for_each(|_| pace.ended(false, AT(12)));
        assert_eq!(pace.allowed(), 4);
        pace.ended(false, AT(12));
        assert_eq!((pace.allowed(), pace.turns.available_permits()), (5, 5));
        (0..100).for_each(|_| pace.ended(false, AT(13)));
        assert_eq!((pace.allowed(), pace.turns.available_permits()), (8, 8));
    }

    #[test]
    fn one_crowd_counts_once_and_one_call_is_always_left() {
        let pace = Pace::new(8);
        (0..8).for_each(|_| pace.ended(true, AT(10)));
        assert_eq!(pace.allowed(), 4);
        (20..30).for_each(|at| pace.ended(true, AT(at)));
        assert_eq!((pace.allowed(), pace.turns.available_permits()), (1, 1));
    }

    #[tokio::test]
    async fn turns_that_are_taken_are_given_up_when_they_end() {
        let pace = Pace::new(4);
        let turns = [pace.turn().await, pace.turn().await, pace.turn().await];
        pace.ended(true, AT(10));
        assert_eq!((pace.allowed(), pace.turns.available_permits()), (2, 0));
        drop(turns);
        assert_eq!(pace.turns.available_permits(), 2);
        // Those that are still too many are what is given back first.
        let turns = [pace.turn().await, pace.turn().await];
        pace.ended(true, AT(20));
        pace.ended(false, AT(21));
        assert_eq!((pace.allowed(), pace.turns.available_permits()), (2, 0));
        drop(turns);
        assert_eq!(pace.turns.available_permits(), 2);
    }
}
