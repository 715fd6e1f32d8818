//! What lines of files come to in the guard.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::PathBuf,
    time::Duration,
};

use sipward_asterisk::ami::Codec;
use sipward_engine::{Detector, Time};
use tempfile::TempDir;

use super::Logs;
use crate::{
    clock,
    control::api::SensorState,
    daemon::{
        Guard,
        double::{WaitingFrames, handshake},
        taps::Taps,
        tests::Bench,
    },
};

const ACCOUNTS: [&str; 3] = ["100", "101", "102"];

/// Two logs, and a phone with a connection over TLS.
struct Desk {
    folder: TempDir,
    logs: Logs,
    taps: Taps,
    guard: Guard,
    now: Time,
    _bench: Bench,
}

impl Desk {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let paths: Vec<PathBuf> = ["messages", "security"]
            .map(|name| folder.path().join(name))
            .into();
        for path in &paths {
            File::create(path).unwrap();
        }
        let frames = handshake("203.0.113.90:58428", "192.0.2.1:5061");
        let bench = Bench::new();
        let guard = bench.guard();
        let now = clock::now();
        Self {
            logs: Logs::open(paths),
            taps: Taps::double(WaitingFrames::new(frames, now.0)),
            now,
            guard,
            folder,
            _bench: bench,
        }
    }

    fn write(&mut self, file: &str, line: &str) {
        let path = self.folder.path().join(file);
        let mut file = OpenOptions::new().append(true).open(path).unwrap();
        writeln!(file, "{line}").unwrap();
        self.logs.wake();
    }

    /// Wrong passwords of the phone that count, once no login could excuse them any more.
    fn count(&mut self) -> u32 {
        while self.logs.take(&mut self.guard, &mut self.taps, self.now) {}
        self.guard.take_ami(&mut self.taps, self.now);
        self.now = self.now + Duration::from_secs(11);
        self.guard.handle_timeout(self.now);
        let suspects = self.guard.engine.suspects(self.now).into_iter();
        let own = suspects.filter(|it| it.detector == Detector::PasswordGuessing);
        own.map(|it| it.count).sum()
    }
}

fn notice(account: &str) -> String {
    format!(
        "[2026-11-22 19:05:44] NOTICE[711][C-00000001] chan_sip.c: Registration from \
         '<sip:{account}@192.0.2.1>' failed for '203.0.113.90:58428' - Wrong password"
    )
}

/// The fields of an event: name, value, and what stands between them and around the value.
fn event(account: &str, remote: &str, [is, quote, end]: [&str; 3]) -> String {
    [
        ("EventTV", "2026-11-22T19:05:44.045+0000"),
        ("Severity", "Error"),
        ("Service", "SIP"),
        ("EventVersion", "2"),
        ("AccountID", account),
        ("SessionID", "0x5627876a1690"),
        ("LocalAddress", "IPV4/TLS/192.0.2.1/5061"),
        ("RemoteAddress", remote),
        ("Challenge", "54063ffa"),
        ("ReceivedChallenge", "54063ffa"),
        ("ReceivedHash", "01bcc72f"),
    ]
    .map(|(name, value)| format!("{name}{is}{quote}{value}{quote}"))
    .join(end)
}

fn security(account: &str, remote: &str) -> String {
    let fields = event(account, remote, ["=", "\"", ","]);
    format!(
        "[2026-11-22 19:05:44] SECURITY[711] res_security_log.c: SecurityEvent=\"InvalidPassword\",{fields}"
    )
}

const REMOTE: &str = "IPV4/TLS/203.0.113.90/58428";

#[test_case::test_case(false; "where the manager interface is not used")]
#[test_case::test_case(true; "where its user may not read security events")]
#[tokio::test]
async fn notices_count_however_many_security_events_somebody_writes(is_logged_in: bool) {
    let mut desk = Desk::new();
    if is_logged_in {
        desk.guard.ami.is(SensorState::On, None);
    }
    // Nothing tells it from Asterisk's own.
    desk.write("messages", &security("999", "IPV4/UDP/198.51.100.7/5060"));
    assert_eq!(desk.count(), 0);
    for account in ACCOUNTS {
        desk.write("messages", &notice(account));
    }
    assert_eq!(desk.count(), 3);
}

#[tokio::test]
async fn a_notice_its_security_event_and_that_of_the_manager_interface_count_once() {
    let mut desk = Desk::new();
    let mut codec = Codec::new();
    let mut messages = Vec::new();
    for account in ACCOUNTS {
        desk.write("security", &security(account, REMOTE));
        desk.write("messages", &notice(account));
        let fields = event(account, REMOTE, [": ", "", "\r\n"]);
        let text = format!("Event: InvalidPassword\r\nPrivilege: security,all\r\n{fields}\r\n\r\n");
        messages.extend(codec.feed(text.as_bytes()));
    }
    messages.extend(codec.quiet());
    assert_eq!(messages.len(), 3);
    desk.guard.ami.queue(messages);
    assert_eq!(desk.count(), 3);
    // And now the event alone.
    desk.write("security", &security("103", REMOTE));
    assert_eq!(desk.count(), 4);
}

#[tokio::test]
async fn a_record_counts_once_however_its_file_writes_the_time() {
    let mut desk = Desk::new();
    for account in ACCOUNTS {
        let line = notice(account);
        let message = line.split_once("chan_sip.c: ").unwrap().1;
        desk.write("messages", &line);
        let syslog = format!(
            "Nov 22 19:05:45 pbx asterisk[9]: NOTICE[711]: chan_sip.c:29081 in \
             handle_request_register: {message}"
        );
        desk.write("security", &syslog);
    }
    assert_eq!(desk.count(), 3);
}
