//! Wakes when an interface has come, gone, or changed.

use std::os::fd::{AsFd as _, OwnedFd};

use sipward_shield::LinkWatch;
use tokio::io::unix::AsyncFd;

use super::taps::readable;
use crate::exit::Failure;

/// The watch on the interfaces of this network namespace.
pub struct Links {
    watch: LinkWatch,
    ready: AsyncFd<OwnedFd>,
}

impl Links {
    /// Watches from now on.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn watch() -> Result<Self, Failure> {
        let open = || {
            let watch = LinkWatch::open()?;
            let ready = readable(watch.as_fd().try_clone_to_owned())?;
            Ok(Self { watch, ready })
        };
        open().map_err(|error: std::io::Error| {
            Failure::unsupported(format!("cannot watch the interfaces: {error}"))
        })
    }

    /// Waits for a change; those that came meanwhile are one.
    pub async fn changed(&self) {
        if let Ok(mut ready) = self.ready.readable().await {
            // Taken after this: what comes meanwhile makes it ready again.
            ready.clear_ready();
        }
        self.watch.drain();
    }
}
