//! Who belongs to a fleet, and under which name and at which place.

use super::{MINIMAL, accepted};
use rekeyd::config::{Whole, remembered, whole};
use rekeyd::model::fleet::Listed;
use rekeyd::model::home::Home;
use rekeyd::model::key::AccountSid;
use rekeyd::model::policy::{Policy, Rules};
use rekeyd::model::rotation::State;

/// The minimal policy with a fleet in it.
fn fleet(lines: &str) -> Policy {
    accepted(&format!("{MINIMAL}\n[[fleets]]\nname = \"customers\"\n{lines}\n")).policy
}

const ALL: &str = "accounts = {}\npublish_to = [{ sink = \"files\", name = \"{account_sid}\" }]";
const BY_NAME: &str = "accounts = {}\npublish_to = [{ sink = \"files\", name = \"{account_name}\" }]";

fn sid(n: u32) -> AccountSid {
    AccountSid::new(&format!("AC{n:032x}")).unwrap()
}

/// An active account, as old as its number is small.
fn account(n: u32, name: &str) -> Listed {
    let created = jiff::Timestamp::from_second(i64::from(n)).unwrap();
    Listed { sid: sid(n), name: name.to_owned(), active: true, closed: false, created }
}

/// The members, with the first of their places, in their order; and who was left out.
fn members(policy: &Policy, listed: &[Listed]) -> (Vec<(String, String, bool)>, Vec<String>) {
    let Whole { policy, left_out } = whole(policy, Some(listed));
    let shown = |rules: &Rules| {
        let canary = rules.member.as_ref()?.canary;
        assert!(rules.name.as_str().ends_with(&rules.home.account.as_str()[24..]), "{}", rules.name);
        Some((rules.home.account.as_str()[32..].to_owned(), rules.places[0].path.to_string(), canary))
    };
    (policy.credentials.values().filter_map(shown).collect(), left_out)
}

#[test]
fn every_subaccount_of_that_name_belongs_to_it_and_the_account_itself_does_not() {
    let named = ALL.replace("{}", "{ name = \"customer-*\" }");
    let listed = [account(1, "customer-0"), account(2, "customer-1"), account(3, "other"), account(4, "customer-2")];
    let (found, left_out) = members(&fleet(&named), &listed);
    assert_eq!(found.iter().map(|(account, ..)| account.as_str()).collect::<Vec<_>>(), ["02", "04"]);
    assert_eq!((found[0].1.as_str(), left_out.len()), (sid(2).as_str(), 0));
}

#[test]
fn the_oldest_accounts_go_first_or_those_that_stand_first_in_the_list_and_none_that_is_suspended() {
    let canaries = |policy: &Policy, listed: &[Listed]| -> Vec<String> {
        members(policy, listed).0.into_iter().filter(|(.., canary)| *canary).map(|(account, ..)| account).collect()
    };
    let mut listed = [account(9, "a"), account(2, "b"), account(5, "c")];
    let two = format!("waves = {{ canary = 2 }}\n{ALL}");
    assert_eq!(canaries(&fleet(&two), &listed), ["02", "05"]);
    listed[1].active = false;
    assert_eq!(canaries(&fleet(&two), &listed), ["05", "09"]);
    let list = format!("{{ list = [\"{}\", \"{}\", \"{}\"] }}", sid(9), sid(2), sid(5));
    assert_eq!(canaries(&fleet(&ALL.replace("{}", &list)), &listed), ["09"]);
}

#[test]
fn an_account_that_is_closed_belongs_to_nothing_and_one_that_is_suspended_pauses() {
    let mut listed = [account(2, "a"), account(3, "b")];
    (listed[0].active, listed[1].active, listed[1].closed) = (false, false, true);
    assert_eq!(members(&fleet(ALL), &listed).0.len(), 1);
}

#[test]
fn a_list_needs_no_answer_of_twilio_but_for_the_names() {
    let list = format!("{{ list = [\"{}\"] }}", sid(7));
    assert_eq!(whole(&fleet(&ALL.replace("{}", &list)), None).policy.credentials.len(), 2);
    let by_name = fleet(&BY_NAME.replace("{}", &list));
    assert_eq!(whole(&by_name, None).policy.credentials.len(), 1);
    // What is listed and does not exist is nobody.
    assert_eq!(members(&by_name, &[account(8, "x")]).0.len(), 0);
    assert_eq!(members(&by_name, &[account(7, "x")]).0.len(), 1);
    assert_eq!(whole(&fleet(ALL), None).policy.credentials.len(), 1);
}

#[test]
fn a_name_that_could_lead_elsewhere_is_left_out_and_the_others_are_not() {
    let policy = fleet(BY_NAME);
    for name in ["", "..", ".hidden", "a/b", "a b", "é", "a\u{1b}[2J", "billing-sms.json", "-x"] {
        let (found, left_out) = members(&policy, &[account(2, name), account(3, "good")]);
        assert_eq!((found.len(), left_out.len()), (1, 1), "{name}");
        assert!(left_out[0].contains(sid(2).as_str()) && !left_out[0].contains('\u{1b}'), "{left_out:?}");
    }
    // The first who has a name has it.
    let (found, left_out) = members(&policy, &[account(2, "same"), account(3, "same")]);
    assert_eq!((found.len(), left_out.len()), (1, 1));
}

#[test]
fn no_account_can_be_called_so_that_a_file_of_ours_is_overwritten() {
    let policy = BY_NAME.replace("\"files\"", "\"keys\"");
    let sink = "[sinks.keys]\nkind = \"directory\"\npath = \"/run/credentials/rekeyd.service\"\n\n[[credentials]]";
    let text = format!("{MINIMAL}\n[[fleets]]\nname = \"customers\"\n{policy}\n").replacen("[[credentials]]", sink, 1);
    let (found, left_out) = members(&accepted(&text).policy, &[account(2, "main_key"), account(3, "main_key_2")]);
    assert_eq!(found.len(), 1);
    assert!(left_out[0].contains("rekeyd itself needs"), "{left_out:?}");
}

#[test]
fn of_accounts_that_would_have_one_name_neither_is_taken_in() {
    let twin = AccountSid::new(&format!("ACf{}", &sid(2).as_str()[3..])).unwrap();
    let listed = [account(2, "a"), Listed { sid: twin, ..account(3, "b") }, account(4, "c")];
    let (found, left_out) = members(&fleet(ALL), &listed);
    assert_eq!((found.len(), left_out.len()), (1, 1));
    assert_eq!(found[0].0, "04");
}

#[test]
fn the_address_of_the_proof_is_in_the_account() {
    let url = "https://api.twilio.com/2010-04-01/Accounts/{account_sid}/Messages.json";
    let policy = fleet(&format!("verify_url = \"{url}\"\n{ALL}"));
    let policy = whole(&policy, Some(&[account(2, "a")])).policy;
    let found = policy.credentials.values().find_map(|rules| rules.verify_url.clone()).unwrap();
    assert_eq!(found.as_str(), url.replace("{account_sid}", sid(2).as_str()));
}

#[test]
fn those_who_only_look_on_know_the_members_from_the_journal() {
    let policy = fleet(ALL);
    let member = policy.fleets[0].member(&sid(2)).unwrap();
    let knows = |account: &AccountSid| {
        let home = &Home::us1(account.clone());
        remembered(&policy, [(&member, home, &State::default())]).credentials.contains_key(&member)
    };
    assert!(knows(&sid(2)));
    // A credential of that name in another account is none of the fleet.
    assert!(!knows(&sid(3)));
}
