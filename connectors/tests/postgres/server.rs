//! A real PostgreSQL: Debian's, in a temporary directory, under a user of its own.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use connectors::postgres::wire::session::Purpose;
use connectors::postgres::wire::target::Ssl;
use connectors::postgres::wire::{Rows, Session, SslMode, Target};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

/// A server that ends with the test.
pub struct Postgres {
    directory: TempDir,
    child: Option<Child>,
    options: Vec<String>,
    pub port: u16,
}

/// Who the server runs as: it refuses to be root.
fn user() -> Option<(u32, u32)> {
    if fs::metadata("/proc/self").ok().map(|own| std::os::unix::fs::MetadataExt::uid(&own))
        != Some(0)
    {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let of = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    of("postgres").or_else(|| of("nobody"))
}

/// The newest server that is installed.
pub fn binaries() -> PathBuf {
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut versions: Vec<(u32, PathBuf)> = installed
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(_, bin)| bin.join("postgres").exists())
        .collect();
    versions.sort();
    versions.pop().expect("tests/all.sh installs PostgreSQL: apt-get install postgresql").1
}

/// A command as that user, which ends when we do.
fn command(program: &str) -> Command {
    let program = binaries().join(program);
    let mut command = Command::new("setpriv");
    if let Some((user, group)) = user() {
        command.args([format!("--reuid={user}"), format!("--regid={group}")]);
        command.arg("--clear-groups");
    }
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command.env("LC_ALL", "C.UTF-8").stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// A server's directory, made once and copied for each: making it takes a second. It stays below
/// target/ for the next run.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let version = binaries().parent().unwrap().file_name().unwrap().to_owned();
        let user = user().map_or(0, |(user, _)| user);
        let name = format!("postgres-{}-{user}", version.display());
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        if !kept.exists() {
            // Other runs may be at it too: the first one's is taken.
            let ours = kept.with_extension(std::process::id().to_string());
            copy(&made().path().join("data"), &ours);
            if fs::rename(&ours, &kept).is_err() {
                fs::remove_dir_all(&ours).unwrap();
            }
        }
        kept
    })
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
}

/// A directory for a server that is like no other.
fn made() -> TempDir {
    let directory = tempfile::Builder::new().prefix("millstream-pg").tempdir_in("/tmp").unwrap();
    own(directory.path());
    let status = command("initdb")
        .args(["--no-sync", "--username=postgres", "--auth=trust", "--encoding=UTF8"])
        .arg("--locale=C.UTF-8")
        .arg("-D")
        .arg(directory.path().join("data"))
        .stderr(Stdio::null())
        .status();
    assert!(status.unwrap().success(), "initdb");
    directory
}

fn own(path: &Path) {
    if let Some((user, group)) = user() {
        chown(path, Some(user), Some(group)).unwrap();
    }
}

/// Only its owner may read a key.
fn own_file(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    own(path);
}

impl Postgres {
    pub fn start() -> Postgres {
        Postgres::with_options(&[])
    }

    /// A system of its own: the others share an identifier.
    pub fn fresh() -> Postgres {
        Postgres::of(&made().path().join("data"), &[])
    }

    /// With settings beside those that replication needs.
    pub fn with_options(options: &[&str]) -> Postgres {
        Postgres::of(template(), options)
    }

    fn of(template: &Path, options: &[&str]) -> Postgres {
        let directory =
            tempfile::Builder::new().prefix("millstream-pg").tempdir_in("/tmp").unwrap();
        own(directory.path());
        copy(template, &directory.path().join("data"));
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut server = Postgres { directory, child: None, options, port };
        server.run();
        server
    }

    /// Another server that follows this one.
    pub fn standby(&self) -> Postgres {
        let backup = tempfile::Builder::new().prefix("millstream-pg").tempdir_in("/tmp").unwrap();
        own(backup.path());
        let (host, port) = (self.directory.path().display(), self.port);
        let status = command("pg_basebackup")
            .args([
                "--no-sync",
                "--checkpoint=fast",
                "--wal-method=stream",
                "--write-recovery-conf",
            ])
            .args([format!("--host={host}"), format!("--port={port}"), "--user=postgres".into()])
            .arg("-D")
            .arg(backup.path().join("data"))
            .status();
        assert!(status.unwrap().success(), "pg_basebackup");
        Postgres::of(&backup.path().join("data"), &[])
    }

