//! What a driver of Asterisk reads as a header, asked of Asterisk itself.
//!
//! A PBX whose guests may call notes in its dialplan, for every INVITE, what `SIP_HEADER` or
//! `PJSIP_HEADER` returns: the value with which the driver itself works. It can tell only about
//! INVITE, the one method that reaches a dialplan.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::asterisk::{Asterisk, Driver, Guests, Settings};
use crate::evasions::Transport;
use crate::lab::{ATTACKER, Lab, PBX};
use crate::process::wait_until;
use crate::stream::Stream;

/// How long an answer may take on a loaded machine.
const TIMEOUT: Duration = Duration::from_secs(10);

/// After how long a message is taken for lost: a socket that is full loses any.
const RESEND: Duration = Duration::from_secs(1);
const ATTEMPTS: u32 = 10;

/// For many calls a second.
const APPENDED: [(&str, &str); 4] = [
    // A line for each step of the dialplan costs a third of what a call does.
    ("asterisk.conf", "verbose = 0\n"),
    // Where 1,000 lines wait to be written, the next ones are lost, notes of calls among them.
    (
        "logger.conf",
        "[general](+)\nlogger_queue_limit = 1000000\n",
    ),
    // Nobody acknowledges what becomes of a call, and until the last repetition each takes
    // memory and descriptors. A guard that drops what a connection brings drops its end as well.
    (
        "sip.conf",
        "[general](+)\nt1min = 100\ntimert1 = 100\ntcpauthlimit = 2000\n",
    ),
    (
        "pjsip.conf",
        "[system]\ntype = system\ntimer_t1 = 100\ntimer_b = 6400\n",
    ),
];

/// The headers of one INVITE as a driver read them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The driver that read them.
    pub driver: Driver,
    /// By name as in RFC 3261 (`User-Agent`, `Server`, `From`, `To`, `Contact`, `Via`,
    /// `Call-ID`), and `Caller` and `CallerName`: the decoded user and name of From. Empty where
    /// there is none.
    pub headers: BTreeMap<String, String>,
}

impl Reading {
    /// A header's value, empty where there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// A lab with an unprotected PBX that notes what it reads. chan_sip listens on 5060, PJSIP on
/// 5062 and 5080.
#[derive(Debug)]
pub struct HeaderReader {
    /// The network, to send from.
    pub lab: Lab,
    asterisk: Asterisk,
    sent: Cell<u32>,
}

impl HeaderReader {
    /// Builds the lab and starts the PBX.
    ///
    /// # Errors
    /// Without root or without Asterisk in the cache.
    pub fn start() -> Result<Self> {
        let lab = Lab::new()?;
        let settings = Settings {
            guests: Guests::Noted,
            extensions: None,
            pjsip_ports: vec![5062, 5080],
            appended: BTreeMap::from(APPENDED.map(|(file, text)| (file, text.to_owned()))),
            ..Settings::default()
        };
        let asterisk = Asterisk::start(&lab.pbx, &settings)?;
        Ok(Self {
            lab,
            asterisk,
            sent: 0.into(),
        })
    }

    /// Sends these bytes to the driver, over IPv4 as one datagram or one write, and returns what
    /// it read: nothing if it did not take them for an INVITE.
    ///
    /// # Errors
    /// If the PBX no longer answers an ordinary INVITE.
    pub fn read(
        &self,
        driver: Driver,
        raw_request: &[u8],
        transport: Transport,
    ) -> Result<Vec<Reading>> {
        let start = self.end_of_notes();
        let _open = self.send(driver, raw_request, transport)?;
        self.settle()?;
        let mut readings = readings(&self.notes(start))?;
        readings.retain(|reading| !reading.header("Call-ID").starts_with(SENTINEL));
        Ok(readings)
    }

