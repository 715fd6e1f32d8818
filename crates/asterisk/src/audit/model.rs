//! The configuration as the rules see it: files read, accounts of every driver in one list.

mod pjsip;

use std::sync::Arc;

use super::Setting;
use super::routes::Routes;
use crate::config::{Config, Dialplan, Place, Section, Tree, Variable, is_true};

/// Everything read of a tree.
pub struct Model<'a> {
    pub(super) tree: &'a Tree<'a>,
    configs: Vec<(&'static str, Config)>,
    pub(super) objects: Vec<Object>,
    pub(super) accounts: Vec<Account>,
    pub(super) plan: Dialplan,
    pub(super) routes: Routes,
}

/// The configurations that the audit reads.
const NAMES: [&str; 17] = [
    "asterisk.conf",
    "modules.conf",
    "extconfig.conf",
    "sip.conf",
    "users.conf",
    "pjsip.conf",
    "pjsip_wizard.conf",
    "iax.conf",
    "extensions.conf",
    "manager.conf",
    "http.conf",
    "ari.conf",
    "logger.conf",
    "rtp.conf",
    "voicemail.conf",
    "sorcery.conf",
    "acl.conf",
];

/// The channel driver of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Driver {
    Sip,
    Pjsip,
    Iax,
}

impl Driver {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sip => "SIP",
            Self::Pjsip => "PJSIP",
            Self::Iax => "IAX2",
        }
    }
}

/// A section of `pjsip.conf`, or what a section of `pjsip_wizard.conf` stands for.
#[derive(Clone, Debug)]
pub(super) struct Object {
    /// `endpoint`, `auth`, `aor`, `identify`, `acl`, `transport`, `registration`, `global`.
    pub(super) kind: String,
    pub(super) section: Section,
    /// It comes from `pjsip_wizard.conf`: settings there carry a prefix.
    pub(super) wizard: bool,
}

impl Object {
    pub(super) fn name(&self) -> &str {
        &self.section.name
    }

    pub(super) fn value(&self, key: &str) -> Option<&str> {
        self.section.last(key).map(|v| &*v.value)
    }

    pub(super) fn is(&self, key: &str, default: bool) -> bool {
        self.value(key).map_or(default, is_true)
    }

    /// The names in a comma-separated list, over all variables of this name.
    pub(super) fn names(&self, key: &str) -> Vec<String> {
        let values = self.section.all(key);
        let parts = values.flat_map(|v| v.value.split(',').map(|s| s.trim().to_owned()));
        parts.filter(|s| !s.is_empty()).collect()
    }

    /// Where a key is set, else where the section begins.
    pub(super) fn at(&self, key: &str) -> Place {
        self.section.last(key).map_or(self.section.at, |v| v.at)
    }
}

/// Somebody who may call or be called.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) driver: Driver,
    pub(super) name: Arc<str>,
    pub(super) at: Place,
    /// The passwords it authenticates with; none: it need not.
    pub(super) secrets: Vec<Variable>,
    /// It has a password that can't be read here (`md5secret`, `md5_cred`, a key).
    pub(super) hashed: bool,
    /// The context of its calls and where it is said.
    pub(super) context: (String, Place),
    /// It registers from any address.
    pub(super) dynamic: bool,
    /// A provider or another server, not a phone.
    pub(super) trunk: bool,
    /// A call from it is accepted without a password.
    pub(super) open: Option<Place>,
    /// An ACL limits where it comes from.
    pub(super) restricted: bool,
    /// Words that its password must not be made of.
    pub(super) words: Vec<String>,
}

impl Account {
    /// `SIP account 100`.
    pub(super) fn shown(&self) -> String {
        format!("{} account {}", self.driver.name(), self.name)
    }
}

