//! Endpoints, their authentication, their addresses of record.

use ipnet::IpNet;

use super::model::{Driver, everybody};
use super::{Findings, Model, Rule, Severity, listed};
use crate::config::is_true;

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "pjsip-anonymous",
        severity: Severity::High,
        title: "An endpoint for anonymous callers",
        risk: "Anybody on the internet can send an INVITE without a password and lands in its \
               context.",
        fix: "; pjsip.conf: remove the endpoint [anonymous], and for a provider write\n\
              [provider]\ntype=identify\nendpoint=provider\nmatch=<the provider's addresses>",
        advice: "The endpoint takes every call that no other endpoint claims. Where incoming calls \
                 depend on it, name the provider's addresses in an identify section instead.",
        bad: "== pjsip.conf ==\n[anonymous] ; <<\ntype=endpoint\ncontext=public\n",
        good: "== pjsip.conf ==\n[provider]\ntype=endpoint\ncontext=public\naors=provider\n\
               [provider]\ntype=aor\ncontact=sip:192.0.2.7\n\
               [provider]\ntype=identify\nendpoint=provider\nmatch=192.0.2.7\n",
        check: anonymous,
    },
    Rule {
        id: "pjsip-no-auth",
        severity: Severity::High,
        title: "An endpoint without authentication",
        risk: "Anybody who uses its name registers and places calls at your cost: no password is \
               asked for.",
        fix: "; pjsip.conf\n[301771]\ntype=endpoint\nauth=301771\n[301771]\ntype=auth\n\
              auth_type=userpass\nusername=301771\npassword=<24 random characters>",
        advice: "Only endpoints that an identify section ties to a fixed address can do without.",
        bad: "== pjsip.conf ==\n[301771] ; <<\ntype=endpoint\naors=301771\n[301771]\ntype=aor\n\
              max_contacts=1\n",
        good: "== pjsip.conf ==\n[301771]\ntype=endpoint\naors=301771\nauth=301771\n[301771]\n\
               type=aor\nmax_contacts=1\n[301771]\ntype=auth\nauth_type=userpass\n\
               username=301771\npassword=q7Kd0xVt3mZr9wHb5c2L\n",
        check: no_auth,
    },
    Rule {
        id: "pjsip-auth-unknown",
        severity: Severity::Medium,
        title: "An endpoint that names no existing authentication",
        risk: "The endpoint does not work as written, and whoever mends it in a hurry removes the \
               password.",
        fix: "; pjsip.conf: a section of this name\n[301771]\ntype=auth\nauth_type=userpass\n\
              username=301771\npassword=<24 random characters>",
        advice: "auth= names a section with type=auth. Names differ by case.",
        bad: "== pjsip.conf ==\n[301771]\ntype=endpoint\naors=301771\nauth=301771-auth ; <<\n\
              [301771]\ntype=aor\nmax_contacts=1\n",
        good: "== pjsip.conf ==\n[301771]\ntype=endpoint\naors=301771\nauth=301771\n[301771]\n\
               type=aor\nmax_contacts=1\n[301771]\ntype=auth\nauth_type=userpass\n\
               username=301771\npassword=q7Kd0xVt3mZr9wHb5c2L\n",
        check: auth_unknown,
    },
    Rule {
        id: "pjsip-identify-wide",
        severity: Severity::High,
        title: "Callers identified by a wide range of addresses",
        risk: "Everybody in that range is taken for the endpoint without a password.",
        fix: "; pjsip.conf, type=identify: single addresses\nmatch=192.0.2.7",
        advice: "Providers publish the addresses they call from. A range of more than 256 \
                 addresses usually holds other people's machines as well.",
        bad: "== pjsip.conf ==\n[provider]\ntype=endpoint\naors=provider\n[provider]\ntype=aor\n\
              contact=sip:192.0.2.7\n[provider-in]\ntype=identify\nendpoint=provider\n\
              match=192.0.0.0/8 ; <<\n",
        good: "== pjsip.conf ==\n[provider]\ntype=endpoint\naors=provider\n[provider]\ntype=aor\n\
               contact=sip:192.0.2.7\n[provider-in]\ntype=identify\nendpoint=provider\n\
               match=192.0.2.0/29\n",
        check: identify_wide,
    },
    Rule {
        id: "pjsip-direct-media",
        severity: Severity::Low,
        title: "Media may flow past Asterisk",
        risk: "A caller learns the phones' own addresses from the re-INVITE, and calls can no longer \
               be ended, limited or recorded by Asterisk.",
        fix: "; pjsip.conf, type=endpoint or its template\ndirect_media=no",
        advice: "Asterisk's default is yes. Keep it only between phones of one network that must \
                 save the server's bandwidth.",
        bad: "== pjsip.conf ==\n[301771]\ntype=endpoint\ndirect_media=yes ; <<\nauth=a\n",
        good: "== pjsip.conf ==\n[301771]\ntype=endpoint\ndirect_media=no\nauth=a\n",
        check: direct_media,
    },
    Rule {
        id: "pjsip-rtp-symmetric",
        severity: Severity::Info,
        title: "Media goes where the message says",
        risk: "Forged SDP sends Asterisk's media to a third party, and phones behind a router hear \
               nothing.",
        fix: "; pjsip.conf, type=endpoint or its template\nrtp_symmetric=yes",
        advice: "chan_sip calls it comedia. It is needed for every phone behind a router.",
        bad: "== pjsip.conf ==\n[301771]\ntype=endpoint\nrtp_symmetric=no ; <<\naors=301771\n[301771]\ntype=aor\nmax_contacts=1\n",
        good: "== pjsip.conf ==\n[301771]\ntype=endpoint\nrtp_symmetric=yes\naors=301771\n[301771]\ntype=aor\nmax_contacts=1\n",
        check: |model, found| phones_without(model, found, "rtp_symmetric"),
    },
    Rule {
        id: "pjsip-rewrite-contact",
        severity: Severity::Info,
        title: "Calls go to the address that the phone claims",
        risk: "A registration can point at any address, and phones behind a router are not reached.",
        fix: "; pjsip.conf, type=endpoint or its template\nrewrite_contact=yes",
        advice: "With rewrite_contact=yes the address that the registration came from counts. \
                 Leave it off for providers.",
        bad: "== pjsip.conf ==\n[301771]\ntype=endpoint\nrewrite_contact=no ; <<\naors=301771\n[301771]\ntype=aor\nmax_contacts=1\n",
        good: "== pjsip.conf ==\n[301771]\ntype=endpoint\nrewrite_contact=yes\naors=301771\n[301771]\ntype=aor\nmax_contacts=1\n",
        check: |model, found| phones_without(model, found, "rewrite_contact"),
    },
    Rule {
        id: "pjsip-qualify",
        severity: Severity::Info,
        title: "Nobody asks whether phones are still there",
        risk: "A phone that is gone, or whose address somebody else has now, stays in the list as \
               reachable.",
        fix: "; pjsip.conf, type=aor or its template\nqualify_frequency=60",
        advice: "Once a minute is enough to keep a router's way open as well.",
        bad: "== pjsip.conf ==\n[301771]\ntype=aor\nmax_contacts=1\nqualify_frequency=0 ; <<\n",
        good: "== pjsip.conf ==\n[301771]\ntype=aor\nmax_contacts=1\nqualify_frequency=60\n",
        check: qualify,
    },
    Rule {
        id: "pjsip-max-contacts",
        severity: Severity::Low,
        title: "Many devices on one account",
        risk: "An attacker with the password registers beside the owner, who notices nothing.",
        fix: "; pjsip.conf, type=aor\nmax_contacts=1\nremove_existing=yes",
        advice: "As many as the person has devices, seldom more than three.",
        bad: "== pjsip.conf ==\n[301771]\ntype=aor\nmax_contacts=100 ; <<\nqualify_frequency=60\n",
        good: "== pjsip.conf ==\n[301771]\ntype=aor\nmax_contacts=2\nqualify_frequency=60\n",
        check: max_contacts,
    },
    Rule {
        id: "pjsip-srtp",
        severity: Severity::Info,
        title: "Calls are not encrypted",
        risk: "Whoever sits between a phone and Asterisk listens in.",
        fix: "; pjsip.conf, type=endpoint or its template, together with TLS\n\
              media_encryption=sdes",
        advice: "Use it together with a TLS transport: the keys travel in the signalling.",
        bad: "== pjsip.conf ==\n[301771]\ntype=endpoint\nmedia_encryption=no ; <<\nauth=a\n",
        good: "== pjsip.conf ==\n[301771]\ntype=endpoint\nmedia_encryption=sdes\nauth=a\n",
        check: srtp,
    },
];

