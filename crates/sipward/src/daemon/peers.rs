//! Whom Asterisk itself calls: the trunks and registrars of its configuration, and of the running
//! one. They are allowed, as is whom our own configuration allows by name.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use ipnet::IpNet;
use sipward_asterisk::{
    config::{Disk, Problem, Tree},
    peers,
};
use sipward_engine::escape_at_most;
use tokio::{
    sync::{Notify, mpsc, watch},
    task::spawn_blocking,
    time::{Instant, sleep},
};

use super::guard::Guard;
use crate::{
    address::{Host, is_name},
    config::Config,
    control::{api::AllowedView, server::Task},
};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(30);
/// How often they are read whatever they look like: one may have come into a folder that another
/// includes.
const READ: Duration = Duration::from_secs(3_600);
/// The origin of what Asterisk names.
pub const ASTERISK: &str = "asterisk";
/// Bytes of a value that are shown.
const SHOWN: usize = 80;

/// Hosts that are allowed because somebody names them, but for those that were allowed by hand.
#[derive(Debug, Default)]
pub struct Peers {
    prefixes: BTreeSet<IpNet>,
    names: BTreeSet<String>,
    /// What names stand for, those of the configuration included.
    stand_for: BTreeMap<String, Vec<IpAddr>>,
}

impl Peers {
    /// What the names of our own configuration stand for.
    pub fn of_configuration<'a>(
        &'a self,
        config: &'a Config,
    ) -> impl Iterator<Item = IpNet> + use<'a> {
        let addresses = config
            .allowed_names()
            .flat_map(|name| self.stands_for(name));
        addresses.map(|address| IpNet::from(*address))
    }

    /// Asterisk's peers, each with the name that stands for it.
    pub fn of_asterisk(&self) -> impl Iterator<Item = (IpNet, Option<&str>)> {
        let named = self.names.iter().flat_map(|name| {
            let addresses = self.stands_for(name).iter();
            addresses.map(|address| (IpNet::from(*address), Some(name.as_str())))
        });
        let prefixes = self.prefixes.iter().map(|prefix| (*prefix, None));
        prefixes.chain(named)
    }

    /// Asterisk's peers that are names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// What a name stands for.
    pub fn stands_for(&self, name: &str) -> &[IpAddr] {
        self.stand_for.get(name).map_or(&[], Vec::as_slice)
    }

    /// Takes what a name stands for. Tells whether that is something else than before.
    pub fn stand_for(&mut self, name: &str, addresses: &[IpAddr]) -> bool {
        let before = self.stand_for.insert(name.to_owned(), addresses.to_vec());
        before.is_none_or(|before| before != addresses)
    }

    /// For `allowed`.
    pub fn views(&self, config: &Config) -> Vec<AllowedView> {
        let view = |origin: &str, prefix, name: Option<&str>| AllowedView {
            prefix,
            origin: origin.to_owned(),
            name: name.map(str::to_owned),
            since: None,
        };
        let named = config.allowed_names().flat_map(|name| {
            let addresses = self.stands_for(name).iter();
            addresses.map(move |address| view("configuration", (*address).into(), Some(name)))
        });
        let peers = self.of_asterisk();
        named
            .chain(peers.map(|(prefix, name)| view(ASTERISK, prefix, name)))
            .collect()
    }
}

impl Guard {
    /// Takes whom Asterisk calls.
    pub(super) fn peers_are(&mut self, hosts: Hosts) {
        let Hosts { prefixes, names } = hosts;
        if (&prefixes, &names) == (&self.peers.prefixes, &self.peers.names) {
            return;
        }
        tracing::info!(
            "asterisk calls {} addresses and {} names: they are never banned",
            prefixes.len(),
            names.len()
        );
        (self.peers.prefixes, self.peers.names) = (prefixes, names);
        if let Err(error) = self.allowed_changed() {
            tracing::error!("{error}");
        }
    }
}

/// Addresses and names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    prefixes: BTreeSet<IpNet>,
    names: BTreeSet<String>,
}

impl Hosts {
    /// Takes a host of the running Asterisk.
    pub(super) fn add(&mut self, host: &str) {
        match host.parse() {
            // It is one address: Asterisk knows no other form there.
            Ok(Host::Address(address)) => self.prefixes.extend(
                address
                    .prefixes()
                    .iter()
                    .filter(|prefix| prefix.prefix_len() == prefix.max_prefix_len())
                    .filter(|prefix| !prefix.addr().is_unspecified()),
            ),
            Ok(Host::Name(name)) => drop(self.names.insert(name)),
            Err(_) => {}
        }
    }
}

