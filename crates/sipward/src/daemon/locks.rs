//! At most one daemon per interface, state folder and folder of pins.

use std::{
    fs::File,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
    path::Path,
};

use nix::{
    fcntl::{Flock, FlockArg},
    sys::socket::{getsockopt, sockopt::PeerCredentials},
};

use crate::exit::Failure;

/// Holds an interface. An abstract Unix socket belongs to the network namespace, as the interface
/// does, and ends with the process however that ends.
#[derive(Debug)]
pub struct InterfaceLock(#[expect(dead_code, reason = "held until dropped")] UnixListener);

/// Holds a folder.
#[derive(Debug)]
pub struct FolderLock(#[expect(dead_code, reason = "held until dropped")] Flock<File>);

impl InterfaceLock {
    /// Takes the interface of this name.
    ///
    /// # Errors
    /// Exit code 2 where another daemon has it.
    pub fn take(interface: &str) -> Result<Self, Failure> {
        let refused = |error: io::Error| {
            Failure::input(format!(
                "interface {interface}: cannot take its lock: {error}"
            ))
        };
        let address =
            SocketAddr::from_abstract_name(format!("sipward/{interface}")).map_err(refused)?;
        match UnixListener::bind_addr(&address) {
            Ok(listener) => Ok(Self(listener)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                let holder =
                    holder(&address).map_or_else(String::new, |pid| format!(" (process {pid})"));
                Err(Failure::input(format!(
                    "interface {interface} is guarded by another sipward that is running{holder}: \
                     stop that one first, or name another interface with --interface"
                )))
            }
            Err(error) => Err(refused(error)),
        }
    }
}

impl FolderLock {
    /// Takes an existing folder; `option` is how the user may name another one.
    ///
    /// # Errors
    /// Exit code 2 where another daemon has it.
    pub fn take(folder: &Path, option: &str) -> Result<Self, Failure> {
        let refused = |why: &str| Failure::input(format!("{}: {why}", folder.display()));
        let file = File::open(folder).map_err(|error| refused(&error.to_string()))?;
        Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map(Self)
            .map_err(|(_, error)| {
                if error == nix::errno::Errno::EWOULDBLOCK {
                    refused(&format!(
                        "another sipward that is running uses this folder: stop that one first, or \
                     name another folder with {option}"
                    ))
                } else {
                    refused(&format!("cannot lock the folder: {error}"))
                }
            })
    }
}

fn holder(address: &SocketAddr) -> Option<i32> {
    let stream = UnixStream::connect_addr(address).ok()?;
    getsockopt(&stream, PeerCredentials)
        .ok()
        .map(|peer| peer.pid())
}

#[cfg(test)]
mod tests {
    use super::{FolderLock, InterfaceLock};
    use tempfile::TempDir;

    #[test]
    fn an_interface_has_one_holder_until_it_lets_go() {
        let first = InterfaceLock::take("test-lock").unwrap();
        let error = InterfaceLock::take("test-lock").unwrap_err();
        let this = format!("(process {})", std::process::id());
        assert!(error.text.contains(&this), "{error}");
        InterfaceLock::take("test-lock-2").unwrap();
        drop(first);
        InterfaceLock::take("test-lock").unwrap();
    }

    #[test]
    fn a_folder_has_one_holder_until_it_lets_go() {
        let folder = TempDir::new().unwrap();
        let first = FolderLock::take(folder.path(), "--state-dir").unwrap();
        let error = FolderLock::take(folder.path(), "--state-dir").unwrap_err();
        assert!(error.text.contains("--state-dir"), "{error}");
        drop(first);
        FolderLock::take(folder.path(), "--state-dir").unwrap();
    }
}
