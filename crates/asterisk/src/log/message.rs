//! The messages of chan_sip, PJSIP, IAX2, the manager interface and the dialplan that name a remote
//! end, or a Call-ID that does.

use super::address::{maybe_with_port, maybe_with_transport, transport, with_port};
use super::{Kind, Remote, SecurityEvent, Service, contains, number, rsplit_once, split_once};

/// A message of the source file `file`. `None`: it says nothing about a remote end.
pub(super) fn read<'a>(file: &'a [u8], text: &'a [u8]) -> Option<SecurityEvent<'a>> {
    if file.starts_with(b"Ext. ") {
        return rejecting_unknown(file, text);
    }
    match file {
        b"chan_sip.c" => chan_sip(text),
        b"chan_iax2.c" => iax2(text),
        b"manager.c" => manager(text),
        b"pjproject" => pjproject(text),
        _ if file.starts_with(b"res_pjsip") => pjsip(text),
        _ => None,
    }
    .or_else(|| hacking_attempt(text))
}

const NOT_FOUND: &[u8] = b"' rejected because extension not found in context '";

fn event(kind: Kind<'_>, service: Service) -> SecurityEvent<'_> {
    SecurityEvent {
        kind,
        service,
        account: None,
        remote: None,
        call_id: None,
    }
}

fn chan_sip(text: &[u8]) -> Option<SecurityEvent<'_>> {
    if let Some(rest) = text.strip_prefix(b"Registration from '") {
        return registration(rest);
    }
    if let Some(rest) = text.strip_prefix(b"Call from '") {
        return call(rest);
    }
    if let Some(rest) = text.strip_prefix(b"Timeout on ") {
        let call_id = rest.strip_suffix(b" on non-critical invite transaction.")?;
        return Some(SecurityEvent {
            call_id: Some(call_id),
            ..event(Kind::InviteTimeout, Service::ChanSip)
        });
    }
    if let Some(rest) = text.strip_prefix(b"Retransmission timeout reached on transmission ") {
        let (call_id, rest) = rsplit_once(rest, b" for seqno ")?;
        let (_, rest) = number(rest)?;
        return rest
            .starts_with(b" (Critical Response)")
            .then_some(SecurityEvent {
                call_id: Some(call_id),
                ..event(Kind::AnswerTimeout, Service::ChanSip)
            });
    }
    let rest = text.strip_prefix(b"Failed to authenticate ")?;
    let from = [&b"device "[..], b"user "]
        .iter()
        .find_map(|word| rest.strip_prefix(*word))?;
    let tag = rsplit_once(from, b";tag=").map(|(_, rest)| {
        let end = rest.iter().position(|b| matches!(b, b' ' | b';'));
        rest.get(..end.unwrap_or(rest.len())).unwrap_or(rest)
    });
    Some(event(Kind::RefusedDevice { tag }, Service::ChanSip))
}

/// `…' failed for 'ADDRESS' - REASON`. The To before it is the remote end's own text, what follows is
/// not.
fn registration(rest: &[u8]) -> Option<SecurityEvent<'_>> {
    let (to, rest) = rsplit_once(rest, b"' failed for '")?;
    let (address, reason) = split_once(rest, b"' - ")?;
    let kind = match reason {
        b"Wrong password" => Kind::WrongPassword,
        // As its SECURITY event has it.
        b"Username/auth name mismatch" => Kind::ChallengeResponseFailed,
        b"No matching peer found" | b"Peer is not supposed to register" => Kind::UnknownAccount,
        b"Device does not match ACL"
        | b"ACL error (permit/deny)"
        | b"Registration denied because of contact ACL"
        | b"Not a local domain" => Kind::RefusedByAcl,
        b"Device not configured to use this transport type" => Kind::InvalidTransport,
        _ => return None,
    };
    Some(SecurityEvent {
        account: user(to),
        remote: maybe_with_port(address).map(without_transport),
        ..event(kind, Service::ChanSip)
    })
}

/// `NAME' (ADDRESS) to extension 'NUMBER' rejected because extension not found in context '…'.`
///
/// The number is the caller's text, and of a guest the name may be too.
fn call(rest: &[u8]) -> Option<SecurityEvent<'_>> {
    let (name, rest) = split_once(rest, b"' (")?;
    let (address, rest) = split_once(rest, b") to extension '")?;
    let (number, _) = rsplit_once(rest, NOT_FOUND)?;
    let unclear = [name, number]
        .iter()
        .any(|text| contains(text, b") to extension '"));
    let guest = name.is_empty();
    let kind = if guest {
        Kind::RefusedGuest {
            number: (!unclear).then_some(number),
        }
    } else {
        Kind::Misdial
    };
    Some(SecurityEvent {
        account: (!guest && !unclear).then_some(name),
        remote: maybe_with_transport(address).filter(|_| !unclear),
        ..event(kind, Service::ChanSip)
    })
}

