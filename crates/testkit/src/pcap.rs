//! Classic pcap files, written and read by hand: a 24-byte file header, then a 16-byte header before each
//! frame. Microseconds, link type Ethernet.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

const MAGIC: u32 = 0xa1b2_c3d4;

/// A capture file being written.
#[derive(Debug)]
pub struct PcapWriter<W: Write> {
    out: W,
}

impl PcapWriter<BufWriter<File>> {
    /// Creates the file, or empties it where it exists.
    ///
    /// # Errors
    /// What the file system says.
    pub fn create(path: &Path) -> io::Result<Self> {
        Self::new(BufWriter::new(File::create(path)?))
    }
}

impl<W: Write> PcapWriter<W> {
    /// Writes the file header.
    ///
    /// # Errors
    /// What the writer says.
    pub fn new(mut out: W) -> io::Result<Self> {
        let header: [u32; 6] = [MAGIC, 0x0004_0002, 0, 0, 0x0004_0000, 1];
        for word in header {
            out.write_all(&word.to_le_bytes())?;
        }
        Ok(Self { out })
    }

    /// Appends a frame; `at` counts from the epoch.
    ///
    /// # Errors
    /// What the writer says.
    pub fn write(&mut self, at: Duration, frame: &[u8]) -> io::Result<()> {
        let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
        let seconds = u32::try_from(at.as_secs()).map_err(io::Error::other)?;
        for word in [seconds, at.subsec_micros(), length, length] {
            self.out.write_all(&word.to_le_bytes())?;
        }
        self.out.write_all(frame)
    }

    /// Hands back the writer, flushed.
    ///
    /// # Errors
    /// What the writer says.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

/// A frame read from a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// When it was captured, from the epoch.
    pub at: Duration,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Reads a file of this machine's byte order in microseconds, as tcpdump and [`PcapWriter`]
/// write it. A last frame that is not yet whole is left out.
///
/// # Errors
/// If it is something else.
pub fn read(path: &Path) -> Result<Vec<Frame>> {
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    parse(&bytes).with_context(|| format!("reading {}", path.display()))
}

/// The same from memory.
///
/// # Errors
/// If it is something else.
pub fn parse(bytes: &[u8]) -> Result<Vec<Frame>> {
    let Some((header, mut rest)) = bytes.split_at_checked(24) else {
        return Ok(Vec::new());
    };
    ensure!(
        word(header, 0) == MAGIC,
        "not a pcap file of this byte order in microseconds"
    );
    let mut frames = Vec::new();
    while let Some((header, after)) = rest.split_at_checked(16) {
        let Some((bytes, after)) = after.split_at_checked(word(header, 2) as usize) else {
            break;
        };
        let at = Duration::new(u64::from(word(header, 0)), word(header, 1) * 1000);
        frames.push(Frame {
            at,
            bytes: bytes.to_vec(),
        });
        rest = after;
    }
    Ok(frames)
}

/// The word of that number; the headers are known to be long enough.
fn word(header: &[u8], number: usize) -> u32 {
    let bytes = &header[4 * number..4 * number + 4];
    u32::from_le_bytes(bytes.try_into().expect("four bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_a_frame_cut_short_is_left_out() {
        let mut pcap = PcapWriter::new(Vec::new()).unwrap();
        pcap.write(Duration::from_micros(1_500_001), b"one")
            .unwrap();
        pcap.write(Duration::from_micros(2_000_000), b"two")
            .unwrap();
        let bytes = pcap.finish().unwrap();
        let frames = parse(&bytes).unwrap();
        assert_eq!(frames.len(), 2);
        assert_eq!(frames[0].at, Duration::from_micros(1_500_001));
        assert_eq!(frames[1].bytes, b"two");
        assert_eq!(parse(&bytes[..bytes.len() - 1]).unwrap().len(), 1);
    }

    #[test]
    fn headers_are_24_and_16_bytes_and_frames_follow() {
        let mut pcap = PcapWriter::new(Vec::new()).unwrap();
        pcap.write(Duration::from_micros(1_500_001), b"frame")
            .unwrap();
        let bytes = pcap.finish().unwrap();
        assert_eq!(bytes.len(), 24 + 16 + 5);
        assert_eq!(bytes[..8], [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0]);
        assert_eq!(bytes[24..32], [1, 0, 0, 0, 0x21, 0xa1, 7, 0]);
        assert_eq!(&bytes[40..], b"frame");
    }
}