fn anonymous(model: &Model<'_>, found: &mut Findings<'_>) {
    for account in &model.accounts {
        if account.driver != Driver::Pjsip || !account.name.starts_with("anonymous") {
            continue;
        }
        let context = &account.context.0;
        let open = model
            .routes
            .reached(&model.plan, context)
            .iter()
            .any(|e| !e.hurdle);
        let severity = if open {
            Severity::High
        } else {
            Severity::Medium
        };
        let what = format!(
            "Endpoint {} takes calls into context {context}",
            account.name
        );
        found.add(account.at, &account.name, what).grade(severity);
    }
}

fn no_auth(model: &Model<'_>, found: &mut Findings<'_>) {
    let open = model.accounts.iter().filter(|a| {
        a.driver == Driver::Pjsip && a.open.is_some() && !a.name.starts_with("anonymous")
    });
    for account in open {
        // Without a contact that can register and without an identify section it is found by the
        // name in From only: still anybody.
        let severity = if account.restricted {
            Severity::Medium
        } else {
            Severity::High
        };
        let what = format!("Endpoint {} has no auth=", account.name);
        found.add(account.at, &account.name, what).grade(severity);
    }
}

fn auth_unknown(model: &Model<'_>, found: &mut Findings<'_>) {
    let known: std::collections::HashSet<&str> = model.objects("auth").map(|o| o.name()).collect();
    let mut hits = Vec::new();
    for endpoint in model.objects("endpoint").filter(|e| !e.wizard) {
        for key in ["auth", "outbound_auth"] {
            if endpoint
                .names(key)
                .iter()
                .any(|n| !known.contains(n.as_str()))
            {
                hits.push((endpoint.at(key), endpoint.name()));
            }
        }
    }
    found.add_grouped(hits, |names| {
        format!("{names}: there is no section of that name with type=auth")
    });
}

