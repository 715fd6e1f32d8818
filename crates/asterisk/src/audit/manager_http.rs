//! The doors for programs: `manager.conf`, `http.conf`, `ari.conf`.

use super::edit::says;
use super::model::everybody;
use super::secrets::{Credential, report_weak};
use super::{Findings, Model, Rule, Severity};
use crate::config::{Config, Section, is_true};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "manager-bind",
        severity: Severity::Medium,
        title: "The manager interface listens on every address",
        risk: "Passwords for it are guessed from the internet; with one, an attacker places calls \
               and runs commands.",
        fix: "; manager.conf, [general]\nbindaddr=127.0.0.1",
        advice: "Programs on other machines come in better through an SSH or VPN tunnel.",
        bad: "== manager.conf ==\n[general]\nenabled=yes\nbindaddr=0.0.0.0 ; <<\n",
        good: "== manager.conf ==\n[general]\nenabled=yes\nbindaddr=127.0.0.1\n",
        check: |model, found| bind(model, found, "manager.conf", true),
    },
    Rule {
        id: "manager-no-permit",
        severity: Severity::Medium,
        title: "A manager account usable from every address",
        risk: "Its password works from anywhere in the world.",
        fix: "; manager.conf, the account\ndeny=0.0.0.0/0.0.0.0\n\
              permit=127.0.0.1/255.255.255.255",
        advice: "Even behind bindaddr=127.0.0.1 it costs nothing and holds when somebody changes \
                 the address.",
        bad: "== manager.conf ==\n[general]\nenabled=yes\nbindaddr=0.0.0.0\n[monitor] ; <<\n\
              secret=q7Kd0xVt3mZr9wHb5c2L\nread=call\n",
        good: "== manager.conf ==\n[general]\nenabled=yes\nbindaddr=0.0.0.0\n[monitor]\n\
               secret=q7Kd0xVt3mZr9wHb5c2L\nread=call\ndeny=0.0.0.0/0.0.0.0\n\
               permit=127.0.0.1/255.255.255.255\n",
        check: no_permit,
    },
    Rule {
        id: "manager-secret",
        severity: Severity::High,
        title: "A manager password that is guessed",
        risk: "With it an attacker places calls at your cost and, with the write class system or \
               command, runs commands on the server.",
        fix: "; manager.conf, the account: make one with\n;   openssl rand -base64 24\n\
              secret=<24 random characters>",
        advice: "Change the programs that use it together with the file.",
        bad: "== manager.conf ==\n[general]\nenabled=yes\n[monitor]\nsecret=mysecret ; <<\n",
        good: "== manager.conf ==\n[general]\nenabled=yes\n[monitor]\n\
               secret=q7Kd0xVt3mZr9wHb5c2L\n",
        check: manager_secret,
    },
    Rule {
        id: "manager-write",
        severity: Severity::Low,
        title: "A manager account that may do everything",
        risk: "Whoever gets its password, or takes over the program that has it, runs commands on \
               the server.",
        fix: "; manager.conf, the account: only what the program needs\nwrite=call",
        advice: "system, command, config and originate each lead to commands on the server. A \
                 program that only watches needs no write class at all.",
        bad: "== manager.conf ==\n[general]\nenabled=yes\n[monitor]\n\
              secret=q7Kd0xVt3mZr9wHb5c2L\nwrite=all ; <<\n",
        good: "== manager.conf ==\n[general]\nenabled=yes\n[monitor]\n\
               secret=q7Kd0xVt3mZr9wHb5c2L\nwrite=call\n",
        check: write,
    },
    Rule {
        id: "manager-clear",
        severity: Severity::Low,
        title: "The manager interface in the clear",
        risk: "Whoever sits on the way reads the password.",
        fix: "; manager.conf, [general]\ntlsenable=yes\ntlsbindaddr=0.0.0.0:5039\n\
              tlscertfile=/etc/asterisk/keys/asterisk.pem\nbindaddr=127.0.0.1",
        advice: "Only where programs on other machines must come in without a tunnel.",
        bad: "== manager.conf ==\n[general]\nenabled=yes\nbindaddr=0.0.0.0 ; <<\n",
        good: "== manager.conf ==\n[general]\nenabled=yes\nbindaddr=127.0.0.1\n",
        check: |model, found| clear(model, found, "manager.conf"),
    },
    Rule {
        id: "http-bind",
        severity: Severity::Medium,
        title: "The HTTP server listens on every address",
        risk: "ARI, the manager interface over HTTP and phone provisioning are open to guessing \
               from the internet.",
        fix: "; http.conf, [general]\nbindaddr=127.0.0.1",
        advice: "Browsers and phones on other machines come in through a reverse proxy that speaks \
                 TLS and limits addresses.",
        bad: "== http.conf ==\n[general]\nenabled=yes\nbindaddr=0.0.0.0 ; <<\n",
        good: "== http.conf ==\n[general]\nenabled=yes\nbindaddr=127.0.0.1\n",
        check: |model, found| bind(model, found, "http.conf", false),
    },
    Rule {
        id: "http-clear",
        severity: Severity::Low,
        title: "HTTP without TLS",
        risk: "Whoever sits on the way reads the passwords of ARI and the manager interface.",
        fix: "; http.conf, [general]\ntlsenable=yes\ntlsbindaddr=0.0.0.0:8089\n\
              tlscertfile=/etc/asterisk/keys/asterisk.pem\nbindaddr=127.0.0.1",
        advice: "Keep plain HTTP on 127.0.0.1 and offer TLS outside.",
        bad: "== http.conf ==\n[general]\nenabled=yes\nbindaddr=0.0.0.0 ; <<\n",
        good: "== http.conf ==\n[general]\nenabled=yes\nbindaddr=127.0.0.1\n",
        check: |model, found| clear(model, found, "http.conf"),
    },
    Rule {
        id: "manager-web",
        severity: Severity::Low,
        title: "The manager interface over HTTP",
        risk: "A web page in an administrator's browser can be made to speak to it.",
        fix: "; manager.conf, [general]\nwebenabled=no",
        advice: "Switch it on only for a program that needs it.",
        bad: "== manager.conf ==\n[general]\nenabled=yes\nbindaddr=127.0.0.1\nwebenabled=yes ; <<\n",
        good: "== manager.conf ==\n[general]\nenabled=yes\nbindaddr=127.0.0.1\nwebenabled=no\n",
        check: |model, found| {
            let Some(s) = model.setting("manager.conf", "general", &["webenabled"]) else {
                return;
            };
            if on(model, "manager.conf", false) && says(s.value(), true) {
                found.add(s.at, "general", s.shown());
            }
        },
    },
    Rule {
        id: "ari-secret",
        severity: Severity::High,
        title: "An ARI password that is guessed",
        risk: "With it an attacker controls every channel and places calls at your cost.",
        fix: "; ari.conf, the user: make one with\n;   openssl rand -base64 24\n\
              password=<24 random characters>",
        advice: "password_format=crypt keeps it out of the file: ari mkpasswd makes the text.",
        bad: "== ari.conf ==\n[general]\nenabled=yes\n[panel]\ntype=user\npassword=peekaboo ; <<\n",
        good: "== ari.conf ==\n[general]\nenabled=yes\n[panel]\ntype=user\n\
               password=q7Kd0xVt3mZr9wHb5c2L\n",
        check: ari_secret,
    },
    Rule {
        id: "ari-origins",
        severity: Severity::Medium,
        title: "ARI answers to every web page",
        risk: "Any web page that a user with access opens may control Asterisk in his name.",
        fix: "; ari.conf, [general]: the pages that use it\nallowed_origins=https://panel.example.net",
        advice: "Leave it empty where no browser speaks to ARI.",
        bad: "== ari.conf ==\n[general]\nenabled=yes\nallowed_origins=* ; <<\n",
        good: "== ari.conf ==\n[general]\nenabled=yes\nallowed_origins=https://panel.example.net\n",
        check: |model, found| {
            let Some(s) = model.setting("ari.conf", "general", &["allowed_origins"]) else {
                return;
            };
            let enabled = model.setting("ari.conf", "general", &["enabled"]);
            let off = enabled.is_some_and(|e| says(e.value(), false));
            if !off
                && s.value()
                    .is_some_and(|v| v.split(',').any(|o| o.trim() == "*"))
            {
                found.add(s.at, "general", s.shown());
            }
        },
    },
];

