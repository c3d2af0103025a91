//! Connections that can be closed before an answer is written: what a lost answer looks like from outside.

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// Cuts one connection: from then on every write fails, and the server closes it.
#[derive(Debug, Clone, Default)]
pub(super) struct Cutter(Arc<AtomicBool>);

impl Cutter {
    pub(super) fn cut(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A listener whose connections can be cut.
pub(super) struct Doorstep(pub(super) TcpListener);

impl Listener for Doorstep {
    type Io = Wire;
    type Addr = Cutter;

    async fn accept(&mut self) -> (Wire, Cutter) {
        let (stream, _) = Listener::accept(&mut self.0).await;
        let cutter = Cutter::default();
        // Without this a drip would be collected into larger pieces; a connection that refuses it is only less mean.
        stream.set_nodelay(true).ok();
        (Wire { stream, cutter: cutter.clone() }, cutter)
    }

    fn local_addr(&self) -> io::Result<Cutter> {
        Ok(Cutter::default())
    }
}

impl Connected<IncomingStream<'_, Doorstep>> for Cutter {
    fn connect_info(stream: IncomingStream<'_, Doorstep>) -> Self {
        stream.remote_addr().clone()
    }
}

/// One connection.
pub(super) struct Wire {
    stream: TcpStream,
    cutter: Cutter,
}

impl Wire {
    /// The stream, unless it was cut.
    fn whole(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        if self.cutter.0.load(Ordering::Acquire) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(Pin::new(&mut self.stream))
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.whole()?.poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.whole()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
