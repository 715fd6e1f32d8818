//! `sip.conf` beyond the nine entries.

use super::sip_general::loaded;
use super::{Findings, Model, Rule, Severity, edit::says};
use crate::config::is_true;

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "sip-autocreatepeer",
        severity: Severity::High,
        title: "Unknown phones become accounts",
        risk: "Anybody can register under any name without a password and place calls.",
        fix: "; sip.conf, [general]\nautocreatepeer=no",
        advice: "Write an account for each phone instead. The setting is meant for proxies on a \
                 closed network.",
        bad: "== sip.conf ==\n[general]\nautocreatepeer=yes ; <<\n",
        good: "== sip.conf ==\n[general]\nautocreatepeer=no\n",
        check: |model, found| {
            let Some(s) = model.setting("sip.conf", "general", &["autocreatepeer"]) else {
                return;
            };
            if loaded(model) && s.value().is_some_and(|v| !says(Some(v), false)) {
                found.add(s.at, "general", s.shown());
            }
        },
    },
    Rule {
        id: "sip-promiscredir",
        severity: Severity::Medium,
        title: "Redirections lead to any address",
        risk: "A phone's 302 answer makes Asterisk call an address of the attacker's choice, past \
               the dialplan.",
        fix: "; sip.conf, [general]\npromiscredir=no",
        advice: "With promiscredir=no a redirection is looked up in the dialplan like a dialled \
                 number.",
        bad: "== sip.conf ==\n[general]\npromiscredir=yes ; <<\n",
        good: "== sip.conf ==\n[general]\npromiscredir=no\n",
        check: |model, found| {
            let Some(s) = model.setting("sip.conf", "general", &["promiscredir"]) else {
                return;
            };
            if loaded(model) && says(s.value(), true) {
                let general = model.section("sip.conf", "general");
                let change = model.set(general, s.variable, "promiscredir", "no");
                found.add(s.at, "general", s.shown()).change(change);
            }
        },
    },
    Rule {
        id: "sip-second-general",
        severity: Severity::Medium,
        title: "A second [general] is not read",
        risk: "What it says is not in force: a protection written there protects nothing.",
        fix: "; the header of the second section\n[general](+)",
        advice: "Asterisk asks the first [general] only. Write (+) behind later ones to add to it.",
        bad: "== sip.conf ==\n[general]\nudpbindaddr=0.0.0.0\n[general] ; <<\nallowguest=no\n",
        good: "== sip.conf ==\n[general]\nudpbindaddr=0.0.0.0\n[general](+)\nallowguest=no\n",
        check: |model, found| {
            for file in [
                "sip.conf",
                "iax.conf",
                "manager.conf",
                "http.conf",
                "rtp.conf",
            ] {
                let Some(config) = model.config(file) else {
                    continue;
                };
                for section in config.named("general").filter(|s| !s.template).skip(1) {
                    let what = format!("{file} has another [general] before this one");
                    found.add(section.at, "general", what);
                }
            }
        },
    },
    Rule {
        id: "sip-contact-acl",
        severity: Severity::Low,
        title: "A registration may point anywhere",
        risk: "Who has one password can register an address inside your network, or a victim's, as \
               the place to send calls to.",
        fix: "; sip.conf, [general]: the networks phones live in\ncontactdeny=0.0.0.0/0.0.0.0\n\
              contactpermit=192.168.0.0/255.255.0.0",
        advice: "contactdeny and contactpermit limit the addresses that a phone may register. \
                 Phones at changing addresses need a wider contactpermit.",
        bad: "== sip.conf ==\n[general]\nudpbindaddr=0.0.0.0\n[301771]\ntype=friend\nhost=dynamic\n",
        good: "== sip.conf ==\n[general]\ncontactdeny=0.0.0.0/0.0.0.0\n\
               contactpermit=192.168.0.0/255.255.0.0\n[301771]\ntype=friend\nhost=dynamic\n",
        check: |model, found| {
            let keys = ["contactdeny", "contactpermit", "contactacl"];
            let Some(s) = model.setting("sip.conf", "general", &keys) else {
                return;
            };
            let phones = model.accounts.iter().any(|a| a.dynamic);
            if loaded(model) && phones && s.variable.is_none() {
                found.add(s.at, "general", "contactdeny and contactpermit are not set");
            }
        },
    },
    Rule {
        id: "sip-useragent",
        severity: Severity::Info,
        title: "Answers name the software and its version",
        risk: "Scanners sort their finds by User-Agent and come back with what fits the version.",
        fix: "; sip.conf, [general]\nuseragent=phone\nsdpsession=-",
        advice: "Any other word will do. It hides nothing from somebody who looks closely, but a \
                 mass scanner does not.",
        bad: "== sip.conf ==\n[general]\nuseragent=Asterisk PBX ; <<\n",
        good: "== sip.conf ==\n[general]\nuseragent=phone\n",
        check: |model, found| {
            let Some(s) = model.setting("sip.conf", "general", &["useragent"]) else {
                return;
            };
            let names_it = |v: &str| {
                let v = v.to_ascii_lowercase();
                ["asterisk", "pbx", "freepbx"].iter().any(|w| v.contains(w))
            };
            if loaded(model) && s.value().is_none_or(names_it) {
                found.add(s.at, "general", s.shown());
            }
        },
    },
    Rule {
        id: "sip-srtp",
        severity: Severity::Info,
        title: "Calls are not encrypted",
        risk: "Whoever sits between a phone and Asterisk listens in.",
        fix: "; sip.conf, [general] or the account, together with TLS\nencryption=yes",
        advice: "encryption=yes offers SRTP. It is worth something only together with \
                 transport=tls, because the keys travel in the signalling.",
        bad: "== sip.conf ==\n[general]\nencryption=no ; <<\n",
        good: "== sip.conf ==\n[general]\nencryption=yes\n",
        check: |model, found| {
            let Some(s) = model.setting("sip.conf", "general", &["encryption"]) else {
                return;
            };
            if loaded(model) && !s.value().is_some_and(is_true) && !each_account_encrypts(model) {
                found.add(s.at, "general", s.shown());
            }
        },
    },
    Rule {
        id: "sip-module-off",
        severity: Severity::Info,
        title: "A configuration that is not in force",
        risk: "Nothing: what it says is not in force while modules.conf keeps its driver from being \
               loaded.",
        fix: "; nothing to do; remove the file if it is no longer needed",
        advice: "The rules for that file are silent until the driver is loaded.",
        bad: "== modules.conf ==\n[modules]\nautoload=yes\nnoload => chan_sip.so\n\
              == sip.conf ==\n[general] ; <<\nallowguest=yes\n",
        good: "== modules.conf ==\n[modules]\nautoload=yes\n\
               == sip.conf ==\n[general]\nallowguest=no\n",
        check: module_off,
    },
];

/// Each phone has `encryption=yes` of its own.
fn each_account_encrypts(model: &Model<'_>) -> bool {
    let Some(config) = model.config("sip.conf") else {
        return false;
    };
    let mut phones = config
        .live()
        .filter(|s| s.first("type").is_some())
        .peekable();
    phones.peek().is_some()
        && phones.all(|s| s.last("encryption").is_some_and(|v| is_true(&v.value)))
}

fn module_off(model: &Model<'_>, found: &mut Findings<'_>) {
    let drivers = [
        ("sip.conf", "chan_sip.so"),
        ("pjsip.conf", "chan_pjsip.so"),
        ("iax.conf", "chan_iax2.so"),
    ];
    for (file, module) in drivers {
        let first = model.config(file).and_then(|c| c.live().next());
        if let Some(section) = first.filter(|_| !model.module_loads(module)) {
            let what = format!("{file} is there, but modules.conf does not load {module}");
            found.add(section.at, &section.name, what);
        }
    }
}
