//! A small machine under qemu with the kernel of a Debian release and its modules, which runs a test
//! program of this one: for older kernels, and for devices that this machine's kernel does not have.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::{
        fs::{PermissionsExt as _, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    time::{clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};

use crate::{
    clock,
    require::{self, Need},
};

/// What a machine may compute: software emulation of a debug build. Others that run beside it take
/// nothing from that.
const WORK: Duration = Duration::from_secs(900);
/// How long it may take: one that waits for what never comes computes nothing.
const PATIENCE: Duration = Duration::from_secs(3_600);
/// How often that is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// What a machine sleeps at a time, in seconds.
pub const SLEEP: i64 = 1_200;

/// In the environment of what runs on such a machine.
const INSIDE: &str = "SIPWARD_TEST_MACHINE";

const INIT: &str = r"#!/bin/busybox sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t bpf bpf /sys/fs/bpf
echo kernel: $(uname -r)
CI=1 SIPWARD_TEST_MACHINE=1 SIPWARD_CACHE='FOLDER' /tests ARGUMENTS
echo status: $?
poweroff -f
";

/// A machine to boot.
#[derive(Debug, Clone, Copy)]
pub struct Machine<'a> {
    /// The Debian release whose kernel it has, see [`require::kernel`].
    pub suite: &'static str,
    /// How that kernel's release begins.
    pub release: &'a str,
    /// Programs that the tests run, beside those of busybox: each is where it is here.
    pub programs: &'a [PathBuf],
    /// What its time goes by.
    pub clock: Clock,
}

/// What a machine's time goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// As here.
    OfThisMachine,
    /// What it computes, 4 ns an instruction: a wait of so many seconds is as long for its programs
    /// however busy this machine is. Takes twice the time.
    Own,
    /// As [`Clock::Own`]. Once a program has put it to sleep (`/sys/power/state`), its hardware's clock
    /// is set [`SLEEP`] ahead and it is woken: nobody waits for that.
    OwnWithSleep,
}

impl Machine<'_> {
    /// Runs tests of this very test program there, with these arguments, and returns what they
    /// said. `None`, and a line that says why, where this machine cannot do that.
    ///
    /// # Panics
    /// If the tests fail there, if another kernel boots, or if it is not done after 15 minutes of work
    /// or an hour; with all that the console showed.
    #[must_use]
    pub fn run(&self, arguments: &str) -> Option<String> {
        let mut needs = vec![
            Need::Kernel(self.suite),
            Need::Program("qemu-system-x86_64"),
            Need::Program("cpio"),
        ];
        if self.clock == Clock::OwnWithSleep {
            needs.push(Need::Program("cc"));
        }
        if !require::require(&needs) {
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder for the machine");
        let console = self.boot(folder.path(), &self.initramfs(folder.path(), arguments));
        // From the word on: the firmware's escape sequences stand before it.
        let from = |word: &str| console.find(word).map(|at| &console[at..]);
        let said = from("kernel: ").unwrap_or_default();
        assert!(
            said.starts_with(&format!("kernel: {}", self.release)),
            "{console}"
        );
        let (said, status) = said.split_once("\nstatus: ").unwrap_or((said, ""));
        assert_eq!(status.split_whitespace().next(), Some("0"), "{console}");
        Some(said.to_owned())
    }

    /// What the console shows until the machine switches itself off.
    fn boot(&self, folder: &Path, initramfs: &Path) -> String {
        let mut command = Command::new("qemu-system-x86_64");
        match self.clock {
            Clock::OfThisMachine => {}
            Clock::Own => own_clock(&mut command),
            Clock::OwnWithSleep => {
                own_clock(&mut command);
                wake_from_sleep(&mut command, &folder.join("monitor"));
            }
        }
        let mut qemu = command
            .args(["-nodefaults", "-no-reboot", "-nographic"])
            .args(["-serial", "stdio", "-cpu", "max", "-m", "1536"])
            .args(["-append", "console=ttyS0 quiet panic=-1"])
            .arg("-kernel")
            .arg(require::kernel(self.suite).join("vmlinuz"))
            .arg("-initrd")
            .arg(initramfs)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("qemu starts");
        let pid = Pid::from_raw(qemu.id().cast_signed());
        let (done, waits) = mpsc::channel::<()>();
        let watchdog = thread::spawn(move || end_late(pid, WORK, PATIENCE, &waits));
        let mut console = Vec::new();
        let mut output = qemu.stdout.take().expect("its output is a pipe");
        std::io::Read::read_to_end(&mut output, &mut console).expect("the console can be read");
        let _ = done.send(());
        watchdog.join().expect("the watchdog ends");
        qemu.wait().expect("qemu was started");
        String::from_utf8_lossy(&console).into_owned()
    }

    /// This program, what it runs, the libraries they are linked with, the kernel's modules, and a
    /// shell to start it.
    fn initramfs(&self, folder: &Path, arguments: &str) -> PathBuf {
        let root = folder.join("root");
        for name in ["bin", "sbin", "proc", "sys", "tmp", "dev", "run"] {
            fs::create_dir_all(root.join(name)).expect("a folder can be made");
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox can be copied");
        // Whom the kernel calls for a module.
        symlink("/bin/busybox", root.join("sbin/modprobe")).expect("a link can be made");
        self.add_modules(&root);
        let this = env::current_exe().expect("a path of this program");
        add_program(&root, &this, Path::new("/tests"));
        for program in self.programs {
            add_program(&root, program, program);
        }
        let init = root.join("init");
        let cache = require::cache();
        let cache = cache.to_str().expect("the cache's path is text");
        let script = INIT.replace("FOLDER", cache);
        let script = script.replace("ARGUMENTS", arguments);
        fs::write(&init, script).expect("a file can be written");
        fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).expect("it is ours");

        let archive = folder.join("initramfs");
        let script = "cd \"$1\" && find . | cpio --quiet -o -H newc >\"$2\"";
        run(Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(&root)
            .arg(&archive));
        archive
    }

    fn add_modules(&self, root: &Path) {
        let modules = require::kernel(self.suite).join("modules");
        let lib = root.join("lib");
        fs::create_dir_all(&lib).expect("a folder can be made");
        run(Command::new("cp").arg("-r").arg(&modules).arg(&lib));
        let releases = fs::read_dir(&modules).expect("the modules of a kernel");
        for release in releases {
            let release = release.expect("a folder of modules").file_name();
            run(Command::new("busybox")
                .args(["depmod", "-b"])
                .arg(root)
                .arg(release));
        }
    }
}

