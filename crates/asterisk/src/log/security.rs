//! `SecurityEvent="…",EventTV="…",…` of `res_security_log.c`.
//!
//! The order of the keys is fixed, and quotes in values are not escaped. AccountID and SessionID (in
//! PJSIP the Call-ID) are a stranger's text and stand before the addresses. Behind these stand only
//! text of the configuration, and what a digest header held between quotes: in PJSIP a quote there
//! has its backslash before it, `%22` and `%0d%0a` stay as they are, and a line feed makes it drop
//! the packet (seen with Asterisk 16.28). So the last RemoteAddress is Asterisk's own, except in the events where the name of a request
//! follows it: the manager interface takes any text for that.

use super::address::transport_address;
use super::{Kind, SecurityEvent, Service, contains, number, rsplit_once, split_once};

/// Shortest EventTV: Asterisk 11 wrote seconds and microseconds, later ones an ISO time.
const TIME: usize = 17;

/// Text of a SECURITY line.
pub(super) fn read(text: &[u8]) -> SecurityEvent<'_> {
    event(text).unwrap_or(SecurityEvent::unread(Service::Other))
}

/// The kind of an event by its name, and by the name of the access list that refused.
pub(crate) fn event_named(name: &[u8], acl: Option<&[u8]>) -> Kind<'static> {
    match name {
        b"InvalidPassword" => Kind::WrongPassword,
        b"ChallengeResponseFailed" => Kind::ChallengeResponseFailed,
        b"InvalidAccountID" => Kind::UnknownAccount,
        b"FailedACL" if acl == Some(b"no_extension_match") => Kind::Misdial,
        b"FailedACL" => Kind::RefusedByAcl,
        b"ChallengeSent" => Kind::ChallengeSent,
        b"SuccessfulAuth" => Kind::SuccessfulAuth,
        b"InvalidTransport" => Kind::InvalidTransport,
        b"RequestBadFormat" => Kind::BadRequest,
        b"UnexpectedAddress" => Kind::UnexpectedAddress,
        b"SessionLimit" => Kind::SessionLimit,
        b"LoadAverageLimit" => Kind::LoadAverageLimit,
        _ => Kind::Unread,
    }
}

/// The part of Asterisk by its name in events.
pub(crate) fn service_named(name: &[u8]) -> Service {
    match name {
        b"SIP" => Service::ChanSip,
        b"PJSIP" => Service::Pjsip,
        b"IAX2" => Service::Iax2,
        b"AMI" => Service::Manager,
        _ => Service::Other,
    }
}

impl<'a> SecurityEvent<'a> {
    /// An event that is there and says nothing.
    pub(crate) const fn unread(service: Service) -> Self {
        Self {
            kind: Kind::Unread,
            service,
            account: None,
            remote: None,
            call_id: None,
        }
    }

    /// From the fields of a security event, wherever it was read: `session` becomes the Call-ID
    /// where it is one, and what is no account becomes none.
    pub(crate) fn of_fields(
        kind: Kind<'a>,
        service: Service,
        account: Option<&'a [u8]>,
        session: Option<&'a [u8]>,
        remote: Option<super::Remote>,
    ) -> Self {
        // chan_sip writes the dialled number there.
        let dialled = kind == Kind::Misdial;
        Self {
            kind,
            service,
            account: account.filter(|name| !matches!(*name, b"" | b"<unknown>") && !dialled),
            remote,
            call_id: session.filter(|_| service == Service::Pjsip),
        }
    }
}

fn event(text: &[u8]) -> Option<SecurityEvent<'_>> {
    let rest = text.strip_prefix(b"SecurityEvent=\"")?;
    let (name, rest) = split_once(rest, b"\",EventTV=\"")?;
    let (time, rest) = split_once(rest, b"\",Severity=\"")?;
    let (severity, rest) = split_once(rest, b"\",Service=\"")?;
    let (service, rest) = split_once(rest, b"\",EventVersion=\"")?;
    let (version, _) = number(rest).filter(|(_, rest)| rest.starts_with(b"\","))?;
    // A stranger's event would have to have all of this, and then does not fit into a name.
    let whole = name.iter().all(u8::is_ascii_alphabetic)
        && time.len() >= TIME
        && time.iter().all(|b| !matches!(b, b'"' | b','))
        && matches!(severity, b"Informational" | b"Error")
        && version > 0;
    if !whole {
        return None;
    }
    let service = service_named(service);

    let (before, after) = rsplit_once(rest, b",RemoteAddress=\"")?;
    let before = before.strip_suffix(b"\"")?;
    let (remote, after) = split_once(after, b"\"")?;
    // A line that was cut off, by a line feed in a value or by the length of Asterisk's buffer.
    if !(after.is_empty() || after.starts_with(b",") && after.ends_with(b"\"")) {
        return None;
    }
    let (before, local) = rsplit_once(before, b"\",LocalAddress=\"")?;
    transport_address(local)?;

    let acl = split_once(after, b",ACLName=\"").and_then(|(_, rest)| split_once(rest, b"\""));
    let kind = event_named(name, acl.map(|(acl, _)| acl));
    let ends_in_free_text = match kind {
        Kind::BadRequest | Kind::Unread => true,
        Kind::WrongPassword
        | Kind::ChallengeResponseFailed
        | Kind::UnknownAccount
        | Kind::RefusedByAcl
        | Kind::Misdial
        | Kind::RefusedGuest { .. }
        | Kind::ChallengeSent
        | Kind::SuccessfulAuth
        | Kind::InvalidTransport
        | Kind::UnexpectedAddress
        | Kind::SessionLimit
        | Kind::LoadAverageLimit
        | Kind::InviteTimeout
        | Kind::AnswerTimeout
        | Kind::RefusedDevice { .. }
        | Kind::DroppedPacket { .. }
        | Kind::Blocked => false,
    };
    let ambiguous = ends_in_free_text && contains(before, b",RemoteAddress=\"");
    let [account, session] = identities(before).unwrap_or_default();
    Some(SecurityEvent::of_fields(
        kind,
        service,
        account,
        session,
        transport_address(remote).filter(|_| !ambiguous),
    ))
}

/// Account and session, if it is clear where they end.
fn identities(before: &[u8]) -> Option<[Option<&[u8]>; 2]> {
    let (head, session) = split_once(before, b"\",SessionID=\"")?;
    let account = split_once(head, b"\",AccountID=\"").map(|(_, account)| account);
    let clear = |text: &[u8]| !contains(text, b"\",");
    (clear(session) && account.is_none_or(clear)).then_some([account, Some(session)])
}
