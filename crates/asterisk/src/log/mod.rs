//! Asterisk's log: who tried what from where; and those of FreeSWITCH and Kamailio.
//!
//! [`parse`] reads a line by itself, [`Reader`] the lines of a file in order. Both know what
//! Asterisk 11 to 22 write into `messages`, `full` and `security`, directly, through syslog or the
//! journal, and behind a container's prefix, with or without colours.
//!
//! Whoever may send a packet writes parts of these lines, and Asterisk escapes nothing: the To of a
//! REGISTER, a Call-ID and a user name may hold a whole forged line, also behind a line feed of
//! their own (`%0a` in a SIP user name; measured on Asterisk 16.28, which writes it to `security`
//! for anybody). So a field is found from the side on which no such text can stand, the address is
//! parsed before it is used, and where both sides are a stranger's the address is `None`.

mod address;
mod dump;
mod freeswitch;
mod kamailio;
mod message;
mod prefix;
mod reader;
mod security;
mod stamp;

use std::net::SocketAddr;

use memchr::memmem;

pub(crate) use address::transport_address;
pub use prefix::{Level, Program};
pub use reader::{Lines, Reader};
pub(crate) use security::{event_named, service_named};
pub use stamp::Stamp;

/// What one line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLine<'a> {
    /// Whose line it is.
    pub program: Program,
    /// The time as written, of the program's own prefix; for Asterisk its form is `dateformat` of
    /// `logger.conf`. Empty where only another program wrote one. [`Stamp`] reads either.
    pub time: &'a [u8],
    /// The level.
    pub level: Level,
    /// The thread that wrote it; 0 where the line does not say.
    pub thread: u32,
    /// The source file (`chan_sip.c`), or `Ext. 600` for a line of Asterisk's dialplan.
    pub file: &'a [u8],
    /// What stands behind all that.
    pub message: &'a [u8],
    /// What happened.
    pub event: SecurityEvent<'a>,
    /// A stranger may have written the line: it names no address.
    pub is_doubtful: bool,
}

impl LogLine<'_> {
    /// What the record is in every file that has it: each may write the time in a form of its own,
    /// and syslog writes line and function beside the file.
    #[must_use]
    pub const fn record(&self) -> (Level, u32, &[u8], &[u8]) {
        (self.level, self.thread, self.file, self.message)
    }

    /// Asterisk writes a SECURITY event of the same thing, where that level is switched on: whoever
    /// reads both must count one.
    #[must_use]
    pub fn has_a_security_event(&self) -> bool {
        self.level != Level::Security
            && match self.event.kind {
                Kind::WrongPassword
                | Kind::UnknownAccount
                | Kind::ChallengeResponseFailed
                | Kind::RefusedByAcl
                | Kind::InvalidTransport => {
                    self.program == Program::Asterisk && self.event.service != Service::Iax2
                }
                // PJSIP writes none.
                Kind::Misdial => self.event.service == Service::ChanSip,
                Kind::RefusedDevice { .. } => true,
                Kind::RefusedGuest { .. }
                | Kind::ChallengeSent
                | Kind::SuccessfulAuth
                | Kind::BadRequest
                | Kind::UnexpectedAddress
                | Kind::SessionLimit
                | Kind::LoadAverageLimit
                | Kind::InviteTimeout
                | Kind::AnswerTimeout
                | Kind::DroppedPacket { .. }
                | Kind::Blocked
                | Kind::Unread => false,
            }
    }

    /// The same line where a stranger may have written it: it names no address that counts.
    #[must_use]
    pub fn distrusted(mut self) -> Self {
        self.is_doubtful = true;
        self.event.remote = None;
        self.event.account = None;
        if self.level == Level::Security {
            self.event.kind = Kind::Unread;
        }
        self
    }
}

/// A thing that Asterisk noticed, as a line of its log or an event of its manager interface has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecurityEvent<'a> {
    /// What happened.
    pub kind: Kind<'a>,
    /// Who in Asterisk says so.
    pub service: Service,
    /// The account, as the remote end wrote it; for an INVITE to chan_sip that was refused the
    /// dialled number, because Asterisk writes that. `None` where it names none or the text is
    /// ambiguous.
    pub account: Option<&'a [u8]>,
    /// The remote end; `None` where the line names none, or cannot be trusted to.
    pub remote: Option<Remote>,
    /// The Call-ID. Never the SessionID of chan_sip or the manager, which is a pointer.
    pub call_id: Option<&'a [u8]>,
}

