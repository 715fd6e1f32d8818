//! The few system calls that no library offers: what a link is attached to, whether bpf(2) works
//! at all, which driver an interface has, what the clocks say, whether they are kept right, and a
//! thread's rights.

mod batch;
mod capabilities;

use std::{
    ffi::{CStr, CString},
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    time::Duration,
};

pub use batch::{Reader, update_batch};
pub use capabilities::give_up_capabilities;

use crate::{BootTime, Error};

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_LINK_DETACH: libc::c_long = 34;
const BPF_LINK_TYPE_XDP: u32 = 6;
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;
const SIOCETHTOOL: libc::c_ulong = 0x8946;
const ETHTOOL_GDRVINFO: u32 = 3;

impl BootTime {
    /// The boot clock now.
    #[must_use]
    pub fn now() -> Self {
        Self(clock(libc::CLOCK_BOOTTIME))
    }
}

/// How long the machine has slept since it started.
pub fn slept() -> Duration {
    // Read first, the other one is not behind it, but where a time namespace has it so.
    let awake = clock(libc::CLOCK_MONOTONIC);
    Duration::from_nanos(clock(libc::CLOCK_BOOTTIME).saturating_sub(awake))
}

/// Nanoseconds of a clock that begins with the machine.
fn clock(id: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a timespec of ours, which the call fills.
    let failed = unsafe { libc::clock_gettime(id, &raw mut time) };
    assert!(failed == 0, "clock {id} has been there since Linux 2.6.39");
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or_default();
    seconds * 1_000_000_000 + nanoseconds
}

/// Whether somebody keeps the machine's clock right, NTP for example; false for a clock that runs
/// as it did at the start.
#[must_use]
pub fn clock_is_kept() -> bool {
    // SAFETY: all zero is a value of timex, which is integers.
    let mut time: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a timex of ours; no mode is set, so that the call only reads.
    let state = unsafe { libc::adjtimex(&raw mut time) };
    state >= 0 && time.status & libc::STA_UNSYNC == 0
}

/// The head of the kernel's `union bpf_attr` for BPF_OBJ_GET_INFO_BY_FD.
#[repr(C)]
struct InfoRequest {
    fd: u32,
    len: u32,
    info: u64,
}

/// The head of the kernel's `union bpf_attr` for BPF_OBJ_GET.
#[repr(C)]
struct PathRequest {
    path: u64,
    fd: u32,
    flags: u32,
}

/// The head of `struct bpf_link_info`, with the fields of an XDP link.
#[derive(Default)]
#[repr(C)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    reserved: u32,
    ifindex: u32,
    reserved2: [u32; 7],
}

/// What an XDP link is attached to; `aya::programs::links::LinkInfo` does not tell the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpLinkState {
    /// The link's own id.
    pub id: u32,
    /// The program's id.
    pub program: u32,
    /// The interface's index; 0 when the interface went away.
    pub ifindex: u32,
}

/// The head of the kernel's `union bpf_attr` for BPF_LINK_DETACH.
#[repr(C)]
struct LinkRequest {
    link: u32,
}

/// The state of a pinned link.
pub fn pinned_link_state(pin: &Path) -> io::Result<XdpLinkState> {
    link_state(open_pin(pin)?.as_fd())
}

/// Takes a pinned link's program off its interface (since Linux 5.9). Nothing happens where the
/// interface is gone.
pub fn detach_pinned_link(pin: &Path) -> io::Result<()> {
    let link = open_pin(pin)?;
    let mut request = LinkRequest {
        link: link.as_raw_fd().cast_unsigned(),
    };
    bpf(BPF_LINK_DETACH, &mut request).map(drop)
}

/// What is pinned there, whatever it is.
pub fn open_pin(pin: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let mut request = PathRequest {
        path: path.as_ptr().addr() as u64,
        fd: 0,
        flags: 0,
    };
    bpf_fd(BPF_OBJ_GET, &mut request)
}

/// The state of a link, as long as it exists.
pub fn link_state(link: BorrowedFd<'_>) -> io::Result<XdpLinkState> {
    let mut info = LinkInfo::default();
    let mut request = InfoRequest {
        fd: link.as_raw_fd().cast_unsigned(),
        len: size_of_u32::<LinkInfo>(),
        info: (&raw mut info).addr() as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut request)?;
    if info.kind != BPF_LINK_TYPE_XDP {
        return Err(io::Error::other("not an XDP link"));
    }
    Ok(XdpLinkState {
        id: info.id,
        program: info.program,
        ifindex: info.ifindex,
    })
}

