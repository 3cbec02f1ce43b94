//! Tells the world that the server is there.

use std::io::{IsTerminal, Write, stderr};
use std::net::SocketAddr;

use mimamori_actors::domain::Timestamp;

use super::lock::{LockError, Running, ServerLock};
use super::{addresses, answer};
use crate::config::PublicUrl;
use crate::keys::Keys;

/// Says once, when the socket is open, where the server is.
#[derive(Debug)]
pub struct Announce {
    lock: ServerLock,
    prints_links: bool,
}

impl Announce {
    /// Links hold secrets: they go to a terminal, or where they were asked for.
    pub(super) fn new(lock: ServerLock, is_asked_for_links: bool) -> Self {
        Self {
            lock,
            prints_links: is_asked_for_links || stderr().is_terminal(),
        }
    }

    /// To be called when the socket is open: tells other commands by the lock
    /// file, programs by the one line on standard output, and people by a
    /// sign-in link and the ingest address.
    ///
    /// # Errors
    /// When the lock file cannot be written.
    pub fn listening(
        &self,
        address: SocketAddr,
        public_url: Option<&PublicUrl>,
        keys: &Keys,
        now: Timestamp,
    ) -> Result<(), LockError> {
        self.lock.publish(&Running {
            pid: std::process::id(),
            listening: address,
            public_url: public_url.map(ToString::to_string),
        })?;
        answer(serde_json::json!({ "listening": format!("http://{address}") }));
        if self.prints_links {
            let text = welcome(&addresses::bases(address, public_url), keys, now);
            // people read it beside the log; standard output stays for programs
            let _ = stderr().lock().write_all(text.as_bytes());
        }
        Ok(())
    }
}

fn welcome(bases: &[String], keys: &Keys, now: Timestamp) -> String {
    let link = keys.new_link(now);
    let mut text = String::from(
        "\nThe console (the link signs in for 10 minutes; `mimamori link` makes another):\n",
    );
    for base in bases {
        text.push_str(&format!("\n    {}\n", addresses::sign_in(base, &link)));
    }
    if keys.ingest_key().expose().is_empty() {
        // this node takes no events in
        text.push('\n');
        return text;
    }
    text.push_str("\nThe ingest address, for the extension in the students' notebooks:\n");
    for base in bases {
        text.push_str(&format!(
            "\n    {}\n",
            addresses::ingest(base, keys.ingest_key())
        ));
    }
    text.push('\n');
    text
}
