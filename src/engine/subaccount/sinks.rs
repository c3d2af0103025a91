//! The sinks' part: what is there is read, fenced, written and read back.

use super::{Foundation, PAUSE, Stopped, failed, nothing};
use crate::model::document::{Beside, Content, Members, Names, Pair, Seen, Signing, Stamp};
use crate::model::fault::Outcome;
use crate::model::fleet::{ACCOUNT_NAME, ACCOUNT_SID};
use crate::model::key::AttemptId;
use crate::model::names::Place;
use crate::model::secret::Secret;
use crate::model::subaccount::{Making, seed};
use crate::ports::{Seed, Sink, Written};

/// How often a write is tried whose base was overtaken or whose answer was lost.
const TRIES: u32 = 5;

impl Foundation<'_> {
    /// The places of this account.
    fn places(&self) -> Result<Vec<Place>, Stopped> {
        let (sid, name) = (self.account()?, self.order.name.as_str());
        let place = |place: &Place| {
            Place::new(place.sink.clone(), &place.path.replace(ACCOUNT_SID, sid.as_str()).replace(ACCOUNT_NAME, name))
        };
        Ok(self.order.places.iter().map(place).collect())
    }

    fn sink(&self, place: &Place) -> Result<&dyn Sink, Stopped> {
        let sink = self.sinks.get(&place.sink).map(|sink| &**sink);
        sink.ok_or_else(|| Stopped::Odd(format!("there is no sink `{}`", place.sink)))
    }

    async fn read(&self, place: &Place, names: &Names) -> Result<(Seen, Option<Secret>), Stopped> {
        let read = self.sink(place)?.read(place, names, None).await.answer();
        let reading = read.map_err(failed(format!("{place} could not be read")))?;
        Ok((reading.seen, reading.secret))
    }

    /// Whether the place holds the keys of this account, and their secrets. The two are read one after the other and are of
    /// one version.
    async fn held(&self, place: &Place) -> Result<(Seen, Option<(Secret, Secret)>), Stopped> {
        let (seen, secret) = self.read(place, &Names::default()).await?;
        let ours = match &seen.content {
            Content::Pair { sid, stamp } => {
                Some(sid) == self.making.key.sid() && stamp.as_ref().is_some_and(|stamp| self.wrote(stamp))
            }
            Content::Absent | Content::Blank | Content::Foreign => false,
        };
        if !ours {
            return Ok((seen, None));
        }
        let private = Members { api_key_secret: Signing::PRIVATE_KEY.to_owned(), ..Members::default() };
        let (again, private_key) = self.read(place, &Names { now: private, before: Vec::new() }).await?;
        let both = secret.zip(private_key).filter(|_| again.version == seen.version);
        Ok((seen, both))
    }

    /// Whether these very keys were written with this stamp.
    fn wrote(&self, stamp: &Stamp) -> bool {
        self.ours(stamp) && Some(stamp.attempt) == self.making.key.attempt()
    }

    /// Whether this installation wrote it for a subaccount.
    fn ours(&self, stamp: &Stamp) -> bool {
        stamp.instance == self.order.instance && stamp.credential == seed()
    }

    pub(super) async fn recover(&mut self) -> Result<(), Stopped> {
        for place in self.places()? {
            if let (_, Some((secret, private_key))) = self.held(&place).await? {
                (self.tell)(&format!("{place} holds the keys that were made before; going on with them"));
                (self.secret, self.private_key) = (Some(secret), Some(private_key));
                return Ok(());
            }
        }
        self.looked = true;
        Ok(())
    }

    pub(super) async fn fence(&mut self) -> Result<(), Stopped> {
        let token = self.making.key.attempt().ok_or_else(nothing)?;
        for place in self.places()? {
            self.fence_place(&place, token).await?;
        }
        // What a write that was under way has written just before the fence still has its secrets.
        self.looked = false;
        self.recover().await?;
        if self.looked { self.note(Making { publishing: false, ..self.making.clone() }).await } else { Ok(()) }
    }

    async fn fence_place(&self, place: &Place, token: AttemptId) -> Result<(), Stopped> {
        for _ in 0..TRIES {
            let (seen, _) = self.read(place, &Names::default()).await?;
            let fenced = self.sink(place)?.fence(place, &Names::default(), token, &seen.version).await;
            match fenced.answer().map_err(failed(format!("{place} could not be fenced")))? {
                Written::At(_) => return Ok(()),
                Written::Conflict => self.clock.sleep(PAUSE).await,
            }
        }
        Err(Stopped::Odd(format!("somebody writes to {place} all the time")))
    }

    pub(super) async fn publish(&mut self) -> Result<(), Stopped> {
        let (places, seed) = (self.places()?, self.seed().ok_or_else(nothing)?);
        if !self.making.publishing {
            self.note(Making { publishing: true, ..self.making.clone() }).await?;
        }
        for place in &places {
            self.write(place, &seed).await?;
        }
        self.note(Making { published: places, ..self.making.clone() }).await
    }

    /// Writes to a place until it is read back there.
    async fn write(&self, place: &Place, seed: &Seed) -> Result<(), Stopped> {
        for _ in 0..TRIES {
            let (seen, both) = self.held(place).await?;
            let same = |(secret, private_key): &(Secret, Secret)| {
                secret.expose() == seed.secret.expose() && private_key.expose() == seed.private_key.expose()
            };
            if both.as_ref().is_some_and(same) {
                (self.tell)(&format!("{place} holds the new keys"));
                return Ok(());
            }
            self.may_write(place, &seen)?;
            let pair = self.pair(seed)?;
            match self.sink(place)?.publish(place, &Names::default(), &pair, &seen.version).await {
                Outcome::Done(_) => (),
                Outcome::NotDone(failure) => return Err(failed(format!("{place} could not be written"))(failure)),
                // The next look tells.
                Outcome::Unknown(_) => self.clock.sleep(PAUSE).await,
            }
        }
        Err(Stopped::Odd(format!("{place} does not show what was written there")))
    }

    /// Only what is empty, or what this installation wrote for this account before.
    fn may_write(&self, place: &Place, seen: &Seen) -> Result<(), Stopped> {
        let free = match &seen.content {
            Content::Absent | Content::Blank => true,
            Content::Pair { stamp, .. } => stamp.as_ref().is_some_and(|stamp| self.ours(stamp)),
            Content::Foreign => false,
        };
        let taken = || Stopped::Odd(format!("{place} holds something that is not ours; it was left as it is"));
        free.then_some(()).ok_or_else(taken)
    }

    fn pair(&self, seed: &Seed) -> Result<Pair, Stopped> {
        let attempt = self.making.key.attempt().ok_or_else(nothing)?;
        let (instance, credential) = (self.order.instance.clone(), crate::model::subaccount::seed());
        Ok(Pair {
            account: self.account()?,
            sid: seed.key.clone(),
            secret: seed.secret.duplicate(),
            stamp: Stamp { instance, credential, seq: self.seq, attempt },
            beside: Some(Beside::Signing(Signing {
                public_key: seed.public_key.clone(),
                private_key: seed.private_key.duplicate(),
            })),
        })
    }
}
