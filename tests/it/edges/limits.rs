//! What a policy says of itself: which servers are this machine, which paths can be signed, how many deletes an account needs.

use crate::support::world::policy_with;
use rekeyd::model::home::{Home, Region};
use rekeyd::model::key::AccountSid;
use rekeyd::model::policy::{AccountDeletes, Cadence, Pkcv, Policy, PostgresState};
use std::time::Duration;
use url::Url;

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn what_stays_on_this_machine_may_be_plain_and_nothing_else() {
    let plain = |url: &str| PostgresState { url: Url::parse(url).unwrap(), password: None }.may_be_plain();
    for here in [
        "postgres://rekeyd@localhost/rekeyd",
        "postgres://rekeyd@127.0.0.1/rekeyd",
        "postgres://rekeyd@127.8.9.1:5433/rekeyd",
        "postgres://rekeyd@[::1]/rekeyd",
        "postgres://rekeyd@db.example.org/rekeyd?host=/run/postgresql",
    ] {
        assert!(plain(here), "{here}");
    }
    for elsewhere in [
        "postgres://rekeyd@db.example.org/rekeyd",
        "postgres://rekeyd@10.0.0.1/rekeyd",
        "postgres://rekeyd@[fd00::1]/rekeyd",
        "postgres://rekeyd@db.example.org/rekeyd?host=db.example.org",
        "postgres://rekeyd@db.example.org/rekeyd?options=/run/postgresql",
    ] {
        assert!(!plain(elsewhere), "{elsewhere}");
    }
}

#[test]
fn paths_of_plain_signs_can_be_signed_and_no_others() {
    for path in ["/2010-04-01/Accounts/AC0/Keys.json", "/v1/Keys", "/a-b_c~d.e", "/a"] {
        assert!(Pkcv::can_sign(path), "{path}");
    }
    for path in ["", "/", "a", "/a//b", "/a/", "/./a", "/a/./b", "/a%20b", "/a;b", "/a b", "/ä"] {
        assert!(!Pkcv::can_sign(path), "{path}");
    }
}

fn usual(policy: &Policy) -> Home {
    policy.twilio.home(&policy.twilio.account)
}

/// The budget of one account with so many credentials that are rotated so often.
fn budget(credentials: usize, every: Duration) -> u32 {
    let names: Vec<String> = (0..credentials).map(|number| format!("c{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let policy = policy_with(&names, |rules| rules.cadence = Cadence::Every(every));
    let budgets = policy.delete_budgets();
    assert_eq!(budgets.len(), 1);
    budgets[&usual(&policy)]
}

#[test]
fn an_account_may_lose_ten_keys_an_hour_or_all_within_a_day_or_twice_what_its_schedules_need() {
    assert_eq!(budget(1, 24 * HOUR), 10);
    assert_eq!(budget(119, 24 * HOUR), 10, "twice the schedules are just under ten");
    assert_eq!(budget(121, 24 * HOUR), 11, "and a part of one counts whole");
    assert_eq!(budget(480, 24 * 365 * HOUR), 20, "a twenty-fourth of all");
    assert_eq!(budget(30, HOUR), 60);
    assert_eq!(budget(7, HOUR / 2), 28);
}

#[test]
fn a_budget_that_is_said_holds_and_each_account_has_its_own() {
    let mut policy = policy_with(&["a", "b", "c"], |rules| rules.cadence = Cadence::Every(HOUR / 10));
    assert_eq!(policy.delete_budgets()[&usual(&policy)], 60);
    let other = Home::us1(AccountSid::new(&format!("AC{:032x}", 9)).unwrap());
    policy.credentials.values_mut().next().unwrap().home = other.clone();
    let budgets = policy.delete_budgets();
    assert_eq!((budgets.len(), budgets[&usual(&policy)], budgets[&other]), (2, 40, 20));
    let ireland = Home { region: Region::new("ie1").unwrap(), ..other.clone() };
    policy.credentials.values_mut().next().unwrap().home = ireland.clone();
    assert_eq!(policy.delete_budgets()[&ireland], 20, "and so has each region of it");
    policy.limits.account_deletes_per_hour = AccountDeletes::AtMost(3);
    assert!(policy.delete_budgets().values().all(|budget| *budget == 3));
}

#[test]
fn the_shortest_time_between_rotations_is_the_period_or_what_the_calendar_says() {
    assert_eq!(Cadence::Every(HOUR).shortest(), HOUR);
    let cron = rekeyd::model::policy::Cron {
        pattern: "0 3 * * 1".parse().unwrap(),
        zone: jiff::tz::TimeZone::UTC,
        shortest: 168 * HOUR,
    };
    assert_eq!(Cadence::Cron(Box::new(cron)).shortest(), 168 * HOUR);
}