fn pjsip(text: &[u8]) -> Option<SecurityEvent<'_>> {
    if let Some(rest) = text.strip_prefix(b"Request ") {
        return request(rest);
    }
    let (name, rest) = match text.strip_prefix(b"Call from '") {
        Some(rest) => split_once(rest, b"' (")?,
        None => split_once(text.trim_ascii_start(), b": Call (")?,
    };
    // An endpoint's name is the configuration's; the number, behind the address, is the caller's.
    if contains(name, b") to extension '") {
        return None;
    }
    let (address, rest) = split_once(rest, b") to extension '")?;
    let (number, _) = rsplit_once(rest, NOT_FOUND)?;
    let guest = name == b"anonymous";
    let kind = if guest {
        Kind::RefusedGuest {
            number: Some(number),
        }
    } else {
        Kind::Misdial
    };
    Some(SecurityEvent {
        account: (!guest).then_some(name),
        remote: maybe_with_transport(address),
        ..event(kind, Service::Pjsip)
    })
}

/// `'METHOD' from 'FROM' failed for 'ADDRESS' (callid: CALL-ID) - REASON`; early versions of
/// Asterisk 13 have no method.
///
/// The From and the Call-ID are the remote end's own. The From is printed by PJSIP, so its end is
/// known: a quoted string, then an address between `<` and the first `>`. Where PJSIP had no room
/// for it (256 bytes), its buffer holds something else, and the address is left alone.
fn request(rest: &[u8]) -> Option<SecurityEvent<'_>> {
    let (_method, rest) = split_once(rest, b"from '")?;
    let (head, reason) = rsplit_once(rest, b") - ")?;
    let reasons = [
        (&b"No matching endpoint found"[..], Kind::UnknownAccount),
        (b"Not match Endpoint ACL", Kind::RefusedByAcl),
        (b"Not match Endpoint Contact ACL", Kind::RefusedByAcl),
        (b"Failed to authenticate", Kind::ChallengeResponseFailed),
        (b"Error to authenticate", Kind::ChallengeResponseFailed),
    ];
    // "… after 5 tries in 203.113 ms" may follow.
    let (_, kind) = reasons.iter().find(|(known, _)| {
        reason
            .strip_prefix(*known)
            .is_some_and(|more| more.is_empty() || more.starts_with(b" after "))
    })?;
    let mut found = event(*kind, Service::Pjsip);
    let after_from = end_of_from(head).and_then(|end| head.split_at_checked(end));
    if let Some((from, rest)) = after_from
        && let Some(rest) = rest.strip_prefix(b"' failed for '")
        && let Some((address, call_id)) = split_once(rest, b"' (callid: ")
    {
        found.account = user(from);
        found.remote = with_port(address).map(without_transport);
        found.call_id = Some(call_id);
    }
    Some(found)
}

/// Where the From ends that PJSIP printed.
fn end_of_from(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    if text.first() == Some(&b'"') {
        at = 1;
        loop {
            match text.get(at)? {
                b'\\' => at += 2,
                b'"' => break,
                _ => at += 1,
            }
        }
        at += 1;
        if text.get(at) == Some(&b' ') {
            at += 1;
        }
    }
    let address = text.get(at..)?;
    if address.first() != Some(&b'<') {
        return None;
    }
    Some(at + address.iter().position(|&b| b == b'>')? + 1)
}

/// `sip_transport.c Dropping 90 bytes packet from UDP 203.0.113.76:51725 : …`, or "Error processing"
/// in older versions.
fn pjproject(text: &[u8]) -> Option<SecurityEvent<'_>> {
    let rest = text
        .trim_ascii_start()
        .strip_prefix(b"sip_transport.")?
        .trim_ascii_start();
    let rest = rest.strip_prefix(b"c").unwrap_or(rest).trim_ascii_start();
    let rest = [&b"Dropping "[..], b"Error processing "]
        .iter()
        .find_map(|word| rest.strip_prefix(*word))?;
    let (bytes, rest) = number(rest)?;
    let (name, rest) = split_once(rest.strip_prefix(b" bytes packet from ")?, b" ")?;
    let end = rest.iter().position(|&b| b == b' ').unwrap_or(rest.len());
    let address = with_port(without_end(rest.get(..end)?, b":"));
    Some(SecurityEvent {
        remote: address.map(|address| Remote {
            address,
            transport: transport(name),
        }),
        ..event(Kind::DroppedPacket { bytes }, Service::Pjsip)
    })
}

