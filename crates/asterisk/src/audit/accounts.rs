//! Accounts of every driver: names, addresses, contexts, providers.

use super::model::everybody;
use super::{Findings, Model, Rule, Severity, listed};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "account-guessable-name",
        severity: Severity::Low,
        title: "Extension numbers that are tried first",
        risk: "Scanners count through short numbers: they find these accounts within seconds and \
               have only the password left to guess.",
        fix: "; a longer number that follows no pattern, or a name\n[301771]",
        advice: "The account's name need not be the number that is dialled: name the account \
                 freely and map the number to it in the dialplan.",
        bad: "== sip.conf ==\n[100] ; <<\ntype=friend\nhost=dynamic\nsecret=q7Kd0xVt3mZr9wHb5c2L\n",
        good: "== sip.conf ==\n[301771]\ntype=friend\nhost=dynamic\nsecret=q7Kd0xVt3mZr9wHb5c2L\n",
        check: guessable,
    },
    Rule {
        id: "account-insecure",
        severity: Severity::High,
        title: "Calls without a password from any address",
        risk: "Anybody who knows the account's name places calls at your cost: no password is \
               asked for.",
        fix: "; sip.conf: remove insecure= from accounts with host=dynamic",
        advice: "insecure=port,invite is for providers that call from a fixed address: together \
                 with host=<their address> it is safe.",
        bad: "== sip.conf ==\n[301771]\ntype=friend\nhost=dynamic\nsecret=q7Kd0xVt3mZr9wHb5c2L\n\
              insecure=port,invite ; <<\n",
        good: "== sip.conf ==\n[301771]\ntype=friend\nhost=192.0.2.7\n\
               secret=q7Kd0xVt3mZr9wHb5c2L\ninsecure=port,invite\n",
        check: insecure,
    },
    Rule {
        id: "account-no-acl",
        severity: Severity::Low,
        title: "Accounts usable from every address",
        risk: "A guessed or stolen password works from anywhere in the world.",
        fix: "; in the account or its template: the networks the phones are in\n\
              deny=0.0.0.0/0.0.0.0\npermit=192.168.0.0/255.255.0.0",
        advice: "Phones inside the house need no more than the house's network. Leave the limit \
                 off only for phones on the road.",
        bad: "== sip.conf ==\n[301771] ; <<\ntype=friend\nhost=dynamic\n\
              secret=q7Kd0xVt3mZr9wHb5c2L\n",
        good: "== sip.conf ==\n[301771]\ntype=friend\nhost=dynamic\nsecret=q7Kd0xVt3mZr9wHb5c2L\n\
               deny=0.0.0.0/0.0.0.0\npermit=192.168.0.0/255.255.0.0\n",
        check: no_acl,
    },
    Rule {
        id: "account-acl-open",
        severity: Severity::Medium,
        title: "An ACL that lets everybody in",
        risk: "The limit that deny= seems to set is lifted again: a stolen password works from \
               anywhere.",
        fix: "; the networks the phones are in\ndeny=0.0.0.0/0.0.0.0\n\
              permit=192.168.0.0/255.255.0.0",
        advice: "The last line that fits an address counts. A permit for every address makes all \
                 lines before it pointless.",
        bad: "== sip.conf ==\n[301771]\ntype=friend\nhost=dynamic\nsecret=q7Kd0xVt3mZr9wHb5c2L\n\
              deny=0.0.0.0/0.0.0.0\npermit=0.0.0.0/0.0.0.0 ; <<\n",
        good: "== sip.conf ==\n[301771]\ntype=friend\nhost=dynamic\nsecret=q7Kd0xVt3mZr9wHb5c2L\n\
               deny=0.0.0.0/0.0.0.0\npermit=192.168.0.0/255.255.0.0\n",
        check: acl_open,
    },
    Rule {
        id: "account-provider-context",
        severity: Severity::High,
        title: "A provider's calls may go out again",
        risk: "Whoever calls in can be led back out: a call from outside dials abroad at your cost.",
        fix: "; a context for incoming calls that reaches phones only\ncontext=from-provider",
        advice: "Calls from a provider or another server belong in a context of their own without \
                 any outside line.",
        bad: "== sip.conf ==\n[provider]\ntype=peer\nhost=sip.example.net\nfromuser=301771\n\
              context=office ; <<\n== extensions.conf ==\n[office]\n\
              exten => _0.,1,Dial(SIP/${EXTEN:1}@provider)\n",
        good: "== sip.conf ==\n[provider]\ntype=peer\nhost=sip.example.net\nfromuser=301771\n\
               context=incoming\n== extensions.conf ==\n[incoming]\n\
               exten => 301771,1,Dial(SIP/anna)\n[office]\n\
               exten => _0.,1,Dial(SIP/${EXTEN:1}@provider)\n",
        check: provider_context,
    },
    Rule {
        id: "account-provider",
        severity: Severity::Info,
        title: "A provider that bills calls",
        risk: "What the protection here misses ends at the provider's limits, if there are any.",
        fix: "; at the provider, not here: switch automatic top-up off, set a daily limit,\n\
              ; block calls abroad and to premium numbers that nobody needs",
        advice: "Without automatic top-up the damage ends with the credit. Most providers can also \
                 block countries and warn by mail. Between your own servers IAX2 attracts fewer \
                 scanners than SIP.",
        bad: "== sip.conf ==\n[provider] ; <<\ntype=peer\nhost=sip.example.net\nfromuser=301771\n",
        good: "== sip.conf ==\n[301771]\ntype=friend\nhost=dynamic\nsecret=q7Kd0xVt3mZr9wHb5c2L\n",
        check: provider,
    },
];

