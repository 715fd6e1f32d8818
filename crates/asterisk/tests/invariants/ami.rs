//! What holds for every connection to the manager interface: shared by the fuzz target and the replay
//! of its corpus.

use std::net::IpAddr;

use sipward_asterisk::ami::{self, Codec};

/// Feeds an input in pieces as long as its first byte says, and checks what must hold.
pub fn check(input: &[u8]) {
    let Some((&size, bytes)) = input.split_first() else {
        return;
    };
    let mut codec = Codec::new();
    let mut messages = Vec::new();
    for piece in bytes.chunks(usize::from(size).max(1)) {
        messages.extend(codec.feed(piece));
    }
    messages.extend(codec.quiet());
    let mut length = 0;
    for message in &messages {
        length += message
            .fields()
            .map(|(key, value)| key.len() + value.len())
            .sum::<usize>();
        let _ = (
            ami::peer(message),
            ami::registration(message),
            message.succeeded(),
        );
        let Some(remote) = ami::security_event(message).and_then(|event| event.remote) else {
            continue;
        };
        let fields: Vec<&[u8]> = message
            .fields()
            .filter(|(key, _)| key.eq_ignore_ascii_case(b"RemoteAddress"))
            .map(|(_, value)| value)
            .collect();
        let [field] = fields[..] else {
            panic!("{} addresses in one event", fields.len());
        };
        let field = String::from_utf8_lossy(field).into_owned();
        let parts: Vec<&str> = field.split('/').collect();
        assert_eq!(parts.len(), 4, "{field}");
        assert_eq!(
            parts[2].parse::<IpAddr>(),
            Ok(remote.address.ip()),
            "{field}"
        );
        assert_eq!(parts[3].parse(), Ok(remote.address.port()), "{field}");
    }
    assert!(length <= bytes.len(), "more than was given");
}
