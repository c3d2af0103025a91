//! A program that serves on a loopback port for as long as a test wants it, and never longer than the test process.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// How often a program may fail to start: another process can take a port between our look and its bind.
const STARTS: u32 = 5;
/// How long a program may take until it serves, in pauses.
const PAUSES: u32 = 600;
const PAUSE: Duration = Duration::from_millis(25);

/// A running program.
pub(crate) struct Server {
    /// Where it serves.
    pub(crate) port: u16,
    /// Files of its own.
    pub(crate) folder: TempDir,
    program: Child,
    /// Kills the program and removes its files when this process ends without dropping anything: its input then ends.
    watchdog: Child,
}

impl Server {
    /// Starts a program and waits until `path` is answered with this status; the command is made for a port and a folder.
    pub(crate) fn start(command: impl Fn(u16, &TempDir) -> Command, path: &str, status: &str) -> Self {
        Self::start_until(command, |port| answers(port, path, "", status))
    }

    /// Starts a program and waits until it is ready at its port.
    pub(crate) fn start_until(command: impl Fn(u16, &TempDir) -> Command, ready: impl Fn(u16) -> bool) -> Self {
        let mut said = String::new();
        for _ in 0..STARTS {
            let folder = tempfile::tempdir().unwrap();
            let port = free_port();
            match Self::launch(command(port, &folder), port, folder).ready(&ready) {
                Ok(server) => return server,
                Err(log) => said = log,
            }
        }
        panic!("a counterpart did not start; the last try said:\n{said}");
    }

    fn launch(mut command: Command, port: u16, folder: TempDir) -> Self {
        let log = File::create(folder.path().join("log")).unwrap();
        let errors = log.try_clone().unwrap();
        let program = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn().unwrap();
        let watchdog = Command::new("sh")
            .args(["-c", "read -r _; kill -9 \"$1\"; rm -rf \"$2\"", "sh", &program.id().to_string()])
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { port, folder, program, watchdog }
    }

    fn ready(mut self, ready: impl Fn(u16) -> bool) -> Result<Self, String> {
        for _ in 0..PAUSES {
            if self.program.try_wait().unwrap().is_some() {
                break;
            }
            if ready(self.port) {
                return Ok(self);
            }
            std::thread::sleep(PAUSE);
        }
        Err(std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default())
    }

    /// Where it serves, as a URL.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for child in [&mut self.watchdog, &mut self.program] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A port that is free, and the one after it too: OpenBao wants two.
pub(crate) fn free_port() -> u16 {
    loop {
        let one = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = one.local_addr().unwrap().port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
}

/// Asks for a path over plain HTTP, with one more header line or none; whether the answer has this status.
pub(crate) fn answers(port: u16, path: &str, header: &str, status: &str) -> bool {
    let mut answer = String::new();
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let asked = write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{header}Connection: close\r\n\r\n");
    let _ = asked.and_then(|()| stream.read_to_string(&mut answer).map(drop));
    answer.split(' ').nth(1) == Some(status)
}
