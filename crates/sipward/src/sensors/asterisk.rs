//! What Asterisk says, as the engine's observations: of a line of its log and of an event of its
//! manager interface alike.
//!
//! | Asterisk | the engine |
//! |---|---|
//! | wrong password, failed challenge response | counts as a wrong password |
//! | unknown account, access list, wrong transport, unexpected address | counts as an account that this source may not use |
//! | a guest's call that was refused | counts as a number dialled |
//! | a bad request, a packet that was dropped | counts as unreadable |
//! | accepted credentials | trust |
//! | a challenge | counts where no credentials follow |
//! | misdial, limits of sessions or load, a source that is blocked | counts nothing |
//! | a call whose answer nobody acknowledged | evidence, by its Call-ID |
//! | "Failed to authenticate device", torn or unknown events | nothing: it names nobody who could be told |

use std::net::SocketAddr;

use sipward_asterisk::log::{Kind, SecurityEvent, Service, Transport};
use sipward_engine::{LogEvent, LogKind, LogTransport, Place};

/// What an event comes to; `None` where it says nothing of anybody. `text` is the line, for the
/// evidence. `connection` tells which of these somebody speaks who was seen to connect from this
/// address and port, and is asked at most once.
pub fn log_event<'a>(
    event: &SecurityEvent<'a>,
    text: &'a [u8],
    place: Place,
    connection: impl FnOnce(SocketAddr, &[LogTransport]) -> Option<LogTransport>,
) -> Option<LogEvent<'a>> {
    let kind = kind(event.kind, event.call_id)?;
    let source = event.remote.map(|remote| remote.address);
    let seen = needs_connection(event).and_then(|(remote, spoken)| connection(remote, spoken));
    Some(LogEvent {
        kind,
        source,
        account: event.account,
        transport: seen.unwrap_or_else(|| said(event)),
        connected: seen.is_some(),
        place,
        text,
    })
}

/// From where somebody must be connected so that an event counts, and what they may speak there, what
/// cannot be read on the wire first. A line without a port says of no connection that it is the one.
#[must_use]
pub fn needs_connection(
    event: &SecurityEvent<'_>,
) -> Option<(SocketAddr, &'static [LogTransport])> {
    let remote = event.remote.filter(|remote| remote.address.port() != 0)?;
    let spoken: &[LogTransport] = match event.service {
        Service::Iax2 => return None,
        Service::Manager => &[LogTransport::Manager],
        Service::ChanSip
        | Service::Pjsip
        | Service::FreeSwitch
        | Service::Kamailio
        | Service::Other => match remote.transport {
            Some(Transport::Udp | Transport::Tcp) => return None,
            Some(Transport::Tls) => &[LogTransport::Tls],
            // Whether a WebSocket is encrypted, who saw the connection knows best.
            Some(Transport::Ws | Transport::Wss) => &[LogTransport::Wss, LogTransport::Ws],
            // A line of the level NOTICE does not say it.
            None => &[LogTransport::Tls, LogTransport::Wss, LogTransport::Ws],
        },
    };
    Some((remote.address, spoken))
}

fn kind<'a>(kind: Kind<'a>, call_id: Option<&'a [u8]>) -> Option<LogKind<'a>> {
    match kind {
        Kind::WrongPassword | Kind::ChallengeResponseFailed => Some(LogKind::WrongPassword),
        Kind::UnknownAccount
        | Kind::RefusedByAcl
        | Kind::InvalidTransport
        | Kind::UnexpectedAddress => Some(LogKind::UnknownAccount),
        Kind::Misdial => Some(LogKind::Misdial),
        Kind::RefusedGuest { number } => Some(LogKind::RefusedCall {
            number: number.unwrap_or_default(),
        }),
        Kind::ChallengeSent => Some(LogKind::Challenged),
        Kind::SuccessfulAuth => Some(LogKind::Success),
        Kind::BadRequest | Kind::DroppedPacket { .. } => Some(LogKind::Malformed),
        Kind::SessionLimit | Kind::LoadAverageLimit | Kind::Blocked => Some(LogKind::Limited),
        Kind::InviteTimeout => call_id.map(|call_id| LogKind::InviteTimeout { call_id }),
        Kind::AnswerTimeout => call_id.map(|call_id| LogKind::AnswerTimeout { call_id }),
        Kind::RefusedDevice { .. } | Kind::Unread => None,
    }
}

