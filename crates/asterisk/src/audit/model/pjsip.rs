//! The objects of PJSIP, and the accounts that they make up.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::{Account, Driver, Object, everybody, restricted, words};
use crate::config::{Config, Section, Variable, is_true};

/// The sections of `pjsip.conf` and what those of `pjsip_wizard.conf` stand for.
pub fn objects(pjsip: Option<&Config>, wizard: Option<&Config>) -> Vec<Object> {
    let mut found = Vec::new();
    for section in pjsip.into_iter().flat_map(Config::live) {
        let Some(kind) = section.last("type") else {
            continue;
        };
        let kind = kind.value.to_ascii_lowercase();
        found.push(Object {
            kind,
            section: section.clone(),
            wizard: false,
        });
    }
    for section in wizard.into_iter().flat_map(Config::live) {
        if section
            .last("type")
            .is_some_and(|v| v.value.eq_ignore_ascii_case("wizard"))
        {
            found.extend(wizard_objects(section));
        }
    }
    found
}

fn wizard_objects(section: &Section) -> Vec<Object> {
    let yes = |key: &str| section.last(key).is_some_and(|v| is_true(&v.value));
    let name = section.name.clone();
    let object = |kind: &str, suffix: &str, extra: &[(&str, String)]| {
        let prefix = format!("{kind}/");
        let own = section.variables.iter().filter_map(|v| {
            let key = v.name.to_ascii_lowercase();
            let key = key.strip_prefix(&prefix)?;
            Some(Variable {
                name: key.into(),
                ..v.clone()
            })
        });
        let extra = extra.iter().map(|(key, value)| Variable {
            name: (*key).into(),
            value: value.as_str().into(),
            at: section.at,
            inherited: false,
        });
        let variables = extra.chain(own).collect();
        let name = Arc::from(format!("{name}{suffix}"));
        let kind = kind
            .strip_prefix("inbound_")
            .or(kind.strip_prefix("outbound_"))
            .unwrap_or(kind);
        let section = Section {
            name,
            at: section.at,
            template: false,
            variables,
        };
        Object {
            kind: kind.to_owned(),
            section,
            wizard: true,
        }
    };
    let mut endpoint = vec![("aors", name.to_string())];
    let mut found = Vec::new();
    let hosts: Vec<&Variable> = section.all("remote_hosts").collect();
    if yes("accepts_auth") {
        endpoint.push(("auth", format!("{name}-iauth")));
        found.push(object(
            "inbound_auth",
            "-iauth",
            &[("username", name.to_string())],
        ));
    }
    if yes("sends_auth") {
        endpoint.push(("outbound_auth", format!("{name}-oauth")));
        found.push(object("outbound_auth", "-oauth", &[]));
    }
    if yes("sends_registrations") {
        found.push(object(
            "registration",
            "-reg",
            &[("outbound_auth", format!("{name}-oauth"))],
        ));
    }
    let mut aor = Vec::new();
    if yes("accepts_registrations") {
        aor.push(("max_contacts", "1".to_owned()));
    } else if let [first, ..] = hosts.as_slice() {
        aor.push(("contact", format!("sip:{}", first.value)));
        let mut identify = object("identify", "-identify", &[("endpoint", name.to_string())]);
        let matched = hosts.iter().map(|v| Variable {
            name: "match".into(),
            ..(*v).clone()
        });
        identify.section.variables.extend(matched);
        found.push(identify);
    }
    found.push(object("aor", "", &aor));
    found.push(object("endpoint", "", &endpoint));
    found
}

/// The accounts of PJSIP.
pub fn endpoints(objects: &[Object]) -> Vec<Account> {
    let mut by_name: HashMap<(&str, Cow<'_, str>), &Object> = HashMap::new();
    let mut identified: HashMap<&str, bool> = HashMap::new();
    let mut acl = false;
    for object in objects {
        by_name
            .entry((object.kind.as_str(), Cow::from(object.name())))
            .or_insert(object);
        match object.kind.as_str() {
            "identify" => {
                if let Some(endpoint) = object.value("endpoint") {
                    let wide = object.section.all("match").any(|v| everybody(&v.value));
                    *identified.entry(endpoint).or_default() |= wide;
                }
            }
            "acl" => acl |= restricted(&object.section) || object.value("contact_deny").is_some(),
            // Transports, globals, registrations: nothing that an endpoint is found by.
            _ => {}
        }
    }
    let global = objects.iter().find(|o| o.kind == "global");
    let realm = global.and_then(|g| g.value("default_realm"));
    let find = |kind: &'static str, name: &str| by_name.get(&(kind, Cow::from(name))).copied();
    objects
        .iter()
        .filter(|o| o.kind == "endpoint")
        .map(|e| {
            let auths: Vec<&Object> = e
                .names("auth")
                .iter()
                .filter_map(|n| find("auth", n))
                .collect();
            let aors: Vec<&Object> = e
                .names("aors")
                .iter()
                .filter_map(|n| find("aor", n))
                .collect();
            let count = |o: &&Object| o.value("max_contacts").and_then(|v| v.parse::<u32>().ok());
            let dynamic = aors.iter().any(|a| count(a).unwrap_or(0) > 0);
            let by_address = identified.get(e.name()).copied();
            let trunk = e.value("outbound_auth").is_some()
                || !dynamic
                    && (by_address.is_some() || aors.iter().any(|a| a.value("contact").is_some()));
            let authless = e.names("auth").is_empty();
            let open = match by_address {
                Some(false) => None,
                Some(true) => authless.then_some(e.section.at),
                None => (authless && (dynamic || !trunk)).then_some(e.section.at),
            };
            let secrets = auths
                .iter()
                .filter_map(|a| a.section.last("password"))
                .filter(|v| !v.value.is_empty())
                .cloned()
                .collect();
            let mut words = words(&e.section, realm);
            words.extend(
                auths
                    .iter()
                    .filter_map(|a| a.value("username"))
                    .map(str::to_ascii_lowercase),
            );
            let context = e.section.last("context");
            Account {
                driver: Driver::Pjsip,
                name: e.section.name.clone(),
                at: e.section.at,
                secrets,
                hashed: auths.iter().any(|a| a.value("md5_cred").is_some()),
                context: context.map_or(("default".to_owned(), e.section.at), |v| {
                    (v.value.to_string(), v.at)
                }),
                dynamic,
                trunk,
                open,
                restricted: acl || restricted(&e.section) || e.value("contact_deny").is_some(),
                words,
            }
        })
        .collect()
}