fn manager(text: &[u8]) -> Option<SecurityEvent<'_>> {
    let (address, rest) = split_once(text, b" ")?;
    let kinds = [
        (&b"failed to authenticate as '"[..], Kind::WrongPassword),
        (
            b"tried to authenticate with nonexistent user '",
            Kind::UnknownAccount,
        ),
        (b"failed to pass IP ACL as '", Kind::RefusedByAcl),
    ];
    let (kind, account) = kinds
        .iter()
        .find_map(|(words, kind)| Some((*kind, rest.strip_prefix(*words)?)))?;
    Some(SecurityEvent {
        account: Some(account.strip_suffix(b"'")?),
        remote: maybe_with_port(address).map(without_transport),
        ..event(kind, Service::Manager)
    })
}

/// Addresses of IAX2 come with and without a port. A name may be 255 bytes of anything.
fn iax2(text: &[u8]) -> Option<SecurityEvent<'_>> {
    let (kind, address, account) = if let Some(rest) = text.strip_prefix(b"Host ") {
        let (address, rest) = split_once(rest, b" ")?;
        let kinds = [
            (&b"failed to authenticate as "[..], Kind::WrongPassword),
            (b"failed MD5 authentication for '", Kind::WrongPassword),
            (
                b"failed RSA authentication with inkeys '",
                Kind::WrongPassword,
            ),
            (
                b"did not provide proper plaintext password for '",
                Kind::WrongPassword,
            ),
            (b"denied access to register peer '", Kind::RefusedByAcl),
        ];
        let (kind, account) = kinds
            .iter()
            .find_map(|(words, kind)| Some((*kind, rest.strip_prefix(*words)?)))?;
        let name = rsplit_once(account, b"' (").map_or(account, |(name, _)| name);
        (kind, address, Some(without_end(name, b"'")))
    } else if let Some(rest) = text.strip_prefix(b"Rejected connect attempt from ") {
        let (address, rest) = split_once(rest, b", ")?;
        let kind = if rest.starts_with(b"who was trying to reach '") {
            Kind::UnknownAccount
        } else {
            let dialled = rest.strip_prefix(b"request '")?;
            let number = rsplit_once(dialled, b"@").map(|(number, _)| number);
            Kind::RefusedGuest { number }
        };
        (kind, address, None)
    } else {
        let rest = text.strip_suffix(b")")?;
        let (head, address) = rsplit_once(rest, b" (from ")?;
        let name = match head.strip_prefix(b"No registration for peer '") {
            Some(name) => name.strip_suffix(b"'")?,
            None => head
                .strip_prefix(b"Peer '")?
                .strip_suffix(b"' is not dynamic")?,
        };
        (Kind::UnknownAccount, address, Some(name))
    };
    Some(SecurityEvent {
        account,
        remote: maybe_with_port(address).map(without_transport),
        ..event(kind, Service::Iax2)
    })
}

/// `"Rejecting unknown SIP connection from ADDRESS"`, as FreePBX' dialplan says. The number that was
/// dialled stands before it, in the name of the file.
fn rejecting_unknown<'a>(file: &'a [u8], text: &'a [u8]) -> Option<SecurityEvent<'a>> {
    let (before, address) = rsplit_once(text, b"\"Rejecting unknown SIP connection from ")?;
    let address = maybe_with_port(address.strip_suffix(b"\"")?)?;
    // `Ext. 00441904911000`; the dialplan's own are `s` and `h`.
    let number = file.strip_prefix(b"Ext. ").filter(|name| {
        before.is_empty()
            && name
                .first()
                .is_some_and(|b| b.is_ascii_digit() || *b == b'+')
    });
    Some(SecurityEvent {
        remote: Some(without_transport(address)),
        ..event(Kind::RefusedGuest { number }, Service::Other)
    })
}

/// Of patches and other drivers.
fn hacking_attempt(text: &[u8]) -> Option<SecurityEvent<'_>> {
    let address = text
        .strip_prefix(b"hacking attempt detected '")?
        .strip_suffix(b"'")?;
    Some(SecurityEvent {
        remote: maybe_with_port(address).map(without_transport),
        ..event(Kind::UnknownAccount, Service::Other)
    })
}

fn without_transport(address: std::net::SocketAddr) -> Remote {
    Remote {
        address,
        transport: None,
    }
}

/// The user of the URI in a From or To.
fn user(header: &[u8]) -> Option<&[u8]> {
    let uri = match rsplit_once(header, b"<") {
        Some((_, uri)) => uri,
        None => header,
    };
    let (_, rest) = split_once(uri, b":")?;
    let (user, _) = split_once(rest, b"@")?;
    (!user.is_empty()).then_some(user)
}

fn without_end<'a>(text: &'a [u8], end: &[u8]) -> &'a [u8] {
    text.strip_suffix(end).unwrap_or(text)
}
