//! Whether the daemon runs, and whether what it decides is carried out.

use std::net::IpAddr;

use super::{Check, State};
use crate::{
    config::GuardMode,
    control::{
        api::{EnforcementState, Interface, Sensor, SensorState, Status},
        client::Client,
    },
    exit::{Exit, Failure},
};

/// What the daemon says of itself.
pub(super) struct Facts(Result<Status, Failure>);

impl Facts {
    pub(super) fn look(client: &Client) -> Self {
        Self(client.get("/v1/status"))
    }

    /// The names of those that a running daemon guards or is to guard, by its command line too; none
    /// where no daemon runs.
    pub(super) fn interfaces(&self) -> Vec<String> {
        let interfaces = self.0.iter().flat_map(|status| &status.interfaces);
        interfaces.map(|it| it.name.clone()).collect()
    }

    /// The interfaces that a running daemon guards.
    pub(super) fn guarded(&self) -> Vec<&Interface> {
        let interfaces = self.0.iter().flat_map(|status| &status.interfaces);
        interfaces.filter(|it| it.attached).collect()
    }

    /// The gateway from whose address all strangers come, as it saw.
    pub(super) fn gateway_of_strangers(&self) -> Option<IpAddr> {
        let status = self.0.as_ref().ok()?;
        status.strangers_come_from
    }
}

pub(super) fn judge(facts: &Facts) -> Vec<Check> {
    let status = match &facts.0 {
        Ok(status) => status,
        Err(failure) if failure.exit == Exit::Unsupported => {
            return vec![Check::needs_root("daemon", "its socket cannot be opened")];
        }
        Err(failure) => {
            let found = format!("no daemon guards: {failure}");
            return vec![Check::new("daemon", State::Warning, found, "sipward run")];
        }
    };
    let mut checks = vec![daemon(status), enforcement(status)];
    let sensors = &status.sensors;
    checks.extend(
        [
            ("the tap", &sensors.packets),
            ("Asterisk's log", &sensors.asterisk_log),
            ("the manager interface", &sensors.ami),
        ]
        .into_iter()
        .filter_map(|(name, it)| sensor(name, it)),
    );
    checks
}

/// Only what is wrong with it.
fn sensor(name: &str, sensor: &Sensor) -> Option<Check> {
    let warning = |found: String| {
        Some(Check::new(
            "sensor",
            State::Warning,
            found,
            "sipward status",
        ))
    };
    match sensor.state {
        SensorState::Waiting | SensorState::Refused => {
            let why = sensor.note.as_deref().unwrap_or("it does not say why");
            warning(format!("the daemon does not read {name}: {why}"))
        }
        SensorState::On if sensor.lost > 0 => warning(format!(
            "{} frames came faster than the daemon read {name}, and nobody judged them",
            sensor.lost
        )),
        SensorState::On | SensorState::Off => None,
    }
}

fn daemon(status: &Status) -> Check {
    let version = &status.version;
    let (mode, backend) = (status.mode, &status.backend);
    let found = format!("sipward {version} runs, mode {mode}, backend {backend}");
    let ours = env!("CARGO_PKG_VERSION");
    if version != ours {
        let found = format!("{found}; this command is of {ours}");
        let advice = "restart the daemon, or call the command that belongs to it";
        return Check::new("daemon", State::Warning, found, advice);
    }
    match status.mode {
        GuardMode::Protect => Check::ok("daemon", found),
        GuardMode::Observe => {
            let found = format!("{found}: it drops nothing");
            let advice = "mode = \"protect\" in the configuration, and no --observe";
            Check::new("daemon", State::Warning, found, advice)
        }
    }
}

