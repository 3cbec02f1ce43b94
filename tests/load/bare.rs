//! The floor: ready bytes written to bare sockets by a loop that does nothing else.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::Instant;

/// What the environment of the process says.
pub const CONSOLES: &str = "MIMAMORI_BENCH_CONSOLES";
/// The payload of each frame.
pub const FRAME_BYTES: &str = "MIMAMORI_BENCH_FRAME_BYTES";
/// From one frame to the next.
pub const EVERY_MS: &str = "MIMAMORI_BENCH_EVERY_MS";
/// So many frames for each.
pub const FRAMES: &str = "MIMAMORI_BENCH_FRAMES";

/// Writes so many frames to so many sockets, then waits until it is ended.
pub fn write_alone() -> ExitCode {
    match write_all() {
        Ok(()) => loop {
            std::thread::park();
        },
        Err(error) => {
            println!("{error:#}");
            ExitCode::from(2)
        }
    }
}

fn write_all() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{{\"listening\":\"http://{}\"}}", listener.local_addr()?);
    let mut sockets = Vec::new();
    for _ in 0..asked(CONSOLES)? {
        sockets.push(welcome(listener.accept()?.0)?);
    }
    let every = Duration::from_millis(asked(EVERY_MS)?);
    let begun = Instant::now();
    for number in 0..asked(FRAMES)? {
        let frame = frame(number, asked(FRAME_BYTES)?);
        for socket in &mut sockets {
            socket.write_all(&frame)?;
        }
        let next = every * u32::try_from(number + 1)?;
        std::thread::sleep(next.saturating_sub(begun.elapsed()));
    }
    Ok(())
}

fn asked(name: &str) -> anyhow::Result<u64> {
    Ok(std::env::var(name)?.parse()?)
}

/// Past the handshake, with an opening.
fn welcome(mut socket: TcpStream) -> anyhow::Result<TcpStream> {
    socket.set_nodelay(true)?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    socket.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")?;
    let opening = br#"{"type":"snapshot","classroom":"default","epoch":"","seq":0}"#;
    socket.write_all(&[0x81, u8::try_from(opening.len())?])?;
    socket.write_all(opening)?;
    Ok(socket)
}

/// A text frame with a payload of about this size.
fn frame(number: u64, bytes: u64) -> Vec<u8> {
    let mut payload = format!(
        r#"{{"type":"delta","after":{number},"seq":{},"events":["#,
        number + 1
    )
    .into_bytes();
    payload.resize(usize::try_from(bytes).unwrap_or(0).max(200), b' ');
    let mut frame = vec![0x81, 127];
    frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
    frame.extend(payload);
    frame
}
