//! Who reaches what, and what becomes of it when an account is suspended or closed.

use super::super::call::{Answer, Call, Refusal, Request, Status};
use super::super::{Faults, KeyKind, Paging, Reach};
use super::{Bench, Pair, kind};
use crate::model::key::AccountSid;

/// Which of accounts, keys and ordinary resources the pair reaches in the account.
fn reach(bench: &mut Bench, pair: &Pair, account: &AccountSid) -> [bool; 3] {
    let requests =
        [Request::FetchAccount, Request::ListKeys(Paging::default()), Request::ListNumbers(Paging::default())];
    requests.map(|request| match bench.ask(0, pair, account, request) {
        Ok(_) => true,
        Err(Refusal::Authenticate) => false,
        Err(other) => panic!("{other:?}"),
    })
}

#[test]
fn each_kind_of_credentials_reaches_what_the_table_of_rights_says() {
    for (switch, in_child) in [
        (Reach::AccountsOnly, [true, false, false]),
        (Reach::AccountsAndKeys, [true, true, false]),
        (Reach::AllV2010, [true, true, true]),
    ] {
        let mut bench = Bench::new(Faults { parent_main_key_on_subaccount: switch, ..kind() });
        let (account, child) = (bench.account.clone(), bench.child.clone());
        let (main, token) = (bench.main.clone(), bench.token(&account));
        let standard = bench.by_hand(&account, KeyKind::Standard);
        let (child_main, child_token) = (bench.by_hand(&child, KeyKind::Main), bench.token(&child));
        for (pair, in_own, in_other) in [
            (&main, [true; 3], in_child),
            (&token, [true; 3], [true; 3]),
            (&standard, [false, false, true], [false; 3]),
        ] {
            assert_eq!(reach(&mut bench, pair, &account), in_own, "{switch:?}");
            assert_eq!(reach(&mut bench, pair, &child), in_other, "{switch:?}");
        }
        for pair in [&child_main, &child_token] {
            assert_eq!(reach(&mut bench, pair, &child), [true; 3]);
            assert_eq!(reach(&mut bench, pair, &account), [false; 3]);
        }
    }
}

#[test]
fn a_suspended_or_closed_subaccount_refuses_everything_but_its_parents_look_at_it() {
    let mut bench = Bench::new(Faults { parent_main_key_on_subaccount: Reach::AllV2010, ..kind() });
    let (child, main) = (bench.child.clone(), bench.main.clone());
    let child_main = bench.by_hand(&child, KeyKind::Main);
    for status in [Status::Suspended, Status::Closed] {
        assert!(bench.world.set_status(&child, status));
        assert_eq!(reach(&mut bench, &child_main, &child), [false; 3]);
        assert_eq!(reach(&mut bench, &main, &child), [true, false, false]);
        let Ok(Answer::Account(seen)) = bench.ask(0, &main, &child, Request::FetchAccount) else { panic!() };
        assert_eq!(seen.status, status);
    }
    bench.world.set_status(&child, Status::Active);
    assert_eq!(reach(&mut bench, &child_main, &child), [true; 3]);
}

#[test]
fn a_suspended_parent_suspends_its_subaccounts() {
    let mut bench = Bench::new(kind());
    let (account, child) = (bench.account.clone(), bench.child.clone());
    let (main, child_main) = (bench.main.clone(), bench.by_hand(&child, KeyKind::Main));
    bench.world.set_status(&account, Status::Suspended);
    assert_eq!(reach(&mut bench, &main, &account), [false; 3]);
    assert_eq!(reach(&mut bench, &child_main, &child), [false; 3]);
}

#[test]
fn only_a_parent_opens_accounts_and_decides_on_their_status() {
    let mut bench = Bench::new(kind());
    let (child, own) = (bench.child.clone(), bench.by_hand(&bench.child.clone(), KeyKind::Main));
    let create = || Request::CreateAccount { name: None };
    let close = || Request::UpdateAccount { name: None, status: Some("closed".into()) };
    assert!(matches!(bench.ask(0, &own, &child, create()), Err(Refusal::Nested)));
    assert!(matches!(bench.ask(0, &own, &child, close()), Err(Refusal::Standing)));
    let standard = bench.by_hand(&child, KeyKind::Standard);
    assert!(matches!(bench.ask(0, &standard, &child, close()), Err(Refusal::Authenticate)));
    let main = bench.main.clone();
    assert!(matches!(bench.ask(0, &main, &child, close()), Ok(Answer::Account(_))));
}

#[test]
fn only_token_callers_see_tokens_and_a_subaccount_sees_itself_only() {
    let mut bench = Bench::new(kind());
    let (account, child) = (bench.account.clone(), bench.child.clone());
    for (pair, tokens, seen) in
        [(bench.main.clone(), false, 2), (bench.token(&account), true, 2), (bench.token(&child), true, 1)]
    {
        let request = Request::ListAccounts { name: None, status: None, paging: Paging::default() };
        let call = Call { account: None, ..bench.call(&pair, &account, request) };
        let Ok(Answer::Accounts(page)) = bench.reply(0, call).answer else { panic!() };
        assert_eq!(page.rows.len(), seen);
        assert!(page.rows.iter().all(|account| account.token.is_some() == tokens));
    }
}
