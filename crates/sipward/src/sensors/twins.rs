//! Asterisk tells the log and the manager interface of the same things, and the log twice of some. Of
//! each kind and source as many count as the one of the three has told that told most: so it does not
//! matter which of them Asterisk writes, whether one of them begins or ends, and who forges a line to
//! make believe that it does.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use sipward_asterisk::log::LogLine;
use sipward_engine::{LogEvent, LogKind, LogTransport, Time};

/// Both tell within milliseconds; a log on a busy disk is later, and after this nothing is the same
/// any more.
const WINDOW: Duration = Duration::from_secs(60);
/// Kinds and sources that are remembered; the oldest go.
const MOST: usize = 16_384;

/// Who tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// A line of a log of which there should be an event of the level SECURITY, too.
    Notice,
    /// Any other line of a log.
    Log,
    /// An event of the manager interface.
    Ami,
}

impl Witness {
    /// Whose word a line is.
    #[must_use]
    pub fn of(line: &LogLine<'_>) -> Self {
        if line.has_a_security_event() {
            Self::Notice
        } else {
            Self::Log
        }
    }
}

/// What was told lately.
#[derive(Debug, Default)]
pub struct Twins {
    told: BTreeMap<Key, Told>,
}

/// What counts differently is not the same: a stranger who writes lines into the log, without a
/// connection, must not have the true events taken for twins of them.
type Key = (&'static str, IpAddr, Party, bool);

/// Of SIP a NOTICE does not say the transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Party {
    Sip,
    Iax2,
    Manager,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    /// By each witness.
    counts: [u32; 3],
    last: Time,
}

impl Twins {
    /// Whether the other one has not told of this already.
    pub fn is_new(&mut self, witness: Witness, event: &LogEvent<'_>, now: Time) -> bool {
        let Some(source) = event.source else {
            return true;
        };
        let source = source.ip().to_canonical();
        let is_proven = event.transport.is_connected() && event.connected;
        let key = (name(event.kind), source, party(event.transport), is_proven);
        if self.told.len() >= MOST && !self.told.contains_key(&key) {
            self.forget();
        }
        let told = self.told.entry(key).or_insert(Told {
            counts: [0; 3],
            last: now,
        });
        if now.since(told.last) > WINDOW {
            told.counts = [0; 3];
        }
        told.last = now;
        let most = told.counts.iter().copied().max().unwrap_or_default();
        let [notice, log, ami] = &mut told.counts;
        let own = match witness {
            Witness::Notice => notice,
            Witness::Log => log,
            Witness::Ami => ami,
        };
        *own = own.saturating_add(1);
        *own > most
    }

    /// The older half.
    fn forget(&mut self) {
        let mut times: Vec<Time> = self.told.values().map(|told| told.last).collect();
        times.sort_unstable();
        let Some(middle) = times.get(times.len() / 2).copied() else {
            return;
        };
        self.told.retain(|_, told| told.last > middle);
    }
}

const fn party(transport: LogTransport) -> Party {
    match transport {
        LogTransport::Udp
        | LogTransport::Tcp
        | LogTransport::Tls
        | LogTransport::Ws
        | LogTransport::Wss => Party::Sip,
        LogTransport::Iax2 => Party::Iax2,
        LogTransport::Manager => Party::Manager,
    }
}

const fn name(kind: LogKind<'_>) -> &'static str {
    match kind {
        LogKind::WrongPassword => "wrong password",
        LogKind::UnknownAccount => "unknown account",
        LogKind::Success => "success",
        LogKind::Challenged => "challenged",
        LogKind::Limited => "limited",
        LogKind::Misdial => "misdial",
        LogKind::RefusedCall { .. } => "refused call",
        LogKind::Malformed => "malformed",
        LogKind::InviteTimeout { .. } => "invite timeout",
        LogKind::AnswerTimeout { .. } => "answer timeout",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sipward_engine::{LogEvent, LogKind, LogTransport, Place, Time};

    use super::{
        MOST, Twins,
        Witness::{self, Ami, Log, Notice},
    };

    fn event(address: &str, connected: bool) -> LogEvent<'static> {
        LogEvent {
            kind: LogKind::WrongPassword,
            source: Some(address.parse().unwrap()),
            account: None,
            transport: LogTransport::Tls,
            connected,
            place: Place::Ami,
            text: b"",
        }
    }

    fn counted(order: &[Witness], event: &LogEvent<'_>) -> usize {
        let mut twins = Twins::default();
        let told = order.iter();
        told.filter(|witness| twins.is_new(**witness, event, Time::from_secs(0)))
            .count()
    }

    #[test]
    fn as_many_count_as_the_one_that_told_more_has() {
        let event = event("203.0.113.9:5061", true);
        assert_eq!(counted(&[Log, Ami], &event), 1);
        assert_eq!(counted(&[Log, Log, Log, Ami, Ami], &event), 3);
        assert_eq!(counted(&[Ami, Log, Ami, Log, Log], &event), 3);
        assert_eq!(counted(&[Ami, Ami, Ami], &event), 3);
        assert_eq!(counted(&[Notice, Notice, Log, Log], &event), 2);
        assert_eq!(counted(&[Log, Ami, Notice, Notice, Ami, Log], &event), 2);
    }

    #[test]
    fn what_one_of_them_tells_no_more_counts_all_the_same() {
        let event = event("203.0.113.9:5061", true);
        assert_eq!(counted(&[Notice, Log, Notice, Notice, Notice], &event), 4);
        assert_eq!(counted(&[Log, Notice, Ami, Ami, Ami], &event), 3);
    }

    #[test]
    fn a_notice_is_a_twin_whatever_the_transport() {
        let mut twins = Twins::default();
        let now = Time::from_secs(0);
        let over = |transport, connected| LogEvent {
            transport,
            ..event("203.0.113.9:5061", connected)
        };
        let udp = over(LogTransport::Udp, false);
        assert!(twins.is_new(Notice, &udp, now));
        assert!(!twins.is_new(Log, &over(LogTransport::Tcp, false), now));
        assert!(twins.is_new(Log, &over(LogTransport::Iax2, false), now));
        assert!(twins.is_new(Log, &over(LogTransport::Manager, false), now));
        assert!(twins.is_new(Log, &over(LogTransport::Wss, true), now));
        assert!(!twins.is_new(Notice, &over(LogTransport::Tls, true), now));
    }

    #[test]
    fn what_is_different_is_no_twin() {
        let mut twins = Twins::default();
        let now = Time::from_secs(0);
        assert!(twins.is_new(Log, &event("203.0.113.9:1", false), now));
        assert!(
            twins.is_new(Ami, &event("203.0.113.9:1", true), now),
            "it counts"
        );
        assert!(twins.is_new(Ami, &event("203.0.113.8:1", false), now));
        let later = now + Duration::from_secs(61);
        assert!(twins.is_new(Ami, &event("203.0.113.9:1", false), later));
    }

    #[test]
    fn little_is_remembered() {
        let mut twins = Twins::default();
        for number in 0..40_000_u32 {
            let source = std::net::Ipv4Addr::from(number + 0x0b00_0000);
            let event = event(&format!("{source}:5061"), true);
            let now = Time::from_secs(0) + Duration::from_millis(number.into());
            assert!(twins.is_new(Log, &event, now));
            assert!(!twins.is_new(Ami, &event, now));
        }
        assert!(twins.told.len() <= MOST);
    }
}