/// A number that a scanner counting upwards reaches soon.
fn short_number(name: &str) -> bool {
    let digits = !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
    digits && (name.len() <= 4 || super::strength::guessable_digits(name))
}

fn guessable(model: &Model<'_>, found: &mut Findings<'_>) {
    let hits: Vec<_> = model
        .accounts
        .iter()
        .filter(|a| a.dynamic && short_number(&a.name))
        .collect();
    let Some(first) = hits.first() else { return };
    let names: Vec<&str> = hits.iter().map(|a| &*a.name).collect();
    let all = model.accounts.iter().filter(|a| a.dynamic).count();
    let verb = if hits.len() == 1 {
        "has a number"
    } else {
        "have numbers"
    };
    let what = format!(
        "{} of {all} accounts {verb} that scanners try first: {}",
        hits.len(),
        listed(&names)
    );
    found.add(first.at, &first.name, what);
}

fn insecure(model: &Model<'_>, found: &mut Findings<'_>) {
    // An account without any password is another rule's business.
    let open = model
        .accounts
        .iter()
        .filter(|a| !a.secrets.is_empty() || a.hashed);
    let hits = open
        .filter(|a| !a.restricted)
        .filter_map(|a| Some((a.open?, &*a.name)));
    let hits: Vec<_> = hits.collect();
    found.add_grouped(hits, |names| {
        format!("insecure= and host=dynamic: calls from {names} need no password")
    });
}

fn no_acl(model: &Model<'_>, found: &mut Findings<'_>) {
    let phones: Vec<_> = model
        .accounts
        .iter()
        .filter(|a| a.dynamic && !a.trunk)
        .collect();
    let open: Vec<_> = phones.iter().filter(|a| !a.restricted).collect();
    let Some(first) = open.first() else { return };
    let names: Vec<&str> = open.iter().map(|a| &*a.name).collect();
    let what = format!(
        "{} of {} accounts have no deny= and permit=: {}",
        open.len(),
        phones.len(),
        listed(&names)
    );
    found.add(first.at, &first.name, what);
}

fn acl_open(model: &Model<'_>, found: &mut Findings<'_>) {
    let mut hits = Vec::new();
    for file in [
        "sip.conf",
        "iax.conf",
        "users.conf",
        "pjsip.conf",
        "pjsip_wizard.conf",
        "acl.conf",
    ] {
        let Some(config) = model.config(file) else {
            continue;
        };
        for section in config.live() {
            let limited = section.all("deny").next().is_some();
            let lifted = section.all("permit").find(|v| everybody(&v.value));
            if let (true, Some(variable)) = (limited, lifted) {
                hits.push((variable.at, &*section.name));
            }
        }
    }
    found.add_grouped(hits, |names| {
        format!("{names}: permit= covers every address")
    });
}

fn provider_context(model: &Model<'_>, found: &mut Findings<'_>) {
    for account in model.accounts.iter().filter(|a| a.trunk) {
        let (context, at) = &account.context;
        let exits = model.routes.reached(&model.plan, context);
        if exits.iter().any(|e| !e.hurdle && !e.secret_prefix()) {
            let what = format!(
                "Calls from {} arrive in context {context}, from which an outside line can be \
                 dialled",
                account.name
            );
            found.add(*at, &account.name, what);
        }
    }
}

fn provider(model: &Model<'_>, found: &mut Findings<'_>) {
    for account in model.accounts.iter().filter(|a| a.trunk) {
        let what = format!("{} looks like a provider or another server", account.name);
        found.add(account.at, &account.name, what);
    }
}
