//! What happens, for those who watch. A watcher that reads too slowly loses lines and is told how
//! many; while nobody watches, nothing is put into words.

use std::net::{IpAddr, SocketAddr};

use hyper::body::Bytes;
use ipnet::IpNet;
use sipward_engine::{
    self as engine, Command, KernelDrop, Message, Observation, Time, Transport, escape_at_most,
    overlap,
};
use sipward_wire::sip::{self, StartLine};
use tokio::sync::mpsc;

use super::{
    guard::Guard,
    stories::{alert_view, trusted_view},
    views::plain_view,
};
use crate::{
    clock::{self, timestamp},
    config::GuardMode,
    control::watch::{Direction, MessageLine, Verdict, WatchLine},
    exit::Failure,
};

/// Lines that wait for one watcher at most: more would only be old.
pub const WAITING: usize = 256;
/// Watchers at once at most.
const MOST: usize = 16;
/// Bytes of a message's part that are shown.
const SHOWN: usize = 200;

/// Those who watch.
#[derive(Debug, Default)]
pub struct Watchers(Vec<Watcher>);

#[derive(Debug)]
struct Watcher {
    /// Whom it must concern; empty: anybody.
    prefixes: Vec<IpNet>,
    lines: mpsc::Sender<Bytes>,
    /// Lines that found no room since the last one that did.
    lost: u64,
}

impl Guard {
    /// `watch`: what concerns these prefixes, from now on, as lines of JSON. It ends when the
    /// receiver is dropped.
    ///
    /// # Errors
    /// Too many watch already.
    pub fn watch(&mut self, prefixes: Vec<IpNet>) -> Result<mpsc::Receiver<Bytes>, Failure> {
        self.watchers.0.retain(|watcher| !watcher.lines.is_closed());
        if self.watchers.0.len() >= MOST {
            return Err(Failure::input(format!(
                "{MOST} are watching already: end one of them first"
            )));
        }
        let (lines, receiver) = mpsc::channel(WAITING);
        self.watchers.0.push(Watcher {
            prefixes,
            lines,
            lost: 0,
        });
        Ok(receiver)
    }
}

impl Watchers {
    /// Shows what a sensor saw.
    pub fn show(&mut self, observation: &Observation<'_>, at: Time, mode: GuardMode) {
        match observation {
            Observation::KernelDrop(drop) => self.offer(
                Concerns::Ends(drop.source.ip(), drop.destination.ip()),
                || WatchLine::Message(dropped(drop, at, mode)),
            ),
            Observation::Message(message) => self.offer(
                Concerns::Ends(message.source.ip(), message.destination.ip()),
                || WatchLine::Message(passed(message, at)),
            ),
            // The message and the alert are lines of their own.
            Observation::Signature(_) => {}
            Observation::Unreachable(report) => self.offer(
                Concerns::Ends(report.destination.ip(), report.reporter),
                || WatchLine::Unreachable {
                    at: timestamp(at),
                    reporter: report.reporter,
                    destination: report.destination,
                },
            ),
            Observation::Log(event) => {
                let line = || WatchLine::Log {
                    at: timestamp(at),
                    source: event.source,
                    text: shown(event.text),
                };
                match event.source.as_ref().map(SocketAddr::ip) {
                    Some(address) => self.offer(Concerns::Ends(address, address), line),
                    None => self.offer(Concerns::Nobody, line),
                }
            }
        }
    }

    /// Tells what follows from it.
    pub fn tell(&mut self, command: &Command) {
        match command {
            Command::Ban(ban) => {
                self.offer(Concerns::Prefix(ban.prefix), || {
                    WatchLine::Ban(plain_view(ban))
                });
            }
            Command::Unban(unban) => {
                self.offer(Concerns::Prefix(unban.prefix), || WatchLine::Unban {
                    at: timestamp(clock::now()),
                    prefix: unban.prefix,
                    port: unban.port,
                })
            }
            Command::Alert(alert) => self.offer(Concerns::Prefix(alert.source), || {
                WatchLine::Alert(alert_view(alert.clone()))
            }),
            Command::Trust(trusted) => {
                self.offer(Concerns::Prefix(trusted.address.into()), || {
                    WatchLine::Trust(trusted_view(trusted))
                });
            }
            Command::Distrust(_)
            | Command::TakeRate(_)
            | Command::Hold(_)
            | Command::Release(_) => {}
        }
    }