/// The transport by the event's own word.
fn said(event: &SecurityEvent<'_>) -> LogTransport {
    match event.service {
        Service::Iax2 => LogTransport::Iax2,
        Service::Manager => LogTransport::Manager,
        Service::ChanSip
        | Service::Pjsip
        | Service::FreeSwitch
        | Service::Kamailio
        | Service::Other => match event.remote.and_then(|remote| remote.transport) {
            Some(Transport::Udp) | None => LogTransport::Udp,
            Some(Transport::Tcp) => LogTransport::Tcp,
            Some(Transport::Tls) => LogTransport::Tls,
            Some(Transport::Ws) => LogTransport::Ws,
            Some(Transport::Wss) => LogTransport::Wss,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::log_event;
    use sipward_asterisk::log;
    use sipward_engine::{LogKind, LogTransport, Place};
    use test_case::test_case;

    const REGISTER: &str = "[x] NOTICE[1] chan_sip.c: Registration from '<sip:101@192.0.2.1>' failed \
                            for '203.0.113.9:5071' - Wrong password";
    const TLS: &str = r#"[x] SECURITY[1] r.c: SecurityEvent="ChallengeResponseFailed",EventTV="2026-11-22T18:55:40.100+0000",Severity="Error",Service="PJSIP",EventVersion="1",AccountID="101",SessionID="c1",LocalAddress="IPV4/TLS/192.0.2.1/5061",RemoteAddress="IPV4/TLS/203.0.113.9/5071",Challenge="1",Response="2",ExpectedResponse="""#;
    const PORT_0: &str = r#"[x] SECURITY[1] r.c: SecurityEvent="ChallengeResponseFailed",EventTV="2026-11-22T18:55:40.100+0000",Severity="Error",Service="PJSIP",EventVersion="1",AccountID="101",SessionID="c1",LocalAddress="IPV4/TLS/192.0.2.1/5061",RemoteAddress="IPV4/TLS/203.0.113.9/0",Challenge="1",Response="2",ExpectedResponse="""#;
    const MANAGER_EVENT: &str = r#"[x] SECURITY[1] m.c: SecurityEvent="InvalidPassword",EventTV="2026-11-22T18:55:40.100+0000",Severity="Error",Service="AMI",EventVersion="1",AccountID="y",SessionID="0x1",LocalAddress="IPV4/TCP/0.0.0.0/5038",RemoteAddress="IPV4/TCP/203.0.113.9/5071""#;
    const MANAGER: &str = "[x] NOTICE[1] manager.c: 203.0.113.9 failed to authenticate as 'y'";
    const ACL: &str = "[x] NOTICE[1] chan_sip.c: Registration from '<sip:101@192.0.2.1>' failed for \
                       '203.0.113.9:5071' - Device does not match ACL";

    #[test_case(REGISTER, None, LogTransport::Udp, false; "where the line does not say, UDP")]
    #[test_case(REGISTER, Some(LogTransport::Tls), LogTransport::Tls, true; "or what the connection speaks")]
    #[test_case(TLS, Some(LogTransport::Tls), LogTransport::Tls, true; "the line and the connection say TLS")]
    #[test_case(TLS, None, LogTransport::Tls, false; "only the line does")]
    #[test_case(PORT_0, Some(LogTransport::Tls), LogTransport::Tls, false; "port 0 is no connection's")]
    #[test_case(MANAGER, Some(LogTransport::Manager), LogTransport::Manager, false; "nor is a line without a port")]
    #[test_case(MANAGER_EVENT, Some(LogTransport::Manager), LogTransport::Manager, true; "the manager")]
    fn a_transport_is_what_the_line_says_and_a_connection_proves(
        line: &str,
        seen: Option<LogTransport>,
        transport: LogTransport,
        connected: bool,
    ) {
        let line = line.as_bytes();
        let event = log::parse(line).unwrap().event;
        let event = log_event(&event, line, Place::Line(1), |_, _| seen).unwrap();
        assert_eq!((event.transport, event.connected), (transport, connected));
        assert_eq!(event.text, line);
    }

    #[test]
    fn who_is_refused_by_an_access_list_tried_an_account_that_is_not_theirs() {
        let event = log::parse(ACL.as_bytes()).unwrap().event;
        let event = log_event(&event, b"", Place::Line(1), |_, _| None).unwrap();
        assert_eq!(event.kind, LogKind::UnknownAccount);
        assert_eq!(event.account, Some(&b"101"[..]));
    }

    #[test]
    fn a_call_that_nobody_acknowledged_is_known_by_its_call_id() {
        let line =
            "[x] WARNING[1] chan_sip.c: Timeout on 5f3a@h on non-critical invite transaction.";
        let event = log::parse(line.as_bytes()).unwrap().event;
        let event = log_event(&event, b"", Place::Line(1), |_, _| None).unwrap();
        assert_eq!(event.kind, LogKind::InviteTimeout { call_id: b"5f3a@h" });
    }

    #[test]
    fn a_refused_device_names_nobody() {
        let line = "[x] NOTICE[1] chan_sip.c: Failed to authenticate device <sip:1@h>;tag=t for \
                    INVITE, code = -1";
        let event = log::parse(line.as_bytes()).unwrap().event;
        assert!(log_event(&event, b"", Place::Line(1), |_, _| None).is_none());
    }
}
