//! How a table of answers is written.
//!
//! ```text
//! # a comment
//! let ROW = {"sid":"$KEY"}       `$ROW` stands for this from here on; `$(3*ab)` stands for `ababab`
//! call fetch                     the call that the cases below make
//!
//! [a key]                        a case, by its name
//! header Date: soon              a header of the answer that follows
//! 200 $ROW                       the answer to one request: status and body, with the right length
//! 200* caf\xe9                   the same with escapes in the body
//! raw HTTP/1.1 200 OK\r\n\r\n    the answer to one request: these bytes, with escapes, and no other
//! more {"sid"                    more bytes for the answer begun above
//! wait 60000                     ... and then nothing for so many milliseconds
//! flood 2000000                  ... and then so many letters
//! drip 20 HTTP/1.1               ... and then these bytes one by one, so many milliseconds apart
//! close                          ... and then the end of the connection; `reset` ends it rudely
//! times 3 200 {"page":$I}        three answers, `$I` counts from 0
//! asked 2                        how many requests are to come, if not as many as there are answers
//! = done: …                      the outcome
//! ```

use crate::support::wire::{Act, answer};
use std::collections::BTreeMap;
use std::time::Duration;

/// One case.
pub(crate) struct Case {
    /// What it shows.
    pub(crate) name: String,
    /// The call that is made, with its arguments.
    pub(crate) call: String,
    /// What the server does for the first request, the second, and so on.
    pub(crate) answers: Vec<Vec<Act>>,
    /// The bodies that are whole, for whoever wants to change something in them.
    pub(crate) bodies: Vec<Vec<u8>>,
    /// How many requests are to come.
    pub(crate) asked: Option<usize>,
    /// The outcome.
    pub(crate) expected: String,
    /// The line of the outcome, from 0.
    pub(crate) line: usize,
}

impl Case {
    /// Whether the server lets the client wait.
    pub(crate) fn is_slow(&self) -> bool {
        self.answers.iter().flatten().any(|act| matches!(act, Act::Wait(_) | Act::Drip(..)))
    }
}

/// Names that every table knows.
const KNOWN: [(&str, &str); 11] = [
    ("ACCOUNT", crate::twilio::ACCOUNT),
    ("MAIN_ACCOUNT", crate::twilio::MAIN_ACCOUNT),
    ("MAIN_KEY", crate::twilio::MAIN_KEY),
    ("KEY", crate::twilio::KEY),
    ("LABEL", crate::twilio::LABEL),
    ("NEW_KEY", crate::twilio::NEW_KEY),
    ("DATE", crate::twilio::DATE),
    ("NEW_SECRET", crate::twilio::NEW_SECRET),
    ("MAIN_SECRET", crate::twilio::MAIN_SECRET),
    ("PAIR_SECRET", crate::twilio::PAIR_SECRET),
    ("ATTEMPT", "00000000-0000-0000-0000-00000000002a"),
];

/// Reads a table.
pub(crate) fn cases(text: &str) -> Vec<Case> {
    let mut table = Table::default();
    KNOWN.iter().for_each(|(name, value)| _ = table.names.insert((*name).to_owned(), (*value).to_owned()));
    for (number, line) in text.lines().enumerate() {
        table.read(number, line);
    }
    assert!(table.begun.is_none(), "the last case has no outcome");
    table.done
}

#[derive(Default)]
struct Table {
    names: BTreeMap<String, String>,
    call: String,
    headers: String,
    begun: Option<Case>,
    done: Vec<Case>,
}

