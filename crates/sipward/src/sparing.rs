//! How seldom a packet of our own goes to anybody.

use std::{collections::VecDeque, net::IpAddr, time::Duration};

use sipward_engine::{Source, Time};

/// The time that is looked back.
const WINDOW: Duration = Duration::from_secs(1);

/// Lets one packet per second go to each source (IPv4 address, IPv6 /64), and so many in all: who
/// forges addresses cannot turn us on others.
#[derive(Debug)]
pub struct Sparing {
    in_all: usize,
    /// Who got one within the last second, oldest first.
    sent: VecDeque<(Time, Source)>,
}

impl Sparing {
    /// Lets `in_all` packets go within any second.
    #[must_use]
    pub const fn new(in_all: usize) -> Self {
        Self {
            in_all,
            sent: VecDeque::new(),
        }
    }

    /// Whether one may go to this address now; then it counts as sent.
    pub fn may_send(&mut self, to: IpAddr, now: Time) -> bool {
        // A clock that was set back must not silence us until it is where it was.
        self.sent
            .retain(|(at, _)| *at <= now && now.since(*at) < WINDOW);
        let to = Source::of(to);
        let may = self.sent.len() < self.in_all && self.sent.iter().all(|(_, sent)| *sent != to);
        if may {
            self.sent.push_back((now, to));
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_second_has_more_than_so_many_and_one_to_each(
            wanted in proptest::collection::vec((0u64..300, 0u32..12), 0..400),
        ) {
            const IN_ALL: usize = 5;
            let mut sparing = Sparing::new(IN_ALL);
            let mut now = Time::from_secs(1);
            let mut sent = Vec::new();
            for (millis, host) in wanted {
                now = now + Duration::from_millis(millis);
                if sparing.may_send(Ipv4Addr::from(host).into(), now) {
                    sent.push((now, host));
                } else {
                    let lately = |at: &Time| now.since(*at) < WINDOW;
                    let refused = sent.iter().filter(|(at, _)| lately(at)).count() == IN_ALL
                        || sent.iter().any(|(at, other)| lately(at) && *other == host);
                    prop_assert!(refused, "refused without a reason");
                }
            }
            for (at, host) in &sent {
                let within = || sent.iter().filter(|(other, _)| other >= at && other.since(*at) < WINDOW);
                prop_assert!(within().count() <= IN_ALL);
                prop_assert_eq!(within().filter(|(_, other)| other == host).count(), 1);
            }
        }
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let mut sparing = Sparing::new(5);
        let now = Time::from_secs(1);
        assert!(sparing.may_send("2001:db8::1".parse().unwrap(), now));
        assert!(!sparing.may_send("2001:db8::2".parse().unwrap(), now));
        assert!(sparing.may_send("2001:db8:0:1::1".parse().unwrap(), now));
    }

    #[test]
    fn a_clock_set_back_silences_nobody() {
        let mut sparing = Sparing::new(1);
        let to = "192.0.2.7".parse().unwrap();
        assert!(sparing.may_send(to, Time::from_secs(1_000)));
        assert!(sparing.may_send(to, Time::from_secs(10)));
    }
}
