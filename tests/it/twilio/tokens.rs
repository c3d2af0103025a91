//! Auth tokens, by the adapter against the sandbox: made, told apart, promoted, discarded, under each thing that Twilio leaves
//! open.

use super::signed::Ground;
use super::{label, words};
use rekeyd::adapters::twilio::TwilioClient;
use rekeyd::model::fault::Outcome;
use rekeyd::model::key::KeySid;
use rekeyd::model::secret::Secret;
use rekeyd::ports::{Issuer as _, Make, NewKey, TokenPlace, Tokens as _};
use rekeyd::sandbox::Faults;

const QUIET: bool = true;

impl Ground {
    fn token(&self) -> Secret {
        self.sandbox.account_token(&self.parent).unwrap()
    }

    fn by_main_key(&self) -> TwilioClient {
        self.client(&self.main_key(), "")
    }

    async fn made(&self, client: &TwilioClient, served: Option<&Secret>, quiet: bool) -> Outcome<NewKey> {
        client.create(&self.home(), &label(), Make::AuthToken { served, quiet }).await
    }

    async fn told(&self, client: &TwilioClient, served: Option<&Secret>) -> String {
        words(self.made(client, served, QUIET).await, |new| new.facts.sid.to_string())
    }

    async fn place(&self, client: &TwilioClient, token: &Secret) -> TokenPlace {
        let Outcome::Done(place) = client.token_place(&self.home(), token).await else { panic!("no answer") };
        place
    }

    async fn mails(&self) -> u64 {
        let state = reqwest::get(format!("{}/_sandbox/state", self.sandbox.url())).await.unwrap();
        let state: serde_json::Value = serde_json::from_str(&state.text().await.unwrap()).unwrap();
        let accounts = state["accounts"].as_array().unwrap();
        accounts.iter().map(|account| account["mails"].as_u64().unwrap()).sum()
    }
}

#[tokio::test]
async fn a_token_makes_the_next_one_which_is_told_apart_and_promoted() {
    for (quiet, mails) in [(true, 0), (false, 2)] {
        let ground = Ground::new(Faults::default()).await;
        let (client, old) = (ground.by_main_key(), ground.token());
        let Outcome::Done(new) = ground.made(&client, Some(&old), quiet).await else { panic!("no token") };
        assert_eq!(new.facts.sid, KeySid::of_token(label().attempt));
        assert_eq!(new.facts.label.unwrap(), label().to_string());
        assert_eq!(ground.place(&client, &old).await, TokenPlace::Primary);
        assert_eq!(ground.place(&client, &new.secret).await, TokenPlace::Secondary);
        let tried = client.probe(&ground.home(), &new.facts.sid, &new.secret, None).await;
        assert_eq!(words(tried, |verdict| format!("{verdict:?}")), "done: Works");
        for _ in 0..2 {
            let promoted = client.promote(&ground.home(), &new.secret, quiet).await;
            assert!(matches!(promoted, Outcome::Done(())), "that nothing is left to promote is no failure");
        }
        assert_eq!(ground.place(&client, &new.secret).await, TokenPlace::Primary);
        assert_eq!(ground.place(&client, &old).await, TokenPlace::Neither);
        assert_eq!(ground.mails().await, mails);
    }
}

#[tokio::test]
async fn a_token_that_does_not_work_promotes_nothing() {
    let ground = Ground::new(Faults::default()).await;
    let (client, old) = (ground.by_main_key(), ground.token());
    let Outcome::Done(new) = ground.made(&client, Some(&old), QUIET).await else { panic!("no token") };
    for _ in 0..2 {
        assert!(matches!(client.discard(&ground.home(), Some(&old), QUIET).await, Outcome::Done(())));
    }
    assert_eq!(ground.place(&client, &new.secret).await, TokenPlace::Neither);
    let told = words(client.promote(&ground.home(), &new.secret, QUIET).await, |()| String::new());
    assert!(told.starts_with("not done: unauthorized"), "{told}");
    assert_eq!(ground.place(&client, &old).await, TokenPlace::Primary);
}

#[tokio::test]
async fn without_a_token_that_works_the_main_key_is_asked_where_twilio_allows_it() {
    for allowed in [false, true] {
        let ground = Ground::new(Faults { main_key_on_auth_tokens: allowed, ..Faults::default() }).await;
        let client = ground.by_main_key();
        let dead = Secret::new("f".repeat(32));
        for served in [None, Some(&dead)] {
            let told = ground.told(&client, served).await;
            let expected = if allowed { "done: AT" } else { "not done: forbidden" };
            assert!(told.starts_with(expected), "{told}");
            let discarded = words(client.discard(&ground.home(), served, QUIET).await, |()| "deleted".to_owned());
            let expected = if allowed { "done: deleted" } else { "not done: forbidden" };
            assert!(discarded.starts_with(expected), "{discarded}");
        }
    }
}

#[tokio::test]
async fn what_stands_in_the_way_is_told() {
    let ground = Ground::new(Faults::default()).await;
    let (client, old) = (ground.by_main_key(), ground.token());
    assert!(ground.told(&client, Some(&old)).await.starts_with("done: AT"));
    let told = ground.told(&client, Some(&old)).await;
    assert!(told.starts_with("not done: refused") && told.contains("has a secondary token already"), "{told}");

    let ground = Ground::new(Faults { auth_token_api_off: true, ..Faults::default() }).await;
    let told = ground.told(&ground.by_main_key(), Some(&ground.token())).await;
    assert!(told.starts_with("not done: refused") && told.contains("no API for auth tokens"), "{told}");
}

#[tokio::test]
async fn what_rekeyd_signs_in_with_is_never_replaced() {
    let ground = Ground::new(Faults::default()).await;
    let own = ground.client(&format!("auth_token_file = \"{}/token\"", ground.dir.path().display()), "");
    let token = ground.token();
    let made = ground.told(&own, Some(&token)).await;
    let promoted = words(own.promote(&ground.home(), &token, QUIET).await, |()| String::new());
    let discarded = words(own.discard(&ground.home(), Some(&token), QUIET).await, |()| String::new());
    for told in [made, promoted, discarded] {
        assert!(told.starts_with("not done: refused") && told.contains("rekeyd itself signs in"), "{told}");
    }
}

#[tokio::test]
async fn no_token_is_asked_for_or_deleted_by_a_name() {
    let ground = Ground::new(Faults::default()).await;
    let (client, sid) = (ground.by_main_key(), KeySid::of_token(label().attempt));
    let calls = ground.sandbox.world().lock().audit().entries().count();
    let fetched = words(client.fetch(&ground.home(), &sid).await, |_| String::new());
    let deleted = words(client.delete(&ground.home(), &sid).await, |()| String::new());
    for told in [fetched, deleted] {
        assert!(told.starts_with("not done: refused"), "{told}");
    }
    assert_eq!(ground.sandbox.world().lock().audit().entries().count(), calls, "nothing was sent");
}
