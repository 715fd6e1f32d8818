//! Asterisk's manager interface, without a socket: bytes in, messages out, actions as bytes.
//!
//! Asterisk escapes nothing here either. Whoever sends a REGISTER to chan_sip may write line ends
//! into the name of an account (`%0d%0a`; measured on Asterisk 16.28), and so further fields of the
//! event, or whole events. What gives them away is what must come behind: the rest of the event that
//! was torn. So an event is handed out when enough of what stands behind it is known, or nothing has
//! come for a while; a security event must have its fields in Asterisk's order, and must not begin
//! within the 255 bytes that the name in the one before can have. What a torn event may have forged
//! is [`Unread`](crate::log::Kind::Unread).

mod codec;
mod event;
mod listing;
mod message;

pub use codec::Codec;
pub use event::{Peer, PeerState, Registration, peer, registration, security_event};
pub use listing::Listing;
pub use message::Message;

/// Text with a line end in it, which cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineEnd;

impl std::fmt::Display for LineEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a field of a manager action has a line end in it; user and secret must be one line each")
    }
}

impl std::error::Error for LineEnd {}

/// An action to send: `Action: NAME` and its fields.
///
/// # Errors
/// If a text has a line end in it, which would begin another field.
pub fn action(name: &str, fields: &[(&str, &str)]) -> Result<Vec<u8>, LineEnd> {
    let mut text = format!("Action: {name}\r\n");
    for (key, value) in fields {
        text.push_str(key);
        text.push_str(": ");
        text.push_str(value);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    // One line end for the action, one for each field, one to end with.
    let ends = |byte| text.bytes().filter(|&b| b == byte).count();
    let expected = fields.len() + 2;
    if ends(b'\r') != expected || ends(b'\n') != expected {
        return Err(LineEnd);
    }
    Ok(text.into_bytes())
}

/// What the login asks for: security events, and the state of peers and registrations.
const EVENTS: (&str, &str) = ("Events", "system,security");

/// The login in cleartext; the user needs `read = system,security`.
///
/// # Errors
/// As [`action`].
pub fn login(user: &str, secret: &str) -> Result<Vec<u8>, LineEnd> {
    action("Login", &[("Username", user), ("Secret", secret), EVENTS])
}

/// Asks for the challenge, so that the secret need not be sent: its answer has a field `Challenge`.
///
/// # Errors
/// None: there is no text of others in it.
pub fn challenge() -> Result<Vec<u8>, LineEnd> {
    action("Challenge", &[("AuthType", "MD5")])
}

/// The login with the answer to a challenge: `key` is the MD5 of challenge and secret, in lower-case
/// hexadecimal.
///
/// # Errors
/// As [`action`].
pub fn login_with_key(user: &str, key: &str) -> Result<Vec<u8>, LineEnd> {
    action(
        "Login",
        &[
            ("AuthType", "MD5"),
            ("Username", user),
            ("Key", key),
            EVENTS,
        ],
    )
}
