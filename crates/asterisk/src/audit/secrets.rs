//! Passwords: of accounts, of the manager interface, of mailboxes. No message shows any part of one.

use std::collections::HashMap;

use super::strength::{Strength, guessable_digits, judge};
use super::{Findings, Model, Rule, Severity};
use crate::config::{Place, Variable};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "secret-weak",
        severity: Severity::High,
        title: "A password that is guessed",
        risk: "A password guesser gets in, then places calls at your cost under this account.",
        fix: "; a password that only machines type: make one with\n;   openssl rand -base64 24\n\
              secret=<24 random characters>",
        advice: "Scanners try thousands of passwords per second against chan_sip. A password that \
                 only phones store can be long and random. Change the phone together with the \
                 file; --apply never touches a password.",
        bad: "== sip.conf ==\n[301771]\ntype=friend\nhost=dynamic\nsecret=summer2024 ; <<\n",
        good: "== sip.conf ==\n[301771]\ntype=friend\nhost=dynamic\nsecret=q7Kd0xVt3mZr9wHb5c2L\n",
        check: weak,
    },
    Rule {
        id: "secret-is-name",
        severity: Severity::High,
        title: "The password is the name",
        risk: "It is the first password that every scanner tries: the account is as good as open.",
        fix: "; a password that only machines type: make one with\n;   openssl rand -base64 24\n\
              secret=<24 random characters>",
        advice: "Neither the extension nor the user's name nor the realm may be in it.",
        bad: "== sip.conf ==\n[301771]\ntype=friend\nhost=dynamic\nsecret=301771 ; <<\n",
        good: "== sip.conf ==\n[301771]\ntype=friend\nhost=dynamic\nsecret=q7Kd0xVt3mZr9wHb5c2L\n",
        check: is_name,
    },
    Rule {
        id: "secret-shared",
        severity: Severity::Medium,
        title: "One password for several accounts",
        risk: "Who gets one phone's password has all of them.",
        fix: "; each account a password of its own: make one with\n;   openssl rand -base64 24",
        advice: "Guessers try a password that worked on every other account at once.",
        bad: "== sip.conf ==\n[301771]\ntype=friend\nhost=dynamic\nsecret=q7Kd0xVt3mZr9wHb5c2L ; <<\n\
              [301773]\ntype=friend\nhost=dynamic\nsecret=q7Kd0xVt3mZr9wHb5c2L\n",
        good: "== sip.conf ==\n[301771]\ntype=friend\nhost=dynamic\nsecret=q7Kd0xVt3mZr9wHb5c2L\n\
               [301773]\ntype=friend\nhost=dynamic\nsecret=w4Gn8sYj1fPq6uXa0e7T\n",
        check: shared,
    },
    Rule {
        id: "secret-on-template",
        severity: Severity::Medium,
        title: "A template hands out its password",
        risk: "Every account made from the template has the same password, now and in future.",
        fix: "; remove secret= from the template, and in each account\nsecret=<24 random characters>",
        advice: "Templates are for settings that are the same for all; passwords are not.",
        bad: "== sip.conf ==\n[phone](!)\ntype=friend\nhost=dynamic\n\
              secret=q7Kd0xVt3mZr9wHb5c2L ; <<\n[301771](phone)\n",
        good: "== sip.conf ==\n[phone](!)\ntype=friend\nhost=dynamic\n[301771](phone)\n\
               secret=q7Kd0xVt3mZr9wHb5c2L\n",
        check: on_template,
    },
    Rule {
        id: "secret-missing",
        severity: Severity::High,
        title: "An account without a password",
        risk: "Anybody registers as this phone and places calls at your cost.",
        fix: "; a password that only machines type: make one with\n;   openssl rand -base64 24\n\
              secret=<24 random characters>",
        advice: "An account that registers from any address needs a password. A server at a fixed \
                 address does not: give it host=, not dynamic.",
        bad: "== sip.conf ==\n[301771] ; <<\ntype=friend\nhost=dynamic\n",
        good: "== sip.conf ==\n[301771]\ntype=friend\nhost=dynamic\nsecret=q7Kd0xVt3mZr9wHb5c2L\n",
        check: missing,
    },
    Rule {
        id: "voicemail-pin",
        severity: Severity::Medium,
        title: "A mailbox with a PIN that is guessed",
        risk: "An attacker listens to messages, and where call-back is on dials out through the \
               mailbox.",
        fix: "; voicemail.conf: six digits or more, neither the mailbox nor a pattern\n\
              <mailbox> => <PIN>,<name>",
        advice: "A PIN with a leading - cannot be changed by its user. Asterisk's minpassword= sets \
                 a least length for PINs that users choose.",
        bad: "== voicemail.conf ==\n[default]\n301771 => 1234,Anna Example ; <<\n",
        good: "== voicemail.conf ==\n[default]\n301771 => 804417,Anna Example\n",
        check: voicemail,
    },
];

