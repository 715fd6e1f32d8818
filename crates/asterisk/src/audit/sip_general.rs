//! `[general]` of `sip.conf`: the nine entries that every guide to a safe Asterisk begins with.

use super::edit::says;
use super::{Findings, Model, Rule, Severity};
use crate::config::is_false;

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "sip-alwaysauthreject",
        severity: Severity::High,
        title: "Asterisk tells which accounts exist",
        risk: "A scanner that tries names sees from the answer which ones are real, and then \
               guesses passwords for those only.",
        fix: "; sip.conf, [general]\nalwaysauthreject=yes",
        advice: "With alwaysauthreject=yes a wrong name and a wrong password get the same answer. \
                 It is the default since Asterisk 1.8; written down it also holds on older \
                 systems. No phone depends on it.",
        bad: "== sip.conf ==\n[general]\nalwaysauthreject=no ; <<\n",
        good: "== sip.conf ==\n[general]\nalwaysauthreject=yes\n",
        check: |model, found| {
            switch(
                model,
                found,
                &["alwaysauthreject"],
                true,
                Severity::Info,
                true,
            );
        },
    },
    Rule {
        id: "sip-allowguest",
        severity: Severity::High,
        title: "Callers without an account are let in",
        risk: "Anybody on the internet can send an INVITE without a password and lands in the \
               guests' context; whatever can be dialled there is dialled at your cost.",
        fix: "; sip.conf, [general]\nallowguest=no",
        advice: "Asterisk lets guests in unless allowguest=no is written down. Where a provider \
                 sends calls from addresses that no peer names, add a peer for each of its \
                 addresses first. --apply writes it only where the tree has no provider.",
        bad: "== sip.conf ==\n[general]\nallowguest=yes ; <<\ncontext=public\n",
        good: "== sip.conf ==\n[general]\nallowguest=no\ncontext=public\n",
        check: allowguest,
    },
    Rule {
        id: "sip-allowoverlap",
        severity: Severity::Low,
        title: "Incomplete numbers get a different answer",
        risk: "A scanner that dials digit by digit learns from 484 which numbers begin with what it \
               has, and so the dialplan.",
        fix: "; sip.conf, [general]\nallowoverlap=no",
        advice: "Only phones that send each digit as it is dialled need overlap dialling, which \
                 means almost none.",
        bad: "== sip.conf ==\n[general]\nallowoverlap=yes ; <<\n",
        good: "== sip.conf ==\n[general]\nallowoverlap=no\n",
        check: |model, found| {
            switch(model, found, &["allowoverlap"], false, Severity::Low, true);
        },
    },
    Rule {
        id: "sip-allowtransfer",
        severity: Severity::Low,
        title: "Every caller may transfer calls",
        risk: "Who reaches a phone from outside can have the call transferred to a number that he \
               could not have dialled.",
        fix: "; sip.conf, [general]\nallowtransfer=no\n; and in the accounts that need it\n\
              allowtransfer=yes",
        advice: "Forbid it in general and allow it for the phones whose users transfer calls.",
        bad: "== sip.conf ==\n[general]\nallowtransfer=yes ; <<\n",
        good: "== sip.conf ==\n[general]\nallowtransfer=no\n",
        check: |model, found| {
            switch(
                model,
                found,
                &["allowtransfer"],
                false,
                Severity::Low,
                false,
            );
        },
    },
    Rule {
        id: "sip-allowsubscribe",
        severity: Severity::Info,
        title: "Subscriptions are accepted in general",
        risk: "An account may watch who is on the phone; busy-lamp fields need exactly this.",
        fix: "; sip.conf, [general]\nallowsubscribe=no\n; and in the accounts with busy-lamp \
              fields\nallowsubscribe=yes",
        advice: "Without busy-lamp fields forbid it altogether, otherwise allow it account by \
                 account.",
        bad: "== sip.conf ==\n[general]\nallowsubscribe=yes ; <<\n",
        good: "== sip.conf ==\n[general]\nallowsubscribe=no\n",
        check: |model, found| {
            switch(
                model,
                found,
                &["allowsubscribe"],
                false,
                Severity::Info,
                false,
            );
        },
    },
    Rule {
        id: "sip-defaultexpiry",
        severity: Severity::Low,
        title: "Registrations last long",
        risk: "A registration that an attacker placed keeps drawing the account's calls until it \
               lapses.",
        fix: "; sip.conf, [general]\ndefaultexpiry=300",
        advice: "Five minutes keep a binding in the router open and end a stolen registration \
                 soon. An hour is the most that makes sense. Asterisk's own default is two minutes.",
        bad: "== sip.conf ==\n[general]\ndefaultexpiry=86400 ; <<\n",
        good: "== sip.conf ==\n[general]\ndefaultexpiry=300\n",
        check: defaultexpiry,
    },
    Rule {
        id: "sip-directmedia",
        severity: Severity::Low,
        title: "Media may flow past Asterisk",
        risk: "A caller learns the phones' own addresses from the re-INVITE, and calls can no longer \
               be ended, limited or recorded by Asterisk.",
        fix: "; sip.conf, [general]\ndirectmedia=no",
        advice: "canreinvite is the old name of the same setting. Keep it on only between phones \
                 of one network that must save the server's bandwidth.",
        bad: "== sip.conf ==\n[general]\ncanreinvite=yes ; <<\n",
        good: "== sip.conf ==\n[general]\ncanreinvite=no\n",
        check: |model, found| {
            switch(
                model,
                found,
                &["directmedia", "canreinvite"],
                false,
                Severity::Low,
                true,
            );
        },
    },
    Rule {
        id: "sip-qualify",
        severity: Severity::Info,
        title: "Nobody asks whether phones are still there",
        risk: "A phone that is gone, or whose address somebody else has now, stays in the list as \
               reachable, and routers forget the way to it.",
        fix: "; sip.conf, [general]\nqualify=yes",
        advice: "qualify=yes asks each phone once a minute. Give slow links a time of their own: \
                 qualify=5000.",
        bad: "== sip.conf ==\n[general]\nqualify=no ; <<\n",
        good: "== sip.conf ==\n[general]\nqualify=yes\n",
        check: |model, found| {
            let Some(s) = model.setting("sip.conf", "general", &["qualify"]) else {
                return;
            };
            if loaded(model) && s.value().is_none_or(is_false) {
                found.add(s.at, "general", s.shown());
            }
        },
    },
    Rule {
        id: "sip-nat",
        severity: Severity::Low,
        title: "Answers go where the message says, not where it came from",
        risk: "A forged Via or SDP sends Asterisk's answers and media to a third party, and phones \
               behind a router fail.",
        fix: "; sip.conf, [general]\nnat=force_rport,comedia",
        advice: "force_rport answers to the address the message came from, comedia sends media \
                 where media comes from. nat=yes is the old word for both.",
        bad: "== sip.conf ==\n[general]\nnat=no ; <<\n",
        good: "== sip.conf ==\n[general]\nnat=force_rport,comedia\n",
        check: nat,
    },
];