/// Which tree is read, if any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings(pub Option<PathBuf>);

impl Settings {
    /// Those of a configuration.
    pub fn of(config: &Config) -> Self {
        let folder = config.asterisk.config_dir.clone();
        Self(config.allow.asterisk_peers.then_some(folder))
    }
}

/// Tells the guard whom Asterisk calls, now and whenever that changes. `running` is what the manager
/// interface has said.
pub async fn follow(
    mut settings: watch::Receiver<Settings>,
    mut running: watch::Receiver<BTreeSet<String>>,
    tasks: mpsc::Sender<Task>,
    others: Arc<Notify>,
) {
    let mut warned = BTreeSet::new();
    loop {
        let Settings(folder) = settings.borrow_and_update().clone();
        let mut hosts = Hosts::default();
        let mut files = Vec::new();
        let wanted = folder.is_some();
        if let Some(folder) = folder {
            let Ok(found) = spawn_blocking(move || read(&folder)).await else {
                return;
            };
            for warning in found.warnings {
                if warned.insert(warning.clone()) {
                    tracing::warn!("{warning}");
                }
            }
            (hosts, files) = (found.hosts, found.files);
            for host in running.borrow_and_update().iter() {
                hosts.add(host);
            }
        }
        let tell: Task = Box::new(move |guard| guard.peers_are(hosts));
        if tasks.send(tell).await.is_err() {
            return;
        }
        others.notify_one();
        tokio::select! {
            changed = settings.changed() => if changed.is_err() {
                return;
            },
            // Without its sender there is nothing to wait for.
            Ok(()) = running.changed(), if wanted => {}
            () = changed(files), if wanted => {}
        }
    }
}

/// What a configuration tree says.
pub(super) struct Found {
    pub(super) hosts: Hosts,
    pub(super) warnings: Vec<String>,
    files: Vec<(PathBuf, Stamp)>,
}

/// What tells a file from the same one changed.
type Stamp = Option<(SystemTime, u64)>;

pub(super) fn read(folder: &Path) -> Found {
    let mut warnings = Vec::new();
    match fs::read_dir(folder) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            tracing::debug!("{}: no configuration of Asterisk", folder.display());
        }
        Err(error) => warnings.push(format!(
            "asterisk.config-dir: {}: cannot read it, so its trunks are not known: {error}",
            folder.display()
        )),
    }
    let mut tree = Tree::new(&Disk, folder);
    let found = peers::read(&mut tree);
    for refused in &found.refused {
        let file = tree.file(refused.at.at).map_or("?", |file| &file.shown);
        let value = escape_at_most(refused.value.as_bytes(), SHOWN);
        warnings.push(format!(
            "{file}:{}: {} = {value}: {}",
            refused.at.at.line, refused.at.option, refused.why
        ));
    }
    for note in &tree.notes {
        if let Problem::Unreadable(file) = &note.problem {
            let file = escape_at_most(file.as_bytes(), SHOWN);
            warnings.push(format!(
                "{file}: cannot read it, so its trunks are not known"
            ));
        }
    }
    let files = tree.files.iter().map(|file| file.path.clone());
    let own = ["sip.conf", "iax.conf", "pjsip.conf", "pjsip_wizard.conf"];
    let own = own.iter().map(|name| folder.join(name));
    Found {
        hosts: Hosts {
            prefixes: found.prefixes.into_keys().collect(),
            names: found
                .names
                .into_keys()
                .filter(|name| is_name(name))
                .collect(),
        },
        warnings,
        files: files
            .chain(own)
            .map(|file| (file.clone(), stamp(&file)))
            .collect(),
    }
}

/// Waits until one of the files changes, or an hour.
async fn changed(files: Vec<(PathBuf, Stamp)>) {
    let since = Instant::now();
    while since.elapsed() < READ {
        sleep(LOOK).await;
        if files.iter().any(|(file, before)| stamp(file) != *before) {
            return;
        }
    }
}

fn stamp(file: &Path) -> Stamp {
    let about = fs::metadata(file).ok()?;
    Some((about.modified().ok()?, about.len()))
}
