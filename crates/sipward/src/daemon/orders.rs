//! What an administrator may order. Nothing is acknowledged before the ledger has it and the
//! kernel enforces it.

use std::{collections::BTreeSet, time::Duration};

use ipnet::IpNet;
use sipward_engine::{Ban, Lifted, Origin, Time, escape, escape_at_most, overlap};

use super::guard::Guard;
use crate::{
    address, clock,
    control::api::{
        BanReply, BanRequest, Hole, ImportReply, ImportRequest, LiftReply, SkippedBan, UnbanRequest,
    },
    exit::Failure,
};

/// Bytes of a reason at most.
const LONGEST_REASON: usize = 500;

impl Guard {
    /// Bans by hand. Without `force`, who has just connected by SSH loses SIP only, whatever scope was
    /// asked for: it may be he who orders this.
    ///
    /// # Errors
    /// A protected address without `force`, then nothing is banned; the ledger cannot be written;
    /// the kernel's table is full.
    pub fn ban(&mut self, request: &BanRequest) -> Result<BanReply, Failure> {
        self.carry_out();
        self.look_at_machine();
        if !request.force {
            self.refuse_protected(&request.prefixes)?;
        }
        let now = clock::now();
        let reason = request.reason.as_deref().unwrap_or("banned by hand");
        if reason.len() > LONGEST_REASON {
            return Err(Failure::input(format!(
                "the reason is longer than {LONGEST_REASON} bytes"
            )));
        }
        let scope = request.scope.unwrap_or(self.config.bans.scope).into();
        let mut reply = BanReply::default();
        let mut asked = Vec::with_capacity(request.prefixes.len());
        for prefix in &request.prefixes {
            let mut ban = Ban {
                prefix: *prefix,
                port: None,
                scope,
                since: now,
                until: request
                    .seconds
                    .map(|seconds| now + Duration::from_secs(seconds)),
                detector: None,
                reason: escape(reason.as_bytes()).to_string(),
                proven: false,
                signature: None,
                account: None,
                origin: Origin::Manual,
            };
            if !request.force && self.engine.narrow(&mut ban) {
                reply.sip_only.push(*prefix);
            }
            // Protected addresses were looked for in all of the request before.
            self.engine
                .impose(ban.clone(), true, now)
                .map_err(|protected| Failure::input(protected.to_string()))?;
            asked.push(ban);
        }
        for ban in &asked {
            if self.engine.ban(ban.prefix, ban.port, ban.scope) == Some(ban) {
                reply.banned.push(ban.prefix);
            } else {
                reply.already.push(ban.prefix);
            }
        }
        self.spare_no_longer(&request.prefixes);
        self.carry_out_order()?;
        let banned = &request.prefixes;
        let covered = |allowed: &IpNet| banned.iter().any(|prefix| overlap(prefix, allowed));
        reply.allowed = self.shield.allowed()?.into_iter().filter(covered).collect();
        Ok(reply)
    }

    /// Takes over bans that another tool had; whom nobody may ban is left out and told.
    ///
    /// # Errors
    /// The ledger cannot be written; the kernel's table is full.
    pub fn import(&mut self, request: &ImportRequest) -> Result<ImportReply, Failure> {
        self.carry_out();
        self.look_at_machine_lately();
        let now = clock::now();
        let prefixes: Vec<IpNet> = request.bans.iter().map(|ban| ban.prefix).collect();
        let guarded = sipward_feed::guard(&prefixes, &self.never(now)?);
        let spared: BTreeSet<IpNet> = guarded.protected.into_iter().collect();
        let mut reply = ImportReply::default();
        for imported in &request.bans {
            let protected = self.engine.protected().conflict(&imported.prefix);
            if protected.is_none() && spared.contains(&imported.prefix.trunc()) {
                reply.skipped.push(SkippedBan {
                    prefix: imported.prefix,
                    why: "a private network, allowed, or logged in lately".to_owned(),
                });
                continue;
            }
            let mut ban = Ban {
                prefix: imported.prefix,
                port: None,
                scope: imported.scope.unwrap_or(self.config.bans.scope).into(),
                since: now,
                until: imported.until.map(clock::time),
                detector: None,
                reason: escape_at_most(imported.reason.as_bytes(), LONGEST_REASON).to_string(),
                proven: false,
                signature: None,
                account: None,
                origin: Origin::Import,
            };
            let narrowed = self.engine.narrow(&mut ban);
            match self.engine.impose(ban, false, now) {
                Ok(true) => {
                    reply.banned += 1;
                    reply.sip_only.extend(narrowed.then_some(imported.prefix));
                }
                Ok(false) => reply.already += 1,
                Err(protected) => reply.skipped.push(SkippedBan {
                    prefix: imported.prefix,
                    why: protected.protection.words().to_owned(),
                }),
            }
        }
        let time = self.carry_out_order()?;
        reply.kernel_us = microseconds(time.kernel);
        reply.ledger_us = microseconds(time.ledger);
        tracing::info!("{} imported bans", reply.banned);
        Ok(reply)
    }

    /// Ends bans by hand.
    ///
    /// # Errors
    /// The ledger cannot be written; the kernel refused.
    pub fn unban(&mut self, request: &UnbanRequest) -> Result<LiftReply, Failure> {
        self.carry_out();
        let now = clock::now();
        let mut reply = LiftReply::default();
        match request {
            UnbanRequest::All => {
                let lifted = self.engine.lift_all(now);
                let bans = lifted.bans.iter();
                reply.listed = bans.filter(|ban| ban.origin == Origin::Feed).count();
                reply.add(None, lifted);
            }
            UnbanRequest::Account(account) => {
                reply.add(None, self.engine.lift_account(account, now));
            }
            UnbanRequest::Prefixes(prefixes) => {
                for prefix in prefixes {
                    let lifted = self.engine.lift(*prefix, now);
                    reply.spared.extend(self.spare_lifted(prefix, &lifted, now));
                    reply.add(Some(*prefix), lifted);
                }
            }
        }
        self.carry_out_order()?;
        Ok(reply)
    }

    /// Whom lists of others never ban: the allowed and the trusted.
    pub(super) fn never(&self, now: Time) -> Result<Vec<IpNet>, Failure> {
        let mut never: Vec<IpNet> = self.shield.allowed()?;
        let trusted = self.engine.trusted(now);
        never.extend(trusted.map(|trusted| IpNet::from(trusted.address)));
        Ok(never)
    }

    fn refuse_protected(&self, prefixes: &[IpNet]) -> Result<(), Failure> {
        let refused = |prefix: &IpNet| {
            let protected = self.engine.protected().conflict(prefix)?;
            let prefix = address::show(prefix);
            Some(Failure::input(format!(
                "{prefix} is not banned: {protected}; --force bans it all the same"
            )))
        };
        prefixes.iter().find_map(refused).map_or(Ok(()), Err)
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl LiftReply {
    pub(super) fn add(&mut self, asked: Option<IpNet>, lifted: Lifted) {
        if lifted.is_empty() {
            self.not_banned.extend(asked);
        }
        self.lifted
            .extend(lifted.bans.into_iter().map(|ban| ban.prefix));
        if let Some(hole) = asked {
            let holes = lifted.holes_in.into_iter().map(|ban| Hole {
                hole,
                around: ban.prefix,
            });
            self.holes.extend(holes);
        }
    }
}
