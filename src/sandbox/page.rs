//! Pages of a list, as the 2010 API cuts them.
//!
//! A page is cut from the list as it is at that moment, so rows move when keys come, go or are renamed between two
//! pages: a row may be seen twice, or never. Twilio promises nothing better, and a client must live with it.

use super::call::Refusal;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Which part of a list is wanted, as it was written in the query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paging {
    /// `PageSize`.
    pub size: Option<String>,
    /// `Page`.
    pub number: Option<String>,
    /// `PageToken`.
    pub token: Option<String>,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// Its number, from 0.
    pub number: usize,
    /// How many rows a page has.
    pub size: usize,
    /// The index of its first row in the whole list.
    pub start: usize,
    /// Whether rows follow.
    pub more: bool,
}

/// Twilio's page sizes (Twilio's OpenAPI document).
const USUAL: usize = 50;
const LARGEST: usize = 1000;

impl Paging {
    /// Cuts the page out of the list.
    ///
    /// A page after the first needs the token of the page before: "clients must follow `next_page_uri`" (Twilio docs,
    /// "Twilio's Response"). What Twilio says to those who count by themselves is not known; the sandbox refuses.
    pub(super) fn cut<T>(&self, list: Vec<T>) -> Result<Page<T>, Refusal> {
        let (size, number) = (self.size()?, number(self.number.as_deref())?.unwrap_or(0));
        let start = match &self.token {
            Some(token) => offset(token).ok_or(Refusal::BadPage)?,
            None if number == 0 => 0,
            None => return Err(Refusal::BadPage),
        };
        let more = list.len() > start.saturating_add(size);
        let rows = list.into_iter().skip(start).take(size).collect();
        Ok(Page { rows, number, size, start, more })
    }

    fn size(&self) -> Result<usize, Refusal> {
        match number(self.size.as_deref())? {
            None => Ok(USUAL),
            Some(0) => Err(Refusal::BadPage),
            Some(size) if size > LARGEST => Err(Refusal::PageTooLarge),
            Some(size) => Ok(size),
        }
    }
}

fn number(text: Option<&str>) -> Result<Option<usize>, Refusal> {
    text.map(|text| text.parse().map_err(|_| Refusal::BadPage)).transpose()
}

impl<T> Page<T> {
    /// The index of its last row; of an empty page, that of its start.
    pub fn end(&self) -> usize {
        self.start + self.rows.len().saturating_sub(1)
    }

    /// Number and token of the page after this one.
    pub fn next(&self) -> Option<(usize, String)> {
        self.more.then(|| (self.number + 1, token(self.start + self.size)))
    }

    /// Number and token of the page before this one.
    pub fn previous(&self) -> Option<(usize, String)> {
        let number = self.number.checked_sub(1)?;
        Some((number, token(self.start.saturating_sub(self.size))))
    }
}

/// A token looks like nothing, so that nobody computes one.
fn token(offset: usize) -> String {
    format!("PT{}", URL_SAFE_NO_PAD.encode(((offset as u64) ^ VEIL).to_be_bytes()))
}

fn offset(token: &str) -> Option<usize> {
    let bytes: [u8; 8] = URL_SAFE_NO_PAD.decode(token.strip_prefix("PT")?).ok()?.try_into().ok()?;
    let offset = u64::from_be_bytes(bytes) ^ VEIL;
    usize::try_from(offset).ok().filter(|offset| *offset <= u32::MAX as usize)
}

const VEIL: u64 = 0x5bd1_e995_a4c9_3b27;

#[cfg(test)]
mod tests {
    use super::*;

    fn paging(size: &str, next: Option<(usize, String)>) -> Paging {
        let (number, token) = next.map_or((None, None), |(number, token)| (Some(number.to_string()), Some(token)));
        Paging { size: Some(size.into()), number, token }
    }

    #[test]
    fn following_the_tokens_shows_every_row_once() {
        let (mut seen, mut next) = (Vec::new(), None);
        for expected in 0..4 {
            let page = paging("3", next).cut((0..10).collect()).unwrap();
            assert_eq!((page.number, page.start, page.end()), (expected, expected * 3, [2, 5, 8, 9][expected]));
            seen.extend(&page.rows);
            next = page.next();
        }
        assert_eq!((seen, next), ((0..10).collect::<Vec<_>>(), None));
    }

    #[test]
    fn a_full_last_page_has_no_successor() {
        assert!(paging("5", None).cut((0..6).collect()).unwrap().more);
        assert!(!paging("5", None).cut((0..5).collect()).unwrap().more);
    }

    #[test]
    fn the_page_before_can_be_reached_again() {
        let first = paging("2", None).cut((0..5).collect()).unwrap();
        assert_eq!(first.previous(), None);
        let second = paging("2", first.next()).cut((0..5).collect()).unwrap();
        assert_eq!(paging("2", second.previous()).cut((0..5).collect()).unwrap(), first);
    }

    #[test]
    fn a_row_is_lost_when_the_first_page_shrinks_and_repeated_when_it_grows() {
        let next = paging("2", None).cut(vec![1, 2, 3, 4]).unwrap().next();
        assert_eq!(paging("2", next.clone()).cut(vec![2, 3, 4]).unwrap().rows, [4], "3 was never seen");
        assert_eq!(paging("2", next).cut(vec![0, 1, 2, 3, 4]).unwrap().rows, [2, 3], "2 was seen twice");
    }

    #[test]
    fn page_sizes_are_1_to_1000_and_50_when_not_given() {
        let cut = |size: &str| paging(size, None).cut((0..2000).collect()).map(|page: Page<i32>| page.rows.len());
        assert_eq!((cut("1"), cut("1000")), (Ok(1), Ok(1000)));
        assert_eq!(cut("1001"), Err(Refusal::PageTooLarge));
        assert_eq!([cut("0"), cut("-1"), cut("many")], [Err(Refusal::BadPage); 3]);
        assert_eq!(Paging::default().cut((0..2000).collect()).unwrap().rows.len(), 50);
    }

    #[test]
    fn a_page_without_a_token_or_with_a_made_up_one_is_refused() {
        let bare = Paging { number: Some("1".into()), ..Paging::default() };
        assert_eq!(bare.cut(vec![1]).unwrap_err(), Refusal::BadPage);
        for token in ["PT", "3", "PTAAAAAAAAAAA"] {
            let invented = Paging { token: Some(token.into()), ..Paging::default() };
            assert_eq!(invented.cut(vec![1]).unwrap_err(), Refusal::BadPage, "{token}");
        }
    }

    #[test]
    fn the_page_beyond_the_end_is_empty() {
        let next = paging("2", None).cut(vec![1, 2, 3]).unwrap().next();
        let page = paging("2", next).cut(vec![1]).unwrap();
        assert_eq!((page.rows.len(), page.start, page.end(), page.more), (0, 2, 2, false));
    }
}
