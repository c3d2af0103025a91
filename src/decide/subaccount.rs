//! What to do next for a subaccount that is being made: a pure function of what is written down and what is in hand.

use crate::model::subaccount::{Condemned, Made, Making};

/// What this process holds and has seen. A crash empties it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hand {
    /// The secret of the API key.
    pub secret: bool,
    /// The private half of the public key.
    pub private_key: bool,
    /// The sinks were read, and none holds the two.
    pub looked: bool,
    /// Twilio has accepted a request with the two.
    pub proven: bool,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Asks for the account.
    ///
    /// **If repeated:** never; the create is noted first, and [`Step::Find`] follows until it is known what became of it.
    /// **If stale:** an account with our mark; it is found, or told of at the end.
    Open,
    /// Asks for the API key.
    ///
    /// **If repeated:** never, as above.
    /// **If stale:** a key with our mark whose secret nobody has; it is found and deleted, or told of at the end.
    MakeKey,
    /// Makes a pair of RSA keys and registers its public half.
    ///
    /// **If repeated:** never, as above.
    /// **If stale:** a public key with our mark whose private half nobody has, as above.
    MakePublicKey,
    /// Looks for what an unanswered create may have made.
    ///
    /// **If repeated:** reads again. **If stale:** reads too early, and waits.
    Find(Thing),
    /// Reads the sinks: what was written there before a crash still has its secrets.
    ///
    /// **If repeated:** reads again. **If stale:** the two are proven again before they are written anywhere.
    Recover,
    /// Writes the present content of every place over itself, so that no write that is still on its way can succeed.
    ///
    /// **If repeated:** one more version of the same content. **If stale:** fails on its base.
    Fence,
    /// Notes that what is there without its secret is to be deleted.
    ///
    /// **If repeated:** notes the same. **If stale:** the journal refuses it.
    Condemn,
    /// Deletes what was noted.
    ///
    /// **If repeated:** what is gone is gone. **If stale:** deletes what nobody can use.
    Delete(Condemned),
    /// Calls the account with the new key, the request signed with the new private key.
    ///
    /// **If repeated:** a read more. **If stale:** says nothing that matters.
    Prove,
    /// Writes both to every place, and reads them back.
    ///
    /// **If repeated:** what is there already is not written again. **If stale:** fails on its base.
    Publish,
    /// Gives the account its own name.
    ///
    /// **If repeated:** the same name. **If stale:** the same name.
    Name,
    /// Nothing is left to do.
    ///
    /// **If repeated:** nothing. **If stale:** nothing.
    Rest,
}

/// What may have been made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thing {
    /// The account.
    Account,
    /// Its API key.
    Key,
    /// Its public key.
    PublicKey,
}

/// The next step.
pub fn next(making: &Making, hand: Hand) -> Step {
    if making.named {
        return Step::Rest;
    }
    match making.account {
        Made::Nothing => return Step::Open,
        Made::Asked { .. } => return Step::Find(Thing::Account),
        Made::There { .. } => (),
    }
    if let Some(condemned) = making.condemned.first() {
        return Step::Delete(condemned.clone());
    }
    if !making.published.is_empty() {
        return Step::Name;
    }
    if lost_key(making, hand) || lost_public_key(making, hand) {
        return match (making.publishing, hand.looked) {
            (true, false) => Step::Recover,
            (true, true) => Step::Fence,
            (false, _) => Step::Condemn,
        };
    }
    match (&making.key, &making.public_key) {
        (Made::Nothing, _) => Step::MakeKey,
        (Made::Asked { .. }, _) => Step::Find(Thing::Key),
        (Made::There { .. }, Made::Nothing) => Step::MakePublicKey,
        (Made::There { .. }, Made::Asked { .. }) => Step::Find(Thing::PublicKey),
        (Made::There { .. }, Made::There { .. }) if !hand.proven => Step::Prove,
        (Made::There { .. }, Made::There { .. }) => Step::Publish,
    }
}