/// Enabled, as each of the files has its default.
fn on(model: &Model<'_>, file: &str, default: bool) -> bool {
    let Some(general) = model.section(file, "general") else {
        return false;
    };
    general
        .last("enabled")
        .map_or(default, |v| is_true(&v.value))
}

fn local(address: &str) -> bool {
    ["127.", "localhost", "::1", "[::1]"]
        .iter()
        .any(|p| address.starts_with(p))
}

/// `tls_only`: the plain port is silent already.
fn bind(model: &Model<'_>, found: &mut Findings<'_>, file: &'static str, unset_is_all: bool) {
    let Some(s) = model.setting(file, "general", &["bindaddr"]) else {
        return;
    };
    if !on(model, file, false) {
        return;
    }
    match s.value() {
        Some(address) if local(address) => {}
        Some(address) if ["0.0.0.0", "::", "[::]"].contains(&address) => {
            found.add(s.at, "general", s.shown());
        }
        Some(_) => {
            found.add(s.at, "general", s.shown()).grade(Severity::Low);
        }
        None if unset_is_all => {
            found.add(s.at, "general", "bindaddr is not set and so 0.0.0.0");
        }
        // Asterisk's HTTP server stays silent without an address.
        None => {}
    }
}

fn clear(model: &Model<'_>, found: &mut Findings<'_>, file: &'static str) {
    let Some(s) = model.setting(file, "general", &["bindaddr"]) else {
        return;
    };
    let outside = s.value().map_or(file == "manager.conf", |a| !local(a));
    if on(model, file, false) && outside {
        found.add(s.at, "general", format!("{} and without TLS", s.shown()));
    }
}

