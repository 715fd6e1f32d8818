//! What the daemon tells of others: what they did, how far they are, who logged in.

use ipnet::IpNet;
use sipward_engine::{Alert, Evidence, Suspicion, Trusted, escape, overlap};

use super::guard::Guard;
use crate::{
    clock::{self, timestamp},
    control::api::{
        AccountView, AlertView, BanView, EvidenceView, SuspectView, TrustedView, WhyView,
    },
    exit::Failure,
};

/// Alerts that one answer tells of.
const MOST: u32 = 1_000;

impl Guard {
    /// `why ADDRESS`
    ///
    /// # Errors
    /// The kernel or the ledger cannot be asked.
    pub fn why(&self, prefix: &IpNet) -> Result<WhyView, Failure> {
        let now = clock::now();
        let allowlist = self.allowlist()?;
        let concerning = self
            .engine
            .bans()
            .filter(|ban| overlap(&ban.prefix, prefix));
        let bans: Vec<BanView> = concerning
            .filter(|ban| ban.is_in_force(now))
            .map(|ban| self.view(ban, &allowlist))
            .collect::<Result<_, _>>()?;
        let alerts = self.ledger.alerts(prefix, MOST)?;
        let logins = self.logins(|trusted| prefix.contains(&trusted.address));
        Ok(WhyView {
            address: crate::address::show(prefix),
            banned: bans.iter().any(|ban| ban.prefix.contains(prefix)),
            bans,
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
        })
    }

    /// `why ACCOUNT`
    ///
    /// # Errors
    /// The kernel or the ledger cannot be asked.
    pub fn why_account(&self, account: &str) -> Result<AccountView, Failure> {
        let now = clock::now();
        // As the engine shows it.
        let account = escape(account.as_bytes()).to_string();
        let allowlist = self.allowlist()?;
        let bans: Vec<BanView> = self
            .engine
            .bans()
            .filter(|ban| ban.is_in_force(now) && ban.account.as_ref() == Some(&account))
            .map(|ban| self.view(ban, &allowlist))
            .collect::<Result<_, _>>()?;
        let alerts = self.ledger.alerts_of_account(&account, MOST)?;
        Ok(AccountView {
            banned: !bans.is_empty(),
            bans,
            mode: self.config().mode,
            logins: self.logins(|trusted| trusted.username.as_ref() == Some(&account)),
            alerts: alerts.into_iter().map(alert_view).collect(),
            account,
        })
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

    fn logins(&self, of: impl Fn(&Trusted) -> bool) -> Vec<TrustedView> {
        let trusted = self.engine.trusted(clock::now());
        trusted
            .filter(|trusted| of(trusted))
            .map(trusted_view)
            .collect()
    }
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