    /// Makes a standby the server that is written to.
    pub fn promote(&self) {
        let data = self.directory.path().join("data");
        let status = command("pg_ctl").arg("promote").arg("-D").arg(data).status();
        assert!(status.unwrap().success(), "pg_ctl promote");
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Makes a certificate for that name; the authority behind it is returned.
    pub fn certify(&self, name: &str) -> PathBuf {
        let at = |file: &str| self.directory.path().join(file);
        let openssl = |arguments: &[&str]| {
            let mut command = Command::new("openssl");
            let done = command.args(arguments).current_dir(self.directory.path()).output();
            let done = done.expect("tests/all.sh installs openssl");
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        };
        let (subject, names) = (format!("/CN={name}"), format!("subjectAltName=DNS:{name}"));
        let request = ["req", "-newkey", "rsa:2048", "-nodes", "-days", "2"];
        let authority = ["-x509", "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.crt"];
        openssl(&[&request[..], &authority].concat());
        let own =
            ["-subj", &subject, "-addext", &names, "-keyout", "server.key", "-out", "server.csr"];
        openssl(&[&request[..4], &own].concat());
        let by =
            ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-copy_extensions", "copy"];
        let made = ["x509", "-req", "-in", "server.csr", "-out", "server.crt", "-days", "2"];
        openssl(&[&made[..], &by].concat());
        own_file(&at("server.crt"));
        own_file(&at("server.key"));
        at("ca.crt")
    }

    /// Starts the server, and waits until it answers.
    pub fn run(&mut self) {
        let mut command = command("postgres");
        command.arg("-D").arg(self.directory.path().join("data"));
        let socket = format!("unix_socket_directories={}", self.directory.path().display());
        let port = format!("port={}", self.port);
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.directory.path().join("log"))
            .unwrap();
        for setting in [
            "listen_addresses=127.0.0.1",
            "wal_level=logical",
            "fsync=off",
            "max_connections=60",
            "max_wal_senders=20",
            "max_replication_slots=20",
            "shared_buffers=64MB",
            &socket,
            &port,
        ] {
            command.args(["-c", setting]);
        }
        for option in &self.options {
            command.args(["-c", option]);
        }
        self.child = Some(command.stderr(log).spawn().expect("util-linux has setpriv"));
        let socket = self.directory.path().join(format!(".s.PGSQL.{}", self.port));
        let since = Instant::now();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let target = self.target("postgres");
        // It answers by errors until it has recovered.
        std::thread::scope(|scope| {
            let ready = scope.spawn(move || {
                runtime.block_on(async {
                    while since.elapsed() < PATIENCE {
                        if socket.exists()
                            && Session::connect(&target, Purpose::Queries).await.is_ok()
                        {
                            return true;
                        }
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    false
                })
            });
            assert!(ready.join().unwrap(), "{}", self.log());
        });
    }

    /// Kills it as the machine's failure would: the supervisor by SIGKILL, and its children see
    /// that and go.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
            self.wait_for_children();
        }
    }

    /// Stops it in order; connections are closed.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let signalled = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
            assert!(signalled.unwrap().success());
            child.wait().unwrap();
        }
    }

    /// A new server in the same directory refuses to start while there are some of the old.
    fn wait_for_children(&self) {
        let data = self.directory.path().join("data").display().to_string();
        let since = Instant::now();
        let running = || {
            let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok());
            let mut directories =
                processes.filter_map(|process| fs::read_link(process.path().join("cwd")).ok());
            directories.any(|directory| directory.display().to_string() == data)
        };
        while running() && since.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    pub fn target(&self, database: &str) -> Target {
        Target {
            host: self.directory.path().display().to_string(),
            port: self.port,
            database: database.to_owned(),
            user: "postgres".to_owned(),
            password: None,
            ssl: Ssl { mode: SslMode::Disable, ..Ssl::default() },
            connect_timeout: Duration::from_secs(20),
            application_name: "test".to_owned(),
        }
    }

    pub async fn session(&self) -> Session {
        Session::connect(&self.target("postgres"), Purpose::Queries).await.unwrap()
    }

    /// Runs statements on a connection of their own.
    pub async fn sql(&self, sql: &str) -> Rows {
        let mut session = self.session().await;
        // As a user's own connection would have it.
        session.query("set search_path = public").await.unwrap();
        let rows = session.query(sql).await.unwrap_or_else(|error| panic!("{error}"));
        session.close().await;
        rows
    }

    /// The properties of a connector to it, by `key=value` lines.
    pub fn properties(&self, more: &str) -> String {
        let host = self.directory.path().display();
        let port = self.port;
        format!(
            "connector.class=io.debezium.connector.postgresql.PostgresConnector
             database.hostname={host}
             database.port={port}
             database.user=postgres
             database.dbname=postgres
             topic.prefix=pg
             errors.retry.delay.initial.ms=20
             {more}"
        )
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // At once, and nothing to complain about where it is gone.
            let _ = Command::new("kill").args(["-QUIT", &child.id().to_string()]).status();
            let _ = child.wait();
        }
    }
}
