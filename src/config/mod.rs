//! The configuration: built-in defaults, a file, the environment; every fault is reported at once.
//!
//! What there is to set, with its meaning and unit, is in
//! `config/default.toml`, which is compiled in. Reading is pure but for the
//! file and the files of secrets: whether a directory can be made or a port is
//! free is seen when it is used.

mod address;
mod auth;
mod classrooms;
mod fault;
mod influx_url;
mod postgres_url;
mod public_url;
mod read;
mod redis_url;
mod source;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use classrooms::{Classroom, Classrooms, Privacy};
pub use fault::{Fault, Faults, Origin};
pub use influx_url::{BadInfluxUrl, InfluxUrl};
pub use postgres_url::{BadPostgresUrl, PostgresUrl};
pub use public_url::{BadUrl, PublicUrl};
pub use redis_url::{BadRedisUrl, RedisUrl};

use crate::keys::Secret;
use crate::networks::{BadNetwork, Networks};
use auth::{VISIBLE, secret};
use read::Reader;
use source::{Gathered, KEYS};

/// Everything that can be set.
#[derive(Debug, Clone)]
pub struct Config {
    /// The front end.
    pub http: Http,
    /// Consoles.
    pub live: Live,
    /// The disk.
    pub storage: Storage,
    /// The journal.
    pub journal: Journal,
    /// What is taken in.
    pub ingest: Ingest,
    /// Where the records are.
    pub records: Records,
    /// Where the series are.
    pub series: Series,
    /// What carries changes to consoles.
    pub bus: Bus,
    /// What this node is there for.
    pub serve: Serve,
    /// What is kept of history that was read.
    pub cache: Cache,
    /// Secrets that were given.
    pub auth: Auth,
    /// Logs.
    pub log: Log,
    /// What holds for the people whose work is kept.
    pub privacy: Privacy,
    /// The classrooms there are.
    pub classrooms: Classrooms,
}

/// The front end.
#[derive(Debug, Clone)]
pub struct Http {
    /// The address to listen on; port 0 picks a free one.
    pub listen: SocketAddr,
    /// How others reach the server; by default, as their request says.
    pub public_url: Option<PublicUrl>,
    /// Origins besides our own that may open consoles, as browsers send them.
    pub origins: Vec<String>,
    /// Proxies whose `X-Forwarded-*` are believed.
    pub trusted_proxies: Networks,
    /// Who may read `/metrics` without the admin token.
    pub metrics_from: Networks,
    /// Until the headers are there.
    pub header_timeout: Duration,
    /// Until the body is there.
    pub body_timeout: Duration,
    /// Until the next request is there.
    pub idle_timeout: Duration,
    /// Connections at a time.
    pub max_connections: usize,
}

/// Consoles.
#[derive(Debug, Clone)]
pub struct Live {
    /// Consoles at a time.
    pub max_consoles: usize,
}

/// The disk.
#[derive(Debug, Clone)]
pub struct Storage {
    /// Journal, embedded stores, keys.
    pub dir: PathBuf,
    /// Free space below which ingest answers 503.
    pub min_free_bytes: u64,
}

/// The journal.
#[derive(Debug, Clone)]
pub struct Journal {
    /// What it may take on the disk.
    pub max_bytes: u64,
}

/// What is taken in.
#[derive(Debug, Clone)]
pub struct Ingest {
    /// Days for which an event that comes again is known.
    pub dedup_days: u32,
}

/// Where the records are.
#[derive(Debug, Clone)]
pub struct Records {
    /// Nothing: SQLite under `storage.dir`.
    pub url: Option<PostgresUrl>,
    /// A replica of that database, for the reading calls; nothing: there is none.
    pub read_url: Option<PostgresUrl>,
    /// Connections to that database at a time, the one that writes among them; to the
    /// replica as many that read.
    pub max_connections: u32,
}

/// Where the series are.
#[derive(Debug, Clone)]
pub struct Series {
    /// Nothing: embedded.
    pub url: Option<InfluxUrl>,
    /// What opens that store, in place of a user's name and password.
    pub token: Option<Secret>,
}

/// What carries changes to consoles.
#[derive(Debug, Clone)]
pub struct Bus {
    /// Nothing: inside the process.
    pub url: Option<RedisUrl>,
}

/// What a node is there for.
#[derive(Debug, Clone)]
pub struct Serve {
    /// Its role.
    pub role: Role,
}

/// What a node is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Takes events in, keeps them, and serves consoles.
    All,
    /// Serves consoles of what another node tells over the bus.
    Consoles,
}

