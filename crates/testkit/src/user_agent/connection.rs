//! What carries SIP. A connection is plain or in TLS, as a stream (RFC 3261 §18.3) or as messages of
//! a WebSocket (RFC 6455, RFC 7118).

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::message::Incoming;
use crate::namespace::Namespace;
use crate::stream::Stream;

/// Longest answer to the request for a WebSocket.
const LONGEST_HANDSHAKE: usize = 16_384;
/// What a client's frames are masked with: any four bytes.
const MASK: [u8; 4] = [0x5a, 0x0f, 0x33, 0xc1];

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
const TEXT: u8 = 1;
const PING: u8 = 9;
const PONG: u8 = 10;

/// What carries the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
    /// The same in TLS.
    Tls,
    /// A WebSocket.
    Ws,
    /// The same in TLS.
    Wss,
}

impl Transport {
    /// The word in Via (RFC 3261 §20.42, RFC 7118 §5.3).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Ws => "WS",
            Self::Wss => "WSS",
        }
    }

    const fn is_encrypted(self) -> bool {
        match self {
            Self::Udp | Self::Tcp | Self::Ws => false,
            Self::Tls | Self::Wss => true,
        }
    }

    const fn is_web_socket(self) -> bool {
        match self {
            Self::Udp | Self::Tcp | Self::Tls => false,
            Self::Ws | Self::Wss => true,
        }
    }
}

/// An open connection, which does not block.
pub(super) struct Connection {
    stream: Stream,
    tls: Option<ClientConnection>,
    is_web_socket: bool,
    received: Vec<u8>,
    server: SocketAddr,
}

/// Trusts this one certificate (PEM) and no other.
pub(super) fn trusting(certificate: &str) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

impl Connection {
    /// Connects, and shakes hands as often as the transport wants.
    pub fn open(
        namespace: &Namespace,
        [source, server]: [SocketAddr; 2],
        transport: Transport,
        tls: Option<&Arc<ClientConfig>>,
        timeout: Duration,
    ) -> Result<Self> {
        let stream = Stream::connect(namespace, source, server, timeout)?;
        stream.socket().set_read_timeout(Some(timeout))?;
        let tls = if transport.is_encrypted() {
            let config = tls.context("TLS to a server whose certificate is not trusted")?;
            let mut tls = ClientConnection::new(Arc::clone(config), server.ip().into())?;
            while tls.is_handshaking() {
                tls.complete_io(&mut stream.socket())
                    .with_context(|| format!("TLS from {source} to {server}"))?;
            }
            Some(tls)
        } else {
            None
        };
        let mut connection = Self {
            stream,
            tls,
            is_web_socket: transport.is_web_socket(),
            received: Vec::new(),
            server,
        };
        if connection.is_web_socket {
            connection
                .upgrade()
                .with_context(|| format!("a WebSocket from {source} to {server}"))?;
        }
        connection.stream.socket().set_nonblocking(true)?;
        Ok(connection)
    }

    /// The other end.
    pub fn server(&self) -> SocketAddr {
        self.server
    }

    /// Sends one message.
    pub fn send(&mut self, message: &[u8]) -> io::Result<()> {
        if self.is_web_socket {
            self.write(&frame(TEXT, message))
        } else {
            self.write(message)
        }
    }

    /// The messages that are there, and whether more can come.
    pub fn receive(&mut self) -> io::Result<(Vec<Incoming>, bool)> {
        let is_open = loop {
            match self.read() {
                Ok(0) => break false,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break true,
                Err(error) if is_hung_up(&error) => break false,
                Err(error) => return Err(error),
            }
        };
        let mut messages = Vec::new();
        if self.is_web_socket {
            while let Some((opcode, payload)) = take_frame(&mut self.received) {
                match opcode {
                    PING => self.write(&frame(PONG, &payload))?,
                    _ => messages.extend(Incoming::read(&payload)),
                }
            }
        } else {
            while let Some(message) = Incoming::read(&self.received) {
                self.received.drain(..message.length);
                messages.push(message);
            }
        }
        Ok((messages, is_open))
    }

