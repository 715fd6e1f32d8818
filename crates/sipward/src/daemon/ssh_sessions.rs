//! Who has somebody logged in by SSH: nobody bans him, and the kernel does not limit how many
//! connections he opens. And who has just connected, and may be logging in: he is left his SSH, and no
//! more.
//!
//! That a connection is established proves an address, and no login. sshd closes one on which nobody
//! has logged in after LoginGraceTime (sshd_config(5)), so behind one that lasts longer somebody has.
//!
//! How old those are that a daemon finds at its start, nobody tells it. They protect as old ones do,
//! or each restart would have a moment in which an administrator can be banned who has been there for
//! hours. What that costs: a stranger who is connected at the start is not banned until sshd closes
//! that connection. The limit holds for him: from those whom a former daemon had known, the kernel
//! keeps it off for long enough.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use ipnet::IpNet;
use sipward_engine::{Command, Protection, Scope};
use sipward_shield::BootTime;

use super::{Guard, guard::LOOK_LASTS, machine};

/// What sshd may take longer: OpenSSH 9.8 and later add up to 4 s by chance.
pub(super) const JITTER: Duration = Duration::from_secs(5);
/// How long a source is free of the limit after its session was last seen, beyond what a daemon that
/// was just started needs to believe in it.
pub(super) const KEPT: Duration = Duration::from_secs(60);

/// An established connection to an SSH server of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Session {
    /// The other end.
    pub remote: IpAddr,
    /// The inode of its socket, which no two connections share; 0 before sshd has accepted it, and
    /// begins to count.
    pub socket: u64,
}

/// The sessions that sshd has accepted.
#[derive(Debug, Default)]
pub struct SshSessions {
    /// When each was first seen.
    since: BTreeMap<Session, Instant>,
    /// Of those, the ones that were there at the first look.
    found: Option<BTreeSet<Session>>,
    /// When it was looked for them last.
    pub(super) looked: Option<Instant>,
}

/// The other ends of sessions. One that has several may be in more than one of these.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RemoteEnds {
    /// Somebody is logged in.
    pub lasting: BTreeSet<IpAddr>,
    /// Connected before the daemon was there.
    pub found: BTreeSet<IpAddr>,
    /// Connected since, and not for long enough.
    pub young: BTreeSet<IpAddr>,
}

impl SshSessions {
    /// Takes the sessions that are open now. Those count as lasting that have been for longer than
    /// `grace`, sshd's LoginGraceTime. Time that a machine sleeps does not count, for it does not for
    /// sshd.
    pub fn look(&mut self, open: &[Session], grace: Duration, now: Instant) -> RemoteEnds {
        self.looked = Some(now);
        let accepted = open.iter().filter(|session| session.socket != 0);
        self.since = accepted
            .map(|session| (*session, self.since.get(session).copied().unwrap_or(now)))
            .collect();
        let since = &self.since;
        let found = self
            .found
            .get_or_insert_with(|| since.keys().copied().collect());
        // Another connection may get the inode of one that is gone.
        found.retain(|session| since.contains_key(session));
        let mut ends = RemoteEnds::default();
        for (session, since) in since {
            let age = now.saturating_duration_since(*since);
            let those = if age > grace.saturating_add(JITTER) {
                &mut ends.lasting
            } else if found.contains(session) {
                &mut ends.found
            } else {
                &mut ends.young
            };
            those.insert(session.remote);
        }
        ends
    }
}

impl Guard {
    /// Has nobody ban who is logged in, and the kernel not limit him.
    pub(super) fn spare_ssh_sessions(&mut self, open: &[Session], now: Instant) {
        let grace = self.config.limits.ssh.login_grace.duration();
        let ends = self.ssh_sessions.look(open, grace, now);
        let protected = self.engine.protected_mut();
        let logged_in = ends.lasting.union(&ends.found).copied().map(IpNet::from);
        protected.set(Protection::SshSession, logged_in);
        protected.set_ssh_connections(ends.young);
        let sources: Vec<IpAddr> = ends.lasting.into_iter().collect();
        if sources.is_empty() {
            return;
        }
        let lasts = u64::try_from((grace + JITTER + KEPT).as_nanos()).unwrap_or(u64::MAX);
        let until = BootTime(BootTime::now().0.saturating_add(lasts));
        if let Err(error) = self.shield.lift_ssh_limit(&sources, until) {
            tracing::error!("the SSH limit holds for who is logged in, too: {error}");
        }
    }

