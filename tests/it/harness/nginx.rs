//! A real nginx with the configuration that is shipped.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use tempfile::TempDir;

use super::spoken::Spoken;

/// In front of nodes; it ends when this is dropped, or when the process ends.
pub struct Nginx {
    _server: Spoken,
    logs: TempDir,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Nginx {
    /// In front of the node that takes events in, and two that serve consoles.
    pub fn before(nodes: [SocketAddr; 3]) -> Self {
        // free now; whoever takes it first has it, and then the script says so
        let port = {
            let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket.local_addr().unwrap().port()
        };
        let logs = TempDir::with_prefix("mimamori-nginx-logs-").unwrap();
        let mut script = Spoken::script("nginx.sh");
        script
            .arg(port.to_string())
            .args(nodes.map(|node| node.to_string()))
            .arg(logs.path());
        Self {
            logs,
            _server: Spoken::start("nginx", &mut script),
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        }
    }

    /// Everything that it has written down.
    pub fn logs(&self) -> String {
        let read = |name| std::fs::read_to_string(self.logs.path().join(name)).unwrap();
        ["access.log", "error.log"].map(read).concat()
    }

    /// `http://127.0.0.1:PORT`
    pub fn base(&self) -> String {
        format!("http://{}", self.address)
    }
}