/// Whether there is an API key whose secret nobody has.
pub fn lost_key(making: &Making, hand: Hand) -> bool {
    making.key.sid().is_some() && !hand.secret
}

/// Whether there is a public key whose private half nobody has.
pub fn lost_public_key(making: &Making, hand: Hand) -> bool {
    making.public_key.sid().is_some() && !hand.private_key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::key::{AccountSid, AttemptId, KeySid, PublicKeySid};
    use crate::model::names::{Place, SinkName};
    use jiff::Timestamp;
    use uuid::Uuid;

    const ATTEMPT: AttemptId = AttemptId(Uuid::from_u128(1));
    const FULL: Hand = Hand { secret: true, private_key: true, looked: false, proven: false };

    fn there<S>(sid: S) -> Made<S> {
        Made::There { attempt: ATTEMPT, sid }
    }

    fn key() -> KeySid {
        KeySid::new("SK00000000000000000000000000000001").unwrap()
    }

    fn made() -> Making {
        Making {
            account: there(AccountSid::new("AC00000000000000000000000000000001").unwrap()),
            key: there(key()),
            public_key: there(PublicKeySid::new("CR00000000000000000000000000000001").unwrap()),
            ..Making::default()
        }
    }

    #[test]
    fn with_everything_in_hand_it_goes_straight_to_its_end() {
        let asked = || Made::Asked { attempt: ATTEMPT, at: Timestamp::UNIX_EPOCH };
        let opened = Making { account: made().account, ..Making::default() };
        assert_eq!(next(&Making::default(), Hand::default()), Step::Open);
        assert_eq!(next(&Making { account: asked(), ..Making::default() }, FULL), Step::Find(Thing::Account));
        assert_eq!(next(&opened, Hand::default()), Step::MakeKey);
        assert_eq!(
            next(&Making { key: Made::Asked { attempt: ATTEMPT, at: Timestamp::UNIX_EPOCH }, ..opened }, FULL),
            Step::Find(Thing::Key)
        );
        assert_eq!(next(&Making { public_key: Made::Nothing, ..made() }, FULL), Step::MakePublicKey);
        let unsure = Making { public_key: Made::Asked { attempt: ATTEMPT, at: Timestamp::UNIX_EPOCH }, ..made() };
        assert_eq!(next(&unsure, FULL), Step::Find(Thing::PublicKey));
        assert_eq!(next(&made(), FULL), Step::Prove);
        let proven = Hand { proven: true, ..FULL };
        assert_eq!(next(&made(), proven), Step::Publish);
        let place = Place::new(SinkName::new("files").unwrap(), "x");
        let published = Making { published: vec![place], publishing: true, ..made() };
        assert_eq!(next(&published, Hand::default()), Step::Name, "the secrets are where they belong");
        assert_eq!(next(&Making { named: true, ..published }, Hand::default()), Step::Rest);
    }

    #[test]
    fn what_lost_its_secret_before_anything_was_written_is_condemned_and_deleted() {
        for hand in [Hand::default(), Hand { secret: true, ..Hand::default() }, Hand { private_key: true, ..FULL }] {
            let hand = Hand { secret: hand.secret && !hand.private_key, ..hand };
            assert_eq!(next(&made(), hand), Step::Condemn, "{hand:?}");
        }
        let condemned = Making { condemned: vec![Condemned::Key(key())], key: Made::Nothing, ..made() };
        assert_eq!(next(&condemned, FULL), Step::Delete(Condemned::Key(key())), "before another one is made");
    }

    #[test]
    fn what_may_have_been_written_is_looked_for_and_fenced_before_it_is_given_up() {
        let publishing = Making { publishing: true, ..made() };
        assert_eq!(next(&publishing, Hand::default()), Step::Recover);
        assert_eq!(next(&publishing, Hand { looked: true, ..Hand::default() }), Step::Fence);
        assert_eq!(next(&publishing, FULL), Step::Prove, "what was found is proven before it is written on");
    }
}
