//! SIP over WebSocket (RFC 6455, RFC 7118), one direction of a connection: the HTTP handshake,
//! then frames. One message of the WebSocket is one of SIP.

use sipward_wire::sip::MAX_FRAME;

/// Reads one direction. It keeps no bytes but those of a message in parts.
#[derive(Debug, Default)]
pub enum Reader {
    /// The request for the WebSocket, or the answer to it, is to come.
    #[default]
    Handshake,
    /// Frames, with what came so far of a message in parts.
    Frames(Vec<u8>),
    /// TLS, another protocol, compressed frames, or picked up in the middle.
    Opaque,
}

/// Bytes of a handshake at most.
const LONGEST_HANDSHAKE: usize = 16_384;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

/// The front of a frame.
struct Header {
    length: usize,
    is_last: bool,
    is_compressed: bool,
    opcode: u8,
    mask: Option<[u8; 4]>,
    payload: u64,
}

impl Reader {
    /// Bytes of the message that is not whole yet.
    pub fn held(&self) -> usize {
        match self {
            Self::Frames(parts) => parts.len(),
            Self::Handshake | Self::Opaque => 0,
        }
    }

    /// How many bytes of `bytes` are done with, after what they complete was delivered; `None`
    /// where more are needed.
    pub fn next_frame(&mut self, bytes: &[u8], deliver: &mut dyn FnMut(&[u8])) -> Option<usize> {
        if bytes.is_empty() {
            return None;
        }
        match self {
            Self::Handshake => self.handshake(bytes),
            Self::Frames(parts) => {
                let (frame, is_readable) = read_frame(bytes, parts, deliver)?;
                if !is_readable {
                    *self = Self::Opaque;
                    return Some(bytes.len());
                }
                Some(frame)
            }
            Self::Opaque => Some(bytes.len()),
        }
    }

    fn handshake(&mut self, bytes: &[u8]) -> Option<usize> {
        let is_http = [&b"GET "[..], b"HTTP/1.1 101"].iter().any(|start| {
            let length = start.len().min(bytes.len());
            bytes.get(..length) == start.get(..length)
        });
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        match end {
            Some(end) if is_http => {
                *self = Self::Frames(Vec::new());
                Some(end + 4)
            }
            None if is_http && bytes.len() < LONGEST_HANDSHAKE => None,
            Some(_) | None => {
                *self = Self::Opaque;
                Some(bytes.len())
            }
        }
    }
}

/// Reads one frame: its length, and whether what follows can be read.
fn read_frame(
    bytes: &[u8],
    parts: &mut Vec<u8>,
    deliver: &mut dyn FnMut(&[u8]),
) -> Option<(usize, bool)> {
    let header = Header::read(bytes)?;
    let payload = usize::try_from(header.payload).ok();
    let payload = payload.filter(|length| parts.len() + length <= MAX_FRAME);
    let (Some(length), false) = (payload, header.is_compressed) else {
        return Some((bytes.len(), false));
    };
    let end = header.length + length;
    let payload = bytes.get(header.length..end)?;
    // 8 and above are ping, pong and close.
    if header.opcode < 8 {
        let mask = header.mask.unwrap_or_default();
        let clear = payload.iter().zip(mask.iter().cycle());
        parts.extend(clear.map(|(byte, mask)| byte ^ mask));
        if header.is_last {
            deliver(parts);
            *parts = Vec::new();
        }
    }
    Some((end, true))
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Self> {
        let [first, second, rest @ ..] = bytes else {
            return None;
        };
        let (payload, size) = match second & !MASKED {
            126 => (u64::from(u16::from_be_bytes(*rest.first_chunk()?)), 2),
            127 => (u64::from_be_bytes(*rest.first_chunk()?), 8),
            length => (u64::from(length), 0),
        };
        let mask = match second & MASKED {
            0 => None,
            _ => Some(*rest.get(size..)?.first_chunk()?),
        };
        Some(Self {
            length: 2 + size + mask.map_or(0, |mask: [u8; 4]| mask.len()),
            is_last: first & FIN != 0,
            is_compressed: first & RESERVED != 0,
            opcode: first & 0x0f,
            mask,
            payload,
        })
    }
}
