//! What somebody with root may do to pinned maps and links behind a guard's back, by bpf(2) itself.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

const MAP_CREATE: libc::c_long = 0;
const MAP_DELETE_ELEM: libc::c_long = 3;
const MAP_GET_NEXT_KEY: libc::c_long = 4;
const PROG_LOAD: libc::c_long = 5;
const OBJ_PIN: libc::c_long = 6;
const OBJ_GET: libc::c_long = 7;
const LINK_UPDATE: libc::c_long = 29;
const LINK_DETACH: libc::c_long = 34;
const HASH: u32 = 1;
const XDP: u32 = 6;
/// The flag of XDP programs that may be given packets of several fragments, as the shield's.
const HAS_FRAGMENTS: u32 = 1 << 5;
const ATTACH_XDP: u32 = 37;
/// `r0 = XDP_PASS; exit`
const PASS_EVERYTHING: [u64; 2] = [0x0000_0002_0000_00b7, 0x95];

/// The longest key of a map here.
type Key = [u8; 64];

/// Takes the program off its interface; link and pin stay.
///
/// # Errors
/// What the kernel says.
pub fn detach(link: &Path) -> io::Result<()> {
    let link = open(link)?;
    bpf(LINK_DETACH, &[word(&link)]).map(drop)
}

/// Puts a program that passes everything in the place of the one in a link.
///
/// # Errors
/// What the kernel says.
pub fn replace_program(link: &Path) -> io::Result<()> {
    let link = open(link)?;
    let license = c"GPL";
    let instructions = PASS_EVERYTHING.as_ptr().addr() as u64;
    let mut load = [0u64; 16];
    load[0] = u64::from(XDP) | (2 << 32);
    load[1] = instructions;
    load[2] = license.as_ptr().addr() as u64;
    // Behind log_level, log_size, log_buf and kern_version.
    load[5] = u64::from(HAS_FRAGMENTS) << 32;
    // Behind the name and an interface; that of the program before, or the link refuses.
    load[8] = u64::from(ATTACH_XDP) << 32;
    let program = fd(bpf(PROG_LOAD, &load)?);
    bpf(LINK_UPDATE, &[word(&link) | word(&program) << 32, 0]).map(drop)
}

/// Makes an empty hash table of these sizes in bytes and pins it.
///
/// # Errors
/// What the kernel says.
pub fn pin_hash(pin: &Path, key: u32, value: u32, entries: u32) -> io::Result<()> {
    let sizes = [
        u64::from(HASH) | u64::from(key) << 32,
        u64::from(value) | u64::from(entries) << 32,
    ];
    let map = fd(bpf(MAP_CREATE, &sizes)?);
    let path = CString::new(pin.as_os_str().as_bytes())?;
    bpf(OBJ_PIN, &[path.as_ptr().addr() as u64, word(&map)]).map(drop)
}

/// Deletes every entry of a map; returns how many there were.
///
/// # Errors
/// What the kernel says.
pub fn clear_map(map: &Path) -> io::Result<usize> {
    let map = open(map)?;
    let mut deleted = 0;
    loop {
        let mut key: Key = [0; 64];
        let next = [word(&map), 0, (&raw mut key).addr() as u64];
        match bpf(MAP_GET_NEXT_KEY, &next) {
            Ok(_) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(deleted),
            Err(error) => return Err(error),
        }
        bpf(
            MAP_DELETE_ELEM,
            &[word(&map), (&raw const key).addr() as u64],
        )?;
        deleted += 1;
    }
}

/// The keys of a map, whose length LEN must be. A map that changes meanwhile may show one twice.
///
/// # Errors
/// What the kernel says.
///
/// # Panics
/// Above 64 bytes.
pub fn keys<const LEN: usize>(map: &Path) -> io::Result<Vec<[u8; LEN]>> {
    let map = open(map)?;
    let mut keys: Vec<[u8; LEN]> = Vec::new();
    loop {
        // The first has none before it.
        let before = keys.last().map_or(0, |key| key.as_ptr().addr() as u64);
        let mut key: Key = [0; 64];
        let next = [word(&map), before, (&raw mut key).addr() as u64];
        match bpf(MAP_GET_NEXT_KEY, &next) {
            Ok(_) => keys.push(*key.first_chunk().expect("no key is longer than 64 bytes")),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(keys),
            Err(error) => return Err(error),
        }
    }
}

fn open(pin: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    bpf(OBJ_GET, &[path.as_ptr().addr() as u64, 0]).map(fd)
}

fn word(fd: &OwnedFd) -> u64 {
    u64::from(fd.as_raw_fd().cast_unsigned())
}

#[expect(unsafe_code, reason = "bpf(2) answers with a descriptor of ours")]
fn fd(number: i32) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us.
    unsafe { OwnedFd::from_raw_fd(number) }
}

#[expect(unsafe_code, reason = "no library wraps these commands")]
fn bpf(command: libc::c_long, attributes: &[u64]) -> io::Result<i32> {
    // SAFETY: the attributes are laid out as `union bpf_attr` for each command above, and what
    // they point to lives through the call and is as long as the kernel takes it to be.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            attributes.as_ptr(),
            size_of_val(attributes),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(i32::try_from(result).unwrap_or_default())
}
