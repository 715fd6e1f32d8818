//! Who has somebody logged in by SSH: the kernel does not limit how many connections it opens.
//!
//! That a connection is established proves an address, and no login. sshd closes one on which nobody
//! has logged in after LoginGraceTime (sshd_config(5)), so behind one that lasts longer somebody has.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use sipward_shield::BootTime;

use super::Guard;

/// What sshd may take longer: OpenSSH 9.8 and later add up to 4 s by chance.
const JITTER: Duration = Duration::from_secs(5);
/// How long a source is free of the limit after its session was last seen, beyond what a daemon that
/// was just started needs to believe in it.
const KEPT: Duration = Duration::from_secs(60);

/// An established connection to an SSH server of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Session {
    /// The other end.
    pub remote: IpAddr,
    /// The inode of its socket, which no two connections share; 0 before sshd has accepted it, and
    /// begins to count.
    pub socket: u64,
}

/// The sessions, and when each was first seen.
#[derive(Debug, Default)]
pub struct SshSessions {
    since: BTreeMap<Session, Instant>,
}

impl SshSessions {
    /// Takes the sessions that are open now, and tells whose have lasted for longer than `grace`,
    /// sshd's LoginGraceTime. Time that a machine sleeps does not count, for it does not for sshd.
    pub fn look(&mut self, open: &[Session], grace: Duration, now: Instant) -> Vec<IpAddr> {
        let accepted = open.iter().filter(|session| session.socket != 0);
        self.since = accepted
            .map(|session| (*session, self.since.get(session).copied().unwrap_or(now)))
            .collect();
        let lasting = self.since.iter().filter(|(_, since)| {
            now.saturating_duration_since(**since) > grace.saturating_add(JITTER)
        });
        let sources: BTreeSet<IpAddr> = lasting.map(|(session, _)| session.remote).collect();
        sources.into_iter().collect()
    }
}

impl Guard {
    /// Has the kernel spare who is logged in.
    pub(super) fn spare_ssh_sessions(&mut self, open: &[Session]) {
        let grace = self.config.limits.ssh.login_grace.duration();
        let sources = self.ssh_sessions.look(open, grace, Instant::now());
        if sources.is_empty() {
            return;
        }
        let lasts = u64::try_from((grace + JITTER + KEPT).as_nanos()).unwrap_or(u64::MAX);
        let until = BootTime(BootTime::now().0.saturating_add(lasts));
        if let Err(error) = self.shield.lift_ssh_limit(&sources, until) {
            tracing::error!("the SSH limit holds for who is logged in, too: {error}");
        }
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

    #[test]
    fn a_session_counts_once_it_has_lasted_longer_than_a_login_may_take() {
        let (mut sessions, began) = (SshSessions::default(), Instant::now());
        let (admin, silent) = (session("198.51.100.7", 1), session("203.0.113.7", 2));
        let mut look = |open: &[Session], seconds| {
            sessions.look(open, GRACE, began + Duration::from_secs(seconds))
        };
        assert_eq!(look(&[admin, silent], 0), [] as [IpAddr; 0]);
        assert_eq!(look(&[admin, silent], 120), [] as [IpAddr; 0]);
        // sshd has closed the other.
        assert_eq!(look(&[admin], 130), [admin.remote]);
        assert_eq!(look(&[], 140), [] as [IpAddr; 0]);
    }

    #[test]
    fn connections_that_follow_each_other_are_no_session() {
        let (mut sessions, began) = (SshSessions::default(), Instant::now());
        for number in 1..40 {
            let open = [session("203.0.113.7", number)];
            let at = began + Duration::from_secs(10 * number);
            assert_eq!(sessions.look(&open, GRACE, at), [] as [IpAddr; 0]);
        }
    }

    #[test]
    fn what_sshd_has_not_accepted_does_not_count_however_long_it_waits() {
        let (mut sessions, began) = (SshSessions::default(), Instant::now());
        let [waits, accepted] = [0, 7].map(|socket| session("203.0.113.7", socket));
        let mut look = |session, seconds| {
            sessions.look(&[session], GRACE, began + Duration::from_secs(seconds))
        };
        assert_eq!(look(waits, 0), [] as [IpAddr; 0]);
        assert_eq!(look(waits, 1_000), [] as [IpAddr; 0]);
        assert_eq!(look(accepted, 1_010), [] as [IpAddr; 0]);
        assert_eq!(look(accepted, 1_140), [accepted.remote]);
    }
}