/// The remote end of what a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Its address; port 0 where the line has none.
    pub address: SocketAddr,
    /// How it talks to Asterisk, where the line says so.
    pub transport: Option<Transport>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind<'a> {
    /// Credentials were wrong: `InvalidPassword`, "Wrong password". chan_sip says so of unknown
    /// users too (`alwaysauthreject`).
    WrongPassword,
    /// An answer to a challenge was wrong: `ChallengeResponseFailed`, "Failed to authenticate".
    /// PJSIP says so of a stale nonce too, with the right password.
    ChallengeResponseFailed,
    /// No such account, or the source may not use it: `InvalidAccountID`, "No matching endpoint
    /// found", "No matching peer found".
    UnknownAccount,
    /// An access list refused the source: `FailedACL`, "Device does not match ACL".
    RefusedByAcl,
    /// An account dialled a number that nobody has: `FailedACL` with `no_extension_match`,
    /// "extension not found". No failure of authentication.
    Misdial,
    /// The same without an account: a guest, or "Rejecting unknown SIP connection" of a dialplan.
    RefusedGuest {
        /// The number, as it was dialled; `None` where the line does not say, or not clearly.
        number: Option<&'a [u8]>,
    },
    /// A challenge went out: `ChallengeSent`.
    ChallengeSent,
    /// Credentials were accepted: `SuccessfulAuth`.
    SuccessfulAuth,
    /// An account was used over a transport it may not use: `InvalidTransport`.
    InvalidTransport,
    /// `RequestBadFormat`.
    BadRequest,
    /// `UnexpectedAddress`.
    UnexpectedAddress,
    /// `SessionLimit`.
    SessionLimit,
    /// `LoadAverageLimit`.
    LoadAverageLimit,
    /// "Timeout on … on non-critical invite transaction": the final answer to an INVITE was never
    /// acknowledged. There is a Call-ID and never an address.
    InviteTimeout,
    /// "Retransmission timeout reached on transmission … (Critical Response)": the same for an
    /// INVITE whose caller had authenticated.
    AnswerTimeout,
    /// "Failed to authenticate device": the remote end's own From and nothing else.
    RefusedDevice {
        /// The tag of the From, to tie it to what was seen on the wire.
        tag: Option<&'a [u8]>,
    },
    /// PJSIP dropped a packet that is no SIP: "Dropping N bytes packet from".
    DroppedPacket {
        /// Its length.
        bytes: u32,
    },
    /// The server refuses the source from now on, for what it sent before: Kamailio's `pike`, and
    /// "Blocking traffic from" of its scripts.
    Blocked,
    /// A SECURITY line that this reader does not know, or that was torn.
    Unread,
}

/// The part of Asterisk that a line is from, or another server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// `chan_sip`, "SIP" in events.
    ChanSip,
    /// `res_pjsip` and what belongs to it.
    Pjsip,
    /// `chan_iax2`.
    Iax2,
    /// The manager interface, "AMI" in events.
    Manager,
    /// FreeSWITCH's SIP module.
    FreeSwitch,
    /// Kamailio.
    Kamailio,
    /// The dialplan, or a part of Asterisk that is none of these.
    Other,
}

/// How a remote end talks to Asterisk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP without encryption.
    Tcp,
    /// TLS.
    Tls,
    /// WebSocket without encryption.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

/// Reads a line by itself, with or without its line end. `None` where it is none of these programs'
/// or says nothing about a remote end.
///
/// A [`Reader`] knows more: what stands before and after the line.
#[must_use]
pub fn parse(line: &[u8]) -> Option<LogLine<'_>> {
    let (prefix, text) = Program::of(line)?.split(line)?;
    read(&prefix, text)
}

fn read<'a>(prefix: &prefix::Prefix<'a>, text: &'a [u8]) -> Option<LogLine<'a>> {
    let event = match (prefix.program, prefix.level) {
        (_, Level::Other) => return None,
        (Program::FreeSwitch, _) => freeswitch::read(prefix.file, text)?,
        (Program::Kamailio, _) => kamailio::read(prefix.file, text)?,
        (Program::Asterisk, Level::Security) => security::read(text),
        (Program::Asterisk, Level::Notice | Level::Warning | Level::Error) => {
            message::read(prefix.file, text)?
        }
    };
    Some(LogLine {
        program: prefix.program,
        time: prefix.time,
        level: prefix.level,
        thread: prefix.thread,
        file: prefix.file,
        message: text,
        event,
        is_doubtful: false,
    })
}

/// Splits at the first `separator`, without it.
fn split_once<'a>(text: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = memmem::find(text, separator)?;
    Some((text.get(..at)?, text.get(at + separator.len()..)?))
}

/// Splits at the last `separator`, without it.
fn rsplit_once<'a>(text: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = memmem::rfind(text, separator)?;
    Some((text.get(..at)?, text.get(at + separator.len()..)?))
}

fn contains(text: &[u8], what: &[u8]) -> bool {
    memmem::find(text, what).is_some()
}

/// An unsigned decimal number at the start, and what follows it.
fn number(text: &[u8]) -> Option<(u32, &[u8])> {
    let end = text
        .iter()
        .position(|b| !b.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(end)?;
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((number, rest))
}
