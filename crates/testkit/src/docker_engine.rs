//! Docker's engine, with containerd and runc as it starts them. It takes rules, bridges and mounts of the
//! machine that it is on, so it is for one that ends with the test: see [`crate::machine`].

use std::{
    env,
    ffi::OsString,
    net::UdpSocket,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{
    namespace::{self, Namespace},
    process::Process,
    require,
};

/// Under emulation.
const PATIENCE: Duration = Duration::from_secs(120);

const SOCKET: &str = "unix:///run/docker.sock";

/// What it runs of its own, below [`require::docker`].
pub const OWN: [&str; 6] = [
    "usr/sbin/dockerd",
    "usr/sbin/docker-proxy",
    "usr/sbin/runc",
    "usr/bin/docker",
    "usr/bin/containerd",
    "usr/bin/containerd-shim-runc-v2",
];

/// The extensions of iptables that its rules use.
const EXTENSIONS: [&str; 6] = [
    "libxt_standard.so",
    "libxt_addrtype.so",
    "libxt_conntrack.so",
    "libxt_udp.so",
    "libxt_DNAT.so",
    "libxt_MASQUERADE.so",
];

/// What a machine needs for it beside iptables: programs, and what iptables loads.
#[must_use]
pub fn programs() -> Vec<PathBuf> {
    let own = OWN.map(|program| require::docker().join(program));
    let extensions = Path::new("/usr/lib/x86_64-linux-gnu/xtables");
    let extensions = EXTENSIONS.map(|name| extensions.join(name));
    own.into_iter().chain(extensions).collect()
}

/// One at work in a network namespace, killed when dropped. What it has started is not.
#[derive(Debug)]
pub struct DockerEngine<'a> {
    host: &'a Namespace,
    process: Process,
}

/// A container of busybox that does nothing: who enters its network is a program in it.
#[derive(Debug)]
pub struct Container {
    network: PathBuf,
}

impl<'a> DockerEngine<'a> {
    /// Starts it with the options that it has by itself, but for the driver of its disks, and waits
    /// until it takes orders.
    ///
    /// # Errors
    /// If it ends before; with what it said.
    pub fn start(host: &'a Namespace) -> Result<Self> {
        let groups = "mount -t cgroup2 cgroup2 /sys/fs/cgroup";
        host.run(groups).context("control groups")?;
        let mut command = host.command("dockerd");
        command
            .args(["--host", SOCKET, "--storage-driver", "vfs"])
            .env("PATH", path()?)
            // A root that is in memory cannot be pivoted from.
            .env("DOCKER_RAMDISK", "yes");
        let mut process = Process::spawn(&mut command)?;
        process.wait_for("docker's engine to listen", PATIENCE, |said| {
            said.contains("API listen on")
        })?;
        Ok(Self { host, process })
    }

    /// Starts a container with this UDP port published, as `docker run --publish` does.
    ///
    /// # Errors
    /// What docker says.
    pub fn publish(&self, port: u16) -> Result<Container> {
        let folder = self.process.folder().join("image.tar");
        let image = folder.to_str().context("a path of ours")?;
        self.host
            .run(&format!("tar -c -f {image} -C / bin/busybox"))?;
        self.docker(&format!("import {image} pbx"))?;
        let container = self.docker(&format!(
            "run --detach --publish {port}:{port}/udp pbx /bin/busybox sleep 1000000"
        ))?;
        let network = self.docker(&format!(
            "inspect --format {{{{.NetworkSettings.SandboxKey}}}} {container}"
        ))?;
        Ok(Container {
            network: network.into(),
        })
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.output()
    }

    fn docker(&self, line: &str) -> Result<String> {
        let mut command = self.host.command("docker");
        command.env("PATH", path()?).args(["--host", SOCKET]);
        let finished = Process::run(command.args(line.split(' ')), PATIENCE)?;
        ensure!(
            finished.status.success(),
            "docker {line}: {}{}",
            finished.stderr,
            self.log()
        );
        Ok(finished.stdout.trim().to_owned())
    }
}

impl Container {
    /// A UDP socket of a program in it.
    ///
    /// # Errors
    /// Somebody has the port.
    pub fn udp_socket(&self, port: u16) -> Result<UdpSocket> {
        let bind = || UdpSocket::bind(("0.0.0.0", port));
        Ok(namespace::enter(&self.network, bind)?)
    }
}

/// With the programs that it has of its own.
fn path() -> Result<OsString> {
    let own = ["usr/sbin", "usr/bin"].map(|folder| require::docker().join(folder));
    let others = env::var_os("PATH").unwrap_or_default();
    let all = own.into_iter().chain(env::split_paths(&others));
    Ok(env::join_paths(all)?)
}
