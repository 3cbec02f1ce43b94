//! A real nginx with the configuration that is shipped.

use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, ChildStdin, Command, Stdio};

/// In front of nodes; it ends when this is dropped, or when the process ends.
pub struct Nginx {
    child: Child,
    words: Option<ChildStdin>,
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
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/nginx.sh");
        let mut child = Command::new(script)
            .arg(port.to_string())
            .args(nodes.map(|node| node.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        if line.trim() != "ready" {
            answers.read_to_string(&mut line).unwrap();
            panic!("nginx: {line}");
        }
        Self {
            words: child.stdin.take(),
            child,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        }
    }

    /// `http://127.0.0.1:PORT`
    pub fn base(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.words = None;
        let _ = self.child.wait();
    }
}
