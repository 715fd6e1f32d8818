//! Kamailio's log. Kamailio itself writes no address beside a failed authentication; what is read
//! here is what its default configuration and the well-known recipes for Fail2Ban have `xlog` write,
//! and `pike`'s own line:
//!
//! - `Auth error for USER@DOMAIN from ADDRESS cause -2`, also "Authentication failed for … from …";
//!   the cause is the return code of `auth_check`, `www_authenticate` or `pv_auth_check`
//! - `Malformed SIP request from ADDRESS:PORT`
//! - `ALERT: pike blocking METHOD from URI (IP:ADDRESS:PORT)`, `Blocking traffic from ADDRESS`,
//!   `PIKE - BLOCKing ip ADDRESS, node=…`
//!
//! The default `log_prefix` puts the CSeq and the Call-ID before all this, and lines of an operator
//! may end in a User-Agent. So a line is read only where the mark of its origin (`<script>: `, or
//! `(): ` of a module) stands in it once, and the address only where " from " does.
//!
//! Kamailio 5.6 writes what it cannot parse into its log, with the line feeds in it (measured): a
//! datagram of any stranger may be whole lines. rsyslog escapes them, other receivers do not, and
//! which one it was cannot be told from the text. So [`Reader`](super::Reader) believes none of the
//! 65,536 bytes behind such a message, and only lines behind syslog's prefix are read at all. An
//! operator's own `xlog` of a whole message (`$mb`) is not known as one.

use super::address::{maybe_with_port, with_port};
use super::prefix::{Level, Prefix, Program, after_syslog, skip_colours, trim_end, word};
use super::{Kind, Remote, SecurityEvent, Service, contains, rsplit_once, split_once};

const SCRIPT: &[u8] = b"<script>: ";
const FUNCTION: &[u8] = b"(): ";

/// Splits a line of Kamailio. Where its origin is not clear, the file is empty.
pub(super) fn split(line: &[u8]) -> Option<(Prefix<'_>, &[u8])> {
    let rest = after_syslog(skip_colours(trim_end(line)))?;
    let (name, rest) = word(rest, |b| b.is_ascii_uppercase())?;
    let level = match name {
        b"INFO" | b"NOTICE" => Level::Notice,
        b"WARNING" => Level::Warning,
        b"ERROR" | b"CRITICAL" | b"ALERT" | b"BUG" => Level::Error,
        b"DEBUG" => Level::Other,
        _ => return None,
    };
    let rest = rest.strip_prefix(b": ")?;
    let (file, text) = origin(rest).unwrap_or((b"", rest));
    let prefix = Prefix {
        program: Program::Kamailio,
        time: b"",
        level,
        thread: 0,
        file,
    };
    Some((prefix, text))
}

/// A message of the part `file`. `None`: it says nothing about a remote end.
pub(super) fn read<'a>(file: &[u8], text: &'a [u8]) -> Option<SecurityEvent<'a>> {
    match file {
        SCRIPT => script(text),
        b"pike" => {
            let rest = text.strip_prefix(b"PIKE - BLOCKing ip ")?;
            let (address, node) = split_once(rest, b", node=0x")?;
            let whole = node.iter().all(u8::is_ascii_hexdigit);
            Some(event(
                Kind::Blocked,
                maybe_with_port(address).filter(|_| whole),
            ))
        }
        _ => None,
    }
}

/// A message of Kamailio's own with a part of a packet in it.
pub(super) fn announces_a_packet(file: &[u8], text: &[u8]) -> bool {
    file != SCRIPT && text.iter().any(|b| matches!(b, b'<' | b'['))
}

fn origin(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if let Some((_, after)) = split_once(text, SCRIPT) {
        let clear = !contains(after, SCRIPT) && !contains(text, FUNCTION);
        return clear.then_some((SCRIPT, after));
    }
    let (before, after) = split_once(text, FUNCTION)?;
    if contains(after, FUNCTION) {
        return None;
    }
    // `pike [pike_funcs.c:135]: pike_check_ipaddr`
    let (before, _function) = rsplit_once(before, b"]: ")?;
    let (before, _place) = rsplit_once(before, b" [")?;
    let module = before.rsplit(|&b| b == b' ').next()?;
    Some((module, after))
}

fn script(text: &[u8]) -> Option<SecurityEvent<'_>> {
    if let Some(address) = text.strip_prefix(b"Malformed SIP request from ") {
        return Some(event(Kind::BadRequest, with_port(address)));
    }
    if let Some(address) = text.strip_prefix(b"Blocking traffic from ") {
        return Some(event(Kind::Blocked, maybe_with_port(address)));
    }
    if text.starts_with(b"ALERT: pike block") {
        let (_uri, address) = rsplit_once(text.strip_suffix(b")")?, b" (IP:")?;
        return Some(event(Kind::Blocked, with_port(address)));
    }
    let heads = [
        &b"Auth error for "[..],
        b"Auth failed for ",
        b"Authentication failed for ",
        b"Authentication failure for ",
    ];
    let rest = heads.iter().find_map(|head| text.strip_prefix(*head))?;
    let (rest, cause) = match rsplit_once(rest, b" cause ") {
        Some((rest, cause)) => (rest, Some(cause)),
        None => (rest, None),
    };
    let kind = match cause {
        None | Some(b"-1" | b"-2") => Kind::WrongPassword,
        Some(b"-3") => Kind::UnknownAccount,
        // A nonce that was too old or used before, or no credentials yet: every phone does that.
        Some(b"-4" | b"-5" | b"-6") => Kind::ChallengeSent,
        Some(_) => return None,
    };
    let (account, address) = split_once(rest, b" from ")?;
    let clear = !contains(address, b" from ");
    let words = [&b"source IP "[..], b"IP ", b"ip "];
    let address = words
        .iter()
        .find_map(|word| address.strip_prefix(*word))
        .unwrap_or(address);
    let account = rsplit_once(account, b"@").map_or(account, |(user, _)| user);
    Some(SecurityEvent {
        account: Some(account).filter(|_| clear),
        ..event(kind, maybe_with_port(address).filter(|_| clear))
    })
}

fn event(kind: Kind<'_>, address: Option<std::net::SocketAddr>) -> SecurityEvent<'_> {
    SecurityEvent {
        kind,
        service: Service::Kamailio,
        account: None,
        remote: address.map(|address| Remote {
            address,
            transport: None,
        }),
        call_id: None,
    }
}
