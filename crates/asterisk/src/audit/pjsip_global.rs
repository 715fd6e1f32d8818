//! What `pjsip.conf` says for all: `[global]`, ACLs, and the general entries of old guides.

use super::model::Object;
use super::{Findings, Model, Rule, Severity, listed};
use crate::config::Place;

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "pjsip-unauthenticated-options",
        severity: Severity::Low,
        title: "OPTIONS are answered without a password",
        risk: "A scanner learns which endpoints exist: a real one answers 200, a made-up one 401.",
        fix: "; pjsip.conf, the endpoint\nallow_unauthenticated_options=no",
        advice: "Providers that test the line with OPTIONS take a 401 for a sign of life as well.",
        bad: "== pjsip.conf ==\n[301771]\ntype=endpoint\nauth=a\nallow_unauthenticated_options=yes ; <<\n",
        good: "== pjsip.conf ==\n[301771]\ntype=endpoint\nauth=a\nallow_unauthenticated_options=no\n",
        check: |model, found| {
            let hits = switched_on(model, "allow_unauthenticated_options");
            found.add_grouped(hits, |names| {
                format!("allow_unauthenticated_options=yes for {names}")
            });
        },
    },
    Rule {
        id: "pjsip-unidentified-requests",
        severity: Severity::Low,
        title: "Unknown senders are noticed late",
        risk: "Scanners send many requests before the security log names them, so that guards that \
               read it act late.",
        fix: "; pjsip.conf, type=global\nunidentified_request_count=5\n\
              unidentified_request_period=5\nunidentified_request_prune_interval=30",
        advice: "These are Asterisk's defaults: five requests in five seconds from one address that \
                 no endpoint claims.",
        bad: "== pjsip.conf ==\n[global]\ntype=global\nunidentified_request_count=500 ; <<\n",
        good: "== pjsip.conf ==\n[global]\ntype=global\nunidentified_request_count=5\n",
        check: unidentified,
    },
    Rule {
        id: "pjsip-allow-overlap",
        severity: Severity::Low,
        title: "Incomplete numbers get a different answer",
        risk: "A scanner that dials digit by digit learns from 484 which numbers begin with what it \
               has, and so the dialplan.",
        fix: "; pjsip.conf, type=endpoint or its template\nallow_overlap=no",
        advice: "The default is yes. Only phones that send each digit as it is dialled need it.",
        bad: "== pjsip.conf ==\n[301771]\ntype=endpoint\nauth=a\nallow_overlap=yes ; <<\n",
        good: "== pjsip.conf ==\n[301771]\ntype=endpoint\nauth=a\nallow_overlap=no\n",
        check: |model, found| default_on(model, found, "allow_overlap"),
    },
    Rule {
        id: "pjsip-allow-transfer",
        severity: Severity::Info,
        title: "Every caller may transfer calls",
        risk: "Who reaches a phone from outside can have the call transferred to a number that he \
               could not have dialled.",
        fix: "; pjsip.conf, type=endpoint of providers and guests\nallow_transfer=no",
        advice: "The default is yes. Forbid it for providers first.",
        bad: "== pjsip.conf ==\n[301771]\ntype=endpoint\nauth=a\nallow_transfer=yes ; <<\n",
        good: "== pjsip.conf ==\n[301771]\ntype=endpoint\nauth=a\nallow_transfer=no\n",
        check: |model, found| default_on(model, found, "allow_transfer"),
    },
    Rule {
        id: "pjsip-allow-subscribe",
        severity: Severity::Info,
        title: "Subscriptions are accepted",
        risk: "An account may watch who is on the phone; busy-lamp fields need exactly this.",
        fix: "; pjsip.conf, type=endpoint without busy-lamp fields\nallow_subscribe=no",
        advice: "The default is yes.",
        bad: "== pjsip.conf ==\n[301771]\ntype=endpoint\nauth=a\nallow_subscribe=yes ; <<\n",
        good: "== pjsip.conf ==\n[301771]\ntype=endpoint\nauth=a\nallow_subscribe=no\n",
        check: |model, found| default_on(model, found, "allow_subscribe"),
    },
    Rule {
        id: "pjsip-useragent",
        severity: Severity::Info,
        title: "Answers name the software and its version",
        risk: "Scanners sort their finds by User-Agent and come back with what fits the version.",
        fix: "; pjsip.conf\n[global]\ntype=global\nuser_agent=phone",
        advice: "Any other word will do.",
        bad: "== pjsip.conf ==\n[global]\ntype=global\nuser_agent=Asterisk PBX ; <<\n",
        good: "== pjsip.conf ==\n[global]\ntype=global\nuser_agent=phone\n",
        check: useragent,
    },
];

fn unidentified(model: &Model<'_>, found: &mut Findings<'_>) {
    // Asterisk's defaults, and how far from them an entry may be.
    let limits = [
        ("unidentified_request_count", 20),
        ("unidentified_request_prune_interval", 3600),
    ];
    for global in model.objects("global") {
        for (key, most) in limits {
            let Some(variable) = global.section.last(key) else {
                continue;
            };
            let Ok(number) = variable.value.parse::<u64>() else {
                continue;
            };
            if number == 0 || number > most {
                found.add(variable.at, global.name(), format!("{key}={number}"));
            }
        }
    }
}

fn switched_on<'m>(model: &'m Model<'_>, key: &str) -> Vec<(Place, &'m str)> {
    model
        .objects("endpoint")
        .filter(|e| e.is(key, false))
        .map(|e| (e.at(key), e.name()))
        .collect()
}

/// Endpoints with a boolean on that is on by default: one finding for all.
fn default_on(model: &Model<'_>, found: &mut Findings<'_>, key: &str) {
    let on: Vec<&Object> = model
        .objects("endpoint")
        .filter(|e| e.is(key, true))
        .collect();
    let Some(first) = on.first() else { return };
    let names: Vec<&str> = on.iter().map(|e| e.name()).collect();
    found.add(
        first.at(key),
        first.name(),
        format!("{key} is on for {}", listed(&names)),
    );
}

fn useragent(model: &Model<'_>, found: &mut Findings<'_>) {
    let Some(config) = model.config("pjsip.conf") else {
        return;
    };
    let global = model.objects("global").next();
    let value = global.and_then(|g| g.section.last("user_agent"));
    match value {
        Some(v) if !v.value.to_ascii_lowercase().contains("asterisk") => {}
        Some(v) => {
            found.add(v.at, "global", format!("user_agent={}", v.value));
        }
        None => {
            let at = global
                .map(|g| g.section.at)
                .or(config.live().next().map(|s| s.at));
            if let Some(at) = at {
                found.add(at, "global", "user_agent is not set");
            }
        }
    }
}
