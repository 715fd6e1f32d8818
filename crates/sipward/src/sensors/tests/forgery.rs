//! Lines that a stranger wrote into the log, about somebody who is connected.

use std::time::Duration;

use sipward_asterisk::log::Reader;
use sipward_engine::{Command, Config, Engine, Observation, Place, Time};
use test_case::test_case;

use crate::sensors::{ConnectionPorts, Connections, asterisk::log_event};

const START: Time = Time(1_000_000_000_000);

fn event(name: &str, service: &str, remote: &str) -> String {
    format!(
        "[1] SECURITY[1] a.c: SecurityEvent=\"{name}\",EventTV=\"2026-11-22T18:55:40.100+0000\",\
         Severity=\"Error\",Service=\"{service}\",EventVersion=\"1\",AccountID=\"101\",SessionID=\"1\",\
         LocalAddress=\"IPV4/TLS/192.0.2.1/5061\",RemoteAddress=\"{remote}\"\n"
    )
}

fn notice(message: &str) -> String {
    format!("[1] NOTICE[1] {message}\n")
}

#[test_case(&event("InvalidPassword", "PJSIP", "IPV4/TLS/198.51.100.10/0"); "port 0")]
#[test_case(&event("InvalidPassword", "PJSIP", "IPV4/TLS/198.51.100.10/9"); "another port")]
#[test_case(&event("InvalidPassword", "AMI", "IPV4/TCP/198.51.100.10/0"); "port 0 of the manager")]
#[test_case(&event("InvalidPassword", "AMI", "IPV4/TCP/198.51.100.10/5071"); "a phone is not at the manager")]
#[test_case(&event("SuccessfulAuth", "PJSIP", "IPV4/TLS/198.51.100.10/0"); "a login at port 0")]
#[test_case(&event("SuccessfulAuth", "IAX2", "IPV4/UDP/198.51.100.10/5071"); "a login over IAX2")]
#[test_case(&event("InvalidPassword", "IAX2", "IPV4/UDP/198.51.100.10/5071"); "IAX2")]
#[test_case(&notice("chan_sip.c: Registration from '<sip:101@h>' failed for '198.51.100.10' - Wrong password"); "no port")]
#[test_case(&notice("manager.c: 198.51.100.10 failed to authenticate as 'a'"); "no port of the manager")]
#[test_case(&notice("chan_iax2.c: Host 198.51.100.10 failed MD5 authentication for 'a' (1 != 2)"); "a line of IAX2")]
fn a_forged_line_proves_nothing_of_who_is_connected(line: &str) {
    let mut connections = Connections::new(ConnectionPorts {
        tls: vec![5061],
        websocket: Vec::new(),
        manager: vec![5038],
    });
    connections.add("198.51.100.10:5071".parse().unwrap(), 5061, START);
    connections.add("198.51.100.10:5072".parse().unwrap(), 5038, START);
    let mut engine = Engine::new(Config::default(), 1);
    let mut events = 0;
    for second in 0..100 {
        let now = START + Duration::from_secs(second);
        let mut reader = Reader::new();
        for (_, read) in reader.read(line.as_bytes()) {
            let place = Place::Line(1);
            let event = log_event(&read.event, line.as_bytes(), place, |remote, spoken| {
                connections.speaks(remote, spoken, now)
            });
            engine.observe(&Observation::Log(event.unwrap()), now);
            events += 1;
        }
    }
    assert_eq!(events, 100);
    engine.handle_timeout(START + Duration::from_secs(200));
    while let Some(command) = engine.next_command() {
        match command {
            Command::Ban(ban) => assert!(!ban.proven, "{ban:?}"),
            Command::Trust(trusted) => panic!("{trusted:?}"),
            Command::Alert(_)
            | Command::Unban(_)
            | Command::Distrust(_)
            | Command::TakeRate(_)
            | Command::Hold(_)
            | Command::Release(_) => {}
        }
    }
}
