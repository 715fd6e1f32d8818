//! Asterisk tells the log and the manager interface of the same things. Of each kind and source as
//! many count as the one of the two has told that told more.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use sipward_engine::{LogEvent, LogKind, LogTransport, Time};

/// Both tell within milliseconds; a log on a busy disk is later, and after this nothing is the same
/// any more.
const WINDOW: Duration = Duration::from_secs(60);
/// Kinds and sources that are remembered; the oldest go.
const MOST: usize = 4_096;

/// Who tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// A line of a log.
    Log,
    /// An event of the manager interface.
    Ami,
}

/// What was told lately.
#[derive(Debug, Default)]
pub struct Twins {
    told: BTreeMap<Key, Told>,
}

/// What counts differently is not the same: a stranger who writes lines into the log, without a
/// connection, must not have the true events taken for twins of them.
type Key = (&'static str, IpAddr, LogTransport, bool);

#[derive(Clone, Copy, Debug)]
struct Told {
    log: u32,
    ami: u32,
    last: Time,
}

impl Twins {
    /// Whether the other one has not told of this already.
    pub fn is_new(&mut self, witness: Witness, event: &LogEvent<'_>, now: Time) -> bool {
        let Some(source) = event.source else {
            return true;
        };
        let source = source.ip().to_canonical();
        let key = (name(event.kind), source, event.transport, event.connected);
        if self.told.len() >= MOST && !self.told.contains_key(&key) {
            self.forget();
        }
        let told = self.told.entry(key).or_insert(Told {
            log: 0,
            ami: 0,
            last: now,
        });
        if now.since(told.last) > WINDOW {
            (told.log, told.ami) = (0, 0);
        }
        told.last = now;
        let (own, other) = match witness {
            Witness::Log => (&mut told.log, told.ami),
            Witness::Ami => (&mut told.ami, told.log),
        };
        *own = own.saturating_add(1);
        *own > other
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
        Witness::{self, Ami, Log},
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
        for number in 0..10_000_u32 {
            let source = std::net::Ipv4Addr::from(number + 0x0b00_0000);
            let event = event(&format!("{source}:5061"), true);
            let now = Time::from_secs(0) + Duration::from_millis(number.into());
            assert!(twins.is_new(Log, &event, now));
            assert!(!twins.is_new(Ami, &event, now));
        }
        assert!(twins.told.len() <= MOST);
    }
}