    /// Waits until the driver has taken from its UDP socket what was sent before: it answers
    /// an OPTIONS. Quicker than [`HeaderReader::settle`], but a note may still be outstanding.
    ///
    /// # Errors
    /// If there is no answer within 10 s.
    pub fn drain(&self, driver: Driver) -> Result<()> {
        let source = SocketAddr::new(ATTACKER.parse()?, 0);
        let socket = self.lab.attacker.enter(|| UdpSocket::bind(source))?;
        let call_id = self.next_sentinel();
        let request = sentinel("OPTIONS", &call_id, socket.local_addr()?, Transport::Udp);
        socket.set_read_timeout(Some(RESEND))?;
        let mut answer = Ok(0);
        for _ in 0..ATTEMPTS {
            socket.send_to(&request, driver.address())?;
            answer = socket.recv(&mut [0; 2048]);
            if answer.is_ok() {
                break;
            }
        }
        answer.with_context(|| format!("{driver:?} answers no OPTIONS"))?;
        Ok(())
    }

    /// Waits until everything sent before has been read: an ordinary INVITE to each driver, over
    /// each transport, must have come through.
    ///
    /// # Errors
    /// If one does not within 10 s.
    pub fn settle(&self) -> Result<()> {
        // Twice: a driver may still be reading what came before the first on another thread.
        for _ in 0..2 {
            self.catch_up(&[Transport::Udp, Transport::Tcp])?;
        }
        Ok(())
    }

    /// Waits until an ordinary INVITE to each driver, over each of these transports, has come
    /// through: enough for not sending faster than they read.
    ///
    /// # Errors
    /// If one does not within 10 s.
    pub fn catch_up(&self, transports: &[Transport]) -> Result<()> {
        let start = self.end_of_notes();
        let mut open = Vec::new();
        let mut awaited = Vec::new();
        for driver in [Driver::ChanSip, Driver::Pjsip] {
            for transport in transports {
                let call_id = self.next_sentinel();
                let source = SocketAddr::new(ATTACKER.parse()?, 5060);
                let request = sentinel("INVITE", &call_id, source, *transport);
                open.push(self.send(driver, &request, *transport)?);
                awaited.push((call_id, driver, *transport, request));
            }
        }
        let mut waited = Ok(());
        for _ in 0..ATTEMPTS {
            waited = wait_until("ordinary INVITEs to be read", RESEND, || {
                let readings = readings(&self.notes(start)).unwrap_or_default();
                let is_read = |id: &str| readings.iter().any(|r| r.header("Call-ID") == id);
                awaited.retain(|(id, ..)| !is_read(id));
                awaited.is_empty()
            });
            if waited.is_ok() {
                break;
            }
            for (_, driver, transport, request) in &awaited {
                open.push(self.send(*driver, request, *transport)?);
            }
        }
        let missing = || {
            let names = awaited
                .iter()
                .map(|(id, driver, transport, _)| format!("{id} over {transport:?} to {driver:?}"));
            names.collect::<Vec<_>>().join(", ")
        };
        waited.with_context(missing)
    }

    /// Everything read so far, in the order in which the dialplan noted it.
    ///
    /// # Errors
    /// If the notes are not as the dialplan writes them.
    pub fn readings(&self) -> Result<Vec<Reading>> {
        readings(&self.notes(0))
    }

    /// Where the next line will begin. Lines come whole unless the disk is full.
    fn end_of_notes(&self) -> u64 {
        let log = self.asterisk.log_path("headers");
        fs::metadata(log).map_or(0, |metadata| metadata.len())
    }

    /// The lines that the dialplan has written from this byte on, without a last one still being
    /// written.
    fn notes(&self, start: u64) -> String {
        let mut log = self.asterisk.log_from("headers", start);
        log.truncate(log.rfind('\n').map_or(0, |end| end + 1));
        log
    }

    /// The PBX.
    #[must_use]
    pub fn asterisk(&self) -> &Asterisk {
        &self.asterisk
    }

