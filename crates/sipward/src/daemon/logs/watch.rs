//! Wakes when something in a folder of logs changes. It only saves time: every second the files are
//! looked at all the same.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use nix::{
    errno::Errno,
    sys::inotify::{AddWatchFlags, InitFlags, Inotify},
};
use tokio::io::unix::AsyncFd;

use crate::daemon::taps::readable;

/// Reads of waiting changes in one turn at most.
const READS: usize = 64;

/// The watch, where the kernel gives one.
pub struct Watch(Option<(Inotify, AsyncFd<OwnedFd>)>);

impl Watch {
    /// Watches nothing yet.
    pub fn open() -> Self {
        let opened = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)
            .map_err(std::io::Error::from)
            .and_then(|inotify| {
                let ready = readable(inotify.as_fd().try_clone_to_owned())?;
                Ok((inotify, ready))
            });
        match opened {
            Ok(opened) => Self(Some(opened)),
            Err(error) => {
                tracing::warn!(
                    "logs are looked at once a second only: {error} \
                     (fs.inotify.max_user_instances is too low?)"
                );
                Self(None)
            }
        }
    }

    /// Watches these folders, as far as they exist. The same ones may be given again.
    pub fn keep<'a>(&self, folders: impl Iterator<Item = &'a Path>) {
        let Some((inotify, _)) = &self.0 else {
            return;
        };
        let changes = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_DELETE;
        for folder in folders {
            // One that is not there yet is tried again; one that must not be read, its files say.
            let _ = inotify.add_watch(folder, changes);
        }
    }

    /// Waits for a change.
    pub async fn readable(&self) {
        match &self.0 {
            Some((_, ready)) => {
                if let Ok(mut ready) = ready.readable().await {
                    // Changes are taken after this: what comes meanwhile makes it ready again.
                    ready.clear_ready();
                }
            }
            None => std::future::pending().await,
        }
    }

    /// Takes the changes: which ones does not matter.
    pub fn drain(&self) {
        let Some((inotify, _)) = &self.0 else {
            return;
        };
        for _ in 0..READS {
            match inotify.read_events() {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }
}
