//! Gathers every key's value from the defaults, the file and the environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use toml::{Table, Value};

use super::fault::{Fault, Origin};
use crate::files::short_text;

/// A key of the configuration.
pub(super) struct Key {
    /// Section and name: `http.listen`.
    pub(super) name: &'static str,
    /// May hold a secret: masked wherever it is shown, and may come from a file.
    pub(super) is_secret: bool,
}

const fn plain(name: &'static str) -> Key {
    Key {
        name,
        is_secret: false,
    }
}

const fn secret(name: &'static str) -> Key {
    Key {
        name,
        is_secret: true,
    }
}

/// Every key there is. Addresses of stores count as secrets: they carry passwords.
pub(super) const KEYS: &[Key] = &[
    plain("http.listen"),
    plain("http.public_url"),
    plain("http.origins"),
    plain("http.trusted_proxies"),
    plain("http.metrics_from"),
    plain("http.header_timeout"),
    plain("http.body_timeout"),
    plain("http.idle_timeout"),
    plain("http.max_connections"),
    plain("live.max_consoles"),
    plain("serve.role"),
    plain("storage.dir"),
    plain("storage.min_free_bytes"),
    plain("journal.max_bytes"),
    plain("ingest.dedup_days"),
    secret("records.url"),
    secret("records.read_url"),
    plain("records.max_connections"),
    secret("series.url"),
    secret("series.token"),
    secret("bus.url"),
    secret("cache.url"),
    plain("cache.memory_bytes"),
    secret("auth.admin_token"),
    secret("auth.ingest_key"),
    secret("auth.signing_secret"),
    plain("log.format"),
    plain("privacy.retention"),
    plain("privacy.controller"),
    plain("privacy.contact"),
    plain("privacy.purpose"),
    plain("classrooms.default.name"),
    plain("classrooms.default.retention"),
    plain("classrooms.default.store_code"),
    plain("classrooms.default.contact"),
];

/// Its keys stand one table deeper: `[classrooms.default]`.
const CLASSROOMS: &str = "classrooms";
/// The only classroom there is.
const ONLY_CLASSROOM: &str = "default";

const PREFIX: &str = "MIMAMORI_";

/// Variables that begin like ours and are not configuration of the server.
const OTHER_VARIABLES: [&str; 2] = ["MIMAMORI_LOG", "MIMAMORI_TOKEN"];

/// A secret file is a line; whatever is longer is the wrong file.
const MAX_SECRET_FILE_BYTES: u64 = 4096;

fn key_named(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// A value as it was given.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Given {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

impl Given {
    /// The text, if it comes from the environment: there everything is text, in
    /// a file only what stands in quotes.
    pub(super) fn environment_text(&self) -> Option<&str> {
        match self.origin {
            Origin::Environment(_) => self.value.as_str(),
            Origin::Default | Origin::File(_) => None,
        }
    }
}

/// The value of every key, and what was wrong while gathering them.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    pub(super) values: BTreeMap<&'static str, Given>,
    pub(super) faults: Vec<Fault>,
}

impl Gathered {
    /// The built-in defaults.
    pub(super) fn defaults() -> Self {
        let mut gathered = Self::default();
        gathered.add_toml(include_str!("../../config/default.toml"), &Origin::Default);
        gathered
    }

    /// The file over what is there.
    pub(super) fn add_file(&mut self, path: &Path) {
        let origin = Origin::File(path.to_owned());
        match std::fs::read_to_string(path) {
            Ok(text) => self.add_toml(&text, &origin),
            Err(error) => self.fault("--config", None, "a file that can be read", error, origin),
        }
    }

    fn add_toml(&mut self, text: &str, origin: &Origin) {
        let table: Table = match text.parse() {
            Ok(table) => table,
            Err(error) => return self.add_syntax_fault(text, &error, origin),
        };
        for (section, value) in table {
            let Value::Table(keys) = value else {
                self.unknown(&section, &section, origin.clone());
                continue;
            };
            if section == CLASSROOMS {
                self.add_toml_classrooms(keys, origin);
                continue;
            }
            for (key, value) in keys {
                self.add_toml_key(&format!("{section}.{key}"), value, origin);
            }
        }
    }

    fn add_toml_classrooms(&mut self, classrooms: Table, origin: &Origin) {
        for (id, value) in classrooms {
            let name = format!("{CLASSROOMS}.{id}");
            let Value::Table(keys) = value else {
                self.unknown(&name, &name, origin.clone());
                continue;
            };
            if id != ONLY_CLASSROOM {
                self.unknown_classroom(&name, origin.clone());
                continue;
            }
            for (key, value) in keys {
                self.add_toml_key(&format!("{name}.{key}"), value, origin);
            }
        }
    }

    fn add_toml_key(&mut self, name: &str, value: Value, origin: &Origin) {
        match key_named(name) {
            Some(key) => self.set(key, value, origin.clone()),
            None => self.unknown(name, name, origin.clone()),
        }
    }

    fn add_syntax_fault(&mut self, text: &str, error: &toml::de::Error, origin: &Origin) {
        let at = error.span().map_or(0, |span| span.start);
        let line = text
            .as_bytes()
            .iter()
            .take(at)
            .filter(|byte| **byte == b'\n')
            .count()
            + 1;
        let reason = format!("line {line}: {}", error.message().replace('\n', " "));
        self.fault("--config", None, "a file in TOML", reason, origin.clone());
    }