    fn next_sentinel(&self) -> String {
        self.sent.set(self.sent.get() + 1);
        format!("{SENTINEL}{}", self.sent.get())
    }

    /// An open connection, if there is one, must live until the PBX has read from it.
    fn send(&self, driver: Driver, bytes: &[u8], transport: Transport) -> Result<Option<Stream>> {
        let source = SocketAddr::new(ATTACKER.parse()?, 0);
        let destination = driver.address();
        match transport {
            Transport::Udp => {
                let socket = self.lab.attacker.enter(|| UdpSocket::bind(source))?;
                socket
                    .send_to(bytes, destination)
                    .context("sending a datagram")?;
                Ok(None)
            }
            Transport::Tcp => {
                let stream = Stream::connect(&self.lab.attacker, source, destination, TIMEOUT)?;
                stream.socket().write_all(bytes)?;
                Ok(Some(stream))
            }
        }
    }
}

/// What a driver reads in one raw INVITE; see [`HeaderReader::read`]. Starts a PBX of its own:
/// whoever asks often keeps a [`HeaderReader`].
///
/// # Errors
/// Without root or without Asterisk in the cache.
pub fn read_header(
    driver: Driver,
    raw_request: &[u8],
    transport: Transport,
    header: &str,
) -> Result<Option<String>> {
    let readings = HeaderReader::start()?.read(driver, raw_request, transport)?;
    Ok(readings
        .first()
        .map(|reading| reading.header(header).to_owned()))
}

const SENTINEL: &str = "sentinel-";

/// An ordinary request without a User-Agent.
fn sentinel(method: &str, call_id: &str, source: SocketAddr, transport: Transport) -> Vec<u8> {
    let transport = match transport {
        Transport::Udp => "UDP",
        Transport::Tcp => "TCP",
    };
    format!(
        "{method} sip:100@{PBX} SIP/2.0\r\n\
         Via: SIP/2.0/{transport} {source};branch=z9hG4bK-{call_id};rport\r\n\
         Max-Forwards: 70\r\nFrom: <sip:visitor@{source}>;tag={call_id}\r\n\
         To: <sip:100@{PBX}>\r\nCall-ID: {call_id}\r\nCSeq: 1 {method}\r\n\
         Contact: <sip:visitor@{source}>\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

fn readings(notes: &str) -> Result<Vec<Reading>> {
    notes
        .lines()
        .filter_map(|line| parse(line).transpose())
        .collect()
}

/// A line that the dialplan wrote: `… Ext. 100: pjsip Call-ID=… User-Agent=…`, values in base64.
fn parse(line: &str) -> Result<Option<Reading>> {
    let Some(start) = line.find(" Call-ID=") else {
        return Ok(None);
    };
    let driver = match line[..start].rsplit(' ').next() {
        Some("chan_sip") => Driver::ChanSip,
        Some("pjsip") => Driver::Pjsip,
        other => anyhow::bail!("a note of an unknown driver {other:?}: {line}"),
    };
    let mut headers = BTreeMap::new();
    for field in line[start..].split_whitespace() {
        let (name, value) = field.split_once('=').context("a note without '='")?;
        let value = String::from_utf8_lossy(&base64(value)).into_owned();
        headers.insert(name.to_owned(), value);
    }
    Ok(Some(Reading { driver, headers }))
}

/// RFC 4648 §4, padding ignored.
fn base64(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0u32, 0);
    for digit in text.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => break,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_back() {
        let line = "[2026-11-22] DTMF[7][C-1]: Ext. 100:2 @ noted: pjsip Call-ID=YQ== \
                    User-Agent=ZnJpZW5kbHktc2Nhbm5lcg== Server=";
        let reading = parse(line).unwrap().unwrap();
        assert_eq!(reading.driver, Driver::Pjsip);
        assert_eq!(reading.header("User-Agent"), "friendly-scanner");
        assert_eq!(reading.header("Server"), "");
    }
}