/// chan_sip isn't switched off in `modules.conf`.
pub(super) fn loaded(model: &Model<'_>) -> bool {
    model.module_loads("chan_sip.so")
}

/// A boolean that should be `wanted`. `unset`: how bad it is where it isn't written down. `safe`:
/// the change locks nobody out.
fn switch(
    model: &Model<'_>,
    found: &mut Findings<'_>,
    keys: &[&'static str],
    wanted: bool,
    unset: Severity,
    safe: bool,
) {
    let Some(s) = model.setting("sip.conf", "general", keys) else {
        return;
    };
    if !loaded(model) || says(s.value(), wanted) {
        return;
    }
    let worst = found.rule.severity;
    let finding = found.add(s.at, "general", s.shown());
    finding.grade(if s.variable.is_some() { worst } else { unset });
    if safe {
        let new = if wanted { "yes" } else { "no" };
        finding.change(model.set(model.section("sip.conf", "general"), s.variable, s.key, new));
    }
}

fn allowguest(model: &Model<'_>, found: &mut Findings<'_>) {
    let Some(s) = model.setting("sip.conf", "general", &["allowguest"]) else {
        return;
    };
    let Some((context, _)) = model.guest_context().filter(|_| loaded(model)) else {
        return;
    };
    let open = model
        .routes
        .reached(&model.plan, &context)
        .into_iter()
        .any(|e| !e.hurdle);
    let (severity, reach) = match open {
        true => (Severity::High, "from which an outside line can be dialled"),
        false => (Severity::Medium, "where they reach what it holds"),
    };
    let what = format!("{}: guests land in context {context}, {reach}", s.shown());
    let no_provider = !model.accounts.iter().any(|a| a.trunk)
        && model
            .section("sip.conf", "general")
            .is_none_or(|g| g.last("register").is_none());
    let finding = found.add(s.at, "general", what).grade(severity);
    if no_provider {
        let general = model.section("sip.conf", "general");
        finding.change(model.set(general, s.variable, "allowguest", "no"));
    }
}

fn defaultexpiry(model: &Model<'_>, found: &mut Findings<'_>) {
    const HOUR: u64 = 3600;
    let keys = ["defaultexpiry", "defaultexpirey"];
    let Some(s) = model.setting("sip.conf", "general", &keys) else {
        return;
    };
    if !loaded(model) {
        return;
    }
    let general = model.section("sip.conf", "general");
    match s.value().map(str::parse::<u64>) {
        Some(Ok(seconds)) if seconds <= HOUR => {}
        Some(_) => {
            let change = model.set(general, s.variable, "defaultexpiry", "300");
            found.add(s.at, "general", s.shown()).change(change);
        }
        None => {
            let what = "defaultexpiry is not set and 120 seconds long";
            found.add(s.at, "general", what).grade(Severity::Info);
        }
    }
}

fn nat(model: &Model<'_>, found: &mut Findings<'_>) {
    let Some(s) = model.setting("sip.conf", "general", &["nat"]) else {
        return;
    };
    if !loaded(model) {
        return;
    }
    let value = s.value().unwrap_or("auto_force_rport").to_ascii_lowercase();
    let both = value.contains("force_rport") && value.contains("comedia");
    if both || value == "yes" || value == "always" {
        return;
    }
    let partly = value.contains("force_rport") || value.contains("comedia");
    let severity = if partly {
        Severity::Info
    } else {
        Severity::Low
    };
    found.add(s.at, "general", s.shown()).grade(severity);
}