impl<'a> Model<'a> {
    /// Reads a tree.
    pub fn read(tree: &'a mut Tree<'_>) -> Model<'a> {
        let configs: Vec<_> = NAMES
            .iter()
            .filter_map(|&name| Some((name, tree.read(name)?)))
            .collect();
        let get = |name: &str| configs.iter().find(|(n, _)| *n == name).map(|(_, c)| c);
        let plan = get("extensions.conf")
            .map(Dialplan::new)
            .unwrap_or_default();
        let objects = pjsip::objects(get("pjsip.conf"), get("pjsip_wizard.conf"));
        let mut accounts = Vec::new();
        if let Some(sip) = get("sip.conf") {
            accounts.extend(peers(sip, Driver::Sip));
        }
        if let Some(users) = get("users.conf") {
            accounts.extend(self::users(users));
        }
        accounts.extend(pjsip::endpoints(&objects));
        if let Some(iax) = get("iax.conf") {
            accounts.extend(peers(iax, Driver::Iax));
        }
        let mut model = Self {
            tree,
            configs,
            objects,
            accounts,
            plan,
            routes: Routes::default(),
        };
        model.routes = Routes::find(&model.plan);
        model
    }

    /// A configuration that exists.
    pub(super) fn config(&self, name: &str) -> Option<&Config> {
        self.configs
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, c)| c)
    }

    /// The first live section of a configuration.
    pub(super) fn section(&self, file: &str, section: &str) -> Option<&Section> {
        self.config(file)?.section(section)
    }

    /// A setting by the first of its names that is set, the last value counting. None where the
    /// file isn't there.
    pub(super) fn setting<'s>(
        &'s self,
        file: &'s str,
        section: &'s str,
        keys: &[&'s str],
    ) -> Option<Setting<'s>> {
        self.config(file)?;
        let found = self.section(file, section);
        let variable = found.and_then(|s| {
            s.variables
                .iter()
                .rev()
                .find(|v| keys.iter().any(|k| v.name.eq_ignore_ascii_case(k)))
        });
        let top = self.file_number(file);
        let at = variable.map(|v| v.at).or(found.map(|s| s.at));
        Some(Setting {
            variable,
            at: at.unwrap_or(Place { file: top, line: 0 }),
            key: keys.first().copied().unwrap_or_default(),
        })
    }

    /// Whether `modules.conf` lets a module load: autoload without `noload`, or an explicit `load`.
    pub(super) fn module_loads(&self, module: &str) -> bool {
        let Some(modules) = self.section("modules.conf", "modules") else {
            return true;
        };
        let short = module.trim_end_matches(".so");
        let named = |key: &str| {
            modules
                .all(key)
                .any(|v| v.value.trim_end_matches(".so").eq_ignore_ascii_case(short))
        };
        let autoload = modules.last("autoload").is_some_and(|v| is_true(&v.value));
        !named("noload") && (autoload || named("load") || named("require") || named("preload"))
    }

    /// The number of a file by the path shown.
    pub(super) fn file_number(&self, shown: &str) -> u32 {
        let found = self.tree.files.iter().position(|f| f.shown == shown);
        found
            .and_then(|i| u32::try_from(i).ok())
            .unwrap_or(u32::MAX)
    }

    /// PJSIP objects of a kind.
    pub(super) fn objects(&self, kind: &'static str) -> impl Iterator<Item = &Object> {
        self.objects.iter().filter(move |o| o.kind == kind)
    }

    /// Contexts that a caller without any password reaches: name, where it is said, who.
    pub(super) fn open_contexts(&self) -> Vec<(String, Place, String)> {
        let mut found = Vec::new();
        if let Some((context, at)) = self.guest_context() {
            found.push((context, at, "a SIP guest".to_owned()));
        }
        for account in &self.accounts {
            if let Some(at) = account.open
                && !account.restricted
            {
                found.push((account.context.0.clone(), at, account.shown()));
            }
        }
        found
    }

    /// The context of chan_sip's guests, where it lets them in.
    pub(super) fn guest_context(&self) -> Option<(String, Place)> {
        let guest = self.setting("sip.conf", "general", &["allowguest"])?;
        if super::edit::says(guest.value(), false) {
            return None;
        }
        let context = self.setting("sip.conf", "general", &["context"])?;
        Some((context.value().unwrap_or("default").to_owned(), guest.at))
    }
}