impl Table {
    fn read(&mut self, number: usize, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "" | "#" => (),
            "let" => {
                let (name, value) = rest.split_once(" = ").unwrap();
                let value = self.expand(value);
                self.names.insert(name.to_owned(), value);
            }
            "call" => self.call = self.expand(rest),
            "=" => {
                let mut case = self.begun.take().unwrap_or_else(|| panic!("line {number}: an outcome of nothing"));
                assert!(!case.answers.is_empty(), "line {number}: a case without an answer");
                (case.expected, case.line) = (rest.to_owned(), number);
                self.done.push(case);
            }
            _ if line.starts_with('[') => {
                assert!(self.begun.is_none(), "line {number}: the case before has no outcome");
                let name = line.trim_matches(['[', ']']).to_owned();
                let (call, answers, bodies) = (self.call.clone(), Vec::new(), Vec::new());
                let case = Case { name, call, answers, bodies, asked: None, expected: String::new(), line: 0 };
                self.begun = Some(case);
            }
            _ => self.part(word, rest, number),
        }
    }

    /// A line of a case.
    fn part(&mut self, word: &str, rest: &str, number: usize) {
        let rest = self.expand(rest);
        let headers = std::mem::take(&mut self.headers);
        if word == "header" {
            self.headers = format!("{headers}{rest}\r\n");
            return;
        }
        let case = self.begun.as_mut().unwrap_or_else(|| panic!("line {number}: outside of a case"));
        let add = |case: &mut Case, act| case.answers.last_mut().expect("an answer begun").push(act);
        match word {
            "asked" => case.asked = Some(rest.parse().unwrap()),
            "raw" => case.answers.push(vec![Act::Send(bytes(&rest))]),
            "more" => add(case, Act::Send(bytes(&rest))),
            "wait" => add(case, Act::Wait(Duration::from_millis(rest.parse().unwrap()))),
            "flood" => add(case, Act::Flood(rest.parse().unwrap())),
            "close" => add(case, Act::Close),
            "reset" => add(case, Act::Reset),
            "drip" => {
                let (pause, rest) = rest.split_once(' ').unwrap();
                add(case, Act::Drip(bytes(rest), Duration::from_millis(pause.parse().unwrap())));
            }
            "times" => {
                let (times, rest) = rest.split_once(' ').unwrap();
                let (status, body) = rest.split_once(' ').unwrap();
                for index in 0..times.parse::<usize>().unwrap() {
                    let body = body.replace("$I", &index.to_string());
                    case.answers.push(whole(status, &headers, body.as_bytes()));
                }
            }
            _ => {
                let body = match word.strip_suffix('*') {
                    Some(_) => bytes(&rest),
                    None => rest.into_bytes(),
                };
                case.answers.push(whole(word.trim_end_matches('*'), &headers, &body));
                case.bodies.push(body);
            }
        }
    }

    /// The text with names and repetitions replaced.
    fn expand(&self, text: &str) -> String {
        let mut pieces = text.split('$');
        let mut whole = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            if let Some((times, rest)) = piece.strip_prefix('(').and_then(|piece| piece.split_once('*')) {
                let (what, rest) = rest.split_once(')').unwrap();
                whole.push_str(&what.repeat(times.parse().unwrap()));
                whole.push_str(rest);
                continue;
            }
            let end = piece.find(|c: char| !c.is_ascii_uppercase() && c != '_').unwrap_or(piece.len());
            let (name, rest) = piece.split_at(end);
            match self.names.get(name) {
                Some(value) => whole.push_str(value),
                None if name == "I" => whole.push_str("$I"),
                None => panic!("${name} is not known"),
            }
            whole.push_str(rest);
        }
        whole
    }
}

/// An answer with the right length, whatever its bytes are.
fn whole(status: &str, headers: &str, body: &[u8]) -> Vec<Act> {
    let status = status.parse().unwrap_or_else(|_| panic!("{status} is no word of a table"));
    let mut acts = answer(status, &format!("Content-Type: application/json\r\n{headers}"), &" ".repeat(body.len()));
    if let Some(Act::Send(bytes)) = acts.last_mut() {
        bytes.truncate(bytes.len() - body.len());
        bytes.extend_from_slice(body);
    }
    acts
}

/// Bytes written with `\r`, `\n`, `\0`, `\\` and `\xNN`.
fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let (byte, used) = match (first, after) {
            (b'\\', [b'r', ..]) => (b'\r', 1),
            (b'\\', [b'n', ..]) => (b'\n', 1),
            (b'\\', [b'0', ..]) => (0, 1),
            (b'\\', [b'\\', ..]) => (b'\\', 1),
            (b'\\', [b'x', one, two, ..]) => {
                let digits = [*one, *two];
                (u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap(), 3)
            }
            (b'\\', _) => panic!("an escape that is not known in {text}"),
            (byte, _) => (*byte, 0),
        };
        bytes.push(byte);
        rest = &after[used..];
    }
    bytes
}
