//! A TCP proxy that does to chosen requests what networks do to any: loses them, loses their answers, answers itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What happens to a request that holds the chosen text.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fate {
    /// It is carried out, and the connection is cut before the answer.
    AnswerLost,
    /// It does not arrive, and the connection is cut.
    Lost,
    /// It is carried out, and this comes back instead of the answer.
    Answered(&'static str),
    /// It is carried out, and nothing comes back while the proxy lives.
    Silence,
    /// It is carried out twice, and the answer to one of the two comes back.
    Twice,
    /// It does not arrive; what comes back is made of the whole request and of how many were chosen before it.
    Echoed(fn(&str, usize) -> String),
}

/// A proxy, for as long as this value lives.
pub(crate) struct Proxy {
    /// Where it listens.
    pub(crate) url: String,
    /// The port of it.
    pub(crate) port: u16,
    chosen: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Stands before the server at this port; every request that holds `text` meets its fate.
    pub(crate) async fn start(upstream: u16, text: &'static str, fate: Fate) -> Self {
        Self::for_the_first(usize::MAX, upstream, text, fate).await
    }

    /// Only the first so many of the requests that hold `text` meet their fate.
    pub(crate) async fn for_the_first(times: usize, upstream: u16, text: &'static str, fate: Fate) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = format!("http://127.0.0.1:{port}");
        let chosen = Arc::new(AtomicUsize::new(0));
        let count = chosen.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let chosen = Chosen { text: text.as_bytes(), times, count: count.clone() };
                tokio::spawn(connection(client, upstream, chosen, fate));
            }
        });
        Self { url, port, chosen, accepting }
    }

    /// How many requests have met their fate.
    pub(crate) fn chosen(&self) -> usize {
        self.chosen.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Which requests meet a fate, and how many have.
struct Chosen {
    text: &'static [u8],
    times: usize,
    count: Arc<AtomicUsize>,
}

impl Chosen {
    /// The number of this request among the chosen, if it is one of them.
    fn number(&self, request: &[u8]) -> Option<usize> {
        let holds = request.windows(self.text.len()).any(|window| window == self.text);
        let next = |number| (number < self.times).then_some(number + 1);
        if holds { self.count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next).ok() } else { None }
    }
}

/// Passes on what comes, until the text has come; then the fate.
async fn connection(mut client: TcpStream, upstream: u16, which: Chosen, fate: Fate) {
    let mut server = TcpStream::connect(("127.0.0.1", upstream)).await.unwrap();
    let (mut up, mut down) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let (mut request, mut chosen, mut number) = (Vec::new(), false, 0);
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(read @ 1..) = read else { return };
                request.extend_from_slice(&up[..read]);
                if !chosen && let Some(found) = which.number(&request) {
                    (chosen, number) = (true, found);
                }
                match fate {
                    Fate::Lost if chosen => return,
                    Fate::Echoed(_) if chosen && !whole(&request) => continue,
                    Fate::Echoed(echo) if chosen => {
                        let answer = echo(&String::from_utf8_lossy(&request), number);
                        return client.write_all(answer.as_bytes()).await.unwrap();
                    }
                    Fate::Twice if chosen && whole(&request) => drop(tokio::spawn(repeat(upstream, request.clone()))),
                    Fate::Answered(_) | Fate::AnswerLost | Fate::Echoed(_) => (),
                    Fate::Lost | Fate::Silence | Fate::Twice => (),
                }
                server.write_all(&up[..read]).await.unwrap();
            }
            read = server.read(&mut down) => {
                let Ok(read @ 1..) = read else { return };
                request.clear();
                match fate {
                    _ if !chosen => client.write_all(&down[..read]).await.unwrap(),
                    Fate::AnswerLost | Fate::Lost | Fate::Echoed(_) => return,
                    Fate::Answered(answer) => return client.write_all(answer.as_bytes()).await.unwrap(),
                    Fate::Silence => std::future::pending().await,
                    Fate::Twice => {
                        chosen = false;
                        client.write_all(&down[..read]).await.unwrap();
                    }
                }
            }
        }
    }
}

/// Sends a whole request once more, on a connection of its own, and waits for the answer.
async fn repeat(upstream: u16, request: Vec<u8>) {
    let mut server = TcpStream::connect(("127.0.0.1", upstream)).await.unwrap();
    server.write_all(&request).await.unwrap();
    let _ = server.read(&mut [0; 1024]).await;
}

/// Whether the head is there, and as much of a body as it announces.
fn whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let announced = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= announced.unwrap_or(0)
}
