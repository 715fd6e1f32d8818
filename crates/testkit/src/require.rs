//! What a test needs from the machine, and what happens where it is missing: on a developer's
//! machine the test says so and returns, in CI it fails.

use std::path::PathBuf;

use crate::docker_engine;

/// Something that not every machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Root: namespaces, raw sockets, BPF.
    Root,
    /// A program on the PATH.
    Program(&'static str),
    /// Asterisk 16 in the cache.
    Asterisk,
    /// SIPVicious in the cache.
    SipVicious,
    /// Fail2Ban in the cache, see [`fail2ban`].
    Fail2Ban,
    /// Kamailio in the cache, see [`kamailio`].
    Kamailio,
    /// Prometheus' tools in the cache, see [`prometheus`].
    Prometheus,
    /// Docker's proxy in the cache, see [`docker_proxy`].
    DockerProxy,
    /// Docker's engine in the cache, see [`docker`].
    DockerEngine,
    /// sshd in the cache, see [`sshd`].
    Sshd,
    /// Programs of the corpus in the cache, see [`corpus_programs`].
    CorpusPrograms,
    /// The kernel of a Debian release in the cache, see [`kernel`].
    Kernel(&'static str),
}

impl Need {
    fn missing(self) -> Option<String> {
        match self {
            Self::Root => (!nix::unistd::geteuid().is_root()).then(|| "not root".to_owned()),
            Self::Program(name) => {
                let found = program(name);
                found.is_none().then(|| format!("no {name} on the PATH"))
            }
            Self::Asterisk => missing_in_cache("Asterisk", asterisk_root()),
            Self::Fail2Ban => missing_in_cache("Fail2Ban", fail2ban()),
            Self::Kamailio => missing_in_cache("Kamailio", kamailio()),
            Self::Prometheus => missing_in_cache("promtool", prometheus().join("bin/promtool")),
            Self::DockerProxy => missing_in_cache("docker-proxy", docker_proxy()),
            Self::DockerEngine => docker_engine::OWN
                .iter()
                .find_map(|program| missing_in_cache("docker engine", docker().join(program))),
            Self::Sshd => missing_in_cache("sshd", sshd()),
            Self::CorpusPrograms => missing_in_cache("corpus programs", corpus_programs()),
            Self::Kernel(suite) => missing_in_cache("kernel", kernel(suite).join("modules")),
            Self::SipVicious => missing_in_cache("SIPVicious", sipvicious_folder()),
        }
    }
}

/// True if the machine has all of it. If not, prints `SKIPPED: ` and why.
///
/// # Panics
/// If something is missing and the environment has `CI`: there nothing may be skipped unseen.
#[must_use]
pub fn require(needs: &[Need]) -> bool {
    let missing: Vec<String> = needs.iter().filter_map(|need| need.missing()).collect();
    if missing.is_empty() {
        return true;
    }
    skip(&missing.join(", "));
    false
}

/// Prints `SKIPPED: ` and why, for what only the test itself can find out (a kernel feature).
///
/// # Panics
/// If the environment has `CI`.
#[expect(
    clippy::print_stderr,
    reason = "the reader of the test's output must see it"
)]
pub fn skip(why: &str) {
    let in_ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
    assert!(!in_ci, "nothing may be skipped in CI: {why}");
    eprintln!("SKIPPED: {why}");
}

/// Where a program on the PATH is.
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut files = std::env::split_paths(&path).map(|folder| folder.join(name));
    files.find(|file| file.is_file())
}

/// The root directory of the cached Asterisk, for chroot.
#[must_use]
pub fn asterisk_root() -> PathBuf {
    cache().join("asterisk-16")
}

/// Where the cached SIPVicious has its programs.
#[must_use]
pub fn sipvicious_folder() -> PathBuf {
    cache().join("sipvicious/bin")
}

/// The root directory of the cached Fail2Ban: `usr/bin/fail2ban-regex`, `etc/fail2ban`.
#[must_use]
pub fn fail2ban() -> PathBuf {
    cache().join("fail2ban")
}

/// The root directory of the cached Kamailio: `usr/sbin/kamailio`.
#[must_use]
pub fn kamailio() -> PathBuf {
    cache().join("kamailio")
}

/// The folder of Prometheus' tools: `bin/promtool`, and `bin/python` with its client.
#[must_use]
pub fn prometheus() -> PathBuf {
    cache().join("prometheus")
}

/// The root directory of the cached docker: `usr/sbin/dockerd`.
#[must_use]
pub fn docker() -> PathBuf {
    cache().join("docker")
}

/// The cached `docker-proxy`.
#[must_use]
pub fn docker_proxy() -> PathBuf {
    docker().join("usr/sbin/docker-proxy")
}

/// The root directory of the cached sshd: `usr/sbin/sshd`.
#[must_use]
pub fn sshd() -> PathBuf {
    cache().join("sshd")
}

/// The folder of the programs that `tools/install-corpus-programs` installs for recording the corpus:
/// `python/bin/python`.
#[must_use]
pub fn corpus_programs() -> PathBuf {
    cache().join("corpus")
}

/// The cached kernel of a Debian release: `vmlinuz`, and modules under `modules`.
#[must_use]
pub fn kernel(suite: &str) -> PathBuf {
    cache().join("kernels").join(suite)
}

/// The same rule as in `tools/install-test-deps`.
pub(crate) fn cache() -> PathBuf {
    let from = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    from("SIPWARD_CACHE").unwrap_or_else(|| {
        from("XDG_CACHE_HOME")
            .unwrap_or_else(|| from("HOME").unwrap_or_default().join(".cache"))
            .join("sipward")
    })
}

fn missing_in_cache(what: &str, path: PathBuf) -> Option<String> {
    (!path.exists()).then(|| format!("no {what} at {} (tools/install-test-deps)", path.display()))
}