fn own_clock(qemu: &mut Command) {
    qemu.args(["-icount", "shift=2,sleep=off"]);
}

/// Has whoever falls asleep woken. Its clocks stand still then, but for that of its hardware, from which
/// the kernel learns how long it was.
fn wake_from_sleep(qemu: &mut Command, monitor: &Path) {
    let hardware = clock::Clock::new().expect("a C compiler");
    hardware.give_to(qemu);
    let listener = UnixListener::bind(monitor).expect("a socket of ours");
    qemu.arg("-qmp").arg(format!("unix:{}", monitor.display()));
    // Ends with qemu.
    thread::spawn(move || {
        let (mut monitor, _) = listener.accept().expect("qemu connects");
        let said = monitor.try_clone().expect("a socket has more than one end");
        let mut order =
            |name| writeln!(monitor, "{{\"execute\": \"{name}\"}}").expect("qemu reads");
        order("qmp_capabilities");
        let mut ahead = 0;
        for line in BufReader::new(said).lines().map_while(Result::ok) {
            if line.contains("\"event\": \"SUSPEND\"") {
                ahead += SLEEP;
                hardware.set(ahead).expect("a file of ours");
                order("system_wakeup");
            }
        }
    });
}

/// Kills a child that has not been waited for, once it has worked or taken for too long. Returns then, or
/// when it is done.
fn end_late(child: Pid, work: Duration, patience: Duration, done: &Receiver<()>) {
    let begun = Instant::now();
    while done.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        let worked = clock_getcpuclockid(child).and_then(clock_gettime);
        let is_late = worked.is_ok_and(|worked| Duration::from(worked) >= work);
        if is_late || begun.elapsed() >= patience {
            // As nobody has waited for it, the number is still its own.
            let _ = kill(child, Signal::SIGKILL);
            return;
        }
    }
}

/// Runs the scene on this machine if it is one of those; if not, boots it there for the very test
/// that calls this, and prints what it said.
///
/// # Panics
/// As [`Machine::run`].
#[expect(clippy::print_stdout, reason = "what the scene printed")]
pub fn within(machine: &Machine<'_>, scene: impl FnOnce()) {
    if env::var_os(INSIDE).is_some() {
        scene();
        return;
    }
    let test = thread::current();
    let test = test.name().expect("tests run in threads of their names");
    let arguments = format!("--exact {test} --test-threads=1 --nocapture");
    if let Some(said) = machine.run(&arguments) {
        println!("{said}");
        assert!(said.contains("test result: ok. 1 passed"), "{said}");
    }
}

fn add_program(root: &Path, program: &Path, place: &Path) {
    let target = within_root(root, place);
    run(Command::new("strip").arg("-o").arg(&target).arg(program));
    for library in libraries(program) {
        let target = within_root(root, &library);
        fs::copy(&library, target).expect("a library can be copied");
    }
}

fn within_root(root: &Path, path: &Path) -> PathBuf {
    let target = root.join(path.strip_prefix("/").expect("a whole path"));
    let folder = target.parent().expect("it is below the root");
    fs::create_dir_all(folder).expect("a folder can be made");
    target
}

fn libraries(program: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(program).output().expect("ldd runs");
    assert!(output.status.success(), "ldd {}", program.display());
    String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

fn run(command: &mut Command) {
    let status = command.status().expect("a program of the machine");
    assert!(status.success(), "{command:?}: {status}");
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    /// What ends a shell with this script: a signal, or none.
    fn ended_by(script: &str, work: Duration, patience: Duration) -> Option<i32> {
        let mut child = Command::new("sh").args(["-c", script]).spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed());
        let (done, waits) = mpsc::channel::<()>();
        let watchdog = thread::spawn(move || end_late(pid, work, patience, &waits));
        let status = child.wait().unwrap();
        drop(done);
        watchdog.join().unwrap();
        status.signal()
    }

    #[test]
    fn who_works_or_waits_for_too_long_is_ended() {
        let (little, much) = (Duration::from_millis(500), Duration::from_secs(3_600));
        let killed = Some(Signal::SIGKILL as i32);
        assert_eq!(ended_by("while :; do :; done", little, much), killed);
        assert_eq!(ended_by("exec sleep 1000", much, little), killed);
        // Longer than it may work.
        assert_eq!(ended_by("exec sleep 3", little, much), None);
    }
}