/// A password and whose it is.
pub(super) struct Credential<'a> {
    pub(super) owner: String,
    pub(super) name: &'a str,
    pub(super) secret: &'a Variable,
    pub(super) words: &'a [String],
    pub(super) fix: Option<&'static str>,
}

/// The passwords of accounts.
fn credentials<'a>(model: &'a Model<'_>) -> Vec<Credential<'a>> {
    model
        .accounts
        .iter()
        .flat_map(|a| {
            let fix = (a.driver == super::model::Driver::Pjsip).then_some(
                "; pjsip.conf, the endpoint's auth: make one with\n;   openssl rand -base64 24\n\
                 password=<24 random characters>",
            );
            a.secrets.iter().map(move |secret| Credential {
                owner: a.shown(),
                name: &a.name,
                secret,
                words: &a.words,
                fix,
            })
        })
        .collect()
}

/// Contained in the password, give or take case, or the password in it.
fn made_of(secret: &str, words: &[String]) -> bool {
    let secret = secret.to_ascii_lowercase();
    words
        .iter()
        .any(|w| secret == *w || (w.len() > 2 && secret.contains(w) && secret.len() < w.len() + 6))
}

/// Reports the weak ones among credentials, one finding for each line of a file.
pub(super) fn report_weak(found: &mut Findings<'_>, credentials: &[Credential<'_>]) {
    let judged: Vec<(&str, &[String])> = credentials
        .iter()
        .map(|c| (&*c.secret.value, c.words))
        .collect();
    let verdicts = judge(&judged);
    let mut seen: HashMap<Place, ()> = HashMap::new();
    for (c, verdict) in credentials.iter().zip(verdicts) {
        let (severity, what) = match verdict {
            Strength::Weak => (Severity::High, "is found within 100 million guesses"),
            Strength::Fair => (
                Severity::Medium,
                "is found within 10 thousand million guesses",
            ),
            Strength::Strong => continue,
        };
        if made_of(&c.secret.value, c.words) || seen.insert(c.secret.at, ()).is_some() {
            continue;
        }
        let what = format!("The password of {} {what}", c.owner);
        let finding = found.add(c.secret.at, c.name, what).grade(severity);
        if let Some(fix) = c.fix {
            finding.mend(fix);
        }
    }
}

fn weak(model: &Model<'_>, found: &mut Findings<'_>) {
    report_weak(found, &credentials(model));
}

fn is_name(model: &Model<'_>, found: &mut Findings<'_>) {
    for c in credentials(model)
        .iter()
        .filter(|c| made_of(&c.secret.value, c.words))
    {
        let what = format!(
            "The password of {} is made of its name, number or realm",
            c.owner
        );
        let finding = found.add(c.secret.at, c.name, what);
        if let Some(fix) = c.fix {
            finding.mend(fix);
        }
    }
}