/// What is kept of history that was read.
#[derive(Debug, Clone)]
pub struct Cache {
    /// Nothing: only in memory.
    pub url: Option<RedisUrl>,
    /// What it may take of this process' memory; 0: nothing is kept there.
    pub memory_bytes: u64,
}

/// Secrets that were given; what was not is made at the first start.
#[derive(Debug, Clone)]
pub struct Auth {
    /// The token of administrators.
    pub admin_token: Option<Secret>,
    /// The ingest key of the classroom `default`.
    pub ingest_key: Option<Secret>,
    /// What the key is derived from that signs links and cookies, at every node alike.
    pub signing_secret: Option<Secret>,
}

/// Logs.
#[derive(Debug, Clone)]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
}

/// How lines of the log look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// For programs.
    Json,
    /// Pretty on a terminal, else JSON.
    Auto,
}

/// A configuration with what is worth telling about how it came to be.
#[derive(Debug)]
pub struct Loaded {
    /// What is in force.
    pub config: Config,
    /// Every key, its value without secrets, and where that stands.
    pub provenance: Vec<(&'static str, String, Origin)>,
}

impl Config {
    /// Reads the defaults, then `file`, then `environment` (pass `std::env::vars_os()`).
    ///
    /// # Errors
    /// Every wrong value and unknown key.
    pub fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Loaded, Faults> {
        let mut gathered = Gathered::defaults();
        if let Some(path) = file {
            gathered.add_file(path);
        }
        gathered.add_environment(environment);
        let mut reader = Reader::new(gathered);
        let config = Self::read(&mut reader);
        let provenance = KEYS
            .iter()
            .map(|key| {
                let given = reader.given(key.name);
                let shown = read::shown(key.name, &given.value);
                (key.name, shown, given.origin.clone())
            })
            .collect();
        match reader.into_faults() {
            none if none.is_empty() => Ok(Loaded { config, provenance }),
            faults => Err(Faults(faults)),
        }
    }

    /// The built-in defaults alone.
    pub fn builtin() -> Self {
        Self::read(&mut Reader::new(Gathered::defaults()))
    }