    /// Asks for the WebSocket. The key is any 16 bytes in base64; nobody checks what is made of it.
    fn upgrade(&mut self) -> Result<()> {
        let server = self.server;
        let request = format!(
            "GET /ws HTTP/1.1\r\nHost: {server}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: c2lwd2FyZC10ZXN0a2l0IQ==\r\nSec-WebSocket-Protocol: sip\r\n\
             Sec-WebSocket-Version: 13\r\n\r\n"
        );
        self.write(request.as_bytes())?;
        let end = loop {
            let end = self
                .received
                .windows(4)
                .position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                break end + 4;
            }
            ensure!(self.received.len() < LONGEST_HANDSHAKE, "no end of headers");
            ensure!(self.read()? > 0, "the server hung up");
        };
        let answer: Vec<u8> = self.received.drain(..end).collect();
        ensure!(
            answer.starts_with(b"HTTP/1.1 101"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
        Ok(())
    }

    /// What the server does not want to hear any more is no error: no answer comes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut socket: &TcpStream = self.stream.socket();
        let written = match &mut self.tls {
            Some(tls) => rustls::Stream::new(tls, &mut socket).write_all(bytes),
            None => socket.write_all(bytes),
        };
        match written {
            Err(error) if is_hung_up(&error) => Ok(()),
            written => written,
        }
    }

    fn read(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 16_384];
        let mut socket: &TcpStream = self.stream.socket();
        let length = match &mut self.tls {
            Some(tls) => rustls::Stream::new(tls, &mut socket).read(&mut buffer)?,
            None => socket.read(&mut buffer)?,
        };
        self.received.extend(&buffer[..length]);
        Ok(length)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.socket().as_fd()
    }
}

/// The other end is gone, in an orderly way or not.
fn is_hung_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof
    )
}

/// A whole message of a client.
fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![FIN | opcode];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..126), _) => frame.push(MASKED | length),
        (_, Ok(length)) => {
            frame.push(MASKED | 126);
            frame.extend(length.to_be_bytes());
        }
        (_, Err(_)) => {
            frame.push(MASKED | 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    let masked = payload.iter().zip(MASK.iter().cycle());
    frame.extend(masked.map(|(byte, mask)| byte ^ mask));
    frame
}

/// Takes the first frame of a server once it is whole: Asterisk sends a message in one, unmasked.
fn take_frame(received: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let opcode = received.first()? & 0x0f;
    let (start, length) = match *received.get(1)? {
        126 => {
            let length = received.get(2..)?.first_chunk()?;
            (4, usize::from(u16::from_be_bytes(*length)))
        }
        127 => {
            let length = received.get(2..)?.first_chunk()?;
            (10, usize::try_from(u64::from_be_bytes(*length)).ok()?)
        }
        length => (2, usize::from(length)),
    };
    let payload = received.get(start..start + length)?.to_vec();
    received.drain(..start + length);
    Some((opcode, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server's frame is a client's without the mask.
    fn unmasked(frame: &[u8], start: usize) -> Vec<u8> {
        let mut frame = frame.to_vec();
        frame[1] &= !MASKED;
        frame.drain(start..start + MASK.len());
        for (byte, mask) in frame[start..].iter_mut().zip(MASK.iter().cycle()) {
            *byte ^= mask;
        }
        frame
    }

    #[test]
    fn frames_of_every_length_are_read_when_they_are_whole() {
        for (length, start) in [(5, 2), (125, 2), (126, 4), (65_535, 4), (65_536, 10)] {
            let payload: Vec<u8> = (0..length).map(|n: usize| n.to_be_bytes()[7]).collect();
            let mut received = unmasked(&frame(TEXT, &payload), start);
            let last = received.pop().unwrap();
            assert_eq!(take_frame(&mut received), None, "{length}");
            received.extend([last, FIN | PING]);
            assert_eq!(take_frame(&mut received), Some((TEXT, payload)), "{length}");
            assert_eq!(received, [FIN | PING], "{length}");
        }
    }
}
