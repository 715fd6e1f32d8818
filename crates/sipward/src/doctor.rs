//! What `sipward doctor` looks at: the kernel, the interfaces, the daemon, Asterisk's side, and
//! whether anything is in the way.
//!
//! A room for each group of checks. Each first looks at the machine, which has no opinion, and then
//! judges what was seen, which has no I/O: the judgements are tested by tables. Nothing is changed,
//! nothing needs the daemon, and what needs root is `unknown` without.

mod asterisk;
mod blockers;
mod guard;
mod kernel;
mod logs;
mod manager;
mod network;
mod ports;
mod programs;
mod ssh;
mod stacked;
mod translation;

use serde::Serialize;

use crate::{
    config::{BackendChoice, Config, Problems},
    control::{api::Interface, client::Client},
    daemon::has_fallback,
};

/// Said behind what keeps XDP away.
const INSTEAD: &str = "; nftables guards instead, and knows no signatures";

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Nothing to do.
    Ok,
    /// It works, and not as well as it could; or somebody else works on the same.
    Warning,
    /// Something does not work.
    Failed,
    /// It could not be looked at.
    Unknown,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name: fixed; more than one check may have it, as one for each interface.
    pub name: &'static str,
    /// How it ended.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What to do about it: a command, or a line to write.
    pub advice: Option<String>,
}

/// All checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// In the order in which they were made.
    pub checks: Vec<Check>,
    /// How many ended how.
    pub summary: Summary,
}

/// How many checks ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// [`State::Ok`]
    pub ok: usize,
    /// [`State::Warning`]
    pub warning: usize,
    /// [`State::Failed`]
    pub failed: usize,
    /// [`State::Unknown`]
    pub unknown: usize,
}

impl Check {
    fn new(
        name: &'static str,
        state: State,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            name,
            state,
            found: found.into(),
            advice: Some(advice.into()),
        }
    }

    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self {
            name,
            state: State::Ok,
            found: found.into(),
            advice: None,
        }
    }

    fn needs_root(name: &'static str, what: &str) -> Self {
        let found = format!("{what}: needs root");
        Self::new(name, State::Unknown, found, "sudo sipward doctor")
    }
}

impl Report {
    /// Of these checks.
    #[must_use]
    pub fn of(checks: Vec<Check>) -> Self {
        let count = |state| checks.iter().filter(|check| check.state == state).count();
        let summary = Summary {
            ok: count(State::Ok),
            warning: count(State::Warning),
            failed: count(State::Failed),
            unknown: count(State::Unknown),
        };
        Self { checks, summary }
    }

    /// Whether there is anything to do.
    #[must_use]
    pub fn has_findings(&self) -> bool {
        self.summary.warning + self.summary.failed > 0
    }
}

/// Looks at everything. A configuration that cannot be read is a finding; the rest is then looked
/// at with the defaults.
#[must_use]
pub fn examine(config: Result<Config, Problems>, client: &Client) -> Report {
    let mut checks = Vec::new();
    let config = config.unwrap_or_else(|problems| {
        let found = problems.to_string().replace('\n', "; ");
        let advice = "sipward check-config";
        checks.push(Check::new("configuration", State::Failed, found, advice));
        Config::default()
    });
    let is_root = nix::unistd::geteuid().is_root();
    let has_fallback = has_fallback(&config);
    let kernel = kernel::Facts::look(&config.pin_dir, is_root, has_fallback);
    checks.extend(kernel::judge(&kernel));
    let daemon = guard::Facts::look(client);
    let running = daemon.interfaces();
    let interfaces = network::look(match running.as_slice() {
        [] => &config.interfaces,
        running => running,
    });
    checks.extend(network::judge(&interfaces, &daemon.guarded(), has_fallback));
    let links = stacked::look();
    let before = expected(config.backend, has_fallback, kernel.bpf.is_none());
    let guards = guards(&interfaces, &daemon.guarded(), before);
    checks.extend(stacked::judge(&links, &guards));
    checks.extend(guard::judge(&daemon));
    let ports = &config.ports;
    let translation = translation::Facts::look(
        is_root,
        &interfaces,
        &links,
        [ports.sip_udp.as_slice(), &ports.sip_tcp, &ports.sip_tls].concat(),
        daemon.gateway_of_strangers(),
    );
    checks.extend(translation::judge(&translation));
    let listeners = ports::look();
    let forwarded = translation::forwarded_to(&translation);
    checks.extend(ports::judge(&listeners, ports, &forwarded));
    let runs = ports::have_asterisk(&listeners);
    checks.extend(asterisk::examine(&config, is_root, runs));
    let limit = &config.limits.ssh;
    let has_ssh = ports::reachable(&listeners, &limit.ports);
    checks.extend(ssh::judge(&ssh::Facts::look(), limit, has_ssh, is_root));
    checks.push(manager::judge(&manager::look(&config.asterisk.ami)));
    checks.extend(blockers::judge(&blockers::Facts::look(is_root)));
    Report::of(checks)
}

/// What will guard what nobody guards yet, where that is sure: `auto` takes nftables where XDP cannot be.
fn expected(backend: BackendChoice, has_fallback: bool, has_bpf: bool) -> network::Guard {
    match backend {
        BackendChoice::Nftables => network::Guard::Nftables,
        BackendChoice::Xdp => network::Guard::Xdp,
        BackendChoice::Auto if !has_fallback => network::Guard::Xdp,
        BackendChoice::Auto if !has_bpf => network::Guard::Nftables,
        BackendChoice::Auto => network::Guard::Nobody,
    }
}

/// With what each interface is guarded, or is to be, if that is known; `before`: where nobody guards it
/// yet.
fn guards<'a>(
    interfaces: &'a [network::Interface],
    guarded: &[&Interface],
    before: network::Guard,
) -> Vec<(&'a str, network::Guard)> {
    let names = interfaces.iter().map(|interface| interface.name.as_str());
    names
        .map(|name| match network::Guard::of(name, guarded) {
            network::Guard::Nobody => (name, before),
            guard @ (network::Guard::Xdp | network::Guard::Nftables) => (name, guard),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    use BackendChoice::{Auto, Nftables, Xdp};
    use network::Guard;

    #[test_case(Auto, true, true, Guard::Nobody; "either")]
    #[test_case(Auto, false, true, Guard::Xdp; "without nftables")]
    #[test_case(Auto, true, false, Guard::Nftables; "without XDP")]
    #[test_case(Xdp, true, true, Guard::Xdp; "XDP that was asked for")]
    #[test_case(Nftables, true, true, Guard::Nftables; "nftables that was asked for")]
    fn before_the_start_what_will_guard_is(
        backend: BackendChoice,
        has_fallback: bool,
        has_bpf: bool,
        guard: Guard,
    ) {
        assert_eq!(expected(backend, has_fallback, has_bpf), guard);
    }
}
