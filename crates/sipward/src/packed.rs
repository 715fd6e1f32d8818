//! Files as `logrotate` leaves them: plain, or packed with gzip.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::Path,
};

use flate2::bufread::MultiGzDecoder;

/// Bytes read from the file at a time.
const BUFFER: usize = 128 << 10;

/// What is in a file, unpacked.
#[derive(Debug)]
pub enum Unpacked {
    /// A plain file.
    Plain(File),
    /// One that gzip packed.
    Gzip(Box<MultiGzDecoder<BufReader<File>>>),
}

impl Unpacked {
    /// Leaves out so many bytes.
    ///
    /// # Errors
    /// As those of reading.
    pub fn skip(&mut self, bytes: u32) -> io::Result<()> {
        match self {
            Self::Plain(file) => file.seek(SeekFrom::Current(bytes.into())).map(drop),
            Self::Gzip(file) => io::copy(&mut file.take(bytes.into()), &mut io::sink()).map(drop),
        }
    }
}

impl Read for Unpacked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(file) => file.read(buffer),
            Self::Gzip(file) => file.read(buffer),
        }
    }
}

/// What is in a file, unpacked where it begins like gzip, whatever its name is.
///
/// # Errors
/// It cannot be opened or read. A packed one that breaks off says so when it is read.
pub fn open(path: &Path) -> io::Result<Unpacked> {
    let mut file = File::open(path)?;
    let mut magic = Vec::new();
    (&mut file).take(2).read_to_end(&mut magic)?;
    file.seek(SeekFrom::Start(0))?;
    if magic == [0x1f, 0x8b] {
        let file = BufReader::with_capacity(BUFFER, file);
        return Ok(Unpacked::Gzip(Box::new(MultiGzDecoder::new(file))));
    }
    Ok(Unpacked::Plain(file))
}

/// Bytes of the file as it lies there, for the progress; 0 where nobody knows.
#[must_use]
pub fn size(path: &Path) -> u64 {
    path.metadata().map_or(0, |data| data.len())
}
