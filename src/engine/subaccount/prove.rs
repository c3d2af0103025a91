//! The proof: calls with the new API key, signed with the new private key.

use super::{Foundation, PAUSE, Stopped, failed, nothing};
use crate::model::fault::{Failure, Fault};
use crate::ports::{Proof, Seed};

/// How many calls in a row must be accepted: edges of Twilio may know of a new key at different times.
const PROOFS: u32 = 3;

impl Foundation<'_> {
    pub(super) fn seed(&self) -> Option<Seed> {
        Some(Seed {
            key: self.making.key.sid()?.clone(),
            secret: self.secret.as_ref()?.duplicate(),
            public_key: self.making.public_key.sid()?.clone(),
            private_key: self.private_key.as_ref()?.duplicate(),
        })
    }

    /// Calls until Twilio has accepted the two so many times in a row.
    pub(super) async fn prove(&mut self) -> Result<(), Stopped> {
        let (account, seed) = (self.account()?, self.seed().ok_or_else(nothing)?);
        let (mut accepted, mut failures, began) = (0, 0, self.clock.running());
        while accepted < PROOFS {
            match self.landlord.prove(&account, &seed).await.answer() {
                Ok(Proof::Signed) => accepted += 1,
                Ok(Proof::Unsigned) => {
                    accepted += 1;
                    let remark = format!(
                        "{account} does not enforce signed requests, so the API key is proven and the public key is not"
                    );
                    self.remarks.insert(remark);
                }
                Ok(Proof::Refused) if self.clock.running().saturating_sub(began) < self.order.patience => accepted = 0,
                Ok(Proof::Refused) => {
                    let failure = Failure::new(Fault::PairRefused, "Twilio does not accept them");
                    return Err(failed(format!("the new keys of {account} could not be proven"))(failure));
                }
                Err(failure) => {
                    failures += 1;
                    let what = format!("the new keys of {account} could not be proven");
                    self.pause(failures, failed(what)(failure)).await?;
                }
            }
            if accepted < PROOFS {
                self.clock.sleep(PAUSE).await;
            }
        }
        (self.tell)("the new keys work");
        self.proven = true;
        Ok(())
    }
}