/// The head of `union bpf_attr` for BPF_MAP_CREATE.
#[repr(C)]
struct MapRequest {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

/// Finds out by trying whether this process may use bpf(2), with a map of four bytes.
///
/// # Errors
/// [`Error::NotPermitted`] or [`Error::NoBpf`], which are what an administrator can act on.
pub fn probe() -> Result<(), Error> {
    const ARRAY: u32 = 2;
    let mut request = MapRequest {
        kind: ARRAY,
        key_size: 4,
        value_size: 4,
        max_entries: 1,
    };
    match bpf_fd(BPF_MAP_CREATE, &mut request) {
        Ok(_map) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(Error::NotPermitted),
        Err(error) => Err(Error::NoBpf(error)),
    }
}

fn bpf_fd<T>(command: libc::c_long, attributes: &mut T) -> io::Result<OwnedFd> {
    let fd = bpf(command, attributes)?;
    // SAFETY: the call has just returned this descriptor, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn bpf<T>(command: libc::c_long, attributes: &mut T) -> io::Result<i32> {
    let attributes: *mut T = attributes;
    // SAFETY: the attributes are a repr(C) struct of ours that begins as union bpf_attr does for
    // this command; the kernel reads and writes no more than the size says and takes the rest as
    // zero.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of_u32::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(i32::try_from(result).unwrap_or_default())
}

fn size_of_u32<T>() -> u32 {
    u32::try_from(size_of::<T>()).unwrap_or(u32::MAX)
}

/// The index of an interface in this network namespace; none where there is none of this name.
///
/// # Errors
/// It could not be looked up: glibc opens a socket for that, and there may be no descriptor left.
pub fn interface_index(name: &str) -> io::Result<Option<u32>> {
    let name = CString::new(name)?;
    // SAFETY: the name is a C string that lives through the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 {
        return none_or_error();
    }
    Ok(Some(index))
}

/// The name of an interface in this network namespace; none where there is none of this index.
///
/// # Errors
/// It could not be looked up, as in [`interface_index`].
pub fn interface_name(index: u32) -> io::Result<Option<String>> {
    let mut name = [0 as libc::c_char; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the IF_NAMESIZE bytes that the call may write.
    let result = unsafe { libc::if_indextoname(index, name.as_mut_ptr()) };
    if result.is_null() {
        return none_or_error();
    }
    // SAFETY: the call succeeded, so the buffer holds a C string.
    let name = unsafe { CStr::from_ptr(name.as_ptr()) };
    Ok(Some(name.to_string_lossy().into_owned()))
}

/// Why an interface was not found: there is none, or nobody could look.
fn none_or_error<T>() -> io::Result<Option<T>> {
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENODEV | libc::ENXIO) => Ok(None),
        _ => Err(error),
    }
}

/// `struct ethtool_drvinfo`.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

/// The name of an interface's driver, as `ethtool -i` prints it.
pub fn driver(interface: &str) -> io::Result<String> {
    let mut info = DriverInfo {
        command: ETHTOOL_GDRVINFO,
        driver: [0; 32],
        rest: [0; 160],
    };
    // SAFETY: all zero is a value of ifreq, which is integers and a pointer that is set below.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if interface.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_data = (&raw mut info).cast();

    // SAFETY: no pointers are passed.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just returned this descriptor, nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    // SAFETY: request and info live through the call, and the kernel writes a struct
    // ethtool_drvinfo, which DriverInfo is, 196 bytes.
    let failed = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    let len = info
        .driver
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(info.driver.len());
    Ok(String::from_utf8_lossy(&info.driver[..len]).into_owned())
}

/// Whether a folder is on a BPF file system.
pub fn is_bpf_fs(folder: &Path) -> io::Result<bool> {
    let path = CString::new(folder.as_os_str().as_bytes())?;
    // SAFETY: all zero is a value of statfs, which is integers.
    let mut stat: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path is a C string and the buffer a statfs, both live through the call.
    if unsafe { libc::statfs(path.as_ptr(), &raw mut stat) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // The field's type differs between architectures.
    #[allow(clippy::unnecessary_cast, reason = "i64 here, u32 or i32 elsewhere")]
    Ok(stat.f_type as i64 & 0xffff_ffff == BPF_FS_MAGIC)
}

/// Mounts a BPF file system.
pub fn mount_bpf_fs(folder: &CStr) -> io::Result<()> {
    // SAFETY: all pointers are C strings that live through the call; no data is passed.
    let failed = unsafe {
        libc::mount(
            c"bpf".as_ptr(),
            folder.as_ptr(),
            c"bpf".as_ptr(),
            0,
            std::ptr::null(),
        )
    };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
