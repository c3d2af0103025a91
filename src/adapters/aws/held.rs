//! What a secret holds, and how it is read.

use super::super::content::Text;
use super::trouble::Trouble;
use crate::model::names::Version;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::operation::describe_secret::DescribeSecretOutput;
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueOutput;
use aws_sdk_secretsmanager::primitives::Blob;
use zeroize::Zeroizing;

/// The label of the version that everybody reads.
pub(super) const CURRENT: &str = "AWSCURRENT";
const NOT_FOUND: &str = "ResourceNotFoundException";

/// What is current.
pub(super) struct Held {
    /// Which version.
    pub(super) state: State,
    /// What it says; none if there is none.
    pub(super) stored: Option<Stored>,
}

/// Which version is current, if any.
pub(super) enum State {
    /// There is no secret of that name.
    Absent,
    /// It has no version that is current, so it serves nothing.
    Empty,
    /// This one.
    At(String),
}

/// The content of a version. Ours are text; what people stored as bytes stays bytes.
pub(super) struct Stored {
    /// The bytes.
    pub(super) text: Text,
    /// Whether they were stored as bytes.
    pub(super) binary: bool,
}

/// Reads the current version. Two questions may be needed, between which somebody may have answered the first anew; so
/// they are asked once more then.
pub(super) async fn held(client: &Client, name: &str) -> Result<Held, Trouble> {
    for _ in 0..2 {
        if let Some(held) = current(client, name).await? {
            return Ok(held);
        }
        if let Some(held) = nothing_current(client, name).await? {
            return Ok(held);
        }
    }
    Err(Trouble::moved("the secret is being written to"))
}

/// The current version; none if there is none, for whatever reason.
async fn current(client: &Client, name: &str) -> Result<Option<Held>, Trouble> {
    let found = client.get_secret_value().secret_id(name).version_stage(CURRENT).send().await;
    let Some(found) = unless_missing(found.map_err(|error| Trouble::new(&error, &[])))? else { return Ok(None) };
    if found.name().is_some_and(|told| told != name) {
        return Err(Trouble::malformed("it shows another secret"));
    }
    let id = found.version_id().filter(|id| is_id(id)).map(str::to_owned);
    let id = id.ok_or_else(|| Trouble::malformed("a version without an id"))?;
    Ok(Some(Held { state: State::At(id), stored: Some(Stored::from_answer(found)?) }))
}

/// AWS API reference, "GetSecretValue": at most 64 characters. It is shown and kept as it is.
fn is_id(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Tells a secret without a current version from no secret: AWS answers both with the same error. None if there is a
/// current version by now.
async fn nothing_current(client: &Client, name: &str) -> Result<Option<Held>, Trouble> {
    let Some(secret) = described(client, name).await? else {
        return Ok(Some(Held { state: State::Absent, stored: None }));
    };
    let labels = secret.version_ids_to_stages.unwrap_or_default();
    let current = labels.values().flatten().any(|label| label == CURRENT);
    Ok((!current).then_some(Held { state: State::Empty, stored: None }))
}

/// What AWS says of a secret beside its versions; none if there is no such secret.
pub(super) async fn described(client: &Client, name: &str) -> Result<Option<DescribeSecretOutput>, Trouble> {
    let found = client.describe_secret().secret_id(name).send().await;
    unless_missing(found.map_err(|error| Trouble::new(&error, &[])))
}

/// One version by its id; none if there is no such version.
pub(super) async fn version(client: &Client, name: &str, id: &str) -> Result<Option<Stored>, Trouble> {
    let found = client.get_secret_value().secret_id(name).version_id(id).send().await;
    unless_missing(found.map_err(|error| Trouble::new(&error, &[])))?.map(Stored::from_answer).transpose()
}

fn unless_missing<T>(answer: Result<T, Trouble>) -> Result<Option<T>, Trouble> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(trouble) if trouble.is(NOT_FOUND) => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

impl Held {
    /// The version that a compare-and-set would have to name.
    pub(super) fn version(&self) -> Version {
        Version(match &self.state {
            State::Absent => "absent".to_owned(),
            State::Empty => "empty".to_owned(),
            State::At(id) => id.clone(),
        })
    }

    /// What it says.
    pub(super) fn text(&self) -> Option<&[u8]> {
        self.stored.as_ref().map(|stored| stored.text.as_slice())
    }
}

impl Stored {
    fn from_answer(found: GetSecretValueOutput) -> Result<Self, Trouble> {
        match (found.secret_string, found.secret_binary) {
            (Some(text), _) => Ok(Self { text: Zeroizing::new(text.into_bytes()), binary: false }),
            (None, Some(bytes)) => Ok(Self { text: Zeroizing::new(bytes.into_inner()), binary: true }),
            (None, None) => Err(Trouble::malformed("a version without a content")),
        }
    }

    /// The two members of a request, of which one is given.
    pub(super) fn parts(&self) -> Result<(Option<String>, Option<Blob>), Trouble> {
        if self.binary {
            return Ok((None, Some(Blob::new(self.text.to_vec()))));
        }
        let text = String::from_utf8(self.text.to_vec());
        text.map(|text| (Some(text), None)).map_err(|_| Trouble::malformed("a text that is not UTF-8"))
    }
}
