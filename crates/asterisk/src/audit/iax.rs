//! `iax.conf`.

use super::edit::says;
use super::model::{Driver, everybody};
use super::{Findings, Model, Rule, Severity};
use crate::config::{Config, is_true};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "iax-calltoken",
        severity: Severity::Medium,
        title: "Calls without a call token",
        risk: "Forged addresses use up Asterisk's call numbers, until nobody gets through, and turn \
               it against a third party.",
        fix: "; iax.conf, [general] or the account\nrequirecalltoken=yes",
        advice: "Only IAX2 software from before September 2009 needs no. Set it to auto for a \
                 single account if you must.",
        bad: "== iax.conf ==\n[general]\nrequirecalltoken=no ; <<\n",
        good: "== iax.conf ==\n[general]\nrequirecalltoken=yes\n",
        check: calltoken,
    },
    Rule {
        id: "iax-calltokenoptional",
        severity: Severity::Medium,
        title: "A wide range of addresses needs no call token",
        risk: "Everybody in the range may forge addresses and use up Asterisk's call numbers.",
        fix: "; iax.conf, [general]: single old servers only\n\
              calltokenoptional=192.0.2.7/255.255.255.255",
        advice: "Remove the line once the last old server is gone.",
        bad: "== iax.conf ==\n[general]\ncalltokenoptional=0.0.0.0/0.0.0.0 ; <<\n",
        good: "== iax.conf ==\n[general]\ncalltokenoptional=192.0.2.7/255.255.255.255\n",
        check: |model, found| {
            let Some(general) = model.section("iax.conf", "general") else {
                return;
            };
            for v in general
                .all("calltokenoptional")
                .filter(|v| everybody(&v.value))
            {
                if model.module_loads("chan_iax2.so") {
                    found.add(v.at, "general", format!("{}={}", v.name, v.value));
                }
            }
        },
    },
    Rule {
        id: "iax-auth",
        severity: Severity::Medium,
        title: "Passwords travel in the clear",
        risk: "Whoever sits on the way reads the password itself.",
        fix: "; iax.conf, the account\nauth=md5",
        advice: "rsa with keys on both sides is better still.",
        bad: "== iax.conf ==\n[branch]\ntype=friend\nhost=dynamic\nsecret=q7Kd0xVt3mZr9wHb5c2L\n\
              auth=plaintext ; <<\n",
        good: "== iax.conf ==\n[branch]\ntype=friend\nhost=dynamic\nsecret=q7Kd0xVt3mZr9wHb5c2L\n\
               auth=md5\n",
        check: auth,
    },
    Rule {
        id: "iax-guest",
        severity: Severity::High,
        title: "IAX2 callers without a password",
        risk: "Anybody on the internet places calls into the account's context.",
        fix: "; iax.conf, the account: a password, or remove the section\n\
              secret=<24 random characters>",
        advice: "A user named guest or without secret= takes calls from everybody. Few scanners \
                 try IAX2; that is no protection.",
        bad: "== iax.conf ==\n[guest] ; <<\ntype=user\ncontext=public\n",
        good: "== iax.conf ==\n[branch]\ntype=user\ncontext=public\nsecret=q7Kd0xVt3mZr9wHb5c2L\n",
        check: guest,
    },
    Rule {
        id: "iax-encryption",
        severity: Severity::Info,
        title: "IAX2 is not encrypted",
        risk: "Whoever sits between the servers listens in.",
        fix: "; iax.conf, [general] or the account\nencryption=yes\nforceencryption=yes",
        advice: "Both ends need it; it works with auth=md5.",
        bad: "== iax.conf ==\n[general]\nencryption=no ; <<\n[branch]\ntype=friend\nhost=192.0.2.7\n",
        good: "== iax.conf ==\n[general]\nencryption=yes\n[branch]\ntype=friend\nhost=192.0.2.7\n",
        check: encryption,
    },
];

fn sections<'m>(model: &'m Model<'_>) -> impl Iterator<Item = &'m crate::config::Section> {
    let config = model
        .config("iax.conf")
        .filter(|_| model.module_loads("chan_iax2.so"));
    config.into_iter().flat_map(Config::live)
}

fn calltoken(model: &Model<'_>, found: &mut Findings<'_>) {
    let hits = sections(model).filter_map(|s| {
        let variable = s.last("requirecalltoken")?;
        says(Some(&variable.value), false).then_some((variable.at, &*s.name))
    });
    let hits: Vec<_> = hits.collect();
    found.add_grouped(hits, |names| format!("requirecalltoken=no for {names}"));
}

fn auth(model: &Model<'_>, found: &mut Findings<'_>) {
    let hits = sections(model).filter_map(|s| {
        let variable = s.last("auth")?;
        let clear = variable.value.to_ascii_lowercase().contains("plaintext");
        clear.then_some((variable.at, &*s.name))
    });
    let hits: Vec<_> = hits.collect();
    found.add_grouped(hits, |names| format!("auth=plaintext for {names}"));
}

fn guest(model: &Model<'_>, found: &mut Findings<'_>) {
    // One that registers without a password is another rule's business.
    let users = model
        .accounts
        .iter()
        .filter(|a| a.driver == Driver::Iax && !a.dynamic);
    for account in users {
        let (Some(at), true) = (account.open, model.module_loads("chan_iax2.so")) else {
            continue;
        };
        let context = &account.context.0;
        let outside = model
            .routes
            .reached(&model.plan, context)
            .iter()
            .any(|e| !e.hurdle);
        let severity = if outside {
            Severity::High
        } else {
            Severity::Medium
        };
        let what = format!("{} takes calls into context {context}", account.shown());
        found.add(at, &account.name, what).grade(severity);
    }
}

fn encryption(model: &Model<'_>, found: &mut Findings<'_>) {
    if !model.accounts.iter().any(|a| a.driver == Driver::Iax) {
        return;
    }
    let Some(s) = model.setting("iax.conf", "general", &["encryption"]) else {
        return;
    };
    let clear = s.value().is_none_or(|v| !is_true(v) && !v.contains("aes"));
    if clear && model.module_loads("chan_iax2.so") {
        found.add(s.at, "general", s.shown());
    }
}
