//! A server that sends whatever bytes a test wants: right, wrong, slow, cut, too many, or none. It keeps what it got.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;
use tokio::task::{JoinHandle, JoinSet};
use url::Url;

/// One thing the server does in answer to a request. Unless it closes, the connection then waits for the next request.
#[derive(Clone)]
pub(crate) enum Act {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Sends these bytes one by one, with a pause after each.
    Drip(Vec<u8>, Duration),
    /// Sends this many bytes of letters.
    Flood(usize),
    /// Does nothing for a while.
    Wait(Duration),
    /// Waits until as many requests have come as the barrier asks for.
    Meet(Arc<Barrier>),
    /// Closes in an orderly way.
    Close,
    /// Drops the connection with a TCP reset.
    Reset,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Which connection it came on, from 0.
    pub(crate) connection: usize,
    /// Which request of this server it is, from 0.
    pub(crate) number: usize,
    /// All of it.
    pub(crate) text: String,
}

impl Request {
    /// The method and the target.
    pub(crate) fn line(&self) -> &str {
        self.text.split(" HTTP/1.1\r\n").next().unwrap()
    }

    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let (head, _) = self.text.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// The server; it stops when it is dropped.
pub(crate) struct Wire {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

type Script = dyn Fn(&Request) -> Vec<Act> + Send + Sync;

impl Wire {
    /// Listens on a free port of this machine and answers by the script.
    pub(crate) async fn start(script: impl Fn(&Request) -> Vec<Act> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, seen) = (listener.local_addr().unwrap(), Arc::default());
        let task = tokio::spawn(serve(listener, Arc::new(script), Arc::clone(&seen)));
        Self { address, seen, task }
    }

    /// Answers every request in the same way.
    pub(crate) async fn always(acts: Vec<Act>) -> Self {
        Self::start(move |_| acts.clone()).await
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> Url {
        Url::parse(&format!("http://{}", self.address)).unwrap()
    }

    /// Everything that came so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// The first lines of everything that came so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.requests().iter().map(|request| request.line().to_owned()).collect()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, script: Arc<Script>, seen: Arc<Mutex<Vec<Request>>>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        connections.spawn(talk(stream, connections.len(), Arc::clone(&script), Arc::clone(&seen)));
    }
}

async fn talk(mut stream: TcpStream, connection: usize, script: Arc<Script>, seen: Arc<Mutex<Vec<Request>>>) {
    while let Some(text) = receive(&mut stream).await {
        let request = {
            let mut seen = seen.lock().unwrap();
            let number = seen.len();
            seen.push(Request { connection, number, text });
            seen[number].clone()
        };
        for act in script(&request) {
            if !perform(act, &mut stream).await {
                return;
            }
        }
    }
}

/// A whole request: head, and as much body as it announces.
async fn receive(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(text.into_owned());
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// Whether the connection goes on. The client may hang up at any time.
async fn perform(act: Act, stream: &mut TcpStream) -> bool {
    match act {
        Act::Send(bytes) => stream.write_all(&bytes).await.is_ok(),
        Act::Drip(bytes, pause) => {
            for byte in bytes {
                if stream.write_all(&[byte]).await.is_err() {
                    return false;
                }
                wait(pause).await;
            }
            true
        }
        Act::Flood(length) => {
            let piece = [b'x'; 16 * 1024];
            let mut left = length;
            while left > 0 {
                let now = left.min(piece.len());
                if stream.write_all(&piece[..now]).await.is_err() {
                    return false;
                }
                left -= now;
            }
            true
        }
        Act::Wait(pause) => {
            wait(pause).await;
            true
        }
        Act::Meet(barrier) => {
            barrier.wait().await;
            true
        }
        Act::Close => {
            let _ = stream.shutdown().await;
            false
        }
        Act::Reset => {
            stream.set_zero_linger().unwrap();
            false
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a slow server of a test has to be slow in real time")]
async fn wait(pause: Duration) {
    tokio::time::sleep(pause).await;
}

/// A whole answer with a JSON body.
pub(crate) fn json(status: u16, body: &str) -> Vec<Act> {
    answer(status, "Content-Type: application/json\r\n", body)
}

/// A whole answer with more headers, each with its line break.
pub(crate) fn answer(status: u16, headers: &str, body: &str) -> Vec<Act> {
    let length = body.len();
    raw(format!("HTTP/1.1 {status} Any\r\n{headers}Content-Length: {length}\r\n\r\n{body}"))
}

/// Exactly these bytes, then the connection waits.
pub(crate) fn raw(bytes: impl AsRef<[u8]>) -> Vec<Act> {
    vec![Act::Send(bytes.as_ref().to_vec())]
}

/// Exactly these bytes, then the end of the connection.
pub(crate) fn cut(bytes: impl AsRef<[u8]>) -> Vec<Act> {
    vec![Act::Send(bytes.as_ref().to_vec()), Act::Close]
}
