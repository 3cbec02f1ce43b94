//! A real nginx with the configuration that is shipped.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use super::spoken::Spoken;

/// In front of nodes; it ends when this is dropped, or when the process ends.
pub struct Nginx {
    _server: Spoken,
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
        let mut script = Spoken::script("nginx.sh");
        script
            .arg(port.to_string())
            .args(nodes.map(|node| node.to_string()));
        Self {
            _server: Spoken::start("nginx", &mut script),
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        }
    }

    /// `http://127.0.0.1:PORT`
    pub fn base(&self) -> String {
        format!("http://{}", self.address)
    }
}
