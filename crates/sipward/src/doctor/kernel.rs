//! Whether the kernel loads the program, and for us.

use std::{fs, path::Path};

use sipward_shield as shield;

use super::{Check, INSTEAD, State};

/// The oldest kernel on which the program is tested.
const OLDEST: (u32, u32) = (6, 1);

/// What the kernel says of itself.
pub(super) struct Facts {
    pub is_root: bool,
    /// As `uname -r` prints it.
    pub release: String,
    /// Why bpf(2) is of no use, where it is not.
    pub bpf: Option<shield::Error>,
    /// Whether nftables can guard instead.
    pub has_fallback: bool,
    /// `net.core.bpf_jit_enable`, where it can be read.
    pub jit: Option<String>,
    /// The folder of the pins.
    pub pin_dir: String,
    /// The type of the file system that it lies on.
    pub pin_fs: Option<String>,
}

impl Facts {
    pub(super) fn look(pin_dir: &Path, is_root: bool, has_fallback: bool) -> Self {
        let read = |path: &str| Some(fs::read_to_string(path).ok()?.trim().to_owned());
        let mounts = read("/proc/self/mounts").unwrap_or_default();
        Self {
            is_root,
            release: read("/proc/sys/kernel/osrelease").unwrap_or_default(),
            bpf: shield::probe().err(),
            has_fallback,
            jit: read("/proc/sys/net/core/bpf_jit_enable"),
            pin_dir: pin_dir.display().to_string(),
            pin_fs: file_system(&mounts, pin_dir),
        }
    }
}

/// The type of the file system of a path, of `/proc/self/mounts`.
fn file_system(mounts: &str, path: &Path) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    // The last of the longest: what was mounted over the others.
    let (_, kind) = mounts
        .filter(|(folder, _)| path.starts_with(folder))
        .max_by_key(|(folder, _)| folder.len())?;
    Some(kind.to_owned())
}

pub(super) fn judge(facts: &Facts) -> Vec<Check> {
    let mut checks = vec![privileges(facts), release(facts), bpf(facts)];
    if facts.jit.as_deref() == Some("0") {
        let found = "BPF programs are interpreted, several times slower than compiled";
        let advice = "sysctl -w net.core.bpf_jit_enable=1";
        checks.push(Check::new("bpf-jit", State::Warning, found, advice));
    }
    checks.push(pins(facts));
    checks
}

fn privileges(facts: &Facts) -> Check {
    if facts.is_root {
        return Check::ok("privileges", "root");
    }
    Check::needs_root("privileges", "not everything can be looked at")
}

fn release(facts: &Facts) -> Check {
    let release = &facts.release;
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|number| number.parse::<u32>().ok());
    let (Some(major), Some(minor)) = (numbers.next(), numbers.next()) else {
        let found = format!("a release that cannot be read: {release:?}");
        return Check::new("kernel", State::Unknown, found, "uname -r");
    };
    let found = format!("Linux {release}");
    if (major, minor) >= OLDEST {
        return Check::ok("kernel", found);
    }
    let found = format!("{found}; the program is made for 6.1 and newer");
    let advice = "a newer kernel, as of Debian 12: apt install linux-image-amd64";
    instead(facts, "kernel", found, advice)
}

fn bpf(facts: &Facts) -> Check {
    match &facts.bpf {
        None => Check::ok("bpf", "the kernel offers bpf(2) to this user"),
        Some(shield::Error::NotPermitted) if !facts.is_root => {
            Check::needs_root("bpf", "not offered to this user")
        }
        Some(error) => {
            let advice = "in a container: give it CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, or run \
                          sipward outside of it";
            instead(facts, "bpf", error.to_string(), advice)
        }
    }
}

/// Without XDP: nftables guards, where it can.
fn instead(facts: &Facts, name: &'static str, found: String, advice: &str) -> Check {
    if facts.has_fallback {
        return Check::new(name, State::Warning, found + INSTEAD, advice);
    }
    Check::new(name, State::Failed, found, advice)
}

