//! What the kernel tells of this process, for the names that Prometheus' own libraries give it.

use std::fs;

use nix::sys::resource::{Resource, getrlimit};

/// What it has; none where the kernel does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Bytes of memory that are not swapped out.
    pub resident: Option<u64>,
    /// Files and sockets that are open.
    pub open_files: Option<u64>,
    /// How many may be.
    pub most_files: Option<u64>,
}

impl Process {
    /// As it is now.
    #[must_use]
    pub fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").ok();
        let files = fs::read_dir("/proc/self/fd").ok();
        let limit = getrlimit(Resource::RLIMIT_NOFILE).ok();
        Self {
            resident: status.and_then(|status| resident(&status)),
            // The folder itself is open while it is read.
            open_files: files.map(|files| files.count().saturating_sub(1) as u64),
            most_files: limit.map(|(soft, _)| soft),
        }
    }
}

/// The line `VmRSS:    1234 kB` of /proc/self/status, in bytes.
fn resident(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|it| it.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
    kilobytes.checked_mul(1_024)
}

#[cfg(test)]
mod tests {
    use test_case::test_case;

    use super::{Process, resident};

    #[test_case("Name:\tsipward\nVmRSS:\t   12340 kB\nRssAnon:\t 1 kB\n" => Some(12_636_160); "what Linux writes")]
    #[test_case("Name:\tkthreadd\n" => None; "nothing")]
    #[test_case("VmRSS:\t12 MB\n" => None; "another unit")]
    fn memory_is_read_from(status: &str) -> Option<u64> {
        resident(status)
    }

    #[test]
    fn this_process_is_known() {
        let process = Process::now();
        assert!(
            process.resident.is_some_and(|bytes| bytes > 1 << 20),
            "{process:?}"
        );
        assert!(process.open_files > Some(2), "{process:?}");
        assert!(process.most_files > Some(2), "{process:?}");
    }
}