    /// The environment over what is there.
    pub(super) fn add_environment(
        &mut self,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) {
        // sorted, so that faults come in the same order every time
        let ours: BTreeMap<String, OsString> = variables
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .filter(|(name, _)| name.starts_with(PREFIX))
            .filter(|(name, _)| !OTHER_VARIABLES.contains(&name.as_str()))
            .collect();
        for (variable, value) in &ours {
            self.add_variable(variable, value, &ours);
        }
    }

    fn add_variable(&mut self, variable: &str, value: &OsString, all: &BTreeMap<String, OsString>) {
        let origin = Origin::Environment(variable.to_owned());
        let Some(name) = key_of_variable(variable) else {
            return self.variable_without_section(variable);
        };
        let Some(text) = value.to_str() else {
            return self.fault(&name, None, "text in UTF-8", "it is not", origin);
        };
        if let Some(key) = key_named(&name) {
            return self.set(key, Value::String(text.to_owned()), origin);
        }
        match name.strip_suffix("_file").and_then(key_named) {
            Some(key) if key.is_secret => {
                if all.contains_key(variable.trim_end_matches("_FILE")) {
                    let reason = "the variable without _FILE is set too";
                    return self.fault(key.name, None, "given once", reason, origin);
                }
                self.add_secret_file(key, Path::new(text), origin);
            }
            Some(key) => {
                let reason = "only secrets are read from files";
                self.fault(key.name, None, "given by its value", reason, origin);
            }
            None if is_of_another_classroom(&name) => self.unknown_classroom(variable, origin),
            None => self.unknown(&name, variable, origin),
        }
    }

    /// Other programs set variables that begin like ours (Kubernetes does, for a
    /// service of our name): only what looks like a slip of one of our keys is a fault.
    fn variable_without_section(&mut self, variable: &str) {
        let flat = variable[PREFIX.len()..].to_lowercase();
        if let Some(key) = KEYS.iter().find(|key| key.name.replace('.', "_") == flat) {
            let rule = format!("spelt {}", variable_of(key.name));
            let reason = "two underscores stand between section and key";
            let origin = Origin::Environment(variable.to_owned());
            self.fault(key.name, None, &rule, reason, origin);
        }
    }

    fn add_secret_file(&mut self, key: &'static Key, path: &Path, origin: Origin) {
        let rule = "the path of a file that holds one line of text";
        match read_secret(path) {
            Ok(text) => self.set(key, Value::String(text), origin),
            Err(reason) => {
                let reason = format!("{}: {reason}", path.display());
                self.fault(key.name, None, rule, reason, origin);
            }
        }
    }

    fn set(&mut self, key: &'static Key, value: Value, origin: Origin) {
        self.values.insert(key.name, Given { value, origin });
    }

    fn unknown_classroom(&mut self, shown: &str, origin: Origin) {
        let rule = format!("{CLASSROOMS}.{ONLY_CLASSROOM}");
        let reason = "this version has only that classroom";
        self.fault(shown, None, &rule, reason, origin);
    }

    fn unknown(&mut self, name: &str, shown: &str, origin: Origin) {
        let is_variable = matches!(origin, Origin::Environment(_));
        let reason = match nearest(name) {
            Some(near) if is_variable => format!(
                "there is none of that name; did you mean {}?",
                variable_of(near)
            ),
            Some(near) => format!("there is none of that name; did you mean {near}?"),
            None => "there is none like that".to_owned(),
        };
        self.fault(shown, None, "a known key", reason, origin);
    }

    pub(super) fn fault(
        &mut self,
        key: &str,
        value: Option<String>,
        rule: &str,
        reason: impl ToString,
        origin: Origin,
    ) {
        self.faults.push(Fault {
            key: key.to_owned(),
            value,
            rule: rule.to_owned(),
            reason: reason.to_string(),
            origin,
        });
    }
}

/// `MIMAMORI_HTTP__LISTEN` → `http.listen`; nothing without the two underscores.
/// A classroom's keys have them twice: `MIMAMORI_CLASSROOMS__DEFAULT__NAME`.
fn key_of_variable(variable: &str) -> Option<String> {
    let (section, key) = variable.strip_prefix(PREFIX)?.split_once("__")?;
    let section = section.to_lowercase();
    let key = if section == CLASSROOMS {
        key.replacen("__", ".", 1)
    } else {
        key.to_owned()
    };
    Some(format!("{section}.{key}").to_lowercase())
}

fn is_of_another_classroom(name: &str) -> bool {
    let mut parts = name.split('.');
    let is_classroom = parts.next() == Some(CLASSROOMS);
    is_classroom && parts.next() != Some(ONLY_CLASSROOM) && parts.next().is_some()
}

/// `http.listen` → `MIMAMORI_HTTP__LISTEN`.
fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

/// The key that is most like `name`, if one is like it at all.
fn nearest(name: &str) -> Option<&'static str> {
    KEYS.iter()
        .map(|key| (similarity(name, key.name), key.name))
        .filter(|(similarity, _)| *similarity > 0.6)
        .max_by(|(left, _), (right, _)| left.total_cmp(right))
        .map(|(_, name)| name)
}

/// People mistake the section as often as the key.
fn similarity(name: &str, key: &str) -> f64 {
    let last = |text: &str| text.rsplit('.').next().unwrap_or_default().to_owned();
    let of_keys = 0.95 * strsim::normalized_damerau_levenshtein(&last(name), &last(key));
    strsim::normalized_damerau_levenshtein(name, key).max(of_keys)
}

fn read_secret(path: &Path) -> Result<String, String> {
    // its size says nothing of a pipe, which is as good a place for a secret
    let text = short_text(path, MAX_SECRET_FILE_BYTES).map_err(|error| error.to_string())?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err("it is empty".to_owned());
    }
    Ok(line.to_owned())
}
