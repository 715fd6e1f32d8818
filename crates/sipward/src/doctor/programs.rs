//! Programs of others: run without a shell, for a bounded time, and read to a bounded length.

use std::{
    fs,
    io::{self, Read},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use sipward_engine::escape_at_most;

/// A program that has not ended by then is killed.
const LONGEST: Duration = Duration::from_secs(5);
/// Bytes of its output that are read.
const LARGEST: u64 = 8 << 20;
/// Bytes of a complaint that are shown.
const SHOWN: usize = 200;

/// What a program printed, or why that is not known.
pub(super) type Said = Result<String, Trouble>;

/// Why the output of a program is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It is not installed.
    Missing,
    /// It did not end well: what it said, made harmless.
    Refused(String),
}

/// Runs a program, which is looked for where root's programs are too.
pub(super) fn run(name: &str, arguments: &[&str]) -> Said {
    let path = std::env::var("PATH").unwrap_or_default();
    let child = Command::new(name)
        .args(arguments)
        .env("PATH", format!("{path}:/usr/sbin:/sbin:/usr/bin:/bin"))
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Trouble::Missing),
        Err(error) => return Err(Trouble::Refused(error.to_string())),
    };
    let stdout = read(child.stdout.take());
    let stderr = read(child.stderr.take());
    let end = Instant::now() + LONGEST;
    let said = stdout.recv_timeout(LONGEST);
    let left = end.saturating_duration_since(Instant::now());
    let complaint = stderr.recv_timeout(left).unwrap_or_default();
    let ended = said.is_ok() && wait(&mut child, end);
    if !ended {
        // Ended meanwhile is as good.
        let _ = child.kill();
    }
    let status = child.wait();
    let said = said.unwrap_or_default();
    if ended && status.is_ok_and(|status| status.success()) {
        return Ok(String::from_utf8_lossy(&said).into_owned());
    }
    if !ended {
        let text = format!("no end after {} s", LONGEST.as_secs());
        return Err(Trouble::Refused(text));
    }
    let complaint = complaint.trim_ascii();
    let line = complaint.split(|byte| *byte == b'\n').next_back();
    let text = escape_at_most(line.unwrap_or_default(), SHOWN).to_string();
    Err(Trouble::Refused(text))
}

/// The folders of the processes of this network namespace. Whose namespace cannot be read, as those of
/// others without root, may be in it.
pub(super) fn processes(proc: &Path) -> impl Iterator<Item = PathBuf> {
    let namespace = |process: &Path| Some(fs::metadata(process.join("ns/net")).ok()?.ino());
    let own = namespace(&proc.join("self"));
    let processes = fs::read_dir(proc).into_iter().flatten().flatten();
    processes
        .map(|process| process.path())
        .filter(move |process| {
            let theirs = namespace(process);
            theirs.is_none() || own.is_none() || theirs == own
        })
}

fn read(from: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(from) = from {
            // What was read up to an error is what there is.
            let _ = from.take(LARGEST).read_to_end(&mut bytes);
        }
        // Nobody waits any longer.
        let _ = sender.send(bytes);
    });
    receiver
}

/// Whether it ends in time; its output is closed already, so this is short.
fn wait(child: &mut Child, end: Instant) -> bool {
    loop {
        match child.try_wait() {
            Ok(Some(_)) => return true,
            Ok(None) if Instant::now() < end => thread::sleep(Duration::from_millis(2)),
            Ok(None) | Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_processes_that_are_known_to_be_elsewhere_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let proc = folder.path();
        for (process, namespace) in [("self", "here"), ("1", "here"), ("2", "there")] {
            fs::write(proc.join(namespace), "").unwrap();
            fs::create_dir_all(proc.join(process).join("ns")).unwrap();
            std::os::unix::fs::symlink(proc.join(namespace), proc.join(process).join("ns/net"))
                .unwrap();
        }
        // Of root's, nobody else may read it.
        fs::create_dir(proc.join("3")).unwrap();
        let found = |name: &str| processes(proc).any(|process| process.ends_with(name));
        let found = ["1", "2", "3"].map(found);
        assert_eq!(found, [true, false, true]);
    }

    #[test]
    fn output_complaints_and_absence_are_told_apart() {
        assert_eq!(run("echo", &["a  b", "$HOME;c"]).unwrap(), "a  b $HOME;c\n");
        assert_eq!(run("no-such-program-here", &[]), Err(Trouble::Missing));
        let refused = run("sh", &["-c", "printf 'first\\nbad\\033[1m\\n' >&2; exit 3"]);
        assert_eq!(refused, Err(Trouble::Refused("bad\\x1b[1m".to_owned())));
    }
}