    /// Tells those who lost lines so, as soon as there is room for it.
    pub fn tell_losses(&mut self) {
        self.0.retain_mut(Watcher::tell_losses);
    }

    /// Puts a line into words if anybody is to see it.
    fn offer(&mut self, concerns: Concerns, line: impl Fn() -> WatchLine) {
        let mut words: Option<Bytes> = None;
        self.0.retain_mut(|watcher| {
            if !watcher.tell_losses() {
                return false;
            }
            if !watcher.wants(&concerns) {
                return true;
            }
            // The word of what was lost comes before what follows.
            if watcher.lost > 0 || watcher.lines.capacity() == 0 {
                watcher.lost += 1;
                return true;
            }
            let words = words.get_or_insert_with(|| encode(&line()));
            watcher.lines.try_send(words.clone()).is_ok()
        });
    }
}

/// Whom a line concerns.
#[derive(Clone, Copy, Debug)]
enum Concerns {
    Ends(IpAddr, IpAddr),
    Prefix(IpNet),
    Nobody,
}

impl Watcher {
    /// False where it has gone.
    fn tell_losses(&mut self) -> bool {
        if self.lost > 0 && self.lines.capacity() > 0 {
            let word = encode(&WatchLine::Lost { lines: self.lost });
            if self.lines.try_send(word).is_ok() {
                self.lost = 0;
            }
        }
        !self.lines.is_closed()
    }

    fn wants(&self, concerns: &Concerns) -> bool {
        self.prefixes.is_empty()
            || self.prefixes.iter().any(|prefix| match concerns {
                Concerns::Ends(one, other) => [one, other]
                    .into_iter()
                    .any(|address| prefix.contains(&address.to_canonical())),
                Concerns::Prefix(concerned) => overlap(prefix, concerned),
                Concerns::Nobody => false,
            })
    }
}

fn dropped(drop: &KernelDrop<'_>, at: Time, mode: GuardMode) -> MessageLine {
    MessageLine {
        verdict: match mode {
            GuardMode::Protect => Verdict::Drop,
            GuardMode::Observe => Verdict::WouldDrop,
        },
        reason: Some(drop.reason.name().to_owned()),
        signature: drop.signature.map(|signature| signature.name.to_owned()),
        ..line(
            &sip::Message::parse(drop.sample),
            Direction::In,
            [drop.source, drop.destination],
            drop.transport,
            at,
        )
    }
}

fn passed(message: &Message<'_>, at: Time) -> MessageLine {
    let direction = match message.direction {
        engine::Direction::Inbound => Direction::In,
        engine::Direction::Outbound => Direction::Out,
    };
    let ends = [message.source, message.destination];
    line(message.sip, direction, ends, message.transport, at)
}

fn line(
    message: &sip::Message<'_>,
    direction: Direction,
    [source, destination]: [SocketAddr; 2],
    transport: Transport,
    at: Time,
) -> MessageLine {
    let (method, status, summary) = match message.start_line() {
        StartLine::Request(request) => {
            let method = shown(request.method_name);
            let summary = format!("{method} {}", shown(request.uri.raw));
            (Some(method), None, summary)
        }
        StartLine::Response(response) => {
            let method = message.cseq().map(|cseq| shown(cseq.method_name));
            let status = response
                .status
                .map_or_else(|| "?".to_owned(), |it| it.to_string());
            let summary = format!("{status} {}", shown(response.reason));
            (method, response.status, summary)
        }
        StartLine::Unrecognised(line) => (None, None, shown(line)),
    };
    MessageLine {
        at: timestamp(at),
        direction,
        source,
        destination,
        transport: match transport {
            Transport::Udp => "udp".to_owned(),
            Transport::Tcp => "tcp".to_owned(),
        },
        verdict: Verdict::Pass,
        reason: None,
        signature: None,
        method,
        status,
        summary,
        call_id: message.call_id().map(shown),
        user_agent: message.user_agent().map(|value| shown(&value.unfold())),
    }
}

fn shown(bytes: &[u8]) -> String {
    escape_at_most(bytes, SHOWN).to_string()
}

fn encode(line: &WatchLine) -> Bytes {
    // Nothing in it has a form that JSON lacks.
    let mut words = serde_json::to_vec(line).unwrap_or_default();
    words.push(b'\n');
    words.into()
}
