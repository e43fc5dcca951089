//! A private PostgreSQL server for tests, from the installed programs (`apt-get install postgresql`), or from those in the folder
//! that `POSTGRES_BIN` names.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use agent_core::secret::Secret;
use parking_lot::Mutex;

/// Beginning of the names of folders.
const PREFIX: &str = "agent-pg";

/// Name of the superuser.
pub const ADMIN: &str = "admin";

/// A server with an own data folder, on a socket in that folder and on a loopback port. Ends when it is dropped, and with the
/// process.
///
/// # Examples
///
/// ```no_run
/// use agent_postgres::{Postgres, testing::Cluster};
///
/// # async fn test() -> Result<(), Box<dyn std::error::Error>> {
/// let cluster = Cluster::start();
/// let store = Postgres::connect(&cluster.address(&cluster.database())).await?;
/// cluster.kill();
/// assert!(store.ping().await.is_err());
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    port: u16,
    settings: Vec<String>,
    server: Mutex<Option<u32>>,
    made: AtomicU32,
}

/// Returns a command for a program of PostgreSQL. Its programs refuse to run as root, so root becomes `postgres`. The kernel
/// ends the program with the thread that starts it.
///
/// # Panics
///
/// If PostgreSQL is not installed.
#[must_use]
pub fn program(name: &str) -> Command {
    if let Some(folder) = std::env::var_os("POSTGRES_BIN") {
        return as_postgres(&Path::new(&folder).join(name));
    }
    let found = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = found.map(|version| version.path().join("bin").join(name)).collect();
    found.retain(|path| path.exists());
    found.sort();
    let path = found.pop().expect("PostgreSQL is not installed: apt-get install postgresql");
    as_postgres(&path)
}

/// Returns a command that runs a program as the user `postgres` where this process is root's.
#[must_use]
pub fn as_postgres(path: &Path) -> Command {
    let mut command = Command::new("setpriv");
    if is_root() {
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    }
    command.args(["--pdeathsig", "TERM"]).arg(path);
    command
}

/// Removes the folders of servers that ended with their process.
fn remove_ended() {
    const FRESH: Duration = Duration::from_secs(60);
    for folder in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let is_ours = folder.file_name().to_string_lossy().starts_with(PREFIX);
        let age = folder.metadata().and_then(|data| data.modified()).ok().and_then(|at| at.elapsed().ok());
        if !is_ours || age.is_none_or(|age| age < FRESH) {
            continue;
        }
        let lock = fs::read_to_string(folder.path().join("data/postmaster.pid")).unwrap_or_default();
        let id = lock.lines().next().unwrap_or_default();
        if id.is_empty() || !Path::new("/proc").join(id).exists() {
            fs::remove_dir_all(folder.path()).ok();
        }
    }
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n")
}

/// Lets `postgres` own a file or folder, where this process is root's.
fn own(path: &Path) {
    if is_root() {
        let status = Command::new("chown").arg("-R").arg("postgres:postgres").arg(path).status();
        assert!(status.is_ok_and(|status| status.success()), "{} cannot be handed over", path.display());
    }
}

/// Returns a free port.
///
/// # Panics
///
/// If there is none.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("a bound socket has an address").port()
}