fn enforcement(status: &Status) -> Check {
    let leaked = status.enforcement.leaked_packets;
    let advice = "the daemon's log says which and why";
    match status.enforcement.state {
        EnforcementState::Ok => Check::ok(
            "enforcement",
            match status.mode {
                GuardMode::Protect => "what is banned is dropped",
                GuardMode::Observe => "what is banned is counted, and passes",
            },
        ),
        EnforcementState::Leaking => {
            let found = format!("{leaked} packets of banned sources came through");
            Check::new("enforcement", State::Failed, found, advice)
        }
        EnforcementState::Detached => {
            let bare = status.interfaces.iter().filter(|it| !it.attached);
            let bare = bare.map(|it| match &it.note {
                Some(why) => format!("{} ({why})", it.name),
                None => it.name.clone(),
            });
            let bare: Vec<String> = bare.collect();
            let found = format!("nobody judges what comes in at {}", bare.join(", "));
            Check::new("enforcement", State::Failed, found, advice)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    fn facts(mode: &str, enforcement: &str, log: &str, lost: u64) -> Facts {
        let sensor = |state: &str, lost: u64| serde_json::json!({ "state": state, "events": 9, "unmatched": 0, "lost": lost });
        let status = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"), "mode": mode, "backend": "xdp",
            "backend_reason": "", "uptime_seconds": 9,
            "interfaces": [{ "name": "eth1", "xdp_mode": null, "attached": false }],
            "enforcement": { "state": enforcement, "leaked_packets": 3 },
            "packets": { "passed": 0, "dropped": { "banned": 0, "rate": 0, "signature": 0,
                "tripwire": 0, "tiny_fragment": 0 } },
            "bans": 0, "allowed": 0, "trusted": 0,
            "sensors": { "kernel": sensor("on", 0), "packets": sensor("on", lost),
                "asterisk_log": sensor(log, 0), "ami": sensor("off", 0) },
        });
        Facts(Ok(serde_json::from_value(status).unwrap()))
    }

    fn states(mode: &str, enforcement: &str, log: &str, lost: u64) -> Vec<(&'static str, State)> {
        let checks = judge(&facts(mode, enforcement, log, lost)).into_iter();
        let states = checks.map(|check| (check.name, check.state));
        states.filter(|(_, state)| *state != State::Ok).collect()
    }

    #[test_case("protect", "is dropped")]
    #[test_case("observe", "passes")]
    fn what_is_banned(mode: &str, part: &str) {
        let checks = judge(&facts(mode, "ok", "on", 0));
        let mut checks = checks.iter();
        let enforcement = checks.find(|check| check.name == "enforcement").unwrap();
        assert!(enforcement.found.contains(part), "{enforcement:?}");
    }

    #[test]
    fn a_daemon_tells_its_interfaces_whether_it_guards_them_or_not() {
        let facts = facts("protect", "detached", "on", 0);
        assert_eq!(facts.interfaces(), ["eth1"]);
        assert!(facts.guarded().is_empty());
        assert!(
            Facts(Err(Failure::unreachable("x")))
                .interfaces()
                .is_empty()
        );
    }

    #[test_case("protect", "ok", "on", 0, &[]; "all is well")]
    #[test_case("observe", "ok", "off", 0, &[("daemon", State::Warning)]; "it only observes")]
    #[test_case("protect", "leaking", "on", 0, &[("enforcement", State::Failed)]; "it leaks")]
    #[test_case("protect", "detached", "on", 0, &[("enforcement", State::Failed)]; "it is detached")]
    #[test_case("protect", "ok", "waiting", 0, &[("sensor", State::Warning)]; "no log")]
    #[test_case("protect", "ok", "on", 7, &[("sensor", State::Warning)]; "frames lost")]
    fn a_daemon_is(
        mode: &str,
        enforcement: &str,
        log: &str,
        lost: u64,
        expected: &[(&'static str, State)],
    ) {
        assert_eq!(states(mode, enforcement, log, lost), expected);
    }

    #[test]
    fn without_a_daemon_nobody_guards_and_without_permission_nobody_knows() {
        let state = |failure| judge(&Facts(Err(failure)))[0].state;
        assert_eq!(state(Failure::unreachable("x")), State::Warning);
        assert_eq!(state(Failure::unsupported("x")), State::Unknown);
    }
}