fn pins(facts: &Facts) -> Check {
    let folder = &facts.pin_dir;
    if facts.pin_fs.as_deref() == Some("bpf") {
        return Check::ok("bpf-fs", format!("{folder} is on a BPF file system"));
    }
    if folder.starts_with("/sys/fs/bpf") {
        let found = "/sys/fs/bpf is not mounted yet; `sipward run` mounts it";
        return Check::ok("bpf-fs", found);
    }
    let found = format!("{folder} (pin-dir) is not on a BPF file system");
    let advice = "pin-dir = \"/sys/fs/bpf/sipward\"";
    Check::new("bpf-fs", State::Failed, found, advice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    fn facts() -> Facts {
        Facts {
            is_root: true,
            release: "6.1.0-18-amd64".to_owned(),
            bpf: None,
            has_fallback: false,
            jit: Some("1".to_owned()),
            pin_dir: "/sys/fs/bpf/sipward".to_owned(),
            pin_fs: Some("bpf".to_owned()),
        }
    }

    fn states(facts: &Facts) -> Vec<(&'static str, State)> {
        let checks = judge(facts).into_iter();
        let states = checks.map(|check| (check.name, check.state));
        states.filter(|(_, state)| *state != State::Ok).collect()
    }

    #[test]
    fn a_kernel_with_everything_is_ok() {
        assert_eq!(states(&facts()), []);
    }

    #[test_case("5.10.0-28-amd64", State::Failed)]
    #[test_case("6.0.19", State::Failed)]
    #[test_case("6.1.21-v8+", State::Ok)]
    #[test_case("6.18.44-fc-v657", State::Ok)]
    #[test_case("10.0.0", State::Ok)]
    #[test_case("", State::Unknown; "none")]
    fn a_release_is(release: &str, expected: State) {
        let release = release.to_owned();
        let facts = Facts { release, ..facts() };
        assert_eq!(super::release(&facts).state, expected);
    }

    #[test]
    fn without_root_it_is_not_the_kernels_fault() {
        let facts = Facts {
            is_root: false,
            bpf: Some(shield::Error::NotPermitted),
            ..facts()
        };
        let unknown = State::Unknown;
        assert_eq!(states(&facts), [("privileges", unknown), ("bpf", unknown)]);
    }

    #[test]
    fn what_root_is_refused_fails() {
        let facts = Facts {
            bpf: Some(shield::Error::NotPermitted),
            jit: Some("0".to_owned()),
            pin_dir: "/var/lib/pins".to_owned(),
            pin_fs: Some("ext4".to_owned()),
            ..facts()
        };
        let failed = State::Failed;
        let expected = [
            ("bpf", failed),
            ("bpf-jit", State::Warning),
            ("bpf-fs", failed),
        ];
        assert_eq!(states(&facts), expected);
    }

    #[test]
    fn where_nftables_can_guard_no_xdp_is_a_warning() {
        let facts = Facts {
            release: "5.10.0".to_owned(),
            bpf: Some(shield::Error::NotPermitted),
            has_fallback: true,
            ..facts()
        };
        let warning = State::Warning;
        assert_eq!(states(&facts), [("kernel", warning), ("bpf", warning)]);
        assert!(release(&facts).found.ends_with(INSTEAD));
    }

    #[test]
    fn the_innermost_file_system_counts() {
        let mounts =
            "/dev/vda / ext4 rw 0 0\nsysfs /sys sysfs rw 0 0\nbpf /sys/fs/bpf bpf rw 0 0\n";
        let of = |path: &str| file_system(mounts, Path::new(path)).unwrap();
        assert_eq!(of("/sys/fs/bpf/sipward"), "bpf");
        assert_eq!(of("/sys/fs/bpfx"), "sysfs");
        assert_eq!(of("/var/lib"), "ext4");
    }
}