fn shared(model: &Model<'_>, found: &mut Findings<'_>) {
    let credentials = credentials(model);
    let mut by_secret: HashMap<&str, Vec<&Credential<'_>>> = HashMap::new();
    for c in &credentials {
        by_secret.entry(&c.secret.value).or_default().push(c);
    }
    let mut groups: Vec<Vec<&Credential<'_>>> = by_secret.into_values().collect();
    groups.sort_by_key(|g| g.first().map(|c| c.secret.at));
    for group in groups {
        let mut names: Vec<&str> = group.iter().map(|c| c.name).collect();
        names.sort_unstable();
        names.dedup();
        // A template's password is reported there; the same account on two drivers is one phone.
        let (Some(first), true) = (group.first(), names.len() > 1) else {
            continue;
        };
        if group.iter().all(|c| c.secret.at == first.secret.at) {
            continue;
        }
        let what = format!("Accounts {} have the same password", super::listed(&names));
        found.add(first.secret.at, first.name, what);
    }
}

fn on_template(model: &Model<'_>, found: &mut Findings<'_>) {
    let keys = ["secret", "md5secret", "password", "inbound_auth/password"];
    for file in [
        "sip.conf",
        "iax.conf",
        "users.conf",
        "pjsip.conf",
        "pjsip_wizard.conf",
    ] {
        let Some(config) = model.config(file) else {
            continue;
        };
        for section in config.sections.iter().filter(|s| s.template) {
            let own = section
                .variables
                .iter()
                .rev()
                .find(|v| !v.inherited && keys.iter().any(|k| v.name.eq_ignore_ascii_case(k)));
            let Some(variable) = own.filter(|v| !v.value.is_empty()) else {
                continue;
            };
            // A template that one account uses hands nothing out. Heirs are those whose copy of the
            // line is in force.
            let heirs: Vec<&str> = config
                .live()
                .filter(|s| {
                    s.last(&variable.name)
                        .is_some_and(|v| v.inherited && v.at == variable.at)
                })
                .map(|s| &*s.name)
                .collect();
            if heirs.is_empty() {
                continue;
            }
            let what = format!(
                "Template {} has a password that {} inherits",
                section.name,
                super::listed(&heirs)
            );
            found.add(variable.at, &section.name, what);
        }
    }
}

fn missing(model: &Model<'_>, found: &mut Findings<'_>) {
    let open = model.accounts.iter().filter(|a| {
        a.dynamic && a.secrets.is_empty() && !a.hashed && a.driver != super::model::Driver::Pjsip
    });
    let hits: Vec<(Place, &str, Severity)> = open
        .map(|a| {
            (
                a.at,
                &*a.name,
                if a.restricted {
                    Severity::Medium
                } else {
                    Severity::High
                },
            )
        })
        .collect();
    for (at, name, severity) in hits {
        found
            .add(at, name, format!("Account {name} has no password"))
            .grade(severity);
    }
}

fn voicemail(model: &Model<'_>, found: &mut Findings<'_>) {
    let Some(config) = model.config("voicemail.conf") else {
        return;
    };
    let reserved = ["general", "zonemessages"];
    let sections = config
        .live()
        .filter(|s| !reserved.iter().any(|r| s.name.eq_ignore_ascii_case(r)));
    for section in sections {
        for mailbox in &section.variables {
            let pin = mailbox.value.split(',').next().unwrap_or_default().trim();
            let pin = pin.trim_start_matches('-');
            let digits =
                !mailbox.name.is_empty() && mailbox.name.bytes().all(|b| b.is_ascii_digit());
            if !digits || pin.contains('/') {
                continue;
            }
            let why = match pin {
                "" => "has no PIN",
                pin if pin.contains(&*mailbox.name) || mailbox.name.contains(pin) => {
                    "has a PIN made of its number"
                }
                pin if pin.len() < 4 => "has a PIN of less than four digits",
                pin if guessable_digits(pin) => "has a PIN that is tried early",
                _ => continue,
            };
            found.add(
                mailbox.at,
                &section.name,
                format!("Mailbox {} {why}", mailbox.name),
            );
        }
    }
}
