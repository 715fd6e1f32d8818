//! Classic pcap files, written by hand: a 24-byte file header, then a 16-byte header before each
//! frame. Microseconds, link type Ethernet.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

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
        let header: [u32; 6] = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 0x0004_0000, 1];
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

#[cfg(test)]
mod tests {
    use super::*;

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
