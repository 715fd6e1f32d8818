//! Docker's userland proxy, which its engine starts for each published port: it receives on the host and
//! hands on to the container from an address of its own.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;

use crate::{namespace::Namespace, process::Process, require};

const START: Duration = Duration::from_secs(30);

/// One at work, for UDP, killed when dropped.
#[derive(Debug)]
pub struct DockerProxy {
    _process: Process,
}

impl DockerProxy {
    /// Starts it with the arguments that the engine gives it, and waits until it receives.
    ///
    /// # Errors
    /// If it is not in the cache, or does not get the port.
    pub fn start(host: &Namespace, public: SocketAddr, container: SocketAddr) -> Result<Self> {
        // It tells the engine by file descriptor 3 that it is ready, and closes that: were it not
        // open, another file of the program would have the number.
        let mut command = host.command("sh");
        command
            .args(["-c", "exec \"$0\" \"$@\" 3>&1"])
            .arg(require::docker_proxy())
            .args(["-proto", "udp"])
            .args(["-host-ip", &public.ip().to_string()])
            .args(["-host-port", &public.port().to_string()])
            .args(["-container-ip", &container.ip().to_string()])
            .args(["-container-port", &container.port().to_string()]);
        let mut process = Process::spawn(&mut command)?;
        process.wait_for("docker-proxy to receive", START, |said| {
            said.lines().any(|line| line == "0")
        })?;
        Ok(Self { _process: process })
    }
}