impl Cluster {
    /// Starts a server that does not flush to disk.
    ///
    /// # Panics
    ///
    /// If it does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&["fsync=off"])
    }

    /// Starts a server with settings (`name=value`).
    ///
    /// # Panics
    ///
    /// If it does not start.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use agent_postgres::testing::Cluster;
    ///
    /// let cluster = Cluster::start_with(&["fsync=off", "statement_timeout=500"]);
    /// assert_eq!(cluster.sql("SHOW statement_timeout"), "500ms");
    /// ```
    #[must_use]
    pub fn start_with(settings: &[&str]) -> Self {
        remove_ended();
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir().expect("a temporary folder").keep();
        own(&folder);
        let made = program("initdb")
            .args(["--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "-U", ADMIN, "-D"])
            .arg(folder.join("data"))
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let cluster = Self {
            folder,
            port: free_port(),
            settings: settings.iter().map(|setting| (*setting).to_owned()).collect(),
            server: Mutex::new(None),
            made: AtomicU32::new(0),
        };
        cluster.resume();
        cluster
    }

    /// Starts the server again after [`stop`](Cluster::stop) or [`kill`](Cluster::kill), and waits until it responds.
    ///
    /// # Panics
    ///
    /// If it does not start within a minute.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use agent_postgres::testing::Cluster;
    ///
    /// let cluster = Cluster::start();
    /// cluster.stop();
    /// cluster.resume();
    /// assert_eq!(cluster.sql("SELECT 1"), "1");
    /// ```
    pub fn resume(&self) {
        let mut command = program("postgres");
        command.arg("-D").arg(self.folder.join("data")).arg("-k").arg(&self.folder);
        command.args([
            "-p",
            &self.port.to_string(),
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "max_connections=200",
        ]);
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        let log = fs::OpenOptions::new().create(true).append(true).open(self.folder.join("log"));
        let log = log.expect("the log can be written");
        command.stdout(Stdio::null()).stderr(log);
        // Started by a thread that lives as long as the server: the kernel looks at the thread that started it.
        let (id, started) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let mut child = command.spawn().expect("postgres runs");
            id.send(child.id()).ok();
            child.wait().ok();
        });
        *self.server.lock() = started.recv().ok();
        let until = Instant::now() + Duration::from_secs(60);
        while self.try_sql("SELECT 1").is_err() {
            assert!(Instant::now() < until, "the server does not start; see {}/log", self.folder.display());
            thread::sleep(Duration::from_millis(30));
        }
    }

    /// Stops the server without waiting for its clients.
    pub fn stop(&self) {
        self.signal("INT");
    }

    /// Kills the server and its processes at once.
    pub fn kill(&self) {
        self.signal("QUIT");
    }

    fn signal(&self, name: &str) {
        let Some(id) = self.server.lock().take() else { return };
        Command::new("kill").args([&format!("-{name}"), &id.to_string()]).status().ok();
        while Path::new(&format!("/proc/{id}")).exists() {
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Returns the folder with data, socket and log.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the loopback port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Creates an empty database and returns its name.
    ///
    /// # Panics
    ///
    /// If it cannot be created.
    #[must_use]
    pub fn database(&self) -> String {
        let name = format!("db{}", self.made.fetch_add(1, Ordering::Relaxed));
        self.sql(&format!("CREATE DATABASE {name}"));
        name
    }

    /// Returns the address of a database, over the loopback port.
    #[must_use]
    pub fn address(&self, database: &str) -> Secret {
        Secret::new(format!("postgres://{ADMIN}:word@127.0.0.1:{}/{database}", self.port))
    }

    /// Returns the address of a database, over the socket.
    #[must_use]
    pub fn socket_address(&self, database: &str) -> Secret {
        Secret::new(format!(
            "host={} port={} user={ADMIN} dbname={database}",
            self.folder.display(),
            self.port
        ))
    }

    /// Executes SQL in the database `postgres` and returns the output.
    ///
    /// # Panics
    ///
    /// If it fails.
    pub fn sql(&self, sql: &str) -> String {
        self.try_sql(sql).expect("the statement succeeds")
    }

    /// Executes SQL in the database `postgres`.
    ///
    /// # Errors
    ///
    /// The output of `psql`.
    pub fn try_sql(&self, sql: &str) -> Result<String, String> {
        self.try_sql_in("postgres", sql)
    }

    /// Executes SQL in a database.
    ///
    /// # Errors
    ///
    /// The output of `psql`.
    pub fn try_sql_in(&self, database: &str, sql: &str) -> Result<String, String> {
        let output = program("psql")
            .args(["-X", "-A", "-t", "-U", ADMIN, "-d", database, "-v", "ON_ERROR_STOP=1", "-c", sql, "-p"])
            .arg(self.port.to_string())
            .arg("-h")
            .arg(&self.folder)
            .output()
            .expect("psql runs");
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// Starts PgBouncer in transaction mode in front of the server.
    ///
    /// # Panics
    ///
    /// If it is not installed (`apt-get install pgbouncer`) or does not start.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use agent_postgres::{Postgres, testing::Cluster};
    ///
    /// # async fn test() -> Result<(), Box<dyn std::error::Error>> {
    /// let cluster = Cluster::start();
    /// let database = cluster.database();
    /// let bouncer = cluster.bouncer(5);
    /// let builder = Postgres::builder().listen_at(cluster.address(&database));
    /// let store = builder.connect(&bouncer.address(&database)).await?;
    /// store.ping().await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn bouncer(&self, connections: usize) -> Bouncer {
        let folder = self.folder.join(format!("bouncer{}", self.made.fetch_add(1, Ordering::Relaxed)));
        let port = free_port();
        fs::create_dir(&folder).expect("a folder");
        fs::write(folder.join("users"), format!("\"{ADMIN}\" \"word\"\n")).expect("a file");
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = any\nauth_file = {}\npool_mode = transaction\n\
             default_pool_size = {connections}\nmax_client_conn = 200\nlogfile = {}\n",
            self.port,
            folder.join("users").display(),
            folder.join("log").display(),
        )
        .replace("* = host=127.0.0.1", &format!("* = user={ADMIN} host=127.0.0.1"));
        fs::write(folder.join("settings"), settings).expect("a file");
        own(&folder);
        let child = as_postgres(Path::new("/usr/sbin/pgbouncer"))
            .arg("-q")
            .arg(folder.join("settings"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("pgbouncer is not installed: apt-get install pgbouncer");
        let until = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < until, "PgBouncer does not start; see {}/log", folder.display());
            thread::sleep(Duration::from_millis(20));
        }
        Bouncer { child, port }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill();
        fs::remove_dir_all(&self.folder).ok();
    }
}

/// A PgBouncer in front of a [`Cluster`].
#[derive(Debug)]
pub struct Bouncer {
    child: Child,
    port: u16,
}

impl Bouncer {
    /// Returns the address of a database behind it.
    #[must_use]
    pub fn address(&self, database: &str) -> Secret {
        Secret::new(format!("postgres://{ADMIN}:word@127.0.0.1:{}/{database}", self.port))
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
