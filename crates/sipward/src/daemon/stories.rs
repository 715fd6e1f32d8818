//! What the daemon tells of others: what they did, how far they are, who logged in.

use ipnet::IpNet;
use sipward_engine::{Alert, Ban, Evidence, Suspicion, Trusted, escape};
use sipward_shield::ReadBans;

use super::{
    guard::Guard,
    listing::{Allowlist, dropped, enforced_view},
};
use crate::{
    clock::{self, timestamp},
    control::api::{
        AccountView, AlertView, BanView, EvidenceView, SuspectView, TrustedView, WhyView,
    },
    exit::Failure,
    ledger::Target,
};

/// Alerts that one answer tells of.
const MOST: u32 = 1_000;
/// Bans that one answer tells of.
const MOST_BANS: usize = 1_000;
/// Bans of which the kernel is asked one by one. What more have dropped is read with what all have, in a
/// thread beside the loop.
const FEW: usize = 32;

/// What is told of somebody; what many bans have dropped is still to be read.
pub struct Story<View> {
    view: View,
    unread: Option<ReadBans>,
}

/// What tells of bans.
pub trait TellsBans {
    /// Those that it tells of.
    fn bans_mut(&mut self) -> &mut [BanView];
}

impl TellsBans for WhyView {
    fn bans_mut(&mut self) -> &mut [BanView] {
        &mut self.bans
    }
}

impl TellsBans for AccountView {
    fn bans_mut(&mut self) -> &mut [BanView] {
        &mut self.bans
    }
}

impl<View: TellsBans> Story<View> {
    /// Whether nothing is left to be read.
    #[must_use]
    pub const fn is_read(&self) -> bool {
        self.unread.is_none()
    }

    /// Reads what the kernel knows of many bans. To be called where nobody waits.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn read(mut self) -> Result<View, Failure> {
        if let Some(read) = self.unread {
            let enforced = read()?;
            for ban in self.view.bans_mut() {
                let target = Target {
                    prefix: ban.prefix,
                    port: ban.port,
                    scope: ban.scope.into(),
                };
                ban.dropped_packets = dropped(&enforced, &target);
            }
        }
        Ok(self.view)
    }
}

impl Guard {
    /// `why ADDRESS`
    ///
    /// # Errors
    /// The kernel or the ledger cannot be asked.
    pub fn why(&self, prefix: &IpNet) -> Result<Story<WhyView>, Failure> {
        let now = clock::now();
        let allowlist = self.allowlist()?;
        let touching = self.engine.bans_touching(*prefix);
        let (bans, more_bans) = first(touching.filter(|ban| ban.is_in_force(now)));
        let (bans, unread) = self.tell_bans(&bans, &allowlist)?;
        let alerts = self.ledger.alerts(prefix, MOST)?;
        let logins = self.logins(|trusted| prefix.contains(&trusted.address));
        let view = WhyView {
            address: crate::address::show(prefix),
            // Those around it come first.
            banned: bans.iter().any(|ban| ban.prefix.contains(prefix)),
            bans,
            more_bans,
            mode: self.config.mode,
            allowed: allowlist.around(prefix).is_some(),
            trusted: !logins.is_empty(),
            logins,
            suspicions: self
                .engine
                .suspects(now)
                .into_iter()
                .filter(|suspicion| prefix.contains(&suspicion.address))
                .map(suspect_view)
                .collect(),
            protected: self
                .engine
                .protected()
                .conflict(prefix)
                .map(|why| why.to_string()),
            alerts: alerts.into_iter().map(alert_view).collect(),
        };
        Ok(Story { view, unread })
    }

    /// `why ACCOUNT`
    ///
    /// # Errors
    /// The kernel or the ledger cannot be asked.
    pub fn why_account(&self, account: &str) -> Result<Story<AccountView>, Failure> {
        let now = clock::now();
        // As the engine shows it.
        let account = escape(account.as_bytes()).to_string();
        let allowlist = self.allowlist()?;
        let of_account =
            |ban: &&Ban| ban.is_in_force(now) && ban.account.as_ref() == Some(&account);
        let (bans, more_bans) = first(self.engine.bans().filter(of_account));
        let (bans, unread) = self.tell_bans(&bans, &allowlist)?;
        let alerts = self.ledger.alerts_of_account(&account, MOST)?;
        let view = AccountView {
            banned: !bans.is_empty(),
            bans,
            more_bans,
            mode: self.config().mode,
            logins: self.logins(|trusted| trusted.username.as_ref() == Some(&account)),
            alerts: alerts.into_iter().map(alert_view).collect(),
            account,
        };
        Ok(Story { view, unread })
    }

    /// `suspects`
    #[must_use]
    pub fn suspects(&self) -> Vec<SuspectView> {
        let suspicions = self.engine.suspects(clock::now()).into_iter();
        // Of whom only a log told is not on the way to a ban.
        let counted = suspicions.filter(|suspicion| suspicion.count > 0);
        counted.map(suspect_view).collect()
    }

    /// `trusted`
    #[must_use]
    pub fn trusted(&self) -> Vec<TrustedView> {
        self.logins(|_| true)
    }

    /// These bans as they are told, with what few of them have dropped. What reads that of many.
    fn tell_bans(
        &self,
        bans: &[&Ban],
        allowlist: &Allowlist,
    ) -> Result<(Vec<BanView>, Option<ReadBans>), Failure> {
        if bans.len() > FEW {
            let uncounted = bans.iter().map(|ban| enforced_view(ban, 0, allowlist));
            return Ok((uncounted.collect(), Some(self.shield.read_bans()?)));
        }
        let counted = bans.iter().map(|ban| self.view(ban, allowlist));
        Ok((counted.collect::<Result<_, _>>()?, None))
    }

    fn logins(&self, of: impl Fn(&Trusted) -> bool) -> Vec<TrustedView> {
        let trusted = self.engine.trusted(clock::now());
        trusted
            .filter(|trusted| of(trusted))
            .map(trusted_view)
            .collect()
    }
}

/// As many as are told, and whether there are more.
fn first<'a>(mut bans: impl Iterator<Item = &'a Ban>) -> (Vec<&'a Ban>, bool) {
    let told = bans.by_ref().take(MOST_BANS).collect();
    (told, bans.next().is_some())
}

fn suspect_view(suspicion: Suspicion) -> SuspectView {
    SuspectView {
        address: suspicion.address,
        detector: suspicion.detector.name().to_owned(),
        count: suspicion.count,
        fires_at: suspicion.fires_at,
        last: timestamp(suspicion.last),
        evidence: evidence_views(suspicion.evidence),
    }
}

pub(super) fn trusted_view(trusted: &Trusted) -> TrustedView {
    let agent = trusted.user_agent.as_deref();
    TrustedView {
        address: trusted.address,
        by: trusted.by.name().to_owned(),
        username: trusted.username.clone(),
        user_agent: agent.map(|agent| escape(agent).to_string()),
        since: timestamp(trusted.since),
        last: timestamp(trusted.last),
        until: timestamp(trusted.until),
    }
}

pub(super) fn alert_view(alert: Alert) -> AlertView {
    AlertView {
        at: timestamp(alert.at),
        source: alert.source,
        detector: alert.detector.name().to_owned(),
        proven: alert.proven,
        summary: alert.summary,
        spared: alert.spared,
        evidence: evidence_views(alert.evidence),
    }
}

fn evidence_views(evidence: Vec<Evidence>) -> Vec<EvidenceView> {
    let view = |evidence: Evidence| EvidenceView {
        at: timestamp(evidence.at),
        summary: evidence.summary,
    };
    evidence.into_iter().map(view).collect()
}
