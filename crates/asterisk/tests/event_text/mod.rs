//! A security event as a line of text, for tables.

use sipward_asterisk::log::{Kind, SecurityEvent};

/// `kind|service|address|transport|account|Call-ID`.
pub fn shown(event: &SecurityEvent<'_>) -> String {
    let text =
        |bytes: Option<&[u8]>| bytes.map_or("-".to_owned(), |b| b.escape_ascii().to_string());
    let kind = if let Kind::RefusedDevice { tag } = event.kind {
        format!("RefusedDevice {}", text(tag))
    } else if let Kind::RefusedGuest { number } = event.kind {
        format!("RefusedGuest {}", text(number))
    } else if let Kind::DroppedPacket { bytes } = event.kind {
        format!("DroppedPacket {bytes}")
    } else {
        format!("{:?}", event.kind)
    };
    let address = event.remote.map(|remote| remote.address.to_string());
    let transport = event.remote.and_then(|remote| remote.transport);
    format!(
        "{kind}|{:?}|{}|{}|{}|{}",
        event.service,
        address.unwrap_or("-".to_owned()),
        transport.map_or("-".to_owned(), |transport| format!("{transport:?}")),
        text(event.account),
        text(event.call_id),
    )
}