fn identify_wide(model: &Model<'_>, found: &mut Findings<'_>) {
    for identify in model.objects("identify") {
        for variable in identify.section.all("match") {
            for part in variable.value.split(',').map(str::trim) {
                let Some((bits, hosts)) = host_bits(part) else {
                    continue;
                };
                if hosts <= 8 || bits == 128 && hosts <= 64 {
                    continue;
                }
                let severity = match everybody(part) || hosts > bits / 2 {
                    true => Severity::High,
                    false => Severity::Medium,
                };
                let what = format!("match={part} covers 2^{hosts} addresses");
                found
                    .add(variable.at, identify.name(), what)
                    .grade(severity);
            }
        }
    }
}

/// The address's length and how many of its bits a network leaves open. Netmasks with dots are
/// Asterisk's older way to write them.
fn host_bits(text: &str) -> Option<(u32, u32)> {
    if let Ok(net) = text.parse::<IpNet>() {
        let bits = u32::from(net.max_prefix_len());
        return Some((bits, bits - u32::from(net.prefix_len())));
    }
    let mask: std::net::Ipv4Addr = text.split_once('/')?.1.parse().ok()?;
    Some((32, u32::from(mask).count_zeros()))
}

fn direct_media(model: &Model<'_>, found: &mut Findings<'_>) {
    let endpoints = model
        .objects("endpoint")
        .filter(|e| e.is("direct_media", true));
    let mut unset = Vec::new();
    for endpoint in endpoints {
        let Some(variable) = endpoint.section.last("direct_media") else {
            unset.push(endpoint);
            continue;
        };
        let what = format!("{}: direct_media={}", endpoint.name(), variable.value);
        let change = match endpoint.wizard {
            true => None,
            false => model.set(
                Some(&endpoint.section),
                Some(variable),
                "direct_media",
                "no",
            ),
        };
        found.add(variable.at, endpoint.name(), what).change(change);
    }
    if let Some(first) = unset.first() {
        let names: Vec<&str> = unset.iter().map(|e| e.name()).collect();
        let what = format!("direct_media is not set for {}", listed(&names));
        found.add(first.section.at, first.name(), what);
    }
}

/// Endpoints whose phones register and lack a boolean that is off by default.
fn phones_without(model: &Model<'_>, found: &mut Findings<'_>, key: &str) {
    let phones: std::collections::HashSet<&str> = model
        .accounts
        .iter()
        .filter(|a| a.driver == Driver::Pjsip && a.dynamic)
        .map(|a| &*a.name)
        .collect();
    let without: Vec<_> = model
        .objects("endpoint")
        .filter(|e| phones.contains(e.name()) && !e.is(key, false))
        .collect();
    let Some(first) = without.first() else { return };
    let names: Vec<&str> = without.iter().map(|e| e.name()).collect();
    found.add(
        first.at(key),
        first.name(),
        format!("{key} is not on for {}", listed(&names)),
    );
}

fn qualify(model: &Model<'_>, found: &mut Findings<'_>) {
    let number = |v: Option<&str>| v.and_then(|v| v.parse::<u32>().ok()).unwrap_or(0);
    let silent: Vec<_> = model
        .objects("aor")
        .filter(|a| {
            number(a.value("max_contacts")) > 0 && number(a.value("qualify_frequency")) == 0
        })
        .collect();
    let Some(first) = silent.first() else { return };
    let names: Vec<&str> = silent.iter().map(|a| a.name()).collect();
    let what = format!("qualify_frequency is not set for {}", listed(&names));
    found.add(first.at("qualify_frequency"), first.name(), what);
}

fn max_contacts(model: &Model<'_>, found: &mut Findings<'_>) {
    const MANY: u32 = 10;
    let hits: Vec<_> = model
        .objects("aor")
        .filter_map(|a| {
            let variable = a.section.last("max_contacts")?;
            (variable.value.parse::<u32>().ok()? > MANY).then_some((variable.at, a.name()))
        })
        .collect();
    found.add_grouped(hits, |names| {
        format!("max_contacts of {names} is above {MANY}")
    });
}

fn srtp(model: &Model<'_>, found: &mut Findings<'_>) {
    let clear: Vec<_> = model
        .objects("endpoint")
        .filter(|e| {
            let mode = e.value("media_encryption").unwrap_or("no");
            mode.eq_ignore_ascii_case("no") && !e.value("webrtc").is_some_and(is_true)
        })
        .collect();
    let Some(first) = clear.first() else { return };
    let names: Vec<&str> = clear.iter().map(|e| e.name()).collect();
    let what = format!("media_encryption is off for {}", listed(&names));
    found.add(first.at("media_encryption"), first.name(), what);
}