/// The accounts of `manager.conf`.
fn managers<'m>(model: &'m Model<'_>) -> impl Iterator<Item = &'m Section> {
    let config = model
        .config("manager.conf")
        .filter(|_| on(model, "manager.conf", false));
    let live = config.into_iter().flat_map(Config::live);
    live.filter(|s| !s.name.eq_ignore_ascii_case("general"))
}

fn no_permit(model: &Model<'_>, found: &mut Findings<'_>) {
    let address = model.setting("manager.conf", "general", &["bindaddr"]);
    let inside = address.and_then(|s| s.value()).is_some_and(local);
    for section in managers(model) {
        let denied = section.all("deny").next().is_some() || section.last("acl").is_some();
        let lifted = section.all("permit").find(|v| everybody(&v.value));
        if denied && lifted.is_none() {
            continue;
        }
        let at = lifted.map_or(section.at, |v| v.at);
        let severity = if inside {
            Severity::Low
        } else {
            Severity::Medium
        };
        let what = format!(
            "Manager account {} has no deny= and permit= that limit it",
            section.name
        );
        found.add(at, &section.name, what).grade(severity);
    }
}

/// Judges the passwords of sections under a key.
fn weak(found: &mut Findings<'_>, what: &str, key: &str, sections: &[&Section]) {
    let words: Vec<Vec<String>> = sections
        .iter()
        .map(|s| {
            vec![
                s.name.to_ascii_lowercase(),
                "asterisk".to_owned(),
                "manager".to_owned(),
            ]
        })
        .collect();
    let credentials: Vec<Credential<'_>> = sections
        .iter()
        .zip(&words)
        .filter_map(|(s, words)| {
            Some(Credential {
                owner: format!("{what} {}", s.name),
                name: &s.name,
                secret: s.last(key).filter(|v| !v.value.is_empty())?,
                words,
                fix: None,
            })
        })
        .collect();
    report_weak(found, &credentials);
}

fn manager_secret(model: &Model<'_>, found: &mut Findings<'_>) {
    let sections: Vec<&Section> = managers(model).collect();
    for section in sections
        .iter()
        .filter(|s| s.last("secret").is_none_or(|v| v.value.is_empty()))
    {
        let what = format!("Manager account {} has no password", section.name);
        found.add(section.at, &section.name, what);
    }
    weak(found, "manager account", "secret", &sections);
}

fn write(model: &Model<'_>, found: &mut Findings<'_>) {
    let powerful = ["all", "system", "command", "config", "originate"];
    for section in managers(model) {
        let Some(variable) = section.last("write") else {
            continue;
        };
        let classes = variable.value.to_ascii_lowercase();
        let hit: Vec<&str> = classes
            .split(',')
            .map(str::trim)
            .filter(|c| powerful.contains(c))
            .collect();
        if !hit.is_empty() {
            let what = format!(
                "Manager account {} may {}",
                section.name,
                super::listed(&hit)
            );
            found.add(variable.at, &section.name, what);
        }
    }
}

fn ari_secret(model: &Model<'_>, found: &mut Findings<'_>) {
    let Some(config) = model.config("ari.conf") else {
        return;
    };
    if model
        .setting("ari.conf", "general", &["enabled"])
        .is_some_and(|s| says(s.value(), false))
    {
        return;
    }
    let users: Vec<&Section> = config
        .live()
        .filter(|s| {
            s.last("type")
                .is_some_and(|v| v.value.eq_ignore_ascii_case("user"))
        })
        .filter(|s| {
            !s.last("password_format")
                .is_some_and(|v| v.value.eq_ignore_ascii_case("crypt"))
        })
        .collect();
    weak(found, "ARI user", "password", &users);
}