    /// Whether another ban takes the place of this one, which leaves his SSH to somebody who may have
    /// connected since the engine was told last who has.
    pub(super) fn gives_way_to_ssh(&mut self, command: &Command) -> bool {
        let Some(ban) = command.ban().filter(|ban| ban.scope == Scope::All) else {
            return false;
        };
        // An attack may have hundreds of sources banned in a second.
        let is_fresh = |looked: Instant| looked.elapsed() < LOOK_LASTS;
        if !self.ssh_sessions.looked.is_some_and(is_fresh) {
            // That takes as long as some guesses do.
            self.hold_during(ban.prefix, Self::look_at_ssh);
        }
        self.engine.narrow_decided(ban)
    }

    /// Looks again at who is connected by SSH.
    pub(super) fn look_at_ssh(&mut self) {
        let now = Instant::now();
        let sessions = machine::ssh_sessions(&self.config.limits.ssh.ports);
        self.spare_ssh_sessions(&sessions, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    const GRACE: Duration = Duration::from_secs(120);

    fn session(remote: &str, socket: u64) -> Session {
        Session {
            remote: remote.parse().unwrap(),
            socket,
        }
    }

    fn ends(lasting: &[Session], found: &[Session], young: &[Session]) -> RemoteEnds {
        let set = |of: &[Session]| of.iter().map(|session| session.remote).collect();
        RemoteEnds {
            lasting: set(lasting),
            found: set(found),
            young: set(young),
        }
    }

    /// Sessions of a daemon that found none, or these.
    struct Watch {
        sessions: SshSessions,
        began: Instant,
    }

    impl Watch {
        fn begin(found: &[Session]) -> Self {
            let (mut sessions, began) = (SshSessions::default(), Instant::now());
            assert_eq!(sessions.look(found, GRACE, began), ends(&[], found, &[]));
            Self { sessions, began }
        }

        fn look(&mut self, open: &[Session], seconds: u64) -> RemoteEnds {
            let now = self.began + Duration::from_secs(seconds);
            self.sessions.look(open, GRACE, now)
        }
    }

    #[test]
    fn a_session_counts_once_it_has_lasted_longer_than_a_login_may_take() {
        let mut watch = Watch::begin(&[]);
        let [admin, silent] = [session("198.51.100.7", 1), session("203.0.113.7", 2)];
        let both = ends(&[], &[], &[admin, silent]);
        assert_eq!(watch.look(&[admin, silent], 10), both);
        assert_eq!(watch.look(&[admin, silent], 130), both);
        // sshd has closed the other.
        assert_eq!(watch.look(&[admin], 140), ends(&[admin], &[], &[]));
        assert_eq!(watch.look(&[], 150), RemoteEnds::default());
    }

    #[test]
    fn connections_that_follow_each_other_are_no_session() {
        let mut watch = Watch::begin(&[]);
        for number in 1..40 {
            let open = [session("203.0.113.7", number)];
            assert_eq!(watch.look(&open, 10 * number), ends(&[], &[], &open));
        }
    }

    #[test]
    fn what_sshd_has_not_accepted_does_not_count_however_long_it_waits() {
        let mut watch = Watch::begin(&[]);
        let [waits, accepted] = [0, 7].map(|socket| session("203.0.113.7", socket));
        assert_eq!(watch.look(&[waits], 10), RemoteEnds::default());
        assert_eq!(watch.look(&[waits], 1_000), RemoteEnds::default());
        assert_eq!(watch.look(&[accepted], 1_010), ends(&[], &[], &[accepted]));
        assert_eq!(watch.look(&[accepted], 1_140), ends(&[accepted], &[], &[]));
    }

    #[test]
    fn what_a_daemon_finds_at_its_start_may_be_old_and_nothing_that_follows_it() {
        let [old, next] = [session("198.51.100.7", 1), session("198.51.100.8", 2)];
        let mut watch = Watch::begin(&[old]);
        assert_eq!(watch.look(&[old, next], 10), ends(&[], &[old], &[next]));
        assert_eq!(watch.look(&[old, next], 126), ends(&[old], &[], &[next]));
        // With the same inode again.
        assert_eq!(watch.look(&[next], 130), ends(&[], &[], &[next]));
        assert_eq!(watch.look(&[old], 140), ends(&[], &[], &[old]));
    }
}