    fn read(reader: &mut Reader) -> Self {
        let privacy = classrooms::privacy(reader);
        Self {
            classrooms: classrooms::classrooms(reader, &privacy),
            privacy,
            http: Http::read(reader),
            live: Live {
                max_consoles: count(reader, "live.max_consoles"),
            },
            storage: Storage::read(reader),
            journal: Journal {
                max_bytes: reader.read("journal.max_bytes", "a size of at least 1MiB", |given| {
                    read::size(given, 1 << 20)
                }),
            },
            ingest: Ingest {
                dedup_days: reader.read(
                    "ingest.dedup_days",
                    "a whole number from 1 to 365",
                    |given| {
                        let days = read::whole(given, 1, 365)?;
                        u32::try_from(days).map_err(|error| error.to_string())
                    },
                ),
            },
            records: Records::read(reader),
            series: Series::read(reader),
            bus: Bus {
                url: reader.read(
                    "bus.url",
                    "empty, or an address such as redis://USER:PASSWORD@HOST:6379/0",
                    read::optional,
                ),
            },
            serve: Serve::read(reader),
            cache: Cache {
                url: reader.read(
                    "cache.url",
                    "empty, or an address such as redis://USER:PASSWORD@HOST:6379/0",
                    read::optional,
                ),
                memory_bytes: reader.read(
                    "cache.memory_bytes",
                    "a size such as 64MiB; 0 keeps nothing",
                    |given| read::size(given, 0),
                ),
            },
            auth: Auth::read(reader),
            log: Log {
                format: reader.read("log.format", "auto, pretty or json", log_format),
            },
        }
    }
}

impl Http {
    fn read(reader: &mut Reader) -> Self {
        let networks = "a list of IP addresses or networks, such as 10.0.0.0/8, or loopback";
        let time = "a time with its unit (ms, s, m, h), from 10ms to 1h";
        Self {
            listen: reader.read(
                "http.listen",
                "an IP address and a port, such as 127.0.0.1:8000 or [::1]:8000",
                |given| {
                    let text = read::text(given)?;
                    text.parse().map_err(|_| why_not_a_socket_address(text))
                },
            ),
            public_url: reader.read(
                "http.public_url",
                "empty, or an address such as https://hub.example/services/mimamori/",
                read::optional,
            ),
            origins: reader.read(
                "http.origins",
                "a list of origins such as https://hub.example",
                |given| {
                    read::list(given, |text| {
                        public_url::parse_origin(text).map_err(|error| error.to_string())
                    })
                },
            ),
            trusted_proxies: reader.read("http.trusted_proxies", networks, network_list),
            metrics_from: reader.read("http.metrics_from", networks, network_list),
            header_timeout: reader.read("http.header_timeout", time, read::duration),
            body_timeout: reader.read("http.body_timeout", time, read::duration),
            idle_timeout: reader.read("http.idle_timeout", time, read::duration),
            max_connections: count(reader, "http.max_connections"),
        }
    }
}

impl Serve {
    fn read(reader: &mut Reader) -> Self {
        let role = reader.read("serve.role", "all or consoles", |given| {
            match read::text(given)? {
                "all" => Ok(Role::All),
                "consoles" => Ok(Role::Consoles),
                _ => Err("it is neither".to_owned()),
            }
        });
        let has_bus = reader.given("bus.url").value.as_str() != Some("");
        if role == Role::Consoles && !has_bus {
            reader.fault(
                "serve.role",
                "all, unless bus.url is set",
                "a node that only serves consoles is told over the bus what to show",
            );
        }
        Self { role }
    }
}

impl Storage {
    fn read(reader: &mut Reader) -> Self {
        Self {
            dir: reader.read(
                "storage.dir",
                "the path of a directory",
                |given| match read::text(given)? {
                    "" => Err("it is empty".to_owned()),
                    text if text.contains('\0') => Err("it holds a U+0000".to_owned()),
                    text => Ok(PathBuf::from(text)),
                },
            ),
            min_free_bytes: reader.read(
                "storage.min_free_bytes",
                "a size such as 512MiB",
                |given| read::size(given, 0),
            ),
        }
    }
}

impl Records {
    fn read(reader: &mut Reader) -> Self {
        let rule = "empty, or an address such as postgres://USER:PASSWORD@HOST:5432/DATABASE";
        let url: Option<PostgresUrl> = reader.read("records.url", rule, read::optional);
        let read_url: Option<PostgresUrl> = reader.read("records.read_url", rule, read::optional);
        if let Some(reason) = why_no_replica(reader, url.as_ref(), read_url.as_ref()) {
            reader.fault(
                "records.read_url",
                "empty, or the address of a replica of the database in records.url",
                reason,
            );
        }
        Self {
            url,
            read_url,
            max_connections: reader.read(
                "records.max_connections",
                "a whole number from 2 to 1000",
                |given| {
                    let number = read::whole(given, 2, 1000)?;
                    u32::try_from(number).map_err(|error| error.to_string())
                },
            ),
        }
    }
}

impl Series {
    fn read(reader: &mut Reader) -> Self {
        let url: Option<InfluxUrl> = reader.read(
            "series.url",
            "empty, or an address such as http://HOST:8086/?db=NAME",
            read::optional,
        );
        let token = secret(reader, "series.token", VISIBLE);
        if token.is_some() && url.as_ref().is_some_and(|url| url.login().is_some()) {
            reader.fault(
                "series.token",
                "empty where series.url carries a user",
                "both are given",
            );
        }
        Self { url, token }
    }
}

/// Why one address can't be that of a replica of the other.
fn why_no_replica(
    reader: &Reader,
    url: Option<&PostgresUrl>,
    read_url: Option<&PostgresUrl>,
) -> Option<&'static str> {
    let read_url = read_url?;
    match url {
        Some(url) if url.is_same_place(read_url) => {
            Some("it is the database in records.url itself")
        }
        Some(_) => None,
        // what is wrong with it is told at its own key
        None if reader.given("records.url").value.as_str() != Some("") => None,
        None => Some("records.url is empty: the records are in SQLite, which has no replica"),
    }
}

fn count(reader: &mut Reader, key: &'static str) -> usize {
    reader.read(key, "a whole number from 1 to 1000000", |given| {
        let number = read::whole(given, 1, 1_000_000)?;
        usize::try_from(number).map_err(|error| error.to_string())
    })
}

fn network_list(given: &source::Given) -> Result<Networks, String> {
    let networks = read::list(given, |text| {
        text.parse::<Networks>()
            .map_err(|_: BadNetwork| "it is none of these".to_owned())
    })?;
    Ok(networks.into_iter().collect())
}

fn log_format(given: &source::Given) -> Result<LogFormat, String> {
    match read::text(given)? {
        "auto" => Ok(LogFormat::Auto),
        "pretty" => Ok(LogFormat::Pretty),
        "json" => Ok(LogFormat::Json),
        _ => Err("it is none of them".to_owned()),
    }
}

fn why_not_a_socket_address(text: &str) -> String {
    let Some((host, port)) = text.rsplit_once(':') else {
        return "it has no port".to_owned();
    };
    if port.parse::<u16>().is_err() {
        return format!("{port:?} is not a port from 0 to 65535");
    }
    format!("{host:?} is not an IP address (IPv6 stands in brackets)")
}