/// The accounts of `sip.conf` or `iax.conf`.
fn peers(config: &Config, driver: Driver) -> Vec<Account> {
    let general = config.section("general");
    let default = general.and_then(|g| g.last("context"));
    let realm = general
        .and_then(|g| g.last("realm"))
        .map(|v| v.value.to_string());
    let registers = general.map_or_else(Vec::new, |g| {
        g.all("register")
            .map(|v| v.value.to_ascii_lowercase())
            .collect::<Vec<_>>()
    });
    let reserved = ["general", "authentication", "callnumberlimits"];
    config
        .live()
        .filter(|s| !reserved.iter().any(|r| s.name.eq_ignore_ascii_case(r)))
        .filter_map(|s| {
            let kind = s.first("type")?.value.to_ascii_lowercase();
            ["friend", "peer", "user"]
                .contains(&kind.as_str())
                .then_some((s, kind))
        })
        .map(|(s, kind)| {
            let set = |key: &str| s.last(key).filter(|v| !v.value.is_empty());
            let host = set("host").map(|v| v.value.to_ascii_lowercase());
            let unset = driver == Driver::Sip;
            let dynamic = host.as_deref().map_or(unset, |h| h == "dynamic");
            let registered = |h: &str| registers.iter().any(|r| r.contains(&format!("@{h}")));
            let trunk = !dynamic
                && ([
                    "fromuser",
                    "fromdomain",
                    "remotesecret",
                    "insecure",
                    "outboundproxy",
                ]
                .iter()
                .any(|k| set(k).is_some())
                    || host.as_deref().is_some_and(registered)
                    || registered(&s.name.to_ascii_lowercase()));
            let secrets: Vec<Variable> = set("secret").into_iter().cloned().collect();
            let hashed = set("md5secret").is_some()
                || set("inkeys").is_some()
                || set("auth").is_some_and(|a| a.value.eq_ignore_ascii_case("rsa"));
            let insecure = set("insecure").filter(|v| {
                let parts = v.value.to_ascii_lowercase();
                parts
                    .split(',')
                    .any(|p| ["invite", "very", "yes"].contains(&p.trim()))
            });
            let passwordless = secrets.is_empty() && !hashed;
            let open = match driver {
                // A peer that is known by its address alone is asked for no password unless it
                // has one; one that may come from anywhere and has none is open to all.
                Driver::Sip | Driver::Pjsip if dynamic => {
                    insecure.map(|v| v.at).or(passwordless.then_some(s.at))
                }
                Driver::Iax if dynamic || kind == "user" => passwordless.then_some(s.at),
                Driver::Sip | Driver::Pjsip | Driver::Iax => None,
            };
            let context = set("context").or(default);
            Account {
                driver,
                name: s.name.clone(),
                at: s.at,
                secrets,
                hashed,
                context: context.map_or(("default".to_owned(), s.at), |v| {
                    (v.value.to_string(), v.at)
                }),
                dynamic,
                trunk,
                open,
                restricted: restricted(s) || general.is_some_and(contact_restricted),
                words: words(s, realm.as_deref()),
            }
        })
        .collect()
}

/// `deny` and `permit`, or a named ACL.
fn restricted(section: &Section) -> bool {
    section.last("acl").is_some()
        || section.all("deny").any(|v| !v.value.is_empty())
            && !section.all("permit").any(|v| everybody(&v.value))
}

fn contact_restricted(general: &Section) -> bool {
    general.last("contactdeny").is_some() || general.last("contactacl").is_some()
}

/// `0.0.0.0/0` in any of its spellings.
pub(super) fn everybody(value: &str) -> bool {
    value.split(',').any(|part| {
        let part = part.trim();
        part.ends_with("/0") || part.ends_with("/0.0.0.0") || part == "0.0.0.0" || part == "::"
    })
}

/// What a password of this section must not be made of.
fn words(section: &Section, realm: Option<&str>) -> Vec<String> {
    let keys = [
        "callerid",
        "fullname",
        "username",
        "defaultuser",
        "mailbox",
        "regexten",
        "email",
    ];
    let texts = keys
        .iter()
        .filter_map(|k| section.last(k))
        .map(|v| &*v.value);
    let mut words: Vec<String> = std::iter::once(&*section.name)
        .chain(texts)
        .chain(realm)
        .flat_map(|t| t.split(|c: char| !c.is_alphanumeric()))
        .filter(|w| w.len() > 2)
        .map(str::to_ascii_lowercase)
        .collect();
    words.push(section.name.to_ascii_lowercase());
    words.sort();
    words.dedup();
    words
}

/// The accounts of `users.conf`.
fn users(config: &Config) -> Vec<Account> {
    let general = config.section("general");
    let pick = |s: &Section, key: &str| {
        s.last(key)
            .or_else(|| general.and_then(|g| g.last(key)))
            .cloned()
    };
    let mut accounts = Vec::new();
    for s in config
        .live()
        .filter(|s| !s.name.eq_ignore_ascii_case("general"))
    {
        for (key, driver) in [("hassip", Driver::Sip), ("hasiax", Driver::Iax)] {
            if !pick(s, key).is_some_and(|v| is_true(&v.value)) {
                continue;
            }
            let secrets: Vec<Variable> = s
                .last("secret")
                .filter(|v| !v.value.is_empty())
                .into_iter()
                .cloned()
                .collect();
            let host = pick(s, "host").map(|v| v.value.to_ascii_lowercase());
            let dynamic = host.is_none_or(|h| h == "dynamic");
            let context = pick(s, "context");
            accounts.push(Account {
                driver,
                name: s.name.clone(),
                at: s.at,
                hashed: false,
                context: context.map_or(("default".to_owned(), s.at), |v| {
                    (v.value.to_string(), v.at)
                }),
                dynamic,
                trunk: !dynamic && s.last("fromuser").is_some(),
                open: (dynamic && secrets.is_empty()).then_some(s.at),
                secrets,
                restricted: restricted(s),
                words: words(s, None),
            });
        }
    }
    accounts
}
